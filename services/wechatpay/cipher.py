"""The two ciphers of APIv3: AES-256-GCM for what WeChat Pay sends, RSA-OAEP for names sent to it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1

from services.wechatpay.errors import DecryptionFailed
from utils.texts import Message

ALGORITHM = "AEAD_AES_256_GCM"
_UNDER_ANOTHER_KEY = "the resource does not decrypt under apiV3Key: set the APIv3 key of the merchant platform"


def decrypt_resource(api_v3_key: bytes, resource: Mapping[str, Any]) -> bytes:
    """Plaintext of a `resource` or `encrypt_certificate` object ([4012071382]).

    `api_v3_key` is the raw 32 bytes; `associated_data` may be absent or empty.
    Raises DecryptionFailed, also for any other algorithm or a field of the wrong type.
    """
    nonce, text = resource.get("nonce"), resource.get("ciphertext")
    associated = resource.get("associated_data")
    if associated is None:
        associated = ""
    if resource.get("algorithm") != ALGORITHM:
        raise DecryptionFailed(Message("resource.algorithm must be {algorithm}", algorithm=ALGORITHM))
    if not (isinstance(nonce, str) and isinstance(text, str) and isinstance(associated, str)):
        raise DecryptionFailed(Message("resource.nonce, ciphertext and associated_data must be strings"))
    try:
        ciphertext = base64.b64decode(text, validate=True)
        return AESGCM(api_v3_key).decrypt(nonce.encode(), ciphertext, associated.encode())
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise DecryptionFailed(Message(_UNDER_ANOTHER_KEY)) from error


def encrypt_oaep(public_key: RSAPublicKey, text: str) -> str:
    """Base64 ciphertext for a sensitive field: RSAES-OAEP with SHA-1 and MGF1-SHA-1 ([4013053257]).

    Raises ValueError when the UTF-8 text is longer than the key allows (214 bytes for 2048 bits).
    """
    # SHA-1 is what the protocol fixes; OAEP does not rest on its collision resistance.
    padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)
    return base64.b64encode(public_key.encrypt(text.encode(), padding)).decode()
