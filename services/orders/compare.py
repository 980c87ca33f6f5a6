"""Compares a day's bill with what is stored: what is missing on either side, and what differs.

Both are read in pieces, so that a day of any size takes little memory; of the bill's numbers a set is kept.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import IO, Any

from sqlalchemy import Column, ColumnElement, Table, or_, select, update

from services.orders import states
from services.orders.columns import now
from services.orders.database import Transaction
from services.orders.facts import Incident
from services.orders.facts import Row as Stored
from services.orders.schema import orders, refunds, transfers
from services.orders.store import Store
from services.wechatpay import bills
from services.wechatpay.client import Client
from services.wechatpay.errors import BillUnusable
from utils.texts import Message

MATCHED, AMOUNT, STATE = "matched", "amount_differs", "state_differs"
MISSING_HERE, MISSING_THERE, OTHER = "missing_here", "missing_there", "not_compared"
CLASSES = (MATCHED, MISSING_HERE, MISSING_THERE, AMOUNT, STATE, OTHER)
BATCH = 1000
KEPT = 10_000  # differences that are told and become incidents; all are counted
WRITTEN = 500  # incidents in one transaction
BEIJING = timezone(timedelta(hours=8))
LAG = timedelta(minutes=2)  # what happens just before midnight may be booked just after
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


# Of a refund's row in a bill the state is frozen, so that it says "accepted" or "done"; here things may have gone on.
_ACCEPTED = frozenset({states.PROCESSING, states.ABNORMAL, states.SUCCESS, states.CLOSED})
_DONE = frozenset({states.SUCCESS})
_CAME_BACK = frozenset({states.FAIL, states.CANCELLED})
_LEFT = frozenset(states.TRANSFER) - {states.PENDING, states.REFUSED} - _CAME_BACK
_REFUND_TOTAL = re.compile(r"退款总金额([0-9.]+)元;含手续费([0-9.]+)元")


@dataclass(frozen=True)
class Billed:
    """A row of a bill as far as it is compared: one payment, refund or transfer, in cents.

    Stored states that agree with it are `fits`, and `later` where they were reached after the day of the bill; `said`
    is what the bill says, for a person.
    """

    kind: str
    number: str
    amount: int
    said: str
    fits: frozenset[str]
    later: frozenset[str] = frozenset()


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
            return self._compare("trade", day, bill, map(_traded, bill.rows()), ("order", "refund"), timedelta(0))

    def fundflow(self, day: str, account: str) -> Comparison:
        """The movements of `day` on one account [4013071235]: BASIC has payments and refunds, OPERATION transfers.

        Where a coupon at the merchant's cost paid a part, less was booked than the order's total: the amount differs.
        """
        with bills.fetch(self._client, bills.FUNDFLOW, day, account_type=account) as bill:
            name = f"fundflow {account}"
            if account == "OPERATION":
                return self._compare(name, day, bill, _transferred(bill.rows()), ("transfer",), LAG)
            kinds = ("order", "refund") if account == "BASIC" else ()
            return self._compare(name, day, bill, map(_moved, bill.rows()), kinds, LAG)

    def _compare(
        self,
        name: str,
        day: str,
        bill: bills.Bill,
        billed: Iterator[Billed | None],
        kinds: Sequence[str],
        lag: timedelta,
    ) -> Comparison:
        """`lag` is how much later than WeChat Pay's own times the bill may book."""
        result = Comparison(name, day, bill.hash_value)
        seen: dict[str, set[str]] = {kind: set() for kind in kinds}
        begin = datetime.fromisoformat(day).replace(tzinfo=BEIJING)
        end = begin + timedelta(days=1)
        while batch := list(islice(billed, BATCH)):
            result.counts[OTHER] += sum(row is None or row.kind not in seen for row in batch)
            for kind, numbers in seen.items():
                rows = [row for row in batch if row is not None and row.kind == kind]
                if rows:
                    self._compare_batch(result, _SIDES[kind], rows, end)
                    numbers.update(row.number for row in rows)
        for kind, numbers in seen.items():
            side = _SIDES[kind]
            for stored in self._stored(side, begin, end - max(lag, side.lag)):
                number = stored[side.number]
                if number not in numbers:
                    message = f"{kind} {number} is {stored['state']} here, but not in the bill of {day}"
                    amount = stored[side.amount]
                    result.add(Difference(MISSING_THERE, kind, number, None, amount, stored["state"], message))
        result.rows = bill.count
        for first in range(0, len(result.differences), WRITTEN):
            self._keep(result, result.differences[first : first + WRITTEN])
        return result

    def _compare_batch(self, result: Comparison, side: _Side, rows: Sequence[Billed], end: datetime) -> None:
        query = select(side.column, *(side.table.c[name] for name in (side.amount, "state", side.ended))).where(
            side.column.in_([row.number for row in rows])
        )
        with self._database.reading() as connection:
            known = {stored[side.number]: dict(stored) for stored in connection.execute(query).mappings()}
        for row in rows:
            result.totals[row.kind] += row.amount
            difference = _difference(side, row, known.get(row.number), end)
            if difference is None:
                result.counts[MATCHED] += 1
            else:
                result.add(difference)

    def _stored(self, side: _Side, begin: datetime, end: datetime) -> Iterator[Stored]:
        """What that bill must hold, page by page in the order of time and number."""
        moment = side.table.c[side.moment]
        query = select(side.column, side.table.c[side.amount], side.table.c.state, moment)
        query = query.where(moment < end, *side.expected).order_by(moment, side.column).limit(BATCH)
        after = [moment >= begin]
        while True:
            with self._database.reading() as connection:
                page = [dict(row) for row in connection.execute(query.where(*after)).mappings()]
            yield from page
            if len(page) < BATCH:
                return
            last = page[-1]
            # The first condition alone makes an index begin there.
            after = [moment >= last[side.moment], or_(moment > last[side.moment], side.column > last[side.number])]

    def _keep(self, result: Comparison, differences: Sequence[Difference]) -> None:
        """Incidents for a person; what went further there than here is due for a query at once."""

        def keep(tx: Transaction) -> None:
            for one in differences:
                amounts = {"bill_cents": one.billed, "stored_cents": one.stored}
                details = {"bill": result.bill, "bill_date": result.day, "of": one.kind, **amounts}
                self._store.record_incident(Incident(f"bill_{one.found}", one.number, one.message, details))
            for kind, side in _SIDES.items():
                behind = [one.number for one in differences if one.kind == kind and _is_behind(one, side)]
                if behind:
                    tx.connection.execute(update(side.table).where(side.column.in_(behind)).values(next_check_at=now()))

        self._database.run(keep)


