"""`script/demo`, as a stranger runs it."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import ROOT, require

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the demo in another folder and in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start_demo(*arguments: str) -> subprocess.Popen[str]:
        require("busybox")
        environment = {**os.environ, "JOBD_DOCKER_SOCKET": require("docker").removeprefix("unix://")}
        demo = subprocess.Popen(
            [ROOT / "script" / "demo", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
            # Ignored by a parent that runs in the background, it would stay ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(demo)
        return demo

    yield start_demo
    for demo in started:
        if demo.poll() is None:
            demo.terminate()
        demo.communicate(timeout=60)


def left_of(engine: Any, demo: subprocess.Popen[str]) -> list[Any]:
    """Its networks and images: their names have the demo's process id in them."""
    name = f"jobd-demo-{demo.pid}"
    return [*engine.networks(names=[name]), *engine.images(f"{name}/busybox")]


def test_the_demo_shows_three_runs_and_leaves_nothing(start: Start, engine: Any) -> None:
    demo = start()
    output, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, output
    assert output.count("\n  DB_HOST is localhost\n") == 3, output
    assert not left_of(engine, demo)


def test_an_interrupted_demo_leaves_nothing(start: Start, engine: Any) -> None:
    demo = start()
    assert demo.stdout is not None
    shown = ""
    for line in demo.stdout:
        shown += line
        if line.startswith("POST /v1/jobs/"):
            break
    assert left_of(engine, demo), shown
    os.killpg(demo.pid, signal.SIGINT)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, shown + rest
    assert not left_of(engine, demo)


def test_an_option_that_is_not_known_is_told_the_usage(start: Start) -> None:
    demo = start("--kep")
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert "--keep" in output
