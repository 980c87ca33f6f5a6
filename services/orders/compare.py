"""Compares a day's bill with what is stored: what is missing on either side, and what differs.

Both are read in pieces, so that a day of any size takes little memory; of the bill's numbers a set is kept.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import IO, Any

from sqlalchemy import Column, Table, and_, or_, select, update

from services.orders import states
from services.orders.columns import now
from services.orders.database import Transaction
from services.orders.facts import Incident
from services.orders.facts import Row as Stored
from services.orders.schema import orders, refunds, transfers
from services.orders.store import Store
from services.wechatpay import bills
from services.wechatpay.client import Client

MATCHED, AMOUNT, STATE = "matched", "amount_differs", "state_differs"
MISSING_HERE, MISSING_THERE, OTHER = "missing_here", "missing_there", "not_compared"
CLASSES = (MATCHED, MISSING_HERE, MISSING_THERE, AMOUNT, STATE, OTHER)
BATCH = 1000
KEPT = 1000  # differences that are told and become incidents; all are counted
BEIJING = timezone(timedelta(hours=8))
ACCEPTANCE = timedelta(minutes=2)  # what is written here just before midnight may be booked there just after
COLUMNS = ("class", "kind", "number", "bill_cents", "stored_cents", "stored_state", "message")


@dataclass(frozen=True)
class Difference:
    """One finding. Amounts in cents, None where that side has none; `kind` is order, refund or transfer."""

    found: str
    kind: str
    number: str
    billed: int | None
    stored: int | None
    state: str | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        values = (self.found, self.kind, self.number, self.billed, self.stored, self.state, self.message)
        return dict(zip(COLUMNS, values, strict=True))


@dataclass
class Comparison:
    """What came of it: counts by class, rows and sums of the bill, and the first differences."""

    bill: str
    day: str
    hash_value: str
    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        self.counts[difference.found] += 1
        if len(self.differences) < KEPT:
            self.differences.append(difference)

    @property
    def different(self) -> int:
        return sum(count for found, count in self.counts.items() if found not in (MATCHED, OTHER))

    def as_dict(self, most: int = KEPT) -> dict[str, Any]:
        """For answers and machines; `truncated` says whether differences are left out of the list."""
        return {
            "bill": self.bill,
            "bill_date": self.day,
            "hash_value": self.hash_value,
            "rows": self.rows,
            "totals": dict(self.totals),
            "counts": {found: self.counts[found] for found in CLASSES},
            "differences": [difference.as_dict() for difference in self.differences[:most]],
            "truncated": self.different > min(most, len(self.differences)),
        }


@dataclass(frozen=True)
class Billed:
    """A row of a bill as far as it is compared: one payment, refund or transfer, in cents.

    `succeeded` tells that the bill says it is done; a refund's status there is frozen, so "not yet" says nothing.
    """

    kind: str
    number: str
    amount: int
    succeeded: bool


class Bills:
    """`store` is compared with the bills of `client`'s merchant."""

    def __init__(self, store: Store, client: Client) -> None:
        self._store = store
        self._database = store.database
        self._client = client

    def trade(self, day: str) -> Comparison:
        """The trades of `day` (YYYY-MM-DD, Beijing): payments of that day, and refunds asked for on it [4013071227].

        Raises what services.wechatpay.bills.fetch raises, and DatabaseFailed.
        """
        with bills.fetch(self._client, bills.TRADE, day, bill_type="ALL") as bill:
            return self._compare("trade", day, bill, map(_traded, bill.rows()), ("order", "refund"))

    def fundflow(self, day: str, account: str) -> Comparison:
        """The movements of `day` on one account [4013071235]: BASIC has payments and refunds, OPERATION transfers."""
        with bills.fetch(self._client, bills.FUNDFLOW, day, account_type=account) as bill:
            name = f"fundflow {account}"
            if account == "OPERATION":
                return self._compare(name, day, bill, _paid_out(bill.rows()), ("transfer",))
            kinds = ("order", "refund") if account == "BASIC" else ()
            return self._compare(name, day, bill, map(_moved, bill.rows()), kinds)

    def _compare(
        self, name: str, day: str, bill: bills.Bill, billed: Iterator[Billed | None], kinds: Sequence[str]
    ) -> Comparison:
        result = Comparison(name, day, bill.hash_value)
        seen: dict[str, set[str]] = {kind: set() for kind in kinds}
        while batch := list(islice(billed, BATCH)):
            result.counts[OTHER] += batch.count(None)
            for kind, numbers in seen.items():
                rows = [row for row in batch if row is not None and row.kind == kind]
                if rows:
                    self._compare_batch(result, _SIDES[kind], rows)
                    numbers.update(row.number for row in rows)
        for kind, numbers in seen.items():
            for row in self._stored(_SIDES[kind], day):
                number = row[_SIDES[kind].number]
                if number not in numbers:
                    message = f"{kind} {number} is {row['state']} here, but not in the bill of {day}"
                    amount = row[_SIDES[kind].amount]
                    result.add(Difference(MISSING_THERE, kind, number, None, amount, row["state"], message))
        result.rows = bill.count
        self._keep(result)
        return result

    def _compare_batch(self, result: Comparison, side: _Side, rows: Sequence[Billed]) -> None:
        query = select(side.column, side.table.c[side.amount], side.table.c.state).where(
            side.column.in_([row.number for row in rows])
        )
        with self._database.reading() as connection:
            known = {stored[side.number]: dict(stored) for stored in connection.execute(query).mappings()}
        for row in rows:
            result.totals[row.kind] += row.amount
            difference = _difference(side, row, known.get(row.number))
            if difference is None:
                result.counts[MATCHED] += 1
            else:
                result.add(difference)

    def _stored(self, side: _Side, day: str) -> Iterator[Stored]:
        """What that bill must hold, page by page in the order of time and number."""
        begin = datetime.fromisoformat(day).replace(tzinfo=BEIJING)
        end = begin + timedelta(days=1)
        moment, last = side.table.c[side.moment], None
        while True:
            query = select(side.column, side.table.c[side.amount], side.table.c.state, moment).where(
                moment >= begin, moment < end - side.margin, *side.expected(side.table)
            )
            if last is not None:
                later = and_(moment == last[side.moment], side.column > last[side.number])
                query = query.where(or_(moment > last[side.moment], later))
            query = query.order_by(moment, side.column).limit(BATCH)
            with self._database.reading() as connection:
                page = [dict(row) for row in connection.execute(query).mappings()]
            yield from page
            if len(page) < BATCH:
                return
            last = page[-1]

    def _keep(self, result: Comparison) -> None:
        """Incidents for a person; what is settled there and open here is due for a query at once."""

        def keep(tx: Transaction) -> None:
            for one in result.differences:
                amounts = {"bill_cents": one.billed, "stored_cents": one.stored}
                details = {"bill": result.bill, "bill_date": result.day, **amounts}
                self._store.record_incident(Incident(f"bill_{one.found}", one.number, one.message, details))
            for kind, side in _SIDES.items():
                behind = [one.number for one in result.differences if (one.kind, one.found) == (kind, STATE)]
                if behind:
                    tx.connection.execute(update(side.table).where(side.column.in_(behind)).values(next_check_at=now()))

        if result.differences:
            self._database.run(keep)


