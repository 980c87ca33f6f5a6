"""The key ring: which public key a `Wechatpay-Serial` names, and verification with it.

During WeChat Pay's switch-over from platform certificates to the public key both kinds of serial arrive
mixed ([4012154180]), so one ring holds both. A key is found by its exact serial or not at all.
"""

from __future__ import annotations

import base64
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from services.wechatpay.errors import KeysUnavailable, SignatureInvalid, WechatPayError
from utils import processor
from utils.texts import Message, said

PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
TOLERANCE = 300  # seconds; at exactly 300 the official helper refuses ([4013053420])
COOL_DOWN = 15.0  # seconds between two downloads, also after a failed one
LEAST_TIME = 1.0  # seconds for a download, however late its asker is: the try counts for everybody
MAX_AGE = 10 * 3600.0  # seconds; the documented limit for a refresh is 12 hours ([4012551764])
_NO_CERTIFICATES = (
    "platform certificates cannot be downloaded ({error}): a merchant to whom the merchant platform shows a WeChat Pay"
    " public key has none, and sets wxPayPublicKey and wxPayPublicKeyId"
)
_ANOTHER_KEY = (
    "Wechatpay-Serial names another key than wxPayPublicKeyId: set id and key as the merchant platform shows them"
)
_INTEGER = re.compile(r"[0-9]{1,12}")
_CERTIFICATE_SERIAL = re.compile(r"[0-9A-Fa-f]{16,64}")

log = logging.getLogger("pay.wechatpay")


@dataclass(frozen=True)
class PlatformCertificate:
    """One platform certificate: its public key and the time span in which it is valid."""

    serial: str
    public_key: RSAPublicKey
    not_before: datetime
    not_after: datetime


def verify_signature(
    headers: Mapping[str, str], body: bytes, find: Callable[[str], RSAPublicKey], now: float
) -> None:
    """Check the signature of an answer or callback over its raw `body` ([4013053249]).

    `find` gives the key for a `Wechatpay-Serial`, `now` is in Unix seconds. Raises SignatureInvalid.
    """
    signature = headers.get("Wechatpay-Signature", "")
    timestamp = headers.get("Wechatpay-Timestamp")
    nonce = headers.get("Wechatpay-Nonce")
    serial = headers.get("Wechatpay-Serial")
    probe = signature.startswith(PROBE_PREFIX)
    if not (signature and timestamp and nonce and serial):
        raise SignatureInvalid(Message("Wechatpay-Timestamp, -Nonce, -Signature or -Serial is missing"))
    if not _INTEGER.fullmatch(timestamp) or abs(now - int(timestamp)) >= TOLERANCE:
        text = Message("Wechatpay-Timestamp is not within 5 minutes of this machine's clock")
        raise SignatureInvalid(text, probe=probe)
    message = f"{timestamp}\n{nonce}\n".encode("utf-8", "replace") + body + b"\n"
    try:
        decoded = base64.b64decode(signature, validate=True)
        find(serial).verify(decoded, message, PKCS1v15(), SHA256())
    except SignatureInvalid as error:
        error.probe = probe
        raise
    except (ValueError, InvalidSignature) as error:  # a probe need not even be base64
        text = Message("Wechatpay-Signature does not fit the body under the key that Wechatpay-Serial names")
        raise SignatureInvalid(text, probe=probe) from error


