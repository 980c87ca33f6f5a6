"""Reading the answer of GET /v3/certificates ([4012551764])."""

from __future__ import annotations

import json

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.wechatpay.cipher import decrypt_resource
from services.wechatpay.errors import DecryptionFailed
from services.wechatpay.keys import PlatformCertificate
from utils.texts import Message


def read_certificates(body: bytes, api_v3_key: bytes) -> list[PlatformCertificate]:
    """Decrypt the list. AES-GCM under our APIv3 key proves each entry; its serial must be the stated one.

    Raises DecryptionFailed.
    """
    try:
        return [_read(entry, api_v3_key) for entry in json.loads(body)["data"]]
    except (KeyError, TypeError, ValueError, RecursionError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise DecryptionFailed(Message("the list of platform certificates cannot be read")) from error


def _read(entry: dict[str, object], api_v3_key: bytes) -> PlatformCertificate:
    encrypted = entry["encrypt_certificate"]
    if not isinstance(encrypted, dict):
        raise TypeError("encrypt_certificate")
    certificate = x509.load_pem_x509_certificate(decrypt_resource(api_v3_key, encrypted))
    serial, public_key = f"{certificate.serial_number:X}", certificate.public_key()
    if serial != str(entry["serial_no"]).upper().lstrip("0"):
        raise ValueError("serial_no is not the certificate's")
    if not isinstance(public_key, RSAPublicKey):
        raise TypeError("not an RSA certificate")
    return PlatformCertificate(
        serial=str(entry["serial_no"]),
        public_key=public_key,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
