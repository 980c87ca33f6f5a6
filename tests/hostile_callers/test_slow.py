"""Callers who send slowly, send nothing, or do not read: none of them takes a thread, and the function goes on."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox import Credentials
from tests.hostile_callers.wire import ORDER, PATIENCE, Answer, Shop, Wire, encoded, many, open_shop, raw
from tests.support import MINI_PROGRAM
from utils.server import ARRIVAL

MAY_OPEN = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
IDLE = 10_000 if MAY_OPEN == resource.RLIM_INFINITY else min(10_000, MAY_OPEN - 1000)
# Bytes that the worker may take in all, of the 256 MB of an instance: the arbiter beside it takes some 30.
ROOM = 220_000_000  # bytes; an instance has 256 MB
SLOW = 200  # as many threads as there may ever be, twice
HEAD = raw("POST", "/wechatpay/order", None, {"Content-Length": "1000"})
UNFINISHED = {
    "nothing": b"",
    "one byte": b"P",
    "half a request line": b"POST /wechat",
    "a head without end": b"POST / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n",
    "no body": HEAD,
    "half a body": HEAD + b"x" * 500,
    "all but one byte": HEAD + b"x" * 999,
    "half a chunk": raw("POST", "/", None, {"Transfer-Encoding": "chunked"}) + b"5\r\nabc",
    "no last chunk": raw("POST", "/", None, {"Transfer-Encoding": "chunked"}) + b"3\r\nabc\r\n",
    "no end of trailers": raw("POST", "/", None, {"Transfer-Encoding": "chunked"}) + b"0\r\nX-A: b\r\n",
}


@contextmanager
def dripping(wires: list[Wire], byte: bytes, pause: float) -> Iterator[None]:
    """Each of the connections gets one more byte, again and again."""
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(pause):
            for wire in wires:
                try:
                    wire.socket.send(byte)
                except OSError:  # closed by the function, which it may
                    continue

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(scope="module", autouse=True)
def descriptors_of_our_own() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], IDLE + 1000), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
def test_requests_that_never_end_hold_up_nobody(shop: Shop, sent: bytes) -> None:
    with many(shop, SLOW, sent):
        shop.assert_works()


@dataclass
class Late:
    """What became of callers who took their time; `seconds` until the slow ones were answered."""

    seconds: float
    head: Answer
    body: Answer
    callback: Answer
    unread: Wire


@pytest.fixture(scope="module")
def late(opened: Shop) -> Iterator[Late]:
    head = b"POST /wechatpay/order HTTP/1.1\r\nHost: a\r\nX-Slow: "
    callback = opened.callback()
    # Together with what other tests have left, these would be more than are kept, and some be closed for the others.
    give_up = time.monotonic() + 60
    while len([*Path(f"/proc/{opened.worker()}/fd").iterdir()]) > 60 and time.monotonic() < give_up:
        time.sleep(0.1)
    with (
        opened.connect(receive=4096) as unread,
        opened.connect() as belated,
        many(opened, SLOW, head) as heads,
        many(opened, SLOW, HEAD) as bodies,
    ):
        started = time.monotonic()
        unread.send(raw("GET", "/openapi.json") * 20)
        belated.send(callback[:20])
        with dripping(heads + bodies, b"a", 0.5), ThreadPoolExecutor(3) as pool:
            # Read as it comes: a reset, which what drips on will bring, would take an answer away that nobody has read.
            reading = [pool.submit(wire.answer) for wire in (heads[-1], bodies[-1], belated)]
            opened.assert_works()
            time.sleep(4.5)
            belated.send(callback[20:])
            answers = [answer.result() for answer in reading]
            seconds = time.monotonic() - started
            assert heads[-1].is_over()
            assert bodies[-1].is_over()
        opened.assert_works()
        time.sleep(max(0, 14 - seconds))
        yield Late(seconds, *answers, unread)


def test_a_request_that_drips_is_given_up(late: Late) -> None:
    assert late.seconds >= ARRIVAL - 1
    assert late.head.status == 408
    assert (late.body.status, late.body.json["code"]) == (400, "FAIL")
    assert late.head.field("Connection") == late.body.field("Connection") == ["close"]


def test_a_callback_whose_bytes_take_longer_than_its_budget_is_not_acknowledged(late: Late) -> None:
    """callbackTimeout is 4 s, from the first byte on: WeChat Pay has given up by the time of the last one."""
    assert (late.callback.status, late.callback.json["code"]) == (503, "FAIL")


def test_an_answer_that_is_not_read_is_given_up(late: Late) -> None:
    with pytest.raises(EOFError):
        list(iter(late.unread.answer, None))


def test_a_slow_request_that_arrives_in_time_is_served(shop: Shop) -> None:
    order = shop.order("ORDER_SLOW")
    with shop.connect() as wire:
        for part in (order[:1], order[1:30], order[30:100], order[100:-1], order[-1:]):
            wire.send(part)
            time.sleep(0.2)
        assert wire.answer().status == 200


def test_idle_connections_hold_up_nobody_and_descriptors_do_not_run_out(shop: Shop) -> None:
    with many(shop, IDLE):
        for _ in range(3):
            shop.assert_works()
        assert shop.descriptors() < 1024
    assert shop.house.function.log_lines()[-1]["status"] == 200


def test_the_longest_idle_connection_makes_room(shop: Shop) -> None:
    with many(shop, 600) as wires:
        shop.assert_works()
        assert wires[0].is_over()
        assert wires[-1].send(raw("GET", "/healthz")).answer().status == 200


def test_a_connection_in_use_outlives_a_storm_of_idle_ones(shop: Shop) -> None:
    with shop.connect() as used:
        for _ in range(10):
            with many(shop, 200):
                assert used.send(raw("GET", "/healthz")).answer().status == 200


def test_answers_that_nobody_reads_hold_up_nobody(shop: Shop) -> None:
    """Many requests on each connection, whose answers fill all buffers on the way, and then the function's memory."""
    with many(shop, SLOW, raw("GET", "/openapi.json") * 20, receive=4096):
        assert shop.ask(raw("GET", "/healthz")).status == 200  # behind what is being worked on
        for _ in range(3):
            shop.assert_works()
            assert shop.memory() < ROOM
    shop.assert_works()


