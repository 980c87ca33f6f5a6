"""How the sandbox can be reached: plain, over TLS, by the real names through a proxy, as a stream."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from sandbox.server import Listener
from sandbox.wire import Answer, Request


class Pieces:
    """An iterator that hands out what it is given, waits in between, and remembers that it was closed."""

    def __init__(self, *pieces: bytes, endless: bool = False) -> None:
        self._pieces = list(pieces)
        self._endless = endless
        self.go_on = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if not self._endless:
            raise StopIteration
        self.go_on.wait(0.02)
        return b""

    def close(self) -> None:
        self.closed.set()


Serve = Callable[[Callable[[Request], Answer]], Listener]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Listener] = []

    def start(handler: Callable[[Request], Answer]) -> Listener:
        started.append(Listener("main", handler))
        started[-1].accept()
        return started[-1]

    yield start
    for listener in started:
        listener.close()


def listening(listener: Listener) -> socket.socket:
    connection = socket.create_connection((listener.address, listener.port), 5)
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def events(pieces: Iterator[bytes]) -> Answer:
    return Answer(200, {"Content-Type": "text/event-stream"}, stream=pieces)


# Streams


def test_a_stream_comes_piece_by_piece_and_ends_with_the_connection(serve: Serve) -> None:
    told = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        told.wait(5)
        yield b""
        yield b"data: 2\n\n"

    listener = serve(lambda _: events(pieces()))
    connection = http.client.HTTPConnection(listener.address, listener.port, timeout=5)
    connection.request("GET", "/events")
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "text/event-stream"
    assert response.getheader("Content-Length") is None
    assert response.getheader("Transfer-Encoding") is None
    assert response.getheader("Connection") == "close"
    # The second piece is only made once the first has been read: nothing is held back.
    assert response.read1(100) == b"data: 1\n\n"
    told.set()
    assert response.read() == b"data: 2\n\n"
    connection.close()


def test_a_finished_stream_is_closed(serve: Serve) -> None:
    pieces = Pieces(b"a", b"b")
    with listening(serve(lambda _: events(pieces))) as connection:
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.endswith(b"\r\n\r\nab")
    assert pieces.closed.wait(5)


def test_a_stream_is_closed_when_the_client_leaves(serve: Serve) -> None:
    pieces = Pieces(b"a", endless=True)
    connection = listening(serve(lambda _: events(pieces)))
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert not pieces.closed.wait(0.2)
    connection.close()
    assert pieces.closed.wait(5)


@pytest.mark.parametrize("end", [Listener.close, Listener.refuse])
def test_a_stream_is_closed_when_the_listener_goes(serve: Serve, end: Callable[[Listener], None]) -> None:
    pieces = Pieces(b"a", endless=True)
    listener = serve(lambda _: events(pieces))
    with listening(listener) as connection:
        assert connection.recv(1000)
        end(listener)
        assert pieces.closed.wait(5)
        assert b"".join(iter(lambda: connection.recv(1000), b"")) in (b"", b"a")


def test_a_generator_is_closed_in_the_thread_that_runs_it(serve: Serve) -> None:
    ended = threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b": still here\n\n"
                ended.wait(0.02)
        finally:
            ended.set()

    connection = listening(serve(lambda _: events(pieces())))
    assert connection.recv(1000)
    connection.close()
    assert ended.wait(5)
