"""Workers are killed at a hundred random moments of callbacks: nothing is lost, nothing happens twice."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import Sandbox
from tests.orders.fleet import Books, Postman, Receiver, fleet, kill_worker, paid_orders
from tests.orders.house import OPERATOR

KILLS, AT_ONCE, SEED = 100, 4, 20_261_125


def test_what_a_killed_worker_left_undone_is_done_once(box: Sandbox, database_url: str, tmp_path: Path):
    chance = random.Random(SEED)
    books, postman = Books(database_url), Postman(box, threads=AT_ONCE)
    with (
        Receiver(takes=lambda: chance.uniform(0, 0.03)) as receiver,
        # Loaded before the fork: a hundred new workers are not a hundred imports.
        fleet(box, database_url, receiver, tmp_path / "log", "--preload", threads=8) as function,
        ThreadPoolExecutor(1) as background,
    ):
        numbers = paid_orders(function, box, KILLS * AT_ONCE)
        for begin in range(0, len(numbers), AT_ONCE):
            delivering = background.submit(postman.once, numbers[begin : begin + AT_ONCE])
            time.sleep(chance.uniform(0, 0.06))
            kill_worker(function, chance)
            delivering.result()
        lost = [delivery for delivery in postman.made if not delivery.acknowledged]
        postman.until_taken(numbers)
        # As if the leases of those who were killed had ended.
        books.change("UPDATE pay_events SET next_at = created_at WHERE state = 'PENDING'")
        reply = function.call("wxpay_reconcile", {}, OPERATOR)
        assert reply.status == 200, reply.text
        books.wait_until_delivered()

    assert lost, "no callback was hit: the seed finds nothing"
    assert books.states() == dict.fromkeys(numbers, "PAID")
    events = books.rows("SELECT number, type, state FROM pay_events")
    assert sorted(events) == sorted((number, "order.paid", "DONE") for number in numbers)
    assert {number: len(ids) for number, ids in receiver.ids.items()} == dict.fromkeys(numbers, 1)
    assert len(receiver.times) == len(numbers)
    assert books.rows("SELECT COUNT(*) FROM pay_incidents") == [(0,)]
