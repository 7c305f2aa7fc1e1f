#!/usr/bin/env bash
# The main job on real input: every row that unmodified pgbench changes becomes a webhook, delivered, verified by the
# official library and counted. Fails unless receiver, log and tables agree to the last row. RUN_SECONDS=15
. "$(dirname "$0")/lib.sh"
use_postgres
: "${RUN_SECONDS:=15}"
database=webhook_run
run=$state/run          # logs and the secret of the last run

# Everything that is started here ends here, whatever the way out.
finish() {
    # shellcheck disable=SC2046
    kill -TERM $(jobs -pr) 2>/dev/null || true
    # shellcheck disable=SC2046
    wait_until 20 nothing_runs || kill -KILL $(jobs -pr)
    if [ -n "${stop_cluster:-}" ]; then scripts/cluster.sh stop; fi
}
nothing_runs() { [ -z "$(jobs -pr)" ]; }
is_running() { jobs -pr | grep -qx "$1"; }
query() { psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"; }

start_cluster() {
    scripts/cluster.sh status >/dev/null || stop_cluster=1
    scripts/cluster.sh start
    . "$state/env"
    export PGDATABASE=$database
    psql -Xq -v ON_ERROR_STOP=1 -d postgres -c 'SET client_min_messages = warning' \
        -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"
    make_database "$database"
}

# start NAME PORT PATH COMMAND...: in the background, until it answers; sets started to its process.
start() {
    local name=$1 port=$2 path=$3
    shift 3
    "$@" >"$run/$name.log" 2>&1 </dev/null 9>&- &
    started=$!
    wait_until 20 settled "$started" "$port" "$path" || true
    http_get "$port" "$path" >/dev/null || { tail -n 15 "$run/$name.log" >&2; die "the $name does not answer; its log is ${run#"$root/"}/$name.log"; }
}
settled() { http_get "$2" "$3" >/dev/null || ! is_running "$1"; }

start_receiver_and_worker() {
    local worker_port
    receiver_port=$(free_port)
    (umask 077 && query -c "SELECT secret FROM webhook_endpoint_create('http://127.0.0.1:$receiver_port/')" >"$run/secret")
    start receiver "$receiver_port" /stats "$(worker_binary)" listen --port "$receiver_port" --secret-file "$run/secret"
    worker_port=$(free_port)
    worker_command "$worker_port"
    start worker "$worker_port" /healthz "${worker[@]}"
    worker_pid=$started
}

attach_pgbench() {
    pgbench -i -q -s 8 >"$run/pgbench-init.log" 2>&1 || { cat "$run/pgbench-init.log" >&2; die "pgbench -i failed"; }
    query -o /dev/null -c "SELECT webhook_attach(t) FROM unnest('{pgbench_accounts,pgbench_tellers,pgbench_branches,pgbench_history}'::regclass[]) t"
}

stats() { http_get "$receiver_port" /stats || die "the receiver does not answer; its log is ${run#"$root/"}/receiver.log"; }
progress() {
    query -v stats="$(stats)" -v seconds=$((SECONDS - began)) <<'SQL'
SELECT format('%4s s   transactions %s   events %s   received %s   still owed %s', :'seconds',
  (SELECT count(*) FROM pgbench_history), (SELECT count(*) FROM webhook.event), (:'stats'::jsonb)->>'received', (SELECT count(*) FROM webhook.queue))
SQL
}
queue_is_empty() { [ "$(query -c 'SELECT EXISTS (SELECT FROM webhook.queue)')" = f ]; }

# Runs pgbench's built-in TPC-B, then waits for the queue to drain; sets transactions to what pgbench counted.
run_pgbench() {
    local pgbench_pid end
    began=$SECONDS
    pgbench -n -c 8 -j 2 -T "$RUN_SECONDS" >"$run/pgbench.log" 2>&1 </dev/null 9>&- &
    pgbench_pid=$!
    while sleep 2 && is_running "$pgbench_pid"; do progress; done
    wait "$pgbench_pid" || { cat "$run/pgbench.log" >&2; die "pgbench failed"; }
    transactions=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$run/pgbench.log")
    end=$((SECONDS + 60))
    until queue_is_empty; do
        progress
        if [ $SECONDS -ge $end ]; then say "the queue did not drain within 60 s"; break; fi
        sleep 1
    done
    progress
}

mkdir -p "$run"
lock
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start_cluster
start_receiver_and_worker
attach_pgbench
say "pgbench runs for $RUN_SECONDS s; worker, receiver and pgbench write to ${run#"$root/"}/"
run_pgbench
kill -TERM "$worker_pid"
wait "$worker_pid" || { tail -n 15 "$run/worker.log" >&2; die "the worker ended with an error"; }
query -v transactions="$transactions" -v stats="$(stats)" -f scripts/run-report.sql | tee "$run/report"
[ "$(tail -n 1 "$run/report")" = 'all agree' ]