@dataclass(frozen=True)
class _Side:
    """The stored side of one kind.

    `expected` are conditions on rows that must be in the bill of their `moment`, which the bill may book `lag` later;
    `ended` is when the last state was reached.
    """

    table: Table
    number: str
    amount: str
    moment: str
    lag: timedelta
    expected: Sequence[ColumnElement[bool]]
    ended: str
    moves: states.Moves

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
        [orders.c.state.in_(states.PAID_STATES)],
        "paid_at",
        states.ORDER,
    ),
    # When WeChat Pay accepted a refund or transfer is known only of those that were sent from here, and once.
    "refund": _Side(
        refunds,
        "out_refund_no",
        "amount",
        "created_at",
        LAG,
        [refunds.c.attempts == 1, refunds.c.state.in_({states.PROCESSING, states.ABNORMAL, states.SUCCESS})],
        "succeeded_at",
        states.REFUNDS,
    ),
    "transfer": _Side(
        transfers,
        "out_bill_no",
        "amount",
        "created_at",
        LAG,
        [transfers.c.attempts == 1, transfers.c.state == states.SUCCESS],
        "finished_at",
        states.TRANSFER,
    ),
}


def _difference(side: _Side, billed: Billed, stored: Stored | None, end: datetime) -> Difference | None:
    kind, number = billed.kind, billed.number
    if stored is None:
        message = f"{kind} {number} of {billed.amount} cents is in the bill, but not stored here"
        return Difference(MISSING_HERE, kind, number, billed.amount, None, None, message)
    amount, state = stored[side.amount], stored["state"]
    if amount != billed.amount:
        message = f"{kind} {number} is {amount} cents here and {billed.amount} in the bill"
        return Difference(AMOUNT, kind, number, billed.amount, amount, state, message)
    ended = stored[side.ended]
    # A time of the last minutes, or none, proves nothing.
    is_later = ended is None or ended >= end - LAG
    if state in billed.fits or (state in billed.later and is_later):
        return None
    message = f"{kind} {number} {billed.said} by the bill, but is {state} here"
    return Difference(STATE, kind, number, billed.amount, amount, state, message)


