"""`If-Match`: strong, weak, several, any, and what cannot be read."""

import pytest

from tests.api.server import Api

pytestmark = pytest.mark.gen_test(timeout=30)


async def tag_of(api: Api, job_id: int) -> str:
    return (await api.call("GET", f"/v1/jobs/{job_id}")).headers["Etag"]


@pytest.mark.parametrize("header", ["{}", "*", " * ", '"a", {}', '{},"b"', 'W/"a", {}', ", {} ,", '"a,b", {}'])
async def test_a_tag_of_the_job_as_it_is_lets_the_change_through(api: Api, header: str) -> None:
    job = await api.job()
    headers = {"If-Match": header.format(await tag_of(api, job["id"]))}
    assert (await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": "b"}, headers=headers)).status == 200


@pytest.mark.parametrize("header", ["W/{}", 'W/{}, "a"', 'W/"b", W/{}'])
async def test_a_weak_tag_of_the_job_as_it_is_is_told_to_be_weak(api: Api, header: str) -> None:
    job = await api.job()
    tag = await tag_of(api, job["id"])
    refused = await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": "b"}, headers={"If-Match": header.format(tag)})
    assert (refused.status, refused.error["code"]) == (412, "precondition_failed")
    assert refused.error["message"] == (f"a weak tag, W/…, never matches in If-Match (RFC 9110, 13.1.1); send {tag}")


async def test_a_tag_of_the_job_as_it_was_is_told_to_be_old(api: Api) -> None:
    job = await api.job()
    tag = await tag_of(api, job["id"])
    await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": "b"})
    old = f"job {job['id']} has changed: it no longer matches If-Match"
    for header, words in (
        (tag, old),
        (f'"a", {tag}', old),
        (f"W/{tag}", f"{old}; besides, a weak tag, W/…, never matches"),
    ):
        refused = await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": "c"}, headers={"If-Match": header})
        assert (refused.status, refused.error["message"]) == (412, words)


@pytest.mark.parametrize("header", ["abc", '"a', '"a" "b"', '*, "a"', "", 'w/"a"', '"a", *'])
async def test_a_header_that_cannot_be_read_is_refused_in_words(api: Api, header: str) -> None:
    job = await api.job()
    refused = await api.call("PUT", f"/v1/jobs/{job['id']}", {"name": "b"}, headers={"If-Match": header})
    assert (refused.status, refused.error["code"]) == (400, "bad_request")
    tag = await tag_of(api, job["id"])
    assert refused.error["message"] == f"If-Match must be * or entity tags in quotes, as in {tag}"


async def test_a_job_is_deleted_only_as_if_match_has_it(api: Api) -> None:
    job = await api.job()
    path, old = f"/v1/jobs/{job['id']}", await tag_of(api, job["id"])
    await api.call("PUT", path, {"name": "b"})
    new = await tag_of(api, job["id"])
    for header, status in ((old, 412), (f"W/{new}", 412), ("abc", 400)):
        assert (await api.call("DELETE", path, headers={"If-Match": header})).status == status
        assert (await api.call("GET", path)).status == 200
    assert (await api.call("DELETE", path, headers={"If-Match": f'"a", {new}'})).status == 204
    assert (await api.call("DELETE", path, headers={"If-Match": "*"})).status == 404
