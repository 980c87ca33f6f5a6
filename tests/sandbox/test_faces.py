"""How the sandbox can be reached: plain, over TLS, by the real names through a proxy, as a stream."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import ssl
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from sandbox import Credentials, Sandbox
from sandbox import tls as tls_module
from sandbox.server import Listener
from sandbox.tls import Tls
from sandbox.wire import Answer, Request
from tests.sandbox.conftest import PREPAY, Heard, Merchant

NAMES = {
    "api.mch.weixin.qq.com": "main",
    "api2.mch.weixin.qq.com": "backup",
    "api.wechatpay.cn": "main",
    "api2.wechatpay.cn": "backup",
}
QUERY = "/v3/pay/transactions/out-trade-no/ORDER_000001?mchid="


class Pieces:
    """An iterator that hands out what it is given, waits in between, and remembers that it was closed."""

    def __init__(self, *pieces: bytes, endless: bool = False) -> None:
        self._pieces = list(pieces)
        self._endless = endless
        self.go_on = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if not self._endless:
            raise StopIteration
        self.go_on.wait(0.02)
        return b""

    def close(self) -> None:
        self.closed.set()


Serve = Callable[[Callable[[Request], Answer]], Listener]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Listener] = []

    def start(handler: Callable[[Request], Answer]) -> Listener:
        started.append(Listener("main", handler))
        started[-1].listen()
        return started[-1]

    yield start
    for listener in started:
        listener.close()


def listening(listener: Listener) -> socket.socket:
    connection = socket.create_connection((listener.address, listener.port), 5)
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def events(pieces: Iterator[bytes]) -> Answer:
    return Answer(200, {"Content-Type": "text/event-stream"}, stream=pieces)


# Streams


def test_a_stream_comes_piece_by_piece_and_ends_with_the_connection(serve: Serve) -> None:
    told = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        told.wait(5)
        yield b""
        yield b"data: 2\n\n"

    listener = serve(lambda _: events(pieces()))
    connection = http.client.HTTPConnection(listener.address, listener.port, timeout=5)
    connection.request("GET", "/events")
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "text/event-stream"
    assert response.getheader("Content-Length") is None
    assert response.getheader("Transfer-Encoding") is None
    assert response.getheader("Connection") == "close"
    # The second piece is only made once the first has been read: nothing is held back.
    assert response.read1(100) == b"data: 1\n\n"
    told.set()
    assert response.read() == b"data: 2\n\n"
    connection.close()


def test_a_finished_stream_is_closed(serve: Serve) -> None:
    pieces = Pieces(b"a", b"b")
    with listening(serve(lambda _: events(pieces))) as connection:
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.endswith(b"\r\n\r\nab")
    assert pieces.closed.wait(5)


def test_a_stream_is_closed_when_the_client_leaves(serve: Serve) -> None:
    pieces = Pieces(b"a", endless=True)
    connection = listening(serve(lambda _: events(pieces)))
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert not pieces.closed.wait(0.2)
    connection.close()
    assert pieces.closed.wait(5)


@pytest.mark.parametrize("end", [Listener.close, lambda listener: listener.listen({"main"})], ids=["close", "refuse"])
def test_a_stream_is_closed_when_the_listener_goes(serve: Serve, end: Callable[[Listener], None]) -> None:
    pieces = Pieces(b"a", endless=True)
    listener = serve(lambda _: events(pieces))
    with listening(listener) as connection:
        assert connection.recv(1000)
        end(listener)
        assert pieces.closed.wait(5)
        assert b"".join(iter(lambda: connection.recv(1000), b"")) in (b"", b"a")


def test_a_generator_is_closed_in_the_thread_that_runs_it(serve: Serve) -> None:
    ended = threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b": still here\n\n"
                ended.wait(0.02)
        finally:
            ended.set()

    connection = listening(serve(lambda _: events(pieces())))
    assert connection.recv(1000)
    connection.close()
    assert ended.wait(5)


# TLS


def port_of(box: Sandbox, name: str = "https") -> int:
    url = {"https": box.https_url, "main": box.url, "backup": box.backup_url}[name]
    return int(url.rpartition(":")[2])


def plain(box: Sandbox, name: str = "main") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(box, name)), 5)


def secured(connection: socket.socket, box: Sandbox, name: str) -> ssl.SSLSocket:
    """The client's side of TLS, as strict as Python's default: chain, dates and host name."""
    return ssl.create_default_context(cafile=str(box.ca)).wrap_socket(connection, server_hostname=name)


def tunnel(box: Sandbox, authority: str, via: str = "main") -> tuple[socket.socket, bytes]:
    connection = plain(box, via)
    connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = b""
    with contextlib.suppress(ConnectionResetError):
        while not head.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
            head += byte
    return connection, head


def asked(
    connection: socket.socket, merchant: Merchant, host: str, target: str, method: str = "GET", body: bytes = b""
) -> Heard:
    """A signed request over a connection that stands; the target may be absolute, what is signed never is."""
    signed = target.removeprefix("https://").partition("/")
    path = "/" + signed[2] if target.startswith("https://") else target
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: t\r\nAccept: */*\r\n"
        f"Authorization: {merchant.authorization(method, path, body)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return Heard(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def query(merchant: Merchant) -> str:
    return QUERY + merchant.credentials.merchant_id


@pytest.mark.parametrize("name", [*NAMES, "localhost", "127.0.0.1", "::1"])
def test_the_certificate_holds_for_every_name(box: Sandbox, merchant: Merchant, name: str) -> None:
    merchant.paid()
    with secured(plain(box, "https"), box, name) as connection:
        heard = asked(connection, merchant, name, query(merchant))
    assert (heard.status, heard.json["trade_state"]) == (200, "SUCCESS")
    assert box.requests[-1].host == NAMES.get(name, "main")


def test_the_certificate_holds_for_no_other_name(box: Sandbox) -> None:
    with plain(box, "https") as connection, pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        secured(connection, box, "pay.weixin.qq.com")


def test_another_sandbox_does_not_vouch_for_this_one(box: Sandbox, credentials: Credentials) -> None:
    with (
        Sandbox(credentials=credentials) as other,
        plain(box, "https") as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        secured(connection, other, "localhost")
    # Neither does the system: nobody is deceived who was not told to trust this authority.
    with plain(box, "https") as connection, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


def test_old_versions_of_tls_are_refused(box: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(box.ca))
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with plain(box, "https") as connection, pytest.raises(OSError, match=r"(?i)protocol|version"):
        context.wrap_socket(connection, server_hostname="localhost")
    context = ssl.create_default_context(cafile=str(box.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(plain(box, "https"), server_hostname="localhost") as connection:
        assert connection.version() == "TLSv1.2"


@pytest.mark.skipif(not shutil.which("openssl"), reason="not run: openssl is not installed")
def test_openssl_agrees(box: Sandbox) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port_of(box)}", "-CAfile", str(box.ca)]
    for name in NAMES:
        strict = ["-x509_strict", "-verify_return_error", "-verify_hostname", name, "-servername", name]
        made = subprocess.run([*command, *strict], input="", capture_output=True, text=True, timeout=20, check=False)
        assert made.returncode == 0, made.stderr
        assert "Verification: OK" in made.stdout
        assert f"Verified peername: {name}" in made.stdout
    kept = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(box.ca)]
    subprocess.run([*kept, str(box.ca.with_name("tls_cert.pem"))], check=True, capture_output=True, timeout=20)


def test_the_authority_has_no_key_any_more(box: Sandbox) -> None:
    """The one key that is kept is the server's: its public half is in the certificate, not in the authority's."""
    folder = box.ca.parent
    assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "tls_cert.pem", "tls_key.pem"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls_cert.pem", folder / "tls_key.pem")
    with pytest.raises(ssl.SSLError, match=r"(?i)mismatch"):
        context.load_cert_chain(folder / "ca.pem", folder / "tls_key.pem")


def test_what_was_in_memory_only_is_gone_at_the_end(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        folder = box.ca.parent
        assert folder.is_dir()
    assert not folder.exists()


def test_the_certificate_is_kept_with_the_credentials(tmp_path: Path, credentials: Credentials) -> None:
    credentials.save(tmp_path)
    with Sandbox(state=tmp_path) as box:
        assert box.ca == tmp_path / "ca.pem"
        first = box.ca.read_bytes()
    with Sandbox(state=tmp_path) as box:
        assert box.ca.read_bytes() == first


def serial(tls: Tls) -> int:
    return x509.load_pem_x509_certificate(tls.certificate.read_bytes()).serial_number


@pytest.mark.parametrize("name", ["ca.pem", "tls_cert.pem", "tls_key.pem"])
@pytest.mark.parametrize("damage", ["missing", "garbage", "of another"])
def test_a_damaged_certificate_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    before = serial(Tls.load_or_create(tmp_path))
    assert serial(Tls.load_or_create(tmp_path)) == before
    if damage == "missing":
        (tmp_path / name).unlink()
    elif damage == "garbage":
        (tmp_path / name).write_text("not PEM")
    else:
        other = Tls.load_or_create(tmp_path / "other")
        (tmp_path / name).write_bytes((other.folder / name).read_bytes())
    after = Tls.load_or_create(tmp_path)
    assert serial(after) != before
    ssl.create_default_context(cafile=str(after.ca))
    after.context(lambda _: True)


def test_a_certificate_is_renewed_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = serial(Tls.load_or_create(tmp_path))

    class Later(datetime):
        days = 59

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(timezone.utc) + timedelta(days=cls.days)

    monkeypatch.setattr(tls_module, "datetime", Later)
    assert serial(Tls.load_or_create(tmp_path)) == before
    Later.days = 61
    assert serial(Tls.load_or_create(tmp_path)) != before


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 5000,
        b"",
    ],
)
def test_what_is_no_tls_does_not_hurt(box: Sandbox, merchant: Merchant, garbage: bytes) -> None:
    with plain(box, "https") as connection:
        connection.sendall(garbage)
        with contextlib.suppress(ConnectionResetError):
            with contextlib.suppress(OSError):  # the other side may be gone already
                connection.shutdown(socket.SHUT_WR)
            assert b"HTTP/1.1 200" not in b"".join(iter(lambda: connection.recv(1000), b""))
    with secured(plain(box, "https"), box, "localhost") as connection:
        assert asked(connection, merchant, "localhost", query(merchant)).status == 404


def test_a_silent_client_keeps_nobody_else_waiting(box: Sandbox, merchant: Merchant) -> None:
    silent = [plain(box, "https") for _ in range(20)]
    started = time.monotonic()
    with secured(plain(box, "https"), box, "localhost") as connection:
        assert asked(connection, merchant, "localhost", query(merchant)).status == 404
    assert time.monotonic() - started < 2
    for connection in silent:
        connection.close()


def test_an_unfinished_handshake_ends(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.server.HANDSHAKE_SECONDS", 0.2)
    with plain(box, "https") as connection:
        assert connection.recv(1) == b""


def test_a_connection_is_kept_and_its_end_is_said(box: Sandbox, merchant: Merchant) -> None:
    # With suppress_ragged_eofs off, an end without close_notify would raise.
    context = ssl.create_default_context(cafile=str(box.ca))
    raw = plain(box, "https")
    with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as connection:
        for _ in range(3):
            assert asked(connection, merchant, "localhost", query(merchant)).status == 404
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"".join(iter(lambda: connection.recv(1000), b"")).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("kind", ["cut_body", "reset", "slow_body"])
def test_faults_of_the_wire_show_over_tls_too(box: Sandbox, merchant: Merchant, kind: str) -> None:
    merchant.paid()
    box.fault(kind, times=1, **({"seconds": 0.1} if kind == "slow_body" else {}))
    with secured(plain(box, "https"), box, "api.wechatpay.cn") as connection:
        if kind == "slow_body":
            assert asked(connection, merchant, "api.wechatpay.cn", query(merchant)).json["trade_state"] == "SUCCESS"
        else:
            with pytest.raises((OSError, http.client.HTTPException)):
                asked(connection, merchant, "api.wechatpay.cn", query(merchant))


def test_a_caller_over_tls_that_leaves_is_noticed(box: Sandbox, merchant: Merchant) -> None:
    box.fault("latency", times=1, processed=False, seconds=0.3)
    body = b'{"mchid":"x"}'
    connection = secured(plain(box, "https"), box, "localhost")
    head = f"POST {PREPAY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    with contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.unwrap()
    connection.close()
    deadline = time.monotonic() + 5
    while not box.requests or box.requests[-1].fault is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (box.requests[-1].fault, box.requests[-1].status, box.requests[-1].refusal) == ("latency", None, None)


# The real names


@pytest.mark.parametrize("via", ["main", "backup"])
@pytest.mark.parametrize(("name", "host"), NAMES.items())
def test_a_tunnel_leads_to_the_sandbox_itself(
    box: Sandbox, merchant: Merchant, name: str, host: str, via: str
) -> None:
    merchant.paid()
    connection, head = tunnel(box, f"{name}:443", via)
    assert head.startswith(b"HTTP/1.1 200 ")
    with secured(connection, box, name) as inside:
        for _ in range(2):
            assert asked(inside, merchant, name, query(merchant)).json["trade_state"] == "SUCCESS"
    assert [record.host for record in box.requests[-2:]] == [host, host]
    assert all(record.verified for record in box.requests)


@pytest.mark.parametrize(("name", "host"), NAMES.items())
def test_an_absolute_target_is_served_as_if_it_had_come_to_that_host(
    box: Sandbox, merchant: Merchant, name: str, host: str
) -> None:
    merchant.paid()
    for authority in (name, f"{name}:443", name.upper()):
        with plain(box) as connection:
            heard = asked(connection, merchant, "whatever.example", f"https://{authority}{query(merchant)}")
        assert heard.json["trade_state"] == "SUCCESS"
        record = box.requests[-1]
        assert (record.host, record.target, record.verified) == (host, query(merchant), True)
        assert record.headers["host"] == authority


@pytest.mark.parametrize(
    "authority",
    [
        "api.mch.weixin.qq.com:80",
        "api.mch.weixin.qq.com:8443",
        "api3.mch.weixin.qq.com:443",
        "evil.api.mch.weixin.qq.com:443",
        "api.mch.weixin.qq.com.evil.example:443",
        "user@api.mch.weixin.qq.com:443",
        "example.com:443",
        "127.0.0.1:443",
        "localhost:22",
        "[::1]:443",
        ":443",
        "",
        "api.mch.weixin.qq.com:443:443",
    ],
)
def test_nobody_else_is_connected(box: Sandbox, merchant: Merchant, authority: str) -> None:
    connection, head = tunnel(box, authority or "*")
    with connection:
        assert head.startswith(b"HTTP/1.1 403 ")
    with plain(box) as connection:
        assert asked(connection, merchant, "x", f"https://{authority}/v3/certificates").status == 403
    assert box.requests == []


@pytest.mark.parametrize("url", ["http://api.mch.weixin.qq.com", "ftp://api.mch.weixin.qq.com", "api.wechatpay.cn"])
def test_only_https_is_proxied(box: Sandbox, url: str) -> None:
    """HTTPS only [4012081709]."""
    with plain(box) as connection:
        connection.sendall(f"GET {url}/v3/certificates HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 403 ")
    assert box.requests == []


def test_what_is_served_by_the_real_names_does_not_go_outside(
    box: Sandbox, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    with socket.socket() as connection:
        connection.settimeout(5)
        connection.connect(("127.0.0.1", port_of(box, "main")))
        assert asked(connection, merchant, "x", f"https://api.wechatpay.cn{query(merchant)}").status == 404


CONTROL = ("/", "/page/app.js", "/sandbox/state", "/sandbox/orders", "/sandbox/events", "/auth/v1/certs")


@pytest.mark.parametrize("path", CONTROL)
@pytest.mark.parametrize("name", ["api.mch.weixin.qq.com", "api2.wechatpay.cn"])
def test_only_wechat_pay_is_behind_the_real_names(box: Sandbox, merchant: Merchant, name: str, path: str) -> None:
    """What leads a program to the sandbox under a foreign name must not lead it to the controls."""
    with secured(plain(box, "https"), box, name) as connection:
        assert asked(connection, merchant, name, path).status == 404
        assert asked(connection, merchant, "127.0.0.1", path).status == 404
    inside = secured(tunnel(box, f"{name}:443")[0], box, name)
    with inside:
        assert asked(inside, merchant, name, path).status == 404
        assert asked(inside, merchant, f"127.0.0.1:{port_of(box, 'main')}", path).status == 404
        assert asked(inside, merchant, name, "/sandbox/reset", "POST").status == 404
    with plain(box) as connection:
        assert asked(connection, merchant, "127.0.0.1", f"https://{name}{path}").status == 404
        # As a browser would, for which the name was made to point here.
        assert asked(connection, merchant, name, path).status == 404
        assert asked(connection, merchant, f"{name}:{port_of(box, 'main')}", path).status == 404
    assert all(record.target in (path, "/sandbox/reset") for record in box.requests)


def test_a_tunnel_in_a_tunnel_is_refused(box: Sandbox, merchant: Merchant) -> None:
    with secured(plain(box, "https"), box, "api.wechatpay.cn") as connection:
        connection.sendall(b"CONNECT api.mch.weixin.qq.com:443 HTTP/1.1\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_garbage_in_a_tunnel_does_not_hurt(box: Sandbox, merchant: Merchant) -> None:
    connection, _ = tunnel(box, "api.mch.weixin.qq.com:443")
    with connection, contextlib.suppress(ConnectionResetError):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in b"".join(iter(lambda: connection.recv(1000), b""))
    assert merchant.send("GET", query(merchant)).status == 404


# Where answers lead back to


def test_the_origin_is_what_the_caller_used(serve: Serve) -> None:
    listener = serve(lambda request: Answer(200, body=request.origin.encode()))

    def origin(head: str) -> bytes:
        with socket.create_connection((listener.address, listener.port), 5) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.read()

    assert origin("GET / HTTP/1.1\r\nHost: 127.0.0.1:8900") == b"http://127.0.0.1:8900"
    assert origin("GET / HTTP/1.0") == f"http://127.0.0.1:{listener.port}".encode()
    absolute = "GET https://api.mch.weixin.qq.com/v3/x HTTP/1.1\r\nHost: 127.0.0.1:8900"
    assert origin(absolute) == b"https://api.mch.weixin.qq.com"


def test_a_redirect_stays_at_the_name_that_was_used(box: Sandbox, merchant: Merchant) -> None:
    box.fault("redirect_302", times=1)
    with secured(plain(box, "https"), box, "api.mch.weixin.qq.com") as connection:
        heard = asked(connection, merchant, "api.mch.weixin.qq.com", query(merchant))
    assert heard.headers["location"] == "https://api.mch.weixin.qq.com/redirected"


# Hosts that are down


def reachable(box: Sandbox, name: str) -> set[str]:
    """The ways in that lead to a host by name."""
    ways = set()
    with contextlib.suppress(OSError), secured(plain(box, "https"), box, name):
        ways.add("tls")
    for via in ("main", "backup"):
        with contextlib.suppress(OSError):
            connection, head = tunnel(box, f"{name}:443", via)
            with connection:
                if head.startswith(b"HTTP/1.1 200"):
                    ways.add(f"tunnel by {via}")
        with contextlib.suppress(OSError), plain(box, via) as connection:
            connection.sendall(f"GET https://{name}/ HTTP/1.1\r\n\r\n".encode())
            if connection.recv(10):
                ways.add(f"absolute by {via}")
    return ways


ALL = {"tls", "tunnel by main", "tunnel by backup", "absolute by main", "absolute by backup"}
MAIN, BACKUP = "api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"


@pytest.mark.parametrize(
    ("host", "main", "backup"),
    [
        ("main", set(), {"tls", "tunnel by backup", "absolute by backup"}),
        ("backup", {"tls", "tunnel by main", "absolute by main"}, set()),
        ("any", set(), set()),
    ],
)
def test_a_host_that_is_down_is_down_by_every_way(
    box: Sandbox, host: str, main: set[str], backup: set[str]
) -> None:
    assert (reachable(box, MAIN), reachable(box, BACKUP)) == (ALL, ALL)
    box.fault("refuse", host=host)
    assert (reachable(box, MAIN), reachable(box, BACKUP)) == (main, backup)
    box.clear_faults()
    assert (reachable(box, MAIN), reachable(box, BACKUP)) == (ALL, ALL)


def test_standing_connections_to_a_host_that_goes_down_break(box: Sandbox, merchant: Merchant) -> None:
    opened = {name: secured(plain(box, "https"), box, name) for name in (MAIN, BACKUP)}
    tunnelled = {name: secured(tunnel(box, f"{name}:443", "backup")[0], box, name) for name in (MAIN, BACKUP)}
    for connections in (opened, tunnelled):
        for name, connection in connections.items():
            assert asked(connection, merchant, name, query(merchant)).status == 404
    box.fault("refuse", host="main")
    for connections in (opened, tunnelled):
        with connections[MAIN] as connection, pytest.raises((OSError, http.client.HTTPException)):
            asked(connection, merchant, MAIN, query(merchant))
        with connections[BACKUP] as connection:
            assert asked(connection, merchant, BACKUP, query(merchant)).status == 404


def test_a_client_that_resets_does_not_hurt(box: Sandbox, merchant: Merchant) -> None:
    for _ in range(5):
        connection = secured(plain(box, "https"), box, "localhost")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert merchant.send("GET", query(merchant)).status == 404


def test_closing_ends_tls_connections(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        connection = secured(plain(box, "https"), box, "localhost")
        idle = plain(box, "https")
    with connection, idle:
        with contextlib.suppress(OSError):
            assert connection.recv(1) == b""
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(1) == b""


def test_closing_ends_connections_on_which_tls_just_begins(credentials: Credentials) -> None:
    for _ in range(5):
        with Sandbox(credentials=credentials) as box:
            begun = [plain(box, "https") for _ in range(40)]
        for connection in begun:
            with connection, contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
