#!/usr/bin/env bash
# Counts the instructions of the request path and compares them with those that are kept: see benches/instructions/main.rs.
# Installs valgrind on Debian and its kin, where it is missing.
# Arguments: a part of a measure's name, for those alone; --bless, to keep the counts as they are now.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

need cc "which Rust links with" gcc libc6-dev
need valgrind "which counts instructions" valgrind

exec cargo run --quiet --locked --profile instructions --features bench-internals --bin instructions -- "$@"
