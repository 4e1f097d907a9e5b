"""The manual's examples do what the manual says."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobd.errors import ScheduleError
from jobd.schedule import parse

MANUAL = (Path(__file__).parent.parent / "docs" / "schedules.md").read_text(encoding="utf-8")
SET_AT = datetime(2026, 3, 1, 9, tzinfo=UTC)


def examples() -> list[tuple[str, str | None, str]]:
    """(schedule_mode, schedule_timezone, runs) of each row of the manual's table of examples."""
    section = MANUAL.split("## Examples")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return [(text.strip(" `"), zone.strip(" `") or None, runs.strip()) for text, zone, runs, _ in rows[1:]]


def test_the_manual_has_an_example_of_every_form():
    texts = [text for text, _, _ in examples()]
    for form in (
        r"R\d*/[^/P]+/P",
        r"R\d*/P[^/]+$",
        r"R\d*//P",
        r"R\d*/\d[^/]+/\d",
        r"R\d*/P[^/]+/\d",
        r"\S+ \S+ ",
        "@",
    ):
        assert any(re.match(form, text) for text in texts), form


@pytest.mark.parametrize(("text", "zone", "runs"), examples())
def test_an_example_in_the_manual_runs_as_it_says(text, zone, runs):
    schedule = parse(text, zone, SET_AT)
    expected = [datetime.fromisoformat(run).isoformat() for run in re.findall(r"`([^`]+)`", runs)]
    found, at = [], SET_AT - timedelta(microseconds=1)
    while len(found) <= len(expected) and (slot := schedule.next_after(at)):
        found.append(schedule.local(slot.at).isoformat())
        at = slot.at
    assert found[: len(expected)] == expected
    assert (len(found) > len(expected)) == runs.endswith("…")


def test_the_refusal_in_the_manual_is_the_one_that_users_get():
    with pytest.raises(ScheduleError) as caught:
        parse("R/2026-13-01/P1D")
    assert caught.value.message in MANUAL
