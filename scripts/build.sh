#!/usr/bin/env bash
# Builds the worker and the extension, and installs the extension into the server: build.sh extension|worker|all.
# PROFILE=dev builds both for tests. What has not changed is neither built nor installed again.
. "$(dirname "$0")/lib.sh"

build_worker() {
    cargo build --locked --profile "$PROFILE" -p pg-webhook-worker
}

# What a package is made of: the sources and the server. (Times of files say too little: a target folder may be copied.)
package_id() {
    { "$pgbin/pg_config" --version; find Cargo.toml Cargo.lock protocol extension sql -type f -print0 | sort -z | xargs -0 cksum; } | cksum
}

# Packages the extension below target/extension, unless that is done. (cargo-pgrx would do it all again each time.)
package_extension() {
    local id
    id=$(package_id)
    if [ "$(cat "$stage.id" 2>/dev/null)" = "$id" ]; then return; fi
    say "building the extension for PostgreSQL $pg ($PROFILE)"
    rm -rf "$stage" "$stage.id"
    env "${extension_env[@]}" PGRX_PG_CONFIG_PATH="$pgbin/pg_config" \
        "$(cargo_pgrx)" pgrx package -p pg_webhook -c "$pgbin/pg_config" --profile "$PROFILE" --out-dir "$stage" \
        --no-default-features --features "pg$pg" >/dev/null
    echo "$id" >"$stage.id"
}

# A running backend maps the library: a new file takes its place, the old one is never written to.
install_extension() {
    local file to
    while IFS= read -r -d '' file; do
        to=/${file#"$stage/"}
        if cmp -s "$file" "$to"; then continue; fi
        say "installing $to"
        as_root install -D -m 644 "$file" "$to.new"
        as_root mv -f "$to.new" "$to"
    done < <(find "$stage" -type f -print0 | sort -z)
    for file in "$("$pgbin/pg_config" --sharedir)"/extension/pg_webhook--*.sql; do
        if [ ! -e "$stage$file" ]; then as_root rm -f "$file"; fi
    done
}

build_extension() {
    use_postgres
    cargo_pgrx >/dev/null || die "cargo-pgrx $pgrx_version is missing: run 'make setup'"
    stage=$target/extension/package-pg$pg-$PROFILE
    package_extension
    install_extension
}

case ${1:-all} in
extension) build_extension ;;
worker) build_worker ;;
all)
    build_worker
    build_extension
    ;;
*) die "what to build: extension, worker or all" ;;
esac
