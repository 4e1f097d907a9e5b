"""Secrets reach the container, and nothing of them comes back: not in logs, messages or what plugins see."""

import logging
import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from jobd.engine.engine import Engine
from jobd.engine.recordings import read_log
from jobd.errors import ExecutorError, StartFailed
from jobd.executor import Handle, RunSpec
from jobd.hookspecs import hookimpl
from jobd.keyring import Keyring
from jobd.output import run_log
from jobd.output.masking import Mask
from jobd.store import execs, jobs, secrets
from jobd.store.db.columns import EPOCH
from jobd.store.db.tables import Exec, ExecLog, Job, Secret
from tests.engine.conftest import Bench
from tests.engine.executors import Container, MemoryExecutor
from tests.engine.test_followers import Listener
from tests.store.rows import JOB

pytestmark = pytest.mark.gen_test(timeout=40)

VALUE = "correct horse battery"
KEY = "-----BEGIN KEY-----\nc2VjcmV0\n-----END KEY-----\n"
GIVEN = {"PASSWORD": SecretStr(VALUE), "KEY": SecretStr(KEY)}


@pytest.fixture
def keyring(bench: Bench) -> Keyring:
    keyring = Keyring(bench.path / "var" / "secret.key")
    bench.database.write_sync(secrets.begin, keyring)
    return keyring


@pytest.fixture
def job(bench: Bench, keyring: Keyring) -> Job:
    values = {**JOB, "docker_image_repo": "repo", "secret_vars": GIVEN}
    return bench.database.write_sync(jobs.create, bench.caller, values, keyring)


async def change(bench: Bench, keyring: Keyring, job: Job, **given: str) -> None:
    changes = {"secret_vars": {name: SecretStr(value) for name, value in given.items()}}
    await bench.database.write(jobs.update, bench.caller, job.id, changes, keyring=keyring)


async def stored(bench: Bench, row: Exec) -> bytes:
    found = await bench.database.read(ExecLog.get_or_none, ExecLog.exec_seq == row.seq)
    return b"" if found is None else run_log.as_text(run_log.decode(bytes(found.frames)))


async def so_far(bench: Bench, engine: Engine, row: Exec) -> bytes:
    frames = await engine.running_log(await bench.database.read(Exec.get, Exec.id == row.id))
    assert frames is not None
    return run_log.as_text(run_log.decode(frames))


async def test_a_run_has_the_values_and_its_log_does_not(bench: Bench, job: Job) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine, job), "R")
    (container,) = bench.world.containers.values()
    assert container.spec.environment.items() >= {"PASSWORD": VALUE, "KEY": KEY, "DB_HOST": "localhost"}.items()
    for piece in (b"pw: correct ho", b"rse batt", b"ery!\n", KEY.encode()):
        executor.write(row.id, piece)
    executor.write(row.id, VALUE.encode(), "stderr")
    executor.end(row.id)
    ended = await bench.until(row, "S")
    assert await stored(bench, row) == b"pw: ******!\n******\n******"
    assert ended.log_bytes == len(b"pw: ******!\n******\n******")


async def test_followed_read_and_stored_it_is_the_same_to_the_byte(bench: Bench, job: Job) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine, job), "R")
    listener = Listener(engine, row)
    executor.write(row.id, b"first correct horse")
    await listener.until(b"first ")
    assert await so_far(bench, engine, row) == b"first "
    executor.write(row.id, b"s\n")
    await listener.until(b"first correct horses\n")
    executor.write(row.id, b"meanwhile\n", "stderr")
    executor.write(row.id, f"then {VALUE}".encode())
    whole = b"first correct horses\nmeanwhile\nthen ******"
    await listener.until(whole)
    assert await so_far(bench, engine, row) == whole
    late = Listener(engine, row, len(b"first correct horses\nmeanwhile\nthen ***"))
    await late.until(b"***")
    executor.write(row.id, b" corr")
    executor.end(row.id)
    await bench.until(row, "S")
    assert (await listener.ended())[0] == await stored(bench, row) == whole + b" corr"
    assert (await late.ended())[0] == b"*** corr"


async def test_what_is_followed_again_after_an_outage_goes_on_where_it_was(bench: Bench, job: Job) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine, job), "R")
    executor.write(row.id, f"one {VALUE} corr".encode())
    listener = Listener(engine, row)
    await listener.until(b"one ****** ")
    bench.world.break_down()
    await bench.eventually(lambda: bench.world.followers == 0)
    bench.world.down = False
    executor.write(row.id, b"ect horse battery two")
    await listener.until(b"one ****** ****** two")
    executor.end(row.id)
    assert (await listener.ended())[0] == await stored(bench, await bench.until(row, "S"))


async def test_a_value_that_was_changed_meanwhile_is_hidden_as_the_run_has_it(
    bench: Bench, job: Job, keyring: Keyring
) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    first = await bench.until(await bench.trigger(engine, job), "R")
    await change(bench, keyring, job, PASSWORD="staple of gold", KEY="******")
    second = await bench.until(await bench.trigger(engine, job), "R")
    for row in (first, second):
        executor.end(row.id, output=f"{VALUE} staple of gold".encode())
        await bench.until(row, "S")
    assert await stored(bench, first) == b"****** staple of gold"
    assert await stored(bench, second) == f"{VALUE} ******".encode()


async def test_a_rerun_has_todays_values(bench: Bench, job: Job, keyring: Keyring) -> None:
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine, job), "R")
    executor.end(row.id)
    await bench.until(row, "S")
    await change(bench, keyring, job, PASSWORD="staple of gold", KEY="******", NEW="another")
    again = await bench.database.write(execs.rerun, bench.caller, job.id, row.id, 100)
    engine.exec_created([again])
    await bench.until(again, "R")
    (environment,) = [c.spec.environment for c in bench.world.containers.values() if c.spec.exec_id == again.id]
    assert (environment["PASSWORD"], environment["KEY"], "NEW" in environment) == ("staple of gold", KEY, False)


