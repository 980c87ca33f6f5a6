"""What can go wrong between this function and WeChat Pay.

WechatPayError
├── NotSent               nothing was sent: no key to verify the answer or to encrypt with, or no time left
├── ApiError              WeChat Pay said no: a 4xx. Nothing happened if it is signed
├── OutcomeUnknown        the call may or may not have been carried out
│   ├── Unreachable       no connection, reset, cut answer
│   ├── TimedOut          no whole answer in time
│   ├── ServerFault       5xx, or 202 (accepted, not processed)
│   ├── RateLimited       429 where WeChat Pay may have gone on all the same
│   └── Unverifiable      an answer that WeChat Pay did not provably give
├── SignatureInvalid      a message whose signature does not hold
├── DecryptionFailed      a ciphertext that is not for our key, or was altered
├── KeysUnavailable       the key that would verify cannot be had at this moment
├── BillNotReady          a bill that WeChat Pay is still making
├── BillNotKept           a bill for which this machine has no room
├── BillUnusable          a bill that is not what WeChat Pay announced, or that does not add up
├── NotificationRefused   a callback without proof, of another merchant, or contradicting itself
└── NotificationPostponed a callback that cannot be judged at this moment; WeChat Pay sends it again
"""

from __future__ import annotations

from typing import Any


class WechatPayError(Exception):
    """Base of everything below; `str()` is fit for a log and holds no secret."""


class NotSent(WechatPayError):
    """Nothing was sent, so nothing happened."""


class ApiError(WechatPayError):
    """WeChat Pay answered with a 4xx.

    `status` HTTP status, `code` and `message` WeChat Pay's own (may be empty), `body` its parsed answer,
    `signed` whether the answer carried a valid signature: an unsigned one comes from the gateway in front
    and proves nothing about a payment, refund or transfer (errors: [4012081717]). `after_unknown` tells a write
    whose first try may have been carried out: this is the answer to its repetition.
    """

    def __init__(self, status: int, body: Any, *, signed: bool, request_id: str = "") -> None:
        fields = body if isinstance(body, dict) else {}
        self.status = status
        self.body = body
        self.signed = signed
        self.after_unknown = False
        self.request_id = request_id
        self.code = str(fields.get("code", ""))
        self.message = str(fields.get("message", ""))
        super().__init__(f"{status} {self.code}".strip())


class OutcomeUnknown(WechatPayError):
    """The call may have been carried out. Query by the same number before anything else.

    `status` and `body` are WeChat Pay's where it answered at all, else 0 and None.
    """

    def __init__(self, reason: str, *, status: int = 0, body: Any = None) -> None:
        self.status = status
        self.body = body
        super().__init__(reason)


class Unreachable(OutcomeUnknown):
    """No connection, or it broke before the whole answer was there."""


class TimedOut(OutcomeUnknown):
    """No whole answer within the time for one try."""


class ServerFault(OutcomeUnknown):
    """WeChat Pay answered 5xx, or 202: accepted, not processed."""


class RateLimited(OutcomeUnknown):
    """429 on a refund or transfer: it may be in progress all the same ([4013071036], [4012716434])."""


class Unverifiable(OutcomeUnknown):
    """The answer's signature is missing or wrong, or its content does not fit the request."""


class SignatureInvalid(WechatPayError):
    """Headers missing, time off by 5 minutes or more, unknown key, or wrong signature."""

    def __init__(self, reason: str, *, probe: bool = False) -> None:
        self.probe = probe
        super().__init__(reason)


class DecryptionFailed(WechatPayError):
    """AES-GCM did not authenticate, or the plaintext is not what it must be."""


class KeysUnavailable(WechatPayError):
    """The platform certificates that would verify this message cannot be fetched now."""


class BillNotReady(WechatPayError):
    """Ask again every half an hour until it is there [4013071227]."""


class BillNotKept(WechatPayError):
    """The temporary file that a large bill needs cannot be written."""


class BillUnusable(WechatPayError):
    """The hash, the form or the sums of a bill do not hold: fetch it again."""


class NotificationRefused(WechatPayError):
    """The callback is not believed; nothing was done."""


class NotificationPostponed(WechatPayError):
    """The callback could not be checked or handled now; it is to be sent again."""
