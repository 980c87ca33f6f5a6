"""A small threaded HTTP/1.1 server that can also break its answers on the wire.

The standard library's handler hides the socket and parses headers slowly; resets, cut bodies and a closed
listener need the socket.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO

KEEP_ALIVE_SECONDS = 8  # what the real hosts announce [4013053249]
LARGEST_BODY = 8 * 1024 * 1024
_LARGEST_LINE = 64 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass
class Request:
    """One request as received: header names in lower case, `target` and `path` percent-encoded as sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    host: str  # "main" or "backup"
    connection: socket.socket

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def caller_has_left(self) -> bool:
        """Whether the caller closed its side while it was waiting."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True


@dataclass
class Answer:
    """What goes back, and how: `wire` is "whole", "cut" (half the body, then closed), "drip" or "reset"."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    wire: str = "whole"
    seconds: float = 0.0  # duration of a drip


Handler = Callable[[Request], Answer]


class _Unreadable(Exception):
    """The peer does not speak HTTP, or too much of it."""


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
        except _Unreadable as error:
            with contextlib.suppress(OSError):
                connection.sendall(_encoded(Answer(400, {"Connection": "close"}, str(error).encode())))
        except OSError:
            pass  # the peer went away, or we are closing
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _exchange(self, connection: socket.socket, stream: BinaryIO) -> bool:
        request = _read(stream, connection, self.name)
        if request is None:
            return False
        answer = self._handler(request)
        keep = request.headers.get("connection", "").lower() != "close"
        if not keep:
            answer.headers["Connection"] = "close"
        return self._send(connection, answer) and keep

    def _send(self, connection: socket.socket, answer: Answer) -> bool:
        """Whether the connection may be used again."""
        if answer.wire == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # The stream shares the descriptor: only once detached does closing act now, as a reset.
            socket.close(connection.detach())
            return False
        encoded = _encoded(answer)
        if answer.wire == "cut":
            head = len(encoded) - len(answer.body)
            connection.sendall(encoded[: head + len(answer.body) // 2 if answer.body else head // 2])
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


def _read(stream: BinaryIO, connection: socket.socket, host: str) -> Request | None:
    line = _line(stream)
    if not line:
        return None
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Unreadable("not an HTTP/1.1 request line")
    headers: dict[str, str] = {}
    while text := _line(stream):
        name, colon, value = text.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise _Unreadable("malformed header line")
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if parts[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Request(parts[0], parts[1], headers, _body(stream, headers), host, connection)


def _line(stream: BinaryIO) -> str:
    line = stream.readline(_LARGEST_LINE)
    if len(line) == _LARGEST_LINE:
        raise _Unreadable("line too long")
    return line.rstrip(b"\r\n").decode("latin-1")


def _body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(stream)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > LARGEST_BODY:
        raise _Unreadable("bad Content-Length")
    return _exactly(stream, int(length))


def _chunks(stream: BinaryIO) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        try:
            size = int(_line(stream).partition(";")[0], 16)
        except ValueError as error:
            raise _Unreadable("bad chunk size") from error
        total += size
        if size < 0 or total > LARGEST_BODY:
            raise _Unreadable("body too large")
        if size == 0:
            while _line(stream):
                pass
            return b"".join(chunks)
        chunks.append(_exactly(stream, size))
        _line(stream)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    body = stream.read(length) if length else b""
    if len(body) < length:
        raise _Unreadable("body shorter than announced")
    return body


def _encoded(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
