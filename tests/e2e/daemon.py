"""A real `jobd serve` in a process of its own, and a client that knows HTTP and nothing else of jobd."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.services import free_port

PATIENCE = 60.0


class Daemon:
    """`settings` maps INI sections to their text; what it does not name is the default."""

    module = "jobd"

    def __init__(self, folder: Path, settings: dict[str, str], environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.environ = environ
        self.wrapper: list[str] = []
        """A command that starts the daemon's, which it is given as its last arguments."""
        self.log = folder / "daemon.log"
        self.ini = folder / "jobd.ini"
        sections = {"jobd": f"listen = 127.0.0.1:{self.port}\ndata_dir = var\n", **settings}
        self.ini.write_text("".join(f"[{name}]\n{text}\n" for name, text in sections.items()), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        self.token: str | None = None

    def start(self) -> "Daemon":
        with self.log.open("ab") as log:
            command = [*self.wrapper, sys.executable, "-m", self.module, "serve", "-c", str(self.ini)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environ)
        self.eventually(self._is_ready, "the daemon to be ready")
        self.token = (self.folder / "var" / "admin.token").read_text().strip()
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def call(self, method: str, path: str, status: int | None = None, **more: Any) -> Any:
        """The answer's JSON (its text, if it is none). With `status`, any other fails the test."""
        answer = self.request(method, path, **more)
        if status is not None:
            assert answer.status_code == status, (
                f"{method} {path}: {answer.status_code} {answer.text}\n{self.evidence()}"
            )
        return answer.json() if answer.headers.get("Content-Type", "").startswith("application/json") else answer.text

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Token {self.token}", **more.pop("headers", {})}
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=30, **more)

    def create_job(self, **values: Any) -> dict[str, Any]:
        job: dict[str, Any] = self.call("POST", "/v1/jobs", 201, json={"name": "test", **values})
        return job

    def trigger(self, job: dict[str, Any], **overrides: Any) -> dict[str, Any]:
        exec_: dict[str, Any] = self.call("POST", f"/v1/jobs/{job['id']}/execs", 201, json=overrides)
        return exec_

    def run(self, **values: Any) -> dict[str, Any]:
        """A job made, triggered, and followed to its end; the exec's detail."""
        return self.ended(self.trigger(self.create_job(**values)))

    def ended(self, exec_: dict[str, Any]) -> dict[str, Any]:
        return self.reached(exec_, "S", "F", "C")

    def reached(self, exec_: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """The exec's detail once it has one of these statuses."""
        job = exec_["job"]["id"] if isinstance(exec_["job"], dict) else exec_["job"]

        def look() -> Any:
            found = self.call("GET", f"/v1/jobs/{job}/execs/{exec_['id']}", 200)
            return found if found["status"] in statuses else None

        return self.eventually(look, f"exec {exec_['id']} to be {statuses}")

    def output(self, exec_: dict[str, Any]) -> bytes:
        return self.request("GET", f"/v1/jobs/{exec_['job']['id']}/execs/{exec_['id']}/logs").content

    def eventually(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"waited {PATIENCE:.0f} s for {what}\n{self.evidence()}")

    def evidence(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        # What a test asks again and again would be all that is left of the log.
        told = "".join(line for line in lines if "jobd.access: GET" not in line)
        return f"the daemon's log:\n{told[-8000:]}"

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.evidence()
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False
