"""Answers without end or measure: told in time, and the function's memory stays what it was.

What is measured is the worker's peak (VmHWM), which begins anew with each test.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from routes.admission import PLACES
from sandbox import Credentials
from services.wechatpay.transport import MAX_BODY
from services.wechatpay.wire import MAX_HEAD
from tests.hostile_network.attacks import FLOODS, MEGABYTE, OK, bomb, closing, endlessly, framed, instead, once
from tests.hostile_network.scene import Scene, assert_failed, scene
from tests.hostile_network.wire import Act, Exchange
from tests.support import ROOT

ONE, ALL = 30, 160  # MB that one such answer may take, and 64 of them at once
INSTANCE = json.loads((ROOT / "cloudbaserc.json").read_text())["functions"][0]["memorySize"]  # MB
THREADS = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["threads"]


@pytest.fixture(scope="module")
def running(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("floods"), credentials) as made:
        made.order("WARMUP0001")
        made.query("WARMUP0001")
        yield made
        made.assert_no_secret_in_the_log()
        assert max(map(len, made.function.log_text().splitlines())) < 20_000


@pytest.fixture
def shop(running: Scene) -> Iterator[Scene]:
    yield running
    running.main.act = running.backup.act = lambda x: x.send(x.truth())


class Memory:
    """Of one process, in MB: `now` when it was made, `peak` since."""

    def __init__(self, process: int) -> None:
        self._folder = Path(f"/proc/{process}")
        (self._folder / "clear_refs").write_text("5")
        self.now = self._read("VmRSS")

    @property
    def peak(self) -> float:
        return self._read("VmHWM")

    def _read(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def both(shop: Scene, act: Act) -> None:
    shop.main.act = shop.backup.act = act


numbers = (f"FLOOD{turn:05d}" for turn in range(100_000))


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_in_time_and_takes_no_memory(shop: Scene, name: str) -> None:
    both(shop, FLOODS[name].act)
    memory = Memory(shop.worker)
    reply = shop.order(next(numbers))
    assert_failed(reply, FLOODS[name].statuses)
    assert memory.peak - memory.now < ONE
    shop.assert_all_in_time()


@pytest.mark.parametrize("claim", [b"gzip", b"deflate", b"br", b"gzip, gzip", b"identity"])
def test_a_bomb_is_not_unpacked(shop: Scene, claim: bytes) -> None:
    """A gigabyte, in less than the megabyte that an answer may have, and signed as it stands."""
    packed = bomb()
    head = framed(OK + b"\r\n", b"Content-Encoding: " + claim, b"Content-Length: %d" % len(packed), body=b"")
    both(shop, instead(head, packed))
    memory = Memory(shop.worker)
    assert_failed(shop.order(next(numbers)), frozenset({502}))
    assert memory.peak - memory.now < ONE


def test_a_signed_bomb_is_not_unpacked_either(shop: Scene) -> None:
    packed = bomb()

    def act(x: Exchange) -> None:
        x.read_body()
        signed = shop.box.keys.answering("").headers(packed)
        lines = [f"{name}: {value}".encode() for name, value in signed.items()]
        x.send(
            framed(OK + b"\r\n", b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed), *lines, body=packed)
        )

    both(shop, act)
    memory = Memory(shop.worker)
    reply = shop.order(next(numbers))
    assert_failed(reply, frozenset({502}))
    assert "is not a JSON object" in reply.body["msg"]
    assert memory.peak - memory.now < ONE


def test_a_gigabyte_as_it_is(shop: Scene) -> None:
    both(shop, closing(OK, b"Content-Length: 1073741824\r\n\r\n", *[MEGABYTE] * 8))
    memory = Memory(shop.worker)
    reply = shop.order(next(numbers))
    assert_failed(reply, frozenset({502}))
    assert "exceeds" in reply.body["msg"]
    assert memory.peak - memory.now < ONE


VALUES = b"[" + b'{"a":[1,2,3]},' * 70_000
LARGE = {
    "bodies": once(OK, b"Content-Length: 1073741824\r\n\r\n", MEGABYTE[:1_000_000]),
    "bodies without end": endlessly(OK + b"\r\n", MEGABYTE),
    "values": closing(b"HTTP/1.1 500 No\r\n\r\n", VALUES[:1_000_000]),
    "headers": once(OK, *(b"X: %b\r\n" % (b"x" * 600) for _ in range(90))),
}


def test_the_largest_answers_to_all_threads_take_less_than_half_of_the_instance() -> None:
    assert THREADS * (MAX_BODY + MAX_HEAD) < INSTANCE * 1024 * 1024 / 2


@pytest.mark.parametrize("name", LARGE)
def test_as_many_at_once_as_there_are_places_fit_the_instance(shop: Scene, name: str) -> None:
    both(shop, LARGE[name])
    memory = Memory(shop.worker)
    with ThreadPoolExecutor(PLACES) as pool:
        replies = list(pool.map(shop.order, [next(numbers) for _ in range(PLACES)]))
    for reply in replies:
        assert reply.status in (502, 504)
        assert reply.body["outcome"] == "unknown"
    assert memory.peak - memory.now < ALL
    assert memory.peak < INSTANCE
    print(f"{name}: {memory.now:.0f} MB before, {memory.peak:.0f} MB at most")
