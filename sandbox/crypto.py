"""The cryptography of APIv3 from WeChat Pay's side: signing, verifying, sealing, opening."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SCHEME = "WECHATPAY2-SHA256-RSA2048"
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
# SHA-1 in both places: what every official example and SDK uses [4013053257].
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """Base64 of SHA256-with-RSA, PKCS#1 v1.5."""
    return base64.b64encode(key.sign(message, _PKCS1, _SHA256)).decode()


def verifies(key: RSAPublicKey, message: bytes, signature: str) -> bool:
    """Whether `signature` (strict base64, one line) is that of `message`."""
    try:
        key.verify(base64.b64decode(signature, validate=True), message, _PKCS1, _SHA256)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


class Signer:
    """One of WeChat Pay's signing keys under the serial or key id that names it in `Wechatpay-Serial`."""

    def __init__(self, serial: str, key: RSAPrivateKey) -> None:
        self.serial = serial
        self.key = key

    def headers(
        self, body: bytes, *, timestamp: int | str | None = None, nonce: str | None = None
    ) -> dict[str, str]:
        """The signature headers of a response or callback with this body [4013053249, 4013053420]."""
        timestamp = str(int(time.time()) if timestamp is None else timestamp)
        nonce = secrets.token_hex(16) if nonce is None else nonce
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": sign(self.key, f"{timestamp}\n{nonce}\n".encode() + body + b"\n"),
            "Wechatpay-Serial": self.serial,
            "Wechatpay-Signature-Type": SCHEME,
        }


def seal(api_v3_key: str, plaintext: bytes, associated_data: str) -> dict[str, Any]:
    """`plaintext` under AES-256-GCM in the shape of `resource` and `encrypt_certificate` [4012071382]."""
    nonce = secrets.token_hex(6)
    ciphertext = AESGCM(api_v3_key.encode()).encrypt(nonce.encode(), plaintext, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "associated_data": associated_data,
        "nonce": nonce,
    }


def open_sealed(api_v3_key: str, resource: Mapping[str, Any]) -> bytes:
    """The plaintext of what `seal` made. Raises ValueError."""
    try:
        nonce, ciphertext = str(resource["nonce"]).encode(), base64.b64decode(resource["ciphertext"], validate=True)
        associated_data = str(resource.get("associated_data") or "").encode()
        return AESGCM(api_v3_key.encode()).decrypt(nonce, ciphertext, associated_data)
    except (InvalidTag, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the resource cannot be decrypted: {type(error).__name__}") from None


def encrypt_field(key: RSAPublicKey, text: str) -> str:
    """A sensitive field for the holder of `key`; at most 214 bytes of UTF-8 for 2048 bits."""
    return base64.b64encode(key.encrypt(text.encode(), _OAEP)).decode()


def decrypt_field(key: RSAPrivateKey, value: str) -> str:
    """The text of a sensitive field. Raises ValueError when key, padding, base64 or UTF-8 is wrong."""
    return key.decrypt(base64.b64decode(value, validate=True), _OAEP).decode()
