"""Which of WeChat Pay's keys exist for this merchant, and which one signs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from sandbox.credentials import Certified, Credentials
from sandbox.crypto import Signer

KEY_MODES = ("public_key", "certificate")


DAY = 86400
STEPS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Share of callbacks that the public key signs on each day of a switch-over [4012154180]."""


class Keys:
    """WeChat Pay's side of the key exchange.

    In `public_key` mode there are no certificates unless `certificates_available` is set, which is the
    state of a merchant who has switched over. `rotate()` publishes the second certificate beside the first.
    In `certificate` mode `begin_switch()` starts the gradual change to the public key: from then on requests
    may name either key, and callbacks move over in STEPS.
    """

    def __init__(self, credentials: Credentials, key_mode: str, now: Callable[[], float] = time.time) -> None:
        if key_mode not in KEY_MODES:
            raise ValueError(f"key_mode must be one of {', '.join(KEY_MODES)}")
        self.key_mode = key_mode
        self._public = Signer(credentials.public_key_id, credentials.public_key)
        self._platform = [Signer(pair.serial, pair.key) for pair in credentials.platform]
        self._pairs = credentials.platform
        self._now = now
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.certificates_available = self.key_mode == "certificate"
        self._published = 1
        self._signing = 0
        self.switching_since: float | None = None
        self._owed = 0.0  # what the share still owes the public key

    @property
    def public_key_known(self) -> bool:
        return self.key_mode == "public_key" or self.switching_since is not None

    @property
    def share(self) -> float:
        """Of the callbacks, how many the public key signs now."""
        if self.switching_since is None:
            return 1.0 if self.key_mode == "public_key" else 0.0
        days = int((self._now() - self.switching_since) / DAY)
        return STEPS[min(days, len(STEPS) - 1)]

    def begin_switch(self) -> None:
        """Start the change from certificates to the public key. Raises ValueError."""
        if self.key_mode != "certificate" or self.switching_since is not None:
            raise ValueError("a switch-over begins in key mode certificate, and once")
        if self._published > 1:
            raise ValueError("a switch-over cannot run together with a certificate rotation")
        self.switching_since, self._owed = self._now(), 0.0

    def stop_switch(self) -> None:
        """Back to certificates altogether [4012154180]."""
        if self.switching_since is None:
            raise ValueError("no switch-over is running")
        self.switching_since = None

    def rotate(self, sign_with: str = "new") -> None:
        """Publish both platform certificates and sign with the `new` or still the `old` one."""
        if sign_with not in ("new", "old"):
            raise ValueError("sign_with must be new or old")
        if self.switching_since is not None:
            raise ValueError("a certificate rotation cannot run together with a switch-over")
        self._published = 2
        self._signing = 1 if sign_with == "new" else 0

    def certificates(self) -> list[Certified]:
        """What `/v3/certificates` shows."""
        return list(self._pairs[: self._published]) if self.certificates_available else []

    def signer(self, kind: str | None = None) -> Signer:
        """The signer of a callback: `public`, `certificate`, or what the key mode uses when None."""
        if kind not in (None, "public", "certificate"):
            raise ValueError("key must be public or certificate")
        public = kind == "public" or (kind is None and self._public_turn())
        return self._public if public else self._platform[self._signing]

    def answering(self, requested: str) -> Signer:
        """The signer of a response to a request whose `Wechatpay-Serial` is `requested` [4012154180]."""
        wanted = requested == self._public.serial or not self.certificates_available
        return self._public if self.public_key_known and wanted else self._platform[self._signing]

    def decrypting(self, requested: str) -> RSAPrivateKey | None:
        """The private key behind a serial that a request names, if this merchant knows it."""
        if requested == self._public.serial:
            return self._public.key if self.public_key_known else None
        for pair in self.certificates():
            if pair.serial == requested.upper():
                return pair.key
        return None

    def verifying(self, serial: str) -> RSAPublicKey | None:
        """The public key that verifies what `serial` signed, for the Integration Center."""
        for signer in (self._public, *self._platform):
            if signer.serial == serial:
                return signer.key.public_key()
        return None

    def _public_turn(self) -> bool:
        """Whether the next callback is the public key's, spread evenly over the share."""
        with self._lock:
            self._owed += self.share
            if self._owed < 1:
                return False
            self._owed -= 1
            return True
