"""`orderService` names the merchant's class; one that cannot be had is a reported problem, never a silent default."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import create_app
from config.settings import Settings
from services.order_service import OrderService
from tests.services.wechatpay.host import API_V3_KEY, MERCHANT_SERIAL

MODULE = '''
import sys
from asyncio import CancelledError
from services.order_service import OrderService

class Shop(OrderService):
    pass

class Duck:
    """Has every method and is none."""
    def __getattr__(self, name):
        return lambda *args: None

class Exits(OrderService):
    def __init__(self):
        sys.exit("no database")

class Interrupts(OrderService):
    def __init__(self):
        raise KeyboardInterrupt

class Cancels(OrderService):
    def __init__(self):
        raise CancelledError

class Wants(OrderService):
    def __init__(self, database):
        pass

class Meta(type):
    def __call__(cls):
        return None

class Nothing(OrderService, metaclass=Meta):
    pass

def shop():
    return Shop()

ready = Shop()
number = 7
'''


@pytest.fixture(autouse=True)
def restored_logger() -> Iterator[None]:
    pay = logging.getLogger("pay")
    before = pay.handlers[:], pay.level, pay.propagate
    yield
    pay.handlers[:], pay.propagate = before[0], before[2]
    pay.setLevel(before[1])


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the merchant's under a name of its own, and others that end or break while they are imported."""
    name = f"merchant_{tmp_path.name.replace('-', '_')}"
    sources = {"": MODULE, "_exits": "import sys; sys.exit(0)", "_breaks": "1 / 0", "_unreadable": "def"}
    for ending, source in sources.items():
        (tmp_path / f"{name}{ending}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def started(order_service: str) -> Flask:
    return create_app(
        Settings.from_env(
            {
                "orderService": order_service,
                "appId": "wx0123456789abcdef",
                "merchantId": "1900007291",
                "merchantSerialNumber": MERCHANT_SERIAL,
                "apiV3Key": API_V3_KEY.decode(),
                "privateKey": (Path(__file__).parents[1] / "vectors/docs_merchant_test_key.pem").read_text(),
                "notifyURLPayURL": "https://shop.example.com/pay",
            }
        )
    )


def parts(application: Flask) -> Any:
    return application.extensions["pay"]


@pytest.mark.parametrize("name", ["Shop", "shop"])
def test_a_class_or_a_function_that_makes_one_serves(modules: str, name: str) -> None:
    application = started(f"{modules}:{name}")
    assert type(parts(application).orders).__name__ == "Shop"
    assert parts(application).lacking(["orderService"]) == []
    assert parts(application).orders.rights["wxpay_refund"] == "operator"


BROKEN = {
    ":Duck": "TypeError",
    ":Nothing": "TypeError",
    ":ready": "TypeError",
    ":number": "TypeError",
    ":Wants": "TypeError",
    ":Missing": "AttributeError",
    ":Exits": "RuntimeError",
    ":Interrupts": "RuntimeError",
    ":Cancels": "RuntimeError",
    "_exits:Shop": "SystemExit",
    "_breaks:Shop": "ZeroDivisionError",
    "_unreadable:Shop": "SyntaxError",
    "_missing:Shop": "ModuleNotFoundError",
}


@pytest.mark.parametrize(("ending", "error"), BROKEN.items())
def test_what_is_no_order_service_is_a_problem_and_nothing_is_done(modules: str, ending: str, error: str) -> None:
    application = started(modules + ending)
    assert type(parts(application).orders) is OrderService
    (lacks,) = parts(application).lacking(["orderService"])
    assert lacks.startswith(f"orderService (cannot be loaded ({error})")

    visitor = application.test_client()
    order = {"_action": "wxpay_order_native", "description": "x", "out_trade_no": "ORDER_0001", "amount": {"total": 1}}
    refused = visitor.post("/", json=order, headers={"X-Wx-Source": "wx_client"})
    assert (refused.status_code, refused.json["code"]) == (500, -1)
    assert refused.json["msg"].startswith("MISSING_CREDENTIALS: orderService (cannot be loaded")

    callback = visitor.post("/wechatpay/order", json={"ParsedContent": {"out_trade_no": "N", "trade_state": "SUCCESS"}})
    assert (callback.status_code, callback.json["code"]) == (503, "FAIL"), "it comes again, and is not lost"
