# shellcheck shell=bash
# What the scripts beside this file share: where tools live, how a server is
# started and stopped. Sourced, never run; the sourcing script sets -euo pipefail.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/test-tools
venv=$tools/venv
export PATH="$venv/bin:$PATH"
export PIP_DISABLE_PIP_VERSION_CHECK=1

have() { command -v "$1" >/dev/null 2>&1; }

note() { printf '%s\n' "$*" >&2; }

# Ends a script because a tool is missing: 77, which scripts/test counts as
# skipped, or as failed when CI=true.
missing() {
    note "missing: $*"
    exit 77
}

# Debian packages, where this user may install them; false where it may not.
apt_install() {
    [ "$(id -u)" = 0 ] && have apt-get || return 1
    note "installing $*"
    [ -e "$tools/apt-updated" ] || apt-get update -qq >&2 || return 1
    mkdir -p "$tools" && touch "$tools/apt-updated"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null
}

# A virtual environment of our own, so that nothing outside target/ changes.
ensure_venv() {
    [ -x "$venv/bin/pip" ] && return
    mkdir -p "$tools"
    have python3 || apt_install python3 python3-venv || return 1
    python3 -m venv "$venv" >/dev/null 2>&1 && return
    rm -rf "$venv"
    apt_install python3-venv && python3 -m venv "$venv" >&2
}

# Installs a file of pinned requirements, once for each content of the file.
pip_install() {
    local stamp
    stamp=$tools/$(cksum <"$1" | tr ' ' -).pip
    ensure_venv || return 1
    [ -e "$stamp" ] && return
    "$venv/bin/pip" install --quiet --requirement "$1" >&2 && touch "$stamp"
}

# The binary under test: $VIDEOGEN where it is set, otherwise a fresh debug build.
videogen_binary() {
    if [ -z "${VIDEOGEN:-}" ]; then
        cargo build --quiet --locked --bin videogen --manifest-path "$root/Cargo.toml" >&2 || return 1
        VIDEOGEN=$target/debug/videogen
    fi
    printf '%s\n' "$VIDEOGEN"
}

# wait_for PID LOG PATTERN: until a line of the log matches. Fails, and shows the
# log, when the process ends before that, or after a minute.
wait_for() {
    for _ in $(seq 600); do
        grep -q "$3" "$2" && return
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    # Between the last look and its end it may have written the line.
    grep -q "$3" "$2" && return
    note "no line '$3' came:" && cat "$2" >&2
    return 1
}

servers=()

# start_server LOG WORD COMMAND...: runs a server in the background until it has
# printed its "listening WORD=ADDRESS" line; leaves the address in $address and
# the process in $server.
start_server() {
    local log=$1 word=$2
    shift 2
    "$@" >"$log" 2>&1 &
    server=$!
    servers+=("$server")
    wait_for "$server" "$log" "listening $word=" || return 1
    # shellcheck disable=SC2034 # The sourcing script reads it.
    address=$(sed -n "s/^.*listening $word=\([^ ]*\).*$/\1/p" "$log" | head -n 1)
}

# Stops what start_server started, the last one first.
stop_servers() {
    local i
    for ((i = ${#servers[@]} - 1; i >= 0; i--)); do
        kill -TERM "${servers[i]}" 2>/dev/null || true
        wait "${servers[i]}" 2>/dev/null || true
    done
    servers=()
}
