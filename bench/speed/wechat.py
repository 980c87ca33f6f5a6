"""WeChat Pay as far as a speed run needs it: answers orders over TLS at a small part of what they cost the function.

`sandbox/` checks and keeps what it is told, and signs each answer; it would be slower than the function. This one gives
every order the same answer, signed anew every minute, so that the function verifies a true signature each time. It
checks the signature of every hundredth request, and answers 401 to all once one was wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import ssl
import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sandbox import Credentials
from sandbox.tls import Tls

RESIGN = 60.0  # seconds
CHECKED = 100  # one request in so many
ANSWERS = {
    b"/v3/pay/transactions/jsapi": {"prepay_id": "wx26112019463128d0ee4fb5b4f5bb590000"},
    b"/v3/pay/transactions/native": {"code_url": "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"},
}
_FIELD = re.compile(r'(nonce_str|signature|timestamp)="([^"]*)"')


class WeChat:
    """Listens on `url` once started; `delay` is in seconds."""

    def __init__(self, credentials: Credentials, folder: Path) -> None:
        self.credentials = credentials
        self.delay = 0.0
        self.connections = 0
        self.requests = 0
        self.is_fooled = False
        self._signed: dict[bytes, bytes] = {}
        self._signed_at = float("-inf")
        self.tls = Tls.load_or_create(folder)
        self.url = ""

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls.certificate, self.tls.key)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, ssl=context, backlog=512)
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"

    def answer(self, head: bytes, body: bytes) -> bytes:
        self.requests += 1
        if self.requests % CHECKED == 0:
            self._check(head, body)
        if self.is_fooled:
            return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
        if time.monotonic() - self._signed_at > RESIGN:
            self._sign()
        return self._signed[head.split(b" ", 2)[1]]

    def _check(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.decode().split(" ", 2)
        token = dict(_FIELD.findall(head.decode()))
        message = f"{method}\n{target}\n{token['timestamp']}\n{token['nonce_str']}\n".encode() + body + b"\n"
        key = self.credentials.merchant.key.public_key()
        try:
            key.verify(base64.b64decode(token["signature"]), message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            self.is_fooled = True

    def _sign(self) -> None:
        self._signed_at = time.monotonic()
        for path, answer in ANSWERS.items():
            body = json.dumps(answer).encode()
            timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
            message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
            signature = self.credentials.public_key.sign(message, padding.PKCS1v15(), hashes.SHA256())
            self._signed[path] = (
                "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nKeep-Alive: timeout=8\r\nRequest-ID: 0896\r\n"
                f"Wechatpay-Nonce: {nonce}\r\nWechatpay-Timestamp: {timestamp}\r\n"
                f"Wechatpay-Serial: {self.credentials.public_key_id}\r\n"
                f"Wechatpay-Signature: {base64.b64encode(signature).decode()}\r\n\r\n"
            ).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, wechat: WeChat) -> None:
        self._wechat = wechat
        self._received = bytearray()
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._wechat.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = bytes(self._received[:end])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        whole = end + (int(length[1]) if length else 0)
        if len(self._received) < whole:
            return
        answer = self._wechat.answer(head, bytes(self._received[end:whole]))
        del self._received[:whole]
        if self._wechat.delay:
            asyncio.get_running_loop().call_later(self._wechat.delay, self._transport.write, answer)
        else:
            self._transport.write(answer)
