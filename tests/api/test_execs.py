from datetime import UTC, datetime, timedelta

import pytest

from jobd.config.settings import Limits
from jobd.executor import LogChunk
from jobd.output import run_log
from jobd.output.run_log import StoredLog
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)

BEGAN = datetime(2015, 12, 28, 14, 51, 53, 74169, tzinfo=UTC)


def run(database: Database, result: Result, kept: StoredLog | None = None) -> Exec:
    """The one waiting exec starts and ends with this."""
    (row,) = database.write_sync(claims.claim, "daemon", "BEIJING1", 1, 1)
    assert database.write_sync(transitions.set_running, row, result.started_at)
    assert database.write_sync(transitions.end, row, result, kept)
    return row


def written(*parts: tuple[str, bytes]) -> StoredLog:
    chunks = [LogChunk(BEGAN + timedelta(seconds=n), stream, data) for n, (stream, data) in enumerate(parts)]
    return run_log.keep(chunks, 10**6)


async def test_a_trigger_tells_the_engine_and_answers_with_what_waits(api: Api) -> None:
    job = await api.job(command="a", runtime_vars={"A": "1"})
    exec = await api.exec(job["id"])
    assert (exec["status"], exec["trigger_mode"], exec["attempt"]) == ("W", "M", 1)
    assert (exec["job"], exec["command"], exec["runtime_vars"]) == (job["id"], "a", {"A": "1"})
    assert api.engine.created == [exec["id"]]
    assert "missed_count" not in exec


async def test_overrides_hold_for_one_run_and_variables_are_merged(api: Api) -> None:
    job = await api.job(command="a", runtime_vars={"A": "1", "B": "2"})
    exec = await api.exec(
        job["id"], command="b", docker_image_tag="v2", resource_size="XS", runtime_vars={"B": "3", "C": "4"}
    )
    assert (exec["command"], exec["docker_image_tag"], exec["resource_size"]) == ("b", "v2", "XS")
    assert exec["runtime_vars"] == {"A": "1", "B": "3", "C": "4"}
    assert (await api.exec(job["id"]))["command"] == "a"


async def test_an_overridden_command_of_null_is_the_images_own(api: Api) -> None:
    job = await api.job(command="a")
    assert (await api.exec(job["id"], command=None, docker_image_tag=None))["command"] is None


async def test_wrong_overrides_are_told_at_once(api: Api) -> None:
    job = await api.job(region_name="GUARDED")
    answer = await api.call(
        "POST", f"/v1/jobs/{job['id']}/execs", {"resource_size": "XL", "command": "", "region_name": "BEIJING1"}
    )
    assert set(answer.faults) == {"resource_size", "command", "region_name"}


async def test_a_full_namespace_is_429_with_the_time_to_wait(api: Api, make_api) -> None:
    narrow = make_api(api.token, limits=Limits(waiting_per_namespace=1))
    job = await narrow.job()
    await narrow.exec(job["id"])
    answer = await narrow.call("POST", f"/v1/jobs/{job['id']}/execs")
    assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (429, "too_many_requests", "10")


async def test_an_ended_exec_tells_how_it_ended(api: Api, database: Database) -> None:
    job = await api.job(runtime_vars={"A": "一"})
    exec = await api.exec(job["id"])
    ended_at = BEGAN + timedelta(hours=25, minutes=1, seconds=2, microseconds=999_999)
    run(database, Result("F", "exit_code", "it said 3", 3, BEGAN, ended_at))
    got = (await api.call("GET", f"/v1/jobs/{job['id']}/execs/{exec['id']}")).json
    assert (got["status"], got["reason"], got["message"], got["exit_code"]) == ("F", "exit_code", "it said 3", 3)
    assert got["started_at"] == "2015-12-28T14:51:53.074169+00:00"
    assert got["duration"] == {"hours": 25, "minutes": 1, "seconds": 2}
    assert got["job"]["runtime_vars"] == '{"A": "一"}'
    assert got["job"]["email_enabled"] is False


async def test_the_embedded_job_is_the_job_as_it_is_now(api: Api) -> None:
    job = await api.job(command="then")
    exec = await api.exec(job["id"])
    await api.call("PUT", f"/v1/jobs/{job['id']}", {"command": "now"})
    got = (await api.call("GET", f"/v1/jobs/{job['id']}/execs/{exec['id']}")).json
    assert (got["command"], got["job"]["command"]) == ("then", "now")


