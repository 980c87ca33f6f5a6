"""A caller's connection to the server: from bytes to a request that is there as a whole, and to its answer.

What a request is, gunicorn's own parser says, once. Only where its body ends is looked for here before, and the parser
gets the bytes of one request and no others: what it does not take is never taken for the next one.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader  # type: ignore[import-untyped]
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]

MAX_HEAD = 65_536  # the line and all fields together
MAX_BODY = 4_000_001  # MAX_CONTENT_LENGTH of the application, which answers what is larger without reading it
MAX_FRAMING = 65_536  # of a chunked body: sizes, extensions and trailers
PIECE = 8192


class _BrokenOff:
    """Instead of a body that is not there as a whole: a part of it must not pass for it (RFC 9112 section 8)."""

    def read(self, size: int) -> bytes:
        raise NoMoreData


class Connection:
    """One caller's connection. `size` counts the bytes of his request that the parser has."""

    def __init__(self, config: Any, caller: socket.socket, client: Any, server: Any) -> None:
        """`caller` is his socket, which does not block; `client` and `server` are its addresses."""
        self.config = config
        self.caller = caller
        self.client = client
        self.server = server
        self.stage: Any = None
        self.incoming = bytearray()
        self.unsent = bytearray()
        self.next_request()

    def next_request(self) -> None:
        """Be ready for another one; what is there of it already stays."""
        self.since = time.monotonic()
        self.request: Any = None
        self.size = 0
        self.is_kept = False
        self.entered: bool | None = None
        self._parser = RequestParser(self.config, (), self.client)
        self._searched = self._chunk = self._data = self._length = self._payload = 0

    # What comes in

    def held(self) -> int:
        """Bytes of requests and answers that take up memory here."""
        return self.size + len(self.incoming) + len(self.unsent)

    def receive(self, most: int) -> bool:
        """Take in what is there; false at the end. Raises OSError, and BlockingIOError where nothing is there."""
        data = self.caller.recv(most)
        if not self.has_begun():
            self.since = time.monotonic()  # the application's clock runs from the first byte
        self.incoming += data
        return bool(data)

    def has_begun(self) -> bool:
        """Whether there is anything of a request.

        The empty line that some send after a body is nothing yet: the parser skips one (RFC 9112 section 2.2).
        """
        return self.request is not None or bytes(self.incoming[:3]) not in (b"", b"\r", b"\r\n")

    def is_whole(self) -> bool:
        """Whether the request can be carried out, or refused by the application, with what is there.

        Raises what gunicorn's parser raises for a head that is none.
        """
        if self.request is None and not self._read_head():
            return False
        reader = self.request.body.reader
        if not isinstance(reader, LengthReader):
            return self._read_chunks()
        if reader.length > MAX_BODY:
            self.break_off()
        elif len(self.incoming) < reader.length:
            return False
        else:
            self.request.body = io.BytesIO(self._take(reader.length))
        return True

    def break_off(self) -> None:
        """No more of this request is awaited: the application may answer its head."""
        self.incoming.clear()
        self.request.force_close()
        self.request.body = Body(_BrokenOff())

    def decode(self) -> None:
        """Take a chunked body apart, in a thread; one that is none breaks off, as the application can answer that."""
        if isinstance(getattr(self.request.body, "reader", None), ChunkedReader):
            try:
                self.request.body = io.BytesIO(self.request.body.read(MAX_BODY + 1))
            except Exception:  # noqa: BLE001 - the parser has a dozen words for it
                self.break_off()
            self._parser.unreader.iter = None  # which keeps the encoded one

    def expects_continue(self) -> bool:
        """Whether the caller sends the body only when told to; true once a request."""
        expected: bool = self.request is not None and self.request._expected_100_continue
        if expected:
            self.request._expected_100_continue = False
        return expected

    def _read_head(self) -> bool:
        begin = self._searched
        end = self._find(b"\r\n\r\n") + 4
        is_there = end >= 4
        if not is_there:
            end = len(self.incoming)
        if end > MAX_HEAD:
            raise LimitRequestHeaders("")
        # A head with a bare LF is refused at once. Its end might never come.
        if not is_there and self.incoming.count(b"\n", begin) == self.incoming.count(b"\r\n", max(0, begin - 1)):
            return False
        self._parser.unreader.unread(self._take(end))
        self.request = next(self._parser)
        return True

    def _read_chunks(self) -> bool:
        """Walk to the end of a chunked body; what is malformed ends there too, and the parser will say so."""
        arriving = 0
        while self._data or self._read_chunk_size():
            if self._length < 0:
                return self._cut()
            if self._length == 0:
                trailers = self._find(b"\r\n\r\n")
                if trailers < 0:
                    break
                self._give(trailers + 4)
                return True
            following = self._data + self._length + 2
            if following > len(self.incoming):
                arriving = max(0, len(self.incoming) - self._data)
                break
            self._payload += self._length
            self._chunk = self._searched = following
            self._data = 0
        payload = self._payload + arriving
        if len(self.incoming) - payload > MAX_FRAMING:
            self.break_off()
            return True
        return payload > MAX_BODY and self._cut()

    def _read_chunk_size(self) -> bool:
        """Whether its line is there: once, however the chunk itself comes in."""
        end = self._find(b"\r\n")
        if end < 0:
            return False
        self._length = _chunk_size(bytes(self.incoming[self._chunk : end]))
        self._data = end + 2
        self._searched = end  # the line's own end may begin that of the trailers
        return True

    def _find(self, mark: bytes) -> int:
        """Where it stands in what was not searched yet: a caller may send byte by byte."""
        found = self.incoming.find(mark, self._searched)
        if found < 0:
            self._searched = max(self._searched, len(self.incoming) - len(mark) + 1)
        return found

    def _cut(self) -> bool:
        """The parser gets all there is, and the connection ends with the answer."""
        self._give(len(self.incoming))
        self.request.force_close()
        return True

    def _give(self, size: int) -> None:
        """In pieces: the parser copies the rest of one for each chunk in it."""
        taken = self._take(size)
        self._parser.unreader.iter = (taken[start : start + PIECE] for start in range(0, size, PIECE))

    def _take(self, size: int) -> bytes:
        with memoryview(self.incoming) as arrived:
            taken = bytes(arrived[:size])
        del self.incoming[:size]
        self.size += size
        self._searched = self._chunk = self._data = 0
        return taken

    # What goes out

    def flush(self) -> None:
        """Send what is unsent. Raises OSError, and BlockingIOError where the caller does not read on."""
        while self.unsent:
            del self.unsent[: self.caller.send(self.unsent)]

    def let_go(self) -> None:
        """Nothing more is said or listened to, but the caller may still be reading. Raises OSError."""
        self.caller.shutdown(socket.SHUT_WR)
        self.incoming.clear()
        self.next_request()

    # What gunicorn takes for the socket: an answer is kept here until the caller reads it.

    @property
    def sock(self) -> Connection:
        return self

    def sendall(self, data: bytes) -> None:
        self.unsent += data

    def gettimeout(self) -> float:
        return 0.0

    def shutdown(self, how: int) -> None:
        """Asked in a thread when an answer breaks off; the worker's loop closes the connection."""
        raise OSError

    def close(self) -> None:
        """As above."""


def _chunk_size(line: bytes) -> int:
    """As the parser reads it, or negative where it will not."""
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        return -1
