"""What a follower who missed something is given where it cannot be worked out line by line."""

import asyncio
import re
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from jobd.engine.following import joining
from jobd.engine.following.feed import End, Feed
from jobd.executor import LogChunk
from jobd.loop_turns import Turns
from jobd.output.run_log import Output, as_text, decode, keep
from jobd.store.db.tables import Exec

AT = datetime(2026, 1, 1, tzinfo=UTC)
MARK = b"\n[jobd: output may be missing here]\n"


def chunks(text: bytes) -> list[LogChunk]:
    return [LogChunk(AT, "stdout", line) for line in text.splitlines(keepends=True)]


def given(read: bytes, stored: bytes, limit: int = 2**20) -> bytes:
    """What comes behind what was read, of a record of at most `limit` bytes."""
    record = Output.of(decode(keep(chunks(stored), limit).frames))
    output = Output(2**20)
    for chunk in chunks(read):
        output.add(chunk)
    assert not joining.agree(output, record)
    joining.go_on_with(output, record, nullcontext())
    return as_text(output.read(len(read)))


def test_lines_that_were_cut_out_of_the_record_leave_its_end_marked() -> None:
    numbers = b"".join(b"%07d\n" % number for number in range(40))
    assert given(numbers[8:], numbers, 100) == MARK + b"0000039\n"
    assert given(numbers[8:-16], numbers, 100) == MARK + numbers[-16:]


def test_what_was_read_and_is_not_stored_leaves_the_end_of_the_record_marked() -> None:
    assert given(b"one\nelse\n", b"one\ntwo\nthree\n") == MARK + b"one\ntwo\nthree\n"
    assert given(b"else\none\n", b"one\ntwo\n") == MARK + b"two\n"


def test_streams_that_come_in_another_order_are_no_loss() -> None:
    read, stored = Output(2**20), Output(2**20)
    out, err = LogChunk(AT, "stdout", b"out\n"), LogChunk(AT, "stderr", b"error\n")
    for output, order in ((read, (out, err)), (stored, (err, out, out))):
        for chunk in order:
            output.add(chunk)
    joining.go_on_with(read, stored, nullcontext())
    assert as_text(read.read(0)) == b"out\nerror\nout\n"


class Counting:
    """A pattern that counts the bytes in which it is looked for."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.searched = 0

    def findall(self, data: bytes) -> list[bytes]:
        self.searched += len(data)
        return self.pattern.findall(data)


def test_a_line_that_comes_in_many_pieces_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, stored = Output(2**20), Output(2**20)
    for number in range(1000):
        # More than a millisecond apart, or they would be one.
        chunk = LogChunk(AT + timedelta(seconds=number), "stdout", b"0123456789")
        stored.add(chunk)
        if number != 500:
            read.add(chunk)
    pattern = Counting(joining._LINE)
    monkeypatch.setattr(joining, "_LINE", pattern)
    joining.go_on_with(read, stored, nullcontext())
    assert pattern.searched == 999 * 10 + 1000 * 10
    assert as_text(read.read(0)).endswith(b"0123456789")


def test_the_place_is_found_in_a_text_that_repeats_itself() -> None:
    text = b"a" * 5000 + b"b" + b"a" * 5000 + b"c" + b"a" * 100
    assert joining._end_of(b"b" + b"a" * 10, text) == 5011
    assert joining._end_of(b"a" * 50, text) == len(text)
    assert joining._end_of(b"d" * 50, text) is None


@pytest.mark.gen_test
async def test_followers_read_on_while_the_record_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, held = threading.Event(), threading.Event()

    def slow(read: Output, stored: Output) -> bool:
        begun.set()
        return held.wait(60)

    monkeypatch.setattr(joining, "agree", slow)
    feed = Feed("an exec", 2**20, Turns())
    feed._add(feed._output, chunks(b"one\n")[0])
    while not feed.read(0):
        await asyncio.sleep(0.01)
    feed._shared.clear()
    row = Exec(status="S", exit_code=0)
    finishing = asyncio.create_task(feed._finish(row, keep(chunks(b"one\ntwo\n"), 2**20).frames))
    await asyncio.to_thread(begun.wait, 60)
    assert as_text(feed.read(0)) == b"one\n"
    # What a reader brings now is in the record.
    feed._add(feed._output, chunks(b"two\n")[0])
    held.set()
    await finishing
    assert as_text(feed.read(4)) == b"two\n"
    assert feed.end == End("S", 0)
