"""What is wrong with a database, in words: the cause, and not an error that followed from it."""

import os
import sqlite3
from pathlib import Path

import peewee
import psycopg2

from jobd.errors import ServiceUnavailable

_OF_DATABASES = (peewee.PeeweeException, sqlite3.Error, psycopg2.Error)

LOCKED = "the database is locked by another program"
BUSY = "the database is busy with other calls"
FULL = "the database's disk is full"
READ_ONLY = "the database is read-only"

_SQLITE_WORDS = {sqlite3.SQLITE_BUSY: LOCKED, sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_READONLY: READ_ONLY}
_POSTGRESQL_WORDS = {"55P03": LOCKED, "53100": FULL, "25006": READ_ONLY}
"""By SQLSTATE: lock_not_available, disk_full, read_only_sql_transaction."""
STATEMENT_FAULTS = (peewee.DataError, peewee.IntegrityError, peewee.NotSupportedError, peewee.ProgrammingError)
"""Errors of the statement; all others are the database's: one that has become read-only raises InternalError."""
_MAYBE_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class DatabaseAway(ServiceUnavailable):
    """The database cannot be reached, does not answer or takes no writes."""


def first(error: BaseException) -> BaseException:
    """The first of the database's errors in a chain: a ROLLBACK that fails afterwards says nothing about the cause."""
    cause = error
    while (before := cause.__cause__ or cause.__context__) is not None and isinstance(before, _OF_DATABASES):
        cause = before
    return cause


def is_busy(error: BaseException) -> bool:
    """Whether SQLite found the database locked by somebody else, and did nothing."""
    return _sqlite_code(first(error)) == sqlite3.SQLITE_BUSY


def words(error: BaseException, file: Path | None) -> str:
    """One line for the caller; `file` is SQLite's database file."""
    cause = first(error)
    code = _sqlite_code(cause)
    line = _first_line(cause)
    if code in _MAYBE_FULL and file is not None and _is_full(file):
        return f"{FULL} ({line})"
    known = _SQLITE_WORDS.get(code) or _POSTGRESQL_WORDS.get(getattr(cause, "pgcode", None) or "")
    return f"{known} ({line})" if known else f"the database does not answer: {line}"


def unreachable(error: BaseException, file: Path | None) -> str:
    """Like `words`, for a connection that could not be opened."""
    text = words(error, file)
    return text.replace("the database does not answer", "the database cannot be reached", 1)


def _sqlite_code(error: BaseException) -> int:
    """The primary result code (sqlite.org/rescode.html); 0 if the error is not SQLite's."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _is_full(file: Path) -> bool:
    try:
        disk = os.statvfs(file.parent)
    except OSError:
        return False
    return not disk.f_bavail or (disk.f_files > 0 and not disk.f_favail)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
