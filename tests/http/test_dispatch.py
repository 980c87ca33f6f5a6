"""What a request may look like: routing, bodies, sizes, origins, and the fields that the function decides."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from routes.actions import ACTIONS
from sandbox import Credentials
from tests.http.house import House, house
from tests.http.plays import Stage
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY, Function, Reply, in_process

ORIGIN = "https://shop.example"
OPERATOR = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
NO_OPENID = {"X-Wx-Source": "wx_client"}
CLOSE = "wxpay_close_order"
PUBLIC_IP = "1.1.1.1"
MAX_BUSINESS, MAX_FORWARD = 1_500_000, 4_000_000


def order(**more: Any) -> dict[str, Any]:
    return {"description": "Tea", "out_trade_no": "ORDER_0001", "amount": {"total": 100}, **more}


def h5_order(**scene: Any) -> dict[str, Any]:
    return order(scene_info={"h5_info": {"type": "Wap"}, **scene})


def refund(**more: Any) -> dict[str, Any]:
    return {"out_trade_no": "ORDER_0001", "out_refund_no": "R1", "amount": {"refund": 1, "total": 100}, **more}


def transfer(**more: Any) -> dict[str, Any]:
    reports = [{"info_type": "活动名称", "info_content": "a"}, {"info_type": "奖励说明", "info_content": "b"}]
    return {
        "out_bill_no": "BILL1",
        "transfer_scene_id": "1000",
        "transfer_amount": 100,
        "transfer_remark": "bonus",
        "transfer_scene_report_infos": reports,
        **more,
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house"), credentials, corsAllowOrigin=f"{ORIGIN}, https://b.example") as it:
        yield it


@pytest.fixture
def at(running: House) -> House:
    running.new()
    return running


def with_settings(at: House, **changes: str | None) -> AbstractContextManager[Function]:
    """The function with other settings, in this process and with the default order service."""
    return in_process(at.box.env(tokens=True, **({"operatorKey": OPERATOR_KEY} | changes)))


def logged(at: House, path: str, body: Any, headers: Mapping[str, str]) -> tuple[Reply, list[dict[str, Any]]]:
    """The answer, and what the function logged about this request."""
    identifier = uuid.uuid4().hex
    reply = at.function.post(path, body, {**headers, "X-Request-Id": identifier})
    return reply, [line for line in at.function.log_lines() if line.get("request_id") == identifier]


# Routing


@pytest.mark.parametrize("path", ["/", "/wx-pay/wxpay_order", "/wx-pay/unifiedOrderTrigger", "/wechatpay/order"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_than_post_find_nothing(at: House, method: str, path: str):
    reply = at.function.request(method, path, headers=OPERATOR, json=order())
    assert method in at.refused(reply, 404)


def test_head_finds_nothing_either(at: House):
    assert at.function.request("HEAD", "/wx-pay/wxpay_order").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/wx-pay",
        "/wx-pay/",
        "/wx-pay/wxpay_orders",
        "/wx-pay/wxpay_order/more",
        "/wx-pay/WXPAY_ORDER",
        "/WX-PAY/wxpay_order",
        "/xwx-pay/wxpay_order",
        "/wx-pay//wxpay_order",
        "/wx-pay/wxpay_order//",
        "/wx-pay/wxpay_order%20",
        "/wx-pay%2Fx/wxpay_order",
        "/wechatpay/payment",
        "/wechatpay/order/more",
        "/order",
        "/favicon.ico",
        "/healthz",
        "/..%2F..%2Fetc%2Fpasswd",
    ],
)
def test_an_unknown_path_finds_nothing(at: House, path: str):
    at.refused(at.function.post(path, order(), MINI_PROGRAM), 404)


def test_a_path_of_any_form_is_survived(at: House):
    for path in ("//", "///wx-pay", "/%00", "/%0a", "/%ff%fe", "/" + "a/" * 1000, "/%F0%9F%8D%B5"):
        at.refused(at.function.post(path, order(), MINI_PROGRAM), 404)


def test_an_address_without_a_path_is_the_root(at: House):
    """`POST http://host HTTP/1.1`, as clients of a proxy write it [RFC 9112, 3.2.2]: answered, not sent elsewhere."""
    parts = urlsplit(at.function.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        head = "Host: elsewhere.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        connection.sendall(f"POST http://elsewhere.example HTTP/1.1\r\n{head}".encode())
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        text = response.read().decode()
    assert (response.status, response.getheader("Location")) == (404, None)
    assert json.loads(text)["code"] == -1


@pytest.mark.parametrize(
    "name", ["nothing", "", "/", "WXPAY_ORDER", " wxpay_order", "wxpay_order/..", "/wx-pay/nothing", "wx-pay/nothing"]
)
def test_an_unknown_action_is_named(at: House, name: str):
    message = at.refused(at.function.post("/", {"_action": name, **order()}, MINI_PROGRAM), 400, "_action")
    assert name.rpartition("/wx-pay/")[2] in message


def test_a_secret_that_stands_in_the_place_of_an_action_is_not_sent_back(at: House):
    for name in (OPERATOR_KEY, f"{OPERATOR_KEY}{'x' * 2000}", f"/wx-pay/{OPERATOR_KEY}"):
        for body in ({"_action": name}, {"path": f"/wx-pay/{name}"}):
            assert OPERATOR_KEY[8:] not in at.refused(at.function.post("/", body, MINI_PROGRAM), 400, "_action")


@pytest.mark.parametrize("value", [None, 7, 1.5, True, [], ["wxpay_order"], {}, {"name": "wxpay_order"}])
def test_an_action_that_is_no_string_is_refused(at: House, value: Any):
    at.refused(at.function.post("/", {"_action": value, **order()}, MINI_PROGRAM), 400, "_action")


def test_an_unknown_action_in_the_path_field_is_named(at: House):
    body = {"path": "/wx-pay/nothing", "method": "POST", **order()}
    at.refused(at.function.post("/", body, MINI_PROGRAM), 400, "nothing")


def test_a_very_long_or_strange_action_is_named_in_short(at: House):
    body = {"_action": "é\u202e" + "x" * 100_000}
    reply = at.function.post("/", body, MINI_PROGRAM)
    message = at.refused(reply, 400, "_action")
    assert len(message) < 2000
    assert "\u202e" not in reply.text


@pytest.mark.parametrize("value", [7, None, [], {}, "", "wxpay_order", "/wx-pay", "/wechatpay/order"])
def test_a_path_field_without_an_action_leads_nowhere(at: House, value: Any):
    at.refused(at.function.post("/", {"path": value, **order()}, MINI_PROGRAM), 404)


@pytest.mark.parametrize("prefix", ["/a", "/wx-pay", "/wx-pay/wxpay_refund", "https://shop.example/wechatpay/order"])
def test_any_prefix_may_stand_before_the_action_in_the_path_field(at: House, prefix: str):
    number = Stage(at.box).order()["out_trade_no"]
    body = {"path": f"{prefix}/wx-pay/{CLOSE}", "method": "POST", "out_trade_no": number}
    assert at.function.post("/", body, MINI_PROGRAM).body["data"]["status"] == 204


def test_an_action_in_the_path_goes_before_one_in_the_body(at: House):
    number = Stage(at.box).order()["out_trade_no"]
    body = {"_action": "wxpay_refund", "path": "/wx-pay/wxpay_order", "out_trade_no": number}
    reply = at.function.post(f"/wx-pay/{CLOSE}", body, MINI_PROGRAM)
    assert reply.body["data"]["status"] == 204
    assert [request.path.rpartition("/")[2] for request in at.box.requests] == ["close"]


def test_an_unknown_action_in_the_body_does_not_matter_beside_one_in_the_path(at: House):
    reply = at.function.call("wxpay_order_native", order(_action="nothing", path=7))
    assert reply.body["code"] == 0


def test_a_callback_in_the_path_goes_before_an_action_in_the_body(at: House):
    reply = at.function.post("/wechatpay/order", {"_action": "wxpay_order_native", **order()}, MINI_PROGRAM)
    at.not_acknowledged(reply, 400)


def test_an_action_in_the_body_goes_before_its_path_field_and_that_before_an_event(at: House):
    number = Stage(at.box).order()["out_trade_no"]
    rest = {"out_trade_no": number, "rawData": {"event_type": "TRANSACTION.SUCCESS"}}
    for names in ({"_action": CLOSE, "path": "/wx-pay/wxpay_refund"}, {"path": f"/wx-pay/{CLOSE}"}):
        assert at.function.post("/", names | rest, MINI_PROGRAM).body["data"]["status"] == 204


@pytest.mark.parametrize("body", [{"_action": CLOSE}, {"path": f"/wx-pay/{CLOSE}", "method": "POST"}])
def test_the_fields_that_route_are_removed_without_a_word(at: House, body: dict[str, str]):
    number = Stage(at.box).order()["out_trade_no"]
    reply, lines = logged(at, "/", {**body, "out_trade_no": number}, MINI_PROGRAM)
    assert reply.status == 200
    assert [line for line in lines if line["level"] == "WARNING"] == []


def test_an_event_of_another_type_without_proof_is_not_acknowledged(at: House):
    body = {"rawData": {"event_type": "COUPON.USE"}, "ParsedContent": {"mchid": "1900000001"}}
    at.not_acknowledged(at.function.post("/", body), 400)


@pytest.mark.parametrize("prefix", ["", "/a", "/a/b/c", "/", "/a/", "/wx-pay", "/wechatpay/order", "/healthz"])
def test_any_prefix_may_stand_before_an_actions_path(at: House, prefix: str):
    number = Stage(at.box).order()["out_trade_no"]
    reply = at.function.post(f"{prefix}/wx-pay/{CLOSE}", {"out_trade_no": number}, MINI_PROGRAM)
    assert (reply.status, at.box.ledger.orders[number].state) == (200, "CLOSED")


# Health


def test_health_names_version_mode_and_what_is_missing_and_asks_nobody(at: House):
    reply = at.function.request("GET", "/healthz")
    assert reply.status == 200
    assert set(reply.body) == {"code", "msg", "data"}
    assert reply.body["code"] == 0
    data = reply.body["data"]
    assert set(data) == {"version", "signMode", "missing"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", data["version"])
    assert (data["signMode"], data["missing"]) == ("gateway", [])
    at.assert_untouched()


def test_health_names_missing_and_broken_settings_without_their_values(at: House):
    broken = "-----BEGIN PRIVATE KEY-----\nMIIEbroken\n-----END PRIVATE KEY-----"
    with with_settings(at, merchantId=None, apiV3Key="short-api-key", privateKey=broken, signMode="sdk") as function:
        reply = function.request("GET", "/healthz")
    data = reply.body["data"]
    assert data["signMode"] == "sdk"
    assert {name.partition(" ")[0] for name in data["missing"]} == {"merchantId", "apiV3Key", "privateKey"}
    assert "short-api-key" not in reply.text
    assert "MIIEbroken" not in reply.text


def test_the_function_starts_without_any_setting(at: House):
    with in_process({}) as function:
        reply = function.request("GET", "/healthz")
    assert reply.status == 200
    assert {"merchantId", "merchantSerialNumber", "privateKey", "apiV3Key", "appId"} <= set(
        reply.body["data"]["missing"]
    )


# Bodies


def raw(at: House, body: bytes, action: str = CLOSE, content_type: str | None = "application/json") -> Reply:
    headers = dict(MINI_PROGRAM) | ({"Content-Type": content_type} if content_type else {})
    return at.function.request("POST", f"/wx-pay/{action}", data=body, headers=headers)


def body_of(at: House) -> dict[str, Any]:
    return {"out_trade_no": Stage(at.box).order()["out_trade_no"]}


@pytest.mark.parametrize("path", [f"/wx-pay/{CLOSE}", "/"])
def test_a_form_serves_an_action_without_numbers(at: House, path: str):
    fields = body_of(at) | ({"_action": CLOSE} if path == "/" else {})
    headers = MINI_PROGRAM | {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    reply = at.function.request("POST", path, data=urlencode(fields), headers=headers)
    assert reply.body["data"]["status"] == 204, reply.text


def test_a_form_has_no_numbers(at: House):
    fields = {"description": "Tea", "out_trade_no": "ORDER_0001", "amount": "100"}
    reply = raw(at, urlencode(fields).encode(), "wxpay_order_native", "application/x-www-form-urlencoded")
    at.refused(reply, 400, "amount")


@pytest.mark.parametrize(
    "form", ["out_trade_no=ORDER_0001&out_trade_no=ORDER_0002", "out_trade_no=%FF%FE", "&".join("abc"), "a=1&" * 500]
)
def test_a_form_that_is_ambiguous_or_unreadable_is_refused(at: House, form: str):
    at.refused(raw(at, form.encode(), CLOSE, "application/x-www-form-urlencoded"), 400)


@pytest.mark.parametrize("body", [b"", b" \r\n\t "])
def test_an_empty_body_is_one_without_fields(at: House, body: bytes):
    at.refused(raw(at, body), 400, "out_trade_no")
    at.refused(at.function.request("POST", "/", data=body, headers=MINI_PROGRAM), 404)


@pytest.mark.parametrize("trigger", ["unifiedOrderTrigger", "refundTrigger", "transferTrigger"])
def test_an_empty_callback_is_not_acknowledged(at: House, trigger: str):
    at.not_acknowledged(raw(at, b"", trigger), 400)


@pytest.mark.parametrize("body", [b"[]", b"7", b'"wxpay_order"', b"null", b"true", b'[{"out_trade_no":"ORDER_0001"}]'])
def test_a_body_that_is_no_object_is_refused(at: House, body: bytes):
    at.refused(raw(at, body), 400, "object")
    at.not_acknowledged(raw(at, body, "unifiedOrderTrigger"), 400)


GOOD = b'"out_trade_no":"ORDER_0001"'
DAMAGED = {
    "broken JSON": b"{" + GOOD,
    "text behind it": b"{" + GOOD + b"} {}",
    "a comma too many": b"{" + GOOD + b",}",
    "single quotes": b"{'out_trade_no':'ORDER_0001'}",
    "a comment": b"{" + GOOD + b"/* */}",
    "bad UTF-8": b"{" + GOOD + b',"a":"\xff"}',
    "overlong UTF-8": b"{" + GOOD + b',"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": b"{" + GOOD + b',"a":"\xed\xa0\x80"}',
    "UTF-16": ("{" + GOOD.decode() + "}").encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{" + GOOD + b"}",
    "a lone surrogate": b"{" + GOOD + b',"a":"\\ud83c"}',
    "a lone surrogate in a name": b"{" + GOOD + b',"\\udf75":1}',
    "NaN": b"{" + GOOD + b',"a":NaN}',
    "Infinity": b"{" + GOOD + b',"a":-Infinity}',
    "1e400": b"{" + GOOD + b',"a":1e400}',
    "an endless integer": b"{" + GOOD + b',"a":' + b"9" * 1_000_000 + b"}",
    "a key twice": b"{" + GOOD + b"," + GOOD + b"}",
    "a raw control character": b'{"out_trade_no":"ORDER_\x01001"}',
    "a NUL": b"{" + GOOD + b"}\x00",
    "65 levels": b"{" + GOOD + b',"a":' + b"[" * 64 + b"]" * 64 + b"}",
    "65 levels of objects": b"{" + GOOD + b',"a":' + b'{"a":' * 64 + b"1" + b"}" * 64 + b"}",
    "50,001 values": b"{" + GOOD + b',"a":[' + b"1," * 49_998 + b"1]}",
    "100,000 open brackets": b"[" * 100_000,
    "100,000 brackets": b"{" + GOOD + b',"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_body_is_refused_quickly_whatever_it_is_meant_for(at: House, name: str):
    started = time.monotonic()
    message = at.refused(raw(at, DAMAGED[name]), 400)
    assert message
    assert "ORDER_0001" not in message
    at.refused(at.function.post("/", DAMAGED[name], MINI_PROGRAM), 400)
    at.not_acknowledged(raw(at, DAMAGED[name], "unifiedOrderTrigger"), 400)
    assert time.monotonic() - started < 5


def test_sixty_four_levels_are_not_too_deep(at: House):
    nested = b'"a":' + b"[" * 63 + b"]" * 63
    number = body_of(at)["out_trade_no"].encode()
    reply = raw(at, b'{"out_trade_no":"' + number + b'",' + nested + b"}")
    assert reply.body["data"]["status"] == 204, reply.text


def test_fifty_thousand_values_are_not_too_many(at: House):
    number = body_of(at)["out_trade_no"].encode()
    reply = raw(at, b'{"out_trade_no":"' + number + b'","a":[' + b"1," * 49_997 + b"1]}")
    assert reply.body["data"]["status"] == 204, reply.text


def test_brackets_in_text_are_not_levels(at: House):
    reply = at.function.call("wxpay_order_native", order(attach="[{" * 60))
    assert reply.body["code"] == 0, reply.text
    assert at.sent()["attach"] == "[{" * 60


@pytest.mark.parametrize("character", ["\x00", "\x07", "\n", "\r", "\t", "\x1f", "\x7f", "\x85"])
@pytest.mark.parametrize("field", ["description", "attach", "goods_tag"])
def test_a_control_character_in_a_text_is_refused(at: House, field: str, character: str):
    reply = at.function.call("wxpay_order_native", order(**{field: f"a{character}b"}))
    at.refused(reply, 400, field)


def test_a_pair_of_surrogates_is_a_character_that_wechat_pay_does_not_take(at: House):
    at.refused(at.function.call("wxpay_order_native", order(description="Tea 🍵")), 400, "description")


def test_text_of_any_size_is_safe(at: House):
    reply = at.function.call("wxpay_order_native", order(description="x" * 1_000_000))
    assert len(at.refused(reply, 400, "description")) < 500


def test_all_offending_fields_stand_in_one_answer(at: House):
    body = {
        "description": 7,
        "out_trade_no": "no",
        "amount": {"total": "100", "currency": "USD"},
        "time_expire": "tomorrow",
        "detail": {"goods_detail": [{"merchant_goods_id": "a", "quantity": 0, "unit_price": True}]},
        "scene_info": {"payer_client_ip": "here"},
        "appid": "wx0000000000000000",
        "mchid": "1",
    }
    at.refused(
        at.function.call("wxpay_order_native", body),
        400,
        "description",
        "out_trade_no",
        "amount.total",
        "amount.currency",
        "time_expire",
        "detail.goods_detail[0].quantity",
        "detail.goods_detail[0].unit_price",
        "scene_info.payer_client_ip",
        "appid",
        "mchid",
    )


@pytest.mark.parametrize("total", ["100", 1.0, 100.5, True, 0, -1, None, [], {}, 2**63, 1e30])
def test_an_amount_is_an_integer_above_zero_and_nothing_else(at: House, total: Any):
    at.refused(at.function.call("wxpay_order_native", order(amount={"total": total})), 400, "amount.total")


# Sizes


def padded(body: dict[str, Any], size: int) -> bytes:
    content = json.dumps(body).encode()
    return content + b" " * (size - len(content))


def chunked(at: House, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """POST without Content-Length; the answer is read while the body may still be on its way."""
    parts = urlsplit(at.function.url)
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        head = {"Host": parts.netloc, "Content-Type": "application/json", "Transfer-Encoding": "chunked", **headers}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        try:
            for piece in pieces:
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        text = response.read().decode()
        return Reply(response.status, json.loads(text), dict(response.getheaders()), text, 0)


def with_length(at: House, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    return at.function.post(path, body, headers)


@pytest.fixture(params=[with_length, chunked])
def send(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_business_body_may_have_one_and_a_half_million_bytes(at: House, send: Any):
    reply = send(at, f"/wx-pay/{CLOSE}", padded(body_of(at), MAX_BUSINESS), MINI_PROGRAM)
    assert reply.body["data"]["status"] == 204, reply.text


@pytest.mark.parametrize(("path", "extra"), [(f"/wx-pay/{CLOSE}", {}), ("/", {"_action": CLOSE}), (f"/{CLOSE}", {})])
@pytest.mark.parametrize("more", [{}, {"ParsedContent": {}}, {"rawData": {}}], ids=str)
def test_a_larger_business_body_is_too_large(
    at: House, send: Any, path: str, extra: dict[str, str], more: dict[str, Any]
):
    body = padded({**extra, **more, "out_trade_no": "ORDER_0001"}, MAX_BUSINESS + 1)
    at.refused(send(at, path, body, MINI_PROGRAM), 413)


def forward(at: House, size: int, **extra: Any) -> bytes:
    number = Stage(at.box).order(paid=True)["out_trade_no"]
    _, body = at.box.forwarded("order", at.box.plaintext("order", number))
    return padded({**extra, **json.loads(body)}, size)


FORWARD_PATHS = [("/wechatpay/order", {}), ("/", {}), ("/", {"_action": "unifiedOrderTrigger"})]


@pytest.mark.parametrize(("path", "extra"), FORWARD_PATHS)
def test_a_forward_may_have_four_million_bytes(at: House, send: Any, path: str, extra: dict[str, str]):
    reply = send(at, path, forward(at, MAX_FORWARD, **extra), {})
    assert (reply.status, reply.body["code"]) == (200, "SUCCESS"), reply.text
    assert [call[0] for call in at.recording.calls()] == ["handler_unified_trigger"]


def test_a_larger_forward_is_too_large(at: House, send: Any):
    at.not_acknowledged(send(at, "/wechatpay/order", forward(at, MAX_FORWARD + 1), {}), 413)


def test_what_is_too_large_for_anything_is_too_large_before_it_is_read(at: House, send: Any):
    at.refused(send(at, "/", forward(at, MAX_FORWARD + 1), {}), 413)


# Content types


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        None,
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "nonsense",
    ],
)
def test_json_is_json_whatever_it_is_called(at: House, content_type: str | None):
    reply = raw(at, json.dumps(body_of(at)).encode(), CLOSE, content_type)
    assert reply.body["data"]["status"] == 204, reply.text


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", None, "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("path", ["/wechatpay/order", "/wx-pay/unifiedOrderTrigger", "/"])
def test_a_callback_is_json_whatever_it_is_called(at: House, path: str, content_type: str | None):
    headers = {"Content-Type": content_type} if content_type else {}
    reply = at.function.request("POST", path, data=b"\n " + forward(at, 0), headers=headers)
    assert reply.body == {"code": "SUCCESS", "message": "OK"}


def test_a_signed_callback_is_read_from_the_raw_bytes_whatever_it_is_called(at: House):
    number = Stage(at.box).order(paid=True)["out_trade_no"]
    headers, body = at.box.notification("order", at.box.plaintext("order", number))
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    reply = at.function.request("POST", "/wx-pay/unifiedOrderTrigger", data=body, headers=headers)
    assert reply.body == {"code": "SUCCESS", "message": "OK"}


# Fields that never leave


@pytest.mark.parametrize("value", [OPERATOR_KEY, "a-wrong-operator-key-0123456789-0123456789", "", 7, None, [], {}])
def test_the_operators_key_is_removed_before_anything_leaves(at: House, value: Any):
    reply, lines = logged(at, "/", {"_action": "wxpay_order_native", **order(_operatorKey=value)}, MINI_PROGRAM)
    assert reply.body["code"] == 0, reply.text
    assert "_operatorKey" not in at.sent()
    assert [line for line in lines if line["level"] == "WARNING"] == []
    assert all("_operatorKey" not in json.dumps(call) for call in at.recording.calls())
    if isinstance(value, str) and value:
        assert value not in at.function.log_text()
        assert value.encode() not in at.box.requests[0].body


def test_the_operators_key_in_the_body_lets_a_refund_pass_and_is_removed(at: House):
    number = Stage(at.box).order(paid=True)["out_trade_no"]
    body = {"_action": "wxpay_refund", **refund(out_trade_no=number), "_operatorKey": OPERATOR_KEY}
    assert at.function.post("/", body).body["code"] == 0
    assert "_operatorKey" not in at.sent()


def test_undocumented_fields_are_dropped_with_one_warning_that_names_them(at: House):
    body = order(
        sub_mchid="1900000002",
        prepay_id="wx1",
        amount={"total": 100, "payer_total": 1},
        detail={"goods_detail": [{"merchant_goods_id": "a", "quantity": 1, "unit_price": 1, "colour": "green-7"}]},
    )
    reply, lines = logged(at, "/wx-pay/wxpay_order_native", body, MINI_PROGRAM)
    assert reply.body["code"] == 0, reply.text
    sent = json.dumps(at.sent())
    (warning,) = [line for line in lines if line["level"] == "WARNING"]
    for name in ("sub_mchid", "prepay_id", "amount.payer_total", "detail.goods_detail[0].colour"):
        assert name in warning["message"]
        assert f'"{name.rpartition(".")[2]}"' not in sent
    assert "green-7" not in json.dumps(warning)
    assert "out_trade_no" not in warning["message"]


def test_a_documented_body_warns_of_nothing(at: House):
    fixed = {"appid": at.box.credentials.app_id, "mchid": at.box.credentials.merchant_id}
    _, lines = logged(at, "/wx-pay/wxpay_order_native", order(useServiceAccount=False, **fixed), MINI_PROGRAM)
    assert lines
    assert [line for line in lines if line["level"] == "WARNING"] == []


# Missing credentials

EVERYWHERE = ["merchantId", "merchantSerialNumber", "privateKey", "apiV3Key"]
SETTING = re.compile(r"[A-Za-z]+[A-Za-z0-9_]*")


def call_unread(function: Function, action: str) -> Reply:
    """An action whose body nobody gets to read."""
    return function.call(action, {}, OPERATOR)


def lacking(reply: Reply) -> list[str]:
    """The names in a MISSING_CREDENTIALS answer, the reasons of the broken ones taken off."""
    assert reply.status == 500, reply.text
    assert (reply.body["code"], reply.body["data"]) == (-1, None)
    head, _, names = reply.body["msg"].partition(": ")
    assert head == "MISSING_CREDENTIALS"
    return [name.strip() for name in re.sub(r"\([^)]*\)", "", names).split(",")]


@pytest.fixture(scope="module")
def bare() -> Iterator[Function]:
    """The function as it is before anybody has set anything but the operator's key."""
    with in_process({"operatorKey": OPERATOR_KEY}) as function:
        yield function


