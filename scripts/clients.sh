#!/usr/bin/env bash
# Puts the programs in place that tests/gateway/{http2_clients,upstream_http2_programs,grpc_programs,auth_basic,auth_oidc,rate_limit_store,page,
# prometheus,syslog_programs,traces}.rs run: curl, nghttp, nghttpd, h2load, Node, Go with its gRPC, Chromium, htpasswd, argon2, openssl,
# redis-server, redis-sentinel and prometheus from Debian, the Python packages h2, grpcio, opentelemetry-proto and rotel, a collector of
# OpenTelemetry, in an environment in target/peers, and beside that rsyslogd, the programs of gRPC by Go's library and by tonic, and
# oidc-provider for Node. What is there is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/need.sh
mkdir -p target/peers

want curl "a client of HTTP/2" curl
want nghttp "a client of HTTP/2" nghttp2-client
want nghttpd "a server of HTTP/2" nghttp2-server
want h2load "which loads a server of HTTP/2" nghttp2-client
want node "a client of HTTP/2" nodejs
want go "a client of HTTP/2" golang-go
want htpasswd "which makes files of users" apache2-utils
want argon2 "which makes entries of such files" argon2
want openssl "which makes entries of such files" openssl
# Installing them starts a server each, which tests do not use.
want redis-server "a store of rate limits" redis-server
want redis-sentinel "which knows the master of a store" redis-sentinel
want prometheus "which scrapes the metrics" prometheus
# The names that tests/gateway/http2_clients.rs looks for, too.
if ! command -v chromium-headless-shell chromium google-chrome chrome >/dev/null; then
    want_packages "Chromium, a client of HTTP/2" chromium-headless-shell
fi
# Debian puts the sources of its packages here, for builds without modules.
go_path=/usr/share/gocode
if [ ! -e "$go_path/src/google.golang.org/grpc" ]; then
    want_packages "gRPC for Go" golang-google-grpc-dev
fi
install_wanted

packages=(h2==4.4.1 grpcio==1.85.3 opentelemetry-proto==1.45.2 rotel==0.0.1a15)
if [ "$(cat target/peers/python/packages 2>/dev/null)" != "${packages[*]}" ]; then
    need python3 "which runs programs of HTTP/2, gRPC and OpenTelemetry" python3
    if ! python3 -c 'import ensurepip' 2>/dev/null; then install_packages "Python's venv" python3-venv; fi
    rm -rf target/peers/python.new
    python3 -m venv target/peers/python.new
    target/peers/python.new/bin/python -m pip install --quiet --disable-pip-version-check "${packages[@]}"
    echo "${packages[*]}" >target/peers/python.new/packages
    rm -rf target/peers/python
    mv target/peers/python.new target/peers/python
fi

# The OpenID provider, of the versions in its lock file. Without it the tests that need it are skipped, and say so.
provider=target/peers/oidc-provider
if ! cmp -s tests/gateway/auth_oidc/provider/package-lock.json "$provider/package-lock.json"; then
    rm -rf "$provider"
    mkdir -p "$provider.new"
    cp tests/gateway/auth_oidc/provider/package*.json "$provider.new"
    command -v npm >/dev/null || (install_packages "npm, which fetches oidc-provider" npm) || true
    if (cd "$provider.new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); then
        mv "$provider.new" "$provider"
    else
        rm -rf "$provider.new"
        mkdir -p "$provider"
        touch "$provider/unavailable"
        echo "oidc-provider cannot be fetched: no login at a real provider is tested" >&2
    fi
fi

# rsyslog with its libraries, beside the system: an installed package would take over the logs of this machine.
if ! command -v rsyslogd >/dev/null && [ ! -x /usr/sbin/rsyslogd ] && [ ! -x target/peers/rsyslog/usr/sbin/rsyslogd ]; then
    if ! command -v apt-get >/dev/null; then
        echo "missing: rsyslogd, a receiver of syslog; there is no apt-get to fetch it (Debian: rsyslog)" >&2
        exit 1
    fi
    folder=$(mktemp -d)
    fetch() { apt-get download -qq rsyslog libestr0 libfastjson4 liblognorm5 2>/dev/null; }
    (cd "$folder" && { fetch || { as_root apt-get update -qq && fetch; }; }) || {
        echo "missing: rsyslogd, a receiver of syslog; install it as root: apt-get update && apt-get install rsyslog" >&2
        exit 1
    }
    rm -rf target/peers/rsyslog.new
    for package in "$folder"/*.deb; do dpkg-deb -x "$package" target/peers/rsyslog.new; done
    mv target/peers/rsyslog.new target/peers/rsyslog
    rm -rf "$folder"
fi

build_go() { GOCACHE=$PWD/target/peers/go CGO_ENABLED=0 GO111MODULE=off GOPATH=$go_path go build -o "$@"; }

# The first build compiles Go's library, which may take longer than a test waits.
program=$(mktemp)
trap 'rm -f "$program"' EXIT
for source in http2_clients/client.go upstream_http2_programs/server.go; do
    build_go "$program" "tests/gateway/$source"
done

build_go target/peers/go-grpc tests/gateway/grpc_programs/go/*.go
cargo build --quiet --locked --manifest-path tests/gateway/grpc_programs/tonic/Cargo.toml --target-dir target/peers/tonic
