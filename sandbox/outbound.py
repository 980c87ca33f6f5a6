"""HTTP calls from the sandbox to the function."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sandbox.records import parsed

LARGEST_ANSWER = 8 * 1024 * 1024


@dataclass
class Reply:
    """What the function answered; `status` is None when it did not, and `error` then says why."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # lower-case names
    body: bytes = b""
    error: str | None = None
    latency: float = 0.0  # seconds

    @property
    def json(self) -> Any:
        """The parsed body; None when it is not JSON."""
        return parsed(self.body)


def post(base: str, path: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Reply:
    """As `send`, with POST."""
    return send("POST", base, path, headers, body, timeout)


def send(
    method: str, base: str, path: str, headers: Mapping[str, str], body: bytes | None, timeout: float
) -> Reply:
    """A request to `base` + `path`. An answer that is not whole after `timeout` seconds counts as none."""
    started = time.monotonic()
    reply = Reply()
    try:
        parts = urlsplit(base)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        connection.connect()
        # A time-out of the socket would begin anew with every byte that comes.
        ending = threading.Timer(timeout - (time.monotonic() - started), _hang_up, (connection.sock,))
        ending.daemon = True
        ending.start()
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, dict(headers))
            response = connection.getresponse()
            reply.body = response.read(LARGEST_ANSWER)
            if response.length:
                raise http.client.IncompleteRead(reply.body, response.length)
            reply.status = response.status
            reply.headers = {name.lower(): value for name, value in response.getheaders()}
        finally:
            ending.cancel()
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reply.error = f"{type(error).__name__}: {error}"
    reply.latency = time.monotonic() - started
    if reply.latency >= timeout:
        reply = Reply(error=f"no answer within {timeout:g} s", latency=reply.latency)
    return reply


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
