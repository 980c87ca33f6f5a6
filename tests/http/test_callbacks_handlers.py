"""The merchant's own code: what it returns decides, what it raises or delays costs its own request only."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import copy
import json
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1
from flask import abort, make_response
from werkzeug.exceptions import NotFound

from app import HANDLER_THREADS
from sandbox import Credentials, Sandbox
from services.handler_pool import HandlerTimeout
from services.order_service import OrderService, Refused
from services.wechatpay.errors import NotificationRefused, SignatureInvalid
from tests.http.callback_shop import HANDLERS, KINDS, Message, RecordingOrders, Shop, Shops, encoded
from tests.http.misbehaving_orders import SLEEP
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY, Function, Reply, gunicorn, in_process


@pytest.fixture(scope="module")
def shops(credentials: Credentials) -> Iterator[Shops]:
    with Shops(credentials) as shops:
        yield shops


def failed(reply: Reply) -> bool:
    """FAIL in time: a 5xx, after which WeChat Pay delivers again."""
    assert set(reply.body) == {"code", "message"}, reply.text
    return reply.status >= 500 and reply.body["code"] == "FAIL" and reply.seconds < 5


# What a handler returns


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        True,
        {"code": "SUCCESS"},
        {"code": "SUCCESS", "message": "kept"},
        OrderedDict(code="SUCCESS"),
        MappingProxyType({"code": "SUCCESS"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_none_true_and_code_success_acknowledge(shops: Shops, kind: str, outcome: Any) -> None:
    shop = shops.get("sdk")
    shop.orders.behave = lambda params: outcome
    reply = shop.signed(kind).send(shop.function)
    shop.assert_acknowledged(reply)
    assert len(shop.orders.calls) == 1


NOT_KEPT = [
    False,
    0,
    1,
    1.0,
    "",
    "SUCCESS",
    "OK",
    b"SUCCESS",
    (),
    [],
    {},
    ["SUCCESS"],
    [("code", "SUCCESS")],
    {"code": "FAIL"},
    {"code": "success"},
    {"code": "SUCCESS "},
    {"code": 0},
    {"code": True},
    {"code": None},
    {"code": ["SUCCESS"]},
    {"Code": "SUCCESS"},
    {"data": {"code": "SUCCESS"}},
    object(),
    NotImplemented,
    ValueError("returned, not raised"),
    204,
    (True,),
    type("Kept", (), {"code": "SUCCESS"}),
]


@pytest.mark.parametrize("outcome", NOT_KEPT, ids=lambda outcome: repr(outcome).partition(" at 0x")[0][:40])
def test_whatever_else_it_returns_is_fail_and_the_redelivery_succeeds(shops: Shops, outcome: Any) -> None:
    shop = shops.get("sdk")
    message = shop.signed("order", shop.told("order"))
    shop.orders.behave = lambda params: outcome
    assert failed(message.send(shop.function))
    shop.orders.behave = lambda params: None
    shop.assert_acknowledged(message.send(shop.function))
    assert len(shop.orders.calls) == 2


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_written_as_a_coroutine_did_nothing_and_is_fail(shops: Shops) -> None:
    shop = shops.get("sdk")

    async def handler(params: dict[str, Any]) -> None:
        raise AssertionError("never awaited")

    shop.orders.behave = handler
    assert failed(shop.signed("order").send(shop.function))


class _Lying(dict[str, Any]):
    def get(self, key: str, default: Any = None) -> Any:
        raise RuntimeError("a mapping that cannot be read")


def test_a_result_that_cannot_be_read_is_fail(shops: Shops) -> None:
    shop = shops.get("sdk")
    shop.orders.behave = lambda params: _Lying(code="SUCCESS")
    assert failed(shop.signed("order").send(shop.function))


# What it raises


def raising(error: BaseException | type[BaseException]) -> Callable[[dict[str, Any]], Any]:
    def behave(params: dict[str, Any]) -> Any:
        raise error

    return behave


def aborting(params: dict[str, Any]) -> Any:
    abort(make_response('{"code":"SUCCESS"}', 200))


def endless(params: dict[str, Any]) -> Any:
    return endless(params)


RAISES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "ValueError": raising(ValueError("no such order")),
    "KeyError": raising(KeyError("out_trade_no")),
    "AssertionError": raising(AssertionError("amount")),
    "OSError": raising(ConnectionResetError("database")),
    "TimeoutError": raising(TimeoutError("database")),
    "the executor's TimeoutError": raising(concurrent.futures.TimeoutError()),
    "the executor's CancelledError": raising(concurrent.futures.CancelledError()),
    "StopIteration": raising(StopIteration("SUCCESS")),
    "MemoryError": raising(MemoryError()),
    "endless recursion": endless,
    "Refused 403": raising(Refused("not yours", 403)),
    "Refused 404": raising(Refused("no such order", 404)),
    "Refused 409": raising(Refused("paid twice", 409)),
    "an error of ours that reads forged": raising(NotificationRefused("x")),
    "an error of ours that reads unsigned": raising(SignatureInvalid("x", probe=True)),
    "an error of ours that reads late": raising(HandlerTimeout("x")),
    "Flask's NotFound": raising(NotFound()),
    "Flask's abort with a success": aborting,
    "a bare Exception": raising(Exception()),
    "asyncio's CancelledError": raising(asyncio.CancelledError()),
    "GeneratorExit": raising(GeneratorExit()),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
    "SystemExit": raising(SystemExit(0)),
}


@pytest.mark.parametrize("name", RAISES)
def test_whatever_it_raises_is_fail_and_the_redelivery_succeeds(shops: Shops, name: str) -> None:
    shop = shops.get("sdk")
    message = shop.signed("order", shop.told("order"))
    shop.orders.behave = RAISES[name]
    assert failed(message.send(shop.function))
    shop.orders.behave = lambda params: None
    shop.assert_acknowledged(message.send(shop.function))
    assert len(shop.orders.calls) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", ["signature", "resource", "query", "platform"])
def test_fail_is_fail_in_every_step_of_evidence(shops: Shops, evidence: str, kind: str) -> None:
    shop = shops.get("gateway", callbackTrust="platform" if evidence == "platform" else "verify")
    truth = shop.told(kind)
    message = {
        "signature": lambda: shop.signed(kind, truth),
        "resource": lambda: shop.forwarded(kind, truth),
        "query": lambda: shop.hint(kind, truth),
        "platform": lambda: shop.hint(kind, truth),
    }[evidence]()
    shop.orders.behave = raising(LookupError("no such order"))
    assert failed(message.send(shop.function))
    assert [handler for handler, _ in shop.orders.calls] == [HANDLERS[kind]]


def test_the_trace_of_a_failing_handler_is_logged_and_not_answered(
    shops: Shops, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("sdk")
    capsys.readouterr()
    shop.orders.behave = raising(LookupError("the reason of the merchant"))
    reply = shop.signed("order").send(shop.function)
    assert failed(reply)
    assert "reason" not in reply.text
    errors = [line for line in logged(capsys) if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert "LookupError: the reason of the merchant" in errors[0]["error"]


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


# How long it takes


def test_past_its_time_a_handler_is_failed_its_late_result_dropped_and_logged(
    shops: Shops, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("sdk", handlerTimeout="0.3")
    capsys.readouterr()
    message = shop.signed("order", shop.told("order"))
    leave = threading.Event()

    def late(params: dict[str, Any]) -> bool:
        leave.wait(5)
        return True

    shop.orders.behave = late
    reply = message.send(shop.function)
    assert failed(reply)
    assert 0.3 <= reply.seconds < 2
    again = message.send(shop.function)
    assert (again.status, again.body["code"]) == (503, "FAIL"), "it is still running"
    assert len(shop.orders.calls) == 1
    assert not [line for line in logged(capsys) if "came back" in line["message"]]
    leave.set()
    said: list[dict[str, Any]] = []
    give_up = time.monotonic() + 5
    while not said and time.monotonic() < give_up:
        time.sleep(0.02)
        said = [line for line in logged(capsys) if line.get("outcome") == "returned"]
    assert [line["level"] for line in said] == ["ERROR"]
    shop.orders.behave = lambda params: None
    shop.assert_acknowledged(message.send(shop.function))
    assert len(shop.orders.calls) == 2


def test_a_late_exception_is_logged_too(shops: Shops, capsys: pytest.CaptureFixture[str]) -> None:
    shop = shops.get("sdk", handlerTimeout="0.3")
    capsys.readouterr()

    def late(params: dict[str, Any]) -> None:
        time.sleep(0.6)
        raise LookupError("too late")

    shop.orders.behave = late
    assert failed(shop.signed("order", shop.told("order")).send(shop.function))
    time.sleep(0.6)
    assert [line["outcome"] for line in logged(capsys) if "outcome" in line] == ["LookupError"]


def test_a_slow_handler_does_not_hold_up_other_callbacks(shops: Shops) -> None:
    shop = shops.get("sdk")
    slow, quick = shop.told("order"), shop.told("order")
    leave, entered = threading.Event(), threading.Event()

    def behave(params: dict[str, Any]) -> None:
        if params["out_trade_no"] == slow["out_trade_no"]:
            entered.set()
            leave.wait(5)

    shop.orders.behave = behave
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shop.signed("order", slow).send, Function(shop.function.url))
        assert entered.wait(5)
        reply = shop.signed("order", quick).send(shop.function)
        shop.assert_acknowledged(reply)
        assert reply.seconds < 1
        leave.set()
        shop.assert_acknowledged(waiting.result())


def test_with_every_handler_thread_busy_a_callback_comes_again(shops: Shops) -> None:
    shop = shops.get("sdk")
    leave = threading.Event()
    entered = threading.Semaphore(0)

    def work(params: dict[str, Any]) -> None:
        entered.release()
        leave.wait(10)

    shop.orders.behave = work
    messages = [shop.signed("order", shop.told("order")) for _ in range(HANDLER_THREADS)]
    one_more = shop.signed("order", shop.told("order"))
    with ThreadPoolExecutor(HANDLER_THREADS) as pool:
        waiting = [pool.submit(message.send, Function(shop.function.url)) for message in messages]
        for _ in messages:
            assert entered.acquire(timeout=3)
        refused = one_more.send(shop.function)
        assert (refused.status, refused.body["code"]) == (503, "FAIL")
        assert refused.seconds < 1
        assert len(shop.orders.calls) == HANDLER_THREADS
        leave.set()
        assert {reply.result().status for reply in waiting} == {200}
    shop.assert_acknowledged(one_more.send(shop.function))


def test_the_budget_runs_from_the_requests_start_not_from_the_end_of_its_body(shops: Shops) -> None:
    shop = shops.get("sdk", callbackTimeout="1.5", handlerTimeout="1.4")
    shop.orders.behave = lambda params: time.sleep(1.2)
    message = shop.signed("order", shop.told("order"))
    body = encoded(message.body)
    started = time.monotonic()
    answer = sent_slowly(shop.function.url, body, dict(message.headers(body)), pause=1.0)
    seconds = time.monotonic() - started
    assert " 500 " in answer.splitlines()[0] or " 503 " in answer.splitlines()[0], answer
    assert '"FAIL"' in answer
    assert seconds < 2.1, "the handler alone would have come back after 2.2 s"


def test_the_time_spent_asking_is_taken_from_the_handlers(shops: Shops) -> None:
    shop = shops.get("gateway", callbackTimeout="1.8", handlerTimeout="1.6")
    truth = shop.told("order")
    shop.box.fault("latency", times=1, seconds=0.7)
    shop.orders.behave = lambda params: time.sleep(1.4)
    reply = shop.hint("order", truth).send(shop.function)
    assert failed(reply)
    assert len(shop.orders.calls) == 1
    assert reply.seconds < 2.1


def sent_slowly(url: str, body: bytes, headers: dict[str, str], pause: float) -> str:
    """POST with a pause in the middle of the body; the whole answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        lines = [
            "POST /wx-pay/unifiedOrderTrigger HTTP/1.1",
            f"Host: {host}",
            "Connection: close",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:100])
        time.sleep(pause)
        connection.sendall(body[100:])
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received.decode()


