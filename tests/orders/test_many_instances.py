"""Four processes of sixteen threads, and callbacks that come fifteen times: every order is paid once, told once."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import Sandbox
from tests.orders.fleet import Books, Postman, Receiver, fleet, paid_orders
from tests.orders.house import OPERATOR
from tests.support import Function

ORDERS, TIMES, SEED = 200, 15, 4_071_031


def test_each_order_is_paid_once_and_told_once(box: Sandbox, database_url: str, tmp_path: Path):
    books, postman = Books(database_url), Postman(box, threads=24)
    with Receiver() as receiver, fleet(box, database_url, receiver, tmp_path / "log") as function:
        numbers = paid_orders(function, box, ORDERS)
        callbacks = numbers * TIMES
        random.Random(SEED).shuffle(callbacks)
        with Reconciling(function, books) as reconciling:
            postman.until_taken(callbacks, give_up_after=240)
        books.wait_until_delivered()

    assert postman.taken == ORDERS * TIMES
    assert reconciling.summaries
    assert books.states() == dict.fromkeys(numbers, "PAID")
    events = books.rows("SELECT number, type, state, attempts FROM pay_events")
    assert sorted(events) == sorted((number, "order.paid", "DONE", 1) for number in numbers)
    assert {number: len(ids) for number, ids in receiver.ids.items()} == dict.fromkeys(numbers, 1)
    assert set(receiver.times.values()) == {1}
    assert len(receiver.times) == ORDERS
    assert books.rows("SELECT COUNT(*) FROM pay_incidents") == [(0,)]
    inbox = books.rows("SELECT number, deliveries FROM pay_notifications")
    assert sorted(number for number, _ in inbox) == sorted(numbers)
    assert all(deliveries >= TIMES for _, deliveries in inbox)


class Reconciling:
    """Two operators' timers go on all the time, and all that is open is always due."""

    def __init__(self, function: Function, books: Books) -> None:
        self._function, self._books = function, books
        self._stop = threading.Event()
        self.summaries: list[dict[str, int]] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            self._books.change("UPDATE pay_orders SET next_check_at = created_at WHERE next_check_at IS NOT NULL")
            reply = self._function.call("wxpay_reconcile", {"limit": 50, "seconds": 5}, OPERATOR)
            assert reply.status in {200, 503}, reply.text  # busy: the timer comes again
            if reply.status == 200:
                self.summaries.append(reply.body["data"]["data"])

    def __enter__(self) -> Reconciling:
        self._threads = ThreadPoolExecutor(2)
        self._runs = [self._threads.submit(self._run) for _ in range(2)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for run in self._runs:
            run.result()
        self._threads.shutdown()
