"""Output through Docker's log, byte for byte."""

import hashlib
import random
import struct
from datetime import datetime

import docker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.conformance.bench import Bench
from jobd.executor import Mount
from jobd_docker.logs import Frame, chunks, frames, with_newlines

EARLY, LATE = b"2026-11-24T17:06:17.451275608Z", b"2026-11-24T17:06:17.460111531Z"


@pytest.fixture
def printing(bench: Bench, tmp_path):
    """What a run prints that was given this to print, on a stream."""

    def printing(data: bytes, redirect: str = "") -> dict[str, bytes]:
        (tmp_path / "data").write_bytes(data)
        spec = bench.spec("sh", "-c", f"cat /data/data {redirect}", mounts=(Mount(str(tmp_path), "/data"),))
        handle, status = bench.run(spec)
        assert status.exit_code == 0
        return bench.output(handle)

    return printing


def digest(data: bytes) -> tuple[int, str]:
    """For a failure that can be read."""
    return len(data), hashlib.sha256(data).hexdigest()


def test_five_megabytes_come_back_exactly(printing):
    lines = b"".join(b"line %d of a long output\n" % number for number in range(200_000))
    assert digest(printing(lines)["stdout"]) == digest(lines)


def test_five_megabytes_that_are_one_line_come_back_exactly(printing):
    assert digest(printing(b"x" * 5_000_000)["stdout"]) == digest(b"x" * 5_000_000)


def test_many_short_lines_come_back_exactly(printing):
    assert digest(printing(b"y\n" * 150_000)["stdout"]) == digest(b"y\n" * 150_000)


def test_random_bytes_come_back_exactly(printing):
    noise = random.Random(7).randbytes(1_000_000)
    assert digest(printing(noise)["stdout"]) == digest(noise)


@pytest.mark.parametrize("length", [16383, 16384, 16385, 32768, 40000])
def test_a_line_that_docker_cuts_is_whole_again(printing, length: int):
    text = b"before\n" + b"a" * length + b"\nafter\n"
    assert digest(printing(text)["stdout"]) == digest(text)


@pytest.mark.parametrize("text", [b"no newline at the end", b"a\r\nb\r", b"\n\n", b"\xff\xfe\x00\n", "你好\n".encode()])
def test_odd_text_comes_back_exactly(printing, text: bytes):
    assert printing(text)["stdout"] == text
    assert printing(text, ">&2") == {"stdout": b"", "stderr": text}


def test_streams_that_alternate_stay_apart(bench: Bench):
    handle, _ = bench.run(bench.shell("i=0; while [ $i -lt 50 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"))
    assert bench.output(handle) == {
        "stdout": b"".join(b"o%d\n" % number for number in range(50)),
        "stderr": b"".join(b"e%d\n" % number for number in range(50)),
    }


def test_the_log_holds_several_times_max_log_and_then_drops_the_oldest(bench: Bench, engine: docker.APIClient):
    spec = bench.spec("sh", "-c", "yes 0123456789abcdef0123456789abcde | head -c 3200000; echo end", max_log=100_000)
    handle, _ = bench.run(spec)
    output = bench.output(handle)["stdout"]
    assert 4 * spec.max_log <= len(output) < 3_200_000
    assert output.endswith(b"0123456789abcdef0123456789abcde\nend\n")


def test_a_line_is_seen_while_the_run_goes_on(bench: Bench):
    handle = bench.start(bench.shell("echo one; read forever </dev/zero"))
    followed = bench.executor.logs(handle, follow=True)
    assert next(followed).data == b"one\n"
    followed.close()


def test_an_abandoned_reader_gives_its_connection_back(bench: Bench):
    handle, _ = bench.run(bench.shell("yes | head -c 200000"))
    for _ in range(100):
        reading = bench.executor.logs(handle)
        next(reading)
        reading.close()
    assert bench.executor.check().ok


@st.composite
def printed(draw):
    """Writes to one stream, and the frames that Docker's `local` driver makes of them."""
    made, out = [], []
    for number in range(draw(st.integers(0, 5))):
        line = b"x" * draw(st.sampled_from([0, 1, 16383, 16384, 16385, 32768, 33000]))
        time = b"2026-11-24T17:06:17.%09dZ" % number
        parts = [line[at : at + 16384] for at in range(0, len(line), 16384)] or [b""]
        if len(line) >= 16384 and len(line) % 16384 == 0:
            parts.append(b"")
        made += [Frame("stdout", time, part if len(line) >= 16384 else part + b"\n") for part in parts]
        out.append(line + b"\n")
    return made, out


@settings(max_examples=200, deadline=None)
@given(printed())
def test_only_the_newline_of_a_cut_last_line_is_not_known(printed):
    made, out = printed
    whole = b"".join(out)
    read = b"".join(frame.data for frame in with_newlines(made))
    is_open = bool(out) and len(out[-1]) > 16384 and len(out[-1]) % 16384 != 1
    assert read == (whole[:-1] if is_open else whole)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=20), st.integers(1, 60))
def test_frames_are_read_however_the_stream_is_cut(written, cut: int):
    body = b"".join(
        struct.pack(">BxxxL", stream, len(EARLY) + 1 + len(data)) + EARLY + b" " + data for stream, data in written
    )
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    read = [({"stdout": 1, "stderr": 2}[frame.stream], frame.data) for frame in frames(pieces)]
    assert read == written


def test_lines_of_one_moment_come_in_one_chunk_but_a_follower_gets_each_at_once():
    lines = [Frame("stdout", EARLY, b"a\n"), Frame("stdout", EARLY, b"b\n"), Frame("stdout", LATE, b"c\n")]
    assert [chunk.data for chunk in chunks(lines, at_once=False)] == [b"a\nb\n", b"c\n"]
    assert [chunk.data for chunk in chunks(lines, at_once=True)] == [b"a\n", b"b\n", b"c\n"]
    assert next(chunks(lines, at_once=True)).time == datetime.fromisoformat("2026-11-24T17:06:17.451275+00:00")


def test_memory_stays_bounded_while_much_is_read():
    endless = (Frame("stdout", EARLY, b"x" * 1000) for _ in range(1000))
    assert max(len(chunk.data) for chunk in chunks(endless, at_once=False)) <= 65536 + 1000
