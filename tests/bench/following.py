"""Many followers of one exec's output: do they get all of it, and how late, against one `docker logs --follow`."""

import json
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import docker
import requests

from tests.bench.log_client import delays
from tests.bench.measure import Figure, alone, at_least, at_most, by_rounds, percentile
from tests.bench.world import World
from tests.e2e.daemon import Daemon
from tests.services import ROOT

LINE = 10_000
"""Bytes; a hundred lines a second are 1 MB."""
WRITER = f"sh -c 'line=$(head -c {LINE} /dev/zero | tr \"\\0\" x); while :; do echo $line; usleep 10000; done'"
PROBE = 0.02
"""Seconds between two looks at whether the loop answers."""


def log_follow(world: World) -> list[Figure]:
    repo, _, tag = world.image.rpartition(":")
    sections = {"sizes": "BENCH = 1 cpu, 64 MB", "region:BEIJING1": world.docker_region(4)}
    with world.daemon(sections) as daemon, closing(docker.APIClient(world.docker_socket, version="auto")) as client:
        job = daemon.create_job(command=WRITER, docker_image_repo=repo, docker_image_tag=tag, resource_size="BENCH")
        made = daemon.trigger(job)
        daemon.reached(made, "R")
        try:
            return _measured(world, daemon, client, job["id"], made["id"])
        finally:
            daemon.call("POST", f"/v1/jobs/{job['id']}/execs/{made['id']}/stop")
            daemon.ended(made)


def _measured(world: World, daemon: Daemon, client: docker.APIClient, job: int, exec_id: str) -> list[Figure]:
    seconds, many = world.scale.follow_seconds, world.scale.followers
    (container,) = client.containers(filters={"label": f"jobd.exec={exec_id}"})
    given = {"port": daemon.port, "path": f"/v1/jobs/{job}/execs/{exec_id}/logs?follow=1&timestamps=1&tail=1"}
    given |= {"token": daemon.token, "followers": many, "seconds": seconds}
    floor = _Floor(client, container["Id"])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.log_client", json.dumps(given)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        answers = _probe(daemon, process)
        output, _ = process.communicate()
    late, rate = floor.end()
    told: dict[str, Any] = json.loads(output)
    # as with the lines: those who come are one thing, those who follow another
    coming = [took for began, took in answers if began < told["began"]]
    following = [took for began, took in answers if began >= told["began"]]
    p99 = percentile(0.99)
    who = f"{many} followers"
    return [
        by_rounds("log-follow", f"bytes, the last of {who}", "B/s", [(min(told["rates"]), rate)], at_least(0.95)),
        alone("log-follow", f"delay p50, {who}", "ms", told["delays"]),
        alone("log-follow", f"delay p99, {who}", "ms", told["delays"], statistic=p99),
        alone("log-follow", "delay p99, docker logs", "ms", late, statistic=p99),
        alone("log-follow", "delay p99 beyond that", "ms", [p99(told["delays"]) - p99(late)], at_most(100)),
        alone("log-follow", "p99 of /healthz meanwhile: loop lag at most", "ms", following, at_most(20), p99),
        alone("log-follow", f"longest delay while {who} come", "ms", told["coming"], statistic=max),
        alone("log-follow", "longest /healthz while they come", "ms", coming, statistic=max),
    ]


def _probe(daemon: Daemon, process: "subprocess.Popen[str]") -> list[tuple[float, float]]:
    """When a request began that asks nothing of anybody but the loop, in seconds since the Unix epoch, and the
    milliseconds that it took.
    """
    took = []
    with requests.Session() as session:
        while process.poll() is None:
            at, began = time.time(), time.perf_counter()
            session.get(f"http://127.0.0.1:{daemon.port}/healthz", timeout=30)
            took.append((at, (time.perf_counter() - began) * 1000))
            time.sleep(PROBE)
    return took


class _Floor:
    """One reader of the engine itself, in a thread."""

    def __init__(self, client: docker.APIClient, container: str) -> None:
        self._late: list[float] = []
        self._bytes = 0
        self._began = 0.0
        self._stream = client.logs(container, stream=True, follow=True, timestamps=True, tail=1)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> tuple[list[float], float]:
        """Milliseconds of delay of each line, and bytes a second."""
        took = time.perf_counter() - self._began
        late, taken = list(self._late), self._bytes
        self._stream.close()
        return late, taken / took

    def _read(self) -> None:
        for chunk in self._stream:
            self._late += delays(chunk, datetime.now(UTC))
            if self._began:
                self._bytes += len(chunk)
            else:
                self._began = time.perf_counter()
