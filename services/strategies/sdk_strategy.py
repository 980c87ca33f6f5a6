"""`signMode=sdk`: WeChat Pay calls this function itself, signed and encrypted ([4012791861])."""

from __future__ import annotations

import threading

from services.strategies.base import Incoming, Notification, kind_of, read_plaintext, text
from services.wechatpay.cipher import decrypt_resource
from services.wechatpay.errors import DecryptionFailed
from services.wechatpay.keys import KeyRing

# Callbacks that may wait for certificates which are being downloaded. Strangers can invent serials, and while WeChat
# Pay is slow each of theirs would hold a thread; whoever is postponed is delivered again.
WAITING = 4


class SdkStrategy:
    """Believes what WeChat Pay's own signature over the raw body proves, and nothing else."""

    def __init__(self, keys: KeyRing, api_v3_key: bytes) -> None:
        self._keys = keys
        self._api_v3_key = api_v3_key
        self._waiting = threading.BoundedSemaphore(WAITING)

    def open(self, incoming: Incoming) -> Notification:
        self._verify(incoming)
        event_type = text(incoming.body.get("event_type"))
        kind = kind_of(event_type, incoming)
        resource = incoming.body.get("resource")
        if not isinstance(resource, dict):
            raise DecryptionFailed("resource is missing")
        plaintext = read_plaintext(decrypt_resource(self._api_v3_key, resource), kind)
        return Notification(text(incoming.body.get("id")), event_type, kind, plaintext, "signature")

    def _verify(self, incoming: Incoming) -> None:
        may_wait = self._waiting.acquire(blocking=False)
        try:
            self._keys.verify(incoming.headers, incoming.raw, incoming.deadline, wait=may_wait)
        finally:
            if may_wait:
                self._waiting.release()
