"""A shop whose callbacks are forged, damaged and genuine: its sandbox, its function, its order service."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sandbox import Credentials, Sandbox
from sandbox.server import Answer, Listener, Request
from services.order_service import OrderService
from tests.support import Function, Reply, in_process

KINDS = ("order", "refund", "transfer")
TRIGGERS = {"order": "unifiedOrderTrigger", "refund": "refundTrigger", "transfer": "transferTrigger"}
HANDLERS = {
    "order": "handler_unified_trigger",
    "refund": "handler_refund_trigger",
    "transfer": "handler_transfer_trigger",
}
EVENTS = {"order": "TRANSACTION.SUCCESS", "refund": "REFUND.SUCCESS", "transfer": "MCHTRANSFER.BILL.FINISHED"}
ORIGINAL_TYPES = {"order": "transaction", "refund": "refund", "transfer": "mch_payment"}
OPENID = "oPAYER00000000000000000000001"
_serials = itertools.count(1)


class RecordingOrders(OrderService):
    """Keeps what its callback handlers are handed, then does what `behave` says."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.behave: Callable[[dict[str, Any]], Any] = lambda params: None

    def handler_unified_trigger(self, params: dict[str, Any]) -> Any:
        return self._handle("handler_unified_trigger", params)

    def handler_refund_trigger(self, params: dict[str, Any]) -> Any:
        return self._handle("handler_refund_trigger", params)

    def handler_transfer_trigger(self, params: dict[str, Any]) -> Any:
        return self._handle("handler_transfer_trigger", params)

    def _handle(self, handler: str, params: dict[str, Any]) -> Any:
        self.calls.append((handler, params))
        return self.behave(params)


