"""What WeChat Pay said, and what it means for what is stored: read from its fields, decided without a database.

A fact comes from a callback, from a query or from the answer to a call; where it comes from makes no difference.
A decision moves a row forward or not at all: late, repeated and reordered facts change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from services.orders import states

Row = Mapping[str, Any]

CLOCKS_APART = timedelta(minutes=5)  # ours and WeChat Pay's

APPLIED, REPEATED, INCIDENT, KEPT = "applied", "repeated", "incident", "kept"
ORDER_PAID, ORDER_CLOSED = "order.paid", "order.closed"
REFUND_SUCCEEDED, TRANSFER_FINISHED = "refund.succeeded", "transfer.finished"


@dataclass(frozen=True)
class Incident:
    """Something that a person must look at; the same `kind` and `number` with the same `details` is one incident."""

    kind: str
    number: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What a fact does to its row.

    `values` are the columns to set, none for none; `event` is the type of outbox event that comes of it; `refunded`
    are cents to add to what of the order went back; `recheck` asks for a query of the order as soon as possible.
    """

    outcome: str = REPEATED
    values: Mapping[str, Any] = field(default_factory=dict)
    event: str = ""
    incident: Incident | None = None
    refunded: int = 0
    recheck: bool = False


@dataclass(frozen=True)
class PaymentFact:
    """An order as a notification [4012791861] or a query [4012791859] shows it; None where it does not say."""

    out_trade_no: str
    trade_state: str
    mchid: Any
    appid: Any
    transaction_id: Any
    total: Any
    currency: Any
    payer_total: Any
    payer: Any
    trade_type: Any
    bank_type: Any
    success_time: datetime | None

    @classmethod
    def read(cls, fields: Row) -> PaymentFact:
        amount, payer = _mapping(fields.get("amount")), _mapping(fields.get("payer"))
        return cls(
            out_trade_no=str(fields["out_trade_no"]),
            trade_state=str(fields["trade_state"]),
            mchid=fields.get("mchid"),
            appid=fields.get("appid"),
            transaction_id=fields.get("transaction_id"),
            total=amount.get("total"),
            currency=amount.get("currency"),
            payer_total=amount.get("payer_total"),
            payer=payer.get("openid"),
            trade_type=_described(fields.get("trade_type"), 16),
            bank_type=_described(fields.get("bank_type"), 32),
            success_time=moment(fields.get("success_time")),
        )


@dataclass(frozen=True)
class RefundFact:
    """A refund as a notification [4013071196], an answer or a query [4013071041] shows it."""

    out_refund_no: str
    status: str
    out_trade_no: Any
    transaction_id: Any
    refund_id: Any
    refund: Any
    total: Any
    received_account: Any
    success_time: datetime | None

    @classmethod
    def read(cls, fields: Row) -> RefundFact:
        amount = _mapping(fields.get("amount"))
        return cls(
            out_refund_no=str(fields["out_refund_no"]),
            status=str(fields.get("refund_status") or fields.get("status")),
            out_trade_no=fields.get("out_trade_no"),
            transaction_id=fields.get("transaction_id"),
            refund_id=fields.get("refund_id"),
            refund=amount.get("refund"),
            total=amount.get("total"),
            received_account=_described(fields.get("user_received_account"), 128),
            success_time=moment(fields.get("success_time")),
        )


@dataclass(frozen=True)
class TransferFact:
    """A transfer as a notification [4012712115], an answer [4012716434] or a query [4012716437] shows it."""

    out_bill_no: str
    state: str
    transfer_bill_no: Any
    appid: Any
    amount: Any
    openid: Any
    package_info: Any
    fail_reason: Any
    update_time: datetime | None

    @classmethod
    def read(cls, fields: Row) -> TransferFact:
        return cls(
            out_bill_no=str(fields["out_bill_no"]),
            state=str(fields["state"]),
            transfer_bill_no=fields.get("transfer_bill_no"),
            appid=fields.get("appid"),
            amount=fields.get("transfer_amount"),
            openid=fields.get("openid"),
            package_info=fields.get("package_info"),
            fail_reason=_described(fields.get("fail_reason"), 256),
            update_time=moment(fields.get("update_time")),
        )


Fact = PaymentFact | RefundFact | TransferFact
FACTS: Mapping[str, type[Fact]] = {"payment": PaymentFact, "refund": RefundFact, "transfer": TransferFact}


