"""A real OpenSSH server on a free port, and executors that reach Docker through it."""

import getpass
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from jobd.conformance.bench import Bench
from jobd.executor import Region
from jobd_ssh.executor import SshExecutor
from jobd_ssh.options import SshOptions
from tests.engines import SOCKET
from tests.services import free_port, require, wait_for_port

DOCKER_SOCKET = SOCKET.removeprefix("unix://")


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run([require("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
    return path


def public(key: Path) -> str:
    """`TYPE BASE64` of a key."""
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    return subprocess.run(
        [require("ssh-keygen"), "-lf", key], check=True, capture_output=True, text=True
    ).stdout.split()[1]


class Sshd:
    """Lets in `user` with `key`; `known_hosts` knows it. `settings` are lines of sshd_config(5), before the others.

    It listens on the loopback, or on `address` where the command `enter` leads to.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        authorized: str = "",
        address: str = "127.0.0.1",
        enter: tuple[str, ...] = (),
    ) -> None:
        self.program = require("sshd")
        self.address = address
        self.enter = enter
        self.folder = folder
        self.port = free_port()
        self.user = getpass.getuser()
        self.key = make_key(folder / "id")
        self.host_key = make_key(folder / "host")
        self.known_hosts = folder / "known_hosts"
        self.know(self.host_key)
        (folder / "authorized_keys").write_text(f"{authorized} {public(self.key)}\n")
        self.log = folder / "sshd.log"
        self.configuration = folder / "sshd_config"
        self.configure(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """As it stands in known_hosts."""
        return f"[{self.address}]:{self.port}"

    def know(self, key: Path) -> None:
        self.known_hosts.write_text(f"{self.name} {public(key)}\n")

    def configure(self, settings: str) -> None:
        self.configuration.write_text(
            f"{settings}\nPort {self.port}\nListenAddress {self.address}\nHostKey {self.host_key}\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nPidFile none\nUsePAM no\n"
            "PermitRootLogin yes\nPasswordAuthentication no\nLogLevel VERBOSE\n"
        )

    def start(self) -> "Sshd":
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        command = [*self.enter, self.program, "-D", "-f", self.configuration, "-E", self.log]
        self._process = subprocess.Popen(command)
        wait_for_port(self.port, self._process, self.log, host=self.address)
        return self

    def stop(self) -> None:
        """The server and its connections at once, as when the machine loses power."""
        if self._process is not None:
            connections = self._connections()
            self._process.kill()
            self._process.wait()
            self._kill(connections)
            self._process = None

    def cut(self) -> None:
        """All connections; new ones are taken."""
        self._kill(self._connections())

    def sign_ins(self) -> int:
        """How many there were."""
        return self.log.read_text().count("Accepted publickey")

    def _connections(self) -> list[int]:
        """The processes that serve them: one each, or with OpenSSH 10 (Debian 13) one and another below it."""
        assert self._process is not None
        found, servers = [], [self._process.pid]
        while servers:
            pid = servers.pop()
            with suppress(OSError):
                children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                servers += [child for child in children if _name(child).startswith("sshd")]
            found.append(pid)
        return found[1:]

    def _kill(self, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def options(self, **options: object) -> SshOptions:
        ours = {
            "host": f"{self.user}@{self.address}:{self.port}",
            "identity_file": self.key,
            "known_hosts": self.known_hosts,
            "socket": DOCKER_SOCKET,
        }
        return SshOptions(**{**ours, **options})

    def executor(self, installation: str = "nobody", **options: object) -> SshExecutor:
        return SshExecutor(Region("SSH", installation, self.options(**options)))

    def bench(self, image: str, **options: object) -> Bench:
        return Bench(lambda installation: self.executor(installation, **options), image)

    def evidence(self) -> str:
        return f"the server's log:\n{self.log.read_text()[-4000:]}"


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def at_once(work: list[threading.Thread], patience: float = 60) -> None:
    """Start all and see all end."""
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(patience)
        assert not thread.is_alive()
