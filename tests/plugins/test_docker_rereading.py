"""Reading on in Docker's files: nothing twice, nothing left out, and what was dropped is marked."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.executor import LogChunk
from jobd_docker.logs import Frame
from jobd_docker.rereading import Rereading, survey

LOG = {"Type": "local", "Config": {"max-size": "65536", "max-file": "5"}}
GAP = b"<gap>"


class Sink:
    def __init__(self) -> None:
        self.data = {"stdout": b"", "stderr": b""}
        self.times: list[datetime] = []

    def add(self, chunk: LogChunk) -> None:
        self.data[chunk.stream] += chunk.data
        self.times.append(chunk.time)

    def gap(self) -> None:
        self.data["stdout"] += GAP


def time(nanos: int) -> bytes:
    seconds, nanos = divmod(nanos, 10**9)
    return b"2026-11-24T17:%02d:%02d.%09dZ" % (6 + seconds // 60, seconds % 60, nanos)


def lines(count: int, apart: int = 10**8, first: int = 0) -> list[Frame]:
    return [Frame("stdout", time((first + n) * apart), b"line %d\n" % (first + n)) for n in range(count)]


def since(frames: list[Frame], rereading: Rereading) -> list[Frame]:
    """What Docker gives for a reading: by time, whatever the place in the file."""
    if rereading.since is None:
        return frames
    at = datetime.fromtimestamp(int(rereading.since), UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
    return [frame for frame in frames if frame.time >= at]


def text(frames: list[Frame]) -> bytes:
    return b"".join(frame.data for frame in frames)


@st.composite
def written(draw):
    """A file's frames, of both streams, in the order in which they were written; long lines in parts of one time."""
    frames, now = [], 0
    open_since: dict[str, int] = {}
    for number in range(draw(st.integers(0, 30))):
        now += draw(st.sampled_from([0, 0, 1, 10**9, 7 * 10**9]))
        stream = draw(st.sampled_from(["stdout", "stderr"]))
        ends = draw(st.booleans())
        at = open_since.pop(stream, now)
        frames.append(Frame(stream, time(at), b"%d%s" % (number, b"\n" if ends else b"")))
        if not ends:
            open_since[stream] = at
    return frames


@settings(max_examples=300, deadline=None)
@given(written(), st.lists(st.integers(0, 30), max_size=5))
def test_however_often_it_is_read_on_the_output_is_that_of_one_reading(frames, ends):
    once, often = Sink(), Sink()
    Rereading(once).read(frames, is_last=True)
    rereading = Rereading(often)
    for end in sorted(ends):
        rereading.read(since(frames[:end], rereading), is_last=False)
    rereading.read(since(frames, rereading), is_last=True)
    assert often.data == once.data
    assert not rereading.has_gaps


def test_a_clock_that_was_set_back_costs_nothing():
    sink, before, after = Sink(), lines(3, first=50), lines(3)
    rereading = Rereading(sink)
    rereading.read(before, is_last=False)
    rereading.read([*before, *after[:2]], is_last=False)
    rereading.read([*before, *after], is_last=True)
    assert sink.data["stdout"] == text(before) + text(after)
    assert not rereading.has_gaps


def test_what_is_known_is_passed_over():
    sink = Sink()
    rereading = Rereading(sink)
    rereading.pass_over({"stdout": 10})
    rereading.read([*lines(2), Frame("stderr", time(10**9), b"err\n")], is_last=True)
    assert sink.data == {"stdout": text(lines(2))[10:], "stderr": b"err\n"}


def test_frames_that_were_dropped_between_two_readings_are_a_gap():
    sink = Sink()
    rereading = Rereading(sink)
    rereading.read(lines(5), is_last=False)
    rereading.read(lines(5, first=5), is_last=False)
    assert rereading.has_gaps
    assert sink.data["stdout"] == text(lines(5)) + GAP + text(lines(5, first=5))


def test_a_place_that_is_found_no_more_is_a_gap_though_nothing_newer_came():
    sink = Sink()
    rereading = Rereading(sink)
    rereading.read(lines(5), is_last=False)
    rereading.read(lines(2), is_last=False)
    assert rereading.has_gaps
    assert sink.data["stdout"] == text(lines(5)) + GAP


def test_frames_of_one_time_are_told_apart_by_their_number():
    sink, same = Sink(), [Frame("stdout", time(0), b"same\n")] * 3
    rereading = Rereading(sink)
    rereading.read(same[:2], is_last=False)
    rereading.read(same, is_last=False)
    rereading.read(same, is_last=True)
    assert sink.data["stdout"] == b"same\n" * 3


def test_a_reading_that_begins_in_the_middle_takes_what_is_later_and_marks_it():
    sink = Sink()
    rereading = Rereading(sink)
    rereading.begin_after(datetime(2026, 11, 24, 17, 6, 0, 200_000, UTC))
    rereading.read(lines(5), is_last=True)
    assert sink.data["stdout"] == GAP + text(lines(5)[2:])


def test_neighbouring_lines_come_together_and_times_are_the_first_ones():
    sink = Sink()
    Rereading(sink).read(lines(10, apart=10**5), is_last=True)
    assert sink.times == [datetime(2026, 11, 24, 17, 6, tzinfo=UTC)]
    assert sink.data["stdout"] == text(lines(10))


def test_files_that_hold_little_hold_it_from_the_beginning():
    assert survey(lines(1000), LOG).is_whole
    assert survey(lines(1000), LOG).first == lines(1)[0]
    assert survey([], LOG).first is None
    much = [Frame("stdout", time(0), b"x" * 16000 + b"\n")] * 20
    assert not survey(much, LOG).is_whole
    assert not survey(lines(1), {"Type": "json-file", "Config": {}}).is_whole
