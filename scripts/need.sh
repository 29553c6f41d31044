# For scripts that need Rust and packages: finds cargo, and gives them `need`.

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null; then
    echo "cargo is not installed; see https://rustup.rs" >&2
    exit 1
fi

# Installs packages, unless there is a command that they bring.
need() {
    local command=$1 what=$2
    shift 2
    if command -v "$command" >/dev/null; then return; fi
    if ! command -v apt-get >/dev/null; then
        echo "there is no $command, $what, and no apt-get to install it" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "$@"
}
