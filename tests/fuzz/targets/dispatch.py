"""Path, headers and body of any POST to the whole application.

Never a fault of its own, never an answer that docs/openapi.json does not describe, never a secret; nothing is asked of
WeChat Pay for what is refused, and money moves for operators alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from tests.fuzz import house, world
from tests.fuzz.choices import Choices
from tests.fuzz.house import EXAMPLES, House, Reply
from tests.fuzz.targets import tokens

TOKENS = (
    b'{"', b'":', b'"}', b'"_action":"', b'"path":"/wx-pay/', b'"method":"POST"', b"_action=", b"&", b"%00",
    b"%ED%A0%80",
    b'"ParsedContent":{', b'"rawData":"{\\"event_type\\":\\"TRANSACTION.SUCCESS\\"}"', b'"out_trade_no":"PAID0001"',
    b'"amount":{"total":1}', b"wxpay_refund", b"wxpay_order", b"unifiedOrderTrigger", b"null", b"1e5", b"\\ud800",
    b"\xff",
    b"/wx-pay/", b"/wechatpay/order", b"//", b"\r\n", b"\x00",
)  # fmt: skip
ACTIONS = tuple(EXAMPLES)
_MONEY = ("/v3/refund/", "/v3/fund-app/")
_PREFIXES = (
    "/wx-pay/{}",
    "/release/wx-pay/{}",
    "/{}",
    "/",
    "/wx-pay/{}/",
    "//wx-pay//{}",
    "/wx-pay/{}/x",
    "/wechatpay/{}",
)
_VALUES = (
    "", "wx_client", world.OPENID, "application/json", "application/x-www-form-urlencoded", "text/plain", "gzip", "*/*",
    "zh-CN", "en;q=nan", "1.2.4.8", "127.0.0.1, 8.8.8.8", "::1%eth0", "https://shop.example.com", "null", "é",
    "x" * 300,
    "\x00", "-1", "99999999999999999999", "WX_SERVER_AUTH", "chunked", "abcdef0123456789",
)  # fmt: skip
_NAMES = (
    "Content-Type", "Content-Length", "X-Wx-Openid", "X-Wx-Source", "X-AuthMethod", "X-Tcb-Integration-Id",
    "Accept-Language",
    "X-Forwarded-For", "X-Real-IP", "Origin", "X-Request-Id", "Host", "Transfer-Encoding", "X-Operator-Key",
    "Authorization",
    "Wechatpay-Signature", "Wechatpay-Timestamp", "X-Http-Method-Override", "Cookie", "X-Cloudbase-Context",
)  # fmt: skip


@functools.cache
def _house() -> House:
    return House(
        callerHeaders="claimed",
        cloudbaseEnvId=tokens.ENV_ID,
        cloudbaseAuthUrl=tokens.gateway(),
        corsAllowOrigin="https://shop.example.com",
    )


def run(data: bytes) -> None:
    choices = Choices(data)
    action = choices.pick(ACTIONS)
    path = choices.pick(_PREFIXES).format(choices.pick((action, *house.CALLBACKS)) if choices.chance(8) else action)
    path = choices.spoiled_text(path) if choices.chance(8) else path
    headers, is_operator = _headers(choices)
    body, key_inside = _body(choices, action, path)
    if not body.lstrip().startswith((b"{", b"[")) and choices.chance(2):
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    reply = _house().post(path.encode().decode("latin-1"), body, headers)
    is_operator = is_operator or key_inside
    require(reply, path)
    if reply.status == 200 and path == f"/wx-pay/{action}":
        house.require_described_body(action, body)
    money = [asked for asked in reply.asked if asked[0] == "POST" and asked[1].startswith(_MONEY)]
    assert is_operator or not money, "money moves for a caller who is no operator"


def require(reply: Reply, path: str) -> None:
    house.require_sound(reply)
    house.require_documented(reply, house.operation_of(path))
    house.require_nothing_sent_for_refused(reply)


@functools.cache
def _user() -> str:
    return tokens.signed(b'{"alg":"RS256","kid":"first"}', json.dumps(tokens.claims()).encode())


@functools.cache
def _server() -> str:
    claims = tokens.claims(role="service_role", exp=4102444800)
    return tokens.signed(b'{"alg":"RS256","kid":"second"}', json.dumps(claims).encode(), tokens.OTHER_PLATFORM_KEY)


@functools.cache
def _unsigned() -> str:
    claims = json.dumps(tokens.claims(role="service_role", meta={"platform": "ApiKey"})).encode()
    header = b'{"alg":"none","kid":"first"}'
    return f"{tokens.part(header)}.{tokens.part(claims)}."


def _headers(choices: Choices) -> tuple[list[tuple[str, str]], bool]:
    """Headers, and whether one of them makes an operator of their sender."""
    key = choices.pick(("", world.OPERATOR_KEY, world.OPERATOR_KEY[:-1], world.OPERATOR_KEY.upper()))
    token = choices.pick(("", "user", "server", "unsigned", "stranger"))
    found = [("Content-Type", "application/json"), ("X-Wx-Source", "wx_client"), ("X-Wx-Openid", world.OPENID)]
    found = found[: 3 - choices.byte() % 4] if choices.chance(2) else found
    found += [("X-Operator-Key", key)] if key else []
    bearer = {"user": _user, "server": _server, "unsigned": _unsigned, "stranger": lambda: "a.b.c"}
    found += [("Authorization", f"Bearer {bearer[token]()}")] if token else []
    more = [
        (choices.pick(_NAMES), choices.pick(_VALUES) if choices.chance(2) else choices.text())
        for _ in range(choices.byte() % 3)
    ]
    more = [(name, value.encode().decode("latin-1")) for name, value in more]
    found += [pair for pair in more if "\n" not in pair[1] and "\r" not in pair[1]]
    # A header that came twice arrives joined, and is nobody's key or token.
    once = {name: [pair[0] for pair in found].count(name) == 1 for name in ("X-Operator-Key", "Authorization")}
    by_key = key == world.OPERATOR_KEY and once["X-Operator-Key"]
    return found, by_key or (token == "server" and once["Authorization"])


def _body(choices: Choices, action: str, path: str) -> tuple[bytes, bool]:
    """A body, and whether it holds the operator's key."""
    kind = choices.byte() % 8
    if kind == 7:
        return choices.rest(), False
    content: Mapping[str, Any] = dict(EXAMPLES[action])
    if path in ("/", "//"):
        named = {"_action": action} if choices.byte() % 2 == 0 else {"path": f"/wx-pay/{action}", "method": "POST"}
        content = {**named, **content}
    if action == "wxpay_transfer":
        content = {**content, "openid": world.OPENID, "user_name": world.USER_NAME}
    key_inside = choices.chance(4)
    if key_inside:
        content = {**content, "_operatorKey": world.OPERATOR_KEY}
    edited = choices.edited(content)
    raw = world.encoded(edited)
    if kind == 4 and isinstance(edited, dict):
        raw = urlencode(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in edited.items()}
        ).encode()
        raw = choices.spoiled(raw)
    if kind == 6:
        raw = choices.spoiled(raw)
    if kind == 5 and raw.startswith(b"{") and len(raw) > 2:  # a key twice
        raw = raw[:-1] + b"," + raw[1:]
    # Wherever the key is found in a body that was edited, its holder is no stranger.
    return raw, key_inside or world.OPERATOR_KEY.encode() in raw