async def test_who_adopts_a_run_hides_what_it_was_started_with(bench: Bench, job: Job, keyring: Keyring) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine, job), "R")
    await engine.stop()
    bench.engines.remove(engine)
    await change(bench, keyring, job)
    again = bench.executor()
    engine = await bench.engine(again)
    again.write(row.id, f"still {VALUE}".encode())
    listener = Listener(engine, row)
    await listener.until(b"still ******")
    again.end(row.id)
    await bench.until(row, "S")
    assert await stored(bench, row) == b"still ******"
    assert not await bench.database.read(Secret.select().exists)


async def _other(bench: Bench) -> Job:
    return await bench.database.write(jobs.create, bench.caller, {**JOB, "docker_image_repo": "repo"})


async def test_a_daemon_without_the_key_fails_such_runs_and_no_others(bench: Bench, job: Job, tmp_path: Path) -> None:
    bench.path = tmp_path / "elsewhere"
    bench.path.mkdir()
    executor = bench.executor()
    engine = await bench.engine(executor)
    failed = await bench.until(await bench.trigger(engine, job), "F")
    assert failed.reason == "start_failed"
    assert "cannot be decrypted: this daemon does not have the key" in failed.message
    await bench.until(await bench.trigger(engine, await _other(bench)), "R")
    assert [c.spec.job_id == job.id for c in bench.world.containers.values()] == [False]


async def test_a_daemon_without_the_key_shows_and_stores_no_log_that_it_cannot_mask(
    bench: Bench, job: Job, tmp_path: Path
) -> None:
    engine = await bench.engine(bench.executor())
    row = await bench.until(await bench.trigger(engine, job), "R")
    await engine.stop()
    bench.engines.remove(engine)
    bench.path = tmp_path / "elsewhere"
    bench.path.mkdir()
    executor = bench.executor()
    keyless = await bench.engine(executor)
    await bench.eventually(lambda: keyless.regions["BEIJING1"].outage is None)
    executor.write(row.id, VALUE.encode())
    listener = Listener(keyless, row)
    with pytest.raises(ExecutorError, match="secrets to hide"):
        await so_far(bench, keyless, row)
    executor.end(row.id)
    ended = await bench.until(row, "S")
    assert ended.message == "its log could not be read"
    assert await stored(bench, row) == b""
    assert (await listener.ended())[0] == b""


async def test_a_secret_that_the_job_has_no_more_fails_the_run(bench: Bench, job: Job, keyring: Keyring) -> None:
    engine = await bench.engine()
    row = await bench.trigger(engine, job)
    await change(bench, keyring, job, KEY="******")
    await bench.engine(bench.executor(), daemon="two")
    failed = await bench.until(row, "F")
    assert (failed.reason, failed.message) == (
        "start_failed",
        f"job {job.id} does not have the secret PASSWORD any more",
    )


class TalkativeExecutor(MemoryExecutor):
    """Repeats what it was given."""

    def create(self, spec: RunSpec) -> Handle:
        raise StartFailed(f"cannot make {spec} with {spec.environment}")


async def test_an_engine_that_repeats_a_value_is_not_quoted(bench: Bench, job: Job) -> None:
    engine = await bench.engine(bench.executor(TalkativeExecutor))
    failed = await bench.until(await bench.trigger(engine, job), "F")
    assert "'PASSWORD': '******'" in failed.message
    assert VALUE not in failed.message


async def test_what_plugins_are_told_does_not_show_a_value(
    bench: Bench, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    class Plugin:
        @hookimpl
        def jobd_prepare_run(self, spec: RunSpec, job: Any) -> None:
            seen.extend([spec, job])

        @hookimpl
        def jobd_exec_ended(self, exec: Any, job: Any) -> None:
            seen.extend([exec, job])

    bench.plugins.register(Plugin())
    executor = bench.executor()
    with caplog.at_level(logging.DEBUG):
        engine = await bench.engine(executor)
        row = await bench.until(await bench.trigger(engine, job), "R")
        executor.end(row.id, output=VALUE.encode())
        await bench.eventually(lambda: len(seen) == 4)
    assert seen[0].environment["PASSWORD"] == VALUE
    assert "horse" not in repr(seen)
    assert "horse" not in caplog.text


async def test_without_secrets_no_secret_is_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object) -> None:
        raise AssertionError("asked")

    for name in ("for_start", "mask_of", "keep", "drop"):
        monkeypatch.setattr(secrets, name, asked)
    executor = bench.executor()
    engine = await bench.engine(executor)
    row = await bench.until(await bench.trigger(engine), "R")
    executor.end(row.id, output=b"plain")
    await bench.until(row, "S")
    assert await stored(bench, row) == b"plain"


def test_no_cut_leaves_a_piece_of_a_value(bench: Bench) -> None:
    executor, chance = bench.executor(), random.Random(7)
    spec = RunSpec("i", "d", "e", 1, "n", "repo:latest", None, {}, 1, 1, 1)
    for _ in range(50):
        container = Container(spec)
        text = b"".join(chance.choice([b"0", b"1", VALUE.encode()]) for _ in range(200))
        for at in range(0, len(text), 7):
            container.output.append(run_log.LogChunk(EPOCH, "stdout", text[at : at + 7]))
        bench.world.containers["c"] = container
        kept = read_log(executor, Handle("c"), chance.randrange(20, 120), Mask([VALUE]))
        shown = b"".join(entry.data for entry in run_log.decode(kept.frames))
        assert set(shown) <= set(b"01*")
    bench.world.containers.clear()
