"""What a payment callback costs as orders pile up: `python -m bench.callbacks [--postgresql URL] [--stored 1000000]`.

One process of the function (gunicorn, as scf_bootstrap starts it) with an order database of a thousand orders, and with
a million: the median time from a callback to its acknowledgement, and the ratio of the two. The baseline is the same
callback to the function without a database. The query plans of a callback's statements follow. URL is that of any
database of a PostgreSQL server, on which one is made for the run and dropped.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
        " '{{\"out_trade_no\":\"x\"}}', {false}, 1, '42000' || {n}, 'o' || {n}, 100, {then}, 0, {then}, NULL, 1,"
        " {then}, {then}",
    ),
    "pay_events": (
        "id, type, number, payload, state, attempts, next_at, created_at, done_at",
        "'evt_' || {n}, 'order.paid', 'OLD' || {n}, '{{\"out_trade_no\":\"x\"}}', 'DONE', 1, {then}, {then}, {then}",
    ),
    "pay_notifications": (
        "key, notification_id, kind, event_type, number, evidence, plaintext, outcome, deliveries, received_at,"
        " last_at",
        "'sha256:' || {n}, 'EV-' || {n}, 'payment', 'TRANSACTION.SUCCESS', 'OLD' || {n}, 'resource',"
        " '{{\"out_trade_no\":\"x\"}}', 'applied', 1, {then}, {then}",
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
    parser.add_argument("--stored", type=int, default=1_000_000, help="orders stored in the second round")
    options = parser.parse_args()
    with Sandbox() as sandbox:
        bare = _median(sandbox, {})
        print(f"without a database  {bare * 1000:7.2f} ms")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "orders.sqlite3"
            _compare(sandbox, f"sqlite:///{file}", _Sqlite(file), options.stored, bare)
        if options.postgresql:
            with database(options.postgresql) as url:
                _compare(sandbox, url, _PostgreSql(url), options.stored, bare)
        else:
            print("not run: PostgreSQL, for want of --postgresql")
    return 0


def _compare(sandbox: Sandbox, url: str, store: _Sqlite | _PostgreSql, stored: int, bare: float) -> None:
    env: dict[str, Any] = {"orderDatabaseUrl": url}
    orders_command(sandbox.env(**env), "init-db")
    times = {}
    filled = 0
    for count in (FEW, stored):
        store.fill(filled, count)
        filled = count
        times[count] = _median(sandbox, env)
        print(f"{store.name:<10} {count:>9,}  {times[count] * 1000:7.2f} ms   {times[count] / bare:5.2f} x without")
    print(f"{store.name:<10} ratio      {times[stored] / times[FEW]:7.2f}      (at most 1.30)")
    for what, plan in store.plans():
        print(f"  {what:<22} {plan}")


def _median(sandbox: Sandbox, env: dict[str, Any]) -> float:
    """Seconds from sending a callback to its acknowledgement, in the middle of many."""
    address = f"127.0.0.1:{free_port(0)}"
    sandbox.reset()
    sandbox.function = f"http://{address}"
    with Function(address, sandbox.env(logLevel="warning", **env)) as function:
        function.await_start()
        numbers = [f"B{os.getpid()}{id(function) % 10**6}{index:05d}" for index in range(WARM_UP + CALLBACKS)]
        for number in numbers:
            order = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
            if sandbox.call_http_function("/wx-pay/wxpay_order", order).status != 200:
                raise RuntimeError("an order was refused")
            sandbox.pay(number, deliver=False)
        latencies = []
        for number in numbers:
            (delivery,) = sandbox.deliver("order", number)
            if not delivery.acknowledged:
                raise RuntimeError(f"a callback was refused: {delivery.status} {delivery.answer!r}")
            latencies.append(delivery.latency)
    return statistics.median(latencies[WARM_UP:])


class _Sqlite:
    name = "SQLite"

    def __init__(self, file: Path) -> None:
        self._file = file

    def fill(self, begin: int, end: int) -> None:
        series = f"WITH RECURSIVE s(n) AS (SELECT {begin} UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {end})"
        with closing(sqlite3.connect(self._file)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            for statement in _fill("s.n", "0", "'2026-01-01 00:00:00.000000'"):
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
        self._url = url

    def fill(self, begin: int, end: int) -> None:
        with connected(self._url) as connection:
            for statement in _fill("s.n", "false", "timestamp '2026-01-01'"):
                connection.execute(statement.replace("{from}", f"generate_series({begin}, {end - 1}) AS s(n)"))
            connection.execute("VACUUM ANALYZE")

    def plans(self) -> Iterator[tuple[str, str]]:
        with connected(self._url) as connection:
            for what, statement in PLANS.items():
                rows = connection.execute(f"EXPLAIN (COSTS OFF) {statement.format(lock=' FOR UPDATE')}").fetchall()
                yield what, " / ".join(row[0].strip() for row in rows)


def _fill(number: str, false: str, then: str) -> list[str]:
    return [
        f"INSERT INTO {table} ({columns}) SELECT {values.format(n=number, false=false, then=then)} FROM {{from}}"
        for table, (columns, values) in FILL.items()
    ]


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A psycopg connection that commits each statement."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def database(url: str) -> Iterator[str]:
    """The URL of a new database on the server of this one, dropped at the end."""
    name = f"bench_{os.getpid()}"
    with connected(url) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with connected(url) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


if __name__ == "__main__":
    sys.exit(main())
