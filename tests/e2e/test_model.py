"""The model sees each fault that it is there for."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.e2e.model import EPOCH, Planned, Verdict, Work, plan

WORK = Work("model", 10, "true", b"out\n", {})
SLOTS = sorted(plan(WORK, EPOCH, 20)[1])
SOUND = {"status": "S", "reason": None, "exit_code": 0, "message": None, "trigger_mode": "S", "retry_of": None}
UNOWNED = {"owner": None, "holds_slot": False, "handle": "h", "term": 1, "attempt": 1, "max_retries": 0}


class Case:
    """Three slots that ran once each, as they should."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [
            {"id": str(number), "job_id": 1, "scheduled_for": slot, "started_at": slot, "ended_at": slot}
            | SOUND
            | UNOWNED
            | {"stop_reason": None}
            for number, slot in enumerate(SLOTS)
        ]
        self.starts = Counter({row["id"]: 1 for row in self.rows})
        self.ends, self.started = Counter(self.starts), Counter(self.starts)
        self.logs = {row["id"]: WORK.output for row in self.rows}
        self.outages: list[Any] = []
        self.restarted: Counter[str] = Counter()
        self.work = WORK

    def violations(self) -> list[str]:
        planned = [Planned(self.work, 1, frozenset(SLOTS))]
        ran = (self.starts, self.ends, self.started)
        return Verdict(planned, self.rows, *ran, self.logs, self.outages, self.restarted).violations()


def test_three_sound_runs_are_no_violation() -> None:
    assert Case().violations() == []


def skipped(case: Case) -> None:
    case.rows[1] |= {"status": "N", "missed_from": SLOTS[1], "missed_to": SLOTS[1], "missed_count": 1}
    case.starts["1"] = case.ends["1"] = case.started["1"] = 0


def test_a_slot_that_is_said_to_be_missed_is_no_violation() -> None:
    case = Case()
    skipped(case)
    assert case.violations() == []


def test_output_may_be_missing_of_what_ran_without_an_engine() -> None:
    case = Case()
    case.logs["1"] = b""
    assert len(case.violations()) == 1
    case.outages.append((SLOTS[1] - timedelta(seconds=1), SLOTS[1]))
    assert case.violations() == []
    case.logs["1"] = b"else"
    assert len(case.violations()) == 1


def test_a_success_without_an_end_is_doubtful_where_there_was_no_engine_and_a_violation_elsewhere() -> None:
    case = Case()
    case.ends["1"] = 0
    assert len(case.violations()) == 1
    case.outages.append((SLOTS[1] - timedelta(seconds=1), SLOTS[1]))
    assert case.violations() == []
    case.starts["1"] = 0
    assert len(case.violations()) == 1


def test_a_container_may_have_as_many_more_starts_as_it_was_restarted_from_outside() -> None:
    case = Case()
    case.starts.update(["1"])
    case.rows[1].update(status="F", reason="exit_code", exit_code=137)
    assert len(case.violations()) == 2
    case.restarted["1"] += 1
    assert case.violations() == []
    case.started.update(["1", "1"])
    assert len(case.violations()) == 1
    case.restarted["1"] += 1
    assert case.violations() == []


def flooded(case: Case) -> None:
    case.work = replace(WORK, flood=1000)
    size = len(WORK.output) + 1000
    for row in case.rows:
        row |= {"log_bytes": size, "log_may_lack_output": False}
        case.logs[row["id"]] = b"out\n[jobd: 996 bytes left out here]\nout\n"


def test_a_flood_keeps_its_beginning_and_its_end_marks_the_cut_and_counts_every_byte() -> None:
    case = Case()
    flooded(case)
    assert case.violations() == []
    for harm in (
        {"1": b"[jobd: 996 bytes left out here]\nout\n"},
        {"1": b"out\n[jobd: 996 bytes left out here]\n"},
        {"1": b"out\nout\n"},
    ):
        flooded(case)
        case.logs.update(harm)
        assert len(case.violations()) == 1, harm
    flooded(case)
    case.rows[1]["log_bytes"] -= 1
    assert len(case.violations()) == 1
    case.rows[1]["log_may_lack_output"] = True
    assert case.violations() == []


def passed_over_and_run(case: Case) -> None:
    span = {"missed_from": SLOTS[1], "missed_to": SLOTS[1], "missed_count": 1}
    case.rows.append(case.rows[1] | {"id": "n", "status": "N"} | span)


FAULTS: dict[str, tuple[Callable[[Case], Any], str]] = {
    "a slot without a record": (lambda case: case.rows.pop(1), "is nowhere"),
    "a slot with two execs": (lambda case: case.rows.append(case.rows[1] | {"id": "0"}), "has 2 execs"),
    "a slot that ran and is said to be missed": (passed_over_and_run, "3 with an exec, 1 said to be missed"),
    "a miscounted gap": (lambda case: (skipped(case), case.rows[1].update(missed_count=2)), "2 said to be missed"),
    "a second start by the ledger": (lambda case: case.starts.update(["1"]), "started 2 times"),
    "a second start by the engine": (lambda case: case.started.update(["1"]), "started 1 times by the ledger, 2"),
    "a run without a record": (lambda case: case.started.update(["9"]), "no record names"),
    "a success that never began": (lambda case: case.starts.pop("1"), "succeeded with 0 starts"),
    "a success that never came to its end": (lambda case: case.ends.pop("1"), "0 ends"),
    "a run that did not end": (lambda case: case.rows[1].update(status="R"), "has not ended"),
    "a run that goes on": (lambda case: case.rows[1].update(status="R", ended_at=None), "has not ended"),
    "an end that is still owned": (lambda case: case.rows[1].update(owner="one"), "has not ended"),
    "a skipped slot that ran": (lambda case: (skipped(case), case.starts.update(["1"])), "never did"),
    "half a log": (lambda case: case.logs.update({"1": b"ou"}), "2 of 4 bytes"),
    "an end that nobody caused": (
        lambda case: case.rows[1].update(status="F", reason="exit_code", exit_code=137),
        "killed by nobody",
    ),
    "a cancellation that nobody asked for": (lambda case: case.rows[1].update(status="C"), "cancelled by nobody"),
    "a retry of a lost run": (
        lambda case: (case.rows[1].update(status="F", reason="lost"), case.rows[2].update(retry_of="1")),
        "was retried",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_this_is_seen(fault: str) -> None:
    case = Case()
    commit, words = FAULTS[fault]
    commit(case)
    found = case.violations()
    assert any(words in violation for violation in found), found
