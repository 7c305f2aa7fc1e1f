#!/usr/bin/env bash
# Installs what only the benches need, pinned in bench/peers, for this clone alone: Node 22 and the peers' packages.
# Where all is there it does nothing.
. "$(dirname "$0")/../scripts/lib.sh"
peers=$tools/peers

installed() { cmp -s bench/peers/package-lock.json "$peers/package-lock.json" && "$peers/node_modules/.bin/node" --version >/dev/null 2>&1; }

install_peers() {
    command -v npm >/dev/null || die "npm is missing: run 'scripts/setup.sh test'"
    say 'missing: graphile-worker, pg-boss and their Node (what the benches measure against)'
    rm -rf "$peers.new"
    mkdir -p "$peers.new"
    cp bench/peers/package{,-lock}.json "$peers.new/"
    (cd "$peers.new" && npm ci --silent --no-audit --no-fund)
    rm -rf "$peers"
    mv "$peers.new" "$peers"
}

installed || install_peers
# Beside their packages, where Node looks for them.
cp bench/peers/*.mjs "$peers/"
