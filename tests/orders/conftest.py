"""The order database on SQLite, PostgreSQL and MariaDB: every test that uses it runs three times."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox import Sandbox
from services.orders.database import Database
from services.orders.schema import metadata
from services.orders.store import Store
from services.orders.tables import init_db
from tests.not_run import PREFIX
from tests.orders.house import House
from tests.orders.servers import KINDS, Missing, Server

_names = (f"orders{number}" for number in itertools.count())


class Servers:
    """Each kind is started when the first test asks for it, and ended after the last."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._cleanup = ExitStack()

    def __getitem__(self, kind: str) -> Server:
        if kind not in self._servers:
            folder = Path(tempfile.mkdtemp(prefix=f"orders-{kind}-"))
            self._cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            try:
                server = KINDS[kind](folder)
            except Missing as missing:
                pytest.skip(f"{PREFIX}{missing}")
            self._servers[kind] = server
            self._cleanup.callback(server.stop)
        return self._servers[kind]

    def close(self) -> None:
        self._cleanup.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    found = Servers()
    yield found
    found.close()


# ORDER_DATABASES="sqlite" leaves the others out, where they were tested a moment before under another Python.
DATABASES = os.environ.get("ORDER_DATABASES", "sqlite postgresql mysql").split()


@pytest.fixture(scope="session", params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def made_database(database_kind: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database a kind, with its tables."""
    if database_kind == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('orders') / 'orders.sqlite3'}"
    else:
        url = servers[database_kind].create(next(_names))
    database = Database(url)
    init_db(database)
    yield database
    database.close()


@pytest.fixture
def database(made_database: Database) -> Database:
    """The same, empty."""
    with made_database.engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    return made_database


@pytest.fixture
def database_url(database: Database) -> str:
    """As a merchant would set it in orderDatabaseUrl."""
    return database.engine.url.set(drivername=database.kind).render_as_string(hide_password=False)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture(scope="session")
def wechat_pay_for_orders() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def box(wechat_pay_for_orders: Sandbox) -> Sandbox:
    """WeChat Pay, with nothing on its books."""
    wechat_pay_for_orders.reset()
    return wechat_pay_for_orders


@pytest.fixture
def house(box: Sandbox, database_url: str, store: Store) -> Iterator[House]:
    """The function with its order database, in this process, and WeChat Pay beside it."""
    with House.in_process(box, database_url, store) as running:
        yield running