@dataclass(frozen=True)
class _Side:
    """The stored side of one kind; `expected` are conditions on rows that must be in the bill of their `moment`."""

    table: Table
    number: str
    amount: str
    moment: str
    margin: timedelta
    expected: Callable[[Table], Sequence[Any]]
    done: frozenset[str]

    @property
    def column(self) -> Column[Any]:
        return self.table.c[self.number]


_SIDES = {
    # The moment of payment is WeChat Pay's own.
    "order": _Side(
        orders,
        "out_trade_no",
        "total",
        "paid_at",
        timedelta(0),
        lambda table: [table.c.state.in_(states.PAID_STATES)],
        states.PAID_STATES,
    ),
    # When WeChat Pay accepted a refund or transfer is known only where the first attempt was accepted.
    "refund": _Side(
        refunds,
        "out_refund_no",
        "amount",
        "created_at",
        ACCEPTANCE,
        lambda table: [table.c.attempts == 1, table.c.state.in_({states.PROCESSING, states.ABNORMAL, states.SUCCESS})],
        frozenset({states.SUCCESS}),
    ),
    "transfer": _Side(
        transfers,
        "out_bill_no",
        "amount",
        "created_at",
        ACCEPTANCE,
        lambda table: [table.c.attempts == 1, table.c.state == states.SUCCESS],
        frozenset({states.SUCCESS}),
    ),
}