def decide_payment(order: Row | None, fact: PaymentFact, payer: str | None) -> Decision:
    """`payer` is the openid that the order was placed for, None where anybody may pay."""
    if fact.trade_state in ("SUCCESS", "REFUND"):  # REFUND: paid, and a refund was accepted since [4012791870]
        return _decide_paid(order, fact, payer)
    if order is None:
        return Decision()
    if fact.trade_state in ("CLOSED", "REVOKED") and states.CLOSED in states.ORDER[order["state"]]:
        values = {"state": states.CLOSED, "unknown": False, "next_check_at": None}
        return Decision(APPLIED, values, ORDER_CLOSED)
    if order["state"] == states.REFUSED:  # it is there all the same, so it can be paid until it is closed
        values = {"state": states.PENDING, "unknown": False, "next_check_at": order["expires_at"]}
        return Decision(APPLIED, values)
    if order["unknown"]:  # it exists there, so the order was accepted
        return Decision(APPLIED, {"unknown": False})
    return Decision()


def _decide_paid(order: Row | None, fact: PaymentFact, payer: str | None) -> Decision:
    number = fact.out_trade_no
    stated = {"total": fact.total, "currency": fact.currency, "transaction_id": fact.transaction_id}
    if order is None:
        message = f"{_yuan(fact.total)} arrived for order {number}, which is not stored here"
        return Decision(INCIDENT, incident=Incident("payment_of_unknown_order", number, message, stated))
    differing = _differing(
        {"mchid": fact.mchid, "appid": fact.appid, "total": fact.total, "currency": fact.currency or "CNY"}, order
    )
    if payer is not None and fact.payer is not None and fact.payer != payer:
        differing.append("payer")
    if order["transaction_id"] not in (None, fact.transaction_id):
        differing.append("transaction_id")
    if _is_paid_before(order, fact):
        differing.append("success_time")
    if differing:
        message = f"a payment for order {number} does not fit it: {', '.join(differing)}"
        return Decision(INCIDENT, incident=Incident("payment_mismatch", number, message, stated))
    details = {
        "transaction_id": fact.transaction_id,
        "trade_type": fact.trade_type,
        "bank_type": fact.bank_type,
        "payer": fact.payer,
        "payer_total": fact.payer_total,
        "paid_at": fact.success_time,
    }
    if order["state"] in states.PAID_STATES:
        return Decision()
    late = None
    if order["state"] == states.CLOSED:
        message = f"order {number} was closed here, but {_yuan(fact.total)} arrived: deliver or refund"
        late = Incident("paid_after_close", number, message, stated)
    values = {
        **details,
        "state": states.paid_state(order["refunded"], order["total"]),
        "unknown": False,
        "next_check_at": None,
    }
    if values["state"] == states.REFUND:  # on_paid means: deliver
        message = f"order {number} was refunded in full before its payment was known here: it is not to be delivered"
        return Decision(APPLIED, values, incident=Incident("refunded_before_known", number, message, stated))
    return Decision(APPLIED, values, ORDER_PAID, late)


def decide_refund(refund: Row, order: Row | None, fact: RefundFact) -> Decision:
    """`order` is the refunded one, None where it is not stored."""
    number, state = fact.out_refund_no, refund["state"]
    differing = _differing_refund(refund, order, fact)
    stated = {"status": fact.status, "refund": fact.refund, "total": fact.total, "out_trade_no": fact.out_trade_no}
    if differing:
        message = f"refund {number} differs at WeChat Pay: {', '.join(differing)}"
        return Decision(INCIDENT, incident=Incident("refund_mismatch", number, message, stated))
    if fact.status == state:
        return Decision(APPLIED, {"unknown": False}) if refund["unknown"] else Decision()
    if fact.status not in states.REFUNDS[state]:
        if {fact.status, state} == {states.SUCCESS, states.CLOSED}:
            message = f"refund {number} is {state} here and {fact.status} at WeChat Pay"
            return Decision(INCIDENT, incident=Incident("refund_contradiction", number, message, stated))
        return Decision()
    values: dict[str, Any] = {
        "state": fact.status,
        "unknown": False,
        "refund_id": fact.refund_id or refund["refund_id"],
        "out_trade_no": fact.out_trade_no,
        "transaction_id": fact.transaction_id or refund["transaction_id"],
        "received_account": fact.received_account or refund["received_account"],
    }
    if fact.status == states.SUCCESS:
        values |= {"succeeded_at": fact.success_time, "next_check_at": None}
        unpaid = order is not None and order["state"] not in states.PAID_STATES
        return Decision(APPLIED, values, REFUND_SUCCEEDED, refunded=refund["amount"], recheck=unpaid)
    incident = None
    if fact.status == states.CLOSED:
        values["next_check_at"] = None
        message = f"refund {number} was closed by WeChat Pay without paying: try again with a new number"
        incident = Incident("refund_closed", number, message, stated)
    elif fact.status == states.ABNORMAL:
        message = f"refund {number} could not be paid out: settle it on the merchant platform"
        incident = Incident("refund_abnormal", number, message, stated)
    return Decision(APPLIED, values, incident=incident)


