"""What is kept of a run's output while it runs, with little memory and a file for the rest."""

import os
import random
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.errors import HandleGone
from jobd.executor import Collected, LogChunk
from jobd.output import recording, run_log
from jobd.output.masking import Mask
from jobd.output.recording import Recording, Spool
from jobd.output.run_log import Entry, Output

AT = datetime(2026, 11, 27, tzinfo=UTC)


def chunk(data: bytes, millis: int = 0, stream="stdout") -> LogChunk:
    return LogChunk(AT + timedelta(milliseconds=millis), stream, data)


def numbered(count: int) -> list[LogChunk]:
    return [chunk(b"line %d\n" % number, number, "stderr" if number % 7 == 0 else "stdout") for number in range(count)]


def text(entries) -> bytes:
    return run_log.as_text(entries)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.integers(0, 3)), max_size=60), st.integers(2, 2000))
def test_a_spool_keeps_what_an_output_in_memory_keeps(tmp_path_factory, written, limit: int):
    spool, output, millis = Spool(limit, tmp_path_factory.getbasetemp()), Output(limit), 0
    before, recording.IN_MEMORY = recording.IN_MEMORY, 500
    try:
        for data, pause in written:
            millis += pause
            spool.add(chunk(data, millis))
            output.add(chunk(data, millis))
        assert text(spool.entries()) == text(output.read(0))
        assert spool.size == output.size
        assert sum(entry.length for entry in spool.entries()) == spool.size
    finally:
        recording.IN_MEMORY = before
        spool.close()


def test_beginning_and_end_of_much_output_are_kept_and_little_memory(tmp_path: Path):
    limit, piece = 2**20, os.urandom(32768)
    spool = Spool(limit, tmp_path)
    spool.add(chunk(b"first\n"))
    tracemalloc.start()
    for number in range(2000):
        spool.add(chunk(piece, number))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * recording.IN_MEMORY
    spool.add(chunk(b"last\n", 3000))
    kept = text(spool.entries())
    assert kept.startswith(b"first\n" + piece)
    assert kept.endswith(piece + b"last\n")
    assert spool.size == 6 + 2000 * 32768 + 5
    assert b"[jobd: %d bytes left out here]" % (spool.size - limit) in kept
    spool.close()


def test_a_short_output_makes_no_file_and_a_long_one_leaves_none(tmp_path: Path):
    spool = Spool(2**20, tmp_path)
    spool.add(chunk(b"x" * 1000))
    assert spool._file is None
    spool.add(chunk(b"x" * 100_000))
    assert spool._file is not None
    assert list(tmp_path.iterdir()) == []
    spool.close()


def test_lines_of_one_millisecond_are_one_entry(tmp_path: Path):
    spool = Spool(2**20, tmp_path)
    for data in (b"a\n", b"b\n", b"c\n"):
        spool.add(chunk(data))
    spool.add(chunk(b"d\n", 5))
    assert [entry.data for entry in spool.entries()] == [b"a\nb\nc\n", b"d\n"]


def test_a_gap_is_marked_where_something_follows(tmp_path: Path):
    kept = Recording(1000, None, tmp_path)
    kept.add(chunk(b"before\n"))
    kept.gap()
    kept.add(chunk(b"after\n"))
    kept.gap()
    done = kept.complete()
    entries = list(run_log.decode(done.frames))
    assert text(entries) == b"before\n\n[jobd: output may be missing here]\nafter\n"
    assert (done.size, done.is_cut) == (13, False)


def test_a_gap_is_given_once_to_who_reads_piece_by_piece():
    output = Output(1000)
    output.add(chunk(b"before\n"))
    output.gap(AT)
    assert text(output.read(0)) == b"before\n"
    assert output.read(7) == []
    output.add(chunk(b"after\n"))
    assert text(output.read(7)) == b"\n[jobd: output may be missing here]\nafter\n"
    assert text(output.read(0, 7)) == b"before\n"
    assert text(output.read(8)) == b"fter\n"


