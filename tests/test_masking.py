"""Values are hidden in what programs print, however it is cut into chunks."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.executor import LogChunk, Stream
from jobd.output.masking import MASK, Mask, hidden

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int, data: bytes, stream: Stream = "stdout") -> LogChunk:
    return LogChunk(START + timedelta(seconds=second), stream, data)


def chunks(*parts: bytes, stream: Stream = "stdout") -> list[LogChunk]:
    return [at(number, part, stream) for number, part in enumerate(parts)]


def masked(values: list[str], *parts: bytes, final: bool = True) -> bytes:
    return b"".join(chunk.data for chunk in Mask(values).apply(chunks(*parts), final))


def by_the_rule(values: list[str], text: bytes) -> bytes:
    """The rule, word for word and slowly: every byte of every occurrence, one mark for each stretch."""
    covered = [False] * len(text)
    for value in hidden(values):
        for start in range(len(text)):
            if text.startswith(value, start):
                covered[start : start + len(value)] = [True] * len(value)
    out = b""
    for place, byte in enumerate(text):
        if not covered[place]:
            out += bytes([byte])
        elif place == 0 or not covered[place - 1]:
            out += MASK.encode()
    return out


few = st.text(st.sampled_from("ab\n"), max_size=12)
some = st.lists(st.one_of(few, st.text(max_size=8)), max_size=5)


@st.composite
def outputs(draw: st.DrawFn) -> tuple[list[str], list[tuple[Stream, bytes]]]:
    """Values, and output of both streams that is likely to hold them, cut anywhere."""
    values = draw(some)
    word = st.one_of(few, st.sampled_from(values)) if values else few
    streams = st.sampled_from(["stdout", "stderr"])
    written = draw(st.lists(st.tuples(streams, word.map(str.encode)), max_size=12))
    return values, [piece for stream, data in written for piece in cut(draw, stream, data)]


def cut(draw: st.DrawFn, stream: Stream, data: bytes) -> list[tuple[Stream, bytes]]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=3)) | {0, len(data)})
    return [(stream, data[a:b]) for a, b in pairwise(places)] or [(stream, data)]


@settings(max_examples=80, deadline=None)
@given(outputs())
def test_each_stream_is_masked_as_a_whole_however_it_is_cut(case: tuple[list[str], list[tuple[Stream, bytes]]]) -> None:
    values, written = case
    out = list(Mask(values).apply(LogChunk(START, stream, data) for stream, data in written))
    for side in ("stdout", "stderr"):
        whole = b"".join(data for stream, data in written if stream == side)
        assert b"".join(chunk.data for chunk in out if chunk.stream == side) == by_the_rule(values, whole)


@settings(max_examples=80, deadline=None)
@given(outputs())
def test_places_in_both_streams_together_do_not_depend_on_the_cuts(
    case: tuple[list[str], list[tuple[Stream, bytes]]],
) -> None:
    values, written = case
    mask = Mask(values)
    coarse = list(mask.apply(LogChunk(START, stream, data) for stream, data in written))
    fine = list(mask.apply(LogChunk(START, stream, bytes([b])) for stream, data in written for b in data))
    assert [(c.stream, b) for c in coarse for b in c.data] == [(c.stream, b) for c in fine for b in c.data]


@settings(max_examples=80, deadline=None)
@given(outputs())
def test_what_is_given_early_is_a_beginning_of_all_there_will_be(
    case: tuple[list[str], list[tuple[Stream, bytes]]],
) -> None:
    values, written = case
    mask = Mask(values)
    whole = [LogChunk(START, stream, data) for stream, data in written]
    everything = b"".join(chunk.data for chunk in mask.apply(whole))
    for length in range(len(whole)):
        so_far = b"".join(chunk.data for chunk in mask.apply(whole[:length], final=False))
        assert everything.startswith(so_far)


@settings(max_examples=80, deadline=None)
@given(some, st.text(max_size=40))
def test_a_text_is_masked_in_the_same_way(values: list[str], text: str) -> None:
    assert Mask(values).text(text).encode() == by_the_rule(values, text.encode())


def test_a_value_is_hidden_across_chunks() -> None:
    assert masked(["hunter22"], b"pw: hun", b"ter", b"22!\n") == b"pw: ******!\n"


def test_of_a_value_that_is_the_beginning_of_another_nothing_is_left() -> None:
    assert masked(["hunter", "hunter22"], b"hunter", b"22 hunter 22") == b"****** ****** 22"


def test_of_values_that_overlap_nothing_is_left() -> None:
    assert masked(["abcdef", "defghi"], b"(abcdefghi)") == b"(******)"


def test_a_value_inside_a_longer_one_is_hidden_when_the_longer_does_not_come() -> None:
    assert masked(["_pass_word", "pass"], b"x_pass_", b"wor", b"x") == b"x_******_worx"


def test_each_line_of_a_value_is_hidden_by_itself_and_in_any_margin() -> None:
    key = "-----BEGIN KEY-----\n  c2VjcmV0\nab\n-----END KEY-----\n"
    assert masked([key], key.encode()) == b"******\n"
    assert masked([key], b"> c2VjcmV0\r\n> ab\r\n") == b"> ******\r\n> ab\r\n"


def test_what_is_shorter_than_four_characters_is_not_hidden() -> None:
    assert masked(["abc", " abc\n", "", "    "], b"abc    abc") == b"abc    abc"
    assert masked(["密码啊", "密码你好"], "密码啊 密码你好".encode()) == "密码啊 ******".encode()


def test_only_what_may_become_a_value_is_held_back() -> None:
    side = Mask(["hunter22"]).apply(iter(chunks(b"who hunts", b" hunter", b"s")), final=False)
    assert [chunk.data for chunk in side] == [b"who hunts", b" ", b"hunter", b"s"]


def test_held_back_output_keeps_its_time_and_its_stream() -> None:
    written = [at(1, b"a hun"), at(2, b"err", "stderr"), at(9, b"t\n"), at(10, b"hun", "stderr")]
    given_out = list(Mask(["hunter22"]).apply(written))
    assert given_out == [at(1, b"a "), at(2, b"err", "stderr"), at(1, b"hun"), at(9, b"t\n"), at(10, b"hun", "stderr")]


def test_the_streams_are_apart() -> None:
    written = [at(0, b"hunt"), at(0, b"hunt", "stderr"), at(0, b"er22"), at(0, b"!", "stderr")]
    out = [(chunk.stream, chunk.data) for chunk in Mask(["hunter22"]).apply(written)]
    assert out == [("stdout", b"******"), ("stderr", b"hunt"), ("stderr", b"!")]


def test_bytes_that_are_no_text_pass() -> None:
    assert masked(["hunter22"], b"\xff\x00hunter22\xfe") == b"\xff\x00******\xfe"


@pytest.mark.parametrize(
    ("values", "output"),
    [
        ([f"s3cr3t-{n}" for n in range(64)], b"GET /index.html 200 12ms s3cr3t\n" * 2**15),
        (["\n".join("a" * n for n in range(4, 250))], b"a" * 2**18),
        (["\n".join("a" * n + "b" for n in range(4, 250))], (b"a" * 249 + b"c") * 2**10),
    ],
)
def test_masking_takes_a_moment_whatever_the_values_are(values: list[str], output: bytes) -> None:
    began = time.process_time()
    masked(values, *(output[n : n + 16384] for n in range(0, len(output), 16384)))
    assert time.process_time() - began < 2
