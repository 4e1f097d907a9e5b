"""The receiver of docs/webhooks.md takes what jobd signs, and nothing else."""

import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from tornado.ioloop import IOLoop

from jobd.delivery import sender, signatures
from jobd.delivery.http_post import Poster
from jobd.store.outbox import EVENTS
from tests.services import free_port, wait_for_port

TEXT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
VERIFYING, RECEIVER = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
BODY = b'{"data":{"id":"64b2d045","status":"F"}}'
ID = "5b6e0d5e"


@pytest.fixture(params=["whsec_c2VjcmV0IG9mIGEgdGVzdA==", "秘密", "c2VjcmV0IG9mIGEgdGVzdA=="])
def secret(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def port(secret: str, tmp_path: Path) -> Iterator[int]:
    """Where the page's receiver listens."""
    chosen = free_port()
    environ = {**os.environ, "HOOK_SECRET": secret, "PORT": str(chosen), "PYTHONUTF8": "1"}
    with (tmp_path / "receiver.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", RECEIVER], env=environ, stdout=log, stderr=log)
    try:
        wait_for_port(chosen, process, tmp_path / "receiver.log")
        yield chosen
    finally:
        process.kill()
        process.wait()


@pytest.mark.gen_test(timeout=30)
async def test_the_receiver_takes_what_is_genuine(port: int, secret: str, tmp_path: Path, io_loop: IOLoop) -> None:
    poster = Poster([ipaddress.ip_network("127.0.0.1")], 1)
    at, now = datetime.now(UTC), int(time.time())

    async def send(body: bytes = BODY, *, key: str | None = secret, signed: bytes = BODY, sent_at: int = now) -> int:
        headers = signatures.headers(ID, "job:fail", at, sent_at, signed, key)
        return (await poster.post(f"http://127.0.0.1:{port}/", headers, body)).status

    assert [await send(), await send()] == [204, 204]
    assert await send(BODY.replace(b"F", b"S")) == 401
    assert await send(key="other") == 401
    assert await send(key=None) == 401
    assert await send(sent_at=now - 3600) == 401
    assert (tmp_path / "receiver.log").read_text().count("job:fail 64b2d045 F") == 1
    poster.close()


def test_the_library_takes_what_is_genuine_as_the_page_calls_it(secret: str) -> None:
    page: dict[str, Any] = {}
    exec(VERIFYING, page)
    headers = signatures.headers(ID, "job:fail", datetime.now(UTC), int(time.time()), BODY, secret)
    assert page["verified"](secret, headers, BODY) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        page["verified"](secret, headers, BODY.replace(b"F", b"S"))


def test_the_library_does_not_take_the_text_of_a_secret_without_its_beginning() -> None:
    secret = "c2VjcmV0IG9mIGEgdGVzdA=="
    headers = signatures.headers(ID, "job:fail", datetime.now(UTC), int(time.time()), BODY, secret)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers)


def test_the_page_names_what_there_is() -> None:
    assert [event for event in EVENTS.values() if f"`{event}`" not in TEXT] == []
    made = signatures.headers(ID, "job:fail", datetime.now(UTC), 0, BODY, "x")
    assert [name for name in made if f"{name}: " not in TEXT] == []
    assert sender.RETRIES == (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
    words = "5\nseconds, 1 minute, 5 minutes, 30 minutes, 2 hours, 5 hours and 10 hours"
    assert words in TEXT
    assert (sender.PER_HOOK, sender.PER_NAMESPACE) == (4, 16)
