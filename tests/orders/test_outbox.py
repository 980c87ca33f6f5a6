"""Side effects: once for whoever looks at the event's id, again until they succeed; the webhook that sends them on."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select, update

from sandbox import Sandbox
from services.orders.columns import now
from services.orders.outbox import MAX_TRIES
from services.orders.schema import events
from services.orders.service import SqlOrderService
from services.orders.store import Store
from tests.orders.house import OPERATOR, House
from tests.support import MINI_PROGRAM

KEY = bytes(range(40, 72))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Hooks(SqlOrderService):
    """What each hook was called with; `fails` and `takes` (seconds) spoil it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict]] = []
        self.fails = 0
        self.takes = 0.0

    def _called(self, name: str, thing: dict) -> None:
        self.calls.append((name, thing))
        time.sleep(self.takes)
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the shop's own server is away")

    def on_paid(self, order):
        self._called("on_paid", order)

    def on_refunded(self, refund):
        self._called("on_refunded", refund)

    def on_transfer_finished(self, transfer):
        self._called("on_transfer_finished", transfer)

    def on_order_closed(self, order):
        self._called("on_order_closed", order)


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def shop(box: Sandbox, database_url: str, store: Store, hooks: Hooks) -> Iterator[House]:
    with House.in_process(box, database_url, store, hooks) as running:
        yield running


def stored(house: House) -> list[dict]:
    with house.store.database.reading() as connection:
        return [dict(row) for row in connection.execute(select(events)).mappings()]


def make_due(house: House) -> None:
    with house.store.database.engine.begin() as connection:
        connection.execute(update(events).values(next_at=now()))


def run(house: House) -> dict:
    return house.function.call("wxpay_reconcile", {}, OPERATOR).body["data"]["data"]


def test_each_hook_is_called_with_what_happened(shop: House, hooks: Hooks):
    number = shop.paid()
    shop.refund(number, 40, number="R1")
    shop.box.settle_refund("R1")
    shop.transfer(number="T1")
    shop.box.finish_transfer("T1", "FAIL")
    closed = shop.order()
    shop.function.call("wxpay_close_order", {"out_trade_no": closed})
    assert [name for name, _ in hooks.calls] == ["on_paid", "on_refunded", "on_transfer_finished", "on_order_closed"]
    paid, refunded, transferred, ended = (thing for _, thing in hooks.calls)
    assert (paid["out_trade_no"], paid["state"], paid["amount"]["total"]) == (number, "PAID", 100)
    assert paid["payer"]["openid"] == MINI_PROGRAM["X-Wx-Openid"]
    assert (refunded["out_refund_no"], refunded["amount"]["refund"]) == ("R1", 40)
    assert (transferred["out_bill_no"], transferred["state"]) == ("T1", "FAIL")
    assert (ended["out_trade_no"], ended["state"]) == (closed, "CLOSED")
    assert len({thing["event_id"] for _, thing in hooks.calls}) == 4
    assert {event["state"] for event in stored(shop)} == {"DONE"}


def test_a_hook_that_fails_is_called_again_later_with_the_same_id(shop: House, hooks: Hooks):
    hooks.fails = 2
    shop.paid()
    (event,) = stored(shop)
    assert (event["state"], event["attempts"]) == ("PENDING", 1)
    assert "the shop's own server is away" in event["last_error"]
    assert event["next_at"] > now()
    assert run(shop)["delivered"] == 0  # not yet
    make_due(shop)
    assert run(shop)["undelivered"] == 1
    make_due(shop)
    assert run(shop)["delivered"] == 1
    assert len({thing["event_id"] for _, thing in hooks.calls}) == 1
    assert len(hooks.calls) == 3


def test_the_pause_grows(shop: House, hooks: Hooks):
    hooks.fails = 8
    shop.paid()
    pauses = []
    for _ in range(7):
        (event,) = stored(shop)
        pauses.append((event["next_at"] - now()).total_seconds())
        make_due(shop)
        run(shop)
    assert pauses[0] < 8
    assert pauses[-1] > 5 * pauses[0]


