#!/usr/bin/env bash
# Installs what a fresh Debian lacks to build and run pg_webhook; `setup.sh test` also what only the tests need.
# Says what and why; where all is there it does nothing.
. "$(dirname "$0")/lib.sh"

missing=()
# need PACKAGE WHY TEST...: the package is wanted where the test fails.
need() {
    local package=$1 why=$2
    shift 2
    "$@" >/dev/null 2>&1 || { missing+=("$package"); say "missing: $package ($why)"; }
}
exists() { compgen -G "$1" >/dev/null; }

need_for_building() {
    need build-essential 'C compiler and headers, for linking and bindgen' command -v cc
    need libclang-dev 'bindgen reads the server headers with it' exists '/usr/lib/llvm-*/lib/libclang*.so'
    need clang 'tells bindgen where the system headers are' command -v clang
    pg=$(pg_major) || { apt_update; pg=$(pg_major); } || die "apt knows no PostgreSQL: set PG_MAJOR"
    need "postgresql-$pg" 'the server that the extension runs in' has_server "$pg"
    need "postgresql-server-dev-$pg" 'its headers' has_headers "$pg"
}

need_for_tests() {
    need pgbouncer 'a transaction pooler must be refused with the reason' command -v pgbouncer
    need libfaketime 'days pass in partition tests' exists '/usr/lib/*/faketime/libfaketime.so.1'
    need iproute2 'a network namespace with a public address' command -v ip
    need openssl 'certificates of test receivers' command -v openssl
    clients_of_python || need python3-venv 'verifies signatures with the Python library' python3 -c 'import ensurepip, venv'
    clients_of_node || need nodejs 'verifies signatures with the Node library' command -v node
    clients_of_node || need npm 'installs the Node library' command -v npm
}

apt_update() {
    [ -z "${updated:-}" ] || return 0
    command -v apt-get >/dev/null || die "this is no Debian: install what is missing by hand"
    say "apt-get update"
    as_root apt-get update -qq
    updated=1
}

# Nothing that is installed here may start, be enabled, or make a cluster: only this clone's own processes run.
apt_install() {
    local quiet=/usr/sbin/policy-rc.d no_cluster=/etc/postgresql-common/createcluster.d/pg_webhook-setup.conf
    apt_update
    trap 'as_root rm -f "${undo[@]}"' EXIT
    undo=("$no_cluster")
    as_root mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
    if [ ! -e "$quiet" ]; then
        undo+=("$quiet")
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$quiet" >/dev/null
        as_root chmod 755 "$quiet"
    fi
    say "apt-get install ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$state/apt.log" 2>&1 </dev/null ||
        { tail -n 20 "$state/apt.log" >&2; die "apt-get failed; all it said is in .local/apt.log"; }
    as_root rm -f "${undo[@]}"
    trap - EXIT
    if [[ " ${missing[*]} " == *' pgbouncer '* ]]; then as_root update-rc.d pgbouncer disable; fi
}

install_cargo_pgrx() {
    say "missing: cargo-pgrx $pgrx_version (builds the extension); cargo install takes a few minutes"
    # Without its default features it needs no OpenSSL: TLS is only for downloading PostgreSQL, which is not done here.
    cargo install --quiet --locked --no-default-features --root "$tools/cargo" "cargo-pgrx@$pgrx_version"
}

# The libraries that others verify webhooks with, pinned in tests/clients, for this clone alone.
clients_of_python() { cmp -s tests/clients/requirements.txt "$tools/python/requirements.txt"; }
clients_of_node() { cmp -s tests/clients/package-lock.json "$tools/node/package-lock.json"; }
install_clients() {
    if ! clients_of_python; then
        say 'missing: Python packages (a library that verifies signatures, and a mail server, for tests)'
        rm -rf "$tools/python"
        python3 -m venv "$tools/python"
        "$tools/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
            -r tests/clients/requirements.txt
        cp tests/clients/requirements.txt "$tools/python/"
    fi
    if ! clients_of_node; then
        say 'missing: standardwebhooks for Node (verifies signatures in tests)'
        rm -rf "$tools/node.new"
        mkdir -p "$tools/node.new"
        cp tests/clients/package{,-lock}.json "$tools/node.new/"
        (cd "$tools/node.new" && npm ci --silent --no-audit --no-fund)
        rm -rf "$tools/node"
        mv "$tools/node.new" "$tools/node"
    fi
}

components() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    say 'missing: rustfmt or clippy (make test checks with them)'
    command -v rustup >/dev/null || die "install rustfmt and clippy for this Rust, then run this again"
    rustup component add rustfmt clippy
}

mkdir -p "$tools"
command -v cargo >/dev/null || die "Rust is missing: https://rustup.rs, then run this again"
need_for_building
[ "${1:-}" != test ] || need_for_tests
[ ${#missing[@]} = 0 ] || apt_install
cargo_pgrx >/dev/null || install_cargo_pgrx
[ "${1:-}" != test ] || { components && install_clients; }
