"""The worst requests that were found, alone and many at once: how long `/healthz` waits meanwhile.

What a thread of the daemon, or this one, waits for a processor is taken off: on a machine that others use, and with the
40 clients on it, that is far more than the loop's own stops, and no fault of a request.
"""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import hostile_requests
from tests.bench.measure import Figure, alone, at_most
from tests.bench.world import World
from tests.e2e.daemon import Daemon
from tests.services import ROOT

MAX_STOP = 100.0
"""Milliseconds that no request, and no number of them, may hold the loop."""
PROBE = 0.002
"""Seconds between two looks at whether the loop answers."""


def hostile(world: World) -> list[Figure]:
    figures = []
    # Each body is a job of its own: whether so many may wait is not the question.
    with world.daemon({"limits": "waiting_per_namespace = 100000"}) as daemon:
        made = hostile_requests.prepared(daemon, world.scale.hostile_jobs)
        leaving = hostile_requests.of_those_who_leave(made)
        for name, request in (hostile_requests.requests(made) | leaving).items():
            for count in (1, world.scale.hostile_at_once):
                took, statuses = _sent(world, daemon, request, count, name in leaving)
                what = f"{name}; {'alone' if count == 1 else f'{count} at once'} ({_told(statuses)})"
                figures.append(alone("hostile", f"longest /healthz: {what}", "ms", took, at_most(MAX_STOP), max))
    return figures


def _sent(world: World, daemon: Daemon, request: bytes, count: int, leaves: bool) -> tuple[list[float], list[int]]:
    """Milliseconds of each `/healthz` while the request is sent and answered, and the answers' statuses."""
    file = world.new_folder() / "request"
    file.write_bytes(request)
    numbers = map(str, (count, world.scale.hostile_rounds, int(leaves)))
    command = [sys.executable, "-m", "tests.bench.hostile_client", str(daemon.port), str(file), *numbers]
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    took = []
    waits = _Waits(daemon)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while not took or process.poll() is None:
            waits.begin()
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            took.append(max(time.perf_counter() - began - waits.since(), 0) * 1000)
            time.sleep(PROBE)
        output, _ = process.communicate()
    connection.close()
    return took, json.loads(output)


class _Waits:
    """What threads wait for a processor, as Linux counts it (proc(5), schedstat)."""

    def __init__(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        self._tasks = Path(f"/proc/{daemon.process.pid}/task")
        self._before: dict[str, int] = {}
        self._ours = 0

    def begin(self) -> None:
        self._before, self._ours = self._read(), _waited(Path("/proc/thread-self"))

    def since(self) -> float:
        """Seconds since then: ours, and those of that thread of the daemon that waited for longest."""
        longest = max(waited - self._before.get(name, waited) for name, waited in self._read().items())
        return (longest + _waited(Path("/proc/thread-self")) - self._ours) / 1e9

    def _read(self) -> dict[str, int]:
        return {task.name: _waited(task) for task in self._tasks.iterdir()}


def _waited(task: Path) -> int:
    """Nanoseconds; none of a thread that has just ended."""
    try:
        return int((task / "schedstat").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _told(statuses: list[int]) -> str:
    return ", ".join(map(str, sorted(set(statuses))))
