"""What happens between the caller's request, the merchant's code and WeChat Pay, with a client that keeps its calls."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from routes.actions import RIGHTS
from services.handler_pool import HandlerPool
from services.merchant_code import HookFailed, NotRecorded, authorize
from services.order_service import OrderService, Refused
from services.pay_service import HandlerFailed, Merchant, NoOrderDatabase, PayService
from services.strategies.base import PAYMENT, REFUND, TRANSFER, Incoming, Kind, Notification, Strategy
from services.wechatpay.client import Reply
from services.wechatpay.errors import ApiError, NotificationRefused, NotSent, TimedOut
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
    def method(*_: Any, **__: Any) -> Any:
        raise error

    return method


def service_of(orders: OrderService, opener: Any = None, desk: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The service and the client under it; `opener` is a kind, or what opens a callback."""
    wechat_pay = WechatPay()
    opener = Believing(opener or PAYMENT) if opener is None or isinstance(opener, Kind) else opener
    strategy = Strategy(wechat_pay, opener)  # type: ignore[arg-type]
    return PayService(strategy, MERCHANT, orders, HandlerPool(2), desk), wechat_pay


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


# What WeChat Pay refuses


def api_error(*, signed: bool = True, after_unknown: bool = False) -> ApiError:
    error = ApiError(403, {"code": "NO_AUTH", "message": "not opened"}, signed=signed)
    error.after_unknown = after_unknown
    return error


NOTHING_HAPPENED = [
    (api_error(), {"status": 403, "code": "NO_AUTH", "message": "not opened"}),
    (NotSent("no way to WeChat Pay"), {"status": 0, "code": "NOT_SENT", "message": "no way to WeChat Pay"}),
]
PERHAPS_IT_DID = [api_error(signed=False), api_error(after_unknown=True), TimedOut("no answer"), KeyError("x")]


def refusing(service_and_client: tuple[PayService, WechatPay], error: Exception) -> PayService:
    service, wechat_pay = service_and_client
    wechat_pay.call = raising(error)  # type: ignore[method-assign]
    return service


