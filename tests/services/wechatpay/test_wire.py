"""Where an answer begins and ends on its connection, byte by byte, and whether the connection is used again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from services.wechatpay import wire as wire_module
from services.wechatpay.errors import TimedOut, Unreachable
from services.wechatpay.transport import Answer, Transport
from services.wechatpay.wire import MAX_HEAD, QUOTED

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 5\r\n\r\nplain"


class Talker:
    """Answers the requests of all connections together with `answers`, one after the other; the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        heard = b""
        with connection, contextlib.suppress(OSError):
            while more := connection.recv(65536):
                heard += more
                if heard.endswith(b"\r\n\r\n"):
                    heard = b""
                    connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


@contextmanager
def talking(*answers: bytes) -> Iterator[Talker]:
    talker = Talker(*answers)
    try:
        yield talker
    finally:
        talker.close()


def ask(transport: Transport, talker: Talker, timeout: float = 5.0) -> Answer:
    return transport.send("GET", talker.url, b"", lambda _: {"Accept": "*/*"}, timeout=timeout)


def connections_after(*answers: bytes) -> int:
    """How many connections it takes to be answered twice: first so, then as usual."""
    transport = Transport()
    with talking(*answers, PLAIN) as talker:
        ask(transport, talker)
        assert ask(transport, talker).body == b"plain"
    return talker.connections


CLEAR = {
    "a length": PLAIN,
    "no body": OK + b"Content-Length: 0\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n",
    "chunks, spelled otherwise": OK + b"transfer-encoding: Chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n",
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\nX: y\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 and its length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "a refusal": b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", CLEAR)
def test_after_an_answer_with_a_clear_end_its_connection_is_used_again(name):
    assert connections_after(CLEAR[name]) == 1


UNCLEAR = {
    "101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "101 and a length": b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "the same length twice": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nplain",
    "a length with a sign": OK + b"Content-Length: +5\r\n\r\nplain",
    "a length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n",
    "something behind the body": PLAIN + b"\n",
    "an answer behind the body": PLAIN + OK + b"Content-Length: 6\r\n\r\npoison",
    "an answer behind no body": b"HTTP/1.1 204 No Content\r\n\r\n" + OK + b"Content-Length: 6\r\n\r\npoison",
    "an answer behind chunks": CLEAR["chunks"] + OK + b"Content-Length: 6\r\n\r\npoison",
    "an answer behind the reader's buffer": OK
    + b"X: %b\r\n" % (b"x" * (8192 - len(PLAIN) - 5))
    + PLAIN[len(OK) :]
    + OK
    + b"Content-Length: 6\r\n\r\npoison",
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_after_an_answer_without_a_clear_end_it_is_not(name):
    assert connections_after(UNCLEAR[name]) == 2


WITHOUT_END = {
    "neither length nor chunks": OK + b"\r\nplain",
    "204 with chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length in another script": OK + "Content-Length: ５\r\n\r\n".encode() + b"plain",
}


@pytest.mark.parametrize("name", WITHOUT_END)
def test_an_answer_without_an_end_is_none(name):
    with talking(WITHOUT_END[name]) as talker, pytest.raises((TimedOut, Unreachable)):
        ask(Transport(), talker, timeout=0.3)


@pytest.mark.parametrize("statuses", [(100,), (102,), (103,), (199,), (100, 103, 100, 102)])
def test_interim_answers_are_not_the_answer(statuses):
    interim = b"".join(b"HTTP/1.1 %d Wait\r\nLink: </a>\r\n\r\n" % status for status in statuses)
    with talking(interim + PLAIN) as talker:
        answer = ask(Transport(), talker)
    assert (answer.status, answer.body) == (200, b"plain")
    assert connections_after(interim + PLAIN) == 1


def test_101_is_an_answer():
    with talking(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + PLAIN) as talker:
        assert ask(Transport(), talker).status == 101


def headed(size: int, frame: bytes = b"Content-Length: 5\r\n\r\nplain") -> bytes:
    """An answer with so many bytes before its body, in headers that are short enough."""
    end = frame.index(b"\r\n\r\n") + 4
    lines, missing = b"", size - len(OK) - end
    while missing:
        part = missing if missing <= 10_000 else 9_000
        lines += b"X: " + b"x" * (part - 5) + b"\r\n"
        missing -= part
    return OK + lines + frame


def test_a_head_of_the_limit_is_read():
    with talking(headed(MAX_HEAD - 5)) as talker:  # what is read at once may hold the body too
        assert ask(Transport(), talker).body == b"plain"


@pytest.mark.parametrize(
    "flood",
    [
        headed(MAX_HEAD + 1),
        headed(MAX_HEAD + 50_000),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000 + PLAIN,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4000 + PLAIN,
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ],
    ids=["a byte too much", "headers", "100", "103", "trailers"],
)
def test_more_around_a_body_than_the_limit_is_no_answer(flood):
    started = time.monotonic()
    with talking(flood) as talker, pytest.raises(Unreachable) as caught:
        ask(Transport(), talker, timeout=20)
    assert time.monotonic() - started < 10
    assert "more than 65536 bytes around the body" in str(caught.value.__cause__)


def test_the_limit_is_not_one_for_the_body():
    body = b"x" * (4 * MAX_HEAD)
    for answer in (
        OK + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\nX: y\r\n\r\n",
    ):
        with talking(answer) as talker:
            assert ask(Transport(), talker).body == body


def test_what_comes_when_the_time_is_over_is_not_read(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(wire_module, "time", SimpleNamespace(monotonic=lambda: now))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        raw, buffer = socket.SocketIO(ours, "r"), bytearray(4)
        wire = wire_module._Wire(ours, raw)
        theirs.sendall(b"in time, late")
        now = 1004.5
        assert (wire.readinto(buffer), buffer, ours.gettimeout()) == (4, b"in t", 0.5)
        for now in (1005.0, 1006.0):  # noqa: B007 - the clock reads it
            with pytest.raises(TimeoutError, match=r"^the answer is not complete in time$"):
                wire.readinto(buffer)
        wire.take_what_is_there()
        assert (wire.readinto(buffer), buffer) == (4, b"ime,")
        wire.close()
        assert wire.closed
        assert raw.closed


def test_cookies_are_taken_out_before_anybody_reads_them():
    """Reading this one takes quadratic time."""
    cookies = b"".join(b"Set-Cookie2: %b\r\n" % (b"a=b;" * 2000) for _ in range(7))
    with talking(OK + b"Set-Cookie: a=b\r\n" + cookies + b"Content-Length: 5\r\n\r\nplain") as talker:
        answer = ask(Transport(), talker)
    assert answer.body == b"plain"
    assert "Set-Cookie" not in answer.headers
    assert "Set-Cookie2" not in answer.headers


def test_what_is_no_status_line_is_quoted_in_short():
    with talking(b"nonsense " * 1000 + b"\r\n\r\n") as talker, pytest.raises(Unreachable) as caught:
        ask(Transport(), talker)
    cause: BaseException | None = caught.value
    while cause is not None:
        assert len(str(cause)) < 4 * QUOTED
        cause = cause.__cause__ or cause.__context__
    assert "nonsense" in str(caught.value.__cause__)
