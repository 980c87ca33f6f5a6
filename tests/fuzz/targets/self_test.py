"""services/self_test.py: only who holds apiV3Key can ask, or answer, and only about this address, now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from services.self_test import SelfTest
from tests.fuzz.choices import Choices
from tests.fuzz.world import API_V3_KEY

TOKENS: tuple[bytes, ...] = ()
NOW = 1_800_000_000
_URLS = {
    "payment": "https://shop.example.com/wx-pay/unifiedOrderTrigger",
    "refund": "https://a.example/r",
    "transfer": "",
}
_KINDS = tuple(_URLS)


def run(data: bytes) -> None:
    choices = Choices(data)
    of_one, clock = choices.byte() % 2, NOW + choices.pick((0, 1, 299, 300, 301, -299, -300, 10**6))
    key = choices.pick((API_V3_KEY, API_V3_KEY, API_V3_KEY[:-1] + b"!", b"\x00" * 32))
    mine = SelfTest(API_V3_KEY, _URLS, lambda: clock)
    elsewhere = {kind: "https://elsewhere.example" for kind in _KINDS if choices.chance(4)}
    urls = _URLS | {"transfer": choices.pick(("https://t.example", "", "x\n1"))} | elsewhere
    theirs = SelfTest(key, urls, lambda: NOW)
    kind = choices.pick(_KINDS)
    question = theirs.ask(choices.pick((kind, *_KINDS)), choices.pick(("0123456789abcdef" * 2, "f" * 32)))
    if of_one:
        _answered(mine, kind, choices.edited(question), clock)
    else:
        _proved(theirs, question, mine, kind, choices, clock)


def _answered(mine: SelfTest, kind: str, body: Any, clock: int) -> None:
    if not isinstance(body, dict):
        return
    answer, expected = mine.answer(kind, body), _is_genuine(kind, body, clock)
    assert (answer is not None) == expected, "answered" if answer else "a genuine question is not answered"
    if answer is not None:
        question = body["selfTest"]
        proof = _mac("answer", *(question[name] for name in ("kind", "url", "time", "nonce")), clock)
        assert answer == {"selfTest": {"time": clock, "proof": proof}}


def _proved(
    theirs: SelfTest, question: dict[str, Any], mine: SelfTest, kind: str, choices: Choices, clock: int
) -> None:
    true = mine.answer(kind, question) or {"selfTest": {"time": clock, "proof": "0" * 64}}
    body = choices.edited(true)
    found = theirs.proved(question, body)
    asked = question["selfTest"]
    inner = body.get("selfTest") if isinstance(body, dict) else None
    genuine = (
        isinstance(inner, dict)
        and isinstance(inner.get("time"), int)
        and inner.get("proof")
        == _mac("answer", *(asked[name] for name in ("kind", "url", "time", "nonce")), inner["time"])
        and theirs.api_v3_key == API_V3_KEY
    )
    if theirs.api_v3_key == API_V3_KEY:
        assert (found is not None) == genuine, "another answer counts as proof, or the true one does not"
    else:
        assert found is None, "proved under another key"


def _is_genuine(kind: str, body: dict[str, Any], clock: int) -> bool:
    question = body.get("selfTest")
    if set(body) != {"selfTest"} or not isinstance(question, dict):
        return False
    url, moment, nonce = question.get("url"), question.get("time"), question.get("nonce")
    return (
        question.get("kind") == kind
        and isinstance(url, str)
        and url == (_URLS[kind] or url)
        and isinstance(moment, int)
        and clock - 300 < moment < clock + 300
        and isinstance(nonce, str)
        and re.fullmatch("[0-9a-f]{32}", nonce) is not None
        and question.get("mac") == _mac("ask", kind, url, moment, nonce)
    )


def _mac(purpose: str, *parts: Any) -> str:
    """HKDF-Expand and HMAC by the letters of RFC 5869 and RFC 2104."""
    key = _hmac(API_V3_KEY, f"pay-common self-test {purpose}\x01".encode())
    return _hmac(key, "\n".join(map(str, parts)).encode("utf-8", "surrogatepass")).hex()


def _hmac(key: bytes, message: bytes) -> bytes:
    block = key.ljust(64, b"\x00")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


def seeds() -> Iterable[bytes]:
    for of_one in range(2):
        for kind in range(3):
            yield bytes((of_one, 0, 0, 0, 0, 0, 0, kind, 0, 0, 1, 4, 0, 3))
            yield bytes((of_one, kind, 2, 0, 0, 0, 1, kind, 1, 1, 2, 2, 0, 60, 1, 4, 1))
    yield bytes((1, 3, 0, 0, 0, 0, 0, 0, 0, 0))
    yield bytes((1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 3, 6, 2))
