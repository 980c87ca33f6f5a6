"""The queue before SQLite's one writer: in order, callbacks first, and who gives up leaves it."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from services.orders import schema
from tests.orders.house import House, fresh
from utils import turns as turns_module
from utils.turns import Turns

LONG = 30.0


def waiting(turns: Turns) -> int:
    return len(turns._first) + len(turns._others)


def until(condition) -> None:
    give_up = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def line_up(turns: Turns, took: list, *, name: str, first: bool = False) -> threading.Thread:
    """A thread that stands in the queue, notes its turn and ends it."""

    def take() -> None:
        assert turns.acquire(LONG, first=first)
        took.append(name)
        turns.release()

    before = waiting(turns)
    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: waiting(turns) == before + 1)
    return thread


def test_turns_are_taken_in_order_and_those_that_go_first_before_all_others():
    turns, took = Turns(), []
    assert turns.acquire(0, first=False)
    names = [("order 1", False), ("order 2", False), ("callback 1", True), ("order 3", False), ("callback 2", True)]
    threads = [line_up(turns, took, name=name, first=first) for name, first in names]
    turns.release()
    for thread in threads:
        thread.join()
    assert took == ["callback 1", "callback 2", "order 1", "order 2", "order 3"]


def test_who_has_waited_long_enough_is_told_and_leaves_the_queue():
    turns = Turns()
    assert turns.acquire(0, first=False)
    assert not turns.acquire(0.01, first=False)
    assert not turns.acquire(0.01, first=True)
    assert waiting(turns) == 0
    turns.release()
    assert turns.acquire(0, first=False), "nobody who left was given the turn"


def test_patience_ends_however_much_the_queue_moves():
    """SQLite's one writer is waited for no longer than a statement may take."""
    turns, ended, began = Turns(), threading.Event(), time.monotonic()

    def again_and_again() -> None:
        while not ended.is_set() and time.monotonic() < began + LONG / 6:
            assert turns.acquire(LONG, first=True)
            time.sleep(0.02)
            turns.release()

    threads = [threading.Thread(target=again_and_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: waiting(turns) == 2)
    was_let_in = turns.acquire(0.3, first=False)
    ended.set()
    for thread in threads:
        thread.join()
    assert not was_let_in


def test_patience_counts_from_when_one_came(monkeypatch):
    turns = Turns()
    assert turns.acquire(0, first=False)
    monkeypatch.setattr(turns, "_since", time.monotonic() - LONG)
    release = threading.Timer(0.2, turns.release)
    release.start()
    assert turns.acquire(LONG, first=False)
    release.join()


def test_a_turn_that_has_taken_too_long_is_waited_for_no_more(monkeypatch):
    turns, began = Turns(), time.monotonic()
    assert turns.acquire(0, first=False)
    monkeypatch.setattr(turns, "_since", began - LONG)
    assert not turns.acquire(LONG, first=False, of_one=True)
    assert waiting(turns) == 0
    assert time.monotonic() < began + LONG / 2


def test_no_turn_is_lost_or_given_twice_however_short_the_patience():
    turns, inside, took, missed = Turns(), threading.Semaphore(1), [], []

    def go(patience: float) -> None:
        for _ in range(200):
            if not turns.acquire(patience, first=patience < 0.001):
                missed.append(1)
                continue
            assert inside.acquire(blocking=False), "two at a time"
            time.sleep(0.0002)
            inside.release()
            took.append(1)
            turns.release()

    threads = [threading.Thread(target=go, args=(patience,)) for patience in (0.0, 0.0003, 0.0005, 0.002, 0.01) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) + len(missed) == 2000
    assert missed, "some gave up, also at the moment of their turn"
    assert took
    assert turns.acquire(0, first=False), "and it is free at the end"


def test_who_gives_up_in_the_moment_of_his_turn_has_it(monkeypatch):
    turns = Turns()
    assert turns.acquire(0, first=False)

    class Late:
        """Is let go between the end of the patience and the look at the queue."""

        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return True
            turns.release()
            return False

        def release(self) -> None:
            pass

    for first in (True, False):
        monkeypatch.setattr(turns_module, "threading", SimpleNamespace(Lock=Late))
        assert turns.acquire(0, first=first)
        monkeypatch.undo()
        assert not turns.acquire(0, first=first), "one at a time"
    turns.release()
    assert turns.acquire(0, first=False)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_callback_goes_before_the_orders_that_wait_already(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    database = house.function.application.extensions["pay"].orders.parts.store.database
    database._patience = LONG
    orders = [fresh("ORDER") for _ in range(6)]
    with closing(sqlite3.connect(database.engine.url.database)) as other, ThreadPoolExecutor(7) as pool:
        other.execute("BEGIN IMMEDIATE")  # nobody writes until this ends
        asked = [pool.submit(house.order, order) for order in orders]
        until(lambda: len(database._turns._others) == len(orders) - 1)
        told = pool.submit(house.box.deliver, "order", number)
        until(lambda: len(database._turns._first) == 1)
        other.rollback()
        assert [delivery.acknowledged for delivery in told.result()] == [True]
    assert sum(one.exception() is None for one in asked) >= len(orders) - 1
    with house.store.database.reading() as connection:
        received = connection.execute(select(schema.notifications.c.received_at)).scalar_one()
        rows = schema.orders.c.out_trade_no.in_(orders) & (schema.orders.c.created_at < received)
        earlier = connection.execute(select(schema.orders).where(rows)).all()
    assert len(earlier) <= 1, "but the one that had its turn already when the callback came"
