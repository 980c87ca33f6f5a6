"""HTTPS: a certificate authority that signs one certificate and is gone, and the server's side of TLS.

The authority's private key never leaves the function that makes it, so nobody can ever sign anything else with it:
that is why it carries no name constraints, which would only bind a key that no longer exists (and which some
verifiers read wrongly for addresses). What stays worth stealing is `tls_key.pem`: with it one can play
api.mch.weixin.qq.com towards whoever trusts this authority. Hence a short life, private files, and the advice to
trust `ca.pem` in the one process that is tested, never in a system's or a browser's store.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.credentials import write_private
from sandbox.faces import OFFICIAL

NAMES = ("localhost", *OFFICIAL)
ADDRESSES = ("127.0.0.1", "::1")
LIFE = timedelta(days=90)
RENEWED_BEFORE = timedelta(days=30)


class Spoken(ssl.SSLSocket):
    """The server's end of a TLS connection; `name` is the one that the client asked for, if any."""

    name = ""


@dataclass(frozen=True)
class Tls:
    """Three files in a folder: the authority's certificate, the server's certificate and its key."""

    folder: Path

    @classmethod
    def load_or_create(cls, folder: Path) -> Tls:
        """Those kept in `folder`; made anew when one is missing, unfit or about to expire."""
        tls = cls(folder)
        if not tls._is_good(datetime.now(timezone.utc)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            ca, certificate, key = _made()
            write_private(tls.ca, _pem(ca))
            write_private(tls.key, key)
            write_private(tls.certificate, _pem(certificate))
        return tls

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "tls_cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "tls_key.pem"

    def context(self, admits: Callable[[str], bool]) -> ssl.SSLContext:
        """TLS 1.2 and above; a handshake for a name that `admits` says no to is not answered."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        context.sslsocket_class = Spoken

        def greeted(connection: object, name: str | None, _: ssl.SSLContext) -> int | None:
            if isinstance(connection, Spoken):
                connection.name = name or ""
                if not admits(connection.name):
                    # No alert: a host that is down says nothing.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                    return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
            return None

        context.sni_callback = greeted
        return context

    def _is_good(self, now: datetime) -> bool:
        try:
            ca = x509.load_pem_x509_certificate(self.ca.read_bytes())
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            key = serialization.load_pem_private_key(self.key.read_bytes(), None)
            certificate.verify_directly_issued_by(ca)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return (
            key.public_key() == certificate.public_key()
            and set(names.get_values_for_type(x509.DNSName)) == set(NAMES)
            and min(ca.not_valid_after_utc, certificate.not_valid_after_utc) - RENEWED_BEFORE > now
            and max(ca.not_valid_before_utc, certificate.not_valid_before_utc) <= now
        )


def _made() -> tuple[x509.Certificate, x509.Certificate, str]:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("pay-common sandbox CA")
    ca = (
        _begun(ca_name, ca_name, ca_key.public_key(), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    certificate = (
        _begun(_name("pay-common sandbox"), ca_name, key.public_key(), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ca, certificate, pem.decode()


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
