"""A host that stands where one of WeChat Pay's stands, speaks TLS, and does with each request what a test says.

What is behind it is the sandbox: `Exchange.truth()` lets a request through and returns the bytes of the true answer,
to be sent on as they are, slowly, in part, with something beside them, later, or to somebody else.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE = 30.0  # seconds until a connection that nothing happens on is given up: longer than any test


class Over(Exception):
    """This connection has ended."""


@dataclass
class Heard:
    """One request as it arrived: over which connection, and the how-manieth there."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    turn: int
    body: bytes = b""


class Exchange:
    """One request and what is done about it. Its body is read by `read_body` and `truth` alone."""

    def __init__(self, wire: Wire, sock: socket.socket, heard: Heard, early: bytes) -> None:
        self._wire = wire
        self._sock = sock
        self._pending = early
        self.heard = heard

    def read_body(self) -> bytes:
        missing = int(self.heard.headers.get("content-length", 0)) - len(self.heard.body)
        while missing > 0:
            more = self._pending or self._sock.recv(65536)
            if not more:
                raise Over
            taken, self._pending = more[:missing], more[missing:]
            self.heard.body += taken
            missing -= len(taken)
        return self.heard.body

    def truth(self) -> bytes:
        """Carry the request out, and return the true answer as bytes of HTTP."""
        body = self.read_body()
        parts = urlsplit(self._wire.upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        try:
            headers = {name: value for name, value in self.heard.headers.items() if name != "connection"}
            connection.request(self.heard.method, self.heard.target, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{n}: {v}" for n, v in answer.getheaders())]
            return "\r\n".join([*lines, "", ""]).encode("latin-1") + content
        finally:
            connection.close()

    def send(self, *data: bytes) -> None:
        """All of it in one TLS record, as far as one holds it (16 KB)."""
        self._sock.sendall(b"".join(data))

    def drip(self, data: bytes, pause: float = 0.1) -> None:
        """A byte at a time."""
        for value in data:
            self.send(bytes([value]))
            self.wait(pause)

    def endlessly(self, data: bytes, pause: float = 0.0) -> None:
        """Again and again, until the other side hangs up."""
        while True:
            self.send(data)
            if pause:
                self.wait(pause)

    def wait(self, seconds: float) -> None:
        if self._wire.closing.wait(seconds):
            raise Over

    def stay(self) -> None:
        """Say nothing until the other side hangs up."""
        while self._sock.recv(65536):
            pass
        raise Over

    def close(self) -> None:
        raise Over

    def reset(self) -> None:
        reset(self._sock)
        raise Over


Act = Callable[[Exchange], None]
Greet = Callable[[socket.socket], "socket.socket | None"]


@dataclass
class Wire:
    """Listens on loopback from `with` on.

    `act` deals with each request; the connection lives on when it returns. `greet` makes of an accepted connection
    what requests are read from, by default by TLS with `context`; None: there is nothing more to read.
    """

    upstream: str
    context: ssl.SSLContext
    act: Act = field(default=lambda exchange: exchange.send(exchange.truth()))
    greet: Greet | None = None
    address: tuple[str, int] = ("127.0.0.1", 0)
    heard: list[Heard] = field(default_factory=list)
    greeted: int = 0  # connections so far

    def __post_init__(self) -> None:
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(self.address, backlog=512)
        self.port: int = self._listening.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections, so that the next request needs a new one."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def speak_tls(self, sock: socket.socket) -> socket.socket:
        return self.context.wrap_socket(sock, server_side=True)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(sock)
            self.greeted += 1
            number = self.greeted
        spoken: socket.socket | None = None
        try:
            spoken = (self.greet or self.speak_tls)(sock)
            if spoken is not None:
                with self._lock:
                    self._open.add(spoken)
                self._talk(spoken, number)
        except (OSError, Over, ValueError):
            pass  # the other side hung up, or was told to, or a socket was closed
        finally:
            with self._lock:
                self._open -= {sock, spoken}  # type: ignore[arg-type]
            sock.close()
            if spoken is not None:
                spoken.close()

    def _talk(self, sock: socket.socket, number: int) -> None:
        rest, turn = b"", 0
        while True:
            while b"\r\n\r\n" not in rest:
                more = sock.recv(65536)
                if not more:
                    return
                rest += more
            head, _, rest = rest.partition(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            named = (re.split(r":\s*", text, maxsplit=1) for text in lines)
            heard = Heard(method, target, {name.lower(): value for name, value in named}, number, turn)
            with self._lock:
                self.heard.append(heard)
            exchange = Exchange(self, sock, heard, rest)
            self.act(exchange)
            exchange.read_body()
            rest, turn = exchange._pending, turn + 1


def reset(sock: socket.socket) -> None:
    """End it with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what must become true."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come to that in time"
        time.sleep(0.02)
