"""The values of `secret_vars`: sealed before they get into any statement, and opened only to start a run. And the
secrets of webhooks, opened for a delivery.

A job's values are rows of their own. An exec that has a container keeps, until its log is stored, the values that the
container was started with: those are hidden in its log, whatever has become of the job's since.
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import fn
from pydantic import SecretStr

from jobd.errors import ConfigError, DeliveryFailed, ExecutorError, InvalidArgs, ServiceUnavailable, StartFailed
from jobd.keyring import Key, KeyMissing, Keyring, NotOpened
from jobd.output.masking import MASK, Mask
from jobd.statuses import LIVE
from jobd.store.db import sql
from jobd.store.db.tables import Exec, Installation, Job, Secret

log = logging.getLogger(__name__)


def begin(keyring: Keyring) -> None:
    """A daemon starts. On a new database, create the key file unless it exists, and make its newest key the one that
    all daemons use.

    Raises ConfigError if the key file must not be used, or is missing while there are secrets.
    """
    installation = _installation()
    if installation.secret_key is None:
        Installation.update(secret_key=keyring.ensure_key().id).execute()
        return
    if not keyring.read():
        message = f"{keyring.path}: the key file is missing; it held the key {installation.secret_key}"
        right = "expected a copy of the file from where jobd last ran, or from another daemon of this database"
        count = Secret.select().count()
        if count:
            raise ConfigError(f"{message} for the {count} secrets in the database; {right}")
        log.warning("%s; jobs with secret_vars can be neither created nor run here; %s", message, right)
        return
    for fault in _faults(keyring, installation):
        log.error("%s", fault)


def _faults(keyring: Keyring, installation: Installation) -> list[str]:
    """What this key file cannot do; one value of each key is opened to find out."""
    faults = []
    newest = Secret.select(fn.MAX(Secret.id)).group_by(Secret.key_id)
    for row in Secret.select().where(Secret.id.in_(newest)):
        try:
            keyring.key(row.key_id).open(bytes(row.sealed), _place(installation, row))
        except (KeyMissing, NotOpened) as error:
            count = Secret.select().where(Secret.key_id == row.key_id).count()
            faults.append(f"{count} secrets cannot be opened; runs and deliveries that need one fail: {error.message}")
    if installation.secret_key not in {key.id for key in keyring.read()}:
        faults.append(f"no secret can be stored here: {keyring.path} does not have key {installation.secret_key}")
    return faults


def versions(values: Mapping[str, SecretStr], before: Mapping[str, str]) -> dict[str, str]:
    """What a job's `secret_vars` hold for these values; for a value `******`, what they held before.

    Raises InvalidArgs if they held nothing for it.
    """
    faults = unkept(values, before)
    if faults:
        raise InvalidArgs("invalid request", {"secret_vars": faults})
    return {name: before[name] if is_kept(value) else secrets.token_hex(8) for name, value in values.items()}


def is_kept(value: SecretStr) -> bool:
    """Whether the value is the mask that answers show in its place: then the stored value is meant."""
    return value.get_secret_value() == MASK


def unkept(values: Mapping[str, SecretStr], before: Mapping[str, str]) -> list[str]:
    """What is wrong with the values that are `******`."""
    missing = [name for name, value in values.items() if is_kept(value) and name not in before]
    return [f"{name}: {MASK} keeps a stored value, and there is none; expected the value itself" for name in missing]


def shared(job: Job) -> list[str]:
    """The names that are both a plain and a secret variable of the job."""
    return sorted(job.runtime_vars.keys() & job.secret_vars.keys())


def store(keyring: Keyring | None, job: Job, values: Mapping[str, SecretStr]) -> None:
    """Store these values for a job that names them in `secret_vars`, and delete those that it does not name any more.
    Call it in a transaction.

    Raises ServiceUnavailable if this daemon cannot seal, as without a keyring.
    """
    new = {name: value.get_secret_value() for name, value in values.items() if not is_kept(value)}
    stays = [name for name in values if name not in new]
    Secret.delete().where(Secret.job_id == job.id, Secret.exec_seq.is_null(), Secret.name.not_in(stays)).execute()
    _insert(keyring, [(Secret(job_id=job.id, name=name), value) for name, value in new.items()])


def keep(keyring: Keyring, row: Exec, values: Mapping[str, str]) -> None:
    """Keep the values that an exec's container was created with, in the transaction that commits its handle.

    Raises ServiceUnavailable if this daemon cannot seal.
    """
    drop(row.seq)
    kept = [(Secret(job_id=row.job_id, exec_seq=row.seq, name=name), value) for name, value in values.items()]
    _insert(keyring, kept)


def for_start(keyring: Keyring, row: Exec) -> dict[str, str]:
    """The current values of the secrets that an exec names. Raises StartFailed."""
    job = Job.get_or_none(Job.id == row.job_id, Job.deleted_at.is_null())
    if job is None:
        raise StartFailed(f"job {row.job_id} was deleted, and its secrets with it")
    names = list(row.secret_vars)
    stored = list(Secret.select().where(Secret.job_id == row.job_id, Secret.exec_seq.is_null(), Secret.name << names))
    missing = sorted({*names} - {secret.name for secret in stored})
    if missing:
        raise StartFailed(f"job {row.job_id} does not have the secret {', '.join(missing)} any more")
    installation = _installation()
    try:
        keyring.key(str(installation.secret_key))
        return _opened(keyring, installation, stored)
    except (KeyMissing, NotOpened, ConfigError) as error:
        log.error("exec %s: %s", row.id, error)
        raise StartFailed(f"the secrets of job {row.job_id} cannot be decrypted: {_words(error)}") from error


def mask_of(keyring: Keyring, row: Exec) -> Mask:
    """What to hide in the log of an exec that has secrets. Raises ExecutorError if it is unknown: then the log must not
    be read.
    """
    stored = list(Secret.select().where(Secret.exec_seq == row.seq))
    if {secret.name for secret in stored} != {*row.secret_vars}:
        raise ExecutorError("the secrets to hide in its log are gone")
    try:
        return Mask(_opened(keyring, _installation(), stored).values())
    except (KeyMissing, NotOpened, ConfigError) as error:
        log.error("exec %s: %s", row.id, error)
        raise ExecutorError(f"the secrets to hide in its log cannot be decrypted: {_words(error)}") from error


def drop(exec_seq: int) -> None:
    """Delete the values that an exec kept: it has ended, or begins anew."""
    Secret.delete().where(Secret.exec_seq == exec_seq).execute()


def drop_of_job(job_id: int) -> None:
    """Delete the values of a job that is being deleted. Its live execs keep theirs until they end."""
    Secret.delete().where(Secret.job_id == job_id, Secret.exec_seq.is_null()).execute()


def store_of_hook(keyring: Keyring | None, hook_id: int, value: str | None) -> str | None:
    """Replace the value of a webhook; returns what its row holds in place of it. Call it in a transaction.

    Raises ServiceUnavailable if this daemon cannot seal.
    """
    Secret.delete().where(Secret.hook_id == hook_id).execute()
    if value is None:
        return None
    _insert(keyring, [(Secret(job_id=0, hook_id=hook_id, name="secret"), value)])
    return secrets.token_hex(8)


def of_hook(keyring: Keyring, hook_id: int) -> str:
    """The secret of a webhook. Raises DeliveryFailed: nothing may be sent unsigned because a key is missing."""
    row = sql.find(Secret, "hook_id = ?", hook_id)
    if row is None:
        raise DeliveryFailed("the hook's secret is gone; set it again")
    try:
        return keyring.key(row.key_id).open(bytes(row.sealed), _place(_installation(), row))
    except (KeyMissing, NotOpened, ConfigError) as error:
        log.error("hook %d: %s", hook_id, error)
        raise DeliveryFailed(f"the hook's secret cannot be decrypted: {_words(error)}") from error


def drop_of_hooks(hook_ids: Any) -> None:
    """Delete the secrets of webhooks that are being deleted; `hook_ids` is a list, or a query for their ids."""
    Secret.delete().where(Secret.hook_id.in_(hook_ids)).execute()


def drop_left() -> None:
    """Delete the values of execs that did not end through their daemon."""
    live = Exec.select(Exec.seq).where(Exec.seq == Secret.exec_seq, Exec.status.in_(LIVE))
    Secret.delete().where(Secret.exec_seq.is_null(False), ~fn.EXISTS(live)).execute()


@dataclass(frozen=True)
class Standing:
    """`current` is the id of the key for new values; `sealed` how many values each key has sealed."""

    current: str | None
    sealed: Mapping[str, int]


def standing() -> Standing:
    counted: Any = Secret.select(Secret.key_id, fn.COUNT(Secret.id)).group_by(Secret.key_id).tuples()
    return Standing(_installation().secret_key, dict(counted))


def use(key: Key) -> None:
    """Have every daemon seal with this key from now on. Waits for the transactions that are sealing
    with another one.
    """
    Installation.update(secret_key=key.id).execute()


def reseal(keyring: Keyring, key: Key, at_most: int, drop_unreadable: bool = False) -> int:
    """Seal up to `at_most` values, which another key has sealed, with this key; returns how many.

    Raises ConfigError for one that cannot be opened, unless those are to be dropped.
    """
    query = Secret.select().where(Secret.key_id != key.id).order_by(Secret.id).limit(at_most)
    if Secret._meta.database.for_update:
        query = query.for_update()
    installation, rows = _installation(), list(query)
    for row in rows:
        place = _place(installation, row)
        try:
            row.sealed = key.seal(keyring.key(row.key_id).open(bytes(row.sealed), place), place)
        except (KeyMissing, NotOpened) as error:
            if not drop_unreadable:
                owner = f"job {row.job_id}" if row.hook_id is None else f"hook {row.hook_id}"
                raise ConfigError(f"the secret {row.name} of {owner} does not open: {error.message}") from error
            row.delete_instance()
            continue
        row.key_id = key.id
        row.save()
    return len(rows)


def _insert(keyring: Keyring | None, values: Sequence[tuple[Secret, str]]) -> None:
    """Seal each value and insert it with its row."""
    if not values:
        return
    # Locked until the commit: whoever changes the key waits, and then finds what was sealed with the old one.
    installation = _installation(lock=True)
    try:
        if keyring is None:
            raise KeyMissing("there is no keyring")
        key = keyring.key(str(installation.secret_key))
    except (KeyMissing, ConfigError) as error:
        log.error("a secret cannot be stored: %s", error)
        raise ServiceUnavailable(f"secrets cannot be stored now: {_words(error)}") from error
    for row, value in values:
        row.key_id, row.sealed = key.id, key.seal(value, _place(installation, row))
        sql.insert(row)


def _opened(keyring: Keyring, installation: Installation, stored: list[Secret]) -> dict[str, str]:
    return {row.name: keyring.key(row.key_id).open(bytes(row.sealed), _place(installation, row)) for row in stored}


def _place(installation: Installation, row: Secret) -> str:
    """Where a value belongs: in another job, under another name, in another webhook or database it cannot be opened."""
    if row.hook_id is not None:
        return f"jobd secret/{installation.id}/hook/{row.hook_id}"
    return f"jobd secret/{installation.id}/{row.job_id}/{row.name}"


def _installation(lock: bool = False) -> Installation:
    locking = " FOR SHARE" if lock and Installation._meta.database.for_update else ""
    installation = sql.find(Installation, f"1 = 1{locking}")
    assert installation is not None  # noqa: S101 - made with the schema
    return installation


def _words(error: Exception) -> str:
    """The error for users; where the key file is, only the log says."""
    if isinstance(error, NotOpened):
        return f"{error.message}; set them again"
    return "this daemon does not have the key; its log says more"
