"""The worker is killed, runs out of memory, or hangs, in the middle of a callback and of an order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from sandbox import Credentials
from tests.faults_around.around import Shop, answers_again, control_group, eventually, shop

LONG = {"callbackTimeout": "4.5", "handlerTimeout": "4.4"}
HANGS = 3  # seconds after which a worker that does not answer its master is replaced, here; 30 in gunicorn.conf.py
ROOM = 320 * 2**20  # bytes for the function; an instance of 256 MB has less


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    service = "tests.faults_around.services:Waits"
    with shop(
        tmp_path_factory.mktemp("dies"),
        credentials,
        options=["--timeout", str(HANGS)],
        orderService=service,
        **LONG,
    ) as it:
        yield it


@pytest.fixture(autouse=True)
def as_new(request: pytest.FixtureRequest) -> None:
    if "running" in request.fixturenames:
        request.getfixturevalue("running").scene.clear()


def test_a_killed_worker_is_replaced_and_its_callback_and_order_are_found(running: Shop):
    told, under_way = running.paid(), "KILLED0001"
    running.box.fault("latency", seconds=20, times=1, path="/v3/pay")
    with ThreadPoolExecutor(2) as background:
        ordering = background.submit(running.order, under_way)
        eventually(lambda: under_way in running.box.ledger.orders)
        delivering = background.submit(running.deliver, told)
        running.scene.await_word("entered")
        dead = running.worker()
        os.kill(dead, signal.SIGKILL)
        assert not delivering.result().acknowledged
        with suppress(requests.ConnectionError):
            assert ordering.result()[1].status != 200
    answers_again(running, dead)
    assert (running.state(told), running.state(under_way)) == ("PENDING", "PENDING"), "no half of either is kept"
    running.scene.say("go")
    assert running.deliver(told).acknowledged
    running.box.ledger.pay(under_way, "")  # the answer never came, and the user paid all the same
    running.books.change("UPDATE pay_orders SET next_check_at = created_at WHERE state = 'PENDING'")
    assert running.reconcile()["changed"] == 1
    running.assert_kept_once(told, under_way)


def test_a_worker_that_hangs_is_replaced(running: Shop):
    number = running.paid()
    stopped = running.worker()
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as background:
        delivering = background.submit(running.deliver, number)
        answers_again(running, stopped)
        assert not delivering.result().acknowledged
    running.scene.say("go")
    running.deliver_until_taken(number)
    running.assert_kept_once(number)


@contextmanager
def little_memory() -> Iterator[list[str]]:
    """A prefix that puts the function into a control group of its own, whose memory is limited."""
    one = {"memory.limit_in_bytes": ROOM}
    two = {"memory.max": ROOM, "memory.swap.max": 0}
    with control_group("memory", one, two) as group:
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]


def test_a_handler_that_eats_all_memory_costs_the_worker_and_not_the_notification(
    tmp_path: Path, credentials: Credentials
):
    service = "tests.faults_around.services:Eats"
    with little_memory() as prefix, shop(tmp_path, credentials, prefix=prefix, orderService=service, **LONG) as it:
        number, dead = it.paid(), it.worker()
        it.scene.say("more")
        refused = it.deliver(number)
        assert (refused.status, refused.json["code"]) == (500, "FAIL")
        assert "MemoryError" in it.function.log_text()
        assert it.worker() == dead, "memory that is refused costs nobody else anything"

        it.scene.clear()
        assert not it.deliver(number).acknowledged
        answers_again(it, dead)
        assert it.state(number) == "PENDING"
        assert "SIGKILL! Perhaps out of memory?" in it.function.log_text()
        it.scene.say("go")
        it.deliver_until_taken(number)
        it.assert_kept_once(number)
