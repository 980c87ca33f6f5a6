"""Which of WeChat Pay's keys exist for this merchant, and which one signs."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from sandbox.credentials import Certified, Credentials
from sandbox.crypto import Signer

KEY_MODES = ("public_key", "certificate")


class Keys:
    """WeChat Pay's side of the key exchange.

    In `public_key` mode there are no certificates unless `certificates_available` is set, which is the
    state of a merchant who is switching over. `rotate()` publishes the second certificate beside the first.
    """

    def __init__(self, credentials: Credentials, key_mode: str) -> None:
        if key_mode not in KEY_MODES:
            raise ValueError(f"key_mode must be one of {', '.join(KEY_MODES)}")
        self.key_mode = key_mode
        self._public = Signer(credentials.public_key_id, credentials.public_key)
        self._platform = [Signer(pair.serial, pair.key) for pair in credentials.platform]
        self._pairs = credentials.platform
        self.clear()

    def clear(self) -> None:
        self.certificates_available = self.key_mode == "certificate"
        self._published = 1
        self._signing = 0

    def rotate(self, sign_with: str = "new") -> None:
        """Publish both platform certificates and sign with the `new` or still the `old` one."""
        if sign_with not in ("new", "old"):
            raise ValueError("sign_with must be new or old")
        self._published = 2
        self._signing = 1 if sign_with == "new" else 0

    def certificates(self) -> list[Certified]:
        """What `/v3/certificates` shows."""
        return list(self._pairs[: self._published]) if self.certificates_available else []

    def signer(self, kind: str | None = None) -> Signer:
        """The signer of a callback: `public`, `certificate`, or what the key mode uses when None."""
        if kind not in (None, "public", "certificate"):
            raise ValueError("key must be public or certificate")
        public = kind == "public" or (kind is None and self.key_mode == "public_key")
        return self._public if public else self._platform[self._signing]

    def answering(self, requested: str) -> Signer:
        """The signer of a response to a request whose `Wechatpay-Serial` is `requested` [4012154180]."""
        named = requested == self._public.serial and self.key_mode == "public_key"
        return self._public if named or not self.certificates_available else self._platform[self._signing]

    def decrypting(self, requested: str) -> RSAPrivateKey | None:
        """The private key behind a serial that a request names, if this merchant knows it."""
        if requested == self._public.serial:
            return self._public.key if self.key_mode == "public_key" else None
        for pair in self.certificates():
            if pair.serial == requested.upper():
                return pair.key
        return None
