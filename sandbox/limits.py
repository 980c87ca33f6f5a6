"""How many calls a second WeChat Pay takes from one merchant, where a page says so."""

from __future__ import annotations

import threading
import time

from sandbox.errors import Refusal

ACCEPTED = {
    "jsapi": 500,  # skills: can be raised
    "refund": 150,  # [4013071036]
    "refund query": 300,  # [4013071041]
    "abnormal refund": 150,  # [4013071193]
    "transfer": 100,  # [4012716434]
    "transfer query": 100,  # [4012716437]
    "transfer cancel": 20,  # [4013778940]
    "certificates": 1000,  # [4012551764]
    "fund bill": 3,  # [4013071235]
}
OWN_SPELLING = ("transfer", "transfer cancel", "transfer receipt")
REFUSED = {"refund": 6}
"""Refused calls a second [4013071036]."""


class Limits:
    """Counts calls per wall-clock second; `on` says whether anything is refused."""

    def __init__(self) -> None:
        self.on = False
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()

    def take(self, what: str) -> None:
        """Count a call. Raises Refusal 429 when there have been enough in this second."""
        if not self.on:
            return
        most = ACCEPTED.get(what)
        refused = self._count(what, "refused", 0)
        if (most and self._count(what, "all", 1) > most) or refused >= REFUSED.get(what, refused + 1):
            # Transfers spell it their own way, their queries do not [4012716434, 4012716437, 4012716458].
            code = "FREQUENCY_LIMIT_EXCEED" if what in OWN_SPELLING else "FREQUENCY_LIMITED"
            raise Refusal(429, code, f"{what}: too many calls in this second")

    def refused(self, what: str) -> None:
        """Count a call that was let in and then refused."""
        if self.on and what in REFUSED:
            self._count(what, "refused", 1)

    def _count(self, what: str, kind: str, more: int) -> int:
        second = int(time.time())
        with self._lock:
            since, count = self._counts.get((what, kind), (second, 0))
            count = (count if since == second else 0) + more
            self._counts[what, kind] = (second, count)
            return count
