"""What WeChat Pay knows: orders, refunds, transfers and the states they may move through."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from sandbox.errors import Refusal

_BEIJING = timezone(timedelta(hours=8))

ORDER_MOVES = {"NOTPAY": {"SUCCESS", "CLOSED"}, "SUCCESS": {"REFUND"}, "REFUND": set(), "CLOSED": set()}
"""[4012791870]"""
REFUND_MOVES = {
    "PROCESSING": {"SUCCESS", "CLOSED", "ABNORMAL"},
    "ABNORMAL": {"SUCCESS"},
    "SUCCESS": set(),
    "CLOSED": set(),
}
"""[4013071031]"""
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
PARTIAL_REFUNDS = 50


class IllegalMove(ValueError):
    """The asked-for state cannot follow the present one, or there is no such number."""


@dataclass(eq=False)
class Order:
    scene: str
    body: dict[str, Any]
    created: float
    state: str = "NOTPAY"
    transaction_id: str = ""
    openid: str = ""
    bank_type: str = "OTHERS"
    paid: float = 0.0
    refunds: list[Refund] = field(default_factory=list)

    @property
    def number(self) -> str:
        return str(self.body["out_trade_no"])

    @property
    def total(self) -> int:
        return int(self.body["amount"]["total"])

    @property
    def notify_url(self) -> str:
        return str(self.body["notify_url"])


@dataclass(eq=False)
class Refund:
    body: dict[str, Any]
    order: Order
    refund_id: str
    created: float
    state: str = "PROCESSING"
    succeeded: float = 0.0

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

    @property
    def number(self) -> str:
        return str(self.body["out_bill_no"])

    @property
    def notify_url(self) -> str:
        return str(self.body.get("notify_url", ""))


@dataclass
class Ledger:
    """All state of one merchant. Methods that take API bodies raise Refusal, the others IllegalMove."""

    now: Callable[[], float] = time.time
    orders: dict[str, Order] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._serials = itertools.count(secrets.randbelow(10**6) * 1000)
        self._by_transaction: dict[str, Order] = {}
        self._by_bill: dict[str, Transfer] = {}

    def clear(self) -> None:
        with self.lock:
            for kept in (self.orders, self.refunds, self.transfers, self._by_transaction, self._by_bill):
                kept.clear()

    def place(self, scene: str, body: dict[str, Any]) -> Order:
        """A new order, or the unpaid one that the same endpoint got with the very same parameters."""
        with self.lock:
            known = self.orders.get(body["out_trade_no"])
            if known is None:
                order = self.orders[body["out_trade_no"]] = Order(scene, body, self.now())
                return order
            if known.state == "CLOSED":
                raise Refusal(400, "ORDER_CLOSED", "the order is closed; use a new out_trade_no")
            if (known.scene, known.body) != (scene, body):
                raise Refusal(403, "OUT_TRADE_NO_USED", "201 商户订单号重复")
            if known.state != "NOTPAY":
                raise Refusal(400, "ORDER_PAID", "the order is paid")  # code and status unverified
            return known

    def find_order(self, *, number: str = "", transaction_id: str = "") -> Order | None:
        return self.orders.get(number) if number else self._by_transaction.get(transaction_id)

    def close(self, number: str) -> None:
        """Re-entrant. An unknown number is answered like a closed one, as merchants report [4012791860]."""
        with self.lock:
            order = self.orders.get(number)
            if order is None or order.state == "CLOSED":
                return
            if order.state != "NOTPAY":
                raise Refusal(400, "ORDER_PAID", "the order is paid and cannot be closed")
            order.state = "CLOSED"

    def pay(self, number: str, openid: str = "", bank_type: str = "OTHERS") -> Order:
        with self.lock:
            order: Order = _known(self.orders, number, "order")
            _move(ORDER_MOVES, order, "SUCCESS")
            order.openid = (
                order.body.get("payer", {}).get("openid") or openid or "oSandbox" + secrets.token_hex(10)
            )
            order.bank_type = bank_type
            order.paid = self.now()
            order.transaction_id = self._serial("4200", 28)
            self._by_transaction[order.transaction_id] = order
            return order

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
            if order.state == "SUCCESS":
                _move(ORDER_MOVES, order, "REFUND")
            refund = Refund(body, order, self._serial("5030", 29), self.now())
            self.refunds[refund.number] = refund
            order.refunds.append(refund)
            return refund

    def settle_refund(self, number: str, state: str) -> Refund:
        with self.lock:
            refund: Refund = _known(self.refunds, number, "refund")
            _move(REFUND_MOVES, refund, state)
            if state == "SUCCESS":
                refund.succeeded = self.now()
            return refund

    def transfer(self, body: dict[str, Any]) -> Transfer:
        """A new bill, or the open one with the very same parameters (names compared in clear)."""
        with self.lock:
            known = self.transfers.get(body["out_bill_no"])
            if known is not None:
                if known.body != body:
                    raise _rule("单号已存在但信息不一致")
                if not TRANSFER_MOVES[known.state]:
                    raise Refusal(400, "ALREADY_EXISTS", "the bill has reached its final state: query it")
                return known
            now = self.now()
            transfer = Transfer(body, self._serial("1330", 40), secrets.token_urlsafe(96), now, now)
            self.transfers[transfer.number] = self._by_bill[transfer.transfer_bill_no] = transfer
            return transfer

    def find_transfer(self, *, number: str = "", transfer_bill_no: str = "") -> Transfer | None:
        return self.transfers.get(number) if number else self._by_bill.get(transfer_bill_no)

    def cancel(self, number: str) -> Transfer:
        """Accept a cancellation; its end is another event [4012716458]."""
        with self.lock:
            transfer = self.transfers.get(number)
            if transfer is None:
                raise Refusal(404, "NOT_FOUND", "no such bill")
            if transfer.state not in ("CANCELING", "CANCELLED"):
                if "CANCELING" not in TRANSFER_MOVES[transfer.state]:
                    raise _rule(f"a bill in state {transfer.state} cannot be cancelled")
                transfer.state, transfer.updated = "CANCELING", self.now()
            return transfer

    def move_transfer(self, number: str, state: str, fail_reason: str = "") -> Transfer:
        """Move a bill to `state`, through the states between."""
        with self.lock:
            transfer: Transfer = _known(self.transfers, number, "transfer")
            if state not in _reachable(transfer.state):
                raise IllegalMove(f"transfer {number} is {transfer.state} and cannot become {state}")
            transfer.state, transfer.updated = state, self.now()
            transfer.fail_reason = fail_reason
            return transfer

    def _refundable(self, body: Mapping[str, Any]) -> Order:
        order = self.find_order(
            number=body.get("out_trade_no", ""), transaction_id=body.get("transaction_id", "")
        )
        if order is None or not order.transaction_id:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "the order does not exist or is not paid")
        return order

    def _check_sums(self, order: Order, amount: Mapping[str, Any]) -> None:
        if amount["total"] != order.total:
            raise _rule("amount.total is not the total of the order")
        earlier = [refund for refund in order.refunds if refund.state != "CLOSED"]
        if amount["refund"] + sum(refund.amount for refund in earlier) > order.total:
            raise _rule("the refunds of the order would exceed its total")
        if len(earlier) >= PARTIAL_REFUNDS:
            raise _rule(f"the order has {PARTIAL_REFUNDS} refunds already")

    def _serial(self, prefix: str, length: int) -> str:
        day = datetime.fromtimestamp(self.now(), _BEIJING).strftime("%Y%m%d")
        return f"{prefix}{day}{next(self._serials):0{length - len(prefix) - 8}d}"


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, _BEIJING).isoformat(timespec="seconds")


def _rule(message: str) -> Refusal:
    return Refusal(400, "INVALID_REQUEST", message)


def _known(kept: Mapping[str, Any], number: str, kind: str) -> Any:
    if number not in kept:
        raise IllegalMove(f"there is no {kind} {number}")
    return kept[number]


def _move(moves: Mapping[str, set[str]], thing: Any, state: str) -> None:
    if state not in moves[thing.state]:
        raise IllegalMove(f"{thing.number} is {thing.state} and cannot become {state}")
    thing.state = state


def _reachable(state: str) -> set[str]:
    found: set[str] = set()
    ahead = [state]
    while ahead:
        for following in TRANSFER_MOVES[ahead.pop()] - found:
            found.add(following)
            ahead.append(following)
    return found
