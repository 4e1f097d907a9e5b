"""A minute of scheduled jobs under random faults; script/soak does longer."""

import secrets

import pytest

from tests.e2e.soak import soak

SECONDS = 45.0


def test_every_slot_is_accounted_for_whatever_fails() -> None:
    seed = secrets.randbits(31)
    outcome = soak(seed, SECONDS, live_restore=seed % 2 == 0)
    print(outcome)
    if outcome.violations:
        pytest.fail(str(outcome), pytrace=False)
