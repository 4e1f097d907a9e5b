"""`jobd migrate`, `jobd user` and `jobd token`: they use the configuration's database directly, without a daemon or
beside one.
"""

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from jobd import config, data_dir, plugins
from jobd.cli.failure import Failure
from jobd.cli.options import configured, prints
from jobd.cli.output import Columns, print_items, say
from jobd.config.settings import MAX_DURATION, parse_duration
from jobd.store.callers import Caller
from jobd.store.db.database import Database
from jobd.store.people import accounts, tokens, users
from jobd.store.people.tokens import Owned

COLUMNS: Columns = {
    "USER": "username",
    "ADMIN": "is_admin",
    "ENABLED": "is_active",
    "CREATED": "created_at",
}
TOKEN_COLUMNS: Columns = {
    "ID": "id",
    "USER": "username",
    "NAME": "name",
    "NAMESPACE": "namespace",
    "ACCESS": "access",
    "MADE BY": "made_by",
    "CREATED": "created_at",
    "EXPIRES": "expires_at",
    "LAST USED": "last_used_at",
}


@contextmanager
def opened(config_path: Path, migrated: bool = True) -> Iterator[Database]:
    """The configuration's database, which has to exist and to have this version's schema unless `migrated` is False.

    Raises ConfigError, Failure.
    """
    settings = config.load(config_path, plugins.executor_kinds(plugins.build()))
    path = settings.database.sqlite_path
    if migrated and path is not None and not path.exists():
        raise Failure(f"there is no database at {path} yet; `jobd migrate` or the first `jobd serve` creates it")
    data_dir.refuse_emptied(settings)
    with data_dir.private_files():
        database = Database(settings.database.url, connections=1)
        try:
            if migrated and database.pending():
                raise Failure("the database's schema is older than this jobd; run `jobd migrate`")
            yield database
        finally:
            database.close()


@click.command()
@configured
def migrate(config_path: Path) -> None:
    """Bring the database's schema up to date; creates the database file if there is none."""
    with opened(config_path, migrated=False) as database:
        applied = database.migrate()
    for name in applied:
        say(f"applied {name}")
    say("the schema is up to date")


@click.group()
def user() -> None:
    """Manage the users of this installation."""


@user.command()
@click.argument("username")
@click.option("--admin", is_flag=True, help="May use all namespaces.")
@click.option("--no-password", is_flag=True, help="The user can only use tokens.")
@configured
def add(config_path: Path, username: str, admin: bool, no_password: bool) -> None:
    """Add a user and the namespace of the same name.

    On a terminal it prompts for the password twice; else the password is the first line of stdin.
    """
    with opened(config_path) as database:
        password = None if no_password else _password()
        database.write_sync(accounts.create_user, username, password, admin, operator())
    say(f"user {username} added")


@user.command("list")
@prints
@configured
def list_(config_path: Path, output: str) -> None:
    """List the users by name."""
    with opened(config_path) as database:
        rows = [_shown(row) for row in database.read_sync(accounts.users)]
    print_items(rows, output, COLUMNS, "username")


@user.command()
@click.argument("username")
@configured
def passwd(config_path: Path, username: str) -> None:
    """Set a user's password, read as for `user add`. The user's tokens stay valid."""
    with opened(config_path) as database:
        database.write_sync(accounts.set_password, username, _password(), operator())
    say(f"password of {username} set")


@user.command()
@click.argument("username")
@configured
def disable(config_path: Path, username: str) -> None:
    """Refuse a user's password and tokens from now on. The user's schedules stay active."""
    with opened(config_path) as database:
        database.write_sync(users.update, operator(), username, {"is_active": False})
    say(f"user {username} disabled")


@user.command()
@click.argument("username")
@configured
def enable(config_path: Path, username: str) -> None:
    """Accept a disabled user's password and tokens again."""
    with opened(config_path) as database:
        database.write_sync(users.update, operator(), username, {"is_active": True})
    say(f"user {username} enabled")


@user.command()
@click.argument("username")
@configured
def delete(config_path: Path, username: str) -> None:
    """Delete a user who has no jobs, with the user's tokens and memberships."""
    with opened(config_path) as database:
        database.write_sync(users.delete, operator(), username)
    say(f"user {username} deleted")


@click.group()
def token() -> None:
    """Manage the tokens for the API."""


def _seconds(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    try:
        seconds: float | None = None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if seconds is not None and not 0 < seconds <= MAX_DURATION:
        raise click.BadParameter("must be more than 0, and at most a century")
    return seconds


@token.command("create")
@click.argument("username")
@click.option("--name", default="cli", show_default=True, help="What it is for.")
@click.option("--namespace", help="The only namespace that it gives access to; else all namespaces of its user.")
@click.option("--read-only", is_flag=True, help="It cannot change anything.")
@click.option(
    "--expires-in", callback=_seconds, metavar="DURATION", help="How long it is valid, as in 90d; else for ever."
)
@configured
def create_token(
    config_path: Path, username: str, name: str, namespace: str | None, read_only: bool, expires_in: float | None
) -> None:
    """Create a token for a user and print it. It cannot be shown again: only its digest is stored."""
    until = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    access = "read" if read_only else "write"
    with opened(config_path) as database:
        _, text = database.write_sync(accounts.issue_token, username, name, namespace, access, until, operator())
    click.echo(text)


@token.command("list")
@click.argument("username", required=False)
@prints
@configured
def list_tokens(config_path: Path, username: str | None, output: str) -> None:
    """List the tokens of a user, or all, oldest first."""
    with opened(config_path) as database:
        rows = [_shown_token(owned) for owned in database.read_sync(tokens.of, username)]
    print_items(rows, output, TOKEN_COLUMNS, "id")


@token.command()
@click.argument("token_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@configured
def revoke(config_path: Path, token_id: int) -> None:
    """Revoke a token, by its id in `token list`, and all tokens that were created with it."""
    with opened(config_path) as database:
        database.write_sync(tokens.revoke, operator(), token_id)
    say(f"token {token_id} revoked")


def operator() -> Caller:
    """The caller for the audit log: the user of the operating system who runs the command."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = str(os.getuid())
    return Caller(f"cli:{name}", None)


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


def _shown_token(owned: Owned) -> dict[str, Any]:
    row = owned.token
    instants = {name: getattr(row, name) for name in ("created_at", "expires_at", "last_used_at")}
    return {
        "id": row.id,
        "username": owned.username,
        "name": row.name,
        "namespace": row.namespace,
        "access": row.access,
        "made_by": row.made_by,
        **{name: at and at.isoformat(timespec="microseconds") for name, at in instants.items()},
    }
