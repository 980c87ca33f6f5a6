"""Keys change under a stream of orders and callbacks: nothing fails but what is documented, nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import Credentials, Sandbox
from sandbox.ledger import IllegalMove
from tests.faults_around.around import Shop, shop

THREADS = 4
COOL_DOWN = 15.0  # seconds between two downloads of certificates


@dataclass
class Stream:
    """What several threads ordered, paid and told; a callback that is refused comes again, as often as it takes."""

    running: Shop
    paid: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # answers to orders
    tries: list[bool] = field(default_factory=list)

    def has(self, count: int) -> bool:
        return len(self.paid) >= count


@contextmanager
def stream(running: Shop) -> Iterator[Stream]:
    """Goes on as long as the `with` statement does."""
    flow, over = Stream(running), threading.Event()

    def flow_on() -> None:
        while not over.is_set():
            number, reply = running.order()
            if reply.status != 200:
                flow.refused.append(reply.text)
                continue
            try:
                running.box.ledger.pay(number, "")
            except IllegalMove:  # the days went by before it was paid
                continue
            delivery = running.deliver(number)
            flow.tries.append(delivery.acknowledged)
            if not delivery.acknowledged:
                running.deliver_until_taken(number)
            flow.paid.append(number)

    threads = [threading.Thread(target=flow_on) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield flow
    finally:
        over.set()
        for thread in threads:
            thread.join()


def go_on(flow: Stream, more: int = 12) -> None:
    """Until `more` have been paid for and told."""
    wanted, give_up = len(flow.paid) + more, time.monotonic() + 120
    while not flow.has(wanted):
        assert time.monotonic() < give_up, f"the stream stands still: {flow.refused[-1:]}"
        time.sleep(0.02)


def downloads(box: Sandbox) -> int:
    return sum(request.path == "/v3/certificates" for request in box.requests)


def signers(box: Sandbox) -> set[str]:
    return {delivery.headers["Wechatpay-Serial"] for delivery in box.deliveries}


def assert_nothing_failed(flow: Stream) -> None:
    assert flow.refused == []
    assert all(flow.tries)
    flow.running.books.wait_until_delivered()
    flow.running.assert_kept_once(*flow.paid)


def test_a_new_certificate_signs_and_nothing_fails(tmp_path: Path, credentials: Credentials):
    with shop(tmp_path, credentials, key_mode="certificate") as running:
        running.paid()
        assert downloads(running.box) == 1
        time.sleep(COOL_DOWN + 0.5)  # the rule: unknown serials cost one download in this time
        with stream(running) as flow:
            go_on(flow)
            running.box.rotate("old")  # published, not used yet
            go_on(flow)
            running.box.rotate("new")
            go_on(flow)
            running.box.rotate("old")  # and back, which WeChat Pay may do while both are valid
            go_on(flow)
        assert_nothing_failed(flow)
        assert signers(running.box) == {pair.serial for pair in credentials.platform}
        assert downloads(running.box) == 2, "all threads that met the new serial shared one download"


def test_a_new_certificate_during_the_cool_down_is_unknown_until_that_ends(tmp_path: Path, credentials: Credentials):
    with shop(tmp_path, credentials, key_mode="certificate") as running:
        running.paid()
        began = time.monotonic()
        running.box.rotate("new")
        with stream(running) as flow:
            go_on(flow)
        assert time.monotonic() - began > COOL_DOWN / 2, "there was a cool-down to wait for"
        assert flow.refused, "orders whose answers could not be verified"
        assert all("outcome unknown: query before you retry, and use the same number" in text for text in flow.refused)
        assert downloads(running.box) <= 2
        running.books.wait_until_delivered()
        running.assert_kept_once(*flow.paid)


def test_the_public_key_takes_over_and_nothing_fails(tmp_path: Path, credentials: Credentials):
    """The merchant has set it; from then on WeChat Pay signs more and more callbacks with it [4012154180]."""
    with Sandbox(sign_mode="sdk", key_mode="certificate", credentials=credentials) as box:
        box.switch_over("begin")
        with shop(tmp_path, credentials, box=box, public_key=True) as running, stream(running) as flow:
            for _ in range(7):
                go_on(flow, 6)
                box.advance("1d")
            go_on(flow, 6)
        assert_nothing_failed(flow)
        assert signers(box) == {credentials.platform[0].serial, credentials.public_key_id}
        assert downloads(box) == 1


def test_what_the_old_api_v3_key_encrypted_is_refused_and_found_by_reconcile(tmp_path: Path, credentials: Credentials):
    with shop(tmp_path, credentials, apiV3Key="SANDBOXanother0123456789abcdefgh") as running:
        numbers = [running.paid() for _ in range(6)]
        told = [running.deliver(number) for number in numbers]
        assert {(one.status, one.json["code"]) for one in told} == {(400, "FAIL")}
        assert "does not decrypt under apiV3Key" in running.function.log_text()
        running.books.change("UPDATE pay_orders SET next_check_at = created_at")
        assert running.reconcile()["changed"] == len(numbers)
        running.books.wait_until_delivered()
        running.assert_kept_once(*numbers)
