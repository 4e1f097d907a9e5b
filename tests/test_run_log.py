"""Output is bounded from both ends, whatever its chunks look like, and comes back to the byte."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.executor import LogChunk
from jobd.output.run_log import Entry, Output, as_text, decode, keep, since

START = datetime(2026, 1, 1, tzinfo=UTC)


def chunks(*parts: bytes, stream: str = "stdout") -> list[LogChunk]:
    return [LogChunk(START + timedelta(microseconds=n), stream, part) for n, part in enumerate(parts)]  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=30), max_size=30))
def test_what_fits_comes_back_to_the_byte(parts: list[bytes]) -> None:
    kept = keep(chunks(*parts), limit=1000)
    assert as_text(decode(kept.frames)) == b"".join(parts)
    assert kept.size == sum(map(len, parts))


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=60), st.integers(2, 100))
def test_head_and_tail_are_exact_and_the_cut_is_counted(parts: list[bytes], limit: int) -> None:
    whole = b"".join(parts)
    kept = keep(chunks(*parts), limit)
    entries = list(decode(kept.frames))
    cuts = [entry for entry in entries if entry.stream == "cut"]
    if len(whole) <= limit:
        assert not cuts
        assert as_text(entries) == whole
        return
    (cut,) = cuts
    at = entries.index(cut)
    head = b"".join(entry.data for entry in entries[:at])
    tail = b"".join(entry.data for entry in entries[at + 1 :])
    assert head == whole[: limit // 2]
    assert tail == whole[len(whole) - (limit - limit // 2) :]
    assert cut.omitted == len(whole) - limit == kept.size - limit


def whole(entries: list[Entry]) -> tuple[bytes, int]:
    """What they hold, wherever it is parted, and how far they reach."""
    text = b"".join(entry.data or b"<%d>" % entry.omitted for entry in entries)
    return text, sum(entry.length for entry in entries)


@given(
    st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=60),
    st.integers(2, 100),
    st.integers(0, 3000),
    st.integers(1, 70),
)
def test_from_any_place_and_in_any_pieces_growing_output_reads_like_what_is_stored(
    parts: list[bytes], limit: int, offset: int, most: int
) -> None:
    output = Output(limit)
    for chunk in chunks(*parts):
        output.add(chunk)
    stored = list(decode(keep(chunks(*parts), limit).frames))
    for source in (output, Output.of(stored)):
        at, read = offset, []
        while piece := source.read(at, most):
            assert sum(len(entry.data) for entry in piece) <= most
            read += piece
            at += sum(entry.length for entry in piece)
        assert whole(read) == whole(list(since(stored, offset)))


def test_streams_and_times_survive() -> None:
    given_chunks = [*chunks(b"out\n"), *chunks(b"err\n", stream="stderr")]
    entries = list(decode(keep(given_chunks, 100).frames))
    assert [(entry.stream, entry.time, entry.data) for entry in entries] == [
        ("stdout", START, b"out\n"),
        ("stderr", START, b"err\n"),
    ]
    assert as_text(entries, "stderr") == b"err\n"


def test_the_mark_of_a_cut_is_a_line_of_its_own() -> None:
    text = as_text(decode(keep(chunks(b"a" * 100), 10).frames))
    assert text == b"aaaaa\n[jobd: 90 bytes left out here]\naaaaa"


def test_damaged_frames_are_told() -> None:
    with pytest.raises(ValueError, match="damaged"):
        list(decode(b"nonsense"))
