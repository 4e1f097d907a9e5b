"""The worst requests that were found, each as the bytes that are sent: what takes longest to read, judge or answer."""

import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.daemon import Daemon

MB = 2**20
JOB = {"name": "hostile", "docker_image_repo": "index.example.com/team/nightly"}
FULL = "x" * (128 * 2**10 - 100)
"""A job's variables, nearly as many bytes as it may have."""


@dataclass(frozen=True)
class World:
    """What the requests are about: a job with large variables, and an exec of it."""

    token: str
    job: int
    exec_id: str


def prepared(daemon: Daemon, jobs: int) -> World:
    """`jobs` large jobs in a daemon, hooks of the last, and an exec of it."""
    for _ in range(jobs):
        job = daemon.create_job(**JOB, labels={"a": "1"}, runtime_vars={"A": FULL}, command="true")
    for _ in range(20):
        said = {"subject_type": "job", "subject": job["id"], "url": "https://example.com/", "events": ["job:not_run"]}
        daemon.call("POST", "/v1/hooks", 201, json=said)
    made = daemon.trigger(job)
    daemon.ended(made)
    return World(str(daemon.token), job["id"], made["id"])


def requests(world: World) -> dict[str, bytes]:
    """By what they are: of nobody, and of somebody with a token."""
    return {name: make() for name, make in {**_of_nobody(), **_of_somebody(world)}.items()}


def of_those_who_leave(world: World) -> dict[str, bytes]:
    """The same for clients that go away as soon as they have sent it."""
    token = {"Authorization": f"Token {world.token}"}
    return {
        "leaving: 1,000 requests in one piece": ahead("/healthz") * 1000,
        "leaving: a page of 60 large jobs": request("GET", "/v1/jobs?page_size=60", headers=token),
        "leaving: an exec": request("POST", f"/v1/jobs/{world.job}/execs", headers=token),
    }


def _of_nobody() -> dict[str, Callable[[], bytes]]:
    sign_in = "/v1/generate-api-token"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    many = ",".join(f'"{number:x}":1' for number in range(1600))
    twice = f'{{{many},"0":1}}'.encode()
    return {
        "nobody: /healthz alone": lambda: request("GET", "/healthz"),
        "nobody: a name twice, 140 KB": lambda: request("POST", sign_in, twice * 9),
        "nobody: a name twice, 16 KB": lambda: request("POST", sign_in, twice[: 16 * 2**10]),
        "nobody: names that cannot be, 16 KB": lambda: request("POST", sign_in, f"{{{many}}}".encode()),
        "nobody: a schedule among names that cannot be": lambda: request(
            "POST", sign_in, f'{{{many},"schedule":1}}'.encode()
        ),
        "nobody: nested lists, 16 KB": lambda: request("POST", sign_in, b'{"a":' + b"[" * 16_000),
        "nobody: a form": lambda: request("POST", sign_in, b"a=%ff&" * 2700, form),
        "nobody: 10,000 header lines": lambda: request("GET", "/healthz", more=b"a:\n" * 10_000),
        "nobody: 100 header lines": lambda: request("GET", "/healthz", more=b"a:1\r\n" * 90),
        "nobody: 5,000 parameters": lambda: request("GET", "/healthz?" + "a&" * 5000),
        "nobody: 100 parameters": lambda: request("GET", "/healthz?" + "&".join(map(str, range(100)))),
        "nobody: 30 KB of codings": lambda: request("GET", "/healthz", more=b"Accept-Encoding: " + b"," * 30_000),
        "nobody: 30 KB of proxies": lambda: request("GET", "/healthz", more=b"X-Forwarded-For: " + b"::1," * 7_500),
        "nobody: 30 KB of cookies": lambda: request("GET", "/healthz", more=b"Cookie: " + b"a=b;" * 7_500),
        "nobody: a path of 30 KB": lambda: request("GET", "/v1/jobs/" + "x" * 30_000),
        "nobody: /openapi.json": lambda: request("GET", "/openapi.json", more=b"Accept-Encoding: gzip"),
        "nobody: /docs": lambda: request("GET", "/docs", more=b"Accept-Encoding: gzip"),
        "nobody: /readyz": lambda: request("GET", "/readyz"),
        "nobody: /metrics": lambda: request("GET", "/metrics"),
        "nobody: a version that is none": lambda: request(
            "GET", "/metrics", more=b"Accept: application/openmetrics-text;version=x"
        ),
        "nobody: 16 KB in pieces of a byte": lambda: in_pieces("POST", sign_in, b"[" * (16 * 2**10)),
        "nobody: 100 requests in one piece": lambda: ahead("/healthz") * 99 + request("GET", "/healthz"),
        "nobody: 1 MB without a token": lambda: request("POST", "/v1/jobs", b"[" * MB),
    }


