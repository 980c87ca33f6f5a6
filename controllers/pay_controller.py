"""A caller's action: caller -> right -> settings -> schema -> one service call -> envelope."""

from __future__ import annotations

import copy
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from flask import Request, Response, g

from controllers.components import Components, components, ready_service
from controllers.errors import Unauthorized
from controllers.responses import success
from services.merchant_code import authorize
from services.order_service import Refused
from services.pay_service import PayService, Result, protect_people
from utils import validator
from utils.cloudbase_auth import NO_KEYS, Caller, KeysUnavailable
from utils.logs import protect
from utils.texts import Message

Body = dict[str, Any]
Run = Callable[[PayService, str, Body, Caller], Result]
Fill = Callable[[Body, Caller, Request], Body]

log = logging.getLogger("pay.http")


@dataclass(frozen=True)
class Action:
    """A row of the table: who may, the settings it needs, the schema of its body, and what carries it out.

    `right` is `caller`, `operator` or `payee`; `fill` completes the body from the request; `notify_setting` is
    the variable whose URL goes out as `notify_url`; `checks_origin` is for orders made by browsers.
    """

    name: str
    right: str
    needs: tuple[str, ...]
    schema: validator.Call
    run: Run
    fill: Fill
    notify_setting: str = ""
    checks_origin: bool = False


def handle(action: Action, body: Body, request: Request) -> Response:
    """Carry out `action` with `body`; every way in ends here."""
    parts = components()
    operator_key = body.pop("_operatorKey", "")
    protect(operator_key)
    protect_people(body)
    headers = cast("Mapping[str, str]", request.headers)
    caller = Caller.from_request(
        headers, parts.caller_policy, operator_key if isinstance(operator_key, str) else ""
    )
    protect(caller.openid)
    g.caller = caller.source
    _require_admitted(action, caller, parts)
    if action.checks_origin:
        _require_origin(request, parts)
    authorize(parts.orders, action.name, copy.deepcopy(body), caller)
    service = ready_service(action.needs)
    fixed = {
        "appid": parts.fixed["appid"],
        "mchid": parts.fixed["mchid"],
        "notify_url": parts.fixed.get(action.notify_setting, ()),
    }
    params, dropped = validator.load(action.schema, action.fill(body, caller, request), fixed)
    if dropped:
        log.warning("fields that WeChat Pay does not document were dropped: %s", ", ".join(dropped))
    return success(action.run(service, action.name, params, caller))


def as_sent(body: Body, caller: Caller, request: Request) -> Body:
    """Nothing to fill in."""
    return body


def with_payer(body: Body, caller: Caller, request: Request) -> Body:
    """The caller pays: his openid from token or header goes before the one in the body.

    Not so with `useServiceAccount`, because an openid belongs to one AppID and his is not of that one.
    """
    payer = body.get("payer", {})
    if not caller.openid or not isinstance(payer, dict):
        return body
    if body.get("useServiceAccount") is True and "openid" in payer:
        return body
    return body | {"payer": payer | {"openid": caller.openid}}


def with_payee(body: Body, caller: Caller, request: Request) -> Body:
    """A transfer without openid goes to the caller himself."""
    return {"openid": caller.openid} | body if caller.openid else body


def with_client_ip(body: Body, caller: Caller, request: Request) -> Body:
    """H5 needs the browser's address ([4012791834]); taken from the proxies' headers when not sent."""
    scene, address = body.get("scene_info"), _client_ip(cast("Mapping[str, str]", request.headers))
    if not isinstance(scene, dict) or not address:
        return body
    return body | {"scene_info": {"payer_client_ip": address} | scene}


def _require_admitted(action: Action, caller: Caller, parts: Components) -> None:
    ignored = parts.caller_policy.caller_headers == "ignored"
    if caller.admitted or (ignored and action.name in parts.public_actions):
        return
    if caller.keys_unavailable:
        raise KeysUnavailable(NO_KEYS)
    if ignored:
        raise Unauthorized(Message("Authorization: a Bearer token of this CloudBase environment is needed"))
    raise Unauthorized(
        Message("unknown caller: use wx.cloud.callHTTPFunction, or send Authorization: Bearer <access token>")
    )


def _require_origin(request: Request, parts: Components) -> None:
    """WeChat Pay asks for an Origin check before an H5 order ([4012791831])."""
    origin = request.headers.get("Origin")
    if origin and parts.allowed_origins and origin not in parts.allowed_origins:
        raise Refused(Message("Origin is not listed in corsAllowOrigin: list it there to order from this page"), 403)


def _client_ip(headers: Mapping[str, str]) -> str:
    """The first public address that a proxy names, or an empty string."""
    for name in ("X-Original-Forwarded-For", "X-Forwarded-For", "X-Real-IP"):
        for part in headers.get(name, "").split(","):
            address = part.strip()
            if _is_public(address):
                return address
    return ""


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
