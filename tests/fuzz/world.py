"""The merchant and the WeChat Pay of the fuzzers: published test keys, settings, and what must never be seen."""

from __future__ import annotations

import base64
import functools
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from urllib3 import BaseHTTPResponse, HTTPResponse
from urllib3.util import parse_url

from sandbox.credentials import new_key, private_pem, public_pem
from tests.services.wechatpay.host import (
    API_V3_KEY,
    MERCHANT_KEY,
    MERCHANT_SERIAL,
    PLATFORM_KEY,
    PUBLIC_KEY_ID,
)

MERCHANT_ID, APP_ID, SERVICE_APP_ID = "1900007290", "wxd678efh567hg6780", "wx1b2c3d4e5f6a7b8c"
CERTIFICATE_SERIAL = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
OPENID = "oFUZZERuser00000000000000001"
OPERATOR_KEY = "operator-key-of-the-fuzzers-0123456789"
USER_NAME = "欧阳峰"
STRANGER = new_key()
HOSTS = ("https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com")
NOTIFY = "https://shop.example.com/wx-pay"
ENV = {
    "appId": APP_ID,
    "service_app_id": SERVICE_APP_ID,
    "merchantId": MERCHANT_ID,
    "merchantSerialNumber": MERCHANT_SERIAL,
    "apiV3Key": API_V3_KEY.decode(),
    "privateKey": private_pem(MERCHANT_KEY),
    "wxPayPublicKey": public_pem(PLATFORM_KEY),
    "wxPayPublicKeyId": PUBLIC_KEY_ID,
    "notifyURLPayURL": f"{NOTIFY}/unifiedOrderTrigger",
    "notifyURLRefundsURL": f"{NOTIFY}/refundTrigger",
    "transferNotifyUrl": f"{NOTIFY}/transferTrigger",
    "operatorKey": OPERATOR_KEY,
    "wxPayTimeout": "10",
}
PRIVATE_BODY = "".join(private_pem(MERCHANT_KEY).splitlines()[1:-1])
_CHUNKS = {PRIVATE_BODY[at : at + 20] for at in range(0, len(PRIVATE_BODY) - 20, 20)}


