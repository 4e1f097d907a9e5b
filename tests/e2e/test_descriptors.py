"""A daemon whose file descriptors others would take: it goes on, for everybody else."""

import contextlib
import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon


def limited(daemon: Daemon, soft: int, hard: int) -> Daemon:
    """With these limits of open files at its start."""
    daemon.wrapper = ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"]
    return daemon


@contextlib.contextmanager
def idle_connections(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=30)) for _ in range(count)
        ]


def metric(daemon: Daemon, name: str) -> float:
    text = daemon.request("GET", "/metrics").text
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def status(connection: http.client.HTTPConnection, daemon: Daemon) -> int:
    """Of a request of a known caller on this connection."""
    connection.request("GET", "/v1/jobs", headers={"Authorization": f"Token {daemon.token}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def open_files_limit(daemon: Daemon) -> tuple[int, int]:
    assert daemon.process is not None
    text = Path(f"/proc/{daemon.process.pid}/limits").read_text()
    (soft, hard) = re.findall(r"^Max open files +(\d+) +(\d+)", text, re.MULTILINE)[0]
    return int(soft), int(hard)


def test_a_daemon_raises_its_limit_of_open_files_to_the_hard_one(make_daemon: MakeDaemon) -> None:
    daemon = limited(make_daemon(), 200, 3000).start()
    assert open_files_limit(daemon) == (3000, 3000)
    assert metric(daemon, "jobd_http_connections_max") == 3000 - 512 - 3 * 8


def test_idle_connections_of_nobody_take_nothing_from_runs_and_callers(
    make_daemon: MakeDaemon, busybox_image: str
) -> None:
    daemon = limited(make_daemon(), 256, 256).start()
    capacity = int(metric(daemon, "jobd_http_connections_max"))
    assert capacity == 128
    repo, _, tag = busybox_image.rpartition(":")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)) as kept:
        assert status(kept, daemon) == 200
        kept.auto_open = 0
        with idle_connections(daemon, 600):
            assert daemon.request("GET", "/healthz").status_code == 200
            ended = daemon.run(command="echo done", docker_image_repo=repo, docker_image_tag=tag)
            assert (ended["status"], daemon.output(ended)) == ("S", b"done\n"), daemon.evidence()
            assert all(region["ok"] for region in daemon.call("GET", "/v1/regions", 200)["results"])
            assert metric(daemon, 'jobd_http_connections_closed_total{reason="evicted"}') >= 600 - capacity
            assert metric(daemon, "process_open_fds") < 256
            assert metric(daemon, 'jobd_region_outages_total{region="BEIJING1"}') == 0
            assert status(kept, daemon) == 200, "the connection of a known caller gave way"
    text = daemon.log.read_text()
    assert "Traceback" not in text and "no room" not in text and "Too many open files" not in text
    assert len(text) < 100_000
