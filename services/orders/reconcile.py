"""Asks WeChat Pay about everything that is not settled, because callbacks are never guaranteed [4012075249].

Rows are claimed in batches by moving `next_check_at` on, asked about in a few threads, and written down together. A run
that ends in the middle leaves rows that are due again when their lease ends. Any number of runs may go on at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, case, func, literal, select, update
from sqlalchemy.exc import DataError

from services.merchant_code import DatabaseFailed
from services.orders import facts, states
from services.orders.columns import UtcTime, now
from services.orders.database import Transaction
from services.orders.facts import Fact, Incident, PaymentFact, RefundFact, Row, TransferFact
from services.orders.schema import orders, refunds, transfers
from services.orders.service import SqlOrderService
from services.orders.store import HOURLY, Store, next_check, payer_of
from services.wechatpay import paths
from services.wechatpay.client import Client
from services.wechatpay.errors import ApiError, OutcomeUnknown, Unverifiable, WechatPayError
from utils import processor
from utils.texts import Message

BATCH, WORKERS = 50, 4
LEASE = 120.0  # seconds for one batch
TRY_TIMEOUT, ROW_TIMEOUT = 3.0, 6.0  # seconds for one host, and for one row with its closing
SETTLING = timedelta(seconds=60)  # a 404 sooner after the last attempt may only mean "not yet" [4012716437]
SOON = timedelta(seconds=60)  # until what could not be settled is asked about again, at the soonest
FURTHEST = timedelta(seconds=HOURLY) + facts.CLOCKS_APART  # ahead; what is due later was planned by a wrong clock
QUERYABLE = timedelta(days=30)  # how long transfers can be asked about [4012716437]

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


@dataclass(frozen=True)
class _Kind:
    """`not_there` is the code by which WeChat Pay says that it has none of a number; other 404s mean other things."""

    table: Table
    number: str
    not_there: str
    path: Callable[[str, str], str]
    read: Callable[[Row], Fact]
    settle: Callable[[Store, Transaction, Sequence[Answer]], int]

    @property
    def column(self) -> ColumnElement[Any]:
        return self.table.c[self.number]


@dataclass(frozen=True)
class _Run:
    """One run: until when (`time.monotonic()`) and about how many rows it asks, and what came of it so far.

    `limited` are the kinds of which WeChat Pay said 429: nothing more is asked about them in this run.
    """

    pool: ThreadPoolExecutor
    until: float
    limit: int
    counts: dict[str, int]
    limited: set[str] = field(default_factory=set)

    def goes_on(self, kind: _Kind) -> bool:
        return kind.number not in self.limited and time.monotonic() < self.until


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
        self._database.run(_bring_back)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="reconcile") as pool:
            run = _Run(pool, until, limit, counts)
            for unknown in (True, False):  # what may have happened comes before what is merely open
                for kind in KINDS:
                    while self._one_batch(run, kind, unknown):
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

    def _one_batch(self, run: _Run, kind: _Kind, unknown: bool) -> bool:
        """Whether there was one, and there may be another."""
        left = run.limit - run.counts["checked"]
        if left <= 0 or not run.goes_on(kind):
            return False
        claimed_at = time.monotonic()
        lease, rows = self._claim(kind, unknown, min(BATCH, left))
        if not rows:
            return False
        stop = claimed_at + LEASE - 2 * ROW_TIMEOUT
        context = copy_context()
        answers = list(run.pool.map(lambda row: context.copy().run(self._ask, run, kind, row, stop), rows))
        run.counts["changed"] += self._write(kind, lease, answers)
        run.counts["checked"] += sum(answer.asked for answer in answers)
        run.counts["not_there"] += sum(answer.missing for answer in answers)
        run.counts["failed"] += sum(answer.failed for answer in answers)
        return True

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

    def _ask(self, run: _Run, kind: _Kind, row: Row, stop: float) -> Answer:
        if time.monotonic() >= stop or not run.goes_on(kind):
            return Answer(row, asked=False)
        try:
            with processor.computing():  # in turn: callers and callbacks go on meanwhile
                return self._answer(kind, row, time.monotonic() + ROW_TIMEOUT)
        except WechatPayError as error:
            log.warning("reconcile could not settle %s: %s", row[kind.number], error)
            if isinstance(error, (ApiError, OutcomeUnknown)) and error.status == 429:
                run.limited.add(kind.number)
            return Answer(row, failed=True)

    def _answer(self, kind: _Kind, row: Row, deadline: float) -> Answer:
        """What WeChat Pay says; an order past its time is closed, if it is unpaid or not there.

        A refused closing may mean that it was paid a moment ago, so it is asked about again.
        """
        number = row[kind.number]
        try:
            fact = self._query(kind, number, deadline)
        except ApiError as error:
            if not _is_not_there(kind, error):
                raise
            if kind.table is not orders or not _is_expired(row):
                return Answer(row, missing=True)
        else:
            if not (isinstance(fact, PaymentFact) and fact.trade_state == "NOTPAY" and _is_expired(row)):
                return Answer(row, fact)
        body = {"mchid": self._merchant_id}
        self._client.call("POST", paths.close(number), body, deadline=deadline, try_timeout=TRY_TIMEOUT)
        return Answer(row, PaymentFact.read({"out_trade_no": number, "trade_state": states.CLOSED}))

    def _query(self, kind: _Kind, number: str, deadline: float) -> Fact:
        path, expect = kind.path(self._merchant_id, number), {kind.number: number}
        reply = self._client.call("GET", path, expect=expect, deadline=deadline, try_timeout=TRY_TIMEOUT)
        try:
            return kind.read(reply.data)
        except KeyError as error:
            raise Unverifiable(Message("WeChat Pay's answer holds no {name}", name=error.args[0])) from error

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

        try:
            return self._database.run(write)
        except DatabaseFailed as failure:
            if not isinstance(failure.__cause__, DataError):
                raise
            if len(answers) == 1:
                log.exception("what WeChat Pay says of %s cannot be stored", answers[0].row[kind.number])
                return 0  # due again when its lease ends
            # One that cannot be stored must not keep the others back.
            return sum(self._write(kind, lease, [answer]) for answer in answers)

    def _not_there(self, tx: Transaction, kind: _Kind, row: Row) -> bool:
        """WeChat Pay knows no such number. Whether that frees it depends on whether it ever accepted it."""
        number, state, stamp = row[kind.number], row["state"], now()
        if kind.table is orders or state == states.REFUSED:
            return False
        lapsed = kind.table is transfers and stamp - row["created_at"] > QUERYABLE
        if state == states.PENDING and not lapsed:
            if stamp - row["updated_at"] < SETTLING:
                return False
            values = {"state": states.REFUSED, "unknown": False, "next_check_at": None, "updated_at": stamp}
            same = [kind.column == number, kind.table.c.state == state, kind.table.c.attempts == row["attempts"]]
            return tx.connection.execute(update(kind.table).where(*same).values(values)).rowcount == 1
        message = f"{kind.number} {number} is {state} here, but WeChat Pay does not know it"
        if lapsed:
            message += ": after 30 days only the fund-flow bill tells what became of it"
        self._store.record_incident(Incident("not_at_wechat_pay", str(number), message, {"state": state}))
        return False

    def _plan(self, tx: Transaction, kind: _Kind, lease: datetime, answers: Sequence[Answer]) -> None:
        """When to ask next: one UPDATE for the batch, which leaves alone what somebody made due meanwhile.

        It is the same UPDATE for any number of rows, the last of which it may name again and again: one for each number
        would have to be compiled, and be kept by the engine and by each connection.
        """
        stamp = now()
        plans = [(answer.row[kind.number], _next(answer, stamp)) for answer in answers]
        plans += plans[-1:] * (BATCH - len(plans))
        numbers = [number for number, _ in plans]
        asked = [answer.row[kind.number] for answer in answers if answer.asked]
        when = case(
            *((kind.column == number, literal(at, UtcTime())) for number, at in plans),
            else_=kind.table.c.next_check_at,
        )
        tx.connection.execute(
            update(kind.table)
            .where(kind.column.in_(numbers), kind.table.c.next_check_at == lease)
            .values(next_check_at=when, checks=kind.table.c.checks + case((kind.column.in_(asked), 1), else_=0))
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


def _bring_back(tx: Transaction) -> None:
    """What is due in a future that no plan reaches is due now: nobody would ask for as long as the clock was off."""
    stamp = now()
    for kind in KINDS:
        due = kind.table.c.next_check_at
        far = [kind.table.c.unknown.in_([True, False]), due > stamp + FURTHEST]
        tx.connection.execute(update(kind.table).where(*far).values(next_check_at=stamp))


def _next(answer: Answer, stamp: datetime) -> datetime | None:
    row = answer.row
    if not answer.asked:
        return stamp
    if answer.missing and row["state"] == states.REFUSED:
        return None  # as it said when it refused
    if answer.missing and stamp - row["created_at"] > QUERYABLE:
        return None  # an incident tells of it
    expires = row.get("expires_at")
    planned = next_check(row["created_at"], stamp, expires)
    if answer.failed and (expires is None or expires <= stamp):
        waited: timedelta = stamp - max(row["updated_at"], expires or row["updated_at"])
        return min(stamp + max(waited, SOON), planned)  # soon, and less and less often while it goes on failing
    return planned


def _is_expired(row: Row) -> bool:
    return bool(row["state"] == states.PENDING and row["expires_at"] <= now())


def _is_not_there(kind: _Kind, error: ApiError) -> bool:
    """A 404 without a signature comes from the gateway and proves nothing [4012081717]; codes are spelt in two ways."""
    same_code = error.code.replace("_", "") == kind.not_there.replace("_", "")
    return error.status == 404 and error.signed and same_code


def _settle_payments(store: Store, tx: Transaction, answers: Sequence[Answer]) -> int:
    known = store.locked_rows(tx, orders.c.out_trade_no, [answer.row["out_trade_no"] for answer in answers])
    outcomes = []
    for answer in answers:
        row = known.get(answer.row["out_trade_no"])
        if row is not None and isinstance(answer.fact, PaymentFact):
            outcomes.append(store.settle(tx, "payment", row, facts.decide_payment(row, answer.fact, payer_of(row))))
    return outcomes.count(facts.APPLIED)


def _settle_refunds(store: Store, tx: Transaction, answers: Sequence[Answer]) -> int:
    # All their orders first, because whoever locks an order after a refund may meet somebody who did it the other way.
    store.locked_rows(tx, orders.c.out_trade_no, [answer.row["out_trade_no"] for answer in answers])
    outcomes = [store.learn_fact(answer.fact) for answer in answers if isinstance(answer.fact, RefundFact)]
    return outcomes.count(facts.APPLIED)


def _settle_transfers(store: Store, tx: Transaction, answers: Sequence[Answer]) -> int:
    store.locked_rows(tx, transfers.c.out_bill_no, [answer.row["out_bill_no"] for answer in answers])
    outcomes = [store.learn_fact(answer.fact) for answer in answers if isinstance(answer.fact, TransferFact)]
    return outcomes.count(facts.APPLIED)


KINDS = (
    _Kind(  # [4012791859]
        table=orders,
        number="out_trade_no",
        not_there="ORDER_NOT_EXIST",
        path=paths.order,
        read=PaymentFact.read,
        settle=_settle_payments,
    ),
    _Kind(  # [4013071041]; MCH_NOT_EXISTS is a 404 too
        table=refunds,
        number="out_refund_no",
        not_there="RESOURCE_NOT_EXISTS",
        path=lambda mchid, number: paths.refund(number),
        read=RefundFact.read,
        settle=_settle_refunds,
    ),
    _Kind(  # [4012716437]
        table=transfers,
        number="out_bill_no",
        not_there="NOT_FOUND",
        path=lambda mchid, number: paths.transfer(number),
        read=TransferFact.read,
        settle=_settle_transfers,
    ),
)
