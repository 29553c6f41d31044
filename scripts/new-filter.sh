#!/usr/bin/env bash
# Makes a filter by `gateway filter new`, and does with it what its README says: its test, its build, a run.
# Needs Rust with the target wasm32-wasip1; see scripts/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked
gateway=$PWD/target/debug/gateway
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$gateway" filter new new-filter --path "$folder"
# The versions that the filters here have, and what was built of them: a new crate would ask the registry for the newest.
cp plugins/Cargo.lock "$folder/new-filter/"
export CARGO_TARGET_DIR=$PWD/plugins/target

cd "$folder/new-filter"
cargo fmt --check
cargo test
cargo clippy --target wasm32-wasip1 -- -D warnings
cargo build --release --target wasm32-wasip1

# Its configuration looks for the module where cargo puts it for others.
module=target/wasm32-wasip1/release/new_filter.wasm
mkdir -p "$(dirname "$module")"
cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/new_filter.wasm" "$module"
"$gateway" check --config gateway.yaml

said=$(echo "hello, upstream" | "$gateway" filter run "$module" --config '{"word": "upstream", "with": "filter"}' \
    --body - --header 'content-type: text/plain' --body-only)
if [ "$said" != "hello, filter" ]; then
    echo "the new filter made \`$said\` of \`hello, upstream\`" >&2
    exit 1
fi
