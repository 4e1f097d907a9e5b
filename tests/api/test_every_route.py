"""What holds at every address there is: HEAD, OPTIONS, wrong methods, and the headers that keep an answer safe."""

import pytest

from jobd.api import routes
from tests.api.server import Api

ADDRESSES = list(routes.TABLE)
CHANGING = ("/metrics", "/v1/tokens")
"""What tells of the very requests that ask for it."""
KNOWN = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def filled(api: Api, address: str) -> str:
    """The address of something that is there, as far as it is a job's or an exec's."""
    if address.startswith("/v1/jobs/"):
        exec = await api.exec((await api.job())["id"])
        return address.replace("{id}", str(exec["job"])).replace("{exec_id}", exec["id"])
    return address.replace("{", "").replace("}", "")


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_method_is_answered_or_refused_by_name(api: Api, address: str) -> None:
    path = await filled(api, address)
    methods = routes.TABLE[address].methods()
    allow = ", ".join(methods)
    assert ("HEAD" in methods) == ("GET" in methods)
    for method in KNOWN:
        answer = await api.call(method, path)
        assert (answer.status == 405) == (method not in methods), (method, answer.status)
        assert answer.status < 500
        if method == "OPTIONS":
            assert (answer.status, answer.headers["Allow"], answer.body) == (204, allow, b"")
        if answer.status == 405:
            assert answer.headers["Allow"] == allow
        if method == "HEAD":
            assert answer.body == b""
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["X-Request-Id"]
        assert answer.headers["Server"] == "jobd"


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("address", [a for a in ADDRESSES if "GET" in routes.TABLE[a].methods()])
async def test_head_says_what_get_would(api: Api, address: str) -> None:
    path = await filled(api, address)
    got, told = await api.call("GET", path), await api.call("HEAD", path)
    assert (got.status, told.body) == (told.status, b"")
    own = {"Date", "X-Request-Id", *(["Content-Length"] if address in CHANGING else [])}
    assert {k: v for k, v in got.headers.items() if k not in own} == {
        k: v for k, v in told.headers.items() if k not in own
    }
