"""`jobd schedule explain`: words and slots, without a server."""

import json
from datetime import UTC, datetime

from jobd.cli.schedule import explained

NOON = datetime(2028, 1, 1, 12, tzinfo=UTC)


def test_slots_come_after_now_in_utc_and_in_the_schedules_zone():
    found = explained("R4/2028-01-31T08:00:00/P1M", "Asia/Shanghai", NOON, 10)
    assert [slot["utc"][:16] for slot in found["slots"]] == [
        "2028-01-31T00:00",
        "2028-02-29T00:00",
        "2028-03-31T00:00",
        "2028-04-30T00:00",
    ]
    assert found["slots"][0]["local"] == "2028-01-31T08:00:00+08:00"
    assert found["remaining"] == 4
    assert found["slots"][0]["notes"] == []
    assert found["slots"][1]["notes"]


def test_a_text_without_a_start_begins_now():
    found = explained("R3/PT1H", None, NOON, 10)
    assert [slot["utc"][11:13] for slot in found["slots"]] == ["12", "13", "14"]


def test_what_begins_now_begins_with_a_whole_second(run):
    for output in ("table", "name", "json"):
        assert "." not in run("schedule", "explain", "R5/PT1H", "-o", output).stdout.replace("in all.", "")


def test_no_more_slots_are_shown_than_asked_for(run):
    result = run("schedule", "explain", "30 2 * * MON-FRI", "--count", "3", "-o", "name", "--tz", "Europe/Berlin")
    assert len(result.stdout.splitlines()) == 3
    assert run("schedule", "explain", "@daily", "--count", "0").exit_code == 2


def test_the_table_says_it_in_words(run, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    english = run("schedule", "explain", "@daily", "--count", "2").stdout.splitlines()
    assert english[1].split() == ["LOCAL", "UTC", "NOTES"]
    assert len(english) == 4
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    words = json.loads(run("schedule", "explain", "@daily", "-o", "json").stdout)["words"]
    assert run("schedule", "explain", "@daily").stdout.splitlines()[0] == words["zh"]
    assert english[0] == words["en"]


def test_what_is_over_says_so(run):
    result = run("schedule", "explain", "R1/2015-12-31T16:00:23.446Z/PT1H")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == ["0 left"]


def test_a_text_that_says_nothing_is_wrong_usage_and_told_once(server, run):
    result = run("schedule", "explain", "every day")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert run("schedule", "explain", "@daily", "--tz", "Mars/Base").exit_code == 2
    assert server.requests == []
