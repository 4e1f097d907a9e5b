"""Events, audited actions, reasons and statuses: the manual has those of the code, and no other."""

import re
from typing import get_args

from jobd.api.schemas.responses import ExecReason
from jobd.store.outbox import EVENTS
from tests.services import ROOT


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def row(text: str, first: str) -> set[str]:
    """The words in the row of a table that begins like this."""
    (rest,) = re.findall(rf"^\| `{first}`.*? \| (.*) \|$", text, re.MULTILINE)
    return set(re.findall(r"`([\w.]+)`", rest))


def test_every_event_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(job:\w+)` \| ", page("webhooks.md"), re.MULTILINE)) == set(EVENTS.values())


def test_every_audited_action_is_named() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "jobd").rglob("*.py"))
    recorded = re.findall(r'audit\.(?:record|entry)\(\s*[\w.]+,\s*"(\w+\.\w+)"', sources)
    calls = sources.count("audit.record(") + sources.count("audit.entry(")
    assert len(recorded) == calls, "an action that this test cannot read"
    assert row(page("security.md"), "action") == set(recorded)


def test_every_reason_and_status_is_named() -> None:
    api = page("api.md")
    assert row(api, "reason") - {"F", "C", "N"} == set(get_args(ExecReason.__value__))
    assert row(api, "status") == {"W", *EVENTS}
