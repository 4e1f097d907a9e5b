"""The real things that tests need, and what becomes of a test when one cannot be had.

`script/test` installs and starts them and says where they are: `JOBD_TEST_DOCKER` (`unix:///…`) and
`JOBD_TEST_POSTGRES` (`postgresql://…`, a superuser's).
"""

import os
import platform
import shutil
import socket
import subprocess
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import psycopg2
import pytest
from psycopg2 import sql

ROOT = Path(__file__).parent.parent
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _docker() -> str | None:
    default = Path("/var/run/docker.sock")
    return os.environ.get("JOBD_TEST_DOCKER") or (f"unix://{default}" if os.access(default, os.W_OK) else None)


def _postgres_program(name: str) -> Callable[[], str | None]:
    """Of the newest server that Debian has installed."""
    return lambda: max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=shutil.which(name))


def _program(name: str) -> Callable[[], str | None]:
    return lambda: shutil.which(name, path=SBIN)


def _faketime() -> str | None:
    """Debian has the library in the folder of the machine's architecture."""
    folder = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    library = Path("/usr/lib", folder, "faketime", "libfaketimeMT.so.1")
    return str(library) if library.exists() else None


FIND: dict[str, Callable[[], str | None]] = {
    "docker": _docker,
    "postgresql": lambda: os.environ.get("JOBD_TEST_POSTGRES"),
    "docker-cli": _program("docker"),
    "initdb": _postgres_program("initdb"),
    "docker-registry": _program("docker-registry"),
    "sshd": _program("sshd"),
    "ssh-agent": _program("ssh-agent"),
    "ssh-keygen": _program("ssh-keygen"),
    "openssl": _program("openssl"),
    "ip": _program("ip"),
    "iptables": _program("iptables"),
    "nsenter": _program("nsenter"),
    "busybox": _program("busybox"),
    "nginx": _program("nginx"),
    "sqlite3": _program("sqlite3"),
    "faketime": _faketime,
    "pg_dump": _program("pg_dump"),
    "mount": _program("mount"),
    "umount": _program("umount"),
}


def require(name: str) -> str:
    """Where it is: an address, or a program's path. Absent, the test is skipped; with CI=true it fails."""
    return FIND[name]() or missing(f"{name}; script/test provides it")


def missing(what: str) -> NoReturn:
    """Skip, saying what is missing; with CI=true, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


@contextmanager
def fresh_postgres(template: str = "template1") -> Iterator[str]:
    """The URL of a new database, empty or a copy of the one named `template`; it is dropped afterwards whoever still
    uses it.
    """
    server = require("postgresql")
    name = f"jobd_{uuid.uuid4().hex[:12]}"
    made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    _administer(server, made)
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        _administer(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class ReusedPostgres:
    """A migrated database that one test after the other gets as if it were new: making one takes half a second."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._installation = _ask(url, "SELECT * FROM installation")[0]

    def empty(self) -> None:
        """End whoever still uses it, and leave it as the migrations did."""
        _ask(self.url, END_OTHERS)
        _ask(self.url, EMPTY)
        values = ", ".join(["%s"] * len(self._installation))
        _ask(self.url, f"INSERT INTO installation VALUES ({values})", *self._installation)


END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migration' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    INSERT INTO tallied (source, up_to) VALUES ('jobs', 0), ('execs', 0), ('audit', 0);
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL
        AND sequencename NOT LIKE 'schema_migration%' LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""


def _ask(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@contextmanager
def without_connections(url: str) -> Iterator[None]:
    """All connections to a database of `fresh_postgres` are cut, and new ones refused."""
    server, name = require("postgresql"), sql.Identifier(urlsplit(url).path[1:])
    _administer(server, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    ours = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}")
    _administer(server, ours.format(sql.Literal(name.string)))
    try:
        yield
    finally:
        _administer(server, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def _administer(server: str, statement: sql.Composed) -> None:
    connection = psycopg2.connect(server)
    try:
        # CREATE and DROP DATABASE refuse to run inside a transaction.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@contextmanager
def imported_busybox(docker: str) -> Iterator[str]:
    """The name of a fresh image that holds busybox alone; removed afterwards, with the containers made from it."""
    require("busybox")
    name = f"jobd-test/busybox:{uuid.uuid4().hex[:12]}"
    environment = {**os.environ, "DOCKER_HOST": docker}
    subprocess.run([ROOT / "script" / "busybox-image", name], env=environment, check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "-f", name], env=environment, check=True, capture_output=True)


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(
    port: int, process: subprocess.Popen[bytes], log: Path, patience: float = 30.0, host: str = "127.0.0.1"
) -> None:
    """Return when the process accepts connections. Ended, or silent for `patience` seconds, it fails the test."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"{process.args} does not listen on {port}:\n{log.read_text(errors='replace')}", pytrace=False)
