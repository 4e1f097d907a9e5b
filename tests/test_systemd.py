"""What systemd hears, by a real socket, from the functions and from the real daemon; and the unit that starts it."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from jobd import systemd
from jobd.engine.engine import STOP_PATIENCE
from jobd.engine.regions import CLOSE_TIMEOUT
from tests.cli.conftest import PROGRAM, install
from tests.services import ROOT, free_port, fresh_postgres, without_connections

UNIT = ROOT / "conf" / "jobd.service"


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.bind("\0" + address[1:] if address.startswith("@") else address)
        self._door.settimeout(30)

    def next(self) -> dict[str, str]:
        said = self._door.recv(65536).decode()
        return dict(line.split("=", 1) for line in said.split("\n"))

    def until(self, condition: Callable[[dict[str, str]], object]) -> dict[str, str]:
        while not condition(said := self.next()):
            pass
        return said

    def close(self) -> None:
        self._door.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    made = Listener(f"@jobd-test-{os.getpid()}-{tmp_path.name}" if request.param == "abstract" else f"{tmp_path}/n")
    yield made
    made.close()


def test_it_hears_what_is_said_in_one_datagram(listener: Listener) -> None:
    systemd.notify({"NOTIFY_SOCKET": listener.address}, READY=1, STATUS="服务\nMAINPID=1")
    assert listener.next() == {"READY": "1", "STATUS": "服务 MAINPID=1"}


@pytest.mark.parametrize("address", ["", "/no/such/socket", "vsock:2:1", "@nobody-listens-here"])
def test_nobody_who_listens_is_no_fault(address: str) -> None:
    systemd.notify({"NOTIFY_SOCKET": address}, READY=1)


def test_the_watchdog_is_for_the_process_that_it_names() -> None:
    assert systemd.watchdog({"WATCHDOG_USEC": "1500000"}) == 1.5
    assert systemd.watchdog({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}) == 1.5
    assert systemd.watchdog({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}) is None
    for nothing in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}):
        assert systemd.watchdog(nothing) is None


@pytest.fixture
def daemon(listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    with started(listener, tmp_path, monkeypatch, f"sqlite:///{tmp_path}/var/jobd.db") as process:
        yield process


@contextmanager
def started(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`jobd serve` as a unit would start it, with a watchdog of 0.6 s."""
    install(tmp_path / "site", "processes", (ROOT / "tests" / "cli" / "processes.py").read_text(), monkeypatch)
    ini = tmp_path / "jobd.ini"
    ini.write_text(
        f"[jobd]\nlisten = 127.0.0.1:{free_port()}\ndefault_region = HERE\n[scheduler]\ntick = 0.05\n"
        f"[database]\nurl = {database}\n[log]\nformat = json\n[region:HERE]\nexecutor = processes\n"
    )
    environ = {**os.environ, "NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "600000"}
    environ.pop("WATCHDOG_PID", None)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "-c", str(ini)],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("listener", ["path"], indirect=True)
def test_a_daemon_tells_its_life(daemon: subprocess.Popen[bytes], listener: Listener, tmp_path: Path) -> None:
    ready = listener.next()
    assert ready["READY"] == "1"
    address = re.match(r"serving on (\S+);", ready["STATUS"])
    assert address is not None
    assert requests.get(f"http://{address[1]}/readyz", timeout=10).status_code == 200
    assert requests.get(f"http://{address[1]}/healthz", timeout=10).status_code == 200
    assert listener.until(lambda said: "1 of 1 regions up" in said["STATUS"])
    listener.until(lambda said: said.get("WATCHDOG") == "1")
    seen = requests.get(f"http://{address[1]}/metrics", timeout=10).text
    assert re.search(r"^jobd_event_loop_lag_seconds_count [1-9]", seen, re.M)
    assert re.search(r"^jobd_scheduler_last_tick_timestamp_seconds 1\.[0-9]+e\+09$", seen, re.M)
    assert re.search(r'^jobd_region_up\{region="HERE"\} 1\.0$', seen, re.M)
    assert re.search(r'^jobd_region_last_check_timestamp_seconds\{region="HERE"\} 1\.', seen, re.M)
    assert re.search(r"^jobd_daemons 1\.0$", seen, re.M)
    assert re.search(r"^jobd_lease_held 1\.0$", seen, re.M)
    daemon.send_signal(signal.SIGTERM)
    assert listener.until(lambda said: "STOPPING" in said)["STATUS"].startswith("stopping")
    assert daemon.wait(timeout=30) == 0
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len({line["daemon_id"] for line in said}) == 1
    assert [line["event"] for line in said if "listens" in line["event"]]


@pytest.mark.parametrize("listener", ["path"], indirect=True)
def test_a_database_that_is_away_is_told_and_no_reason_to_be_restarted(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_postgres() as url, started(listener, tmp_path, monkeypatch, url):
        listener.until(lambda said: said.get("WATCHDOG") == "1")
        with without_connections(url):
            told = [listener.until(lambda said: "the database" in said["STATUS"])]
            told += [listener.next() for _ in range(5)]  # longer than the watchdog waits
            assert [said.get("WATCHDOG") for said in told] == ["1"] * 6
        listener.until(lambda said: said["STATUS"].startswith("serving"))


@pytest.mark.parametrize("listener", ["path"], indirect=True)
def test_a_daemon_that_hangs_stops_saying_that_it_lives(
    daemon: subprocess.Popen[bytes], listener: Listener, tmp_path: Path
) -> None:
    listener.until(lambda said: said.get("WATCHDOG") == "1")
    holder = sqlite3.connect(tmp_path / "var" / "jobd.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        listener.until(lambda said: "scheduler" in said["STATUS"])
        assert [said for said in (listener.next(), listener.next()) if "WATCHDOG" in said] == []
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    listener.until(lambda said: said.get("WATCHDOG") == "1")
    assert "healthy again" in (tmp_path / "log").read_text()


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing")
    unit = tmp_path / "jobd.service"
    unit.write_text(UNIT.read_text().replace("/opt/jobd/bin/jobd", "/bin/true"))
    checked = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "jobd.service" in line]) == (0, [])
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, timeout=60
    )
    assert rated.returncode == 0, rated.stdout


def test_the_unit_waits_as_long_as_a_stop_may_take() -> None:
    unit = UNIT.read_text()
    patience = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    assert patience is not None
    # The requests' 10 s, the dispatcher's and the endings', the executors', the plugins' and the last threads'.
    assert int(patience[1]) >= 10 + 2 * STOP_PATIENCE + CLOSE_TIMEOUT + 5 + 5
    for line in ("Type=notify", "KillMode=mixed", "NoNewPrivileges=yes", "ProtectSystem=strict", "StateDirectory=jobd"):
        assert f"\n{line}\n" in unit
