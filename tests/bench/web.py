"""The API under load: one job read, a job made, a page of a long list; against Tornado, threads and peewee alone."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.bench.measure import Figure, at_least, by_rounds, interleaved
from tests.bench.rows import add_jobs
from tests.bench.world import DATABASES, World
from tests.services import ROOT, free_port, wait_for_port

CONNECTIONS = 16
NEW_JOB = {
    "name": "bench",
    "command": "true",
    "docker_image_repo": "index.example.com/team/nightly",
    "docker_image_tag": "latest",
}


def api_read(world: World) -> list[Figure]:
    return [_compared(world, kind, "api-read", "one job", "/v1/jobs/1", 100) for kind in DATABASES]


def api_write(world: World) -> list[Figure]:
    return [_compared(world, kind, "api-write", "create a job", "/v1/jobs", 100, NEW_JOB) for kind in DATABASES]


def api_list(world: World) -> list[Figure]:
    listed = world.scale.listed
    what, path = f"20 of {listed:,} jobs", "/v1/jobs?page_size=20"
    return [_compared(world, kind, "api-list", what, path, listed) for kind in DATABASES]


def _compared(
    world: World, kind: str, bench: str, what: str, path: str, jobs: int, body: dict[str, str] | None = None
) -> Figure:
    """Requests a second on one database with `jobs` jobs."""
    with world.database(kind) as (url, database):
        add_jobs(database, jobs)
        with world.daemon(url=url) as daemon, floor(world, url) as port:
            headers = {"Authorization": f"Token {daemon.token}"}
            pairs = interleaved(
                world.scale.rounds,
                lambda: rate(f"http://127.0.0.1:{daemon.port}{path}", headers, body, world.scale.request_seconds),
                lambda: rate(f"http://127.0.0.1:{port}{path}", {}, body, world.scale.request_seconds),
            )
    return by_rounds(bench, f"{what}, {kind}", "/s", pairs, at_least(0.8))


@contextmanager
def floor(world: World, url: str) -> Iterator[int]:
    """The floor's server in a process of its own; its port."""
    port = free_port()
    log = world.new_folder() / "floor.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tests.bench.web_floor", url, str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    try:
        wait_for_port(port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait()


def rate(url: str, headers: dict[str, str], body: dict[str, str] | None, seconds: float) -> float:
    """Answered requests a second over kept connections, all of them good; by wrk, or without it by our own client."""
    answer = requests.request("POST" if body else "GET", url, headers=headers, json=body, timeout=30)
    answer.raise_for_status()
    if shutil.which("wrk"):
        return _by_wrk(url, headers, body, seconds)
    given = json.dumps({"url": url, "headers": headers, "body": body, "seconds": seconds, "connections": CONNECTIONS})
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.web_client", given], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return float(run.stdout)


def _by_wrk(url: str, headers: dict[str, str], body: dict[str, str] | None, seconds: float) -> float:
    # The token stays out of the list of processes.
    script = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    if body:
        script += ['wrk.method = "POST"', 'wrk.headers["Content-Type"] = "application/json"']
        script += [f"wrk.body = {json.dumps(json.dumps(body))}"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write("\n".join(script))
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(round(seconds), 1)}s", "-s", file.name, url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    found = re.search(r"Requests/sec:\s*([\d.]+)", said)
    assert found, said
    return float(found[1])
