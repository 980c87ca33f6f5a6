"""The wall clock of a running function jumps; its monotonic clock and everybody else's clocks are right."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sandbox import Credentials
from tests.faults_around.around import Shop, WallClock, eventually, shop
from tests.orders.fleet import SECRET, Receiver
from tests.support import free_port

MINUTES_10, YEARS_12 = 600, 12 * 365 * 86400
BACK_TO_1970 = -56 * 365 * 86400  # in 2026; the same for all processes that collect these tests
COOL_DOWN = 15.0  # of the key ring
LIMIT = 4  # seconds for a call of WeChat Pay


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, credentials: Credentials, clock: WallClock
) -> Iterator[Shop]:
    """Its effects wait for `go`, and events are sent nowhere."""
    with shop(
        tmp_path_factory.mktemp("running"),
        credentials,
        env=clock.env,
        orderService="tests.faults_around.services:HookWaits",
        wxPayTimeout=str(LIMIT),
    ) as it:
        it.scene.say("go")
        yield it


@pytest.fixture(autouse=True)
def right(clock: WallClock) -> Iterator[None]:
    yield
    clock.jump_to(0)


@pytest.mark.parametrize("off", [MINUTES_10, -MINUTES_10, YEARS_12, BACK_TO_1970], ids="{:+}".format)
def test_what_a_wrong_clock_refuses_is_kept_when_it_is_right_again(running: Shop, clock: WallClock, off: int):
    told, lost = running.paid(), running.paid()
    clock.jump_to(off)
    refused = running.deliver(told)
    assert (refused.status, refused.json["code"]) == (400, "FAIL"), "its time is more than 5 minutes off"
    number, reply = running.order()
    assert reply.status == 502
    assert "this machine's clock" in reply.body["msg"]
    assert number not in running.box.ledger.orders
    assert running.reconcile()["changed"] == 0
    assert {running.state(each) for each in (told, lost, number)} == {"PENDING"}, "nothing is closed, nothing is freed"

    clock.jump_to(0)
    assert running.deliver(told).acknowledged
    assert running.order(number)[1].status == 200, "the same order goes through"
    running.box.ledger.pay(number, "")
    assert running.deliver(number).acknowledged
    assert_soon_due(running, lost)
    running.reconcile()
    running.books.change("UPDATE pay_orders SET next_check_at = created_at WHERE next_check_at IS NOT NULL")
    running.reconcile()
    running.assert_kept_once(told, lost, number)
    durations = [line["duration_ms"] for line in running.function.log_lines() if "duration_ms" in line]
    assert all(0 <= duration < 30_000 for duration in durations)


def assert_soon_due(running: Shop, number: str) -> None:
    """A run asks about it within a quarter of an hour, or made it due by looking."""
    running.reconcile()
    (state, due), = running.books.rows(
        f"SELECT state, next_check_at FROM pay_orders WHERE out_trade_no = '{number}'"  # noqa: S608
    )
    if state == "PENDING":
        soon = datetime.now(timezone.utc) + timedelta(minutes=15)
        assert datetime.fromisoformat(due).replace(tzinfo=timezone.utc) < soon


@pytest.mark.parametrize("off", [MINUTES_10, YEARS_12], ids="{:+}".format)
def test_an_order_that_is_under_way_when_the_clock_jumps_is_known_afterwards(running: Shop, clock: WallClock, off: int):
    running.box.fault("latency", seconds=1, times=1)
    with ThreadPoolExecutor(1) as background:
        ordering = background.submit(running.order, f"UNDERWAY{off}")
        eventually(lambda: f"UNDERWAY{off}" in running.box.ledger.orders)
        clock.jump_to(off)
        number, reply = ordering.result()
    assert reply.status == 502
    assert "outcome unknown" in reply.body["msg"], "the answer's time is not this machine's"
    clock.jump_to(0)
    assert running.order(number)[1].status == 200
    running.box.ledger.pay(number, "")
    assert running.deliver(number).acknowledged
    running.assert_kept_once(number)


def test_deadlines_hold_across_a_jump(running: Shop, clock: WallClock):
    running.box.fault("latency", seconds=30, times=4)
    for off in (MINUTES_10, -MINUTES_10):
        asked = len(running.box.requests)
        with ThreadPoolExecutor(1) as background:
            ordering = background.submit(running.order)
            eventually(lambda before=asked: len(running.box.requests) > before)
            clock.jump_to(off)
            _, reply = ordering.result()
        assert reply.status == 504
        assert reply.seconds < LIMIT + 3
    running.box.clear_faults()


def test_a_jump_during_an_effect_does_not_cause_it_twice(running: Shop, clock: WallClock):
    running.scene.clear()
    number = running.paid()
    assert running.deliver(number).acknowledged
    running.scene.await_word("entered")
    for off in (MINUTES_10, -MINUTES_10, YEARS_12):
        clock.jump_to(off)
        assert running.reconcile()["delivered"] == 0
    running.scene.say("go")
    clock.jump_to(0)
    running.books.wait_until_delivered()
    assert len((running.scene.folder / "effects").read_text().split()) == 1
    running.assert_kept_once(number)


def test_an_event_that_failed_by_a_wrong_clock_is_not_put_off_for_years(
    tmp_path: Path, credentials: Credentials, clock: WallClock
):
    port = free_port()
    address = {"eventWebhookUrl": f"http://127.0.0.1:{port}/events", "eventWebhookSecret": SECRET}
    with shop(tmp_path, credentials, env=clock.env, **address) as it:
        number = it.paid()
        assert it.deliver(number).acknowledged
        eventually(lambda: it.books.rows("SELECT 1 FROM pay_events WHERE attempts = 1 AND lease IS NULL"))
        clock.jump_to(YEARS_12)
        assert it.reconcile()["undelivered"] == 1
        clock.jump_to(0)
        with Receiver(port=port) as receiver:
            assert it.reconcile()["delivered"] == 1
        assert {order: len(ids) for order, ids in receiver.ids.items()} == {number: 1}
        it.assert_kept_once(number)


def test_cool_downs_do_not_follow_the_wall_clock(tmp_path: Path, credentials: Credentials, clock: WallClock):
    """Callbacks under a serial that nobody has, one after the other, each from the clock's own time."""
    with shop(tmp_path, credentials, env=clock.env, key_mode="certificate") as it:
        plaintext = it.box.plaintext("order", it.paid())
        began, statuses = time.monotonic(), []
        for off in (0, MINUTES_10, -MINUTES_10, YEARS_12, 0, MINUTES_10):
            clock.jump_to(off)
            headers, body = it.box.notification("order", plaintext)
            headers |= {
                "Wechatpay-Serial": secrets.token_hex(20).upper(), "Wechatpay-Timestamp": str(int(time.time()) + off)
            }
            statuses.append(it.function.post("/wx-pay/unifiedOrderTrigger", body, headers).status)
        asked = sum(request.target == "/v3/certificates" for request in it.box.requests)
        assert asked <= 1 + 1 + (time.monotonic() - began) // COOL_DOWN, "one for the order, one for the first of these"
        assert set(statuses) == {400}