def test_after_the_last_try_an_event_is_dead_until_it_is_replayed(shop: House, hooks: Hooks):
    hooks.fails = MAX_TRIES
    shop.paid()
    for _ in range(MAX_TRIES - 1):
        make_due(shop)
        summary = run(shop)
    assert summary["dead"] == 1
    make_due(shop)
    assert run(shop)["delivered"] == 0
    (event,) = stored(shop)
    assert event["state"] == "DEAD"
    assert len(hooks.calls) == MAX_TRIES
    assert shop.function.application.extensions["pay"].orders.outbox.replay(event["id"])
    assert run(shop)["delivered"] == 1


def test_a_slow_hook_does_not_hold_up_the_acknowledgement(shop: House, hooks: Hooks):
    hooks.takes = 4.0
    number = shop.order()
    (delivery,) = shop.box.pay(number)
    assert delivery.acknowledged
    (event,) = stored(shop)
    assert event["state"] == "PENDING"
    give_up = time.monotonic() + 10
    while stored(shop)[0]["state"] != "DONE" and time.monotonic() < give_up:
        time.sleep(0.1)
    assert stored(shop)[0]["state"] == "DONE"
    assert len(hooks.calls) == 1


def test_what_a_crash_left_leased_comes_again_with_the_same_id(shop: House, hooks: Hooks):
    shop.paid()
    with shop.store.database.engine.begin() as connection:  # as if the mark after the hook had not been written
        connection.execute(update(events).values(state="PENDING", done_at=None, lease="somebody", next_at=now()))
    assert run(shop)["delivered"] == 1
    assert len({thing["event_id"] for _, thing in hooks.calls}) == 1


# A hook that a merchant overrides beside the keeping

class Overriding(SqlOrderService):
    fails = False

    def handler_unified_trigger(self, params):
        super().handler_unified_trigger(params)
        if self.fails:
            raise RuntimeError("after it was kept")


def test_what_an_overridden_handler_did_not_keep_is_rolled_back_whole(box: Sandbox, database_url: str, store: Store):
    service = Overriding()
    service.fails = True
    with House.in_process(box, database_url, store, service) as shop:
        number = shop.order()
        assert not shop.box.pay(number)[0].acknowledged
        assert (shop.state(number), stored(shop)) == ("PENDING", [])
        service.fails = False
        assert shop.box.deliver("order", number)[0].acknowledged
        assert (shop.state(number), len(stored(shop))) == ("PAID", 1)


# The webhook

class Receiver:
    """A server that checks signatures by the letter of the Standard Webhooks specification."""

    def __init__(self) -> None:
        self.status = 204
        self.bodies: list[dict] = []
        self.verified: list[bool] = []
        self.ids: list[str] = []
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


def test_an_event_is_sent_on_and_its_signature_holds(box: Sandbox, database_url: str, store: Store, receiver: Receiver):
    webhook = {"eventWebhookUrl": receiver.url, "eventWebhookSecret": SECRET}
    with House.in_process(box, database_url, store, **webhook) as shop:
        number = shop.paid()
        (event,) = stored(shop)
        assert (receiver.verified, receiver.ids) == ([True], [event["id"]])
        (body,) = receiver.bodies
        assert (body["type"], body["data"]["out_trade_no"], body["data"]["state"]) == ("order.paid", number, "PAID")
        assert set(body) == {"type", "timestamp", "data"}


@pytest.mark.parametrize("status", [500, 404, 302, 400])
def test_any_other_answer_is_a_failure(box: Sandbox, database_url: str, store: Store, receiver: Receiver, status: int):
    receiver.status = status
    webhook = {"eventWebhookUrl": receiver.url, "eventWebhookSecret": SECRET}
    with House.in_process(box, database_url, store, **webhook) as shop:
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
