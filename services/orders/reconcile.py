"""Asks WeChat Pay about everything that is not settled, because callbacks are never guaranteed [4012075249].

Rows are claimed in batches by moving `next_check_at` on, asked about in a few threads, and written down together. A run
that ends in the middle leaves rows that are due again when their lease ends. Any number of runs may go on at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, case, func, literal, select, update

from services.orders import facts, states
from services.orders.columns import UtcTime, now
from services.orders.database import Transaction
from services.orders.facts import Incident, PaymentFact, RefundFact, Row, TransferFact
from services.orders.schema import orders, refunds, transfers
from services.orders.service import SqlOrderService
from services.orders.store import Store, next_check, payer_of
from services.wechatpay import paths
from services.wechatpay.client import Client
from services.wechatpay.errors import ApiError, OutcomeUnknown, WechatPayError

BATCH, WORKERS = 50, 4
LEASE = 120.0  # seconds for one batch
TRY_TIMEOUT, CALL_TIMEOUT = 3.0, 6.0  # seconds for one host and for one question
SETTLING = timedelta(seconds=60)  # a 404 sooner after the last attempt may only mean "not yet" [4012716437]
SOON = timedelta(seconds=60)
QUERYABLE = timedelta(days=30)  # how long transfers can be asked about [4012716437]

Fact = PaymentFact | RefundFact | TransferFact
Progress = Callable[[dict[str, int]], None]

log = logging.getLogger("pay.orders")


@dataclass(frozen=True)
class Answer:
    """What became of asking about one row: a fact, that there is none such, that it was not asked, or nothing new."""

    row: Row
    fact: Fact | None = None
    missing: bool = False
    asked: bool = True
    failed: bool = False
    limited: bool = False


@dataclass(frozen=True)
class _Kind:
    table: Table
    number: str
    path: Callable[[str, str], str]
    read: Callable[[Row], Fact]
    settle: Callable[[Store, Transaction, Sequence[Answer]], int]

    @property
    def column(self) -> ColumnElement[Any]:
        return self.table.c[self.number]


class Reconciler:
    """`client` asks WeChat Pay for `merchant_id`; events that come of it are delivered by the service's outbox."""

    def __init__(self, service: SqlOrderService, client: Client, merchant_id: str) -> None:
        self._service = service
        self._store = service.parts.store
        self._database = service.parts.store.database
        self._client = client
        self._merchant_id = merchant_id

    def run(
        self, *, limit: int = 10_000, seconds: float = 600.0, progress: Progress | None = None
    ) -> dict[str, int | float]:
        """Ask about at most `limit` due rows, none begun after `seconds`; then deliver events that are due.

        Returns counts: `checked`, of these `changed`, `not_there` and `failed` (asked again later); `left` are still
        due; `delivered`, `undelivered` and `dead` are events. After each batch `progress` is told the first four.
        """
        began = time.monotonic()
        until = began + seconds
        counts = {"checked": 0, "changed": 0, "not_there": 0, "failed": 0}
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="reconcile") as pool:
            for unknown in (True, False):  # what may have happened comes before what is merely open
                for kind in KINDS:
                    while self._one_batch(pool, kind, unknown, limit - counts["checked"], until, counts):
                        if progress:
                            progress(counts)
        delivered = self._service.outbox.run(seconds=max(0.0, until - time.monotonic()))
        return {
            **counts,
            "left": self._due(),
            "delivered": delivered["delivered"],
            "undelivered": delivered["failed"],
            "dead": delivered["dead"],
            "seconds": round(time.monotonic() - began, 1),
        }

    def _one_batch(
        self, pool: ThreadPoolExecutor, kind: _Kind, unknown: bool, limit: int, until: float, counts: dict[str, int]
    ) -> bool:
        """Whether there was one, and there may be another."""
        if limit <= 0 or time.monotonic() >= until:
            return False
        claimed_at = time.monotonic()
        lease, rows = self._claim(kind, unknown, min(BATCH, limit))
        if not rows:
            return False
        stop = min(until, claimed_at + LEASE - 2 * CALL_TIMEOUT)
        context = copy_context()
        answers = list(pool.map(lambda row: context.copy().run(self._ask, kind, row, stop), rows))
        counts["changed"] += self._write(kind, lease, answers)
        counts["checked"] += sum(answer.asked for answer in answers)
        counts["not_there"] += sum(answer.missing for answer in answers)
        counts["failed"] += sum(answer.failed for answer in answers)
        return not any(answer.limited for answer in answers)

    def _claim(self, kind: _Kind, unknown: bool, limit: int) -> tuple[datetime, list[Row]]:
        def claim(tx: Transaction) -> tuple[datetime, list[Row]]:
            stamp = now()
            lease = stamp + timedelta(seconds=LEASE)
            due = (
                select(kind.table)
                .where(kind.table.c.unknown == unknown, kind.table.c.next_check_at <= stamp)
                .order_by(kind.table.c.next_check_at)
                .limit(limit)
            )
            found = tx.connection.execute(self._database.locked(due, skip=True)).mappings()
            rows: list[Row] = [dict(row) for row in found]
            if rows:
                taken = kind.column.in_([row[kind.number] for row in rows])
                tx.connection.execute(update(kind.table).where(taken).values(next_check_at=lease))
            return lease, rows

        return self._database.run(claim)

    # Asking

    def _ask(self, kind: _Kind, row: Row, stop: float) -> Answer:
        if time.monotonic() >= stop:
            return Answer(row, asked=False)
        number = row[kind.number]
        try:
            fact = kind.read(self._call("GET", kind.path(self._merchant_id, number), {kind.number: number}))
            if not (isinstance(fact, PaymentFact) and fact.trade_state == "NOTPAY" and _is_expired(row)):
                return Answer(row, fact)
        except WechatPayError as error:
            if not _is_not_there(error):
                return self._failed(row, number, error)
            if kind.table is not orders or not _is_expired(row):
                return Answer(row, missing=True)
        return self._close(row, number)

    def _close(self, row: Row, number: str) -> Answer:
        """Close an unpaid order; a refusal may mean that it was paid a moment ago, so it is asked about again."""
        try:
            self._call("POST", paths.close(number), {}, {"mchid": self._merchant_id})
        except WechatPayError as error:
            return self._failed(row, number, error)
        return Answer(row, PaymentFact.read({"out_trade_no": number, "trade_state": states.CLOSED}))

    def _call(
        self, method: str, path: str, expect: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        deadline = time.monotonic() + CALL_TIMEOUT
        reply = self._client.call(
            method, path, body, expect=expect, deadline=deadline, try_timeout=TRY_TIMEOUT
        )
        return reply.data

    def _failed(self, row: Row, number: str, error: WechatPayError) -> Answer:
        log.warning("reconcile could not settle %s: %s", number, error)
        limited = isinstance(error, (ApiError, OutcomeUnknown)) and error.status == 429
        return Answer(row, failed=True, limited=limited)

    # Writing

    def _write(self, kind: _Kind, lease: datetime, answers: Sequence[Answer]) -> int:
        """Keep a batch in one transaction; returns how many rows changed."""
        answers = sorted(answers, key=lambda answer: str(answer.row[kind.number]))  # all lock in one order

        def write(tx: Transaction) -> int:
            changed = kind.settle(self._store, tx, [answer for answer in answers if answer.fact])
            for answer in answers:
                if answer.missing:
                    changed += self._not_there(tx, kind, answer.row)
            self._plan(tx, kind, lease, answers)
            return changed

        return self._database.run(write)

    def _not_there(self, tx: Transaction, kind: _Kind, row: Row) -> bool:
        """WeChat Pay knows no such number. Whether that frees it depends on whether it ever accepted it."""
        number, state, age = row[kind.number], row["state"], now() - row["updated_at"]
        if kind.table is orders or (state == states.PENDING and age < SETTLING):
            return False
        if state == states.PENDING:
            values = {"state": states.REFUSED, "unknown": False, "next_check_at": None, "updated_at": now()}
            same = [kind.column == number, kind.table.c.state == state, kind.table.c.attempts == row["attempts"]]
            return tx.connection.execute(update(kind.table).where(*same).values(values)).rowcount == 1
        if state != states.REFUSED:
            message = f"{kind.table.name} {number} is {state} here, but WeChat Pay does not know it (any more)"
            self._store.record_incident(Incident("not_at_wechat_pay", str(number), message, {"state": state}))
        return False

    def _plan(self, tx: Transaction, kind: _Kind, lease: datetime, answers: Sequence[Answer]) -> None:
        """When to ask next: one UPDATE for the batch, which leaves alone what somebody made due meanwhile."""
        stamp = now()
        plans = {answer.row[kind.number]: _next(answer, stamp) for answer in answers}
        when = case(
            *((kind.column == number, literal(at, UtcTime())) for number, at in plans.items()),
            else_=kind.table.c.next_check_at,
        )
        tx.connection.execute(
            update(kind.table)
            .where(kind.column.in_(plans), kind.table.c.next_check_at == lease)
            .values(next_check_at=when, checks=kind.table.c.checks + 1)
        )

    def _due(self) -> int:
        """Rows that are due now."""
        with self._database.reading() as connection:
            return sum(
                connection.execute(
                    select(func.count())
                    .select_from(kind.table)
                    .where(kind.table.c.unknown.in_([True, False]), kind.table.c.next_check_at <= now())
                ).scalar_one()
                for kind in KINDS
            )


def _next(answer: Answer, stamp: datetime) -> datetime | None:
    row = answer.row
    if not answer.asked:
        return stamp
    if answer.missing and row["state"] == states.REFUSED:
        return None  # as it said when it refused
    if answer.missing and stamp - row["created_at"] > QUERYABLE:
        return None  # an incident tells of it
    expires = row.get("expires_at")
    if answer.failed and (expires is None or expires <= stamp):
        return min(stamp + SOON, next_check(row["created_at"], stamp))
    return next_check(row["created_at"], stamp, expires)


def _is_expired(row: Row) -> bool:
    return bool(row["state"] == states.PENDING and row["expires_at"] <= now())


def _is_not_there(error: WechatPayError) -> bool:
    """A 404 without a signature comes from the gateway and proves nothing [4012081717]."""
    return isinstance(error, ApiError) and error.status == 404 and error.signed


def _settle_payments(store: Store, tx: Transaction, answers: Sequence[Answer]) -> int:
    known = store.locked_rows(tx, orders.c.out_trade_no, [answer.row["out_trade_no"] for answer in answers])
    outcomes = []
    for answer in answers:
        row = known.get(answer.row["out_trade_no"])
        if row is not None and isinstance(answer.fact, PaymentFact):
            outcomes.append(store.settle_payment(tx, row, facts.decide_payment(row, answer.fact, payer_of(row))))
    return outcomes.count(facts.APPLIED)


def _settle_refunds(store: Store, tx: Transaction, answers: Sequence[Answer]) -> int:
    # All their orders first, because whoever locks an order after a refund may meet somebody who did it the other way.
    store.locked_rows(tx, orders.c.out_trade_no, [answer.row["out_trade_no"] for answer in answers])
    outcomes = [store.learn_refund(answer.fact) for answer in answers if isinstance(answer.fact, RefundFact)]
    return outcomes.count(facts.APPLIED)


def _settle_transfers(store: Store, tx: Transaction, answers: Sequence[Answer]) -> int:
    store.locked_rows(tx, transfers.c.out_bill_no, [answer.row["out_bill_no"] for answer in answers])
    outcomes = [store.learn_transfer(answer.fact) for answer in answers if isinstance(answer.fact, TransferFact)]
    return outcomes.count(facts.APPLIED)


KINDS = (
    _Kind(orders, "out_trade_no", paths.order, PaymentFact.read, _settle_payments),
    _Kind(refunds, "out_refund_no", lambda mchid, number: paths.refund(number), RefundFact.read, _settle_refunds),
    _Kind(transfers, "out_bill_no", lambda mchid, number: paths.transfer(number), TransferFact.read, _settle_transfers),
)
