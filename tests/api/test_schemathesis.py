"""The document is true: schemathesis finds nothing. tests/api/schemathesis_run.py goes on for longer."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.schemathesis_run import run, served
from tests.e2e.daemon import Daemon
from tests.services import missing


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = served(tmp_path)
    yield running
    assert running.stop() == 0, running.evidence()
    # Not a thread either, whatever it was asked.
    assert "left behind" not in running.log.read_text(errors="replace")


JOBS = "^/v1/jobs"
ACCOUNTS = "^/v1/(users|orgs|tokens|auth|audit|generate)"
PARTS = [
    pytest.param(["--include-path-regex", JOBS], id="jobs"),
    pytest.param(["--include-path-regex", ACCOUNTS], id="accounts"),
    pytest.param(["--exclude-path-regex", f"{JOBS}|{ACCOUNTS}"], id="all else"),
]


@pytest.mark.parametrize("part", PARTS)
def test_schemathesis_finds_nothing(daemon: Daemon, part: list[str]) -> None:
    if shutil.which("st", path=str(Path(sys.executable).parent)) is None:
        missing("schemathesis")
    done = run(daemon, "--seed", "1", "--max-examples", "2", *part, timeout=240)
    assert done.returncode == 0, f"{done.stdout}\n{daemon.evidence()}"
    assert "Traceback" not in daemon.log.read_text(errors="replace"), daemon.evidence()
