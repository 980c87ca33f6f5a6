"""What a host can do to a request that it was sent: one function each."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tests.hostile_network.wire import Act, Exchange

OK = b"HTTP/1.1 200 OK\r\n"
MEGABYTE = b"x" * 1024 * 1024
BROKEN, LATE = frozenset({502}), frozenset({504})


@dataclass(frozen=True)
class Attack:
    """`statuses` are what callers get when both hosts do it; {200}: it does no harm, and the answer is believed."""

    act: Act
    statuses: frozenset[int]

    @property
    def harmless(self) -> bool:
        return self.statuses == {200}


def split(answer: bytes) -> tuple[bytes, bytes]:
    """Head, without the empty line, and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def framed(answer: bytes, *lines: bytes, body: bytes | None = None) -> bytes:
    """The answer with `lines` in place of its Content-Length, and with another body."""
    head, own = split(answer)
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*kept, *lines, b"", own if body is None else body])


def chunked(body: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    half = len(body) // 2
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part) + last


# Slow: a byte each tenth of a second


def slow_status_line(x: Exchange) -> None:
    x.drip(x.truth())


def slow_headers(x: Exchange) -> None:
    line, _, rest = x.truth().partition(b"\r\n")
    x.send(line + b"\r\n")
    x.drip(rest)


def slow_body(x: Exchange) -> None:
    head, body = split(x.truth())
    x.send(head + b"\r\n\r\n")
    x.drip(body)


def slow_chunks(x: Exchange) -> None:
    answer = x.truth()
    x.send(framed(answer, b"Transfer-Encoding: chunked", body=b""))
    for value in split(answer)[1]:
        x.send(b"1\r\n%c\r\n" % value)
        x.wait(0.1)


def slow_trailers(x: Exchange) -> None:
    answer = x.truth()
    x.send(framed(answer, b"Transfer-Encoding: chunked", body=chunked(split(answer)[1], b"0\r\n")))
    x.endlessly(b"X-Trailer: x\r\n", 0.1)


def silence_before(x: Exchange) -> None:
    x.read_body()
    x.stay()


def silence_after_it_was_done(x: Exchange) -> None:
    x.truth()
    x.stay()


def silence_in_the_body(x: Exchange) -> None:
    x.send(x.truth()[:-1])
    x.stay()


def endlessly(first: bytes, again: bytes, pause: float = 0.0) -> Act:
    def act(x: Exchange) -> None:
        x.read_body()
        x.send(first)
        x.endlessly(again, pause)

    return act


def instead(*data: bytes) -> Act:
    """Sends this as the answer."""

    def act(x: Exchange) -> None:
        x.read_body()
        x.send(*data)

    return act


def once(*data: bytes) -> Act:
    """Sends this, which is no whole answer, and then says nothing more."""

    def act(x: Exchange) -> None:
        x.read_body()
        x.send(*data)
        x.stay()

    return act


def closing(*data: bytes) -> Act:
    def act(x: Exchange) -> None:
        x.read_body()
        x.send(*data)
        x.close()

    return act


def before_it(*data: bytes) -> Act:
    """Sends this, and the true answer after it."""

    def act(x: Exchange) -> None:
        answer = x.truth()
        x.send(*data)
        x.send(answer)

    return act


def reframed(*lines: bytes, close: bool = False) -> Act:
    """The true answer with other framing lines; {length} is the body's length."""

    def act(x: Exchange) -> None:
        answer = x.truth()
        length = b"%d" % len(split(answer)[1])
        x.send(framed(answer, *(line.replace(b"{length}", length) for line in lines)))
        if close:
            x.close()

    return act


def rechunked(write: Callable[[bytes], bytes], *lines: bytes, close: bool = False) -> Act:
    """The true answer in chunks as `write(body)` writes them."""

    def act(x: Exchange) -> None:
        answer = x.truth()
        x.send(framed(answer, b"Transfer-Encoding: chunked", *lines, body=write(split(answer)[1])))
        if close:
            x.close()

    return act


