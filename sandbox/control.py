"""The control API: JSON over HTTP under `/sandbox/` on the main port.

    GET    /sandbox/state                    urls, modes, switches, the merchant, the time, counts
    POST   /sandbox/state                    any of function, forward_path, certificates_available, jwks, running,
                                             limits, rotate ("new" or "old"), switch_over ("begin" or "stop")
    POST   /sandbox/merchant                 any of certificate, api_v3_key, registered, products, funds,
                                             transfer_start, clock_off
    POST   /sandbox/users                    {openid, real_name?, account?}
    GET    /sandbox/clock                    the time, and what is planned
    POST   /sandbox/clock                    {advance: "10m"}                        -> also what happened
    GET    /sandbox/orders                   and /refunds, /transfers: everything known, with states and lives
    POST   /sandbox/phone/open               one of code_url, h5_url, prepay_id, package_info, jsapi, app; openid?
    POST   /sandbox/orders/{n}/pay           {openid?, deliver?, after?, twice?, ...manner} -> {deliveries}
    POST   /sandbox/orders/{n}/fail          {reason?}                               -> {order}
    POST   /sandbox/refunds/{n}/settle       {status, deliver?, ...manner}           -> {deliveries}
    POST   /sandbox/transfers/{n}/finish     {state, fail_reason?, deliver?, ...manner} -> {deliveries}
    POST   /sandbox/deliver                  {kind, number, ...manner}               -> {deliveries}
    GET    /sandbox/requests?since=<id>      requests to the WeChat Pay face, with answers; with &spoilt those alone
                                             that a fault spoilt
    GET    /sandbox/deliveries?since=<id>    notifications and how they were answered
    GET    /sandbox/faults                   switched on now, and all kinds
    POST   /sandbox/faults                   {kind, times?, host?, path?, processed?, seconds?, code?, status?}
    DELETE /sandbox/faults
    POST   /sandbox/call                     {path, body, openid?, source?, headers?, operator?}: the function as
                                             wx.cloud.callHTTPFunction does -> {status, headers, body, error, latency}
    GET    /sandbox/callers                  the headers of a mini program's user, a user's token, an operator
    POST   /sandbox/send                     {method, path, headers?, body?, gateway?}: just that to the function or
                                             the API gateway -> {status, headers, body as text, error, latency}
    POST   /sandbox/token                    {kind?, uid?, openid?, key?, alg?, kid?, claims?}  -> {token}
    GET    /sandbox/qr?text=<code>           the code as an SVG image
    GET    /sandbox/events                   server-sent events: see docs/sandbox.md
    POST   /sandbox/reset

`manner`: {shape?, envelope?, key?, path?, lose?, probe?} as in callbacks.Manner; `{n}` is URL-encoded.
Bad input is answered 400 `{"error"}` and changes nothing; so is a state that the action cannot follow. What a
web page of another origin sends is refused with 403.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from sandbox import outbound, web
from sandbox.clock import rfc3339
from sandbox.errors import Refusal
from sandbox.gateway import KEY_SET_STATES
from sandbox.ledger import Thing
from sandbox.server import is_loopback
from sandbox.wire import Answer, Request

if TYPE_CHECKING:
    from sandbox.core import Sandbox

SEND_TIMEOUT = 30.0
_METHODS = ("GET", "POST")
_MANNER: dict[str, Any] = {
    "shape": str,
    "envelope": (str, type(None)),
    "key": str,
    "path": str,
    "lose": int,
    "probe": bool,
}
_FIELDS: dict[str, dict[str, Any]] = {
    "state": {
        "function": str,
        "forward_path": (str, type(None)),
        "certificates_available": bool,
        "jwks": str,
        "rotate": str,
        "running": bool,
        "limits": bool,
        "switch_over": str,
    },
    "merchant": {
        "certificate": str,
        "api_v3_key": bool,
        "registered": bool,
        "products": list,
        "funds": dict,
        "transfer_start": str,
        "clock_off": (int, float),
    },
    "users": {"openid": str, "real_name": str, "account": str},
    "clock": {"advance": str},
    "open": {
        "openid": str,
        "code_url": str,
        "h5_url": str,
        "prepay_id": str,
        "package_info": str,
        "jsapi": dict,
        "app": dict,
    },
    "pay": {"openid": str, "deliver": bool, "after": str, "twice": bool, **_MANNER},
    "fail": {"reason": str},
    "settle": {"status": str, "deliver": bool, **_MANNER},
    "finish": {"state": str, "fail_reason": str, "deliver": bool, **_MANNER},
    "deliver": {"kind": str, "number": str, **_MANNER},
    "faults": {
        "kind": str,
        "times": int,
        "host": str,
        "path": str,
        "processed": bool,
        "seconds": (int, float),
        "code": str,
        "status": int,
    },
    "call": {"path": str, "body": dict, "openid": str, "source": str, "headers": dict, "operator": bool},
    "send": {"method": str, "path": str, "headers": dict, "body": str, "gateway": bool},
    "token": {"kind": str, "uid": str, "openid": str, "key": str, "alg": str, "kid": str, "claims": dict},
    "reset": {},
}


class Control:
    """Routes and checks control requests; the work is the sandbox's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
            (method, re.compile("/sandbox/" + path), action)
            for method, path, action in (
                ("GET", "state", self._state),
                ("POST", "state", self._change_state),
                ("POST", "merchant", self._merchant),
                ("POST", "users", self._user),
                ("GET", "clock", self._clock),
                ("POST", "clock", self._advance),
                ("GET", "orders", self._orders),
                ("GET", "refunds", self._refunds),
                ("GET", "transfers", self._transfers),
                ("POST", "phone/open", self._open),
                ("POST", "orders/([^/]+)/pay", self._pay),
                ("POST", "orders/([^/]+)/fail", self._fail),
                ("POST", "refunds/([^/]+)/settle", self._settle),
                ("POST", "transfers/([^/]+)/finish", self._finish),
                ("POST", "deliver", self._deliver),
                ("GET", "requests", self._requests),
                ("GET", "deliveries", self._deliveries),
                ("GET", "faults", self._faults),
                ("POST", "faults", self._add_fault),
                ("DELETE", "faults", self._clear_faults),
                ("POST", "call", self._call),
                ("GET", "callers", self._callers),
                ("POST", "send", self._send),
                ("POST", "token", self._token),
                ("GET", "qr", web.qr_code),
                ("GET", "events", self._events),
                ("POST", "reset", self._reset),
            )
        ]

    def handle(self, request: Request) -> Answer:
        try:
            if _is_foreign(request, self._sandbox.is_loopback):
                return _answer(403, {"error": "requests from other origins are refused"})
            if web.handles(request.path):
                return web.handle(request)
            matches = [
                (method, match, action)
                for method, pattern, action in self._routes
                if (match := pattern.fullmatch(request.path))
            ]
            for method, match, action in matches:
                if method == request.method:
                    made = action(request, *map(unquote, match.groups()))
                    return made if isinstance(made, Answer) else _answer(200, made)
            return _answer(405 if matches else 404, {"error": "see sandbox/control.py for what there is"})
        except (ValueError, Refusal) as error:
            return _answer(400, {"error": str(error)})

    def _state(self, _: Request) -> dict[str, Any]:
        return self._sandbox.describe()

    def _change_state(self, request: Request) -> dict[str, Any]:
        fields = _fields(request, "state")
        _check_switches(fields)
        # Those that may still refuse come first.
        if "switch_over" in fields:
            self._sandbox.switch_over(fields["switch_over"])
        if "rotate" in fields:
            self._sandbox.rotate(fields["rotate"])
        for name in ("jwks", "function", "forward_path", "certificates_available", "running", "limits"):
            if name in fields:
                setattr(self._sandbox, name, fields[name])
        return self._announced(request)

    def _announced(self, request: Request) -> dict[str, Any]:
        self._sandbox.events.publish("state", self._sandbox.describe)
        return self._state(request)

    def _merchant(self, request: Request) -> dict[str, Any]:
        self._sandbox.merchant.change(**_fields(request, "merchant"))
        return self._announced(request)

    def _user(self, request: Request) -> dict[str, Any]:
        return vars(self._sandbox.merchant.know(**_fields(request, "users", "openid")))

    def _clock(self, _: Request) -> dict[str, Any]:
        clock = self._sandbox.clock
        return {
            "now": rfc3339(clock.now()),
            "running": clock.running,
            "pending": [plan.describe() for plan in clock.pending()],
        }

    def _advance(self, request: Request) -> dict[str, Any]:
        happened = self._sandbox.advance(_fields(request, "clock", "advance")["advance"])
        return self._clock(request) | {"happened": [plan.describe() for plan in happened]}

    def _orders(self, _: Request) -> list[dict[str, Any]]:
        return self._all(self._sandbox.ledger.orders)

    def _refunds(self, _: Request) -> list[dict[str, Any]]:
        return self._all(self._sandbox.ledger.refunds)

    def _transfers(self, _: Request) -> list[dict[str, Any]]:
        return self._all(self._sandbox.ledger.transfers)

    def _all(self, things: Mapping[str, Thing]) -> list[dict[str, Any]]:
        with self._sandbox.ledger.lock:
            return [self._sandbox.shown(thing) for thing in things.values()]

    def _open(self, request: Request) -> dict[str, Any]:
        return self._sandbox.phone.open(**_fields(request, "open"))

    def _pay(self, request: Request, number: str) -> dict[str, Any]:
        return _made(self._sandbox.pay(number, **_fields(request, "pay")))

    def _fail(self, request: Request, number: str) -> dict[str, Any]:
        self._sandbox.fail_payment(number, **_fields(request, "fail"))
        return {"order": self._sandbox.shown(self._sandbox.ledger.orders[number])}

    def _settle(self, request: Request, number: str) -> dict[str, Any]:
        return _made(self._sandbox.settle_refund(number, **_fields(request, "settle", "status")))

    def _finish(self, request: Request, number: str) -> dict[str, Any]:
        return _made(self._sandbox.finish_transfer(number, **_fields(request, "finish", "state")))

    def _deliver(self, request: Request) -> dict[str, Any]:
        return _made(self._sandbox.deliver(**_fields(request, "deliver", "kind", "number")))

    def _requests(self, request: Request) -> list[dict[str, Any]]:
        records = self._sandbox.requests_since(_since(request, "spoilt"))
        spoilt_only = "spoilt" in parse_qs(request.query, keep_blank_values=True)
        return [record.describe() for record in records if record.fault or not spoilt_only]

    def _deliveries(self, request: Request) -> list[dict[str, Any]]:
        return [record.describe() for record in self._sandbox.deliveries_since(_since(request))]

    def _faults(self, _: Request) -> dict[str, Any]:
        return self._sandbox.describe_faults()

    def _add_fault(self, request: Request) -> dict[str, Any]:
        return self._sandbox.fault(**_fields(request, "faults", "kind")).describe()

    def _clear_faults(self, request: Request) -> dict[str, Any]:
        self._sandbox.clear_faults()
        return self._faults(request)

    def _call(self, request: Request) -> dict[str, Any]:
        fields = _fields(request, "call", "path", "body")
        headers = fields.pop("headers", {})
        _check_sendable(fields["path"], headers)
        if fields.pop("operator", False):
            headers["x-operator-key"] = self._sandbox.operator_key
        reply = self._sandbox.call_http_function(**fields, headers=headers)
        return _replied(reply, reply.json if reply.json is not None else _text(reply))

    def _callers(self, _: Request) -> dict[str, dict[str, str]]:
        """By the names that the function's description gives to its security schemes."""
        return {
            "miniProgram": self._sandbox.injected_headers(),
            "accessToken": {"Authorization": f"Bearer {self._sandbox.token()}"},
            "operatorKey": {"x-operator-key": self._sandbox.operator_key},
        }

    def _send(self, request: Request) -> dict[str, Any]:
        fields = _fields(request, "send", "method", "path")
        method, path, headers = fields["method"], fields["path"], fields.get("headers", {})
        _check_sendable(path, headers)
        if method not in _METHODS:
            raise ValueError(f"method must be one of {', '.join(_METHODS)}")
        base = self._sandbox.url if fields.get("gateway") else self._sandbox.function
        body = fields.get("body", "").encode() if method == "POST" else None
        reply = outbound.send(method, base, path, headers, body, SEND_TIMEOUT)
        return _replied(reply, _text(reply))

    def _events(self, _: Request) -> Answer:
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
        return Answer(200, headers, stream=self._sandbox.events.listen(self._sandbox.describe))

    def _token(self, request: Request) -> dict[str, Any]:
        fields = _fields(request, "token")
        claims = fields.pop("claims", {})
        if clash := sorted(set(claims) & set(_FIELDS["token"])):
            raise ValueError(f"claims must not hold {', '.join(clash)}: give it beside claims")
        return {"token": self._sandbox.token(**fields, **claims)}

    def _reset(self, request: Request) -> dict[str, Any]:
        _fields(request, "reset")
        self._sandbox.reset()
        return self._state(request)