@pytest.mark.parametrize("action", [name for name in ACTIONS if name.startswith("wxpay_")])
def test_what_every_action_needs_is_named_by_every_action(bare: Function, action: str):
    own = {"wxpay_refund": ["notifyURLRefundsURL"]}.get(action, [])
    places_order = action.startswith("wxpay_order") and action not in ("wxpay_order_wait", "wxpay_orders_init")
    own = ["notifyURLPayURL"] if places_order else own
    assert sorted(lacking(call_unread(bare, action))) == sorted(["appId", *EVERYWHERE, *own])


@pytest.mark.parametrize("name", EVERYWHERE)
def test_one_missing_setting_is_named_alone(at: House, name: str):
    with with_settings(at, **{name: None}) as function:
        assert lacking(call_unread(function, CLOSE)) == [name]
    assert at.box.requests == []


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_setting_is_a_missing_one(at: House, value: str):
    with with_settings(at, **dict.fromkeys(EVERYWHERE, value)) as function:
        assert lacking(call_unread(function, CLOSE)) == EVERYWHERE


def test_the_url_of_payments_is_missed_by_orders_alone(at: House):
    number = Stage(at.box).order()["out_trade_no"]
    with with_settings(at, notifyURLPayURL=None) as function:
        for action in ("wxpay_order", "wxpay_order_native", "wxpay_order_h5", "wxpay_order_app"):
            assert lacking(call_unread(function, action)) == ["notifyURLPayURL"]
        assert at.box.requests == []
        assert function.call(CLOSE, {"out_trade_no": number}).body["code"] == 0


