"""The order service with a database behind it; `orderDatabaseUrl` chooses it, subclasses may override any method."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update

from services.merchant_code import is_kept
from services.order_service import Caller, OrderService, Params, Refused
from services.orders import facts, states
from services.orders.columns import now
from services.orders.database import Transaction
from services.orders.facts import Incident, Row
from services.orders.outbox import Outbox
from services.orders.schema import orders, refunds, transfers
from services.orders.store import KINDS, Kind, Store, canonical, new_refund, next_check
from services.strategies.base import Notification
from utils.texts import Message

Price = Callable[[Params, Caller], int]

CONFIRM_REFUSAL_AFTER = timedelta(seconds=60)
HOOK_RESERVE = 0.3  # seconds of a callback's time that are left when hooks are no longer waited for
HOOK_WAIT = 1.0  # seconds that a query or close waits for hooks
NAME_ROUNDS = 100_000
# Refusals that tell of something under that number; spelt with `_` or without [4012081717].
_TAKEN = {
    "payment": {"OUTTRADENOUSED", "ORDERPAID", "ORDERCLOSED"},
    "refund": {"REFUNDFEEMISMATCH"},
    "transfer": {"ALREADYEXISTS"},
}
_NO_ORDER = Message("no such order")
_TOO_MUCH = "amount.refund is {refund}, but {left} of {total} cents are left: the rest is refunded or under way"
_NUMBER = re.compile("[!-~]{1,64}")  # other text is no number, and databases have errors of their own for it
_OWNED = {
    "wxpay_query_order_by_out_trade_no": "out_trade_no",
    "wxpay_query_order_by_transaction_id": "transaction_id",
    "wxpay_close_order": "out_trade_no",
    "wxpay_order_wait": "out_trade_no",
    "wxpay_refund_query": "out_refund_no",
}

log = logging.getLogger("pay.orders")


@dataclass(frozen=True)
class Parts:
    """What create_app gives the service: `price` is the merchant's price list, `forward` sends events on."""

    store: Store
    merchant_id: str
    price: Price | None
    expire_after: timedelta
    forward: Callable[[str, Params], None] | None


