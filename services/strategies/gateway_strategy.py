"""`signMode=gateway`: the Integration Center verifies, decrypts and forwards.

Its forward carries no proof of where it comes from, and the function's address may be public. So the
forwarded content is believed on evidence, in this order: WeChat Pay's own envelope inside it, which only
WeChat Pay or a holder of the APIv3 key can have encrypted; else WeChat Pay's answer when asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.strategies.base import (
    Incoming,
    Kind,
    Notification,
    Opener,
    kind_of,
    read_plaintext,
    require_kind,
    text,
)
from services.strategies.confirmation import Confirmation
from services.wechatpay.cipher import decrypt_resource
from services.wechatpay.errors import NotificationRefused
from utils import json_body


class GatewayStrategy:
    """Opens forwards of the Integration Center; anything without `ParsedContent` goes to `direct`.

    `trust_platform` (callbackTrust=platform) takes plaintext as it is, unless an end user sends it.
    """

    def __init__(
        self, api_v3_key: bytes, confirmation: Confirmation, direct: Opener, *, trust_platform: bool
    ) -> None:
        self._api_v3_key = api_v3_key
        self._confirmation = confirmation
        self._direct = direct
        self._trust_platform = trust_platform

    def open(self, incoming: Incoming) -> Notification:
        if "ParsedContent" not in incoming.body:
            return self._direct.open(incoming)
        content = incoming.body["ParsedContent"]
        if not isinstance(content, dict):
            raise NotificationRefused("ParsedContent must be an object")
        raw_data = _object(incoming.body, "rawData")
        parsed_notify = _object(incoming.body, "ParsedNotify")
        event_type = text(raw_data.get("event_type")) or text(parsed_notify.get("event_type"))
        kind = kind_of(event_type, incoming)
        identifier = text(raw_data.get("id")) or text(parsed_notify.get("id"))
        envelope = raw_data if "resource" in raw_data else parsed_notify
        if "resource" in envelope:
            plaintext = self._decrypt(envelope["resource"], kind, content)
            return Notification(identifier, event_type, kind, plaintext, "resource")
        if kind is None:
            raise NotificationRefused("a notification of this type cannot be confirmed by asking")
        require_kind(content, kind)
        if self._trust_platform and not incoming.identified:
            return Notification(identifier, event_type, kind, content, "platform")
        confirmed = self._confirmation.confirm(
            kind, content, incoming.deadline, from_operator=incoming.from_operator
        )
        return Notification(identifier, event_type, kind, confirmed, "query")

    def _decrypt(self, resource: Any, kind: Kind | None, content: Mapping[str, Any]) -> dict[str, Any]:
        """The decrypted text; what is stated beside it must not contradict it."""
        if not isinstance(resource, dict):
            raise NotificationRefused("resource must be an object")
        plaintext = read_plaintext(decrypt_resource(self._api_v3_key, resource), kind)
        path = next(contradictions(plaintext, content), None)
        if path is not None:
            raise NotificationRefused(f"ParsedContent contradicts the decrypted resource in {path}")
        return plaintext


def contradictions(proved: Any, stated: Any, path: str = "") -> Iterator[str]:
    """Where both state something and not the same; what is only in one of them is none."""
    if isinstance(proved, dict) and isinstance(stated, dict):
        for key in proved.keys() & stated.keys():
            yield from contradictions(proved[key], stated[key], f"{path}.{key}" if path else key)
    elif isinstance(proved, list) and isinstance(stated, list):
        for index, (one, other) in enumerate(zip(proved, stated, strict=False)):
            yield from contradictions(one, other, f"{path}[{index}]")
    elif isinstance(proved, bool) != isinstance(stated, bool) or proved != stated:  # Python counts True as 1
        yield path


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`body[name]`, an object or one as a JSON string; absent is empty, anything else is refused."""
    value = body.get(name)
    if isinstance(value, str):
        try:
            value = json_body.parse(value.encode())
        except json_body.BadJson as error:
            raise NotificationRefused(f"{name} is not JSON") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotificationRefused(f"{name} must be an object")
    return value
