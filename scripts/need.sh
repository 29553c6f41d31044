# shellcheck shell=bash
# For scripts that need Rust and packages: finds cargo, and defines `as_root`, `install_packages`, `need`, and `want` with
# `install_wanted`.

# Runs a command as root, by sudo where that is necessary.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "this needs root, and there is no sudo: $*" >&2
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

# install_packages WHAT PACKAGE…: installs Debian packages. If that fails, says what is missing and ends the script.
install_packages() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null; then
        echo "missing: $what; there is no apt-get to install it (Debian: $*)" >&2
        exit 1
    fi
    if ! as_root apt-get update -qq ||
        ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; then
        echo "missing: $what; install it as root and run this again: apt-get update && apt-get install $*" >&2
        exit 1
    fi
}

wanted_packages=()
wanted_reasons=()

# want_packages WHAT PACKAGE…: `install_wanted` installs these packages, all that are wanted at once: apt-get takes seconds for each call.
want_packages() {
    wanted_reasons+=("$1")
    wanted_packages+=("${@:2}")
}

# want COMMAND WHAT PACKAGE…: as `want_packages`, unless the command that they bring exists.
want() {
    if ! command -v "$1" >/dev/null; then want_packages "$1, $2" "${@:3}"; fi
}

install_wanted() {
    if [ ${#wanted_packages[@]} = 0 ]; then return; fi
    install_packages "$(printf '%s; ' "${wanted_reasons[@]}" | sed 's/; $//')" "${wanted_packages[@]}"
    wanted_packages=()
    wanted_reasons=()
}

# need COMMAND WHAT PACKAGE…: as `want`, and installs them at once.
need() {
    want "$@"
    install_wanted
}
