"""CloudBase's Integration Center: it receives WeChat Pay's notifications, verifies, decrypts and forwards them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from sandbox import outbound
from sandbox.credentials import Credentials
from sandbox.crypto import open_sealed, verifies
from sandbox.keys import Keys
from sandbox.notices import wrapped
from sandbox.wire import Answer, Request

HOST = "sandbox.integration-callback.example"
PATHS = ("/wechatpay/order", "/wechatpay/refund", "/wechatpay/transfer")
WINDOW = 300


class Unproved(Exception):
    """The notification is not WeChat Pay's."""


class IntegrationCenter:
    """`forward_path` is where it posts to: "/" as a rule, or None for the path that the notification came to."""

    def __init__(
        self, credentials: Credentials, keys: Keys, function: Callable[[], str], forward_path: str | None
    ) -> None:
        self._credentials = credentials
        self._keys = keys
        self._function = function
        self.forward_path = forward_path

    def handles(self, request: Request) -> bool:
        return request.method == "POST" and request.path in PATHS

    def handle(self, request: Request) -> Answer:
        """A notification that came over HTTP, answered as the function answers the forward."""
        try:
            headers, body = self.opened(request.headers, request.body)
        except Unproved as error:
            return _answer(401, f"the Integration Center refuses: {error}")
        reply = outbound.post(self._function(), self.forward_path or request.path, headers, body, 5.0)
        if reply.status is None:
            return _answer(502, reply.error or "no answer from the function")
        return Answer(reply.status, {"Content-Type": "application/json"}, reply.body)

    def opened(
        self, headers: Mapping[str, str], body: bytes, envelope: str | None = "rawData"
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of the forward. Raises Unproved unless signature, time and ciphertext hold [4013053249]."""
        sent = {name.lower(): value for name, value in headers.items()}
        timestamp = sent.get("wechatpay-timestamp", "")
        key = self._keys.verifying(sent.get("wechatpay-serial", ""))
        message = f"{timestamp}\n{sent.get('wechatpay-nonce', '')}\n".encode() + body + b"\n"
        if key is None or not verifies(key, message, sent.get("wechatpay-signature", "")):
            raise Unproved("the signature is not WeChat Pay's")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) >= WINDOW:
            raise Unproved("the timestamp is 5 minutes or more away")
        try:
            whole = json.loads(body)
            content = json.loads(open_sealed(self._credentials.api_v3_key, whole["resource"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Unproved(f"its content cannot be read: {error}") from None
        return wrapped(whole, content, envelope)


def _answer(status: int, message: str) -> Answer:
    body = json.dumps({"code": "FAIL", "message": message}).encode()
    return Answer(status, {"Content-Type": "application/json"}, body)
