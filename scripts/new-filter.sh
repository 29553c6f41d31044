#!/usr/bin/env bash
# Makes a filter of each kind by `gateway filter new`, and does with it what its README says: its test, its build, a run.
# Needs Rust with the target wasm32-wasip1; see scripts/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked
repository=$PWD
gateway=$PWD/target/debug/gateway
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CARGO_TARGET_DIR=$PWD/plugins/target

# make NAME OPTION…: a new filter, built, where its configuration looks for it.
make() {
    cd "$repository"
    "$gateway" filter new "$1" --path "$folder" "${@:2}"
    # The versions that the filters here have, and what was built of them: a new crate would ask the registry for the newest.
    cp plugins/Cargo.lock "$folder/$1/"
    cd "$folder/$1"
    cargo fmt --check
    cargo test
    cargo clippy --target wasm32-wasip1 -- -D warnings
    cargo build --release --target wasm32-wasip1
    module=target/wasm32-wasip1/release/${1//-/_}.wasm
    mkdir -p "$(dirname "$module")"
    cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/${1//-/_}.wasm" "$module"
    "$gateway" check --config gateway.yaml
}

# The command of docs/filters.md, which has the name of this filter.
make my-filter
documented=$(sed -n '/^    echo "hello, upstream" | gateway filter run/,/--chunks/p' "$repository/docs/filters.md")
said=$(PATH=$(dirname "$gateway"):$PATH bash -c "$documented --body-only")
if [ "$said" != "hello, filter" ]; then
    echo "the new filter made \`$said\` of \`hello, upstream\`" >&2
    exit 1
fi

make new-filter-of-heads --bodies off
said=$("$gateway" filter run "$module" --config '{"value": "set"}' --keys '{ bodies: off }' --header 'content-type: text/plain')
if [[ "$said" != *"x-filter: set"* ]]; then
    echo "the new filter made \`$said\` of a head" >&2
    exit 1
fi