def _is_behind(difference: Difference, side: _Side) -> bool:
    """Whether a query may bring what is stored to where it is there."""
    return difference.found == STATE and bool(side.moves[difference.state or ""])


def _traded(row: bills.Row) -> Billed | None:
    """交易状态 tells payments (SUCCESS) from refunds; 退款状态 is frozen at the time of the bill [4013071246]."""
    kind = row["交易状态"]
    if kind == "SUCCESS":
        amount = _amount(row, "订单金额", "总金额", "应结订单金额")
        return Billed("order", row["商户订单号"], amount, "was paid", states.PAID_STATES)
    if kind == "REFUND":
        amount, number = _amount(row, "申请退款金额", "退款金额"), row.get("商户退款单号", "")
        if row.get("退款状态") == "SUCCESS":
            return Billed("refund", number, amount, "was refunded", _DONE)
        return Billed("refund", number, amount, "was accepted", _ACCEPTED)
    return None


def _amount(row: bills.Row, *columns: str) -> int:
    """Of the first of these columns that the bill has; which it has depends on the merchant's age."""
    for name in columns:
        if name in row:
            return bills.cents(row[name])
    raise BillUnusable(Message("the bill has none of the columns {names}", names=", ".join(columns)))


def _moved(row: bills.Row) -> Billed | None:
    """Payments and refunds, of all that an account's bill has; their fees have rows of their own [4013071249].

    Money of a refund leaves when it is accepted: it may not have arrived yet.
    """
    what, number = (row["业务类型"], row["收支类型"]), row["业务凭证号"]
    if what == ("交易", "收入"):
        return Billed("order", number, bills.cents(row["收支金额(元)"]), "was paid", states.PAID_STATES)
    if what == ("退款", "支出"):
        return Billed("refund", number, _refunded(row), "was accepted", _ACCEPTED)
    return None


def _refunded(row: bills.Row) -> int:
    """What the user gets: some bills book it less the fee that comes back, and say so in a remark of their own."""
    booked = bills.cents(row["收支金额(元)"])
    if match := _REFUND_TOTAL.search(row.get("备注", "")):
        total, fee = map(bills.cents, match.groups())
        if total - fee == booked:
            return total
    return booked


def _transferred(rows: Iterator[bills.Row]) -> Iterator[Billed | None]:
    """Transfers by what the day left of them: paid out unless it came back, maybe on a later day [4012715211]."""
    moved: dict[str, list[int]] = {}
    for row in rows:
        if "转账" not in row["业务名称"]:
            yield None
            continue
        amounts = moved.setdefault(row["业务凭证号"], [0, 0])
        amounts[row["收支类型"] == "收入"] += bills.cents(row["收支金额(元)"])
    for number, (out, back) in moved.items():
        if back:
            yield Billed("transfer", number, back, "came back", _CAME_BACK)
        else:
            yield Billed("transfer", number, out, "left the account", _LEFT, later=_CAME_BACK)


def report_text(comparison: Comparison) -> str:
    """For a person: counts, then each difference on a line."""
    lines = [f"Bill: {comparison.bill} of {comparison.day}, {comparison.rows} rows"]
    lines += [f"  {found.replace('_', ' '):<16} {comparison.counts[found]:>8}" for found in CLASSES]
    lines += [f"  {kind}s in the bill: {bills.yuan(total)} yuan" for kind, total in comparison.totals.items()]
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
