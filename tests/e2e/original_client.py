"""A client of the original service, written after docs/jobs.zh.md and what is known of that service's webhooks: it has
never heard of jobd's code.

    python original_client.py URL NAMESPACE USERNAME PASSWORD IMAGE

It goes through every call of that page, has a webhook tell it how the run went, and prints what it did. Whatever an
answer holds besides what the page shows is none of its business; whatever the page shows and the answer lacks ends it.
"""

import hashlib
import hmac
import json
import queue
import re
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import requests

JOB = {
    *("id", "created_by", "command", "docker_image_repo", "docker_image_tag", "name", "region_name", "namespace"),
    *("created_at", "updated_at", "resource_size", "schedule_mode", "is_schedule_active", "runtime_vars"),
}
EXEC = {
    *("id", "job", "docker_image_repo", "docker_image_tag", "status", "created_at", "started_at", "ended_at"),
    *("runtime_vars", "resource_size", "created_by", "command", "trigger_mode", "duration", "region_name"),
}
HOOK = {"id", "name", "subject_type", "subject", "events", "url", "is_active", "created_by", "created_at", "updated_at"}
HOOK_SECRET = "open sesame"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(\+00:00|Z)")
PATIENCE = 60.0


class Service:
    """`url` is the service's address, without `/v1`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def sign_in(self, username: str, password: str) -> None:
        answer = self.call("POST", "/v1/generate-api-token", 200, json={"username": username, "password": password})
        assert answer["username"] == username, answer
        self.session.headers["Authorization"] = f"Token {answer['token']}"

    def call(self, method: str, path: str, status: int, **more: Any) -> Any:
        """The answer's JSON, null for an empty one; any other status is the end."""
        answer = self.session.request(method, self.url + path, timeout=30, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        if not answer.content:
            return None
        assert answer.headers["Content-Type"].startswith("application/json"), answer.headers
        return answer.json()

    def wait(self, job: int, exec_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            detail: dict[str, Any] = self.call("GET", f"/v1/jobs/{job}/execs/{exec_id}", 200)
            if detail["ended_at"] is not None:
                return detail
            time.sleep(0.1)
        raise AssertionError(f"exec {exec_id} has not ended: {detail}")

    def log(self, job: int, exec_id: str) -> str:
        answer = self.session.get(f"{self.url}/v1/jobs/{job}/execs/{exec_id}/logs", timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text


class Receiver(HTTPServer):
    """Keeps what it is told: `told` yields the headers and the body of each delivery."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Delivery)
        self.told: queue.Queue[tuple[Mapping[str, str], dict[str, Any]]] = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server_port}/hook"

    @contextmanager
    def listening(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        yield self
        self.shutdown()
        self.server_close()


class Delivery(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.put((dict(self.headers), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def main(url: str, namespace: str, username: str, password: str, image: str) -> None:
    service = Service(url)
    service.sign_in(username, password)
    print("signed in")
    job = created(service, namespace, image)
    print(f"created job {job['id']}")
    listed(service, job)
    changed(service, job)
    print("updated")
    with Receiver().listening() as receiver:
        hook = hooked(service, job, receiver)
        run(service, job)
        told(receiver, hook, job, username)
    service.call("DELETE", f"/v1/hooks/{hook['id']}", 204)
    service.call("GET", f"/v1/hooks/{hook['id']}", 404)
    service.call("DELETE", f"/v1/jobs/{job['id']}", 204)
    service.call("GET", f"/v1/jobs/{job['id']}", 404)
    print("deleted")


def created(service: Service, namespace: str, image: str) -> dict[str, Any]:
    repository, tag = image.rsplit(":", 1)
    wanted = {
        "name": "测试 test",
        "namespace": namespace,
        "command": "sh -c 'echo from $DB_HOST; exit 3'",
        "docker_image_repo": repository,
        "docker_image_tag": tag,
        "resource_size": "XXS",
        "is_schedule_active": False,
        "schedule_mode": None,
        "runtime_vars": {"DB_HOST": "localhost"},
    }
    job: dict[str, Any] = service.call("POST", "/v1/jobs", 201, json=wanted)
    assert job.keys() >= JOB, JOB - job.keys()
    assert {name: job[name] for name in wanted} == wanted, job
    assert isinstance(job["id"], int), job
    assert TIME.fullmatch(job["created_at"]), job
    assert TIME.fullmatch(job["updated_at"]), job
    return job


def listed(service: Service, job: dict[str, Any]) -> None:
    page = service.call("GET", f"/v1/jobs?namespace={job['namespace']}", 200)
    assert page.keys() >= {"count", "previous", "results", "next"}, page
    assert (page["count"], page["previous"], page["next"]) == (1, None, None), page
    assert page["results"][0].keys() >= JOB, page
    assert page["results"][0]["id"] == job["id"], page
    assert service.call("GET", f"/v1/jobs/{job['id']}", 200).keys() >= JOB


def changed(service: Service, job: dict[str, Any]) -> None:
    wanted = {
        "name": "test2",
        "command": "sh -c 'echo hello from $DB_HOST; exit 3'",
        "docker_image_tag": job["docker_image_tag"],
        "resource_size": "XS",
        "is_schedule_active": True,
        "schedule_mode": "R1/2035-12-31T16:00:23.446Z/PT1H",
        "runtime_vars": {"DB_HOST": "127.0.0.1"},
    }
    answer = service.call("PUT", f"/v1/jobs/{job['id']}", 200, json=wanted)
    assert {name: answer[name] for name in wanted} == wanted, answer
    assert answer["created_at"] == job["created_at"], answer
    assert answer["updated_at"] > job["updated_at"], answer
    job.update(answer)


def hooked(service: Service, job: dict[str, Any], receiver: Receiver) -> dict[str, Any]:
    wanted = {
        "name": "test",
        "subject_type": "job",
        "subject": job["id"],
        "events": ["job:succeed"],
        "secret": HOOK_SECRET,
        "url": receiver.url,
    }
    hook: dict[str, Any] = service.call("POST", "/v1/hooks", 201, json=wanted)
    assert hook.keys() >= HOOK, HOOK - hook.keys()
    assert (hook["is_active"], hook["subject"]) == (True, job["id"]), hook
    listed = service.call("GET", f"/v1/hooks?subject_type=job&subject={job['id']}", 200)
    assert [one["id"] for one in listed] == [hook["id"]], listed
    events = ["job:succeed", "job:fail"]
    assert service.call("PUT", f"/v1/hooks/{hook['id']}", 200, json={"events": events})["events"] == events
    assert service.call("GET", f"/v1/hooks/{hook['id']}", 200)["events"] == events
    return hook


def told(receiver: Receiver, hook: dict[str, Any], job: dict[str, Any], username: str) -> None:
    headers, body = receiver.told.get(timeout=PATIENCE)
    assert headers["User-Agent"] == "Alauda/Webhook/1.0", headers
    at = headers["X-Alauda-Event-Time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at), headers
    signature = hmac.new(HOOK_SECRET.encode(), at.encode(), hashlib.sha1).hexdigest()
    assert headers["X-Alauda-Signature"] == f"sha1={signature}", headers
    assert body["hook"] == {"id": hook["id"], "subject_type": "job", "subject": job["id"]}, body
    assert body["sender"] == {"username": username}, body
    assert body["data"].keys() >= EXEC, EXEC - body["data"].keys()
    print(f"told: {headers['X-Alauda-Event']} {body['data']['status']}")


def run(service: Service, job: dict[str, Any]) -> None:
    execs = f"/v1/jobs/{job['id']}/execs"
    started = service.call("POST", execs, 201)
    assert started.keys() >= EXEC, EXEC - started.keys()
    assert (started["job"], started["trigger_mode"]) == (job["id"], "M"), started
    assert started["status"] in "WR", started
    assert (started["ended_at"], started["duration"]) == (None, None), started

    ended = service.wait(job["id"], started["id"])
    assert ended.keys() >= EXEC, EXEC - ended.keys()
    assert ended["status"] == "F", ended
    assert ended["duration"].keys() == {"hours", "minutes", "seconds"}, ended
    assert ended["job"]["id"] == job["id"], ended
    assert ended["job"]["email_enabled"] is False, ended
    assert json.loads(ended["job"]["runtime_vars"]) == job["runtime_vars"], ended
    print(f"ran: {service.log(job['id'], started['id']).strip()}")

    page = service.call("GET", execs, 200)
    assert (page["count"], page["previous"], page["next"]) == (1, None, None), page
    assert page["results"][0].keys() >= EXEC, page
    assert page["results"][0]["job"] == job["id"], page
    service.call("DELETE", f"{execs}/{started['id']}", 204)
    assert service.call("GET", execs, 200)["count"] == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
