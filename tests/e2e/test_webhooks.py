"""A daemon that is killed loses no delivery."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon

EXECS = 8
"""More than go to one hook at the same time, so that some are being sent and some are only stored when it is killed."""


class Inbox(ThreadingHTTPServer):
    """Takes deliveries once it is `open`; until then it leaves them without an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.taken: list[tuple[str, str]] = []


class Taking(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.arrived.release()
        self.server.open.wait(60)
        try:
            self.send_response(204)
            self.end_headers()
        except OSError:
            return
        self.server.taken.append((self.headers["webhook-id"], body["data"]["id"]))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.open.set()
    server.shutdown()
    server.server_close()


def test_what_was_committed_is_sent_after_a_kill(tmp_path: Path, inbox: Inbox) -> None:
    daemon = Daemon(tmp_path, {"webhooks": "allow_networks = 127.0.0.1", "scheduler": "tick = 0.05"}).start()
    try:
        job = daemon.create_job(docker_image_repo="team/app", region_name="DRYRUN")
        url = f"http://127.0.0.1:{inbox.server_address[1]}/"
        said = {"subject_type": "job", "subject": job["id"], "url": url, "events": ["job:succeed"]}
        hook = daemon.call("POST", "/v1/hooks", 201, json=said)
        ended = {daemon.ended(exec_)["id"] for exec_ in [daemon.trigger(job) for _ in range(EXECS)]}
        assert inbox.arrived.acquire(timeout=30)
        daemon.stop(signal.SIGKILL)
        inbox.open.set()
        daemon.start()

        def delivered() -> bool:
            page = daemon.call("GET", f"/v1/hooks/{hook['id']}/deliveries", 200)
            return [row["status"] for row in page["results"]] == ["delivered"] * EXECS

        daemon.eventually(delivered, "all deliveries")
        assert {id for _, id in inbox.taken} == ended
        assert len({message for message, _ in inbox.taken}) == EXECS
    finally:
        assert daemon.stop() == 0
