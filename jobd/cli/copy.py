"""`jobd database copy`: copies all records of the configuration's database into another one."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import psycopg2

from jobd import config, data_dir, plugins
from jobd.cli.database import opened
from jobd.cli.failure import Failure
from jobd.cli.options import configured
from jobd.cli.output import say
from jobd.config.settings import Database as DatabaseSettings
from jobd.config.settings import Settings
from jobd.engine.leases import FileLock
from jobd.store import daemons
from jobd.store.db import copying
from jobd.store.db.copy_ends import End, Postgresql, Sqlite
from jobd.store.db.database import MIGRATION_LOCK, Database

PROGRESS_EVERY = 2.0
"""Seconds between two progress lines."""


@click.group()
def database() -> None:
    """Manage the database as a whole."""


def _settings_of(context: click.Context, option: click.Parameter, value: str) -> DatabaseSettings:
    try:
        return DatabaseSettings.model_validate({"url": value}, context={"base": Path.cwd()})
    except ValueError:
        raise click.BadParameter("expected sqlite:///PATH or postgresql://USER@HOST/DATABASE") from None


@database.command()
@click.option(
    "--to",
    "target",
    required=True,
    metavar="URL",
    callback=_settings_of,
    help="An empty database, or an unfinished copy.",
)
@configured
def copy(config_path: Path, target: DatabaseSettings) -> None:
    """Copy all records into an empty database, SQLite or PostgreSQL, with their ids.

    No daemon may run meanwhile. If interrupted, run it again: it continues where it stopped.
    """
    settings = config.load(config_path, plugins.executor_kinds(plugins.build()))
    if target.url == settings.database.url:
        raise Failure("source and target are the same database")
    began = time.monotonic()
    with data_dir.private_files(), ExitStack() as stack:
        _keep_daemons_out(stack, settings, config_path)
        source = stack.enter_context(_end(settings.database))
        copying.check_source(source)
        if target.sqlite_path is not None:
            target.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(FileLock(_lock_path(target.sqlite_path)).release)
        there = stack.enter_context(_end(target))
        if target.sqlite_path is None:
            _lock(stack, target.url)
        goes_on = copying.begin(source, there)
        _migrate(target.url)
        if goes_on:
            say("continuing an interrupted copy")
        counts = copying.copy(source, there, _Progress())
    rows, took = sum(counts.values()), time.monotonic() - began
    say(f"{rows:,} rows of {len(counts)} tables were copied and compared in {took:.0f} s")
    say(f"next: set `[database] url` to {target.url_without_password}, and do not start jobd on the old one again")


@contextmanager
def _end(settings: DatabaseSettings) -> Iterator[End]:
    try:
        end: End = Sqlite(settings.sqlite_path) if settings.sqlite_path is not None else Postgresql(settings.url)
    except psycopg2.Error as error:
        raise Failure(f"the database cannot be reached: {str(error).strip().splitlines()[0]}") from error
    try:
        yield end
    finally:
        end.close()


def _keep_daemons_out(stack: ExitStack, settings: Settings, config_path: Path) -> None:
    """Keep daemons from using the source during the copy. Raises ConfigError, and Failure if one is running."""
    with opened(config_path) as database:
        file = settings.database.sqlite_path
        if file is not None:
            stack.callback(FileLock(_lock_path(file)).release)
            return
        _lock(stack, settings.database.url)
        alive = database.read_sync(daemons.alive, settings.scheduler.lease)
    if alive:
        raise Failure(
            f"{len(alive)} daemons are running on this database ({', '.join(alive)}); stop them. A killed daemon is "
            f"counted for {settings.scheduler.lease:.0f} s"
        )


def _lock(stack: ExitStack, url: str) -> None:
    """Take the lock that a starting daemon takes on PostgreSQL. Raises Failure if somebody else has it."""
    connection = psycopg2.connect(url, connect_timeout=5)
    stack.callback(connection.close)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (MIGRATION_LOCK,))
        if not cursor.fetchone()[0]:
            raise Failure(
                "one of the databases is in use by a starting daemon, a migration or another copy; wait for its end"
            )


def _lock_path(file: Path) -> Path:
    return file.with_name(f"{file.name}.lock")


def _migrate(url: str) -> None:
    database = Database(url, connections=1)
    try:
        database.migrate_copy()
    finally:
        database.close()


class _Progress:
    """Prints a line every PROGRESS_EVERY seconds and at the end of each table."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def __call__(self, table: str, done: int, total: int) -> None:
        at = time.monotonic()
        if total and (done == total or at - self._shown_at > PROGRESS_EVERY):
            self._shown_at = at
            say(f"{table}: {done:,} of {total:,}")
