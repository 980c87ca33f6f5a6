"""A fault of the function's own: told by its kind alone, logged with its trace, and never a SUCCESS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from tests.http.callback_shop import RecordingOrders
from tests.support import MINI_PROGRAM, Function, in_process

WORDS = "a fault that nobody foresaw"


class Faulty:
    """A network that fails in a way of which no library of ours tells."""

    def urlopen(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError(WORDS)


@pytest.fixture(scope="module")
def orders() -> RecordingOrders:
    return RecordingOrders()


@pytest.fixture(scope="module")
def shop(credentials: Credentials, orders: RecordingOrders) -> Iterator[tuple[Sandbox, Function]]:
    with Sandbox(credentials=credentials) as box, in_process(box.env(), orders, Faulty()) as function:
        yield box, function


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if line["message"] == "unexpected error in the function itself"]


def test_a_caller_is_told_where_to_look(shop: tuple[Sandbox, Function], capsys: pytest.CaptureFixture[str]):
    _, function = shop
    order = {"description": "tea", "out_trade_no": "ORDER_0001", "amount": {"total": 20}}
    reply = function.call("wxpay_order", order, {**MINI_PROGRAM, "X-Request-Id": "unexpected-0001"})
    assert (reply.status, reply.body["code"], reply.body["data"]) == (500, -1, None)
    assert "X-Request-Id" in reply.body["msg"]
    assert WORDS not in reply.text
    (line,) = logged(capsys)
    assert (line["level"], line["request_id"], reply.headers["X-Request-Id"]) == ("ERROR", *["unexpected-0001"] * 2)
    assert line["error"].endswith(f"RuntimeError: {WORDS}")


def test_wechat_pay_delivers_again(
    shop: tuple[Sandbox, Function], orders: RecordingOrders, capsys: pytest.CaptureFixture[str]
):
    box, function = shop
    hint = {
        "appid": box.credentials.app_id, "mchid": box.credentials.merchant_id, "out_trade_no": "ORDER_0001",
        "transaction_id": "4200000000202611210000000001", "trade_state": "SUCCESS", "trade_type": "JSAPI",
        "amount": {"total": 20, "payer_total": 20, "currency": "CNY", "payer_currency": "CNY"},
        "success_time": "2026-11-21T12:00:00+08:00", "payer": {"openid": "oPAYER00000000000000000000001"},
    }  # fmt: skip
    reply = function.post("/wechatpay/order", {"ParsedContent": hint})
    assert (reply.status, reply.body["code"]) == (500, "FAIL")
    assert WORDS not in reply.text
    (line,) = logged(capsys)
    assert line["error"].endswith(f"RuntimeError: {WORDS}")
    assert orders.calls == []
