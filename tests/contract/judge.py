"""Whether a value fits a schema of the description, by jsonschema (draft 2020-12) with formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_HERE = "urn:openapi"
FORMATS = FormatChecker(["ipv4", "ipv6"])


@FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    if isinstance(value, str):
        date.fromisoformat(value)
    return True


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    """The day only: the rest is in the pattern."""
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        date.fromisoformat(value[:10])
    return True


def _pattern(_: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """As JSON Schema means it: `$` is the very end, not what stands before a last newline."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


# And as the description says in words: 20.0 is no integer.
_types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern}, type_checker=_types)


class Judge:
    """`document` is a whole OpenAPI 3.1 description."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_HERE, resource)
        self._validators: dict[str, Any] = {}

    def problems(self, schema: dict[str, Any], value: Any) -> list[str]:
        """What is wrong with `value`, nothing if it fits."""
        key = str(schema)
        if key not in self._validators:
            self._validators[key] = _Validator(
                _absolute(schema), registry=self._registry, format_checker=FORMATS
            )
        return [f"{error.json_path} {error.message}" for error in self._validators[key].iter_errors(value)]


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: f"{_HERE}{item}" if name == "$ref" else _absolute(item) for name, item in value.items()
        }
    return [_absolute(item) for item in value] if isinstance(value, list) else value


def breaks_words(body: dict[str, Any]) -> list[str]:
    """The rules that the description has in words only, because JSON Schema has no way to say them."""
    amount, detail, bounds = body.get("amount"), body.get("detail"), {"reason": 80, "user_name": 214}
    found = [
        f"{name} is longer than {bound} bytes"
        for name, bound in bounds.items()
        if isinstance(body.get(name), str) and len(body[name].encode("utf-8", "replace")) > bound
    ]
    if isinstance(amount, dict):
        refund, total = amount.get("refund"), amount.get("total")
        if type(refund) is int and type(total) is int and refund > total:
            found.append("amount.refund is more than amount.total")
    minified = json.dumps(detail, ensure_ascii=False, separators=(",", ":")) if isinstance(detail, dict) else ""
    if len(minified.encode("utf-8", "replace")) > 6144:
        found.append("detail is longer than 6144 bytes")
    return found
