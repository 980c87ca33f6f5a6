"""A merchant of the sandbox: signs its requests by itself and sends them over raw HTTP connections."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sandbox import Credentials, Sandbox

PREPAY = "/v3/pay/transactions/jsapi"
REFUNDS = "/v3/refund/domestic/refunds"
BILLS = "/v3/fund-app/mch-transfer/transfer-bills"


@dataclass
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Merchant:
    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.credentials = box.credentials

    def authorization(self, method: str, target: str, body: bytes = b"", **changes: str) -> str:
        """A valid Authorization value; `changes` replace fields unsigned, `time` is set before signing."""
        timestamp = changes.pop("time", str(int(time.time())))
        nonce = secrets.token_hex(16)
        message = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = self.credentials.merchant.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        fields = {
            "mchid": self.credentials.merchant_id,
            "nonce_str": nonce,
            "timestamp": timestamp,
            "serial_no": self.credentials.merchant.serial,
            "signature": base64.b64encode(signature).decode(),
        }
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{k}="{v}"' for k, v in (fields | changes).items())

    def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        headers: dict[str, str | None] | None = None,
        base: str = "",
        timeout: float = 5,
    ) -> Heard:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent: dict[str, str | None] = {
            "Authorization": self.authorization(method, target, raw),
            "Accept": "application/json",
            "User-Agent": "test/1",
        }
        if raw:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        return call(base or self.box.url, method, target, raw, sent, timeout)

    def order(self, number: str = "ORDER_000001", total: int = 100, **more: Any) -> dict[str, Any]:
        return {
            "appid": self.credentials.app_id,
            "mchid": self.credentials.merchant_id,
            "description": "茶",
            "out_trade_no": number,
            "notify_url": "https://shop.example/wx-pay/unifiedOrderTrigger",
            "amount": {"total": total, "currency": "CNY"},
            "payer": {"openid": "oUser"},
            **more,
        }

    def refund(
        self, number: str = "REFUND_1", refund: int = 100, total: int = 100, **more: Any
    ) -> dict[str, Any]:
        return {
            "out_trade_no": "ORDER_000001",
            "out_refund_no": number,
            "notify_url": "https://shop.example/wx-pay/refundTrigger",
            "amount": {"refund": refund, "total": total, "currency": "CNY"},
            **more,
        }

    def transfer(self, number: str = "BILL1", amount: int = 100, **more: Any) -> dict[str, Any]:
        return {
            "appid": self.credentials.app_id,
            "out_bill_no": number,
            "transfer_scene_id": "1000",
            "openid": "oUser",
            "transfer_amount": amount,
            "transfer_remark": "奖励",
            "notify_url": "https://shop.example/wx-pay/transferTrigger",
            "transfer_scene_report_infos": [
                {"info_type": "活动名称", "info_content": "a"},
                {"info_type": "奖励说明", "info_content": "b"},
            ],
            **more,
        }

    def paid(self, number: str = "ORDER_000001", total: int = 100) -> None:
        assert self.send("POST", PREPAY, self.order(number, total)).status == 200
        self.box.pay(number, deliver=False)


def call(
    base: str,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str | None] | None = None,
    timeout: float = 5,
) -> Heard:
    parts = urlsplit(base)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            if value is not None:
                connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Heard(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@dataclass
class Function:
    """Stands for the deployed function: keeps what it gets and answers what it is told."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    return Credentials.generate()


@pytest.fixture(scope="session")
def function_server() -> Iterator[tuple[ThreadingHTTPServer, Function]]:
    state = Function()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, answer = state.answers.pop(0) if state.answers else (200, b'{"code":"SUCCESS"}')
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, state
    server.shutdown()
    server.server_close()


@pytest.fixture
def function(function_server: tuple[ThreadingHTTPServer, Function]) -> Function:
    state = function_server[1]
    state.answers.clear()
    state.got.clear()
    return state


@pytest.fixture
def box(credentials: Credentials, function: Function) -> Iterator[Sandbox]:
    with Sandbox(function.url, "sdk", "public_key", credentials=credentials) as sandbox:
        yield sandbox


@pytest.fixture
def merchant(box: Sandbox) -> Merchant:
    return Merchant(box)
