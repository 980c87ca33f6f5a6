"""`orderDatabaseUrl` and what goes with it at the start: what cannot be had is named, and then nothing is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.services.wechatpay.host import API_V3_KEY, MERCHANT_SERIAL
from tests.support import ROOT

MODULE = """
import sys
from services.order_service import OrderService
from services.orders.service import SqlOrderService

class Plain(OrderService):
    pass

class Sql(SqlOrderService):
    pass

def plain():
    return Plain()

def price(params, caller):
    return 1

PRICES = {"tea": 1}
"""
ENDING = "import sys; sys.exit(0)"
PASSWORD, ENCODED = "Tr0ub4d@r-and-3", "Tr0ub4d%40r-and-3"
POSTGRESQL = f"postgresql://shop:{ENCODED}@127.0.0.1:1/orders"
MYSQL = f"mysql://shop:{ENCODED}@127.0.0.1:1/orders"
# What the child process does: import, with some packages out of reach, ask for what it needs, place an order.
CHILD = """
import json, os, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from app import app
from routes.actions import ALL_NEEDS
visitor = app.test_client()
order = {"description": "x", "out_trade_no": "ORDER_0001", "amount": {"total": 1}}
paid = {"ParsedContent": {"out_trade_no": "N", "trade_state": "SUCCESS"}}
answers = [
    visitor.post("/wx-pay/wxpay_order_native", json=order, headers={"X-Wx-Source": "wx_client"}),
    visitor.post("/wechatpay/order", json=paid),
    visitor.get("/healthz"),
]
print("ANSWERS " + json.dumps([[answer.status_code, answer.json] for answer in answers]))
print("LOADED " + json.dumps("sqlalchemy" in sys.modules))
"""


class Started:
    """What one start of the function said: its log, the answers to an order, a callback, a health check."""

    def __init__(self, run: subprocess.CompletedProcess[str]) -> None:
        self.everything = run.stdout + run.stderr
        assert run.returncode == 0, self.everything
        self.log = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        told = dict(line.split(" ", 1) for line in run.stdout.splitlines() if line.startswith(("ANSWERS ", "LOADED ")))
        self.order, self.callback, health = json.loads(told["ANSWERS"])
        self.missing: list[str] = health[1]["data"]["missing"]
        self.loaded_sqlalchemy: bool = json.loads(told["LOADED"])

    @property
    def named(self) -> list[str]:
        return [lack.partition(" ")[0] for lack in self.missing]

    def assert_nothing_is_done(self) -> None:
        assert (self.order[0], self.order[1]["code"], self.order[1]["data"]) == (500, -1, None)
        assert self.order[1]["msg"] == "MISSING_CREDENTIALS: " + ", ".join(self.missing)
        assert (self.callback[0], self.callback[1]["code"]) == (503, "FAIL"), "it comes again, and is not lost"
        (start,) = [line for line in self.log if "starts: signMode" in line["message"]]
        assert start["level"] == "WARNING"
        assert all(lack in start["message"] for lack in self.missing)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Credentials, and merchants' modules beside the function."""
    for name, source in {"shop": MODULE, "ending": ENDING, "breaking": "1 / 0"}.items():
        (tmp_path / f"{name}.py").write_text(source)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "appId": "wx0123456789abcdef",
        "merchantId": "1900007291",
        "merchantSerialNumber": MERCHANT_SERIAL,
        "apiV3Key": API_V3_KEY.decode(),
        "privateKey": (Path(__file__).parents[1] / "vectors/docs_merchant_test_key.pem").read_text(),
        "notifyURLPayURL": "https://shop.example.com/pay",
        "notifyURLRefundsURL": "https://shop.example.com/refunds",
        "wxPayApiBase": "http://127.0.0.1:1",
    }


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'orders.sqlite3'}"


