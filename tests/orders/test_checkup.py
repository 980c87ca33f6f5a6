"""What the doctor sees of an order database, on each of the three."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert

from services.doctor.report import Report
from services.orders import checkup
from services.orders.columns import now
from services.orders.database import Database
from services.orders.schema import orders


def examined(database: Database) -> Report:
    report = Report()
    checkup.examine(database, report)
    return report


def test_a_good_one_is_found_in_order(database: Database):
    report = examined(database)
    assert report.findings == []
    clocks = [] if database.kind == "sqlite" else ["this clock and the database's differ by 0 s"]
    assert report.checked[2:] == clocks
    assert len(report.checked) == 2 + len(clocks)


def test_a_clock_that_is_off_is_told_by_how_much(database: Database, monkeypatch: pytest.MonkeyPatch):
    if database.kind == "sqlite":
        assert checkup._CLOCKS.keys() == {"postgresql", "mysql"}, "SQLite has no clock of its own"
        return
    there = checkup._CLOCKS[database.kind]
    monkeypatch.setitem(checkup._CLOCKS, database.kind, f"{there} + 3600")
    (finding,) = examined(database).findings
    assert (finding.level, finding.variable) == ("warning", "clock")
    assert "3600 s" in finding.what


def test_orders_that_nobody_asked_about_are_counted(database: Database):
    stamp = now()
    row = {
        "out_trade_no": "FORGOTTEN1", "mchid": "1900000001", "appid": "wx0000000000000001", "owner": "",
        "total": 100, "currency": "CNY", "state": "PENDING", "params": "{}", "unknown": False, "attempts": 1,
        "refunded": 0, "expires_at": stamp, "next_check_at": stamp - timedelta(minutes=30), "checks": 0,
        "created_at": stamp - timedelta(hours=1), "updated_at": stamp,
    }  # fmt: skip
    with database.engine.begin() as connection:
        connection.execute(insert(orders), [row])
    (finding,) = examined(database).findings
    assert "in which 1 orders, refunds, transfers or events wait for over 10 minutes" in finding.what
    assert "timer-function" in finding.fix
