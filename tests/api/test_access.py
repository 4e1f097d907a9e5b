"""The line that each request leaves in the log."""

import logging
from collections.abc import Callable

import pytest

from jobd import daemon_log
from jobd.store import jobs
from tests.api.conftest import USER
from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def requests(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """The lines about requests so far."""
    caplog.set_level(logging.INFO, logger="jobd.access")
    return lambda: [record for record in caplog.records if record.name == "jobd.access"]


async def test_it_says_who_asked_for_what_and_what_became_of_it(
    api: Api, requests: Callable[[], list[logging.LogRecord]]
) -> None:
    answer = await api.call("GET", "/v1/jobs?name=my-password", headers={"X-Request-Id": "r-1"})
    (line,) = requests()
    said = vars(line)
    assert (said["method"], said["path"], said["status"], said["caller"]) == ("GET", "/v1/jobs", 200, USER)
    assert (said["request_id"], said["remote_ip"], said["bytes"]) == ("r-1", "127.0.0.1", len(answer.body))
    assert 0 <= said["duration_ms"] < 30_000
    assert line.getMessage() == "GET /v1/jobs 200"
    written = daemon_log.formatter("json", "daemon-1").format(line)
    assert "my-password" not in written
    assert str(api.token) not in written


async def test_one_that_is_refused_has_its_line_too(api: Api, requests: Callable[[], list[logging.LogRecord]]) -> None:
    await api.call("GET", "/v1/jobs", token=None)
    await api.call("POST", "/v1/jobs", body=b"x" * (2**20 + 1))
    assert [(vars(line)["status"], vars(line)["caller"]) for line in requests()] == [(401, "-"), (413, USER)]


async def test_probes_are_told_only_when_they_fail(api: Api, requests: Callable[[], list[logging.LogRecord]]) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await api.call("GET", path)).status == 200
    assert [line for line in requests() if line.levelno >= logging.INFO] == []
    await api.call("GET", "/metrics", token="wrong", headers={"Via": "1.1 proxy"})
    assert [vars(line)["status"] for line in requests()] == [401]


async def test_a_very_long_path_is_cut(api: Api, requests: Callable[[], list[logging.LogRecord]]) -> None:
    await api.call("GET", "/" + "x" * 1900)
    (line,) = requests()
    assert len(vars(line)["path"]) == 1000
    assert len(line.getMessage()) < 1100


async def test_what_the_store_logs_in_its_thread_names_request_job_and_exec(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = await api.job()
    lines: list[str] = []
    formatter = daemon_log.formatter("json", "daemon-1")

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    get = jobs.get

    def talking(*args: object, **kwargs: object) -> object:
        logging.getLogger("jobd.store.jobs").warning("looked up")
        return get(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "get", talking)
    handler = Keep()
    logging.getLogger("jobd.store.jobs").addHandler(handler)
    try:
        await api.call("GET", f"/v1/jobs/{job['id']}", headers={"X-Request-Id": "r-2"})
        await api.call("GET", f"/v1/jobs/{job['id']}/schedule", headers={"X-Request-Id": "r-3"})
    finally:
        logging.getLogger("jobd.store.jobs").removeHandler(handler)
    first, second = lines
    assert '"request_id":"r-2"' in first
    assert '"request_id":"r-3"' in second
    assert f'"job_id":{job["id"]}' in first