def test_the_url_of_refunds_is_missed_by_refunds_alone(at: House):
    with with_settings(at, notifyURLRefundsURL="") as function:
        assert lacking(call_unread(function, "wxpay_refund")) == ["notifyURLRefundsURL"]
        assert function.call("wxpay_order_native", order()).body["code"] == 0


def test_the_url_of_transfers_is_missed_by_nobody_and_left_out(at: House):
    with with_settings(at, transferNotifyUrl=None) as function:
        assert function.call("wxpay_transfer", transfer(), OPERATOR).body["code"] == 0
    assert "notify_url" not in at.sent()


@pytest.mark.parametrize(
    ("name", "value", "action", "others"),
    [
        (
            "transferNotifyUrl",
            "http://planted.example/wechatpay/transfer?a=b",
            "wxpay_transfer",
            ["wxpay_transfer_cancel", "wxpay_transfer_bill_query", "wxpay_refund", "wxpay_order"],
        ),
        ("corsAllowOrigin", "*", "wxpay_order_h5", ["wxpay_order", "wxpay_order_native", "wxpay_order_app", CLOSE]),
        ("corsAllowOrigin", f"{ORIGIN}, planted.example/x", "wxpay_order_h5", ["wxpay_order_native"]),
    ],
)
def test_a_broken_optional_setting_stops_the_action_that_rests_on_it(
    at: House, name: str, value: str, action: str, others: list[str]
):
    with with_settings(at, **{name: value}) as function:
        reply = call_unread(function, action)
        assert lacking(reply) == [name]
        assert re.search(rf"{name} \([^)]{{10,}}\)", reply.body["msg"])
        assert "planted" not in reply.text
        for other in others:
            assert call_unread(function, other).status == 400, other
        assert lacking_in_health(function) == [name]
    assert at.box.requests == []


