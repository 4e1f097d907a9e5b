"""Asking a schedule, for tests."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime

from jobd.schedule import Schedule, Slot

EVER = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def first(schedule: Schedule, count: int, after: datetime = EVER) -> list[Slot]:
    found: list[Slot] = []
    while len(found) < count and (slot := schedule.next_after(found[-1].at if found else after)):
        found.append(slot)
    return found


def shown(schedule: Schedule, count: int, after: datetime = EVER) -> list[str]:
    """The first slots as the clocks of the schedule's zone show them."""
    return [schedule.local(slot.at).isoformat() for slot in first(schedule, count, after)]


def dates(schedule: Schedule, count: int) -> list[str]:
    return [text[:10] for text in shown(schedule, count)]


def calls(ask: Callable[[], object]) -> int:
    """How many calls, of Python and of C, answering takes."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        ask()
    finally:
        sys.setprofile(None)
    return count
