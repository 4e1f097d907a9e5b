"""The virtual environments that the scripts make, and the one that they leave alone."""

import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.services import ROOT

SMALL = """
[build-system]
requires = ["setuptools"]
[project]
name = "small"
version = "1"
[tool.setuptools]
packages = []
"""


def in_machine(command: str, clone: Path) -> subprocess.CompletedProcess[str]:
    """Run a function of script/lib/machine.sh on the clone."""
    script = f"set -u; ROOT={shlex.quote(str(clone))}; . {ROOT}/script/lib/machine.sh; {command}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """With a virtual environment that its user has made, and what make_venv reads."""
    (tmp_path / "pyproject.toml").write_text(SMALL)
    (tmp_path / "setup.py").write_text("from setuptools import setup; setup()")
    (tmp_path / "plugins").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine").touch()
    return tmp_path


def test_the_scripts_leave_a_users_environment_alone_and_make_their_own_once(clone: Path) -> None:
    first = in_machine("make_venv demo && $VENV/bin/python -c 'import sys; print(sys.prefix)'", clone)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == str(clone / ".venv-demo")
    assert list((clone / ".venv").iterdir()) == [clone / ".venv" / "mine"]
    assert "up to date" in in_machine("make_venv demo", clone).stdout


def test_the_scripts_refuse_an_environment_that_they_did_not_make(clone: Path) -> None:
    (clone / ".venv").rename(clone / ".venv-test")
    refused = in_machine("make_venv test", clone)
    assert refused.returncode != 0
    assert "move it" in refused.stderr
    assert list((clone / ".venv-test").iterdir()) == [clone / ".venv-test" / "mine"]


def test_each_dependency_has_a_lower_bound_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    lowest = in_machine("lowest_versions", ROOT)
    assert lowest.returncode == 0, lowest.stderr
    assert set(lowest.stdout.split()) == {text.partition(",")[0].replace(">=", "==") for text in required}