@pytest.mark.parametrize("name", ["transferNotifyUrl", "corsAllowOrigin"])
def test_an_unset_optional_setting_is_not_missed(at: House, name: str):
    with with_settings(at, **{name: None}) as function:
        for action in ("wxpay_transfer", "wxpay_order_h5"):
            assert call_unread(function, action).status == 400
        assert lacking_in_health(function) == []


def test_without_a_usable_url_of_its_issuer_a_token_grants_nothing(at: House):
    """The environment's own address must not stand in for one that was set and is broken."""
    with with_settings(at, cloudbaseAuthUrl="planted.example/no-scheme") as function:
        for kind in ("user", "server"):
            token = {"Authorization": f"Bearer {at.box.token(kind)}"}
            reply = function.call("wxpay_refund", refund(), token)
            assert reply.status in (401, 503), "not believed"
            assert reply.body["code"] == -1
            assert "planted" not in reply.text
        assert function.call("wxpay_order_native", order()).body["code"] == 0
    assert [request.path for request in at.box.requests] == ["/v3/pay/transactions/native"]


def lacking_in_health(function: Function) -> list[str]:
    missing = function.request("GET", "/healthz").body["data"]["missing"]
    return [name.partition(" ")[0] for name in missing]


def test_broken_settings_are_named_with_the_reason_and_never_with_the_value(at: House):
    values = {
        "merchantSerialNumber": "ZZ-planted-serial",
        "apiV3Key": "planted-key",
        "notifyURLPayURL": "http://planted.example/x",
    }
    with with_settings(at, **values) as function:
        reply = call_unread(function, "wxpay_order")
        assert sorted(lacking(reply)) == sorted(values)
        for name in values:
            assert re.search(rf"{name} \([^)]{{10,}}\)", reply.body["msg"])
        assert "planted" not in reply.text
        assert sorted(lacking(call_unread(function, CLOSE))) == ["apiV3Key", "merchantSerialNumber"]