class SqlOrderService(OrderService):
    """Keeps orders, refunds and transfers, and lets side effects happen once: override `on_*` for yours.

    Amounts are integers in cents. An overridden `handler_*` that still is to keep calls its super() method; the whole
    of a callback is one transaction, which it joins by `self.parts.store.database.run(work)`.
    """

    needs_database = True
    parts: Parts

    def use(self, parts: Parts) -> None:
        """Called once by create_app."""
        self.parts = parts
        self.outbox = Outbox(
            parts.store,
            {
                facts.ORDER_PAID: self.on_paid,
                facts.ORDER_CLOSED: self.on_order_closed,
                facts.REFUND_SUCCEEDED: self.on_refunded,
                facts.TRANSFER_FINISHED: self.on_transfer_finished,
            },
        )

    # Side effects: once per event for whoever looks at `event_id`, retried until they return

    def on_paid(self, order: Params) -> Any:
        """An order is paid: ship. `order` has out_trade_no, amount.total, payer.openid, attach, event_id, ..."""
        self.forward(facts.ORDER_PAID, order)

    def on_refunded(self, refund: Params) -> Any:
        """A refund has arrived. `refund` has out_refund_no, out_trade_no, amount.refund, event_id, ..."""
        self.forward(facts.REFUND_SUCCEEDED, refund)

    def on_transfer_finished(self, transfer: Params) -> Any:
        """A transfer is SUCCESS, FAIL or CANCELLED, by `state`; it has out_bill_no, amount, event_id, ..."""
        self.forward(facts.TRANSFER_FINISHED, transfer)

    def on_order_closed(self, order: Params) -> Any:
        """An order was closed unpaid: put the goods back."""
        self.forward(facts.ORDER_CLOSED, order)

    def forward(self, kind: str, payload: Params) -> None:
        """Send the event to `eventWebhookUrl`, where that is set; raises what went wrong."""
        if self.parts.forward:
            self.parts.forward(kind, payload)

    # Who may

    def authorize(self, action: str, params: Params, caller: Caller) -> None:
        """The default rights, and for end users their own orders only: another one is as if it did not exist."""
        super().authorize(action, params, caller)
        name = _OWNED.get(action)
        number = params.get(name) if name else None
        if name is None or caller.operator or not isinstance(number, str) or not _NUMBER.fullmatch(number):
            return  # the schema says what is wrong with a number that is none
        owner = self._owner_of(name, number)
        if owner is None or (owner and owner not in (caller.openid, caller.uid)):
            raise Refused(_NO_ORDER, 404)
        if action == "wxpay_close_order" and self._is_unknown(number):
            template = "whether WeChat Pay took order {number} is not known yet: send the same order again"
            raise Refused(Message(template, number=number), 409)

    def _is_unknown(self, number: str) -> bool:
        """Until WeChat Pay has taken the order, one of that number may be somebody else's."""
        order = self.parts.store.order(number)
        return order is not None and order["state"] == states.PENDING and bool(order["unknown"])

    def _owner_of(self, name: str, number: str) -> str | None:
        store = self.parts.store
        if name == "out_refund_no":
            refund = store.refund(number)
            if refund is None or refund["out_trade_no"] is None:
                return None
            name, number = "out_trade_no", refund["out_trade_no"]
        order = store.order(number) if name == "out_trade_no" else store.order_by_transaction(number)
        return None if order is None else str(order["owner"])

    # Orders

    def before_unified(self, params: Params, caller: Caller) -> Params:
        """Priced by the merchant, then written down; the same number with the same params is the same order."""
        params = self._priced(params, caller)
        return self.parts.store.database.run(lambda tx: self._place(tx, params, caller.openid or caller.uid))

    def _priced(self, params: Params, caller: Caller) -> Params:
        if self.parts.price is None:
            return params
        total, asked = self.parts.price(params, caller), params["amount"]["total"]
        if type(total) is not int or total <= 0:
            raise TypeError("priceList must return the price as an integer above 0, in cents")
        if asked != total:
            template = "amount.total is {asked}, but the price is {price} cents"
            raise Refused(Message(template, asked=asked, price=total), 409)
        return params

    def _place(self, tx: Transaction, params: Params, owner: str) -> Params:
        number = params["out_trade_no"]
        store = self.parts.store
        row = store.locked(tx, orders.c.out_trade_no, number)
        fresh = self._new_order(params, owner)
        if row is None:
            tx.connection.execute(insert(orders), fresh)
            return params
        if row["owner"] != owner:
            raise Refused(Message("out_trade_no {number} is taken: use another one", number=number), 409)
        if row["state"] == states.REFUSED:
            again = fresh | {"attempts": row["attempts"] + 1}  # an old attempt may still be under way
            store.change(tx, orders.c.out_trade_no, number, again)
            return params
        known = json.loads(row["params"])
        if _comparable(known) != _comparable(params):
            raise _taken("out_trade_no", number)
        if row["state"] != states.PENDING:
            template = "order {number} is {state}: query it, and use a new number for another order"
            raise Refused(Message(template, number=number, state=row["state"]), 409)
        values: dict[str, Any] = {"attempts": row["attempts"] + 1, "updated_at": fresh["updated_at"]}
        # Written by a clock that was fast, it would be later than its payment.
        values["created_at"] = min(row["created_at"], fresh["created_at"])
        if "time_expire" not in known:  # whoever asks for it again gets as much time to pay as the first time
            values |= {name: fresh[name] for name in ("expires_at", "next_check_at")}
        store.change(tx, orders.c.out_trade_no, number, values)
        same: Params = known
        return same

    def _new_order(self, params: Params, owner: str) -> dict[str, Any]:
        stamp = now()
        expires = facts.moment(params.get("time_expire")) or stamp + self.parts.expire_after
        return {
            "out_trade_no": params["out_trade_no"],
            "mchid": self.parts.merchant_id,
            "appid": params["appid"],
            "owner": owner,
            "total": params["amount"]["total"],
            "currency": params["amount"].get("currency", "CNY"),
            "state": states.PENDING,
            "params": canonical(params),
            "unknown": True,
            "attempts": 1,
            "refunded": 0,
            "expires_at": expires,
            "next_check_at": next_check(stamp, stamp, expires),
            "checks": 0,
            "created_at": stamp,
            "updated_at": stamp,
        }

    def handler_unified(self, params: Params) -> Any:
        super().handler_unified(params)
        store, values = self.parts.store, {"unknown": False, "updated_at": now()}
        number = params["out_trade_no"]
        store.database.run(lambda tx: store.change(tx, orders.c.out_trade_no, number, values, unknown=True))

    def handler_close(self, params: Params) -> Any:
        super().handler_close(params)
        self._take_notice("payment", {"out_trade_no": params["out_trade_no"], "trade_state": states.CLOSED})

    # Refunds

    def before_refund(self, params: Params, caller: Caller) -> Params:
        """Its amount is reserved: all refunds of an order together never exceed it."""
        return self.parts.store.database.run(lambda tx: self._reserve_refund(tx, params))

    def _reserve_refund(self, tx: Transaction, params: Params) -> Params:
        store, number, amount = self.parts.store, params["out_refund_no"], params["amount"]
        order = store.locked_order(tx, params.get("out_trade_no"), params.get("transaction_id"))
        row = store.locked(tx, refunds.c.out_refund_no, number)
        if row is not None and row["state"] != states.REFUSED:
            same = self._repeated(tx, refunds.c.out_refund_no, row, params)
            if row["state"] == states.CLOSED:
                template = "out_refund_no {number} is CLOSED: a new attempt needs a new number"
                raise Refused(Message(template, number=number), 409)
            return same
        self._require_refundable(tx, order, params)
        fresh = new_refund(params, amount=amount["refund"], total=amount["total"], currency=amount["currency"])
        if order is not None:
            fresh |= {"out_trade_no": order["out_trade_no"], "transaction_id": order["transaction_id"]}
        if row is not None:
            fresh["attempts"] = row["attempts"] + 1  # an old attempt may still be under way
            store.change(tx, refunds.c.out_refund_no, number, fresh)
        else:
            tx.connection.execute(insert(refunds), fresh)
        return params

    def _require_refundable(self, tx: Transaction, order: Row | None, params: Params) -> None:
        refund, total = params["amount"]["refund"], params["amount"]["total"]
        if order is not None:
            number = order["out_trade_no"]
            if order["state"] not in states.PAID_STATES:
                template = "order {number} is {state} here: query it before you refund it"
                raise Refused(Message(template, number=number, state=order["state"]), 409)
            if total != order["total"]:
                raise Refused(Message("amount.total must be the order's {total} cents", total=order["total"]), 409)
        names = order or params
        # One that was asked for by transaction_id may not know yet which order that is.
        known = [name for name in ("out_trade_no", "transaction_id") if names.get(name)]
        same_order = or_(*(refunds.c[name] == names[name] for name in known))
        query = select(func.coalesce(func.sum(refunds.c.amount), 0)).where(
            same_order, refunds.c.state.in_(states.RESERVING)
        )
        reserved = int(tx.connection.execute(query).scalar_one())
        if reserved + refund > total:
            raise Refused(Message(_TOO_MUCH, refund=refund, left=total - reserved, total=total), 409)

    def _repeated(self, tx: Transaction, number: Any, row: Row, params: Params) -> Params:
        known: Params = json.loads(row["params"])
        if known != params:
            raise _taken(number.name, row[number.name])
        values = {"attempts": row["attempts"] + 1, "updated_at": now()}
        self.parts.store.change(tx, number, row[number.name], values)
        return known

    def handler_refund(self, params: Params) -> Any:
        super().handler_refund(params)
        stamp = now()
        statement = (
            update(refunds)
            .where(
                refunds.c.out_refund_no == params["out_refund_no"],
                # A repetition is accepted too, of a refund that has long gone on.
                refunds.c.state.in_((states.PENDING, states.REFUSED)),
            )
            .values(
                state=states.PROCESSING, unknown=False, next_check_at=next_check(stamp, stamp), updated_at=stamp
            )
        )
        self.parts.store.database.run(lambda tx: tx.connection.execute(statement))

    # Transfers

    def before_transfer(self, params: Params, caller: Caller) -> Params:
        """Written down before WeChat Pay is asked; the name only as a slow digest, to know a repetition by."""
        digest = _name_digest(params)
        return self.parts.store.database.run(lambda tx: self._reserve_transfer(tx, params, digest))

    def _reserve_transfer(self, tx: Transaction, params: Params, digest: str | None) -> Params:
        number = params["out_bill_no"]
        named = {name: params[name] for name in params if name == "user_name"}
        nameless = {name: value for name, value in params.items() if name != "user_name"}
        store = self.parts.store
        row = store.locked(tx, transfers.c.out_bill_no, number)
        if row is None or row["state"] == states.REFUSED:
            fresh = _new_transfer(nameless, digest)
            if row is None:
                tx.connection.execute(insert(transfers), fresh)
            else:
                fresh["attempts"] = row["attempts"] + 1  # an old attempt may still be under way
                store.change(tx, transfers.c.out_bill_no, number, fresh)
            return params
        if row["name_digest"] != digest:
            template = "out_bill_no {number} is taken with another user_name: use another one"
            raise Refused(Message(template, number=number), 409)
        if row["state"] in states.TRANSFER_ENDS:
            template = "out_bill_no {number} is {state}: another transfer needs a new number"
            raise Refused(Message(template, number=number, state=row["state"]), 409)
        return self._repeated(tx, transfers.c.out_bill_no, row, nameless) | named

    def handler_encrypted(self, params: Params, serial: str) -> tuple[Params, str]:
        """The first ciphertext is kept and sent by every repetition, because WeChat Pay may compare it."""
        store, number = self.parts.store, params["out_bill_no"]

        def keep(tx: Transaction) -> tuple[str, str]:
            row = store.locked(tx, transfers.c.out_bill_no, number)
            if row is None or row["name_ciphertext"]:
                return (row["name_ciphertext"], row["name_serial"]) if row else (params["user_name"], serial)
            values = {"name_ciphertext": params["user_name"], "name_serial": serial}
            store.change(tx, transfers.c.out_bill_no, number, values)
            return params["user_name"], serial

        ciphertext, first_serial = store.database.run(keep)
        return params | {"user_name": ciphertext}, first_serial

    def handler_transfer(self, params: Params, result: Params) -> Any:
        super().handler_transfer(params, result)
        self.parts.store.learn("transfer", result)

    # What became of a call, and what queries show

    def handler_refused(self, kind: str, params: Params, error: Params) -> Any:
        """A refusal settles its own attempt. When none is left of which nothing is known, number and amount are free.

        WeChat Pay is asked once more later. If it refused because it has the number already, that is not ours: it was
        written here before any attempt, and each of them was refused.
        """
        number = params[KINDS[kind].number]
        taken = error["code"].replace("_", "") in _TAKEN[kind]
        self.parts.store.database.run(lambda tx: self._settle_refusal(tx, KINDS[kind], number, taken))

    def _settle_refusal(self, tx: Transaction, kind: Kind, number: str, taken: bool) -> None:
        row = self.parts.store.locked(tx, kind.column, number)
        if row is None or row["state"] != states.PENDING:
            return
        stamp, left = now(), row["attempts"] - 1
        values: dict[str, Any] = {"attempts": left, "updated_at": stamp}
        if not row["unknown"] or left > 0:
            values |= {"attempts": max(left, 1), "next_check_at": stamp}
        elif taken:
            tx.connection.execute(delete(kind.table).where(kind.column == number))
            message = f"{kind.number} {number} is used already at WeChat Pay, and not from here: take another number"
            self.parts.store.record_incident(Incident("number_used_elsewhere", number, message))
            return
        else:
            due = stamp + CONFIRM_REFUSAL_AFTER
            values |= {"state": states.REFUSED, "unknown": False, "next_check_at": due}
        self.parts.store.change(tx, kind.column, number, values)

    def handler_query(self, action: str, params: Params, result: Params) -> Any:
        """A query shows what a lost callback would have told."""
        store = self.parts.store
        if "out_refund_no" in result:
            kind, known = "refund", store.refund(result["out_refund_no"])
        elif "out_bill_no" in result:
            kind, known = "transfer", store.transfer(result["out_bill_no"])
        else:
            kind, known = "payment", store.order(result["out_trade_no"])
        if known and kind == "payment" and known["unknown"] and facts.is_from_elsewhere(known, result):
            raise Refused(_NO_ORDER, 404)
        if known:  # an operator may query what is from elsewhere
            self._take_notice(kind, result)

    def _take_notice(self, kind: str, fields: Params) -> None:
        def learn(_: Transaction) -> None:
            self.parts.store.learn(kind, fields)

        self.outbox.run_and_deliver(learn, time.monotonic() + HOOK_WAIT)

    # Callbacks

    def handler_notification(self, notification: Notification, deadline: float) -> Any:
        """One transaction: the change of state, its outbox event, the inbox row. Then hooks, while time allows."""
        work = partial(self._take_in, notification=notification, deadline=deadline)
        with self.parts.store.database.going_first():
            try:
                self.outbox.run_and_deliver(work, deadline - HOOK_RESERVE)
            except _NotKept as refusal:
                return refusal.outcome
            return None

    def _take_in(self, tx: Transaction, notification: Notification, deadline: float) -> None:
        outcome = super().handler_notification(notification, deadline)
        if not is_kept(outcome):
            raise _NotKept(outcome)  # and rolls back
        self.parts.store.keep_notification(notification, tx.outcome or facts.KEPT)

    def handler_unified_trigger(self, params: Params) -> Any:
        log.info("handlerUnifiedTrigger - payment result: %s %s", params["out_trade_no"], params["trade_state"])
        self.parts.store.learn("payment", params)

    def handler_refund_trigger(self, params: Params) -> Any:
        log.info("handlerRefundTrigger - refund result: %s %s", params["out_refund_no"], params["refund_status"])
        self.parts.store.learn("refund", params)

    def handler_transfer_trigger(self, params: Params) -> Any:
        log.info("handlerTransferTrigger - transfer result: %s %s", params["out_bill_no"], params["state"])
        self.parts.store.learn("transfer", params)