def cut(share: float, *, reset: bool) -> Act:
    """The true answer up to `share` of its bytes, then the end."""

    def act(x: Exchange) -> None:
        answer = x.truth()
        x.send(answer[: int(len(answer) * share)])
        x.wait(0.05)
        if reset:
            x.reset()
        x.close()

    return act


def gone_after_headers(*, reset: bool) -> Act:
    def act(x: Exchange) -> None:
        x.send(split(x.truth())[0] + b"\r\n\r\n")
        if reset:
            x.reset()
        x.close()

    return act


def gone_before_the_body_was_read(x: Exchange) -> None:
    x.reset()


def answered_before_the_body_was_read(x: Exchange) -> None:
    x.send(OK + b"Content-Length: 2\r\n\r\n{}")
    x.stay()


def redirect(status: int, where: str) -> Act:
    """To `where`, or with "" to this very host and path; beside it the true answer with its signature."""

    def act(x: Exchange) -> None:
        answer = x.truth()
        location = where or f"https://{x.heard.headers['host']}{x.heard.target}"
        _, _, rest = answer.partition(b"\r\n")
        x.send(b"HTTP/1.1 %d Moved\r\nLocation: %b\r\n" % (status, location.encode()), rest)

    return act


def encoded(claim: bytes, pack: Callable[[bytes], bytes]) -> Act:
    """The true answer's body packed, and said to be."""

    def act(x: Exchange) -> None:
        answer = x.truth()
        body = pack(split(answer)[1])
        x.send(framed(answer, b"Content-Encoding: " + claim, b"Content-Length: %d" % len(body), body=body))

    return act


@cache
def bomb() -> bytes:
    """A gigabyte of zeros in less than a megabyte of gzip: a block that stands for itself, 1000 times."""
    zeros, packing = bytes(1 << 20), zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packing.compress(zeros) + packing.flush(zlib.Z_FULL_FLUSH)
    total = 0
    for _ in range(1000):
        total = zlib.crc32(zeros, total)
    return gzip.compress(b"")[:10] + block * 1000 + b"\x03\x00" + struct.pack("<II", total, 1000 << 20)


def echo(x: Exchange) -> None:
    """Says back whatever it was told, wherever a client might quote it."""
    told = x.heard.headers["authorization"].encode()
    x.read_body()
    x.send(b"HTTP/1.1 500 " + told + b"\r\nRequest-ID: " + told + b"\r\n" + told + b"\r\n\r\n")
    x.close()


def echo_as_status_line(x: Exchange) -> None:
    x.read_body()
    x.send(x.heard.headers["authorization"].encode() + b"\r\n\r\n")
    x.close()


HEADER = b"X-Header: " + b"x" * 50 + b"\r\n"
FRAMES = b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\0\xff\xff\0\5\0\0\x40\0"  # HTTP/2's SETTINGS
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

SLOW = {
    "slow status line": Attack(slow_status_line, LATE),
    "slow headers": Attack(slow_headers, LATE),
    "slow body": Attack(slow_body, LATE),
    "slow chunks": Attack(slow_chunks, LATE),
    "slow trailers": Attack(slow_trailers, LATE),
    "slow endless headers": Attack(endlessly(OK, b"X: x\r\n", 0.1), LATE),
    "slow endless body without a length": Attack(endlessly(OK + b"\r\n", b"x", 0.1), LATE),
    "slow endless 100": Attack(endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1), LATE),
    "slow endless 103": Attack(endlessly(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.1), LATE),
    "slow chunk extension": Attack(endlessly(CHUNKED + b"1;", b"x", 0.1), LATE),
    "silence before it is done": Attack(silence_before, LATE),
    "silence after it was done": Attack(silence_after_it_was_done, LATE),
    "silence in the body": Attack(silence_in_the_body, LATE),
    "a length too large": Attack(reframed(b"Content-Length: 9{length}"), LATE),
    "no last chunk": Attack(rechunked(lambda body: chunked(body, b"")), LATE),
    "a huge chunk that does not come": Attack(once(CHUNKED, b"ffffffffffffffff\r\nx"), LATE),
}