# Under gunicorn with the times as shipped


def paid(shop: Shop, word: str, index: int) -> dict[str, Any]:
    """The plaintext of a payment whose number asks the order service to misbehave."""
    number = f"{word}{index:05d}"
    body = {
        "appid": shop.credentials.app_id,
        "mchid": shop.credentials.merchant_id,
        "out_trade_no": number,
        "description": "tea",
        "amount": {"total": 20, "currency": "CNY"},
        "payer": {"openid": OPENID},
        "notify_url": "https://shop.example/wechatpay/order",
    }
    shop.box.ledger.place("jsapi", body)
    shop.box.pay(number, deliver=False)
    return shop.box.plaintext("order", number)


@pytest.fixture(scope="module")
def served(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The function under gunicorn with an order service that misbehaves on request."""
    log = tmp_path_factory.mktemp("served") / "log"
    with (
        Sandbox(credentials=credentials) as box,
        gunicorn(
            box.env(orderService="tests.http.misbehaving_orders:Misbehaving", operatorKey=OPERATOR_KEY), log
        ) as function,
    ):
        yield Shop(box, function, RecordingOrders())


def at_once(shop: Shop, messages: list[Message]) -> list[Reply]:
    with ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(lambda message: message.send(Function(shop.function.url)), messages))


def test_a_misbehaving_handler_gets_fail_in_under_five_seconds_and_the_redelivery_succeeds(
    served: Shop,
) -> None:
    words = ("RAISE", "FALSE", "FAIL", "TEXT", "SLEEP")
    messages = [
        make(paid(served, word, index))
        for word in words
        for index, make in enumerate(
            (lambda truth: served.signed("order", truth), lambda truth: served.forwarded("order", truth))
        )
    ]
    started = time.monotonic()
    for message, reply in zip(messages, at_once(served, messages), strict=True):
        assert failed(reply), (message.body, reply)
    time.sleep(max(0.0, started + SLEEP + 0.5 - time.monotonic()))  # the sleepers are still running till then
    for message, reply in zip(messages, at_once(served, messages), strict=True):
        served.assert_acknowledged(reply, str(message.body))
    lines = served.function.log_lines()
    assert [line["outcome"] for line in lines if "outcome" in line] == ["returned"] * 2


def test_the_same_while_wechat_pays_query_takes_three_seconds(served: Shop) -> None:
    words = ("RAISE", "FALSE", "FAIL", "SLEEP")  # as many as may be asked about at a time
    hints = [served.hint("order", paid(served, word, 100)) for word in words]
    served.box.fault("latency", seconds=3)
    for reply in at_once(served, hints):
        assert failed(reply)
        assert reply.seconds > 2, "WeChat Pay was waited for"
    served.box.clear_faults()
    # The first host still takes three seconds, the backup answers: now the handlers are reached.
    served.box.fault("latency", host="main", seconds=3)
    again = at_once(served, hints)
    assert all(failed(reply) for reply in again)
    assert max(reply.seconds for reply in again) > 3.5, "the sleeper used up the budget"
    served.box.clear_faults()
    time.sleep(SLEEP - 1.5)  # until the sleeper is back; longer than a number's pause
    for hint, reply in zip(hints, at_once(served, hints), strict=True):
        served.assert_acknowledged(reply, str(hint.body))


@pytest.mark.parametrize(("index", "word"), [(0, "EXIT"), (1, "CANCELLED"), (2, "INTERRUPT")])
def test_a_handler_that_would_end_the_process_costs_its_own_callback_only(
    served: Shop, index: int, word: str
) -> None:
    before = starts(served)
    message = served.signed("order", paid(served, word, index))
    slow = served.signed("order", paid(served, "BESIDE", index))
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(slow.send, Function(served.function.url))
        time.sleep(0.3)
        assert failed(message.send(Function(served.function.url)))
        served.assert_acknowledged(message.send(Function(served.function.url)))
        served.assert_acknowledged(beside.result(), "not cut off")
    assert starts(served) == before, "the worker was replaced"


def starts(served: Shop) -> list[str]:
    """When each worker so far loaded the application."""
    return [line["time"] for line in served.function.log_lines() if "starts: signMode" in line["message"]]


ORDERS = ("wxpay_order", "wxpay_order_native", "wxpay_order_app")
TRANSFER_FIELDS = {
    "transfer_scene_id": "1000",
    "transfer_amount": 30,
    "transfer_remark": "bonus",
    "openid": OPENID,
    "transfer_scene_report_infos": [
        {"info_type": "活动名称", "info_content": "a"},
        {"info_type": "奖励说明", "info_content": "b"},
    ],
}
# Action, the method that ends it, the answer's status, and how many requests reach WeChat Pay.
ENDED = [
    *((action, "authorize", 503, 0) for action in (*ORDERS, "wxpay_refund", "wxpay_transfer", "wxpay_close_order")),
    ("wxpay_query_order_by_out_trade_no", "authorize", 503, 0),
    *((action, "before_unified", 503, 0) for action in ORDERS),
    ("wxpay_refund", "before_refund", 503, 0),
    ("wxpay_transfer", "before_transfer", 503, 0),
    *((action, "handler_unified", 503, 1) for action in ORDERS),
    ("wxpay_refund", "handler_refund", 500, 1),
    ("wxpay_transfer", "handler_transfer", 500, 1),
    ("wxpay_close_order", "handler_close", 503, 1),
    ("wxpay_query_order_by_out_trade_no", "handler_query", 503, 1),
]


@pytest.mark.parametrize("word", ["EXIT", "CANCELLED", "INTERRUPT", "GENERATOR"])
@pytest.mark.parametrize(("action", "method", "status", "sent"), ENDED)
def test_a_method_that_would_end_the_process_costs_its_own_request_only(
    served: Shop, action: str, method: str, status: int, sent: int, word: str
) -> None:
    served.box.reset()
    mark = method.replace("_", "").upper()
    number = f"{mark}{word}" if action == "wxpay_transfer" else f"{mark}_{word}"
    body: dict[str, Any] = {"out_trade_no": number}
    if action in ORDERS:
        body |= {"description": "tea", "amount": {"total": 20}}
    elif action == "wxpay_refund":
        body = {"out_trade_no": served.order(), "out_refund_no": number, "amount": {"refund": 5, "total": 20}}
    elif action == "wxpay_transfer":
        body = {"out_bill_no": number, **TRANSFER_FIELDS}
    else:
        placed = {"description": "tea", "amount": {"total": 20, "currency": "CNY"}, "payer": {"openid": OPENID}}
        ours = {"appid": served.credentials.app_id, "mchid": served.credentials.merchant_id}
        served.box.ledger.place("jsapi", {**ours, **placed, **body, "notify_url": "https://shop.example/x"})
    reply = Function(served.function.url).call(action, body, OPERATOR)
    assert reply.status == status, reply.text
    assert set(reply.body) == {"code", "msg", "data"}
    assert reply.body["code"] == -1
    assert len(served.box.requests) == sent
    if status == 500:
        assert reply.body["msg"] == "accepted by WeChat Pay, not recorded here: query, never a new number"
        told = reply.body["data"]["data"]
        assert told | json.loads(served.box.requests[0].answer) == told
        assert reply.body["data"]["status"] == 200
    elif sent:
        assert "again" in reply.body["msg"]
        assert reply.body["data"] is None
    else:
        assert "nothing was sent" in reply.body["msg"]
        assert reply.body["data"] is None
    assert Function(served.function.url).request("GET", "/healthz").status == 200
    assert len(starts(served)) == 1, "the worker was replaced"


@pytest.mark.parametrize(("index", "word"), [(10, "EXIT"), (11, "CANCELLED"), (12, "INTERRUPT"), (13, "GENERATOR")])
def test_an_accepted_refund_whose_handler_would_end_the_process_cuts_nobody_off(
    served: Shop, index: int, word: str
) -> None:
    slow = served.signed("order", paid(served, "BESIDE", index))
    body = {
        "out_trade_no": served.order(),
        "out_refund_no": f"HANDLERREFUND_{word}{index}",
        "amount": {"refund": 5, "total": 20},
    }
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(slow.send, Function(served.function.url))
        time.sleep(0.3)
        assert served.function.call("wxpay_refund", body, OPERATOR).status == 500
        assert not beside.done()
        served.assert_acknowledged(beside.result(), "not cut off")
    assert served.box.ledger.refunds[body["out_refund_no"]] is not None
    assert len(starts(served)) == 1, "the worker was replaced"


# Around a merchant's own calls


class Hooked(OrderService):
    """Every method does what `hooks` says under its name; all calls are kept."""

    def __init__(self) -> None:
        self.hooks: dict[str, Callable[..., Any]] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def _hook(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, copy.deepcopy(arguments)))
        return self.hooks.get(name, lambda *_: None)(*arguments)

    def before_unified(self, params: Any, caller: Any) -> Any:
        return self._hook("before_unified", params, caller)

    def before_refund(self, params: Any, caller: Any) -> Any:
        return self._hook("before_refund", params, caller)

    def before_transfer(self, params: Any, caller: Any) -> Any:
        return self._hook("before_transfer", params, caller)

    def handler_unified(self, params: Any) -> Any:
        return self._hook("handler_unified", params)

    def handler_refund(self, params: Any) -> Any:
        return self._hook("handler_refund", params)

    def handler_transfer(self, params: Any, result: Any) -> Any:
        return self._hook("handler_transfer", params, result)

    def handler_query(self, action: Any, params: Any, result: Any) -> Any:
        return self._hook("handler_query", action, params, result)

    def handler_close(self, params: Any) -> Any:
        return self._hook("handler_close", params)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


OPERATOR = {**MINI_PROGRAM, "X-Operator-Key": OPERATOR_KEY}


class Counter:
    """The merchant's own function and order service beside WeChat Pay."""

    def __init__(self, shop: Shop, orders: Hooked) -> None:
        self.shop, self.box, self.function, self.orders = shop, shop.box, shop.function, orders

    def do(self, action: str, **changes: Any) -> Reply:
        """One action with a body that WeChat Pay accepts."""
        bodies: dict[str, Callable[[], dict[str, Any]]] = {
            "wxpay_order": lambda: {
                "description": "tea",
                "out_trade_no": "ORDER_ONE",
                "amount": {"total": 20},
            },
            "wxpay_order_native": lambda: {
                "description": "tea",
                "out_trade_no": "ORDER_TWO",
                "amount": {"total": 20},
            },
            "wxpay_order_app": lambda: {
                "description": "tea",
                "out_trade_no": "ORDER_TRE",
                "amount": {"total": 20},
            },
            "wxpay_order_h5": lambda: {
                "description": "tea",
                "out_trade_no": "ORDER_FOR",
                "amount": {"total": 20},
                "scene_info": {"payer_client_ip": "1.2.3.4", "h5_info": {"type": "Wap"}},
            },
            "wxpay_refund": lambda: {
                "out_trade_no": self.shop.order(),
                "out_refund_no": "REFUND_ONE",
                "amount": {"refund": 5, "total": 20},
            },
            "wxpay_transfer": lambda: {
                "out_bill_no": "BILLONE",
                "transfer_scene_id": "1000",
                "transfer_amount": 30,
                "transfer_remark": "bonus",
                "openid": OPENID,
                "transfer_scene_report_infos": [
                    {"info_type": "活动名称", "info_content": "a"},
                    {"info_type": "奖励说明", "info_content": "b"},
                ],
            },
            "wxpay_close_order": lambda: {"out_trade_no": self.shop.order(paid=False)},
            "wxpay_query_order_by_out_trade_no": lambda: {"out_trade_no": self.shop.order()},
            "wxpay_refund_query": lambda: {"out_refund_no": self.shop.refund()},
            "wxpay_transfer_bill_query": lambda: {"out_bill_no": self.shop.transfer()},
        }
        return self.function.call(action, bodies[action]() | changes, OPERATOR)

    def sent(self) -> list[dict[str, Any]]:
        """The bodies of what was sent to WeChat Pay."""
        assert all(request.verified for request in self.box.requests)
        return [json.loads(request.body) if request.body else {} for request in self.box.requests]


@pytest.fixture(scope="module")
def open_counter(credentials: Credentials) -> Iterator[Counter]:
    orders = Hooked()
    with (
        Sandbox(credentials=credentials) as box,
        in_process(box.env(operatorKey=OPERATOR_KEY), orders) as function,
    ):
        yield Counter(Shop(box, function, RecordingOrders()), orders)


@pytest.fixture
def counter(open_counter: Counter) -> Counter:
    open_counter.box.reset()
    open_counter.orders.hooks.clear()
    open_counter.orders.calls.clear()
    return open_counter


BEFORE = [
    *(
        (action, "before_unified")
        for action in ("wxpay_order", "wxpay_order_native", "wxpay_order_h5", "wxpay_order_app")
    ),
    ("wxpay_refund", "before_refund"),
    ("wxpay_transfer", "before_transfer"),
]
AMOUNTS = {
    "before_unified": ("amount", {"total": 77, "currency": "CNY"}),
    "before_refund": ("amount", {"refund": 3, "total": 20, "currency": "CNY"}),
    "before_transfer": ("transfer_amount", 55),
}


@pytest.mark.parametrize(("action", "hook"), BEFORE)
def test_before_sets_the_amount_that_is_sent_and_recorded(counter: Counter, action: str, hook: str) -> None:
    name, amount = AMOUNTS[hook]
    counter.orders.hooks[hook] = lambda params, caller: params | {name: amount}
    assert counter.do(action).body["code"] == 0
    (sent,) = counter.sent()
    assert sent[name] == amount
    (recorded,) = counter.orders.named(hook.replace("before", "handler"))
    assert recorded[0][name] == amount


@pytest.mark.parametrize(("action", "hook"), BEFORE)
def test_before_that_returns_none_changes_nothing_whatever_it_does_to_its_argument(
    counter: Counter, action: str, hook: str
) -> None:
    counter.do(action)
    (unchanged,) = counter.sent()
    numbers = {"out_trade_no", "out_refund_no", "out_bill_no"}
    counter.box.reset()

    def spoil(params: dict[str, Any], caller: Any) -> None:
        for value in params.values():
            if isinstance(value, dict):
                value.clear()
        params.clear()
        params["amount"] = {"total": 1}

    counter.orders.hooks[hook] = spoil
    assert counter.do(action).body["code"] == 0
    (sent,) = counter.sent()
    assert {name: value for name, value in sent.items() if name not in numbers} == {
        name: value for name, value in unchanged.items() if name not in numbers
    }


@pytest.mark.parametrize(("action", "hook"), BEFORE)
@pytest.mark.parametrize("status", [403, 404, 409])
def test_before_refuses_and_nothing_is_sent(counter: Counter, action: str, hook: str, status: int) -> None:
    def refuse(params: Any, caller: Any) -> None:
        raise Refused("sold out since yesterday", status)

    counter.orders.hooks[hook] = refuse
    reply = counter.do(action)
    assert reply.status == status
    assert reply.body == {"code": -1, "msg": "sold out since yesterday", "data": None}
    assert counter.box.requests == []
    assert [name for name, _ in counter.orders.calls] == [hook]


def faulty(*_: Any) -> Any:
    raise LookupError("secret table of the merchant")


NUMBERS = ("out_trade_no", "out_refund_no", "out_bill_no")
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
ODD_RETURNS: dict[str, Callable[..., Any]] = {
    "an exception": faulty,
    "False": lambda *_: False,
    "True": lambda *_: True,
    "a list": lambda *_: [],
    "a text": lambda *_: "SUCCESS",
    "an empty dict": lambda *_: {},
    "a mapping that is no dict": lambda params, caller: MappingProxyType(params),
    "its fields as pairs": lambda params, caller: list(params.items()),
    "everything but the number": lambda params, caller: {
        name: value for name, value in params.items() if name not in NUMBERS
    },
    **{
        f"a number that is {value!r}": lambda params, caller, value=value: (
            params | {name: value for name in NUMBERS if name in params}
        )
        for value in (None, 7, 7.5, True, ["ORDER_ONE"], b"ORDER_ONE")
    },
    **{
        f"a field that is {name}": lambda params, caller, value=value: params | {"attach": value}
        for name, value in {
            "a Decimal": Decimal("20"),
            "NaN": float("nan"),
            "Infinity": float("inf"),
            "bytes": b"20",
            "a set": {1},
            "a date": datetime(2026, 11, 21, tzinfo=timezone.utc),
            "an object": object(),
            "half a surrogate pair": "\ud83c",
            "a circle": CIRCLE,
            "a dict with a tuple for a key": {(1, 2): 3},
        }.items()
    },
    "a name that is half a surrogate pair": lambda params, caller: params | {"\ud83c": 1},
}


@pytest.mark.parametrize(("action", "hook"), BEFORE)
@pytest.mark.parametrize("name", ODD_RETURNS)
def test_before_that_fails_is_503_and_nothing_is_sent(
    counter: Counter, action: str, hook: str, name: str
) -> None:
    counter.orders.hooks[hook] = ODD_RETURNS[name]
    reply = counter.do(action)
    assert reply.status == 503
    assert reply.body["code"] == -1
    assert "nothing was sent" in reply.body["msg"]
    assert "secret" not in reply.text
    assert counter.box.requests == []


UNSENDABLE = {"a Decimal": Decimal("20"), "NaN": float("nan"), "bytes": b"20", "an object": object()}


@pytest.mark.parametrize("name", UNSENDABLE)
def test_an_amount_that_json_does_not_know_is_not_sent(counter: Counter, name: str) -> None:
    counter.orders.hooks["before_unified"] = lambda params, caller: (
        params | {"amount": {"total": UNSENDABLE[name]}}
    )
    reply = counter.do("wxpay_order")
    assert (reply.status, reply.body["code"]) == (503, -1)
    assert "nothing was sent" in reply.body["msg"]
    assert counter.box.requests == []


@pytest.mark.parametrize(("action", "hook"), BEFORE)
def test_another_number_and_another_kind_of_dict_are_the_merchants_business(
    counter: Counter, action: str, hook: str
) -> None:
    name = {"before_unified": "out_trade_no", "before_refund": "out_refund_no"}.get(hook, "out_bill_no")
    counter.orders.hooks[hook] = lambda params, caller: OrderedDict(params | {name: "OTHERNUMBER1"})
    assert counter.do(action).body["code"] == 0
    (sent,) = counter.sent()
    assert sent[name] == "OTHERNUMBER1"


TOO_LONG = {
    "72 Chinese characters": "张" * 72,
    "215 letters": "a" * 215,
    "a megabyte": "a" * 1_000_000,
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_name_of_a_hook_that_no_key_can_encrypt_is_not_sent(counter: Counter, name: str) -> None:
    counter.orders.hooks["before_transfer"] = lambda params, caller: params | {"user_name": TOO_LONG[name]}
    reply = counter.do("wxpay_transfer")
    assert (reply.status, reply.body["code"]) == (503, -1)
    assert "nothing was sent" in reply.body["msg"]
    assert TOO_LONG[name][:20] not in reply.text
    assert counter.box.requests == []
    assert counter.orders.named("handler_transfer") == []


@pytest.mark.parametrize("value", [None, 7, ["张三丰"], {"name": "张三丰"}, True], ids=repr)
def test_a_name_of_a_hook_that_is_no_text_is_not_sent(counter: Counter, value: Any) -> None:
    counter.orders.hooks["before_transfer"] = lambda params, caller: params | {"user_name": value}
    reply = counter.do("wxpay_transfer")
    assert (reply.status, reply.body["code"]) == (503, -1), reply.text
    assert "nothing was sent" in reply.body["msg"]
    assert counter.box.requests == []


@pytest.mark.parametrize("name", ["张" * 71 + "a", "b" * 214])
def test_a_name_of_a_hook_of_214_bytes_is_encrypted_and_sent(counter: Counter, name: str) -> None:
    counter.orders.hooks["before_transfer"] = lambda params, caller: params | {"user_name": name}
    assert counter.do("wxpay_transfer").body["code"] == 0
    (sent,) = counter.sent()
    padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - the protocol's
    key = counter.shop.credentials.public_key
    assert key.decrypt(base64.b64decode(sent["user_name"]), padding).decode() == name


@pytest.mark.parametrize(("action", "hook"), BEFORE[:4])
def test_before_cannot_divert_merchant_or_notifications(counter: Counter, action: str, hook: str) -> None:
    counter.orders.hooks[hook] = lambda params, caller: (
        params | {"mchid": "1900000001", "notify_url": "https://evil.example/"}
    )
    assert counter.do(action).body["code"] == 0
    (sent,) = counter.sent()
    assert sent["mchid"] == counter.shop.credentials.merchant_id
    assert sent["notify_url"] == counter.box.env()["notifyURLPayURL"]


def refusing(*_: Any) -> Any:
    raise Refused("too late", 409)


FAILURES: dict[str, Callable[..., Any]] = {
    "an exception": faulty,
    "a refusal": refusing,
    "False": lambda *_: False,
    "a list": lambda *_: [],
    "a text": lambda *_: "SUCCESS",
    "FAIL": lambda *_: {"code": "FAIL"},
}


@pytest.mark.parametrize("action", ["wxpay_order", "wxpay_order_native", "wxpay_order_h5", "wxpay_order_app"])
@pytest.mark.parametrize("name", FAILURES)
def test_an_order_that_was_not_recorded_is_to_be_sent_again(counter: Counter, action: str, name: str) -> None:
    counter.orders.hooks["handler_unified"] = FAILURES[name]
    reply = counter.do(action)
    assert (reply.status, reply.body["code"]) == (503, -1)
    assert "send the same order again" in reply.body["msg"]
    assert "secret" not in reply.text
    assert len(counter.box.requests) == 1
    counter.orders.hooks.clear()
    again = counter.do(action)
    assert (again.status, again.body["code"]) == (200, 0)
    first, second = counter.sent()
    assert first == second


@pytest.mark.parametrize(
    ("action", "hook"), [("wxpay_refund", "handler_refund"), ("wxpay_transfer", "handler_transfer")]
)
@pytest.mark.parametrize("name", FAILURES)
def test_accepted_money_that_was_not_recorded_is_said_so_exactly(
    counter: Counter, action: str, hook: str, name: str
) -> None:
    counter.orders.hooks[hook] = FAILURES[name]
    reply = counter.do(action)
    assert (reply.status, reply.body["code"]) == (500, -1)
    assert reply.body["msg"] == "accepted by WeChat Pay, not recorded here: query, never a new number"
    answer = json.loads(counter.box.requests[-1].answer)
    added = (
        {}
        if action == "wxpay_refund"
        else {"mchId": counter.shop.credentials.merchant_id, "appId": counter.shop.credentials.app_id}
    )
    assert reply.body["data"] == {"status": 200, "data": answer | added}
    assert len(counter.box.requests) == 1


def test_a_close_that_was_not_recorded_is_to_be_sent_again(counter: Counter) -> None:
    counter.orders.hooks["handler_close"] = faulty
    reply = counter.do("wxpay_close_order")
    assert (reply.status, reply.body["code"]) == (503, -1)
    assert "again" in reply.body["msg"]
    assert len(counter.box.requests) == 1


QUERIES = ("wxpay_query_order_by_out_trade_no", "wxpay_refund_query", "wxpay_transfer_bill_query")


@pytest.mark.parametrize("action", QUERIES)
def test_what_a_query_showed_reaches_the_order_service(counter: Counter, action: str) -> None:
    reply = counter.do(action)
    assert reply.status == 200
    ((called, params, result),) = counter.orders.named("handler_query")
    assert called == action
    assert len(params) == 1
    assert result == json.loads(counter.box.requests[-1].answer) == reply.body["data"]["data"]


@pytest.mark.parametrize("action", QUERIES)
@pytest.mark.parametrize("name", ["an exception", "False", "a list", "FAIL"])
def test_a_query_that_was_not_recorded_fails(counter: Counter, action: str, name: str) -> None:
    counter.orders.hooks["handler_query"] = FAILURES[name]
    reply = counter.do(action)
    assert (reply.status, reply.body["code"]) == (503, -1)


@pytest.mark.parametrize("action", QUERIES)
@pytest.mark.parametrize("status", [403, 404, 409])
def test_handler_query_may_hide_what_it_showed(counter: Counter, action: str, status: int) -> None:
    def hide(*_: Any) -> None:
        raise Refused("no such order", status)

    counter.orders.hooks["handler_query"] = hide
    reply = counter.do(action)
    assert reply.status == status
    assert reply.body == {"code": -1, "msg": "no such order", "data": None}


def test_before_sees_validated_fields_the_appid_and_the_caller(counter: Counter) -> None:
    counter.do("wxpay_order", unknown_field=1)
    ((params, caller),) = counter.orders.named("before_unified")
    assert params == {
        "appid": counter.shop.credentials.app_id,
        "description": "tea",
        "out_trade_no": "ORDER_ONE",
        "amount": {"total": 20, "currency": "CNY"},
        "payer": {"openid": OPENID},
    }
    assert caller.openid == OPENID


def test_before_transfer_sees_the_name_in_clear_and_wechat_pay_does_not(counter: Counter) -> None:
    counter.do("wxpay_transfer", user_name="张三丰", transfer_amount=50)
    ((params, _),) = counter.orders.named("before_transfer")
    assert params["user_name"] == "张三丰"
    (sent,) = counter.sent()
    assert sent["user_name"] != "张三丰"
    assert len(sent["user_name"]) == 344


def cancelled(*_: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("action", "hook", "status"),
    [
        *((action, hook, 503) for action, hook in BEFORE),
        ("wxpay_order", "handler_unified", 503),
        ("wxpay_refund", "handler_refund", 500),
        ("wxpay_transfer", "handler_transfer", 500),
        ("wxpay_close_order", "handler_close", 503),
        (QUERIES[0], "handler_query", 503),
    ],
)
def test_a_cancelled_hook_fails_like_any_other(counter: Counter, action: str, hook: str, status: int) -> None:
    """asyncio.CancelledError is no Exception: uncaught it ends the server's worker."""
    counter.orders.hooks[hook] = cancelled
    reply = counter.do(action)
    assert (reply.status, reply.body["code"]) == (status, -1)
    assert len(counter.box.requests) == (0 if hook.startswith("before") else 1)


@pytest.mark.parametrize("hook", ["handler_unified", "handler_refund", "handler_transfer"])
def test_after_a_refusal_by_wechat_pay_nothing_is_recorded(counter: Counter, hook: str) -> None:
    action = {
        "handler_unified": "wxpay_order",
        "handler_refund": "wxpay_refund",
        "handler_transfer": "wxpay_transfer",
    }
    counter.box.fault("unsigned_403")
    assert counter.do(action[hook]).status == 403
    counter.box.clear_faults()
    counter.box.fault("system_error")
    assert counter.do(action[hook]).status == 502
    assert counter.orders.named(hook) == []


def test_handler_timeout_binds_callbacks_only(credentials: Credentials) -> None:
    orders = Hooked()
    with (
        Sandbox(credentials=credentials) as box,
        in_process(box.env(handlerTimeout="0.5"), orders) as function,
    ):
        orders.hooks["handler_unified"] = lambda *_: time.sleep(0.8)
        counter = Counter(Shop(box, function, RecordingOrders()), orders)
        assert counter.do("wxpay_order").status == 200


def test_a_fresh_shop_keeps_nothing_but_logs_that(
    credentials: Credentials, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox(sign_mode="sdk", credentials=credentials) as box, in_process(box.env()) as function:
        plain = Shop(box, function, RecordingOrders())
        truth = plain.told("order")
        capsys.readouterr()
        plain.assert_acknowledged(plain.signed("order", truth).send(function))
        lines = logged(capsys)
    messages = {line["message"]: line["level"] for line in lines}
    assert messages[f"handlerUnifiedTrigger - payment result: {truth['out_trade_no']} SUCCESS"] == "INFO"
    assert [level for text, level in messages.items() if "nothing was kept" in text] == ["WARNING"]
