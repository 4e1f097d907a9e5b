"""The daemon's own log: one line an event, fit to read and to parse, with ids and without secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from jobd import daemon_log
from jobd.config.settings import Log

log = logging.getLogger("jobd.test")
Lines = Callable[[], list[str]]


@pytest.fixture
def written() -> Iterator[Callable[[str], Lines]]:
    """Configure the log in a format; what was written since, as lines."""
    root = logging.getLogger()
    ours: list[logging.Handler] = []
    before = (root.level, {name: logging.getLogger(name).level for name in daemon_log.OWN})

    def configure(format: str, level: str = "info") -> Lines:
        out = io.StringIO()
        # pytest's own would keep what is hostile here, and cannot send all of it from one process to another.
        root.handlers = [handler for handler in root.handlers if handler in ours]
        daemon_log.configure(Log(format=format, level=level), "daemon-1", out)
        ours.extend(root.handlers)
        return lambda: out.getvalue().splitlines()

    yield configure
    root.handlers = [handler for handler in root.handlers if handler not in ours]
    root.setLevel(before[0])
    for name, level in before[1].items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_a_line_that_people_read(written: Callable[[str], Lines]) -> None:
    lines = written("text")
    log.info("任务 %s 已启动", 7, extra={"path": "/a b", "status": 200})
    (line,) = lines()
    assert line.endswith('Z INFO jobd.test: 任务 7 已启动 path="/a b" status=200')


def test_an_event_is_an_object_that_programs_read(written: Callable[[str], Lines]) -> None:
    lines = written("json")
    log.warning("任务 %s", 7, extra={"status": 200})
    said = json.loads(lines()[0])
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "WARNING",
        "logger": "jobd.test",
        "event": "任务 7",
        "status": 200,
        "daemon_id": "daemon-1",
    }
    assert "任务" in lines()[0]


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x1b[2K", "\x85", "\u2028", "\u202e", "\x00", "\ud800"])
def test_nothing_that_a_caller_sends_forges_a_line(written: Callable[[str], Lines], format: str, end: str) -> None:
    lines = written(format)
    hostile = f"a{end}2026-01-01T00:00:00.000Z INFO jobd.access: forged"
    log.info("%s", hostile, extra={"path": hostile})
    (line,) = lines()
    assert end not in line
    if format == "json":
        assert json.loads(line)["path"] == hostile


def test_a_traceback_is_whole_and_none_of_its_lines_passes_for_an_event(written: Callable[[str], Lines]) -> None:
    lines = written("text")
    try:
        raise ValueError("x\n2026-01-01T00:00:00.000Z INFO jobd.access: forged\rmore")
    except ValueError:
        log.exception("boom")
    first, *rest = lines()
    assert first.endswith("ERROR jobd.test: boom")
    assert all(line.startswith("  | ") for line in rest)
    assert rest[0] == "  | Traceback (most recent call last):"
    assert rest[-1].endswith("forged\\rmore")


def test_a_traceback_stays_in_its_events_object(written: Callable[[str], Lines]) -> None:
    lines = written("json")
    try:
        raise ValueError("付款\nmore")
    except ValueError:
        log.exception("boom")
    (line,) = lines()
    assert json.loads(line)["exception"].endswith("ValueError: 付款\nmore")


@pytest.mark.parametrize("format", ["text", "json"])
def test_secrets_do_not_get_into_the_log(written: Callable[[str], Lines], format: str) -> None:
    lines = written(format)
    token = f"jobd_{'a2' * 16}{'0f' * 4}"
    try:
        raise ValueError(f"{token} postgresql://jobd:hunter2@db/jobd")
    except ValueError:
        log.exception("with %s and whsec_MfKQ9r8GKYqrTwjU", token, extra={"path": f"/{token}"})
    text = "".join(lines())
    assert "boom" not in text
    for secret in (token, "hunter2", "MfKQ9r8GKYqrTwjU"):
        assert secret not in text
    assert "jobd:***@db/jobd" in text


def test_what_a_line_is_about_follows_into_tasks_and_threads(written: Callable[[str], Lines]) -> None:
    lines = written("json")

    async def work() -> None:
        with daemon_log.log_context(exec_id="e-1", job_id=7):
            task = asyncio.create_task(say("task"))
            with ThreadPoolExecutor(1) as pool:
                await asyncio.get_running_loop().run_in_executor(pool, daemon_log.with_log_context(log.info), "thread")
        log.info("outside")
        await task

    async def say(what: str) -> None:
        log.info(what)

    asyncio.run(work())
    said = {line["event"]: (line.get("exec_id"), line.get("job_id")) for line in map(json.loads, lines())}
    assert said == {"thread": ("e-1", 7), "outside": (None, None), "task": ("e-1", 7)}


def test_a_task_that_outlives_its_cause_is_about_nothing(written: Callable[[str], Lines]) -> None:
    lines = written("json")

    async def outliving() -> None:
        daemon_log.clear_log_context()
        log.info("on my own")

    async def work() -> None:
        with daemon_log.log_context(request_id="r-1"):
            await asyncio.create_task(outliving())
            log.info("asked")

    asyncio.run(work())
    said = {line["event"]: line.get("request_id") for line in map(json.loads, lines())}
    assert said == {"on my own": None, "asked": "r-1"}


def test_a_plugin_may_use_structlog_itself(written: Callable[[str], Lines]) -> None:
    lines = written("json")
    with daemon_log.log_context(exec_id="e-1"):
        structlog.get_logger("jobd_docker.events").info("heard", container="abc")
    said = json.loads(lines()[0])
    assert (said["event"], said["container"], said["exec_id"], said["logger"]) == (
        "heard",
        "abc",
        "e-1",
        "jobd_docker.events",
    )


def test_debug_is_about_jobd_and_not_about_its_libraries(written: Callable[[str], Lines]) -> None:
    lines = written("text", "debug")
    logging.getLogger("urllib3.connectionpool").debug("GET /")
    log.debug("mine")
    assert [line.rpartition(": ")[2] for line in lines()] == ["mine"]


def test_a_level_leaves_out_what_is_below_it(written: Callable[[str], Lines]) -> None:
    lines = written("text", "warning")
    log.info("no")
    logging.getLogger("tornado.general").info("no")
    log.warning("yes")
    assert [line.rpartition(": ")[2] for line in lines()] == ["yes"]


def test_to_configure_again_writes_no_line_twice(written: Callable[[str], Lines]) -> None:
    first, second = written("text"), written("text")
    log.info("once")
    assert (len(first()), len(second())) == (0, 1)