BREAKS = {
    "closed at once": Attack(closing(), BROKEN),
    "closed in the status line": Attack(closing(b"HTTP/1.1 2"), BROKEN),
    "closed in the headers": Attack(cut(0.3, reset=False), BROKEN),
    "closed after the headers": Attack(gone_after_headers(reset=False), BROKEN),
    "closed in the body": Attack(cut(0.99, reset=False), BROKEN),
    "closed in a chunk": Attack(closing(CHUNKED, b"5\r\nab"), BROKEN),
    "reset in the headers": Attack(cut(0.3, reset=True), BROKEN),
    "reset after the headers": Attack(gone_after_headers(reset=True), BROKEN),
    "reset in the body": Attack(cut(0.99, reset=True), BROKEN),
}

# What has to be done before a request can be told from another.
EARLY = {
    "reset before the body was read": Attack(gone_before_the_body_was_read, BROKEN),
    "answered before the body was read": Attack(answered_before_the_body_was_read, BROKEN),
}

FRAMING = {
    "a length too small": Attack(reframed(b"Content-Length: 5"), BROKEN),
    "two lengths that differ": Attack(reframed(b"Content-Length: {length}", b"Content-Length: 5"), BROKEN),
    "two lengths that differ, the false one first": Attack(
        reframed(b"Content-Length: 5", b"Content-Length: {length}"), BROKEN
    ),
    "the length twice": Attack(reframed(b"Content-Length: {length}", b"Content-Length: {length}"), frozenset({200})),
    "a negative length": Attack(reframed(b"Content-Length: -1", close=True), frozenset({200})),
    "a length in words": Attack(reframed(b"Content-Length: many", close=True), BROKEN | {200}),
    "a length beside chunks": Attack(
        rechunked(chunked, b"Content-Length: 5"),
        frozenset({200}),  # chunks count (RFC 9112, 6.3)
    ),
    "chunks and something": Attack(rechunked(chunked, b"Transfer-Encoding: gzip"), frozenset({200})),
    "a chunk size that is none": Attack(rechunked(lambda body: b"zz\r\n" + body), BROKEN),
    "an empty chunk size": Attack(rechunked(lambda body: b"\r\n" + body), BROKEN),
    "a negative chunk size": Attack(rechunked(lambda body: b"-5\r\n" + body + b"\r\n0\r\n\r\n", close=True), BROKEN),
    "chunks larger than they say": Attack(rechunked(lambda body: b"3\r\n" + body + b"\r\n0\r\n\r\n"), BROKEN),
    "a chunk extension of a megabyte": Attack(once(CHUNKED, b"1;", MEGABYTE), BROKEN),
}

