"""Both hosts up and down at random under a stream of payments, kept in an order database.

Each caller orders, pays, refunds, and repeats under the same number what is said to be unknown. In the end WeChat Pay's
ledger and the merchant's database hold the same, each thing once. `FLAPPING_ORDERS` sets how many, `FLAPPING_SEED` the
course that the hosts take.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sandbox import Credentials
from tests.hostile_network.attacks import closing, cut, gone_after_headers, silence_after_it_was_done
from tests.hostile_network.scene import OPERATOR, QUEUE, TIMEOUT, UNKNOWN, Scene, paid, scene
from tests.hostile_network.wire import Act, Exchange, Wire, reset, until
from tests.support import Reply

ORDERS = int(os.environ.get("FLAPPING_ORDERS", "24"))
SEED = int(os.environ.get("FLAPPING_SEED", "20261126"))
CALLERS = 6
REPETITIONS = 60


def down(sock: object) -> None:
    reset(sock)  # type: ignore[arg-type]


def bad_gateway(x: Exchange) -> None:
    x.read_body()
    x.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


UP: Act = lambda x: x.send(x.truth())  # noqa: E731
# Before anything is carried out, after it, and after it without a word.
MOODS: list[Act | None] = [
    *[UP] * 4,
    None,  # connections are reset
    None,
    closing(),
    bad_gateway,
    cut(0.5, reset=True),
    cut(0.99, reset=False),
    gone_after_headers(reset=True),
    silence_after_it_was_done,
]


def set_mood(wire: Wire, mood: Act | None) -> None:
    wire.greet = None if mood else down
    wire.act = mood or closing()
    if mood is None:
        wire.hang_up()


@contextmanager
def flapping(of: Scene) -> Iterator[None]:
    """Each host changes its mood every 20 to 300 ms, for itself."""
    ending = threading.Event()

    def flap(wire: Wire, course: random.Random) -> None:
        while not ending.wait(course.uniform(0.02, 0.3)):
            set_mood(wire, course.choice(MOODS))

    threads = [
        threading.Thread(target=flap, args=(wire, random.Random(SEED + at)))
        for at, wire in enumerate((of.main, of.backup))
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join()
        for wire in (of.main, of.backup):
            set_mood(wire, UP)


def until_known(call: Callable[[], Reply], answers: Counter[int]) -> None:
    """Repeat under the same number what is said to be unknown; nothing else may be said."""
    for _ in range(REPETITIONS):
        reply = call()
        answers[reply.status] += 1
        assert reply.seconds < TIMEOUT + 1 + QUEUE
        if reply.status == 200:
            return
        assert reply.status in (502, 504), reply.text
        assert reply.body["outcome"] == "unknown"
        assert reply.body["msg"].endswith(UNKNOWN)
    raise AssertionError("never up for as long as one call takes")


def live(of: Scene, number: str, answers: Counter[int]) -> None:
    """One order's life; callbacks that are not acknowledged come again later."""
    order, refund = paid(number), number
    until_known(lambda: of.order(order), answers)
    assert order in of.box.ledger.orders
    of.box.pay(order, envelope=None)
    until_known(lambda: of.query(order), answers)
    until_known(lambda: of.refund(refund), answers)
    of.box.settle_refund(refund, envelope=None)


def test_nothing_is_lost_and_nothing_happens_twice(credentials: Credentials, tmp_path: Path) -> None:
    file, answers = tmp_path / "orders.sqlite3", Counter[int]()
    numbers = [f"R{turn:09d}" for turn in range(ORDERS)]
    with scene(tmp_path, credentials, orderDatabaseUrl=f"sqlite:///{file}", orderService="") as made:
        assert made.function.call("wxpay_orders_init", {}, OPERATOR).status == 200
        with flapping(made), ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(lambda number: live(made, number, answers), numbers))
        ledger, told = made.box.ledger, made.box.deliveries
        known = {(one.kind, one.number) for one in told}
        assert len(known) == 2 * ORDERS

        def all_known() -> bool:
            made.box.advance("15s")
            taken = {(one.kind, one.number) for one in made.box.deliveries if one.acknowledged}
            return taken == known

        until(all_known, 60)
        made.assert_no_secret_in_the_log()
        made.assert_all_in_time()
    assert set(ledger.orders) == {paid(number) for number in numbers}
    assert set(ledger.refunds) == set(numbers)
    assert {sum(refund.amount for refund in order.refunds) for order in ledger.orders.values()} == {10}
    with sqlite3.connect(file) as database:
        orders = database.execute("SELECT out_trade_no, state, refunded, unknown FROM pay_orders").fetchall()
        refunds = database.execute("SELECT out_refund_no, state, amount, unknown FROM pay_refunds").fetchall()
        events = Counter(database.execute("SELECT type, number FROM pay_events").fetchall())
        (incidents,) = database.execute("SELECT count(*) FROM pay_incidents").fetchone()
    database.close()
    assert sorted(orders) == [(paid(number), "PARTIALLY_REFUNDED", 10, 0) for number in numbers]
    assert sorted(refunds) == [(number, "SUCCESS", 10, 0) for number in numbers]
    assert set(events.values()) == {1}
    assert incidents == 0
    assert answers[502] + answers[504] > 0, "the hosts were never down"
    unacknowledged = sum(not one.acknowledged for one in told)
    print(f"{ORDERS} orders and refunds: {dict(answers)}, {unacknowledged} callbacks not acknowledged at first")
