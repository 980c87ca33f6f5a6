"""One request played through the function, and what is left of it once all that must differ is replaced.

Every signature is verified before it is replaced. Replaced are values, wherever they stand, never fields: a
value that the function altered keeps its difference.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sandbox import Sandbox
from sandbox.records import ApiRequest
from tests.http.house import House
from tests.support import OPENID

USER_NAME = "张三丰"
# What WeChat Pay makes up anew each time, by the name of its field.
_INVENTED = {
    name: f"<{name}>"
    for name in (
        "prepay_id",
        "code_url",
        "h5_url",
        "transaction_id",
        "refund_id",
        "transfer_bill_no",
        "package_info",
    )
} | dict.fromkeys(("create_time", "update_time", "success_time"), "<time>")
_AUTHORIZATION = re.compile(
    r'WECHATPAY2-SHA256-RSA2048 mchid="\d+",nonce_str="(\w{32})",timestamp="(\d{10})",'
    r'serial_no="[0-9A-F]{40}",signature="([A-Za-z0-9+/]{342}==)"'
)


@dataclass(frozen=True)
class Answer:
    status: int | None
    content_type: str | None
    body: Any


@dataclass(frozen=True)
class Outcome:
    """What a play left, normalised: the answer, the requests at WeChat Pay, the calls of the order service."""

    answer: Answer
    outbound: list[dict[str, Any]]
    calls: list[Any]


class Stage:
    """The numbers of one play, and the placeholders of everything that differs from play to play."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self._placeholders: dict[str, str] = {}

    def number(self, name: str) -> str:
        """A fresh merchant number; all have one length and hold letters and digits alone."""
        return self.replaced(f"N{secrets.token_hex(12)}", name)

    def replaced(self, value: str, name: str) -> str:
        self._placeholders[value] = f"<{name}>"
        return value

    def order(self, *, paid: bool = False) -> dict[str, Any]:
        """An order of 100 cents at WeChat Pay that the function has nothing to do with yet."""
        credentials = self.box.credentials
        body = {
            "appid": credentials.app_id,
            "mchid": credentials.merchant_id,
            "description": "茶",
            "out_trade_no": self.number("out_trade_no"),
            "notify_url": "https://shop.example/wx-pay/unifiedOrderTrigger",
            "amount": {"total": 100, "currency": "CNY"},
            "payer": {"openid": OPENID},
        }
        self.box.ledger.place("jsapi", body)
        if paid:
            order = self.box.ledger.pay(body["out_trade_no"])
            self.replaced(order.transaction_id, "transaction_id")
            body["transaction_id"] = order.transaction_id
        return body

    def refund(self) -> dict[str, Any]:
        """A refund of half of a paid order, under way at WeChat Pay."""
        body = {
            "out_trade_no": self.order(paid=True)["out_trade_no"],
            "out_refund_no": self.number("out_refund_no"),
            "notify_url": "https://shop.example/wx-pay/refundTrigger",
            "amount": {"refund": 50, "total": 100, "currency": "CNY"},
        }
        self.box.ledger.refund(body)
        return body

    def transfer(self) -> dict[str, Any]:
        """A transfer that waits for its user's confirmation."""
        body = {
            "appid": self.box.credentials.app_id,
            "out_bill_no": self.number("out_bill_no"),
            "transfer_scene_id": "1000",
            "openid": OPENID,
            "user_name": USER_NAME,
            "transfer_amount": 100,
            "transfer_remark": "奖励",
            "notify_url": "https://shop.example/wx-pay/transferTrigger",
            "transfer_scene_report_infos": [{"info_type": "活动名称", "info_content": "a"}],
        }
        transfer = self.box.ledger.transfer(body)
        self.replaced(transfer.transfer_bill_no, "transfer_bill_no")
        return body | {"transfer_bill_no": transfer.transfer_bill_no}

    def learn(self, value: Any) -> None:
        """Take note of everything in WeChat Pay's own data that is new each time."""
        for name, item in _fields(value):
            if isinstance(item, str) and name in _INVENTED:
                self._placeholders[item] = _INVENTED[name]

    def normal(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.normal(name): self.normal(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.normal(item) for item in value]
        if isinstance(value, str):
            for known in sorted(self._placeholders, key=len, reverse=True):
                value = value.replace(known, self._placeholders[known])
        return value


def play(house: House, stage: Stage, send: Callable[[], Answer]) -> Outcome:
    """Send, verify all signatures, and return what must be the same by every way in."""
    before = max((request.id for request in house.box.requests), default=0)
    house.recording.clear()
    answer = send()
    requests, calls = house.box.requests_since(before), house.recording.calls()
    for request in requests:
        _verify_request(stage, request)
    verify_invocation(stage, answer.body)
    return Outcome(
        Answer(answer.status, answer.content_type, stage.normal(answer.body)),
        [_described(stage, request) for request in requests],
        stage.normal(calls),
    )


def verify_invocation(stage: Stage, body: Any) -> None:
    """Verify the signature of JSAPI and APP parameters over their documented four lines."""
    data = body.get("data") if isinstance(body, dict) else None
    parameters = data.get("data") if isinstance(data, dict) else None
    if not isinstance(parameters, dict) or "nonceStr" not in parameters:
        return
    if "paySign" in parameters:
        assert parameters["signType"] == "RSA"
        last_line, signature = parameters["package"], parameters["paySign"]
        assert last_line == f"prepay_id={parameters['prepay_id']}"
    else:
        assert parameters["packageValue"] == "Sign=WXPay"
        assert parameters["partnerId"] == stage.box.credentials.merchant_id
        last_line, signature = parameters["prepayId"], parameters["sign"]
        assert last_line == parameters["prepay_id"]
    lines = (parameters["appId"], parameters["timeStamp"], parameters["nonceStr"], last_line)
    message = "".join(f"{line}\n" for line in lines).encode()
    key = stage.box.credentials.merchant.key.public_key()
    key.verify(base64.b64decode(signature, validate=True), message, padding.PKCS1v15(), hashes.SHA256())
    _replace_signed(stage, parameters["nonceStr"], parameters["timeStamp"], signature)


def _verify_request(stage: Stage, request: ApiRequest) -> None:
    assert request.verified, request.refusal
    authorization = _AUTHORIZATION.fullmatch(request.headers["authorization"])
    assert authorization, request.headers["authorization"]
    _replace_signed(stage, *authorization.groups())
    credentials = stage.box.credentials
    if request.body:
        _learn_name(stage, json.loads(request.body), credentials.public_key)
    if request.answer:
        answer = json.loads(request.answer)
        stage.learn(answer)
        _learn_name(stage, answer, credentials.merchant.key)


def _replace_signed(stage: Stage, nonce: str, timestamp: str, signature: str) -> None:
    assert abs(int(timestamp) - time.time()) < 60
    stage.replaced(nonce, "nonce")
    stage.replaced(timestamp, "timestamp")
    stage.replaced(signature, "signature")


def _learn_name(stage: Stage, body: Mapping[str, Any], key: Any) -> None:
    """The name is encrypted for whoever holds `key`, and encrypted anew each time."""
    if "user_name" in body:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - as documented
        assert key.decrypt(base64.b64decode(body["user_name"], validate=True), oaep).decode() == USER_NAME
        stage.replaced(body["user_name"], "encrypted name")


def _described(stage: Stage, request: ApiRequest) -> dict[str, Any]:
    """The whole request, to the byte; `json` is its body once more, parsed."""
    return {
        "method": request.method,
        "host": request.host,
        "target": stage.normal(request.target),
        "headers": stage.normal(request.headers),
        "body": stage.normal(request.body.decode()),
        "json": stage.normal(request.json),
    }


def _fields(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name, item
            yield from _fields(item)
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item)
