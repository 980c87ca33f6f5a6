"""Side effects: once for whoever looks at the event's id, again until they succeed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.event import listen

from sandbox import Sandbox
from services.merchant_code import DatabaseFailed
from services.orders.columns import now
from services.orders.database import Transaction
from services.orders.outbox import MAX_TRIES, Outbox
from services.orders.schema import events, orders
from services.orders.service import SqlOrderService
from services.orders.store import Store
from tests.orders.house import OPERATOR, House
from tests.support import MINI_PROGRAM, OPENID
from utils import processor


class Hooks(SqlOrderService):
    """What each hook was called with; `fails` and `takes` (seconds) spoil it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict]] = []
        self.fails = 0
        self.takes = 0.0
        self.quotes = False

    def _called(self, name: str, thing: dict) -> None:
        self.calls.append((name, thing))
        time.sleep(self.takes)
        if self.fails:
            self.fails -= 1
            if self.quotes:
                raise RuntimeError(f"would not pack for {thing['payer']['openid']}")
            raise RuntimeError("the shop's own server is away")

    def on_paid(self, order):
        self._called("on_paid", order)

    def on_refunded(self, refund):
        self._called("on_refunded", refund)

    def on_transfer_finished(self, transfer):
        self._called("on_transfer_finished", transfer)

    def on_order_closed(self, order):
        self._called("on_order_closed", order)


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def shop(box: Sandbox, database_url: str, store: Store, hooks: Hooks) -> Iterator[House]:
    with House.in_process(box, database_url, store, hooks) as running:
        yield running


def stored(house: House) -> list[dict]:
    with house.store.database.reading() as connection:
        return [dict(row) for row in connection.execute(select(events)).mappings()]


def make_due(house: House) -> None:
    with house.store.database.engine.begin() as connection:
        connection.execute(update(events).values(next_at=now()))


def eventually(found: Callable[[], object]) -> None:
    give_up = time.monotonic() + 10
    while not found():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def wait_until_done(house: House) -> None:
    eventually(lambda: {event["state"] for event in stored(house)} == {"DONE"})


def run(house: House) -> dict:
    return house.function.call("wxpay_reconcile", {}, OPERATOR).body["data"]["data"]


def test_each_hook_is_called_with_what_happened(shop: House, hooks: Hooks):
    number = shop.paid()
    shop.refund(number, 40, number="R1")
    shop.box.settle_refund("R1")
    shop.transfer(number="T1")
    shop.box.finish_transfer("T1", "FAIL")
    closed = shop.order()
    shop.function.call("wxpay_close_order", {"out_trade_no": closed})
    assert [name for name, _ in hooks.calls] == ["on_paid", "on_refunded", "on_transfer_finished", "on_order_closed"]
    paid, refunded, transferred, ended = (thing for _, thing in hooks.calls)
    assert (paid["out_trade_no"], paid["state"], paid["amount"]["total"]) == (number, "PAID", 100)
    assert paid["payer"]["openid"] == MINI_PROGRAM["X-Wx-Openid"]
    assert (refunded["out_refund_no"], refunded["amount"]["refund"]) == ("R1", 40)
    assert (transferred["out_bill_no"], transferred["state"]) == ("T1", "FAIL")
    assert (ended["out_trade_no"], ended["state"]) == (closed, "CLOSED")
    assert len({thing["event_id"] for _, thing in hooks.calls}) == 4
    assert {event["state"] for event in stored(shop)} == {"DONE"}


def test_a_hook_that_fails_is_called_again_later_with_the_same_id(shop: House, hooks: Hooks):
    hooks.fails = 2
    shop.paid()
    (event,) = stored(shop)
    assert (event["state"], event["attempts"]) == ("PENDING", 1)
    assert "the shop's own server is away" in event["last_error"]
    assert event["next_at"] > now()
    assert run(shop)["delivered"] == 0  # not yet
    make_due(shop)
    assert run(shop)["undelivered"] == 1
    make_due(shop)
    assert run(shop)["delivered"] == 1
    assert len({thing["event_id"] for _, thing in hooks.calls}) == 1
    assert len(hooks.calls) == 3


