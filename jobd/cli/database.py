"""`jobd migrate`, `jobd user` and `jobd token`: on the configuration's database itself, beside a daemon or without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from jobd import config, plugins
from jobd.cli.failure import Failure
from jobd.cli.options import configured, prints
from jobd.cli.output import Columns, print_items, say
from jobd.store import accounts
from jobd.store.database import Database

COLUMNS: Columns = {
    "USER": "username",
    "ADMIN": "is_admin",
    "ENABLED": "is_active",
    "CREATED": "created_at",
}


@contextmanager
def opened(config_path: Path, migrated: bool = True) -> Iterator[Database]:
    """The configuration's database; with `migrated` it must be there with its schema. Raises ConfigError, Failure."""
    said = config.load(config_path, plugins.executor_kinds(plugins.build())).database
    path = said.sqlite_path
    if migrated and path is not None and not path.exists():
        raise Failure(f"there is no database at {path} yet; right: `jobd migrate` or a first `jobd serve`")
    database = Database(said.url, connections=1)
    try:
        if migrated and database.pending():
            raise Failure("the database's schema is older than this jobd; right: `jobd migrate`")
        yield database
    finally:
        database.close()


@click.command()
@configured
def migrate(config_path: Path) -> None:
    """Bring the database's schema up to date; makes the database file if there is none."""
    with opened(config_path, migrated=False) as database:
        applied = database.migrate()
    for name in applied:
        say(f"applied {name}")
    say("the schema is up to date")


@click.group()
def user() -> None:
    """The users of this installation."""


@user.command()
@click.argument("username")
@click.option("--admin", is_flag=True, help="May use every namespace.")
@click.option("--no-password", is_flag=True, help="Signs in with tokens alone.")
@configured
def add(config_path: Path, username: str, admin: bool, no_password: bool) -> None:
    """Add a user and the namespace of the same name.

    The password is asked for twice on a terminal, else read from the first line of stdin.
    """
    with opened(config_path) as database:
        password = None if no_password else _password()
        database.write_sync(accounts.create_user, username, password, admin)
    say(f"user {username} added")


@user.command("list")
@prints
@configured
def list_(config_path: Path, output: str) -> None:
    """List the users by name."""
    with opened(config_path) as database:
        users = [_shown(row) for row in database.read_sync(accounts.users)]
    print_items(users, output, COLUMNS, "username")


@user.command()
@click.argument("username")
@configured
def passwd(config_path: Path, username: str) -> None:
    """Set a user's password, read as for `user add`. The user's tokens stay valid."""
    with opened(config_path) as database:
        database.write_sync(accounts.set_password, username, _password())
    say(f"password of {username} set")


@user.command()
@click.argument("username")
@configured
def disable(config_path: Path, username: str) -> None:
    """Refuse a user's password and tokens from now on. What the user scheduled goes on."""
    with opened(config_path) as database:
        database.write_sync(accounts.set_active, username, False)
    say(f"user {username} disabled")


@user.command()
@click.argument("username")
@configured
def enable(config_path: Path, username: str) -> None:
    """Accept a disabled user's password and tokens again."""
    with opened(config_path) as database:
        database.write_sync(accounts.set_active, username, True)
    say(f"user {username} enabled")


@click.group()
def token() -> None:
    """The tokens that the API asks for."""


@token.command("create")
@click.argument("username")
@click.option("--name", default="cli", show_default=True, help="What it is for, to tell it from others.")
@configured
def create_token(config_path: Path, username: str, name: str) -> None:
    """Make a token of a user and print it, this once: only its digest is kept."""
    with opened(config_path) as database:
        click.echo(database.write_sync(accounts.create_token, username, name))


def _password() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("no password on the first line of stdin")
    return line


def _shown(user: Any) -> dict[str, Any]:
    return {
        "username": user.username,
        "is_admin": user.is_admin,
        "is_active": user.is_active,
        "created_at": user.created_at.isoformat(timespec="microseconds"),
    }