def test_a_large_answer_is_read_slowly_as_a_whole(shop: Shop) -> None:
    whole = shop.ask(raw("GET", "/openapi.json")).body
    with shop.connect(receive=4096) as wire:
        wire.send(raw("GET", "/openapi.json"))
        time.sleep(1)
        assert wire.answer().body == whole


def test_callers_that_do_not_hang_up_hold_up_nobody(shop: Shop) -> None:
    with many(shop, SLOW, raw("GET", "/healthz", None, {"Connection": "close"})) as wires:
        assert [wire.answer().status for wire in wires] == [200] * SLOW
        shop.assert_works()


def test_callers_that_hang_up_are_forgotten(shop: Shop) -> None:
    shop.assert_works()
    before = shop.descriptors()
    for sent in UNFINISHED.values():
        with many(shop, 50, sent):
            pass
    with many(shop, 50, raw("GET", "/healthz")):
        pass
    deadline = time.monotonic() + PATIENCE
    while shop.descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert shop.descriptors() <= before
    shop.assert_works()


FORWARD = raw("POST", "/wechatpay/order", b'{"rawData":"' + b"x" * 3_990_000 + b'"}')


@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "one byte short"])
def test_large_bodies_together_do_not_fill_the_memory(shop: Shop, is_whole: bool) -> None:
    """An instance has 256 MB: 60 bodies of 4 MB would fill it by themselves."""
    peak = 0

    def send(wire: Wire) -> None:
        with suppress(OSError, EOFError):  # refused on its way
            wire.send(FORWARD if is_whole else FORWARD[:-1])
            if is_whole:
                wire.answer()

    with many(shop, 60) as wires:
        senders = [threading.Thread(target=send, args=[wire]) for wire in wires]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            peak = max(peak, shop.memory())
            time.sleep(0.01)
        shop.assert_works()
    assert peak < ROOM


def test_large_bodies_that_wait_for_wechat_pay_do_not_fill_the_memory(shop: Shop) -> None:
    """One after another, so that each is in a thread before the next comes, and stays there."""
    shop.house.box.fault("latency", seconds=4, path="/v3/pay/transactions/jsapi")
    with many(shop, 60) as wires:
        for number, wire in enumerate(wires):
            body = {**ORDER, "out_trade_no": f"ORDER_{number:04d}", "padding": "\u8336" * 490_000}
            with suppress(OSError):  # refused on its way
                wire.send(raw("POST", "/wx-pay/wxpay_order", encoded(body), MINI_PROGRAM))
            time.sleep(0.03)
        assert shop.memory() < ROOM
        acknowledged = shop.ask(shop.callback())
        assert acknowledged.status == 200


def test_a_stop_ends_idle_and_finishes_running_requests(tmp_path: Path, credentials: Credentials) -> None:
    with open_shop(tmp_path, credentials) as shop:
        order = shop.order("ORDER_LATE")
        with shop.connect() as idle, shop.connect() as kept, shop.connect() as late:
            assert kept.send(raw("GET", "/healthz")).answer().status == 200
            late.send(order[:-1])
            shop.assert_works()
            os.kill(shop.house.function.pid, signal.SIGTERM)
            assert idle.is_over()
            assert kept.is_over()
            answer = late.send(order[-1:]).answer()
            assert (answer.status, answer.field("Connection")) == (200, ["close"])
            assert late.is_over()


def test_descriptors_that_run_out_do_not_end_the_worker(tmp_path: Path, credentials: Credentials) -> None:
    with open_shop(tmp_path, credentials) as shop:
        shop.assert_works()
        worker = shop.worker()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (shop.descriptors() + 20, 1024))
        with many(shop, 100):
            assert shop.ask(raw("GET", "/healthz")).status == 200
        shop.assert_works()
        assert shop.worker() == worker
