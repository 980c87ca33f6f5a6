"""A small threaded HTTP/1.1 server that can also break its answers on the wire.

The standard library's handler hides the socket and parses headers slowly; resets, cut bodies and a closed
listener need the socket.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from sandbox.wire import Answer, Request, Unreadable, encoded_answer, read_request

KEEP_ALIVE_SECONDS = 8  # what the real hosts announce [4013053249]


Handler = Callable[[Request], Answer]


class Listener:
    """One host and port. `refuse()` keeps the port but turns connections away until `accept()`."""

    def __init__(self, name: str, handler: Handler, address: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self._handler = handler
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._socket = self._bound((address, port))
        self.address, self.port = self._socket.getsockname()[:2]
        self._open = False

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    def accept(self) -> None:
        with self._lock:
            if self._open or self._closing.is_set():
                return
            self._open = True
            self._socket.listen(512)
            listening = self._socket
        threading.Thread(target=self._accept_from, args=(listening,), daemon=True).start()

    def refuse(self) -> None:
        with self._lock:
            if not self._open:
                return
            self._open = False
            _shut(self._socket)
            # Bound but not listening: the port stays ours, and whoever connects is refused.
            self._socket = self._bound((self.address, self.port))
        self._drop_connections()

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            self._open = False
            _shut(self._socket)
        self._drop_connections()

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound

    def _drop_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept_from(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(KEEP_ALIVE_SECONDS)
            with connection.makefile("rb") as stream:
                while self._exchange(connection, stream):
                    pass
        except Unreadable as error:
            with contextlib.suppress(OSError):
                connection.sendall(encoded_answer(Answer(400, {"Connection": "close"}, str(error).encode())))
        except OSError:
            pass  # the peer went away, or we are closing
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _exchange(self, connection: socket.socket, stream: BinaryIO) -> bool:
        request = read_request(stream, connection, self.name)
        if request is None:
            return False
        answer = self._handler(request)
        # Without a length only the end of the connection says where a stream ends.
        keep = answer.stream is None and request.headers.get("connection", "").lower() != "close"
        if not keep:
            answer.headers["Connection"] = "close"
        if answer.stream is not None:
            self._stream(connection, answer, answer.stream, request)
            return False
        return self._send(connection, answer) and keep

    def _stream(
        self, connection: socket.socket, answer: Answer, pieces: Iterator[bytes], request: Request
    ) -> None:
        try:
            connection.sendall(encoded_answer(answer))
            for piece in pieces:
                if self._closing.is_set() or request.caller_has_left():
                    return
                if piece:
                    connection.sendall(piece)
        finally:
            if close := getattr(pieces, "close", None):
                close()

    def _send(self, connection: socket.socket, answer: Answer) -> bool:
        """Whether the connection may be used again."""
        if answer.wire == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # The stream shares the descriptor: only once detached does closing act now, as a reset.
            socket.close(connection.detach())
            return False
        encoded = encoded_answer(answer)
        if answer.wire == "cut":
            head = len(encoded) - len(answer.body)
            # Without a body only a torn status line shows: clients forgive a head that ends early.
            connection.sendall(encoded[: head + len(answer.body) // 2] if answer.body else encoded[:10])
            return False
        if answer.wire == "drip":
            return self._drip(connection, encoded, len(answer.body), answer.seconds)
        connection.sendall(encoded)
        return True

    def _drip(self, connection: socket.socket, encoded: bytes, tail: int, seconds: float) -> bool:
        start = len(encoded) - tail
        connection.sendall(encoded[:start])
        pieces = max(1, min(tail, 20))
        for index in range(pieces):
            if self._closing.wait(seconds / pieces):
                return False
            first, last = start + tail * index // pieces, start + tail * (index + 1) // pieces
            connection.sendall(encoded[first:last])
        return True


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, leads to this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shut(listening: socket.socket) -> None:
    # Closing alone does not wake a thread that is blocked in accept() on Linux.
    with contextlib.suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()
