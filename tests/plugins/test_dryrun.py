"""The dry-run executor: what it plays, what it tells, and that a thousand runs cost no threads."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.conformance.bench import Bench, Ends, collect
from jobd.executor import Region, State
from jobd_dryrun.executor import DryRunExecutor, DryRunOptions
from jobd_dryrun.play import play
from tests.services import wait_for


def dry_bench(**options: object) -> Bench:
    validated = DryRunOptions(**options)
    return Bench(lambda installation: DryRunExecutor(Region("DRY", installation, validated)), "shop/app:v1")


@pytest.fixture
def bench():
    bench = dry_bench()
    yield bench
    bench.clear()


def test_it_says_what_it_would_have_run_without_values(bench: Bench):
    spec = bench.spec("python", "train it.py", environment={"TOKEN": "s3cret", "EPOCHS": "7"})
    handle, status = bench.run(spec)
    said = bench.output(handle)["stdout"].decode()
    assert said == "would run python 'train it.py' in shop/app:v1 with EPOCHS, TOKEN in its environment\n"
    assert status.exit_code == 0


def test_a_job_without_a_command_is_told_of_too(bench: Bench):
    handle, _ = bench.run(bench.spec(argv=None, environment={}))
    said = bench.output(handle)["stdout"].decode()
    assert said == "would run its own command in shop/app:v1 with nothing in its environment\n"


def test_the_region_decides_how_long_and_how_it_ends():
    bench = dry_bench(duration="0.2", exit_code="3")
    _, status = bench.run(bench.spec("python", "train.py"))
    assert status.exit_code == 3
    assert (status.ended_at - status.started_at).total_seconds() == pytest.approx(0.2)
    bench.clear()


@pytest.mark.parametrize(
    ("argv", "seconds", "exit_code", "output"),
    [
        (["sleep", "2.5"], 2.5, 0, b""),
        (["exit", "3"], 0, 3, b""),
        (["true"], 0, 0, b""),
        (["false"], 0, 1, b""),
        (["echo", "hello", "world"], 0, 0, b"hello world\n"),
        (["sh", "-c", "echo a; sleep 2 && echo 'b  c'; exit 4; echo never"], 2, 4, b"a\nb  c\n"),
        (["/bin/sh", "-c", "echo out; echo err >&2"], 0, 0, b"out\nerr\n"),
    ],
)
def test_a_command_that_it_knows_is_played(bench: Bench, argv, seconds, exit_code, output):
    played = play(bench.spec(*argv), 7, 9)
    assert (played.seconds, played.exit_code) == (seconds, exit_code)
    assert b"".join(line.data for line in played.lines) == output


@pytest.mark.parametrize(
    "argv", [["sleep"], ["sleep", "long"], ["exit", "-1"], ["sh", "-c", "ls"], ["sh", "-c", "'"], []]
)
def test_a_command_that_it_does_not_know_is_told_of(bench: Bench, argv):
    played = play(bench.spec(*argv), 7, 9)
    assert (played.seconds, played.exit_code) == (7, 9)
    assert played.lines[0].data.startswith(b"would run ")


@given(st.lists(st.text(), max_size=4))
def test_no_command_breaks_it(argv):
    assert play(dry_bench().spec(*argv), 7, 9).exit_code in range(256)


def test_output_comes_in_its_time(bench: Bench):
    handle = bench.start(bench.shell("echo one; sleep 60; echo two"))
    assert collect(bench.executor.logs(handle)) == {"stdout": b"one\n", "stderr": b""}
    bench.executor.stop(handle, 5)
    assert collect(bench.executor.logs(handle, follow=True)) == {"stdout": b"one\n", "stderr": b""}
    assert bench.status(handle).exit_code == 143


def test_a_follower_ends_when_its_run_is_removed_by_force(bench: Bench):
    handle = bench.start(bench.spec("sleep", "600"))
    reader = threading.Thread(target=list, args=(bench.executor.logs(handle, follow=True),))
    reader.start()
    bench.executor.remove(handle, True)
    reader.join(60)
    assert not reader.is_alive()


def test_a_thousand_at_once_cost_one_thread_and_end_in_time(bench: Bench):
    ends = Ends()
    stop = bench.executor.watch(ends)
    threads = threading.active_count()
    handles = [bench.start(bench.spec("sleep", "6")) for _ in range(1000)]
    assert {status.state for status in bench.executor.statuses(handles).values()} == {State.RUNNING}
    assert threading.active_count() == threads
    wait_for(lambda: all(ends.include(handle, 0) for handle in handles), "all are told")
    stop()


def test_a_very_long_run_is_waited_for(bench: Bench):
    """Threads cannot wait for longer than some centuries."""
    ends = Ends()
    stop = bench.executor.watch(ends)
    bench.start(bench.spec("sleep", "99999999999999"))
    assert ends.include(bench.start(bench.spec("sleep", "0.1")), 60)
    stop()


def test_a_listener_that_fails_does_not_end_the_watch(bench: Bench):
    ends = Ends()

    def listener(handle):
        ends(handle)
        raise RuntimeError("the listener's own fault")

    stop = bench.executor.watch(listener)
    for _ in range(2):
        assert ends.include(bench.start(bench.spec("true")), 60)
    stop()


def test_close_ends_its_thread():
    bench = dry_bench()
    bench.executor.watch(Ends())
    bench.clear()
    wait_for(lambda: "jobd-DRY-ends" not in {thread.name for thread in threading.enumerate()}, "its thread ended")
