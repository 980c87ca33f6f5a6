"""Keys and certificates from pasted text: config/pem.py, config/likeness.py, config/certificate.py.

The first byte says which of them reads the rest. A text is a key, or PemProblem without a part of it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from config import certificate, likeness, pem
from config.settings import FIELDS, Settings
from sandbox.credentials import private_pem, public_pem
from tests.fuzz import world
from tests.services.wechatpay import host

TOKENS = (
    b"-----BEGIN ", b"-----END ", b"PRIVATE KEY", b"PUBLIC KEY", b"CERTIFICATE", b"-----", b"RSA ", b"ENCRYPTED ",
    b"Proc-Type: 4,ENCRYPTED", b"\\n", b"\\r\\n", b"\\\\n", b"\n", b"\r", b'"', b"'", b",", b"=", b"==", b" ", b"\t",
    b"BEGIN", b"END", b"\xe2\x80\x94", b"\xef\xbb\xbf", b"MII", b"A" * 64, b"your-", b"xxxxxxxx", b"PUB_KEY_ID_",
)  # fmt: skip
_KNOWN = {
    key.public_key().public_numbers().n
    for key in (host.MERCHANT_KEY, host.PLATFORM_KEY, host.OTHER_PLATFORM_KEY, world.STRANGER)
}
_FROM, _TO = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2025, 2035))
_MADE = host.certificate(host.MERCHANT_KEY, int(host.MERCHANT_SERIAL, 16), starts=_FROM, ends=_TO)
_CERTIFICATE = host.pem(_MADE).decode()
_SETTINGS = Settings.from_env({name: world.ENV[name] for name in ("merchantId", "merchantSerialNumber", "privateKey")})


# The check of a private key takes most of the time, and is the same each time.
_load = functools.lru_cache(1000)(pem.load_der_private_key)


def run(data: bytes) -> None:
    with mock.patch.object(pem, "load_der_private_key", _load):
        _fed(data)


def _fed(data: bytes) -> None:
    reader = chr(data[0]) if data else "0"
    text = data[1:].decode("utf-8", "surrogateescape")
    if reader in "34":
        return _examined(text)
    if reader in "56":
        return _likened(text)
    return _read(text)


def _read(text: str) -> None:
    parts = pem.secret_parts(text)
    pem.bare(text)
    try:
        private = pem.private_key(text)
        assert private.key_size >= 2048
        assert private.public_key().public_numbers().n in _KNOWN, "a private key out of nowhere"
        body = max((run for part in parts for run in re.findall(r"[A-Za-z0-9+/=]+", part)), key=len, default="")
        assert len(body) > 1000, "the body of a usable private key is no secret part"
    except pem.PemProblem as problem:
        private = None
        _require_silent(problem, text)
    try:
        public = pem.public_key(text)
        assert isinstance(public, RSAPublicKey)
        assert public.key_size >= 2048
        assert private is None, "one text is both WeChat Pay's public key and a private one"
    except pem.PemProblem as problem:
        _require_silent(problem, text)


def _require_silent(problem: pem.PemProblem, text: str) -> None:
    for run in re.findall(r"[A-Za-z0-9+/]{16,}", text):
        assert run not in problem.reason, "the problem's text quotes what was pasted"


def _examined(text: str) -> None:
    for found in pem.certificates(text):
        assert isinstance(found, x509.Certificate)
        certificate.belongs_to(found, _SETTINGS.private_key)
    for row in certificate.examine(_SETTINGS, "apiclient_cert.pem", text):
        line = " ".join(row)
        assert not world.secrets_in(line), "a row of the doctor's gives a key away"
        assert line.isprintable(), "a row of the doctor's holds control characters"


def _likened(text: str) -> None:
    phrase, variable = likeness.looks_like(text)
    assert bool(phrase) or not variable
    assert variable in ("", *FIELDS)
    likeness.is_placeholder(text)
    if text:
        likeness.is_guessable(text)
    names = dict.fromkeys(text.split("\n")[:50], "x") | {text[:100]: "y"}
    for ours, other in likeness.misspelt(names, FIELDS).items():
        assert ours in FIELDS
        assert other in names


def seeds() -> Iterable[bytes]:
    private, public = private_pem(host.MERCHANT_KEY), public_pem(host.PLATFORM_KEY)
    pkcs1 = host.MERCHANT_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    pkcs1_public = host.PLATFORM.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    bodies = {"private": private, "public": public, "pkcs1": pkcs1, "pkcs1 public": pkcs1_public}
    for text in (*bodies.values(), public + private, _CERTIFICATE):
        yield f"0{text}".encode()
    yield f"0{private}".replace("\n", "\\n").encode()
    yield f"0{public}".replace("\n", " ").replace("-----", "—").encode()
    yield f"0{''.join(public.splitlines()[1:-1])}".encode()
    yield f"3{_CERTIFICATE}".encode()
    yield f"3{''.join(_CERTIFICATE.splitlines()[1:-1])}".encode()
    for text in (world.APP_ID, world.MERCHANT_ID, host.MERCHANT_SERIAL, "gh_0123456789ab", "your-key", "x" * 40):
        yield f"5{text}".encode()
    yield b"5mchid\nprivate_key\nAPI_V3_KEY\nnotifyUrl\nwxpayPublicKey"
