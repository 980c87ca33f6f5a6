"""The tables: made once however many try, as the code says; and what is said when they or the server are away."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.engine import make_url

from app import create_app
from config.settings import Settings
from sandbox import Sandbox
from services.orders.columns import UtcTime
from services.orders.database import Database
from services.orders.schema import events, metadata
from services.orders.tables import init_db, init_sql
from tests.not_run import PREFIX
from tests.orders.house import OPERATOR, House
from tests.support import MINI_PROGRAM, ROOT, in_process

TABLES = {"pay_orders", "pay_refunds", "pay_transfers", "pay_notifications", "pay_events", "pay_incidents"}


@pytest.fixture
def empty_url(database_kind: str, servers, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A database without any table."""
    if database_kind == "sqlite":
        return f"sqlite:///{tmp_path / 'orders.sqlite3'}"
    name = re.sub(r"\W", "", request.node.name)[:40].lower() + str(id(request))
    return servers[database_kind].create(name)


@pytest.fixture
def empty(empty_url: str):
    database = Database(empty_url, patience=30)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


def test_any_number_may_make_the_tables_at_once(empty_url: str, empty: Database):
    several = [Database(empty_url, patience=30) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(init_db, several))
    init_db(empty)
    assert tables(empty) == TABLES | {"pay_revision"}
    for database in several:
        database.close()


HELD = {  # as somebody else's init-db, or a busy writer, would
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_lock(7220260411)",
    "mysql": "SELECT GET_LOCK('pay_common_orders', 1)",
}


def test_whoever_comes_second_waits_longer_than_an_order_would(empty_url: str):
    function, other = Database(empty_url), Database(empty_url)
    with other.reading() as connection:
        connection.exec_driver_sql(HELD[other.kind])
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(init_db, function)
            with pytest.raises(futures.TimeoutError):
                making.result(timeout=4)
            connection.invalidate()  # which gives the lock back
            making.result()
    assert tables(function) == TABLES | {"pay_revision"}
    function.close()
    other.close()


def test_the_migrations_lead_to_what_the_code_says(empty: Database):
    init_db(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "pay_revision"})
        assert compare_metadata(context, metadata) == []


CLIENTS = {
    "sqlite": (sys.executable, "-c", "import sqlite3, sys; sqlite3.connect('{name}').executescript(sys.stdin.read())"),
    "postgresql": ("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-h", "{host}", "-p", "{port}", "-U", "{user}", "{name}"),
    "mysql": ("mariadb", "--no-defaults", "-h", "{host}", "-P", "{port}", "-u", "{user}", "{name}"),
}


def client(url: str) -> list[str]:
    """How the owner of that database gives it a script."""
    parsed = make_url(url)
    address = {"host": parsed.host, "port": parsed.port, "user": parsed.username, "name": parsed.database}
    words = [word.format(**address) for word in CLIENTS[parsed.get_backend_name()]]
    if not shutil.which(words[0]):
        pytest.skip(f"{PREFIX}{words[0]} is not installed")
    return words


def test_the_sql_makes_the_same_tables(empty_url: str, empty: Database):
    script = init_sql(empty.kind).encode()
    run = subprocess.run(client(empty_url), input=script, capture_output=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
    assert tables(empty) == TABLES | {"pay_revision"}
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "pay_revision"})
        assert compare_metadata(context, metadata) == []
    init_db(empty)  # which finds nothing to do


def test_a_time_comes_back_as_it_went_in(database: Database):
    stamp = datetime(2026, 11, 26, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=8)))
    row = {"id": "evt_1", "type": "x", "number": "1", "payload": "茶🍵", "state": "DONE", "attempts": 0}
    with database.engine.begin() as connection:
        connection.execute(insert(events).values(**row, next_at=stamp, created_at=stamp))
        found = connection.execute(select(events).where(events.c.next_at == stamp)).mappings().one()
    assert found["created_at"] == datetime(2026, 11, 25, 19, 4, 5, 678000, tzinfo=timezone.utc)
    assert found["payload"] == "茶🍵"
    assert isinstance(events.c.created_at.type, UtcTime)


