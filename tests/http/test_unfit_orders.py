"""An `orderService` that cannot be used is a reported problem: nothing moves, and nothing is refused for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Credentials, Sandbox
from tests.http.callback_shop import KINDS, TRIGGERS, RecordingOrders, Shop
from tests.support import MINI_PROGRAM, OPERATOR_KEY, Function, gunicorn, in_process

OPERATOR = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
HERE = "tests.http.unfit_orders"
UNFIT = {
    "a lookalike": (f"{HERE}:Lookalike", "TypeError"),
    "a class of the library": ("json:JSONDecoder", "TypeError"),
    "a plain function's result": ("os:getcwd", "TypeError"),
    "a factory of nothing": (f"{HERE}:nothing", "TypeError"),
    "an object instead of its class": (f"{HERE}:made", "TypeError"),
    "a class that wants an argument": (f"{HERE}:Wanting", "TypeError"),
    "a class that fails": (f"{HERE}:Failing", "ConnectionRefusedError"),
    "a class that ends the process": (f"{HERE}:Leaving", "RuntimeError"),
    "a module that ends the process": ("tests.http.leaving_orders:Orders", "SystemExit"),
    "a class that is not there": (f"{HERE}:Missing", "AttributeError"),
    "a module that is not there": ("tests.http.no_such_orders:Orders", "ModuleNotFoundError"),
}


@pytest.fixture(scope="module")
def box(credentials: Credentials) -> Iterator[Sandbox]:
    with Sandbox(credentials=credentials) as sandbox:
        yield sandbox


def assert_unusable(box: Sandbox, function: Function, reason: str) -> None:
    shop = Shop(box, function, RecordingOrders())
    shop.new()
    for action in ("wxpay_order", "wxpay_refund", "wxpay_query_order_by_out_trade_no", "wxpay_close_order"):
        reply = function.call(action, {}, OPERATOR)
        assert (reply.status, reply.body["code"], reply.body["data"]) == (500, -1, None), reply.text
        assert reply.body["msg"].startswith("MISSING_CREDENTIALS: orderService (")
        assert reason in reply.body["msg"]
        assert "planted" not in reply.text
        assert "password" not in reply.text
    for kind in KINDS:
        for message in (shop.signed(kind, shop.told(kind)), shop.forwarded(kind, shop.told(kind))):
            reply = message.send(function)
            assert (reply.status, reply.body["code"]) == (503, "FAIL"), (TRIGGERS[kind], reply.text)
    (missing,) = function.request("GET", "/healthz").body["data"]["missing"]
    assert missing.startswith("orderService (")
    assert box.requests == []


@pytest.mark.parametrize("name", UNFIT)
def test_an_order_service_that_cannot_be_used_is_named_and_nothing_is_kept_in_its_stead(
    box: Sandbox, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    order_service, reason = UNFIT[name]
    with in_process(box.env(operatorKey=OPERATOR_KEY, orderService=order_service)) as function:
        assert_unusable(box, function, reason)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (traced,) = [line for line in lines if line["message"] == f"orderService {order_service} cannot be loaded"]
    assert traced["level"] == "ERROR"
    assert reason in traced["error"]
    (start,) = [line for line in lines if "starts: signMode" in line["message"]]
    assert start["level"] == "WARNING"
    assert "orderService" in start["message"]


@pytest.mark.parametrize("name", ["a lookalike", "a class that ends the process", "a module that ends the process"])
def test_under_gunicorn_the_function_starts_and_says_so(box: Sandbox, name: str, tmp_path: Path) -> None:
    order_service, reason = UNFIT[name]
    with gunicorn(box.env(operatorKey=OPERATOR_KEY, orderService=order_service), tmp_path / "log") as function:
        assert_unusable(box, function, reason)
        starts = [line for line in function.log_lines() if "starts: signMode" in line["message"]]
        assert len(starts) == 1, "no worker was replaced"


@pytest.mark.parametrize("name", ["Fit", "factory"])
def test_a_subclass_or_what_makes_one_is_used(box: Sandbox, name: str) -> None:
    with in_process(box.env(orderService=f"{HERE}:{name}")) as function:
        shop = Shop(box, function, RecordingOrders())
        shop.new()
        shop.assert_acknowledged(shop.forwarded("order", shop.told("order")).send(function))
        assert function.request("GET", "/healthz").body["data"]["missing"] == []
