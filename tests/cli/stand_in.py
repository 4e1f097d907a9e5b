"""A small server that speaks the API as far as the commands use it, for moments that a real daemon cannot be put in."""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

TOKEN = "jobd_right"
AWAY: dict[str, Any] = {"away": True}
"""As the last of the states: from then on the exec cannot be read."""
AT = "2026-01-02T03:04:05.678901+00:00"


class StandIn:
    """Serves on a free port of loopback, in a thread. An exec goes on by one of its `states` each time it is read."""

    def __init__(self) -> None:
        self.jobs: dict[int, dict[str, Any]] = {}
        self.execs: list[dict[str, Any]] = []
        self.regions: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.states: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        """The `Idempotency-Key` of each trigger."""
        self.on_end: Callable[[dict[str, Any]], None] | None = None
        """Called once, when an exec is first read as failed."""
        self.log = b""
        self.streams: list[bytes] = []
        """What those get who follow the log, one after the other; each stream breaks off at its end."""
        self.last_ids: list[str | None] = []
        """What they said they had."""
        self.refusals: list[tuple[int, Any]] = []
        """Answers given before any other, first come first served."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, after a stop on the same port again."""

        async def listen() -> None:
            sockets = bind_sockets(self.port, "127.0.0.1")
            self.port = sockets[0].getsockname()[1]
            self._server = HTTPServer(_application(self))
            self._server.add_sockets(sockets)

        self._call(listen)

    def stop(self) -> None:
        async def close() -> None:
            self._server.stop()
            await self._server.close_all_connections()

        self._call(close)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def job(self, **fields: Any) -> dict[str, Any]:
        """A job that is there."""
        number = 146 + len(self.jobs)
        self.jobs[number] = {
            "id": number,
            "name": "test",
            "namespace": "chennanfei",
            "docker_image_repo": "index.alauda.cn/chennanfei/job_image",
            "docker_image_tag": "latest",
            "resource_size": "XXS",
            "region_name": "BEIJING1",
            "schedule_mode": None,
            "is_schedule_active": False,
            "created_at": AT,
            **fields,
        }
        return self.jobs[number]

    def exec(self, job: int = 146, **fields: Any) -> dict[str, Any]:
        """An exec that is there."""
        made = {
            "id": str(uuid.uuid4()),
            "job": job,
            "status": "W",
            "trigger_mode": "M",
            "created_at": AT,
            "started_at": None,
            "ended_at": None,
            "duration": None,
            "exit_code": None,
            "reason": None,
            "message": None,
            **fields,
        }
        self.execs.insert(0, made)
        return made

    def asked(self, method: str) -> list[tuple[str, Any]]:
        return [(uri, body) for verb, uri, body in self.requests if verb == method]

    def _call(self, work: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)


