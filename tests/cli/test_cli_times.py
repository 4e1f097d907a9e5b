"""Lengths and instants as people type them."""

from datetime import UTC, datetime

import click
import pytest

from jobd.cli.output import elapsed
from jobd.cli.times import Instant, Length

NOON = datetime(2026, 11, 27, 4, tzinfo=UTC).astimezone()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("7d", 604800)])
def test_a_length_is_typed_as_in_the_configuration(text: str, seconds: int) -> None:
    assert Length().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5 minutes", "0.5", "-1", "1w"])
def test_a_length_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"whole number of seconds|as in 5m"):
        Length().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-27T08:00:00Z", "2026-11-27T08:00:00Z"),
        ("2026-11-27T08:00:00+02:00", "2026-11-27T08:00:00+02:00"),
        # the tests' zone is Asia/Shanghai
        ("2026-11-27", "2026-11-27T00:00:00+08:00"),
        ("2026-11-27 09:30", "2026-11-27T09:30:00+08:00"),
        ("today", "2026-11-27T00:00:00+08:00"),
        ("yesterday", "2026-11-26T00:00:00+08:00"),
        ("1h", "2026-11-27T11:00:00+08:00"),
        ("2d", "2026-11-25T12:00:00+08:00"),
    ],
)
def test_an_instant_is_a_date_a_time_or_how_long_ago(text: str, instant: str) -> None:
    assert Instant(lambda: NOON.astimezone()).convert(text, None, None) == instant


@pytest.mark.parametrize("text", ["", "tomorrow week", "2026-13-01", "1y", "99999999999d"])
def test_an_instant_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a time such as 2026-11-27"):
        Instant().convert(text, None, None)


def test_a_run_of_less_than_a_second_does_not_look_like_none() -> None:
    assert elapsed("2026-11-27T08:00:00+00:00", "2026-11-27T08:00:00.420000+00:00") == "0:00:00.4"
    assert elapsed("2026-11-27T08:00:00+00:00", "2026-11-28T09:01:02.960000+00:00") == "25:01:03.0"
    assert elapsed("2026-11-27T08:00:00+00:00", None) == ""
