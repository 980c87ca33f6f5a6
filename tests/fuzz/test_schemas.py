"""hypothesis on the schema of every action: whatever JSON comes in, the answer is one that docs/openapi.json describes.

Real HTTP to the application in this process. Bad input is never 5xx, what is refused asks WeChat Pay for nothing, and
what passes goes out with canonical types. Arbitrary JSON, and the documented examples with leaves replaced by hostile
values, each sent as text, so that keys may come twice and halves of surrogate pairs may come at all.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import hypothesis.strategies as st
import pytest
import requests
from hypothesis import HealthCheck, Phase, example, given, settings
from werkzeug.serving import make_server

from app import create_app
from config.settings import Settings
from tests.fuzz import house, world
from tests.fuzz.choices import HOSTILE

EXAMPLES = 100  # of each action and each kind
HEADERS = {
    "Content-Type": "application/json",
    "X-Wx-Source": "wx_client",
    "X-Wx-Openid": world.OPENID,
    "X-Operator-Key": world.OPERATOR_KEY,
    "X-Forwarded-For": "1.2.4.8",
}
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
DESK = ("wxpay_order_wait", "wxpay_reconcile", "wxpay_orders_init", "wxpay_trade_bill", "wxpay_fundflow_bill")


class Shop:
    """The application behind a server in this process, and the network that it is on."""

    def __init__(self, url: str, network: world.Network) -> None:
        self.url, self.network = url, network
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, action: str, text: bytes) -> house.Reply:
        self.network.asked.clear()
        answer = self._session.post(
            f"{self.url}/wx-pay/{action}", data=text, headers=HEADERS, timeout=30, allow_redirects=False
        )
        return house.Reply(answer.status_code, answer.headers, answer.content, "", list(self.network.asked))


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with _served() as shop:
        yield shop


@contextmanager
def _served() -> Iterator[Shop]:
    network = world.Network(world.books)
    application = create_app(Settings.from_env(world.ENV | {"logLevel": "error"}), transport=network)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Shop(f"http://127.0.0.1:{server.server_port}", network)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Inputs

_TEXTS = st.text(max_size=40) | st.text(alphabet="0123456789０１２３٣²eE+-._ ", max_size=12)
_NUMBERS = (
    st.integers()
    | st.integers(-(10**70), 10**70)
    | st.sampled_from([2**31 - 1, 2**31, 2**53, 2**63, 10**64, -1, 0])
    | st.floats(allow_nan=True, allow_infinity=True)
)
_LEAVES = st.sampled_from(HOSTILE).map(copy.deepcopy) | _TEXTS | _NUMBERS | st.booleans() | st.none()
_ANY = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4))
_DEEP = st.integers(1, 90).map(lambda depth: f"{'[' * depth}1{']' * depth}")
# What no serialiser writes, as it stands in the text.
_RAW = st.sampled_from(
    (
        "1e400", "-0", "1E2", "1.0", "01", "+1", "1_0", "NaN", "Infinity", '"\\ud800"', '"\\udc00x"', '"\\u0000"',
        "1" * 65, "１２", "[" * 100, "{}}", "'a'", "tru", '"\n"', "/**/1", "1,", "null", '"' + "9" * 5000 + '"',
    )
) | _DEEP  # fmt: skip
_MARK = "\ue000raw\ue000"  # stands for a raw text until it is written


@st.composite
def _near(draw: st.DrawFn, action: str) -> bytes:
    """The documented example with one leaf or more replaced, added, removed or written raw; a key maybe twice."""
    body = copy.deepcopy(house.EXAMPLES[action])
    if action == "wxpay_transfer":
        body |= {"user_name": world.USER_NAME}
    raws = []
    for _ in range(draw(st.integers(1, 3))):
        if not body:
            body[draw(_TEXTS)] = 1
        holder, key = draw(st.sampled_from(_places(body)))
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "raw"]))
        if what == "remove" and (isinstance(holder, dict) or len(holder) > 1) and len(body) > 1:
            del holder[key]
        elif what == "add" and isinstance(holder, dict):
            holder[draw(_TEXTS)] = draw(_ANY)
        elif what == "raw":
            raws.append(draw(_RAW))
            holder[key] = _MARK
        else:
            holder[key] = copy.deepcopy(draw(_ANY))
    text = json.dumps(body, ensure_ascii=draw(st.booleans()))
    for raw in raws:
        text = text.replace(json.dumps(_MARK), raw, 1).replace(f'"{_MARK}"', raw, 1)
    if draw(st.integers(0, 9)) == 0:
        name = draw(st.sampled_from(sorted(body)))
        text = f"{text[:-1]},{json.dumps(name)}:{json.dumps(draw(_LEAVES))}}}"
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(item, (dict, list)):
            found += _places(item)
    return found


# What every answer must be


def judge(shop: Shop, action: str, text: bytes) -> None:
    reply = shop.post(action, text)
    operation = f"/wx-pay/{action}"
    house.require_documented(reply, operation)
    house.require_nothing_sent_for_refused(reply)
    assert not world.secrets_in(reply.raw.decode())
    if reply.status == 500:
        assert action in DESK
        assert reply.body["msg"].startswith("MISSING_CREDENTIALS: orderDatabaseUrl"), reply.body
    assert reply.status in (200, 400, 404, 413, 500), f"{reply.status} for bad input: {reply.raw[:300]!r}"
    if reply.status == 200 or reply.asked:
        house.require_described_body(action, text)
    if reply.status == 400:
        assert not reply.asked


@pytest.mark.parametrize("action", house.EXAMPLES)
def test_the_example_itself_passes(shop: Shop, action: str):
    """Else what follows would only try what is refused anyway."""
    reply = shop.post(action, json.dumps(house.EXAMPLES[action]).encode())
    assert reply.status == 500 if action in DESK else reply.status in (200, 404), reply.raw
    assert bool(reply.asked) == (action not in DESK)
    judge(shop, action, json.dumps(house.EXAMPLES[action]).encode())


@pytest.mark.parametrize("action", house.EXAMPLES)
def test_near_valid_bodies(shop: Shop, action: str):
    @QUIET
    @given(text=_near(action))
    def run(text: bytes) -> None:
        judge(shop, action, text)

    run()


@pytest.mark.parametrize("action", house.EXAMPLES)
def test_arbitrary_json(shop: Shop, action: str):
    names = st.sampled_from([*house.EXAMPLES[action], "_operatorKey"]) | _TEXTS

    @settings(QUIET, max_examples=EXAMPLES // 3)
    @given(value=_ANY | st.dictionaries(names, _ANY, max_size=6))
    @example(value={})
    @example(value=[])
    def run(value: Any) -> None:
        judge(shop, action, json.dumps(value).encode())

    run()