def test_a_hook_that_quotes_its_buyer_does_not_get_him_into_the_log(shop: House, hooks: Hooks, capsys):
    """Delivered by a run, there is no request whose openid would be known to the log."""
    hooks.fails, hooks.quotes = 2, True
    number = shop.paid()
    with shop.store.database.engine.begin() as connection:
        connection.execute(update(events).values(next_at=now()))
    reply = shop.function.call("wxpay_reconcile", {}, OPERATOR)
    assert reply.status == 200, reply.text
    assert [name for name, _ in hooks.calls] == ["on_paid", "on_paid"]
    assert hooks.calls[0][1]["payer"]["openid"] == OPENID
    log = capsys.readouterr().out
    assert log.count("would not pack for") >= 2
    assert number in log
    assert OPENID not in log
    (event,) = shop.store.database.run(lambda tx: tx.connection.execute(select(events)).mappings().all())
    assert OPENID not in event["last_error"]
    assert "would not pack for" in event["last_error"]


def test_the_pause_grows(shop: House, hooks: Hooks):
    hooks.fails = 8
    shop.paid()
    pauses = []
    for _ in range(7):
        (event,) = stored(shop)
        pauses.append((event["next_at"] - now()).total_seconds())
        make_due(shop)
        run(shop)
    assert pauses[0] < 8
    assert pauses[-1] > 5 * pauses[0]


def test_after_the_last_try_an_event_is_dead_until_it_is_replayed(shop: House, hooks: Hooks):
    hooks.fails = MAX_TRIES
    shop.paid()
    for _ in range(MAX_TRIES - 1):
        make_due(shop)
        summary = run(shop)
    assert summary["dead"] == 1
    make_due(shop)
    assert run(shop)["delivered"] == 0
    (event,) = stored(shop)
    assert event["state"] == "DEAD"
    assert len(hooks.calls) == MAX_TRIES
    assert shop.function.application.extensions["pay"].orders.outbox.replay(event["id"])
    assert run(shop)["delivered"] == 1


def test_a_slow_hook_does_not_hold_up_the_acknowledgement(shop: House, hooks: Hooks):
    hooks.takes = 4.0
    number = shop.order()
    (delivery,) = shop.box.pay(number)
    assert delivery.acknowledged
    (event,) = stored(shop)
    assert event["state"] == "PENDING"
    wait_until_done(shop)
    assert len(hooks.calls) == 1


def test_who_waits_for_a_hook_lets_others_compute(shop: House, hooks: Hooks, monkeypatch: pytest.MonkeyPatch):
    """A hook's thread has to read the database, which takes a turn; the request that waits for it has one."""
    monkeypatch.setattr(processor, "PATIENCE", 60.0)
    number, client = shop.order(), shop.function.application.test_client()
    with processor.computing():
        reply = client.post("/wx-pay/wxpay_close_order", json={"out_trade_no": number}, headers=MINI_PROGRAM)
    assert reply.status_code == 200
    assert [name for name, _ in hooks.calls] == ["on_order_closed"]


def test_what_a_crash_left_leased_comes_again_with_the_same_id(shop: House, hooks: Hooks):
    shop.paid()
    with shop.store.database.engine.begin() as connection:  # as if the mark after the hook had not been written
        connection.execute(update(events).values(state="PENDING", done_at=None, lease="somebody", next_at=now()))
    assert run(shop)["delivered"] == 1
    assert len({thing["event_id"] for _, thing in hooks.calls}) == 1


def test_two_delivery_runs_at_once_call_each_hook_once(shop: House, hooks: Hooks):
    hooks.fails = 12
    numbers = [shop.paid() for _ in range(12)]
    assert len(hooks.calls) == 12
    hooks.calls.clear()
    hooks.takes = 0.05
    make_due(shop)
    with ThreadPoolExecutor(4) as pool:
        summaries = list(pool.map(lambda _: run(shop), range(4)))
    assert sum(summary["delivered"] for summary in summaries) == 12
    assert sorted(thing["out_trade_no"] for _, thing in hooks.calls) == sorted(numbers)


def test_a_callback_and_a_delivery_run_at_once_call_a_hook_once(shop: House, hooks: Hooks):
    hooks.takes = 0.5
    number = shop.order()
    with ThreadPoolExecutor(2) as pool:
        paying = pool.submit(shop.box.pay, number)
        while not paying.done():
            run(shop)
    assert paying.result()[0].acknowledged
    assert len(hooks.calls) == 1


@pytest.mark.parametrize("outcome", [False, {"code": "FAIL"}, "SUCCESS", SystemExit(1)], ids=repr)
def test_what_does_not_say_that_it_is_done_is_not(shop: House, hooks: Hooks, outcome: object):
    def spoilt(order):
        hooks.calls.append(("on_paid", order))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    shop.function.application.extensions["pay"].orders.outbox._hooks["order.paid"] = spoilt
    number = shop.paid()  # taken all the same: the payment is kept
    (event,) = stored(shop)
    assert (shop.state(number), event["state"], len(hooks.calls)) == ("PAID", "PENDING", 1)


