"""However small the pieces are in which a request comes in, each costs the server's loop the same.

Growth is compared, not time: what comes after many others must cost about as much as what comes first.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from utils.connection import Connection

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FEW, MANY = 4_000, 32_000
STEEP = 5  # times what a byte of a chunk costs

CHUNK = POST + b"f4240\r\n", b"a"
# What is there at first, and what comes after it, byte by byte and without an end.
ENDLESS = {
    "a field": (b"GET / HTTP/1.1\r\n", b"a"),
    "fields": (b"GET / HTTP/1.1\r\n", b"a:\r\n"),
    "a line of nothing but CR": (b"GET / HTTP/1.1\r\n", b"\r"),
    "a chunk's size": (POST, b"0"),
    "a chunk's extension": (POST + b"5;a=", b"b"),
    "CR in the place of a chunk's size": (POST, b"\r"),
    "trailers": (POST + b"0\r\n", b"a:\r\n"),
    "a chunk": CHUNK,
    "small chunks": (POST, b"1\r\na\r\n"),
    "a chunk under a long size": (POST + b"0" * 60_000 + b"f4240\r\n", b"a"),
    "trailers under a long size": (POST + b"0" * 30_000 + b"\r\n", b"a:\r\n"),
}


def seconds(start: bytes, part: bytes, times: int) -> float:
    """Of processor time for the last `FEW` of so many segments of one byte each."""

    def incoming() -> Iterator[bytes]:
        yield start
        for text in repeat(part):
            for byte in text:
                yield bytes([byte])

    pieces = incoming()
    caller: Any = SimpleNamespace(recv=lambda _most: next(pieces))
    connection = Connection(Config(), caller, ("127.0.0.1", 1), ("127.0.0.1", 2))
    began = 0.0
    for count in range(times + 1):
        if count == times - FEW + 1:
            began = time.thread_time()
        assert connection.receive(1)
        assert not connection.is_whole()
    return time.thread_time() - began


@pytest.mark.parametrize(("start", "part"), ENDLESS.values(), ids=ENDLESS)
def test_a_byte_costs_the_same_however_many_came_before(start: bytes, part: bytes) -> None:
    plain = min(seconds(*CHUNK, FEW) for _ in range(3))
    late = min(seconds(start, part, MANY) for _ in range(3))
    assert late < STEEP * plain


def test_a_chunked_body_is_kept_once() -> None:
    size = 3_000_000
    pieces = iter([POST + b"%x\r\n" % size, b"a" * size, b"\r\n0\r\n\r\n"])
    caller: Any = SimpleNamespace(recv=lambda _most: next(pieces))
    connection = Connection(Config(), caller, ("127.0.0.1", 1), ("127.0.0.1", 2))
    tracemalloc.start()
    try:
        while connection.receive(1) and not connection.is_whole():
            pass
        connection.decode()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert connection.request.body.getvalue() == b"a" * size
    assert kept < 1.5 * size