def test_one_appid_is_enough(at: House):
    for other in ("appId", "service_app_id"):
        at.new()
        with with_settings(at, **{other: None}) as function:
            assert function.call("wxpay_order_native", order()).body["code"] == 0


def test_a_callback_without_credentials_comes_again(at: House):
    headers, body = at.box.forwarded("order", {"out_trade_no": "ORDER_0001", "trade_state": "SUCCESS"})
    with with_settings(at, apiV3Key=None) as function:
        for path in ("/wx-pay/unifiedOrderTrigger", "/wechatpay/refund", "/", "/transferTrigger"):
            reply = function.post(path, body, headers)
            at.not_acknowledged(reply, 503)
            assert "apiV3Key" not in reply.text


def test_a_callback_does_not_miss_what_only_orders_need(at: House):
    body = forward(at, 0)
    with with_settings(at, notifyURLPayURL=None, notifyURLRefundsURL=None) as function:
        assert function.post("/", body).body["code"] == "SUCCESS"


def test_strangers_are_not_told_what_is_missing(bare: Function):
    assert bare.call(CLOSE, {}, {}).status == 401


# Origins


def cors(reply: Reply) -> dict[str, str]:
    return {k.lower(): v for k, v in reply.headers.items() if k.lower().startswith("access-control-")}


