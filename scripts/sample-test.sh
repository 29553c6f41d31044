#!/usr/bin/env bash
# Runs the sample configuration and sends it the requests of README's first minutes: scripts/sample-test.sh PROGRAM.
# The tests do so with a program that is not optimised; this is for one that is.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")/.."
. scripts/need.sh

need curl "which asks the gateway" curl

for port in 8080 8081 9901; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "sample: another program listens on port $port; stop it first" >&2
        exit 1
    fi
done

log=$(mktemp)
"$program" --config gateway.yaml >"$log" 2>&1 &
gateway=$!
trap 'kill -KILL "$gateway" 2>/dev/null || true; rm -f "$log"' EXIT
fail() {
    tail -n 20 "$log" >&2
    echo "sample: $*" >&2
    exit 1
}

for _ in $(seq 300); do
    if "$program" health --config gateway.yaml >/dev/null 2>&1; then break; fi
    sleep 0.2
done
# expect PATH END: the body and the status behind it end so.
expect() {
    local said
    said=$(curl -sS --max-time 10 -w '%{http_code}' "http://127.0.0.1:8080$1") || fail "$1 has no response"
    if [[ "$said" != *"$2" ]]; then fail "$1 responds \`$said\`, and not \`$2\`"; fi
}
expect /spike $'hello from the upstream\n200'
expect /shout $'HELLO FROM THE UPSTREAM\n200'
expect /late 504

kill -TERM "$gateway"
wait "$gateway" || fail "the gateway has not ended well"
echo "sample: passed"
