"""The secrets of execs, as the engine needs them: to start a run, and to hide them in its output."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobd.keyring import Keyring
from jobd.output.masking import Mask
from jobd.store import secrets
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec


@dataclass(frozen=True)
class SecretValues:
    """What a run is started with; `mask` is None where there is nothing to hide."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    mask: Mask | None = None


class Secrets:
    """Reads the secrets of execs; for an exec without secrets this costs nothing."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def for_start(self, row: Exec) -> SecretValues:
        """The secrets to start a run with. Raises StartFailed, ServiceUnavailable."""
        return await self._database.read(self._for_start, row) if row.secret_vars else SecretValues()

    async def mask(self, row: Exec) -> Mask | None:
        """What to hide in the output of an exec that was started; None if it has no secrets. Raises ExecutorError if
        that is unknown, in which case its output must not be read, and ServiceUnavailable.
        """
        return await self._database.read(secrets.mask_of, self._keyring, row) if row.secret_vars else None

    def _for_start(self, row: Exec) -> SecretValues:
        values = secrets.for_start(self._keyring, row)
        return SecretValues(values, Mask(values.values()))
