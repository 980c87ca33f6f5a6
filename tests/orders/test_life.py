"""An order's whole life, over HTTP, on each database."""

from __future__ import annotations

from tests.orders.house import House


def test_an_order_is_written_before_it_is_paid_and_paid_by_its_callback(house: House):
    number = house.order()
    assert house.state(number) == "PENDING"
    assert [delivery.acknowledged for delivery in house.box.pay(number, twice=True)] == [True, True]
    row = house.store.order(number)
    assert row is not None
    assert (row["state"], row["payer_total"]) == ("PAID", 100)
    assert row["transaction_id"] == house.box.ledger.orders[number].transaction_id


def test_refunds_add_up(house: House):
    number = house.paid()
    for cents, state in ((30, "PARTIALLY_REFUNDED"), (70, "REFUND")):
        reply = house.refund(number, cents)
        assert reply.status == 200, reply.text
        house.box.settle_refund(reply.body["data"]["data"]["out_refund_no"])
        assert house.state(number) == state
    assert house.refund(number, 1).status == 409
