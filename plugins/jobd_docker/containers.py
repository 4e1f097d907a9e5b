"""Translates a RunSpec to a container's configuration, and a container's state to a Status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import docker
from docker.types import LogConfig, Mount

from jobd.executor import RunSpec, State, Status
from jobd_docker.options import ContainerOptions

INSTALLATION = "jobd.installation"
DAEMON = "jobd.daemon"
EXEC = "jobd.exec"

SIGNALS_TO_GROUP = {"TINI_KILL_PROCESS_GROUP": "1"}
"""Replaces the option `-g` of tini, Docker's init, which Docker cannot pass to it. The command sees it, too."""

LOG_FILES = 5
LOG_FILE = 4
"""The size of one log file in units of `max_log`. The oldest file is dropped when a new one begins, and each line takes
28 bytes more than its own, so that `max_log` bytes are always kept, however short the lines are.
"""
SMALLEST_LOG_FILE = 65536

_STATES = {
    "created": State.CREATED,
    "running": State.RUNNING,
    "paused": State.RUNNING,
    "restarting": State.RUNNING,
    "exited": State.ENDED,
    # The engine died while it removed the container. Its exit code is 0 even if it never ran.
    "dead": State.GONE,
    "removing": State.GONE,
}


def labels(spec: RunSpec, region: str) -> dict[str, str]:
    own = {
        INSTALLATION: spec.installation,
        DAEMON: spec.daemon,
        EXEC: spec.exec_id,
        "jobd.job": str(spec.job_id),
        "jobd.namespace": spec.namespace,
        "jobd.region": region,
    }
    return {**spec.labels, **own}


def configuration(client: docker.APIClient, spec: RunSpec, options: ContainerOptions, region: str) -> dict[str, Any]:
    """The arguments of `create_container` except the name."""
    log_file = str(max(LOG_FILE * spec.max_log, SMALLEST_LOG_FILE))
    host = client.create_host_config(
        init=options.init != "no",
        mem_limit=spec.memory,
        memswap_limit=spec.memory,
        nano_cpus=round(spec.cpus * 1_000_000_000),
        pids_limit=options.pids_limit,
        security_opt=["no-new-privileges"],
        cap_drop=["ALL"],
        cap_add=list(options.cap_add),
        read_only=options.read_only,
        network_mode=options.network,
        mounts=[Mount(mount.target, mount.source, type="bind", read_only=mount.read_only) for mount in spec.mounts],
        # The only driver that keeps all bytes unchanged.
        log_config=LogConfig(
            type="local", config={"max-size": log_file, "max-file": str(LOG_FILES), "compress": "false"}
        ),
    )
    return {
        "image": spec.image,
        "command": None if spec.argv is None else list(spec.argv),
        "environment": {**spec.environment, **(SIGNALS_TO_GROUP if options.init == "group" else {})},
        "labels": labels(spec, region),
        "host_config": host,
        # Without it docker-py adds the proxies of the daemon's own ~/.docker/config.json.
        "use_config_proxy": False,
    }


def state(name: str) -> State:
    """The state for Docker's `State.Status`."""
    return _STATES[name]


def status(inspected: Mapping[str, Any]) -> Status:
    """The status of an inspected container. Times are of the engine's clock, cut to microseconds."""
    raw = inspected["State"]
    what = state(raw["Status"])
    finished = time(raw["FinishedAt"])
    if what is State.RUNNING and finished is not None:
        # A second start does not clear the time of the first end.
        return Status(State.ENDED, ended_at=finished, ran_again=True)
    started = time(raw["StartedAt"])
    ended = finished if what is State.ENDED else None
    if started is not None and ended is not None:
        # The engine records the start after the program has begun, which may even have ended by then.
        started = min(started, ended)
    return Status(
        what,
        exit_code=raw["ExitCode"] if what is State.ENDED else None,
        started_at=started,
        ended_at=ended,
        oom_killed=raw["OOMKilled"],
        message=raw["Error"],
    )


def time(text: str) -> datetime | None:
    """A time of the engine, in RFC 3339; None for Go's zero time, which means never."""
    return None if text.startswith("0001-") else datetime.fromisoformat(text)