def test_secrets_are_hidden_however_the_output_comes_and_before_it_is_bounded(tmp_path: Path):
    mask = Mask(["geheim"])
    kept = Recording(20, mask, tmp_path)
    for data in (b"a geh", b"eim b ", b"x" * 100, b" gehe"):
        kept.add(chunk(data))
    assert b"gehe" not in text(run_log.decode(kept.frames()))
    done = kept.complete()
    assert done.size == len(b"a ****** b " + b"x" * 100 + b" gehe")
    assert text(run_log.decode(done.frames)).startswith(b"a ****** b")
    assert done.is_cut


def test_what_may_begin_a_secret_before_a_gap_is_hidden(tmp_path: Path):
    kept = Recording(1000, Mask(["geheim"]), tmp_path)
    kept.add(chunk(b"a gehei"))
    kept.gap()
    kept.add(chunk(b"b\n"))
    assert text(run_log.decode(kept.complete().frames)) == b"a ******\n[jobd: output may be missing here]\nb\n"


class Heard:
    def __init__(self) -> None:
        self.output = Output(10_000)
        self.ended = False

    def begin(self, entries: list[Entry]) -> None:
        self.output.begin_with(entries)

    def add(self, chunk: LogChunk) -> None:
        self.output.add(chunk)

    def end(self) -> None:
        self.ended = True


def test_who_begins_to_listen_in_the_middle_has_what_the_record_has(tmp_path: Path):
    kept = Recording(10_000, None, tmp_path)
    written = numbered(5000)
    heard = [Heard() for _ in range(3)]
    for number, each in enumerate(written):
        if number % 2000 == 0:
            kept.begin_listening(heard[number // 2000])
        kept.add(each)
    stored = text(run_log.decode(kept.complete().frames))
    assert [text(each.output.read(0)) for each in heard] == [stored] * 3
    kept.close()
    assert all(each.ended for each in heard)


def test_a_disk_that_is_full_costs_that_recording_alone(tmp_path: Path, monkeypatch):
    kept = Recording(2**20, None, tmp_path)
    heard = Heard()
    kept.begin_listening(heard)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for number in range(10):
        kept.add(chunk(bytes(30_000), number))
    assert not kept.is_fed
    with pytest.raises(OSError, match="No space left"):
        kept.complete()
    assert heard.output.size == 300_000


class Ending(Collected):
    def __init__(self, words: str = "", error: Exception | None = None) -> None:
        self.words = words
        self.error = error
        self.closed = False

    def complete(self) -> str:
        if self.error is not None:
            raise self.error
        return self.words

    def close(self) -> None:
        self.closed = True


def test_what_may_be_missing_is_told_in_words(tmp_path: Path):
    kept = Recording(1000, None, tmp_path)
    kept.collected = Ending("Docker was away while it ran")
    assert kept.complete().missing == "Docker was away while it ran"
    gone = Recording(1000, None, tmp_path)
    gone.collected = Ending(error=HandleGone("no such container"))
    gone.add(chunk(b"x"))
    assert (gone.complete().missing, gone.complete().size) == ("its container went before all of it was read", 1)


def test_a_closed_recording_lets_go_of_what_adds_to_it(tmp_path: Path):
    kept = Recording(1000, None, tmp_path)
    kept.collected = ending = Ending()
    kept.close()
    assert ending.closed
    kept.add(chunk(b"late"))
    assert not kept.is_fed


def test_random_writes_are_cut_as_one_long_write_is(tmp_path: Path):
    data = random.Random(3).randbytes(50_000)
    whole, parts = Spool(9_999, tmp_path), Spool(9_999, tmp_path)
    whole.add(chunk(data))
    at, pick = 0, random.Random(4)
    while at < len(data):
        size = pick.randint(1, 3000)
        parts.add(chunk(data[at : at + size]))
        at += size
    assert text(whole.entries()) == text(parts.entries())