def seeds() -> Iterable[bytes]:
    for place in range(len(ACTIONS)):
        for key in (0, 1):
            yield bytes((place, 0, 0, 0, key, 0, 0, 0, 0))
        yield bytes((place, 3, 0, 0, 1, 0, 0, 0, 0, place, 0, 1, place, 1, place))
        yield bytes((place, 1, 7, place, 0, 0, 2, 0, 0, 6, 0, 2, place, 0, place, place, 1, 7, 1, 9, 2))
        yield bytes((place, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, place * 3, 0, place, place * 5, 1, 9 + place))
    yield bytes((0, 3, 0, 0, 0, 0, 0, 0, 7)) + b'{"_action":"wxpay_order","out_trade_no":"PAID0001"}'
    for place in range(len(ACTIONS)):
        yield bytes((place, 0, 0, 0, place % 2, 0, 0, 0, 4, 0, 0, 0, 1))
        yield bytes((place, 3, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 9, 3, 3)) + b"%ffx%00\x01"
    yield bytes((0, 3, 0, 0, 0, 0, 0, 0, 7)) + b"_action=wxpay_refund_query&out_refund_no=PAID0001"
    yield bytes((0, 3, 0, 0, 0, 0, 0, 0, 7)) + b'{"rawData":{"event_type":"TRANSACTION.SUCCESS"},"ParsedContent":{}}'
