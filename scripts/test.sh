#!/usr/bin/env bash
# Runs all tests. Needs Rust; installs the C compiler, where it is missing, on Debian and its kin.
# Arguments go to cargo: scripts/test.sh --test gateway pool
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

if ! command -v cc >/dev/null; then
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends gcc libc6-dev
    else
        echo "there is no C compiler, which Rust links with, and no apt-get to install one" >&2
        exit 1
    fi
fi

exec cargo test --workspace --locked "$@"
