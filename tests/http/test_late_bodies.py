"""Strangers who send the end of a body only when no time is left must not spend what others need."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import Credentials, Sandbox
from tests.support import Function, gunicorn

TIME = 0.3  # callbackTimeout, seconds

# With a signature under an invented serial, and, as the Integration Center forwards, without any signature.
STRANGERS = {
    "sdk": {
        "body": {"id": "x", "event_type": "TRANSACTION.SUCCESS", "resource": {}},
        "headers": {
            "Wechatpay-Nonce": "n",
            "Wechatpay-Signature": base64.b64encode(bytes(256)).decode(),
            "Wechatpay-Serial": secrets.token_hex(20).upper(),
        },
    },
    "gateway": {
        "body": {"ParsedContent": {"out_trade_no": "X1", "trade_state": "SUCCESS"}, "rawData": {}},
        "headers": {},
    },
}


def late(function: Function, stranger: dict) -> bytes:
    """The status line of the answer to a callback whose last bytes come after its time is over."""
    parts = urlsplit(function.url)
    body = json.dumps(stranger["body"]).encode()
    headers = {**stranger["headers"], "Host": "x", "Content-Length": str(len(body))}
    headers["Wechatpay-Timestamp"] = str(int(time.time()))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(f"POST /wx-pay/unifiedOrderTrigger HTTP/1.1\r\n{lines}\r\n".encode() + body[:5])
        time.sleep(TIME + 0.2)
        connection.sendall(body[5:])
        return connection.recv(64).partition(b"\r\n")[0]


@pytest.mark.parametrize("mode", STRANGERS)
def test_a_late_stranger_does_not_keep_the_function_without_certificates(tmp_path: Path, mode: str):
    """A download is tried once in 15 s: a try without time would be everybody's last one until then."""
    with (
        Sandbox(sign_mode=mode, key_mode="certificate", credentials=Credentials.generate()) as box,
        gunicorn(box.env(callbackTimeout=str(TIME), handlerTimeout=str(TIME)), tmp_path / "log") as function,
    ):
        box.function = function.url
        assert late(function, STRANGERS[mode]) == b"HTTP/1.1 503 SERVICE UNAVAILABLE"
        assert box.requests == []
        order = {"description": "tea", "out_trade_no": "LATE000001", "amount": {"total": 1}}
        reply = function.call("wxpay_order", order)
        assert (reply.status, reply.body["msg"]) == (200, "success")
