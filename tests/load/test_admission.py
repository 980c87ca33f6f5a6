"""More requests than threads: callers beyond their places get 503 at once, callbacks and /healthz their answer."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import HANDLER_THREADS
from routes.admission import PLACES, Admission
from sandbox import Credentials, Sandbox
from services.orders import waiting
from services.strategies.confirmation import AT_A_TIME
from tests.support import MINI_PROGRAM, ROOT, Function, Reply, gunicorn

ORIGIN = "https://shop.example"
BUSY = "too many requests at a time, nothing was sent to WeChat Pay: try again in 1 s"
PAGE = (ROOT / "docs" / "soak.md").read_text()
LONG = 60.0  # seconds for what takes moments on a machine that does nothing else
CROWD = 400  # fewer than gunicorn's connections, with those that are held
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def credentials() -> Credentials:
    return Credentials.generate()


@dataclass
class Shop:
    """The function under gunicorn, and the folder by which its order service tells what it holds."""

    box: Sandbox
    function: Function
    folder: Path

    def held(self, what: str) -> int:
        return len(list(self.folder.glob(f"{what}-*")))

    def go(self) -> None:
        (self.folder / "go").touch()

    def stop(self) -> None:
        """The gate is closed again and forgets whom it held."""
        for file in self.folder.iterdir():
            file.unlink()

    def order(self, number: str = "") -> Reply:
        with_connection_of_its_own = Function(self.function.url)
        return with_connection_of_its_own.call("wxpay_order", order(number or fresh("TEA")))

    def paid(self, prefix: str) -> str:
        """A new number of that prefix, which was paid and of which the function has not been told."""
        number, ours = fresh(prefix), self.box.credentials
        body = {"out_trade_no": number, "appid": ours.app_id, "mchid": ours.merchant_id, "description": "Tea"}
        amount, notify = {"total": 100, "currency": "CNY"}, self.box.env()["notifyURLPayURL"]
        payer = {"openid": MINI_PROGRAM["X-Wx-Openid"]}
        self.box.ledger.place("jsapi", {**body, "amount": amount, "payer": payer, "notify_url": notify})
        self.box.pay(number, deliver=False)
        return number

    @contextmanager
    def full(self) -> Iterator[list[Future[Reply]]]:
        """As many orders are held as there are places; they go on at the end."""
        with ThreadPoolExecutor(PLACES) as pool:
            try:
                orders = [pool.submit(self.order, fresh("HELD")) for _ in range(PLACES)]
                until(lambda: self.held("order") == PLACES)
                yield orders
            finally:
                self.go()
        self.stop()


def fresh(prefix: str) -> str:
    return f"{prefix}{next(_numbers):010d}"


def order(number: str) -> dict[str, object]:
    return {"description": "Tea", "out_trade_no": number, "amount": {"total": 100}}


def raw_order(number: str, fields: str = "") -> bytes:
    body = json.dumps(order(number)).encode()
    head = "POST /wx-pay/wxpay_order HTTP/1.1\r\nHost: shop\r\nX-Wx-Source: wx_client\r\nX-Wx-Openid: oRaw\r\n"
    return f"{head}{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < give_up, "did not come about"
        time.sleep(0.02)


@contextmanager
def opened(folder: Path, credentials: Credentials, **variables: str) -> Iterator[Shop]:
    gate = folder / "gate"
    gate.mkdir()
    with Sandbox(credentials=credentials) as box:
        env = box.env(orderService="tests.load.gated_orders:Gated", corsAllowOrigin=ORIGIN, **variables)
        with gunicorn({**env, "GATE_FOLDER": str(gate)}, folder / "log") as function:
            box.function = function.url
            yield Shop(box, function, gate)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("gated"), credentials) as it:
        yield it


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    """A shop of which every place for callers is taken, all the time."""
    with opened(tmp_path_factory.mktemp("full"), credentials) as it:
        with it.full() as orders:
            yield it
            assert not any(one.done() for one in orders)
        assert [one.result().status for one in orders] == [200] * PLACES


WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "path": ("/wx-pay/wxpay_order", {}),
    "path behind a prefix": ("/shop/wx-pay/wxpay_order/", {}),
    "_action": ("/", {"_action": "wxpay_order"}),
    "path in the body": ("/", {"path": "/wx-pay/wxpay_order"}),
    "bare path": ("/wxpay_order", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_next_order_is_refused_at_once_by_every_way_in(full: Shop, way: str):
    path, routing = WAYS[way]
    reply = full.function.post(path, order(fresh("TEA")) | routing, MINI_PROGRAM | {"Origin": ORIGIN})
    assert (reply.status, reply.body) == (503, {"code": -1, "msg": BUSY, "data": None})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Retry-After"] == "1"
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {"Origin", "Accept-Language"} <= set(reply.headers["Vary"].split(", "))
    assert full.box.requests == [], "nothing is sent"


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_in_chinese_under_the_callers_request_id(full: Shop, way: str):
    path, routing = WAYS[way]
    headers = {"Accept-Language": "zh-CN", "X-Request-Id": "caller-0001", "Origin": "https://elsewhere.example"}
    reply = full.function.post(path, order(fresh("TEA")) | routing, MINI_PROGRAM | headers)
    assert reply.body["msg"] == "当前请求过多，未向微信支付发送任何内容，请 1 秒后重试"
    assert reply.headers["X-Request-Id"] == "caller-0001"
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    "action", ["wxpay_order_native", "wxpay_query_order_by_out_trade_no", "wxpay_refund", "wxpay_order_wait"]
)
def test_so_is_every_other_action(full: Shop, action: str):
    assert full.function.call(action, {"out_trade_no": fresh("TEA")}).status == 503


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100, b" " * 5_000_000])
def test_it_is_refused_before_its_body_is_looked_at(full: Shop, body: bytes):
    assert Function(full.function.url).post("/wx-pay/wxpay_order", body, MINI_PROGRAM).status == 503


def test_a_crowd_is_refused_to_the_last_and_a_callback_behind_it_acknowledged(full: Shop):
    number, (host, port) = full.paid("TEA"), full.function.url.removeprefix("http://").split(":")
    with ExitStack() as crowd:
        clients = [crowd.enter_context(socket.create_connection((host, int(port)), timeout=LONG)) for _ in range(CROWD)]
        for client in clients:
            client.sendall(raw_order(fresh("TEA")))
        (delivery,) = full.box.deliver("order", number)
        answers = [client.recv(65536)[:13] for client in clients]
    assert answers == [b"HTTP/1.1 503 "] * CROWD
    assert delivery.acknowledged, delivery.error


def test_pipelined_orders_are_refused_one_by_one_and_in_order(full: Shop):
    host, port = full.function.url.removeprefix("http://").split(":")
    names = [f"pipelined-{index:04d}" for index in range(300)]
    orders = [raw_order(fresh("TEA"), f"X-Request-Id: {name}\r\n") for name in names[:-1]]
    orders.append(raw_order(fresh("TEA"), f"X-Request-Id: {names[-1]}\r\nConnection: close\r\n"))
    answers = b""
    with socket.create_connection((host, int(port)), timeout=LONG) as client:
        client.sendall(b"".join(orders))
        while data := client.recv(65536):
            answers += data
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"503"] * len(orders)
    assert re.findall(r"(?i)x-request-id: (\S+)", answers.decode()) == names


@pytest.mark.parametrize("shape", ["direct", "forwarded"])
def test_a_callback_is_acknowledged_all_the_same(full: Shop, shape: str):
    number = full.paid("TEA")
    path = {"path": "/wx-pay/unifiedOrderTrigger"} if shape == "direct" else {}
    (delivery,) = full.box.deliver("order", number, shape=shape, **path)
    assert delivery.acknowledged, delivery.answer


def test_a_forged_one_is_refused_as_ever(full: Shop):
    reply = full.function.post("/wx-pay/unifiedOrderTrigger", {"resource": {}}, {"Wechatpay-Signature": "AAAA"})
    assert (reply.status, reply.body["code"]) == (400, "FAIL")


def test_health_preflights_and_what_is_not_there_are_answered(full: Shop):
    assert full.function.request("GET", "/healthz").status == 200
    assert full.function.request("OPTIONS", "/wx-pay/wxpay_order", headers={"Origin": ORIGIN}).status == 204
    assert full.function.post("/elsewhere", {}, MINI_PROGRAM).status == 404


def test_a_storm_is_one_line_of_the_log_a_second(full: Shop):
    logged, began = len(full.function.log_text()), time.monotonic()
    for _ in range(50):
        assert full.function.call("wxpay_order", order("TEA_SECRET")).status == 503
    seconds = time.monotonic() - began
    lines = [json.loads(line) for line in full.function.log_text()[logged:].splitlines()]
    assert len(lines) <= seconds + 1
    assert all(line["level"] == "ERROR" and "places for callers are taken" in line["message"] for line in lines)


def test_the_page_shows_this_very_answer(full: Shop):
    shown = re.search(r"```http\n(HTTP/1.1 503 .*?)\n(.*?)\n\n(.*?)\n```", PAGE, re.S)
    assert shown is not None
    reply = full.function.call("wxpay_order", order(fresh("TEA")))
    assert json.loads(shown[3]) == reply.body
    assert shown[2] == f"Retry-After: {reply.headers['Retry-After']}"
    assert shown[1] == "HTTP/1.1 503 Service Unavailable"


# Places are given back


def spent(shop: Shop) -> Iterator[tuple[str, Callable[[], int], int]]:
    yield "bad input", lambda: shop.function.call("wxpay_order", {}).status, 400
    yield "nobody", lambda: shop.function.post("/wx-pay/wxpay_order", order(fresh("TEA"))).status, 401
    yield "no JSON", lambda: shop.function.post("/wx-pay/wxpay_order", b"{", MINI_PROGRAM).status, 400
    yield "a broken order service", lambda: shop.order(fresh("BROKEN")).status, 503
    yield "no JSON at /", lambda: shop.function.post("/", b"{", MINI_PROGRAM).status, 400


def test_after_failures_of_all_sorts_every_place_is_there(shop: Shop):
    shop.box.reset()
    for what, send, status in spent(shop):
        assert [send() for _ in range(PLACES + 1)] == [status] * (PLACES + 1), what
    with shop.full() as orders:
        pass
    assert [one.result().status for one in orders] == [200] * PLACES


def test_after_clients_that_went_away_every_place_is_there(shop: Shop):
    shop.box.reset()
    host, port = shop.function.url.removeprefix("http://").split(":")
    for _ in range(PLACES):
        with socket.create_connection((host, int(port)), timeout=LONG) as client:
            client.sendall(raw_order(fresh("HELD")))
    until(lambda: shop.held("order") == PLACES)
    assert shop.order().status == 503, "they are not known to be gone"
    shop.go()
    until(lambda: len(shop.box.ledger.orders) == PLACES)
    until(lambda: shop.order().status == 200)
    shop.stop()
    with shop.full():
        pass


def test_after_time_outs_every_place_is_there(tmp_path: Path, credentials: Credentials):
    with opened(tmp_path, credentials, wxPayTimeout="2") as shop, ThreadPoolExecutor(PLACES) as pool:
        fault = shop.box.fault("latency", seconds=30)
        replies = list(pool.map(lambda _: shop.order(), range(PLACES)))
        assert {reply.status for reply in replies} == {504}
        assert fault in shop.box.faults
        shop.box.clear_faults()
        with shop.full() as orders:
            pass
        assert [one.result().status for one in orders] == [200] * PLACES


def test_after_what_no_handler_of_errors_sees_the_place_is_there():
    def fails(*_: object) -> list[bytes]:
        raise SystemExit

    admission = Admission(fails, lambda *_: True, lambda *_: None)
    for _ in range(PLACES + 1):
        with pytest.raises(SystemExit):
            admission({"REQUEST_METHOD": "POST", "PATH_INFO": "/"}, None)


# Callbacks have bounds of their own


def test_hanging_handlers_and_hanging_orders_leave_threads_for_others(shop: Shop):
    shop.box.reset()
    with shop.full(), ThreadPoolExecutor(HANDLER_THREADS) as pool:
        held = [pool.submit(shop.box.deliver, "order", shop.paid("HELD")) for _ in range(HANDLER_THREADS)]
        until(lambda: shop.held("payment") == HANDLER_THREADS)
        assert shop.function.request("GET", "/healthz").status == 200
        (refused,) = shop.box.deliver("order", shop.paid("TEA"))
        assert (refused.status, refused.json["code"]) == (503, "FAIL"), "all handlers are busy: it comes again"
        assert shop.order().status == 503
        assert not any(delivery.acknowledged for one in held for delivery in one.result())


def test_the_threads_are_enough_for_all_that_may_hold_one():
    threads = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["threads"]
    strangers_and_operators = 2 * AT_A_TIME
    assert threads >= PLACES + HANDLER_THREADS + strangers_and_operators + 4
    assert f"{PLACES} threads, of which {waiting.PLACES} may be `wxpay_order_wait`" in PAGE
    assert f"{HANDLER_THREADS} threads" in PAGE
    assert f"{AT_A_TIME} threads, and {AT_A_TIME} of operators" in PAGE
    assert f"the rest of {threads} threads" in PAGE
