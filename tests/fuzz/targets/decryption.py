"""services/wechatpay/cipher.py and certificates.py, against AES-GCM by another interface of `cryptography`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding

from services.wechatpay.certificates import read_certificates
from services.wechatpay.cipher import decrypt_resource
from services.wechatpay.errors import DecryptionFailed
from tests.fuzz.choices import Choices
from tests.fuzz.world import API_V3_KEY, CERTIFICATE_SERIAL, PLATFORM_KEY, encoded
from tests.services.wechatpay import host

TOKENS: tuple[bytes, ...] = ()
_KEYS = (API_V3_KEY, API_V3_KEY, b"\x00" * 32, API_V3_KEY[:-1] + b"!")
_YEAR = timedelta(days=365)
_NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
_CERTIFICATES = tuple(
    host.certificate(key, serial, starts=_NOW - _YEAR, ends=_NOW + _YEAR).public_bytes(Encoding.DER)
    for key, serial in (
        (PLATFORM_KEY, int(CERTIFICATE_SERIAL, 16)),
        (host.OTHER_PLATFORM_KEY, 0x0A1B),
        (ec.derive_private_key(0x77, ec.SECP256R1()), 0x77),
    )
)


def run(data: bytes) -> None:
    choices = Choices(data)
    if choices.byte() % 2:
        _listed(choices)
    else:
        _opened(choices)


def _opened(choices: Choices) -> None:
    plaintext, associated = choices.bytes(), choices.text(16)
    resource = choices.edited(host.sealed(plaintext, key=choices.pick(_KEYS), associated_data=associated))
    if isinstance(resource, dict) and isinstance(resource.get("ciphertext"), str):
        resource["ciphertext"] = choices.spoiled_text(resource["ciphertext"])
    if not isinstance(resource, dict):
        return
    expected = opened(resource)
    try:
        found = decrypt_resource(API_V3_KEY, resource)
    except DecryptionFailed:
        assert expected is None or not _is_canonical(resource["ciphertext"]), "a genuine resource is refused"
    else:
        assert found == expected, "what was not sealed under this key is opened"


def _is_canonical(text: str) -> bool:
    return base64.b64encode(base64.b64decode(text + "==")).decode() == text


def opened(resource: dict[str, Any]) -> bytes | None:
    """The plaintext of what was sealed under our key, None of anything else."""
    nonce, text, associated = (resource.get(name) for name in ("nonce", "ciphertext", "associated_data"))
    if resource.get("algorithm") != "AEAD_AES_256_GCM" or not isinstance(nonce, str) or not isinstance(text, str):
        return None
    associated = "" if associated is None else associated
    bare = text.rstrip("=")  # how many more there may be differs between versions of Python, and does no harm
    if not isinstance(associated, str) or not re.fullmatch("[A-Za-z0-9+/]*", bare):
        return None
    try:
        sealed = base64.b64decode(bare + "=" * (-len(bare) % 4))
        gcm = modes.GCM(nonce.encode(), sealed[-16:])
        opener = Cipher(algorithms.AES(API_V3_KEY), gcm).decryptor()
        opener.authenticate_additional_data(associated.encode())
        return opener.update(sealed[:-16]) + opener.finalize()
    except (ValueError, InvalidTag):
        return None


def _listed(choices: Choices) -> None:
    entries = [_entry(choices) for _ in range(1 + choices.byte() % 3)]
    body = choices.spoiled(encoded(choices.edited({"data": entries})))
    try:
        found = read_certificates(body, API_V3_KEY)
    except DecryptionFailed:
        return
    true = list(_true_certificates(json.loads(body)["data"]))
    stated = [(int(one.serial, 16), one.public_key.public_numbers().n) for one in found]
    assert stated == true, "certificates are believed that WeChat Pay did not seal so"


def _true_certificates(entries: list[Any]) -> Iterator[tuple[int, int]]:
    """Serial and modulus of what was sealed under our key."""
    for entry in entries:
        text = opened(entry["encrypt_certificate"])
        assert text is not None, "a certificate of nobody's is believed"
        certificate = x509.load_pem_x509_certificate(text)
        key = certificate.public_key()
        assert isinstance(key, RSAPublicKey)
        yield certificate.serial_number, key.public_numbers().n


def _entry(choices: Choices) -> dict[str, Any]:
    """A certificate, its bytes spoiled before it is sealed or not, under our key or another one."""
    der = choices.pick(_CERTIFICATES)
    spoiled = choices.spoiled(der)
    text = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(spoiled).decode() + "-----END CERTIFICATE-----\n"
    key = choices.pick(_KEYS)
    serial = f"{x509.load_der_x509_certificate(der).serial_number:X}"
    stated = choices.pick((serial, serial, serial.lower(), serial.zfill(40), "0", "", 119, None))
    content = choices.pick((text.encode(), spoiled, b"", b"\xff"))
    return {
        "serial_no": stated,
        "effective_time": "2026-01-01T00:00:00+08:00",
        "encrypt_certificate": host.sealed(content, key=key),
    }


def seeds() -> Iterable[bytes]:
    yield b"\x00\x04test\x03abc"
    yield b"\x00\x04test\x00\x02"
    yield b"\x00\x04test\x03abc\x00\x01\x01\x03\x04"
    yield b"\x00\x04test\x03abc\x00\x00\x01\x00\x05\x00\x02"
    for which in range(3):
        yield bytes((1, 0, which, 0, 0, 0, 0))
        yield bytes((1, 1, which, 1, 0, 60, 0, 1, 0, 2, 0, 0))
    yield bytes((1, 0, 0, 1, 0, 8, 1, 7, 0, 0, 0))