def varies(reply: Reply) -> bool:
    return "origin" in [name.strip().lower() for name in reply.headers.get("Vary", "").split(",")]


@pytest.mark.parametrize("origin", [ORIGIN, "https://b.example"])
@pytest.mark.parametrize("path", ["/", "/wx-pay/wxpay_order_h5", "/anything"])
def test_a_listed_origin_gets_its_preflight(at: House, path: str, origin: str):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    reply = at.function.request("OPTIONS", path, headers=asked)
    assert (reply.status, reply.text) == (204, "")
    headers = cors(reply)
    assert headers["access-control-allow-origin"] == origin
    assert [method.strip() for method in headers["access-control-allow-methods"].split(",")] == ["POST"]
    allowed = {name.strip().lower() for name in headers["access-control-allow-headers"].split(",")}
    assert allowed == {"content-type", "authorization", "x-operator-key"}
    assert "access-control-allow-credentials" not in headers
    assert varies(reply)
    at.assert_untouched()


OTHER_ORIGINS = [
    "https://evil.example",
    "http://shop.example",
    "https://shop.example:8443",
    "https://shop.example.evil.example",
    "https://xshop.example",
    "https://shop.example/",
    "HTTPS://SHOP.EXAMPLE",
    f"{ORIGIN}, https://b.example",
    "null",
    "*",
    "",
]


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_any_other_origin_gets_a_plain_answer(at: House, origin: str):
    preflight = at.function.request("OPTIONS", "/", headers={"Origin": origin})
    at.refused(preflight, 404)
    answer = at.function.call("wxpay_order_native", order(), MINI_PROGRAM | {"Origin": origin})
    assert answer.body["code"] == 0
    for reply in (preflight, answer):
        assert cors(reply) == {}
        assert varies(reply)


def test_a_listed_origin_gets_its_headers_on_answers_and_refusals(at: House):
    for headers, status in ((MINI_PROGRAM, 200), ({}, 401)):
        reply = at.function.call("wxpay_order_native", order(), {**headers, "Origin": ORIGIN})
        assert reply.status == status
        assert cors(reply)["access-control-allow-origin"] == ORIGIN
        assert varies(reply)


def test_every_answer_varies_by_origin(at: House):
    replies = [
        at.function.request("GET", "/healthz"),
        at.function.request("GET", "/"),
        at.function.post("/", b"{"),
        at.function.post("/wechatpay/order", {}),
        at.function.call("wxpay_order_native", order()),
        at.function.call("wxpay_order_native", order(), {}),
        with_length(at, "/wechatpay/order", b" " * (MAX_FORWARD + 1), {}),
    ]
    assert [reply.status for reply in replies] == [200, 404, 400, 400, 200, 401, 413]
    assert all(varies(reply) for reply in replies)


def test_a_star_lets_no_origin_in(at: House):
    with with_settings(at, corsAllowOrigin="*") as function:
        for origin in ("https://evil.example", "*"):
            reply = function.request("OPTIONS", "/", headers={"Origin": origin})
            assert (reply.status, cors(reply)) == (404, {})


@pytest.mark.parametrize("origin", OTHER_ORIGINS[:-1])
def test_an_h5_order_from_another_origin_is_refused(at: House, origin: str):
    reply = at.function.call("wxpay_order_h5", h5_order(payer_client_ip=PUBLIC_IP), MINI_PROGRAM | {"Origin": origin})
    at.refused(reply, 403, "Origin")


@pytest.mark.parametrize("headers", [{"Origin": ORIGIN}, {}])
def test_an_h5_order_from_a_listed_origin_or_without_one_passes(at: House, headers: dict[str, str]):
    reply = at.function.call("wxpay_order_h5", h5_order(payer_client_ip=PUBLIC_IP), MINI_PROGRAM | headers)
    assert reply.body["code"] == 0, reply.text


def test_without_a_list_an_h5_order_may_come_from_any_origin(at: House):
    with with_settings(at) as function:
        body = h5_order(payer_client_ip=PUBLIC_IP)
        reply = function.call("wxpay_order_h5", body, MINI_PROGRAM | {"Origin": "https://evil.example"})
    assert reply.body["code"] == 0
    assert cors(reply) == {}


# Filled in: the browser's address


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"X-Forwarded-For": "1.1.1.1"}, "1.1.1.1"),
        ({"X-Forwarded-For": "1.1.1.1, 10.0.0.1"}, "1.1.1.1"),
        ({"X-Forwarded-For": "10.0.0.1, 1.1.1.1"}, "1.1.1.1"),
        ({"X-Forwarded-For": "unknown, 127.0.0.1 , 1.1.1.1 , 8.8.8.8"}, "1.1.1.1"),
        ({"X-Forwarded-For": "2606:4700:4700::1111"}, "2606:4700:4700::1111"),
        ({"X-Real-IP": "1.1.1.1"}, "1.1.1.1"),
        ({"X-Forwarded-For": "192.168.0.1", "X-Real-IP": "1.1.1.1"}, "1.1.1.1"),
    ],
)
def test_the_browsers_address_comes_from_the_proxies_headers(at: House, headers: dict[str, str], address: str):
    reply = at.function.call("wxpay_order_h5", h5_order(), MINI_PROGRAM | headers)
    assert reply.body["code"] == 0, reply.text
    assert at.sent()["scene_info"]["payer_client_ip"] == address


