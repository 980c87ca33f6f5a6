"""The examples do what they say, against the function and the sandbox."""

from __future__ import annotations

import importlib.util
import json

import pytest
from sqlalchemy import update

from examples.own_order_service.orders import PRICES, ShopOrders
from sandbox import Credentials, Sandbox
from services.orders.columns import now
from services.orders.database import Database
from services.orders.schema import orders
from services.orders.store import Store
from services.orders.tables import init_db
from tests.support import MINI_PROGRAM, OPERATOR_KEY, ROOT, in_process

TEA = "A cup of tea"


@pytest.fixture(scope="module")
def credentials():
    return Credentials.generate()


@pytest.fixture
def shop(credentials, tmp_path):
    orders = ShopOrders(tmp_path / "orders.sqlite3")
    with (
        Sandbox(credentials=credentials) as sandbox,
        in_process(sandbox.env(operatorKey=OPERATOR_KEY, tokens=True), orders) as function,
    ):
        sandbox.function = function.url
        yield sandbox, function, orders


def load(example):
    """The module of an example that is a function of its own."""
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / example / "index.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def order(number, description=TEA, total=1):
    return {"description": description, "out_trade_no": number, "amount": {"total": total}}


def test_the_shop_sets_the_price_and_marks_an_order_paid_once(shop):
    sandbox, function, orders = shop

    assert function.call("wxpay_order", order("TEA_0001", total=1)).status == 200
    assert sandbox.requests[-1].json["amount"] == {"total": PRICES[TEA], "currency": "CNY"}
    assert orders.order("TEA_0001") == {"state": "PENDING", "total": 20, "refunded": 0}

    deliveries = sandbox.pay("TEA_0001") + sandbox.deliver("order", "TEA_0001")

    assert [delivery.acknowledged for delivery in deliveries] == [True, True]
    assert orders.order("TEA_0001") == {"state": "PAID", "total": 20, "refunded": 0}


def test_a_refund_counts_once(shop):
    sandbox, function, orders = shop
    function.call("wxpay_order", order("TEA_0002"))
    sandbox.pay("TEA_0002")
    refund = {"out_trade_no": "TEA_0002", "out_refund_no": "R_0002", "amount": {"refund": 5, "total": 20}}
    assert function.call("wxpay_refund", refund, {**MINI_PROGRAM, "X-Operator-Key": OPERATOR_KEY}).status == 200

    sandbox.settle_refund("R_0002")
    sandbox.deliver("refund", "R_0002")

    assert orders.order("TEA_0002") == {"state": "PAID", "total": 20, "refunded": 5}


def test_an_unknown_article_and_a_taken_number_are_refused_before_wechat_pay_is_asked(shop):
    sandbox, function, _ = shop
    function.call("wxpay_order", order("TEA_0003"))
    asked = len(sandbox.requests)

    assert function.call("wxpay_order", order("TEA_0004", description="Coffee")).status == 404
    assert function.call("wxpay_order", order("TEA_0003", description="A pot of tea")).status == 409
    assert len(sandbox.requests) == asked


def test_a_repeated_order_is_the_same_order(shop):
    _, function, orders = shop

    assert [function.call("wxpay_order", order("TEA_0005")).status for _ in range(2)] == [200, 200]
    assert orders.order("TEA_0005") == {"state": "PENDING", "total": 20, "refunded": 0}


def test_a_callback_fails_while_the_database_is_gone_and_succeeds_afterwards(shop, tmp_path):
    sandbox, function, orders = shop
    function.call("wxpay_order", order("TEA_0006"))
    database, away = tmp_path / "orders.sqlite3", tmp_path / "away"
    database.rename(away)
    tmp_path.joinpath("orders.sqlite3").mkdir()

    assert not sandbox.pay("TEA_0006")[0].acknowledged

    database.rmdir()
    away.rename(database)
    assert sandbox.deliver("order", "TEA_0006")[0].acknowledged
    assert orders.order("TEA_0006") == {"state": "PAID", "total": 20, "refunded": 0}


def test_another_cloud_function_refunds_through_the_gateway(shop, monkeypatch):
    sandbox, function, _ = shop
    function.call("wxpay_order", order("TEA_0007"))
    sandbox.pay("TEA_0007")
    caller = load("calling_function")
    monkeypatch.setenv("GATEWAY", sandbox.url)
    monkeypatch.setenv("CLOUDBASE_APIKEY", sandbox.token("server"))
    monkeypatch.setenv("PAY_OPERATOR_KEY", OPERATOR_KEY)
    event = {"order": "TEA_0007", "cents": 5, "total": 20}

    first, again = caller.main_handler(event, None), caller.main_handler(event, None)

    assert first["code"] == 0
    assert first["data"]["data"]["out_refund_no"] == "RTEA_0007"
    assert again["data"]["data"]["refund_id"] == first["data"]["data"]["refund_id"]
    assert caller.main_handler({**event, "cents": 21}, None)["code"] == -1
    assert all(b"_operatorKey" not in request.body for request in sandbox.requests)


def test_a_timer_has_what_is_not_settled_asked_for(credentials, tmp_path, monkeypatch, capsys):
    url = f"sqlite:///{tmp_path / 'orders.sqlite3'}"
    init_db(Database(url))
    settings = {"operatorKey": OPERATOR_KEY, "orderDatabaseUrl": url}
    with (
        Sandbox(credentials=credentials) as sandbox,
        in_process(sandbox.env(tokens=True, **settings)) as function,
    ):
        sandbox.function = function.url
        function.call("wxpay_order", order("TEA_0008", total=20))
        sandbox.pay("TEA_0008", deliver=False)
        overdue = Database(url)
        with overdue.engine.begin() as connection:
            connection.execute(update(orders).values(next_check_at=now()))
        timer = load("timer-function")
        monkeypatch.setenv("GATEWAY", sandbox.url)
        monkeypatch.setenv("CLOUDBASE_APIKEY", sandbox.token("server"))
        monkeypatch.setenv("PAY_OPERATOR_KEY", OPERATOR_KEY)

        summary = timer.main_handler({"Type": "Timer"}, None)

        assert (summary["checked"], summary["changed"], summary["left"]) == (1, 1, 0)
        assert '"changed": 1' in capsys.readouterr().out
        row = Store(overdue).order("TEA_0008")
        overdue.close()
        assert row is not None
        assert row["state"] == "PAID"
        monkeypatch.setenv("PAY_OPERATOR_KEY", "wrong")
        monkeypatch.setenv("CLOUDBASE_APIKEY", sandbox.token("user"))
        with pytest.raises(RuntimeError, match="403"):
            timer.main_handler({}, None)


def test_the_timer_is_deployed_as_an_event_function_with_a_seven_field_cron():
    (function,) = json.loads((ROOT / "examples/timer-function/cloudbaserc.json").read_text())["functions"]
    assert (function["type"], function["handler"]) == ("Event", "index.main_handler")
    assert [len(trigger["config"].split()) for trigger in function["triggers"]] == [7]
    assert function["timeout"] > load("timer-function").TIMEOUT
    # Deployed from the project's folder, whose `.env` it takes.
    assert (ROOT / function["dir"] / "index.py").is_file()
