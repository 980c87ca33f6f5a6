"""Ten thousand due orders: two processes share them, memory does not grow with them, the database is asked seldom."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import NoReturn, cast

import pytest
from sqlalchemy import event, insert, select

from sandbox import Sandbox
from services.orders.columns import now
from services.orders.reconcile import Reconciler
from services.orders.schema import orders
from services.orders.store import Store, canonical
from services.wechatpay.client import Client as WechatClient
from services.wechatpay.errors import NotSent
from tests.orders.house import OPERATOR, House
from tests.support import ROOT

MANY = 250  # asked about well within the 10 seconds that a run takes
# A process begins with the size of the one that forked it, so a small one stands between.
LAUNCHER = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def store_due(store: Store, box: Sandbox, count: int, *, paid_every: int) -> None:
    """So many open orders that are due, hourly from then on; every `paid_every`th was paid, as WeChat Pay knows."""
    stamp = now()
    credentials = box.credentials
    rows = []
    for index in range(count):
        number = f"MANY{count:06d}{index:06d}"
        if index % paid_every == 0:
            body = {"appid": credentials.app_id, "mchid": credentials.merchant_id, "description": "tea"}
            body |= {"out_trade_no": number, "amount": {"total": 100, "currency": "CNY"}}
            box.ledger.place("native", body | {"notify_url": "https://shop.example/x"})
            box.ledger.pay(number, "")
        rows.append({
            "out_trade_no": number, "mchid": credentials.merchant_id, "appid": credentials.app_id, "owner": "",
            "total": 100, "currency": "CNY", "state": "PENDING", "params": canonical({"out_trade_no": number}),
            "unknown": index % 3 == 0, "attempts": 1, "refunded": 0, "expires_at": stamp + timedelta(hours=1),
            "next_check_at": stamp, "checks": 0, "created_at": stamp - timedelta(hours=2), "updated_at": stamp,
        })  # fmt: skip
    with store.database.engine.begin() as connection:
        for begin in range(0, count, 1000):
            connection.execute(insert(orders), rows[begin : begin + 1000])


def reconcile_command(box: Sandbox, database_url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, "-m", "flask", "--app", "app", "orders", "reconcile", "--limit", "100000"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **box.env(orderDatabaseUrl=database_url, logLevel="error")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that launcher and command can be killed together
    )


def ended(command: subprocess.Popen[str]) -> tuple[dict, str, int]:
    """Summary, progress lines, and the most memory that it took, in bytes."""
    output, progress = command.communicate(timeout=300)
    assert output, progress
    return json.loads(output), progress, int(progress.split()[-1]) * 1024


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_two_runs_share_ten_thousand_orders_in_bounded_memory(box: Sandbox, database_url: str, store: Store):
    store_due(store, box, 1000, paid_every=50)
    summary, _, memory_of_a_thousand = ended(reconcile_command(box, database_url))
    assert (summary["checked"], summary["changed"]) == (1000, 20)

    store_due(store, box, 10_000, paid_every=50)
    asked = box.requests[-1].id
    numbers: Counter[str] = Counter()
    runs = [reconcile_command(box, database_url) for _ in range(2)]
    done = [ended(run) for run in runs]
    assert sum(summary["checked"] for summary, _, _ in done) == 10_000
    assert sum(summary["changed"] for summary, _, _ in done) == 200
    assert all(summary["checked"] for summary, _, _ in done), "both had something to do"
    assert "checked" in done[0][1], "progress is told"
    for request in box.requests_since(asked):
        numbers.update(re.findall(r"MANY\d+", request.target))
    assert set(numbers.values()) == {1}
    with store.database.reading() as connection:
        paid = connection.execute(select(orders.c.out_trade_no).where(orders.c.state == "PAID")).all()
        unpaid = select(orders.c.checks).distinct().where(orders.c.state == "PENDING")
        checks = connection.execute(unpaid).scalars().all()
    assert len(paid) == 220
    assert checks == [1]
    assert max(memory for _, _, memory in done) < 1.25 * memory_of_a_thousand


@pytest.mark.parametrize("paid_every", [1, 10_000], ids=["all paid", "none paid"])
def test_the_database_is_asked_at_most_twice_for_each_order(house: House, paid_every: int):
    store_due(house.store, house.box, MANY, paid_every=paid_every)
    trips: list[str] = []
    engine = house.function.application.extensions["pay"].orders.parts.store.database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: trips.append(given[2]))
    for name in ("begin", "commit", "rollback"):
        event.listen(engine, name, lambda _, name=name: trips.append(name))
    event.listen(engine.pool, "checkout", lambda *_: trips.append("ping"))
    reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
    # With all paid, each has an event too, and its delivery is not counted here.
    cut = next((index for index, trip in enumerate(trips) if "FROM pay_events" in trip), len(trips))
    assert reply.body["data"]["data"]["checked"] == MANY
    assert reply.body["data"]["data"]["changed"] == (MANY if paid_every == 1 else 1)
    assert 0 < cut <= 2 * MANY


def test_runs_of_any_size_plan_by_the_same_statement(house: House):
    """Each statement is compiled and kept, by the engine and by each connection."""
    said: list[str] = []
    engine = house.function.application.extensions["pay"].orders.parts.store.database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    for count in (1, 2, 7, 50, 51):
        store_due(house.store, house.box, count, paid_every=10_000)
        reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
        assert reply.body["data"]["data"]["checked"] == count
    # Beside the numbers that are asked about, of which there may be none.
    updates = [one for one in said if one.startswith("UPDATE") and "checks" in one]
    updates = [re.sub(r"%\(\w+\)s(::\w+)?|%s", "?", one) for one in updates]
    plans = [re.sub(r"IN \([^)]*\)", "IN (...)", one) for one in updates]
    assert len(plans) >= 5
    assert len(set(plans)) == 1


def test_rows_are_asked_about_in_turn_with_all_else_that_computes(house: House):
    class Client:
        """Computes for a while, and gives up."""

        def __init__(self) -> None:
            self.asked, self.together, self.most = 0, 0, 0

        def call(self, *_: object, **__: object) -> NoReturn:
            self.asked += 1
            self.together += 1
            self.most = max(self.most, self.together)
            time.sleep(0.02)  # no waiting that lets others on
            self.together -= 1
            raise NotSent("no")

    client = Client()
    store_due(house.store, house.box, 12, paid_every=10_000)
    service = house.function.application.extensions["pay"].orders
    counts = Reconciler(service, cast("WechatClient", client), house.box.credentials.merchant_id).run()
    assert (counts["failed"], client.asked) == (12, 12)
    assert client.most == 1
