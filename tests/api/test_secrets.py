"""`secret_vars`: set, kept, replaced and never told."""

from pathlib import Path
from typing import Any

import pytest

from jobd.errors import InvalidArgs, StartFailed
from jobd.keyring import Key, Keyring
from jobd.output.masking import MASK
from jobd.store import jobs, secrets
from jobd.store.callers import EVERYBODY_IS_ADMIN
from jobd.store.db.tables import Exec, Job, Secret
from tests.api.conftest import USER
from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)

VALUE = "correct horse battery"
OTHER = "staple of gold"


@pytest.fixture
def api(api_with_keys: Api) -> Api:
    return api_with_keys


async def values(api: Api, job: dict[str, Any]) -> dict[str, str]:
    """What a run of the job is started with."""
    made = await api.exec(job["id"])
    row = await api.services.database.read(Exec.get, Exec.id == made["id"])
    return await api.services.database.read(secrets.for_start, api.services.keyring, row)


async def put(api: Api, job: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.call("PUT", f"/v1/jobs/{job['id']}", body)
    assert answer.status == 200, answer.body
    return answer.json


async def etag(api: Api, job: dict[str, Any]) -> str:
    return (await api.call("GET", f"/v1/jobs/{job['id']}")).headers["ETag"]


async def test_answers_have_names_and_no_values(api: Api) -> None:
    job = await api.job(secret_vars={"PASSWORD": VALUE, "TOKEN": OTHER})
    exec = await api.exec(job["id"])
    detail = (await api.call("GET", f"/v1/jobs/{job['id']}/execs/{exec['id']}")).json
    listed = (await api.call("GET", "/v1/jobs")).json["results"][0]
    rerun = (await api.call("POST", f"/v1/jobs/{job['id']}/execs/{exec['id']}/rerun")).json
    shown = [shape["secret_vars"] for shape in (job, listed, exec, detail, detail["job"], rerun)]
    assert shown == [{"PASSWORD": MASK, "TOKEN": MASK}] * 6


async def test_a_run_gets_the_values(api: Api) -> None:
    given = {"PASSWORD": VALUE, "KEY": "第一行\n第二行\r\n", "EMPTY": ""}
    assert await values(api, await api.job(secret_vars=given)) == given


async def test_no_row_holds_a_value(api: Api) -> None:
    await api.job(secret_vars={"PASSWORD": VALUE})
    rows = await api.services.database.read(lambda: [*Job.select().dicts(), *Secret.select().dicts()])
    assert len(rows) == 2
    assert VALUE not in repr(rows)


async def test_what_get_gave_can_be_sent_back_and_changes_nothing(api: Api) -> None:
    job = await api.job(secret_vars={"PASSWORD": VALUE})
    before = await etag(api, job)
    await put(api, job, (await api.call("GET", f"/v1/jobs/{job['id']}")).json)
    assert await values(api, job) == {"PASSWORD": VALUE}
    assert await etag(api, job) == before


async def test_a_put_replaces_keeps_and_drops(api: Api) -> None:
    job = await api.job(secret_vars={"KEPT": VALUE, "CHANGED": "old value", "DROPPED": VALUE})
    await put(api, job, {"secret_vars": {"KEPT": MASK, "CHANGED": OTHER, "NEW": "new value"}})
    assert await values(api, job) == {"KEPT": VALUE, "CHANGED": OTHER, "NEW": "new value"}
    await put(api, job, {"name": "another"})
    assert len(await values(api, job)) == 3


@pytest.mark.parametrize("nothing", [None, {}])
async def test_null_and_an_empty_object_drop_them_all(api: Api, nothing: Any) -> None:
    job = await api.job(secret_vars={"PASSWORD": VALUE})
    assert (await put(api, job, {"secret_vars": nothing}))["secret_vars"] == {}
    assert not await api.services.database.read(Secret.select().exists)


async def test_the_etag_tells_that_a_value_was_set_and_not_which(api: Api) -> None:
    job = await api.job(secret_vars={"PASSWORD": VALUE})
    first = await etag(api, job)
    await put(api, job, {"secret_vars": {"PASSWORD": VALUE}})
    second = await etag(api, job)
    assert first != second
    late = await api.call(
        "PUT", f"/v1/jobs/{job['id']}", {"secret_vars": {"PASSWORD": OTHER}}, headers={"If-Match": first}
    )
    assert late.status == 412
    assert await values(api, job) == {"PASSWORD": VALUE}


async def test_a_value_that_shall_stay_must_be_there(api: Api) -> None:
    refused = await api.call("POST", "/v1/jobs", {**JOB, "secret_vars": {"PASSWORD": MASK}})
    assert "there is none" in refused.faults["secret_vars"][0]
    job = await api.job(secret_vars={"PASSWORD": VALUE})
    refused = await api.call("PUT", f"/v1/jobs/{job['id']}", {"secret_vars": {"TOKEN": MASK}, "timeout": 0})
    assert refused.faults.keys() == {"secret_vars", "timeout"}
    assert await values(api, job) == {"PASSWORD": VALUE}


async def test_a_name_is_plain_or_secret(api: Api) -> None:
    both = {"runtime_vars": {"A": "1"}, "secret_vars": {"A": VALUE}}
    assert (await api.call("POST", "/v1/jobs", {**JOB, **both})).faults.keys() == {"secret_vars"}
    job = await api.job(secret_vars={"A": VALUE})
    path = f"/v1/jobs/{job['id']}"
    assert (await api.call("PUT", path, {"runtime_vars": {"A": "1"}})).faults.keys() == {"runtime_vars"}
    assert (await api.call("POST", f"{path}/execs", {"runtime_vars": {"A": "1"}})).faults.keys() == {"runtime_vars"}
    await put(api, job, {"runtime_vars": {"A": "1"}, "secret_vars": {}})


async def test_of_two_changes_at_once_the_second_cannot_make_a_name_both(api: Api) -> None:
    job = await api.job(secret_vars={"A": VALUE})
    caller, database = EVERYBODY_IS_ADMIN, api.services.database
    with pytest.raises(InvalidArgs, match="invalid request"):
        await database.write(jobs.update, caller, job["id"], {"runtime_vars": {"A": "1"}})


@pytest.mark.parametrize(
    "secret_vars",
    [
        {"1PASSWORD " + VALUE: "x"},
        {"PASSWORD": [VALUE]},
        {"PASSWORD": 12345678},
        {"PASSWORD": f"{VALUE}\x00"},
        {"PASSWORD": f"{VALUE}\ud800"},
        {"PASSWORD": VALUE * 2000},
        {"JOBD_PASSWORD": VALUE},
        {f"N{number}": VALUE for number in range(65)},
        [VALUE],
        VALUE,
    ],
)
async def test_what_cannot_be_is_refused_without_repeating_it(api: Api, secret_vars: Any) -> None:
    refused = await api.call("POST", "/v1/jobs", {**JOB, "secret_vars": secret_vars})
    assert refused.faults.keys() == {"secret_vars"}
    assert VALUE.encode() not in refused.body


async def test_the_audit_tells_that_a_value_was_set_and_not_which(api: Api) -> None:
    job = await api.job(secret_vars={"PASSWORD": VALUE})
    await put(api, job, {"secret_vars": {"PASSWORD": OTHER, "TOKEN": VALUE}})
    await put(api, job, {"secret_vars": {"PASSWORD": MASK, "TOKEN": MASK}})
    answer = await api.call("GET", f"/v1/audit?namespace={USER}")
    changed, made = [row for row in answer.json["results"] if row["action"].startswith("job.")]
    assert made["after"]["secret_vars"] == {"PASSWORD": MASK}
    assert changed["before"] == {"secret_vars": {"PASSWORD": MASK}}
    assert changed["after"] == {"secret_vars": {"PASSWORD": MASK, "TOKEN": MASK}}
    assert VALUE.encode() not in answer.body


async def test_a_deleted_job_takes_its_secrets_with_it(api: Api) -> None:
    job = await api.job(secret_vars={"PASSWORD": VALUE})
    made = await api.exec(job["id"])
    row = await api.services.database.read(Exec.get, Exec.id == made["id"])
    await api.call("DELETE", f"/v1/jobs/{job['id']}")
    assert not await api.services.database.read(Secret.select().exists)
    with pytest.raises(StartFailed, match="was deleted"):
        await api.services.database.read(secrets.for_start, api.services.keyring, row)


async def test_without_the_key_nothing_is_stored_and_all_else_works(api: Api, tmp_path: Path) -> None:
    foreign = Keyring(tmp_path / "foreign.key")
    foreign.ensure_key()
    (tmp_path / "secret.key").write_text((tmp_path / "foreign.key").read_text())
    refused = await api.call("POST", "/v1/jobs", {**JOB, "secret_vars": {"PASSWORD": VALUE}})
    assert (refused.status, refused.error["code"]) == (503, "service_unavailable")
    assert str(tmp_path) not in refused.body.decode()
    assert not await api.services.database.read(Job.select().exists)
    await api.job()


async def test_a_value_does_not_open_in_another_job(api: Api) -> None:
    job, other = await api.job(secret_vars={"A": VALUE}), await api.job(secret_vars={"A": OTHER})
    stolen = await api.services.database.read(Secret.get, Secret.job_id == job["id"])
    moved = Secret.update(sealed=stolen.sealed).where(Secret.job_id == other["id"])
    await api.services.database.write(moved.execute)
    with pytest.raises(StartFailed, match="cannot be decrypted"):
        await values(api, other)
    assert await values(api, job) == {"A": VALUE}


def test_a_key_does_not_show_itself() -> None:
    key = Key.new()
    assert repr(key) == "Key()"