def _difference(side: _Side, billed: Billed, stored: Stored | None) -> Difference | None:
    kind, number = billed.kind, billed.number
    if stored is None:
        message = f"{kind} {number} of {billed.amount} cents is in the bill, but not stored here"
        return Difference(MISSING_HERE, kind, number, billed.amount, None, None, message)
    amount, state = stored[side.amount], stored["state"]
    if amount != billed.amount:
        message = f"{kind} {number} is {amount} cents here and {billed.amount} in the bill"
        return Difference(AMOUNT, kind, number, billed.amount, amount, state, message)
    if billed.succeeded and state not in side.done:
        message = f"{kind} {number} is done in the bill, but {state} here"
        return Difference(STATE, kind, number, billed.amount, amount, state, message)
    return None


def _traded(row: bills.Row) -> Billed | None:
    """交易状态 tells payments (SUCCESS) from refunds; 退款状态 is frozen at the time of the bill [4013071246]."""
    kind = row.get("交易状态")
    if kind == "SUCCESS":
        amount = row.get("订单金额") or row.get("总金额") or row["应结订单金额"]
        return Billed("order", row["商户订单号"], bills.cents(amount), succeeded=True)
    if kind == "REFUND":
        amount = row.get("申请退款金额") or row["退款金额"]
        return Billed("refund", row["商户退款单号"], bills.cents(amount), row.get("退款状态") == "SUCCESS")
    return None


def _moved(row: bills.Row) -> Billed | None:
    """Payments and refunds, of all that an account's bill has; their fees have rows of their own [4013071249]."""
    kind = {("交易", "收入"): "order", ("退款", "支出"): "refund"}.get((row["业务类型"], row["收支类型"]))
    if kind is None:
        return None
    # Money of a refund leaves when it is accepted: it may not have arrived yet.
    return Billed(kind, row["业务凭证号"], bills.cents(row["收支金额(元)"]), succeeded=kind == "order")


def _paid_out(rows: Iterator[bills.Row]) -> Iterator[Billed | None]:
    """Transfers that left the account for good: what came back on the same day was not paid out [4012715211]."""
    left: dict[str, int] = {}
    for row in rows:
        if "转账" not in row["业务名称"]:
            yield None
            continue
        sign = {"支出": 1, "收入": -1}.get(row["收支类型"], 0)
        number = row["业务凭证号"]
        left[number] = left.get(number, 0) + sign * bills.cents(row["收支金额(元)"])
    for number, amount in left.items():
        # The user may still have a day to confirm, and what comes back later is in a later bill.
        yield Billed("transfer", number, amount, succeeded=False) if amount > 0 else None


def report_text(comparison: Comparison) -> str:
    """For a person: counts, then each difference on a line."""
    lines = [f"Bill: {comparison.bill} of {comparison.day}, {comparison.rows} rows"]
    lines += [f"  {found.replace('_', ' '):<16} {comparison.counts[found]:>8}" for found in CLASSES]
    lines += [f"  {kind}s in the bill: {total / 100:.2f} yuan" for kind, total in comparison.totals.items()]
    lines += [f"{one.found:<15} {one.message}" for one in comparison.differences]
    if comparison.different > len(comparison.differences):
        lines.append(f"... and {comparison.different - len(comparison.differences)} more")
    return "\n".join(lines) + "\n"


def report_csv(comparison: Comparison, file: IO[str]) -> None:
    """The differences as CSV with a header; numbers of others cannot become formulas of a spreadsheet."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for difference in comparison.differences:
        writer.writerow(_harmless(value) for value in difference.as_dict().values())


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
