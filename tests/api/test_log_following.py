"""Logs that are followed, and ranges of them, over HTTP and with a real engine behind it."""

import asyncio
import json
import re
from typing import Any

import pytest

from jobd.api import logs as logs_api
from jobd.store.db.tables import Exec
from tests.api.log_clients import LONG, Place, told

pytestmark = pytest.mark.gen_test(timeout=LONG)


async def test_events_come_as_they_are_written_and_the_end_tells_how(place: Place) -> None:
    async with place.follow() as stream:
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
        place.write("你好\n".encode())
        event = await stream.event()
        assert (event.name, event.id, event.data["stream"], event.data["message"]) == ("log", "7", "stdout", "你好\n")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", event.data["time"])
        await place.end(3, b"last")
        last, end = await stream.events()
    assert (last.data["message"], last.id) == ("last", "11")
    assert (end.name, end.data) == ("end", {"status": "F", "exit_code": 3, "reason": "exit_code"})


@pytest.mark.parametrize("ends_before", [True, False])
async def test_from_any_events_id_on_comes_exactly_the_rest(place: Place, ends_before: bool) -> None:
    whole = "a 你 b 好 c".encode() + b"\xff\xfe \xe4\xbd"
    async with place.follow() as stream:
        events = []
        for at in range(len(whole)):
            place.write(whole[at : at + 1])
            if at % 3 == 0:
                place.write(b"!", "stderr")
                events.append(await stream.event())
        if ends_before:
            await place.end()
            events += await stream.events()
    ids = [event.id for event in events if event.name == "log"]
    assert any(":" in id for id in ids)
    if not ends_before:
        await place.end()
    for seen, id in enumerate(ids, 1):
        async with place.follow(last_id=id) as stream:
            again = events[:seen] + await stream.events()
        assert told(again) == whole
        assert told(again, "stderr") == b"!" * ((len(whole) + 2) // 3)
        messages = "".join(e.data["message"] for e in again if e.name == "log" and e.data["stream"] == "stdout")
        assert messages == whole.decode(errors="replace")


async def test_one_stream_is_followed_alone(place: Place) -> None:
    place.write(b"out\n")
    place.write(b"err\n", "stderr")
    async with place.follow("&stream=stderr") as stream:
        event = await stream.event()
        assert (event.data["message"], event.id) == ("err\n", "8")
        place.write(b"more out\n")
        await place.end()
        (end,) = await stream.events()
        assert (end.name, end.id) == ("end", "17")


async def test_the_last_lines_come_first_and_then_what_is_written(place: Place) -> None:
    place.write(b"one\ntwo\nthree")
    async with place.follow("&tail=2") as stream:
        assert [(await stream.event()).data["message"] for _ in range(2)] == ["two\n", "three"]
        place.write(b" and more\n")
        event = await stream.event()
        assert (event.data["message"], event.id) == (" and more\n", "23")
    await place.end()
    async with place.follow("&tail=1", last_id="8") as stream:
        assert told(await stream.events()) == b"three and more\n"
    async with place.follow("&tail=1", accept="text/plain") as stream:
        assert await stream.rest() == b"three and more\n"


async def test_text_is_followed_byte_for_byte(place: Place) -> None:
    async with place.follow(accept="*/*") as stream:
        assert stream.headers["Content-Type"] == "text/plain; charset=utf-8"
        place.write(b"\xff\x00 one\n")
        assert await asyncio.wait_for(stream._reader.readline(), LONG) == b"\xff\x00 one\n"
        place.write(b"err", "stderr")
        await place.end(output=b"two")
        assert await stream.rest() == b"errtwo"


async def test_followed_text_has_its_times_by_lines(place: Place) -> None:
    async with place.follow("&timestamps=1", accept="text/plain") as stream:
        place.write(b"be")
        place.write(b"gun\nopen")
        assert (await stream.line()).partition(" ")[2] == "begun\n"
        await place.end()
        assert (await stream.rest()).partition(b" ")[2] == b"open"


async def test_a_cut_is_shown(place: Place) -> None:
    limit = place.bench.settings().execs.max_log
    place.write(b"a" * (limit // 2) + b"b" * 100 + b"c" * (limit // 2))
    await place.end()
    async with place.follow() as stream:
        events = await stream.events()
    (cut,) = (event for event in events if event.name == "log" and event.data["stream"] == "cut")
    assert (cut.data["omitted"], cut.data["message"]) == (100, "[jobd: 100 bytes left out here]\n")
    assert told(events) == b"a" * (limit // 2) + b"c" * (limit // 2)
    async with place.follow(accept="text/plain") as stream:
        assert b"a\n[jobd: 100 bytes left out here]\nc" in await stream.rest()


async def test_followers_who_share_what_is_made_of_it_each_get_all_of_it(place: Place) -> None:
    forms = [("", "text/event-stream"), ("&stream=stdout", "text/event-stream")]
    forms += [("", "text/plain"), ("&timestamps=1", "text/plain"), ("&timestamps=1&stream=stderr", "text/plain")]
    rest: list[tuple[tuple[str, str], asyncio.Task[bytes]]] = []

    async def whole(form: tuple[str, str]) -> bytes:
        async with place.follow(*form[:1], accept=form[1]) as stream:
            return await stream.rest()

    wanted = {"stdout": b"", "stderr": b""}
    for number in range(12):
        rest += [(form, asyncio.create_task(whole(form))) for form in forms if number in (0, 5)]
        for stream, text in (("stdout", f"{number} 团队 line"), ("stderr", f"!{number}\n")):
            # characters and lines end in the next piece
            data = text.encode()
            wanted[stream] += data
            place.write(data[: number + 1], stream)
            await asyncio.sleep(0.02 if number % 3 else 0)
            place.write(data[number + 1 :], stream)
    await place.end()
    got = {form: [await task for of, task in rest if of == form] for form in forms}
    plain = got["", "text/plain"]
    assert plain[0] == plain[1] and len(plain[0]) == sum(map(len, wanted.values()))
    for form in forms[3:]:
        lines = [re.sub(rb"(?m)^\S+ ", b"", text) for text in got[form]]
        assert lines[0] == lines[1]
    assert re.sub(rb"(?m)^\S+ ", b"", got["&timestamps=1&stream=stderr", "text/plain"][0]) == wanted["stderr"]
    for form in forms[:2]:
        for text in got[form]:
            events = [json.loads(line[6:]) for line in text.split(b"\n") if line.startswith(b"data: ")]
            said = "".join(event["message"] for event in events if event.get("stream") == "stdout")
            assert said == wanted["stdout"].decode()


async def test_the_last_lines_are_read_once_for_all_who_come_together(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(b"one\ntwo\nthree\n")
    engine, reads, gate = place.bench.engines[0], [], asyncio.Event()
    running_log = engine.running_log

    async def counted(row: Exec) -> bytes | None:
        so_far = await running_log(row)
        reads.append(row.id)
        await gate.wait()
        return so_far

    async def told_tail(tail: int) -> bytes:
        async with place.follow(f"&tail={tail}") as stream:
            return told(await stream.events())

    came: list[Any] = []
    last_lines = logs_api.Logs._last_lines

    def noted(handler: logs_api.Logs, *args: Any) -> Any:
        came.append(handler)
        return last_lines(handler, *args)

    monkeypatch.setattr(logs_api.Logs, "_last_lines", noted)
    monkeypatch.setattr(engine, "running_log", counted)
    following = [asyncio.create_task(told_tail(tail)) for tail in (1, 1, 1, 2)]
    await place.bench.eventually(lambda: (len(came), len(reads)) == (4, 2))
    gate.set()
    place.write(b"four\n")
    await place.end()
    texts = [await task for task in following]
    assert len(reads) == 2
    assert texts == [b"three\nfour\n"] * 3 + [b"two\nthree\nfour\n"]


async def test_a_client_that_goes_away_frees_the_reader_at_once(place: Place) -> None:
    async with place.follow() as stream:
        place.write(b"x")
        await stream.event()
        assert place.bench.world.followers == 1
    await place.bench.eventually(lambda: place.bench.world.followers == 0, "the reader to go")
    assert await place.api.services.requests.finished(LONG)


async def test_a_silent_exec_gives_signs_of_life(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_api, "KEEP_ALIVE", 0.01)
    async with place.follow() as stream:
        while not (line := await stream.line()).startswith(":"):
            assert line


async def test_a_daemon_that_stops_ends_the_streams_without_an_end(place: Place) -> None:
    async with place.follow() as stream, place.follow(accept="text/plain") as text:
        place.write(b"begun\n")
        assert (await stream.event()).name == "log"
        assert await text.line() == "begun\n"
        place.api.engine.dismiss_followers()
        assert await stream.events() == []
        assert await text.rest() == b""
    assert await place.api.services.requests.finished(LONG)
    async with place.follow() as stream:
        assert stream.status == 503


@pytest.mark.parametrize(
    ("query", "last_id", "accept"), [("", "x", "text/event-stream"), ("", None, "application/json")]
)
async def test_what_cannot_be_followed_is_refused(place: Place, query: str, last_id: str | None, accept: str) -> None:
    async with place.follow(query, last_id, accept) as stream:
        assert stream.status == 400


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_range_of_the_text(
    place: Place, asked: str, status: int, body: bytes | None, content_range: str | None
) -> None:
    place.write(b"0123456789")
    answer = await place.get(Range=asked)
    assert (answer.status, answer.headers.get("Content-Range")) == (status, content_range)
    if body is None:
        assert answer.error["code"] == "range_not_satisfiable"
    else:
        assert (answer.body, answer.headers["Accept-Ranges"]) == (body, "bytes")
    assert (await place.get(Range=asked, If_Range='"x"')).status == 200