def test_what_was_begun_under_a_lease_that_ended_marks_nothing(shop: House, hooks: Hooks):
    """Whoever was slower than its lease must not undo what the next one did."""
    hooks.takes = 2.0
    number = shop.order()
    with ThreadPoolExecutor(1) as pool:
        paying = pool.submit(shop.box.pay, number)
        while not hooks.calls:
            assert not paying.done()
        hooks.takes = 0.0
        hooks.fails = 1
        make_due(shop)  # as if the lease had ended
        assert run(shop)["undelivered"] == 0, "nothing runs twice at once in one process"
        another_instance = Outbox(shop.store, {"order.paid": hooks.on_paid})
        assert another_instance.run()["failed"] == 1
        (event,) = stored(shop)
        assert (event["state"], event["attempts"]) == ("PENDING", 2)
        paying.result()
    (event,) = stored(shop)
    assert (event["state"], event["attempts"]) == ("PENDING", 2)
    make_due(shop)
    assert run(shop)["delivered"] == 1


# Events that are born leased: nothing is written between a callback's transaction and its hook

@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, shop: House, hooks: Hooks) -> House:
    """A shop whose outbox has one place: whoever keeps it leaves none for the next callback."""
    monkeypatch.setattr("services.orders.outbox.AT_ONCE", 1)
    hooks.use(hooks.parts)
    return shop


def assert_has_a_place(shop: House, hooks: Hooks) -> None:
    before = len(hooks.calls)
    shop.paid()
    assert len(hooks.calls) == before + 1


def test_a_callback_writes_once_before_its_hook_and_once_after_it(shop: House, hooks: Hooks):
    number, commits, seen = shop.order(), [], []

    def look(order):
        seen.extend([*stored(shop), len(commits)])

    hooks.on_paid = look  # type: ignore[method-assign]
    hooks.use(hooks.parts)
    listen(hooks.parts.store.database.engine, "commit", commits.append)
    shop.box.pay(number)
    event, written = seen
    assert (event["state"], event["attempts"], len(event["lease"]), written) == ("PENDING", 1, 32, 1)
    assert timedelta(seconds=50) < event["next_at"] - now() <= timedelta(seconds=60)
    (event,) = stored(shop)
    assert (event["state"], event["attempts"], event["lease"], len(commits)) == ("DONE", 1, None, 2)


def test_what_finds_no_place_is_kept_and_due_at_once(narrow: House, hooks: Hooks):
    hooks.takes = 6.0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(narrow.paid)
        while not hooks.calls:
            assert not slow.done()
        hooks.takes = 0.0
        number = narrow.paid()
        left = next(event for event in stored(narrow) if event["number"] == number)
        assert (left["state"], left["attempts"], left["lease"], len(hooks.calls)) == ("PENDING", 0, None, 1)
        assert left["next_at"] <= now()
        assert run(narrow)["delivered"] == 1
        slow.result()
    wait_until_done(narrow)
    assert [order["out_trade_no"] for _, order in hooks.calls][1:] == [number]


def test_what_no_thread_can_be_begun_for_comes_when_its_lease_is_over(
    narrow: House, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
):
    begin = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "outbox":
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        narrow.paid()
        (event,) = stored(narrow)
        assert (event["state"], event["attempts"], hooks.calls) == ("PENDING", 1, [])
        assert run(narrow)["delivered"] == 0  # leased
    make_due(narrow)
    assert run(narrow)["delivered"] == 1
    assert_has_a_place(narrow, hooks)


def test_what_brings_about_nothing_or_fails_gives_its_place_back(narrow: House, hooks: Hooks):
    number = narrow.paid()
    assert narrow.box.deliver("order", number)[0].acknowledged  # again: no event
    hooks.handler_unified_trigger = lambda params: False  # type: ignore[method-assign]
    assert not narrow.box.pay(narrow.order())[0].acknowledged
    del hooks.handler_unified_trigger
    assert_has_a_place(narrow, hooks)


def test_who_waits_for_the_database_takes_no_place(narrow: House, hooks: Hooks):
    asked, number = narrow.order(), narrow.order()
    with ThreadPoolExecutor(2) as pool:
        with narrow.store.database.engine.begin() as connection:
            connection.execute(select(orders).where(orders.c.out_trade_no == asked).with_for_update())
            query = {"out_trade_no": asked}
            waiting = pool.submit(narrow.function.call, "wxpay_query_order_by_out_trade_no", query)
            eventually(lambda: narrow.box.requests and narrow.box.requests[-1].method == "GET")
            paying = pool.submit(narrow.box.pay, number)
            time.sleep(0.3)
        assert (waiting.result().status, paying.result()[0].acknowledged) == (200, True)
    assert [order["out_trade_no"] for _, order in hooks.calls] == [number]


