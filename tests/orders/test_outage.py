"""The database goes away and comes back under load: nobody hears SUCCESS meanwhile, afterwards everything arrives."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import Sandbox
from services.orders.database import Database
from services.orders.tables import init_db
from tests.not_run import PREFIX
from tests.orders.fleet import Books, Postman, Receiver, fleet, order, paid_orders
from tests.orders.house import OPERATOR
from tests.orders.servers import KINDS, Missing

ORDERS, TIMES = 24, 10


@contextmanager
def database_that_goes(kind: str, how: int) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """A database of this test's own: its address, and how to make it go and come back."""
    folder = Path(tempfile.mkdtemp(prefix=f"outage-{kind}-"))
    try:
        if kind == "sqlite":
            file = folder / "orders.sqlite3"
            held: list[sqlite3.Connection] = []

            def go() -> None:
                held.append(sqlite3.connect(file, timeout=60, isolation_level=None))
                held[0].execute("BEGIN EXCLUSIVE")

            yield f"sqlite:///{file}", go, lambda: held.pop().close()
            return
        try:
            server = KINDS[kind](folder, durable=True)
        except Missing as missing:
            pytest.skip(f"{PREFIX}{missing}")
        try:
            yield server.create("orders"), lambda: server.stop(how), server.start
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("sqlite", 0),
        ("postgresql", signal.SIGINT),
        ("postgresql", signal.SIGQUIT),  # at once, as a crash
        ("mysql", signal.SIGTERM),
        ("mysql", signal.SIGKILL),
    ],
    ids=["sqlite-locked", "postgresql-stopped", "postgresql-crashed", "mysql-stopped", "mysql-crashed"],
)
def test_an_outage_of_the_database_loses_nothing(box: Sandbox, tmp_path: Path, kind: str, how: int):
    with database_that_goes(kind, how) as (url, go, come_back):
        database = Database(url)
        init_db(database)
        database.close()
        books, postman, load = Books(url), Postman(box, threads=8), Postman(box, threads=4)
        with Receiver() as receiver, fleet(box, url, receiver, tmp_path / "log", workers=2) as function:
            before, through, during = (paid_orders(function, box, ORDERS) for _ in range(3))
            postman.until_taken(before)
            with ThreadPoolExecutor(1) as background:
                taken = background.submit(load.until_taken, through * TIMES, 240)
                go()
                missed = postman.once(during)
                refused, status = order(function)
                come_back()
                taken.result()
            postman.until_taken(during)
            assert order(function, refused)[1] == 200
            books.change("UPDATE pay_events SET next_at = created_at WHERE state = 'PENDING'")
            assert function.call("wxpay_reconcile", {}, OPERATOR).status == 200
            books.wait_until_delivered()

        numbers = before + through + during
        assert [(one.status, b"FAIL" in one.answer) for one in missed] == [(500, True)] * ORDERS
        assert len(load.made) > load.taken == ORDERS * TIMES, "the load went on through the outage"
        assert status == 503
        placed = [request.json.get("out_trade_no") for request in box.requests if request.method == "POST"]
        assert placed.count(refused) == 1, "while the database was away nothing was sent"
        assert books.states() == {**dict.fromkeys(numbers, "PAID"), refused: "PENDING"}
        events = books.rows("SELECT number, type FROM pay_events")
        assert sorted(events) == sorted((number, "order.paid") for number in numbers)
        assert {number: len(ids) for number, ids in receiver.ids.items()} == dict.fromkeys(numbers, 1)
