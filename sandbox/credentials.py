"""Marked credentials of an invented merchant and of the WeChat Pay that it deals with.

The mark is the APIv3 key's beginning, `SANDBOX`: whoever holds such a key is not holding a real merchant's.
"""

from __future__ import annotations

import json
import os
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

MARK = "SANDBOX"
_DIGITS = string.digits
_ALPHANUMERIC = string.ascii_letters + string.digits
_INDEX = "credentials.json"


@dataclass(frozen=True, repr=False)
class Certified:
    """A private key with its certificate; `serial` is 40 upper-case hex digits."""

    key: RSAPrivateKey
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        return format(self.certificate.serial_number, "040X")

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True, repr=False)
class Credentials:
    """Everything that exists once per merchant; `platform` is the certificate of today and the next one."""

    merchant_id: str
    app_id: str
    service_app_id: str
    env_id: str
    api_v3_key: str
    public_key_id: str
    token_key_id: str
    merchant: Certified
    public_key: RSAPrivateKey
    platform: tuple[Certified, Certified]
    token_key: RSAPrivateKey

    @classmethod
    def generate(cls) -> Credentials:
        """New credentials, in memory only."""
        root_key = new_key()
        root = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com Sandbox Root CA"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pay-common sandbox"),
            ]
        )

        def certified(name: str, years_old: int = 0) -> Certified:
            key = new_key()
            return Certified(key, _certificate(name, key, root, root_key, years_old))

        merchant_id = "19" + _random(_DIGITS, 8)
        return cls(
            merchant_id=merchant_id,
            app_id="wx" + secrets.token_hex(8),
            service_app_id="wx" + secrets.token_hex(8),
            env_id=f"{MARK.lower()}-{secrets.token_hex(4)}",
            api_v3_key=MARK + _random(_ALPHANUMERIC, 32 - len(MARK)),
            public_key_id="PUB_KEY_ID_0" + merchant_id + _random(_DIGITS, 17),
            token_key_id=secrets.token_hex(8),
            merchant=certified(merchant_id),
            public_key=new_key(),
            # The one that is to be replaced is older: sensitive fields go to the newest [4012551764].
            platform=(certified("Tenpay.com sign", years_old=4), certified("Tenpay.com sign")),
            token_key=new_key(),
        )

    @classmethod
    def load_or_create(cls, folder: Path) -> Credentials:
        """The credentials kept in `folder`, made on first use. Raises ValueError when they are damaged."""
        if (folder / _INDEX).exists():
            return cls.load(folder)
        credentials = cls.generate()
        credentials.save(folder)
        return credentials

    @classmethod
    def load(cls, folder: Path) -> Credentials:
        try:
            names = json.loads((folder / _INDEX).read_text())
            return cls(
                **{field: str(names[field]) for field in _NAMES},
                merchant=_read_certified(folder, "apiclient"),
                public_key=_read_key(folder / "wechatpay_key.pem"),
                platform=(_read_certified(folder, "platform_1"), _read_certified(folder, "platform_2")),
                token_key=_read_key(folder / "token_key.pem"),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"the credentials in {folder} cannot be read ({error}); delete the folder to get new ones"
            ) from error

    def save(self, folder: Path) -> None:
        """Write the credentials; every file is readable by its owner alone."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / ".gitignore", "*\n")
        for name, pair in (
            ("apiclient", self.merchant),
            ("platform_1", self.platform[0]),
            ("platform_2", self.platform[1]),
        ):
            write_private(folder / f"{name}_key.pem", private_pem(pair.key))
            write_private(folder / f"{name}_cert.pem", pair.pem)
        write_private(folder / "wechatpay_key.pem", private_pem(self.public_key))
        write_private(folder / "pub_key.pem", public_pem(self.public_key))
        write_private(folder / "token_key.pem", private_pem(self.token_key))
        # Last, because its presence says that the other files are complete.
        write_private(
            folder / _INDEX, json.dumps({field: getattr(self, field) for field in _NAMES}, indent=1) + "\n"
        )


_NAMES = ("merchant_id", "app_id", "service_app_id", "env_id", "api_v3_key", "public_key_id", "token_key_id")


def new_key() -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(key: RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step; mode 0600 from its first moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def _certificate(
    name: str, key: RSAPrivateKey, issuer: x509.Name, issuer_key: RSAPrivateKey, years_old: int
) -> x509.Certificate:
    begin = datetime.now(timezone.utc) - timedelta(days=365 * years_old, minutes=5)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        # The highest allowed bit is set so that the serial always has its 40 hex digits.
        .serial_number(secrets.randbits(158) | 1 << 158)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=5 * 365))
        .sign(issuer_key, hashes.SHA256())
    )


def _read_key(path: Path) -> RSAPrivateKey:
    # We wrote the file ourselves; checking the primes again would cost most of the start-up time.
    key = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{path.name} is not an RSA key")
    return key


def _read_certified(folder: Path, name: str) -> Certified:
    certificate = x509.load_pem_x509_certificate((folder / f"{name}_cert.pem").read_bytes())
    return Certified(_read_key(folder / f"{name}_key.pem"), certificate)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
