"""Sends events on to a server of the merchant's own, signed as Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

from services.order_service import Params
from services.wechatpay.errors import OutcomeUnknown
from services.wechatpay.transport import Transport

TIMEOUT = 10.0


class WebhookFailed(Exception):
    """The receiver did not answer 2xx; the event is sent again."""


class Webhook:
    """POSTs `{"type", "timestamp", "data"}`; the receiver tells repetitions by `webhook-id`."""

    def __init__(
        self, transport: Transport, url: str, secret: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._transport = transport
        self._url = url
        self._secret = secret
        self._clock = clock

    def forward(self, kind: str, payload: Params) -> None:
        """Send one event; raises WebhookFailed."""
        identifier, timestamp = str(payload["event_id"]), str(int(self._clock()))
        data = {name: value for name, value in payload.items() if name != "event_id"}
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(timestamp)))
        body = json.dumps({"type": kind, "timestamp": moment, "data": data}, ensure_ascii=False).encode()
        signed = f"{identifier}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.new(self._secret, signed, hashlib.sha256).digest()).decode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            answer = self._transport.send("POST", self._url, body, lambda target: headers, timeout=TIMEOUT)
        except OutcomeUnknown as error:
            raise WebhookFailed(f"no answer from eventWebhookUrl ({type(error).__name__})") from error
        if not 200 <= answer.status < 300:
            raise WebhookFailed(f"eventWebhookUrl answered {answer.status}")
