"""An operator's registry credentials: used for whom they are, and for nobody else, cached or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.daemon import Daemon
from tests.registries import Registry, registry_in


@pytest.fixture
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("private"), ("puller", "right")) as registry:
        yield registry


@pytest.fixture
def pushed(private: Registry, engine: Any, busybox_image: str) -> Iterator[str]:
    name = private.push(engine, busybox_image, "team/app:v1")
    yield name
    if engine.images(name):
        engine.remove_image(name, force=True)


def registry_section(folder: Path, registry: Registry, password: str, more: str = "") -> dict[str, str]:
    (folder / "password").write_text(f"{password}\n")
    return {f"registry:{registry.host}": f"username = puller\npassword_file = {folder}/password\n{more}"}


def run(daemon: Daemon, image: str, **more: Any) -> dict[str, Any]:
    repo, tag = image.rsplit(":", 1)
    return daemon.run(docker_image_repo=repo, docker_image_tag=tag, command="echo pulled", **more)


def test_credentials_of_the_configuration_get_the_image(
    make_daemon: MakeDaemon, private: Registry, pushed: str, tmp_path: Path
) -> None:
    daemon = make_daemon(registry_section(tmp_path, private, "right")).start()
    ended = run(daemon, pushed)
    assert (ended["status"], daemon.output(ended)) == ("S", b"pulled\n")


def test_wrong_credentials_are_told_without_the_password(
    make_daemon: MakeDaemon, private: Registry, pushed: str, tmp_path: Path
) -> None:
    daemon = make_daemon(registry_section(tmp_path, private, "wrong-secret")).start()
    ended = run(daemon, pushed)
    assert (ended["status"], ended["reason"]) == ("F", "image_pull_failed")
    assert "puller" in ended["message"]
    assert "wrong-secret" not in ended["message"] + daemon.evidence()


def test_an_image_is_refused_to_other_namespaces_though_it_is_cached(
    make_daemon: MakeDaemon, private: Registry, pushed: str, tmp_path: Path
) -> None:
    settings = registry_section(tmp_path, private, "right", "namespaces = team\n")
    daemon = make_daemon({**settings, "auth": "mode = none"}).start()
    assert run(daemon, pushed, namespace="team")["status"] == "S"
    refused = run(daemon, pushed, namespace="others")
    assert (refused["status"], refused["reason"]) == ("F", "image_pull_failed")
    assert "not for the namespace others" in refused["message"]


def test_a_mount_of_the_operators_is_there_and_read_only(
    make_daemon: MakeDaemon, busybox_image: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "greeting").write_text("hello\n")
    daemon = make_daemon({"mount:data": f"source = {tmp_path}/data"}).start()
    repo, tag = busybox_image.rsplit(":", 1)
    mounts = [{"name": "data", "path": "/data"}]
    image = {"docker_image_repo": repo, "docker_image_tag": tag, "mounts": mounts}
    read = daemon.run(command="cat /data/greeting", **image)
    assert (read["status"], daemon.output(read)) == ("S", b"hello\n")
    written = daemon.run(command="touch /data/new", **image)
    assert written["status"] == "F"
    assert b"Read-only file system" in daemon.output(written)
