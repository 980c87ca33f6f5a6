"""Signatures of WeChat Pay: the key ring of services/wechatpay/keys.py, and how the client accepts answers.

Both are compared with RSASSA-PKCS1-v1_5 by the letters of RFC 8017, with Python's integers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from urllib3 import HTTPHeaderDict

from services.wechatpay.client import Client, Reply
from services.wechatpay.errors import ApiError, KeysUnavailable, NotSent, OutcomeUnknown, SignatureInvalid
from services.wechatpay.keys import KeyRing, PlatformCertificate
from services.wechatpay.signer import Signer
from services.wechatpay.transport import Transport
from tests.fuzz import world
from tests.fuzz.choices import Choices
from tests.services.wechatpay.host import OTHER_PLATFORM_KEY

TOKENS: tuple[bytes, ...] = ()
NOW = 1_800_000_000
_OTHER = "7132D72A03E93CDDF8C03BBD1F37EEDF"
_RING = {world.PUBLIC_KEY_ID: world.PLATFORM_KEY, world.CERTIFICATE_SERIAL: OTHER_PLATFORM_KEY}
_SERIALS = (world.PUBLIC_KEY_ID, world.CERTIFICATE_SERIAL, _OTHER, world.PUBLIC_KEY_ID.lower(), "", "PUB_KEY_ID_1", "0")
_TIMES = (0, 0, 1, -1, 299, 300, 301, -299, -300, 10**9, -NOW)
_SPELT = ("{}", "+{}", " {}", "0{}", "{}.0", "{}\n", "{}e0", "１{}", "-{}", "")
_BODIES = (
    b'{"out_trade_no":"A1"}',
    b"",
    b"{}",
    b"\n",
    b'{"out_trade_no":"A2","x":1}',
    b"[]",
    b'{"a":1,"a":2}',
    b"\xff",
)
_STATUSES = (200, 204, 202, 400, 404, 401, 403, 500, 502, 301, 304, 201, 418, 599)
_NETWORK = world.Network(world.books)
_CLIENT = Client(
    transport=Transport(_NETWORK),
    signer=Signer(world.MERCHANT_ID, world.MERCHANT_SERIAL, world.MERCHANT_KEY),
    api_v3_key=world.API_V3_KEY,
    public_key_id=world.PUBLIC_KEY_ID,
    public_key=world.PLATFORM_KEY.public_key(),
    hosts=world.HOSTS,
    timeout=0.9,  # too little for the pause before a second try
    user_agent="fuzz",
    clock=lambda: NOW,
)


def run(data: bytes) -> None:
    choices = Choices(data)
    if choices.byte() % 2:
        _accepted(choices)
    else:
        _verified(choices)


def _verified(choices: Choices) -> None:
    body, headers = _message(choices)
    ring = KeyRing(
        public_key_id=world.PUBLIC_KEY_ID,
        public_key=world.PLATFORM_KEY.public_key(),
        fetch=lambda deadline: [_certificate(world.CERTIFICATE_SERIAL, OTHER_PLATFORM_KEY)],
        clock=lambda: NOW,
    )
    genuine = is_genuine(headers, body, NOW, {serial: key.public_key() for serial, key in _RING.items()})
    try:
        ring.verify(headers, body, time.monotonic() + 5)
    except SignatureInvalid:
        assert not genuine, "WeChat Pay's own signature is refused"
    else:
        assert genuine, "a forged signature is taken"


def _certificate(serial: str, key: RSAPrivateKey) -> PlatformCertificate:
    now = datetime.fromtimestamp(NOW, timezone.utc)
    return PlatformCertificate(serial, key.public_key(), now - timedelta(1), now + timedelta(1))


def _message(choices: Choices) -> tuple[bytes, Mapping[str, str]]:
    """A signed message and what became of it on its way."""
    body = choices.pick(_BODIES)
    key = choices.pick((world.PLATFORM_KEY, OTHER_PLATFORM_KEY, world.STRANGER, world.MERCHANT_KEY))
    headers: dict[str, str] = world.signed(body, key=key, serial=choices.pick(_SERIALS), at=NOW + choices.pick(_TIMES))
    name = choices.pick(("Timestamp", "Nonce", "Signature", "Serial"))
    what, header = choices.byte() % 8, f"Wechatpay-{name}"
    if what == 1:
        del headers[header]
    elif what == 2:
        headers[header] = choices.spoiled_text(headers[header])
    elif what == 3:
        headers["Wechatpay-Timestamp"] = choices.pick(_SPELT).format(headers["Wechatpay-Timestamp"])
    elif what == 4:
        headers["Wechatpay-Signature"] = _respelt(choices, headers["Wechatpay-Signature"])
    elif what == 5:
        body = choices.spoiled(body)
    elif what == 6:
        body = choices.pick((body + b"\n", body.strip(), body.replace(b":", b": ")))
    elif what == 7:
        # The lines of the signed text moved from one part to the next.
        headers["Wechatpay-Nonce"] += f"\n{body.decode('latin-1')}"
        body = b""
    return body, HTTPHeaderDict(headers)


def _respelt(choices: Choices, signature: str) -> str:
    return choices.pick((
        signature.rstrip("="),
        f"{signature} ",
        signature.replace("+", "-").replace("/", "_"),
        f"WECHATPAY/SIGNTEST/{signature[19:]}",
        f"{signature[:100]}\n{signature[100:]}",
        base64.b64encode(bytes(256)).decode(),
        base64.b64encode((1).to_bytes(256, "big")).decode(),
        base64.b64encode(b"\x00" + base64.b64decode(signature)).decode(),
        base64.b64encode(base64.b64decode(signature)[1:]).decode(),
        "",
    ))  # fmt: skip


def is_genuine(headers: Mapping[str, str], body: bytes, now: float, keys: Mapping[str, RSAPublicKey]) -> bool:
    """Whether WeChat Pay signed this just now."""
    timestamp, nonce, signature, serial = (
        headers.get(f"Wechatpay-{name}", "") for name in ("Timestamp", "Nonce", "Signature", "Serial")
    )
    if not re.fullmatch("[0-9]{1,12}", timestamp) or not now - 300 < int(timestamp) < now + 300 or not nonce:
        return False
    key = next((key for name, key in keys.items() if name.lower() == serial.lower()), None)
    if key is None or not re.fullmatch(r"[A-Za-z0-9+/]{342}==", signature):
        return False
    numbers, size = key.public_numbers(), key.key_size // 8
    digest = hashlib.sha256(f"{timestamp}\n{nonce}\n".encode("utf-8", "replace") + body + b"\n").digest()
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
    padded = b"\x00\x01" + b"\xff" * (size - len(info) - 3) + b"\x00" + info
    value = int.from_bytes(base64.b64decode(signature), "big")
    return value < numbers.n and pow(value, numbers.e, numbers.n) == int.from_bytes(padded, "big")


def _accepted(choices: Choices) -> None:
    method, path = choices.pick(
        (("GET", "/v3/pay/transactions/out-trade-no/A1"), ("POST", "/v3/pay/transactions/jsapi"))
    )
    expect = choices.pick(({}, {"out_trade_no": "A1"}))
    status = choices.pick(_STATUSES)
    body, headers = _message(choices)
    if choices.chance(4):
        headers = {name: value for name, value in headers.items() if not name.startswith("Wechatpay-")}
    body = b"" if status in (204, 304) else body  # HTTP has none there
    _NETWORK.respond = lambda *asked: (status, headers, body)
    genuine = is_genuine(
        HTTPHeaderDict(headers), body, NOW, {world.PUBLIC_KEY_ID: world.PLATFORM_KEY.public_key()}
    )
    try:
        reply = _CLIENT.call(method, path, {} if method == "POST" else None, expect=expect)
    except ApiError as error:
        if not 400 <= status < 500 or (error.signed and not genuine):
            raise AssertionError("a refusal that is none, or counts as signed and is not") from error
    except (OutcomeUnknown, NotSent, KeysUnavailable):
        assert not (genuine and _fits(status, body, expect)), "a genuine answer is not taken"
    else:
        assert genuine, "an answer is taken that WeChat Pay did not sign"
        _require_fit(reply, status, body, expect)


def _fits(status: int, body: bytes, expect: Mapping[str, str]) -> bool:
    if status == 204:
        return not expect
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return status == 200 and isinstance(found, dict) and body not in _BODIES[6:] and expect.items() <= found.items()


def _require_fit(reply: Reply, status: int, body: bytes, expect: Mapping[str, Any]) -> None:
    assert status in (200, 204)
    if status == 204 and not expect:
        assert reply == Reply(204, {})
        return
    assert reply == Reply(status, json.loads(body))
    assert expect.items() <= reply.data.items(), "an answer to another question is taken"


def seeds() -> Iterable[bytes]:
    for which in range(2):
        head = bytes((which, 0, 0, 0)) if which else bytes((which,))
        yield head + bytes((0, 0, 0, 0))
        yield head + bytes((0, 1, 1, 0))
        for what in range(8):
            yield head + bytes((what % 5, 0, 0, 1, what % 4, what, 1, 0, 3, what, 1))
        for spelling in range(10):
            yield head + bytes((0, 0, 0, 0, 0, 3, spelling))
            yield head + bytes((0, 0, 0, 0, 0, 4, spelling))
    for status in range(len(_STATUSES)):
        yield bytes((1, 0, 0, status, 0, 0, 0, 0, 0, 0))
        yield bytes((1, 0, 1, status, 0, 0, 0, 0, 0, 0, 3))
