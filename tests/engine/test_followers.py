"""Following: everybody gets every byte once, from wherever they begin, whatever happens to region and daemon."""

import asyncio
import threading
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from jobd import loop_turns
from jobd.engine.engine import Engine
from jobd.engine.following import feed, followers
from jobd.errors import ServiceUnavailable, TooManyRequests
from jobd.executor import Handle, LogStream, Region
from jobd.output.run_log import as_text
from jobd.store import deletion
from jobd.store.db.tables import Exec, ExecLog
from tests.engine.conftest import Bench
from tests.engine.executors import MemoryExecutor, World

LONG = 30.0
"""Seconds."""


class Listener:
    """Follows an exec in a task of its own, and keeps what it is given."""

    def __init__(self, engine: Engine, row: Exec, offset: int = 0, stop_at: int | None = None) -> None:
        self.text = bytearray()
        self.cuts = 0
        self.follower = engine.follow(row, offset)
        self._grown = asyncio.Event()
        self.task = asyncio.create_task(self._listen(stop_at))

    async def _listen(self, stop_at: int | None) -> None:
        with self.follower as follower:
            while not follower.is_over and (stop_at is None or len(self.text) < stop_at):
                entries = await follower.more(LONG)
                self.text += as_text(entries)
                self.cuts += sum(entry.stream == "cut" for entry in entries)
                self._grown.set()

    async def until(self, text: bytes) -> None:
        await self.has(len(text))
        assert self.text == text

    async def has(self, size: int) -> None:
        async def grown() -> None:
            while len(self.text) < size:
                self._grown.clear()
                await self._grown.wait()

        await asyncio.wait_for(grown(), LONG)

    async def ended(self) -> tuple[bytearray, Any]:
        await asyncio.wait_for(self.task, LONG)
        return self.text, self.follower.end


async def nobody_reads(bench: Bench) -> None:
    await bench.eventually(lambda: bench.world.followers == 0, "the executor to be left alone")
    await bench.eventually(
        lambda: not [t for t in threading.enumerate() if t.name.endswith("-follow")], "the reader's thread to end"
    )


def follows(bench: Bench) -> int:
    return sum(follow for _, follow in bench.world.reads)


class LossyExecutor(MemoryExecutor):
    """Followed, it leaves out what is written in `LOST`, as an engine does whose files turn quickly."""

    LOST = (b"lost\n", b"last\n", b"o\n")

    def logs(self, handle: Handle, follow: bool = False, since: datetime | None = None) -> LogStream:
        stream = super().logs(handle, follow, since)
        if not follow:
            return stream
        return LogStream((chunk for chunk in stream if chunk.data not in self.LOST), stream.close)


MARK = b"\n[jobd: output may be missing here]\n"


@pytest.mark.gen_test(timeout=LONG)
@pytest.mark.parametrize(
    ("lines", "rest", "given"),
    [
        ([b"lost\n", b"one\n"], b"last\n", MARK + b"lost\n" + MARK + b"last\n"),
        ([b"one\n", b"lost\n", b"two\n"], b"last\n", MARK + b"lost\n" + MARK + b"last\n"),
        ([b"one\n", b"lost\n", b"lost\n", b"two\n"], b"last\n", MARK + b"lost\nlost\n" + MARK + b"last\n"),
        ([b"one\n", b"lost\n", b"two\n"], b"", MARK + b"lost\n"),
        ([b"lost\n", b"one\n", b"lost\n", b"one\n", b"one\n"], b"", MARK + b"lost\n" + MARK + b"lost\n"),
        ([b"one\n", b"lost\n", b"tw"], b"o\n", MARK + b"lost\n" + MARK + b"o\n"),
        ([b"one\n"], b"last\n", b"last\n"),
    ],
)
async def test_a_follower_of_a_region_that_drops_lines_gets_every_line_of_the_record_in_the_end(
    bench: Bench, lines: list[bytes], rest: bytes, given: bytes
) -> None:
    executor = bench.executor(LossyExecutor)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    for line in lines:
        executor.write(row.id, line)
    listener = Listener(engine, row)
    seen = b"".join(line for line in lines if line not in LossyExecutor.LOST)
    await listener.until(seen)
    executor.end(row.id, 0, rest)
    text, _ = await listener.ended()
    assert text == seen + given


