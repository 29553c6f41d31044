#!/usr/bin/env bash
# Makes a filter of each kind by `gateway filter new`, and does with it what its README says: its test, its build, a run. Then it
# makes the filters that docs/filters.md describes: its code, and copies of the examples.
# Needs Rust with the target wasm32-wasip1; see scripts/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

# As tests build it: after them there is nothing to build.
cargo build --workspace --locked --features redis,otlp,top --test gateway
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

# build NAME: builds a filter whose source has changed since `make`, without the checks of format and lints.
build() {
    (cd "$folder/$1" && cargo build --release --target wasm32-wasip1)
    module=$CARGO_TARGET_DIR/wasm32-wasip1/release/${1//-/_}.wasm
}

# The code of docs/filters.md that asks a service, in place of what the new filter has of the same traits.
make ask-service --bodies off
code=$(sed -n '/^```rust$/,/^```$/p' "$repository/docs/filters.md" | grep -v '^```')
sed -i -e '/^impl Context for Exchange/d' -e '/^impl HttpContext for Exchange/,$d' src/lib.rs
printf '%s\n' "$code" >>src/lib.rs
build ask-service
printf 'HTTP/1.1 200 OK\n\n' >allowed.http
printf 'HTTP/1.1 401 Unauthorized\n\n' >refused.http
for case in "allowed.http 200" "refused.http 401" "timeout 503" "fail 503"; do
    read -r answer status <<<"$case"
    said=$("$gateway" filter run "$module" --config '{"value": ""}' --keys '{ bodies: off }' --answer "auth=$answer" \
        --show-request=never)
    if [[ "$said" != "HTTP/1.1 $status "* ]]; then
        echo "the filter of docs/filters.md that asks a service made \`$said\` of the answer \`$answer\`" >&2
        exit 1
    fi
done

# The examples, each in a new filter.
for example in redact inject events auth; do
    cd "$repository"
    "$gateway" filter new "copied-$example" --path "$folder"
    cp plugins/Cargo.lock "$folder/copied-$example/"
    if [ "$example" = inject ]; then
        sed -i 's/^log = .*/&\nmemchr = "2"/' "$folder/copied-$example/Cargo.toml"
    fi
    rm -r "$folder/copied-$example/src"
    cp -r "plugins/$example/src" "$folder/copied-$example/"
    build "copied-$example"
done
