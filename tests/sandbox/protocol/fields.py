"""Field tables: what a body may hold, and every way of getting one field wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.sandbox.conftest import Heard

MISSING = object()


@dataclass(frozen=True)
class Row:
    """One row of a table.

    pointer   JSON Pointer, also of the refusal; `#` in it is a list's first item
    longest   of a string, in characters; `stuff` is what it is filled up with
    required  whether leaving it out is refused
    good      further values that are taken
    bad       further values that are refused
    kind      what it is: "string", "integer", "boolean", "object" or "array"
    """

    pointer: str
    longest: int = 0
    required: bool = False
    good: tuple[Any, ...] = ()
    bad: tuple[Any, ...] = ()
    kind: str = "string"
    stuff: str = "x"
    fits: bool = True  # whether a string of the longest length alone makes a good value

    def __str__(self) -> str:
        return self.pointer

    def wrong(self) -> Iterator[Any]:
        yield from self.bad
        yield from (value for kind, value in OF_EACH_KIND.items() if kind != self.kind)
        yield None
        if self.longest:
            yield self.stuff * (self.longest + 1)
        if self.required:
            yield MISSING

    def right(self) -> Iterator[Any]:
        yield from self.good
        if self.longest and self.fits:
            yield self.stuff * self.longest
        if not self.required:
            yield MISSING


OF_EACH_KIND = {"string": "text", "integer": 7, "boolean": True, "object": {"a": 1}, "array": ["a"]}


def changed(body: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """A copy of `body` with one value replaced or left out."""
    made = copy.deepcopy(body)
    *way, last = pointer.replace("#", "0").strip("/").split("/")
    holder: Any = made
    for step in way:
        holder = holder[int(step) if isinstance(holder, list) else step]
    if value is MISSING:
        del holder[last]
    else:
        holder[int(last) if isinstance(holder, list) else last] = value
    return made


def assert_points_at(answer: Heard, pointer: str, value: Any) -> None:
    """400 PARAM_ERROR whose `detail` says where; a wrong object may be told by what is in it."""
    shown = "MISSING" if value is MISSING else json.dumps(value, ensure_ascii=False)[:60]
    assert answer.status == 400, (pointer, shown)
    content = answer.json
    assert set(content) == {"code", "message", "detail"}, (pointer, shown)
    assert content["code"] == "PARAM_ERROR", (pointer, shown)
    assert content["message"], (pointer, shown)
    detail = content["detail"]
    assert detail["location"] == "body", (pointer, shown)
    assert isinstance(detail["issue"], str), (pointer, shown)
    at = pointer.replace("#", "0")
    inside = isinstance(value, dict | list)
    assert detail["field"] == at or (inside and detail["field"].startswith(f"{at}/")), (pointer, shown, detail)
