"""A small threaded HTTP/1.1 server that can also break its answers on the wire.

The standard library's handler hides the socket and parses headers slowly; resets, cut bodies and a closed
listener need the socket. A plain listener is also a proxy to WeChat Pay's own names, which this process plays.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
import traceback
from collections.abc import Callable, Iterator, Set
from io import BufferedReader

from sandbox.faces import HOSTS, official_host, place, proxied_host
from sandbox.tls import Spoken, Tls
from sandbox.wire import Answer, Request, Unreadable, encoded_answer, read_request

KEEP_ALIVE_SECONDS = 8  # what the real hosts announce [4013053249]
HANDSHAKE_SECONDS = 5


Handler = Callable[[Request], Answer]


class _Line:
    """One connection; its socket and its host change when TLS begins on it."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        self.host = host
        self.thread = threading.get_ident()
        self.use(connection)

    def use(self, connection: socket.socket) -> None:
        self.socket = connection
        self.stream: BufferedReader = connection.makefile("rb")

    @property
    def scheme(self) -> str:
        return "https" if isinstance(self.socket, Spoken) else "http"

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            # Past ssl's own shutdown(), which would let the thread at work go on in plain text.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        if isinstance(self.socket, Spoken):
            # Say that this is the end, but do not wait for the other side's consent.
            with contextlib.suppress(OSError, ValueError):
                self.socket.settimeout(0)
                self.socket.unwrap()
        with contextlib.suppress(OSError):
            self.stream.close()
        self.socket.close()


class Listener:
    """One port: of the main host, of the backup host or, over TLS, of both.

    `listen()` also says which hosts are down; it may be called again at any time.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: Tls | None = None,
    ) -> None:
        self.name = name
        self._hosts = {name} if name in HOSTS else set(HOSTS)
        self._handler = handler
        self._refused: set[str] = set()
        self._context = tls.context(self._admits) if tls else None
        self._lines: set[_Line] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._socket = self._bound((address, port))
        self.address, self.port = self._socket.getsockname()[:2]
        self._open = False

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'http' if self.name in HOSTS else 'https'}://{host}:{self.port}"

    def listen(self, refused: Set[str] = frozenset()) -> None:
        """Take connections, but for those to exactly these hosts: the port is closed while nothing else is on it."""
        with self._lock:
            self._refused = set(refused)
            closes = self._hosts <= self._refused
            if self._closing.is_set():
                return
            if closes and self._open:
                _shut(self._socket)
                # Bound but not listening: the port stays ours, and whoever connects is refused.
                self._socket = self._bound((self.address, self.port))
            elif not closes and not self._open:
                self._socket.listen(512)
                threading.Thread(target=self._accept_from, args=(self._socket,), daemon=True).start()
            self._open = not closes
        self._drop(lambda line: line.host in refused)

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            self._open = False
            _shut(self._socket)
        self._drop(lambda _: True)

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            bound.close()
            raise OSError(f"port {address[1]} of {address[0]}: {error.strerror}") from error
        return bound

    def _admits(self, name: str) -> bool:
        return (official_host(name) or "main") not in self._refused

    def _drop(self, concerned: Callable[[_Line], bool]) -> None:
        me = threading.get_ident()
        with self._lock:
            # Under the lock, as where TLS begins: in between the line's socket is a detached one. The one that asked
            # for it still gets its answer.
            for line in self._lines:
                if concerned(line) and line.thread != me:
                    line.drop()

    def _accept_from(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        line = _Line(connection, self.name if self.name in HOSTS else "main")
        with self._lock:
            self._lines.add(line)
            if not self._open:
                line.drop()  # accepted just before the port was closed
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(KEEP_ALIVE_SECONDS)
            if self._context and self.name not in HOSTS:
                self._speak_tls(line, self._context)
            while self._exchange(line):
                pass
        except Unreadable as error:
            with contextlib.suppress(OSError):
                line.socket.sendall(encoded_answer(Answer(400, {"Connection": "close"}, str(error).encode())))
        except OSError:
            pass  # the peer went away or does not speak TLS, or we are closing
        finally:
            with self._lock:
                self._lines.discard(line)
            line.close()

    def _speak_tls(self, line: _Line, context: ssl.SSLContext) -> None:
        """Raises OSError, which ssl's errors are."""
        line.socket.settimeout(HANDSHAKE_SECONDS)
        with self._lock:
            # One step, so that listen() and close() always find the socket that is in use.
            line.stream.close()
            spoken = context.wrap_socket(line.socket, server_side=True, do_handshake_on_connect=False)
            line.use(spoken)
        spoken.do_handshake()
        if isinstance(spoken, Spoken):
            line.host = official_host(spoken.name) or line.host
        spoken.settimeout(KEEP_ALIVE_SECONDS)

    def _tunnel(self, line: _Line, authority: str) -> bool:
        """What a proxy does for CONNECT, except that we are the other end ourselves."""
        host = proxied_host(authority)
        if host is None or self._context is None or line.scheme == "https":
            return self._send(line.socket, _not_served())
        line.host = host
        if host in self._refused:
            return False
        line.socket.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._speak_tls(line, self._context)
        return True

    def _exchange(self, line: _Line) -> bool:
        connection = line.socket
        request = read_request(line.stream, connection, line.host, line.scheme)
        if request is None:
            return False
        if request.method == "CONNECT":
            return self._tunnel(line, request.target)
        served = place(request)
        if request.host in self._refused:
            return False
        answer = self._answered(request) if served else _not_served()
        # Without a length only the end of the connection says where a stream ends.
        keep = answer.stream is None and request.headers.get("connection", "").lower() != "close"
        if not keep:
            answer.headers["Connection"] = "close"
        if answer.stream is not None:
            self._stream(connection, answer, answer.stream, request)
            return False
        return self._send(connection, answer) and keep and request.host not in self._refused

    def _answered(self, request: Request) -> Answer:
        try:
            return self._handler(request)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets an answer and we a trace
            traceback.print_exc()
            return Answer(500, {"Content-Type": "text/plain"}, b"the sandbox failed: see its output")

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


def _not_served() -> Answer:
    text = b"only WeChat Pay's own names, over HTTPS, are served here; nothing is passed on"
    return Answer(403, {"Content-Type": "text/plain"}, text)


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
