"""Refunds: what the merchant asked for, what was made elsewhere, and what comes in any order."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from services.orders.schema import events, incidents, orders, refunds
from tests.orders.house import OPERATOR, House, fresh
from tests.orders.test_callbacks import changed, refunded, rows, told
from tests.support import Reply


def by_transaction(house: House, transaction_id: str, cents: int, number: str = "", total: int = 100) -> Reply:
    body = {
        "transaction_id": transaction_id,
        "out_refund_no": number or fresh("REFUND"),
        "amount": {"refund": cents, "total": total},
    }
    return house.function.call("wxpay_refund", body, OPERATOR)


def elsewhere(house: House, order: str, cents: int, number: str) -> None:
    """A refund that the merchant made by hand, past this function."""
    amount = {"refund": cents, "total": 100, "currency": "CNY"}
    house.box.ledger.refund({"out_trade_no": order, "out_refund_no": number, "amount": amount})


def asked(house: House) -> list[dict]:
    """The refunds that WeChat Pay was asked for."""
    return [r.json for r in house.box.requests if r.method == "POST" and r.target.endswith("/refunds")]


def stored(house: House, number: str) -> dict:
    (row,) = rows(house, refunds, out_refund_no=number)
    return row


def test_the_refund_is_in_the_database_while_wechat_pay_is_asked(house: House):
    order, number = house.paid(), fresh("REFUND")
    house.box.fault("latency", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(house.refund, order, 70, number=number)
        while not (found := rows(house, refunds, out_refund_no=number)):
            assert not asking.done()
        seen = (found[0]["state"], found[0]["unknown"], found[0]["amount"], asking.done())
        while_asked = house.refund(order, 40)
        assert asking.result().status == 200
    assert seen == ("PENDING", True, 70, False)
    assert while_asked.status == 409
    assert [body["amount"]["refund"] for body in asked(house)] == [70]


def test_a_refund_of_a_payment_that_nobody_told_counts_once_it_is_known(house: House):
    """By transaction_id it can be asked for before the order is known as paid; it takes from the same sum."""
    order = house.order()
    house.box.pay(order, deliver=False)
    transaction = house.box.ledger.orders[order].transaction_id
    first = fresh("REFUND")
    assert by_transaction(house, transaction, 70, first).status == 200
    assert house.box.deliver("order", order)[0].acknowledged
    assert house.refund(order, 31).status == 409
    assert by_transaction(house, transaction, 31).status == 409
    assert len(asked(house)) == 1
    second = refunded(house, order, 30)
    for number in (second, first):
        house.box.settle_refund(number)
    row = house.store.order(order)
    assert row is not None
    assert (row["state"], row["refunded"]) == ("REFUND", 100)
    assert stored(house, first)["out_trade_no"] == order


def test_an_abnormal_refund_that_is_sent_again_is_still_abnormal(house: House):
    """WeChat Pay answers a repetition with what the refund is."""
    order = house.paid()
    number = refunded(house, order, 100)
    house.box.settle_refund(number, "ABNORMAL")
    reply = house.refund(order, 100, number=number)
    assert (reply.status, reply.body["data"]["data"]["status"]) == (200, "ABNORMAL")
    assert stored(house, number)["state"] == "ABNORMAL"
    house.box.settle_refund(number)
    assert (stored(house, number)["state"], house.state(order)) == ("SUCCESS", "REFUND")


def test_a_repetition_sends_what_was_stored_and_another_is_refused(house: House):
    order, number = house.paid(), fresh("REFUND")
    for _ in range(2):
        assert house.refund(order, 60, number=number, reason="坏了").status == 200
    assert asked(house)[0] == asked(house)[1]
    twin = house.paid()
    for other in (
        lambda: house.refund(order, 61, number=number, reason="坏了"),
        lambda: house.refund(order, 60, number=number),
        lambda: house.refund(twin, 60, number=number, reason="坏了"),
    ):
        assert other().status == 409
    assert len(asked(house)) == 2
    assert stored(house, number)["attempts"] == 2


def test_a_closed_refund_needs_a_new_number(house: House):
    order = house.paid()
    number = refunded(house, order, 100)
    house.box.settle_refund(number, "CLOSED")
    for _ in range(2):
        house.box.deliver("refund", number)
    reply = house.refund(order, 100, number=number)
    assert (reply.status, len(asked(house))) == (409, 1)
    assert "new number" in reply.body["msg"]
    assert house.state(order) == "PAID"
    house.box.settle_refund(refunded(house, order, 100))
    assert house.state(order) == "REFUND"
    assert [event["type"] for event in rows(house, events)].count("refund.succeeded") == 1


@pytest.mark.parametrize("order", ["NOSUCHORDER01", "elsewhere"])
def test_a_refund_of_an_order_from_elsewhere_keeps_its_own_sum(house: House, order: str):
    if order == "elsewhere":
        order = house.paid()
        with house.store.database.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM pay_orders")
    first = house.refund(order, 60)
    assert first.status == (404 if order.startswith("NO") else 200), first.text
    if first.status == 200:
        assert house.refund(order, 41).status == 409
        house.box.settle_refund(first.body["data"]["data"]["out_refund_no"])
        assert [row["state"] for row in rows(house, refunds)] == ["SUCCESS"]
        assert [event["type"] for event in rows(house, events, type="refund.succeeded")] == ["refund.succeeded"]
    else:
        assert [row["state"] for row in rows(house, refunds)] == ["REFUSED"]


def test_a_refund_made_elsewhere_is_taken_in_and_counts(house: House):
    order = house.paid()
    elsewhere(house, order, 60, "BYHAND1")
    house.box.settle_refund("BYHAND1", deliver=False)
    for _ in range(2):
        assert told(house, "refund", house.box.plaintext("refund", "BYHAND1")).body["code"] == "SUCCESS"
    row = house.store.order(order)
    assert row is not None
    assert (row["state"], row["refunded"]) == ("PARTIALLY_REFUNDED", 60)
    assert house.refund(order, 41).status == 409
    assert [event["number"] for event in rows(house, events, type="refund.succeeded")] == ["BYHAND1"]
    reply = house.function.call("wxpay_refund_query", {"out_refund_no": "BYHAND1"})
    assert reply.status == 200  # its order is the caller's


def test_refunds_made_elsewhere_that_exceed_their_order_are_counted_and_are_an_incident(house: House):
    order = house.paid()
    elsewhere(house, order, 60, "BYHAND5")
    house.box.settle_refund("BYHAND5", deliver=False)
    first = house.box.plaintext("refund", "BYHAND5")
    for plaintext in (first, first | {"out_refund_no": "BYHAND6", "refund_id": "50300000000000000000000000006"}):
        assert told(house, "refund", plaintext).body["code"] == "SUCCESS"
    row = house.store.order(order)
    assert row is not None
    assert (row["state"], row["refunded"]) == ("REFUND", 120)
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["number"]) == ("refunded_too_much", order)
    assert "120 cents were refunded" in incident["message"]


def test_a_refund_of_an_order_that_is_not_known_as_paid_has_it_asked_about(house: House):
    order = house.order()
    house.box.pay(order, deliver=False)
    elsewhere(house, order, 60, "BYHAND2")
    house.box.settle_refund("BYHAND2", deliver=False)
    with house.store.database.engine.begin() as connection:
        connection.execute(update(orders).values(next_check_at=None))  # not due for anything else
    assert told(house, "refund", house.box.plaintext("refund", "BYHAND2")).body["code"] == "SUCCESS"
    assert house.state(order) == "PENDING"
    assert house.function.call("wxpay_reconcile", {}, OPERATOR).status == 200
    assert house.state(order) == "PARTIALLY_REFUNDED"
    paid, back = rows(house, events, type="order.paid"), rows(house, events, type="refund.succeeded")
    assert (len(paid), len(back)) == (1, 1)


def test_a_refund_of_what_nobody_knows_is_one_incident(house: House):
    order = house.paid()
    number = refunded(house, order, 60)
    house.box.settle_refund(number, deliver=False)
    strange = changed(house.box.plaintext("refund", number), "out_trade_no", "NOSUCHORDER01")
    strange["out_refund_no"] = "NOSUCHREFUND1"
    for _ in range(3):
        assert told(house, "refund", strange).body["code"] == "SUCCESS"
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["number"], incident["times"]) == ("unknown_refund", "NOSUCHREFUND1", 3)
    assert house.state(order) == "PAID"


MISFITS = {
    "another amount": ("amount.refund", 61),
    "the amount as text": ("amount.refund", "60"),
    "another total": ("amount.total", 101),
    "another order": ("out_trade_no", "NOSUCHORDER01"),
    "another payment": ("transaction_id", "4200000000000000000000000009"),
}


@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("status", ["SUCCESS", "CLOSED"])
def test_a_refund_that_does_not_fit_moves_nothing(house: House, what: str, status: str):
    order = house.paid()
    number = refunded(house, order, 60)
    house.box.settle_refund(number, status, deliver=False)
    wrong = changed(house.box.plaintext("refund", number), *MISFITS[what])
    for _ in range(2):
        assert told(house, "refund", wrong).body["code"] == "SUCCESS"
    assert (stored(house, number)["state"], house.state(order)) == ("PROCESSING", "PAID")
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["times"]) == ("refund_mismatch", 2)
    assert rows(house, events, type="refund.succeeded") == []
    assert house.box.deliver("refund", number)[0].acknowledged
    assert stored(house, number)["state"] == status


@pytest.mark.parametrize("first", ["SUCCESS", "CLOSED"])
def test_two_ends_of_one_refund_are_an_incident(house: House, first: str):
    order = house.paid()
    number = refunded(house, order, 60)
    house.box.settle_refund(number, first)
    contrary = "CLOSED" if first == "SUCCESS" else "SUCCESS"
    other = changed(house.box.plaintext("refund", number), "refund_status", contrary)
    assert told(house, "refund", other).body["code"] == "SUCCESS"
    assert stored(house, number)["state"] == first
    assert "refund_contradiction" in [incident["kind"] for incident in rows(house, incidents)]
    row = house.store.order(order)
    assert row is not None
    assert row["refunded"] == (60 if first == "SUCCESS" else 0)


def test_ends_of_several_refunds_at_once_all_count(house: House):
    order = house.paid()
    numbers = [refunded(house, order, 10) for _ in range(10)]
    for number in numbers:
        house.box.settle_refund(number, deliver=False)
    with ThreadPoolExecutor(10) as pool:
        told_of = list(pool.map(lambda number: house.box.deliver("refund", number), numbers * 2))
    for number, (delivery,) in zip(numbers * 2, told_of, strict=True):
        if not delivery.acknowledged:  # its twin was being handled
            assert house.box.deliver("refund", number)[0].acknowledged
    row = house.store.order(order)
    assert row is not None
    assert (row["state"], row["refunded"]) == ("REFUND", 100)
    assert len(rows(house, events, type="refund.succeeded")) == 10


def test_what_the_hook_is_told_is_what_wechat_pay_said(house: House):
    order = house.paid()
    number = refunded(house, order, 60, reason="坏了")
    house.box.settle_refund(number)
    said = house.box.plaintext("refund", number)
    (event,) = rows(house, events, type="refund.succeeded")
    payload = json.loads(event["payload"])
    assert payload["amount"] == {"refund": 60, "total": 100, "currency": "CNY"}
    assert payload["refund_id"] == said["refund_id"]
    assert payload["transaction_id"] == said["transaction_id"]
    assert payload["received_account"] == said["user_received_account"]
    assert (payload["out_trade_no"], payload["state"], payload["reason"]) == (order, "SUCCESS", "坏了")
