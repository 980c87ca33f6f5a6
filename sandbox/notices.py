"""Notifications: as WeChat Pay sends them, and as the Integration Center forwards them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.clock import rfc3339
from sandbox.credentials import Credentials
from sandbox.crypto import Signer, seal
from sandbox.keys import Keys

ENVELOPES = ("rawData", "rawData-string", "ParsedNotify", None)
_ORIGINAL_TYPES = {"order": "transaction", "refund": "refund", "transfer": "mch_payment"}
_SUMMARIES = {
    "TRANSACTION.SUCCESS": "支付成功",
    "REFUND.SUCCESS": "退款成功",
    "REFUND.ABNORMAL": "退款异常",
    "REFUND.CLOSED": "退款关闭",
    "MCHTRANSFER.BILL.FINISHED": "商家转账单据终态通知",
}


class Builder:
    """Makes notifications out of any plaintext, true or not, so that tests can spoil every part."""

    def __init__(self, credentials: Credentials, keys: Keys, now: Callable[[], float]) -> None:
        """`now` is business time; signatures carry the wall clock."""
        self._credentials = credentials
        self._keys = keys
        self._now = now

    def envelope(
        self,
        kind: str,
        plaintext: Mapping[str, Any] | bytes,
        *,
        event_type: str | None = None,
        event_id: str | None = None,
        api_v3_key: str | None = None,
        associated_data: str | None = None,
        original_type: str | None = None,
        created: float | None = None,
    ) -> dict[str, Any]:
        """The notification with its encrypted resource [4012791861]; `plaintext` may be raw bytes."""
        content = plaintext if isinstance(plaintext, bytes) else _encoded(plaintext)
        original_type = original_type or _ORIGINAL_TYPES[kind]
        event_type = event_type or event_type_of(kind, plaintext)
        associated_data = original_type if associated_data is None else associated_data
        resource = seal(api_v3_key or self._credentials.api_v3_key, content, associated_data)
        return {
            "id": event_id or new_event_id(),
            "create_time": rfc3339(self._now() if created is None else created),
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": _SUMMARIES.get(event_type, event_type),
            "resource": {"original_type": original_type, **resource},
        }

    def notification(
        self,
        kind: str,
        plaintext: Mapping[str, Any] | bytes,
        *,
        key: str | None = None,
        timestamp: int | str | None = None,
        nonce: str | None = None,
        **envelope: Any,
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body as WeChat Pay itself sends them. `envelope` takes what `envelope()` takes."""
        body = _encoded(self.envelope(kind, plaintext, **envelope))
        return self.signed(body, key=key, timestamp=timestamp, nonce=nonce), body

    def signed(
        self,
        body: bytes,
        *,
        key: str | None = None,
        timestamp: int | str | None = None,
        nonce: str | None = None,
        signer: Signer | None = None,
    ) -> dict[str, str]:
        """The headers of a direct notification over any body."""
        signer = signer or self._keys.signer(key)
        return {
            "Content-Type": "application/json",
            "User-Agent": "Mozilla/4.0",
            "Accept": "*/*",
            **signer.headers(body, timestamp=timestamp, nonce=nonce),
        }

    def forwarded(
        self,
        kind: str,
        plaintext: Mapping[str, Any],
        *,
        envelope: str | None = "rawData",
        parsed_content: Any = ...,
        action: str | None = None,
        **fields: Any,
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body as the Integration Center forwards them.

        `envelope` says where WeChat Pay's whole notification is: "rawData", "rawData-string" (the same as a
        JSON string), "ParsedNotify", or None for the plaintext alone. `parsed_content` replaces the plaintext
        beside the envelope; None leaves `ParsedContent` and `Plaintext` out. `fields` as in `envelope()`.
        """
        whole = self.envelope(kind, plaintext, **fields)
        content = dict(plaintext) if parsed_content is ... else parsed_content
        return wrapped(whole, content, envelope, action)


def wrapped(
    whole: Mapping[str, Any], content: Any, envelope: str | None = "rawData", action: str | None = None
) -> tuple[dict[str, str], bytes]:
    """What the Integration Center makes of a notification `whole` and its plaintext `content`."""
    if envelope not in ENVELOPES:
        raise ValueError(f"envelope must be one of {', '.join(map(str, ENVELOPES))}")
    bare = {"event_type": whole["event_type"]}
    body: dict[str, Any] = {} if action is None else {"_action": action}
    if content is not None:
        body |= {"ParsedContent": content, "Plaintext": _encoded(content).decode()}
    body["ParsedNotify"] = whole if envelope == "ParsedNotify" else bare
    raw = {"rawData": whole, "rawData-string": _encoded(whole).decode()}
    body["rawData"] = raw.get(envelope or "", bare)
    return {"Content-Type": "application/json", "x-tcb-integration-id": "sandbox-integration"}, _encoded(body)


def new_event_id() -> str:
    return f"EV-{time.strftime('%Y%m%d')}{secrets.randbelow(10**15):015d}"


def event_type_of(kind: str, plaintext: Mapping[str, Any] | bytes) -> str:
    if kind == "refund":
        status = "SUCCESS" if isinstance(plaintext, bytes) else plaintext.get("refund_status", "SUCCESS")
        return f"REFUND.{status}"
    return {"order": "TRANSACTION.SUCCESS", "transfer": "MCHTRANSFER.BILL.FINISHED"}[kind]


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
