"""Server-sent events: whoever listens is told what the GET endpoints would say."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.events import WAITING, Events
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, call

PATIENCE = 5.0


class Stream:
    """A listener on a raw socket. `small` makes the buffers of its side as small as they get."""

    def __init__(self, box: Sandbox, *, small: bool = False) -> None:
        host, port = box.url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))
        self.socket.sendall(f"GET /sandbox/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")

    def head(self) -> tuple[str, dict[str, str]]:
        status = self.file.readline().decode().rstrip()
        lines = iter(lambda: self.file.readline().decode().rstrip(), "")
        return status, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def next(self) -> tuple[str, Any]:
        """The next event; raises EOFError at the end of the stream."""
        lines = []
        while (line := self.file.readline()) not in (b"\n", b""):
            lines.append(line.decode().rstrip("\n"))
        if not lines:
            raise EOFError
        if lines == [": still here"]:
            return self.next()
        name, data = lines
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    def until(self, name: str, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """The content of the next event of this name that fits."""
        while True:
            told, content = self.next()
            if told == name and fits(content):
                return content

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def listen(box) -> Iterator[Callable[..., Stream]]:
    """Start listening; everything up to the first event has been read already."""
    streams: list[Stream] = []

    def start(**options: Any) -> Stream:
        streams.append(Stream(box, **options))
        streams[-1].head()
        name, _ = streams[-1].next()
        assert name == "state"
        return streams[-1]

    yield start
    for stream in streams:
        stream.close()


def get(box: Sandbox, path: str) -> Any:
    return call(box.url, "GET", f"/sandbox/{path}").json


def post(box: Sandbox, path: str, **body: Any) -> Any:
    answer = call(box.url, "POST", f"/sandbox/{path}", json.dumps(body).encode())
    assert answer.status == 200, answer.body
    return answer.json


def within(seconds: float, fits: Callable[[], bool]) -> bool:
    ends = time.monotonic() + seconds
    while not fits():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


# What is told


def test_the_first_event_is_the_state(merchant, box):
    merchant.paid()
    stream = Stream(box)
    status, headers = stream.head()
    assert status == "HTTP/1.1 200 OK"
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    name, told = stream.next()
    shown = get(box, "state")
    assert (name, told | {"now": ""}) == ("state", shown | {"now": ""})
    assert told["orders"] == 1
    stream.close()


def test_an_order_whenever_something_happens_to_it(merchant, box, listen):
    stream = listen()
    merchant.send("POST", PREPAY, merchant.order())
    assert stream.until("order") == get(box, "orders")[0]
    post(box, "orders/ORDER_000001/fail", reason="余额不足")
    told = stream.until("order")
    assert told == get(box, "orders")[0]
    assert (told["trade_state"], told["life"][-1]["note"]) == ("NOTPAY", "payment failed: 余额不足")
    post(box, "phone/open", prepay_id=told["credential"]["value"])
    assert stream.until("order")["life"][-1]["note"] == "opened on the phone"
    post(box, "orders/ORDER_000001/pay")
    told = stream.until("order")
    assert told == get(box, "orders")[0]
    assert told["trade_state"] == "SUCCESS"


def test_a_refund_and_then_its_order(merchant, box, listen):
    merchant.paid()
    stream = listen()
    merchant.send("POST", REFUNDS, merchant.refund())
    assert stream.next() == ("refund", get(box, "refunds")[0])
    assert stream.next() == ("order", get(box, "orders")[0])
    box.advance("6m")
    told = stream.until("refund")
    assert told == get(box, "refunds")[0]
    assert told["status"] == "SUCCESS"


def test_every_state_of_a_transfer(merchant, box, listen):
    stream = listen()
    merchant.send("POST", BILLS, merchant.transfer())
    assert stream.until("transfer") == get(box, "transfers")[0]
    post(box, "transfers/BILL1/finish", state="SUCCESS")
    assert [stream.until("transfer")["state"] for _ in range(2)] == ["TRANSFERING", "SUCCESS"]


def test_a_request_once_it_is_answered(merchant, box, listen):
    stream = listen()
    merchant.send("POST", PREPAY, merchant.order())
    told = stream.until("request")
    assert told == get(box, "requests")[0]
    assert (told["status"], told["target"]) == (200, PREPAY)
    merchant.send("POST", PREPAY, b"{}", headers={"Authorization": None})
    told = stream.until("request")
    assert told == get(box, "requests?since=1")[0]
    assert told["status"] == 401


def test_a_delivery_and_each_repetition(merchant, box, function, listen):
    merchant.send("POST", PREPAY, merchant.order())
    stream = listen()
    function.answers = [(500, b"")]
    post(box, "orders/ORDER_000001/pay")
    told = stream.until("delivery")
    assert told == get(box, "deliveries")[0]
    assert (told["status"], told["acknowledged"]) == (500, False)
    post(box, "clock", advance="15s")
    told = stream.until("delivery")
    assert told == get(box, "deliveries?since=1")[0]
    assert (told["attempt"], told["acknowledged"]) == (2, True)


def test_faults_when_one_is_added_counts_down_or_goes(merchant, box, listen):
    stream = listen()
    post(box, "faults", kind="error", code="SYSTEM_ERROR", times=2)
    told = stream.until("faults")
    assert told == get(box, "faults")
    assert [fault["times"] for fault in told["faults"]] == [2]
    assert merchant.send("POST", PREPAY, merchant.order()).status == 500
    assert [fault["times"] for fault in stream.until("faults")["faults"]] == [1]
    assert call(box.url, "DELETE", "/sandbox/faults").status == 200
    assert stream.until("faults") == get(box, "faults")
    assert get(box, "faults")["faults"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("state", {"jwks": "error"}),
        ("merchant", {"funds": {"OPERATION": 5}}),
        ("clock", {"advance": "1h"}),
    ],
    ids=["a switch", "the merchant", "the clock"],
)
def test_the_state_when_it_changes(box, listen, path, body):
    stream = listen()
    post(box, path, **body)
    told = stream.until("state")
    assert told | {"now": ""} == get(box, "state") | {"now": ""}
    assert told["jwks"] == body.get("jwks", "ok")
    assert told["merchant"]["funds"]["OPERATION"] == (5 if path == "merchant" else 100_000_000)


def test_a_reset_after_everything_is_forgotten(merchant, box, listen):
    merchant.paid()
    stream = listen()
    post(box, "reset")
    assert stream.until("reset") == {}
    merchant.send("POST", PREPAY, merchant.order("ORDER_000002"))
    assert stream.until("order")["out_trade_no"] == "ORDER_000002"


def test_what_a_rejected_change_does_is_not_told(merchant, box, listen):
    merchant.paid()
    stream = listen()
    assert call(box.url, "POST", "/sandbox/orders/ORDER_000001/pay", b"{}").status == 400
    assert call(box.url, "POST", "/sandbox/clock", b'{"advance": "1"}').status == 400
    box.events.publish("end", dict)
    assert stream.next() == ("end", {})


def test_all_listeners_are_told_the_same_in_the_same_order(merchant, box, listen):
    streams = [listen() for _ in range(3)]
    assert box.events.listeners == 3
    for index in range(5):
        merchant.paid(f"ORDER_00000{index}")
    box.events.publish("end", dict)
    told = []
    for stream in streams:
        told.append(list(iter(stream.next, ("end", {}))))
    assert len(told[0]) == 15  # ordered, answered and paid, five times
    assert told[0] == told[1] == told[2]


def test_a_text_of_several_lines_is_one_event(box, listen):
    stream = listen()
    box.events.publish("order", lambda: {"description": "a\n\ndata: b\r茶\u2028"})
    assert stream.next() == ("order", {"description": "a\n\ndata: b\r茶\u2028"})


# Who does not read


def test_a_listener_that_does_not_read_never_blocks_the_sandbox_and_is_told_so(merchant, box, listen):
    """The stream goes on after `lag`, and others miss nothing."""
    idle, reader = listen(small=True), listen()
    heard: list[str] = []
    reading = threading.Thread(target=lambda: heard.extend(name for name, _ in iter(reader.next, ("end", {}))))
    reading.start()
    content = {"x": "x" * 4096}
    slowest = 0.0
    for index in range(3 * WAITING):
        began = time.monotonic()
        box.events.publish("big", lambda: content)
        slowest = max(slowest, time.monotonic() - began)
        if index % 500 == 499:
            assert within(PATIENCE, lambda at=index: len(heard) >= at)
    assert slowest < 1
    began = time.monotonic()
    merchant.paid()
    assert time.monotonic() - began < 1
    box.events.publish("end", dict)
    reading.join(PATIENCE)
    assert (heard.count("big"), heard.count("lag"), heard[-1]) == (3 * WAITING, 0, "order")
    missed = [name for name, _ in iter(idle.next, ("end", {}))]
    assert missed.count("lag") >= 1
    assert missed.count("big") < 3 * WAITING
    assert missed[-3:] == ["order", "request", "order"]


def pieces(listener: Iterator[bytes], count: int) -> list[str]:
    return [next(listener).decode().split("\n")[0].removeprefix("event: ") for _ in range(count)]


def test_lag_comes_when_too_much_waits_and_stands_for_all_of_it():
    events = Events()
    listener = events.listen(dict)
    for _ in range(WAITING - 1):
        events.publish("order", dict)
    assert pieces(listener, 2) == ["state", "order"]
    for _ in range(2):
        events.publish("order", dict)
    events.publish("too many", dict)
    events.publish("after", dict)
    assert pieces(listener, 2) == ["lag", "after"]


# Who leaves


def test_a_listener_that_leaves_is_forgotten_within_a_few_seconds(merchant, box, listen):
    stays, leaves = listen(), listen()
    assert box.events.listeners == 2
    leaves.close()
    assert within(3, lambda: box.events.listeners == 1)
    merchant.send("POST", PREPAY, merchant.order())
    assert stays.until("order")["out_trade_no"] == "ORDER_000001"


def test_a_listener_that_leaves_without_a_word_is_forgotten_too(box, listen):
    """A reset of the connection, as when a browser dies."""
    stream = listen()
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.close()
    assert within(3, lambda: box.events.listeners == 0)


def test_closing_the_sandbox_ends_the_stream(credentials, monkeypatch):
    monkeypatch.setattr("sandbox.events.LOOK", 60.0)  # or the end would be found by looking, a second later
    with Sandbox(credentials=credentials) as sandbox:
        stream = Stream(sandbox)
        stream.head()
        assert stream.next()[0] == "state"
    began = time.monotonic()
    with pytest.raises((EOFError, ConnectionResetError)):
        stream.next()
    assert time.monotonic() - began < 2
    stream.close()
    assert within(3, lambda: sandbox.events.listeners == 0)


def test_whoever_comes_after_the_end_is_told_the_end():
    events = Events()
    events.close()
    with pytest.raises(StopIteration):
        next(events.listen(dict))


# What it costs


def test_nothing_is_built_while_nobody_listens(merchant, box, function, listen, monkeypatch):
    built: list[str] = []
    publish = box.events.publish

    def counted(name: str, content: Callable[[], Any]) -> None:
        publish(name, lambda: (built.append(name), content())[1])

    monkeypatch.setattr(box.events, "publish", counted)

    def a_day() -> None:
        merchant.send("POST", PREPAY, merchant.order())
        box.pay("ORDER_000001")
        merchant.send("POST", REFUNDS, merchant.refund())
        merchant.send("POST", BILLS, merchant.transfer())
        box.fault("latency", seconds=0.001, times=1)
        box.advance("6m")
        box.reset()

    a_day()
    assert built == []
    listen()
    a_day()
    assert set(built) == {"order", "refund", "transfer", "request", "delivery", "faults", "state", "reset"}


def test_what_is_told_is_built_once_for_all():
    events, built = Events(), []
    listeners = [events.listen(dict) for _ in range(3)]
    events.publish("order", lambda: built.append(1))
    assert built == [1]
    assert [pieces(listener, 2) for listener in listeners] == [["state", "order"]] * 3


def test_nothing_is_built_for_those_who_have_left():
    events, built = Events(), []
    events.listen(dict).close()
    events.publish("order", lambda: built.append(1))
    assert (built, events.listeners) == ([], 0)
