"""`jobd secret`: changes the key that encrypts `secret_vars`, in the configuration's database and key file."""

from pathlib import Path

import click

from jobd import config, data_dir, plugins
from jobd.cli.database import opened
from jobd.cli.failure import Failure
from jobd.cli.options import configured
from jobd.cli.output import say
from jobd.engine.leases import FileLock
from jobd.keyring import Key, Keyring
from jobd.store import daemons, secrets
from jobd.store.db.database import Database
from jobd.store.secrets import Standing

AT_ONCE = 100
"""Values that are encrypted in one transaction."""


@click.group()
def secret() -> None:
    """Manage the encryption of jobs' secret variables."""


@secret.command("rotate-key")
@click.option("--prepare", is_flag=True, help="Only add a new key to the file, to be copied to all daemons first.")
@click.option("--drop-unreadable", is_flag=True, help="Delete the values that no key in the file can decrypt.")
@configured
def rotate_key(config_path: Path, prepare: bool, drop_unreadable: bool) -> None:
    """Encrypt all secrets with a new key. Daemons may be running meanwhile.

    If interrupted, run it again: the old key stays in the file until nothing needs it any more.
    """
    settings = config.load(config_path, plugins.executor_kinds(plugins.build()))
    keyring = Keyring(settings.jobd.key_file)
    with data_dir.private_files():
        lock = FileLock(keyring.path.with_name(f"{keyring.path.name}.lock"))
    try:
        with opened(config_path) as database:
            standing = database.read_sync(secrets.standing)
            _require_readable(keyring, standing, drop_unreadable)
            shared = len(database.read_sync(daemons.alive, settings.scheduler.lease)) > 1
            key, is_new = _next(keyring, standing)
            if prepare:
                if key.id == standing.current:
                    raise Failure("the last rotation is not finished; run this without --prepare first")
                say(f"key {key.id} is ready; copy {keyring.path} to all daemons, then run this without --prepare")
                return
            if is_new and shared and standing.sealed:
                raise Failure(
                    "several daemons share this database, and need the new key before it is used; "
                    f"copy {keyring.path} to all of them, then run this again"
                )
            _rotate(database, keyring, key, drop_unreadable)
    finally:
        lock.release()


def _require_readable(keyring: Keyring, standing: Standing, drop_unreadable: bool) -> None:
    known = {key.id for key in keyring.read()}
    lost = {id: count for id, count in standing.sealed.items() if id not in known}
    if lost and not drop_unreadable:
        counts = ", ".join(f"{count} with key {id}" for id, count in lost.items())
        raise Failure(
            f"{keyring.path} cannot decrypt all secrets: {counts}; restore the right file, or use --drop-unreadable, "
            "which deletes those values"
        )


def _next(keyring: Keyring, standing: Standing) -> tuple[Key, bool]:
    """The key to use from now on, and whether it is new. A rotation that was prepared or interrupted is continued."""
    if not keyring.exists:
        return keyring.ensure_key(), True
    keys = keyring.read()
    newest = keys[-1]
    is_unfinished = len(keys) > 1 or newest.id != standing.current or standing.sealed.keys() - {newest.id}
    if is_unfinished:
        return newest, False
    new = Key.new()
    keyring.replace([*keys, new])
    return new, True


def _rotate(database: Database, keyring: Keyring, key: Key, drop_unreadable: bool) -> None:
    database.write_sync(secrets.use, key)
    count = 0
    while done := database.write_sync(secrets.reseal, keyring, key, AT_ONCE, drop_unreadable):
        count += done
    old = [other for other in keyring.read() if other.id != key.id]
    if old:
        keyring.replace([key])
    say(f"{count} secrets were encrypted again; all now use key {key.id}, the only one in {keyring.path}")
