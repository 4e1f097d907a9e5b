"""The manual and the shipped files say what the code does."""

import re
from pathlib import Path

import pytest

from jobd import plugins
from jobd.config.loader import BUILT_IN_REGIONS, BUILT_IN_SIZES, FIXED, load
from jobd.config.settings import MountSettings, RegionKeys, RegistryKeys
from jobd.errors import ConfigError
from jobd.executor import Executor, Options

ROOT = Path(__file__).parent.parent
MANUAL = (ROOT / "docs" / "configuration.md").read_text()
KEYS = {name: set(model.model_fields) for name, model in FIXED.items()} | {
    "sizes": set(BUILT_IN_SIZES),
    "registry:HOST": set(RegistryKeys.model_fields),
    "mount:NAME": set(MountSettings.model_fields),
    "region:NAME": set(RegionKeys.model_fields),
}


class SocketOptions(Options):
    socket: str = "unix:///var/run/docker.sock"


class Docker(Executor):
    options = SocketOptions


KINDS: dict[str, type[Executor]] = {"docker": Docker, "dry-run": Executor}


def documented() -> dict[str, dict[str, str]]:
    """Section -> key -> the default that its row gives."""
    sections = re.split(r"^## `\[(.+)\]`$", MANUAL, flags=re.M)[1:]
    row = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)`)? ?\| ", re.M)
    return {name: dict(row.findall(text)) for name, text in zip(sections[::2], sections[1::2], strict=True)}


def test_every_key_is_documented_and_nothing_else():
    assert {section: set(rows) for section, rows in documented().items()} == KEYS


def test_the_documented_defaults_are_the_real_ones(tmp_path):
    path = tmp_path / "jobd.ini"
    path.write_text("")
    defaults = load(path, KINDS, {})
    lines = []
    for section, rows in documented().items():
        if ":" not in section:
            lines += [f"[{section}]", *(f"{key} = {default}" for key, default in rows.items())]
    region = documented()["region:NAME"]
    for name, kind in BUILT_IN_REGIONS.items():
        assert f"`{name}` with\n`executor = {kind}`" in MANUAL or f"`{name}` with `executor = {kind}`" in MANUAL
        lines += [f"[region:{name}]", f"executor = {kind}", *(f"{k} = {v}" for k, v in region.items() if v)]
    path.write_text("\n".join(lines))
    assert load(path, KINDS, {}) == defaults


def test_the_shipped_file_says_the_defaults_and_changes_nothing(tmp_path):
    text = (ROOT / "jobd.ini").read_text()
    path = tmp_path / "jobd.ini"
    path.write_text("")
    empty = load(path, KINDS, {})
    path.write_text(text)
    assert load(path, KINDS, {}) == empty


@pytest.mark.parametrize("section", KEYS)
def test_every_key_stands_in_the_shipped_file(section):
    text = (ROOT / "jobd.ini").read_text()
    sections = re.split(r"^(?:; )?\[(.+)\]$", text, flags=re.M)[1:]
    head = section.partition(":")[0]
    found: set[str] = set()
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        if name.partition(":")[0] == head:
            found |= set(re.findall(r"^(?:; )?(\w+) = ", body, re.M))
    assert found >= KEYS[section]


def test_every_option_of_an_installed_executor_is_documented():
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    kinds = plugins.executor_kinds(plugins.build())
    missing = {
        f"{kind}: {option}"
        for kind, executor in kinds.items()
        for option in executor.options.model_fields
        if f"`{option}`" not in pages
    }
    assert not missing


def test_the_production_example_is_right():
    settings = load(ROOT / "conf" / "jobd.production.ini", KINDS, {})
    assert settings.jobd.listen.loopback
    assert settings.database.sqlite_path is None


def test_the_faults_in_the_manual_are_told_like_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^jobd\.ini:\d+: .*; expected .*$", MANUAL, re.M)
    lines = {12: "timout = 5", 15: "max_age = 90x"}
    Path("jobd.ini").write_text("[execs]\n" + "\n".join(lines.get(number, "") for number in range(2, 16)))
    with pytest.raises(ConfigError) as caught:
        load(Path("jobd.ini"), KINDS, {})
    assert str(caught.value).split("\n") == shown
    assert len(shown) == 2
