#!/usr/bin/env bash
# The private PostgreSQL cluster of this clone, for development: cluster.sh start|stop|status|remove.
# What a client needs to reach it stands in .local/env; no other cluster of this machine is touched.
. "$(dirname "$0")/lib.sh"
use_postgres

# Below .local where the cluster's user can go and a socket's path is short enough, else in /var/tmp.
choose_home() {
    home=$state/cluster
    if as_db test -x "$state" && [[ $home =~ ^[A-Za-z0-9_./+-]{1,80}$ ]]; then return; fi
    home=/var/tmp/pg_webhook-$EUID-$(cksum <<<"$root" | cut -d ' ' -f 1)
}

make_home() {
    mkdir -p "$state"
    choose_home
    if [ ! -d "$home" ]; then
        if [ "${home%/*}" = "$state" ]; then install -d -m 700 -o "$db_user" "$home"; else as_db mkdir -m 700 "$home"; fi
    fi
    [ "$(stat -c %U:%a "$home")" = "$db_user:700" ] || die "$home is not a folder of $db_user alone: remove it"
}

make_data() {
    if [ -d "$home/data" ]; then return; fi
    say "making a cluster of PostgreSQL $pg in $home"
    as_db rm -rf "$home/data.new"
    as_db mkdir -p -m 700 "$home/socket"
    # The socket is reached by this user (and root) alone, TCP asks everybody for the password.
    [ -e "$home/password" ] || od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | (umask 077 && as_db tee "$home/password" >/dev/null)
    as_db initdb -D "$home/data.new" -U postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust \
        --auth-host=scram-sha-256 --pwfile="$home/password" >/dev/null
    as_db tee -a "$home/data.new/postgresql.conf" >/dev/null <<CONF

# pg_webhook's development cluster
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 256MB
max_wal_size = 4GB
max_prepared_transactions = 32
log_line_prefix = '%m [%p] %q%u@%d '
CONF
    as_db mv "$home/data.new" "$home/data"
}

# The ports are chosen once; a port that somebody else has taken meanwhile is chosen again.
write_env() {
    local port=$1 worker_port=$2
    (umask 077 && cat >"$state/env.new") <<ENV
# Written by scripts/cluster.sh. '. .local/env' leads psql and any other client to the development cluster.
export PGHOST=$home/socket
export PGPORT=$port
export PGUSER=postgres
export PGPASSWORD=$(as_db cat "$home/password")
export PGDATABASE=webhook
export WEBHOOK_WORKER_URL=http://127.0.0.1:$worker_port
ENV
    mv "$state/env.new" "$state/env"
    . "$state/env"
}

is_ready() { [ -d "$home/data" ] && pg_isready -q -h "$home/socket" -p "${PGPORT:-0}"; }

start() {
    make_home
    [ ! -e "$state/env" ] || . "$state/env"
    if [ "${PGHOST:-}" != "$home/socket" ] || [ ! -d "$home/data" ]; then
        stop
        make_data
        write_env "$(free_port)" "$(free_port)"
    fi
    if is_ready; then return; fi
    local made_by
    made_by=$(as_db cat "$home/data/PG_VERSION")
    [ "$made_by" = "$pg" ] || die "the cluster was made by PostgreSQL $made_by, this is $pg: 'make clean', or PG_MAJOR=$made_by"
    # Killed, it may still be named in its pid file, and its orphans take a moment to go.
    wait_until 30 start_once || { as_db tail -n 15 "$home/log" >&2; die "PostgreSQL does not start; its log is $home/log"; }
    say "PostgreSQL $pg runs on port $PGPORT"
}

start_once() {
    if is_ready; then return; fi
    if ! port_is_free "$PGPORT"; then write_env "$(free_port)" "${WEBHOOK_WORKER_URL##*:}"; fi
    as_db pg_ctl -s -w -t 60 -D "$home/data" -l "$home/log" -o "-p $PGPORT -k $home/socket" \
        start >/dev/null 2>&1 </dev/null 9>&- || { sleep 0.5; is_ready; }
}

stop() {
    choose_home
    if [ -d "$home/data" ] && as_db pg_ctl -s -D "$home/data" status >/dev/null 2>&1; then
        as_db pg_ctl -s -w -m fast -D "$home/data" stop
        say "PostgreSQL stopped"
    fi
}

status() {
    choose_home
    [ ! -e "$state/env" ] || . "$state/env"
    if is_ready; then say "PostgreSQL $pg: running on port $PGPORT, data in $home"; else say "PostgreSQL $pg: not running"; return 3; fi
}

case ${1:-} in
start) start ;;
stop) stop ;;
status) status ;;
remove)
    stop
    rm -rf "$home"
    ;;
*) die "what to do: start, stop, status or remove" ;;
esac
