#!/usr/bin/env bash
# Tests a Debian package: scripts/package-test.sh FILE.deb [--install].
#
# Unpacks it into a temporary folder and runs the program from there. With --install it also installs, upgrades, removes and purges the
# package, as root or with sudo. It refuses that on a machine that has a gateway or its files, and leaves nothing of the package behind.
#
# The tools that it tests with (curl, systemd, lintian, man-db; with --install also adduser) are installed for good where they are missing.
set -euo pipefail
package=$(realpath "$1")
cd "$(dirname "$0")/.."
. scripts/need.sh
case ${2:-} in
    "") installs=false ;;
    --install) installs=true ;;
    *) echo "usage: package-test.sh FILE.deb [--install]" >&2; exit 2 ;;
esac
if [ "$installs" = true ] && [ "$(id -u)" != 0 ]; then
    # From the beginning: almost all that follows needs root then, and signals reach the gateway without sudo between.
    as_root env PATH="$PATH" HOME="$HOME" bash scripts/package-test.sh "$package" --install
    exit
fi

folder=""
fail() {
    if [ -n "$folder" ] && [ -e "$folder/log" ]; then tail -n 20 "$folder/log" >&2; fi
    echo "package: $*" >&2
    exit 1
}
said() { echo "package: $*"; }
eventually() {
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    fail "did not come true within a minute: $*"
}

# A purge deletes the files of a gateway, so none may be here before. Until the package is installed, this script deletes nothing.
if [ "$installs" = true ]; then
    # `dpkg --status` also succeeds for a package that was removed and has left its configuration.
    state=$(dpkg-query --show --showformat='${db:Status-Status}' gateway 2>/dev/null || true)
    case $state in
        "" | not-installed) ;;
        *) fail "this machine has the package gateway ($state); the test would purge it. To do that yourself: apt-get purge gateway" ;;
    esac
    for path in /etc/gateway /etc/default/gateway /etc/systemd/system/gateway.service /usr/bin/gateway /usr/share/gateway \
        /var/cache/gateway /var/lib/gateway /var/log/gateway; do
        if [ -e "$path" ]; then fail "this machine has $path, which the test would replace or delete"; fi
    done
fi

need curl "which asks the gateway" curl
need systemd-analyze "which checks the unit" systemd
need lintian "which checks the package" lintian
need man "which reads the manual pages" man-db

# The ports of the package's configuration.
for port in 8080 9901; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then fail "another program listens on port $port; stop it first"; fi
done

folder=$(mktemp -d)
gateway=""
# True from the moment at which this run begins to install the package, or the package creates the user.
has_installed=false
has_created_user=false
key=/etc/gateway/site.key
# Ends and deletes what this run has started and created, and nothing else.
cleanup() {
    if [ -n "$gateway" ]; then
        kill -KILL "$gateway" 2>/dev/null || true
        wait "$gateway" 2>/dev/null || true
    fi
    if [ "$has_installed" = true ]; then
        dpkg --purge gateway >/dev/null 2>&1 || true
        rm -f "$key"
        if [ -d /etc/gateway ]; then rmdir /etc/gateway || true; fi
    fi
    if [ "$has_created_user" = true ] && getent passwd gateway >/dev/null; then
        deluser --system --quiet gateway >/dev/null 2>&1 || echo "package: the user gateway cannot be deleted" >&2
    fi
    rm -rf "$folder"
}
trap cleanup EXIT

lintian --fail-on error --allow-root "$package" || fail "lintian has found errors"

unpacked=$folder/unpacked
dpkg-deb -x "$package" "$unpacked"
if [ "$installs" = true ]; then
    # The root of the machine: all paths below are as they are.
    root=""
    need adduser "which creates the user of the service" adduser
    if ! getent passwd gateway >/dev/null; then has_created_user=true; fi
    has_installed=true
    dpkg --install "$package"
    user=gateway
    said "installed"
else
    root=$unpacked
    user=$(id -un)
    said "unpacked into $root"
fi

config=$root/etc/gateway/gateway.yaml
program=$root/usr/bin/gateway
unit=$root/usr/lib/systemd/system/gateway.service
dpkg-deb --info "$package" conffiles | grep -qx /etc/gateway/gateway.yaml || fail "gateway.yaml is no conffile"
# Manual pages and documentation as the package has them: dpkg leaves them out in images of containers (`path-exclude`).
for path in "$config" "$program" "$unit" "$unpacked"/usr/share/man/man1/gateway{,-check,-health}.1.gz \
    "$root/usr/share/bash-completion/completions/gateway" "$root/usr/share/zsh/vendor-completions/_gateway" \
    "$root/usr/share/fish/vendor_completions.d/gateway.fish" "$root/usr/share/gateway/filters/uppercase.wasm" \
    "$unpacked/usr/share/doc/gateway/copyright"; do
    [ -s "$path" ] || fail "there is no $path"
