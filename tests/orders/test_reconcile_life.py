"""What callbacks did not tell, a reconcile run finds out, on each database."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from services.orders.columns import now
from services.orders.schema import orders, refunds, transfers
from tests.orders.house import OPERATOR, House


def make_due(house: House, **values) -> None:
    """As if time had passed: everything open is due; `values` are set on orders too."""
    with house.store.database.engine.begin() as connection:
        for table in (orders, refunds, transfers):
            planned = update(table).where(table.c.next_check_at.is_not(None))
            connection.execute(planned.values(next_check_at=now() - timedelta(seconds=1)))
        if values:
            connection.execute(update(orders).values(**values))


def reconcile(house: House) -> dict:
    reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
    assert reply.status == 200, reply.text
    return reply.body["data"]["data"]


def test_a_payment_whose_callback_was_lost_is_found(house: House):
    number, other = house.order(), house.order()
    house.box.pay(number, deliver=False)
    make_due(house)
    assert reconcile(house)["changed"] == 1
    assert (house.state(number), house.state(other)) == ("PAID", "PENDING")


def test_an_answer_that_cannot_be_stored_keeps_no_other_back(house: House, database_kind: str):
    strange, other = house.order(), house.order()
    for number in (strange, other):
        house.box.pay(number, deliver=False)
    house.box.ledger.orders[strange].transaction_id = "4" * 40  # longer than any documented one, and than its column
    make_due(house)
    assert reconcile(house)["changed"] == (2 if database_kind == "sqlite" else 1)
    assert house.state(other) == "PAID"
    assert house.state(strange) == ("PAID" if database_kind == "sqlite" else "PENDING")


def test_an_order_past_its_time_is_closed_at_both_sides(house: House):
    number = house.order()
    make_due(house, expires_at=now() - timedelta(seconds=1))
    assert reconcile(house)["changed"] == 1
    assert house.state(number) == "CLOSED"
    assert house.box.ledger.orders[number].state == "CLOSED"


def test_refunds_and_transfers_are_followed_to_their_ends(house: House):
    number = house.paid()
    assert house.refund(number, 40, number="R0001").status == 200
    assert house.transfer(number="T0001").status == 200
    house.box.settle_refund("R0001", deliver=False)
    house.box.finish_transfer("T0001", deliver=False)
    make_due(house)
    summary = reconcile(house)
    assert (summary["changed"], summary["left"]) == (2, 0)
    assert house.state(number) == "PARTIALLY_REFUNDED"
    refund, transfer = house.store.refund("R0001"), house.store.transfer("T0001")
    assert refund is not None
    assert transfer is not None
    assert (refund["state"], transfer["state"]) == ("SUCCESS", "SUCCESS")
