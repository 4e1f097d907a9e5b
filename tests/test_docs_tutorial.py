"""docs/tutorial.md works from its first command to its last, in one shell."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.services import ROOT, free_port
from tests.shell_examples import blocks, installed, run

HERE = str(Path(__file__).relative_to(ROOT))


@pytest.fixture
def image(docker_socket: str, busybox_image: str) -> Iterator[str]:
    name = f"jobd-test-tutorial-{uuid.uuid4().hex[:12]}"
    client = docker.APIClient(base_url=docker_socket)
    client.tag(busybox_image, name, "latest")
    yield name
    client.remove_image(f"{name}:latest")
    client.close()


def test_the_tutorial_leads_to_its_end(tmp_path: Path, docker_socket: str, image: str) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "docs", clone / "docs")
    marked = [block for block in blocks(ROOT / "docs" / "tutorial.md") if block.test == HERE]
    places = {
        "127.0.0.1:8090": f"127.0.0.1:{free_port()}",
        "8081": str(free_port()),
        "IMAGE=busybox": f"IMAGE={image}",
        "executor = docker": f"executor = docker\nsocket = {docker_socket}",
    }
    printed = run(marked, installed(tmp_path), clone, **places)
    assert "hello from Beijing\n" in printed
    assert "hello from Shanghai\n" in printed
    assert "backing up 10.0.0.5 with ******\n" in printed
    assert "tr0ub4dor" not in printed
    assert re.search(r'"namespaces": ?{[^}]*"team": ?"writer"', printed)
    assert printed.count("job:succeed") >= 1
    assert not (clone / "tutorial").exists()
