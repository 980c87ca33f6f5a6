"""A day's bill against what is stored, on each database: a planted set of every difference, over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import delete, update

from services.orders.schema import incidents, orders, refunds, transfers
from tests.orders.house import OPERATOR, House

BEIJING = timezone(timedelta(hours=8))


def business_day(house: House) -> str:
    return datetime.fromtimestamp(house.box.clock.now(), BEIJING).date().isoformat()


@pytest.fixture
def day(house: House) -> str:
    """Noon of a business day, so that no test crosses midnight; the store's clock is the machine's."""
    now = datetime.fromtimestamp(house.box.clock.now(), BEIJING)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    house.box.advance(((noon - now).total_seconds()) % 86400)
    return business_day(house)


def bill(house: House, action: str, day: str, **more):
    house.box.advance("1d")
    reply = house.function.call(action, {"bill_date": day, **more}, OPERATOR)
    assert reply.status == 200, reply.text
    return reply.body["data"]["data"]


def write(house: House, *statements) -> None:
    with house.store.database.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def found(answer) -> set[tuple[str, str, str]]:
    return {(one["class"], one["kind"], one["number"]) for one in answer["differences"]}


def test_a_trade_bill_finds_every_planted_difference_and_no_other(house: House, day: str):
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=BEIJING)
    fine, lost, forgotten, other_amount, _fine_too = (house.paid() for _ in range(5))
    unpaid = house.order()
    for number, refund in ((fine, "RFINE"), (fine, "RFORGOTTEN"), (lost, "ROTHER")):
        assert house.refund(number, 10, number=refund).status == 200
        house.box.settle_refund(refund)
    assert house.refund(fine, 10, number="RBEHIND").status == 200
    house.box.settle_refund("RBEHIND", deliver=False)
    paid_here_only = house.order(total=77)
    write(
        house,
        update(orders).where(orders.c.out_trade_no == lost).values(state="PENDING"),
        delete(orders).where(orders.c.out_trade_no == forgotten),
        update(orders).where(orders.c.out_trade_no == other_amount).values(total=101),
        update(orders).where(orders.c.out_trade_no == paid_here_only).values(state="PAID", paid_at=noon),
        delete(refunds).where(refunds.c.out_refund_no == "RFORGOTTEN"),
        update(refunds).where(refunds.c.out_refund_no == "ROTHER").values(amount=11),
    )
    expected = {
        ("state_differs", "order", lost),
        ("missing_here", "order", forgotten),
        ("amount_differs", "order", other_amount),
        ("missing_there", "order", paid_here_only),
        ("missing_here", "refund", "RFORGOTTEN"),
        ("amount_differs", "refund", "ROTHER"),
        ("state_differs", "refund", "RBEHIND"),
    }
    for _ in range(2):
        answer = bill(house, "wxpay_trade_bill", day)
        assert found(answer) == expected
        assert answer["counts"]["matched"] == 3  # two orders and RFINE
        assert (answer["rows"], answer["totals"]) == (9, {"order": 500, "refund": 40})
        with house.store.database.reading() as connection:
            kept = connection.execute(incidents.select().order_by(incidents.c.id)).mappings().all()
        told = {(row["kind"], row["number"]) for row in kept}
        assert told == {(f"bill_{found}", number) for found, _, number in expected}
    assert {row["times"] for row in kept} == {2}
    assert house.state(unpaid) == "PENDING"
    reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
    assert reply.body["data"]["data"]["changed"] >= 1
    assert house.state(lost) == "PARTIALLY_REFUNDED"  # the bill made it due


def test_a_basic_fundflow_bill_is_compared_with_payments_and_refunds(house: House, day: str):
    number, forgotten = house.paid(), house.paid()
    assert house.refund(number, 10, number="R1").status == 200
    house.box.settle_refund("R1")
    write(house, delete(orders).where(orders.c.out_trade_no == forgotten))
    answer = bill(house, "wxpay_fundflow_bill", day)
    assert found(answer) == {("missing_here", "order", forgotten)}
    assert answer["counts"]["matched"] == 2


def test_an_operation_fundflow_bill_is_compared_with_transfers(house: House, day: str):
    house.box.merchant.change(funds={"OPERATION": 1_000_000})
    for number in ("PAIDOUT", "CAMEBACK", "FORGOTTEN", "OTHERAMOUNT"):
        assert house.transfer(number=number).status == 200
        house.box.finish_transfer(number, "FAIL" if number == "CAMEBACK" else "SUCCESS")
    write(
        house,
        delete(transfers).where(transfers.c.out_bill_no == "FORGOTTEN"),
        update(transfers).where(transfers.c.out_bill_no == "OTHERAMOUNT").values(amount=99),
    )
    answer = bill(house, "wxpay_fundflow_bill", day, account_type="OPERATION")
    assert found(answer) == {("missing_here", "transfer", "FORGOTTEN"), ("amount_differs", "transfer", "OTHERAMOUNT")}
    assert answer["counts"]["matched"] == 1


def test_a_day_without_trades_has_an_empty_bill(house: House, day: str):
    answer = bill(house, "wxpay_trade_bill", day)
    assert (answer["rows"], answer["differences"], answer["truncated"]) == (0, [], False)


def test_a_bill_that_is_not_made_yet_is_said_to_be_so(house: House, day: str):
    reply = house.function.call("wxpay_trade_bill", {"bill_date": day}, OPERATOR)
    assert reply.status == 400
    assert "bill_date" in reply.text or "STATEMENT_CREATING" in reply.text
