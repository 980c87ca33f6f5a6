"""Afterwards: what the function keeps against what WeChat Pay knows, and every answer against the faults."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from bench.callbacks import connected
from bench.load.traffic import Outcome
from bench.load.watch import Watch

# What may stand here while WeChat Pay has this; "" is a number that it does not know.
ORDERS = {
    "SUCCESS": {"PAID"},
    "REFUND": {"PAID", "PARTIALLY_REFUNDED", "REFUND"},
    "NOTPAY": {"PENDING"},
    "CLOSED": {"CLOSED"},
    "": {"PENDING", "REFUSED", "CLOSED"},
}
REFUNDS = {"SUCCESS": {"SUCCESS"}, "PROCESSING": {"PROCESSING"}, "": {"PENDING", "REFUSED"}}
KINDS = {"order": "payment", "refund": "refund"}  # the sandbox's word, and the inbox's


class Books:
    """The order database at `url`, read beside the function."""

    def __init__(self, url: str) -> None:
        self._url = url

    def rows(self, query: str) -> list[Sequence[Any]]:
        if self._url.startswith("sqlite"):
            with closing(sqlite3.connect(unquote(urlsplit(self._url).path)[1:], timeout=30)) as database:
                return database.execute(query).fetchall()
        with connected(self._url) as database:
            return list(database.execute(query).fetchall())

    def differences(self, orders: Iterable[Mapping[str, Any]], refunds: Iterable[Mapping[str, Any]]) -> list[str]:
        """Where the two sides disagree, by number; both lists are the sandbox's."""
        found = _differing(
            "order",
            ORDERS,
            {str(number): (state, total) for number, state, total in self.rows(
                "SELECT out_trade_no, state, total FROM pay_orders"
            )},
            {one["out_trade_no"]: (one["trade_state"], one["total"]) for one in orders},
        )
        return found + _differing(
            "refund",
            REFUNDS,
            {str(number): (state, amount) for number, state, amount in self.rows(
                "SELECT out_refund_no, state, amount FROM pay_refunds"
            )},
            {one["out_refund_no"]: (one["status"], one["amount"]["refund"]) for one in refunds},
        )

    def missing(self, deliveries: Iterable[Mapping[str, Any]]) -> list[str]:
        """Acknowledged callbacks that are not kept: by their number, and by their id where WeChat Pay signed it."""
        kept = {tuple(row) for row in self.rows("SELECT kind, number FROM pay_notifications")}
        ids = {row[0] for row in self.rows("SELECT notification_id FROM pay_notifications")}
        return [
            f"{one['kind']} {one['number']}"
            for one in deliveries
            if one["acknowledged"]
            and (
                (KINDS[one["kind"]], one["number"]) not in kept
                or (one["shape"] == "direct" and one["event_id"] not in ids)
            )
        ]

    def invented(self) -> list[str]:
        """Numbers of which only forgers told."""
        return [row[0] for row in self.rows("SELECT number FROM pay_notifications WHERE number LIKE 'FORGED%'")]

    def incidents(self) -> Counter[str]:
        return Counter(row[0] for row in self.rows("SELECT kind FROM pay_incidents"))


def _differing(
    what: str,
    allowed: Mapping[str, set[str]],
    here: Mapping[str, tuple[str, int]],
    there: Mapping[str, tuple[str, int]],
) -> list[str]:
    found = []
    for number in here.keys() | there.keys():
        state, amount = here.get(number, ("nothing", None))
        known, true_amount = there.get(number, ("", amount))
        if state not in allowed.get(known, ()) or amount != true_amount:
            found.append(f"{what} {number}: {state} {amount} here, {known or 'nothing'} {true_amount} at WeChat Pay")
    return sorted(found)


def unexplained(outcomes: Iterable[Outcome], watch: Watch) -> tuple[list[Outcome], Counter[str]]:
    """Answers that were not as meant and that no fault explains; and how many each kind of fault explains.

    A fault explains an answer when it hit a call about the same number, or while a host refused connections.
    """
    left, explained = [], Counter[str]()
    for one in outcomes:
        if one.as_meant:
            continue
        faults = watch.hit.get(one.number)
        if faults:
            explained[min(faults)] += 1
        elif any(begin <= one.at + one.seconds and one.at <= end for begin, end in watch.closed):
            explained["refuse"] += 1
        else:
            left.append(one)
    return left, explained
