"""`signMode=gateway`: the Integration Center verifies, decrypts and forwards.

Its forward carries no proof of where it comes from, and the function's address may be public. So the
forwarded content is believed on evidence, in this order: WeChat Pay's own envelope inside it, which only
WeChat Pay or a holder of the APIv3 key can have encrypted; else WeChat Pay's answer when asked.
"""

from __future__ import annotations

import logging
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

log = logging.getLogger("pay.callback")


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
        confirmed = self._confirmation.confirm(kind, content, incoming.deadline)
        return Notification(identifier, event_type, kind, confirmed, "query")

    def _decrypt(self, resource: Any, kind: Kind | None, content: Mapping[str, Any]) -> dict[str, Any]:
        """The decrypted text; what is stated beside it must not contradict it."""
        if not isinstance(resource, dict):
            raise NotificationRefused("resource must be an object")
        plaintext = read_plaintext(decrypt_resource(self._api_v3_key, resource), kind)
        proved, stated = dict(leaves(plaintext)), dict(leaves(content))
        for path in proved.keys() & stated.keys():
            if not same(proved[path], stated[path]):
                raise NotificationRefused(f"ParsedContent contradicts the decrypted resource in {path}")
        if proved.keys() != stated.keys():
            log.info("ParsedContent and the decrypted resource hold different fields")
        return plaintext


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither object nor list, with its path; empty ones of those count as values."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def same(one: Any, other: Any) -> bool:
    """Equal, and not only because Python counts True as 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


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
