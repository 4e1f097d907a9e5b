"""`jobd schedule`: explains schedules, without a server."""

import os
from datetime import UTC, datetime
from typing import Any

import click

from jobd import schedule as schedules
from jobd.cli.client import Item
from jobd.cli.options import prints
from jobd.cli.output import Columns, print_items, print_json
from jobd.schedule.zones import MICROSECOND

COLUMNS: Columns = {
    # In the schedule's time zone, which need not be this machine's.
    "LOCAL": lambda slot: slot["local"].replace("T", " "),
    "UTC": lambda slot: slot["utc"].replace("T", " "),
    "NOTES": lambda slot: "; ".join(slot["notes"]),
}


@click.group()
def schedule() -> None:
    """Explain schedules."""


@schedule.command()
@click.argument("text")
@click.option("--tz", metavar="ZONE", help="Time zone of calendar steps and cron, as in Asia/Shanghai.")
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many slots to show.")
@prints
def explain(output: str, text: str, tz: str | None, count: int) -> None:
    """Explain what TEXT means as a schedule, and show its next slots.

    TEXT is an ISO 8601 repeating interval or a cron expression. A schedule without a start begins now.
    """
    explanation = explained(text, tz, datetime.now(UTC).replace(microsecond=0), count)
    if output == "json":
        print_json(explanation)
        return
    if output == "table":
        click.echo(explanation["words"][_language(os.environ.get("LC_ALL") or os.environ.get("LANG", ""))])
        if explanation["remaining"] is not None:
            click.echo(f"{explanation['remaining']} left")
    if explanation["slots"] or output == "name":
        print_items(explanation["slots"], output, COLUMNS, "utc")


def explained(text: str, zone: str | None, at: datetime, count: int) -> Item:
    """What the API's schedule preview returns: the slots after `at`, and `at` itself for a schedule without a start.

    Raises ScheduleError.
    """
    parsed = schedules.parse(text, zone, at)
    after = at - MICROSECOND if parsed.needs_anchor else at
    slots: list[dict[str, Any]] = []
    slot = parsed.next_after(after)
    while slot is not None and len(slots) < count:
        local = parsed.local(slot.at)
        slots.append({"utc": _written(slot.at), "local": _written(local), "notes": parsed.notes(slot)})
        slot = parsed.next_after(slot.at)
    return {"slots": slots, "remaining": parsed.remaining(after), "words": parsed.describe()}


def _written(at: datetime) -> str:
    return at.isoformat(timespec="microseconds" if at.microsecond else "seconds")


def _language(locale: str) -> str:
    return "zh" if locale.startswith("zh") else "en"