@pytest.mark.parametrize(
    "forwarded",
    [
        None,
        "",
        ",",
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::",
        "not an address",
        "1.1.1.1.1",
        "127.0.0.1, 10.0.0.1, fc00::7",
    ],
)
def test_no_address_of_a_private_network_is_taken_for_the_browsers(at: House, forwarded: str | None):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    reply = at.function.call("wxpay_order_h5", h5_order(), MINI_PROGRAM | headers)
    at.refused(reply, 400, "scene_info.payer_client_ip")


def test_an_address_that_is_sent_stays(at: House):
    reply = at.function.call(
        "wxpay_order_h5", h5_order(payer_client_ip="8.8.8.8"), MINI_PROGRAM | {"X-Forwarded-For": PUBLIC_IP}
    )
    assert reply.body["code"] == 0
    assert at.sent()["scene_info"]["payer_client_ip"] == "8.8.8.8"


def test_an_h5_order_without_its_scene_names_what_it_lacks(at: House):
    at.refused(
        at.function.call("wxpay_order_h5", order()), 400, "scene_info.payer_client_ip", "scene_info.h5_info.type"
    )


@pytest.mark.parametrize("scene", [7, "x", [], None])
def test_a_scene_of_the_wrong_kind_is_named(at: House, scene: Any):
    reply = at.function.call("wxpay_order_h5", order(scene_info=scene), MINI_PROGRAM | {"X-Real-IP": PUBLIC_IP})
    at.refused(reply, 400, "scene_info")


# Filled in: the openid

OF_TOKEN, OF_HEADER, OF_BODY = "oOfTheToken", "oOfTheHeader", "oOfTheBody"


@pytest.mark.parametrize(
    ("token", "header", "body", "payer"),
    [
        (True, True, True, OF_TOKEN),
        (True, True, False, OF_TOKEN),
        (True, False, True, OF_TOKEN),
        (True, False, False, OF_TOKEN),
        (False, True, True, OF_HEADER),
        (False, True, False, OF_HEADER),
        (False, False, True, OF_BODY),
    ],
)
def test_the_payer_is_the_tokens_then_the_headers_then_the_bodys(
    at: House, *, token: bool, header: bool, body: bool, payer: str
):
    headers = dict(NO_OPENID)
    if token:
        headers["Authorization"] = f"Bearer {at.box.token('user', openid=OF_TOKEN)}"
    if header:
        headers["X-Wx-Openid"] = OF_HEADER
    reply = at.function.call("wxpay_order", order(**({"payer": {"openid": OF_BODY}} if body else {})), headers)
    assert reply.body["code"] == 0, reply.text
    assert at.sent()["payer"] == {"openid": payer}


def test_an_order_without_any_openid_names_it(at: House):
    at.refused(at.function.call("wxpay_order", order(), NO_OPENID), 400, "payer.openid")


def test_a_server_token_has_no_openid_of_its_own(at: House):
    headers = {"Authorization": f"Bearer {at.box.token('server')}"}
    assert at.function.call("wxpay_order", order(payer={"openid": OF_BODY}), headers).body["code"] == 0
    assert at.sent()["payer"] == {"openid": OF_BODY}


@pytest.mark.parametrize("payer", [7, None, "o", []])
def test_a_payer_of_the_wrong_kind_is_named(at: House, payer: Any):
    at.refused(at.function.call("wxpay_order", order(payer=payer)), 400, "payer")


def test_only_jsapi_orders_have_a_payer(at: House):
    for number, action in enumerate(("wxpay_order_native", "wxpay_order_app", "wxpay_order_h5")):
        at.box.reset()
        body = h5_order(payer_client_ip=PUBLIC_IP) | {"out_trade_no": f"ORDER_000{number}"}
        if action != "wxpay_order_h5":
            del body["scene_info"]
        assert at.function.call(action, body).body["code"] == 0
        assert "payer" not in at.sent()


@pytest.mark.parametrize(("sent", "payee"), [({}, OPENID), ({"openid": OF_BODY}, OF_BODY)])
def test_a_transfer_goes_to_the_caller_only_when_it_names_nobody(at: House, sent: dict[str, str], payee: str):
    assert at.function.call("wxpay_transfer", transfer(**sent), OPERATOR).body["code"] == 0
    assert at.sent()["openid"] == payee


@pytest.mark.parametrize("openid", ["", None, 7])
def test_a_transfer_to_nobody_readable_is_not_sent_to_the_caller_instead(at: House, openid: Any):
    at.refused(at.function.call("wxpay_transfer", transfer(openid=openid), OPERATOR), 400, "openid")


def test_a_transfer_of_nobody_to_nobody_names_the_openid(at: House):
    headers = {**NO_OPENID, "X-Operator-Key": OPERATOR_KEY}
    at.refused(at.function.call("wxpay_transfer", transfer(), headers), 400, "openid")


# Filled in: appid, mchid, notify_url

NOTIFY = "https://sandbox.integration-callback.example/wechatpay/"


def filled(action: str, at: House, **more: Any) -> tuple[str, dict[str, Any], str]:
    """An action with a body that is good but for `more`, and the notify_url that goes with it."""
    if action == "wxpay_refund":
        number = Stage(at.box).order(paid=True)["out_trade_no"]
        return action, refund(out_trade_no=number, **more), NOTIFY + "refund"
    if action == "wxpay_transfer":
        return action, transfer(**more), NOTIFY + "transfer"
    return action, order(**more), NOTIFY + "order"


FILLED = ["wxpay_order", "wxpay_order_native", "wxpay_refund", "wxpay_transfer"]


@pytest.mark.parametrize("action", FILLED)
def test_a_caller_may_repeat_what_the_settings_say(at: House, action: str):
    _, _, url = filled(action, at)
    at.new()
    credentials = at.box.credentials
    said = {"appid": credentials.app_id, "mchid": credentials.merchant_id, "notify_url": url}
    _, body, _ = filled(action, at, **said)
    reply = at.function.call(action, body, OPERATOR)
    assert reply.body["code"] == 0, reply.text
    assert at.sent()["notify_url"] == url


