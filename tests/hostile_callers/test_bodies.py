"""Bodies that two readers read differently, that are no JSON, or that unfold: refused, and nothing comes of them."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from tests.hostile_callers.wire import ORDER, Answer, Shop, encoded, raw
from tests.support import MINI_PROGRAM, OPERATOR_KEY

REFUND = b'"out_trade_no":"ORDER_0001","out_refund_no":"REFUND_0001","amount":{"refund":1,"total":1,"currency":"CNY"}'
DEEP = 100_000


def refused(shop: Shop, answer: Answer, status: int = 400) -> None:
    assert answer.status == status, answer
    assert answer.json["code"] in (-1, "FAIL")
    assert len(answer.body) < 4000
    shop.house.assert_untouched()


# name -> a body for `/`, in which an operator's action hides behind one of everybody's, or that is no JSON
ODD = {
    "_action twice": b'{"_action":"wxpay_close_order","_action":"wxpay_refund",' + REFUND + b"}",
    "_action twice, one escaped": b'{"_action":"wxpay_close_order","_\\u0061ction":"wxpay_refund",' + REFUND + b"}",
    "a key twice further in": b'{"_action":"wxpay_order","amount":{"total":1,"total":2}}',
    "a key twice, in a list": b'{"_action":"wxpay_order","detail":[{"a":1,"a":2}]}',
    "byte order mark": b"\xef\xbb\xbf" + b'{"_action":"wxpay_close_order"}',
    "UTF-16": '{"_action":"wxpay_refund"}'.encode("utf-16"),
    "UTF-16 without mark": '{"_action":"wxpay_refund"}'.encode("utf-16-be"),
    "UTF-32": '{"_action":"wxpay_refund"}'.encode("utf-32"),
    "UTF-7": b'+AHsAIg-_action":"wxpay_refund"}',
    "Latin-1": '{"_action":"wxpay_order","description":"\xe9"}'.encode("latin-1"),
    "overlong UTF-8": b'{"_action":"wxpay\xc1\x9frefund"}',
    "half a character": b'{"_action":"wxpay_order","description":"\xe8\x8c"}',
    "encoded surrogate": b'{"_action":"wxpay_order","description":"\xed\xa0\x80"}',
    "escaped surrogate": b'{"_action":"wxpay_order","description":"\\ud800"}',
    "escaped surrogate as a key": b'{"_action":"wxpay_order","\\udfff":1}',
    "surrogates in disorder": b'{"_action":"wxpay_order","description":"\\udc00\\ud800"}',
    "deep": b'{"_action":"wxpay_order","a":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"_action":"wxpay_order","a":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and never closed": b'{"_action":"wxpay_order","a":' + b"[" * DEEP,
    "deep in a string first": b'{"_action":"wxpay_order","b":"]]\\"]]\\\\","a":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "wide": b'{"_action":"wxpay_order","a":[' + b"0," * 600_000 + b"0]}",
    "many keys": b"{" + b",".join(b'"k%d":0' % n for n in range(100_000)) + b"}",
    "1e999": b'{"_action":"wxpay_order","amount":{"total":1e999}}',
    "-1e999": b'{"_action":"wxpay_order","amount":{"total":-1e999}}',
    "a number of 5000 digits": b'{"_action":"wxpay_order","amount":{"total":' + b"9" * 5000 + b"}}",
    "a number of a million digits": b'{"_action":"wxpay_order","amount":{"total":' + b"9" * 1_000_000 + b"}}",
    "a fraction of a million digits": b'{"_action":"wxpay_order","amount":{"total":0.' + b"1" * 1_000_000 + b"}}",
    "NaN": b'{"_action":"wxpay_order","amount":{"total":NaN}}',
    "Infinity": b'{"_action":"wxpay_order","amount":{"total":-Infinity}}',
    "leading zero": b'{"_action":"wxpay_order","amount":{"total":01}}',
    "plus": b'{"_action":"wxpay_order","amount":{"total":+1}}',
    "hexadecimal": b'{"_action":"wxpay_order","amount":{"total":0x1}}',
    "underscore": b'{"_action":"wxpay_order","amount":{"total":1_0}}',
    "full-width digit": '{"_action":"wxpay_order","amount":{"total":\uff11}}'.encode(),
    "Arabic-Indic digit": '{"_action":"wxpay_order","amount":{"total":\u0661}}'.encode(),
    "digit behind a digit": '{"_action":"wxpay_order","amount":{"total":1\u0661}}'.encode(),
    "superscript": '{"_action":"wxpay_order","amount":{"total":1\u00b2}}'.encode(),
    "minus sign": '{"_action":"wxpay_order","amount":{"total":\u22121}}'.encode(),
    "no-break space": '{"_action":"wxpay_order",\u00a0"a":1}'.encode(),
    "comment": b'{"_action":"wxpay_order" /* "x" */}',
    "single quotes": b"{'_action':'wxpay_order'}",
    "trailing comma": b'{"_action":"wxpay_order",}',
    "two documents": b'{"_action":"wxpay_close_order"}{"_action":"wxpay_refund"}',
    "text behind": b'{"_action":"wxpay_close_order"}x',
    "NUL behind": b'{"_action":"wxpay_close_order"}\0',
    "control character": b'{"_action":"wxpay_order","description":"a\x01b"}',
    "line break in a text": b'{"_action":"wxpay_order","description":"a\nb"}',
    "a list": b'[{"_action":"wxpay_refund"}]',
    "a text": b'"{\\"_action\\":\\"wxpay_refund\\"}"',
    "a number": b"5",
    "null": b"null",
    "blanks": b" " * 1_000_000 + b"x",
    "quotes": b'"' * 1_000_000,
    "escapes": b'{"a":"' + b"\\" * 1_000_001,
    "form in JSON": b"_action=wxpay_refund",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "pickle": b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x94",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_an_odd_body_is_refused_by_every_way_in(shop: Shop, body: bytes) -> None:
    for target in ("/", "/wx-pay/wxpay_order", "/wechatpay/order"):
        refused(shop, shop.post(target, body, {**MINI_PROGRAM, "X-Operator-Key": OPERATOR_KEY}))


# What is JSON, and looks like an operator's action to a reader that is not strict.
NEARLY = {
    "other case": {"_Action": "wxpay_refund"},
    "upper case": {"_action": "WXPAY_REFUND"},
    "blank behind": {"_action": "wxpay_refund "},
    "blank in the key": {"_action ": "wxpay_refund"},
    "NUL behind": {"_action": "wxpay_refund\0"},
    "zero-width": {"_action": "wxpay\u200b_refund"},
    "full width": {"_action": "\uff57xpay_refund"},
    "full-width low line": {"_action": "wxpay\uff3frefund"},
    "Cyrillic": {"_action": "wx\u0440ay_refund"},
    "combining": {"_action": "wxpay_refund\u0301"},
    "right to left": {"_action": "\u202ednufer_yapxw"},
    "a list": {"_action": ["wxpay_refund"]},
    "an object": {"_action": {"name": "wxpay_refund"}},
    "null": {"_action": None},
    "true": {"_action": True},
    "a number": {"_action": 0},
    "empty": {"_action": ""},
    "a path too many": {"_action": "/wx-pay/wxpay_refund/x"},
    "a slash behind": {"_action": "/wx-pay/wxpay_refund/"},
    "a query": {"_action": "/wx-pay/wxpay_refund?x"},
    "a method": {"_action": "__class__"},
    "__proto__": {"__proto__": {"_action": "wxpay_refund"}},
    "constructor": {"constructor": {"prototype": {"_action": "wxpay_refund"}}},
    "further in": {"data": {"_action": "wxpay_refund"}},
}


@pytest.mark.parametrize("fields", NEARLY.values(), ids=NEARLY)
def test_what_looks_like_an_action_is_none(shop: Shop, fields: dict[str, object]) -> None:
    body = b"{" + encoded(fields)[1:-1] + b"," + REFUND + b"}"
    answer = shop.post("/", body, {"X-Operator-Key": OPERATOR_KEY})
    refused(shop, answer, 400 if "_action" in fields else 404)


def test_an_escaped_name_is_that_name_with_its_right(shop: Shop) -> None:
    body = b'{"\\u005faction":"wxpay\\u005frefund",' + REFUND + b"}"
    refused(shop, shop.post("/", body, MINI_PROGRAM), 403)


NUMBERS = {
    "full-width digits": "ORDER_\uff10\uff11\uff12",
    "Arabic-Indic digits": "ORDER_\u0660\u0661\u0662",
    "superscripts": "ORDER_\u00b9\u00b2\u00b3",
    "mathematical digits": "ORDER_\U0001d7ce\U0001d7cf",
    "Roman numeral": "ORDER_\u2163\u2164",
    "minus sign": "ORDER\u22120001",
    "hyphens": "ORDER\u20100001",
    "full-width low line": "ORDER\uff3f0001",
    "Cyrillic O": "\u041eRDER_0001",
    "Kelvin": "ORDER_\u212a001",
    "long s": "ORDER_\u017f001",
    "dotless i": "ORDER_\u0131001",
    "sharp s": "ORDER_\u00df001",
    "zero-width": "ORDER_\u200b0001",
    "soft hyphen": "ORDER_\u00ad0001",
    "combining": "ORDER_0001\u0301",
    "no-break space": "ORDER_0001\u00a0",
    "line separator": "ORDER_0001\u2028",
    "line break": "ORDER_0001\n",
    "NUL": "ORDER_0001\0",
    "slash": "ORDER/../0001",
    "encoded slash": "ORDER%2f0001",
    "query": "ORDER_0001?a=b",
    "SQL": "ORDER' OR 1=1--",
    "template": "ORDER_{{7*7}}",
    "format": "ORDER_{0.__class__}",
    "percent": "ORDER_%s%n",
    "too long": "O" * 65,
    "much too long": "O" * 1_000_000,
    "empty": "",
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_a_number_keeps_to_its_alphabet(shop: Shop, number: str) -> None:
    for action in ("wxpay_order", "wxpay_close_order", "wxpay_query_order_by_out_trade_no"):
        refused(shop, shop.post(f"/wx-pay/{action}", {**ORDER, "out_trade_no": number}, MINI_PROGRAM))
    body = {"out_trade_no": "ORDER_0001", "out_refund_no": number, "amount": {"refund": 1, "total": 1}}
    refused(shop, shop.post("/wx-pay/wxpay_refund", body, {"X-Operator-Key": OPERATOR_KEY}))


AMOUNTS = (b"-0", b"-0.0", b"-1", b"0", b"1.0", b"1e0", b"1E2", b"100e-2", b"0.1", b"2147483648", b"9007199254740993")
AMOUNTS += (b"18446744073709551617", b'"1"', b'"\xef\xbc\x91"', b"true", b"null", b"[1]", b'{"$numberInt":"1"}')


@pytest.mark.parametrize("amount", AMOUNTS)
def test_an_amount_is_a_whole_number_of_cents(shop: Shop, amount: bytes) -> None:
    body = b'{"description":"tea","out_trade_no":"ORDER_0001","amount":{"total":%s}}' % amount
    refused(shop, shop.post("/wx-pay/wxpay_order", body, MINI_PROGRAM))
    body = b'{"out_trade_no":"ORDER_0001","out_refund_no":"REFUND_0001","amount":{"refund":%s,"total":1}}' % amount
    refused(shop, shop.post("/wx-pay/wxpay_refund", body, {"X-Operator-Key": OPERATOR_KEY}))


def test_numbers_at_the_edge_are_not_changed_on_their_way(shop: Shop) -> None:
    """Cross-check of the two tests above: what is allowed goes out as it came in."""
    for total in (1, 2**31 - 1):
        shop.house.box.reset()
        body = {**ORDER, "out_trade_no": f"ORDER_{total}", "amount": {"total": total}}
        assert shop.post("/wx-pay/wxpay_order", body, MINI_PROGRAM).status == 200
        assert shop.house.sent()["amount"]["total"] == total


TYPES = (
    None,
    "application/json",
    "application/json; charset=utf-7",
    "application/json; charset=utf-16",
    'application/json; charset="\x00"'.replace("\x00", "%00"),
    "text/plain",
    "text/html",
    "multipart/form-data",
    "multipart/form-data; boundary=" + "b" * 2000,
    "application/xml",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-7",
    ";",
    "a/b/c",
    "application/json" + "; a=b" * 1000,
    "application/json" + ";" * 4000,
    'application/json; a="' + "\\" * 4000,
)


@pytest.mark.parametrize("content_type", TYPES)
def test_json_is_json_whatever_its_content_type_says(shop: Shop, content_type: str | None) -> None:
    headers = [*MINI_PROGRAM.items(), *([("Content-Type", content_type)] if content_type else [])]
    number = f"ORDER_{TYPES.index(content_type):04d}"
    answer = shop.ask(raw("POST", "/wx-pay/wxpay_order", encoded({**ORDER, "out_trade_no": number}), headers))
    assert answer.status == 200
    assert shop.house.sent()["out_trade_no"] == number
    assert shop.ask(shop.callback(content_type)).status == 200


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="_action"\r\n\r\nwxpay_refund\r\n'
    b'--b\r\nContent-Disposition: form-data; name="_operatorKey"; filename="a"\r\n\r\n'
    + OPERATOR_KEY.encode()
    + b"\r\n--b--\r\n"
)


def test_files_are_no_bodies(shop: Shop) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b", **MINI_PROGRAM}
    for body in (MULTIPART, b"--b\r\n" * 100_000, b"--b" + b"\r\n" * 500_000):
        refused(shop, shop.post("/", body, headers))


FORMS = {
    "a field twice": b"_action=wxpay_close_order&_action=wxpay_refund",
    "a field twice, encoded": b"_action=wxpay_close_order&%5faction=wxpay_refund",
    "semicolon": b"_action=wxpay_close_order;_action=wxpay_refund",
    "many fields": b"&".join(b"k%d=1" % n for n in range(7_000)),
    "not UTF-8": b"_action=wxpay_order&description=%ff",
    "an object": b"_action=wxpay_order&amount[total]=1&out_trade_no=ORDER_0001&description=tea",
    "a number": b"_action=wxpay_order&amount=1&out_trade_no=ORDER_0001&description=tea",
    "JSON in a field": b'_action=wxpay_order&amount={"total":1}&out_trade_no=ORDER_0001&description=tea',
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_an_odd_form_is_refused(shop: Shop, body: bytes) -> None:
    refused(shop, shop.post("/", body, {"Content-Type": "application/x-www-form-urlencoded", **MINI_PROGRAM}))
    refused(shop, shop.post("/wechatpay/order", body, {"Content-Type": "application/x-www-form-urlencoded"}))


def test_nothing_that_is_packed_is_unpacked(shop: Shop) -> None:
    """Content-Encoding is not served: a kilobyte that would unfold to a megabyte is a kilobyte of bad JSON."""
    whole = encoded({**ORDER, "attach": "x" * 1_000_000})
    deflate = zlib.compressobj(wbits=-15)
    for name, packed in (
        ("gzip", gzip.compress(whole)),
        ("x-gzip", gzip.compress(gzip.compress(b"0" * 10_000_000))),
        ("deflate", deflate.compress(whole) + deflate.flush()),
        ("br", b"\x8b\x00\x80\x00"),
        ("identity, gzip", gzip.compress(whole)),
    ):
        for target in ("/wx-pay/wxpay_order", "/", "/wechatpay/order"):
            refused(shop, shop.post(target, packed, [*MINI_PROGRAM.items(), ("Content-Encoding", name)]))
    answer = shop.post("/wx-pay/wxpay_order", json.dumps(ORDER).encode(), {**MINI_PROGRAM, "Content-Encoding": "gzip"})
    assert answer.status == 200
