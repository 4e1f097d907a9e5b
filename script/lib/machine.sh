# The machine: root, packages and virtual environments. Sourced by the scripts. Expects $ROOT, the top of the clone.

export DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

can_be_root() {
    [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n -- "$@"; fi
}

systemd_runs() {
    [[ -d /run/systemd/system ]]
}

# Print the Debian packages that are missing for the given needs, one per line.
missing_packages() {
    local need
    for need in "$@"; do
        case $need in
        venv) python3 -c 'import ensurepip, venv' 2>/dev/null || printf '%s\n' python3 python3-venv ;;
        curl | faketime | iptables | nginx | openssl | sqlite3 | wrk) command -v "$need" >/dev/null || echo "$need" ;;
        docker) command -v docker >/dev/null || docker_cli_package ;;
        dockerd) command -v dockerd >/dev/null || echo docker.io ;;
        busybox) busybox_is_static || echo busybox-static ;;
        postgresql) postgres_bin >/dev/null || echo postgresql ;;
        docker-registry) command -v docker-registry >/dev/null || echo docker-registry ;;
        ip) command -v ip >/dev/null || echo iproute2 ;;
        sshd) command -v sshd >/dev/null || echo openssh-server ;;
        *) echo "missing_packages: no such need: $need" >&2 && return 2 ;;
        esac
    done | sort -u
}

# Debian 13 has Docker's command line in a separate package, Debian 12 and Ubuntu in that of the engine.
docker_cli_package() {
    (
        . /etc/os-release
        if [[ $ID == debian && ${VERSION_ID:-13} -ge 13 ]]; then echo docker-cli; else echo docker.io; fi
    )
}

busybox_is_static() {
    local program
    program=$(command -v busybox) && ! ldd "$program" >/dev/null 2>&1
}

# Print the folder of the newest PostgreSQL server's programs.
postgres_bin() {
    local found
    found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [[ -x $found ]] && dirname "$found"
}

# Print and install Debian packages. Fails without root or apt. Their services are not started, and those that would
# listen on a port after the next boot are disabled.
install_packages() {
    local log status=0
    [[ $# -gt 0 ]] || return 0
    echo "Installing Debian packages: $*"
    if ! command -v apt-get >/dev/null || ! can_be_root; then
        echo "  not possible: it takes apt-get, and root or sudo without a password" >&2
        return 1
    fi
    log=$(mktemp)
    (
        flock 9
        without_service_starts apt_install "$@"
    ) 9</var/lib/dpkg >"$log" 2>&1 || status=$?
    [[ $status -eq 0 ]] || tail -n 15 "$log" >&2
    systemd_runs && switch_off_services "$@"
    rm -f "$log"
    return "$status"
}

switch_off_services() {
    local package
    for package in "$@"; do
        case $package in
        nginx | postgresql | docker-registry) as_root systemctl disable --now "$package.service" ;;
        openssh-server) as_root systemctl disable --now ssh.socket ssh.service ;;
        esac
    done >/dev/null 2>&1
}

apt_install() {
    local command=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300)
    # The first attempt fails if package lists are missing or stale. An update may fail for a repository not needed here.
    "${command[@]}" install --no-install-recommends "$@" && return
    "${command[@]}" update || true
    "${command[@]}" install --no-install-recommends "$@"
}

# Run a command without letting Debian's packages start services (invoke-rc.d calls policy-rc.d, also under systemd).
without_service_starts() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    "$@" || status=$?
    as_root rm -f "$policy"
    return "$status"
}

# make_venv KIND: set VENV to $ROOT/.venv-KIND and create it, with jobd installed as editable. Does nothing if it is up
# to date, and refuses a folder that it did not create itself.
#   demo    what jobd needs
#   test    also what the tests need
#   lowest  the same, at the lowest versions that pyproject.toml allows
make_venv() {
    VENV=$ROOT/.venv-$1
    (
        # Locked, so that two concurrent runs in one clone create it once.
        flock 9
        local stamp
        stamp=$(venv_stamp)
        if grep -qsxF "$stamp" "$VENV/.jobd"; then
            echo "$VENV is up to date"
            return
        fi
        if [[ -e $VENV && ! -e $VENV/.jobd ]]; then
            echo "$VENV was not created by jobd's scripts: move it away" >&2
            return 1
        fi
        echo "Making $VENV: jobd and what it needs"
        rm -rf "$VENV" && mkdir "$VENV" && : >"$VENV/.jobd" && python3 -m venv "$VENV" && install_jobd "$1" || return
        echo "$stamp" >"$VENV/.jobd"
    ) 9<"$ROOT"
}

install_jobd() {
    local pip=("$VENV/bin/pip" install -qq --disable-pip-version-check)
    case $1 in
    demo) "${pip[@]}" -e "$ROOT" ;;
    test) "${pip[@]}" -e "$ROOT[test]" ;;
    lowest)
        lowest_versions >"$VENV/lowest.txt" && "${pip[@]}" -e "$ROOT[test]" --constraint "$VENV/lowest.txt"
        ;;
    esac
}

# Print the lower bound of each dependency as the version to install.
lowest_versions() {
    python3 - "$ROOT/pyproject.toml" <<'PYTHON'
import re, sys, tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
    name, version = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:,.*)?", requirement).groups()
    print(f"{name}=={version}")
PYTHON
}

# A hash of all that an installed virtual environment depends on, which includes the names of the packages.
venv_stamp() {
    { cat "$ROOT/pyproject.toml" "$ROOT/setup.py" && python3 -VV && ls -I "*.egg-info" "$ROOT/plugins" && echo "$ROOT"; } | sha256sum
}

free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
