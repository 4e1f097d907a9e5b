"""Many who ask for one exec's output and never read it: does the loop go on serving everybody else."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests

from tests.bench.measure import Figure, alone, at_most, percentile
from tests.bench.world import World
from tests.e2e.daemon import Daemon

LINE = "line-$i-" + 57 * "a"
SECONDS_OPEN = 8
"""How long the run goes on behind its last line, so that all are followers of a live run."""
RECEIVE_BUFFER = 4096
"""Bytes that a client's kernel takes, about, although the client does not read."""
PROBE_INTERVAL = 0.01
"""Seconds between two requests for /healthz."""
ACCEPTED = ("text/event-stream", "text/plain")


def followers(world: World) -> list[Figure]:
    repo, _, tag = world.image.rpartition(":")
    count, lines = world.scale.unread_followers, world.scale.unread_lines
    command = f"sh -c 'i=0; while [ $i -lt {lines} ]; do echo {LINE}; i=$((i+1)); done; sleep {SECONDS_OPEN}'"
    sections = {
        "sizes": "BENCH = 1 cpu, 64 MB",
        "region:BEIJING1": world.docker_region(4),
        "limits": f"followers_per_caller = {count}",
    }
    with world.daemon(sections) as daemon:
        job = daemon.create_job(command=command, docker_image_repo=repo, docker_image_tag=tag, resource_size="BENCH")
        exec_ = daemon.trigger(job)
        path = f"/v1/jobs/{job['id']}/execs/{exec_['id']}/logs"
        daemon.reached(exec_, "R")
        with _Probe(daemon) as beside_a_live_run, _unread(daemon, f"{path}?follow=1", count):
            daemon.ended(exec_)
        with _Probe(daemon) as of_a_stored_log, _unread(daemon, f"{path}?follow=1", count):
            time.sleep(world.scale.follow_seconds)
        with _Probe(daemon) as of_whole_answers, _unread(daemon, path, count):
            time.sleep(world.scale.follow_seconds)
    who = f"{count} followers that never read"
    return [
        *_figures(f"{who}, {lines} lines", beside_a_live_run.milliseconds),
        *_figures(f"{who}, of an ended exec", of_a_stored_log.milliseconds),
        *_figures(f"{count} that ask for the whole log and never read", of_whole_answers.milliseconds),
    ]


def _figures(who: str, milliseconds: list[float]) -> list[Figure]:
    return [
        alone("followers", f"p99 of /healthz, {who}", "ms", milliseconds, at_most(50), percentile(0.99)),
        alone("followers", f"longest /healthz, {who}", "ms", milliseconds, at_most(200), max),
    ]


@contextlib.contextmanager
def _unread(daemon: Daemon, path: str, count: int) -> Iterator[None]:
    """So many connections on which `path` was asked for, and nothing is ever read."""
    with contextlib.ExitStack() as opened:
        for number in range(count):
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            client.connect(("127.0.0.1", daemon.port))
            head = [
                f"GET {path} HTTP/1.1",
                "Host: 127.0.0.1",
                f"Authorization: Token {daemon.token}",
                f"Accept: {ACCEPTED[number % len(ACCEPTED)]}",
            ]
            client.sendall("\r\n".join([*head, "", ""]).encode())
        yield


class _Probe:
    """A context in which /healthz is asked again and again; `milliseconds` are what each answer took."""

    def __init__(self, daemon: Daemon) -> None:
        self.milliseconds: list[float] = []
        self._url = f"http://127.0.0.1:{daemon.port}/healthz"
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "_Probe":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._is_over.wait(PROBE_INTERVAL):
                began = time.perf_counter()
                session.get(self._url, timeout=60).raise_for_status()
                self.milliseconds.append((time.perf_counter() - began) * 1000)
