#!/usr/bin/env bash
# Runs all tests: builds the filters in plugins/ from source, runs their own tests, then the gateway's. Needs Rust;
# installs its target for WebAssembly, and on Debian and its kin C compilers and clients of HTTP/2, where they are
# missing, and fetches nginx and Envoy.
# Arguments go to cargo, and the gateway's tests alone are run: scripts/test.sh --test gateway pool
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/need.sh

want cc "which Rust links with" gcc libc6-dev
want clang "which compiles the filter that is written in C" clang
want wasm-ld "which links the filter that is written in C" lld
want make "which builds the filter that is written in C" make
install_wanted

bash scripts/peers.sh
bash scripts/clients.sh
bash plugins/build.sh
if [ $# = 0 ]; then
    (cd plugins && cargo test --locked)
fi

exec cargo test --workspace --locked --features redis,otlp,top "$@"
