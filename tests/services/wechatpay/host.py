"""A scripted HTTP host on loopback that keeps what it saw, keys and certificates for it, a client of two of them."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from sandbox import journal
from sandbox.crypto import Signer as PlatformSigner
from sandbox.crypto import verifies
from sandbox.records import ApiRequest
from services.wechatpay.client import Client
from services.wechatpay.signer import Signer
from services.wechatpay.transport import Transport

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
API_V3_KEY = b"UNITTEST0123456789abcdefABCDEF01"
FAR = time.monotonic() + 86400  # a deadline that no test reaches
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000072912026112100000000000001"


def vector(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def published_key(name: str) -> RSAPrivateKey:
    """One of the published test keys: ready at once, where making a key takes a while."""
    key = serialization.load_pem_private_key((VECTORS / name).read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


MERCHANT_KEY = published_key("docs_merchant_test_key.pem")
PLATFORM_KEY = published_key("go_test_key.pem")
OTHER_PLATFORM_KEY = published_key("java_merchant_test_key.pem")
PLATFORM: RSAPublicKey = PLATFORM_KEY.public_key()
MERCHANT_SERIAL = "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB"


def certificate(
    key: Any,
    serial: int,
    *,
    starts: datetime | None = None,
    ends: datetime | None = None,
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com sign")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(starts or now - timedelta(days=1))
        .not_valid_after(ends or now + timedelta(days=365))
        .sign(PLATFORM_KEY, hashes.SHA256())
    )


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


def sealed(plaintext: bytes, *, key: bytes = API_V3_KEY, associated_data: str = "certificate") -> dict[str, Any]:
    nonce = "0123456789ab"
    ciphertext = AESGCM(key).encrypt(nonce.encode(), plaintext, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": associated_data,
        "ciphertext": base64.b64encode(ciphertext).decode(),
    }


def certificate_list(*entries: tuple[str, bytes]) -> bytes:
    """The body of /v3/certificates for (stated serial, PEM)."""
    return json.dumps(
        {"data": [{"serial_no": serial, "encrypt_certificate": sealed(text)} for serial, text in entries]}
    ).encode()


@dataclass
class Seen:
    """One request as it came in; `peer` is the port of the connection that brought it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: int
    time: float


@dataclass
class Say:
    """One answer. `raw` writes to the connection itself, which is closed afterwards."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    raw: Callable[[BinaryIO], None] | None = None


def signed(
    status: int = 200,
    body: bytes = b"{}",
    *,
    key: RSAPrivateKey = PLATFORM_KEY,
    serial: str = PUBLIC_KEY_ID,
    **options: Any,
) -> Say:
    """An answer that WeChat Pay signed; it is signed now, so make it within its test."""
    return Say(status, body, PlatformSigner(serial, key).headers(body), **options)


PAIRS = re.compile(r'([a-z_]+)="([^"]*)"')


def authorization_of(seen: Seen) -> dict[str, str]:
    return dict(PAIRS.findall(seen.headers["authorization"]))


def assert_signed(seen: Seen) -> None:
    fields = authorization_of(seen)
    message = f"{seen.method}\n{seen.target}\n{fields['timestamp']}\n{fields['nonce_str']}\n".encode()
    assert verifies(MERCHANT_KEY.public_key(), message + seen.body + b"\n", fields["signature"])
    assert abs(time.time() - int(fields["timestamp"])) < 30


Answering = Callable[[Seen], Say]


class Host:
    """Serves `answers` one by one; the last one, or the only callable, answers everything after it."""

    def __init__(
        self, *answers: Say | Answering, address: tuple[str, int] = ("127.0.0.1", 0), tls: ssl.SSLContext | None = None
    ) -> None:
        self.seen: list[Seen] = []
        self._answers = list(answers) or [Say()]
        self._lock = threading.Lock()
        self._journal = journal.opened()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, body, self.client_address[1], time.monotonic())
                host.note(seen)
                say = host.next(seen)
                time.sleep(say.after)
                if say.raw:
                    self.close_connection = True
                    say.raw(self.wfile)
                    return
                self.send_response_only(say.status)
                for name, value in say.headers.items():
                    self.send_header(name, value)
                if say.status != 204:
                    self.send_header("Content-Length", str(len(say.body)))
                self.end_headers()
                self.wfile.write(say.body)

            do_GET = do_POST = _serve  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(address, Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def note(self, seen: Seen) -> None:
        """For the check of all traffic (tests/openapi): the answers are a test's whim, the requests are not."""
        self._journal(
            ApiRequest(time.time(), "scripted", seen.method, seen.target, seen.headers, seen.body, fault="scripted")
        )

    def next(self, seen: Seen) -> Say:
        with self._lock:
            self.seen.append(seen)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(seen) if callable(answer) else answer

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def client_of(main: str, backup: str, *, timeout: float = 3.0, public_key: RSAPublicKey | None = PLATFORM) -> Client:
    return Client(
        transport=Transport(),
        signer=Signer("1900007291", MERCHANT_SERIAL, MERCHANT_KEY),
        api_v3_key=API_V3_KEY,
        public_key_id=PUBLIC_KEY_ID if public_key else "",
        public_key=public_key,
        hosts=(main, backup),
        timeout=timeout,
        user_agent="pay-common-python/test",
    )


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that is taken and turns every connection away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def deaf(address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[str]:
    """The URL of a port that never completes a connection, as a firewall that drops packets."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(address)
        listening.listen(0)
        for _ in range(4):  # fill the queue of those who wait to be accepted
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