def _differing_refund(refund: Row, order: Row | None, fact: RefundFact) -> list[str]:
    differing = _differing({"amount": fact.refund, "total": fact.total}, refund)
    for row in (refund, order or {}):
        for name in ("out_trade_no", "transaction_id"):
            if row.get(name) not in (None, getattr(fact, name)):
                differing.append(name)
    return differing


def decide_transfer(transfer: Row | None, fact: TransferFact) -> Decision:
    number = fact.out_bill_no
    stated = {"state": fact.state, "transfer_amount": fact.amount, "transfer_bill_no": fact.transfer_bill_no}
    if transfer is None:
        if fact.state != states.SUCCESS:
            return Decision()
        message = f"transfer {number} of {_yuan(fact.amount)} was paid out, but is not stored here"
        return Decision(INCIDENT, incident=Incident("unknown_transfer", number, message, stated))
    if differing := _differing_transfer(transfer, fact):
        message = f"transfer {number} differs at WeChat Pay: {', '.join(differing)}"
        return Decision(INCIDENT, incident=Incident("transfer_mismatch", number, message, stated))
    return _decide_known_transfer(transfer, fact, stated)


def _differing_transfer(transfer: Row, fact: TransferFact) -> list[str]:
    stated = {"amount": fact.amount, "openid": fact.openid, "appid": fact.appid}  # not every answer has them all
    differing = [name for name, value in stated.items() if value is not None and value != transfer[name]]
    if transfer["transfer_bill_no"] not in (None, fact.transfer_bill_no):
        differing.append("transfer_bill_no")
    return differing


def _decide_known_transfer(transfer: Row, fact: TransferFact, stated: Row) -> Decision:
    number, state = fact.out_bill_no, transfer["state"]
    values: dict[str, Any] = {"unknown": False}
    if fact.package_info:
        values["package_info"] = fact.package_info
    if fact.state == state:
        return Decision(APPLIED, values) if _changes(values, transfer) else Decision()
    if fact.state not in states.TRANSFER.get(state, ()):
        if state in states.TRANSFER_ENDS and fact.state in states.TRANSFER_ENDS:
            message = f"transfer {number} is {state} here and {fact.state} at WeChat Pay"
            return Decision(INCIDENT, incident=Incident("transfer_contradiction", number, message, stated))
        return Decision()
    values |= {"state": fact.state, "transfer_bill_no": fact.transfer_bill_no}
    if fact.state not in states.TRANSFER_ENDS:
        return Decision(APPLIED, values)
    reason = fact.fail_reason if fact.state == states.FAIL else None  # the page's sample has one beside SUCCESS
    values |= {"fail_reason": reason, "finished_at": fact.update_time, "next_check_at": None}
    return Decision(APPLIED, values, TRANSFER_FINISHED)


def moment(text: Any) -> datetime | None:
    """An RFC 3339 time; None for anything else. Fractions and `Z` come too [4012716434]."""
    if not isinstance(text, str):
        return None
    head, dot, tail = text.replace("Z", "+00:00").partition(".")
    if dot:  # CPython 3.10 reads three or six digits only
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        text = f"{head}.{digits[:6]:0<6}{tail[len(digits):]}"
    else:
        text = head
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None


def _differing(stated: Mapping[str, Any], row: Row) -> list[str]:
    return [name for name, value in stated.items() if type(value) is not type(row[name]) or value != row[name]]


def _changes(values: Mapping[str, Any], row: Row) -> bool:
    return any(row[name] != value for name, value in values.items())


def is_from_elsewhere(order: Row, fields: Row) -> bool:
    """Whether what WeChat Pay has under this number cannot be this order: paid before it, or of another price."""
    fact = PaymentFact.read(fields)
    return _is_paid_before(order, fact) or fact.total not in (None, order["total"])


def _is_paid_before(order: Row, fact: PaymentFact) -> bool:
    return fact.success_time is not None and fact.success_time < order["created_at"] - CLOCKS_APART


def _described(value: Any, longest: int) -> str | None:
    """A text that decides nothing, cut to its column: no payment is lost for a bank with a long name."""
    return value[:longest] if isinstance(value, str) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _yuan(cents: Any) -> str:
    return f"{cents / 100:.2f} yuan" if type(cents) is int else "an unreadable amount"
