"""What a reconcile run does, case by case, on each database; the tables are set and read by plain SQL."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sandbox import Sandbox, views
from sandbox.records import ApiRequest
from services.orders.store import Store
from tests.orders.fleet import Books
from tests.orders.house import OPERATOR, House, fresh
from tests.orders.test_reconcile_many import ended, reconcile_command, store_due
from tests.support import MINI_PROGRAM

NUMBERS = {"orders": "out_trade_no", "refunds": "out_refund_no", "transfers": "out_bill_no"}
NOT_DONE: dict[str, Any] = {"kind": "reset"}
DONE: dict[str, Any] = {"kind": "reset", "processed": True}


@pytest.fixture
def books(database_url: str) -> Books:
    return Books(database_url)


def ago(seconds: float) -> str:
    """A moment, to the millisecond, as SQL text that all databases read."""
    moment = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    return f"'{moment.replace(tzinfo=None).isoformat(' ', 'milliseconds')}'"


def make_due(books: Books, table: str, **values: str) -> None:
    """Everything that is to be asked about at some time is so now."""
    change(books, table, "next_check_at IS NOT NULL", **{"next_check_at": ago(1), **values})


def change(books: Books, table: str, where: str, **values: str) -> None:
    setting = ", ".join(f"{name} = {value}" for name, value in values.items())
    books.change(f"UPDATE pay_{table} SET {setting} WHERE {where}")  # noqa: S608 - words of our own


def stored(books: Books, table: str, number: str) -> tuple[str, bool, bool]:
    """State, whether the outcome is unknown, whether it will be asked about again."""
    which = f"FROM pay_{table} WHERE {NUMBERS[table]} = '{number}'"
    [(state, unknown, planned)] = books.rows(f"SELECT state, unknown, next_check_at {which}")
    return state, bool(unknown), planned is not None


def incidents(books: Books) -> list[tuple[str, str, int]]:
    return sorted(books.rows("SELECT kind, number, times FROM pay_incidents"))


def events(books: Books) -> list[tuple[str, str]]:
    return sorted(books.rows("SELECT type, number FROM pay_events"))


def reconcile(house: House, **params: int) -> dict[str, Any]:
    reply = house.function.call("wxpay_reconcile", params, OPERATOR)
    assert reply.status == 200, reply.text
    return reply.body["data"]["data"]


def refused_order(house: House) -> str:
    """An order that WeChat Pay said no to."""
    number = fresh("ORDER")
    house.box.fault("error", code="INVALID_REQUEST", times=1)
    body = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
    assert house.function.call("wxpay_order", body, MINI_PROGRAM).status == 400
    return number


def unanswered(house: House, fault: dict[str, Any], call: Callable[[], Any]) -> None:
    """A call whose answer is lost on both hosts."""
    house.box.fault(**fault)
    assert call().status == 502
    house.box.clear_faults()


def during(house: House, path: str, act: Callable[[], Any], **params: int) -> dict[str, Any]:
    """A run, with `act` done while WeChat Pay has been asked for `path` and has not decided yet."""
    since = house.box.requests[-1].id
    house.box.fault("latency", path=path, processed=False, seconds=1.0, times=1)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(reconcile, house, **params)
        give_up = time.monotonic() + 20
        while not any(path in request.target for request in house.box.requests_since(since)):
            assert time.monotonic() < give_up, "never asked"
            time.sleep(0.02)
        act()
        return run.result()


# Orders


def test_an_order_that_is_paid_while_it_is_closed_is_asked_about_again(house: House, books: Books):
    number = house.order()
    make_due(books, "orders", expires_at=ago(1))
    summary = during(house, "/close", lambda: house.box.pay(number, deliver=False))
    assert (summary["failed"], summary["changed"]) == (1, 0)
    assert stored(books, "orders", number) == ("PENDING", False, True)
    assert events(books) == []
    make_due(books, "orders")
    assert reconcile(house)["changed"] == 1
    assert stored(books, "orders", number) == ("PAID", False, False)
    assert events(books) == [("order.paid", number)]


def test_a_callback_that_comes_while_the_order_is_closed_counts(house: House, books: Books):
    number = house.order()
    make_due(books, "orders", expires_at=ago(1))
    during(house, "/close", lambda: house.box.pay(number))
    assert stored(books, "orders", number) == ("PAID", False, False)
    assert events(books) == [("order.paid", number)]


def test_an_order_whose_closing_has_no_answer_is_not_closed_here(house: House, books: Books):
    number = house.order()
    make_due(books, "orders", expires_at=ago(1))
    house.box.fault(**DONE, path="/close")
    assert reconcile(house)["failed"] == 1
    assert house.box.ledger.orders[number].state == "CLOSED"
    assert stored(books, "orders", number) == ("PENDING", False, True)
    house.box.clear_faults()
    make_due(books, "orders")
    assert reconcile(house)["changed"] == 1
    assert stored(books, "orders", number) == ("CLOSED", False, False)
    assert events(books) == [("order.closed", number)]


def test_a_closing_that_is_refused_again_and_again_is_tried_less_and_less_often(house: House, books: Books):
    house.box.fault("error", code="TRADE_ERROR", path="/close")
    for expired, soonest, latest in ((1, 50, 70), (600, 550, 650), (86400, 3500, 3700)):
        number = house.order()
        make_due(books, "orders", created_at=ago(90000), updated_at=ago(90000), expires_at=ago(expired))
        assert reconcile(house)["failed"] == 1
        row = house.store.order(number)
        assert row is not None
        assert row["state"] == "PENDING"
        assert soonest < (row["next_check_at"] - datetime.now(timezone.utc)).total_seconds() < latest
        books.change("DELETE FROM pay_orders")


def test_an_order_that_wechat_pay_never_got_is_closed_when_its_time_is_over(house: House, books: Books):
    number = fresh("ORDER")
    body = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
    unanswered(house, NOT_DONE, lambda: house.function.call("wxpay_order", body, MINI_PROGRAM))
    make_due(books, "orders")
    assert reconcile(house)["not_there"] == 1
    assert stored(books, "orders", number) == ("PENDING", True, True)
    make_due(books, "orders", expires_at=ago(1))
    reconcile(house)
    assert stored(books, "orders", number) == ("CLOSED", False, False)


def test_the_advised_times_and_the_end_are_when_an_open_order_is_asked_about(house: House, books: Books):
    """5 s, 30 s, 1, 3, 5, 10, 30 minutes after creation, hourly then [4012075249]; and when it expires."""
    planned = {2: 5, 7: 30, 33: 60, 70: 180, 200: 300, 400: 600, 700: 1800}
    numbers = {age: house.order() for age in (*planned, 2000, 8)}
    make_due(books, "orders")
    for age, number in numbers.items():
        expires = ago(-7200) if age != 8 else ago(-10)
        change(books, "orders", f"out_trade_no = '{number}'", created_at=ago(age), expires_at=expires)
    summary = reconcile(house)
    assert (summary["checked"], summary["changed"], summary["left"]) == (9, 0, 0)
    for age, number in numbers.items():
        row = house.store.order(number)
        assert row is not None
        after = (row["next_check_at"] - row["created_at"]).total_seconds()
        if age in planned:
            assert after == planned[age]
        elif age == 8:
            assert row["next_check_at"] == row["expires_at"]
        else:
            assert 2000 + 3590 < after < 2000 + 3660


def test_a_refusal_is_confirmed_once(house: House, books: Books):
    number = refused_order(house)
    assert stored(books, "orders", number) == ("REFUSED", False, True)
    make_due(books, "orders", expires_at=ago(1))
    since = house.box.requests[-1].id
    assert reconcile(house)["not_there"] == 1
    assert stored(books, "orders", number) == ("REFUSED", False, False)
    assert [request.method for request in house.box.requests_since(since)] == ["GET"]
    assert events(books) == []


@pytest.mark.parametrize("paid", [True, False])
def test_a_refused_order_that_is_there_all_the_same_goes_on(house: House, books: Books, paid: bool):
    number = house.order()
    make_due(books, "orders", state="'REFUSED'")
    if paid:
        house.box.pay(number, deliver=False)
        reconcile(house)
        assert stored(books, "orders", number) == ("PAID", False, False)
        return
    reconcile(house)
    assert stored(books, "orders", number) == ("PENDING", False, True)
    make_due(books, "orders", expires_at=ago(1))
    reconcile(house)
    assert stored(books, "orders", number) == ("CLOSED", False, False)
    assert house.box.ledger.orders[number].state == "CLOSED"


# Refunds


def test_an_abnormal_refund_is_told_once_and_followed_further(house: House, books: Books):
    order, number = house.paid(), fresh("REFUND")
    assert house.refund(order, 40, number=number).status == 200
    house.box.settle_refund(number, "ABNORMAL", deliver=False)
    for _ in range(2):
        make_due(books, "refunds")
        reconcile(house)
        assert stored(books, "refunds", number) == ("ABNORMAL", False, True)
    assert incidents(books) == [("refund_abnormal", number, 1)]
    assert house.refund(order, 40, number=number).status == 200  # the same once more is answered, and is no news
    assert stored(books, "refunds", number) == ("ABNORMAL", False, True)
    house.box.settle_refund(number, deliver=False)
    make_due(books, "refunds")
    reconcile(house)
    assert stored(books, "refunds", number) == ("SUCCESS", False, False)
    assert house.state(order) == "PARTIALLY_REFUNDED"


def test_the_amount_of_a_closed_refund_is_free_again(house: House, books: Books):
    order, number = house.paid(), fresh("REFUND")
    assert house.refund(order, 100, number=number).status == 200
    assert house.refund(order, 100).status == 409
    house.box.settle_refund(number, "CLOSED", deliver=False)
    make_due(books, "refunds")
    reconcile(house)
    assert stored(books, "refunds", number) == ("CLOSED", False, False)
    assert incidents(books) == [("refund_closed", number, 1)]
    assert house.refund(order, 100).status == 200


def test_a_refund_that_wechat_pay_never_got_is_free_after_a_minute(house: House, books: Books):
    order, number = house.paid(), fresh("REFUND")
    unanswered(house, NOT_DONE, lambda: house.refund(order, 100, number=number))
    make_due(books, "refunds")
    assert reconcile(house)["not_there"] == 1
    assert stored(books, "refunds", number) == ("PENDING", True, True)
    assert house.refund(order, 100).status == 409
    make_due(books, "refunds", updated_at=ago(61))
    reconcile(house)
    assert stored(books, "refunds", number) == ("REFUSED", False, False)
    assert house.refund(order, 100).status == 200


def test_a_refund_that_wechat_pay_got_is_not_free(house: House, books: Books):
    order, number = house.paid(), fresh("REFUND")
    unanswered(house, DONE, lambda: house.refund(order, 100, number=number))
    make_due(books, "refunds", updated_at=ago(61))
    assert reconcile(house)["changed"] == 1
    assert stored(books, "refunds", number) == ("PROCESSING", False, True)
    assert house.refund(order, 100).status == 409


def test_an_accepted_refund_that_wechat_pay_does_not_know_is_an_incident(house: House, books: Books):
    order, number = house.paid(), fresh("REFUND")
    assert house.refund(order, 100, number=number).status == 200
    del house.box.ledger.refunds[number]
    for times in (1, 2):
        make_due(books, "refunds", updated_at=ago(61))
        reconcile(house)
        assert stored(books, "refunds", number) == ("PROCESSING", False, True)
        assert incidents(books) == [("not_at_wechat_pay", number, times)]


# Transfers


@pytest.mark.parametrize("end", ["SUCCESS", "FAIL", "CANCELLED"])
def test_a_transfer_is_followed_to_its_end(house: House, books: Books, end: str):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    make_due(books, "transfers")
    reconcile(house)
    assert stored(books, "transfers", number) == ("WAIT_USER_CONFIRM", False, True)
    house.box.finish_transfer(number, end, deliver=False)
    make_due(books, "transfers")
    reconcile(house)
    assert stored(books, "transfers", number) == (end, False, False)
    assert events(books) == [("transfer.finished", number)]


def test_a_transfer_that_wechat_pay_never_got_is_free_after_a_minute(house: House, books: Books):
    number = fresh("BILL")
    unanswered(house, NOT_DONE, lambda: house.transfer(number=number))
    make_due(books, "transfers")
    reconcile(house)
    assert stored(books, "transfers", number) == ("PENDING", True, True)
    make_due(books, "transfers", updated_at=ago(61))
    reconcile(house)
    assert stored(books, "transfers", number) == ("REFUSED", False, False)


def test_a_transfer_that_is_too_old_to_be_asked_about_is_never_free(house: House, books: Books):
    number, month = fresh("BILL"), 31 * 86400
    unanswered(house, NOT_DONE, lambda: house.transfer(number=number))
    make_due(books, "transfers", created_at=ago(month), updated_at=ago(month))
    reconcile(house)
    assert stored(books, "transfers", number) == ("PENDING", True, False)
    assert incidents(books) == [("not_at_wechat_pay", number, 1)]


# WeChat Pay does not answer, or answers nothing that counts


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "unsigned_404"},
        {"kind": "error", "code": "MCH_NOT_EXISTS", "status": 404},
        {"kind": "error", "code": "NO_AUTH"},
        {"kind": "frequency_limited"},
        {"kind": "system_error"},
        {"kind": "html_502"},
        {"kind": "not_json"},
        {"kind": "bad_signature"},
        {"kind": "refuse"},
    ],
    ids=lambda fault: fault.get("code", fault["kind"]),
)
def test_nothing_moves_on_what_proves_nothing(house: House, books: Books, fault: dict[str, Any]):
    paid, order, refund, transfer = house.paid(), house.order(), fresh("REFUND"), fresh("BILL")
    unanswered(house, NOT_DONE, lambda: house.refund(paid, 100, number=refund))
    unanswered(house, NOT_DONE, lambda: house.transfer(number=transfer))
    make_due(books, "orders", expires_at=ago(1))
    for table in ("refunds", "transfers"):
        make_due(books, table, updated_at=ago(61))
    house.box.fault(**fault)
    summary = reconcile(house)
    assert (summary["checked"], summary["failed"], summary["changed"], summary["left"]) == (3, 3, 0, 0)
    assert stored(books, "orders", order) == ("PENDING", False, True)
    assert stored(books, "refunds", refund) == ("PENDING", True, True)
    assert stored(books, "transfers", transfer) == ("PENDING", True, True)
    house.box.clear_faults()
    make_due(books, "orders")
    for table in ("refunds", "transfers"):
        make_due(books, table, updated_at=ago(61))
    assert reconcile(house)["changed"] == 3
    assert house.box.ledger.orders[order].state == house.state(order) == "CLOSED"


def test_an_answer_without_a_state_stops_nobody_else(
    house: House, books: Books, monkeypatch: pytest.MonkeyPatch
):
    bad, good = house.order(), house.order()
    house.box.pay(good, deliver=False)
    make_due(books, "orders")
    whole = views.order

    def without_state(order: Any, mchid: str) -> dict[str, Any]:
        shown = whole(order, mchid)
        return {name: value for name, value in shown.items() if name != "trade_state" or order.number != bad}

    monkeypatch.setattr(views, "order", without_state)
    summary = reconcile(house)
    assert (summary["failed"], summary["changed"]) == (1, 1)
    assert (house.state(bad), house.state(good)) == ("PENDING", "PAID")


def test_after_too_many_questions_a_run_asks_no_more_of_their_kind(house: House, books: Books, store: Store):
    store_due(store, house.box, 60, paid_every=100)
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    make_due(books, "transfers")
    house.box.fault("frequency_limited", path="/v3/pay/")
    since = house.box.requests[-1].id
    summary = reconcile(house)
    asked = Counter(request.path.split("/")[2] for request in house.box.requests_since(since))
    assert summary["checked"] - 1 == summary["failed"] <= 8  # by those who asked at the same time
    assert asked["pay"] <= 16
    assert asked["fund-app"] == 1
    assert summary["left"] == 60 - summary["failed"]
    assert books.rows("SELECT SUM(checks) FROM pay_orders") == [(summary["failed"],)]


# Order and company


def test_what_may_have_happened_is_asked_about_first(house: House, books: Books):
    known = [house.order() for _ in range(3)]
    paid, transfer, order = house.paid(), fresh("BILL"), fresh("ORDER")
    assert house.refund(paid, 10, number="R" + paid).status == 200
    body = {"description": "tea", "out_trade_no": order, "amount": {"total": 100}}
    unanswered(house, DONE, lambda: house.function.call("wxpay_order", body, MINI_PROGRAM))
    unanswered(house, DONE, lambda: house.transfer(number=transfer))
    for table in NUMBERS:
        make_due(books, table)
    since = house.box.requests[-1].id
    assert reconcile(house, limit=2) | {"seconds": 0} == {
        "checked": 2, "changed": 2, "not_there": 0, "failed": 0, "left": 4, "delivered": 0, "undelivered": 0,
        "dead": 0, "seconds": 0,
    }  # fmt: skip
    assert asked(house.box.requests_since(since), [order, transfer]) == {order: 1, transfer: 1}
    reconcile(house)
    assert asked(house.box.requests_since(since), [*known, "R" + paid]) == dict.fromkeys([*known, "R" + paid], 1)


def test_two_runs_of_one_process_never_ask_about_the_same(house: House, books: Books, store: Store):
    store_due(store, house.box, 120, paid_every=2)
    make_due(books, "orders", created_at=ago(7000))
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: reconcile(house), range(3)))
    assert sum(run["checked"] for run in runs) == 120
    assert sum(run["changed"] for run in runs) == 60
    numbers = [number for (number,) in books.rows("SELECT out_trade_no FROM pay_orders")]
    assert asked(house.box.requests, numbers) == dict.fromkeys(numbers, 1)
    assert Counter(books.states().values()) == {"PAID": 60, "PENDING": 60}


def test_what_becomes_due_while_it_is_asked_about_stays_due(house: House, books: Books):
    number = house.order()
    make_due(books, "orders")
    since = house.box.requests[-1].id
    during(house, number, lambda: make_due(books, "orders"))
    assert asked(house.box.requests_since(since), [number]) == {number: 2}


def test_a_run_that_is_killed_leaves_nothing_undone(box: Sandbox, database_url: str, books: Books, store: Store):
    store_due(store, box, 300, paid_every=1)
    box.fault("latency", seconds=0.1)
    killed = reconcile_command(box, database_url)
    give_up = time.monotonic() + 60
    while sum("MANY" in request.target for request in box.requests) < 120:  # in the midst of the third batch
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    box.clear_faults()
    assert Counter(books.states().values()) == {"PAID": 100, "PENDING": 200}
    summary, _, _ = ended(reconcile_command(box, database_url))
    assert (summary["changed"], summary["left"]) == (150, 0)  # the third batch is leased for two minutes
    make_due(books, "orders")
    assert ended(reconcile_command(box, database_url))[0]["changed"] == 50
    assert set(books.states().values()) == {"PAID"}
    assert len(events(books)) == len(set(events(books))) == 300


def asked(requests: list[ApiRequest], numbers: list[str]) -> dict[str, int]:
    """How often each number was asked about."""
    found = Counter(request.path.split("/")[-1] for request in requests)
    return {number: count for number, count in found.items() if number in numbers}