class Handler(RequestHandler):
    def initialize(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def prepare(self) -> None:
        body = json.loads(self.request.body) if self.request.body else None
        self.stand_in.requests.append((self.request.method, self.request.uri, body))
        if self.stand_in.refusals:
            status, answer = self.stand_in.refusals.pop(0)
            self.set_status(status)
            self.finish(answer)
        elif self.request.headers.get("Authorization") != f"Token {TOKEN}":
            self.refuse(401, "unauthorized", "no such token")
        self.body = body

    def refuse(self, status: int, code: str, message: str) -> None:
        self.set_status(status)
        self.finish({"errors": [{"source": "jobd", "code": code, "message": message}]})

    def page(self, items: list[dict[str, Any]]) -> None:
        """The cursor is how many came before."""
        first, size = int(self.get_argument("after", "") or 0), int(self.get_argument("page_size", "20"))
        more = f"/?after={first + size}" if first + size < len(items) else None
        count = None if self.get_argument("count", "exact") == "none" else len(items)
        self.finish({"count": count, "next": more, "previous": None, "results": items[first : first + size]})

    def found_job(self, number: str) -> dict[str, Any]:
        if int(number) not in self.stand_in.jobs:
            self.refuse(404, "resource_not_exist", f"no job {number}")
            raise HTTPError(404)
        return self.stand_in.jobs[int(number)]

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if not self._finished:
            super().write_error(status_code, **kwargs)


class Jobs(Handler):
    def get(self) -> None:
        wanted = {name: self.get_argument(name, None) for name in ("name", "namespace")}
        jobs = [j for j in self.stand_in.jobs.values() if all(v in (None, j[n]) for n, v in wanted.items())]
        self.page(sorted(jobs, key=lambda job: -job["id"]))

    def post(self) -> None:
        self.set_status(201)
        self.finish(self.stand_in.job(**self.body))


class Job(Handler):
    def get(self, number: str) -> None:
        self.finish(self.found_job(number))

    def put(self, number: str) -> None:
        job = self.found_job(number)
        job.update(self.body)
        self.finish(job)

    def delete(self, number: str) -> None:
        del self.stand_in.jobs[self.found_job(number)["id"]]
        self.set_status(204)


class JobExecs(Handler):
    def get(self, number: str) -> None:
        self.page([exec for exec in self.stand_in.execs if exec["job"] == int(number)])

    def post(self, number: str) -> None:
        self.found_job(number)
        self.stand_in.keys.append(self.request.headers.get("Idempotency-Key"))
        self.set_status(201)
        self.finish(self.stand_in.exec(int(number)))


class Execs(Handler):
    def get(self) -> None:
        self.page(self.stand_in.execs)


class Exec(Handler):
    def get(self, number: str, id: str) -> None:
        found = next((exec for exec in self.stand_in.execs if exec["id"] == id), None)
        if found is None:
            self.refuse(404, "resource_not_exist", f"no exec {id}")
            return
        if self.stand_in.states == [AWAY]:
            self.refuse(503, "service_unavailable", "the database is away")
            return
        if self.stand_in.states:
            found.update(self.stand_in.states.pop(0))
        if found["status"] == "F" and self.stand_in.on_end is not None:
            self.stand_in.on_end(found)
            self.stand_in.on_end = None
        self.finish({**found, "job": {"id": int(number), "name": "test"}})


class Stop(Handler):
    def post(self, number: str, id: str) -> None:
        self.set_status(202)


class Rerun(Handler):
    def post(self, number: str, id: str) -> None:
        self.set_status(201)
        self.finish(self.stand_in.exec(int(number)))


class Logs(Handler):
    async def get(self, number: str, id: str) -> None:
        if self.get_argument("follow", None) is None:
            self.finish(self.stand_in.log)
            return
        self.stand_in.last_ids.append(self.request.headers.get("Last-Event-ID"))
        self.set_header("Content-Type", "text/event-stream")
        self.write(self.stand_in.streams.pop(0))
        await self.flush()
        self.request.connection.stream.close()


class Regions(Handler):
    def get(self) -> None:
        self.page(self.stand_in.regions)


class Profile(Handler):
    def get(self) -> None:
        self.finish({"username": "chennanfei"})


def _application(stand_in: StandIn) -> Application:
    routes = [
        (r"/v1/jobs", Jobs),
        (r"/v1/jobs/(\d+)", Job),
        (r"/v1/jobs/(\d+)/execs", JobExecs),
        (r"/v1/execs", Execs),
        (r"/v1/jobs/(\d+)/execs/([^/]+)", Exec),
        (r"/v1/jobs/(\d+)/execs/([^/]+)/stop", Stop),
        (r"/v1/jobs/(\d+)/execs/([^/]+)/rerun", Rerun),
        (r"/v1/jobs/(\d+)/execs/([^/]+)/logs", Logs),
        (r"/v1/regions", Regions),
        (r"/v1/auth/profile", Profile),
    ]
    return Application(
        [(path, handler, {"stand_in": stand_in}) for path, handler in routes], log_function=lambda handler: None
    )
