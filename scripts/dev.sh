#!/usr/bin/env bash
# The development cluster and its worker, as they stay for whoever works on or tries pg_webhook:
# dev.sh up|status|psql|down|clean.
. "$(dirname "$0")/lib.sh"
use_postgres
pid_file=$state/worker.pid
log=$state/worker.log

client_env() { . "$state/env"; worker_port=${WEBHOOK_WORKER_URL##*:}; }

# Which build a process runs: of the worker itself, and of the library that its sessions in the server have loaded.
build_id() { stat -L -c %Y:%s:%i "$(worker_binary)" "$("$pgbin/pg_config" --pkglibdir)/pg_webhook.so" | tr '\n' ' '; }

# Sets worker_pid to the worker's, if it still runs.
find_worker() {
    local started
    read -r worker_pid started worker_build 2>/dev/null <"$pid_file" && [ "$(start_time "$worker_pid")" = "$started" ]
}

stop_worker() {
    find_worker || { rm -f "$pid_file"; return 0; }
    kill -TERM "$worker_pid"
    wait_until 20 worker_is_gone || kill -KILL "$worker_pid"
    rm -f "$pid_file"
    say "worker stopped"
}
worker_is_gone() { ! find_worker; }

start_worker() {
    local build
    build=$(build_id)
    if find_worker; then
        if [ "$worker_build" = "${build% }" ]; then return; fi
        say "the worker or the extension was built anew: restarting the worker"
        stop_worker
    fi
    worker_command "$worker_port"
    setsid "${worker[@]}" >>"$log" 2>&1 </dev/null 9>&- &
    echo "$! $(start_time $!) $build" >"$pid_file"
    wait_until 30 worker_settled || true
    worker_answers || { tail -n 15 "$log" >&2; die "the worker does not answer; its log is .local/worker.log"; }
    say "worker answers at $WEBHOOK_WORKER_URL"
}
worker_answers() { http_get "$worker_port" /healthz >/dev/null; }
worker_settled() { worker_answers || ! find_worker; }

# A database keeps the SQL of the build it was made with: nothing upgrades from build to build of one version.
sql_id() { cat "$("$pgbin/pg_config" --sharedir)"/extension/pg_webhook--*.sql | cksum; }
find_database() {
    if ! database_exists "$PGDATABASE"; then
        make_database "$PGDATABASE"
        sql_id >"$state/sql-id"
    elif [ "$(cat "$state/sql-id")" != "$(sql_id)" ]; then
        say "the extension's SQL changed since database $PGDATABASE was made: 'make clean up' makes it anew"
    fi
}

up() {
    scripts/cluster.sh start
    client_env
    find_database
    start_worker
}

status() {
    scripts/cluster.sh status || true
    [ -e "$state/env" ] || return 0
    client_env
    if find_worker; then
        say "worker: running as process $worker_pid, $WEBHOOK_WORKER_URL/healthz says $(http_get "$worker_port" /healthz || echo nothing)"
    else
        say "worker: not running"
    fi
    say "deliveries owed: $(psql -XAtq -c 'SELECT count(*) FROM webhook.queue' 2>/dev/null || echo unknown)"
}

clean() {
    stop_worker
    scripts/cluster.sh remove
    find "$state" -mindepth 1 -maxdepth 1 ! -name tools ! -name lock -exec rm -rf {} +
    say "kept: target/ ('cargo clean' removes it) and .local/tools/ (what 'make setup' built for this clone)"
}

case ${1:-} in
up)
    lock
    up
    ;;
status) status ;;
psql)
    [ -e "$state/env" ] || die "there is no development cluster: run 'make up'"
    client_env
    exec psql
    ;;
down)
    lock
    stop_worker
    scripts/cluster.sh stop
    ;;
clean)
    lock
    clean
    ;;
*) die "what to do: up, status, psql, down or clean" ;;
esac
