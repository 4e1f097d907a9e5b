"""What all tables share: how an instant is stored, how high an id may be, and the base of their models."""

from datetime import UTC, datetime, timedelta
from typing import Any

from peewee import BigIntegerField, Model

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ID = 2**63 - 1
"""The highest id of a row: what a BIGINT holds."""


class InstantField(BigIntegerField):
    """An aware datetime, stored as microseconds since the Unix epoch: exact, and the same on every database."""

    def db_value(self, value: Any) -> Any:
        return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value

    def python_value(self, value: Any) -> Any:
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Table(Model):
    class Meta:
        legacy_table_names = False
