"""One call to WeChat Pay: serialise once, sign those bytes, send those bytes, verify the answer's bytes.

Two hosts serve the same API and the signature does not cover the host ([4012075113]). What leaves the
outcome unknown is tried once more on the other host with the same number and the same bytes, signed anew:
orders, refunds and transfers are idempotent by the merchant's own number, closing is re-entrant, and a repeated
cancel is refused at worst.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, BinaryIO, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.wechatpay.cipher import encrypt_oaep
from services.wechatpay.errors import (
    ApiError,
    DecryptionFailed,
    KeysUnavailable,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    ServerFault,
    SignatureInvalid,
    Unverifiable,
)
from services.wechatpay.keys import KeyRing, PlatformCertificate, verify_signature
from services.wechatpay.signer import Signer
from services.wechatpay.transport import Answer, Transport
from utils import json_body, processor
from utils.texts import Message, said

# Where 429 does not mean "not processed" ([4013071036], [4012716434]).
_UNKNOWN_WHEN_LIMITED = ("/v3/refund/", "/v3/fund-app/")
MAX_ERROR = 65536
_NOT_SENT = "nothing was sent to WeChat Pay: {reason}"
_ANSWERED = "WeChat Pay answered {status}"
_BACK_OFF = (0.5, 1.0)  # seconds before a second try after 429

Result = TypeVar("Result")
log = logging.getLogger("pay.wechatpay")


class Reply(NamedTuple):
    """A verified answer: HTTP status (200 or 204) and the parsed object ({} for 204)."""

    status: int
    data: dict[str, Any]

    def __repr__(self) -> str:
        return f"Reply(status={self.status})"  # the data may name people


class Client:
    """WeChat Pay APIv3 for one merchant.

    `hosts` are the base URLs of the main and the backup host, `timeout` the seconds for one call in all.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        signer: Signer,
        api_v3_key: bytes,
        public_key_id: str,
        public_key: RSAPublicKey | None,
        hosts: tuple[str, str],
        timeout: float,
        user_agent: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.signer = signer
        self.keys = KeyRing(
            public_key_id=public_key_id, public_key=public_key, fetch=self._download_certificates, clock=clock
        )
        self._transport = transport
        self._api_v3_key = api_v3_key
        self._hosts = hosts
        self._timeout = timeout
        self._user_agent = user_agent
        self._clock = clock

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        serial: str = "",
        expect: Mapping[str, str] | None = None,
        holds: str = "",
        deadline: float | None = None,
        try_timeout: float | None = None,
    ) -> Reply:
        """Call WeChat Pay and return its verified answer.

        `path` is path and query, segments already percent-encoded. `serial` names the key that encrypted a
        field of `body`. `expect` are fields that the answer must repeat, so that no answer to another call
        is taken for this one's; `holds` names a text that it must hold. `deadline` is by default the one of a call
        that begins now; `try_timeout` bounds each of the two tries, in seconds. Raises ApiError, OutcomeUnknown or
        NotSent.
        """
        deadline = deadline or self.deadline()
        content = b"" if body is None else _serialise(body)
        try:
            self.keys.prepare(deadline)
        except KeysUnavailable as error:
            raise NotSent(Message(_NOT_SENT, reason=said(error))) from error
        serial = serial or self.keys.public_key_id

        def attempt(host: str, limit: float) -> Reply:
            answer = self._exchange(method, host, path, content, serial, min(limit, try_timeout or limit))
            return self._accept(answer, method, path, expect or {}, holds, deadline)

        return self._twice(attempt, deadline, is_write=method != "GET")

    def download(self, url: str, file: BinaryIO, *, limit: int, timeout: float) -> None:
        """Fetch what an answer offers under `url` into `file`: at most `limit` bytes, in at most `timeout` seconds.

        Such files carry no signature [4013071238]: check their hash. A signed request goes to no other host than the
        configured ones. Raises ApiError, OutcomeUnknown, or NotSent for an address that leads elsewhere.
        """
        host = next((host for host in self._hosts if url.startswith(f"{host}/")), None)
        if host is None:
            raise NotSent(Message("download_url leads to another host than wxPayApiBase: nothing was sent there"))
        begin = file.tell()
        status = self._transport.download(
            url, lambda target: self._headers("GET", target, b"", ""), file, limit=limit, timeout=timeout
        )
        log.info("wechatpay download", extra={"fields": {"host": host, "status": status, "bytes": file.tell() - begin}})
        if status == 200:
            return
        file.seek(begin)
        body = _parse(file.read(MAX_ERROR))
        if 400 <= status < 500:
            raise ApiError(status, body, signed=False)
        raise ServerFault(Message(_ANSWERED, status=status), status=status, body=body)

    def deadline(self) -> float:
        """Until when a call that begins now may take, in `time.monotonic()` seconds."""
        return time.monotonic() + self._timeout

    def encrypt(self, text: str, deadline: float) -> tuple[str, str]:
        """Serial of the key used, and the ciphertext of a sensitive field ([4013053257]).

        Raises NotSent when there is no key to encrypt with, ValueError for a text too long for the key.
        """
        try:
            self.keys.prepare(deadline)
            serial, key = self.keys.encryption_key()
        except KeysUnavailable as error:
            raise NotSent(Message(_NOT_SENT, reason=said(error))) from error
        return serial, encrypt_oaep(key, text)

    def _twice(self, attempt: Callable[[str, float], Result], deadline: float, *, is_write: bool) -> Result:
        """Run `attempt(host, seconds)` on the main host and, where that settles nothing, on the backup."""
        main, backup = self._hosts
        if _left(deadline) <= 0:
            raise NotSent(Message(_NOT_SENT, reason=Message("no time of wxPayTimeout is left")))
        try:
            return attempt(main, _left(deadline) / 2)
        except (OutcomeUnknown, ApiError) as error:
            limited = isinstance(error, RateLimited) or (isinstance(error, ApiError) and error.status == 429)
            if isinstance(error, ApiError) and not limited:
                raise
            pause = random.uniform(*_BACK_OFF) if limited else 0.0  # noqa: S311
            if _left(deadline) <= 2 * pause:
                raise
            unknown = is_write and isinstance(error, OutcomeUnknown)
        with processor.waiting():
            time.sleep(pause)
        try:
            return attempt(main if limited else backup, _left(deadline))
        except ApiError as error:
            error.after_unknown = unknown
            raise

    def _exchange(
        self, method: str, host: str, path: str, content: bytes, serial: str, limit: float
    ) -> Answer:
        """Send once; log the try. Raises Unreachable or TimedOut."""

        def headers(target: str) -> dict[str, str]:
            return self._headers(method, target, content, serial)

        started = time.monotonic()
        fields: dict[str, Any] = {"method": method, "path": path.partition("?")[0], "host": host}
        try:
            answer = self._transport.send(method, host + path, content, headers, timeout=limit)
            fields |= {"status": answer.status, "wechat_request_id": answer.headers.get("Request-ID", "")}
            return answer
        except OutcomeUnknown as error:
            fields |= {"status": 0, "error": str(error)}
            raise
        finally:
            fields["duration_ms"] = round((time.monotonic() - started) * 1000, 1)
            log.info("wechatpay call", extra={"fields": fields})

    def _headers(self, method: str, target: str, content: bytes, serial: str) -> dict[str, str]:
        values = {
            "Accept": "application/json",
            "User-Agent": self._user_agent,
            "Authorization": self.signer.authorization(method, target, content),
        }
        if content:
            values["Content-Type"] = "application/json"
        if serial:
            values["Wechatpay-Serial"] = serial
        return values

    def _accept(
        self, answer: Answer, method: str, path: str, expect: Mapping[str, str], holds: str, deadline: float
    ) -> Reply:
        """Judge an answer: the verified good one, or the exception that says what is known."""
        status, request_id = answer.status, answer.headers.get("Request-ID", "")
        if status >= 500:
            raise ServerFault(Message(_ANSWERED, status=status), status=status, body=_parse(answer.body))
        if status == 429 and method == "POST" and path.startswith(_UNKNOWN_WHEN_LIMITED):
            raise RateLimited(Message(_ANSWERED, status=status), status=status, body=_parse(answer.body))
        if status >= 400 and "Wechatpay-Signature" not in answer.headers:
            raise ApiError(status, _parse(answer.body), signed=False, request_id=request_id)
        try:
            self.keys.verify(answer.headers, answer.body, deadline)
        except (SignatureInvalid, KeysUnavailable) as error:
            template = "WeChat Pay's answer cannot be verified: {reason}"
            raise Unverifiable(Message(template, reason=said(error))) from error
        if status >= 400:
            raise ApiError(status, _parse(answer.body), signed=True, request_id=request_id)
        return _success(answer, expect, holds)

    def _download_certificates(self, deadline: float) -> list[PlatformCertificate]:
        """Platform certificates: decrypted first, then the answer is verified with one of them ([4012551764])."""
        # X.509 is a tenth of the start-up time, and merchants with a public key never need it.
        from services.wechatpay.certificates import read_certificates  # noqa: PLC0415

        def attempt(host: str, limit: float) -> list[PlatformCertificate]:
            answer = self._exchange("GET", host, "/v3/certificates", b"", self.keys.public_key_id, limit)
            if answer.status >= 500:
                raise ServerFault(Message(_ANSWERED, status=answer.status))
            if answer.status != 200:
                raise ApiError(answer.status, _parse(answer.body), signed=False)
            try:
                certificates = read_certificates(answer.body, self._api_v3_key)
                known = self.keys.fixed | {c.serial.upper(): c.public_key for c in certificates}
                verify_signature(answer.headers, answer.body, partial(_lookup, known), self._clock())
            except (DecryptionFailed, SignatureInvalid) as error:
                template = "the platform certificates are not believed: {reason}"
                raise Unverifiable(Message(template, reason=said(error))) from error
            return certificates

        return self._twice(attempt, deadline, is_write=False)


