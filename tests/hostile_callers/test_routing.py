"""Which request reaches which row: the documented paths and no others, whatever else a request says of itself."""

from __future__ import annotations

import itertools

import pytest

from routes.actions import ACTIONS
from tests.hostile_callers.wire import Shop, encoded, raw
from tests.support import MINI_PROGRAM, OPERATOR_KEY

AMOUNT = {"refund": 1, "total": 1, "currency": "CNY"}
REFUND = {"out_trade_no": "ORDER_0001", "out_refund_no": "REFUND_0001", "amount": AMOUNT}
CLOSE = encoded({"out_trade_no": "ORDER_0001"})
# Spellings of a path that some server or proxy takes for /wx-pay/wxpay_refund.
DISGUISES = (
    "/wx-pay//wxpay_refund",
    "/wx-pay/./wxpay_refund",
    "/wx-pay/x/../wxpay_refund",
    "/wx-pay/%2e/wxpay_refund",
    "/wx-pay/x/%2e%2e/wxpay_refund",
    "/wx-pay/wxpay_refund/.",
    "/wx-pay/wxpay_refund/x/..",
    "/wx-pay/wxpay_refund//",
    "/wx-pay/wxpay_refund;x",
    "/wx-pay/wxpay_refund;/",
    "/wx-pay;x/wxpay_refund",
    "/wx-pay/wxpay_refund%00",
    "/wx-pay/wxpay_refund%00.json",
    "/wx-pay/wxpay_refund%20",
    "/wx-pay/wxpay_refund%0a",
    "/wx-pay/wxpay_refund%0d%0a",
    "/wx-pay/wxpay_refund%09",
    "/wx-pay/wxpay_refund.",
    "/wx-pay/wxpay_refund.json",
    "/wx-pay\\wxpay_refund",
    "/wx-pay%5cwxpay_refund",
    "\\wx-pay\\wxpay_refund",
    "/WX-PAY/wxpay_refund",
    "/wx-pay/WXPAY_REFUND",
    "/wx-pay/wxpay_Refund",
    "/wx_pay/wxpay_refund",
    "/wx-pay/wxpay-refund",
    "/wx-pay/wxpay%5Frefund%3f",
    "/wx-pay/wxpay_refund%3f",
    "/wx-pay/wxpay_refund%23",
    "/wx-pay%252fwxpay_refund",
    "/wx-pay/wxpay%255frefund",
    "/wx-pay/wxpay%c0%afrefund",
    "/wx-pay/%77xpay_refun%u0064",
    "/wx-pay/wxpay_refun%64%",
    "/wx-pay/wxpay_refund%e2%80%8b",
    "/wx-pay/wxpay%ef%bc%bfrefund",
    "/wx-pay/%ef%bd%97xpay_refund",
    "/wx-pay/wxpay_refun%ce%b4",
    "/wx-pay/wxpay_refund/wxpay_close_order",
    "/wx-pay/",
    "/wx-pay",
    "//",
    "/.",
    "/..",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/%00",
    "/%",
    "/%ff%fe",
)
# The same path, spelt as RFC 3986 says that it may be: these are the row, with its right.
EQUAL = (
    "/wx-pay/wxpay_refund",
    "/wx-pay/wxpay_refund/",
    "/wx-pay/wxpay_refund?",
    "/wx-pay/wxpay_refund?_action=wxpay_close_order",
    "/wx-pay/wxpay_refund#x",
    "/wx-pay/%77xpay_refund",
    "/wx%2dpay/wxpay_refund",
    "/wx-pay/wxpay%5frefund",
    "/wx-pay%2fwxpay_refund",
    "/a/b/wx-pay/wxpay_refund",
    "//shop.example/wx-pay/wxpay_refund",
    "/../wx-pay/wxpay_refund",
    "/healthz/wx-pay/wxpay_refund",
    "/wechatpay/order/wx-pay/wxpay_refund",
    "/wx-pay/wxpay_close_order/wx-pay/wxpay_refund",
    "http://elsewhere.example/wx-pay/wxpay_refund",
    "https://user:password@elsewhere.example:1/wx-pay/wxpay_refund",
)


