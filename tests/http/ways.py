"""The ways into the function, each as a function that sends one body by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import requests

from sandbox.outbound import Reply as Called
from tests.http.house import House
from tests.http.plays import Answer
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY

OPERATOR = {"X-Operator-Key": OPERATOR_KEY}
Way = Callable[[House, str, dict[str, Any], Mapping[str, str]], Answer]


def direct(house: House, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
    reply = house.function.post(path, body, headers)
    return Answer(reply.status, reply.headers.get("Content-Type"), reply.body)


def at(pattern: str) -> Way:
    """A path, where {} stands for the action."""
    return lambda house, action, body, headers: direct(house, pattern.format(action), body, headers)


def in_body(name: str, pattern: str, path: str = "/", **more: str) -> Way:
    """A field of the body that names the action."""
    return lambda house, action, body, headers: direct(
        house, path, {name: pattern.format(action), **more, **body}, headers
    )


# Those that take the identity in headers of ours.
DIRECT: dict[str, Way] = {
    "path": at("/wx-pay/{}"),
    "path, slash": at("/wx-pay/{}/"),
    "path, prefix": at("/api/v1/wx-pay/{}"),
    "path, prefix and slash": at("/wechatpay/wx-pay/{}/"),
    "_action": in_body("_action", "{}"),
    "_action as a path": in_body("_action", "/wx-pay/{}"),
    "_action, elsewhere": in_body("_action", "{}", "/some/route"),
    "path in the body": in_body("path", "/wx-pay/{}", method="POST"),
    "path in the body, no method": in_body("path", "/wx-pay/{}"),
    "path in the body, prefix": in_body("path", "https://shop.example/api/wx-pay/{}", method="GET"),
    "stripped path": at("/{}"),
}


def _through_gateway(body: Callable[[str], dict[str, Any]]) -> Way:
    """The API gateway: Bearer token, the path is always `/`."""

    def way(house: House, action: str, fields: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        session = requests.Session()
        session.trust_env = False
        with session:
            token = house.box.token("user", openid=OPENID)
            answer = session.post(
                f"{house.box.url}/v1/functions/pay-common?webfn=true",
                json=body(action) | fields,
                headers={"Authorization": f"Bearer {token}", **OPERATOR},
                timeout=30,
            )
            return Answer(answer.status_code, answer.headers.get("Content-Type"), answer.json())

    return way


def _called(reply: Called) -> Answer:
    return Answer(reply.status, reply.headers.get("content-type"), reply.json)


def _call_http_function(house: House, action: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    return _called(house.box.call_http_function(f"/wx-pay/{action}", body, openid=OPENID, headers=OPERATOR))


def _call_with_action(house: House, action: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    body = {"_action": action, **body}
    return _called(house.box.call_http_function("/", body, openid=OPENID, headers=OPERATOR))


def _with_key_in_body(house: House, action: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    return direct(house, f"/wx-pay/{action}", {**body, "_operatorKey": OPERATOR_KEY}, MINI_PROGRAM)


def _from_another_function(house: House, action: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    """tcb.callFunction carries no identity: whose openid it is has to be said."""
    said = {"wxpay_order": {"payer": {"openid": OPENID}}, "wxpay_transfer": {"openid": OPENID}}
    whole = {"_action": action, "_operatorKey": OPERATOR_KEY, **said.get(action, {}), **body}
    return direct(house, "/", whole, {})


WAYS: dict[str, Way] = DIRECT | {
    "gateway, _action": _through_gateway(lambda action: {"_action": action}),
    "gateway, _action as a path": _through_gateway(lambda action: {"_action": f"/wx-pay/{action}"}),
    "gateway, path in the body": _through_gateway(lambda action: {"path": f"/wx-pay/{action}", "method": "POST"}),
    "callHTTPFunction": _call_http_function,
    "callHTTPFunction, _action": _call_with_action,
    "operator key in the body": _with_key_in_body,
    "another cloud function": _from_another_function,
}

# Callbacks, where the body is parsed: raw bytes are signed and must stay as they are.
FORWARDS: dict[str, Way] = DIRECT | {
    "wechatpay path": lambda house, action, body, headers: direct(house, f"/wechatpay/{KINDS[action]}", body, headers),
    "wechatpay path, prefix and slash": lambda house, action, body, headers: direct(
        house, f"/prefix/wechatpay/{KINDS[action]}/", body, headers
    ),
    "event": lambda house, action, body, headers: direct(house, "/", body, headers),
    "event, elsewhere": lambda house, action, body, headers: direct(house, "/some/route", body, headers),
}
# Trigger -> the sandbox's word and the path's for what it is about.
KINDS = {"unifiedOrderTrigger": "order", "refundTrigger": "refund", "transferTrigger": "transfer"}


def parsed(body: bytes) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(body)
    return whole
