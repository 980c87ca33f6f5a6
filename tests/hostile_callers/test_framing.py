"""Where one request ends and the next begins: read in one way, or refused and the connection closed."""

from __future__ import annotations

import socket

import pytest
from gunicorn.config import Config

from tests.hostile_callers.wire import Shop, encoded, raw
from tests.support import MINI_PROGRAM, OPERATOR_KEY
from utils import connection

# What a smuggler hides behind a request: it must never be answered.
HIDDEN = raw("GET", "/healthz?hidden")
BODY = encoded({"out_trade_no": "ORDER_0001"})
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def framed(*fields: str, line: str = "POST /wx-pay/wxpay_close_order HTTP/1.1", host: str = "Host: a") -> bytes:
    """A head with exactly these fields."""
    return "\r\n".join([line, host, "x-wx-source: wx_client", "x-wx-openid: oA", *fields, "", ""]).encode("latin-1")


LENGTH = f"Content-Length: {len(BODY)}"
TE = "Transfer-Encoding: chunked"
# name -> what is sent, status of the one answer
SMUGGLED = {
    "CL and TE": (framed(LENGTH, TE) + CHUNKED, 400),
    "TE and CL": (framed(TE, LENGTH) + CHUNKED, 400),
    "CL 0 and TE": (framed("Content-Length: 0", TE) + CHUNKED, 400),
    "two lengths": (framed("Content-Length: 1", LENGTH) + BODY, 400),
    "two equal lengths": (framed(LENGTH, LENGTH) + BODY, 400),
    "a list of lengths": (framed(f"{LENGTH}, {len(BODY)}") + BODY, 400),
    "length +": (framed(f"Content-Length: +{len(BODY)}") + BODY, 400),
    "length -": (framed(f"Content-Length: -{len(BODY)}") + BODY, 400),
    "length 0x": (framed(f"Content-Length: 0x{len(BODY):x}") + BODY, 400),
    "length with _": (framed("Content-Length: 3_0") + BODY, 400),
    "length with a fraction": (framed(f"Content-Length: {len(BODY)}.0") + BODY, 400),
    "length in superscript": (framed("Content-Length: \xb2\xb9") + BODY, 400),
    "empty length": (framed("Content-Length:") + BODY, 400),
    "length beyond 64 bits": (framed("Content-Length: 99999999999999999999") + BODY, 413),
    "length of 5000 digits": (framed("Content-Length: " + "9" * 5000) + BODY, 400),
    "TE: xchunked": (framed("Transfer-Encoding: xchunked") + CHUNKED, 501),
    "TE: chunked, identity": (framed("Transfer-Encoding: chunked, identity") + CHUNKED, 400),
    "TE: chunked, chunked": (framed("Transfer-Encoding: chunked, chunked") + CHUNKED, 400),
    "TE: chunked, gzip": (framed("Transfer-Encoding: chunked, gzip") + CHUNKED, 400),
    "TE: identity": (framed("Transfer-Encoding: identity", LENGTH) + BODY, 400),
    "TE: gzip": (framed("Transfer-Encoding: gzip", LENGTH) + BODY, 400),
    "TE: empty": (framed("Transfer-Encoding:") + CHUNKED, 501),
    "TE: in quotes": (framed('Transfer-Encoding: "chunked"') + CHUNKED, 501),
    "TE: with a tab behind": (framed("Transfer-Encoding: \x0bchunked") + CHUNKED, 400),
    "TE twice": (framed(TE, TE) + CHUNKED, 400),
    "TE twice, one unknown": (framed(TE, "Transfer-Encoding: cow") + CHUNKED, 501),
    "TE folded": (framed("Transfer-Encoding:\r\n chunked") + CHUNKED, 400),
    "folded field": (framed("X-A: b\r\n c", LENGTH) + BODY, 400),
    "space before the colon": (framed(f"Content-Length : {len(BODY)}") + BODY, 400),
    "TE, space before the colon": (framed("Transfer-Encoding : chunked") + CHUNKED, 400),
    "space before the name": (framed(f" {LENGTH}") + BODY, 400),
    "no name": (framed(": 5", LENGTH) + BODY, 400),
    "no colon": (framed("Content-Length 5") + BODY, 400),
    "NUL in a value": (framed("X-A: a\0b", LENGTH) + BODY, 400),
    "NUL in a name": (framed("X-\0A: b", LENGTH) + BODY, 400),
    "CR in a value": (framed("X-A: a\rb", LENGTH) + BODY, 400),
    "CR ends a line": (framed(f"X-A: a\r{LENGTH}") + BODY, 400),
    "LF ends a line": (framed(f"X-A: a\n{LENGTH}") + BODY, 400),
    "LF ends the request line": (framed(LENGTH).replace(b"\r\n", b"\n", 1) + BODY, 400),
    "LF ends all lines": (framed(LENGTH).replace(b"\r\n", b"\n") + BODY, 400),
    "LF hides a request": (framed("X-A: a\n\nGET /healthz HTTP/1.1\nHost: a", LENGTH) + BODY, 400),
    "HTTP/1.0 and TE": (framed(TE, line="POST / HTTP/1.0") + CHUNKED, 400),
    "chunk size 0x": (framed(TE) + CHUNKED.replace(b"1e", b"0x1e", 1), 400),
    "chunk size +": (framed(TE) + b"+" + CHUNKED, 400),
    "chunk size -": (framed(TE) + b"-" + CHUNKED, 400),
    "chunk size with _": (framed(TE) + CHUNKED.replace(b"1e", b"1_e", 1), 400),
    "chunk size with a space before": (framed(TE) + b" " + CHUNKED, 400),
    "chunk size missing": (framed(TE) + b"\r\n" + CHUNKED, 400),
    "chunk size no number": (framed(TE) + b"cow\r\n" + CHUNKED, 400),
    "chunk size ends with LF": (framed(TE) + CHUNKED.replace(b"\r\n", b"\n", 1), 400),
    "chunk longer than its size": (framed(TE) + CHUNKED.replace(b"1e", b"1d", 1), 400),
    "chunk extension with CR": (framed(TE) + CHUNKED.replace(b"1e", b"1e;a=\rb", 1), 400),
    "chunk extension with LF": (framed(TE) + CHUNKED.replace(b"1e", b"1e;a=\nb", 1), 400),
    "chunk extension in disorder": (framed(TE) + CHUNKED.replace(b"1e", b'1e;"a', 1), 400),
    "trailer without a name": (framed(TE) + CHUNKED[:-2] + b": a\r\n\r\n", 400),
    "trailer Content-Length": (framed(TE) + CHUNKED[:-2] + b"Content-Length: 9\r\n\r\n", 400),
    "trailer Host": (framed(TE) + CHUNKED[:-2] + b"Host: b\r\n\r\n", 400),
    "trailer Authorization": (framed(TE) + CHUNKED[:-2] + b"Authorization: Bearer a\r\n\r\n", 400),
    "no Host": (framed(LENGTH, host="X-A: b") + BODY, 200),
    "two Hosts": (framed("Host: b", LENGTH) + BODY, 400),
    "two Content-Types": (framed("Content-Type: text/plain", "Content-Type: application/json", LENGTH) + BODY, 400),
    "no version": (b"GET /healthz\r\n\r\n", 400),
    "HTTP/0.9": (framed(LENGTH, line="POST / HTTP/0.9") + BODY, 400),
    "HTTP/1.2 is 1.1": (framed(LENGTH, line="POST /wx-pay/wxpay_close_order HTTP/1.2") + BODY, 200),
    "HTTP/2.0": (framed(LENGTH, line="POST / HTTP/2.0") + BODY, 400),
    "HTTP/11": (framed(LENGTH, line="POST / HTTP/11") + BODY, 400),
    "http/1.1": (framed(LENGTH, line="POST / http/1.1") + BODY, 400),
    "version with a space behind": (framed(LENGTH, line="POST / HTTP/1.1 ") + BODY, 400),
    "two spaces": (framed(LENGTH, line="POST  / HTTP/1.1") + BODY, 400),
    "tab for a space": (framed(LENGTH, line="POST\t/ HTTP/1.1") + BODY, 400),
    "lower-case method": (framed(LENGTH, line="post / HTTP/1.1") + BODY, 400),
    "no method": (framed(LENGTH, line=" / HTTP/1.1") + BODY, 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", 400),
    "a greeting of TLS": (bytes.fromhex("16030100a5010000a10303") + b"\n" * 3 + b"\r\n\r\n", 400),
    "empty lines": (b"\r\n\r\n\r\n", 400),
    "two empty lines": (b"\r\n\r\n", 400),  # one is skipped: tests/hostile_callers/test_empty_lines.py
    "an empty line that ends with LF": (b"\n", 400),
    "an empty line that ends with CR": (b"\r", 400),
    "an empty line, then one that ends with LF": (b"\r\n\n", 400),
    "an empty line, then one that ends with CR": (b"\r\n\r", 400),
    "a line of a space": (b" \r\n", 400),
    "an empty line, then a field": (b"\r\nX-A: b\r\n", 400),
    "an empty line before CL and TE": (b"\r\n" + framed(LENGTH, TE) + CHUNKED, 400),
    "expectation that nobody knows": (framed("Expect: 200-ok", LENGTH) + BODY, 417),
}


@pytest.mark.parametrize(("sent", "status"), SMUGGLED.values(), ids=SMUGGLED)
def test_what_can_be_read_in_two_ways_is_refused_and_hides_nothing(shop: Shop, sent: bytes, status: int) -> None:
    with shop.connect() as wire:
        answer = wire.send(sent + HIDDEN).answer()
        assert answer.status == status, answer
        if status == 200:  # read in one way after all: what follows is a request
            assert wire.answer().json["data"]["version"]
        else:
            assert answer.field("Connection") == ["close"]
            assert wire.is_over()
            shop.house.assert_untouched()
    assert "hidden" not in shop.house.function.log_text() or status == 200


def test_requests_in_one_packet_are_answered_in_order_and_never_mixed(shop: Shop) -> None:
    def asked(n: int) -> bytes:
        headers = [*MINI_PROGRAM.items(), ("X-Request-Id", f"request-{n:04d}")]
        if n % 3 == 0:
            return raw("GET", f"/{n}", None, headers)
        body = encoded({"out_trade_no": f"ORDER_{n:04d}", "more": "x" * n * 100})
        if n % 3 == 1:
            return raw("POST", "/wx-pay/wxpay_query_order_by_out_trade_no", body, headers)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
        chunked = [*headers, ("Transfer-Encoding", "chunked")]
        return raw("POST", "/wx-pay/wxpay_close_order", None, chunked) + chunks + b"0\r\n\r\n"

    number = 40
    with shop.connect() as wire:
        wire.send(b"".join(map(asked, range(number))))
        answers = [wire.answer() for _ in range(number)]
        assert [answer.field("X-Request-Id") for answer in answers] == [[f"request-{n:04d}"] for n in range(number)]
        assert [answer.status for answer in answers] == [(404, 404, 200)[n % 3] for n in range(number)]
        wire.send(raw("GET", "/healthz", None, {"Connection": "close"}) + HIDDEN)
        assert wire.answer().status == 200
        assert wire.is_over()
    asked_of_wechat_pay = [request.target for request in shop.house.box.requests]
    assert [f"ORDER_{n:04d}" for n in range(number) if n % 3] == [
        target.split("?")[0].removesuffix("/close").rpartition("/")[2] for target in asked_of_wechat_pay
    ]


CHUNKS = raw("POST", "/", None, {"Transfer-Encoding": "chunked"})
CUT = {
    "length": raw("POST", "/", b"[1, 2]", {"X-A": "b"}),
    "chunked": CHUNKS + b"4;a=b\r\n[1, \r\n2\r\n2]\r\n0\r\nX-A: b\r\n\r\n",
    "after an empty line": b"\r\n" + raw("POST", "/", b"[1, 2]"),
    "chunked, after an empty line": b"\r\n" + CHUNKS + b"6\r\n[1, 2]\r\n0\r\n\r\n",
    "chunked, no trailers": CHUNKS + b"006\r\n[1, 2]\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_", CUT.values(), ids=CUT)
def test_a_request_cut_anywhere_is_the_same_request(request_: bytes) -> None:
    """However the network cuts it, it is whole with its last byte and not before, and what follows is left alone."""
    for first in range(1, len(request_)):
        for second in range(first, min(first + 3, len(request_))):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                arriving = connection.Connection(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
                for part, is_whole in (
                    (request_[:first], False),
                    (request_[first:second], False),
                    (request_[second:] + b"GET", True),
                ):
                    theirs.sendall(part)
                    assert not part or arriving.receive(1000)
                    assert arriving.is_whole() is is_whole
                assert arriving.incoming == b"GET"
                arriving.decode()
                assert arriving.request.body.read() == b"[1, 2]"


@pytest.mark.parametrize(
    ("version", "field", "is_kept"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.1", "Close", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "keep-alive", True),
        ("HTTP/1.0", "close", False),
        ("HTTP/1.1", "Upgrade, HTTP2-Settings", True),
    ],
)
def test_a_connection_is_kept_as_its_version_says(shop: Shop, version: str, field: str, is_kept: bool) -> None:
    headers = {"Connection": field} if field else {}
    if "Upgrade" in field:
        headers |= {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    request = raw("GET", "/healthz", None, headers, version=version)
    with shop.connect() as wire:
        assert wire.send(request).answer().status == 200
        if is_kept:
            assert wire.send(request).answer().status == 200
        else:
            assert wire.is_over()


def test_continue_is_said_once_and_before_the_body(shop: Shop) -> None:
    body = encoded({"out_trade_no": "ORDER_0001"})
    head = raw("POST", "/wx-pay/wxpay_close_order", None, {**MINI_PROGRAM, "Expect": "100-Continue"})
    with shop.connect() as wire:
        for sent in (
            head[:-2] + b"Content-Length: %d\r\n\r\n" % len(body),
            head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
        ):
            wire.send(sent)
            assert wire.answer().status == 100
            wire.send(body if b"Length" in sent else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            assert wire.answer().status == 200
        # Sent with its body already, it does not wait for anything.
        assert wire.send(head[:-2] + b"Content-Length: 2\r\n\r\n{}").answer().status == 400
        assert wire.send(head.replace(b"HTTP/1.1", b"HTTP/1.0")).answer().status == 400


@pytest.mark.parametrize("size", [4_000_002, 10**9, 10**19])
def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(shop: Shop, size: int) -> None:
    headers = {**MINI_PROGRAM, "Content-Length": str(size), "Expect": "100-continue"}
    answer = shop.ask(raw("POST", "/wx-pay/wxpay_order", None, headers))
    assert (answer.status, answer.json["code"], answer.field("Connection")) == (413, -1, ["close"])


@pytest.mark.parametrize("size", [1_500_001, 4_000_001, 4_000_002, 6_000_000])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_body_that_is_too_large_is_refused_in_its_askers_shape(shop: Shop, size: int, is_chunked: bool) -> None:
    for target, code in (("/wx-pay/wxpay_order", -1), ("/wechatpay/order", "FAIL")):
        body = b'{"a":"' + b"x" * (size - 8) + b'"}'
        if is_chunked:
            framing = {**MINI_PROGRAM, "Transfer-Encoding": "chunked"}
            request = raw("POST", target, None, framing) + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
        else:
            request = raw("POST", target, body, MINI_PROGRAM)
        answer = shop.ask(request)
        assert (answer.status, answer.json["code"]) == (413, code)
    shop.house.assert_untouched()


def test_a_chunked_body_without_end_is_refused_once_it_is_too_large(shop: Shop) -> None:
    with shop.connect() as wire:
        wire.send(raw("POST", "/wechatpay/order", None, {"Transfer-Encoding": "chunked"}))
        for _ in range(64):  # 4.2 MB
            wire.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = wire.answer()
        assert (answer.status, answer.json["code"]) == (413, "FAIL")
        assert wire.is_over()


@pytest.mark.parametrize(
    ("target", "status"), [("/wechatpay/order", 400), ("/wx-pay/wxpay_order", 413), ("/healthz", 404)]
)
def test_many_small_chunks_before_a_large_one_take_no_time_to_read(shop: Shop, target: str, status: int) -> None:
    """A parser that copies all that follows at each of them would copy gigabytes."""
    large = 3_800_000
    body = b"1\r\n \r\n" * 13_000 + b"%x\r\n%s\r\n0\r\n\r\n" % (large, b" " * large)
    answer = shop.ask(raw("POST", target, None, {**MINI_PROGRAM, "Transfer-Encoding": "chunked"}) + body)
    assert answer.status == status
    shop.assert_works()


ENDLESS = {
    "chunks of one byte": (b"1\r\nx\r\n", 400),
    "a chunk's extension": (b"a=b;" * 16, 400),
    "trailers": (b"X-A: b\r\n", 400),
}


@pytest.mark.parametrize(("part", "status"), ENDLESS.values(), ids=ENDLESS)
def test_framing_without_end_is_refused(shop: Shop, part: bytes, status: int) -> None:
    start = {b"1": b"", b"a": b"5;", b"X": b"0\r\n"}[part[:1]]
    with shop.connect() as wire:
        wire.send(raw("POST", "/wechatpay/order", None, {"Transfer-Encoding": "chunked"}) + start)
        wire.send(part * (2 * connection.MAX_FRAMING // len(part)))
        answer = wire.answer()
        assert (answer.status, answer.json["code"], answer.field("Connection")) == (status, "FAIL", ["close"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (raw("GET", "/" + "a" * 5000), 414),
        (b"GET /" + b"a" * 70_000, 431),
        (raw("GET", "/", None, {"X-A": "a" * 9000}), 431),
        (raw("GET", "/", None, [("X-A", "b")] * 100), 431),  # and Host
        (raw("GET", "/", None, [(f"X-{n}", "a" * 8000) for n in range(10)]), 431),
        (raw("GET", "/")[:-2] + b"X-A: b\r\n" * 10_000, 431),
        (raw("GET", "/healthz", None, [("X-A", "b")] * 99), 200),
        (raw("GET", "/healthz", None, [(f"X-{n}", "a" * 8000) for n in range(8)]), 200),
    ],
    ids=["line", "line without end", "field", "fields", "all together", "fields without end", "99 more", "64 KB"],
)
def test_heads_have_limits(shop: Shop, sent: bytes, status: int) -> None:
    answer = shop.ask(sent)
    assert answer.status == status
    assert (answer.field("Connection") == ["close"]) is (status != 200)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("action", "part"),
    [
        ("wxpay_close_order", b'{"out_trade_no":"ORDER_0001"}'),
        ("wxpay_close_order", b"out_trade_no=ORDER_0001"),
        ("wxpay_reconcile", b" "),  # which needs nothing at all
    ],
    ids=["JSON", "form", "nothing"],
)
def test_a_part_of_a_body_is_never_taken_for_the_whole(shop: Shop, is_chunked: bool, action: str, part: bytes) -> None:
    """What has arrived is valid by itself; the rest would have changed it."""
    content_type = "application/json" if part[:1] == b"{" else "application/x-www-form-urlencoded"
    headers = {**MINI_PROGRAM, "Content-Type": content_type, "X-Operator-Key": OPERATOR_KEY}
    headers |= {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(part) + 9)}
    head = raw("POST", f"/wx-pay/{action}", None, headers)
    with shop.connect() as wire:
        wire.send(head + (b"%x\r\n%s\r\n" % (len(part), part) if is_chunked else part))
        wire.socket.shutdown(1)
        assert wire.answer().status == 400
        assert wire.is_over()
    shop.house.assert_untouched()


def test_what_a_trailer_says_is_not_believed(shop: Shop) -> None:
    """An identity or a key that comes behind the body, where no proxy looks."""
    body = encoded({"out_bill_no": "BILL_0001"})
    announced = {"Transfer-Encoding": "chunked", "Trailer": "x-wx-openid"}
    head = raw("POST", "/wx-pay/wxpay_transfer_cancel", None, announced)
    for trailer in (f"x-operator-key: {OPERATOR_KEY}", "x-wx-source: wx_client\r\nx-wx-openid: oA"):
        answer = shop.ask(head + b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, trailer.encode()))
        assert answer.status == 401
    shop.house.assert_untouched()