class KeyRing:
    """Public keys of WeChat Pay by serial.

    `fetch(deadline)` downloads the platform certificates; `deadline` is in `time.monotonic()` seconds.
    """

    def __init__(
        self,
        *,
        public_key_id: str,
        public_key: RSAPublicKey | None,
        fetch: Callable[[float], list[PlatformCertificate]],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fixed: dict[str, RSAPublicKey] = {public_key_id.upper(): public_key} if public_key else {}
        self.public_key_id = public_key_id if public_key else ""
        self._fetch = fetch
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._certificates: dict[str, PlatformCertificate] = {}
        self._tried_at = float("-inf")
        self._fetched_at = float("-inf")

    def verify(self, headers: Mapping[str, str], body: bytes, deadline: float, *, wait: bool = True) -> None:
        """Check WeChat Pay's signature over the raw `body`, see `verify_signature`.

        Raises also KeysUnavailable, when the certificate that is named cannot be had now.
        """
        verify_signature(headers, body, lambda serial: self.key(serial, deadline, wait=wait), self._clock())

    def key(self, serial: str, deadline: float, *, wait: bool = True) -> RSAPublicKey:
        """The key with exactly this serial (case does not matter), after one refresh if need be.

        Raises SignatureInvalid for a key that WeChat Pay does not have, KeysUnavailable when that could
        not be found out.
        """
        wanted = serial.upper()
        if key := self._find(wanted):
            return key
        if not _CERTIFICATE_SERIAL.fullmatch(wanted):
            raise SignatureInvalid(Message(_ANOTHER_KEY))
        self._refresh(deadline, wait=wait)
        if key := self._find(wanted):
            return key
        raise SignatureInvalid(Message("Wechatpay-Serial names no platform certificate of this merchant"))

    def prepare(self, deadline: float) -> None:
        """Before a call: have platform certificates at hand where no public key is configured.

        Raises KeysUnavailable when there are none. A refresh that fails keeps the old ones.
        """
        if self.fixed:
            return
        now = self._monotonic()
        if not self._certificates:
            self._refresh(deadline)
        elif now - self._fetched_at > MAX_AGE and now - self._tried_at > COOL_DOWN:
            # The known ones still serve, so this costs one caller at a time, and not all of his time.
            try:
                self._refresh(now + (deadline - now) / 3, wait=False)
            except KeysUnavailable as error:
                log.warning("platform certificates could not be renewed, the known ones stay in use: %s", error)

    def encryption_key(self) -> tuple[str, RSAPublicKey]:
        """Serial and key for sensitive fields: the public key, else the newest effective certificate."""
        if self.fixed:
            return self.public_key_id, next(iter(self.fixed.values()))
        now = datetime.fromtimestamp(self._clock(), timezone.utc)
        effective = [c for c in self._certificates.values() if c.not_before <= now < c.not_after]
        if not effective:
            raise KeysUnavailable(Message("no platform certificate is valid at the time of this machine's clock"))
        newest = max(effective, key=lambda certificate: certificate.not_before)
        return newest.serial, newest.public_key

    def _find(self, serial: str) -> RSAPublicKey | None:
        if key := self.fixed.get(serial):
            return key
        certificate = self._certificates.get(serial)
        return certificate.public_key if certificate else None

    def _refresh(self, deadline: float, *, wait: bool = True) -> None:
        """Download once per cool-down; whoever waited for another thread's download uses its result."""
        asked_at = self._monotonic()
        with processor.waiting():
            is_ours = self._lock.acquire(timeout=max(0.0, deadline - asked_at) if wait else 0)
        if not is_ours:
            raise KeysUnavailable(Message("platform certificates are being downloaded by another request"))
        try:
            if self._tried_at > asked_at - COOL_DOWN:
                if self._fetched_at < self._tried_at:
                    raise KeysUnavailable(Message("the last download of platform certificates failed"))
                return
            begun = self._monotonic()
            if begun >= deadline:  # what cannot succeed must not use up the one try of the cool-down
                raise KeysUnavailable(Message("no time is left to download platform certificates"))
            self._tried_at = begun
            try:
                fetched = self._fetch(max(deadline, begun + LEAST_TIME))
            except WechatPayError as error:
                raise KeysUnavailable(Message(_NO_CERTIFICATES, error=said(error))) from error
            self._certificates = {**self._certificates, **{c.serial.upper(): c for c in fetched}}
            self._fetched_at = self._tried_at
            log.info("platform certificates downloaded", extra={"fields": {"serials": sorted(self._certificates)}})
        finally:
            self._lock.release()
