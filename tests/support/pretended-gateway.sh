#!/bin/sh
# Prints what the gateway prints, for the tests of `Gateway`. Called with --config FILE.
trap 'echo stopping; exit 0' TERM
echo 'listening on http://127.0.0.1:34567 (web)'
echo 'admin on http://[::1]:40001'
if grep -q broken "$2"; then
    echo 'error: broken' >&2
    exit 1
fi
cat "$2" >&2
echo ready
while :; do sleep 0.05; done
