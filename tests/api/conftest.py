"""The API over a migrated database with the user `chennanfei`, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from jobd.config.settings import Jobd
from jobd.keyring import Keyring
from jobd.store import secrets
from jobd.store.db.database import Database
from jobd.store.people import accounts
from tests.api.log_clients import Place
from tests.api.server import Api, settings_for
from tests.engine.conftest import Bench

USER = "chennanfei"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def make_api(io_loop: IOLoop, database: Database, database_url: str) -> Iterator[Callable[..., Api]]:
    opened: list[Api] = []

    def make(token: str | None = None, plugins: Any = None, **sections: Any) -> Api:
        opened.append(Api(database, settings_for(database_url, **sections), token, plugins))
        return opened[-1]

    yield make
    for api in opened:
        io_loop.run_sync(api.close)


@pytest.fixture
def api(make_api: Callable[..., Api], database: Database) -> Api:
    database.write_sync(accounts.create_user, USER)
    return make_api(database.write_sync(accounts.create_token, USER, "test"))


@pytest.fixture
def api_with_keys(make_api: Callable[..., Api], database: Database, tmp_path: Path) -> Api:
    """As `api`, of a daemon that can seal secrets."""
    database.write_sync(accounts.create_user, USER)
    database.write_sync(secrets.begin, Keyring(tmp_path / "secret.key"))
    return make_api(database.write_sync(accounts.create_token, USER, "test"), jobd=Jobd(data_dir=tmp_path))


@pytest.fixture
def stranger(api: Api, database: Database) -> str:
    """Another tenant's token."""
    database.write_sync(accounts.create_user, "stranger")
    return database.write_sync(accounts.create_token, "stranger", "test")


@pytest.fixture
def place(io_loop: Any, database: Database, database_url: str, tmp_path: Path) -> Iterator[Place]:
    bench = Bench(database, tmp_path)
    executor = bench.executor()

    async def start() -> Place:
        engine = await bench.engine(executor)
        token = await database.write(accounts.create_token, bench.caller.username, "test")
        api = Api(database, settings_for(database_url), token, engine=engine)
        return Place(bench, api, executor, await bench.until(await bench.trigger(engine), "R"))

    made = io_loop.run_sync(start)
    yield made
    io_loop.run_sync(made.api.close)
    for engine in bench.engines:
        io_loop.run_sync(engine.stop)
