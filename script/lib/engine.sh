# A Docker engine: a running one, or one of this run's own. Source it after machine.sh.

ENGINE_SOCKET=${JOBD_DOCKER_SOCKET:-/var/run/docker.sock}
ENGINE_DIR=
ENGINE_UNIT=
ENGINE_BRIDGE=

engine_answers() {
    [[ -S $ENGINE_SOCKET ]] && curl -fsS -o /dev/null --max-time 10 --unix-socket "$ENGINE_SOCKET" http://docker/_ping 2>/dev/null
}

# Run the script again with the group of the socket, if only that is needed to use the engine.
join_engine_group() {
    local group
    [[ $EUID -ne 0 && -S $ENGINE_SOCKET && ! -w $ENGINE_SOCKET ]] || return 0
    group=$(stat -c %G "$ENGINE_SOCKET")
    [[ $group != root && $group != UNKNOWN && $group != "$(id -gn)" ]] && can_be_root || return 0
    exec sudo -n -E -u "$(id -un)" -g "$group" -- "$BASH" "$0" "$@"
}

# Start an engine; stop_engine stops it. The argument is a new folder for its data, log, pid file and socket.
start_engine() {
    if systemd_runs && [[ $EUID -eq 0 && $ENGINE_SOCKET == /var/run/docker.sock ]] && systemctl cat docker.service >/dev/null 2>&1; then
        ENGINE_UNIT=docker.service
        systemctl start "$ENGINE_UNIT"
    else
        start_private_engine "$1"
    fi
    engine_answers
}

start_private_engine() {
    local pid
    ENGINE_DIR=$1
    ENGINE_SOCKET=${ENGINE_AT:-$ENGINE_DIR/docker.sock}
    # With a bridge of its own, since docker0 may belong to another engine.
    ENGINE_BRIDGE=jobd$$
    mkdir -p "$ENGINE_DIR"
    as_root busybox ip link add "$ENGINE_BRIDGE" type bridge &&
        as_root busybox ip addr add "10.$((200 + RANDOM % 50)).$((RANDOM % 256)).1/24" dev "$ENGINE_BRIDGE" &&
        as_root busybox ip link set "$ENGINE_BRIDGE" up || return
    as_root setsid dockerd --host "unix://$ENGINE_SOCKET" --group "$(id -gn)" --pidfile "$ENGINE_DIR/docker.pid" \
        --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec" --bridge "$ENGINE_BRIDGE" \
        >"$ENGINE_DIR/docker.log" 2>&1 &
    pid=$!
    for _ in {1..600}; do
        engine_answers && return
        kill -0 "$pid" 2>/dev/null || as_root kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "dockerd did not start:" >&2
    tail -n 15 "$ENGINE_DIR/docker.log" >&2
    return 1
}

stop_engine() {
    local pid
    if [[ -n $ENGINE_UNIT ]]; then
        systemctl stop docker.socket "$ENGINE_UNIT" 2>/dev/null
    fi
    [[ -n $ENGINE_DIR ]] || return 0
    # The bridges of its networks would remain.
    docker --host "unix://$ENGINE_SOCKET" network prune -f >/dev/null 2>&1
    if pid=$(cat "$ENGINE_DIR/docker.pid" 2>/dev/null); then
        as_root kill "$pid" 2>/dev/null
        while as_root kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
    as_root busybox ip link del "$ENGINE_BRIDGE" 2>/dev/null
    # Where mounts are private, dockerd leaves its data folder as a mount on itself.
    awk -v dir="$ENGINE_DIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mounted; do
        as_root umount "$mounted"
    done
    as_root rm -rf "$ENGINE_DIR"
    ENGINE_DIR=
}
