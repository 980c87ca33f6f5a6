"""Access tokens of the CloudBase environment, true and forged, and the key set that tells them apart."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from sandbox.credentials import Credentials, new_key, public_pem

LIFETIME = 7200
_OWN_CLAIMS: dict[str, dict[str, Any]] = {
    "user": {"scope": "openid", "user_type": "external", "client_type": "client_user"},
    "anonymous": {
        "provider": "anonymous",
        "scope": "anonymous",
        "is_anonymous": True,
        "user_type": "external",
        "client_type": "client_user",
    },
    "server": {
        "sub": "service_account",
        "user_id": "service_account",
        "provider": "apikey",
        "scope": "server",
        "role": "service_role",
        "client_type": "client_server",
        "meta": {"platform": "ApiKey"},
    },
    "publishable": {
        "sub": "anon",
        "user_id": "anon",
        "provider": "anonymous",
        "scope": "anonymous",
        "role": "anon",
        "client_type": "client_user",
        "meta": {"platform": "PublishableKey"},
    },
}
KINDS = tuple(_OWN_CLAIMS)
_HASHES = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}
ALGORITHMS = (*_HASHES, "HS256", "none")


class Tokens:
    """Issues and checks tokens whose `iss` is the gateway's URL and whose `aud` is the environment id."""

    def __init__(self, credentials: Credentials, issuer: str) -> None:
        self._credentials = credentials
        self._issuer = issuer
        self._other: RSAPrivateKey | None = None

    def issue(
        self,
        /,
        kind: str = "user",
        *,
        uid: str = "2046000000000000001",
        openid: str = "oSandboxUser0000000000000001",
        key: str = "gateway",
        alg: str = "RS256",
        kid: str | None = None,
        **claims: Any,
    ) -> str:
        """A token of this kind; `claims` replaces claims (None removes one).

        Forgeries: `key="other"` signs with a key outside the key set; `alg` may be RS384, RS512, "none" or
        "HS256" (with the public key's PEM as the secret); `kid` names another key; `exp` in the past expires.
        """
        if kind not in KINDS or alg not in ALGORITHMS or key not in ("gateway", "other"):
            raise ValueError(f"kind: {', '.join(KINDS)}; alg: {', '.join(ALGORITHMS)}; key: gateway, other")
        now = int(time.time())
        payload = {
            "iss": self._issuer,
            "aud": self._credentials.env_id,
            "project_id": self._credentials.env_id,
            "sub": uid,
            "user_id": uid,
            "iat": now,
            "exp": now + LIFETIME,
            **_OWN_CLAIMS[kind],
        }
        if kind == "user":
            payload |= {"provider": "wx_openid", "provider_sub": openid}
        payload = {name: value for name, value in (payload | claims).items() if value is not None}
        header = {"alg": alg, "typ": "JWT", "kid": self._credentials.token_key_id if kid is None else kid}
        signed = f"{_part(_json(header))}.{_part(_json(payload))}"
        return f"{signed}.{_part(self._signature(signed.encode(), alg, key))}"

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a good token. Raises jwt.InvalidTokenError."""
        claims: dict[str, Any] = jwt.decode(
            token,
            self._credentials.token_key.public_key(),
            algorithms=["RS256"],
            audience=self._credentials.env_id,
            issuer=self._issuer,
            options={"require": ["exp", "sub"]},
        )
        return claims

    def key_set(self) -> dict[str, Any]:
        """The body of `/auth/v1/certs`."""
        numbers = self._credentials.token_key.public_key().public_numbers()
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "alg": "RS256",
                    "use": "sig",
                    "kid": self._credentials.token_key_id,
                    "n": _part(numbers.n.to_bytes(256, "big")),
                    "e": _part(numbers.e.to_bytes(3, "big")),
                }
            ]
        }

    def _signature(self, signed: bytes, alg: str, key: str) -> bytes:
        if alg == "none":
            return b""
        if alg == "HS256":
            return hmac.digest(public_pem(self._credentials.token_key).encode(), signed, hashlib.sha256)
        if key == "other" and self._other is None:
            self._other = new_key()
        signing = self._other if key == "other" and self._other else self._credentials.token_key
        return signing.sign(signed, padding.PKCS1v15(), _HASHES[alg])


def is_anonymous(claims: dict[str, Any]) -> bool:
    return (
        claims.get("provider") == "anonymous"
        or claims.get("is_anonymous") is True
        or "anon" in (claims.get("sub"), claims.get("role"))
        or claims.get("meta") == {"platform": "PublishableKey"}
    )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