def test_when_the_database_fails_the_place_is_given_back(narrow: House, hooks: Hooks):
    keep = hooks.handler_unified_trigger

    def lose(params):
        keep(params)
        raise DatabaseFailed("the connection was lost")

    hooks.handler_unified_trigger = lose  # type: ignore[method-assign]
    assert not narrow.box.pay(narrow.order())[0].acknowledged
    del hooks.handler_unified_trigger
    assert stored(narrow) == []
    eventually(lambda: not any(thread.name == "outbox" for thread in threading.enumerate()))
    assert_has_a_place(narrow, hooks)


def test_what_comes_about_too_late_leaves_its_hook_to_the_next_run(
    shop: House, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.orders.service.HOOK_WAIT", 0.0)
    assert shop.function.call("wxpay_close_order", {"out_trade_no": shop.order()}).status == 200
    (event,) = stored(shop)
    assert (event["state"], event["attempts"], event["lease"], hooks.calls) == ("PENDING", 0, None, [])
    assert run(shop)["delivered"] == 1


@pytest.mark.parametrize("change", [{"lease": "another"}, {"next_at": now}], ids=["leased again", "over"])
def test_who_comes_to_a_hook_after_his_lease_leaves_it_alone(
    shop: House, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, change: dict
):
    """As in an instance that stood still between the commit and the hook."""
    begin = threading.Thread.start

    def stand_still(thread: threading.Thread) -> None:
        if thread.name == "outbox":
            values = {name: value() if callable(value) else value for name, value in change.items()}
            with shop.store.database.engine.begin() as connection:
                connection.execute(update(events).values(values))
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", stand_still)
    shop.paid()
    (event,) = stored(shop)
    assert (event["state"], event["attempts"], hooks.calls) == ("PENDING", 1, [])


def test_a_second_hook_that_its_lease_might_not_cover_is_left_to_the_next_run(
    shop: House, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.orders.outbox.LEASE", 4.0)
    hooks.takes = 2.5

    def close(tx: Transaction) -> None:
        for number in numbers:
            hooks.handler_close({"out_trade_no": number})

    numbers = [shop.order(), shop.order()]
    hooks.outbox.run_and_deliver(close, time.monotonic() + 10)
    told, left = sorted(stored(shop), key=lambda event: event["state"])
    assert (told["state"], left["state"], left["attempts"], left["lease"]) == ("DONE", "PENDING", 0, None)
    assert run(shop)["delivered"] == 1
    assert sorted(order["out_trade_no"] for _, order in hooks.calls) == sorted(numbers)


@pytest.mark.parametrize("ends", ["committed", "rolled back"])
def test_in_a_transaction_that_is_open_hooks_are_left_to_the_next_run(shop: House, hooks: Hooks, ends: str):
    number = shop.order()

    def close(tx: Transaction) -> None:
        hooks.handler_close({"out_trade_no": number})
        assert (hooks.calls, len(tx.events)) == ([], 1)
        if ends == "rolled back":
            raise LookupError

    with suppress(LookupError):
        hooks.parts.store.database.run(close)
    assert hooks.calls == []
    found = [(event["state"], event["attempts"], event["lease"]) for event in stored(shop)]
    assert found == ([("PENDING", 0, None)] if ends == "committed" else [])
    assert run(shop)["delivered"] == len(found)
    assert len(hooks.calls) == len(found)


# A hook that a merchant overrides beside the keeping

class Overriding(SqlOrderService):
    """`answer` is what the handler returns, or raises, after it was kept."""

    answer: object = None

    def handler_unified_trigger(self, params):
        super().handler_unified_trigger(params)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [RuntimeError("after it was kept"), {"code": "FAIL"}, False], ids=repr)
def test_what_an_overridden_handler_did_not_keep_is_rolled_back_whole(
    box: Sandbox, database_url: str, store: Store, answer: object
):
    service = Overriding()
    service.answer = answer
    with House.in_process(box, database_url, store, service) as shop:
        number = shop.order()
        assert not shop.box.pay(number)[0].acknowledged
        assert (shop.state(number), stored(shop)) == ("PENDING", [])
        service.answer = None
        assert shop.box.deliver("order", number)[0].acknowledged
        assert (shop.state(number), len(stored(shop))) == ("PAID", 1)