GARBAGE = {
    "noise": Attack(closing(bytes(range(256)) * 8), BROKEN),
    "zeros": Attack(closing(bytes(4096)), BROKEN),
    "an empty line": Attack(closing(b"\r\n\r\n"), BROKEN),
    "HTTP/0.9": Attack(closing(b'{"prepay_id":"wx1"}'), BROKEN),
    "HTTP/2": Attack(closing(PREFACE, FRAMES), BROKEN),
    "frames of HTTP/2": Attack(closing(FRAMES), BROKEN),
    "a status line of HTTP/2": Attack(closing(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"), BROKEN),
    "SSH": Attack(closing(b"SSH-2.0-OpenSSH_9.0\r\n"), BROKEN),
    "status 99": Attack(closing(b"HTTP/1.1 99 ?\r\nContent-Length: 0\r\n\r\n"), BROKEN),
    "status 1000": Attack(closing(b"HTTP/1.1 1000 ?\r\nContent-Length: 0\r\n\r\n"), BROKEN),
    "a status in words": Attack(closing(b"HTTP/1.1 fine OK\r\nContent-Length: 0\r\n\r\n"), BROKEN),
    "101": Attack(once(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"), BROKEN),
    "101 and a true answer": Attack(
        before_it(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), BROKEN
    ),
    "100 first": Attack(before_it(b"HTTP/1.1 100 Continue\r\n\r\n"), frozenset({200})),
    "102 first": Attack(before_it(b"HTTP/1.1 102 Processing\r\n\r\n" * 3), frozenset({200})),
    "103 first": Attack(before_it(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), frozenset({200})),
    "a colon forgotten": Attack(closing(OK, b"no colon\r\n" * 50, b"Content-Length: 2\r\n\r\n{}"), BROKEN),
    "what it was told": Attack(echo, BROKEN),
    "what it was told, as a status line": Attack(echo_as_status_line, BROKEN),
}

REDIRECTS = {
    "301 to itself": Attack(redirect(301, ""), BROKEN),
    "302 elsewhere": Attack(redirect(302, "https://127.0.0.1:1/"), BROKEN),
    "303 to itself": Attack(redirect(303, ""), BROKEN),
    "307 to itself": Attack(redirect(307, ""), BROKEN),
    "308 to itself": Attack(redirect(308, ""), BROKEN),
}

ENCODINGS = {
    "gzip": Attack(encoded(b"gzip", gzip.compress), BROKEN),
    "deflate": Attack(encoded(b"deflate", zlib.compress), BROKEN),
    "gzip thrice": Attack(encoded(b"gzip, gzip, gzip", lambda body: gzip.compress(gzip.compress(body))), BROKEN),
    "br that is none": Attack(encoded(b"br", lambda body: body), frozenset({200})),
    "gzip that is none": Attack(encoded(b"gzip", lambda body: body), frozenset({200})),
}

# As fast as they can: one at a time, or the machine that the test runs on is what is measured.
FLOODS = {
    "10,000 headers": Attack(once(OK, b"".join(b"X-%d: x\r\n" % at for at in range(10_000)), b"\r\n"), BROKEN),
    "a header of a megabyte": Attack(once(OK, b"X: ", MEGABYTE, b"\r\n\r\n"), BROKEN),
    "99 headers of 60 KB": Attack(once(OK, *(b"X: %b\r\n" % (b"x" * 60_000) for _ in range(99)), b"\r\n"), BROKEN),
    "cookies that are slow to read": Attack(
        once(OK, b"Set-Cookie: a=b\r\n", *(b"Set-Cookie2: %b\r\n" % (b"a=b;" * 15_000) for _ in range(90)), b"\r\n"),
        BROKEN,
    ),
    "endless headers": Attack(endlessly(OK, HEADER * 100), BROKEN),
    "one endless header": Attack(endlessly(OK + b"X: ", b"x" * 16_000), BROKEN),
    "an endless status line": Attack(endlessly(b"HTTP/1.1 200 ", b"x" * 16_000), BROKEN),
    "endless 100": Attack(endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500), BROKEN),
    "endless 103": Attack(endlessly(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 300), BROKEN),
    "endless body with a length": Attack(endlessly(OK + b"Content-Length: 1073741824\r\n\r\n", MEGABYTE), BROKEN),
    "endless body without a length": Attack(endlessly(OK + b"\r\n", MEGABYTE), BROKEN),
    "endless chunks": Attack(endlessly(CHUNKED, b"100000\r\n" + MEGABYTE + b"\r\n"), BROKEN),
    "endless chunk extensions": Attack(endlessly(CHUNKED, b"1;" + b"x" * 60_000 + b"\r\nx\r\n"), LATE),
    "endless trailers": Attack(endlessly(CHUNKED + b"1\r\nx\r\n0\r\n", HEADER * 100), BROKEN),
}

SPOKEN = {**SLOW, **BREAKS, **FRAMING, **GARBAGE, **REDIRECTS, **ENCODINGS}
