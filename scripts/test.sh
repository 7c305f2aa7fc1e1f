#!/usr/bin/env bash
# All tests, tier by tier, cheapest first; stops after the first tier that fails. Ends with 'N passed, N failed'.
. "$(dirname "$0")/lib.sh"
use_postgres
export PROFILE=dev
results=$state/test.log
: >"$results"

tier() {
    local title=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$title"
    if "$@" 2>&1 | tee -a "$results"; then
        printf -- '-- %s: ok, %d s\n' "$title" $((SECONDS - began))
    else
        printf -- '-- %s: FAILED, %d s\n' "$title" $((SECONDS - began))
        finish 1
    fi
}

# A tier that failed without a failed test (it did not build, say) counts as one.
finish() {
    echo
    awk -v failed_tier="$1" '
        /^test result: / { passed += $4; failed += $6 }
        END { if (failed_tier && !failed) failed = 1; printf "%d passed, %d failed\n", passed, failed }' "$results"
    exit "$1"
}

# shellcheck disable=SC2317
lint_extension() {
    env "${extension_env[@]}" PGRX_PG_CONFIG_PATH="$pgbin/pg_config" \
        cargo clippy --quiet --locked -p pg_webhook --no-default-features --features "pg$pg" -- -D warnings
}

export PG_WEBHOOK_TEST_BINDIR=$pgbin
PG_WEBHOOK_WORKER=$(worker_binary)
export PG_WEBHOOK_WORKER
export PG_WEBHOOK_TEST_PYTHON=$tools/python/bin/python
export NODE_PATH=$tools/node/node_modules
if [ "$EUID" = 0 ]; then export PG_WEBHOOK_TEST_OSUSER=$db_user; fi

tier 'formatting' cargo fmt --all --check
tier 'architecture' scripts/check-architecture.sh
tier 'lints' cargo clippy --quiet --locked --all-targets -- -D warnings
tier 'lints of the extension' lint_extension
tier 'unit and property tests' cargo test --locked --no-fail-fast -p pg-webhook-protocol -p pg-webhook-worker
tier 'build and install' scripts/build.sh all
tier 'regress and end-to-end tests' cargo test --locked --no-fail-fast -p pg-webhook-tests
finish 0
