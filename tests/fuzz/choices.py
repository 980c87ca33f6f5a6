"""Decisions read from the bytes of an input, so that what fuzzers mutate are the decisions.

Every input is a valid one: bytes that are missing count as zero, and zero is always the harmless choice.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

# What stands in for a leaf of a JSON value.
HOSTILE: tuple[Any, ...] = (
    0, 1, -1, 2, 100, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, -(10**18), 0.1, 1.0, 20.0, 1e300, -0.0,
    True, False, None, "", " ", "0", "1", "20", "1.0", "01", "+1", "1e2", "0x10", "１２", "٣", "²", "1_000", "1 ",
    "SUCCESS", "success", "SUCCESS ", "ＳＵＣＣＥＳＳ", "FAIL", "CNY", "USD", "\x00", "a\x00b", "\n", "\r\nX-A: b",
    "\u202e", "\u200b", "\ufeff", "\uffff", "😀", "é", "e\u0301", "%s%s{0}{x}", "{", "../../v3/pay", "?a=b", "#",
    "%2e%2e%2f", "'; DROP TABLE pay_orders;--", "x" * 32, "x" * 33, "x" * 127, "x" * 128, "x" * 300, "茶" * 127,
    [], [[]], {}, [None], [1, "1", True], {"": ""}, {"total": 1}, {"a": {"b": {"c": []}}}, [{}] * 3,
)  # fmt: skip


class Choices:
    """Reads an input from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def chance(self, one_in: int = 2) -> bool:
        """False for zero."""
        return self.byte() % one_in == one_in - 1

    def pick(self, options: Sequence[T]) -> T:
        """The first for zero."""
        place = self.byte() if len(options) <= 256 else self.byte() * 256 + self.byte()
        return options[place % len(options)]

    def number(self, size: int = 2) -> int:
        return int.from_bytes(bytes(self.byte() for _ in range(size)), "big")

    def bytes(self, most: int = 255) -> bytes:
        """So many bytes as the next one says."""
        length = min(self.byte(), most)
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def text(self, most: int = 64) -> str:
        return self.bytes(most).decode("utf-8", "replace")

    def value(self) -> Any:
        """A hostile leaf, or a text or number of the input's own."""
        kind = self.byte()
        if kind < 200:
            return copy.deepcopy(HOSTILE[kind % len(HOSTILE)])
        return self.text() if kind < 228 else self.number(8)

    def edited(self, value: Any, most: int = 4) -> Any:
        """A copy with up to `most` places replaced, removed, added or doubled."""
        value = json.loads(json.dumps(value))
        for _ in range(self.byte() % (most + 1)):
            value = self._edit(value)
        return value

    def _edit(self, value: Any) -> Any:
        places = list(_places(value))
        if not places:
            return self.value()
        holder, key = self.pick(places)
        what = self.byte() % 10
        if what < 4:
            holder[key] = self.value()
        elif what > 7:
            holder[key] = self._retyped(holder[key])
        elif what == 4:
            del holder[key]
        elif what == 5 and isinstance(holder, dict):
            holder[self.text(24)] = self.value()
        elif what == 6 and isinstance(holder, dict):
            holder[self.pick(sorted(holder))] = copy.deepcopy(holder[key])
        elif what == 7:
            holder[key] = self.pick(([holder[key]], {"": holder[key]}, str(holder[key]), json.dumps(holder[key])))
        return value

    def retyped(self, value: Any) -> Any:
        """A copy with one leaf in another type."""
        value = json.loads(json.dumps(value))
        leaves = [(holder, key) for holder, key in _places(value) if not isinstance(holder[key], (dict, list))]
        if leaves:
            holder, key = self.pick(leaves)
            holder[key] = self._retyped(holder[key])
        return value

    def _retyped(self, value: Any) -> Any:
        """The same in another type, as a careless comparison would have it."""
        if isinstance(value, bool) or value is None:
            return self.pick((str(value), 1 if value else 0, str(value).lower()))
        if isinstance(value, (int, float)):
            return self.pick((str(value), bool(value), f"{value}.0", [value], float(min(value, 1e300))))
        if isinstance(value, str):
            return self.pick(
                (int(value) if value.isdecimal() and value.isascii() else value.lower(), [value], {value: value})
            )
        return self.pick((str(value), list(value), json.dumps(value)))

    def spoiled(self, raw: bytes, most: int = 3) -> bytes:
        """`raw` with up to `most` bytes or slices changed."""
        found = bytearray(raw)
        for _ in range(self.byte() % (most + 1)):
            place = self.number() % (len(found) + 1)
            what = self.byte() % 6
            if what == 0 and place < len(found):
                found[place] ^= 1 << (self.byte() % 8)
            elif what == 1 and place < len(found):
                found[place] = self.byte()
            elif what == 2:
                del found[place : place + 1 + self.byte()]
            elif what == 3:
                found[place:place] = self.bytes(32)
            elif what == 4:
                found[place:place] = found[place : place + 1 + self.byte()]
            else:
                del found[place:]
        return bytes(found)

    def spoiled_text(self, text: str, most: int = 3) -> str:
        return self.spoiled(text.encode(), most).decode("utf-8", "replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Holder and key of everything inside, in a fixed order."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        found += _places(item)
    return found
