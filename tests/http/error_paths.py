"""Every way into an error answer, as a table: what is sent, with planted values wherever one can stand."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from routes.actions import ACTIONS, Action
from sandbox import Sandbox
from sandbox.server import Answer, Request
from sandbox.spoils import KINDS, Fault, Kind
from tests.http.planted import (
    BASIC,
    BODY_OPENID,
    CONTEXT,
    HEADER_OPENID,
    NAMES,
    OPERATOR_KEY,
    PAYER_OPENID,
    Plants,
)
from tests.support import Function, Reply

TRIGGERS = {"order": "unifiedOrderTrigger", "refund": "refundTrigger", "transfer": "transferTrigger"}
_numbers = itertools.count(1)


@dataclass
class Stage:
    """One function and its WeChat Pay; `also` are headers that every request has besides."""

    box: Sandbox
    function: Function
    plants: Plants
    tokens: Mapping[str, str]
    request_id: str = ""
    also: Mapping[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """As the mini program's platform sends it, and every header that may hold a secret beside."""
        sent = {
            "Connection": "close",
            "Content-Type": "application/json",
            "X-Request-Id": self.request_id,
            "X-Cloudbase-Context": CONTEXT,
            "X-Wx-Source": "wx_client",
            "X-Wx-Openid": HEADER_OPENID,
            "X-Operator-Key": OPERATOR_KEY,
            "Authorization": f"Bearer {self.tokens['user']}",
            **(headers or {}),
            **self.also,
        }
        sent = {name: value for name, value in sent.items() if value}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.function.request("POST", path, data=raw, headers=sent)

    def announce(self, path: str, beginning: bytes) -> Reply:
        """A body that is said to have 9 MB: refused before it is read, so that it had better not be sent."""
        head = {
            "Host": "x",
            "Content-Length": "9000000",
            "X-Request-Id": self.request_id,
            "X-Wx-Openid": HEADER_OPENID,
            "Authorization": f"Bearer {self.tokens['user']}",
            **self.also,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        raw = exchange(self.function, f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + beginning[:2000])
        head_of_answer, _, content = raw.decode().partition("\r\n\r\n")
        status = int(head_of_answer.split()[1])
        return Reply(status, json.loads(content), {"head": head_of_answer}, content, 0.0)

    def call(self, action: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return self.post(f"/wx-pay/{action}", body, headers)

    def order(self, mark: str = "", **more: Any) -> Reply:
        return self.call("wxpay_order", order(mark, **more))

    def refund(self, mark: str = "", **more: Any) -> Reply:
        return self.call("wxpay_refund", {**refund(mark), **more})

    def transfer(self, mark: str = "", **more: Any) -> Reply:
        return self.call("wxpay_transfer", {**transfer(mark), **more})

    # Callbacks

    def plaintext(self, kind: str, mark: str = "") -> dict[str, Any]:
        credentials, number = self.box.credentials, f"{mark}{next(_numbers):08d}"
        order = {"appid": credentials.app_id, "mchid": credentials.merchant_id, "out_trade_no": number}
        return {
            "order": {**order, "trade_state": "SUCCESS", "payer": {"openid": PAYER_OPENID}},
            "refund": {
                "mchid": credentials.merchant_id,
                "out_refund_no": number,
                "refund_status": "SUCCESS",
                "user_received_account": "planted bank 0403",
            },
            "transfer": {
                "mch_id": credentials.merchant_id,
                "out_bill_no": number,
                "state": "SUCCESS",
                "openid": PAYER_OPENID,
                "user_name": NAMES[1],
            },
        }[kind]

    def notify(self, kind: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return self.post(f"/wx-pay/{TRIGGERS[kind]}", body, headers)

    def forwarded(self, kind: str, plaintext: Mapping[str, Any], **parts: Any) -> Reply:
        return self.notify(kind, self.box.forwarded(kind, plaintext, **parts)[1])

    def signed(self, kind: str, plaintext: Mapping[str, Any], **parts: Any) -> Reply:
        headers, body = self.box.notification(kind, plaintext, **parts)
        return self.notify(kind, body, headers)


def exchange(function: Function, raw: bytes) -> bytes:
    """Send `raw`, stop sending, and read until the other side closes."""
    port = int(function.url.rpartition(":")[2])
    answer = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            answer += part
    return answer


def order(mark: str = "", **more: Any) -> dict[str, Any]:
    return {
        "description": "tea",
        "out_trade_no": f"{mark}ORDER{next(_numbers):06d}",
        "amount": {"total": 100},
        "payer": {"openid": BODY_OPENID},
        "_operatorKey": OPERATOR_KEY,
        **more,
    }


def refund(mark: str = "") -> dict[str, Any]:
    return {
        "out_trade_no": "PAID000001",
        "out_refund_no": f"{mark}REFUND{next(_numbers):06d}",
        "amount": {"refund": 1, "total": 100},
    }


def transfer(mark: str = "") -> dict[str, Any]:
    return {
        "out_bill_no": f"{mark}BILL{next(_numbers):06d}",
        "transfer_scene_id": "1000",
        "openid": BODY_OPENID,
        "user_name": NAMES[0],
        "transfer_amount": 200_000,
        "transfer_remark": "bonus",
        "transfer_scene_report_infos": [
            {"info_type": "活动名称", "info_content": "a"},
            {"info_type": "奖励说明", "info_content": "b"},
        ],
    }


@dataclass(frozen=True)
class Path:
    """`error` is the class that the function raises ("" where the server in front of it answers)."""

    name: str
    error: str
    status: int
    send: Callable[[Stage], Reply]
    house: str = "gateway"
    fault: str = ""
    callback: bool = False


# What the function is started with, house by house; the handler's time is short for SLOW.
HOUSES: dict[str, dict[str, str | None]] = {
    "gateway": {"handlerTimeout": "0.3", "wxPayTimeout": "1", "service_app_id": None},
    "sdk": {"signMode": "sdk", "wxPayPublicKey": None, "wxPayPublicKeyId": None},
    "keys down": {},
    "ignored": {"callerHeaders": "ignored"},
    "broken": {"privateKey": "", "notifyURLPayURL": f"https://shop.example/?{OPERATOR_KEY}"},
}


def _everywhere(plants: Plants, tokens: Mapping[str, str]) -> dict[str, Any]:
    """Every documented field with a planted value that its schema must refuse."""
    return {
        "appid": plants.api_v3_key,
        "mchid": OPERATOR_KEY,
        "description": {NAMES[0]: plants.private_key},
        "attach": [BODY_OPENID, NAMES[1]],
        "goods_tag": f"{plants.body[:600]}",
        "time_expire": tokens["user"],
        "notify_url": f"https://{plants.api_v3_key}.example/{OPERATOR_KEY}?{BODY_OPENID}",
        "out_trade_no": f"{BODY_OPENID} {NAMES[0]}",
        "transaction_id": [tokens["user"]],
        "out_refund_no": {"openid": BODY_OPENID},
        "reason": plants.private_key,
        "out_bill_no": f"{NAMES[0]}{OPERATOR_KEY}",
        "transfer_bill_no": f"{BODY_OPENID}!",
        "transfer_scene_id": {OPERATOR_KEY: 1},
        "transfer_amount": f"{BODY_OPENID}",
        "transfer_remark": plants.body,
        "transfer_scene_report_infos": [{"info_type": {NAMES[0]: 1}, BODY_OPENID: plants.api_v3_key}],
        "user_name": {"clear": NAMES[0]},
        "openid": {"openid": BODY_OPENID},
        "payer": {"openid": {"is": BODY_OPENID}},
        "amount": {"total": OPERATOR_KEY, "refund": NAMES[1], "currency": plants.api_v3_key},
        "scene_info": {"payer_client_ip": BODY_OPENID, "h5_info": {"type": OPERATOR_KEY}},
        "detail": BODY_OPENID,
        "settle_info": NAMES[0],
        "useServiceAccount": plants.api_v3_key,
        "_operatorKey": {"key": OPERATOR_KEY},
    }


def _named_like_secrets(plants: Plants, tokens: Mapping[str, str]) -> dict[str, Any]:
    return {
        "privateKey": plants.private_key,
        "apiV3Key": plants.api_v3_key,
        "operatorKey": OPERATOR_KEY,
        "authorization": f"Bearer {tokens['user']}",
        "user_name": NAMES[0],
        "openid": BODY_OPENID,
        "nested": {"privateKey": plants.private_key},
        OPERATOR_KEY: 1,
        HEADER_OPENID: 2,
        plants.api_v3_key: 3,
        tokens["user"]: 4,
        plants.private_key: 5,
    }


def _bad_json() -> Iterator[Path]:
    plants = (
        f'{{"payer":{{"openid":"{BODY_OPENID}"}},"user_name":"{NAMES[0]}","_operatorKey":"{OPERATOR_KEY}",'
    )
    bodies = {
        "cut": plants.encode(),
        "not UTF-8": plants.encode() + b'"x":"\xff"}',
        "not Chinese": plants.encode("gb18030"),
        "twice": (plants + f'"a":"{NAMES[1]}","a":"{BODY_OPENID}"}}').encode(),
        "deep": (plants + '"a":' + "[" * 90 + "]" * 90 + "}").encode(),
        "infinite": (plants + '"a":1e999}').encode(),
        "surrogate": (plants + '"a":"\\ud800"}').encode(),
        "bare words": f"{BODY_OPENID} {NAMES[0]} {OPERATOR_KEY}".encode(),
    }
    for name, body in bodies.items():
        yield Path(f"JSON, {name}", "BadJson", 400, lambda stage, body=body: stage.call("wxpay_order", body))
        yield Path(
            f"callback, JSON, {name}",
            "BadJson",
            400,
            lambda stage, body=body: stage.notify("order", body),
            callback=True,
        )


def _validation() -> Iterator[Path]:
    for action, row in ACTIONS.items():
        if isinstance(row, Action):
            yield Path(
                f"every field of {action}",
                "Invalid",
                400,
                lambda stage, action=action: stage.call(action, _everywhere(stage.plants, stage.tokens)),
            )
    yield Path(
        "fields named like secrets",
        "Invalid",
        400,
        lambda stage: stage.order(**_named_like_secrets(stage.plants, stage.tokens), description=5),
    )


def _bad_requests() -> Iterator[Path]:
    planted = [OPERATOR_KEY, BODY_OPENID, NAMES[0]]
    sends: dict[str, Callable[[Stage], Reply]] = {
        "a list": lambda stage: stage.call("wxpay_order", planted),
        "_action is an object": lambda stage: stage.post("/", {"_action": {OPERATOR_KEY: planted}}),
        "_action is unknown": lambda stage: stage.post("/", {"_action": "wxpay_steal", "is": planted}),
        "path is unknown": lambda stage: stage.post("/", {"path": "/wx-pay/steal", "is": planted}),
        "a form twice": lambda stage: stage.call(
            "wxpay_order",
            f"openid={BODY_OPENID}&openid={OPERATOR_KEY}".encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        ),
        "no service account": lambda stage: stage.order(useServiceAccount=True),
    }
    for name, send in sends.items():
        yield Path(name, "BadRequest", 400, send)
    yield Path(
        "callback, a list", "BadRequest", 400, lambda stage: stage.notify("refund", planted), callback=True
    )


def _callers() -> Iterator[Path]:
    bare = {"X-Wx-Source": "", "X-Wx-Openid": "", "X-Operator-Key": ""}
    for name in ("other key", "alg none", "HS256", "expired", "other aud", "undecodable"):
        yield Path(
            f"token, {name}",
            "BadToken",
            401,
            lambda stage, name=name: stage.call(
                "wxpay_order", order(), bare | {"Authorization": f"Bearer {stage.tokens[name]}"}
            ),
        )
    stranger = bare | {"Authorization": BASIC}
    no_key = {"X-Operator-Key": OPERATOR_KEY[:-1]}
    yield Path("nobody", "Unauthorized", 401, lambda stage: stage.call("wxpay_refund", refund(), stranger))
    yield Path(
        "headers ignored",
        "Unauthorized",
        401,
        lambda stage: stage.call("wxpay_order", order(), {"Authorization": BASIC}),
        "ignored",
    )
    yield Path("no operator", "Refused", 403, lambda stage: stage.call("wxpay_refund", refund(), no_key))
    yield Path(
        "keys down",
        "KeysUnavailable",
        503,
        lambda stage: stage.call("wxpay_refund", refund(), {"X-Operator-Key": ""}),
        "keys down",
    )


def _elsewhere() -> Iterator[Path]:
    large = json.dumps(order(attach=f"{OPERATOR_KEY}{BODY_OPENID}" * 30_000)).encode()
    yield Path("a path of secrets", "NotFound", 404, lambda stage: stage.post(_telling_path(stage), order()))
    yield Path("nothing named", "NotFound", 404, lambda stage: stage.post("/", order()))
    yield Path(
        "another method",
        "NotFound",
        404,
        lambda stage: stage.function.request(
            "GET",
            _telling_path(stage),
            headers={
                "Authorization": BASIC,
                "X-Wx-Openid": HEADER_OPENID,
                "X-Request-Id": stage.request_id,
                **stage.also,
            },
        ),
    )
    yield Path(
        "an unknown method",
        "MethodNotAllowed",
        404,
        lambda stage: stage.function.request(
            "BREW",
            _telling_path(stage),
            headers={"X-Wx-Openid": HEADER_OPENID, "X-Request-Id": stage.request_id, **stage.also},
        ),
    )
    yield Path("too large", "BodyTooLarge", 413, lambda stage: stage.call("wxpay_order", large))
    yield Path("far too large", "RequestEntityTooLarge", 413, lambda stage: stage.announce("/", large))
    yield Path(
        "callback, too large",
        "RequestEntityTooLarge",
        413,
        lambda stage: stage.announce("/wechatpay/order", large),
        callback=True,
    )
    yield Path(
        "callback, too large for one without ParsedContent",
        "BodyTooLarge",
        413,
        lambda stage: stage.notify("order", large),
        callback=True,
    )
    for action in ("wxpay_order", "wxpay_refund"):
        body = order() if action == "wxpay_order" else refund()
        yield Path(
            f"no credentials, {action}",
            "MissingCredentials",
            500,
            lambda stage, action=action, body=body: stage.call(action, body),
            "broken",
        )
    yield Path(
        "callback, no credentials",
        "MissingCredentials",
        503,
        lambda stage: stage.forwarded("order", stage.plaintext("order")),
        "broken",
        callback=True,
    )


def _telling_path(stage: Stage) -> str:
    return f"/{HEADER_OPENID}/{OPERATOR_KEY}/{stage.tokens['user']}?key={OPERATOR_KEY}&openid={HEADER_OPENID}"


def _merchant() -> Iterator[Path]:
    """The order service fails, and says why with all it knows."""
    for mark in ("AUTHORIZE", "BEFORE"):
        yield Path(f"order, {mark}", "HookFailed", 503, lambda stage, mark=mark: stage.order(mark))
        yield Path(f"refund, {mark}", "HookFailed", 503, lambda stage, mark=mark: stage.refund(mark))
        yield Path(f"transfer, {mark}", "HookFailed", 503, lambda stage, mark=mark: stage.transfer(mark))
    for mark in ("AFTER", "FORGET"):
        yield Path(f"order, {mark}", "NotRecorded", 503, lambda stage, mark=mark: stage.order(mark))
        yield Path(f"refund, {mark}", "NotRecorded", 500, lambda stage, mark=mark: stage.refund(mark))
        yield Path(f"transfer, {mark}", "NotRecorded", 500, lambda stage, mark=mark: stage.transfer(mark))
    yield Path("reconcile, no database", "NoOrderDatabase", 500, lambda stage: stage.call("wxpay_reconcile", {}))
    yield Path(
        "close, AFTER",
        "NotRecorded",
        503,
        lambda stage: stage.call("wxpay_close_order", {"out_trade_no": "AFTER0001"}),
    )
    yield Path(
        "query, QUERY",
        "NotRecorded",
        503,
        lambda stage: stage.call("wxpay_query_order_by_out_trade_no", {"out_trade_no": "QUERY00001"}),
    )
    yield Path(
        "transfer query, QUERY",
        "NotRecorded",
        503,
        lambda stage: stage.call("wxpay_transfer_bill_query", {"out_bill_no": "QUERY1"}),
    )
    yield Path("before_refund loses the number", "HookFailed", 503, lambda stage: stage.refund("LOSE"))
    yield Path("before_refund, UNREADABLE", "UnreadableError", 500, lambda stage: stage.refund("UNREADABLE"))
    for kind in TRIGGERS:
        for mark, error in (("TRIGGER", "HandlerFailed"), ("FORGET", "HandlerFailed"), ("SLOW", "HandlerTimeout")):
            yield Path(
                f"callback, {kind}, {mark}",
                error,
                500,
                lambda stage, kind=kind, mark=mark: stage.forwarded(kind, stage.plaintext(kind, mark)),
                callback=True,
            )


def _wechat_pay() -> Iterator[Path]:
    """WeChat Pay refuses, misbehaves, and quotes what it was sent."""
    outcomes = {
        "latency": ("TimedOut", 504),
        "slow_body": ("TimedOut", 504),
        "frequency_limited": ("RateLimited", 429),
        "unsigned_403": ("ApiError", 403),
        "unsigned_404": ("ApiError", 404),
        "error": ("ServerFault", 502),
        "system_error": ("ServerFault", 502),
        "html_502": ("ServerFault", 502),
        "accepted_202": ("ServerFault", 502),
        "reset": ("Unreachable", 502),
        "cut_body": ("Unreachable", 502),
        "refuse": ("Unreachable", 502),
        "quoting 400": ("ApiError", 400),
        "quoting 401": ("ApiError", 502),
        "quoting 500": ("ServerFault", 502),
    }
    for fault in (*KINDS, *QUOTING):
        error, status = outcomes.get(fault, ("Unverifiable", 502))
        yield Path(f"{fault}, transfer", error, status, Stage.transfer, fault=fault)
    for fault in ("quoting 400", "quoting 401"):
        error, status = outcomes[fault]
        yield Path(f"{fault}, order", error, status, Stage.order, fault=fault)
    yield Path("rate limit of orders", "ApiError", 429, Stage.order, fault="frequency_limited")
    yield Path(
        "no such order",
        "ApiError",
        404,
        lambda stage: stage.call("wxpay_query_order_by_out_trade_no", {"out_trade_no": "NOWHERE1"}),
    )
    yield Path("no certificates", "NotSent", 503, Stage.refund, "sdk", "unsigned_403")


def _forged() -> Iterator[Path]:
    """Callbacks that are not believed."""

    def path(name: str, error: str, status: int, send: Callable[[Stage], Reply], **more: str) -> Path:
        return Path(f"callback, {name}", error, status, send, callback=True, **more)

    for kind in TRIGGERS:
        yield path(
            f"{kind} without signature",
            "SignatureInvalid",
            400,
            lambda stage, kind=kind: stage.notify(
                kind, {**stage.plaintext(kind), "resource": stage.plaintext(kind)}
            ),
        )
        yield path(
            f"{kind} under another key",
            "DecryptionFailed",
            400,
            lambda stage, kind=kind: stage.forwarded(kind, stage.plaintext(kind), api_v3_key="x" * 32),
        )
        yield path(
            f"{kind}, stale",
            "SignatureInvalid",
            400,
            lambda stage, kind=kind: stage.signed(kind, stage.plaintext(kind), timestamp=int(time.time()) - 900),
        )
        yield path(
            f"{kind} of another merchant",
            "NotificationRefused",
            400,
            lambda stage, kind=kind: stage.forwarded(
                kind, {**stage.plaintext(kind), "mchid": "1234567890", "mch_id": "1234567890"}
            ),
        )
        yield path(
            f"{kind} contradicting itself",
            "NotificationRefused",
            400,
            lambda stage, kind=kind: stage.forwarded(
                kind,
                stage.plaintext(kind),
                parsed_content={**stage.plaintext(kind), "openid": OPERATOR_KEY, "payer": {"openid": BODY_OPENID}},
            ),
        )
        yield path(
            f"{kind}, ParsedContent is a text",
            "NotificationRefused",
            400,
            lambda stage, kind=kind: stage.notify(kind, {"ParsedContent": f"{PAYER_OPENID} {NAMES[0]}"}),
        )
        yield path(
            f"{kind}, WeChat Pay cannot be asked",
            "NotificationPostponed",
            503,
            lambda stage, kind=kind: stage.forwarded(kind, stage.plaintext(kind), envelope=None),
            fault="unsigned_403",
        )
    yield path(
        "undecodable JSON inside",
        "NotificationRefused",
        400,
        lambda stage: stage.notify("order", {"ParsedContent": {}, "rawData": f"{PAYER_OPENID} {OPERATOR_KEY}"}),
    )
    yield path(
        "certificates cannot be fetched",
        "KeysUnavailable",
        503,
        lambda stage: stage.signed("order", stage.plaintext("order")),
        house="sdk",
        fault="unsigned_403",
    )


def _quoting(status: int, code: str, *, signed: bool) -> Kind:
    """An error answer that quotes what it complains about, as WeChat Pay's `detail.value` does."""

    def spoil(_: Answer, signer: Any, request: Request, __: Fault) -> Answer:
        sent = json.loads(request.body or b"{}")
        value = sent.get("payer", sent).get("openid", "")
        if status == 401:
            value = request.headers["authorization"]
        detail = {"field": "/openid", "value": value, "issue": f"{value} is invalid", "location": "body"}
        content = {"code": code, "message": f"invalid: {value}", "detail": detail}
        body = json.dumps(content, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **(signer.headers(body) if signed else {})}
        return Answer(status, headers, body)

    return Kind(spoil, False)


QUOTING = {
    "quoting 400": _quoting(400, "PARAM_ERROR", signed=True),
    "quoting 401": _quoting(401, "SIGN_ERROR", signed=False),
    "quoting 500": _quoting(500, "SYSTEM_ERROR", signed=True),
}
PATHS: tuple[Path, ...] = (
    *_bad_json(),
    *_validation(),
    *_bad_requests(),
    *_callers(),
    *_elsewhere(),
    *_merchant(),
    *_wechat_pay(),
    *_forged(),
)


@dataclass
class Played:
    """By path: its reply, and the `error_type` of its log line; `log` is all that the function wrote."""

    replies: dict[str, Reply] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    log: str = ""
