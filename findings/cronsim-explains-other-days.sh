#!/usr/bin/env bash
# cronsim 2.8: the words of `explain` name other days than those that the same object yields.
# `0 0 1-31 * 1` is "on Monday" and runs daily; `0 0 1 * 0-7` is "on the first day of every month" and runs daily:
# a field that is written out in full is no star for the rule that joins both fields, and is one for the words.
# Exits 0 while that is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check cronsim==2.8
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import islice

from cronsim import CronSim

print("cronsim", version("cronsim"))
began = datetime(2026, 1, 1)
daily = [began + timedelta(days) for days in range(1, 15)]
for text, words in (
    ("0 0 1-31 * 1", "At 00:00 on Monday"),
    ("0 0 1 * 0-7", "At 00:00 on the first day of every month"),
):
    schedule = CronSim(text, began)
    explained, slots = schedule.explain(), list(islice(schedule, 14))
    print(f"{text}: {explained!r}, and runs {', '.join(f'{slot:%a %d}' for slot in slots)}")
    assert explained == words, "the words have changed"
    assert slots == daily, "the slots have changed"
PYTHON
