"""Strict JSON for bodies that strangers send."""

import json
from itertools import accumulate
from math import isfinite
from typing import Any, NoReturn

from utils.texts import Message

MAX_VALUES = 50_000  # small values take fifty times their text's memory
MAX_QUOTES = 4 * (MAX_VALUES + 1)  # around each value and its key
MAX_NUMBER_LENGTH = 64  # characters; converting a number of any length would take quadratic time


class BadJson(ValueError):
    """A body that is not strict JSON; the text is fit for the caller and never quotes the body."""


def parse(raw: bytes, *, max_depth: int = 64) -> Any:
    """Return the JSON value that `raw` holds, in UTF-8, at most `max_depth` arrays and objects deep.

    Raises BadJson for everything else: an empty body, another encoding, a byte order mark, text after the
    value, NaN and Infinity, numbers too long or too large, a key twice in one object, lone surrogates.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(Message("the body must be UTF-8; byte {number} is not", number=error.start + 1)) from None
    if text.startswith("\ufeff"):
        raise BadJson(Message("the body must not start with a byte order mark"))
    if not text.strip():
        raise BadJson(Message("the body is empty; JSON is expected"))
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets + raw.count(b",") > MAX_VALUES:
        raise BadJson(Message("the body must not hold more than {most} values", most=MAX_VALUES))
    if brackets > max_depth and _depth(raw) > max_depth:
        raise BadJson(Message("the body must not be nested deeper than {most} levels", most=max_depth))
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        template = "the body is not valid JSON: {what} at line {line} column {column}"
        raise BadJson(Message(template, what=error.msg, line=error.lineno, column=error.colno)) from None
    if b"\\ud" in raw or b"\\uD" in raw:  # in valid UTF-8, only an escape can write a surrogate
        _refuse_lone_surrogates(value)
    return value


def _depth(raw: bytes) -> int:
    """How deep the brackets outside strings go; exact up to the first syntax error, where parsing ends."""
    without_escapes = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if without_escapes.count(b'"') > MAX_QUOTES:
        raise BadJson(Message("the body must not hold more than {most} values", most=MAX_VALUES))
    outside_strings = b"".join(without_escapes.split(b'"')[::2])
    steps = outside_strings.translate(_BRACKET_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        text = "the body holds half of a \\ud800-\\udfff surrogate pair: write the whole character"
        raise BadJson(Message(text)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadJson(Message("the body holds an object with the same key twice: send it once"))
    return members


def _integer(digits: str) -> int:
    _refuse_long_number(digits)
    return int(digits)


def _float(digits: str) -> float:
    _refuse_long_number(digits)
    number = float(digits)
    if not isfinite(number):
        raise BadJson(Message("the body holds a number that is too large"))
    return number


def _refuse_long_number(digits: str) -> None:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise BadJson(Message("the body holds a number of more than {most} characters", most=MAX_NUMBER_LENGTH))


def _constant(_name: str) -> NoReturn:
    raise BadJson(Message("the body holds NaN or Infinity, which JSON does not know"))


_BRACKET_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # +1 and -1 as signed bytes
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
