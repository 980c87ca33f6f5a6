"""The strict check of a merchant's request before any business code sees it."""

from __future__ import annotations

import re
import time

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sandbox.crypto import SCHEME, verifies
from sandbox.errors import Refusal, bad_sign
from sandbox.merchant import Merchant
from sandbox.wire import Request

WINDOW = 300  # seconds the merchant's clock may be off [4012072670]
_PAIR = re.compile(r'([a-z_]+)="([^"]*)"')
_NAMES = {"mchid", "serial_no", "nonce_str", "timestamp", "signature"}


def check_headers(request: Request) -> None:
    """Headers every request must carry [4012081709]. Raises Refusal 400, unsigned as observed."""
    headers = request.headers
    if not headers.get("user-agent"):
        raise _bad_header("User-Agent is required")
    accepted = {part.partition(";")[0].strip().lower() for part in headers.get("accept", "").split(",")}
    if not accepted & {"application/json", "*/*"}:
        raise _bad_header("Accept must be application/json")
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.body and content_type != "application/json":
        raise _bad_header("Content-Type must be application/json")


def check_signature(
    request: Request, merchant: Merchant, *, merchant_id: str, serial: str, key: RSAPublicKey
) -> None:
    """Verify `Authorization` over the bytes that came in [4012365344]. Raises Refusal 401 SIGN_ERROR.

    The causes and their order: [4012072670, 4012365344-4012365348]; the clock first, as observed.
    """
    fields = parse(request.headers.get("authorization", ""))
    timestamp = fields["timestamp"]
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise bad_sign("the timestamp in Authorization is not a number of seconds")
    if abs(time.time() + merchant.clock_off - int(timestamp)) > WINDOW:
        raise bad_sign("the timestamp in Authorization differs from ours by more than 5 minutes")
    if fields["mchid"] != merchant_id:
        raise bad_sign("the mchid in Authorization is unknown")
    if not merchant.api_v3_key:
        raise bad_sign("the merchant has set no APIv3 key on the merchant platform")
    if merchant.certificate == "none":
        raise bad_sign("the merchant has never applied for an API certificate")
    if fields["serial_no"].upper() != serial:
        raise bad_sign("the serial_no in Authorization is not that of the merchant's API certificate")
    if merchant.certificate != "valid":
        raise bad_sign(f"the merchant's API certificate is {merchant.certificate}: use the present one")
    message = f"{request.method}\n{request.target}\n{timestamp}\n{fields['nonce_str']}\n".encode("latin-1")
    if not verifies(key, message + request.body + b"\n", fields["signature"]):
        raise bad_sign(
            "the signature is wrong: sign method, path with query, timestamp, nonce and body as sent"
        )


def parse(value: str) -> dict[str, str]:
    """The five fields of an Authorization value. Raises Refusal 401 unless formed exactly as documented."""
    scheme, space, rest = value.partition(" ")
    if not value:
        raise bad_sign("the header Authorization is missing")
    if scheme != SCHEME:
        raise bad_sign(f"the scheme of Authorization must be {SCHEME}")
    pairs = [_PAIR.fullmatch(part) for part in rest.split(",")] if space else []
    fields = {pair[1]: pair[2] for pair in pairs if pair}
    if len(pairs) != len(_NAMES) or set(fields) != _NAMES or not all(fields.values()):
        raise bad_sign(
            'Authorization must hold mchid, serial_no, nonce_str, timestamp, signature as name="value"'
            " joined by commas without spaces"
        )
    return fields


def _bad_header(message: str) -> Refusal:
    return Refusal(400, "INVALID_REQUEST", message, signed=False)
