"""docs/plugins.md: its executor, taken out of the page, keeps the contract; and it names every hook."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from jobd import hookspecs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text()


def test_the_executor_of_the_page_keeps_the_contract(tmp_path: Path):
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("missing: setuptools >= 77, with which pip builds the plugin")
    source, target = tmp_path / "acme-process", tmp_path / "installed"
    source.mkdir()
    for name, content in re.findall(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        (source / name).write_text(content)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True)

    command = re.search(r"^python (-m jobd\.conformance --executor process .*)$", PAGE, re.MULTILINE)[1]
    path = os.pathsep.join(map(str, (target, ROOT, ROOT / "plugins")))
    ran = subprocess.run(
        [sys.executable, *command.split(), "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "skipped" not in ran.stdout


def test_every_hook_is_named():
    hooks = {name for name, hook in vars(hookspecs).items() if hasattr(hook, "jobd_spec")}
    assert len(hooks) >= 6
    assert hooks == set(re.findall(r"^\| `(jobd_\w+)\(", PAGE, re.MULTILINE))
