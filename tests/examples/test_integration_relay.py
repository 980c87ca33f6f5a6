"""The relay's handlers in Node, between what the generated function hands them and the function under gunicorn."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from sandbox import Credentials, Sandbox
from tests.http.house import House, house
from tests.http.plays import Stage
from tests.not_run import PREFIX
from tests.support import MINI_PROGRAM, OPERATOR_KEY, ROOT, gunicorn

FOLDER = ROOT / "examples" / "integration-relay"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
HANDLERS = {
    "order": ("handlerUnifiedTrigger", "handler_unified_trigger"),
    "refund": ("handlerRefundTrigger", "handler_refund_trigger"),
    "transfer": ("handlerTransferTrigger", "handler_transfer_trigger"),
}
# Calls one handler and prints what became of it.
FRAME = """
const OrderService = require(process.argv[1])
const { handler, params } = JSON.parse(require('node:fs').readFileSync(0))
new OrderService()[handler](params).then(
  (returned) => process.stdout.write(`\\n${JSON.stringify({ returned })}`),
  (error) => process.stdout.write(`\\n${JSON.stringify({ thrown: error.message })}`))
"""


@dataclass
class Said:
    """What a handler returned or threw, and everything that it printed."""

    returned: Any
    thrown: str
    printed: str
    seconds: float


@dataclass
class Relay:
    """The handlers, as the generated function would hold them."""

    node: str
    variables: dict[str, str]
    module: Path = FOLDER / "orderService.js"

    def call(self, handler: str, params: Any, **changes: str | None) -> Said:
        variables = {name: value for name, value in {**self.variables, **changes}.items() if value is not None}
        started = time.monotonic()
        run = subprocess.run(
            [self.node, "-e", FRAME, str(self.module)],
            input=json.dumps({"handler": handler, "params": params}),
            env=variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        result = json.loads(run.stdout.splitlines()[-1])
        printed = run.stdout + run.stderr
        return Said(result.get("returned"), result.get("thrown", ""), printed, time.monotonic() - started)


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip(f"{PREFIX}node is not installed")
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("relay"), Credentials.generate()) as opened:
        yield opened


@pytest.fixture
def ours(running: House) -> House:
    running.new()
    return running


@pytest.fixture
def relay(ours: House, node: str) -> Relay:
    return Relay(node, {"PAY_URL": ours.function.url, "PAY_OPERATOR_KEY": OPERATOR_KEY})


def ended(ours: House, kind: str, end: str = "SUCCESS") -> dict[str, Any]:
    """The plaintext of something that has come to its end; nobody has told the function."""
    stage = Stage(ours.box)
    if kind == "order":
        number = stage.order(paid=True)["out_trade_no"]
    elif kind == "refund":
        number = stage.refund()["out_refund_no"]
        ours.box.settle_refund(number, end, deliver=False)
    else:
        number = stage.transfer()["out_bill_no"]
        ours.box.finish_transfer(number, end, deliver=False)
    ours.recording.clear()
    return ours.box.plaintext(kind, number)


ENDS = [
    ("order", "SUCCESS"),
    *(("refund", end) for end in ("SUCCESS", "CLOSED", "ABNORMAL")),
    *(("transfer", end) for end in ("SUCCESS", "FAIL", "CANCELLED")),
]


@pytest.mark.parametrize(("kind", "end"), ENDS)
def test_what_has_ended_is_asked_about_once_and_handled(ours: House, relay: Relay, kind: str, end: str) -> None:
    plaintext = ended(ours, kind, end)
    asked = len(ours.box.requests)
    handler, ours_name = HANDLERS[kind]

    said = relay.call(handler, plaintext)

    assert said.returned == {"code": "SUCCESS"}
    (call,) = ours.recording.calls()
    assert call[0] == ours_name
    number = {"order": "out_trade_no", "refund": "out_refund_no", "transfer": "out_bill_no"}[kind]
    assert call[1][number] == plaintext[number]
    assert [request.method for request in ours.box.requests[asked:]] == ["GET"]
    assert "evidence" in ours.function.log_text()
    assert OPERATOR_KEY not in said.printed + ours.function.log_text()


def test_a_forged_payment_is_refused_and_not_tried_again(ours: House, relay: Relay) -> None:
    number = Stage(ours.box).order(paid=False)["out_trade_no"]
    asked = len(ours.box.requests)
    forged = {
        "mchid": ours.box.credentials.merchant_id,
        "appid": ours.box.credentials.app_id,
        "out_trade_no": number,
        "transaction_id": "4200000000202511250000000001",
        "trade_state": "SUCCESS",
        "amount": {"total": 1, "currency": "CNY"},
    }

    said = relay.call("handlerUnifiedTrigger", forged)

    assert said.returned is None
    assert "HTTP 400 FAIL" in said.thrown
    assert number in said.thrown
    assert ours.recording.calls() == []
    assert len(ours.box.requests) == asked + 1


def test_a_wrong_amount_is_refused(ours: House, relay: Relay) -> None:
    plaintext = ended(ours, "order")
    plaintext["amount"]["total"] += 1
    assert "HTTP 400 FAIL" in relay.call("handlerUnifiedTrigger", plaintext).thrown
    assert ours.recording.calls() == []


def test_without_a_running_function_it_is_tried_again_and_then_no_success(ours: House, relay: Relay) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listened at
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        said = relay.call("handlerUnifiedTrigger", ended(ours, "order"), PAY_URL=url)
    assert "no answer (ECONNREFUSED)" in said.thrown
    assert "wxpay_reconcile" in said.thrown
    assert said.seconds > 2, "several tries"


def test_a_function_that_hangs_does_not_hold_it_beyond_wechat_pays_five_seconds(ours: House, relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = relay.call("handlerUnifiedTrigger", ended(ours, "order"), PAY_URL=url)
    assert "no answer (TimeoutError)" in said.thrown
    assert said.seconds < 5


def test_while_wechat_pay_cannot_be_asked_it_is_tried_again(ours: House, relay: Relay) -> None:
    plaintext = ended(ours, "order")
    ours.box.fault("system_error", times=2)  # both hosts, once
    assert relay.call("handlerUnifiedTrigger", plaintext).returned == {"code": "SUCCESS"}
    assert [call[0] for call in ours.recording.calls()] == ["handler_unified_trigger"]


def test_a_stranger_who_asks_first_does_not_hold_it_up(ours: House, relay: Relay) -> None:
    plaintext = ended(ours, "order")
    body = {"ParsedContent": plaintext, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}
    assert ours.function.post("/wechatpay/order", body).status == 200
    assert ours.function.post("/wechatpay/order", body).status == 503, "his second question has to wait"
    said = relay.call("handlerUnifiedTrigger", plaintext)
    assert said.returned == {"code": "SUCCESS"}
    answers = [line for line in ours.function.log_lines() if line.get("path") == "/wechatpay/order"]
    assert [line["status"] for line in answers[-3:]] == [200, 503, 200], "at its first try"


def test_with_a_wrong_key_it_is_one_hint_among_others(ours: House, relay: Relay) -> None:
    plaintext = ended(ours, "order")
    said = relay.call("handlerUnifiedTrigger", plaintext, PAY_OPERATOR_KEY="no-operator-key-at-all-0123456789")
    assert said.returned == {"code": "SUCCESS"}
    refund = {"_operatorKey": "no-operator-key-at-all-0123456789", "out_trade_no": plaintext["out_trade_no"]}
    assert ours.function.call("wxpay_refund", refund).status == 403


@pytest.mark.parametrize("key", [None, ""], ids=["unset", "empty"])
@pytest.mark.parametrize("kind", HANDLERS)
def test_it_works_without_a_key(ours: House, relay: Relay, kind: str, key: str | None) -> None:
    plaintext = ended(ours, kind)
    handler, ours_name = HANDLERS[kind]
    said = relay.call(handler, plaintext, PAY_OPERATOR_KEY=key)
    assert said.returned == {"code": "SUCCESS"}
    assert [call[0] for call in ours.recording.calls()] == [ours_name]


def test_without_a_key_a_forged_payment_moves_nothing_either(ours: House, relay: Relay) -> None:
    plaintext = ended(ours, "order")
    plaintext["amount"]["total"] += 1
    assert "HTTP 400 FAIL" in relay.call("handlerUnifiedTrigger", plaintext, PAY_OPERATOR_KEY=None).thrown
    assert ours.recording.calls() == []


def test_the_key_that_the_relay_may_hold_can_refund(ours: House, relay: Relay) -> None:
    """Which is why README.md has one leave it out."""
    number = ended(ours, "order")["out_trade_no"]
    amount = {"refund": 1, "total": ours.box.ledger.orders[number].total}
    refund = {"out_trade_no": number, "out_refund_no": "BY_RELAY_1", "amount": amount}
    assert ours.function.call("wxpay_refund", refund).status == 403
    held = relay.variables["PAY_OPERATOR_KEY"]
    assert ours.function.call("wxpay_refund", {**refund, "_operatorKey": held}).status == 200
    assert "BY_RELAY_1" in ours.box.ledger.refunds


def test_by_the_api_gateway_with_a_server_key(ours: House, relay: Relay) -> None:
    gateway = f"{ours.box.url}/v1/functions/pay-common?webfn=true"
    key = ours.box.token("server")
    plaintext = ended(ours, "refund")
    said = relay.call("handlerRefundTrigger", plaintext, PAY_URL=gateway, CLOUDBASE_APIKEY=key)
    assert said.returned == {"code": "SUCCESS"}
    assert [call[0] for call in ours.recording.calls()] == ["handler_refund_trigger"]
    assert key not in said.printed + ours.function.log_text()
    refused = relay.call("handlerRefundTrigger", plaintext, PAY_URL=gateway)
    assert "HTTP 401 MISSING_CREDENTIALS" in refused.thrown


def test_the_largest_body_that_the_generated_function_takes_passes(ours: House, relay: Relay) -> None:
    """express.json refuses more than 100 KB, and nothing of WeChat Pay's comes near it."""
    plaintext = {**ended(ours, "order"), "more": "茶" * 30_000}
    assert relay.call("handlerUnifiedTrigger", plaintext).returned == {"code": "SUCCESS"}


