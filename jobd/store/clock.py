"""The database's clock: due times, leases and time-outs of all daemons go by it."""

from datetime import UTC, datetime, timedelta

from peewee import SqliteDatabase

from jobd.store.tables import EPOCH, Installation


def now() -> datetime:
    """The time of the database's host, to the microsecond. SQLite has no host of its own: this machine's."""
    database = Installation._meta.database
    if isinstance(database, SqliteDatabase):
        return datetime.now(UTC)
    cursor = database.execute_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    return EPOCH + timedelta(microseconds=cursor.fetchone()[0])
