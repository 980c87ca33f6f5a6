"""What WeChat Pay knows: orders, refunds, transfers and the states they may move through."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.clock import BEIJING, day_of, moment_of, rfc3339
from sandbox.errors import Refusal
from sandbox.merchant import Merchant, fee_of

ORDER_MOVES = {"NOTPAY": {"SUCCESS", "CLOSED"}, "SUCCESS": {"REFUND"}, "REFUND": set(), "CLOSED": set()}
"""[4012791870]"""
REFUND_MOVES = {
    "PROCESSING": {"SUCCESS", "CLOSED", "ABNORMAL"},
    "ABNORMAL": {"SUCCESS", "PROCESSING"},
    "SUCCESS": set(),
    "CLOSED": set(),
}
"""[4013071031]; PROCESSING again while an abnormal refund goes to a bank card [4013071193, 4015217336]"""
TRANSFER_MOVES = {
    "ACCEPTED": {"PROCESSING", "CANCELING", "FAIL"},
    "PROCESSING": {"WAIT_USER_CONFIRM", "CANCELING", "FAIL"},
    "WAIT_USER_CONFIRM": {"TRANSFERING", "CANCELING", "FAIL"},
    "TRANSFERING": {"SUCCESS"},
    "CANCELING": {"CANCELLED", "TRANSFERING"},
    "SUCCESS": set(),
    "FAIL": set(),
    "CANCELLED": set(),
}
"""[4012715211]"""
ORDER_WORDS = {"NOTPAY": "订单未支付", "SUCCESS": "支付成功", "REFUND": "转入退款", "CLOSED": "订单已关闭"}
TRADE_TYPES = {"jsapi": "JSAPI", "native": "NATIVE", "app": "APP", "h5": "MWEB"}

MINUTE, HOUR, DAY = 60, 3600, 86400
PARTIAL_REFUNDS = 50
REFUNDS_APART = MINUTE
REFUNDABLE = 365 * DAY
PAYABLE, LONGEST_PAYABLE = 7 * DAY, 15 * DAY
CREDENTIALS = {
    "jsapi": ("prepay_id", 2 * HOUR),
    "app": ("prepay_id", 2 * HOUR),
    "native": ("code_url", 2 * HOUR),
    "h5": ("h5_url", 5 * MINUTE),
}
"""What a scene's answer holds and how long it can be paid with [4012791856, 4013070347, 4012791877, 4012791834]."""
REPEATABLE_DAYS = 3
QUERYABLE = 30 * DAY


class IllegalMove(ValueError):
    """The asked-for state cannot follow the present one, or there is no such number."""


@dataclass(frozen=True)
class Moment:
    """One step in a life."""

    time: float
    state: str
    note: str = ""

    def describe(self) -> dict[str, str]:
        return {"time": rfc3339(self.time), "state": self.state, "note": self.note}


@dataclass(frozen=True)
class Credential:
    """What the payer's WeChat opens the order with."""

    kind: str
    value: str
    expires: float


@dataclass(eq=False)
class Order:
    scene: str
    body: dict[str, Any]
    created: float
    credential: Credential
    state: str = "NOTPAY"
    transaction_id: str = ""
    openid: str = ""
    opened_by: str = ""
    credentials: dict[str, Credential] = field(default_factory=dict)  # every one given out, by its value
    bank_type: str = "OTHERS"
    paid: float = 0.0
    refunds: list[Refund] = field(default_factory=list)
    life: list[Moment] = field(default_factory=list)

    @property
    def number(self) -> str:
        return str(self.body["out_trade_no"])

    @property
    def total(self) -> int:
        return int(self.body["amount"]["total"])

    @property
    def notify_url(self) -> str:
        return str(self.body["notify_url"])

    @property
    def pay_until(self) -> float:
        """`time_expire`, raised to a minute after ordering and cut to 15 days; without one 7 days [4012791856]."""
        stated = moment_of(self.body["time_expire"]) if "time_expire" in self.body else self.created + PAYABLE
        return min(max(stated, self.created + MINUTE), self.created + LONGEST_PAYABLE)


@dataclass(eq=False)
class Refund:
    body: dict[str, Any]
    order: Order
    refund_id: str
    created: float
    state: str = "PROCESSING"
    succeeded: float = 0.0
    fee: int = 0  # given back with it
    channel: str = "ORIGINAL"
    received_by: str = "支付用户零钱"
    life: list[Moment] = field(default_factory=list)

    @property
    def number(self) -> str:
        return str(self.body["out_refund_no"])

    @property
    def amount(self) -> int:
        return int(self.body["amount"]["refund"])

    @property
    def notify_url(self) -> str:
        return str(self.body.get("notify_url", ""))


