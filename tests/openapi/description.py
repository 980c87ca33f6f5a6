"""The endpoints of an OpenAPI description of WeChat Pay, as functions that tell what does not fit.

The description is a JSON object: `METHOD path` -> `query`, `path`, `header` (parameters), `body` (a schema or null) and
`responses` (a schema or null by status).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import fastjsonschema

from tests.openapi.additions import ADDED

Schema = dict[str, Any]
Flaw = tuple[str, str]
"""JSON pointer, with `*` for every index of a list, and kind: missing, unknown, type, enum, format or pattern."""
Look = Callable[[Any], list[Flaw]]

RFC3339 = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_READ = {"type", "required", "properties", "items", "enum", "format", "pattern", "nullable", "allOf"}
_IGNORED = {"example", "x-is-sensitive"}


@dataclass(frozen=True)
class Endpoint:
    """`headers` are the required ones; `encrypted` names fields of the body that some key has encrypted.

    `answers` are by status; None stands for an empty body, or a file.
    """

    name: str
    pattern: re.Pattern[str]
    path: Mapping[str, Look]
    query: Mapping[str, Look]
    required_query: frozenset[str]
    headers: tuple[str, ...]
    encrypted: frozenset[str]
    body: Look | None
    answers: Mapping[int, Look | None]


class Description:
    def __init__(self, endpoints: Mapping[str, Mapping[str, Any]]) -> None:
        self.endpoints = [_endpoint(name, parts) for name, parts in endpoints.items()]

    @staticmethod
    def load(path: Path) -> Description:
        """The file's endpoints, and those that it lacks."""
        described = json.loads(path.read_text(encoding="utf-8"))
        if twice := described.keys() & ADDED.keys():
            raise ValueError(f"described in {path.name} now, so no longer to be added: {', '.join(twice)}")
        return Description({**described, **ADDED})

    def find(self, method: str, path: str) -> Endpoint | None:
        line = f"{method} {path}"
        return next((endpoint for endpoint in self.endpoints if endpoint.pattern.fullmatch(line)), None)


def _endpoint(name: str, parts: Mapping[str, Any]) -> Endpoint:
    body = closed(parts["body"]) if parts["body"] else {}
    parameters = {kind: {p["name"]: p for p in parts[kind]} for kind in ("path", "query", "header")}
    return Endpoint(
        name=name,
        pattern=re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(name))),
        path={name: _parameter(p) for name, p in parameters["path"].items()},
        query={name: _parameter(p) for name, p in parameters["query"].items()},
        required_query=frozenset(name for name, p in parameters["query"].items() if p.get("required")),
        headers=tuple(name for name, p in parameters["header"].items() if p.get("required")),
        encrypted=frozenset(n for n, s in body.get("properties", {}).items() if s.get("format") == "base64"),
        body=look(body) if body else None,
        answers={
            int(status): look(closed(schema)) if schema else None for status, schema in parts["responses"].items()
        },
    )


def _parameter(parameter: Mapping[str, Any]) -> Look:
    schema = {name: value for name, value in parameter.items() if name not in ("name", "required")}
    return look(closed(schema))


def look(schema: Schema) -> Look:
    """All that does not fit, not just the first: a difference that is accepted must hide no other."""
    check = fastjsonschema.compile(schema, formats=_FORMATS, use_default=False, fast_fail=False)

    def flaws(value: Any) -> list[Flaw]:
        try:
            check(value)
        except fastjsonschema.JsonSchemaValuesException as error:
            return [flaw for single in error.errors for flaw in _flaws(single)]
        return []

    return flaws


def _flaws(error: fastjsonschema.JsonSchemaValueException) -> Iterable[Flaw]:
    steps = ["*" if step.isdigit() else step for step in error.path[1:]]
    names: Iterable[str]
    if error.rule == "required":
        kind, names = "missing", [name for name in error.rule_definition if name not in error.value]
    elif error.rule == "additionalProperties":
        kind, names = "unknown", [name for name in error.value if name not in error.definition["properties"]]
    else:
        return [("".join(f"/{step}" for step in steps), str(error.rule))]
    return [("".join(f"/{step}" for step in (*steps, name)), kind) for name in names]


def closed(schema: Schema) -> Schema:
    """The schema as JSON Schema knows it: allOf merged into one, and nothing allowed that it does not name."""
    if strange := schema.keys() - _READ - _IGNORED:
        raise ValueError(f"keywords that nothing here checks: {', '.join(sorted(strange))}")
    own = {name: schema[name] for name in ("type", "enum", "format", "pattern", "required") if name in schema}
    if "properties" in schema:
        own["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
    if "items" in schema:
        own["items"] = closed(schema["items"])
    result = reduce(_both, map(closed, schema.get("allOf", ())), own)
    if result.get("type") == "object":
        result["additionalProperties"] = False
    if schema.get("nullable"):
        result["type"] = [result["type"], "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    return result


def _both(first: Schema, second: Schema) -> Schema:
    """One schema out of two parts of an allOf.

    Two `enum`s of it mean that the second adds values: taken by the letter, they would leave none.
    """
    result = {**second, **first}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if name in ("required", "enum"):
            result[name] = list(dict.fromkeys([*one, *other]))
        elif name == "properties":
            shared = {field: _both(one[field], other[field]) for field in one.keys() & other.keys()}
            result[name] = {**one, **other, **shared}
        elif name == "items":
            result[name] = _both(one, other)
        elif one != other:
            raise ValueError(f"allOf says {name} {one!r} and {other!r}")
    return result


def _is_base64(value: str) -> bool:
    try:
        return bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[Any], bool]] = {
    "rfc3339": lambda value: bool(RFC3339.fullmatch(value)),
    "base64": _is_base64,
}
