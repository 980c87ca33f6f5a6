"""The whole application in this process, called as a WSGI server calls it, and what every answer must be."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app import create_app
from config.settings import Settings
from docs import openapi
from routes.actions import ACTIONS
from services.order_service import OrderService
from services.strategies.base import Notification
from tests.contract.judge import Judge, breaks_words
from tests.fuzz import world

DOCUMENT: dict[str, Any] = json.loads(openapi.FILE.read_text())
JUDGE = Judge(DOCUMENT)
_DESK = {"wxpay_order_wait", "wxpay_reconcile", "wxpay_orders_init", "wxpay_trade_bill", "wxpay_fundflow_bill"}
_NO_DATABASE = "MISSING_CREDENTIALS: orderDatabaseUrl"


@dataclass(frozen=True)
class Reply:
    """One answer, and what the function wrote and asked WeChat Pay meanwhile."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    log: str
    asked: list[tuple[str, str, bytes]]

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Orders(OrderService):
    """Keeps what it is handed, and answers as it is told to."""

    def __init__(self) -> None:
        self.kept: list[Notification] = []
        self.outcome: Any = None

    def handler_notification(self, notification: Notification, deadline: float) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self.kept.append(notification)
        return self.outcome


class House:
    """An application with these settings beside the usual ones, on a network without sockets."""

    def __init__(self, **env: str) -> None:
        self.orders = Orders()
        self.network = world.Network(world.books)
        settings = Settings.from_env(world.ENV | env)
        assert not settings.problems, settings.problems
        self._application = create_app(settings, transport=self.network, order_service=self.orders)

    def post(self, path: str, body: bytes, headers: Iterable[tuple[str, str]], method: str = "POST") -> Reply:
        """`headers` of one name come joined, as WSGI servers join them."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "fuzz",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key.startswith("HTTP_") and key in environ else value
        self.network.asked.clear()
        self.orders.kept.clear()
        told: list[Any] = []
        with _log() as log:
            content = b"".join(self._application(environ, lambda *answer: told.append(answer)))
        status, sent = told[-1][:2]
        return Reply(int(status[:3]), dict(sent), content, log.getvalue(), list(self.network.asked))


@contextmanager
def _log() -> Iterator[io.StringIO]:
    """The log goes to whatever standard output is at the moment."""
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        yield sys.stdout
    finally:
        sys.stdout = before


def require_documented(reply: Reply, operation: str) -> None:
    """Status and envelope are those of `operation` (a path of the description), or of the one that `/` has."""
    described = DOCUMENT["paths"].get(operation, DOCUMENT["paths"]["/"])["post"]["responses"]
    response = described.get(str(reply.status)) or described.get(f"{reply.status // 100}XX")
    assert response is not None, f"{operation} answers {reply.status}, which is not documented: {reply.raw[:300]!r}"
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/json"]["schema"]
    assert (problems := JUDGE.problems(schema, reply.body)) == [], f"{operation} {reply.status}: {problems[:3]}"


def require_sound(reply: Reply) -> None:
    """What holds for every answer: no fault of the function's own, no secret, a log line in JSON."""
    assert reply.headers["Content-Type"] == "application/json"
    body = reply.body
    if reply.status == 500:
        assert _NO_DATABASE in body.get("msg", "") or body.get("code") == "FAIL", (
            f"500: {reply.raw!r} {reply.log[-2000:]}"
        )
    assert "unexpected error" not in reply.log, reply.log[-2000:]
    assert not (found := world.secrets_in(reply.raw.decode())), f"the answer holds {found}"
    assert not (found := world.secrets_in(reply.log)), f"the log holds {found}"
    assert world.USER_NAME not in reply.log, "the log holds a name"
    for line in reply.log.splitlines():
        json.loads(line)


def require_nothing_sent_for_refused(reply: Reply) -> None:
    """What the function refused itself did not ask WeChat Pay for anything that changes anything."""
    refused = reply.status in (400, 401, 403, 404, 405, 409, 413) and "WeChat Pay:" not in str(reply.body.get("msg"))
    writes = [asked for asked in reply.asked if asked[0] != "GET"]
    assert not (refused and writes), f"answered {reply.status}, but WeChat Pay was asked: {writes[0][1]}"
    for _, path, body in writes:
        require_canonical(path, body)


def require_canonical(path: str, body: bytes) -> None:
    """A write as WeChat Pay gets it: numbers are integers in range, merchant and addresses are the configured ones."""
    sent = json.loads(body) if body else {}
    assert path.startswith("/v3/")
    for name, value in _leaves(sent):
        assert value is not None, f"{name} is null"
        assert type(value) in (str, int, bool), f"{name} is a {type(value).__name__}"
        if type(value) is int:
            assert 0 <= value <= 2**31 - 1, f"{name} is {value}"
        if name in (
            "total",
            "refund",
            "amount",
            "unit_price",
            "refund_amount",
            "cost_price",
            "transfer_amount",
            "quantity",
        ):
            assert type(value) is int, f"{name} is {value!r}"
        if name in ("total", "refund", "transfer_amount"):
            assert value >= 1, f"{name} is {value!r}"
    assert sent.get("mchid", world.MERCHANT_ID) == world.MERCHANT_ID
    assert sent.get("appid", world.APP_ID) in (world.APP_ID, world.SERVICE_APP_ID)
    if "notify_url" in sent:
        assert sent["notify_url"].startswith(f"{world.NOTIFY}/")
    assert "user_name" not in sent or len(sent["user_name"]) > 300, "a name goes out in clear"
    assert "_operatorKey" not in sent
    assert "_action" not in sent


def require_described_body(action: str, body: bytes) -> None:
    """What was carried out is what the description lets pass; identity and payer come from elsewhere."""
    try:
        sent = json.loads(body)
    except ValueError:
        return  # a form
    schema = DOCUMENT["paths"][f"/wx-pay/{action}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    problems = JUDGE.problems(schema, {name: value for name, value in sent.items() if name != "_operatorKey"})
    problems = [problem for problem in problems if not re.match(r"\$\.payer|\$ 'payer'|\$ 'openid'", problem)]
    assert problems == [], f"{action} took what the description does not: {problems[:3]}"
    assert (broken := breaks_words(sent)) == [], f"{action} took what the description does not: {broken}"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, name)
    else:
        yield name, value


def operation_of(path: str) -> str:
    """The description's path that a request's path leads to by its end, `/` where it is not told by it."""
    last = "/" + "/".join(path.removesuffix("/").split("/")[-2:])
    return last if last in DOCUMENT["paths"] else "/"


CALLBACKS = {name for name, row in ACTIONS.items() if row.right == "evidence"}
EXAMPLES: dict[str, Any] = {
    name: DOCUMENT["paths"][f"/wx-pay/{name}"]["post"]["requestBody"]["content"]["application/json"]["example"]
    for name in ACTIONS
    if name not in CALLBACKS
}
