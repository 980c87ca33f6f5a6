"""A small HTTP/1.1 client for many requests at a time: one thread, kept connections, no more work than needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

IDLE = 5.0  # seconds after which a kept connection is not used any more: the sandbox closes them after 8


class Gone(Exception):
    """No whole answer came: refused, cut, or too late."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The parsed body; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """Requests to the server at `url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._free: list[_Line] = []

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, within: float = 30.0
    ) -> Answer:
        """The answer, if it is there `within` so many seconds. Raises Gone."""
        started = time.monotonic()
        request = self._request(method, path, body, headers or {})
        try:
            status, answer = await asyncio.wait_for(self._exchange(request), within)
        except (OSError, asyncio.TimeoutError) as error:
            raise Gone(str(error) or type(error).__name__) from error
        return Answer(status, answer, time.monotonic() - started)

    async def vanish(self, path: str, body: bytes, headers: Mapping[str, str], after: float) -> None:
        """Send a request, and hang up `after` so many seconds, whatever may have come."""
        with contextlib.suppress(OSError):
            line = await self._connected()
            answer = line.ask(self._request("POST", path, body, headers))
            await asyncio.sleep(after)
            answer.cancel()
            line.close()

    def close(self) -> None:
        for line in self._free:
            line.close()
        self._free.clear()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        line = await self._line()
        try:
            answer = await line.ask(request)
        except BaseException:
            line.close()
            raise
        if line.idle_since is not None:
            self._free.append(line)
        return answer

    async def _line(self) -> _Line:
        while self._free:
            line = self._free.pop()
            if line.idle_since is not None and time.monotonic() - line.idle_since < IDLE:
                return line
            line.close()
        return await self._connected()

    async def _connected(self) -> _Line:
        _, line = await asyncio.get_running_loop().create_connection(_Line, self._host, self._port)
        return line

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


class _Line(asyncio.Protocol):
    """One connection, with one request on it at a time; `idle_since` is None unless it can take the next one."""

    def __init__(self) -> None:
        self.idle_since: float | None = None
        self._head, self._buffer = b"", bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_connection makes no other
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        self.idle_since = None
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            self._answer.set_exception(ConnectionResetError("closed before the request"))
        else:
            self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._head:
            end = self._buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            self._head = bytes(self._buffer[:end]).lower()
            del self._buffer[:end]
        length = re.search(rb"\r\ncontent-length: *(\d+)", self._head)
        if len(self._buffer) < (int(length[1]) if length else 0) or self._answer is None or self._answer.done():
            return
        status, body = int(self._head[9:12]), bytes(self._buffer)
        if b"\r\nconnection: close" in self._head:
            self.close()
        else:
            self.idle_since = time.monotonic()
        self._buffer.clear()
        self._head = b""
        self._answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        self.idle_since = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed before the answer"))

    def close(self) -> None:
        self.idle_since = None
        if self._transport:
            self._transport.abort()
