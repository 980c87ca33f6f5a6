"""RSA keys from PEM text in whatever shape it arrives after forms, shells and JSON files have been at it.

This module finds the base64 bodies and mends what pasting broke; ``cryptography`` parses and checks the keys.
What was pasted is recognised by its DER content, so a missing or wrong armour line does no harm.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Key = TypeVar("Key", RSAPrivateKey, RSAPublicKey)

_MINIMUM_BITS = 2048
_PASTE_PRIVATE = "paste the whole content of apiclient_key.pem (the merchant's private key)"
_PASTE_PUBLIC = "paste the whole content of wxp_pub.pem (WeChat Pay's public key) from the merchant platform"

_ESCAPED_BLANK = re.compile(r"(?<!\\)\\+[nrt]")
_LONG_DASH = re.compile("[\u2010-\u2015\u2212\uff0d]")  # what word processors make of hyphens
# Without the dashes, so that half-copied armour is found too; bounded, so that the search stays linear.
_ARMOUR = re.compile(r"(BEGIN|END)\s*([A-Z0-9\s]{0,30}?(?:PRIVATE\s*KEY|PUBLIC\s*KEY|CERTIFICATE))")
_NOT_BODY = re.compile("[\\s\"'`“”‘’\\\\,;\u200b-\u200d\u2060\ufeff]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_TELLING = re.compile(r"[A-Za-z0-9+/=]{16,}")


class PemProblem(ValueError):
    """Why a text is not the key that is wanted: what was found, what to paste, and no part of the text."""

    @property
    def reason(self) -> str:
        return str(self)


def private_key(text: str) -> RSAPrivateKey:
    """The merchant's private key (PKCS#1 or PKCS#8). Raises `PemProblem`.

    The full check of the key stays on although it is the slow part of a start: payments are signed with it.
    """
    keys, faults = _contents(text)
    found = [key for key in keys if isinstance(key, RSAPrivateKey)]
    if not found and keys:
        faults = ["a public key", *faults]
    return _only(found, faults, _PASTE_PRIVATE)


def public_key(text: str) -> RSAPublicKey:
    """WeChat Pay's public key (PKCS#1 or SubjectPublicKeyInfo). Raises `PemProblem`.

    A private key beside it refuses the text: WeChat Pay's key never comes with its private half.
    """
    keys, faults = _contents(text)
    found = [key for key in keys if isinstance(key, RSAPublicKey)]
    if len(found) < len(keys):
        found, faults = [], ["a private key", *faults]
    return _only(found, faults, _PASTE_PUBLIC)


def secret_parts(text: str) -> set[str]:
    """The strings that would give a pasted key away: its base64 as pasted, in one piece, and in PEM lines."""
    text = _unescaped(text)
    shapes = [text]
    for _, segment in _segments(text):
        body = _body(segment)
        shapes += [body, *(body[start : start + 64] for start in range(0, len(body), 64))]
    return {part for shape in shapes for part in _TELLING.findall(shape)}


def certificates(text: str) -> list[Certificate]:
    """Every X.509 certificate in the text, in whatever shape it was pasted; for the command line only."""
    from cryptography import x509  # noqa: PLC0415 - 30 ms that a start does not pay

    found = []
    for _, segment in dict.fromkeys(_segments(_unescaped(text))):
        with suppress(PemProblem, ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
            certificate = x509.load_der_x509_certificate(_der(_body(segment)))
            # Both are parsed when they are asked for only: a damaged one is none, here and not somewhere later.
            if certificate.subject is not None and certificate.public_key():
                found.append(certificate)
    return found


def bare(text: str) -> str:
    """The base64 text of the longest part, without armour and line breaks: the shortest that is read."""
    return max((_body(segment) for _, segment in _segments(_unescaped(text))), key=len)


def _contents(text: str) -> tuple[list[RSAPrivateKey | RSAPublicKey], list[str]]:
    keys: list[RSAPrivateKey | RSAPublicKey] = []
    faults = []
    for label, segment in dict.fromkeys(_segments(_unescaped(text))):
        try:
            if "ENCRYPTED" in label or "Proc-Type:" in segment:
                raise PemProblem("an encrypted private key")
            keys.append(_key(_der(_body(segment))))
        except PemProblem as problem:
            faults.append(problem.reason)
    return keys, faults


def _only(found: list[Key], faults: list[str], paste: str) -> Key:
    if len({_modulus(key) for key in found}) > 1:
        raise PemProblem(f"holds several different keys; {paste}")
    if not found:
        raise PemProblem(f"holds {' and '.join(dict.fromkeys(faults))}; {paste}")
    if found[0].key_size < _MINIMUM_BITS:
        raise PemProblem(f"holds an RSA key of fewer than {_MINIMUM_BITS} bits; {paste}")
    return found[0]


def _modulus(key: RSAPrivateKey | RSAPublicKey) -> int:
    public = key.public_key() if isinstance(key, RSAPrivateKey) else key
    return public.public_numbers().n


def _unescaped(text: str) -> str:
    return _LONG_DASH.sub("-", _ESCAPED_BLANK.sub("\n", text))


def _segments(text: str) -> Iterator[tuple[str, str]]:
    """Label and raw body of every armoured block; of a text without armour, the text itself."""
    marks = list(_ARMOUR.finditer(text))
    if not marks:
        yield "", text
        return
    if marks[0][1] == "END":
        yield marks[0][2], text[: marks[0].start()]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        if mark[1] == "BEGIN":
            yield mark[2], text[mark.end() : end]


def _body(segment: str) -> str:
    """The base64 text of a segment, without the dashes around it and what is left of a cut armour line."""
    return _NOT_BODY.sub("", max(segment.split("-"), key=len))


def _der(body: str) -> bytes:
    if not _BASE64.fullmatch(body):
        raise PemProblem("nothing that looks like a key")
    body = body.rstrip("=")
    if len(body) % 4 == 1:  # no base64 text has this length; whether the rest is cut off is told below
        body = body[:-1]
    der = base64.b64decode(body + "=" * (-len(body) % 4))
    if len(der) < _stated_length(der):
        raise PemProblem("base64 text that is cut off before its end")
    return der


def _stated_length(der: bytes) -> int:
    """Length of the outer DER sequence with its header, or 0 for something else."""
    if der[:1] != b"\x30" or len(der) < 2:
        return 0
    if der[1] < 0x80:
        return 2 + der[1]
    width = der[1] & 0x7F
    return 2 + width + int.from_bytes(der[2 : 2 + width], "big")


def _key(der: bytes) -> RSAPrivateKey | RSAPublicKey:
    for load in (_load_private, load_der_public_key):
        try:
            key = load(der)
        except TypeError:
            raise PemProblem("an encrypted private key") from None
        except UnsupportedAlgorithm:
            raise PemProblem("a key that is not RSA") from None
        except ValueError:
            continue
        if isinstance(key, (RSAPrivateKey, RSAPublicKey)):
            return key
        raise PemProblem("a key that is not RSA")
    raise PemProblem("a certificate" if _is_certificate(der) else "base64 text that is damaged or not a key")


def _load_private(der: bytes) -> object:
    return load_der_private_key(der, password=None)


def _is_certificate(der: bytes) -> bool:
    from cryptography import x509  # noqa: PLC0415 - 30 ms that only a refusal should pay

    try:
        x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        return False
    return True