@pytest.mark.gen_test(timeout=LONG)
async def test_a_follower_gets_what_is_written_as_it_is_written_and_then_the_end(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"before\n")
    listener = Listener(engine, row)
    await listener.until(b"before\n")
    executor.write(row.id, b"after\n")
    await listener.until(b"before\nafter\n")
    executor.end(row.id, 3, b"last words")
    text, end = await listener.ended()
    assert text == b"before\nafter\nlast words"
    assert (end.status, end.exit_code, end.reason) == ("F", 3, "exit_code")
    await nobody_reads(bench)


@pytest.mark.gen_test(timeout=LONG)
async def test_a_waiting_execs_follower_waits_for_its_start(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor, max_running=1)
    first = await bench.until(await bench.trigger(engine), "R")
    second = await bench.trigger(engine)
    listener = Listener(engine, second)
    assert await listener.follower.more(0.05) == []
    executor.end(first.id)
    await bench.until(second, "R")
    executor.write(second.id, b"my turn")
    await listener.until(b"my turn")
    executor.end(second.id)
    assert (await listener.ended())[1].status == "S"


@pytest.mark.gen_test(timeout=LONG)
async def test_an_ended_execs_follower_reads_the_store_and_nothing_else(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, output=b"0123456789")
    row = await bench.until(row, "S")
    before = len(bench.world.reads)
    assert (await Listener(engine, row).ended())[0] == b"0123456789"
    assert (await Listener(engine, row, 7).ended())[0] == b"789"
    assert (await Listener(engine, row, 10).ended())[0] == b""
    assert len(bench.world.reads) == before


@pytest.mark.gen_test(timeout=LONG)
async def test_a_hundred_followers_of_one_exec_are_one_reader(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"x" * 100_000)
    first = Listener(engine, row)
    await first.until(b"x" * 100_000)
    others = [Listener(engine, row, offset) for offset in range(99)]
    executor.write(row.id, b"more")
    executor.end(row.id)
    await bench.until(row, "S")
    whole = b"x" * 100_000 + b"more"
    for offset, listener in zip((0, *range(99)), (first, *others), strict=True):
        assert (await listener.ended())[0] == whole[offset:]
    assert follows(bench) == 1