@dataclass(eq=False)
class Transfer:
    body: dict[str, Any]  # user_name in clear
    transfer_bill_no: str
    package_info: str
    created: float
    updated: float
    state: str = "WAIT_USER_CONFIRM"
    fail_reason: str = ""
    life: list[Moment] = field(default_factory=list)

    @property
    def number(self) -> str:
        return str(self.body["out_bill_no"])

    @property
    def amount(self) -> int:
        return int(self.body["transfer_amount"])

    @property
    def locked(self) -> bool:
        """Whether its money was taken from the account: only then was there anything to confirm."""
        return any(step.state == "WAIT_USER_CONFIRM" for step in self.life)

    @property
    def notify_url(self) -> str:
        return str(self.body.get("notify_url", ""))


Thing = Order | Refund | Transfer


class Ledger:
    """All state of one merchant. Methods that take API bodies raise Refusal, the others IllegalMove.

    `changed` is called, under the lock, with everything that was made or moved.
    """

    def __init__(self, now: Callable[[], float] = time.time, merchant: Merchant | None = None) -> None:
        self.now = now
        self.merchant = merchant or Merchant(now)
        self.changed: Callable[[Thing], None] = lambda _: None
        self.limits = False
        self.orders: dict[str, Order] = {}
        self.refunds: dict[str, Refund] = {}
        self.transfers: dict[str, Transfer] = {}
        self.lock = threading.RLock()
        self._serials = itertools.count(secrets.randbelow(10**6) * 1000)
        self._by_transaction: dict[str, Order] = {}
        self._by_refund: dict[str, Refund] = {}
        self._by_bill: dict[str, Transfer] = {}
        self._by_credential: dict[str, Thing] = {}

    def clear(self) -> None:
        with self.lock:
            for kept in (
                self.orders,
                self.refunds,
                self.transfers,
                self._by_transaction,
                self._by_refund,
                self._by_bill,
                self._by_credential,
            ):
                kept.clear()

    # Orders

    def place(self, scene: str, body: dict[str, Any]) -> Order:
        """A new order, or the unpaid one that the same endpoint got with the very same parameters.

        Either way with a fresh credential; a new `code_url` disables the one before [4012791890].
        """
        with self.lock:
            known = self.orders.get(body["out_trade_no"])
            if known is None:
                order = Order(scene, body, self.now(), self._credential(scene))
                self.orders[order.number] = order
                self._became(order, "NOTPAY", "ordered")
            else:
                order = known
                if order.state == "CLOSED":
                    raise Refusal(400, "ORDER_CLOSED", "the order is closed; use a new out_trade_no")
                if (order.scene, order.body) != (scene, body):
                    raise Refusal(403, "OUT_TRADE_NO_USED", "201 商户订单号重复")
                if order.state != "NOTPAY":
                    raise Refusal(400, "ORDER_PAID", "the order is paid")  # code and status unverified
                order.credential = self._credential(scene)
                self._became(order, "NOTPAY", "ordered again")
            order.credentials[order.credential.value] = order.credential
            self._by_credential[order.credential.value] = order
            return order

    def find_order(self, *, number: str = "", transaction_id: str = "") -> Order | None:
        return self.orders.get(number) if number else self._by_transaction.get(transaction_id)

    def find_credential(self, value: str) -> Thing | None:
        """The order or transfer that a prepay_id, code_url, h5_url or package_info was given out for."""
        return self._by_credential.get(value)

    def close(self, number: str) -> None:
        """Re-entrant. An unknown number is answered like a closed one, as merchants report [4012791860]."""
        with self.lock:
            order = self.orders.get(number)
            if order is None or order.state == "CLOSED":
                return
            if order.state != "NOTPAY":
                raise Refusal(400, "ORDER_PAID", "the order is paid and cannot be closed")
            self._became(order, "CLOSED", "closed by the merchant")

    def expire(self, order: Order) -> None:
        """What WeChat Pay does with an order that stayed unpaid for 7 days [4012791870]."""
        with self.lock:
            if order.state == "NOTPAY":
                self._became(order, "CLOSED", "closed by WeChat Pay: unpaid for 7 days")

    def pay(self, number: str, openid: str = "", bank_type: str = "OTHERS", *, sheet_open: bool = False) -> Order:
        """The user pays, with the newest credential, or on a payment sheet that is open since it was valid."""
        with self.lock:
            order: Order = _known(self.orders, number, "order")
            if "SUCCESS" not in ORDER_MOVES[order.state]:
                raise IllegalMove(f"{number} is {order.state} and cannot become SUCCESS")
            if self.now() > order.pay_until:
                raise IllegalMove(f"order {number} could be paid until {rfc3339(order.pay_until)} (time_expire)")
            if not sheet_open and self.now() > order.credential.expires:
                kind, expired = order.credential.kind, rfc3339(order.credential.expires)
                raise IllegalMove(f"the {kind} of {number} expired at {expired}: send the same order again")
            order.openid = (
                order.body.get("payer", {}).get("openid")
                or openid
                or order.opened_by
                or "oSandbox" + secrets.token_hex(10)
            )
            order.bank_type = bank_type
            order.paid = self.now()
            order.transaction_id = self._serial("4200", 28)
            self._by_transaction[order.transaction_id] = order
            booked: dict[str, Any] = {"number": order.transaction_id, "voucher": order.number}
            self.merchant.move("BASIC", order.total, business="交易", kind="交易", **booked)
            if fee := fee_of(order.total):
                self.merchant.move("BASIC", -fee, business="交易", kind="扣除交易手续费", **booked)
            self._became(order, "SUCCESS", "paid")
            return order

    def fail_payment(self, number: str, reason: str = "") -> Order:
        """An attempt fails: the order stays payable, and nobody is ever told [4012791870]."""
        with self.lock:
            order: Order = _known(self.orders, number, "order")
            if order.state != "NOTPAY":
                raise IllegalMove(f"{number} is {order.state}: only an unpaid order has attempts")
            self._became(order, order.state, f"payment failed: {reason or 'cancelled by the user'}")
            return order

    def note(self, thing: Thing, note: str) -> None:
        """Add to a life what changes no state."""
        with self.lock:
            self._became(thing, thing.state, note)

    # Refunds

    def refund(self, body: dict[str, Any]) -> Refund:
        """A new refund, or the one already accepted under this number with the very same parameters."""
        with self.lock:
            known = self.refunds.get(body["out_refund_no"])
            if known is not None:
                if known.body != body:
                    raise _rule("out_refund_no was used with other parameters")
                return known
            order = self._refundable(body)
            self._check_sums(order, body["amount"])
            if self.merchant.user(order.openid).account == "closed":
                raise Refusal(403, "USER_ACCOUNT_ABNORMAL", "the payer's account is closed: refund by other means")
            if body["amount"]["refund"] > self.merchant.funds["BASIC"]:
                raise Refusal(403, "NOT_ENOUGH", "the merchant's balance is too low: top up and send the same again")
            fee = _fee_back(order, body["amount"]["refund"])
            refund = Refund(body, order, self._serial("5030", 29), self.now(), fee=fee)
            self.refunds[refund.number] = self._by_refund[refund.refund_id] = refund
            order.refunds.append(refund)
            self._book_refund(refund, -1, "退款", "退还交易手续费")
            self._became(refund, "PROCESSING", "accepted")
            if order.state == "SUCCESS":
                self._became(order, "REFUND", f"refund {refund.number} accepted")
            return refund

    def settle_refund(self, number: str, state: str) -> Refund:
        with self.lock:
            refund: Refund = _known(self.refunds, number, "refund")
            if state not in REFUND_MOVES[refund.state]:
                raise IllegalMove(f"{number} is {refund.state} and cannot become {state}")
            if state == "SUCCESS":
                refund.succeeded = self.now()
            if state == "CLOSED":
                self._book_refund(refund, 1, "退款关闭", "扣除交易手续费")
            self._became(refund, state)
            return refund

    def redirect_refund(self, refund_id: str, number: str, to_merchant: bool) -> Refund:
        """An abnormal refund is sent to a bank card instead [4013071193]."""
        with self.lock:
            refund = self._by_refund.get(refund_id)
            if refund is None or refund.number != number:
                raise Refusal(404, "RESOURCE_NOT_EXISTS", "the refund does not exist")
            if refund.state != "ABNORMAL":
                raise _rule(f"the refund is {refund.state}: only an abnormal one can be redirected")
            refund.channel = "OTHER_BANKCARD"
            refund.received_by = "商户结算银行账户" if to_merchant else "用户银行卡"
            self._became(refund, "PROCESSING", f"to the {'merchant' if to_merchant else 'user'}'s bank card")
            return refund

    # Transfers

    def transfer(self, body: dict[str, Any]) -> Transfer:
        """A new bill, or the open one with the very same parameters (names compared in clear)."""
        with self.lock:
            known = self.transfers.get(body["out_bill_no"])
            if known is not None:
                if known.body != body:
                    raise _rule("单号已存在但信息不一致")
                if not TRANSFER_MOVES[known.state]:
                    raise Refusal(400, "ALREADY_EXISTS", "the bill has reached its final state: query it")
                if _days_between(known.created, self.now()) >= REPEATABLE_DAYS:
                    raise _rule("对应单号已超出重试期")
                if known.state == "PROCESSING":
                    self._became(known, "PROCESSING", "sent again")  # the account may have been topped up since
                return known
            self._check_payee(body)
            locks_now = self.merchant.transfer_start == "WAIT_USER_CONFIRM"
            if locks_now and body["transfer_amount"] > self.merchant.funds["OPERATION"]:
                raise Refusal(403, "NOT_ENOUGH", "the operation account is too low: top up and send the same again")
            now = self.now()
            transfer = Transfer(body, self._serial("1330", 40), secrets.token_urlsafe(96), now, now)
            self.transfers[transfer.number] = self._by_bill[transfer.transfer_bill_no] = transfer
            self._by_credential[transfer.package_info] = transfer
            self._transfer_became(transfer, self.merchant.transfer_start, "accepted")
            return transfer

    def find_transfer(self, *, number: str = "", transfer_bill_no: str = "") -> Transfer | None:
        """Bills can be queried for 30 days [4012716437]."""
        found = self.transfers.get(number) if number else self._by_bill.get(transfer_bill_no)
        return found if found and self.now() - found.created <= QUERYABLE else None

    def cancel(self, number: str) -> Transfer:
        """Accept a cancellation; its end is another event [4012716458]."""
        with self.lock:
            transfer = self.transfers.get(number)
            if transfer is None:
                raise Refusal(404, "NOT_FOUND", "no such bill")
            if transfer.state not in ("CANCELING", "CANCELLED"):
                if "CANCELING" not in TRANSFER_MOVES[transfer.state]:
                    raise _rule(f"a bill in state {transfer.state} cannot be cancelled")
                self._transfer_became(transfer, "CANCELING", "cancelled by the merchant")
            return transfer

    def move_transfer(self, number: str, state: str, fail_reason: str = "") -> Transfer:
        """Move a bill to `state`, through the states between."""
        with self.lock:
            transfer: Transfer = _known(self.transfers, number, "transfer")
            way = _way(transfer.state, state)
            if not way or (way[0] == "TRANSFERING" and not transfer.locked):
                raise IllegalMove(f"transfer {number} is {transfer.state} and cannot become {state}")
            if "WAIT_USER_CONFIRM" in way and transfer.amount > self.merchant.funds["OPERATION"]:
                raise IllegalMove(f"the operation account is too low to lock the funds of transfer {number}")
            # Returned with failed bills and with those whose money came back [4012712115, 4013774966].
            transfer.fail_reason = fail_reason or ("MCH_CANCEL" if state == "CANCELLED" else "")
            for step in way:
                self._transfer_became(transfer, step, fail_reason if step == state else "")
            return transfer

    # Shared

    def _became(self, thing: Thing, state: str, note: str = "") -> None:
        thing.state = state
        thing.life.append(Moment(self.now(), state, note))
        self.changed(thing)

    def _transfer_became(self, transfer: Transfer, state: str, note: str = "") -> None:
        """Money is locked while the user may confirm, and comes back when the bill fails [4013778940]."""
        booked: dict[str, Any] = {
            "business": "商家转账",
            "number": transfer.transfer_bill_no,
            "flow": transfer.transfer_bill_no,
            "voucher": transfer.number,
        }
        if state == "WAIT_USER_CONFIRM":
            self.merchant.move("OPERATION", -transfer.amount, kind="商家转账资金锁定", **booked)
        elif state in ("FAIL", "CANCELLED") and transfer.locked:
            self.merchant.move("OPERATION", transfer.amount, kind="商家转账退回", **booked)
        transfer.updated = self.now()
        self._became(transfer, state, note)

    def _credential(self, scene: str) -> Credential:
        kind, lifetime = CREDENTIALS[scene]
        now = self.now()
        value = prepay_id = "wx" + re.sub(r"\D", "", rfc3339(now)[:19]) + secrets.token_hex(9) + "00"
        if kind == "code_url":
            value = f"weixin://wxpay/bizpayurl?pr={secrets.token_urlsafe(6)}zz"
        elif kind == "h5_url":
            page = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb"
            value = f"{page}?prepay_id={prepay_id}&package={secrets.randbelow(10**10):010d}"
        return Credential(kind, value, now + lifetime)

    def _refundable(self, body: Mapping[str, Any]) -> Order:
        order = self.find_order(
            number=body.get("out_trade_no", ""), transaction_id=body.get("transaction_id", "")
        )
        if order is None or not order.transaction_id:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "the order does not exist or is not paid")
        if self.now() - order.paid > REFUNDABLE:
            raise _rule("the order was paid more than a year ago")  # TRADE_OVERDUE by name; status not documented
        return order

    def _check_sums(self, order: Order, amount: Mapping[str, Any]) -> None:
        """[4013071036]"""
        if amount["total"] != order.total:
            raise _rule("amount.total is not the total of the order")
        accounts = [part["account"] for part in amount.get("from", [])]
        if accounts and sum(part["amount"] for part in amount["from"]) != amount["refund"]:
            raise _rule("amount.from does not add up to amount.refund")
        if len(accounts) != len(set(accounts)):
            raise _rule("amount.from names an account twice")
        earlier = [refund for refund in order.refunds if refund.state != "CLOSED"]
        if amount["refund"] + sum(refund.amount for refund in earlier) > order.total:
            raise _rule("the refunds of the order would exceed its total")
        if len(earlier) >= PARTIAL_REFUNDS:
            raise _rule(f"the order has {PARTIAL_REFUNDS} refunds already")
        if self.limits and order.refunds and self.now() - order.refunds[-1].created < REFUNDS_APART:
            raise Refusal(429, "FREQUENCY_LIMITED", "the order's last refund is less than a minute old")

    def _check_payee(self, body: Mapping[str, Any]) -> None:
        """`user_name` is compared with the real name of a user who is known [4012711988]."""
        real_name = self.merchant.user(body["openid"]).real_name
        if real_name and body.get("user_name", real_name) != real_name:
            raise _rule("user_name is not the real name of the payee")

    def _book_refund(self, refund: Refund, sign: int, kind: str, fee_kind: str) -> None:
        booked: dict[str, Any] = {"business": "退款", "number": refund.refund_id, "voucher": refund.number}
        self.merchant.move("BASIC", sign * refund.amount, kind=kind, **booked)
        if refund.fee:
            self.merchant.move("BASIC", -sign * refund.fee, kind=fee_kind, **booked)

    def _serial(self, prefix: str, length: int) -> str:
        day = day_of(self.now()).replace("-", "")
        return f"{prefix}{day}{next(self._serials):0{length - len(prefix) - 8}d}"