@dataclass
class Message:
    """A callback on its way. `headers` are made for the bytes that `body` becomes, `tamper` alters them after.

    A body of bytes, or one that `tamper` leaves no JSON object, names no action and no event: it can come in
    by a path only.
    """

    kind: str
    body: Any
    headers: Callable[[bytes], Mapping[str, str]] = lambda raw: {}
    tamper: Callable[[bytes], bytes] = lambda raw: raw
    by_path_only: bool = False

    def ways(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Name, path and additional body fields of every way in that leads this one to its handler."""
        trigger = TRIGGERS[self.kind]
        yield "path", f"/wx-pay/{trigger}", {}
        yield "the platform's path", f"/release/wechatpay/{self.kind}/", {}
        if self.by_path_only or not isinstance(self.body, dict):
            return
        yield "_action", "/", {"_action": trigger}
        yield "path in the body", "/", {"path": f"/wx-pay/{trigger}", "method": "POST"}
        yield "public route", f"/{trigger}", {}
        if _has_event(self.body):
            yield "event", "/", {}

    def send(self, function: Function, path: str = "", fields: Mapping[str, Any] | None = None) -> Reply:
        content = self.body if isinstance(self.body, bytes) else encoded({**self.body, **(fields or {})})
        headers = {"Content-Type": "application/json", **self.headers(content)}
        path = path or f"/wx-pay/{TRIGGERS[self.kind]}"
        return function.request("POST", path, data=self.tamper(content), headers=headers)


@dataclass
class Shop:
    """`box` is WeChat Pay, `function` the function in this process, `orders` its order service."""

    box: Sandbox
    function: Function
    orders: RecordingOrders

    @property
    def credentials(self) -> Credentials:
        return self.box.credentials

    def new(self) -> None:
        """Forget everything but keys and ports."""
        self.box.reset()
        self.orders.calls.clear()
        self.orders.behave = lambda params: None

    def queries(self) -> list[str]:
        """What WeChat Pay was asked about orders, refunds and transfers."""
        return [request.target for request in self.box.requests if "/certificates" not in request.target]

    # What happened at WeChat Pay; each time under a new number

    def order(self, *, total: int = 20, paid: bool = True) -> str:
        number = f"ORDER{next(_serials):08d}"
        body = {
            "appid": self.credentials.app_id,
            "mchid": self.credentials.merchant_id,
            "description": "tea",
            "out_trade_no": number,
            "attach": "table 7",
            "notify_url": "https://shop.example/wechatpay/order",
            "amount": {"total": total, "currency": "CNY"},
            "payer": {"openid": OPENID},
        }
        self.box.ledger.place("jsapi", body)
        if paid:
            self.box.pay(number, deliver=False)
        return number

    def refund(self, state: str = "SUCCESS") -> str:
        number = f"REFUND{next(_serials):08d}"
        amount = {"refund": 15, "total": 20, "currency": "CNY"}
        body = {"out_trade_no": self.order(), "out_refund_no": number, "amount": amount}
        self.box.ledger.refund(body)
        if state != "PROCESSING":
            self.box.settle_refund(number, state, deliver=False)
        return number

    def transfer(self, state: str = "SUCCESS") -> str:
        number = f"BILL{next(_serials):08d}"
        body = {
            "appid": self.credentials.app_id,
            "out_bill_no": number,
            "transfer_scene_id": "1000",
            "openid": OPENID,
            "transfer_amount": 30,
            "transfer_remark": "bonus",
        }
        self.box.ledger.transfer(body)
        if state == "CANCELLED":
            self.box.ledger.cancel(number)
        if state != "WAIT_USER_CONFIRM":
            self.box.finish_transfer(number, state, deliver=False)
        return number

    def told(self, kind: str, state: str = "") -> dict[str, Any]:
        """The true plaintext of something new that happened."""
        happened = {"order": self.order, "refund": self.refund, "transfer": self.transfer}[kind]
        return self.box.plaintext(kind, happened(state) if state else happened())

    # Messages

    def signed(self, kind: str, plaintext: Any = None, **parts: Any) -> Message:
        """As WeChat Pay itself sends it. `plaintext` defaults to the documents' own sample."""
        content = sample(kind, self.credentials) if plaintext is None else plaintext
        return Message(kind, self.box.builder.envelope(kind, content, **parts), self.box.builder.signed)

    def forwarded(self, kind: str, plaintext: Any = None, **parts: Any) -> Message:
        """As the Integration Center forwards it, by default with the whole envelope in `rawData`."""
        content = sample(kind, self.credentials) if plaintext is None else plaintext
        headers, raw = self.box.builder.forwarded(kind, content, **parts)
        return Message(kind, json.loads(raw), lambda _: headers)

    def hint(self, kind: str, plaintext: Any, **parts: Any) -> Message:
        """Forwarded without the envelope: nothing proves it."""
        return self.forwarded(kind, plaintext, envelope=None, **parts)

    def assert_refused(self, reply: Reply, status: int, name: str = "") -> None:
        """Not acknowledged, in the form that WeChat Pay reads, and nothing reached a handler."""
        assert reply.status == status, f"{name}: {reply.status} {reply.text}"
        assert set(reply.body) == {"code", "message"}, name
        assert reply.body["code"] == "FAIL", name
        assert self.orders.calls == [], name

    def assert_acknowledged(self, reply: Reply, name: str = "") -> None:
        assert reply.status == 200, f"{name}: {reply.status} {reply.text}"
        assert reply.body["code"] == "SUCCESS", name


class Shops:
    """Shops by their settings, each started once."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._stack = ExitStack()
        self._open: dict[Any, Shop] = {}

    def __enter__(self) -> Shops:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, sign_mode: str = "gateway", key_mode: str = "public_key", **variables: str | None) -> Shop:
        key = (sign_mode, key_mode, *sorted(variables.items()))
        if key not in self._open:
            self._open[key] = self._stack.enter_context(
                shop(self._credentials, sign_mode, key_mode, **variables)
            )
        self._open[key].new()
        return self._open[key]


@contextmanager
def shop(
    credentials: Credentials,
    sign_mode: str = "gateway",
    key_mode: str = "public_key",
    **variables: str | None,
) -> Iterator[Shop]:
    orders = RecordingOrders()
    with (
        Sandbox(sign_mode=sign_mode, key_mode=key_mode, credentials=credentials) as box,
        in_process(box.env(**variables), orders) as function,
    ):
        yield Shop(box, function, orders)


@dataclass
class Oracle:
    """A WeChat Pay that answers every call as `answer` says and truly signs it with the public key."""

    credentials: Credentials
    answer: Callable[[Request], tuple[int, Any]] = lambda request: (404, {"code": "NOT_FOUND"})
    targets: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self, sign: Callable[[bytes], Mapping[str, str]]) -> Iterator[Oracle]:
        def handle(request: Request) -> Answer:
            self.targets.append(request.target)
            status, content = self.answer(request)
            body = content if isinstance(content, bytes) else encoded(content)
            return Answer(status, {"Content-Type": "application/json", **sign(body)}, body)

        listener = Listener("main", handle)
        listener.listen()
        self.url = listener.url
        try:
            yield self
        finally:
            listener.close()


def sample(kind: str, credentials: Credentials) -> dict[str, Any]:
    """A plaintext with every documented field ([4012791861], [4013071196], [4012712115])."""
    if kind == "refund":
        return {
            "mchid": credentials.merchant_id,
            "out_trade_no": "1217752501201407033233368018",
            "transaction_id": "1217752501201407033233368018",
            "out_refund_no": "7752501201407033233368018",
            "refund_id": "50000000382019052709732678859",
            "refund_status": "SUCCESS",
            "success_time": "2018-06-08T10:34:56+08:00",
            "user_received_account": "招商银行信用卡0403",
            "amount": {"total": 999, "refund": 998, "payer_total": 997, "payer_refund": 996},
        }
    if kind == "transfer":
        return {
            "out_bill_no": "plfk2020042013",
            "transfer_bill_no": "1330000071100999991182020050700019480001",
            "state": "SUCCESS",
            "mch_id": credentials.merchant_id,
            "transfer_amount": 2000,
            "openid": "o-MYE42l80oelYMDE34nYD456Xoy",
            "fail_reason": "PAYEE_ACCOUNT_ABNORMAL",
            "create_time": "2015-05-20T13:29:35+08:00",
            "update_time": "2015-05-20T13:29:36+08:00",
            "payment_method_type": "CFT",
        }
    return {
        "appid": credentials.app_id,
        "mchid": credentials.merchant_id,
        "out_trade_no": "1217752501201407033233368318",
        "transaction_id": "1217752501201407033233368018",
        "trade_type": "JSAPI",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "CIB_DEBIT",
        "attach": "自定义数据",
        "success_time": "2018-06-08T10:34:56+08:00",
        "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
        "amount": {"total": 100, "payer_total": 90, "currency": "CNY", "payer_currency": "CNY"},
        "scene_info": {"device_id": "013467007045764"},
        "promotion_detail": [
            {
                "coupon_id": "109519",
                "scope": "GLOBAL",
                "amount": 10,
                "goods_detail": [
                    {"goods_id": "M1006", "quantity": 1, "unit_price": 100, "discount_amount": 0}
                ],
            },
            {"coupon_id": "109520", "scope": "SINGLE", "amount": 0, "goods_detail": []},
        ],
    }


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def changed(fields: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at the dotted `path`; `...` removes it. List items go by their index."""
    copy: dict[str, Any] = json.loads(encoded(fields))
    *parents, last = path.split(".")
    place: Any = copy
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return copy


def _has_event(body: Mapping[str, Any]) -> bool:
    """Whether a dict in `rawData` or `ParsedNotify` names the event: what routes a forward at `/`."""
    return any(
        isinstance(body.get(name), dict) and body[name].get("event_type")
        for name in ("rawData", "ParsedNotify")
    )
