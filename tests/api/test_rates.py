"""How often somebody may ask, and what is told of it."""

from collections.abc import Callable

import pytest

from jobd.config.settings import Auth, Limits
from jobd.store.db.database import Database
from jobd.store.people import accounts
from jobd.web.rate_limits import MAX_REMEMBERED, Rates
from tests.api.conftest import USER
from tests.api.server import Api


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestABucket:
    def test_without_a_limit_there_is_none(self) -> None:
        assert Rates(0).take("a") is None

    def test_is_empty_after_so_many_requests_and_says_when_there_is_room_again(self) -> None:
        clock = Clock()
        rates = Rates(60, clock)
        taken = [rates.take("a") for _ in range(60)]
        assert [rate.remaining for rate in taken if rate] == list(range(59, -1, -1))
        refused = rates.take("a")
        assert refused is not None
        assert (refused.remaining, refused.reset, refused.wait) == (0, 60, 1.0)
        clock.now += 1
        assert [rate.wait for rate in (rates.take("a"), rates.take("a")) if rate] == [None, 1.0]

    def test_is_full_again_after_a_minute_and_no_fuller_after_a_day(self) -> None:
        clock = Clock()
        rates = Rates(3, clock)
        for pause in (60, 86400):
            clock.now += pause
            assert [rate.wait is None for rate in (rates.take("a") for _ in range(4)) if rate] == [True] * 3 + [False]

    def test_is_nobody_elses(self) -> None:
        rates = Rates(1, Clock())
        first, second = rates.take("a"), rates.take("b")
        assert first and second and first.wait is second.wait is None

    def test_is_forgotten_when_there_are_too_many_the_one_unused_for_longest_first(self) -> None:
        rates = Rates(1, Clock())
        rates.take("early")
        rates.take("late")
        for number in range(MAX_REMEMBERED - 2):
            rates.take(str(number))
        again = rates.take("early")
        assert again and again.wait
        rates.take("one more")
        forgotten = rates.take("late")
        assert forgotten and forgotten.wait is None


@pytest.mark.gen_test(timeout=30)
async def test_a_token_that_asks_too_often_is_429_and_told_when_to_come_again(
    api: Api, make_api: Callable[..., Api], database: Database
) -> None:
    limited = make_api(api.token, limits=Limits(requests_per_minute=2))
    left = [(await limited.call("GET", "/v1/jobs")).headers["RateLimit-Remaining"] for _ in range(2)]
    assert left == ["1", "0"]
    refused = await limited.call("GET", "/v1/jobs")
    assert (refused.status, refused.error["code"]) == (429, "too_many_requests")
    assert (refused.headers["RateLimit-Limit"], refused.headers["Retry-After"]) == ("2", "30")
    assert int(refused.headers["RateLimit-Reset"]) <= 60
    # Another token of the same user has a bucket of its own, and so have those who have none.
    other = database.write_sync(accounts.create_token, USER, "another")
    assert (await limited.call("GET", "/v1/jobs", token=other)).status == 200
    assert [(await limited.call("GET", "/v1/jobs", token=None)).status for _ in range(3)] == [401, 401, 429]
    assert (await limited.call("GET", "/v1/jobs", token=f"{other}x")).status == 429
    assert [(await limited.call("GET", "/healthz", token=None)).status for _ in range(5)] == [200] * 5


@pytest.mark.gen_test(timeout=30)
async def test_without_tokens_an_address_is_counted(make_api: Callable[..., Api]) -> None:
    limited = make_api(limits=Limits(requests_per_minute=1), auth=Auth(mode="none"))
    made_up = [{"Authorization": f"Token {number}"} for number in range(2)]
    assert [(await limited.call("GET", "/v1/jobs", headers=headers)).status for headers in made_up] == [200, 429]


@pytest.mark.gen_test(timeout=30)
async def test_by_default_nothing_is_counted(api: Api) -> None:
    assert not [name for name in (await api.call("GET", "/v1/jobs")).headers if name.startswith("Ratelimit")]
