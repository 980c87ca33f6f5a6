"""The one module that opens connections to WeChat Pay and to the keys of tokens, and the only importer of `urllib3`.

Its pools do what is wanted and no more: no cookies, no redirects, no proxy or netrc look-ups. A whole answer has one
deadline, whatever the pace at which it drips in, and looking up the host's name has one too. A connection on which
anything is in doubt is not used again.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import closing
from functools import cache, cached_property
from ssl import SSLContext
from typing import Any, BinaryIO, NamedTuple, Protocol

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from services.wechatpay.errors import TimedOut, Unreachable
from services.wechatpay.wire import Response
from utils import processor
from utils.texts import Message

CONNECT_TIMEOUT = 2.0
SHARED_LOOK_UP = 1.0  # seconds
# WeChat Pay closes connections that are idle for 8 s (Keep-Alive: timeout=8, [4013053249]);
# a little less here, so that its close does not meet our next request.
IDLE_LIMIT = 7.0
# The largest documented answers take tens of kilobytes, and 64 threads may read one each in 256 MB.
MAX_BODY = 1024 * 1024
_ONCE = urllib3.Retry(False, redirect=False)
_LATE = "no whole answer from WeChat Pay within {seconds:.1f} s"


class Answer(NamedTuple):
    """An answer as received: nothing in it is proved yet. `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"  # the body may name people


class Network(Protocol):
    """The part of a `urllib3.PoolManager` that is used here: an answer whose body is unread, or urllib3's errors."""

    def urlopen(
        self, method: str, url: str, *, body: bytes | None, headers: Mapping[str, str], timeout: Any, **options: Any
    ) -> urllib3.BaseHTTPResponse: ...


class Transport:
    """Sends one request, once, by `network` or over the true one."""

    def __init__(self, network: Network | None = None, *, connections: int = 64) -> None:
        self._given = network
        self._connections = connections

    @cached_property
    def _network(self) -> Network:
        """Made when first used: what starts need not wait for it."""
        if self._given is not None:
            return self._given
        pools = urllib3.PoolManager(4, maxsize=self._connections, cert_reqs="CERT_REQUIRED", ssl_context=_context())
        pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return pools

    def send(
        self,
        method: str,
        url: str,
        body: bytes,
        headers_for: Callable[[str], dict[str, str]],
        *,
        timeout: float,
    ) -> Answer:
        """Send and read the whole answer within `timeout` seconds.

        `headers_for(target)` is asked for the headers once path and query stand exactly as they will be
        sent, because they are signed. Raises Unreachable or TimedOut.
        """
        content = io.BytesIO()
        status, headers = self._receive(method, url, body, headers_for, timeout, content, MAX_BODY)
        return Answer(status, headers, content.getvalue())

    def get(self, url: str, *, timeout: float) -> bytes:
        """What an address that is no part of APIv3 answers with 200, unsigned. Raises Unreachable or TimedOut."""
        answer = self.send("GET", url, b"", lambda _: {}, timeout=timeout)
        if answer.status != 200:
            raise Unreachable(Message("the answer's status is {status}", status=answer.status))
        return answer.body

    def download(
        self,
        url: str,
        headers_for: Callable[[str], dict[str, str]],
        file: BinaryIO,
        *,
        limit: int,
        timeout: float,
    ) -> int:
        """GET into `file`, at most `limit` bytes, within `timeout` seconds; returns the HTTP status.

        Raises Unreachable or TimedOut.
        """
        return self._receive("GET", url, b"", headers_for, timeout, file, limit)[0]

    def _receive(
        self,
        method: str,
        url: str,
        body: bytes,
        headers_for: Callable[[str], dict[str, str]],
        timeout: float,
        file: BinaryIO,
        most: int,
    ) -> tuple[int, Mapping[str, str]]:
        if timeout <= 0:  # what was left when it was looked at can be gone by now
            raise TimedOut(Message(_LATE, seconds=0.0))
        try:
            parsed = parse_url(url)
            response = self._network.urlopen(
                method,
                parsed.url,
                body=body or None,
                headers=headers_for(parsed.request_uri),
                timeout=urllib3.Timeout(total=timeout, connect=CONNECT_TIMEOUT),
                retries=_ONCE,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            with closing(response):
                _copy(response, file, most)
            return response.status, response.headers
        except urllib3.exceptions.NewConnectionError as error:  # by its family a time-out
            raise _unreachable(error) from error
        except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise TimedOut(Message(_LATE, seconds=timeout)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(error) from error


def _unreachable(error: Exception) -> Unreachable:
    return Unreachable(Message("no answer from WeChat Pay ({reason})", reason=type(error).__name__))


def _copy(answer: urllib3.BaseHTTPResponse, file: BinaryIO, most: int) -> None:
    size = 0
    while chunk := answer.read1(65536, decode_content=False):
        size += len(chunk)
        if size > most:
            raise Unreachable(Message("WeChat Pay's answer exceeds {most} bytes", most=most))
        file.write(chunk)


class _HTTPConnection(HTTPConnection):
    response_class = Response

    def connect(self) -> None:
        with processor.waiting():
            super().connect()

    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)


class _HTTPSConnection(HTTPSConnection):
    response_class = Response

    def connect(self) -> None:
        with processor.waiting():
            super().connect()

    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)


class _Names:
    """Looks up host names for no longer than may be waited; the system's own look-up has no time limit.

    All who ask for a name within a second share one look-up, so that a resolver that hangs costs a thread a second and
    not one a caller. Who comes later has one of his own: the resolver may be back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, int], tuple[float, Future[list[str]]]] = {}

    def addresses(self, name: str, port: int, timeout: float) -> list[str]:
        """Raises OSError for a name that has none, or where no thread is to be had; NotInTime."""
        with self._lock:
            begun, found = self._newest.get((name, port), (0.0, None))
            if found is None or found.done() or time.monotonic() - begun > SHARED_LOOK_UP:
                found = Future()
                try:
                    threading.Thread(target=_look_up, args=(name, port, found), daemon=True).start()
                except RuntimeError as error:  # told like every connection that does not come about
                    raise OSError from error
                self._newest[name, port] = time.monotonic(), found
        return found.result(timeout)


def _look_up(name: str, port: int, found: Future[list[str]]) -> None:
    try:
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
        found.set_exception(error)
    else:
        found.set_result([str(address[4][0]) for address in addresses])


_names = _Names()


def _connected(connection: Any, connect: Callable[[], socket.socket]) -> socket.socket:
    """Look up and connect within the connection's timeout, however many addresses its name has."""
    name, timeout = connection._dns_host, connection.timeout
    deadline = time.monotonic() + timeout
    try:
        addresses = _names.addresses(name, connection.port, timeout)
    except NotInTime as error:
        raise urllib3.exceptions.ConnectTimeoutError(connection, f"{name} was not looked up in time") from error
    except OSError as error:
        raise urllib3.exceptions.NameResolutionError(name, connection, error) from error  # type: ignore[arg-type]
    try:
        for rest in range(len(addresses), 0, -1):
            connection._dns_host = addresses[-rest]
            connection.timeout = max(0.01, (deadline - time.monotonic()) / rest)
            try:
                connected = connect()
                # What the others did not need is there for the TLS handshake.
                connected.settimeout(max(0.01, deadline - time.monotonic()))
                return connected
            except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError):
                if rest == 1:
                    raise
        raise urllib3.exceptions.NewConnectionError(connection, f"{name} has no address")
    finally:
        connection._dns_host, connection.timeout = name, timeout


class _FreshConnections:
    """Mixin for urllib3 pools: a connection that was idle for too long is not used again."""

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]

    def _get_conn(self, timeout: float | None = None) -> Any:
        conn = super()._get_conn(timeout)  # type: ignore[misc]
        if time.monotonic() - getattr(conn, "idle_since", float("inf")) > IDLE_LIMIT:
            conn.close()
        return conn


class _HTTPPool(_FreshConnections, urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(_FreshConnections, urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


@cache
def _context() -> SSLContext:
    """One for all connections: each of its own would read and keep the authorities' certificates again."""
    context = create_urllib3_context()
    context.load_verify_locations(certifi.where())
    return context
