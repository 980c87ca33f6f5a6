"""Whether the traffic of a test run fits an OpenAPI description of WeChat Pay.

Checked are every request that the function sends (known by its User-Agent) and every answer that the sandbox gives to
anybody, unless a fault spoils it on purpose. The lines are those of `sandbox.journal`, which the sandbox writes and
the scripted host of tests/services/wechatpay/host.py as well: its requests are checked, its answers are meant to be
wrong.

Not among the requests are those of the tests of services/wechatpay and of services/strategies, which make a client of
their own: their paths and bodies are invented, and their User-Agent, pay-common-python/test, is not the function's.

An error answer has the shape of [4012081709]. What the description names but the protocol contradicts is listed in
differences.py.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from tests.openapi.description import Description, Endpoint, Flaw, look

# A version, which no test's own client calls itself by.
OF_THE_FUNCTION = re.compile(r"pay-common-python/\d+(\.\d+)*")
# What every request carries [4012081709], the last one with a body.
ALWAYS = {"authorization": "", "user-agent": "", "accept": "application/json", "content-type": "application/json"}
# By [4012081717].
ERROR_STATUSES = frozenset((400, 401, 403, 404, 405, 429, 500, 501, 502, 503))
WITH_DETAIL = frozenset(("PARAM_ERROR", "INVALID_REQUEST"))
_text = {"type": "string"}
_ERROR = look(
    {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "string", "pattern": "^[A-Z][A-Z_]*$"},
            "message": _text,
            "detail": {
                "type": "object",
                "properties": {
                    "field": _text,
                    "value": {},
                    "issue": _text,
                    "location": {"type": "string", "enum": ["body", "url", "query"]},
                },
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }
)


class Difference(NamedTuple):
    """`part`: endpoint, header, query, path or body of a request, status or body of an answer, or an error body.

    `pointer` is a JSON pointer for bodies, else a name; `kind` is that of description.Flaw, or says it in words.
    """

    endpoint: str
    part: str
    pointer: str
    kind: str


@dataclass
class Check:
    description: Description
    requests: Counter[str] = field(default_factory=Counter)
    """By endpoint, like the next two."""
    answers: Counter[str] = field(default_factory=Counter)
    spoilt: Counter[str] = field(default_factory=Counter)
    others_requests: int = 0
    found: Counter[Difference] = field(default_factory=Counter)
    examples: dict[Difference, str] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes]) -> Check:
        for line in lines:
            self.exchange(json.loads(line))
        return self

    def exchange(self, exchange: dict[str, Any]) -> list[Difference]:
        """The differences of one exchange; they are counted as well."""
        path = exchange["target"].partition("?")[0]
        endpoint = self.description.find(exchange["method"], path)
        name = endpoint.name if endpoint else "elsewhere"
        found: list[Difference] = []
        if OF_THE_FUNCTION.fullmatch(exchange["headers"].get("user-agent", "")):
            self.requests[name] += 1
            found += self._request(endpoint, exchange)
        else:
            self.others_requests += 1
        if exchange["status"] is None or exchange["fault"] not in (None, "latency"):
            self.spoilt[name] += 1
        else:
            self.answers[name] += 1
            found += self._answer(endpoint, exchange)
        for difference in set(found):
            self.found[difference] += 1
            self.examples.setdefault(difference, _example(difference, exchange))
        return found

    def unexercised(self) -> list[str]:
        """Endpoints that nobody asked."""
        asked = self.requests.keys() | self.answers.keys()
        return [endpoint.name for endpoint in self.description.endpoints if endpoint.name not in asked]

    def _request(self, endpoint: Endpoint | None, exchange: dict[str, Any]) -> list[Difference]:
        if endpoint is None:
            name = f"{exchange['method']} {exchange['target'].partition('?')[0]}"
            return [Difference(name, "endpoint", "", "not described")]
        parts = {
            "header": _headers(endpoint, exchange),
            "query": _query(endpoint, exchange["target"]),
            "path": _path(endpoint, exchange),
            "body": _body(endpoint, exchange["body"]),
        }
        return [Difference(endpoint.name, part, *flaw) for part, flaws in parts.items() for flaw in flaws]

    def _answer(self, endpoint: Endpoint | None, exchange: dict[str, Any]) -> list[Difference]:
        status, body = exchange["status"], exchange["answer"]
        if endpoint is None:
            is_right = status in (404, 405) and not body
            return [] if is_right else [Difference("elsewhere", "status", str(status), "not 404 or 405 without a body")]
        if status >= 400:
            return [Difference(endpoint.name, "error", *flaw) for flaw in _error(status, body)]
        if status not in endpoint.answers:
            return [Difference(endpoint.name, "status", str(status), "not described")]
        if schema := endpoint.answers[status]:
            return [Difference(endpoint.name, "answer", *flaw) for flaw in schema(_parsed(body))]
        return [Difference(endpoint.name, "answer", "", "not empty")] if status == 204 and body else []


def _headers(endpoint: Endpoint, exchange: dict[str, Any]) -> Iterator[Flaw]:
    headers, body = exchange["headers"], exchange["body"]
    for name, value in ALWAYS.items():
        if name == "content-type" and not body:
            continue
        if not headers.get(name):
            yield name, "missing"
        elif value and headers[name].partition(";")[0].strip() != value:
            yield name, "other value"
    for name in endpoint.headers:
        if not headers.get(name.lower()):
            yield name, "missing"
            if isinstance(fields := _parsed(body), dict) and endpoint.encrypted & fields.keys():
                yield name, "missing with an encrypted field"


def _query(endpoint: Endpoint, target: str) -> Iterator[Flaw]:
    pairs = parse_qsl(target.partition("?")[2], keep_blank_values=True)
    names = [name for name, _ in pairs]
    for name in endpoint.required_query - set(names):
        yield name, "missing"
    for name, value in pairs:
        if names.count(name) > 1:
            yield name, "repeated"
        elif name not in endpoint.query:
            yield name, "unknown"
        else:
            yield from ((name, kind) for _, kind in endpoint.query[name](value))


def _path(endpoint: Endpoint, exchange: dict[str, Any]) -> Iterator[Flaw]:
    match = endpoint.pattern.fullmatch(f"{exchange['method']} {exchange['target'].partition('?')[0]}")
    values = match.groupdict() if match else {}
    for name, value in values.items():
        yield from ((name, kind) for _, kind in endpoint.path[name](unquote(value)))


def _body(endpoint: Endpoint, body: str) -> list[Flaw]:
    if endpoint.body is None:
        return [("", "not empty")] if body else []
    return endpoint.body(_parsed(body))


def _error(status: int, body: str) -> Iterator[Flaw]:
    if status not in ERROR_STATUSES:
        yield str(status), "no status of an error"
    content = _parsed(body)
    yield from _ERROR(content)
    if isinstance(content, dict) and "detail" in content and content.get("code") not in WITH_DETAIL:
        yield "/detail", f"with {content.get('code')}"


def _parsed(body: str) -> Any:
    """The JSON value; None, which no schema takes, for what is no JSON. 1.0 is no integer here."""
    try:
        return json.loads(body, parse_float=Decimal)
    except ValueError:
        return None


def _example(difference: Difference, exchange: dict[str, Any]) -> str:
    of_answer = difference.part in ("answer", "error", "status")
    text = exchange["answer"] if of_answer else exchange["body"]
    return f"{exchange['method']} {exchange['target']} -> {exchange['status']} {text}"[:400]