def python(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def started(env: Mapping[str, str], without: str = "", **settings: str) -> Started:
    return Started(python({**env, **settings}, "-c", CHILD, without))


def test_without_an_order_database_sqlalchemy_is_neither_loaded_nor_needed(env: dict[str, str]) -> None:
    start = started(env, without="sqlalchemy alembic psycopg pymysql")
    assert (start.missing, start.loaded_sqlalchemy) == ([], False)


def test_with_one_nothing_is_missing_and_an_order_waits_for_its_tables(env: dict[str, str], sqlite: str) -> None:
    start = started(env, orderDatabaseUrl=sqlite, orderService="shop:Sql", priceList="shop:price")
    assert (start.missing, start.loaded_sqlalchemy) == ([], True)
    assert start.order[0] == 503
    assert not [line for line in start.log if line["level"] == "WARNING" and "starts" in line["message"]]


@pytest.mark.parametrize("name", ["shop:Plain", "shop:plain"])
def test_an_order_service_that_does_not_use_the_database_is_no_way_to_keep_orders_in_it(
    env: dict[str, str], sqlite: str, name: str
) -> None:
    start = started(env, orderDatabaseUrl=sqlite, orderService=name)
    start.assert_nothing_is_done()
    (lack,) = start.missing
    assert lack.startswith("orderDatabaseUrl (has no effect")
    assert "SqlOrderService" in lack


@pytest.mark.parametrize(
    "settings", [{"orderService": "shop:Sql"}, {"priceList": "shop:price"}], ids=lambda settings: next(iter(settings))
)
def test_what_builds_on_the_database_needs_its_url(env: dict[str, str], settings: dict[str, str]) -> None:
    start = started(env, **settings)
    start.assert_nothing_is_done()
    (lack,) = start.missing
    assert lack.startswith("orderDatabaseUrl (is unset although")


def test_a_url_that_is_refused_keeps_its_own_reason(env: dict[str, str]) -> None:
    start = started(env, orderDatabaseUrl="orders.sqlite3", orderService="shop:Sql", priceList="shop:price")
    start.assert_nothing_is_done()
    (lack,) = start.missing
    assert lack.startswith("orderDatabaseUrl (must begin with")


PRICE_LISTS = {
    "nothing:price": "ModuleNotFoundError",
    "shop:missing": "AttributeError",
    "shop:PRICES": "TypeError",
    "breaking:price": "ZeroDivisionError",
    "ending:price": "SystemExit",
}


@pytest.mark.parametrize(("name", "error"), PRICE_LISTS.items())
def test_a_price_list_that_cannot_be_had_lets_no_order_through_unpriced(
    env: dict[str, str], sqlite: str, name: str, error: str
) -> None:
    start = started(env, orderDatabaseUrl=sqlite, priceList=name)
    start.assert_nothing_is_done()
    (lack,) = start.missing
    assert lack.startswith(f"priceList (cannot be loaded ({error})")
    (traced,) = [line for line in start.log if line["message"] == f"priceList {name} cannot be loaded"]
    assert error in traced["error"]


def test_an_order_service_that_cannot_be_loaded_is_not_replaced(env: dict[str, str], sqlite: str) -> None:
    start = started(env, orderDatabaseUrl=sqlite, orderService="shop:Missing")
    start.assert_nothing_is_done()
    assert start.named == ["orderService"]


WITHOUT = {
    "SQLAlchemy": ("sqlalchemy", "sqlite"),
    "psycopg": ("psycopg psycopg_binary", POSTGRESQL),
    "PyMySQL": ("pymysql", MYSQL),
}


@pytest.mark.parametrize("package", WITHOUT)
def test_a_missing_package_is_told_with_what_to_install(env: dict[str, str], sqlite: str, package: str) -> None:
    without, url = WITHOUT[package]
    start = started(env, without, orderDatabaseUrl=sqlite if url == "sqlite" else url)
    start.assert_nothing_is_done()
    (lack,) = start.missing
    assert lack.startswith("orderDatabaseUrl (needs the packages of requirements-orders.txt")
    (traced,) = [line for line in start.log if line["message"] == "orderDatabaseUrl cannot be used"]
    assert "ModuleNotFoundError" in traced["error"], "which package it is"
    assert PASSWORD not in start.everything
    assert ENCODED not in start.everything


def test_a_service_on_sqlalchemy_without_sqlalchemy_is_told_twice(env: dict[str, str], sqlite: str) -> None:
    start = started(env, "sqlalchemy", orderDatabaseUrl=sqlite, orderService="shop:Sql")
    start.assert_nothing_is_done()
    assert start.named == ["orderService", "orderDatabaseUrl"]


@pytest.mark.parametrize("runtime", ["TENCENTCLOUD_RUNENV", "SCF_RUNTIME"])
def test_on_the_platform_a_file_under_tmp_keeps_no_orders(env: dict[str, str], runtime: str) -> None:
    start = started(env, orderDatabaseUrl="sqlite:////tmp/orders.sqlite3", **{runtime: "Python3.10"})
    start.assert_nothing_is_done()
    (lack,) = start.missing
    assert lack.startswith("orderDatabaseUrl (must not be a SQLite file that goes with its instance")
    assert "/tmp is neither kept nor shared" in lack


def test_a_broken_webhook_lets_nothing_happen_of_which_nobody_would_hear(env: dict[str, str], sqlite: str) -> None:
    start = started(env, orderDatabaseUrl=sqlite, eventWebhookUrl="https://shop.example.com/events")
    start.assert_nothing_is_done()
    assert start.named == ["eventWebhookSecret"]


@pytest.mark.parametrize("url", [POSTGRESQL, MYSQL], ids=["postgresql", "mysql"])
def test_a_database_that_is_away_is_told_without_its_password(env: dict[str, str], url: str) -> None:
    start = started(env, orderDatabaseUrl=url, logLevel="debug")
    assert (start.missing, start.order[0]) == ([], 503)
    assert "Traceback" in json.dumps(start.log), "what the driver said"
    for spelling in (PASSWORD, ENCODED):
        assert spelling not in start.everything


# The command line

BROKEN: dict[str, dict[str, Any]] = {
    "orderDatabaseUrl": {"orderDatabaseUrl": None},
    "orderDatabaseUrl (must begin": {"orderDatabaseUrl": "orders.sqlite3"},
    "orderService (cannot be loaded": {"orderService": "shop:Missing"},
    "priceList (cannot be loaded": {"orderService": "shop:Sql", "priceList": "shop:missing"},
    "orderDatabaseUrl (has no effect": {"orderService": "shop:Plain"},
    "eventWebhookSecret (is unset": {"eventWebhookUrl": "https://shop.example.com/events"},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_the_commands_deliver_no_event_past_a_setting_that_is_broken(
    env: dict[str, str], sqlite: str, reason: str
) -> None:
    settings = {"orderDatabaseUrl": sqlite, **BROKEN[reason]}
    given = {name: value for name, value in settings.items() if value is not None}
    run = python({**env, **given}, "-m", "flask", "--app", "app", "orders", "deliver")
    assert run.returncode == 1
    assert run.stdout == ""
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("Error: ")]
    assert reason in line
    assert "Traceback (most recent call last)\n" not in run.stderr, "in log lines only"
