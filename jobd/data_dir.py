"""The folder of a daemon's own files: only for its user, whatever the umask, and never replaced by an empty one by
mistake.
"""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobd.config.settings import Settings
from jobd.errors import ConfigError

log = logging.getLogger(__name__)

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OWN_FILES = ("daemon.id", "daemon.lock", "admin.token", "secret.key.lock")
BESIDE_A_DATABASE = ("", "-wal", "-shm", "-journal", ".lock")
"""What SQLite and jobd append to the name of a database file."""


@contextmanager
def private_files() -> Iterator[None]:
    """Files and folders that are created within it are only for this process's user."""
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def close_to_others(settings: Settings) -> None:
    """Remove the rights of others on the data folder and on jobd's files; each change is logged."""
    folder, database = settings.jobd.data_dir, settings.database.sqlite_path
    files = [folder / name for name in OWN_FILES]
    if database is not None:
        files += [database.with_name(database.name + ending) for ending in BESIDE_A_DATABASE]
    for path in (folder, *files):
        _close_to_others(path)


def _close_to_others(path: Path) -> None:
    try:
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        # A folder such as /tmp is for everybody, and stays so.
        if not mode & OTHERS or (stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX):
            return
        path.chmod(mode & ~OTHERS)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s is open to other users of this machine: %s", path, error.strerror)
    else:
        log.warning("%s was open to other users of this machine (mode %04o); now it is not", path, mode)


def refuse_emptied(settings: Settings) -> None:
    """Raises ConfigError if the SQLite file is empty although jobd has had a database here: starting would create a new
    one, and every job, record and user would seem to be gone.
    """
    file = settings.database.sqlite_path
    if file is None or _size(file) != 0:
        return
    for sign in (settings.jobd.key_file, settings.jobd.data_dir / "daemon.id"):
        if _size(sign):
            raise ConfigError(
                f"{file} is empty, but {sign} shows that jobd has had a database: the file was emptied, or another was "
                "put in its place; put back a copy of the database (docs/operations.md, Restore SQLite), or "
                f"remove {file} to begin anew without any job, record or user"
            )


def _size(path: Path) -> int | None:
    """The size in bytes; None if there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return None
