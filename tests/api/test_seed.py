"""docs/jobs.zh.md, replayed from its first request to its last."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from jobd.store.db.database import Database
from jobd.store.queue import claims, transitions
from jobd.store.queue.transitions import Result
from tests.api import seed
from tests.api.server import Answer, Api

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
TIMES = {"created_at", "updated_at", "started_at", "ended_at"}
OF_THIS_RUN = {"id", "job", "count", "duration", *TIMES}
"""Fields whose values are this run's own: only their types are the example's."""
AT_ODDS = {"schedule_mode", "is_schedule_active"}
"""Fields that the document shows with values although its request said null: null is as good as a value there."""
CALLS = seed.calls()


def test_the_document_has_nine_requests() -> None:
    assert [(call.method, call.path, call.status) for call in CALLS] == [
        ("POST", "/v1/jobs", 201),
        ("GET", "/v1/jobs?namespace=(namespace)", 200),
        ("GET", "/v1/jobs/(job_id)", 200),
        ("PUT", "/v1/jobs/(job_id)", 200),
        ("DELETE", "/v1/jobs/(job_id)", 204),
        ("POST", "/v1/jobs/(job_id)/execs", 201),
        ("GET", "/v1/jobs/(jobs_id)/execs", 200),
        ("GET", "/v1/jobs/(job_id)/execs/(exec_id)", 200),
        ("DELETE", "/v1/jobs/(job_id)/execs/(exec_id)", 204),
    ]


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_request_of_the_document_is_answered_as_it_says(api: Api, database: Database, slash: str) -> None:
    replay = Replay(api, database, slash)
    for call in CALLS:
        answer = await replay.send(call)
        if call.example is None:
            assert answer.body == b""
        else:
            compare(answer.json, call.example, replay.said)
    assert (await api.call("GET", replay.filled("/v1/jobs/(job_id)/execs/(exec_id)"))).status == 404


class Replay:
    """What earlier answers put in the place of later requests' `(job_id)` and `(exec_id)`."""

    def __init__(self, api: Api, database: Database, slash: str) -> None:
        self._api = api
        self._database = database
        self._slash = slash
        self._ids: dict[str, Any] = {}
        self._sent: list[seed.Call] = []
        self.said: dict[str, Any] = {}
        """The job's fields, as the requests so far said them."""

    async def send(self, call: seed.Call) -> Answer:
        if "job" not in self._ids and "(" in call.path and self._sent:
            # The document goes on with the job that it deleted: it is made again, by the same requests.
            for earlier in [sent for sent in self._sent if sent.method in ("POST", "PUT")]:
                await self._send(earlier)
        if call.path.endswith("/execs") and call.method == "GET":
            self._let_it_fail()
        self._sent.append(call)
        return await self._send(call)

    async def _send(self, call: seed.Call) -> Answer:
        path, mark, query = self.filled(call.path).partition("?")
        answer = await self._api.call(call.method, path + self._slash + mark + query, call.body)
        assert answer.status == call.status, answer.body
        self.said |= call.body or {}
        if call.status == 201:
            self._ids["exec" if call.path.endswith("execs") else "job"] = answer.json["id"]
        if (call.method, call.path) == ("DELETE", "/v1/jobs/(job_id)"):
            del self._ids["job"]
        return answer

    def filled(self, path: str) -> str:
        for place, value in {
            "(namespace)": "chennanfei",
            "(job_id)": self._ids.get("job"),
            "(jobs_id)": self._ids.get("job"),
            "(exec_id)": self._ids.get("exec"),
        }.items():
            path = path.replace(place, str(value))
        return path

    def _let_it_fail(self) -> None:
        """The exec runs and fails, as in the document's examples."""
        write = self._database.write_sync
        (row,) = write(claims.claim, "daemon", "BEIJING1", 1, 1)
        assert write(transitions.set_running, row, None)
        assert write(transitions.end, row, Result("F", "exit_code", None, 1), None)


def compare(answer: Any, example: Any, said: dict[str, Any], field: str = "") -> None:
    """Every key of the example is there and of its JSON type. What the requests said has the value that they said
    (the document lists a job as it is after a later change), all else the example's, where it is not this run's own.
    """
    if field not in AT_ODDS:
        assert type(answer) is type(example), field
    if field in said:
        is_text = isinstance(answer, str) and isinstance(said[field], dict)
        assert (json.loads(answer) if is_text else answer) == said[field], field
    elif isinstance(example, dict):
        assert example.keys() <= answer.keys(), f"{field}: {sorted(example.keys() - answer.keys())} missing"
        for name, value in example.items():
            compare(answer[name], value, said, name)
    elif isinstance(example, list):
        assert answer, f"{field}: empty"
        for item in answer:
            compare(item, example[0], said, field)
    elif field in TIMES and example is not None:
        assert TIME.fullmatch(answer), field
        datetime.fromisoformat(answer)
    elif field not in OF_THIS_RUN | {"hours", "minutes", "seconds"}:
        assert answer == example, field


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda job: job.pop("created_by"), "missing"),
        (lambda job: job.update(id="146"), "id"),
        (lambda job: job.update(created_at="2015-12-28T14:31:07Z"), "created_at"),
        (lambda job: job.update(runtime_vars=[]), "runtime_vars"),
    ],
)
def test_an_answer_that_is_not_the_documents_is_noticed(damage: Callable[[Any], Any], complaint: str) -> None:
    example = CALLS[2].example
    answer = {**example, "updated_at": example["created_at"]}
    compare(answer, example, {})
    damage(answer)
    with pytest.raises(AssertionError, match=complaint):
        compare(answer, example, {})
