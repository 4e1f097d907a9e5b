"""Real registries on the loopback, with and without an account."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import docker
import requests

from tests.services import free_port, require, wait_for


@dataclass(frozen=True)
class Registry:
    """A registry on a free port; `account` is who may use it, if not everybody."""

    host: str
    account: tuple[str, str] | None

    def push(self, engine: docker.APIClient, image: str, name: str) -> str:
        """Put an image there, and nowhere else: as `HOST/name`."""
        there = f"{self.host}/{name}"
        repository, tag = there.rsplit(":", 1)
        engine.tag(image, repository, tag)
        auth = dict(zip(("username", "password"), self.account or ("", ""), strict=True))
        for said in engine.push(repository, tag, stream=True, decode=True, auth_config=auth):
            assert "error" not in said, said
        engine.remove_image(there)
        return there


@contextlib.contextmanager
def registry_in(folder: Path, account: tuple[str, str] | None = None) -> Iterator[Registry]:
    program = require("docker-registry")
    host = f"127.0.0.1:{free_port()}"
    auth = ""
    if account is not None:
        hashed = bcrypt.hashpw(account[1].encode(), bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"{account[0]}:{hashed}\n")
        auth = f"auth: {{htpasswd: {{realm: jobd, path: {folder}/htpasswd}}}}\n"
    storage = f"storage: {{filesystem: {{rootdirectory: {folder}/images}}}}\n"
    (folder / "config.yml").write_text(f"version: 0.1\n{storage}http: {{addr: '{host}'}}\n{auth}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(f"http://{host}/v2/"), f"docker-registry, see {folder}/log")
        yield Registry(host, account)
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code in (200, 401)
    except requests.ConnectionError:
        return False
