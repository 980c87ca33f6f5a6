"""Several processes of the function on one database, callbacks from many threads, and a receiver of events."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from sandbox import Sandbox
from sandbox.records import Delivery
from tests.orders.house import fresh
from tests.support import MINI_PROGRAM, OPERATOR_KEY, Function, gunicorn

SECRET = "whsec_" + "dGVzdHMgb2YgdmVyeSBtYW55IGluc3RhbmNlcw=="
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
DRAIN = 40.0  # seconds in which what was begun must come to its end


class Receiver:
    """The merchant's own server for events. It counts; `takes` seconds is how long the effect of one lasts."""

    def __init__(self, takes: Callable[[], float] = lambda: 0.0, port: int = 0) -> None:
        self.deliveries: list[tuple[str, str]] = []  # event id, out_trade_no
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert body["type"] == "order.paid", body
                outer.deliveries.append((self.headers["webhook-id"], body["data"]["out_trade_no"]))
                time.sleep(takes())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"

    @property
    def times(self) -> Counter[str]:
        """How often each event id came."""
        return Counter(identifier for identifier, _ in self.deliveries)

    @property
    def ids(self) -> Mapping[str, set[str]]:
        """The event ids of each order."""
        found: dict[str, set[str]] = {}
        for identifier, number in list(self.deliveries):
            found.setdefault(number, set()).add(identifier)
        return found

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Whoever sent it was killed."""


@contextmanager
def fleet(
    box: Sandbox, database_url: str, receiver: Receiver, log: Path, *options: str, workers: int = 4, threads: int = 16
) -> Iterator[Function]:
    """scf_bootstrap's command with so many workers and threads; `receiver` is sent the events."""
    env = box.env(
        orderDatabaseUrl=database_url,
        operatorKey=OPERATOR_KEY,
        eventWebhookUrl=receiver.url,
        eventWebhookSecret=SECRET,
    )
    with gunicorn(env, log, options=["-w", str(workers), "--threads", str(threads), *options]) as function:
        box.function = function.url
        yield function


def workers_of(function: Function) -> list[int]:
    """The processes that serve requests now."""
    listed = Path(f"/proc/{function.pid}/task/{function.pid}/children").read_text().split()
    return [int(pid) for pid in listed]


def kill_worker(function: Function, chance: random.Random) -> None:
    """As a machine does that loses power or memory: at once, whatever runs."""
    if found := workers_of(function):
        os.kill(chance.choice(found), signal.SIGKILL)


def order(function: Function, number: str = "") -> tuple[str, int]:
    """Ask for a JSAPI order of 100 cents; its number and the function's status."""
    number = number or fresh("CHAOS")
    body = {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": 100}}
    return number, function.call("wxpay_order", body, MINI_PROGRAM).status


def paid_orders(function: Function, box: Sandbox, count: int) -> list[str]:
    """Orders that were paid at WeChat Pay a moment ago: nobody has been told."""
    numbers = []
    for _ in range(count):
        number, status = order(function)
        assert status == 200
        box.ledger.pay(number, "")
        numbers.append(number)
    return numbers


class Postman:
    """Delivers callbacks from many threads, each again until it is taken, as WeChat Pay does."""

    def __init__(self, box: Sandbox, threads: int) -> None:
        self._box, self._threads = box, threads
        self.made: list[Delivery] = []

    def once(self, numbers: Sequence[str]) -> list[Delivery]:
        """One delivery for each item, all at once as far as the threads go."""
        with ThreadPoolExecutor(self._threads) as pool:
            told = pool.map(lambda number: self._box.deliver("order", number), numbers)
            made = [one for deliveries in told for one in deliveries]
        self.made += made
        return made

    def until_taken(self, numbers: Sequence[str], give_up_after: float = DRAIN) -> None:
        """Every item of `numbers` once more for each delivery that was not taken."""
        left = deque(numbers)
        give_up = time.monotonic() + give_up_after

        def work() -> None:
            while True:
                try:
                    number = left.popleft()
                except IndexError:
                    return
                made = self._box.deliver("order", number)
                self.made += made
                if not made[0].acknowledged:
                    assert time.monotonic() < give_up, f"never taken: {made[0].describe()}"
                    left.append(number)

        with ThreadPoolExecutor(self._threads) as pool:
            for done in [pool.submit(work) for _ in range(self._threads)]:
                done.result()

    @property
    def taken(self) -> int:
        return sum(delivery.acknowledged for delivery in self.made)


class Books:
    """The tables, read and set by plain SQL over a connection of one's own."""

    def __init__(self, database_url: str) -> None:
        kind, _, rest = database_url.partition("://")
        self._engine: Engine = create_engine(f"{DRIVERS[kind]}://{rest}", poolclass=NullPool)

    def rows(self, query: str) -> list[tuple]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def change(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement))

    def states(self) -> dict[str, str]:
        return dict(self.rows("SELECT out_trade_no, state FROM pay_orders"))

    def undelivered(self) -> int:
        return int(self.rows("SELECT COUNT(*) FROM pay_events WHERE state <> 'DONE'")[0][0])

    def wait_until_delivered(self) -> None:
        """Hooks that a callback did not wait for are still under way."""
        give_up = time.monotonic() + DRAIN
        while self.undelivered():
            assert time.monotonic() < give_up, self.rows("SELECT id, state, attempts, last_error FROM pay_events")[:5]
            time.sleep(0.1)