@pytest.mark.parametrize("action", FILLED)
def test_what_the_settings_say_is_filled_in(at: House, action: str):
    action, body, url = filled(action, at)
    assert at.function.call(action, body, OPERATOR).body["code"] == 0
    sent, credentials = at.sent(), at.box.credentials
    assert sent["notify_url"] == url
    assert sent.get("appid") == (None if action == "wxpay_refund" else credentials.app_id)
    assert sent.get("mchid") == (credentials.merchant_id if action.startswith("wxpay_order") else None)


@pytest.mark.parametrize("action", FILLED)
@pytest.mark.parametrize("value", ["wx0123456789abcdef", "", None, 7, [], {}])
@pytest.mark.parametrize("field", ["appid", "mchid", "notify_url"])
def test_a_caller_may_not_replace_what_the_settings_say(at: House, field: str, value: Any, action: str):
    _, body, _ = filled(action, at, **{field: value})
    at.refused(at.function.call(action, body, OPERATOR), 400, field)


@pytest.mark.parametrize("action", FILLED)
def test_the_same_endpoint_written_otherwise_is_the_same(at: House, action: str):
    _, _, url = filled(action, at)
    at.new()
    again = url.replace("https://sandbox", "HTTPS://SANDBOX").replace(".example/", ".example:443/") + "?x=1"
    _, body, _ = filled(action, at, notify_url=again)
    assert at.function.call(action, body, OPERATOR).body["code"] == 0
    assert at.sent()["notify_url"] == url


@pytest.mark.parametrize("action", FILLED)
@pytest.mark.parametrize(
    "change",
    [
        ("https://", "http://"),
        ("sandbox.", "evil."),
        (".example/", ".example.evil.example/"),
        (".example/", ".example:8443/"),
        ("/wechatpay/", "/wechatpay/x/"),
        ("/wechatpay/", "/WechatPay/"),
        ("/wechatpay/", "/x/../wechatpay/"),
        ("https://", "https:\\\\"),
        ("sandbox.", "sand\nbox."),
    ],
)
def test_another_endpoint_gets_nobodys_notifications(at: House, change: tuple[str, str], action: str):
    _, _, url = filled(action, at)
    at.new()
    _, body, _ = filled(action, at, notify_url=url.replace(*change, 1))
    at.refused(at.function.call(action, body, OPERATOR), 400, "notify_url")


def test_a_transfer_may_not_name_a_url_where_none_is_configured(at: House):
    with with_settings(at, transferNotifyUrl=None) as function:
        reply = function.call("wxpay_transfer", transfer(notify_url=NOTIFY + "transfer"), OPERATOR)
    at.refused(reply, 400, "notify_url")


@pytest.mark.parametrize("action", ["wxpay_query_order_by_out_trade_no", CLOSE])
def test_queries_are_for_our_own_merchant_alone(at: House, action: str):
    body = {"out_trade_no": Stage(at.box).order()["out_trade_no"]}
    at.refused(at.function.call(action, {**body, "mchid": "1900000009"}), 400, "mchid")
    at.refused(at.function.call(action, {**body, "appid": "wx0123456789abcdef"}), 400, "appid")
    assert at.function.call(action, {**body, "mchid": at.box.credentials.merchant_id}).body["code"] == 0


# The service account

MISSING_SERVICE_ACCOUNT = "useServiceAccount=true but service_app_id env var is not configured"
FOR_SERVICE_ACCOUNT = ["wxpay_order", "wxpay_order_native", "wxpay_order_app", "wxpay_transfer"]


def good(action: str, **more: Any) -> dict[str, Any]:
    return transfer(**more) if action == "wxpay_transfer" else order(**more)


@pytest.mark.parametrize("action", FOR_SERVICE_ACCOUNT)
@pytest.mark.parametrize("wanted", [True, False])
def test_the_service_account_is_taken_when_asked_for(at: House, action: str, *, wanted: bool):
    reply = at.function.call(action, good(action, useServiceAccount=wanted), OPERATOR)
    assert reply.body["code"] == 0, reply.text
    credentials = at.box.credentials
    expected = credentials.service_app_id if wanted else credentials.app_id
    assert at.sent()["appid"] == expected
    assert "useServiceAccount" not in at.sent()
    if action != "wxpay_order_native":
        assert reply.body["data"]["data"]["appId"] == expected


def test_without_a_service_account_the_wish_for_it_is_refused_in_fixed_words(at: House):
    with with_settings(at, service_app_id=None) as function:
        for action in FOR_SERVICE_ACCOUNT:
            at.new()
            reply = function.call(action, good(action, useServiceAccount=True), OPERATOR)
            assert at.refused(reply, 400) == MISSING_SERVICE_ACCOUNT
            assert function.call(action, good(action, useServiceAccount=False), OPERATOR).body["code"] == 0
            assert at.sent()["appid"] == at.box.credentials.app_id


@pytest.mark.parametrize("wish", [{}, {"useServiceAccount": True}])
def test_a_lone_service_account_is_taken_whether_asked_for_or_not(at: House, wish: dict[str, bool]):
    with with_settings(at, appId=None) as function:
        for action in FOR_SERVICE_ACCOUNT:
            at.new()
            assert function.call(action, good(action, **wish), OPERATOR).body["code"] == 0
            assert at.sent()["appid"] == at.box.credentials.service_app_id


@pytest.mark.parametrize("value", ["true", 1, 0, None, [], "yes"])
def test_the_wish_for_the_service_account_is_true_or_false(at: House, value: Any):
    at.refused(at.function.call("wxpay_order", order(useServiceAccount=value)), 400, "useServiceAccount")


@pytest.mark.parametrize("action", FOR_SERVICE_ACCOUNT)
def test_the_appid_that_a_caller_names_is_the_one_that_is_used(at: House, action: str):
    named = at.box.credentials.service_app_id
    assert at.function.call(action, good(action, appid=named), OPERATOR).body["code"] == 0
    assert at.sent()["appid"] == named


def test_the_log_holds_one_line_for_each_request_of_this_module(at: House):
    """The last test looks at what the others left."""
    lines = [line for line in at.function.log_lines() if line["message"] == "request"]
    identifiers = [line["request_id"] for line in lines]
    assert lines
    assert len(identifiers) == len(set(identifiers))
    assert all({"method", "path", "action", "status", "duration_ms"} <= line.keys() for line in lines)
