#!/usr/bin/env bash
# Builds all filters from source into plugins/target. With --keep also replaces those in plugins/prebuilt.
set -euo pipefail
cd "$(dirname "$0")"

case "${1-}" in
    "" | --keep) ;;
    *)
        echo "usage: build.sh [--keep]" >&2
        exit 2
        ;;
esac

target=wasm32-wasip1
built=target/$target/release
# What samples and first runs use, so that they need no toolchain for WebAssembly.
kept=("$built/uppercase.wasm" "$built/redact.wasm")

if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target"
fi
# What is kept names files of crates as `crate-1.0.0/src/lib.rs`, wherever the crates are on this machine.
flags=()
if [ "${1-}" = --keep ]; then
    for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags+=(--config "target.$target.rustflags = ['--remap-path-prefix=$crates=']")
    done
fi
cargo build --release --locked --target "$target" "${flags[@]}"

if command -v clang >/dev/null && command -v wasm-ld >/dev/null; then
    make -C c-header --no-print-directory
    kept+=(target/c-header.wasm)
else
    echo "c-header is not built: it needs clang and lld (apt-get install clang lld)" >&2
fi

if [ "${1-}" = --keep ]; then
    install -m 644 "${kept[@]}" prebuilt/
    ls -l prebuilt
fi
