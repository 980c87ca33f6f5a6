"""HTTP/1.1 as bytes: requests in, answers out."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedReader

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
    stream: BufferedReader
    scheme: str = "http"
    official: bool = False  # came as if to WeChat Pay's own hosts: nothing but its API may answer

    @property
    def origin(self) -> str:
        """What an absolute URL that leads back here begins with."""
        if host := self.headers.get("host"):
            return f"{self.scheme}://{host}"
        address, port = self.connection.getsockname()[:2]
        return f"{self.scheme}://[{address}]:{port}" if ":" in address else f"{self.scheme}://{address}:{port}"

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
            # Through the stream: what TLS has on the socket may be the end, or nothing to us.
            return bool(readable) and self.stream.peek(1) == b""
        except (OSError, ValueError):
            return True


@dataclass
class Answer:
    """What goes back, and how: `wire` is "whole", "cut" (half of it, then closed), "drip" or "reset".

    With a `stream`, its pieces are sent as they come, after or instead of `body`, until it ends or nobody listens
    any more; then it is closed. An empty piece sends nothing and only asks whether somebody still does: one that
    waits long for its next piece yields some.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    wire: str = "whole"
    seconds: float = 0.0  # duration of a drip
    stream: Iterator[bytes] | None = None


class Unreadable(Exception):
    """The peer does not speak HTTP, or too much of it."""


def read_request(
    stream: BufferedReader, connection: socket.socket, host: str, scheme: str = "http"
) -> Request | None:
    """The next request of a connection; None at its end. Raises Unreadable, OSError."""
    line = _line(stream)
    if not line:
        return None
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Unreadable("not an HTTP/1.1 request line")
    headers: dict[str, str] = {}
    while text := _line(stream):
        name, colon, value = text.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise Unreadable("malformed header line")
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if parts[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Request(
        parts[0], parts[1], headers, _body(stream, headers), host, connection, stream, scheme, scheme == "https"
    )


def _line(stream: BufferedReader) -> str:
    line = stream.readline(_LARGEST_LINE)
    if len(line) == _LARGEST_LINE:
        raise Unreadable("line too long")
    return line.rstrip(b"\r\n").decode("latin-1")


def _body(stream: BufferedReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(stream)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > LARGEST_BODY:
        raise Unreadable("bad Content-Length")
    return _exactly(stream, int(length))


def _chunks(stream: BufferedReader) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        try:
            size = int(_line(stream).partition(";")[0], 16)
        except ValueError as error:
            raise Unreadable("bad chunk size") from error
        total += size
        if size < 0 or total > LARGEST_BODY:
            raise Unreadable("body too large")
        if size == 0:
            while _line(stream):
                pass
            return b"".join(chunks)
        chunks.append(_exactly(stream, size))
        _line(stream)


def _exactly(stream: BufferedReader, length: int) -> bytes:
    body = stream.read(length) if length else b""
    if len(body) < length:
        raise Unreadable("body shorter than announced")
    return body


def encoded_answer(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.stream is None and answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
