"""Reads and writes the tables. What WeChat Pay said comes in as a fact; one transaction keeps all that follows.

An order's row is locked before its refunds, so two messages about one order wait for each other and none deadlocks;
each change of state is an UPDATE that names the states it may come from.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Column, Result, Select, Table, Update, bindparam, insert, select, update

from services.orders import facts, states
from services.orders.columns import now, to_millisecond
from services.orders.database import Database, Transaction
from services.orders.facts import FACTS, Decision, Fact, Incident, PaymentFact, RefundFact, Row, TransferFact
from services.orders.schema import events, incidents, notifications, orders, refunds, transfers
from services.strategies.base import Notification

# Seconds after creation at which WeChat Pay advises to query [4012075249]; hourly from then on.
SCHEDULE = (5, 30, 60, 180, 300, 600, 1800)
HOURLY = 3600
log = logging.getLogger("pay.orders")


class Store:
    """Orders, refunds and transfers of one merchant. Every method is a transaction, or joins the one that is open."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # What is there

    def order(self, out_trade_no: str) -> Row | None:
        return self._one(orders.c.out_trade_no, out_trade_no)

    def order_by_transaction(self, transaction_id: str) -> Row | None:
        return self._one(orders.c.transaction_id, transaction_id)

    def refund(self, out_refund_no: str) -> Row | None:
        return self._one(refunds.c.out_refund_no, out_refund_no)

    def transfer(self, out_bill_no: str) -> Row | None:
        return self._one(transfers.c.out_bill_no, out_bill_no)

    # What WeChat Pay said

    def learn(self, kind: str, fields: Row) -> str:
        """Take in what is known of a payment, refund or transfer; returns the outcome, see `facts`."""
        return self.learn_fact(FACTS[kind].read(fields))

    def learn_fact(self, fact: Fact) -> str:
        """The same, once it is read."""

        def work(tx: Transaction) -> str:
            if isinstance(fact, PaymentFact):
                tx.outcome = self._learn_payment(tx, fact)
            elif isinstance(fact, RefundFact):
                tx.outcome = self._learn_refund(tx, fact)
            else:
                tx.outcome = self._learn_transfer(tx, fact)
            return tx.outcome

        return self.database.run(work)

    def keep_notification(self, notification: Notification, outcome: str) -> None:
        """The inbox row; one that comes again is counted, and its outcome replaced by what it newly brought about."""
        kind = notification.kind
        stamp = now()
        row = {
            "key": inbox_key(notification),
            "notification_id": notification.id[:64],
            "kind": kind.name if kind else "other",
            "event_type": notification.event_type[:64],
            "number": str(notification.plaintext[kind.number])[:64] if kind else "",
            "evidence": notification.evidence,
            "plaintext": canonical(notification.plaintext),
            "outcome": outcome,
            "deliveries": 1,
            "received_at": stamp,
            "last_at": stamp,
        }
        replaced = "last_at" if outcome == facts.REPEATED else "last_at outcome"
        insert = self.database.insert
        self.database.run(lambda tx: insert(tx, notifications, [row], "key", count="deliveries", replace=replaced))

    def record_incident(self, incident: Incident) -> None:
        """Keep it once, however often it is found, and say it in the log as an error."""
        self.database.run(lambda tx: self._record_incident(tx, incident))

    # Learning, inside a transaction

    def _learn_payment(self, tx: Transaction, fact: PaymentFact) -> str:
        row = self.locked(tx, orders.c.out_trade_no, fact.out_trade_no)
        return self.settle(tx, "payment", row, facts.decide_payment(row, fact, payer_of(row) if row else None))

    def _learn_refund(self, tx: Transaction, fact: RefundFact) -> str:
        order = self.locked_order(tx, fact.out_trade_no, fact.transaction_id)
        row = self.locked(tx, refunds.c.out_refund_no, fact.out_refund_no)
        row = row or self._adopt_refund(tx, order, fact)
        if row is None:
            return facts.INCIDENT
        decision = facts.decide_refund(row, order, fact)
        outcome = self.settle(tx, "refund", row, decision)
        if outcome == facts.APPLIED and decision.refunded and order is not None:
            self._add_refunded(tx, order, decision)
        return outcome

    def _learn_transfer(self, tx: Transaction, fact: TransferFact) -> str:
        row = self.locked(tx, transfers.c.out_bill_no, fact.out_bill_no)
        return self.settle(tx, "transfer", row, facts.decide_transfer(row, fact))

    def settle(self, tx: Transaction, kind: str, row: Row | None, decision: Decision) -> str:
        """Write a decision about a row that is locked or was read a moment ago; None: one that is not stored."""
        if row is not None and not self._move(tx, KINDS[kind], row, decision):
            return facts.REPEATED
        if decision.event and row is not None:
            after = {**row, **decision.values}
            self._emit(tx, decision.event, row[KINDS[kind].number], KINDS[kind].view(after))
        if decision.incident:
            self._record_incident(tx, decision.incident)
        return decision.outcome

    def _adopt_refund(self, tx: Transaction, order: Row | None, fact: RefundFact) -> Row | None:
        """A row for a refund that was made elsewhere, such as on the merchant platform: money left all the same."""
        fitting = (
            order is not None
            and fact.total == order["total"]
            and type(fact.refund) is int
            and 0 < fact.refund <= order["total"]
        )
        if order is None or not fitting:
            message = f"refund {fact.out_refund_no} of order {fact.out_trade_no} is not stored here"
            details = {"status": fact.status, "refund": fact.refund, "total": fact.total}
            self._record_incident(tx, Incident("unknown_refund", fact.out_refund_no, message, details))
            return None
        row = new_refund(
            {"out_refund_no": fact.out_refund_no, "out_trade_no": order["out_trade_no"]},
            amount=fact.refund,
            total=fact.total,
            currency=order["currency"],
        ) | {"attempts": 0}  # so its created_at is not when it was asked for
        tx.connection.execute(insert(refunds), row)
        return row

    def _add_refunded(self, tx: Transaction, order: Row, decision: Decision) -> None:
        refunded = order["refunded"] + decision.refunded
        values: dict[str, Any] = {"refunded": refunded, "updated_at": now()}
        if order["state"] in states.PAID_STATES:
            values["state"] = states.paid_state(refunded, order["total"])
        elif decision.recheck:
            values["next_check_at"] = now()
        self.change(tx, orders.c.out_trade_no, order["out_trade_no"], values)
        if refunded > order["total"]:
            message = f"{refunded} cents were refunded of order {order['out_trade_no']} of {order['total']}"
            details = {"refunded": refunded, "total": order["total"]}
            self._record_incident(tx, Incident("refunded_too_much", order["out_trade_no"], message, details))

    # Parts

    def _move(self, tx: Transaction, kind: Kind, row: Row, decision: Decision) -> bool:
        """Whether the row was as it was read, and is now as decided; True as well where nothing is to change."""
        if not decision.values:
            return True
        target = decision.values.get("state", row["state"])
        if target != row["state"] and row["state"] not in states.before(kind.moves, target):
            return False
        values = {**decision.values, "updated_at": now()}
        if row["state"] == states.REFUSED:
            values.setdefault("next_check_at", now())  # nobody was to ask about it any more
        return self.change(tx, kind.column, row[kind.number], values, state=row["state"])

    def _emit(self, tx: Transaction, kind: str, number: str, payload: Row) -> None:
        """An outbox row. Its id follows from type and number, so that the same event cannot come to be twice."""
        identifier = event_id(kind, number)
        stamp = now()
        row = {
            "id": identifier,
            "type": kind,
            "number": number,
            "payload": json.dumps(payload, ensure_ascii=False),
            "state": states.PENDING,
            "attempts": 0,
            "next_at": stamp,
            "created_at": stamp,
            "lease": None,
            **tx.lease(),
        }
        tx.before_commit.append((events, "id", row))
        tx.events.append(identifier)

    def _record_incident(self, tx: Transaction, incident: Incident) -> None:
        details = json.dumps(incident.details, ensure_ascii=False, sort_keys=True)
        stamp = now()
        row = {
            "key": _digest(incident.kind, incident.number, details)[:64],
            "kind": incident.kind,
            "number": incident.number[:64],
            "message": incident.message[:500],
            "details": details,
            "times": 1,
            "created_at": stamp,
            "last_at": stamp,
        }
        self.database.insert(tx, incidents, [row], "key", count="times", replace="last_at")
        log.error("incident: %s", incident.message, extra={"fields": {"incident": incident.kind}})

    def locked_order(self, tx: Transaction, out_trade_no: Any, transaction_id: Any) -> Row | None:
        """The order of that number, locked; None where it is not stored."""
        if isinstance(out_trade_no, str):
            return self.locked(tx, orders.c.out_trade_no, out_trade_no)
        if isinstance(transaction_id, str):
            return self.locked(tx, orders.c.transaction_id, transaction_id)
        return None

    def locked(self, tx: Transaction, column: Column[Any], value: str) -> Row | None:
        """The row that has this number, locked until the end of the transaction."""
        return _first(tx.connection.execute(_one_locked(column), {"wanted": value}))

    def change(self, tx: Transaction, column: Column[Any], value: str, values: Row, **still: Any) -> bool:
        """Whether the row that has this number was there, its columns as they are `still` to be, and is changed."""
        wanted = {"wanted": value, **{f"still_{name}": still[name] for name in still}}
        return tx.connection.execute(_change(column, *still), {**values, **wanted}).rowcount == 1

    def locked_rows(self, tx: Transaction, column: Any, values: Sequence[str | None]) -> dict[str, Row]:
        """The rows that have these numbers, by number, locked in the order of their numbers."""
        wanted = sorted({value for value in values if value is not None})
        if not wanted:
            return {}
        query = self.database.locked(select(column.table).where(column.in_(wanted)).order_by(column))
        return {row[column.name]: dict(row) for row in tx.connection.execute(query).mappings()}

    def _one(self, column: Column[Any], value: str) -> Row | None:
        with self.database.reading() as connection:
            return _first(connection.execute(_one(column), {"wanted": value}))


