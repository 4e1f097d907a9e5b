"""Runs of `true` in Docker: from `POST …/execs` to the record's end, against docker-py's calls for one container."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median
from typing import Any

import docker

from jobd.executor import Region, RunSpec
from jobd_docker import containers
from jobd_docker.options import DockerOptions
from tests.bench.measure import Figure, at_least, at_most, by_rounds, by_samples, interleaved, percentile
from tests.bench.world import World
from tests.e2e.daemon import Daemon

THREADS = 8
CPUS, MEMORY, MAX_LOG = 0.5, 128 * 2**20, 10 * 2**20
SIZES = "BENCH = 0.5 cpu, 128 MB"


class Runs:
    """Jobd's side: a daemon and one job of `true`. The record is looked at in its SQLite file: asking over HTTP for
    an end a thousand times a second would be most of what is measured.
    """

    def __init__(self, daemon: Daemon, image: str, region: str) -> None:
        self._daemon = daemon
        repo, _, tag = image.rpartition(":")
        self._job = daemon.create_job(
            command="true", docker_image_repo=repo, docker_image_tag=tag, region_name=region, resource_size="BENCH"
        )
        self._records = sqlite3.connect(f"file:{daemon.folder / 'var' / 'jobd.db'}?mode=ro", uri=True)

    def one(self) -> float:
        """Seconds of one run."""
        began = time.perf_counter()
        made = self._daemon.trigger(self._job)
        self._until(0.001, "SELECT status = 'S' FROM execs WHERE id = ?", made["id"])
        return time.perf_counter() - began

    def burst(self, count: int) -> float:
        """Runs a second, of `count` triggered at once."""
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            made = list(pool.map(lambda _: self._daemon.trigger(self._job)["id"], range(count)))
        marks = ", ".join("?" * count)
        # Seldom: to look a thousand times a second takes a tenth of a processor from what is measured.
        self._until(0.02, f"SELECT count(*) = {count} FROM execs WHERE status = 'S' AND id IN ({marks})", *made)
        return count / (time.perf_counter() - began)

    def close(self) -> None:
        self._records.close()

    def _until(self, pause: float, question: str, *parameters: Any) -> None:
        deadline = time.monotonic() + 300
        while not self._records.execute(question, parameters).fetchone()[0]:
            assert time.monotonic() < deadline, self._daemon.evidence()
            time.sleep(pause)


class BareRuns:
    """The floor: the same containers straight through docker-py."""

    def __init__(self, client: docker.APIClient, image: str, network: str) -> None:
        self._client = client
        region = Region("BENCH", "bench", DockerOptions(network=network))
        spec = RunSpec(
            installation="bench",
            daemon="bench",
            exec_id="bench",
            job_id=1,
            namespace="bench",
            image=image,
            argv=("true",),
            environment={},
            cpus=CPUS,
            memory=MEMORY,
            max_log=MAX_LOG,
        )
        self._configuration = containers.configuration(client, spec, DockerOptions(network=network), region.name)

    def one(self) -> float:
        began = time.perf_counter()
        self._run()
        return time.perf_counter() - began

    def burst(self, count: int) -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: self._run(), range(count)))
        return count / (time.perf_counter() - began)

    def _run(self) -> None:
        client = self._client
        container = client.create_container(**self._configuration)["Id"]
        client.start(container)
        client.wait(container)
        client.logs(container)
        client.inspect_container(container)
        client.remove_container(container)


def exec_latency(world: World) -> list[Figure]:
    return latency("exec-latency", world, world.docker_region(THREADS), world.engine)


def exec_rate(world: World) -> list[Figure]:
    return rate("exec-rate", world, world.docker_region(THREADS), world.engine)


def latency(bench: str, world: World, region: str, client: docker.APIClient) -> list[Figure]:
    """One run after the other."""
    pairs = _paired(world, region, client, world.scale.latency_runs, lambda runs: runs.one())
    in_ms = [(subject * 1000, floor * 1000) for subject, floor in pairs]
    return [
        by_samples(bench, "p50", "ms", in_ms, median, at_most(1.10)),
        by_samples(bench, "p95", "ms", in_ms, percentile(0.95), at_most(1.25)),
    ]


def rate(bench: str, world: World, region: str, client: docker.APIClient) -> list[Figure]:
    """Many triggered at once, `THREADS` running at a time."""
    count = world.scale.burst
    pairs = _paired(world, region, client, world.scale.rounds, lambda runs: runs.burst(count))
    return [by_rounds(bench, f"{count} at once", "/s", pairs, at_least(0.95))]


def _paired(
    world: World, region: str, client: docker.APIClient, rounds: int, measure: Callable[[Any], float]
) -> list[tuple[float, float]]:
    bare = BareRuns(client, world.image, world.network)
    sections = {"sizes": SIZES, "region:BEIJING1": region}
    with world.daemon(sections) as daemon, closing(Runs(daemon, world.image, "BEIJING1")) as runs:
        for warm in (runs, bare):
            warm.one()
        return interleaved(rounds, lambda: measure(runs), lambda: measure(bare))
