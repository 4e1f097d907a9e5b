# The services for tests and benchmarks. Source it after machine.sh, engine.sh and postgres.sh.

RUN_DIR=
# An engine of this run's own listens where Docker is expected, since none is running there.
ENGINE_AT=/var/run/docker.sock

# Start the services that are not running yet; tests/services.py reads the variables.
provide_services() {
    trap stop_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    RUN_DIR=$(mktemp -d /var/tmp/jobd-run.XXXXXX)
    if engine_answers || { command -v dockerd >/dev/null && can_be_root && start_engine "$RUN_DIR/engine"; }; then
        export JOBD_TEST_DOCKER=unix://$ENGINE_SOCKET
    fi
    if [[ -z ${JOBD_TEST_POSTGRES:-} ]] && start_postgres; then
        export JOBD_TEST_POSTGRES=$POSTGRES_URL
    fi
}

# Prints nothing, so that the last line of the output is the run's own.
stop_services() {
    trap '' INT TERM
    stop_postgres
    stop_engine
    rm -rf "$RUN_DIR"
}
