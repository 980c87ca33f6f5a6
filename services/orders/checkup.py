"""Whether the order database is as it must be; reads only, for the doctor command."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text

from services.doctor.report import CLOCK, Report
from services.merchant_code import DatabaseFailed
from services.orders import schema
from services.orders.columns import now
from services.orders.database import Database, driver_says
from services.orders.states import PENDING

LATE = timedelta(minutes=10)
OFF = 60  # seconds
_VARIABLE = "orderDatabaseUrl"
_CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(now(3))",
}


def examine(database: Database, report: Report) -> None:
    """Add to `report` what the database says."""
    try:
        with database.reading() as connection:
            _tables(connection, report)
            _clock(connection, database.kind, report)
    except DatabaseFailed as error:
        report.error(
            _VARIABLE,
            f"leads to a database that cannot be used: {error}{driver_says(error)}",
            "Nothing is ordered, refunded or acknowledged without it.",
            "Check host, port, user, password and database name, and that this network reaches it.",
        )


def _tables(connection: Connection, report: Report) -> None:
    newest = ScriptDirectory(str(Path(__file__).parent / "migrations")).get_current_head() or ""
    context = MigrationContext.configure(connection, opts={"version_table": "pay_revision"})
    revision = context.get_current_revision() or ""
    if revision != newest:
        state = f"tables are of revision {revision}, not {newest}" if revision else "order tables are missing"
        report.error(
            _VARIABLE,
            f"leads to a database whose {state}",
            "Every order is refused, and every callback put off.",
            "Run `flask --app app orders init-db`, or call the action wxpay_orders_init.",
        )
        return
    report.checked.append("orderDatabaseUrl: the tables are there and up to date")
    late = _late(connection)
    if late:
        minutes = LATE.seconds // 60
        report.warning(
            _VARIABLE,
            f"leads to a database in which {late} orders, refunds, transfers or events wait for over {minutes} minutes",
            "Nobody calls wxpay_reconcile: lost callbacks stay lost, unpaid orders open, failed events undelivered.",
            "Have a timer call wxpay_reconcile every minute, as examples/timer-function does.",
        )
    else:
        report.checked.append("orderDatabaseUrl: nothing waits for wxpay_reconcile")


def _clock(connection: Connection, kind: str, report: Report) -> None:
    off = round(abs(_clock_off(connection, kind)))
    if off > OFF:
        report.warning(
            CLOCK,
            f"of this machine and of the database of {_VARIABLE} differ by {off} s",
            "One of them is wrong; orders carry this machine's time, and expire by it.",
            "Set both by NTP.",
        )
    elif kind in _CLOCKS:
        report.checked.append(f"this clock and the database's differ by {off} s")


def _late(connection: Connection) -> int:
    before = now() - LATE
    counts = [
        select(func.count())
        .select_from(table)
        .where(table.c.unknown.in_([True, False]), table.c.next_check_at < before)
        for table in (schema.orders, schema.refunds, schema.transfers)
    ]
    events = schema.events
    counts.append(select(func.count()).select_from(events).where(events.c.state == PENDING, events.c.next_at < before))
    return sum(connection.execute(count).scalar_one() for count in counts)


def _clock_off(connection: Connection, kind: str) -> float:
    if kind not in _CLOCKS:  # SQLite has none of its own
        return 0.0
    began = time.time()
    there = float(connection.execute(text(_CLOCKS[kind])).scalar_one())
    return (began + time.time()) / 2 - there
