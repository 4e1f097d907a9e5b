"""Which edition of the time zone database is used, and that schedules go by it."""

import importlib.resources
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import tzdata

from jobd.schedule import zone_rules
from jobd.schedule.zone_rules import choose
from jobd.schedule.zones import find_zone

PACKAGE = "the package tzdata"
MONTHS = [datetime(year, month, 1, tzinfo=UTC) for year in range(2024, 2031) for month in range(1, 13)]
ASK = """
import json, sys, zoneinfo
if sys.argv[1]:
    zoneinfo.reset_tzpath([sys.argv[1]])
from datetime import UTC, datetime
from jobd.schedule import zone_rules
from jobd.schedule import parse
at = parse("0 8 * * *", "America/Vancouver").next_after(datetime(2026, 12, 15, tzinfo=UTC)).at
print(json.dumps([at.isoformat(), str(zone_rules.in_use())]))
"""


def of_package(zone: str) -> Path:
    return Path(str(importlib.resources.files("tzdata"))) / "zoneinfo" / zone


@pytest.fixture
def database(tmp_path: Path):
    """Makes a folder with an edition, in which it is 08:00 in Vancouver when it is 08:00 in Tokyo."""

    def make(*files: tuple[str, str]) -> str:
        folder = tmp_path / f"zoneinfo{len(list(tmp_path.iterdir()))}"
        (folder / "America").mkdir(parents=True)
        shutil.copy(of_package("Asia/Tokyo"), folder / "America" / "Vancouver")
        shutil.copy(of_package("UTC"), folder / "UTC")
        for name, text in files:
            (folder / name).write_text(text, encoding="ascii")
        return str(folder)

    return make


def ask(folder: str = "", **environ: str) -> tuple[str, str]:
    """When 08:00 in Vancouver is, and the rules by which it is, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in ("TZDIR", "PYTHONTZPATH")}
    command = [sys.executable, "-c", ASK, folder]
    done = subprocess.run(command, env={**clean, **environ}, check=True, capture_output=True, text=True)
    at, rules = json.loads(done.stdout)
    return at, rules


IN_TOKYO = "2026-12-15T23:00:00+00:00"


def test_the_newer_of_both_is_used(database):
    old, new = database(("tzdata.zi", "# version 1999a\n")), database(("tzdata.zi", "# version 9999z\n"))
    by_package = datetime(2026, 12, 15, 8, tzinfo=ZoneInfo.from_file(of_package("America/Vancouver").open("rb")))
    assert ask(old) == (
        by_package.astimezone(UTC).isoformat(),
        f"{tzdata.IANA_VERSION} of {PACKAGE}, newer than 1999a of {old}",
    )
    assert ask(new) == (IN_TOKYO, f"9999z of {new}, newer than {tzdata.IANA_VERSION} of {PACKAGE}")


def test_a_folder_that_the_operator_names_is_used_whatever_its_edition(database):
    old = database(("tzdata.zi", "# version 1999a\n"))
    than = f"though {tzdata.IANA_VERSION} of {PACKAGE} is newer"
    assert ask(PYTHONTZPATH=old) == (IN_TOKYO, f"1999a of {old}, named by PYTHONTZPATH, {than}")
    assert ask(TZDIR=old) == (IN_TOKYO, f"1999a of {old}, named by TZDIR, {than}")
    assert ask(TZDIR="/no/such/folder")[1] == ask()[1]


def test_what_is_used_here_is_the_newer_of_what_is_here():
    rules = zone_rules.in_use()
    folder = next((path for path in ("/usr/share/zoneinfo", "/usr/lib/zoneinfo") if zone_rules.edition(path)), None)
    if "PYTHONTZPATH" in os.environ or "TZDIR" in os.environ:
        assert "named by" in rules.reason
        return
    editions = [tzdata.IANA_VERSION, *([zone_rules.edition(folder)] if folder else [])]
    assert rules.version == max(editions)
    for zone in ("America/Vancouver", "Europe/Berlin", "Asia/Shanghai", "Africa/Casablanca", "Asia/Tehran"):
        file = of_package(zone) if rules.source == PACKAGE else Path(rules.source, zone)
        expected = ZoneInfo.from_file(file.open("rb"))
        used = find_zone(zone)
        assert [at.astimezone(used).utcoffset() for at in MONTHS] == [
            at.astimezone(expected).utcoffset() for at in MONTHS
        ]


@pytest.mark.parametrize(
    ("file", "version"),
    [
        (("tzdata.zi", "# version 2025b\n# ddeps backzone zone.tab\n"), "2025b"),
        (("tzdata.zi", "# version 2025b-dirty\n"), "2025b"),
        (("+VERSION", "2025c\n"), "2025c"),
        (("tzdata.zi", "# This file is in the public domain.\n"), ""),
        (("leapseconds", "# Allowance for leap seconds\n"), ""),
    ],
)
def test_a_database_says_which_edition_it_is(database, file, version):
    assert zone_rules.edition(database(file)) == version


def test_what_tells_no_edition_is_taken_only_when_there_is_nothing_else(database):
    silent = database()
    assert (choose({}, [silent], "2026a").source, choose({}, [silent], "2026a").version) == (PACKAGE, "2026a")
    alone = choose({}, [silent], "")
    assert (alone.source, alone.version, alone.path) == (silent, "unknown", (silent,))
    assert choose({}, [], "2026a").path == ()
    assert choose({}, [], "").version == "unknown"
    named = choose({"TZDIR": silent}, [], "2026a")
    assert (named.source, named.version, named.is_older) == (silent, "unknown", False)
    assert choose({"PYTHONTZPATH": ""}, [], "2026a").source == PACKAGE


@pytest.mark.parametrize(
    ("system", "package", "newer"),
    [
        ("2025b", "2026a", "2026a"),
        ("2026b", "2026a", "2026b"),
        ("2026z", "2026za", "2026za"),
        ("2026a", "2025z", "2026a"),
        ("2026a", "2026a", "2026a"),
    ],
)
def test_editions_are_compared_by_year_and_then_by_letter(database, system, package, newer):
    folder = database(("tzdata.zi", f"# version {system}\n"))
    rules = choose({}, [folder], package)
    assert rules.version == newer
    assert rules.source == (folder if newer == system else PACKAGE)


def test_older_rules_that_the_operator_named_are_marked(database):
    folder = database(("+VERSION", "2025b"))
    assert choose({"TZDIR": folder}, [], "2026a").is_older
    assert not choose({"TZDIR": folder}, [], "2025b").is_older


def test_the_log_tells_at_the_start_which_rules_are_used_and_warns_of_old_ones(database, tmp_path):
    old = database(("tzdata.zi", "# version 1999a\n"))
    ini = tmp_path / "jobd.ini"
    ini.write_text("[jobd]\ndefault_region = HERE\nlisten = 127.0.0.1:0\n[region:HERE]\nexecutor = dry-run\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "jobd", "serve", "-c", str(ini)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONTZPATH": old},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "listens" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    (told,) = [line for line in lines if "time zone rules" in line]
    assert f"1999a of {old}, named by PYTHONTZPATH" in told
    assert "warning" in told.lower()
