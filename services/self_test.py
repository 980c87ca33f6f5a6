"""The self-test of a callback address: proof that this very function answers there, with these very keys.

The doctor command asks, the function answers; both hold apiV3Key, and nobody else can do either:

    ask     {"selfTest": {"kind", "url", "time", "nonce", "mac"}}     mac over kind, url, time, nonce
    answer  {"selfTest": {"time", "proof"}}                           proof over these and the answer's time

Question and answer are authenticated with HMAC-SHA256 under two keys of their own, derived from apiV3Key by
HKDF-Expand (RFC 5869), so neither is of use for anything else, nor the one for the other. What is asked about another
address than the configured one, a stale question and a forged one are no self-tests: they are judged as the
notifications that they are not. Nothing is read or written on the way.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

FIELD = "selfTest"
TOLERANCE = 300  # seconds between the two clocks, as for WeChat Pay's own signatures
_NONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class SelfTest:
    """`urls` are the configured callback addresses by kind: payment, refund, transfer; "" where there is none."""

    api_v3_key: bytes = field(repr=False)
    urls: Mapping[str, str]
    clock: Callable[[], float] = time.time

    def ask(self, kind: str, nonce: str) -> dict[str, Any]:
        """The question to send to the address for `kind`; `nonce` are 32 hex digits."""
        question = {"kind": kind, "url": self.urls[kind], "time": int(self.clock()), "nonce": nonce}
        return {FIELD: question | {"mac": self._mac("ask", question)}}

    def answer(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer to a question that came in where `kind` is reported; None for anything else."""
        question = body.get(FIELD)
        if len(body) != 1 or not isinstance(question, dict) or not self._is_mine(kind, question):
            return None
        answer = {"time": int(self.clock())}
        return {FIELD: answer | {"proof": self._mac("answer", question, answer["time"])}}

    def proved(self, asked: Mapping[str, Any], body: Any) -> int | None:
        """The answering function's clock, in Unix seconds, if `body` answers `asked`; else None."""
        answer = body.get(FIELD) if isinstance(body, dict) else None
        if not isinstance(answer, dict) or not isinstance(answer.get("time"), int):
            return None
        proof = self._mac("answer", asked[FIELD], answer["time"])
        return answer["time"] if _same(proof, answer.get("proof")) else None

    def _is_mine(self, kind: str, question: Mapping[str, Any]) -> bool:
        moment, nonce = question.get("time"), question.get("nonce")
        return (
            question.get("kind") == kind
            # A function that places no orders, only takes their callbacks, need not know its own address.
            and question.get("url") == (self.urls.get(kind) or question.get("url"))
            and isinstance(question.get("url"), str)
            and isinstance(moment, int)
            and abs(self.clock() - moment) < TOLERANCE
            and isinstance(nonce, str)
            and _NONCE.fullmatch(nonce) is not None
            and _same(self._mac("ask", question), question.get("mac"))
        )

    def _mac(self, purpose: str, question: Mapping[str, Any], *more: int) -> str:
        key = hmac.digest(self.api_v3_key, f"pay-common self-test {purpose}\x01".encode(), sha256)
        parts = [str(question[name]) for name in ("kind", "url", "time", "nonce")] + [str(part) for part in more]
        return hmac.new(key, "\n".join(parts).encode("utf-8", "surrogatepass"), sha256).hexdigest()


def _same(expected: str, given: object) -> bool:
    return isinstance(given, str) and given.isascii() and hmac.compare_digest(expected, given)
