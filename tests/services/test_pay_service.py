"""What happens between the caller's request, the merchant's code and WeChat Pay, with a client that keeps its calls."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from routes.actions import RIGHTS
from services.handler_pool import HandlerPool
from services.merchant_code import HookFailed, NotRecorded, authorize
from services.order_service import OrderService, Refused
from services.pay_service import HandlerFailed, Merchant, PayService
from services.strategies.base import PAYMENT, REFUND, TRANSFER, Incoming, Kind, Notification, Strategy
from services.wechatpay.client import Reply
from services.wechatpay.errors import NotSent
from utils.cloudbase_auth import Caller

MERCHANT = Merchant("1900000001", "wx1", "", "https://a.example/p", "https://a.example/r", "", 2.0)
CALLER = Caller("headers", True, "", "", "", "", False, False, False)
ORDER = {"out_trade_no": "ORDER_1", "description": "x", "amount": {"total": 20}}
REFUNDED = {"out_refund_no": "REFUND_1", "out_trade_no": "ORDER_1", "amount": {"refund": 5, "total": 20}}
MOVED = {"out_bill_no": "BILL1", "transfer_amount": 30, "openid": "o1"}
ANSWER = {"code_url": "weixin://x", "out_trade_no": "ORDER_1", "payer": {"openid": "o1"}, "deep": {"list": [1]}}
ENDS = [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]


class WechatPay:
    """Stands in for the client: keeps the calls, accepts everything."""

    signer = None

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.encrypted: list[tuple[str, float]] = []

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        self.calls.append({"method": method, "path": path, "body": body, **options})
        return Reply(200, copy.deepcopy(ANSWER))

    def deadline(self) -> float:
        return 1234.5

    def encrypt(self, text: str, deadline: float) -> tuple[str, str]:
        self.encrypted.append((text, deadline))
        if len(text.encode()) > 214:
            raise ValueError("too long")
        return "SERIAL", "ciphertext"


class Believing:
    """Opens every callback as the one notification it was made with."""

    def __init__(self, kind: Kind = PAYMENT) -> None:
        plaintext = {"mchid": "1900000001", "appid": "wx1", kind.number: "N", kind.state: "SUCCESS"}
        self.notification = Notification("EV-1", kind.events[0], kind, plaintext, "signature")

    def open(self, incoming: Incoming) -> Notification:
        return self.notification


class Orders(OrderService):
    """Does what the test says in the method that the test names."""

    def __init__(self, method: str, does: Callable[..., Any]) -> None:
        self.rights = RIGHTS
        setattr(self, method, does)


def raising(error: BaseException) -> Callable[..., Any]:
    def method(*_: Any) -> Any:
        raise error

    return method


def service_of(orders: OrderService, kind: Kind = PAYMENT) -> tuple[PayService, WechatPay]:
    wechat_pay = WechatPay()
    strategy = Strategy(wechat_pay, Believing(kind))  # type: ignore[arg-type]
    return PayService(strategy, MERCHANT, orders, HandlerPool(2), {}), wechat_pay


MONEY = [
    ("before_unified", "handler_unified", PAYMENT, lambda s: s.order("wxpay_order_native", ORDER, CALLER)),
    ("before_refund", "handler_refund", REFUND, lambda s: s.refund("wxpay_refund", REFUNDED, CALLER)),
    ("before_transfer", "handler_transfer", TRANSFER, lambda s: s.transfer("wxpay_transfer", MOVED, CALLER)),
]
QUERIES = [
    lambda s: s.query_order("wxpay_query_order_by_out_trade_no", {"out_trade_no": "ORDER_1"}, CALLER),
    lambda s: s.query_refund("wxpay_refund_query", {"out_refund_no": "REFUND_1"}, CALLER),
]


# The merchant's code


@pytest.mark.parametrize("error", ENDS, ids=repr)
@pytest.mark.parametrize(("before", "_after", "_kind", "act"), MONEY)
def test_what_would_end_the_worker_before_the_call_sends_nothing(error, before, _after, _kind, act):
    service, wechat_pay = service_of(Orders(before, raising(error)))
    with pytest.raises(HookFailed):
        act(service)
    assert wechat_pay.calls == []


@pytest.mark.parametrize("error", ENDS, ids=repr)
@pytest.mark.parametrize(("_before", "after", "_kind", "act"), MONEY)
def test_what_would_end_the_worker_after_the_call_is_not_recorded(error, _before, after, _kind, act):
    service, wechat_pay = service_of(Orders(after, raising(error)))
    with pytest.raises(NotRecorded) as caught:
        act(service)
    accepted = caught.value.result
    if after == "handler_unified":
        assert accepted is None, "an order is sent again"
    else:
        assert accepted is not None, "money that moves is never asked for anew: the caller learns what was accepted"
        assert accepted["status"] == 200
        assert accepted["data"].items() >= ANSWER.items()
    assert len(wechat_pay.calls) == 1


@pytest.mark.parametrize("error", ENDS, ids=repr)
def test_what_would_end_the_worker_elsewhere_fails_its_own_call(error):
    for act in QUERIES:
        with pytest.raises(NotRecorded):
            act(service_of(Orders("handler_query", raising(error)))[0])
    with pytest.raises(NotRecorded):
        service_of(Orders("handler_close", raising(error)))[0].close_order("wxpay_close_order", ORDER, CALLER)
    with pytest.raises(HookFailed):
        authorize(Orders("authorize", raising(error)), "wxpay_refund", {}, CALLER)


@pytest.mark.parametrize("error", ENDS, ids=repr)
@pytest.mark.parametrize(
    ("kind", "handler"),
    [
        (PAYMENT, "handler_unified_trigger"),
        (REFUND, "handler_refund_trigger"),
        (TRANSFER, "handler_transfer_trigger"),
    ],
    ids=["payment", "refund", "transfer"],
)
def test_what_would_end_the_worker_in_a_callback_is_that_callbacks_failure(error, kind, handler):
    service, _ = service_of(Orders(handler, raising(error)), kind)
    with pytest.raises(HandlerFailed):
        service.accept_notification(Incoming({}, b"", {}, kind, False, time.monotonic() + 4))


@pytest.mark.parametrize("refused", [Refused("no"), Refused("no", 404)], ids=repr)
def test_a_refusal_stays_one(refused):
    for before, _, _, act in MONEY:
        with pytest.raises(Refused) as caught:
            act(service_of(Orders(before, raising(refused)))[0])
        assert caught.value is refused


# What the merchant's code returns


@pytest.mark.parametrize(("before", "_after", "kind", "act"), MONEY)
def test_only_params_that_can_be_sent_under_their_number_are_sent(before, _after, kind, act):
    good = {kind.number: "OTHER_1", "amount": {"total": 1}, "transfer_amount": 30}
    loop: dict[str, Any] = {**good}
    loop["self"] = loop
    bad: list[Any] = [
        "params", [good], (), 0, False, True, tuple(good.items()),
        {}, {**good, kind.number: None}, {**good, kind.number: 1}, {**good, kind.number: b"N"},
        {name: value for name, value in good.items() if name != kind.number},
        {**good, "x": {1, 2}}, {**good, "x": float("nan")}, {**good, "x": object()}, {**good, ("a", "b"): 1},
        {**good, "x": "\ud800"}, loop,
    ]  # fmt: skip
    for changed in bad:
        service, wechat_pay = service_of(Orders(before, lambda params, caller, changed=changed: changed))
        with pytest.raises(HookFailed):
            act(service)
        assert wechat_pay.calls == []
    service, wechat_pay = service_of(Orders(before, lambda params, caller: params | good))
    act(service)
    assert wechat_pay.calls[0]["body"][kind.number] == "OTHER_1"


@pytest.mark.parametrize("name", [1, None, ["x"], b"x", "x" * 215, "名" * 72], ids=lambda name: ascii(name)[:12])
def test_a_name_that_cannot_be_encrypted_is_the_hooks_failure(name):
    service, wechat_pay = service_of(Orders("before_transfer", lambda params, caller: params | {"user_name": name}))
    with pytest.raises(HookFailed):
        service.transfer("wxpay_transfer", MOVED, CALLER)
    assert wechat_pay.calls == []


@pytest.mark.parametrize("act", QUERIES)
def test_handler_query_works_on_a_copy_of_the_answer(act):
    def spoil(action: str, params: dict[str, Any], result: dict[str, Any]) -> None:
        assert result == ANSWER
        result["deep"]["list"].append(2)
        result["payer"]["openid"] = "another"
        result.clear()

    assert act(service_of(Orders("handler_query", spoil))[0]) == {"status": 200, "data": ANSWER}


def test_a_transfers_query_hands_over_a_copy_too():
    class Mine(Orders):
        def authorize(self, action: str, params: dict[str, Any], caller: Caller) -> None:
            pass

    service, _ = service_of(Mine("handler_query", lambda action, params, result: result.clear()))
    shown = service.query_transfer("wxpay_transfer_bill_query", {"out_bill_no": "BILL1"}, CALLER)
    assert shown == {"status": 200, "data": ANSWER}


# One deadline


def test_a_transfer_with_a_name_has_one_deadline_for_encrypting_and_sending():
    service, wechat_pay = service_of(OrderService())
    service.transfer("wxpay_transfer", MOVED | {"user_name": "李雷"}, CALLER)
    assert wechat_pay.encrypted == [("李雷", 1234.5)]
    (call,) = wechat_pay.calls
    assert (call["deadline"], call["serial"], call["body"]["user_name"]) == (1234.5, "SERIAL", "ciphertext")


def test_a_name_that_cannot_be_encrypted_now_is_told_as_nothing_sent(monkeypatch):
    service, wechat_pay = service_of(OrderService())
    monkeypatch.setattr(wechat_pay, "encrypt", raising(NotSent("nothing was sent to WeChat Pay: no key")))
    with pytest.raises(NotSent):
        service.transfer("wxpay_transfer", MOVED | {"user_name": "李雷"}, CALLER)
    assert wechat_pay.calls == []
