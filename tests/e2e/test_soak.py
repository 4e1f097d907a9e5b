"""A minute of scheduled jobs under random faults; script/soak does longer."""

import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.soak import soak

SECONDS = 60.0
FLOOD = 20_000_000
LIMIT = 360
"""Seconds that all of it may take, on a busy machine."""


@pytest.fixture
def limited() -> Iterator[None]:
    def give_up(*_: object) -> None:
        pytest.fail(f"not over after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("limited")
def test_every_slot_is_accounted_for_whatever_fails() -> None:
    seed = secrets.randbits(31)
    outcome = soak(seed, SECONDS, live_restore=seed % 2 == 0, flood=FLOOD)
    print(outcome)
    if outcome.violations:
        pytest.fail(str(outcome), pytrace=False)