def test_without_tables_everybody_hears_how_to_make_them(box: Sandbox, empty_url: str, empty: Database):
    with House.in_process(box, empty_url, None) as house:
        order = {"description": "tea", "out_trade_no": "ORDER0001", "amount": {"total": 1}}
        assert house.function.call("wxpay_order", order, MINI_PROGRAM).status == 503
        assert box.requests == []
        reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
        assert reply.status == 503
        assert "orders init-db" in reply.body["msg"]
        assert house.function.call("wxpay_orders_init", {}, OPERATOR).status == 200
        assert house.function.call("wxpay_order", order, MINI_PROGRAM).status == 200


@pytest.mark.parametrize("url", ["postgresql://shop:Tr0ub4dor@127.0.0.1:1/orders", "mysql://shop:Tr0ub4dor@127.0.0.1:1/o"])
def test_a_server_that_is_away_is_a_503_without_its_password(box: Sandbox, url: str):
    with in_process(box.env(orderDatabaseUrl=url, operatorKey=OPERATOR["X-Operator-Key"])) as function:
        order = {"description": "tea", "out_trade_no": "ORDER0001", "amount": {"total": 1}}
        assert function.call("wxpay_order", order, MINI_PROGRAM).status == 503
        reply = function.call("wxpay_reconcile", {}, OPERATOR)
    assert (reply.status, box.requests) == (503, [])
    assert "Tr0ub4dor" not in reply.text


# How create_app takes it

MODULE = '''
from services.order_service import OrderService
from services.orders.service import SqlOrderService
class Plain(OrderService):
    pass
class Sql(SqlOrderService):
    pass
def price(params, caller):
    return 1
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"merchant_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def problems(**env: str) -> dict[str, str]:
    application = create_app(Settings.from_env(env))
    parts = application.extensions["pay"]
    lacking = parts.lacking(("orderService", "orderDatabaseUrl", "priceList", "eventWebhookUrl"))
    return {lack.partition(" ")[0]: lack for lack in lacking}


def test_an_order_service_that_cannot_use_the_database_is_a_problem(module: str, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    found = problems(orderDatabaseUrl=url, orderService=f"{module}:Plain")
    assert "SqlOrderService" in found["orderDatabaseUrl"]
    assert problems(orderDatabaseUrl=url, orderService=f"{module}:Sql", priceList=f"{module}:price") == {}
    assert list(problems(orderService=f"{module}:Sql")) == ["orderDatabaseUrl"]
    assert list(problems(priceList=f"{module}:price")) == ["orderDatabaseUrl"]
    assert list(problems(orderDatabaseUrl=url, priceList=f"{module}:nothing")) == ["priceList"]
    assert list(problems(orderDatabaseUrl=url, priceList="no_such_module:price")) == ["priceList"]


def test_without_its_packages_the_database_is_a_problem_and_the_function_starts(tmp_path: Path):
    script = """
import sys
sys.modules["sqlalchemy"] = None
from app import create_app
from config.settings import Settings
app = create_app(Settings.from_env({"orderDatabaseUrl": "sqlite:///x.sqlite3"}))
print("LACKING", app.extensions["pay"].lacking(("orderDatabaseUrl",)))
"""
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "LACKING ['orderDatabaseUrl (needs the packages of" in run.stdout
    assert "requirements-orders.txt" in run.stdout


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_options_of_the_url_are_kept_beside_the_limits(database_url: str):
    database = Database(f"{database_url}?options=-csearch_path%3Dshop")
    with database.reading() as connection:
        shown = [connection.execute(text(f"SHOW {name}")).scalar() for name in ("search_path", "statement_timeout")]
    assert shown == ["shop", "2500ms"]
    database.close()


def test_a_server_that_vanished_without_a_word_is_given_up_soon(database: Database):
    """What is sent and not confirmed by the other machine: the kernel would try for a quarter of an hour."""
    with database.engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        if database.kind == "postgresql":
            with socket.socket(fileno=os.dup(driver.fileno())) as used:
                assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2500
        elif database.kind == "mysql":
            assert 2.5 <= driver._sock.gettimeout() <= 5
        else:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 2500
