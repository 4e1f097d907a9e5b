"""A migrated database with one user, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from jobd.store.db.database import Database
from jobd.store.people import accounts
from jobd.store.people.accounts import Caller


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def caller(database: Database) -> Caller:
    return accounts.caller_of(database.write_sync(accounts.create_user, "chennanfei"))
