"""The key file: made once, read by nobody else, and never taken for another."""

import os
import stat
import threading
from pathlib import Path

import pytest

from jobd.errors import ConfigError
from jobd.keyring import Key, KeyMissing, Keyring, NotOpened


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "var" / "secret.key")


def test_the_file_is_made_for_its_owner_alone(keyring: Keyring) -> None:
    made = keyring.ensure_key()
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    assert os.listdir(keyring.path.parent) == ["secret.key"]
    assert keyring.ensure_key() == made
    assert Keyring(keyring.path).key(made.id) == made


def test_of_many_that_make_it_at_once_all_have_the_same(keyring: Keyring) -> None:
    made: list[Key] = []
    threads = [threading.Thread(target=lambda: made.append(Keyring(keyring.path).ensure_key())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len({key.id for key in made}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_use_is_refused(keyring: Keyring, mode: int) -> None:
    made = keyring.ensure_key()
    keyring.path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        Keyring(keyring.path).key(made.id)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-10],
        lambda text: text.replace(text[20], "A" if text[20] != "A" else "B"),
        lambda text: f"{text}half a li",
        lambda text: "\xff\x00" * 100,
        lambda text: text[17:],
    ],
)
def test_a_damaged_file_is_told_with_its_line(keyring: Keyring, spoil: object) -> None:
    keyring.ensure_key()
    keyring.path.write_text(spoil(keyring.path.read_text()), encoding="latin-1")  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"line \d|empty"):
        Keyring(keyring.path).read()


def test_a_key_that_came_into_the_file_later_is_found(keyring: Keyring) -> None:
    first, second = keyring.ensure_key(), Key.new()
    with pytest.raises(KeyMissing, match=second.id):
        keyring.key(second.id)
    Keyring(keyring.path).replace([first, second])
    assert keyring.key(second.id) == second


def test_a_key_that_left_the_file_is_still_known_to_who_had_it(keyring: Keyring) -> None:
    first, second = keyring.ensure_key(), Key.new()
    keyring.replace([second])
    assert keyring.key(second.id) == second
    assert keyring.key(first.id) == first


def test_without_a_file_no_key_is_made(keyring: Keyring) -> None:
    with pytest.raises(KeyMissing, match="missing"):
        keyring.key("0" * 16)
    assert keyring.read() == []
    assert not keyring.exists


def test_replacing_follows_a_link_and_keeps_the_owner(keyring: Keyring, tmp_path: Path) -> None:
    keyring.ensure_key()
    link = tmp_path / "link.key"
    link.symlink_to(keyring.path)
    if os.geteuid() == 0:
        os.chown(keyring.path, 12345, 12345)
    Keyring(link).replace([Key.new()])
    assert link.is_symlink()
    found = keyring.path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == (12345 if os.geteuid() == 0 else os.geteuid())


@pytest.mark.parametrize("value", ["", "x", "第一行\n第二行", "a" * 30_000])
def test_what_is_sealed_opens_in_its_place_alone(value: str) -> None:
    key = Key.new()
    sealed = key.seal(value, "here")
    assert key.open(sealed, "here") == value
    assert key.seal(value, "here") != sealed
    for other, changed, place in [
        (key, sealed, "there"),
        (Key.new(), sealed, "here"),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), "here"),
        (key, sealed[:10], "here"),
        (key, b"", "here"),
    ]:
        with pytest.raises(NotOpened):
            other.open(changed, place)
