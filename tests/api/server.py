"""The API on a free port, with the real store and an engine that only remembers what it was asked."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.testing import bind_unused_port

from jobd.api.routes import application
from jobd.config import MountSettings, RegionSettings, Settings, Size, settings
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.web.server import Server
from jobd.web.services import Services

JOB = {"name": "test", "docker_image_repo": "index.example.com/team/app"}


class Options(BaseModel):
    """An executor without options of its own."""


@dataclass
class Region:
    outage: str | None = None
    engine: str = "dry-run"


@dataclass
class Outcome:
    status: str = "S"
    exit_code: int | None = 0
    reason: str | None = None


class Silence:
    """A follower of an exec that ended without a word."""

    is_over = True
    end = Outcome()

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@dataclass
class Engine:
    regions: dict[str, Region] = field(default_factory=lambda: {"BEIJING1": Region()})
    created: list[str] = field(default_factory=list)
    stops: int = 0
    log: bytes | None = None

    def exec_created(self, rows: Iterable[Exec]) -> None:
        self.created += [row.id for row in rows]

    def stop_requested(self) -> None:
        self.stops += 1

    async def running_log(self, row: Exec) -> bytes | None:
        return self.log

    def follow(self, row: Exec, offset: int) -> Silence:
        return Silence()


def settings_for(url: str, **sections: Any) -> Settings:
    regions = {
        "BEIJING1": RegionSettings(name="BEIJING1", executor="dry-run", options=Options()),
        "GUARDED": RegionSettings(
            name="GUARDED", executor="dry-run", options=Options(), images=("index.example.com/team/*",)
        ),
    }
    sizes = {"XXS": Size(cpus=0.15, memory=64 * 2**20), "XS": Size(cpus=0.25, memory=128 * 2**20)}
    mounts = {"data": MountSettings(source="/srv/data"), "secret": MountSettings(source="/srv", namespaces=("ops",))}
    return Settings(
        path=Path("jobd.ini"),
        database=settings.Database(url=url),
        sizes=sizes,
        regions=regions,
        mounts=mounts,
        **sections,
    )


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPHeaders
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The one error of the body, whose shape is checked."""
        (only,) = self.json["errors"]
        assert only["source"] == "jobd"
        return only

    @property
    def faults(self) -> dict[str, list[str]]:
        """What is wrong with which field; each field has one entry."""
        assert (self.status, self.error["code"]) == (400, "invalid_args"), self.body
        found: dict[str, list[str]] = {}
        for entry in self.error["fields"]:
            assert len(entry) == 1
            assert not entry.keys() & found.keys()
            found |= entry
        return found


class Api:
    """A server and its client; `token` is sent with every call that does not say otherwise."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        token: str | None = None,
        plugins: Any = None,
        engine: Any = None,
    ) -> None:
        self.engine = engine or Engine()
        self.services = Services(database, settings, self.engine, plugins)
        sock, self.port = bind_unused_port()
        self._server = Server(application(self.services), self.services.connections, max_body_size=sys.maxsize)
        self._server.add_socket(sock)
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = token

    async def call(
        self,
        method: str,
        path: str,
        json_body: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        token: str | None = "",
    ) -> Answer:
        sent = dict(headers)
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent.setdefault("Content-Type", "application/json")
        token = self.token if token == "" else token
        if token:
            sent.setdefault("Authorization", f"Token {token}")
        url = path if path.startswith("http") else self.url + path
        request = HTTPRequest(
            url, method, headers=sent, body=body, allow_nonstandard_methods=True, follow_redirects=False
        )
        got = await AsyncHTTPClient().fetch(request, raise_error=False)
        return Answer(got.code, got.headers, got.body or b"")

    async def job(self, **fields: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/jobs", {**JOB, **fields})
        assert answer.status == 201, answer.body
        return answer.json

    async def exec(self, job_id: int, **overrides: Any) -> dict[str, Any]:
        answer = await self.call("POST", f"/v1/jobs/{job_id}/execs", overrides or None)
        assert answer.status == 201, answer.body
        return answer.json

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
