#!/usr/bin/env bash
# Builds everything as it is shipped, then measures: run.sh run [NAME...] [--quick] and what else pg-webhook-bench takes.
. "$(dirname "$0")/../scripts/lib.sh"
use_postgres
export PROFILE=release
bench/setup.sh
scripts/build.sh all
cargo build --locked --release -p pg-webhook-bench
export PG_WEBHOOK_TEST_BINDIR=$pgbin
PG_WEBHOOK_WORKER=$(worker_binary)
export PG_WEBHOOK_WORKER
export PG_WEBHOOK_BENCH_PEERS=$tools/peers
if [ "$EUID" = 0 ]; then export PG_WEBHOOK_TEST_OSUSER=$db_user; fi
exec "$target/release/pg-webhook-bench" "$@"