def secrets_in(text: str) -> list[str]:
    """Which of the function's own keys a text gives away; the private key by any aligned run of 20 characters."""
    found = [name for name, secret in (("apiV3Key", ENV["apiV3Key"]), ("operatorKey", OPERATOR_KEY)) if secret in text]
    folded = re.sub(r"\\n|\s", "", text)
    return found + (["privateKey"] if any(chunk in folded for chunk in _CHUNKS) else [])


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@functools.lru_cache(4096)
def signature(key: RSAPrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


def signed(
    body: bytes, *, key: RSAPrivateKey = PLATFORM_KEY, serial: str = PUBLIC_KEY_ID, at: int | None = None
) -> dict[str, str]:
    """WeChat Pay's headers over `body`. The time is rounded, so that what was signed is remembered."""
    timestamp = str(int(time.time()) // 60 * 60 if at is None else at)
    nonce = "fuzz0123456789abcdefABCDEF012345"
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": signature(key, f"{timestamp}\n{nonce}\n".encode() + body + b"\n"),
        "Wechatpay-Serial": serial,
    }


class Network:
    """WeChat Pay without a socket: keeps what it was asked, answers as `respond(method, path, body)` says."""

    def __init__(self, respond: Callable[[str, str, bytes], tuple[int, Mapping[str, str], bytes]]) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.respond = respond

    def urlopen(self, method: str, url: str, *, body: bytes | None, **options: Any) -> BaseHTTPResponse:
        asked = (method, parse_url(url).request_uri, body or b"")
        self.asked.append(asked)
        status, headers, content = self.respond(*asked)
        return HTTPResponse(_Body(content), headers=dict(headers), status=status, preload_content=False)


class _Body:
    """What urllib3 reads an answer's bytes from."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        size = len(self._content) if size is None or size < 0 else size
        piece, self._content = self._content[:size], self._content[size:]
        return piece

    read1 = read

    def close(self) -> None:
        self.closed = True


# WeChat Pay's books: whatever is numbered PAID... happened, nothing else did.

_PLACED = {
    "/v3/pay/transactions/jsapi": {"prepay_id": "wx261153585405162d4d02642eb0000000"},
    "/v3/pay/transactions/app": {"prepay_id": "wx261153585405162d4d02642eb0000000"},
    "/v3/pay/transactions/native": {"code_url": "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"},
    "/v3/pay/transactions/h5": {"h5_url": "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx2016"},
}


def payment(number: str) -> dict[str, Any]:
    """What a notification of a payment says, and a query answers."""
    return {
        "appid": APP_ID,
        "mchid": MERCHANT_ID,
        "out_trade_no": number,
        "transaction_id": "1217752501201407033233368018",
        "trade_type": "JSAPI",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "CMC",
        "success_time": "2026-06-08T10:34:56+08:00",
        "payer": {"openid": OPENID},
        "amount": {"total": 100, "payer_total": 100, "currency": "CNY", "payer_currency": "CNY"},
    }


def refund(number: str) -> dict[str, Any]:
    """What a notification of a refund says."""
    return {
        "mchid": MERCHANT_ID,
        "out_trade_no": "1217752501201407033233368018",
        "transaction_id": "1217752501201407033233368018",
        "out_refund_no": number,
        "refund_id": "50000000382019052709732678859",
        "refund_status": "SUCCESS",
        "success_time": "2026-06-08T10:34:56+08:00",
        "user_received_account": "招商银行信用卡0403",
        "amount": {"total": 999, "refund": 999, "payer_total": 999, "payer_refund": 999},
    }


def transfer(number: str) -> dict[str, Any]:
    """What a notification of a transfer says, and a query answers."""
    return {
        "out_bill_no": number,
        "transfer_bill_no": "1330000071100999991182020050700019480001",
        "state": "SUCCESS",
        "mch_id": MERCHANT_ID,
        "appid": APP_ID,
        "transfer_amount": 2000,
        "transfer_remark": "bonus",
        "openid": OPENID,
        "create_time": "2026-05-20T13:29:35+08:00",
        "update_time": "2026-05-20T13:29:36+08:00",
    }


def _refund_answer(number: str) -> dict[str, Any]:
    answer = refund(number) | {"channel": "ORIGINAL", "create_time": "2026-06-08T10:34:56+08:00"}
    answer["status"] = answer.pop("refund_status")
    del answer["mchid"]
    return answer


def books(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """An honest and truly signed answer."""
    status, content = _booked(method, urlsplit(path).path, body)
    raw = b"" if content is None else encoded(content)
    return status, {"Content-Type": "application/json", **signed(raw)}, raw


def _booked(method: str, path: str, body: bytes) -> tuple[int, Any]:
    *_, before, last = path.split("/")
    if last == "close":
        return 204, None
    if method == "POST":
        number = unquote(before)
        return 200, _PLACED[path] if path in _PLACED else _moved(last, number, json.loads(body) if body else {})
    number = unquote(last)
    if not number.startswith("PAID"):
        return 404, {"code": "ORDER_NOT_EXIST", "message": "订单不存在"}
    return 200, _ANSWERS[before](number)


def _moved(last: str, number: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to what moves money, or takes it back."""
    if last == "refunds":
        return _refund_answer(sent["out_refund_no"]) | {"status": "PROCESSING"}
    return transfer(sent.get("out_bill_no", number)) | {"state": "WAIT_USER_CONFIRM", "package_info": "abc"}


# By what stands before the number.
_ANSWERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "refunds": _refund_answer,
    "transfer-bill-no": lambda number: transfer("PAIDB0001") | {"transfer_bill_no": number},
    "out-bill-no": transfer,
    "id": lambda number: payment("PAID0001") | {"transaction_id": number},
    "out-trade-no": payment,
}


def quiet() -> None:
    """No log lines on the screen from parts that no application has set up."""
    pay = logging.getLogger("pay")
    if not pay.handlers:
        pay.addHandler(logging.NullHandler())
        pay.propagate = False


quiet()
