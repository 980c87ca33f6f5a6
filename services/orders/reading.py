"""What the command line shows of the database; it changes nothing but `resolve`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, or_, select, update

from services.order_service import Params
from services.orders.columns import now
from services.orders.database import Database
from services.orders.facts import Row
from services.orders.schema import events, incidents, notifications, orders, refunds, transfers
from services.orders.store import inbox_key, order_view, refund_view, transfer_view
from services.strategies.base import KIND_NAMES, Notification

_VIEWS = {"orders": (orders, order_view), "refunds": (refunds, refund_view), "transfers": (transfers, transfer_view)}


def listed(
    database: Database, what: str, *, state: str | None, since: datetime | None, limit: int
) -> list[dict[str, Any]]:
    """The newest `orders`, `refunds` or `transfers`."""
    table, view = _VIEWS[what]
    query = select(table).order_by(table.c.created_at.desc()).limit(limit)
    if state:
        query = query.where(table.c.state == state)
    if since:
        query = query.where(table.c.created_at >= since)
    return [view(row) for row in _rows(database, query)]


def life(database: Database, number: str) -> dict[str, Any] | None:
    """All that is stored about an order, refund or transfer, by any of its numbers; None where nothing is."""
    order = _first(database, select(orders).where(_is(orders, number, "out_trade_no", "transaction_id")))
    refund = _first(database, select(refunds).where(_is(refunds, number, "out_refund_no", "refund_id")))
    transfer = _first(database, select(transfers).where(_is(transfers, number, "out_bill_no", "transfer_bill_no")))
    if order is None and refund is not None and refund["out_trade_no"]:
        order = _first(database, select(orders).where(orders.c.out_trade_no == refund["out_trade_no"]))
    repaid: Sequence[Row] = [refund] if refund else []
    if order is not None:
        of_order = select(refunds).where(refunds.c.out_trade_no == order["out_trade_no"]).order_by(refunds.c.created_at)
        repaid = _rows(database, of_order)
    if order is None and not repaid and transfer is None:
        return None
    numbers = [row["out_refund_no"] for row in repaid]
    numbers += [order["out_trade_no"]] if order else []
    numbers += [transfer["out_bill_no"]] if transfer else []
    return {
        "order": order and order_view(order),
        "refunds": [refund_view(row) for row in repaid],
        "transfer": transfer and transfer_view(transfer),
        "life": _time_line(database, numbers, order, repaid, transfer),
    }


def found_notifications(database: Database, name: str) -> list[Notification]:
    """Those whose key or WeChat Pay's id is `name`, else begins with it; at most two."""
    names = (notifications.c.key, notifications.c.notification_id)
    for condition in (
        or_(*(column == name for column in names)),
        or_(*(column.startswith(name, autoescape=True) for column in names)),
    ):
        rows = _rows(database, select(notifications).where(condition).limit(2))
        if rows:
            return [_notification(row) for row in rows]
    return []


def outcome(database: Database, notification: Notification) -> str:
    """What the last handling of a stored notification brought about, see services.orders.facts."""
    query = select(notifications.c.outcome).where(notifications.c.key == inbox_key(notification))
    return str(_rows(database, query)[0]["outcome"])


def open_incidents(database: Database, *, resolved: bool = False) -> list[dict[str, Any]]:
    """Incidents, oldest first; with `resolved` those too."""
    query = select(incidents).order_by(incidents.c.id)
    if not resolved:
        query = query.where(incidents.c.resolved_at.is_(None))
    return [
        {
            "id": row["id"],
            "kind": row["kind"],
            "number": row["number"],
            "message": row["message"],
            "details": json.loads(row["details"]),
            "times": row["times"],
            "created_at": row["created_at"].isoformat(),
            "resolved_at": row["resolved_at"] and row["resolved_at"].isoformat(),
        }
        for row in _rows(database, query)
    ]


def resolve(database: Database, identifier: int) -> bool:
    """Mark an incident as seen to; False where there is no such open one."""
    statement = (
        update(incidents)
        .where(incidents.c.id == identifier, incidents.c.resolved_at.is_(None))
        .values(resolved_at=now())
    )
    return bool(database.run(lambda tx: tx.connection.execute(statement).rowcount))


def _time_line(
    database: Database, numbers: Sequence[str], order: Row | None, repaid: Sequence[Row], transfer: Row | None
) -> list[dict[str, str]]:
    moments: list[tuple[datetime, str]] = []
    for row, number in (
        (order, "out_trade_no"),
        *((row, "out_refund_no") for row in repaid),
        (transfer, "out_bill_no"),
    ):
        if row is not None:
            moments.append((row["created_at"], f"{row[number]} written, before WeChat Pay was asked"))
            moments.append((row["updated_at"], f"{row[number]} last changed, is {row['state']}"))
            if row["next_check_at"]:
                unknown = ", because what became of it there is unknown" if row["unknown"] else ""
                moments.append((row["next_check_at"], f"{row[number]} is due for a query at WeChat Pay{unknown}"))
    query = select(notifications).where(notifications.c.number.in_(numbers))
    for row in _rows(database, query):
        times = f", {row['deliveries']} deliveries" if row["deliveries"] > 1 else ""
        moments.append((row["received_at"], f"{row['event_type']} of {row['number']}: {row['outcome']}{times}"))
    for row in _rows(database, select(events).where(events.c.number.in_(numbers))):
        error = f": {row['state']} after {row['attempts']} attempts, {row['last_error']}" if row["last_error"] else ""
        moments.append((row["created_at"], f"event {row['type']} of {row['number']} ({row['id']}){error}"))
        if row["done_at"]:
            moments.append((row["done_at"], f"event {row['type']} delivered at attempt {row['attempts']}"))
    for row in _rows(database, select(incidents).where(incidents.c.number.in_(numbers))):
        moments.append((row["created_at"], f"incident {row['id']}: {row['message']}"))
    ordered = sorted(moments, key=lambda moment: moment[0])
    return [{"at": at.isoformat(timespec="milliseconds"), "what": what} for at, what in ordered]


def _notification(row: Row) -> Notification:
    plaintext: Params = json.loads(row["plaintext"])
    kind = KIND_NAMES.get(row["kind"])
    return Notification(row["notification_id"], row["event_type"], kind, plaintext, row["evidence"])


def _is(table: Table, number: str, *columns: str) -> Any:
    return or_(*(table.c[column] == number for column in columns))


def _rows(database: Database, query: Any) -> list[dict[str, Any]]:
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _first(database: Database, query: Any) -> Mapping[str, Any] | None:
    return next(iter(_rows(database, query.limit(1))), None)
