"""The commands, run in this process or as a program of their own, against a stand-in of the API."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from stand_in import TOKEN, StandIn

from jobd.cli.main import jobd

PROGRAM = [sys.executable, "-c", "from jobd.cli.main import main; main()"]


@pytest.fixture
def server() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home and a zone of its own, so that nothing hangs on the developer's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    for name in ("JOBD_URL", "JOBD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def run(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `jobd ARGS…` against the server, as a user whose token is right."""
    monkeypatch.setenv("JOBD_URL", server.url)
    monkeypatch.setenv("JOBD_TOKEN", TOKEN)
    return lambda *args, **kwargs: CliRunner().invoke(jobd, list(args), prog_name="jobd", **kwargs)


@pytest.fixture
def program(run: Callable[..., Result]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `jobd ARGS…` as a process; what is left of it is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *args], env=os.environ.copy(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
