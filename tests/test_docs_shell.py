"""What the manual shows works as it stands there: a page's marked blocks, in order, in one shell, on a real daemon."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.daemon import Daemon
from tests.services import ROOT
from tests.shell_examples import PAGES, SHELLS, Block, blocks, installed, run, shell_blocks

SHELL_BLOCKS = shell_blocks()
LANGUAGES = {*SHELLS, "http", "ini", "json", "mermaid", "nginx", "python", "sql", "text", "toml", "yaml"}


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
    return installed(tmp_path)


def marked(page: str) -> list[Block]:
    return [block for block in blocks(ROOT / page) if block.runs]


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_each_shell_example_is_run_or_says_why_not(block: Block) -> None:
    assert block.runs or block.test or block.why, f"{block} has no marker; tests/shell_examples.py says which there are"
    if block.test:
        assert block.page.name in (ROOT / block.test).read_text(encoding="utf-8"), f"{block.test} does not read {block}"


def test_each_page_with_marked_blocks_is_run() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    pages = {str(block.page.relative_to(ROOT)) for block in SHELL_BLOCKS if block.runs}
    assert pages
    assert [page for page in pages if f'"{page}"' not in here] == []


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
    printed = run(marked(readme), shell)
    assert '"errors"' not in printed
    assert greeting in printed
    assert "\ndone\n" in printed
    assert daemon.call("GET", "/v1/jobs", 200)["count"] == 0


def test_the_page_about_secrets_works(daemon: Daemon, shell: dict[str, str]) -> None:
    header = {"AUTH": f"Authorization: Token {daemon.token}", "JSON": "Content-Type: application/json"}
    run(marked("docs/secrets.md"), {**shell, **header, "JOBD_URL": f"http://127.0.0.1:{daemon.port}"}, daemon.folder)
    (job,) = daemon.call("GET", "/v1/jobs", 200)["results"]
    daemon.call("DELETE", f"/v1/jobs/{job['id']}", 204)


@pytest.mark.parametrize("page", ["docs/cli.md", "docs/configuration.md", "docs/schedules.md"])
def test_a_page_works_without_a_daemon(page: str, shell: dict[str, str]) -> None:
    run(marked(page), shell)


def test_both_readmes_show_the_same_commands() -> None:
    words = re.compile(r'"(name|CITY|command)": .*|\{"CITY": [^}]*\}|  +# .*')
    english, chinese = (
        [words.sub("", block.text) for block in blocks(ROOT / readme) if block.language in SHELLS]
        for readme in ("README.md", "README.zh.md")
    )
    assert english == chinese
