"""The function as a stranger meets it: bytes over a socket, none of them mended on their way."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Credentials
from tests.http.callback_shop import sample
from tests.http.house import House, house
from tests.support import MINI_PROGRAM

PATIENCE = 30.0  # a busy machine; nothing is proved by it
GIVEN_UP = 5.0  # seconds after which WeChat Pay counts a callback as failed; callbackTimeout is 4
ORDER = {"description": "tea", "out_trade_no": "ORDER_0001", "amount": {"total": 1, "currency": "CNY"}}

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection, and the answers that come on it."""

    def __init__(self, address: tuple[str, int], *, receive: int = 0) -> None:
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._read = b""

    def send(self, raw: bytes) -> Wire:
        self.socket.sendall(raw)
        return self

    def answer(self, *, to: str = "POST") -> Answer:
        """The next answer; EOFError where the connection ends before it, also by a reset."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        version, status, _ = status_line.split(" ", 2)
        assert version.startswith("HTTP/1.")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        answer = Answer(int(status), headers, b"")
        length = answer.field("Content-Length")
        if to == "HEAD" or answer.status in (100, 204, 304):
            return answer
        assert len(length) == 1, head
        return Answer(answer.status, headers, self._exactly(int(length[0])))

    def is_over(self) -> bool:
        """Whether the other side ends the connection, and says nothing more before."""
        return not self._read and not self._more()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            if not self._more():
                raise EOFError(self._read)
        return self._exactly(self._read.index(end) + len(end))

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            if not self._more():
                raise EOFError(self._read)
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._read += data
        return bool(data)


def raw(
    method: str = "POST",
    target: str = "/",
    body: bytes | None = None,
    headers: Headers = (),
    *,
    host: str | None = "shop.example",
    version: str = "HTTP/1.1",
) -> bytes:
    """A request, with Host and Content-Length where nothing else is asked for."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    lines += [f"{name}: {value}" for name, value in pairs]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@dataclass
class Shop:
    """The function under gunicorn, and its sandbox, for those who bring their own bytes."""

    house: House
    address: tuple[str, int]

    def connect(self, **options: int) -> Wire:
        return Wire(self.address, **options)

    def ask(self, request: bytes, *, to: str = "POST") -> Answer:
        """The one answer to these bytes on a connection of their own."""
        with self.connect() as wire:
            return wire.send(request).answer(to=to)

    def post(self, target: str, body: Any = None, headers: Headers = ()) -> Answer:
        content = body if isinstance(body, bytes) else encoded(body if body is not None else {})
        return self.ask(raw("POST", target, content, headers))

    def callback(self, content_type: str | None = "application/json") -> bytes:
        """A genuine callback of a payment, each time with an id of its own."""
        builder = self.house.box.builder
        body = encoded(builder.envelope("order", sample("order", self.house.box.credentials)))
        headers = {name: value for name, value in builder.signed(body).items() if name != "Content-Type"}
        return raw("POST", "/wechatpay/order", body, headers | ({"Content-Type": content_type} if content_type else {}))

    def order(self, number: str) -> bytes:
        return raw("POST", "/wx-pay/wxpay_order", encoded(ORDER | {"out_trade_no": number}), MINI_PROGRAM)

    def assert_works(self) -> None:
        """An order is placed and a callback acknowledged, the callback in the time that WeChat Pay gives it."""
        started = time.monotonic()
        acknowledged = self.ask(self.callback())
        seconds = time.monotonic() - started
        assert (acknowledged.status, acknowledged.json["code"]) == (200, "SUCCESS"), acknowledged
        assert seconds < GIVEN_UP
        placed = self.ask(self.order(f"ORDER_{time.monotonic_ns()}"))
        assert (placed.status, placed.json["code"]) == (200, 0), placed

    def worker(self) -> int:
        """The process that serves."""
        children = Path(f"/proc/{self.house.function.pid}/task/{self.house.function.pid}/children")
        (worker,) = map(int, children.read_text().split())
        return worker

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.worker()}/fd").iterdir()))

    def memory(self) -> int:
        """Bytes that the worker holds now."""
        pages = Path(f"/proc/{self.worker()}/statm").read_text().split()[1]
        return int(pages) * 4096


@contextmanager
def open_shop(folder: Path, credentials: Credentials, **variables: str) -> Iterator[Shop]:
    with house(folder, credentials, "sdk", **variables) as running:
        host, _, port = running.function.url.removeprefix("http://").partition(":")
        yield Shop(running, (host, int(port)))


@contextmanager
def many(shop: Shop, number: int, first: bytes = b"", **options: int) -> Iterator[list[Wire]]:
    """So many connections, each with these bytes sent."""
    with ExitStack() as stack:
        wires = [stack.enter_context(shop.connect(**options)) for _ in range(number)]
        for wire in wires:
            if first:
                wire.send(first)
        yield wires