def _of_somebody(world: World) -> dict[str, Callable[[], bytes]]:
    def call(method: str, path: str, body: bytes | dict[str, Any] = b"", more: bytes = b"") -> bytes:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request(method, path, data, {"Authorization": f"Token {world.token}"}, more)

    def new(**fields: Any) -> bytes:
        return call("POST", "/v1/jobs", {**JOB, **fields})

    def preview(mode: str, **more: Any) -> bytes:
        return call("POST", "/v1/schedule/preview", {"schedule_mode": mode, **more})

    job, execs = f"/v1/jobs/{world.job}", f"/v1/jobs/{world.job}/execs"
    names = {f"{number:x}": 1 for number in range(80_000)}
    labels = urllib.parse.urlencode([("label", f"a{number}=1") for number in range(64)])
    return {
        "a name twice, 1 MB": lambda: call("POST", "/v1/jobs", json.dumps(names)[:-1].encode() + b',"0":1}'),
        "1 MB of lists": lambda: call("POST", "/v1/jobs", b'{"a":[' + b"[]," * (MB // 3 - 10) + b"1]}"),
        "50,000 lists": lambda: call("POST", "/v1/jobs", b'{"a":[' + b"[]," * 24_900 + b"1]}"),
        "1 MB of one text": lambda: new(docker_image_repo="a-" * 500_000),
        "45,000 names that cannot be": lambda: new(**dict.fromkeys(list(names)[:45_000], 1)),
        "45,000 variables that are no texts": lambda: new(runtime_vars=dict.fromkeys(list(names)[:45_000], 1)),
        "45,000 variables": lambda: new(runtime_vars=dict.fromkeys(list(names)[:45_000], "")),
        "45,000 recipients": lambda: new(email_recipients=[1] * 45_000),
        "a list of 20 hooks": lambda: call("GET", f"/v1/hooks?subject_type=job&subject={world.job}"),
        "a log that is followed for as long as it takes": lambda: call("GET", f"{execs}/{world.exec_id}/logs?follow=1"),
        "a command of 32 KB": lambda: new(command="a " * 16_000 + "'"),
        "a zone that is none": lambda: new(schedule_mode="R/P1D", schedule_timezone="Asia/Pekingg" * 5),
        "a job with 128 KB of variables": lambda: new(runtime_vars={"A": FULL}),
        "a preview of 1,000 rare slots": lambda: preview("0 0 29 2 *", count=1000),
        "a preview of 1,000 slots": lambda: preview("* * * * *", count=1000, schedule_timezone="Europe/Paris"),
        "a preview of an interval": lambda: preview("R/P1Y", count=1000, schedule_timezone="Pacific/Apia"),
        "64 labels": lambda: call("GET", f"/v1/jobs?{labels}"),
        "a page of 60 large jobs": lambda: call("GET", "/v1/jobs?page_size=60"),
        "the same, compressed": lambda: call("GET", "/v1/jobs?page_size=60", more=b"Accept-Encoding: gzip"),
        "a page beyond 8 MB": lambda: call("GET", "/v1/jobs?page_size=100"),
        "the audit of large jobs": lambda: call("GET", "/v1/audit?page_size=60"),
        "a large job": lambda: call("GET", job),
        "a large job's change": lambda: call("PUT", job, {"runtime_vars": {"A": FULL}}),
        "a large exec": lambda: call("POST", execs, {"runtime_vars": {"A": FULL}}),
        "a large exec's detail": lambda: call("GET", f"{execs}/{world.exec_id}"),
        "30 KB of tags": lambda: call("PUT", job, {"name": "b"}, b"If-Match: " + b'"a",' * 7_500),
        "30 KB of media types": lambda: call("GET", f"{execs}/{world.exec_id}/logs", more=b"Accept: " + b"," * 30_000),
    }


def ahead(path: str) -> bytes:
    """A request that may be followed by others on its connection."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def in_pieces(method: str, path: str, body: bytes) -> bytes:
    """A request whose body comes in chunks of a byte each (RFC 9112, 7.1)."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, more: bytes = b""
) -> bytes:
    """The bytes of a request that ends its connection; `more` are header lines as they are."""
    fields = {"Host": "127.0.0.1", "Connection": "close", "Content-Type": "application/json", **(headers or {})}
    fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n" + (more.rstrip(b"\r\n") + b"\r\n" if more else b"") + b"\r\n" + body
