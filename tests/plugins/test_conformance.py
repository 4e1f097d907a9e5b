"""Our own executors keep the contract, run the way its author would run it; and the kit finds who does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import SOCKET

ROOT = Path(__file__).parents[2]


def conform(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The kit in a process of its own, with the plugins whose metadata lie in `site`."""
    path = os.pathsep.join(map(str, (site, ROOT, ROOT / "plugins")))
    command = [sys.executable, "-m", "jobd.conformance", "-q", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=site, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)


def install(site: Path, distribution: str, points: dict[str, str]) -> None:
    """What pip leaves of a distribution's entry points."""
    info = site / f"{distribution}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[jobd]", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "ours", {"ours-docker": "conformance_docker", "ours-dry-run": "conformance_dryrun"})
    for kind in ("docker", "dryrun"):
        # under names of their own: jobd itself may be installed here, too
        (tmp_path / f"conformance_{kind}.py").write_text(
            "from jobd.hookspecs import hookimpl\n"
            f"from jobd_{kind} import plugin\n\n\n"
            "@hookimpl\n"
            "def jobd_executors():\n"
            "    return {f'ours-{kind}': executor for kind, executor in plugin.jobd_executors().items()}\n"
        )
    return tmp_path


def test_dry_run_keeps_the_contract(site: Path):
    ran = conform(site, "--executor", "ours-dry-run")
    assert ran.returncode == 0, ran.stdout
    assert "skipped" not in ran.stdout


def test_docker_keeps_the_contract(site: Path, engine, image: str):
    ran = conform(
        site,
        *("--executor", "ours-docker", "--image", image, "--survives"),
        *("--option", "network=none", "--option", f"socket={SOCKET}"),
    )
    assert ran.returncode == 0, ran.stdout
    assert "skipped" not in ran.stdout


FORGETFUL = """
from jobd.executor import State, Status
from jobd.hookspecs import hookimpl
from jobd_dryrun.executor import DryRunExecutor

class {name}(DryRunExecutor):
    {breach}

@hookimpl
def jobd_executors():
    return {{"breach": {name}}}
"""


@pytest.mark.parametrize(
    ("name", "breach", "found"),
    [
        (
            "StartsAtCreate",
            "def create(self, spec): handle = super().create(spec); self.start(handle); return handle",
            "test_create_starts_nothing",
        ),
        ("KillsNobody", "def stop(self, handle, grace): pass", "test_stop_ends_a_running_one_before_it_returns"),
        (
            "RemovesWhatRuns",
            "def remove(self, handle, force): super().remove(handle, True)",
            "test_a_running_one_is_removed_by_force_only",
        ),
        ("ListsNothing", "def list(self): return []", "test_list_has_every_run_in_any_state_with_its_exec"),
        ("SaysNeverStarted", "def was_started(self, handle): return False", "test_was_started_is_never_wrong"),
        (
            "TellsNoEnd",
            "def watch(self, on_change): return lambda: None",
            "test_a_watch_reports_an_end",
        ),
    ],
)
def test_a_breach_of_the_contract_is_found(tmp_path: Path, name: str, breach: str, found: str):
    install(tmp_path, "breach", {"breach": "breach"})
    (tmp_path / "breach.py").write_text(FORGETFUL.format(name=name, breach=breach))
    ran = conform(tmp_path, "--executor", "breach", "--patience", "1", "-k", found)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "1 failed" in ran.stdout


def test_runs_that_end_with_their_process_do_not_pass_for_runs_that_survive(site: Path):
    ran = conform(site, "--executor", "ours-dry-run", "--survives", "--patience", "5", "-k", "survival")
    assert ran.returncode == 1
    assert "4 failed" in ran.stdout


def test_a_kind_that_nobody_offers_is_told(site: Path):
    ran = conform(site, "--executor", "nomad")
    assert ran.returncode == 4
    assert "--executor nomad: no installed plugin offers it; expected one of" in ran.stdout + ran.stderr
    assert "ours-docker" in ran.stdout + ran.stderr


def test_a_wrong_option_is_told(site: Path):
    ran = conform(site, "--executor", "ours-docker", "--option", "sokcet=unix:///x")
    assert ran.returncode == 4
    assert "sokcet" in ran.stdout + ran.stderr