# Statements are made once: that takes longer than SQLite takes to run them.


@cache
def _one(column: Column[Any]) -> Select[Any]:
    return select(column.table).where(column == bindparam("wanted")).limit(1)


@cache
def _one_locked(column: Column[Any]) -> Select[Any]:
    return _one(column).with_for_update()


@cache
def _change(column: Column[Any], *still: str) -> Update:
    same = [column.table.c[name] == bindparam(f"still_{name}") for name in still]
    return update(column.table).where(column == bindparam("wanted"), *same)


def _first(result: Result[Any]) -> Row | None:
    row = result.mappings().first()
    return None if row is None else dict(row)


def new_refund(params: Row, *, amount: int, total: int, currency: str) -> dict[str, Any]:
    """A row of `refunds` before WeChat Pay is asked."""
    stamp = now()
    return {
        "out_refund_no": params["out_refund_no"],
        "out_trade_no": params.get("out_trade_no"),
        "transaction_id": params.get("transaction_id"),
        "refund_id": None,
        "amount": amount,
        "total": total,
        "currency": currency,
        "state": states.PENDING,
        "params": canonical(params),
        "unknown": True,
        "attempts": 1,
        "received_account": None,
        "succeeded_at": None,
        "next_check_at": next_check(stamp, stamp),
        "checks": 0,
        "created_at": stamp,
        "updated_at": stamp,
    }


