"""The worker itself: who stays does not shut out who comes, and who waits for nobody's keys waits for nobody."""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from sandbox import Credentials, Sandbox
from tests.support import Function, gunicorn
from utils.connection import MAX_BODY
from utils.server import Worker

CONNECTIONS = 24
THREADS = 16


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(sign_mode="sdk", credentials=Credentials.generate()) as running:
        yield running


@pytest.fixture(scope="module")
def function(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    options = ["--threads", str(THREADS), "--worker-connections", str(CONNECTIONS)]
    with gunicorn(box.env(), tmp_path_factory.mktemp("worker") / "log", options=options) as running:
        box.function = running.url
        yield running


@pytest.fixture(autouse=True)
def healthy(box: Sandbox) -> Iterator[None]:
    yield
    box.clear_faults()


def connected(function: Function, request: bytes) -> socket.socket:
    parts = urlsplit(function.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    connection.sendall(request)
    return connection


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def forged() -> bytes:
    """A callback under a serial that nobody has."""
    body = json.dumps({"id": "1", "event_type": "TRANSACTION.SUCCESS", "resource": {}}).encode()
    return post(
        "/wechatpay/order", body,
        f"Wechatpay-Timestamp: {int(time.time())}",
        "Wechatpay-Nonce: abc",
        f"Wechatpay-Serial: {secrets.token_hex(20).upper()}",
        f"Wechatpay-Signature: {base64.b64encode(bytes(256)).decode()}",
    )


def test_connections_that_were_answered_and_stay_do_not_shut_out_who_comes(box: Sandbox, function: Function):
    """All that may be are in threads at once; when they are answered, nobody closes them, and one more comes."""
    box.fault("latency", seconds=1.0)
    with ExitStack() as open_ones:
        callers = []
        for count in range(CONNECTIONS):
            order = {"description": "tea", "out_trade_no": f"STAYS{count:05}", "amount": {"total": 1}}
            request = post("/wx-pay/wxpay_order", json.dumps(order).encode(), "X-Wx-Source: wx_client",
                           "X-Wx-Openid: oTESTuser00000000000000000001")
            callers.append(open_ones.enter_context(connected(function, request)))
        for caller in callers:
            assert caller.recv(12) == b"HTTP/1.1 200"
        newcomer = open_ones.enter_context(connected(function, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert newcomer.recv(12) == b"HTTP/1.1 200"


def test_callbacks_under_invented_serials_hold_four_threads_while_certificates_are_slow(
    box: Sandbox, function: Function
):
    box.fault("latency", seconds=3.5, path="/v3/certificates")
    with ExitStack() as open_ones:
        strangers = [open_ones.enter_context(connected(function, forged())) for _ in range(THREADS + 4)]
        newcomer = open_ones.enter_context(connected(function, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert newcomer.recv(12) == b"HTTP/1.1 200"
        give_up = time.monotonic() + 3
        while len(answered := select.select(strangers, [], [], 0)[0]) < THREADS and time.monotonic() < give_up:
            time.sleep(0.02)
        assert len(answered) >= THREADS  # four wait for WeChat Pay, the others were told to come again
        assert {stranger.recv(12) for stranger in answered} == {b"HTTP/1.1 503"}


@pytest.mark.parametrize("end", [b"0x0\r\n\r\n", b"-0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n"])
@pytest.mark.parametrize("size", [MAX_BODY - 1, MAX_BODY])
def test_the_end_of_the_longest_chunked_body_is_checked_too(function: Function, end: bytes, size: int):
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size
    hidden = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(function, head + b" " * size + b"\r\n" + end + hidden) as caller:
        answer = b""
        while piece := received(caller):
            answer += piece
        assert answer.count(b"HTTP/1.1 ") <= 1
        assert b"HTTP/1.1 200" not in answer


class Failing:
    """A listening socket whose accept() tells of `code`."""

    def __init__(self, code: int) -> None:
        self._code = code

    def accept(self) -> None:
        raise OSError(self._code, os.strerror(self._code))


# accept(2): errors of the connection that waits are told here and do not concern the listener.
@pytest.mark.parametrize("name", ["EAGAIN", "ECONNABORTED", "ENOMEM", "ENOBUFS", "EPERM", "EPROTO", "EHOSTUNREACH"])
def test_what_befell_a_caller_before_he_was_accepted_does_not_end_the_worker(name: str):
    Worker.accept(None, Failing(getattr(errno, name)))


def test_a_listener_that_is_none_any_more_does():
    with pytest.raises(OSError, match="Bad file descriptor"):
        Worker.accept(None, Failing(errno.EBADF))


def received(caller: socket.socket) -> bytes:
    try:
        return caller.recv(65536)
    except ConnectionResetError:
        return b""
