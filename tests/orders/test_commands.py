"""`flask --app app orders ...` as a person or a machine meets it: output, exit codes, no trace, no secret."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from sandbox import Sandbox
from services.orders.columns import now
from services.orders.schema import events, notifications, orders
from services.orders.service import SqlOrderService
from tests.orders.house import House
from tests.orders.test_bills import business_day
from tests.support import ROOT

CREDENTIALS_FREE = ("orderDatabaseUrl", "logLevel")


class Shell:
    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def __call__(self, *arguments: str, status: int = 0, bare: bool = False) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in self.env.items() if not bare or name in CREDENTIALS_FREE}
        run = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "app", "orders", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == status, run.stdout + run.stderr
        assert "Traceback" not in "\n".join([run.stdout, *told(run)])
        return run

    def json(self, *arguments: str, **options):
        return json.loads(self(*arguments, "--json", **options).stdout)


def told(run: subprocess.CompletedProcess[str]) -> list[str]:
    """What a command said on standard error beside its log."""
    return [line for line in run.stderr.splitlines() if not line.startswith("{")]


@pytest.fixture
def shell(house: House, database_url: str) -> Shell:
    return Shell(house.box.env(orderDatabaseUrl=database_url, logLevel="info"))


def test_orders_are_listed_and_shown_without_any_credentials(house: House, shell: Shell):
    number, unpaid = house.paid(), house.order(total=1234567)
    assert house.refund(number, 40, number="RSHOWN").status == 200
    house.box.settle_refund("RSHOWN")
    table = shell("list", bare=True).stdout.splitlines()
    assert table[0].split()[:3] == ["out_trade_no", "state", "yuan"]
    assert [line.split()[:3] for line in table[1:]] == [
        [unpaid, "PENDING", "12345.67"], [number, "PARTIALLY_REFUNDED", "1.00"],
    ]  # fmt: skip
    assert "茶 Tea" in table[1]
    (row,) = shell.json("list", "--state", "PENDING", bare=True)
    assert (row["out_trade_no"], row["amount"]["total"]) == (unpaid, 1234567)
    (refund,) = shell.json("list", "refunds", bare=True)
    assert (refund["out_refund_no"], refund["amount"]["refund"]) == ("RSHOWN", 40)
    assert shell.json("list", "transfers", bare=True) == []
    for name in (number, "RSHOWN", house.box.ledger.orders[number].transaction_id):
        shown = shell("show", name, bare=True).stdout
        assert "PARTIALLY_REFUNDED" in shown
        assert "RSHOWN" in shown
        assert "TRANSACTION.SUCCESS" in shown
    assert f"{unpaid} is due for a query at WeChat Pay\n" in shell("show", unpaid, bare=True).stdout
    life = shell.json("show", number, bare=True)
    assert [one["out_refund_no"] for one in life["refunds"]] == ["RSHOWN"]
    assert [moment["at"] for moment in life["life"]] == sorted(moment["at"] for moment in life["life"])
    assert "not stored" in shell("show", "NOTHING001", bare=True, status=1).stderr


def test_a_notification_is_replayed_once_the_order_is_there(house: House, shell: Shell):
    number = house.order()
    row = house.store.order(number)
    assert row is not None
    with house.store.database.engine.begin() as connection:
        connection.execute(delete(orders))
    house.box.pay(number)
    (incident,) = shell.json("incidents")
    assert (incident["kind"], incident["number"]) == ("payment_of_unknown_order", number)
    with house.store.database.engine.begin() as connection:
        connection.execute(orders.insert().values(row))
        key = connection.execute(notifications.select()).mappings().one()["key"]
    assert "was incident, is applied" in shell("replay", key[:20]).stdout
    assert house.state(number) == "PAID"
    assert "was applied, is applied" in shell("replay", key).stdout
    (told,) = house.store.database.run(lambda tx: tx.connection.execute(events.select()).mappings().all())
    assert (told["type"], told["number"], told["state"], told["attempts"]) == ("order.paid", number, "DONE", 1)
    assert "names no stored notification" in shell("replay", "EV-none", status=1).stderr
    assert shell.json("incidents", "--resolve", str(incident["id"])) == {"resolved": incident["id"]}
    assert shell.json("incidents") == []
    assert len(shell.json("incidents", "--all")) == 1
    assert "no open incident" in shell("incidents", "--resolve", str(incident["id"]), status=1).stderr


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_replay_prints_no_terminal_escapes_of_whoever_forwarded_it(house: House, shell: Shell):
    number = house.order()
    house.box.pay(number, deliver=False)
    _, body = house.box.forwarded("order", house.box.plaintext("order", number))
    forward = json.loads(body)
    stated = json.loads(forward["rawData"]) if isinstance(forward["rawData"], str) else forward["rawData"]
    forward["rawData"] = {**stated, "event_type": "\x1b]0;owned\x07\x1b[31mEVIL"}
    assert house.function.post("/", forward).body["code"] == "SUCCESS"
    with house.store.database.engine.begin() as connection:
        key = connection.execute(notifications.select()).mappings().one()["key"]
    replayed = shell("replay", key).stdout
    assert "EVIL" in replayed
    assert "\x1b" not in replayed
    assert "\x07" not in replayed


class Failing(SqlOrderService):
    """A shop whose own code fails: its notification handler, and where that works its delivery."""

    def handler_unified_trigger(self, params):
        if self.parts.store.order(params["out_trade_no"])["total"] == 100:
            raise ValueError("the shop's shelves are empty")
        return super().handler_unified_trigger(params)

    def on_paid(self, order):
        raise ConnectionError("no way to\n\x1b[2Jthe shop")


@pytest.fixture
def failing(house: House, shell: Shell) -> Shell:
    return Shell({**shell.env, "orderService": "tests.orders.test_commands:Failing"})


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_replay_that_the_shop_fails_is_one_line_and_changes_nothing(house: House, shell: Shell, failing: Shell):
    number = house.paid()
    with house.store.database.engine.begin() as connection:
        connection.execute(update(orders).values(state="PENDING", unknown=True))
        key = connection.execute(notifications.select()).mappings().one()["key"]
    refused = failing("replay", key, status=1)
    assert refused.stdout == ""
    assert told(refused) == ["Error: the order service raised ValueError: the log has its trace"]
    assert "the shop's shelves are empty" in refused.stderr
    assert house.state(number) == "PENDING"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_events_that_fail_end_with_1_and_are_shown_as_plain_text(house: House, failing: Shell):
    number = house.order(total=200)
    house.box.pay(number, deliver=False)
    with house.store.database.engine.begin() as connection:
        connection.execute(update(orders).values(next_check_at=now()))
    assert json.loads(failing("reconcile", status=1).stdout)["undelivered"] == 1
    assert house.state(number) == "PAID"
    with house.store.database.engine.begin() as connection:
        connection.execute(update(events).values(next_at=now()))
    assert failing.json("deliver", status=1) == {"delivered": 0, "failed": 1, "dead": 0}
    shown = failing("show", number).stdout
    assert "PENDING after 2 attempts, ConnectionError: no way to  [2Jthe shop" in shown
    assert "\x1b" not in shown


def test_events_are_delivered_and_replayed(house: House, shell: Shell):
    house.paid()
    with house.store.database.engine.begin() as connection:
        connection.execute(update(events).values(state="DEAD", next_at=now()))
        identifier = connection.execute(events.select()).mappings().one()["id"]
    assert shell.json("deliver") == {"delivered": 0, "failed": 0, "dead": 0}
    assert shell("deliver", "--replay", identifier).stdout == "1 delivered, 0 failed, 0 dead\n"
    assert "there is no event" in shell("deliver", "--replay", "evt_none", status=1).stderr


def test_a_run_tells_its_progress_and_its_summary(house: House, shell: Shell):
    number = house.order()
    house.box.pay(number, deliver=False)
    with house.store.database.engine.begin() as connection:
        connection.execute(update(orders).values(next_check_at=now()))
    run = shell("reconcile")
    summary = json.loads(run.stdout)
    assert (summary["checked"], summary["changed"], summary["left"]) == (1, 1, 0)
    assert "1 checked, 1 changed" in run.stderr
    assert house.state(number) == "PAID"
    assert "MISSING_CREDENTIALS" in shell("reconcile", bare=True, status=1).stderr


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_run_that_wechat_pay_does_not_answer_ends_with_1(house: House, shell: Shell):
    house.order()
    with house.store.database.engine.begin() as connection:
        connection.execute(update(orders).values(next_check_at=now()))
    nobody = "http://127.0.0.1:1"
    away = Shell({**shell.env, "wxPayApiBase": nobody, "wxPayApiBackup": nobody})
    summary = json.loads(away("reconcile", status=1).stdout)
    assert (summary["checked"], summary["failed"], summary["left"]) == (1, 1, 0)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_bill_is_compared_in_words_and_as_csv(house: House, shell: Shell, tmp_path: Path):
    day = business_day(house)
    number = house.paid()
    house.paid()
    with house.store.database.engine.begin() as connection:
        connection.execute(delete(orders).where(orders.c.out_trade_no == number))
    house.box.advance("2d")
    file = tmp_path / "differences.csv"
    report = shell("bill", "trade", day, "--csv", str(file), status=1).stdout
    assert f"order {number} of 100 cents is in the bill, but not stored here" in report
    with file.open(encoding="utf-8-sig", newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["class"], row["number"], row["bill_cents"]) == ("missing_here", number, "100")
    assert shell.json("bill", "trade", day, status=1)["counts"]["missing_here"] == 1
    away = shell("bill", "trade", day, "--csv", str(tmp_path / "no" / "such.csv"), status=1)
    assert "No such file or directory" in told(away)[-1]
    refused = shell("bill", "trade", "2020-01-01", status=1)
    assert (refused.stdout, "400 PARAM_ERROR" in refused.stderr) == ("", True)
    shell("bill", "trade", "yesterday", status=2)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_what_is_missing_is_said_in_one_line(box: Sandbox, tmp_path: Path, database_kind: str):
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    fresh = Shell(box.env(orderDatabaseUrl=url))
    assert "orders init-db" in fresh("list", status=1).stderr
    assert "CREATE TABLE pay_orders" in fresh("init-db", "--sql").stdout
    assert "orders init-db" in fresh("list", status=1).stderr
    for _ in range(2):
        assert fresh("init-db").stdout == "the order tables are ready\n"
    assert fresh("list").stdout.startswith("out_trade_no")
    assert "orderDatabaseUrl is not set" in Shell({})("list", status=1).stderr
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"no database" * 1000)
    for command in ("list", "init-db"):
        (line,) = told(Shell({"orderDatabaseUrl": f"sqlite:///{broken}"})(command, status=1))
        assert line.endswith("(file is not a database)")
    fresh("nonsense", status=2)


@pytest.mark.parametrize("server", ["postgresql", "mysql"])
@pytest.mark.parametrize("command", [("list",), ("init-db",), ("deliver",), ("show", "ORDER1")], ids=" ".join)
def test_a_server_that_is_away_is_one_line_without_its_password(server: str, command: tuple[str, ...]):
    away = Shell({"orderDatabaseUrl": f"{server}://shop:Tr0ub4dor@127.0.0.1:1/orders"})(*command, status=1)
    assert away.stdout == ""
    (line,) = told(away)
    assert line.startswith("Error: the order database cannot be used now")
    assert "refused" in line
    assert "Tr0ub4dor" not in away.stderr


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_columns_stand_below_each_other_whatever_a_buyer_wrote(shell: Shell, house: House):
    for description, total in (("一杯茶", 1), ("two\u2028lines", 123456789), ("ab\u202etxt", 100)):
        house.order(description=description, total=total)
    title, *lines = shell("list", bare=True).stdout.splitlines()
    place = title.index("description")
    assert [line[place:] for line in lines] == ["ab txt", "two lines", "一杯茶"]
    assert {line[place - 2 : place] for line in lines} == {"  "}
