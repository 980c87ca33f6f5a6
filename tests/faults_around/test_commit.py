"""The connection to the database breaks, or the function is told to end, while a callback's COMMIT is under way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import Credentials
from services.orders.database import Database
from services.orders.tables import init_db
from tests.faults_around.around import Shop, eventually, is_there, shop
from tests.not_run import PREFIX
from tests.orders.servers import KINDS, Missing

COMMIT = re.compile(rb"COMMIT(\0|$)")  # and not READ COMMITTED


class Wire:
    """A way to the database's port. Of the next COMMIT that comes it is told by `caught`.

    cut_before   the COMMIT is lost with the connection
    cut_after    the COMMIT gets there, its answer is lost with the connection
    hold         the COMMIT waits for `go`
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self.fault = ""
        self.caught, self.go = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def expect(self, fault: str) -> None:
        self.caught.clear()
        self.go.clear()
        self.fault = fault

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._listening, suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._threads.append(threading.Thread(target=self._connect, args=(near,)))
                self._threads[-1].start()

    def _connect(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            deaf = threading.Event()
            back = threading.Thread(target=self._to_function, args=(near, far, deaf))
            back.start()
            self._to_database(near, far, deaf)
            back.join()

    def _to_database(self, near: socket.socket, far: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := near.recv(65536):
                fault = self.fault if COMMIT.search(data) else ""
                if fault:
                    self.fault = ""
                    self.caught.set()
                if fault == "cut_before":
                    break
                if fault == "hold":
                    self.go.wait(30)
                if fault == "cut_after":
                    deaf.set()
                far.sendall(data)
        hang_up(near, far)

    def _to_function(self, near: socket.socket, far: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                if deaf.is_set():
                    break
                near.sendall(data)
        hang_up(near, far)


def hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def made(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with its tables, on a server of this module's own."""
    kind = request.param
    if kind not in os.environ.get("ORDER_DATABASES", "postgresql mysql").split():
        pytest.skip(f"ORDER_DATABASES leaves {kind} out")
    folder = Path(tempfile.mkdtemp(prefix=f"commit-{kind}-"))
    try:
        server = KINDS[kind](folder)
    except Missing as missing:
        pytest.skip(f"{PREFIX}{missing}")
    url = server.create("orders")
    database = Database(url)
    init_db(database)
    database.close()
    yield url
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def wire(made: str) -> Iterator[Wire]:
    wire = Wire(urlsplit(made).port or 0)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def running(
    made: str, credentials: Credentials, wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    by_wire = made.replace(f":{urlsplit(made).port}/", f":{wire.port}/")
    with shop(tmp_path_factory.mktemp("commit"), credentials, database=by_wire) as it:
        yield it


def test_a_commit_that_breaks_is_not_acknowledged_and_comes_again(running: Shop, wire: Wire):
    for fault, state in (("cut_before", "PENDING"), ("cut_after", "PAID")):
        number = running.paid()
        wire.expect(fault)
        refused = running.deliver(number)
        assert wire.caught.is_set()
        assert (refused.status, refused.json["code"]) == (500, "FAIL")
        eventually(lambda of=number, wanted=state: running.state(of) == wanted)
        if fault == "cut_after":  # kept without the function's knowledge, which looks
            running.books.wait_until_delivered()
        assert running.deliver(number).acknowledged
        running.books.wait_until_delivered()
        running.assert_kept_once(number)


def test_sigterm_during_a_commit_lets_it_finish(running: Shop, wire: Wire):
    number = running.paid()
    wire.expect("hold")
    with ThreadPoolExecutor(1) as background:
        delivering = background.submit(running.deliver, number)
        assert wire.caught.wait(30)
        os.kill(running.function.pid, signal.SIGTERM)
        time.sleep(0.3)
        wire.go.set()
        assert delivering.result().acknowledged
    eventually(lambda: not is_there(running.function.pid))
    running.assert_kept_once(number)
