"""The control API: JSON over HTTP under `/sandbox/` on the main port.

    GET    /sandbox/state                    urls, modes, switches, counts
    POST   /sandbox/state                    any of function, forward_path, certificates_available, jwks,
                                             rotate ("new" or "old")
    GET    /sandbox/orders                   and /refunds, /transfers: everything known, with states
    POST   /sandbox/orders/{n}/pay           {openid?, deliver?, ...manner}          -> {deliveries}
    POST   /sandbox/refunds/{n}/settle       {status, deliver?, ...manner}           -> {deliveries}
    POST   /sandbox/transfers/{n}/finish     {state, fail_reason?, deliver?, ...manner} -> {deliveries}
    POST   /sandbox/deliver                  {kind, number, ...manner}               -> {deliveries}
    GET    /sandbox/requests?since=<id>      requests to the WeChat Pay face, with answers
    GET    /sandbox/deliveries?since=<id>    notifications and how they were answered
    GET    /sandbox/faults                   switched on now, and all kinds
    POST   /sandbox/faults                   {kind, times?, host?, path?, processed?, seconds?}
    DELETE /sandbox/faults
    POST   /sandbox/token                    {kind?, uid?, openid?, key?, alg?, kid?, claims?}  -> {token}
    POST   /sandbox/reset

`manner`: {shape?, envelope?, key?, path?, attempts?, delay?} as in callbacks.Manner; `{n}` is URL-encoded.
Bad input is answered 400 `{"error"}` and changes nothing; so is a state that the action cannot follow. What a
web page of another origin sends is refused with 403.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from sandbox import views
from sandbox.errors import Refusal
from sandbox.ledger import rfc3339
from sandbox.server import is_loopback
from sandbox.spoils import KINDS
from sandbox.wire import Answer, Request

if TYPE_CHECKING:
    from sandbox.core import Sandbox

_MANNER: dict[str, Any] = {
    "shape": str,
    "envelope": (str, type(None)),
    "key": str,
    "path": str,
    "attempts": int,
    "delay": (int, float),
}
_FIELDS: dict[str, dict[str, Any]] = {
    "state": {
        "function": str,
        "forward_path": (str, type(None)),
        "certificates_available": bool,
        "jwks": str,
        "rotate": str,
    },
    "pay": {"openid": str, "deliver": bool, **_MANNER},
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
    },
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
                ("GET", "orders", self._orders),
                ("GET", "refunds", self._refunds),
                ("GET", "transfers", self._transfers),
                ("POST", "orders/([^/]+)/pay", self._pay),
                ("POST", "refunds/([^/]+)/settle", self._settle),
                ("POST", "transfers/([^/]+)/finish", self._finish),
                ("POST", "deliver", self._deliver),
                ("GET", "requests", self._requests),
                ("GET", "deliveries", self._deliveries),
                ("GET", "faults", self._faults),
                ("POST", "faults", self._add_fault),
                ("DELETE", "faults", self._clear_faults),
                ("POST", "token", self._token),
                ("POST", "reset", self._reset),
            )
        ]

    def handle(self, request: Request) -> Answer:
        try:
            if _is_foreign(request, self._sandbox.is_loopback):
                return _answer(403, {"error": "requests from other origins are refused"})
            matches = [
                (method, match, action)
                for method, pattern, action in self._routes
                if (match := pattern.fullmatch(request.path))
            ]
            for method, match, action in matches:
                if method == request.method:
                    return _answer(200, action(request, *map(unquote, match.groups())))
            return _answer(405 if matches else 404, {"error": "see sandbox/control.py for what there is"})
        except (ValueError, Refusal) as error:
            return _answer(400, {"error": str(error)})

    def _state(self, _: Request) -> dict[str, Any]:
        box = self._sandbox
        return {
            "url": box.url,
            "backup_url": box.backup_url,
            "function": box.function,
            "sign_mode": box.sign_mode,
            "key_mode": box.keys.key_mode,
            "forward_path": box.forward_path,
            "certificates_available": box.certificates_available,
            "jwks": box.jwks,
            "merchant_id": box.credentials.merchant_id,
            "app_id": box.credentials.app_id,
            "orders": len(box.ledger.orders),
            "refunds": len(box.ledger.refunds),
            "transfers": len(box.ledger.transfers),
            "requests": len(box.requests),
            "deliveries": len(box.deliveries),
        }

    def _change_state(self, request: Request) -> dict[str, Any]:
        fields = _fields(request, "state")
        if "function" in fields:
            parts = urlsplit(fields["function"])
            if parts.scheme != "http" or not parts.hostname or not parts.port:
                raise ValueError("function must be a URL like http://127.0.0.1:9000")
        if "/" not in (fields.get("forward_path") or "/")[:1]:
            raise ValueError("forward_path must begin with /, or be null")
        if fields.get("rotate", "new") not in ("new", "old"):
            raise ValueError("rotate must be new or old")
        # The only setter that may still refuse comes first.
        for name in ("jwks", "function", "forward_path", "certificates_available"):
            if name in fields:
                setattr(self._sandbox, name, fields[name])
        if "rotate" in fields:
            self._sandbox.rotate(fields["rotate"])
        return self._state(request)

    def _orders(self, _: Request) -> list[dict[str, Any]]:
        box = self._sandbox
        with box.ledger.lock:
            return [
                views.order(order, box.credentials.merchant_id)
                | {
                    "scene": order.scene,
                    "description": order.body["description"],
                    "total": order.total,
                    "created": rfc3339(order.created),
                }
                for order in box.ledger.orders.values()
            ]

    def _refunds(self, _: Request) -> list[dict[str, Any]]:
        with self._sandbox.ledger.lock:
            return [views.refund(refund) for refund in self._sandbox.ledger.refunds.values()]

    def _transfers(self, _: Request) -> list[dict[str, Any]]:
        box = self._sandbox
        with box.ledger.lock:
            return [
                views.transfer(transfer, box.credentials.merchant_id)
                for transfer in box.ledger.transfers.values()
            ]

    def _pay(self, request: Request, number: str) -> dict[str, Any]:
        return _made(self._sandbox.pay(number, **_fields(request, "pay")))

    def _settle(self, request: Request, number: str) -> dict[str, Any]:
        return _made(self._sandbox.settle_refund(number, **_fields(request, "settle", "status")))

    def _finish(self, request: Request, number: str) -> dict[str, Any]:
        return _made(self._sandbox.finish_transfer(number, **_fields(request, "finish", "state")))

    def _deliver(self, request: Request) -> dict[str, Any]:
        return _made(self._sandbox.deliver(**_fields(request, "deliver", "kind", "number")))

    def _requests(self, request: Request) -> list[dict[str, Any]]:
        return [record.describe() for record in self._sandbox.requests_since(_since(request))]

    def _deliveries(self, request: Request) -> list[dict[str, Any]]:
        return [record.describe() for record in self._sandbox.deliveries_since(_since(request))]

    def _faults(self, _: Request) -> dict[str, Any]:
        return {"faults": [fault.describe() for fault in self._sandbox.faults], "kinds": list(KINDS)}

    def _add_fault(self, request: Request) -> dict[str, Any]:
        return self._sandbox.fault(**_fields(request, "faults", "kind")).describe()

    def _clear_faults(self, request: Request) -> dict[str, Any]:
        self._sandbox.clear_faults()
        return self._faults(request)

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


def _fields(request: Request, action: str, *required: str) -> dict[str, Any]:
    """The checked body of a control request. Raises ValueError naming the field."""
    known = _FIELDS[action]
    try:
        body = json.loads(request.body) if request.body else {}
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


def _since(request: Request) -> int:
    values = parse_qs(request.query, keep_blank_values=True)
    if set(values) - {"since"}:
        raise ValueError("the only query parameter is since")
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
