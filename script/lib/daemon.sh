# A jobd of this run's own in $RUN_DIR, and calls to it. Source it after machine.sh and engine.sh.

JOBD_PID=
URL=
TOKEN_FILE=

# Start it on a free loopback port, with SQLite and the engine at $ENGINE_SOCKET, or without an engine if that is empty.
# Its containers use the network $NETWORK.
start_jobd() {
    local try
    mkdir -p "$RUN_DIR/data"
    TOKEN_FILE=$RUN_DIR/data/admin.token
    # Another process may take the free port before jobd does.
    for try in 1 2 3; do
        URL=http://127.0.0.1:$(free_port)
        write_ini >"$RUN_DIR/jobd.ini"
        setsid "$VENV/bin/jobd" serve -c "$RUN_DIR/jobd.ini" >"$RUN_DIR/jobd.log" 2>&1 &
        JOBD_PID=$!
        wait_until_ready && break
        [[ $try -lt 3 ]] && grep -q 'cannot listen' "$RUN_DIR/jobd.log" || return 1
    done
    (umask 077 && echo "Authorization: Token $(cat "$TOKEN_FILE")" >"$RUN_DIR/authorization")
    echo "jobd serve -c $RUN_DIR/jobd.ini: $URL, pid $JOBD_PID, token in $TOKEN_FILE"
}

write_ini() {
    printf '[jobd]\nlisten = %s\ndata_dir = data\n' "${URL#http://}"
    [[ -n $ENGINE_SOCKET ]] || printf 'default_region = DRYRUN\n'
    printf '[database]\nurl = sqlite:///data/jobd.db\n'
    [[ -z $ENGINE_SOCKET ]] ||
        printf '[region:BEIJING1]\nexecutor = docker\nsocket = unix://%s\nnetwork = %s\n' "$ENGINE_SOCKET" "$NETWORK"
    printf '[region:DRYRUN]\nexecutor = dry-run\n'
}

wait_until_ready() {
    for _ in {1..300}; do
        curl -fsS --noproxy '*' -o /dev/null --max-time 5 "$URL/readyz" 2>/dev/null && return
        kill -0 "$JOBD_PID" 2>/dev/null || break
        sleep 0.1
    done
    return 1
}

stop_jobd() {
    [[ -n $JOBD_PID ]] && kill "$JOBD_PID" 2>/dev/null || return 0
    for _ in {1..150}; do
        kill -0 "$JOBD_PID" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$JOBD_PID"
}

# api METHOD PATH [JSON]: print the response's body. Prints errors on stderr, and fails.
api() {
    local body
    body=$(curl -sS --noproxy '*' --fail-with-body --max-time 30 -X "$1" -H "@$RUN_DIR/authorization" \
        ${3:+-H 'Content-Type: application/json' --data-binary "$3"} "$URL$2") || {
        echo "$1 $2: $body" >&2
        return 1
    }
    printf '%s\n' "$body"
}

# field NAME: print a field of the JSON object on stdin.
field() {
    "$VENV/bin/python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# Print the ids of the scheduled runs in the list on stdin, oldest first.
scheduled() {
    "$VENV/bin/python" -c '
import json, sys
execs = json.load(sys.stdin)["results"]
print(*(one["id"] for one in reversed(execs) if one["trigger_mode"] == "S"), sep="\n", end="")'
}

pretty() {
    "$VENV/bin/python" -m json.tool --no-ensure-ascii | sed 's/^/  /'
}
