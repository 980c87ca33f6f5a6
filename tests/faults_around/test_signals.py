"""The process is told to end while something is under way: what runs comes to its end, or was never acknowledged."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sandbox import Credentials, Sandbox
from sandbox.records import Delivery
from tests.faults_around.around import Shop, eventually, is_there, made_database, shop
from tests.orders.fleet import Books, workers_of
from tests.support import OPERATOR_KEY, ROOT, Function, free_port

GRACE = 15  # seconds: graceful_timeout of gunicorn.conf.py
LONG = {"callbackTimeout": "4.5", "handlerTimeout": "4.4"}  # as long as may be, for slow machines
WAITS = "tests.faults_around.services:Waits"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("signals"), credentials, orderService=WAITS, **LONG) as it:
        yield it


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def under_way(running: Shop, background: ThreadPoolExecutor) -> tuple[str, Future[Delivery]]:
    """A callback whose handler has written, and waits for `go`."""
    running.scene.clear()
    number = running.paid()
    delivering = background.submit(running.deliver, number)
    running.scene.await_word("entered")
    return number, delivering


def tell(process: int, how: signal.Signals) -> None:
    os.kill(process, how)


def ends(process: int) -> float:
    """Wait until it has ended; how long that took."""
    began = time.monotonic()
    eventually(lambda: not is_there(process))
    return time.monotonic() - began


def healthz(address: str) -> bytes:
    """All that a new connection is sent; nothing where there is none to be had."""
    host, _, port = address.removeprefix("http://").partition(":")
    received = b""
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        while piece := connection.recv(65536):
            received += piece
    return received


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200 ") and f"Content-Length: {len(body)}".encode() in head


def test_what_is_cut_off_was_not_acknowledged_and_comes_again(
    tmp_path: Path, credentials: Credentials, background: ThreadPoolExecutor
):
    kept = {"database": f"sqlite:///{made_database(tmp_path / 'orders.sqlite3')}"}
    numbers = []
    with Sandbox(sign_mode="sdk", credentials=credentials) as box:
        for how in (signal.SIGINT, signal.SIGQUIT):
            with shop(new(tmp_path, how.name), credentials, box=box, **kept, orderService=WAITS, **LONG) as cut:
                number, delivering = under_way(cut, background)
                tell(cut.function.pid, how)
                assert not delivering.result().acknowledged
                ends(cut.function.pid)
                assert cut.state(number) == "PENDING", "nothing of it is kept"
                numbers.append(number)
        with shop(new(tmp_path, "again"), credentials, box=box, **kept) as again:
            assert all(again.deliver(number).acknowledged for number in numbers)
            again.assert_kept_once(*numbers)


def new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_sighup_replaces_the_worker_and_cuts_nothing_off(running: Shop, background: ThreadPoolExecutor):
    number, delivering = under_way(running, background)
    before = running.worker()
    tell(running.function.pid, signal.SIGHUP)
    eventually(lambda: set(workers_of(running.function)) - {before})
    running.scene.say("go")
    assert delivering.result().acknowledged
    eventually(lambda: before not in workers_of(running.function))
    assert running.order()[1].status == 200
    running.assert_kept_once(number)


def test_sigterm_during_a_callback_lets_it_finish(running: Shop, background: ThreadPoolExecutor):
    number, delivering = under_way(running, background)
    process = running.function.pid
    tell(process, signal.SIGTERM)
    new = background.submit(healthz, running.function.url)
    time.sleep(0.3)
    tell(process, signal.SIGTERM)
    time.sleep(0.3)
    assert is_there(process)
    running.scene.say("go")
    assert delivering.result().acknowledged
    assert new.result() == b"" or is_whole(new.result()), "a new connection is served whole or not at all"
    assert ends(process) < GRACE
    running.assert_kept_once(number)


@contextmanager
def by_scf_bootstrap(folder: Path, env: dict[str, str]) -> Iterator[tuple[Function, subprocess.Popen[bytes]]]:
    """The script itself, in a folder that looks like the repository, on another port and on loopback alone."""
    code, port = folder / "code", free_port()
    code.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in ("scf_bootstrap", ".venv"):
            (code / entry.name).symlink_to(entry)
    (code / ".venv").symlink_to(sys.prefix)
    script = code / "scf_bootstrap"
    script.write_text((ROOT / "scf_bootstrap").read_text().replace("0.0.0.0:9000", f"127.0.0.1:{port}"))
    script.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([script], cwd="/", env=env, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or is_whole(healthz(f"http://127.0.0.1:{port}")))
        yield Function(f"http://127.0.0.1:{port}", folder / "log", process.pid), process
    finally:
        process.kill()
        process.wait()


def test_sigterm_to_scf_bootstrap_lets_an_order_finish(
    tmp_path: Path, credentials: Credentials, background: ThreadPoolExecutor
):
    """bash is replaced by gunicorn, so the signal of whoever started the script arrives."""
    database = f"sqlite:///{made_database(tmp_path / 'orders.sqlite3')}"
    with Sandbox(credentials=credentials) as box:
        env = box.env(orderDatabaseUrl=database, operatorKey=OPERATOR_KEY)
        with by_scf_bootstrap(tmp_path, env) as (function, process):
            box.fault("latency", seconds=1.5, times=1)
            body = {"description": "Tea", "out_trade_no": "SIGTERM001", "amount": {"total": 100}}
            ordering = background.submit(function.call, "wxpay_order", body)
            eventually(lambda: box.requests)
            process.send_signal(signal.SIGTERM)
            reply = ordering.result()
            assert (reply.status, reply.body["msg"]) == (200, "success"), reply.text
            assert process.wait(GRACE) == 0
        assert Books(database).rows("SELECT out_trade_no, unknown FROM pay_orders") == [("SIGTERM001", 0)]
