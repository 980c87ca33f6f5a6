"""What each kind of fault does to an answer."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.crypto import Signer
from sandbox.errors import NUMERIC, OTHER_NUMERIC
from sandbox.wire import Answer, Request

STALE = 600  # seconds, well past the five minutes that are allowed


@dataclass
class Fault:
    """One switch.

    kind       a key of KINDS
    times      how many requests it still spoils; None: until cleared
    host       "main", "backup" or "any"
    path       only requests whose target holds this text
    processed  whether the business action takes place although its answer is spoilt
    seconds    of a latency or of a slow body; after which a closed port opens again, 0: not by itself
    code       of an `error`, one of errors.DOCUMENTED, and its `status`
    """

    kind: str
    times: int | None
    host: str
    path: str
    processed: bool
    seconds: float
    id: int
    code: str = ""
    status: int = 0

    def describe(self) -> dict[str, Any]:
        return dict(vars(self))


Spoil = Callable[[Answer, Signer, Request, Fault], Answer]


def _signed(status: int, body: bytes, signer: Signer, numeric: int = OTHER_NUMERIC) -> Answer:
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Request-ID": f"{secrets.token_hex(20).upper()}-{numeric}",
    }
    return Answer(status, headers | signer.headers(body), body)


def _error(status: int = 0, code: str = "") -> Spoil:
    """An error answer: always the same, or the one that the fault names."""

    def spoil(_: Answer, signer: Signer, __: Request, fault: Fault) -> Answer:
        named = code or fault.code
        body = json.dumps({"code": named, "message": "ordered by a fault"}).encode()
        answer = _signed(status or fault.status, body, signer, NUMERIC.get(named, OTHER_NUMERIC))
        return _no_signature(answer) if named == "SIGN_ERROR" else answer  # as the gateway says it

    return spoil


def _plain(status: int, content_type: str, body: bytes) -> Spoil:
    def spoil(*_: Any) -> Answer:
        return Answer(status, {"Content-Type": content_type}, body)

    return spoil


def _wire(how: str) -> Spoil:
    def spoil(answer: Answer, _: Signer, __: Request, fault: Fault) -> Answer:
        answer.wire, answer.seconds = how, fault.seconds
        return answer

    return spoil


def _redirect(_: Answer, __: Signer, request: Request, ___: Fault) -> Answer:
    return Answer(302, {"Location": f"{request.origin}/redirected"})


def _accepted(_: Answer, signer: Signer, __: Request, ___: Fault) -> Answer:
    return _signed(202, b"", signer, 0)


def _not_json(_: Answer, signer: Signer, __: Request, ___: Fault) -> Answer:
    return _signed(200, b"OK, but this is not JSON", signer, 0)


def _changed(**headers: Callable[[], str]) -> Spoil:
    """Replace `Wechatpay-<Name>` headers without signing anew."""

    def spoil(answer: Answer, _: Signer, __: Request, ___: Fault) -> Answer:
        if "Wechatpay-Signature" in answer.headers:
            answer.headers |= {f"Wechatpay-{name}": value() for name, value in headers.items()}
        return answer

    return spoil


def _resigned(timestamp: Callable[[], int | str] | None = None, addition: bytes = b"") -> Spoil:
    """A true signature, over another time or another body."""

    def spoil(answer: Answer, signer: Signer, _: Request, __: Fault) -> Answer:
        if "Wechatpay-Signature" in answer.headers:
            answer.headers |= signer.headers(
                answer.body + addition, timestamp=timestamp() if timestamp else None
            )
        return answer

    return spoil


def _no_signature(answer: Answer, *_: Any) -> Answer:
    answer.headers = {
        name: value for name, value in answer.headers.items() if not name.startswith("Wechatpay-")
    }
    return answer


def _noise() -> str:
    return base64.b64encode(secrets.token_bytes(256)).decode()


@dataclass(frozen=True)
class Kind:
    """`processed`: the default, or None where the true answer gets spoilt. `seconds`: default duration."""

    spoil: Spoil
    processed: bool | None
    seconds: float = 0.0


KINDS: dict[str, Kind] = {
    "latency": Kind(_wire("whole"), True, 1.0),
    "error": Kind(_error(), False),
    "system_error": Kind(_error(500, "SYSTEM_ERROR"), False),
    "frequency_limited": Kind(_error(429, "FREQUENCY_LIMITED"), False),
    "html_502": Kind(_plain(502, "text/html", b"<html><h1>502 Bad Gateway</h1></html>"), False),
    "reset": Kind(_wire("reset"), False),
    "cut_body": Kind(_wire("cut"), None),
    "slow_body": Kind(_wire("drip"), None, 5.0),
    "empty_200": Kind(_plain(200, "application/json", b""), False),
    "bad_signature": Kind(_changed(Signature=_noise), None),
    "no_signature": Kind(_no_signature, None),
    "other_body_signature": Kind(_resigned(addition=b" "), None),
    "unknown_certificate": Kind(_changed(Serial=lambda: "7" + secrets.token_hex(20)[1:].upper()), None),
    "unknown_public_key": Kind(
        _changed(Serial=lambda: f"PUB_KEY_ID_0{secrets.randbelow(10**27):027d}"), None
    ),
    "stale_timestamp": Kind(_resigned(lambda: int(time.time()) - STALE), None),
    "future_timestamp": Kind(_resigned(lambda: int(time.time()) + STALE), None),
    "text_timestamp": Kind(_resigned(lambda: "yesterday"), None),
    "probe": Kind(_changed(Signature=lambda: "WECHATPAY/SIGNTEST/" + _noise()[19:]), None),
    "unsigned_403": Kind(_plain(403, "application/json", b'{"code":"NO_AUTH","message":"forbidden"}'), False),
    "unsigned_404": Kind(
        _plain(404, "application/json", b'{"code":"NOT_FOUND","message":"not found"}'), False
    ),
    "accepted_202": Kind(_accepted, False),
    "redirect_302": Kind(_redirect, False),
    "not_json": Kind(_not_json, False),
    "refuse": Kind(_wire("whole"), None),
}
"""What can be switched on. `stale_timestamp`, `future_timestamp` and `text_timestamp` are truly signed."""
