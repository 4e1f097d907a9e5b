"""A disk that is full is named as the cause, and everything goes on once there is room."""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.errors import ServiceUnavailable
from jobd.store.db.database import Database
from jobd.store.people import accounts
from tests.services import missing, require

pytestmark = pytest.mark.gen_test(timeout=60)

FULL = "the database's disk is full"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        missing("root, to mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run([require("mount"), "-t", "tmpfs", "-o", "size=2m", "jobd-test", folder], check=True)
    yield folder
    subprocess.run([require("umount"), "--lazy", folder], check=True)


@pytest.fixture
def full(small_disk: Path) -> Iterator[Callable[[], Any]]:
    """Fills the disk, and returns what makes room again."""
    ballast = small_disk / "ballast"

    def fill() -> Callable[[], Any]:
        with ballast.open("wb", buffering=0) as out:
            try:
                while out.write(bytes(4096)):
                    pass
            except OSError:
                pass
        return ballast.unlink

    yield fill


async def test_writes_and_readiness_name_the_full_disk_until_there_is_room(
    small_disk: Path, full: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    file = small_disk / "jobd.db"
    database = Database(f"sqlite:///{file}")
    database.migrate()
    caplog.set_level(logging.INFO)
    make_room = full()
    told, number = [], 0
    while not told:
        number += 1
        try:
            await database.write(accounts.create_user, f"u{number}")
        except ServiceUnavailable as error:
            told.append(error.message)
    assert told[0].startswith(FULL)
    assert "rollback" not in told[0]
    assert any(FULL in line and str(file) in line for line in caplog.messages)
    with pytest.raises(ServiceUnavailable, match=FULL):
        await database.check()
    assert len(await database.read(accounts.users)) == number - 1
    make_room()
    await database.write(accounts.create_user, "after")
    await database.check()
    assert f"the database takes writes again ({file})" in caplog.messages
    database.close()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_start_on_a_full_disk_names_it(small_disk: Path, full: Callable[[], Any], is_new: bool) -> None:
    url = f"sqlite:///{small_disk}/jobd.db"
    if not is_new:
        first = Database(url)
        first.migrate()
        first.close()
    full()
    database = Database(url)
    with pytest.raises(ServiceUnavailable, match=FULL):
        for number in range(1000):
            database.migrate(lambda number=number: accounts.create_user(f"u{number}"))  # type: ignore[misc]
    database.close()
