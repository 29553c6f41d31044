#!/bin/sh
# The gateway, within the test binary, which counts its heap: see heap.rs.
GATEWAY_CONFIG="$2" exec "$TEST_BINARY" --exact reload_many::heap::the_program --ignored --nocapture