def _check_switches(fields: Mapping[str, Any]) -> None:
    """Raises ValueError for what no setter would notice, or only when others have been set already."""
    if "function" in fields:
        parts = urlsplit(fields["function"])
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError("function must be a URL like http://127.0.0.1:9000")
    path = fields.get("forward_path")
    if path is not None and not path.startswith("/"):
        raise ValueError("forward_path must begin with /, or be null")
    if "rotate" in fields and "switch_over" in fields:
        raise ValueError("rotate and switch_over exclude each other")
    if fields.get("jwks", KEY_SET_STATES[0]) not in KEY_SET_STATES:
        raise ValueError(f"jwks must be one of {', '.join(KEY_SET_STATES)}")


def _fields(request: Request, action: str, *required: str) -> dict[str, Any]:
    """The checked body of a control request. Raises ValueError naming the field."""
    known = _FIELDS[action]
    try:
        body = json.loads(request.body) if request.body else {}
        # What cannot be written again (half a character, a number beyond all bounds) would come out somewhere later.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    for name, value in body.items():
        if name not in known:
            raise ValueError(f"{name} is not known here; known: {', '.join(known) or 'nothing'}")
        if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
            raise ValueError(f"{name} has the wrong type")
    for name in required:
        if name not in body:
            raise ValueError(f"{name} is required")
    return body