@pytest.mark.gen_test(timeout=LONG)
async def test_who_comes_a_little_later_is_given_the_same_pieces(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    with engine.follow(row, 0) as quick, engine.follow(row, 0) as slow:
        given = []
        for number in range(3):
            executor.write(row.id, b"line %d\n" % number)
            given.append(await quick.more(LONG))
        for number, piece in enumerate(given):
            assert as_text(piece) == b"line %d\n" % number
            assert await slow.more(LONG) is piece


@pytest.mark.gen_test(timeout=LONG)
async def test_the_loop_serves_everybody_else_between_a_few_followers_and_the_next(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    turn, served = 0, []

    async def follow() -> None:
        with engine.follow(row, 0) as follower:
            await follower.more(LONG)
            served.append(turn)

    tasks = [asyncio.create_task(follow()) for _ in range(50)]
    await asyncio.sleep(0)
    executor.write(row.id, b"x")
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert max(Counter(served).values()) <= 2 * loop_turns.TOGETHER


@pytest.mark.gen_test(timeout=LONG)
async def test_a_follower_with_much_to_catch_up_with_waits_for_its_turn_before_each_piece(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, output=b"x" * 20 * feed.PIECE)
    await bench.until(row, "S")
    others = 0

    async def serve_others() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 1

    serving = asyncio.create_task(serve_others())
    served = []
    with engine.follow(row, 0) as follower:
        while not follower.is_over:
            await follower.more(LONG)
            served.append(others)
    serving.cancel()
    assert len(served) >= 20 and len(set(served)) == len(served)


@pytest.mark.gen_test(timeout=LONG)
async def test_followers_who_came_to_different_places_get_the_same_pieces_soon(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    output = b"0123456789abcdef" * (feed.PIECE // 4)
    executor.end(row.id, output=output)
    await bench.until(row, "S")
    with engine.follow(row, 0) as first, engine.follow(row, 1000) as second:
        first_pieces = [await first.more(LONG) for _ in range(5)]
        second_pieces = [await second.more(LONG) for _ in range(5)]
    assert b"".join(as_text(piece) for piece in first_pieces) == output
    assert b"".join(as_text(piece) for piece in second_pieces) == output[1000:]
    whole = [(one, other) for one, other in zip(first_pieces, second_pieces, strict=True) if one is other]
    assert len(whole) >= 3


@pytest.mark.gen_test(timeout=LONG)
async def test_a_piece_has_a_bounded_number_of_entries(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    for number in range(3 * feed.MAX_ENTRIES):
        executor.write(row.id, b"%d," % number, "stderr" if number % 2 else "stdout")
    executor.end(row.id)
    await bench.until(row, "S")
    pieces = []
    with engine.follow(row, 0) as follower:
        while not follower.is_over:
            pieces.append(await follower.more(LONG))
    assert b"".join(map(as_text, pieces)) == b"".join(b"%d," % number for number in range(3 * feed.MAX_ENTRIES))
    assert max(len(piece) for piece in pieces) <= feed.MAX_ENTRIES + 1


@pytest.mark.gen_test(timeout=LONG)
async def test_a_slow_follower_holds_nobody_up_and_finds_a_cut_where_the_record_has_one(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    limit = engine._settings.execs.max_log
    row = await bench.until(await bench.trigger(engine), "R")
    piece = b"0123456789abcdef" * 65536
    with engine.follow(row, 0) as slow:
        quick = Listener(engine, row)
        size = 0
        while size < 2 * limit:
            executor.write(row.id, piece)
            size += len(piece)
            await quick.has(size)
        executor.end(row.id)
        text, _ = await quick.ended()
        assert (len(text), quick.cuts) == (size, 0)
        await bench.until(row, "S")
        slowly = []
        while not slow.is_over:
            slowly += await slow.more(LONG)
    assert slow.offset == size
    omitted = [entry.omitted for entry in slowly if entry.stream == "cut"]
    assert omitted == [size - limit]
    assert sum(len(entry.data) for entry in slowly) == limit


@pytest.mark.gen_test(timeout=LONG)
async def test_the_last_who_leaves_frees_the_reader_and_others_go_on_before(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"one")
    staying, leaving = Listener(engine, row), Listener(engine, row, stop_at=3)
    await leaving.ended()
    executor.write(row.id, b"two")
    await staying.until(b"onetwo")
    assert bench.world.followers == 1
    staying.follower.close()
    await nobody_reads(bench)
    staying.task.cancel()
    again = Listener(engine, row, 3)
    await again.until(b"two")
    executor.end(row.id)
    await again.ended()


@pytest.mark.gen_test(timeout=LONG)
async def test_a_region_that_breaks_is_waited_for_and_gone_on_with_at_the_byte(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"before ")
    listener = Listener(engine, row)
    await listener.until(b"before ")
    bench.world.break_down()
    await bench.eventually(lambda: bench.world.followers == 0, "the reader to be cut off")
    executor.write(row.id, b"meanwhile ")
    bench.world.down = False
    await listener.until(b"before meanwhile ")
    executor.end(row.id, output=b"after")
    assert (await listener.ended())[0] == b"before meanwhile after"


@pytest.mark.gen_test(timeout=LONG)
async def test_a_run_that_ends_while_its_region_is_away_is_told_to_the_last_byte(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"before ")
    listener = Listener(engine, row)
    await listener.until(b"before ")
    bench.world.break_down()
    await bench.eventually(lambda: bench.world.followers == 0, "the reader to be cut off")
    executor.end(row.id, output=b"unseen")
    bench.world.down = False
    text, end = await listener.ended()
    assert (text, end.status) == (b"before unseen", "S")


@pytest.mark.gen_test(timeout=LONG)
async def test_a_reader_that_hangs_does_not_keep_the_end_back(bench: Bench) -> None:
    class Hanging(MemoryExecutor):
        def logs(self, handle: Any, follow: bool = False, since: Any = None) -> Any:
            if follow:
                released.wait(LONG)
            return super().logs(handle, follow, since)

    released = threading.Event()
    executor = bench.executor(Hanging)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    listener = Listener(engine, row)
    executor.end(row.id, output=b"all of it")
    assert (await listener.ended())[0] == b"all of it"
    released.set()
    await nobody_reads(bench)


@pytest.mark.gen_test(timeout=LONG)
async def test_an_executor_that_raises_what_it_must_not_is_read_again(bench: Bench) -> None:
    class Faulty(MemoryExecutor):
        failures = 0

        def logs(self, handle: Any, follow: bool = False, since: Any = None) -> Any:
            if follow and self.failures < 2:
                self.failures += 1
                raise KeyError("oops")
            return super().logs(handle, follow, since)

    executor = bench.executor(Faulty)
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"in the end")
    listener = Listener(engine, row)
    await listener.until(b"in the end")
    executor.end(row.id)
    await listener.ended()


@pytest.mark.gen_test(timeout=LONG)
async def test_another_daemons_exec_is_read_by_its_handle(bench: Bench) -> None:
    executor, others = bench.executor(), bench.executor()
    owner, other = await bench.engine(executor), await bench.engine(others, daemon="two")
    row = await bench.until(await bench.trigger(owner), "R")
    holder, guest = (owner, other) if owner.owns(row.id) else (other, owner)
    runs = executor if holder is owner else others
    runs.write(row.id, b"over there")
    listener = Listener(guest, row)
    await listener.until(b"over there")
    frames = await guest.running_log(await bench.database.read(Exec.get, Exec.id == row.id))
    assert frames is not None
    runs.end(row.id, output=b"!")
    text, end = await listener.ended()
    assert (text, end.status) == (b"over there!", "S")


@pytest.mark.gen_test(timeout=LONG)
async def test_a_region_that_is_served_elsewhere_only_is_told_at_the_end(bench: Bench) -> None:
    executor, stranger = bench.executor(), MemoryExecutor(Region("OTHER", "", bench.executor().region.options), World())
    owner, other = await bench.engine(executor), await bench.engine(stranger, daemon="two")
    row = await bench.until(await bench.trigger(owner), "R")
    executor.write(row.id, b"far away")
    listener = Listener(other, row)
    assert await other.running_log(row) is None
    executor.end(row.id)
    assert (await listener.ended())[0] == b"far away"


@pytest.mark.gen_test(timeout=LONG)
async def test_a_deleted_execs_followers_are_told(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    listener = Listener(engine, row)
    await bench.database.write(deletion.delete_exec, bench.caller, row.job_id, row.id)
    engine.stop_requested()
    _, end = await listener.ended()
    assert (end.status, end.reason) == (None, "deleted")


@pytest.mark.gen_test(timeout=LONG)
async def test_a_daemon_that_stops_sends_its_followers_away_without_an_end(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    listener = Listener(engine, row)
    engine.dismiss_followers()
    assert await listener.ended() == (b"", None)
    with pytest.raises(ServiceUnavailable):
        engine.follow(row, 0)
    await nobody_reads(bench)


@pytest.mark.gen_test(timeout=LONG)
async def test_a_stored_log_that_is_damaged_keeps_nobody_waiting(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, output=b"lost")
    row = await bench.until(row, "S")
    await bench.database.write(ExecLog.update(frames=b"nonsense").where(ExecLog.exec_seq == row.seq).execute)
    assert await Listener(engine, row).ended() == (b"", None)


@pytest.mark.gen_test(timeout=LONG)
async def test_too_many_followed_execs_are_refused_and_more_followers_of_one_are_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "MAX_FEEDS", 1)
    executor = bench.executor()
    engine = await bench.engine(executor)
    first, second = [await bench.until(await bench.trigger(engine), "R") for _ in range(2)]
    with engine.follow(first, 0), engine.follow(first, 0), pytest.raises(TooManyRequests):
        engine.follow(second, 0)
    with engine.follow(second, 0):
        pass


@pytest.mark.gen_test(timeout=LONG)
async def test_followers_who_come_and_go_have_one_reader(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.write(row.id, b"one")
    for _ in range(5):
        await Listener(engine, row, stop_at=3).ended()
    assert follows(bench) == 1
    executor.end(row.id)
    await bench.until(row, "S")


@pytest.mark.gen_test(timeout=LONG)
async def test_an_exec_that_nobody_follows_any_more_gives_way_to_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "MAX_FEEDS", 1)
    monkeypatch.setattr(followers, "KEPT_FOR", LONG)
    executor = bench.executor()
    engine = await bench.engine(executor)
    first, second = [await bench.until(await bench.trigger(engine), "R") for _ in range(2)]
    for row in (first, second, first):
        executor.write(row.id, b"x")
        await Listener(engine, row, stop_at=1).ended()


@pytest.mark.gen_test(timeout=LONG)
async def test_the_loop_goes_on_while_much_is_read(bench: Bench) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    for _ in range(20_000):
        executor.write(row.id, b"a line of a usual length, more or less\n")
    listeners = [Listener(engine, row) for _ in range(20)]
    longest, loop = 0.0, asyncio.get_running_loop()
    executor.end(row.id)
    while not all(listener.task.done() for listener in listeners):
        began = loop.time()
        await asyncio.sleep(0)
        longest = max(longest, loop.time() - began)
    assert {len(listener.text) for listener in listeners} == {20_000 * 39}
    assert longest < 1.0
