"""The commands, run in this process or as a program of their own, against a stand-in of the API."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobd.cli.main import jobd
from tests.cli.stand_in import TOKEN, StandIn

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
            [*PROGRAM, *args],
            env=os.environ.copy(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ignored by a parent that runs in the background, it would stay ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


QUIET = """
from jobd.errors import RegionUnavailable
from jobd.executor import Executor, Health, Options
from jobd.hookspecs import hookimpl


class QuietOptions(Options):
    mood: str = "well"


class Quiet(Executor):
    options = QuietOptions

    def check(self):
        if self.region.options.mood == "raises":
            raise RegionUnavailable("no such host")
        return Health(self.region.options.mood == "well", self.region.options.mood, "Quiet 1.0")


@hookimpl
def jobd_executors():
    return {"quiet": Quiet}
"""
METADATA = "Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.2\n"


def install(site: Path, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a plugin where Python finds it, in this process and in those that it starts."""
    info = site / f"acme_{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (site / f"acme_{name}.py").write_text(source)
    (info / "METADATA").write_text(METADATA.format(name=name))
    (info / "entry_points.txt").write_text(f"[jobd]\n{name} = acme_{name}\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in sys.path if path))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plugin that is installed: its executor `quiet` is as well as its `mood`."""
    install(tmp_path / "site", "quiet", QUIET, monkeypatch)
    yield
    sys.modules.pop("acme_quiet", None)


@pytest.fixture
def ini(plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in the working directory, with a database of its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "jobd.ini"
    path.write_text("[jobd]\nlisten = 127.0.0.1:0\ndefault_region = HERE\n[region:HERE]\nexecutor = quiet\n")
    return path
