"""A real Docker, an image without a registry, and a real registry."""

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import docker
import pytest
import requests

from jobd.conformance.bench import Bench
from jobd.executor import Region
from jobd_docker.executor import DockerExecutor
from jobd_docker.options import DockerOptions

SOCKET = os.environ.get("JOBD_TEST_DOCKER", "unix:///var/run/docker.sock")
BUSYBOX = Path("/usr/bin/busybox")
APPLETS = ("cat", "echo", "env", "false", "head", "printf", "sh", "sleep", "tail", "touch", "tr", "true", "yes")


def missing(what: str) -> None:
    """Skip, saying what is missing; in CI nothing is skipped."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"missing: {what}")


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def import_busybox(client: docker.APIClient, repository: str) -> str:
    """An image of one static program and its many names; `repository:latest`."""
    if not BUSYBOX.exists():
        missing("busybox-static, of which the test image is made")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    client.import_image_from_data(archive.getvalue(), repository=repository, tag="latest", changes=["ENV PATH=/bin"])
    return f"{repository}:latest"


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.APIClient]:
    """A client of the test's own, beside the executor's."""
    try:
        client = docker.APIClient(SOCKET, version="auto")
    except docker.errors.DockerException as error:
        missing(f"a Docker engine at {SOCKET} ({error})")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.APIClient) -> Iterator[str]:
    name = import_busybox(engine, f"jobd-test-{uuid.uuid4().hex[:12]}")
    yield name
    engine.remove_image(name, force=True)


def docker_bench(image: str, **options: object) -> Bench:
    validated = DockerOptions(**{"socket": SOCKET, **options})
    return Bench(lambda installation: DockerExecutor(Region("TEST", installation, validated)), image)


@pytest.fixture
def bench(engine: docker.APIClient, image: str) -> Iterator[Bench]:
    """An executor with the default options, on the real engine."""
    bench = docker_bench(image)
    yield bench
    bench.clear()


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
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker-registry")
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


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def private_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("private"), ("ann", "right")) as registry:
        yield registry


class OwnEngine:
    """A Docker engine of the test's own, without a network, that can be restarted; `options` are more of dockerd's."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folder = self._folder
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--data-root={folder}/data",
                    f"--exec-root={folder}/exec",
                    f"--pidfile={folder}/pid",
                    f"--host={self.socket}",
                    "--bridge=none",
                    "--iptables=false",
                    f"--cgroup-parent=/{folder.name}",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "DOCKER_CONFIG": str(folder)},
            )
        wait_for(self._answers, f"dockerd, see {folder}/log")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def clear(self) -> None:
        """Remove all its containers: some would outlive it."""
        if self._process is None:
            self.start()
        client = docker.APIClient(self.socket, version="auto")
        for container in client.containers(all=True):
            client.remove_container(container["Id"], force=True)
        client.close()

    def kill(self) -> None:
        """SIGKILL: its containerd dies with it, its containers go on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            # Where nobody reaps it, a dead containerd passes for one that still runs.
            (self._folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def vanish(self) -> None:
        """Leave no process, mount or file, whatever became of it."""
        self.kill()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_shim = f"{self._folder}/exec/".encode() in (process / "cmdline").read_bytes()
                if is_shim or f"/{self._folder.name}/" in (process / "cgroup").read_text():
                    os.kill(int(process.name), signal.SIGKILL)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self._folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        with contextlib.suppress(docker.errors.DockerException):
            docker.APIClient(self.socket, version="auto").close()
            return True
        return False


@pytest.fixture
def own_engine() -> Iterator[OwnEngine]:
    with started_engine() as engine:
        yield engine


@contextlib.contextmanager
def started_engine(*options: str) -> Iterator[OwnEngine]:
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        missing("dockerd, and root to start one")
    # short: a socket's path has 107 characters at most
    folder = Path("/tmp") / f"jobd-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    engine = OwnEngine(folder, *options)
    try:
        engine.start()
        yield engine
    finally:
        try:
            engine.clear()
            engine.stop()
        finally:
            engine.vanish()