def is_sendable(body: Mapping[str, Any]) -> bool:
    """Whether `body` can be sent: JSON without null and without characters above U+FFFF ([4012081709])."""
    try:
        content = _serialise(body)
    except (TypeError, ValueError, RecursionError):
        return False
    return max(content) < 0xF0 and not _holds_null(body)


def _holds_null(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return any(map(_holds_null, value.values() if isinstance(value, dict) else value))
    return value is None


def _success(answer: Answer, expect: Mapping[str, str], holds: str) -> Reply:
    """The content of a verified answer below 400, if it is one to this very request."""
    if answer.status == 204 and not expect and not holds:
        return Reply(204, {})
    data = _parse(answer.body)
    if answer.status == 202:
        raise ServerFault(Message("WeChat Pay accepted the call but has not processed it"), status=202, body=data)
    if answer.status != 200 or not isinstance(data, dict):
        raise Unverifiable(Message("WeChat Pay's answer ({status}) is not a JSON object", status=answer.status))
    for name, value in expect.items():
        if data.get(name) != value:
            raise Unverifiable(Message("WeChat Pay's answer is for another {name}", name=name))
    if holds and not isinstance(data.get(holds), str):
        raise Unverifiable(Message("WeChat Pay's answer holds no {name}", name=holds))
    return Reply(200, data)


def _lookup(known: Mapping[str, RSAPublicKey], serial: str) -> RSAPublicKey:
    try:
        return known[serial.upper()]
    except KeyError as error:
        raise SignatureInvalid(Message("Wechatpay-Serial is not among the certificates sent")) from error


def _left(deadline: float) -> float:
    return deadline - time.monotonic()


def _serialise(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _parse(body: bytes) -> Any:
    """The parsed answer; None when it is empty or not strict JSON, which our own answer could not carry on."""
    try:
        return json_body.parse(body)
    except json_body.BadJson:
        return None
