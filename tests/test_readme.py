"""What the READMEs show works as it stands there: their marked blocks, in order, in one shell, on a real daemon."""

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

MARKED = re.compile(r"^<!-- runs -->\n```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def image(docker_socket: str, busybox_image: str) -> Iterator[str]:
    """A repository whose tag `latest` is busybox, as a reader's own would be."""
    name = f"jobd-test-readme-{uuid.uuid4().hex[:12]}"
    client = docker.APIClient(base_url=docker_socket)
    client.tag(busybox_image, name, "latest")
    yield name
    client.remove_image(f"{name}:latest")
    client.close()


@pytest.fixture
def daemon(tmp_path: Path, docker_socket: str) -> Iterator[Daemon]:
    started = Daemon(tmp_path, {"region:BEIJING1": f"executor = docker\nsocket = {docker_socket}"}).start()
    yield started
    started.stop()


@pytest.fixture
def shell(daemon: Daemon, image: str, tmp_path: Path) -> dict[str, str]:
    """The environment that the READMEs have set up before their first marked block."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "jobd").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jobd "$@"\n')
    (programs / "jobd").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "JOBD_URL": f"http://127.0.0.1:{daemon.port}",
        "JOBD_TOKEN": str(daemon.token),
        "IMAGE": image,
    }


@pytest.mark.parametrize(
    ("readme", "greeting"), [("README.md", "hello from Shanghai"), ("README.zh.md", "来自 上海 的问候")]
)
def test_the_marked_blocks_work_as_pasted(readme: str, greeting: str, daemon: Daemon, shell: dict[str, str]) -> None:
    blocks = MARKED.findall((ROOT / readme).read_text(encoding="utf-8"))
    script = "set -euo pipefail\n" + "".join(blocks)
    run = subprocess.run(["bash", "-c", script], env=shell, cwd=ROOT, capture_output=True, text=True, timeout=120)
    evidence = f"{run.stdout}\n{run.stderr}\n{daemon.evidence()}"
    assert run.returncode == 0, evidence
    assert '"errors"' not in run.stdout, evidence
    assert greeting in run.stdout, evidence
    assert "\ndone\n" in run.stdout, evidence
    assert daemon.call("GET", "/v1/jobs", 200)["count"] == 0, evidence


def test_both_readmes_show_the_same_commands() -> None:
    words = re.compile(r'"(name|CITY|command)": .*|\{"CITY": [^}]*\}')
    english, chinese = (
        [words.sub("", block) for block in MARKED.findall((ROOT / readme).read_text(encoding="utf-8"))]
        for readme in ("README.md", "README.zh.md")
    )
    assert english == chinese