class Refusals(OrderService):
    """Keeps what it is told of refusals, and raises `error` where one is given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.told: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.error = error

    def handler_refused(self, kind: str, params: dict[str, Any], error: dict[str, Any]) -> None:
        self.told.append((kind, params, error))
        if self.error:
            raise self.error


@pytest.mark.parametrize(("error", "told"), NOTHING_HAPPENED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(("_before", "_after", "kind", "act"), MONEY)
def test_the_order_service_hears_of_a_call_in_which_nothing_happened(_before, _after, kind, act, error, told):
    orders = Refusals()
    with pytest.raises(type(error)) as caught:
        act(refusing(service_of(orders), error))
    assert caught.value is error
    ((name, params, heard),) = orders.told
    assert (name, heard) == (kind.name, told)
    assert params[kind.number] == (ORDER | REFUNDED | MOVED)[kind.number]


@pytest.mark.parametrize("error", PERHAPS_IT_DID, ids=repr)
@pytest.mark.parametrize(("_before", "_after", "_kind", "act"), MONEY)
def test_it_hears_nothing_of_a_call_in_which_something_may_have_happened(_before, _after, _kind, act, error):
    orders = Refusals()
    with pytest.raises(type(error)):
        act(refusing(service_of(orders), error))
    assert orders.told == []


@pytest.mark.parametrize("error", [RuntimeError("planted"), Refused("planted"), *ENDS], ids=repr)
@pytest.mark.parametrize(("_before", "_after", "kind", "act"), MONEY)
def test_what_it_raises_then_is_logged_and_the_caller_gets_wechat_pays_refusal(_before, _after, kind, act, error):
    lines: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = lines.append  # type: ignore[method-assign]
    log, refusal = logging.getLogger("pay.orders"), api_error()
    log.addHandler(handler)
    try:
        with pytest.raises(ApiError) as caught:
            act(refusing(service_of(Refusals(error)), refusal))
    finally:
        log.removeHandler(handler)
    assert caught.value is refusal
    (line,) = [line for line in lines if line.levelno >= logging.ERROR]
    assert line.exc_info is not None, "with its trace"
    assert line.fields["number"] == (ORDER | REFUNDED | MOVED)[kind.number]  # type: ignore[attr-defined]


def test_a_refusal_by_the_order_service_itself_is_no_news_to_it():
    class Mine(Refusals):
        def before_unified(self, params: dict[str, Any], caller: Caller) -> None:
            raise Refused("sold out", 409)

    orders = Mine()
    with pytest.raises(Refused):
        service_of(orders)[0].order("wxpay_order_native", ORDER, CALLER)
    assert orders.told == []


# A transfer's encrypted name


class Ciphertexts(Refusals):
    """Sends what it was made with in the place of what was encrypted now."""

    def __init__(self, sends: Callable[[dict[str, Any], str], Any]) -> None:
        super().__init__()
        self.sends = sends

    def handler_encrypted(self, params: dict[str, Any], serial: str) -> Any:
        return self.sends(params, serial)


def test_the_first_ciphertext_may_be_sent_again_under_its_serial():
    seen = []

    def first(params: dict[str, Any], serial: str) -> Any:
        seen.append((params["user_name"], serial))
        return params | {"user_name": "first ciphertext"}, "FIRST SERIAL"

    service, wechat_pay = service_of(Ciphertexts(first))
    service.transfer("wxpay_transfer", MOVED | {"user_name": "李雷"}, CALLER)
    (call,) = wechat_pay.calls
    assert seen == [("ciphertext", "SERIAL")]
    assert (call["body"]["user_name"], call["serial"]) == ("first ciphertext", "FIRST SERIAL")
    assert call["body"]["out_bill_no"] == "BILL1"


def test_without_a_name_nothing_is_encrypted_and_nobody_asked():
    service, wechat_pay = service_of(Ciphertexts(raising(AssertionError("asked"))))
    service.transfer("wxpay_transfer", MOVED, CALLER)
    assert (wechat_pay.encrypted, wechat_pay.calls[0]["serial"]) == ([], "")


UNFIT = [
    None, "ciphertext", (), ({},), ({"user_name": {1, 2}}, "SERIAL"), ({"user_name": "x"}, None), ("x", "SERIAL"),
    ([], "SERIAL"), (MOVED | {"out_bill_no": "BILL2"}, "SERIAL"),
]  # fmt: skip


@pytest.mark.parametrize("answer", UNFIT, ids=repr)
def test_an_unfit_answer_sends_nothing_and_leaves_the_number_free(answer):
    orders = Ciphertexts(lambda params, serial: answer)
    service, wechat_pay = service_of(orders)
    with pytest.raises(HookFailed):
        service.transfer("wxpay_transfer", MOVED | {"user_name": "李雷"}, CALLER)
    assert wechat_pay.calls == []
    ((kind, params, error),) = orders.told
    assert (kind, params["out_bill_no"], error["code"]) == ("transfer", "BILL1", "NOT_SENT")


@pytest.mark.parametrize("error", [RuntimeError("database away"), Refused("no"), *ENDS], ids=repr)
def test_what_is_raised_while_the_name_is_kept_sends_nothing(error):
    service, wechat_pay = service_of(Ciphertexts(raising(error)))
    with pytest.raises(HookFailed):
        service.transfer("wxpay_transfer", MOVED | {"user_name": "李雷"}, CALLER)
    assert wechat_pay.calls == []


# Every believed callback


class Opened:
    """Opens every callback as this notification."""

    def __init__(self, notification: Notification) -> None:
        self.notification = notification

    def open(self, incoming: Incoming) -> Notification:
        return self.notification


def other(**plaintext: Any) -> Opened:
    return Opened(Notification("EV-2", "COUPON.USE", None, plaintext, "signature"))


def incoming(seconds: float = 4) -> Incoming:
    return Incoming({}, b"", {}, None, False, time.monotonic() + seconds)


@pytest.mark.parametrize("kind", [PAYMENT, REFUND, TRANSFER, None], ids=lambda kind: kind.name if kind else "other")
def test_the_order_service_is_shown_every_callback_with_the_time_it_has(kind):
    seen: list[tuple[Notification, float]] = []
    opener = Believing(kind) if kind else other(mchid="1900000001")
    service, _ = service_of(Orders("handler_notification", lambda *given: seen.append(given)), opener)
    before = time.monotonic()
    service.accept_notification(incoming(1.5))
    ((notification, deadline),) = seen
    assert notification is opener.notification
    assert notification.kind is kind
    assert before < deadline <= before + 1.6, "the callback's own time, where that ends before the handler's"


@pytest.mark.parametrize("kept", [False, 0, "", "SUCCESS", {}, {"code": "FAIL"}, [True]], ids=repr)
@pytest.mark.parametrize("kind", [PAYMENT, None], ids=["payment", "other"])
def test_a_callback_that_is_not_kept_is_delivered_again(kind, kept):
    opener = Believing(kind) if kind else other(mchid="1900000001")
    service, _ = service_of(Orders("handler_notification", lambda *given: kept), opener)
    with pytest.raises(HandlerFailed):
        service.accept_notification(incoming())


@pytest.mark.parametrize("error", [RuntimeError("database away"), Refused("no"), *ENDS], ids=repr)
@pytest.mark.parametrize("kind", [PAYMENT, None], ids=["payment", "other"])
def test_one_that_could_not_be_kept_likewise(kind, error):
    opener = Believing(kind) if kind else other(mchid="1900000001")
    service, _ = service_of(Orders("handler_notification", raising(error)), opener)
    with pytest.raises(HandlerFailed):
        service.accept_notification(incoming())


@pytest.mark.parametrize(
    ("kind", "handler"),
    [
        (PAYMENT, "handler_unified_trigger"),
        (REFUND, "handler_refund_trigger"),
        (TRANSFER, "handler_transfer_trigger"),
    ],
    ids=["payment", "refund", "transfer"],
)
def test_by_default_each_kind_goes_to_its_handler_alone_and_the_others_are_acknowledged(kind, handler):
    seen: list[dict[str, Any]] = []
    orders = Orders(handler, seen.append)
    opener = Believing(kind)
    service_of(orders, opener)[0].accept_notification(incoming())
    assert seen == [opener.notification.plaintext]
    service_of(orders, other(mchid="1900000001"))[0].accept_notification(incoming())
    service_of(orders, other(coupon="no merchant is named"))[0].accept_notification(incoming())
    assert len(seen) == 1


def test_another_merchants_notification_of_any_type_is_refused_before_the_order_service_sees_it():
    service, _ = service_of(Orders("handler_notification", raising(AssertionError("seen"))), other(mchid="1900000002"))
    with pytest.raises(NotificationRefused):
        service.accept_notification(incoming())


# The order database's desk


def test_an_action_of_the_desk_is_carried_out_there_and_nowhere_without_one():
    desk = {"wxpay_reconcile": lambda params: {"asked": params}}
    service, wechat_pay = service_of(OrderService(), desk=desk)
    answer = service.at_desk("wxpay_reconcile", {"limit": 7}, CALLER)
    assert answer == {"status": 200, "data": {"asked": {"limit": 7}}}
    for nothing in (service_of(OrderService())[0], service):
        with pytest.raises(NoOrderDatabase, match=r"^MISSING_CREDENTIALS: orderDatabaseUrl"):
            nothing.at_desk("wxpay_orders_init", {}, CALLER)
    assert wechat_pay.calls == []
