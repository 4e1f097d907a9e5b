# A PostgreSQL cluster of this run's own, apart from the system's. Source it after machine.sh.

POSTGRES_DIR=
POSTGRES_URL=
POSTGRES_FSYNC=off

# Start it on a free loopback port and set POSTGRES_URL; stop_postgres stops it.
start_postgres() {
    local bin port password
    bin=$(postgres_bin) || return
    POSTGRES_DIR=$(as_postgres mktemp -d /tmp/jobd-postgres.XXXXXX) || return
    port=$(free_port)
    password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
    as_postgres sh -c 'umask 077; cat >"$1"' sh "$POSTGRES_DIR/password" <<<"$password"
    # Nothing here outlives the run, so unless the caller says otherwise, data need not survive a crash.
    if as_postgres "$bin/initdb" -D "$POSTGRES_DIR/data" -U postgres -E UTF8 --locale=C.UTF-8 -A scram-sha-256 \
        --pwfile "$POSTGRES_DIR/password" --no-sync >/dev/null &&
        as_postgres "$bin/pg_ctl" -D "$POSTGRES_DIR/data" -l "$POSTGRES_DIR/log" -w -t 60 start -o \
            "-p $port -k $POSTGRES_DIR -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=$POSTGRES_FSYNC \
             -c full_page_writes=$POSTGRES_FSYNC" >/dev/null; then
        POSTGRES_URL=postgresql://postgres:$password@127.0.0.1:$port/postgres
        return
    fi
    as_postgres tail -n 15 "$POSTGRES_DIR/log" >&2
    return 1
}

stop_postgres() {
    [[ -n $POSTGRES_DIR ]] || return 0
    as_postgres "$(postgres_bin)/pg_ctl" -D "$POSTGRES_DIR/data" -m immediate -w stop >/dev/null 2>&1
    as_postgres rm -rf "$POSTGRES_DIR"
    POSTGRES_DIR=
}

# The server refuses to run as root.
as_postgres() {
    if [[ $EUID -ne 0 ]]; then
        "$@"
    else
        (cd / && setpriv --reuid postgres --regid postgres --init-groups -- "$@")
    fi
}