@pytest.mark.parametrize("target", DISGUISES)
def test_a_path_in_disguise_leads_nowhere_even_for_an_operator(shop: Shop, target: str) -> None:
    """404, or 400 where it is no request target at all; also with the key, so it is no row rather than no right."""
    answer = shop.post(target, REFUND, {"X-Operator-Key": OPERATOR_KEY})
    assert answer.status in (404, 400)
    if answer.status == 404:
        assert answer.json["code"] == -1
    shop.house.assert_untouched()


@pytest.mark.parametrize("target", EQUAL)
def test_a_path_spelt_otherwise_is_its_row_with_its_right(shop: Shop, target: str) -> None:
    assert shop.post(target, REFUND, MINI_PROGRAM).status == 403
    assert shop.post(target, REFUND).status == 401
    shop.house.assert_untouched()
    allowed = shop.post(target, REFUND, {"X-Operator-Key": OPERATOR_KEY})
    assert [call[0] for call in shop.house.recording.calls()] == ["before_refund"]
    assert allowed.status == 404  # WeChat Pay knows no such order


OVERRIDES = {
    "X-HTTP-Method-Override": ("POST", "PUT", "GET", "DELETE"),
    "X-HTTP-Method": ("POST", "GET"),
    "X-Method-Override": ("POST", "GET"),
    "X-Original-URL": ("/wx-pay/wxpay_refund", "/healthz"),
    "X-Rewrite-URL": ("/wx-pay/wxpay_refund", "/healthz"),
    "X-Original-URI": ("/wx-pay/wxpay_refund",),
    "X-Forwarded-Path": ("/wx-pay/wxpay_refund",),
    "X-Forwarded-Prefix": ("/wx-pay/wxpay_refund", "/wx-pay"),
    "X-Forwarded-Host": ("elsewhere.example",),
    "X-Forwarded-For": ("127.0.0.1",),
    "X-Script-Name": ("/wx-pay",),
    "X-Real-IP": ("127.0.0.1",),
    "Forwarded": ("for=127.0.0.1;host=elsewhere.example;proto=https",),
    "Destination": ("/wx-pay/wxpay_refund",),
    "X-Action": ("wxpay_refund",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OVERRIDES.items() for value in values]
)
def test_no_header_stands_for_method_or_path(shop: Shop, name: str, value: str) -> None:
    for spelt in (name, name.replace("-", "_"), name.upper()):
        closed = shop.ask(raw("POST", "/wx-pay/wxpay_close_order", CLOSE, {**MINI_PROGRAM, spelt: value}))
        assert closed.status == 200
        read = shop.ask(raw("GET", "/healthz", None, {**MINI_PROGRAM, spelt: value}))
        assert read.json["data"]["signMode"] == "sdk"
        unmoved = shop.ask(raw("GET", "/wx-pay/wxpay_refund", None, {"X-Operator-Key": OPERATOR_KEY, spelt: value}))
        assert (unmoved.status, unmoved.json["code"]) == (404, -1)
    assert {request.target.split("/")[-1] for request in shop.house.box.requests} == {"close"}


@pytest.mark.parametrize("field", ["_method", "_Action", "_ACTION", "action", "_action ", "method", "_path", "Path"])
def test_no_other_field_stands_for_them(shop: Shop, field: str) -> None:
    for value in ("wxpay_refund", "/wx-pay/wxpay_refund", "GET", "DELETE"):
        answer = shop.post("/", {field: value, **REFUND}, {"X-Operator-Key": OPERATOR_KEY})
        assert answer.status == 404
    shop.house.assert_untouched()


METHODS = ("GET", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "SEARCH", "POSTS", "OPTIONS", "M-POST")


@pytest.mark.parametrize("method", METHODS)
def test_other_methods_are_not_served_and_echo_nothing(shop: Shop, method: str) -> None:
    for target in ("/wx-pay/wxpay_refund", "/wechatpay/order", "/"):
        answer = shop.ask(raw(method, target, encoded(REFUND), {"X-Operator-Key": OPERATOR_KEY, "Cookie": "a=PLANTED"}))
        assert answer.status == 404
        assert b"PLANTED" not in answer.body
        assert OPERATOR_KEY.encode() not in answer.body
    shop.house.assert_untouched()


