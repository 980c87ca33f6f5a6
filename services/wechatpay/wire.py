"""How the bytes of an answer become one: until when, how many around the body, and what may come after it.

What is in doubt is not refused here, since the signature decides what is believed; but no other request gets to see
the connection that it came by.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import socket
import time
from typing import Any

from utils import processor

QUOTED = 80  # characters of what is no status line
MAX_HEAD = 64 * 1024  # status line, headers and interim answers: some kilobytes at WeChat Pay


class _Wire(io.RawIOBase):
    """Bytes of one answer; status line, headers and body together take no longer than the socket's timeout."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)
        self.room: float = MAX_HEAD  # bytes that may still come
        self._waits = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic() if self._waits else 0.0
        if self._waits and left <= 0:
            raise TimeoutError("the answer is not complete in time")
        self._sock.settimeout(left)
        if left:
            with processor.waiting():
                count = self._raw.readinto(buffer)
        else:
            count = self._raw.readinto(buffer)
        self.room -= count or 0
        if self.room < 0:
            raise http.client.HTTPException(f"more than {MAX_HEAD} bytes around the body")
        return count

    def take_what_is_there(self) -> None:
        """From now on nothing is waited for."""
        self._waits, self.room = False, math.inf

    def close(self) -> None:
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        # urllib3 has just set the socket's timeout to what is left of the total.
        self._wire = _Wire(sock, self.fp.detach())
        self.fp: Any = io.BufferedReader(self._wire)

    def begin(self) -> None:
        super().begin()
        self._wire.room = math.inf  # the body is counted by whoever reads it
        for name in ("Set-Cookie", "Set-Cookie2"):  # nobody wants them, and to parse them can take very long
            del self.headers[name]
        if not _is_plainly_framed(self.status, self.headers):
            self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        """Also skips the interim answers other than 100 (RFC 9110, 15.2), which are not the answer."""
        while True:
            try:
                version, status, reason = super()._read_status()  # type: ignore[misc]
            except http.client.BadStatusLine as error:
                error.args = (error.args[0][:QUOTED],)  # it ends up in the log
                raise
            if status < 102 or status > 199:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_and_discard_trailer(self) -> None:
        self._wire.room = MAX_HEAD
        super()._read_and_discard_trailer()  # type: ignore[misc]

    def _close_conn(self) -> None:
        """The answer is over: if there is more on its connection, no other request may take that for its answer."""
        self._wire.take_what_is_there()
        with contextlib.suppress(OSError):  # nothing there now, which `ssl` tells by an exception; or a reset
            if self.fp.peek(1):
                # Past ssl's own shutdown(), after which this socket would speak in the clear.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        super()._close_conn()  # type: ignore[misc]


def _is_plainly_framed(status: int, headers: http.client.HTTPMessage) -> bool:
    """Whether nobody can be of another opinion about where the answer ends (RFC 9112, 6.3)."""
    lengths, codings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if status in (204, 304):
        return not codings and lengths in ([], ["0"])
    if codings:
        return not lengths and [coding.lower() for coding in codings] == ["chunked"]
    return status >= 200 and len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdigit()
