# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder: where things are, which PostgreSQL, whom to run as, processes that are
# found again. To be sourced.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
state=$root/.local                                  # what the scripts make and remember; `make clean` empties it
tools=$state/tools                                  # what setup.sh builds or downloads for this clone alone
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
: "${PROFILE:=release}"                             # Cargo profile of the worker and the extension: release or dev

# Debian keeps pgbouncer and ip, and rustup keeps cargo, where not every shell looks.
PATH=$PATH:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
    if [ "$EUID" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "this needs root, and there is no sudo: $*"
    fi
}

# PostgreSQL refuses to run as root: root's clusters belong to the user that Debian's package makes for it.
if [ "$EUID" = 0 ]; then db_user=postgres; else db_user=$(id -un); fi
as_db() (
    cd /
    if [ "$EUID" = 0 ]; then exec setpriv --reuid="$db_user" --regid="$db_user" --init-groups -- "$@"; fi
    exec "$@"
)

# The major version to build for and run: PG_MAJOR, else the highest installed with its headers, else the highest
# installed, else the distribution's. Fails where none is known.
pg_major() {
    local n
    if [ -n "${PG_MAJOR:-}" ]; then echo "$PG_MAJOR"; return; fi
    for n in 18 17 16 15 14; do
        if has_server "$n" && has_headers "$n"; then echo "$n"; return; fi
    done
    for n in 18 17 16 15 14; do
        if has_server "$n"; then echo "$n"; return; fi
    done
    apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9]\{1,\}\)$/\1/p' | grep -m 1 .
}
has_server() { [ -x "/usr/lib/postgresql/$1/bin/postgres" ]; }
has_headers() { [ -e "/usr/include/postgresql/$1/server/postgres.h" ]; }

# Sets pg (the major version) and pgbin (its programs), once setup.sh has been here.
use_postgres() {
    pg=$(pg_major) || die "no PostgreSQL found: run 'make setup'"
    pgbin=/usr/lib/postgresql/$pg/bin
    if ! has_server "$pg" || ! has_headers "$pg"; then die "PostgreSQL $pg or its headers are missing: run 'make setup'"; fi
    PATH=$pgbin:$PATH
}

# The cargo-pgrx of exactly the pinned version: this clone's own, else the user's. Prints its path.
pgrx_version=0.18.1
cargo_pgrx() {
    local candidate
    for candidate in "$tools/cargo/bin/cargo-pgrx" "$(command -v cargo-pgrx || true)"; do
        if [ "$("$candidate" pgrx --version 2>/dev/null)" = "cargo-pgrx $pgrx_version" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

worker_binary() { echo "$target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/pg-webhook-worker"; }
# How the extension crate is built: by itself, in a target folder of its own (see Cargo.toml), for one PostgreSQL.
extension_env=("CARGO_TARGET_DIR=$target/extension" PGRX_BUILD_FLAGS=--locked)
# cargo-pgrx keeps the linker from dropping the section that holds the schema; RUSTFLAGS would undo that.
[ -z "${RUSTFLAGS:-}" ] || extension_env+=("RUSTFLAGS=$RUSTFLAGS -C link-arg=-Wl,--no-gc-sections")

# wait_until SECONDS COMMAND...: polls; fails when the time is over.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ $SECONDS -ge $end ]; then return 1; fi
        sleep 0.1
    done
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# A port nobody listens on, below the range that outgoing connections are given.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        if port_is_free $port; then echo $port; return; fi
    done
    die "no free port found between 20000 and 32000"
}

# http_get PORT PATH: the body of a 200 answer from this machine, else fails. (curl may not be there.)
http_get() {
    local answer
    # shellcheck disable=SC2016
    answer=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" "$1" >&3 && { cat <&3 || true; }' \
        "$1" "$2" 2>/dev/null) || return 1
    [[ $answer == HTTP/1.?' 200 '* ]] || return 1
    printf '%s\n' "${answer#*$'\r\n\r\n'}"
}

# One at a time may change what runs in this clone. What is started in the background must not keep the lock: 9>&-
lock() {
    mkdir -p "$state"
    exec 9>"$state/lock"
    flock -w 120 9 || die "another 'make up', 'down', 'run' or 'clean' of this clone is still under way"
}

# A process is named by pid and start time: a pid alone is given to somebody else one day. Fails if it is gone.
start_time() {
    local stat
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    read -ra stat <<<"${stat##*) }"
    [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

database_exists() { [ "$(psql -XAtq -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$1'")" = 1 ]; }

# make_database NAME: with the extension, and for a machine where receivers are local and speak http.
make_database() {
    psql -Xq -v ON_ERROR_STOP=1 -d postgres -c "CREATE DATABASE $1 ENCODING 'UTF8' TEMPLATE template0"
    psql -Xq -v ON_ERROR_STOP=1 -d "$1" -c 'CREATE EXTENSION pg_webhook' -c "ALTER DATABASE $1 SET pg_webhook.allow_http = on" ||
        { psql -Xq -d postgres -c "DROP DATABASE $1"; die "the extension can't be created"; }
}

# worker_command HTTP_PORT: sets worker to the command that runs it, as these scripts do, against the database of the
# PG* variables.
worker_command() {
    worker=("$(worker_binary)" run --http-address "127.0.0.1:$1" --allow-network 127.0.0.0/8 --allow-network ::1/128)
}
