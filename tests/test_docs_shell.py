"""What the manual shows works as it stands there: a page's marked blocks, in order, in one shell, on a real daemon."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.daemon import Daemon
from tests.services import ROOT
from tests.shell_examples import PAGES, SHELLS, Block, blocks, shell_blocks

SHELL_BLOCKS = shell_blocks()
LANGUAGES = {*SHELLS, "http", "ini", "json", "nginx", "python", "sql", "text", "toml", "yaml"}


@pytest.fixture(scope="module")
def image(docker_socket: str, busybox_image: str) -> Iterator[str]:
    """A repository whose tag `latest` is busybox, as a reader's own would be."""
    name = f"jobd-test-docs-{uuid.uuid4().hex[:12]}"
    client = docker.APIClient(base_url=docker_socket)
    client.tag(busybox_image, name, "latest")
    yield name
    client.remove_image(f"{name}:latest")
    client.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, docker_socket: str) -> Iterator[Daemon]:
    regions = {"region:BEIJING1": f"executor = docker\nsocket = {docker_socket}"}
    started = Daemon(tmp_path_factory.mktemp("jobd"), regions).start()
    yield started
    started.stop()


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a reader who has installed jobd: it is on the PATH, and the home folder is empty."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    (programs / "jobd").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jobd "$@"\n')
    (programs / "jobd").chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBD")}
    path = f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    python_path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    return {**inherited, "PATH": path, "HOME": str(home), "PYTHONPATH": python_path}


def run(page: str, shell: dict[str, str], cwd: Path = ROOT) -> str:
    """What the page's marked blocks print; that it all succeeds and shows what the page shows is asserted."""
    marked = [block for block in blocks(ROOT / page) if block.runs]
    script = "set -euo pipefail\n" + "".join(block.commands for block in marked)
    ran = subprocess.run(["bash", "-c", script], env=shell, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    for block in marked:
        for line in block.output:
            shown = ".*".join(map(re.escape, line.split("…")))
            assert re.search(f"^{shown}$", ran.stdout, re.MULTILINE), f"{block}: no {line!r} in\n{ran.stdout}"
    return ran.stdout


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_each_shell_example_is_run_or_says_why_not(block: Block) -> None:
    assert block.runs or block.test or block.why, f"{block} has no marker; tests/shell_examples.py says which there are"
    if block.test:
        assert block.page.name in (ROOT / block.test).read_text(encoding="utf-8"), f"{block.test} does not read {block}"


def test_each_page_with_marked_blocks_is_run() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    marked = {str(block.page.relative_to(ROOT)) for block in SHELL_BLOCKS if block.runs}
    assert marked
    assert [page for page in marked if f'"{page}"' not in here] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_says_what_it_is(page: Path) -> None:
    assert not re.search(r"^( +```| *~~~)", page.read_text(encoding="utf-8"), re.MULTILINE), "no test would find this"
    assert [f"{block} is {block.language!r}" for block in blocks(page) if block.language not in LANGUAGES] == []


@pytest.mark.parametrize(
    ("readme", "greeting"), [("README.md", "hello from Shanghai"), ("README.zh.md", "来自 上海 的问候")]
)
def test_the_readme_works_as_pasted(
    readme: str, greeting: str, daemon: Daemon, shell: dict[str, str], image: str
) -> None:
    shell |= {"JOBD_URL": f"http://127.0.0.1:{daemon.port}", "JOBD_TOKEN": str(daemon.token), "IMAGE": image}
    printed = run(readme, shell)
    assert '"errors"' not in printed
    assert greeting in printed
    assert "\ndone\n" in printed
    assert daemon.call("GET", "/v1/jobs", 200)["count"] == 0


@pytest.mark.parametrize("page", ["docs/cli.md", "docs/configuration.md", "docs/schedules.md"])
def test_a_page_works_without_a_daemon(page: str, shell: dict[str, str]) -> None:
    run(page, shell)


def test_both_readmes_show_the_same_commands() -> None:
    words = re.compile(r'"(name|CITY|command)": .*|\{"CITY": [^}]*\}|  +# .*')
    english, chinese = (
        [words.sub("", block.text) for block in blocks(ROOT / readme) if block.language in SHELLS]
        for readme in ("README.md", "README.zh.md")
    )
    assert english == chinese
