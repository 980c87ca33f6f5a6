"""Who a request says it comes from, said twice, spelt otherwise, or hidden: no right comes of it, and no echo."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from sandbox import Credentials
from tests.hostile_callers.wire import Answer, Headers, Shop, encoded, open_shop, raw
from tests.http.callback_shop import sample
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY

AMOUNT = {"refund": 1, "total": 1, "currency": "CNY"}
REFUND = {"out_trade_no": "ORDER_0001", "out_refund_no": "REFUND_0001", "amount": AMOUNT}
STAFF = "oSTAFF0000000000000000000001"
OTHER_KEY = OPERATOR_KEY[:-1] + "8"
ORIGIN = "https://shop.example"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    """A private function: `x-wx-openid` is believed, and STAFF may refund."""
    settings = {"callerHeaders": "trusted", "operatorIds": STAFF, "corsAllowOrigin": ORIGIN, "cloudbaseEnvId": ""}
    with open_shop(tmp_path_factory.mktemp("shop"), credentials, **settings) as shop:
        yield shop


def refund(shop: Shop, headers: Headers) -> Answer:
    return shop.post("/wx-pay/wxpay_refund", REFUND, headers)


SOURCE = ("x-wx-source", "wx_client")
# No one of these is STAFF, however it looks to whom.
NOT_STAFF = {
    "twice, the same": [SOURCE, ("x-wx-openid", STAFF), ("x-wx-openid", STAFF)],
    "twice, staff first": [SOURCE, ("x-wx-openid", STAFF), ("x-wx-openid", OPENID)],
    "twice, staff last": [SOURCE, ("x-wx-openid", OPENID), ("X-WX-OPENID", STAFF)],
    "a list": [SOURCE, ("x-wx-openid", f"{OPENID},{STAFF}")],
    "a list that ends": [SOURCE, ("x-wx-openid", f"{STAFF},")],
    "underscores": [SOURCE, ("x_wx_openid", STAFF)],
    "some underscores": [SOURCE, ("x-wx_openid", STAFF)],
    "underscores beside it": [SOURCE, ("x-wx-openid", OPENID), ("x_wx_openid", STAFF)],
    "quotes": [SOURCE, ("x-wx-openid", f'"{STAFF}"')],
    "other case": [SOURCE, ("x-wx-openid", STAFF.lower())],
    "encoded": [SOURCE, ("x-wx-openid", STAFF.replace("S", "%53"))],
    "full width": [SOURCE, ("x-wx-openid", STAFF.replace("S", "Ｓ").encode().decode("latin-1"))],
    "a blank inside": [SOURCE, ("x-wx-openid", f"{STAFF} {OPENID}")],
    "a tab inside": [SOURCE, ("x-wx-openid", f"{STAFF}\t"), ("x-wx-openid", "")],
    "beside a token": [SOURCE, ("x-wx-openid", STAFF), ("Authorization", "Bearer x.y.z")],
    "beside an empty token": [SOURCE, ("x-wx-openid", STAFF), ("Authorization", "")],
    "beside a basic one": [SOURCE, ("x-wx-openid", STAFF), ("Authorization", "Basic YTpi")],
    "in another header": [SOURCE, ("x-wx-openid", OPENID), ("x-wx-from-openid", STAFF), ("x-wx-unionid", STAFF)],
    "in a cookie": [SOURCE, ("x-wx-openid", OPENID), ("Cookie", f"x-wx-openid={STAFF}; openid={STAFF}")],
    "in the query": [SOURCE, ("x-wx-openid", OPENID), ("x-original-url", f"/?x-wx-openid={STAFF}")],
}


def test_staff_may_refund(shop: Shop) -> None:
    """Otherwise the next test would prove nothing."""
    assert refund(shop, [SOURCE, ("x-wx-openid", STAFF)]).status == 404
    assert [call[0] for call in shop.house.recording.calls()] == ["before_refund"]


@pytest.mark.parametrize("headers", NOT_STAFF.values(), ids=NOT_STAFF)
def test_an_identity_in_disguise_is_nobodys_right(shop: Shop, headers: list[tuple[str, str]]) -> None:
    assert refund(shop, headers).status in (401, 403)
    shop.house.assert_untouched()


KEY = "X-Operator-Key"
NO_KEY = {
    "twice, the same": [(KEY, OPERATOR_KEY), (KEY, OPERATOR_KEY)],
    "twice, right first": [(KEY, OPERATOR_KEY), (KEY, OTHER_KEY)],
    "twice, right last": [(KEY, OTHER_KEY), ("x-operator-key", OPERATOR_KEY)],
    "twice, one empty": [(KEY, ""), (KEY, OPERATOR_KEY)],
    "in two halves": [(KEY, OPERATOR_KEY[:20]), (KEY, OPERATOR_KEY[20:])],
    "underscores": [("X_Operator_Key", OPERATOR_KEY)],
    "a list": [(KEY, f"{OPERATOR_KEY}, {OPERATOR_KEY}")],
    "quotes": [(KEY, f'"{OPERATOR_KEY}"')],
    "Bearer": [(KEY, f"Bearer {OPERATOR_KEY}")],
    "as the token": [("Authorization", f"Bearer {OPERATOR_KEY}")],
    "in a cookie": [("Cookie", f"X-Operator-Key={OPERATOR_KEY}")],
    "longer": [(KEY, OPERATOR_KEY + "\xa0")],
}


@pytest.mark.parametrize("headers", NO_KEY.values(), ids=NO_KEY)
def test_a_key_in_disguise_is_none(shop: Shop, headers: list[tuple[str, str]]) -> None:
    assert refund(shop, headers).status == 401
    assert refund(shop, [*MINI_PROGRAM.items(), *headers]).status in (401, 403)
    shop.house.assert_untouched()


@pytest.mark.parametrize(
    "body",
    [
        {"_operatorKey": [OPERATOR_KEY]},
        {"_operatorKey": {"": OPERATOR_KEY}},
        {"_OperatorKey": OPERATOR_KEY},
        {"operatorKey": OPERATOR_KEY},
        {"_operatorKey ": OPERATOR_KEY},
        {"_operatorKey": OPERATOR_KEY + "\u200b"},
        {"_operatorKey": OPERATOR_KEY.replace("o", "\u043e")},
        {"amount": {**AMOUNT, "_operatorKey": OPERATOR_KEY}},
        {"__proto__": {"_operatorKey": OPERATOR_KEY}},
        {"_openid": STAFF, "openid": STAFF, "x-wx-openid": STAFF, "caller": {"openid": STAFF}},
    ],
)
def test_a_body_cannot_smuggle_a_key_or_an_identity(shop: Shop, body: dict[str, object]) -> None:
    assert shop.post("/wx-pay/wxpay_refund", {**REFUND, **body}, MINI_PROGRAM).status == 403
    shop.house.assert_untouched()


def test_two_authorizations_are_none(shop: Shop) -> None:
    token = f"Bearer {shop.house.box.token('server')}"
    for second in (token, "Bearer x", "", "Basic YTpi"):
        for pair in ([token, second], [second, token]):
            answer = refund(shop, [("Authorization", value) for value in pair])
            assert answer.status in (401, 403), pair
    shop.house.assert_untouched()


# Callbacks: the evidence, said twice


@pytest.mark.parametrize("name", ["Wechatpay-Signature", "Wechatpay-Serial", "Wechatpay-Timestamp", "Wechatpay-Nonce"])
def test_evidence_that_is_said_twice_is_none(shop: Shop, name: str) -> None:
    body = encoded(shop.house.box.builder.envelope("order", {"any": "thing"}))
    true = dict(shop.house.box.builder.signed(body))
    (known,) = [field for field in true if field.lower() == name.lower()]
    others = [pair for pair in true.items() if pair[0] != known]
    for values in ([true[known], "x"], ["x", true[known]], [true[known], true[known]], [f"{true[known]},x"], [""], []):
        answer = shop.post("/wechatpay/order", body, [*others, *((known, value) for value in values)])
        assert (answer.status, answer.json["code"]) == (400, "FAIL"), values
    spelt = name.replace("-", "_")
    answer = shop.post("/wechatpay/order", body, [*others, (spelt, true[known])])
    assert (answer.status, answer.json["code"]) == (400, "FAIL")
    shop.house.assert_untouched()


@pytest.mark.parametrize("identity", [MINI_PROGRAM, {"Authorization": "Bearer x.y.z"}, {KEY: OPERATOR_KEY}, {}])
@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/", {"_action": "unifiedOrderTrigger"}),
        ("/wx-pay/unifiedOrderTrigger", {}),
        ("/", {"_action": "refundTrigger"}),
        ("/wechatpay/order", {"_action": "wxpay_refund"}),
        ("/wechatpay/refund", {"_action": "unifiedOrderTrigger"}),
        ("/", {"path": "/wx-pay/unifiedOrderTrigger"}),
        ("/unifiedOrderTrigger", {}),
    ],
)
def test_a_callback_by_a_caller_is_believed_on_no_identity(
    shop: Shop, identity: dict[str, str], target: str, fields: dict[str, str]
) -> None:
    """"Paid", in every shape, by people who are somebody: nothing of it is evidence."""
    paid = {"out_trade_no": "ORDER_0001", "trade_state": "SUCCESS", "transaction_id": "42" * 14}
    event = {"id": "EV-1", "event_type": "TRANSACTION.SUCCESS", "resource_type": "encrypt-resource"}
    for body in (
        paid,
        {**event, "resource": {"plaintext": paid}},
        {"ParsedContent": paid, "rawData": event},
        {"ParsedContent": json.dumps(paid), "ParsedNotify": json.dumps(event)},
    ):
        answer = shop.post(target, {**body, **fields}, identity)
        assert answer.status in (400, 503)
        assert answer.json["code"] == "FAIL"
    assert shop.house.recording.calls() == []


@pytest.mark.parametrize("identity", [{}, MINI_PROGRAM, {"Authorization": "Bearer x.y.z"}], ids=["none", "wx", "token"])
@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/wechatpay/order", {}),
        ("/wx-pay/transferTrigger", {}),
        ("/", {"_action": "transferTrigger"}),
        ("/wechatpay/refund", {"_action": "wxpay_refund"}),
    ],
)
def test_a_genuine_callback_is_what_its_event_says_whatever_names_it(
    shop: Shop, identity: dict[str, str], target: str, fields: dict[str, str]
) -> None:
    """Path, action and event disagree, and an identity comes with it: what is signed decides."""
    truth = sample("refund", shop.house.box.credentials)
    body = encoded({**shop.house.box.builder.envelope("refund", truth), **fields})
    answer = shop.post(target, body, {**shop.house.box.builder.signed(body), **identity})
    assert (answer.status, answer.json["code"]) == (200, "SUCCESS")
    assert shop.house.recording.calls() == [["handler_refund_trigger", truth]]


# What is echoed

BREAKS = (
    "\r\nX-Injected: 1",
    "\nX-Injected: 1",
    "\rX-Injected: 1",
    "%0d%0aX-Injected: 1",
    "\u2028X-Injected: 1",
    "\x85X-Injected: 1",
    "\0",
    "\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: 1\r\n\r\n",
    "\ud83d\ude00",
    "<script>X-Injected: 1</script>",
    "\x1b[31m",
)


def planted(break_: str, start: str) -> str:
    """As it arrives in a header: UTF-8, which WSGI reads as Latin-1."""
    return (start + break_).encode("utf-8", "surrogatepass").decode("latin-1")


def assert_not_injected(shop: Shop, answer: Answer) -> None:
    assert not [name for name, value in answer.headers if "injected" in (name + value).lower()]
    assert re.fullmatch("[0-9a-f]{32}", answer.field("X-Request-Id")[0])
    assert answer.field("Content-Type") == ["application/json"]
    answer.body.decode()
    assert shop.ask(raw("GET", "/healthz")).status == 200


@pytest.mark.parametrize("break_", [break_ for break_ in BREAKS if "\r\n" not in break_])
@pytest.mark.parametrize("name", ["X-Request-Id", "Origin", "Accept-Language", "Content-Type", "User-Agent", "X-A"])
def test_nothing_is_injected_through_a_header(shop: Shop, name: str, break_: str) -> None:
    start = {"Origin": ORIGIN, "X-Request-Id": "request-0001"}.get(name, "a")
    headers = [*MINI_PROGRAM.items(), (name, planted(break_, start))]
    answer = shop.ask(raw("POST", "/wx-pay/nothing", b"{}", headers))
    assert answer.field("Access-Control-Allow-Origin") == []
    if set(break_) & set("\r\n\0\x1b"):  # refused by the server
        assert (answer.status, answer.field("Connection")) == (400, ["close"])
        assert b"Injected" not in answer.body
    else:
        assert answer.status == 404
        assert_not_injected(shop, answer)


@pytest.mark.parametrize("break_", BREAKS)
def test_nothing_is_injected_through_a_body(shop: Shop, break_: str) -> None:
    """Every text of an answer that repeats something of the request."""
    text = json.dumps("a" + break_).encode()
    for body in (
        b'{"_action":' + text + b"}",
        b'{"path":"/wx-pay/"}'[:-2] + text[1:] + b"}",
        b'{"_action":"wxpay_order",' + text + b":1}",
        b'{"_action":"wxpay_order","out_trade_no":' + text + b',"description":' + text + b',"attach":5}',
        b'{"_action":"wxpay_query_order_by_out_trade_no","out_trade_no":' + text + b"}",
        b'{"event_type":' + text + b"}",
    ):
        answer = shop.post("/", body, MINI_PROGRAM)
        assert answer.status in (400, 404)
        assert_not_injected(shop, answer)
    lines = shop.house.function.log_text().splitlines()
    assert not [line for line in lines if line.startswith(("X-Injected", "HTTP/1.1"))]
    assert all(json.loads(line) for line in lines if line.startswith("{"))


PATH_BREAKS = ("%0d%0aX-Injected:%201", "%0aX", "%e2%80%a8X", "%c2%85X", "%00X", "%1b[31mX", "%ff")


@pytest.mark.parametrize("break_", PATH_BREAKS)
def test_nothing_is_injected_through_a_path(shop: Shop, break_: str) -> None:
    for target in (f"/{break_}", f"/wx-pay/{break_}", f"/wechatpay/{break_}", f"/?{break_}"):
        for method in ("POST", "GET", "OPTIONS"):
            answer = shop.ask(raw(method, target, b"{}", {"Origin": "https://elsewhere.example"}))
            assert answer.status == 404
            assert_not_injected(shop, answer)
    lines = shop.house.function.log_text().splitlines()
    assert not [line for line in lines if line.startswith("X")]


@pytest.mark.parametrize(
    "origin",
    [
        f"{ORIGIN}.evil.example",
        f"{ORIGIN}:443",
        f"{ORIGIN}/",
        f" {ORIGIN} x",
        ORIGIN.upper(),
        "null",
        "*",
        f"{ORIGIN}, https://elsewhere.example",
        "https://evil.example",
        "http://shop.example",
    ],
)
def test_no_other_origin_is_allowed(shop: Shop, origin: str) -> None:
    for method in ("OPTIONS", "POST"):
        answer = shop.ask(raw(method, "/wx-pay/wxpay_order_h5", b"{}", [("Origin", origin), ("X-A", "b")]))
        assert answer.field("Access-Control-Allow-Origin") == []
    twice = shop.ask(raw("OPTIONS", "/", None, [("Origin", ORIGIN), ("Origin", "https://evil.example")]))
    assert twice.field("Access-Control-Allow-Origin") == []