def _fee_back(order: Order, amount: int) -> int:
    """Parts give back together what the whole would, never more than was taken."""
    live = [refund for refund in order.refunds if refund.state != "CLOSED"]
    return max(0, fee_of(sum(refund.amount for refund in live) + amount) - sum(refund.fee for refund in live))


def state_at(thing: Thing, moment: float) -> str:
    """The state that a thing had then."""
    return [step.state for step in thing.life if step.time <= moment][-1]


def _days_between(earlier: float, later: float) -> int:
    first, last = (datetime.fromtimestamp(moment, BEIJING).date() for moment in (earlier, later))
    return (last - first).days


def _rule(message: str) -> Refusal:
    return Refusal(400, "INVALID_REQUEST", message)


def _known(kept: Mapping[str, Any], number: str, kind: str) -> Any:
    if number not in kept:
        raise IllegalMove(f"there is no {kind} {number}")
    return kept[number]


def _way(start: str, end: str) -> list[str]:
    """The shortest way through TRANSFER_MOVES, without its start; empty when there is none.

    It cancels a bill only where that is asked for: a user who wins the race is no way to a payment.
    """
    ways = deque([[start]])
    seen = {start} if end in ("CANCELING", "CANCELLED") else {start, "CANCELING"}
    while ways:
        way = ways.popleft()
        for following in sorted(TRANSFER_MOVES[way[-1]] - seen):
            if following == end:
                return [*way[1:], end]
            seen.add(following)
            ways.append([*way, following])
    return []
