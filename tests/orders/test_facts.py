"""What each thing that WeChat Pay may say does to what is stored: pure decisions, case by case."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from services.orders import states
from services.orders.facts import (
    FACTS,
    Decision,
    Incident,
    PaymentFact,
    RefundFact,
    TransferFact,
    decide_payment,
    decide_refund,
    decide_transfer,
    is_from_elsewhere,
    moment,
)

PLACED = datetime(2026, 1, 31, 4, 0, tzinfo=timezone.utc)
PAID_AT = datetime(2026, 1, 31, 4, 1, tzinfo=timezone.utc)
EXPIRES = datetime(2026, 1, 31, 4, 10, tzinfo=timezone.utc)

# What is stored


def order(**changes: Any) -> dict[str, Any]:
    return {
        "out_trade_no": "ORDER1",
        "state": "PENDING",
        "unknown": True,
        "mchid": "1900000001",
        "appid": "wx1",
        "total": 200,
        "currency": "CNY",
        "refunded": 0,
        "transaction_id": None,
        "created_at": PLACED,
        "expires_at": EXPIRES,
    } | changes


def refund(**changes: Any) -> dict[str, Any]:
    return {
        "out_refund_no": "REFUND1",
        "state": "PROCESSING",
        "unknown": False,
        "amount": 50,
        "total": 200,
        "out_trade_no": "ORDER1",
        "transaction_id": "T1",
        "refund_id": "R1",
        "received_account": "bank 0403",
    } | changes


def transfer(**changes: Any) -> dict[str, Any]:
    return {
        "out_bill_no": "BILL1",
        "state": "WAIT_USER_CONFIRM",
        "unknown": True,
        "amount": 30,
        "openid": "o1",
        "appid": "wx1",
        "transfer_bill_no": "B1",
        "package_info": "package",
    } | changes


# What WeChat Pay says


def paid(**changes: Any) -> PaymentFact:
    told = {
        "out_trade_no": "ORDER1",
        "trade_state": "SUCCESS",
        "mchid": "1900000001",
        "appid": "wx1",
        "transaction_id": "T1",
        "trade_type": "JSAPI",
        "bank_type": "CIB_DEBIT",
        "success_time": "2026-01-31T12:01:00+08:00",
        "payer": {"openid": "o1"},
        "amount": {"total": 200, "payer_total": 190, "currency": "CNY"},
    }
    return PaymentFact.read(told | changes)


def refunded(**changes: Any) -> RefundFact:
    told = {
        "out_refund_no": "REFUND1",
        "refund_status": "SUCCESS",
        "out_trade_no": "ORDER1",
        "transaction_id": "T1",
        "refund_id": "R1",
        "amount": {"refund": 50, "total": 200},
        "user_received_account": "bank 0404",
        "success_time": "2026-01-31T12:01:00+08:00",
    }
    return RefundFact.read(told | changes)


def sent(**changes: Any) -> TransferFact:
    told = {
        "out_bill_no": "BILL1",
        "state": "SUCCESS",
        "transfer_bill_no": "B1",
        "appid": "wx1",
        "transfer_amount": 30,
        "openid": "o1",
        "update_time": "2026-01-31T12:01:00+08:00",
    }
    return TransferFact.read(told | changes)


PAYMENT_DETAILS = {
    "transaction_id": "T1",
    "trade_type": "JSAPI",
    "bank_type": "CIB_DEBIT",
    "payer": "o1",
    "payer_total": 190,
    "paid_at": PAID_AT,
}
STATED = {"total": 200, "currency": "CNY", "transaction_id": "T1"}
NOTHING = Decision("repeated", {}, "", None, 0, False)


# Reading


def test_a_payment_is_read() -> None:
    assert paid() == PaymentFact(
        "ORDER1", "SUCCESS", "1900000001", "wx1", "T1", 200, "CNY", 190, "o1", "JSAPI", "CIB_DEBIT", PAID_AT
    )
    bare = PaymentFact.read({"out_trade_no": "ORDER1", "trade_state": "NOTPAY", "amount": [1], "payer": "o1"})
    assert bare == PaymentFact("ORDER1", "NOTPAY", *[None] * 10)


def test_a_refund_is_read() -> None:
    read = RefundFact("REFUND1", "SUCCESS", "ORDER1", "T1", "R1", 50, 200, "bank 0404", PAID_AT)
    assert refunded() == read
    assert refunded(refund_status=None, status="SUCCESS") == read, "as a query names it"
    assert refunded(status="CLOSED") == read, "as a notification names it"
    bare = RefundFact.read({"out_refund_no": "REFUND1", "status": "CLOSED", "amount": None})
    assert bare == RefundFact("REFUND1", "CLOSED", *[None] * 7)


def test_a_transfer_is_read() -> None:
    read = TransferFact("BILL1", "FAIL", "B1", "wx1", 30, "o1", "package", "PAYEE_ACCOUNT_ABNORMAL", PAID_AT)
    assert sent(state="FAIL", package_info="package", fail_reason="PAYEE_ACCOUNT_ABNORMAL") == read
    assert TransferFact.read({"out_bill_no": "B", "state": "FAIL"}) == TransferFact("B", "FAIL", *[None] * 7)


def test_each_kind_of_notification_has_its_fact() -> None:
    facts = {name: kind.read({"out_trade_no": "N", "trade_state": "S", "out_refund_no": "N", "refund_status": "S",
                              "out_bill_no": "N", "state": "S"}) for name, kind in FACTS.items()}  # fmt: skip
    assert {name: type(fact) for name, fact in facts.items()} == {
        "payment": PaymentFact,
        "refund": RefundFact,
        "transfer": TransferFact,
    }


def test_an_incident_without_details_has_none() -> None:
    assert Incident("kind", "N", "text").details == {}


@pytest.mark.parametrize("value", [None, 5, ["x"], {"x": 1}])
def test_a_description_that_is_no_text_is_none(value: Any) -> None:
    assert (paid(trade_type=value).trade_type, paid(bank_type=value).bank_type) == (None, None)
    assert refunded(user_received_account=value).received_account is None
    assert sent(fail_reason=value).fail_reason is None


def test_a_description_is_cut_to_its_column() -> None:
    long = "".join(chr(0x4E00 + number) for number in range(300))
    fact = paid(trade_type=long, bank_type=long)
    assert (fact.trade_type, fact.bank_type) == (long[:16], long[:32])
    assert refunded(user_received_account=long).received_account == long[:128]
    assert sent(fail_reason=long).fail_reason == long[:256]


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-01-31T12:01:00+08:00", 0),
        ("2026-01-31T04:01:00Z", 0),
        ("2026-01-31T04:01:00+00:00", 0),
        ("2026-01-31T12:01:00.5+08:00", 500000),
        ("2026-01-31T12:01:00.12+08:00", 120000),
        ("2026-01-31T12:01:00.123456789+08:00", 123456),
        ("2026-01-31T04:01:00.000001Z", 1),
        ("2026-01-30T23:01:00.25-05:00", 250000),
    ],
)
def test_a_time_is_read(text: str, microseconds: int) -> None:
    assert moment(text) == PAID_AT + timedelta(microseconds=microseconds)


@pytest.mark.parametrize(
    "text",
    [None, 5, "", "Z", "now", "2026-01-31T12:01:00", "2026-01-31", "2026-13-31T12:01:00Z", "2026-01-31T12:01:00.x"],
)
def test_what_is_no_time_is_none(text: Any) -> None:
    assert moment(text) is None


# Payments


@pytest.mark.parametrize("stored", ["PENDING", "REFUSED"])
@pytest.mark.parametrize("said", ["SUCCESS", "REFUND"])
@pytest.mark.parametrize("payer", ["o1", None])
def test_a_payment_that_fits_pays_its_order(stored: str, said: str, payer: str | None) -> None:
    values = PAYMENT_DETAILS | {"state": "PAID", "unknown": False, "next_check_at": None}
    decision = decide_payment(order(state=stored), paid(trade_state=said), payer)
    assert decision == Decision("applied", values, "order.paid")


def test_money_for_a_closed_order_counts_and_somebody_is_told() -> None:
    late = Incident(
        "paid_after_close", "ORDER1", "order ORDER1 was closed here, but 2.00 yuan arrived: deliver or refund", STATED
    )
    values = PAYMENT_DETAILS | {"state": "PAID", "unknown": False, "next_check_at": None}
    assert decide_payment(order(state="CLOSED"), paid(), "o1") == Decision("applied", values, "order.paid", late)


@pytest.mark.parametrize(("back", "state"), [(0, "PAID"), (1, "PARTIALLY_REFUNDED"), (199, "PARTIALLY_REFUNDED"),
                                             (200, "REFUND"), (201, "REFUND")])  # fmt: skip
def test_refunds_that_were_heard_of_first_count(back: int, state: str) -> None:
    assert decide_payment(order(refunded=back), paid(), None).values["state"] == state


@pytest.mark.parametrize("stored", ["PAID", "PARTIALLY_REFUNDED", "REFUND"])
@pytest.mark.parametrize("said", ["SUCCESS", "REFUND"])
def test_the_same_payment_again_changes_nothing(stored: str, said: str) -> None:
    known = order(state=stored, unknown=False, transaction_id="T1")
    assert decide_payment(known, paid(trade_state=said), "o1") == NOTHING


@pytest.mark.parametrize(
    ("stored", "told", "differing"),
    [
        ({}, {"mchid": "1900000002"}, "mchid"),
        ({}, {"mchid": None}, "mchid"),
        ({}, {"appid": "wx2"}, "appid"),
        ({}, {"amount": {"total": 199, "currency": "CNY"}}, "total"),
        ({}, {"amount": {"total": 201, "currency": "CNY"}}, "total"),
        ({}, {"amount": {"total": "200", "currency": "CNY"}}, "total"),
        ({}, {"amount": {"total": 200.0, "currency": "CNY"}}, "total"),
        ({"total": 1}, {"amount": {"total": True, "currency": "CNY"}}, "total"),
        ({}, {"amount": {"currency": "CNY"}}, "total"),
        ({}, {"amount": {"total": 200, "currency": "USD"}}, "currency"),
        ({}, {"payer": {"openid": "o2"}}, "payer"),
        ({"transaction_id": "T2"}, {}, "transaction_id"),
        ({"transaction_id": "T2", "state": "PAID"}, {}, "transaction_id"),
        ({}, {"success_time": "2026-01-31T11:54:59+08:00"}, "success_time"),
        ({}, {"appid": "wx2", "payer": {"openid": "o2"}}, "appid, payer"),
        ({"transaction_id": "T2"}, {"success_time": "2026-01-31T11:54:59+08:00"}, "transaction_id, success_time"),
    ],
)
def test_a_payment_that_does_not_fit_moves_nothing_and_somebody_is_told(
    stored: dict[str, Any], told: dict[str, Any], differing: str
) -> None:
    fact = paid(**told)
    decision = decide_payment(order(**stored), fact, "o1")
    said = {"total": fact.total, "currency": fact.currency, "transaction_id": "T1"}
    message = f"a payment for order ORDER1 does not fit it: {differing}"
    assert decision == Decision("incident", incident=Incident("payment_mismatch", "ORDER1", message, said))


@pytest.mark.parametrize(
    ("stored", "told", "payer"),
    [
        ({}, {"amount": {"total": 200}}, "o1"),
        ({}, {"payer": {"openid": "o2"}}, None),
        ({}, {"payer": {}}, "o1"),
        ({"transaction_id": "T1"}, {}, "o1"),
        ({}, {"success_time": "2026-01-31T11:55:00+08:00"}, "o1"),
        ({}, {"success_time": None}, "o1"),
    ],
    ids=["no currency", "anybody may pay", "no payer", "the number of before", "clocks apart", "no time"],
)
def test_what_is_not_said_or_not_asked_for_differs_in_nothing(
    stored: dict[str, Any], told: dict[str, Any], payer: str | None
) -> None:
    decision = decide_payment(order(**stored), paid(**told), payer)
    assert (decision.outcome, decision.values["state"], decision.event) == ("applied", "PAID", "order.paid")


@pytest.mark.parametrize(("total", "sum_"), [(200, "2.00 yuan"), (5, "0.05 yuan"), ("200", "an unreadable amount"),
                                             (True, "an unreadable amount")])  # fmt: skip
def test_money_for_an_order_that_is_not_stored_is_an_incident(total: Any, sum_: str) -> None:
    message = f"{sum_} arrived for order ORDER1, which is not stored here"
    decision = decide_payment(None, paid(amount={"total": total, "currency": "CNY"}), None)
    incident = Incident("payment_of_unknown_order", "ORDER1", message, STATED | {"total": total})
    assert decision == Decision("incident", incident=incident)


UNPAID = ("NOTPAY", "USERPAYING", "PAYERROR", "ACCEPT")


@pytest.mark.parametrize("said", [*UNPAID, "CLOSED", "REVOKED"])
def test_of_an_order_that_is_not_stored_nothing_else_matters(said: str) -> None:
    assert decide_payment(None, paid(trade_state=said), None) == NOTHING


@pytest.mark.parametrize("said", ["CLOSED", "REVOKED"])
def test_an_order_closes_unless_it_was_paid(said: str) -> None:
    closed = Decision("applied", {"state": "CLOSED", "unknown": False, "next_check_at": None}, "order.closed")
    for stored in ("PENDING", "REFUSED"):
        assert decide_payment(order(state=stored), paid(trade_state=said), None) == closed
    for stored in ("CLOSED", "PAID", "PARTIALLY_REFUNDED", "REFUND"):
        assert decide_payment(order(state=stored, unknown=False), paid(trade_state=said), None) == NOTHING


@pytest.mark.parametrize("said", UNPAID)
def test_an_unpaid_order_is_known_to_exist(said: str) -> None:
    fact = paid(trade_state=said)
    assert decide_payment(order(unknown=True), fact, None) == Decision("applied", {"unknown": False})
    assert decide_payment(order(unknown=False), fact, None) == NOTHING
    back = {"state": "PENDING", "unknown": False, "next_check_at": EXPIRES}
    for unknown in (True, False):
        assert decide_payment(order(state="REFUSED", unknown=unknown), fact, None) == Decision("applied", back)


@pytest.mark.parametrize(
    ("told", "elsewhere"),
    [
        ({}, False),
        ({"amount": {}}, False),
        ({"amount": {"total": 199}}, True),
        ({"amount": {"total": None}, "success_time": None}, False),
        ({"success_time": "2026-01-31T11:55:00+08:00"}, False),
        ({"success_time": "2026-01-31T11:54:59.999+08:00"}, True),
    ],
)
def test_an_order_of_another_price_or_time_is_from_elsewhere(told: dict[str, Any], elsewhere: bool) -> None:
    fields = {"out_trade_no": "ORDER1", "trade_state": "SUCCESS", "amount": {"total": 200}}
    fields |= {"success_time": "2026-01-31T12:01:00+08:00"} | told
    assert is_from_elsewhere(order(), fields) is elsewhere


# Refunds

REFUND_VALUES = {
    "unknown": False,
    "refund_id": "R1",
    "out_trade_no": "ORDER1",
    "transaction_id": "T1",
    "received_account": "bank 0404",
}


@pytest.mark.parametrize("stored", ["PENDING", "REFUSED", "PROCESSING", "ABNORMAL"])
@pytest.mark.parametrize(
    ("of", "recheck"),
    [(None, False), ("PENDING", True), ("CLOSED", True), ("REFUSED", True), ("PAID", False),
     ("PARTIALLY_REFUNDED", False), ("REFUND", False)],
)  # fmt: skip
def test_a_refund_that_arrived_counts(stored: str, of: str | None, recheck: bool) -> None:
    values = REFUND_VALUES | {"state": "SUCCESS", "succeeded_at": PAID_AT, "next_check_at": None}
    placed = order(state=of, transaction_id="T1") if of else None
    decision = decide_refund(refund(state=stored), placed, refunded())
    assert decision == Decision("applied", values, "refund.succeeded", refunded=50, recheck=recheck)


def test_a_refund_fits_an_order_that_does_not_know_its_payment_yet() -> None:
    bare = refund(transaction_id=None, out_trade_no=None, refund_id=None, received_account=None)
    decision = decide_refund(bare, order(), refunded())
    assert {name: decision.values[name] for name in REFUND_VALUES} == REFUND_VALUES


def test_a_refund_keeps_what_is_not_said_again() -> None:
    bare = refund(transaction_id=None, refund_id="R0")
    decision = decide_refund(bare, None, refunded(transaction_id=None, refund_id=None, user_received_account=None))
    assert (decision.values["refund_id"], decision.values["received_account"]) == ("R0", "bank 0403")
    assert decision.values["transaction_id"] is None


def test_a_closed_refund_did_not_pay() -> None:
    message = "refund REFUND1 was closed by WeChat Pay without paying: try again with a new number"
    said = {"status": "CLOSED", "refund": 50, "total": 200, "out_trade_no": "ORDER1"}
    values = REFUND_VALUES | {"state": "CLOSED", "next_check_at": None}
    decision = decide_refund(refund(), order(), refunded(refund_status="CLOSED"))
    assert decision == Decision("applied", values, "", Incident("refund_closed", "REFUND1", message, said))


def test_an_abnormal_refund_is_asked_about_further() -> None:
    message = "refund REFUND1 could not be paid out: settle it on the merchant platform"
    said = {"status": "ABNORMAL", "refund": 50, "total": 200, "out_trade_no": "ORDER1"}
    decision = decide_refund(refund(), order(), refunded(refund_status="ABNORMAL"))
    incident = Incident("refund_abnormal", "REFUND1", message, said)
    assert decision == Decision("applied", REFUND_VALUES | {"state": "ABNORMAL"}, "", incident)


@pytest.mark.parametrize("stored", ["PENDING", "REFUSED", "ABNORMAL"])
def test_a_refund_under_way_is_just_that(stored: str) -> None:
    decision = decide_refund(refund(state=stored), order(), refunded(refund_status="PROCESSING"))
    assert decision == Decision("applied", REFUND_VALUES | {"state": "PROCESSING"})


@pytest.mark.parametrize("state", ["PROCESSING", "ABNORMAL", "SUCCESS", "CLOSED"])
def test_the_same_news_of_a_refund_again_only_makes_it_known(state: str) -> None:
    fact = refunded(refund_status=state)
    assert decide_refund(refund(state=state, unknown=True), order(), fact) == Decision("applied", {"unknown": False})
    assert decide_refund(refund(state=state), order(), fact) == NOTHING


@pytest.mark.parametrize(("stored", "said"), [("SUCCESS", "PROCESSING"), ("SUCCESS", "ABNORMAL"),
                                              ("CLOSED", "PROCESSING"), ("CLOSED", "ABNORMAL"),
                                              ("PROCESSING", "NOVEL")])  # fmt: skip
def test_old_or_unheard_news_of_a_refund_changes_nothing(stored: str, said: str) -> None:
    assert decide_refund(refund(state=stored), order(), refunded(refund_status=said)) == NOTHING


@pytest.mark.parametrize(("stored", "said"), [("SUCCESS", "CLOSED"), ("CLOSED", "SUCCESS")])
def test_a_refund_that_ended_otherwise_is_an_incident(stored: str, said: str) -> None:
    told = {"status": said, "refund": 50, "total": 200, "out_trade_no": "ORDER1"}
    message = f"refund REFUND1 is {stored} here and {said} at WeChat Pay"
    decision = decide_refund(refund(state=stored), order(), refunded(refund_status=said))
    assert decision == Decision("incident", incident=Incident("refund_contradiction", "REFUND1", message, told))


@pytest.mark.parametrize(
    ("stored", "of", "told", "differing"),
    [
        ({}, None, {"amount": {"refund": 51, "total": 200}}, "amount"),
        ({}, None, {"amount": {"refund": "50", "total": 200}}, "amount"),
        ({"amount": 1}, None, {"amount": {"refund": True, "total": 200}}, "amount"),
        ({}, None, {"amount": {"refund": 50, "total": 201}}, "total"),
        ({}, None, {"amount": {"refund": 49, "total": 199}}, "amount, total"),
        ({}, None, {"out_trade_no": "ORDER2"}, "out_trade_no"),
        ({}, None, {"transaction_id": "T2"}, "transaction_id"),
        ({"transaction_id": None}, {"transaction_id": "T2"}, {}, "transaction_id"),
        ({"out_trade_no": None}, {"out_trade_no": "ORDER2"}, {}, "out_trade_no"),
    ],
)
def test_a_refund_that_differs_moves_nothing_and_somebody_is_told(
    stored: dict[str, Any], of: dict[str, Any] | None, told: dict[str, Any], differing: str
) -> None:
    fact = refunded(**told)
    said = {"status": "SUCCESS", "refund": fact.refund, "total": fact.total, "out_trade_no": fact.out_trade_no}
    message = f"refund REFUND1 differs at WeChat Pay: {differing}"
    decision = decide_refund(refund(**stored), order(**of) if of else None, fact)
    assert decision == Decision("incident", incident=Incident("refund_mismatch", "REFUND1", message, said))


# Transfers

WAY = ("ACCEPTED", "PROCESSING", "WAIT_USER_CONFIRM", "CANCELING", "TRANSFERING")
ENDS = ("SUCCESS", "FAIL", "CANCELLED")


@pytest.mark.parametrize("stored", ["PENDING", "REFUSED", *WAY])
@pytest.mark.parametrize(("said", "reason"), [("SUCCESS", None), ("FAIL", "PAYEE_ACCOUNT_ABNORMAL"),
                                              ("CANCELLED", None)])  # fmt: skip
def test_a_transfer_ends(stored: str, said: str, reason: str | None) -> None:
    values = {"unknown": False, "state": said, "transfer_bill_no": "B1", "fail_reason": reason,
              "finished_at": PAID_AT, "next_check_at": None}  # fmt: skip
    fact = sent(state=said, fail_reason="PAYEE_ACCOUNT_ABNORMAL")
    assert decide_transfer(transfer(state=stored), fact) == Decision("applied", values, "transfer.finished")


@pytest.mark.parametrize("stored", ["PENDING", "REFUSED", *WAY])
@pytest.mark.parametrize("said", WAY)
def test_a_transfer_moves_forward_only_and_may_skip(stored: str, said: str) -> None:
    forward = stored not in WAY or WAY.index(stored) < WAY.index(said)
    decision = decide_transfer(transfer(state=stored, unknown=False), sent(state=said))
    moved = Decision("applied", {"unknown": False, "state": said, "transfer_bill_no": "B1"})
    assert decision == (moved if forward else NOTHING)


@pytest.mark.parametrize("stored", ENDS)
@pytest.mark.parametrize("said", [*WAY, *ENDS, "NOVEL"])
def test_a_transfer_that_ended_stays_so(stored: str, said: str) -> None:
    told = {"state": said, "transfer_amount": 30, "transfer_bill_no": "B1"}
    message = f"transfer BILL1 is {stored} here and {said} at WeChat Pay"
    contradiction = Decision("incident", incident=Incident("transfer_contradiction", "BILL1", message, told))
    decision = decide_transfer(transfer(state=stored, unknown=False), sent(state=said))
    assert decision == (contradiction if said in ENDS and said != stored else NOTHING)


def test_a_transfers_package_is_kept() -> None:
    waiting = sent(state="WAIT_USER_CONFIRM", package_info="new")
    kept = Decision("applied", {"unknown": False, "package_info": "new"})
    assert decide_transfer(transfer(unknown=False), waiting) == kept
    assert decide_transfer(transfer(unknown=False, package_info="new"), waiting) == NOTHING
    assert decide_transfer(transfer(), sent(state="WAIT_USER_CONFIRM")) == Decision("applied", {"unknown": False})
    forward = decide_transfer(transfer(state="PENDING"), waiting)
    assert forward.values["package_info"] == "new"


def test_an_unheard_state_of_a_transfer_changes_nothing() -> None:
    assert decide_transfer(transfer(), sent(state="NOVEL")) == NOTHING
    assert decide_transfer(transfer(state="NOVEL"), sent()) == NOTHING


@pytest.mark.parametrize(
    ("stored", "told", "differing"),
    [
        ({}, {"transfer_amount": 31}, "amount"),
        ({}, {"openid": "o2"}, "openid"),
        ({}, {"appid": "wx2"}, "appid"),
        ({}, {"transfer_bill_no": "B2"}, "transfer_bill_no"),
        ({}, {"transfer_bill_no": None}, "transfer_bill_no"),
        ({}, {"transfer_amount": 31, "transfer_bill_no": "B2"}, "amount, transfer_bill_no"),
    ],
)
def test_a_transfer_that_differs_moves_nothing_and_somebody_is_told(
    stored: dict[str, Any], told: dict[str, Any], differing: str
) -> None:
    fact = sent(**told)
    said = {"state": "SUCCESS", "transfer_amount": fact.amount, "transfer_bill_no": fact.transfer_bill_no}
    message = f"transfer BILL1 differs at WeChat Pay: {differing}"
    decision = decide_transfer(transfer(**stored), fact)
    assert decision == Decision("incident", incident=Incident("transfer_mismatch", "BILL1", message, said))


def test_an_answer_need_not_say_all_of_a_transfer() -> None:
    fact = sent(transfer_amount=None, openid=None, appid=None)
    assert decide_transfer(transfer(transfer_bill_no=None), fact).event == "transfer.finished"


@pytest.mark.parametrize("said", [*WAY, *ENDS])
def test_a_transfer_that_is_not_stored_matters_once_it_is_paid_out(said: str) -> None:
    told = {"state": "SUCCESS", "transfer_amount": 30, "transfer_bill_no": "B1"}
    message = "transfer BILL1 of 0.30 yuan was paid out, but is not stored here"
    paid_out = Decision("incident", incident=Incident("unknown_transfer", "BILL1", message, told))
    assert decide_transfer(None, sent(state=said)) == (paid_out if said == "SUCCESS" else NOTHING)


# States


def test_an_order_moves_towards_paid_and_back_only_as_a_refund() -> None:
    unpaid = {"PENDING", "REFUSED"}
    later = {"PAID": 0, "PARTIALLY_REFUNDED": 1, "REFUND": 2}
    for state, followers in states.ORDER.items():
        if state in later:
            assert followers == {name for name, rank in later.items() if rank > later[state]}
        elif state in unpaid:
            assert followers == {*later, "CLOSED"} | unpaid - {state}
        else:
            assert (state, followers) == ("CLOSED", set(later))
    assert set(states.ORDER) == {*unpaid, *later, "CLOSED"}


def test_a_refund_moves_to_what_can_come_of_it() -> None:
    said = {"PROCESSING", "SUCCESS", "ABNORMAL", "CLOSED"}
    for state, followers in states.REFUNDS.items():
        if state in ("SUCCESS", "CLOSED"):
            assert followers == set()
        elif state in said:
            assert followers == said - {state}
        else:
            assert followers == said | {"PENDING", "REFUSED"} - {state}
    assert set(states.REFUNDS) == said | {"PENDING", "REFUSED"}


def test_a_transfer_moves_to_all_that_is_later() -> None:
    for state, followers in states.TRANSFER.items():
        if state in ("PENDING", "REFUSED"):
            assert followers == {*WAY, *ENDS, "PENDING", "REFUSED"} - {state}
        elif state in ENDS:
            assert followers == set()
        else:
            assert followers == {*WAY[WAY.index(state) + 1 :], *ENDS}
    assert set(states.TRANSFER) == {"PENDING", "REFUSED", *WAY, *ENDS}


def test_amounts_are_reserved_until_they_are_surely_not_used() -> None:
    assert {"PENDING", "PROCESSING", "ABNORMAL", "SUCCESS"} == states.RESERVING
    assert {"PAID", "PARTIALLY_REFUNDED", "REFUND"} == states.PAID_STATES
    assert set(ENDS) == states.TRANSFER_ENDS


def test_what_may_come_before_a_state() -> None:
    assert states.before(states.REFUNDS, "ABNORMAL") == {"PENDING", "REFUSED", "PROCESSING"}
    assert states.before(states.ORDER, "CLOSED") == {"PENDING", "REFUSED"}
    assert states.before(states.TRANSFER, "PENDING") == {"REFUSED"}
