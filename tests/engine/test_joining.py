"""What a follower who missed something is given where it cannot be worked out line by line."""

from datetime import UTC, datetime

from jobd.engine.following import joining
from jobd.executor import LogChunk
from jobd.output.run_log import Output, as_text, decode, keep

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
    joining.go_on_with(output, record)
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
    joining.go_on_with(read, stored)
    assert as_text(read.read(0)) == b"out\nerror\nout\n"
