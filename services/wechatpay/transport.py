"""The one module that opens connections to WeChat Pay, and the only importer of `requests`.

One session per process, used concurrently only for `send` of prepared requests: no cookies, no redirects,
no proxy or netrc look-ups. A whole answer has one deadline, whatever the pace at which it drips in.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, BinaryIO, NamedTuple

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from services.wechatpay.errors import TimedOut, Unreachable

__all__ = ["Answer", "BaseAdapter", "Transport"]

CONNECT_TIMEOUT = 2.0
# WeChat Pay closes connections that are idle for 8 s (Keep-Alive: timeout=8, [4013053249]);
# a little less here, so that its close does not meet our next request.
IDLE_LIMIT = 7.0
MAX_BODY = 8 * 1024 * 1024


class Answer(NamedTuple):
    """An answer as received: nothing in it is proved yet. `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"  # the body may name people


class Transport:
    """Sends one request, once. `adapter` replaces the network (any `requests` adapter)."""

    def __init__(self, adapter: BaseAdapter | None = None, *, connections: int = 64) -> None:
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = adapter or _Adapter(connections)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

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
        prepared = requests.Request(method, url, data=body or None).prepare()
        prepared.headers.update(headers_for(prepared.path_url))
        limit: Any = urllib3.Timeout(total=timeout, connect=min(CONNECT_TIMEOUT, timeout), read=timeout)
        try:
            response = self._session.send(prepared, stream=True, timeout=limit, allow_redirects=False)
            with response:
                _copy(response.raw, file, most)
                return response.status_code, response.headers
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise TimedOut(f"no whole answer from WeChat Pay within {timeout:.1f} s") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"no answer from WeChat Pay ({type(error).__name__})") from error


def _copy(raw: urllib3.HTTPResponse, file: BinaryIO, most: int) -> None:
    size = 0
    while chunk := raw.read1(65536, decode_content=False):
        size += len(chunk)
        if size > most:
            raise Unreachable(f"WeChat Pay's answer exceeds {most} bytes")
        file.write(chunk)


class _UntilDeadline(io.RawIOBase):
    """Bytes of one answer; status line, headers and body together take no longer than the socket's timeout."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer is not complete in time")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # urllib3 has just set the socket's timeout to what is left of the total.
        self.fp: Any = io.BufferedReader(_UntilDeadline(sock, self.fp.detach()))


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: even unfollowed, `requests` would read and parse the redirect."""


class _HTTPConnection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)


class _HTTPSConnection(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)


def _connected(connection: Any, connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect within the connection's timeout, however many addresses its name has."""
    name, timeout = connection._dns_host, connection.timeout
    deadline = time.monotonic() + timeout
    addresses = [found[4][0] for found in socket.getaddrinfo(name, connection.port, type=socket.SOCK_STREAM)]
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
        raise OSError(f"{name} has no address")
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


class _Adapter(HTTPAdapter):
    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
