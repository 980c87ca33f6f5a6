"""Whether apiclient_cert.pem, serial number, private key and merchant number belong together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from config import pem
from config.advice import ADVICE, ERROR, WARNING, Row
from config.settings import Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOON = timedelta(days=30)


def examine(settings: Settings, name: str, text: str) -> Iterator[Row]:
    """Compare the merchant API certificate in the file `name`, whose content is `text`, with the settings."""
    found = pem.certificates(text)
    if not found:
        yield Row(
            ERROR,
            name,
            "holds no certificate that can be read",
            "It would tell whether privateKey, merchantSerialNumber and merchantId belong together.",
            "Give apiclient_cert.pem of the zip file from the merchant platform, or leave --certificate out.",
        )
        return
    certificate = found[0]
    owner = common_name(certificate)
    if not owner.isdigit():
        yield Row(
            ERROR,
            name,
            f"is not a merchant's certificate: its subject is {printable(owner) or 'empty'}, not a merchant number",
            "Only the merchant API certificate tells whether the settings belong together.",
            "Give apiclient_cert.pem, not a platform certificate of WeChat Pay's.",
        )
        return
    yield from _fit(settings, name, certificate, owner)
    yield from _validity(certificate)


def common_name(certificate: Certificate) -> str:
    """The subject's CN: the merchant number in a merchant's certificate, `Tenpay.com sign` in a platform's."""
    from cryptography.x509.oid import NameOID  # noqa: PLC0415 - as in config.pem

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:64]


def belongs_to(certificate: Certificate, key: RSAPrivateKey | None) -> bool:
    public = certificate.public_key()
    return (
        key is not None
        and isinstance(public, RSAPublicKey)
        and public.public_numbers() == key.public_key().public_numbers()
    )


def _fit(settings: Settings, name: str, certificate: Certificate, owner: str) -> Iterator[Row]:
    if settings.merchant_id and owner != settings.merchant_id:
        yield Row(
            ERROR,
            "merchantId",
            f"is another merchant's than that of {name}, which is for {owner}",
            "WeChat Pay refuses a signature made by one merchant's key in another one's name.",
            "Take merchantId, merchantSerialNumber and privateKey of one and the same merchant.",
        )
    serial = f"{certificate.serial_number:040X}"
    if settings.merchant_serial_number and settings.merchant_serial_number.upper() != serial:
        yield Row(
            ERROR,
            "merchantSerialNumber",
            f"is not the serial number of {name}",
            ADVICE["merchantSerialNumber"].why,
            f"Set {serial}; or give the certificate that was made together with privateKey.",
        )
    if settings.private_key and not belongs_to(certificate, settings.private_key):
        yield Row(
            ERROR,
            "privateKey",
            f"is not the key of {name}",
            "WeChat Pay verifies with the certificate that merchantSerialNumber names, and answers 401.",
            "Paste the apiclient_key.pem that came in the same zip file as the certificate.",
        )


def _validity(certificate: Certificate) -> Iterator[Row]:
    ends, now = certificate.not_valid_after_utc, datetime.now(timezone.utc)
    if ends - now > SOON:
        return
    expired = ends <= now
    yield Row(
        ERROR if expired else WARNING,
        "merchantSerialNumber",
        f"names a certificate that {'expired' if expired else 'expires'} on {ends.date()}",
        "WeChat Pay refuses every request that is signed with the key of an expired certificate.",
        "Apply for a new certificate on the merchant platform → Account Center → API Security, then set its"
        " merchantSerialNumber and privateKey together.",
    )