def _check_sendable(path: str, headers: Mapping[str, Any]) -> None:
    """Raises ValueError for what would not be one request."""
    if not path.startswith("/") or not all(
        isinstance(value, str) and (name + value).isprintable() for name, value in headers.items()
    ):
        raise ValueError("path must begin with /, and headers must hold printable strings")


def _replied(reply: outbound.Reply, body: Any) -> dict[str, Any]:
    answer = {"status": reply.status, "headers": reply.headers, "body": body}
    return answer | {"error": reply.error, "latency": reply.latency}


def _text(reply: outbound.Reply) -> str:
    return reply.body.decode(errors="replace")


def _since(request: Request, *also: str) -> int:
    values = parse_qs(request.query, keep_blank_values=True)
    if set(values) - {"since", *also}:
        raise ValueError(f"the only query parameters are {', '.join(('since', *also))}")
    value = values.get("since", ["0"])[-1]
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError("since must be the id of a record")
    return int(value)


def _is_foreign(request: Request, loopback: bool) -> bool:
    """Whether a browser sent this for another site, also by a name that was made to point at loopback."""
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc != host:
        return True
    return loopback and not is_loopback(urlsplit(f"//{host}").hostname or "")


def _made(deliveries: list[Any]) -> dict[str, Any]:
    return {"deliveries": [delivery.describe() for delivery in deliveries]}


def _answer(status: int, content: Any) -> Answer:
    body = json.dumps(content, ensure_ascii=False).encode()
    return Answer(
        status, {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}, body
    )