def payer_of(order: Row) -> str | None:
    """The openid that an order was placed for; None where anybody may pay."""
    payer: str | None = json.loads(order["params"]).get("payer", {}).get("openid")
    return payer


def next_check(created: datetime, at: datetime, expires: datetime | None = None) -> datetime:
    """When to query next, after `at`; the moment an order expires is one of them."""
    age = (at - created).total_seconds()
    ahead = [created + timedelta(seconds=seconds) for seconds in SCHEDULE if seconds > age]
    due = min(ahead, default=at + timedelta(seconds=HOURLY))
    return min(due, expires) if expires is not None and expires > at else due


def canonical(params: Row) -> str:
    """JSON that is the same for the same params."""
    return json.dumps(params, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def event_id(kind: str, number: str) -> str:
    """The same for the same event for ever, also in a database that was restored from a copy."""
    return f"evt_{_digest(kind, number)[:40]}"


def order_view(row: Row) -> dict[str, Any]:
    """An order as hooks, callers and the command line see it."""
    params = json.loads(row["params"])
    return {
        "out_trade_no": row["out_trade_no"],
        "state": row["state"],
        "appid": row["appid"],
        "mchid": row["mchid"],
        "owner": row["owner"],
        "description": params.get("description"),
        "attach": params.get("attach"),
        "amount": {"total": row["total"], "currency": row["currency"], "payer_total": row["payer_total"]},
        "refunded": row["refunded"],
        "transaction_id": row["transaction_id"],
        "trade_type": row["trade_type"],
        "bank_type": row["bank_type"],
        "payer": {"openid": row["payer"]},
        "paid_at": _text(row["paid_at"]),
        "created_at": _text(row["created_at"]),
        "expires_at": _text(row["expires_at"]),
    }


def refund_view(row: Row) -> dict[str, Any]:
    """A refund as hooks and the command line see it."""
    return {
        "out_refund_no": row["out_refund_no"],
        "state": row["state"],
        "out_trade_no": row["out_trade_no"],
        "transaction_id": row["transaction_id"],
        "refund_id": row["refund_id"],
        "reason": json.loads(row["params"]).get("reason"),
        "amount": {"refund": row["amount"], "total": row["total"], "currency": row["currency"]},
        "received_account": row["received_account"],
        "succeeded_at": _text(row["succeeded_at"]),
        "created_at": _text(row["created_at"]),
    }


def transfer_view(row: Row) -> dict[str, Any]:
    """A transfer as hooks and the command line see it."""
    return {
        "out_bill_no": row["out_bill_no"],
        "state": row["state"],
        "transfer_bill_no": row["transfer_bill_no"],
        "appid": row["appid"],
        "openid": row["openid"],
        "amount": row["amount"],
        "remark": json.loads(row["params"]).get("transfer_remark"),
        "fail_reason": row["fail_reason"],
        "finished_at": _text(row["finished_at"]),
        "created_at": _text(row["created_at"]),
    }


def inbox_key(notification: Notification) -> str:
    """WeChat Pay's id where its signature covers it, else what the content alone gives.

    A forward proves its content only: whoever repeats one may put any id and event type beside it.
    """
    if notification.evidence == "signature" and notification.id:
        return f"id:{notification.id}"[:80]
    return f"sha256:{_digest(canonical(notification.plaintext))}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _text(value: datetime | None) -> str | None:
    return None if value is None else to_millisecond(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Kind(NamedTuple):
    """What tells payments, refunds and transfers apart here: table, its number's column, states, how a row is shown."""

    table: Table
    number: str
    moves: states.Moves
    view: Callable[[Row], dict[str, Any]]

    @property
    def column(self) -> Column[Any]:
        return self.table.c[self.number]


KINDS = {
    "payment": Kind(orders, "out_trade_no", states.ORDER, order_view),
    "refund": Kind(refunds, "out_refund_no", states.REFUNDS, refund_view),
    "transfer": Kind(transfers, "out_bill_no", states.TRANSFER, transfer_view),
}