def test_a_head_of_anything_has_no_body(shop: Shop) -> None:
    with shop.connect() as wire:
        for target, status in (("/healthz", 200), ("/wx-pay/wxpay_refund", 404)):
            answer = wire.send(raw("HEAD", target)).answer(to="HEAD")
            assert (answer.status, answer.body) == (status, b"")
        assert wire.send(raw("GET", "/healthz")).answer().status == 200  # nothing was left over


@pytest.mark.parametrize("target", ["shop.example:443", "*", "", "wx-pay/wxpay_refund", "?x", "http:///", "//"])
@pytest.mark.parametrize("method", ["CONNECT", "GET", "POST", "OPTIONS"])
def test_a_target_that_is_no_path_leads_nowhere(shop: Shop, method: str, target: str) -> None:
    assert shop.ask(raw(method, target, encoded(REFUND), {"X-Operator-Key": OPERATOR_KEY})).status in (400, 404)
    shop.house.assert_untouched()


HOSTS = (
    "",
    "evil.example",
    "shop.example:99999",
    "shop.example:x",
    "user@shop.example",
    "[::1",
    "a b",
    "a,b",
    "a/../b",
    "%00",
    "'><script>",
    "\xe4\xff",
    "x" * 8000,
)


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_changes_route_or_answer(shop: Shop, host: str) -> None:
    """The function serves whatever name a gateway gives it, refuses what cannot be one, and repeats none."""
    answer = shop.ask(raw("POST", "/wx-pay/wxpay_close_order", CLOSE, host=host))
    assert answer.status in (401, 400)
    assert answer.json["code"] == -1
    shop.house.assert_untouched()
    assert not host or host.encode("latin-1") not in answer.body + repr(answer.headers).encode()


def test_no_disguise_of_any_action_escapes_its_right(shop: Shop) -> None:
    """Every row by every way in that is spelt a little otherwise: its own right, or no row."""
    spellings = ("/wx-pay/{}", "/x/wx-pay/{}/", "/wx-pay/{}/?x=1", "/wx-pay/{}%2f", "//wx-pay/{}", "/%2fwx-pay%2f{}")
    bodies = ("{}", "/wx-pay/{}", "//wx-pay/{}", "http://x/wx-pay/{}", "/wx-pay/wx-pay/{}", "/wechatpay/wx-pay/{}")
    for name, row in ACTIONS.items():
        if row.right != "operator":
            continue
        for target in spellings:
            assert shop.post(target.format(name), {}, MINI_PROGRAM).status == 403, (name, target)
        for text, field in itertools.product(bodies, ("_action", "path")):
            answer = shop.post("/", {field: text.format(name)}, MINI_PROGRAM)
            assert answer.status == 403 or (field, text, answer.status) == ("path", "{}", 404), (name, field, text)
    shop.house.assert_untouched()


def test_two_contradicting_ways_in_are_the_path(shop: Shop) -> None:
    """The path decides; what the body says beside it opens nothing."""
    for fields in ({"_action": "wxpay_close_order"}, {"path": "/wx-pay/wxpay_close_order"}, {"_action": 5}):
        answer = shop.post("/wx-pay/wxpay_refund", {**REFUND, **fields}, MINI_PROGRAM)
        assert answer.status == 403
        answer = shop.post("/wx-pay/wxpay_close_order", {**REFUND, "_action": "wxpay_refund"}, MINI_PROGRAM)
        assert answer.status == 200
    answer = shop.post("/", {"_action": "wxpay_refund", "path": "/wx-pay/wxpay_close_order"}, MINI_PROGRAM)
    assert answer.status == 403
    answer = shop.post("/", {"_action": "no such", "path": "/wx-pay/wxpay_close_order"}, MINI_PROGRAM)
    assert answer.status == 400