class _NotKept(Exception):
    """A handler did not keep the message: nothing of it may be committed."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        super().__init__()


def _taken(name: str, number: str) -> Refused:
    template = "{name} {number} is taken with other fields: use another one"
    return Refused(Message(template, name=name, number=number), 409)


def _comparable(params: Params) -> Params:
    """An order without what may differ between two tries of it: a phone's address changes."""
    scene = params.get("scene_info")
    if not isinstance(scene, dict):
        return params
    return params | {"scene_info": {name: scene[name] for name in scene if name != "payer_client_ip"}}


def _name_digest(params: Params) -> str | None:
    """Names are few: a plain hash of one would be found by trying them all."""
    if "user_name" not in params:
        return None
    salt = params["out_bill_no"].encode()
    return hashlib.pbkdf2_hmac("sha256", params["user_name"].encode(), salt, NAME_ROUNDS).hex()


def _new_transfer(params: Params, digest: str | None) -> dict[str, Any]:
    stamp = now()
    return {
        "out_bill_no": params["out_bill_no"],
        "transfer_bill_no": None,
        "appid": params["appid"],
        "openid": params["openid"],
        "amount": params["transfer_amount"],
        "state": states.PENDING,
        "params": canonical(params),
        "name_digest": digest,
        "name_ciphertext": None,
        "name_serial": None,
        "package_info": None,
        "fail_reason": None,
        "unknown": True,
        "attempts": 1,
        "finished_at": None,
        "next_check_at": next_check(stamp, stamp),
        "checks": 0,
        "created_at": stamp,
        "updated_at": stamp,
    }
