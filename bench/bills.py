"""A day's bill against the order database: `python -m bench.bills [--rows 100000] [--postgresql URL]`.

The sandbox sells as many orders on one day; all but a planted few are stored. `flask --app app orders bill` then
fetches the bill, checks hash and sums, compares, and keeps the incidents: its seconds, less those of a command that
only starts, also as a ratio to splitting the lines of the same file, its processor time, and its memory. URL as in
bench.callbacks.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.callbacks import connected, database
from sandbox import Sandbox
from sandbox.function import ROOT, orders_command

BEIJING = timezone(timedelta(hours=8))
COLUMNS = (
    "out_trade_no, mchid, appid, owner, total, currency, state, params, unknown, attempts, transaction_id, paid_at,"
    " refunded, expires_at, checks, created_at, updated_at"
)
# A process begins with the size of the one that forked it, so a small one stands between.
_LAUNCHER = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""
PLANTED = {"missing_here": 3, "amount_differs": 2, "state_differs": 2, "missing_there": 1}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bills", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--postgresql", help="URL of any database of a PostgreSQL server")
    options = parser.parse_args()
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
        now = datetime.fromtimestamp(sandbox.clock.now(), BEIJING)
        sandbox.advance((now.replace(hour=1, minute=0, second=0) + timedelta(days=1) - now).total_seconds())
        day = datetime.fromtimestamp(sandbox.clock.now(), BEIJING).date().isoformat()
        sold = list(_sell(sandbox, options.rows))
        sandbox.advance("2d")
        raw = _reading(sandbox, day)
        _compare(sandbox, f"sqlite:///{Path(folder) / 'orders.sqlite3'}", day, sold, raw)
        if options.postgresql:
            with database(options.postgresql) as url:
                _compare(sandbox, url, day, sold, raw)
        else:
            print("not run: PostgreSQL, for want of --postgresql")
    return 0


def _sell(sandbox: Sandbox, count: int) -> Iterable[tuple[str, str, float]]:
    """Number, WeChat Pay's number and time of payment of each order."""
    credentials = sandbox.credentials
    body = {"appid": credentials.app_id, "mchid": credentials.merchant_id, "description": "茶 Tea"}
    body["notify_url"] = "https://shop.example/x"
    for index in range(count):
        number = f"SOLD{index:08d}"
        sandbox.ledger.place("native", {**body, "out_trade_no": number, "amount": {"total": 100, "currency": "CNY"}})
        order = sandbox.ledger.pay(number, "oBuyer")
        yield number, order.transaction_id, order.paid


def _rows(sandbox: Sandbox, sold: list[tuple[str, str, float]]) -> Iterable[tuple[Any, ...]]:
    """What is stored: the sold orders, with the planted differences at the front."""
    credentials = sandbox.credentials
    for index, (number, transaction, paid) in enumerate(sold[PLANTED["missing_here"] :]):
        moment = datetime.fromtimestamp(paid, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.000000")
        total = 99 if index < 2 else 100
        state = "PENDING" if index in (2, 3) else "PAID"
        merchant = (credentials.merchant_id, credentials.app_id, "")
        open_since = (moment, 1, moment, moment)
        yield (number, *merchant, total, "CNY", state, "{}", False, 1, transaction, moment, 0, *open_since)
        if index == 0:
            yield ("NEVERSOLD1", *merchant, 100, "CNY", "PAID", "{}", False, 1, "4200x", moment, 0, *open_since)


def _store(sandbox: Sandbox, url: str, sold: list[tuple[str, str, float]]) -> None:
    rows = _rows(sandbox, sold)
    if url.startswith("sqlite"):
        import sqlite3  # noqa: PLC0415

        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            marks = ", ".join("?" * len(COLUMNS.split(",")))
            database.executemany(f"INSERT INTO pay_orders ({COLUMNS}) VALUES ({marks})", rows)
        return
    with connected(url) as connection:
        with connection.cursor().copy(f"COPY pay_orders ({COLUMNS}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute("ANALYZE pay_orders")  # as the server does by itself, a minute later


def _compare(sandbox: Sandbox, url: str, day: str, sold: list[tuple[str, str, float]], raw: float) -> None:
    env: dict[str, Any] = {"orderDatabaseUrl": url, "logLevel": "error"}
    orders_command(sandbox.env(**env), "init-db")
    _store(sandbox, url, sold)
    start, idle, _, _ = _measured(sandbox.env(**env), "list")
    seconds, busy, memory, output = _measured(sandbox.env(**env), "bill", "trade", day)
    taken = seconds - start
    name = url.partition(":")[0]
    print(f"{name:<10} {len(sold):,} rows  {taken:6.2f} s (at most 10)  {taken / raw:6.1f} x reading the lines")
    print(f"{name:<10} processor time {busy - idle:6.2f} s, which other programs on the machine do not lengthen")
    print(f"{name:<10} memory {memory / 2**20:6.0f} MB (at most 200)")
    for found, count in PLANTED.items():
        line = next(line for line in output.splitlines() if line.strip().startswith(found.replace("_", " ")))
        if int(line.split()[-1]) != count:
            raise RuntimeError(f"{count} {found} were planted, and this was found: {line}")
    print(f"{name:<10} every planted difference was found: {PLANTED}")


def _measured(env: dict[str, str], *arguments: str) -> tuple[float, float, int, str]:
    """Seconds, seconds of processor time, most memory in bytes and output of one command."""
    begin = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, "-m", "flask", "--app", "app", "orders", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begin
    if not run.stdout:
        raise RuntimeError(run.stderr)
    *_, busy, memory = run.stderr.split()
    return seconds, float(busy), int(memory) * 1024, run.stdout


def _reading(sandbox: Sandbox, day: str) -> float:
    """Seconds for the lines of the same file, split at their commas, and nothing else.

    The sandbox makes the file only here, because how long that takes it is nobody's concern.
    """
    files = sandbox._files
    offer = files.trade_bill({"bill_date": day, "tar_type": "GZIP"}, sandbox.url)
    packed = files.download(parse_qs(urlsplit(offer["download_url"]).query)["token"][0], packed=True)
    vars(files).update(trade_bill=lambda *_: offer, download=lambda *_, **__: packed)
    content = gzip.decompress(packed.content)
    begin = time.monotonic()
    count = sum(len(line.split(b",")) for line in content.splitlines())
    if not count:
        raise RuntimeError("the bill is empty")
    return time.monotonic() - begin


if __name__ == "__main__":
    sys.exit(main())