async def test_a_waiting_exec_that_is_stopped_is_cancelled_at_once(api: Api) -> None:
    job = await api.job()
    exec = await api.exec(job["id"])
    answer = await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/stop")
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (202, "C", "cancelled")
    assert api.engine.stops == 1
    again = await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/stop", {})
    assert (again.status, again.error["code"]) == (409, "resource_state_conflict")


async def test_a_running_exec_is_asked_to_stop_and_may_be_asked_again(api: Api, database: Database) -> None:
    job = await api.job()
    exec = await api.exec(job["id"])
    (row,) = database.write_sync(claims.claim, "daemon", "BEIJING1", 1, 1)
    assert database.write_sync(transitions.set_running, row, None)
    for _ in range(2):
        answer = await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/stop")
        assert (answer.status, answer.json["status"]) == (202, "R")
        assert answer.json["stop_requested_at"] is not None


async def test_a_rerun_is_the_same_snapshot_again(api: Api, database: Database) -> None:
    job = await api.job(command="theirs")
    exec = await api.exec(job["id"], command="own")
    run(database, Result("S", exit_code=0))
    answer = await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/rerun")
    assert (answer.status, answer.json["command"], answer.json["trigger_mode"]) == (201, "own", "M")
    assert answer.json["id"] != exec["id"]
    assert api.engine.created == [exec["id"], answer.json["id"]]


async def test_a_deleted_exec_is_gone(api: Api) -> None:
    job = await api.job()
    exec = await api.exec(job["id"])
    url = f"/v1/jobs/{job['id']}/execs/{exec['id']}"
    assert (await api.call("DELETE", url)).status == 204
    assert (await api.call("DELETE", url)).status == 404
    assert (await api.call("GET", f"/v1/jobs/{job['id']}/execs")).json["count"] == 0


async def test_an_exec_is_found_under_its_own_job_alone(api: Api) -> None:
    job, other = await api.job(), await api.job()
    exec = await api.exec(job["id"])
    assert (await api.call("GET", f"/v1/jobs/{other['id']}/execs/{exec['id']}")).status == 404
    assert (await api.call("GET", f"/v1/jobs/{job['id']}/execs/{exec['id'].upper()}")).status == 200


async def test_execs_are_listed_across_jobs_and_filtered(api: Api, database: Database) -> None:
    job, other = await api.job(), await api.job(region_name="GUARDED")
    first = await api.exec(job["id"])
    run(database, Result("S", exit_code=0))
    second = await api.exec(other["id"])

    async def found(query: str) -> list[str]:
        answer = await api.call("GET", f"/v1/execs?{query}")
        assert answer.status == 200, answer.body
        return [exec["id"] for exec in answer.json["results"]]

    assert await found("") == [second["id"], first["id"]]
    assert await found("status=S") == [first["id"]]
    assert await found(f"job={other['id']}") == [second["id"]]
    assert await found("region=GUARDED&namespace=chennanfei") == [second["id"]]
    # An offset's + that nobody escaped.
    assert await found(f"since={second['created_at']}") == [second["id"]]
    assert await found(f"until={second['created_at'].replace('+00:00', 'Z')}") == [first["id"]]


