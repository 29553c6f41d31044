#!/usr/bin/env bash
# Runs all tests: builds the filters in plugins/ from source, runs their own tests, then the gateway's. Needs Rust;
# installs its target for WebAssembly, and on Debian and its kin C compilers, where they are missing.
# Arguments go to cargo, and the gateway's tests alone are run: scripts/test.sh --test gateway pool
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null; then
    echo "cargo is not installed; see https://rustup.rs" >&2
    exit 1
fi

# Installs packages, unless there is a command that they bring.
need() {
    local command=$1 what=$2
    shift 2
    if command -v "$command" >/dev/null; then return; fi
    if ! command -v apt-get >/dev/null; then
        echo "there is no $command, $what, and no apt-get to install it" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "$@"
}

need cc "which Rust links with" gcc libc6-dev
need clang "which compiles the filter that is written in C" clang
need wasm-ld "which links the filter that is written in C" lld
need make "which builds the filter that is written in C" make

bash plugins/build.sh
if [ $# = 0 ]; then
    (cd plugins && cargo test --locked)
fi

exec cargo test --workspace --locked "$@"
