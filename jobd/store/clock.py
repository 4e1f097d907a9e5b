"""The database's clock: due times, leases and time-outs of all daemons go by it."""

from datetime import UTC, datetime, timedelta

from peewee import SqliteDatabase

from jobd.store.tables import EPOCH, Installation

POSTGRESQL = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""The instant at which PostgreSQL looks, as it is kept."""
STATEMENT = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
"""The instant at which the statement came to PostgreSQL, the same in all of it: an index can be asked for it."""


def now() -> datetime:
    """The time of the database's host, to the microsecond. SQLite has no host of its own: this machine's."""
    database = Installation._meta.database
    if isinstance(database, SqliteDatabase):
        return datetime.now(UTC)
    cursor = database.execute_sql(f"SELECT {POSTGRESQL}")
    return EPOCH + timedelta(microseconds=cursor.fetchone()[0])
