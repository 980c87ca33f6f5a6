"""utils/json_body.py against a second reading of the same rules, made from json.loads and a walk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from utils import json_body

TOKENS = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\\u", b"\\ud800", b"\\uDC00", b"\\ud83d\\ude00", b"null",
    b"true",
    b"NaN", b"Infinity", b"-Infinity", b"-", b"0", b"1e999", b"1e-999", b"1" * 64, b"1" * 65, b".", b"E+",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"\xff", b"\x00", b'"a":1,', b'"a":1,"a":2', b"[" * 64, b"]" * 64, b"{\"a\":" * 64, b"\\\\\"",
    b" ",
    b"\xc2\xa0", b"\x0c", b"\xef\xbc\x91",
)  # fmt: skip
_WIDE = 400


class Refused(Exception):
    pass


def run(data: bytes) -> None:
    # A first byte of 0xfe blows the text up: what is wide or deep would make the inputs too long.
    raw = data[1:] * _WIDE if data[:1] == b"\xfe" else data
    try:
        expected, refusal = _reference(raw), ""
    except (Refused, ValueError, RecursionError) as error:
        expected, refusal = None, f"{type(error).__name__}: {error}"
    try:
        value = json_body.parse(raw)
    except json_body.BadJson as error:
        if not refusal or len(str(error)) > 300:
            raise AssertionError("refused, but it is strict JSON, or with too many words") from error
        return
    assert not refusal, f"taken, but {refusal}"
    assert _same(value, expected), "read as another value"


def _reference(raw: bytes) -> Any:
    text = raw.decode("utf-8")
    if text[:1] == "\ufeff":
        raise Refused("byte order mark")
    if sum(raw.count(mark) for mark in (b"[", b"{", b",")) > json_body.MAX_VALUES:
        raise Refused("too wide")
    value = json.loads(
        text, object_pairs_hook=_members, parse_int=_whole, parse_float=_broken, parse_constant=_constant
    )
    _walk(value, 0)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refused("a key twice")
    return dict(pairs)


def _whole(digits: str) -> int:
    if len(digits) > 64:
        raise Refused("long number")
    return int(digits)


def _broken(digits: str) -> float:
    if len(digits) > 64 or math.isinf(float(digits)):
        raise Refused("long or infinite number")
    return float(digits)


def _constant(name: str) -> None:
    raise Refused(name)


def _walk(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise Refused("half of a surrogate pair")
    elif isinstance(value, (dict, list)):
        if depth >= 64:
            raise Refused("too deep")
        for item in value:
            _walk(item, depth + 1)
        for item in value.values() if isinstance(value, dict) else ():
            _walk(item, depth + 1)


def _same(one: Any, other: Any) -> bool:
    """Equal in type as well: 1, 1.0 and true are three values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return (
        bool(one == other) and math.copysign(1, one) == math.copysign(1, other)
        if isinstance(one, float)
        else one == other
    )


def seeds() -> Iterable[bytes]:
    yield b'{"description":"tea","out_trade_no":"A00001","amount":{"total":1,"currency":"CNY"},"flag":true,"none":null}'
    yield '{"茶":["é",-1.5e-3,0,"\\ud83d\\ude00","\\"","\\\\"],"a":{"b":{"c":[[[]]]}}}'.encode()
    yield b'{"a":1,"a":2}'
    yield b'["\\ud800"]'
    yield b"[NaN,1]"
    yield b"1" * 64
    yield b"[" * 64 + b"]" * 64
    yield b"[" * 65 + b"]" * 65
    yield b'{"a":"[[[[","b":"\\"[{"}'
    yield b'\xfe"\\ud83d",['
    yield b"\xfe["
    yield b"\xfe[1,"
    yield b" \t\r\n1 \n"