class TestLogs:
    async def logs(self, api: Api, exec: dict, query: str = "", accept: str | None = None):
        headers = {"Accept": accept} if accept else {}
        return await api.call("GET", f"/v1/jobs/{exec['job']}/execs/{exec['id']}/logs{query}", headers=headers)

    @pytest.fixture
    def kept(self) -> StoredLog:
        return written(
            ("stdout", b"one\ntw"), ("stderr", b"oops \xff\n"), ("stdout", b"o\n"), ("stdout", "三".encode())
        )

    async def test_as_text_are_the_programs_own_bytes(self, api: Api, database: Database, kept: StoredLog) -> None:
        exec = await api.exec((await api.job())["id"])
        run(database, Result("S", exit_code=0), kept)
        answer = await self.logs(api, exec)
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.body == b"one\ntwoops \xff\no\n" + "三".encode()
        assert (await self.logs(api, exec, "?stream=stderr")).body == b"oops \xff\n"

    async def test_as_json_are_whole_lines_with_the_time_of_their_beginning(
        self, api: Api, database: Database, kept: StoredLog
    ) -> None:
        exec = await api.exec((await api.job())["id"])
        run(database, Result("S", exit_code=0), kept)
        answer = await self.logs(api, exec, accept="application/json")
        assert answer.headers["Content-Type"] == "application/json"
        assert [(line["stream"], line["message"], line["time"][17:22]) for line in answer.json] == [
            ("stdout", "one\n", "53.07"),
            ("stderr", "oops �\n", "54.07"),
            ("stdout", "two\n", "53.07"),
            ("stdout", "三", "56.07"),
        ]

    async def test_tail_and_timestamps_go_by_lines(self, api: Api, database: Database, kept: StoredLog) -> None:
        exec = await api.exec((await api.job())["id"])
        run(database, Result("S", exit_code=0), kept)
        assert (await self.logs(api, exec, "?tail=2")).body.decode() == "two\n三"
        assert (await self.logs(api, exec, "?tail=0")).body == b""
        stamped = await self.logs(api, exec, "?tail=1&timestamps=1")
        assert stamped.body.decode() == "2015-12-28T14:51:56.074169+00:00 三"

    async def test_what_was_left_out_is_marked(self, api: Api, database: Database) -> None:
        exec = await api.exec((await api.job())["id"])
        run(database, Result("S", exit_code=0), run_log.keep([LogChunk(BEGAN, "stdout", b"abcdefgh")], 4))
        assert b"[jobd: 4 bytes left out here]" in (await self.logs(api, exec)).body
        lines = (await self.logs(api, exec, accept="application/json")).json
        assert [line["stream"] for line in lines] == ["stdout", "cut", "stdout"]

    async def test_of_a_live_exec_are_what_there_is_so_far(self, api: Api) -> None:
        exec = await api.exec((await api.job())["id"])
        assert (await self.logs(api, exec)).body == b""
        api.engine.log = written(("stdout", b"so far\n")).frames
        assert (await self.logs(api, exec)).body == b"so far\n"

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("*/*", "text/plain; charset=utf-8"),
            ("text/*, application/json;q=0.9", "text/plain; charset=utf-8"),
            ("application/json, */*;q=0.1", "application/json"),
            ("Application/JSON;q=x, text/html", "text/plain; charset=utf-8"),
        ],
    )
    async def test_come_as_the_client_likes_them(self, api: Api, accept: str, kind: str) -> None:
        exec = await api.exec((await api.job())["id"])
        assert (await self.logs(api, exec, accept=accept)).headers["Content-Type"] == kind

    async def test_take_no_other_parameter(self, api: Api) -> None:
        exec = await api.exec((await api.job())["id"])
        assert set((await self.logs(api, exec, "?tail=-1&stream=out&folow=1")).faults) == {"tail", "stream", "folow"}


async def test_a_repeated_trigger_answers_with_the_first_exec(api: Api) -> None:
    job = await api.job()
    path, key = f"/v1/jobs/{job['id']}/execs", {"Idempotency-Key": "once"}
    first, again = [await api.call("POST", path, {"command": "a"}, headers=key) for _ in range(2)]
    assert (first.status, again.status) == (201, 201)
    assert first.json["id"] == again.json["id"]
    other = await api.call("POST", path, {"command": "b"}, headers=key)
    assert (other.status, other.error["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["", "a b", "a" * 256])
async def test_a_key_that_cannot_be_is_a_bad_request(api: Api, key: str) -> None:
    job = await api.job()
    answer = await api.call("POST", f"/v1/jobs/{job['id']}/execs", {}, headers={"Idempotency-Key": key})
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_force_ends_the_record_only_where_the_region_is_down(api: Api, database: Database) -> None:
    job = await api.job()
    path = f"/v1/jobs/{job['id']}/execs"
    made = await api.exec(job["id"])
    database.write_sync(claims.claim, "daemon", "BEIJING1", 1, 1)
    asked = await api.call("POST", f"{path}/{made['id']}/stop?force=1")
    assert (asked.status, asked.json["status"]) == (202, "W")
    api.engine.regions["BEIJING1"].outage = "no route to host"
    forced = await api.call("POST", f"{path}/{made['id']}/stop?force=1")
    assert (forced.status, forced.json["status"], forced.json["reason"]) == (202, "F", "lost")
