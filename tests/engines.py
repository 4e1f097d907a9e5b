"""Docker engines: the shared one's address, an image for any, and engines of a test's own that it may kill."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker

from tests.services import missing, wait_for

SOCKET = os.environ.get("JOBD_TEST_DOCKER", "unix:///var/run/docker.sock")
BUSYBOX = Path("/usr/bin/busybox")
APPLETS = ("cat", "echo", "env", "false", "head", "printf", "sh", "sleep", "tail", "touch", "tr", "true", "yes")


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
