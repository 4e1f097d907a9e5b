"""A run's output, and when it can be read."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from jobd.conformance.bench import Bench, Collecting, collect
from jobd.errors import HandleGone, ImageAbsent, ImageNotFound, ImagePullFailed
from jobd.executor import State

NOT_TO_BE_HAD = "127.0.0.1:1/jobd/no-such-image:none"


def test_both_streams_come_apart_and_exact(bench: Bench) -> None:
    handle, _ = bench.run(bench.shell("echo out; echo err >&2; echo 再见"))
    assert bench.output(handle) == {"stdout": "out\n再见\n".encode(), "stderr": b"err\n"}


def test_chunks_carry_the_time_they_were_written_and_come_in_order(bench: Bench) -> None:
    handle, status = bench.run(bench.shell("echo one; sleep 1; echo two"))
    times = [chunk.time for chunk in bench.executor.logs(handle)]
    assert times == sorted(times)
    assert times[-1] - times[0] >= timedelta(seconds=0.2)
    assert all(abs(time.astimezone(UTC) - datetime.now(UTC)) < timedelta(days=1) for time in times)
    assert status.ended_at is not None


def test_output_since_a_time_leaves_out_what_was_before(bench: Bench) -> None:
    handle, _ = bench.run(bench.shell("echo one; sleep 1; echo two"))
    second = list(bench.executor.logs(handle))[-1]
    assert collect(bench.executor.logs(handle, since=second.time))["stdout"] == b"two\n"


def test_output_can_be_read_while_it_runs(bench: Bench) -> None:
    handle = bench.start(bench.shell("echo first; sleep 60"))
    followed = bench.executor.logs(handle, follow=True)
    assert next(iter(followed)).data == b"first\n"
    assert bench.output(handle)["stdout"] == b"first\n"
    assert bench.status(handle).state is State.RUNNING


def test_following_goes_on_until_the_run_ends(bench: Bench) -> None:
    handle = bench.start(bench.shell("echo one; sleep 0.3; echo two; exit 3"))
    seen: list[dict[str, bytes]] = []
    reader = threading.Thread(target=lambda: seen.append(collect(bench.executor.logs(handle, follow=True))))
    reader.start()
    reader.join(bench.patience)
    assert seen == [{"stdout": b"one\ntwo\n", "stderr": b""}]
    assert bench.end_of(handle).exit_code == 3


def test_following_an_ended_run_ends_at_once(bench: Bench) -> None:
    handle, _ = bench.run(bench.shell("echo done"))
    assert collect(bench.executor.logs(handle, follow=True))["stdout"] == b"done\n"


def test_a_follow_can_be_ended_from_another_thread(bench: Bench) -> None:
    handle = bench.start(bench.shell("echo first; sleep 60"))
    followed = bench.executor.logs(handle, follow=True)
    first = threading.Event()
    rest: list[bytes] = []

    def read() -> None:
        for chunk in followed:
            rest.append(chunk.data)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(bench.patience)
    followed.close()
    reader.join(bench.patience)
    assert not reader.is_alive()
    assert rest == [b"first\n"]
    followed.close()
    assert bench.status(handle).state is State.RUNNING


def test_a_follow_that_was_ended_before_it_began_gives_nothing(bench: Bench) -> None:
    handle = bench.start(bench.shell("echo first; sleep 60"))
    followed = bench.executor.logs(handle, follow=True)
    followed.close()
    assert list(followed) == []


@pytest.mark.parametrize("is_found_running", [False, True])
def test_what_is_collected_while_it_runs_is_all_of_it(bench: Bench, is_found_running: bool) -> None:
    """For executors that implement `collect`, which is optional."""
    handle, collected = (
        bench.create(bench.shell("echo one; echo err >&2; sleep 1; echo two; printf three")),
        Collecting(),
    )
    if is_found_running:
        bench.executor.start(handle)
    under_way = bench.executor.collect(handle, collected)
    bench.executor.start(handle)
    bench.end_of(handle)
    if under_way is not None:
        assert under_way.complete() == ""
        assert collect(iter(collected.chunks)) == {"stdout": b"one\ntwo\nthree", "stderr": b"err\n"}
        assert [chunk.time for chunk in collected.chunks] == sorted(chunk.time for chunk in collected.chunks)
        under_way.close()
        under_way.close()


def test_a_run_that_was_never_started_has_no_output(bench: Bench) -> None:
    handle = bench.create(bench.shell("echo never"))
    assert bench.output(handle) == {"stdout": b"", "stderr": b""}


def test_reading_output_of_a_run_that_is_gone_raises_handle_gone(bench: Bench) -> None:
    handle, _ = bench.run(bench.spec("true"))
    bench.executor.remove(handle, False)
    with pytest.raises(HandleGone):
        list(bench.executor.logs(handle))


def test_pulling_an_unavailable_image_raises_an_error_that_names_it(bench: Bench) -> None:
    """Does not apply to an executor that runs without images."""
    spec = bench.spec("true", image=NOT_TO_BE_HAD)
    try:
        handle = bench.executor.create(spec)
    except ImageAbsent:
        with pytest.raises((ImageNotFound, ImagePullFailed)) as error:
            bench.executor.pull(spec)
        assert "127.0.0.1:1" in error.value.message
    else:
        bench.executor.start(handle)
        assert bench.end_of(handle).exit_code == 0
        bench.executor.remove(handle, False)