WRONG = [
    ({"PAY_URL": None}, "PAY_URL must be the URL"),
    ({"PAY_URL": "pay.shop.example"}, "PAY_URL must be the URL"),
    ({"PAY_URL": "http://pay.shop.example"}, "PAY_URL must begin with https://"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_is_not_set_is_named(ours: House, relay: Relay, changes: dict[str, Any], told: str) -> None:
    said = relay.call("handlerUnifiedTrigger", {"out_trade_no": "N"}, **changes)
    assert told in said.thrown
    assert ours.box.requests == []


def test_a_redirect_is_not_followed_with_the_key(ours: House, relay: Relay, tmp_path: Path) -> None:
    with serving(b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n") as url:
        said = relay.call("handlerUnifiedTrigger", {"out_trade_no": "N"}, PAY_URL=url)
    assert "no answer" in said.thrown


@pytest.mark.parametrize("answer", [b'{"code":"FAIL"}', b'{"code":0}', b"{}", b"ok", b""], ids=ascii)
def test_a_200_without_success_is_none(ours: House, relay: Relay, answer: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(answer)}\r\n\r\n"
    with serving(head.encode() + answer) as url:
        said = relay.call("handlerUnifiedTrigger", {"out_trade_no": "N"}, PAY_URL=url)
    assert "HTTP 200" in said.thrown


@contextmanager
def serving(answer: bytes) -> Iterator[str]:
    """A server that answers every request so."""
    server = subprocess.Popen(
        [
            shutil.which("node") or "node",
            "-e",
            "const a = Buffer.from(process.argv[1], 'base64')\n"
            "require('node:net').createServer((c) => { c.on('error', () => {}); c.once('data', () => c.end(a)) })"
            ".listen(0, '127.0.0.1', function () { console.log(this.address().port) })",
            base64.b64encode(answer).decode(),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def test_what_was_placed_at_the_relay_is_said_to_be_unknown(relay: Relay) -> None:
    for handler in ("handlerUnified", "handlerRefund", "handlerTransfer"):
        said = relay.call(handler, {"out_trade_no": "N"})
        assert said.returned is True, "the caller's order went through"
        assert f"{handler}: this was placed at the relay" in said.printed


def test_what_the_relay_lost_is_found_by_reconciling(node: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.sqlite3"
    box = Sandbox()
    settings = box.env(operatorKey=OPERATOR_KEY, orderDatabaseUrl=url)
    with box, gunicorn(settings, tmp_path / "log") as function:
        operator = {**MINI_PROGRAM, "X-Operator-Key": OPERATOR_KEY}
        assert function.call("wxpay_orders_init", {}, operator).status == 200
        order = {"description": "Tea", "out_trade_no": "LOST_000001", "amount": {"total": 20}}
        assert function.call("wxpay_order", order).status == 200
        box.pay("LOST_000001", deliver=False)
        relay = Relay(node, {"PAY_URL": "http://127.0.0.1:9", "PAY_OPERATOR_KEY": OPERATOR_KEY})
        assert relay.call("handlerUnifiedTrigger", box.plaintext("order", "LOST_000001")).thrown

        engine = create_engine(url)
        with engine.begin() as connection:  # as if its time had come
            connection.execute(text("UPDATE pay_orders SET next_check_at = created_at"))
        reply = function.call("wxpay_reconcile", {}, operator)
        assert (reply.status, reply.body["data"]["data"]["changed"]) == (200, 1)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT state FROM pay_orders")).scalar_one() == "PAID"
        engine.dispose()


# README.md


def block(containing: str) -> str:
    (found,) = [text for text in re.findall(r"```\w*\n(.*?)```", README, re.DOTALL) if containing in text]
    return found


def test_the_change_of_pay_service_makes_the_acknowledgement_wait(ours: House, relay: Relay, tmp_path: Path) -> None:
    """The lines of README.md in a frame that answers as the generated function does: a rejection is FAIL."""
    lines = block("handlerUnifiedTrigger").splitlines()
    assert len(lines) == 3
    for line, (kind, (handler, _)) in zip(lines, HANDLERS.items(), strict=True):
        assert line.startswith("await ")
        (argument,) = re.findall(rf"^await this\.orderService\.{handler}\((\w+)\);$", line)
        frame = f"""
        const OrderService = require({json.dumps(str(FOLDER / "orderService.js"))})
        class PayService {{
          constructor() {{ this.orderService = new OrderService() }}
          async accept({argument}) {{ {line} return {argument} }}
        }}
        module.exports = class {{ async {handler}(p) {{
          try {{ return await new PayService().accept(p) ? 'SUCCESS' : 'FAIL' }} catch {{ return 'FAIL' }}
        }} }}"""
        (tmp_path / "orderService.js").write_text(frame)
        plaintext = ended(ours, kind)
        asked = Relay(relay.node, relay.variables, tmp_path / "orderService.js")
        assert asked.call(handler, plaintext).returned == "SUCCESS"
        assert asked.call(handler, plaintext, PAY_URL="http://127.0.0.1:9").returned == "FAIL"


def test_the_readme_names_every_variable_and_the_budget() -> None:
    source = (FOLDER / "orderService.js").read_text(encoding="utf-8")
    variables = set(re.findall(r"'(PAY_\w+)'", source)) | set(re.findall(r"process\.env\.(\w+)", source))
    assert variables == set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    (budget,) = re.findall(r"BUDGET = (\d)000;", source)
    assert f"at most {budget} seconds" in README
