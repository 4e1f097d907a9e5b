# The services of a run of tests or benches. Sourced after machine.sh, engine.sh and postgres.sh.

RUN_DIR=
# Where an engine of the run's own listens: where Docker is expected, since none answers there.
ENGINE_AT=/var/run/docker.sock

# Start what does not run yet; tests/services.py knows the variables.
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

# Silent: the last line is the run's own.
stop_services() {
    trap '' INT TERM
    stop_postgres
    stop_engine
    rm -rf "$RUN_DIR"
}
