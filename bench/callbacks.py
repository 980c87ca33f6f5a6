"""What a payment callback costs as orders pile up: `python -m bench.callbacks [--postgresql URL] [--stored 1000000]`.

Functions of one process (gunicorn, as scf_bootstrap starts it) take turns, callback by callback: one with an order
database of a thousand orders, one with a million, and as the baseline one without. The median times from a callback to
its acknowledgement, their ratios, and the query plans of a callback's statements. URL is that of any database of a
PostgreSQL server, on which two are made for the run and dropped.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sandbox import Sandbox
from sandbox.function import Function, free_port, orders_command

CALLBACKS, WARM_UP = 300, 30
FEW = 1000
# One statement a table: {n} is the series' column. Most orders are paid long since, and have an event and a callback.
FILL = {
    "pay_orders": (
        "out_trade_no, mchid, appid, owner, total, currency, state, params, unknown, attempts, transaction_id, payer,"
        " payer_total, paid_at, refunded, expires_at, next_check_at, checks, created_at, updated_at",
        "'OLD' || {n}, '1900000001', 'wx0123456789abcdef', 'o' || {n}, 100, 'CNY', 'PAID',"
        " '{text}', {false}, 1, '42000' || {n}, 'o' || {n}, 100, {then}, 0, {then}, NULL, 1,"
        " {then}, {then}",
    ),
    "pay_events": (
        "id, type, number, payload, state, attempts, next_at, created_at, done_at",
        "'evt_' || {hash}, 'order.paid', 'OLD' || {n}, '{text}', 'DONE', 1, {then}, {then}, {then}",
    ),
    "pay_notifications": (
        "key, notification_id, kind, event_type, number, evidence, plaintext, outcome, deliveries, received_at,"
        " last_at",
        "'sha256:' || {hash}, 'EV-' || {n}, 'payment', 'TRANSACTION.SUCCESS', 'OLD' || {n}, 'resource',"
        " '{text}', 'applied', 1, {then}, {then}",
    ),
}
PLANS = {
    "the order, locked": "SELECT * FROM pay_orders WHERE out_trade_no = 'OLD77'{lock}",
    "its change of state": "UPDATE pay_orders SET state = 'PAID' WHERE out_trade_no = 'OLD77' AND state IN ('PENDING')",
    "is the event there": "SELECT id FROM pay_events WHERE id = 'evt_77'",
    "is the callback there": "SELECT key FROM pay_notifications WHERE key = 'sha256:77'",
    "the new events": "SELECT id FROM pay_events WHERE id IN ('evt_77') AND state = 'PENDING' AND attempts = 0",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.callbacks", description=__doc__)
    parser.add_argument("--postgresql", help="URL of any database of a PostgreSQL server")
    parser.add_argument("--stored", type=int, default=1_000_000, help="orders stored in the larger database")
    options = parser.parse_args()
    with Sandbox() as sandbox:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{size}.sqlite3" for size in ("few", "many")]
            _compare(sandbox, [_Sqlite(file) for file in files], options.stored)
        if options.postgresql:
            with database(options.postgresql, "few") as few, database(options.postgresql, "many") as many:
                _compare(sandbox, [_PostgreSql(few), _PostgreSql(many)], options.stored)
        else:
            print("not run: PostgreSQL, for want of --postgresql")
    return 0


def _compare(sandbox: Sandbox, stores: Sequence[_Sqlite | _PostgreSql], stored: int) -> None:
    """Functions on a database with few orders, on one with many, and on none take turns, callback by callback."""
    environments: list[dict[str, Any]] = [{}]
    for store, count in zip(stores, (FEW, stored), strict=True):
        environments.append({"orderDatabaseUrl": store.url})
        orders_command(sandbox.env(**environments[-1]), "init-db")
        store.fill(count)
    bare, few, many = _medians(sandbox, environments)
    name = stores[0].name
    print(f"{name:<10} without a database  {bare * 1000:7.2f} ms")
    for count, seconds in ((FEW, few), (stored, many)):
        print(f"{name:<10} {count:>9,} stored    {seconds * 1000:7.2f} ms   {seconds / bare:5.2f} x without")
    print(f"{name:<10} ratio               {many / few:7.2f}      (at most 1.30)")
    for what, plan in stores[-1].plans():
        print(f"  {what:<22} {plan}")


def _medians(sandbox: Sandbox, environments: Sequence[dict[str, Any]]) -> list[float]:
    """For each: seconds from sending a callback to its acknowledgement, in the middle of many."""
    sandbox.reset()
    with ExitStack() as running:
        functions = []
        for env in environments:
            address = f"127.0.0.1:{free_port(0)}"
            function = running.enter_context(Function(address, sandbox.env(logLevel="warning", **env)))
            function.await_start()
            functions.append((function.url, _paid(sandbox, function.url)))
        latencies: list[list[float]] = [[] for _ in functions]
        for turn in range(WARM_UP + CALLBACKS):
            for (url, numbers), kept in zip(functions, latencies, strict=True):
                sandbox.function = url
                (delivery,) = sandbox.deliver("order", numbers[turn])
                if not delivery.acknowledged:
                    raise RuntimeError(f"a callback was refused: {delivery.status} {delivery.answer!r}")
                kept.append(delivery.latency)
    return [statistics.median(kept[WARM_UP:]) for kept in latencies]


def _paid(sandbox: Sandbox, function: str) -> list[str]:
    """Numbers of orders that were paid a moment ago; the function has not been told."""
    sandbox.function = function
    numbers = [f"B{secrets.token_hex(12)}" for _ in range(WARM_UP + CALLBACKS)]
    for number in numbers:
        order = {"description": "A cup of tea", "out_trade_no": number, "amount": {"total": 100}}
        if sandbox.call_http_function("/wx-pay/wxpay_order", order).status != 200:
            raise RuntimeError("an order was refused")
        sandbox.pay(number, deliver=False)
    return numbers


class _Sqlite:
    name = "SQLite"

    def __init__(self, file: Path) -> None:
        self._file = file
        self.url = f"sqlite:///{file}"

    def fill(self, count: int) -> None:
        series = f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {count})"
        with closing(sqlite3.connect(self._file)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            for statement in _fill("hex(randomblob(20))", "0", "'2026-01-01 00:00:00.000000'"):
                database.execute(statement.replace("SELECT", f"{series} SELECT", 1).replace("{from}", "s"))
            database.execute("ANALYZE")

    def plans(self) -> Iterator[tuple[str, str]]:
        with closing(sqlite3.connect(self._file)) as database:
            for what, statement in PLANS.items():
                rows = database.execute(f"EXPLAIN QUERY PLAN {statement.format(lock='')}").fetchall()
                yield what, "; ".join(row[3] for row in rows)


class _PostgreSql:
    name = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self.url = url

    def fill(self, count: int) -> None:
        with connected(self.url) as connection:
            for statement in _fill("md5(s.n::text)", "false", "timestamp '2026-01-01'"):
                connection.execute(statement.replace("{from}", f"generate_series(0, {count - 1}) AS s(n)"))
            connection.execute("VACUUM ANALYZE")

    def plans(self) -> Iterator[tuple[str, str]]:
        with connected(self.url) as connection:
            for what, statement in PLANS.items():
                rows = connection.execute(f"EXPLAIN (COSTS OFF) {statement.format(lock=' FOR UPDATE')}").fetchall()
                yield what, " / ".join(row[0].strip() for row in rows)


def _fill(hashed: str, false: str, then: str) -> list[str]:
    """Statements that store one row a table for each number of the series; texts as long as real ones, ids hashed."""
    given = {"n": "s.n", "hash": hashed, "false": false, "then": then, "text": "x" * 400}
    return [
        f"INSERT INTO {table} ({columns}) SELECT {values.format(**given)} FROM {{from}}"
        for table, (columns, values) in FILL.items()
    ]


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A psycopg connection that commits each statement."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def database(url: str, name: str = "one") -> Iterator[str]:
    """The URL of a new database on the server of this one, dropped at the end."""
    name = f"bench_{os.getpid()}_{name}"
    with connected(url) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with connected(url) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


if __name__ == "__main__":
    sys.exit(main())
