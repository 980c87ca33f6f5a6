"""Descriptors, threads and file sizes run out; all of it in another time zone and without a locale."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from sandbox import Credentials
from tests.faults_around.around import Shop, control_group, is_there, shop

ABROAD = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # UTC+14, ASCII
FEW_FILES = 96


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("limits"), credentials, env=ABROAD) as it:
        yield it


def test_zone_and_locale_change_nothing(running: Shop):
    number = running.paid()
    assert running.deliver(number).acknowledged
    stored = running.books.rows(f"SELECT paid_at, created_at, expires_at FROM pay_orders WHERE out_trade_no = '{number}'")  # noqa: S608, E501
    paid, created, expires = (datetime.fromisoformat(moment).replace(tzinfo=timezone.utc) for moment in stored[0])
    now = datetime.now(timezone.utc)
    assert now - timedelta(minutes=2) < created <= now
    assert now - timedelta(minutes=2) < paid <= now
    assert expires - created == timedelta(minutes=10)
    assert all(line["time"].endswith("Z") for line in running.function.log_lines())
    running.assert_kept_once(number)


def test_more_connections_than_descriptors_lose_nothing(running: Shop):
    """The longest idle connections are closed for the new ones; the worker lives, and takes what is true."""
    number, worker = running.paid(), running.worker()
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))
    host, _, port = running.function.url.removeprefix("http://").partition(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(2 * FEW_FILES)]
    running.deliver_until_taken(number)
    running.assert_kept_once(number)
    assert running.worker() == worker
    for connection in idle:
        connection.close()


def test_more_requests_than_threads_lose_nothing(running: Shop):
    """Where no thread can be started a callback is put off, and where not even that can be said, it is not answered."""
    numbers = [running.paid() for _ in range(12)]
    with control_group("pids", {}, {}) as group:
        worker = running.worker()
        (group / "cgroup.procs").write_text(str(worker))
        (group / "pids.max").write_text((group / "pids.current").read_text())  # none more than there are
        with ThreadPoolExecutor(len(numbers)) as pool:
            told = list(pool.map(running.deliver, numbers))
        states = running.books.states()
        assert any(not delivery.acknowledged for delivery in told)
        assert all(states[one.number] == "PAID" for one in told if one.acknowledged)
        (group / "pids.max").write_text("max")
        for number in numbers:
            running.deliver_until_taken(number)
        running.assert_kept_once(*numbers)
        assert running.worker() == worker
        for process in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(process)


def test_a_file_size_limit_acknowledges_nothing_that_is_not_kept(running: Shop):
    number, worker = running.paid(), running.worker()
    most = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (4096, most[1]))
    refused = running.deliver(number)
    assert (refused.status, refused.json["code"]) == (500, "FAIL")
    assert running.state(number) == "PENDING"
    resource.prlimit(worker, resource.RLIMIT_FSIZE, most)
    assert running.deliver(number).acknowledged
    running.assert_kept_once(number)
    assert is_there(worker)