done
man --warnings -l "$unpacked/usr/share/man/man1/gateway.1.gz" | grep -q "SIGTERM" || fail "the manual page cannot be read"
bash -n "$root/usr/share/bash-completion/completions/gateway"
bash -c '. "$1"; COMP_WORDS=(gateway he); COMP_CWORD=1; _gateway gateway he gateway; echo "${COMPREPLY[@]}"' \
    - "$root/usr/share/bash-completion/completions/gateway" | grep -q health || fail "bash completes nothing"

# Of the unit: every setting is known, and what it protects does not become less.
sed "s|/usr/bin/gateway|$program|; /^Documentation/d" "$unit" >"$folder/gateway.service"
systemd-analyze verify "$folder/gateway.service" 2>"$folder/verified" || true
grep "gateway.service" "$folder/verified" && fail "systemd-analyze verify complains of the unit"
systemd-analyze security --offline=true --threshold=20 "$folder/gateway.service" >"$folder/security" ||
    fail "the unit is exposed more than it was: $(tail -n 1 "$folder/security")"
said "$(tail -n 1 "$folder/security")"

if [ "$installs" = true ] && [ -d /run/systemd/system ]; then
    how="by systemd"
    eventually systemctl is-active --quiet gateway
else
    how="as $user"
    mkdir -p "$folder/cache"
    chmod 755 "$folder"
    if [ "$user" != "$(id -un)" ]; then chown "$user" "$folder/cache"; fi
    as_user=()
    if [ "$user" != "$(id -un)" ]; then as_user=(setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs); fi
    # As the unit has it: its folders, and the environment that systemd makes.
    "${as_user[@]}" env -i CACHE_DIRECTORY="$folder/cache" "$program" --config "$config" >"$folder/log" 2>&1 &
    gateway=$!
fi
eventually "$program" health --config "$config"
[ "$(curl -sS http://127.0.0.1:9901/ready)" = ready ] || fail "/ready is not ready"
curl -sSf http://127.0.0.1:8080/ | grep -q "The gateway runs" || fail "the route of the configuration does not answer"
said "started $how, ready and answering"

# The configuration is read again, with an upstream and a filter of the package: the compiler and its cache work for this user.
cp "$config" "$folder/before"
cat >>"$config" <<END
  - name: spike
    match: { path: /spike }
    upstream: { url: "http://127.0.0.1:8080" }
    rewrite: { path: / }
    filters: [{ wasm: $root/usr/share/gateway/filters/uppercase.wasm }]
END
loud() { curl -sSf http://127.0.0.1:8080/spike | grep -q "THE GATEWAY RUNS"; }
eventually loud
if [ -n "$gateway" ]; then
    [ -n "$(find "$folder/cache" -name '*.cwasm')" ] || fail "the compiled filter is not in the cache"
fi
said "reloaded with an upstream and a filter"

if [ "$installs" = true ]; then
    # An upgrade keeps what the administrator has changed.
    dpkg --install --force-confold "$package" >/dev/null
    grep -q "name: spike" "$config" || fail "an upgrade has replaced the configuration"
fi

if [ -n "$gateway" ]; then
    kill -TERM "$gateway"
    wait "$gateway" || fail "the gateway has not ended well"
    gateway=""
fi

if [ "$installs" = true ]; then
    # A key of the administrator's, as docs/install.md has it.
    install -m 0640 -o root -g gateway /dev/null "$key"
    dpkg --remove gateway
    if [ -e "$program" ]; then fail "the program is still there"; fi
    [ -e "$config" ] || fail "removing the package has removed its configuration; that is for a purge"
    if curl -sS http://127.0.0.1:9901/ready >/dev/null 2>&1; then fail "the gateway still runs"; fi
    dpkg --purge gateway
    for path in "$config" /var/cache/gateway /var/lib/gateway /var/log/gateway /usr/share/gateway /usr/share/doc/gateway \
        /usr/lib/systemd/system/gateway.service; do
        if [ -e "$path" ]; then fail "a purge has left $path"; fi
    done
    # With the group gone, its number, and with it the key, would be the next group's.
    [ "$(stat --format=%G "$key")" = gateway ] || fail "after a purge the key does not belong to the group gateway"
    said "removed and purged"
fi
said "passed"
