#!/usr/bin/env bash
# Holds the house's plan (ARCHITECTURE.md): who may depend on whom, what the rules may not touch, how large a room grows.
. "$(dirname "$0")/lib.sh"
status=0
wrong() { say "$*"; status=1; }

# may_not_use PACKAGE WHY CRATES... [-- CARGO-ARGUMENTS...]: also not by way of others.
may_not_use() {
    local package=$1 why=$2 crates=() tree found
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do crates+=("$1"); shift; done
    # The first line is the package itself.
    tree=$(cargo tree --quiet --locked -p "$package" --edges normal,build --prefix none --format '{p}' "${@:2}")
    found=$(tail -n +2 <<<"$tree" | cut -d ' ' -f 1 | grep -xE "$(IFS='|'; echo "${crates[*]}")" | sort -u | tr '\n' ' ' || true)
    [ -z "$found" ] || wrong "$package uses $found- $why"
}

# no_match WHY PATTERN FILES...
no_match() {
    local why=$1 pattern=$2 found
    shift 2
    found=$(grep -rnE "$pattern" "$@" || true)
    [ -z "$found" ] || wrong "$found"$'\n'"  - $why"
}

may_not_use pg-webhook-protocol 'rules are pure: no server, no runtime, no network, no randomness' \
    'pgrx.*' 'tokio.*' 'actix.*' 'reqwest' 'hyper' '.*postgres.*' 'rand' 'fastrand' 'getrandom'
may_not_use pg_webhook 'the extension sends nothing and knows no worker' pg-webhook-worker 'tokio.*' 'actix.*' 'reqwest' -- --no-default-features --features pg15
may_not_use pg-webhook-worker 'the worker knows the database through SQL only' 'pgrx.*' pg_webhook
may_not_use pg-webhook-tests 'tests drive what is installed, from outside' 'pgrx.*' pg_webhook pg-webhook-worker
may_not_use pg-webhook-bench 'benches measure what is installed, from outside' 'pgrx.*' pg_webhook pg-webhook-worker pg-webhook-protocol

no_match 'time, randomness and the outside world come in as arguments' \
    'SystemTime::now|Instant::now|std::(fs|env|process|thread)|Tcp(Stream|Listener)|UdpSocket|rand::' protocol/src
for file in protocol/src/lib.rs worker/src/main.rs tests/harness/lib.rs bench/src/main.rs; do
    grep -q '^#!\[forbid(unsafe_code)\]' "$file" || wrong "$file lacks #![forbid(unsafe_code)]: only the extension needs unsafe code"
done
while read -r lines file; do
    [ "$lines" -le 400 ] || wrong "$file has $lines lines: split it by role (400 at most)"
done < <(find protocol extension worker tests bench sql scripts -name node_modules -prune -o \( -name '*.rs' -o -name '*.sql' -o -name '*.sh' \) -type f -exec wc -l {} + | grep -v ' total$')
exit $status
