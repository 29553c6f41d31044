#!/bin/sh
# The gateway, within the test binary, which counts its heap: see heap.rs. On one core the runner would have a single thread, and
# begin the line that the gateway's first word is on.
GATEWAY_CONFIG="$2" exec "$TEST_BINARY" --exact reload_many::heap::the_program --ignored --nocapture --test-threads 2
