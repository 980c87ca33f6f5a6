"""The webhook at a receiver that works by the letter of Standard Webhooks and is at times slow, away or wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from sandbox import Sandbox
from services.orders import webhook
from services.orders.store import Store
from tests.orders.house import House
from tests.orders.test_outbox import make_due, run, stored
from tests.support import MINI_PROGRAM

KEY = bytes(range(40, 72))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Sent(NamedTuple):
    """One message as it came."""

    id: str
    timestamp: str
    signature: str
    body: bytes


class Receiver:
    """A server that checks signatures by the letter of the Standard Webhooks specification."""

    def __init__(self) -> None:
        self.status = 204
        self.bodies: list[dict] = []
        self.verified: list[bool] = []
        self.ids: list[str] = []
        self.sent: list[Sent] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                content = b".".join([
                    self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body,
                ])  # fmt: skip
                expected = "v1," + base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
                fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
                outer.verified.append(fresh and expected in self.headers["webhook-signature"].split(" "))
                outer.bodies.append(json.loads(body))
                outer.ids.append(self.headers["webhook-id"])
                parts = [self.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]
                outer.sent.append(Sent(*parts, body))
                self.send_response(outer.status)
                if outer.status == 302:
                    self.send_header("Location", outer.url + "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def shop(box: Sandbox, database_url: str, store: Store, receiver: Receiver) -> Iterator[House]:
    with House.in_process(box, database_url, store, **to(receiver.url)) as running:
        yield running


def to(url: str) -> dict[str, str]:
    return {"eventWebhookUrl": url, "eventWebhookSecret": SECRET}


def test_each_event_is_sent_once_with_its_own_id_whatever_repeats(shop: House, receiver: Receiver):
    number = shop.paid()
    for _ in range(3):
        assert shop.box.deliver("order", number)[0].acknowledged
    shop.refund(number, 40, number="RW1")
    shop.box.settle_refund("RW1")
    shop.transfer(number="TW1")
    shop.box.finish_transfer("TW1")
    closed = shop.order()
    for _ in range(2):
        assert shop.function.call("wxpay_close_order", {"out_trade_no": closed}).status == 200
    run(shop)
    assert [body["type"] for body in receiver.bodies] == [
        "order.paid", "refund.succeeded", "transfer.finished", "order.closed"
    ]  # fmt: skip
    assert len(set(receiver.ids)) == 4
    assert set(receiver.verified) == {True}
    assert all("event_id" not in body["data"] for body in receiver.bodies)


def test_a_repetition_has_the_same_id_and_body_and_a_signature_of_its_own_time(shop: House, receiver: Receiver):
    receiver.status = 500
    shop.paid()
    receiver.status = 200
    make_due(shop)
    assert run(shop)["delivered"] == 1
    assert receiver.verified == [True, True]
    first, second = receiver.bodies
    assert receiver.ids[0] == receiver.ids[1]
    assert first["data"] == second["data"]


def test_the_signature_is_no_other_messages(shop: House, receiver: Receiver):
    """What the receiver checks does not hold for another id, another body or another key."""
    shop.paid()
    (sent,) = receiver.sent
    assert signature(KEY, sent.id, sent.timestamp, sent.body) == sent.signature
    for other in (
        signature(KEY[:-1], sent.id, sent.timestamp, sent.body),
        signature(KEY, sent.id + "0", sent.timestamp, sent.body),
        signature(KEY, sent.id, sent.timestamp + "0", sent.body),
        signature(KEY, sent.id, sent.timestamp, sent.body.replace(b"PAID", b"paid")),
    ):
        assert other != sent.signature
    assert "茶" in sent.body.decode("utf-8")


def signature(key: bytes, identifier: str, timestamp: str, body: bytes) -> str:
    content = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def test_a_receiver_that_is_slow_or_away_costs_no_acknowledgement(
    box: Sandbox, database_url: str, store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhook, "TIMEOUT", 0.3)
    with socket.socket() as silent:  # takes connections, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with House.in_process(box, database_url, store, **to(f"http://127.0.0.1:{silent.getsockname()[1]}/x")) as shop:
            shop.paid()
            (event,) = stored(shop)
            assert (event["state"], event["attempts"]) == ("PENDING", 1)
            assert "TimedOut" in event["last_error"]
    with House.in_process(box, database_url, store, **to(f"http://127.0.0.1:{silent_port()}/x")) as shop:
        make_due(shop)
        assert run(shop)["undelivered"] == 1
        (event,) = stored(shop)
        assert "Unreachable" in event["last_error"]
    with House.in_process(box, database_url, store, **to(receiver.url)) as shop:
        make_due(shop)
        assert run(shop)["delivered"] == 1
    assert receiver.ids == [event["id"]]


def silent_port() -> int:
    """One where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_nothing_secret_is_sent_or_kept(shop: House, receiver: Receiver):
    receiver.status = 500
    shop.paid()
    (event,) = stored(shop)
    (sent,) = receiver.sent
    known = json.dumps([event["last_error"], event["payload"], sent.body.decode()])
    for secret in (SECRET, SECRET.removeprefix("whsec_"), shop.box.credentials.api_v3_key):
        assert secret not in known


def test_an_event_is_sent_on_and_its_signature_holds(box: Sandbox, database_url: str, store: Store, receiver: Receiver):
    with House.in_process(box, database_url, store, **to(receiver.url)) as shop:
        number = shop.paid()
        (event,) = stored(shop)
        assert (receiver.verified, receiver.ids) == ([True], [event["id"]])
        (body,) = receiver.bodies
        assert (body["type"], body["data"]["out_trade_no"], body["data"]["state"]) == ("order.paid", number, "PAID")
        assert set(body) == {"type", "timestamp", "data"}


@pytest.mark.parametrize("status", [500, 404, 302, 400])
def test_any_other_answer_is_a_failure(box: Sandbox, database_url: str, store: Store, receiver: Receiver, status: int):
    receiver.status = status
    with House.in_process(box, database_url, store, **to(receiver.url)) as shop:
        shop.paid()
        (event,) = stored(shop)
        assert (event["state"], len(receiver.ids)) == ("PENDING", 1)
        assert str(status) in event["last_error"]
        receiver.status = 200
        make_due(shop)
        assert run(shop)["delivered"] == 1
        assert receiver.ids == [event["id"]] * 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_with_a_broken_webhook_nothing_is_accepted_that_it_would_lose(box: Sandbox, database_url: str, store: Store):
    with House.in_process(box, database_url, store, eventWebhookUrl="https://shop.example/x") as shop:
        reply = shop.function.call("wxpay_order", {"description": "tea"}, MINI_PROGRAM)
        assert reply.status == 500
        assert "eventWebhookSecret" in reply.body["msg"]
