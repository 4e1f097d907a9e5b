"""A secret like nothing else goes in over HTTP and through real containers, and is then looked for everywhere."""

import base64
import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

from jobd.output import run_log
from tests.e2e.daemon import Daemon
from tests.services import fresh_postgres

VALUE = f"unlike-{secrets.token_hex(12)}"
LINES = f"-----BEGIN-----\nline-{secrets.token_hex(12)}\nab\n-----END-----\n"
PIECES = [VALUE, LINES.splitlines()[1]]
FORMS = [
    form
    for piece in PIECES
    for form in (piece.encode(), base64.b64encode(piece.encode())[:-4], piece.encode().hex().encode())
]


class ChattyDaemon(Daemon):
    module = "tests.e2e.chatty"

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__(folder, settings)
        self.said: list[bytes] = []
        """Every answer's head and body."""

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = super().request(method, path, **more)
        self.said += [repr(answer.headers).encode(), answer.content]
        return answer


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobd.db'}"
        return
    with fresh_postgres() as url:
        yield url


@pytest.fixture
def daemon(tmp_path: Path, database: str, docker_socket: str) -> Iterator[ChattyDaemon]:
    settings = {
        "region:BEIJING1": f"executor = docker\nsocket = {docker_socket}\nnetwork = none",
        "region:DRYRUN": "executor = dry-run",
        "database": f"url = {database}",
    }
    made = ChattyDaemon(tmp_path, settings)
    yield made
    if made.process is not None:
        made.stop()


def cells(database: str) -> Iterator[bytes]:
    """All that is in a database, logs unpacked."""
    sqlite = database.startswith("sqlite")
    connect = sqlite3.connect(database.removeprefix("sqlite:///")) if sqlite else psycopg2.connect(database)
    tables = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if sqlite
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    with closing(connect) as connection:
        cursor = connection.cursor()
        cursor.execute(tables)
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT * FROM {table}")
            for row in cursor.fetchall():
                for cell in row:
                    value = bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode()
                    yield value
                    if table == "exec_logs" and not isinstance(cell, int):
                        yield run_log.as_text(run_log.decode(value))


def leaks(where: str, data: bytes) -> list[str]:
    return [f"{where}: …{data[max(data.find(form) - 80, 0) :][:200]!r}" for form in FORMS if form in data]


def misuse(daemon: ChattyDaemon, job: int) -> None:
    """Requests with the secret in them that are refused."""
    name = {"name": "x", "docker_image_repo": "x"}
    for body in (
        {**name, "secret_vars": {"A": [VALUE]}},
        {**name, "secret_vars": {VALUE: "x"}},
        {**name, "secret_vars": {"A": VALUE, "JOBD_A": LINES}},
        {**name, "secret_vars": {"A": f"{VALUE}\x00"}},
        {**name, "secret_vars": {"A": VALUE}, "timeout": 0},
        {**name, "secret_vars": {"A": VALUE}, "runtime_vars": {"A": "1"}},
        {**name, "secret_vars": {"A": VALUE * 4000}},
        {**name, "secret_vars": VALUE},
    ):
        daemon.call("POST", "/v1/jobs", 400, json=body)
    head = {"Content-Type": "application/json"}
    broken = json.dumps({**name, "secret_vars": {"A": VALUE}})[:-4].encode()
    daemon.call("POST", "/v1/jobs", 400, data=broken, headers=head)
    daemon.call("PUT", f"/v1/jobs/{job}", 412, json={"secret_vars": {"A": VALUE}}, headers={"If-Match": '"x"'})
    daemon.call("PUT", f"/v1/jobs/{job + 1000}", 404, json={"secret_vars": {"A": VALUE}})


def test_nothing_tells_a_secret(
    daemon: ChattyDaemon,
    database: str,
    busybox_image: str,
    containers_of: Callable[[str], list[dict[str, Any]]],
    engine: Any,
) -> None:
    daemon.start()
    repo, tag = busybox_image.rsplit(":", 1)
    image = {"docker_image_repo": repo, "docker_image_tag": tag, "pull_policy": "never"}
    secret = {"secret_vars": {"PASSWORD": VALUE, "KEY": LINES}}
    shell = """sh -c 'echo "pw $PASSWORD"; echo "$KEY" >&2; printf "%s" "$PASSWORD" | head -c 12; sleep 0.1;
               printf "%s\\n" "$PASSWORD" | tail -c +13; env; cat; exit 3'"""
    waits = "sh -c 'echo ready $PASSWORD; while sleep 0.2; do :; done'"

    dry = daemon.run(name="dry", region_name="DRYRUN", docker_image_repo="x", **secret)
    ended = daemon.run(command=shell, **image, **secret)
    refused = daemon.run(command="/no/such/program", **image, **secret)
    absent = daemon.run(command="true", **{**image, "docker_image_tag": "none"}, **secret)
    job = daemon.create_job(command=waits, **image, **secret)
    running = daemon.reached(daemon.trigger(job), "R")
    assert (dry["status"], ended["exit_code"], refused["reason"]) == ("S", 3, "start_failed")
    assert absent["reason"] == "image_not_found"

    path = f"/v1/jobs/{job['id']}/execs/{running['id']}/logs"
    daemon.eventually(lambda: b"ready ******\n" in daemon.request("GET", path).content, "the output of the run")
    (container,) = containers_of(running["id"])
    inspected = engine.inspect_container(container["Id"])
    assert f"PASSWORD={VALUE}" in inspected["Config"]["Env"]
    assert not leaks("labels", json.dumps([inspected["Config"]["Labels"], inspected["Name"]]).encode())

    followed: list[bytes] = []
    for accept in ("text/plain", "text/event-stream"):
        head = {"Accept": accept}
        follow = threading.Thread(
            target=lambda head=head: followed.append(daemon.request("GET", f"{path}?follow=1", headers=head).content)
        )
        follow.start()
    misuse(daemon, job["id"])
    daemon.call("PUT", f"/v1/jobs/{job['id']}", 200, json={"secret_vars": {"PASSWORD": "******", "KEY": "changed"}})
    daemon.call("POST", f"{path.removesuffix('/logs')}/stop", 202)
    assert daemon.ended(running)["status"] == "C"
    daemon.eventually(lambda: len(followed) == 2, "the followers to end")
    assert all(b"ready ******" in text for text in followed)

    for row in (dry, ended, refused, absent, running):
        where = f"/v1/jobs/{row['job']['id']}/execs/{row['id']}"
        for suffix, head in (("", {}), ("/logs", {}), ("/logs", {"Accept": "application/json"})):
            daemon.request("GET", where + suffix, headers=head)
        daemon.request("GET", where + "/logs", headers={"Range": "bytes=3-40"})
        daemon.request("GET", f"/v1/jobs/{row['job']['id']}")
    for query in ("/v1/jobs", "/v1/execs", "/v1/audit", "/metrics"):
        daemon.request("GET", query)
    text = daemon.output(ended)
    assert b"pw ******\n" in text
    assert b"PASSWORD=******\n" in text
    assert text.count(b"******") >= 5

    daemon.stop()
    found = [leak for said in [*daemon.said, *followed] for leak in leaks("answer", said)]
    found += leaks("daemon's log", daemon.log.read_bytes())
    found += [leak for cell in cells(database) for leak in leaks("database", cell)]
    for file in daemon.folder.rglob("*"):
        found += leaks(file.name, file.read_bytes()) if file.is_file() else []
    assert not found
    assert b"INSERT INTO secrets" in daemon.log.read_bytes()
