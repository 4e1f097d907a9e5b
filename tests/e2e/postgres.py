"""A PostgreSQL server of a test's own, which may be killed and comes back with all that was committed."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg2

from tests.services import free_port, require

PATIENCE = 60.0


class Cluster:
    """Its database is `postgres`, and loopback needs no password."""

    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.environ = environ
        self.programs = Path(require("initdb")).parent
        self.folder = folder
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-E", "UTF8", "-A", "trust", "--no-sync")

    def start(self) -> "Cluster":
        """Return when it answers, having recovered what a kill left behind."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                self.process = self._spawn()
            with suppress(psycopg2.OperationalError):
                psycopg2.connect(self.url).close()
                return self
            time.sleep(0.05)
        log = (self.folder / "log").read_text(errors="replace")
        raise AssertionError(f"PostgreSQL does not answer within {PATIENCE:.0f} s:\n{log[-4000:]}")

    def kill(self) -> None:
        """SIGKILL for the server and for each of its processes, whatever they are in the middle of."""
        assert self.process is not None
        for pid in [self.process.pid, *self._children()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """At once, by PostgreSQL's own `immediate` mode: open transactions are cut off."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE)
        self.start()

    def kill_backend(self, choose: int) -> bool:
        """SIGKILL for the process of one client: the server cuts all others off, too, and recovers by itself."""
        clients = [pid for pid in self._children() if b"127.0.0.1(" in _command(pid)]
        if not clients:
            return False
        with suppress(ProcessLookupError):
            os.kill(sorted(clients)[choose % len(clients)], signal.SIGKILL)
        return True

    def fill_disk(self) -> None:
        """Leave no byte of its disk."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(2**20))

    def free_disk(self) -> None:
        """Give it back, and the server its process, if that has ended for want of it."""
        (self.folder / "ballast").unlink(missing_ok=True)
        self.start()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Nobody else reads or writes the table meanwhile."""
        connection = psycopg2.connect(self.url, options="-c lock_timeout=10s")
        try:
            with connection.cursor() as cursor, suppress(psycopg2.OperationalError):
                cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
        finally:
            connection.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)

    def _children(self) -> list[int]:
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for file in tasks.glob("*/children") for pid in file.read_text().split()]

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = ("fsync=off", "listen_addresses=127.0.0.1", "max_connections=60")
        options = [word for setting in settings for word in ("-c", setting)]
        place = ["-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        with (self.folder / "log").open("ab") as log:
            command = [self.programs / "postgres", *place, *options]
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.environ, **_as_postgres())

    def _run(self, program: str, *arguments: str) -> None:
        command = [self.programs / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, **_as_postgres())


@contextmanager
def own_postgres(environ: dict[str, str] | None = None, disk: int | None = None) -> Iterator[Cluster]:
    """A running one, in a folder that its user may enter; `environ` is the server's; with `disk`, its disk has so many
    bytes.
    """
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobd-postgres-", ignore_cleanup_errors=True))
        folder = Path(name)
        if disk is not None:
            stack.enter_context(_own_disk(folder, disk))
        if os.geteuid() == 0:
            subprocess.run(["chown", "postgres", folder], check=True)
        cluster = Cluster(folder, environ)
        try:
            yield cluster.start()
        finally:
            cluster.stop()


@contextmanager
def _own_disk(folder: Path, size: int) -> Iterator[None]:
    subprocess.run([require("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run([require("umount"), "--lazy", folder], check=True)


def _as_postgres() -> dict[str, str]:
    # The server refuses to run as root.
    return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
