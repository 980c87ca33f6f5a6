"""Certificates that are wrong in one thing each, and a certificate authority that the function trusts."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


class Authority:
    """Signs certificates for hosts; `pem` is its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.certificate = (
            _begun(self._name, self._name, self._key.public_key(), -DAY, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_signs_certificates(), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def context(
        self,
        folder: Path,
        *names: x509.GeneralName,
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        self_signed: bool = False,
    ) -> ssl.SSLContext:
        """TLS of a host with a new key, certified for `names` from `begins` to `ends`, both counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named("a host")
        signer, issuer = (key, subject) if self_signed else (self._key, self._name)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        made = (
            _begun(subject, issuer, key.public_key(), begins, ends)
            .add_extension(x509.SubjectAlternativeName(names or [LOOPBACK]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(signer, hashes.SHA256())
        )
        file = folder / f"host-{made.serial_number:x}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(made.public_bytes(Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def trusting(folder: Path, *authorities: bytes) -> dict[str, str]:
    """The environment of a function whose certifi, which says whom to trust, names these authorities alone.

    As distributions do it that lead certifi to the system's own list: by a package of that name.
    """
    package = folder / "trust" / "certifi"
    package.mkdir(parents=True)
    (package / "cacert.pem").write_bytes(b"".join(authorities))
    lines = ["from pathlib import Path", "def where():", "    return str(Path(__file__).with_name('cacert.pem'))", ""]
    (package / "__init__.py").write_text("\n".join(lines))
    return {"PYTHONPATH": str(package.parent)}


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _signs_certificates() -> x509.KeyUsage:
    rest = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*rest, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, **never)
