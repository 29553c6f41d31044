#!/usr/bin/env bash
# Builds the Debian package, and prints its path: scripts/package.sh [PROFILE]. PROFILE is a Cargo profile: `dist` for a package to
# install, which is the default; `release` builds in half the time and serves a few per cent slower; `dev` packs the program that
# tests run, to test the package.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

profile=${1:-dist}
folder=$profile
what=(--bin gateway)
if [ "$profile" = dev ]; then
    folder=debug
    # As tests build it: after them there is nothing to build.
    what=(--workspace --test gateway)
fi

need dpkg-shlibdeps "which finds the libraries of the program" dpkg-dev
# A debug build takes half a minute, an optimised one several times that, for a package that takes seconds.
cargo deb --version >/dev/null 2>&1 ||
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --quiet "cargo-deb@3.8.0" >&2

cargo build --locked --quiet --profile "$profile" --features redis,otlp,top "${what[@]}" >&2
program=target/$folder/gateway

# What comes from the program cannot differ from it.
made=target/package
rm -rf "$made"
mkdir -p "$made/completions"
"$program" man "$made/man"
"$program" completions bash >"$made/completions/gateway"
"$program" completions zsh >"$made/completions/_gateway"
"$program" completions fish >"$made/completions/gateway.fish"

version=$("$program" --version | cut -d ' ' -f 2)
# The time of the commit, so that the same commit makes the same package.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
cat >"$made/changelog" <<END
gateway ($version-1) unstable; urgency=medium

  * CHANGELOG.md of the source has what changes for users.

 -- The gateway contributors <maintainers@gateway.invalid>  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END

cargo deb --quiet --locked --no-build --profile "$profile" --strip --output "$made/gateway_$version.deb" >&2
echo "$made/gateway_$version.deb"
