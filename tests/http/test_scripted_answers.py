"""Answers that only a script gives: repetitions that are refused, redirects, and JSON that is none."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pytest

from sandbox import Credentials, Sandbox
from services.order_service import OrderService
from tests.services.wechatpay.host import Answering, Host, Say, Seen, signed
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY, Function, Reply, in_process

OPERATOR = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
UNKNOWN = "outcome unknown"
REPORTS = [{"info_type": "活动名称", "info_content": "a"}, {"info_type": "奖励说明", "info_content": "b"}]
BODIES: dict[str, dict[str, Any]] = {
    "wxpay_order": {"description": "tea", "out_trade_no": "ORDER_0001", "amount": {"total": 100}},
    "wxpay_close_order": {"out_trade_no": "ORDER_0001"},
    "wxpay_refund": {"out_trade_no": "ORDER_0001", "out_refund_no": "R1", "amount": {"refund": 1, "total": 100}},
    "wxpay_transfer": {
        "out_bill_no": "BILL1",
        "transfer_scene_id": "1000",
        "openid": OPENID,
        "transfer_amount": 100,
        "transfer_remark": "bonus",
        "user_name": "欧阳峰",
        "transfer_scene_report_infos": REPORTS,
    },
    "wxpay_transfer_cancel": {"out_bill_no": "BILL1"},
    "wxpay_query_order_by_out_trade_no": {"out_trade_no": "ORDER_0001"},
    "wxpay_query_order_by_transaction_id": {"transaction_id": "4200000000202611210000000001"},
    "wxpay_refund_query": {"out_refund_no": "R1"},
    "wxpay_transfer_bill_query": {"out_bill_no": "BILL1"},
    "wxpay_transfer_bill_query_by_no": {"transfer_bill_no": "1330000071100999991182020050700019480001"},
}
QUERIES = [action for action in BODIES if "query" in action]
WRITES = [action for action in BODIES if action not in QUERIES]
# What WeChat Pay accepts each of them with.
ACCEPTED: dict[str, dict[str, Any]] = {
    "wxpay_order": {"prepay_id": "wx26112233445566000"},
    "wxpay_refund": {"out_refund_no": "R1", "status": "PROCESSING"},
    "wxpay_transfer": {"out_bill_no": "BILL1", "state": "WAIT_USER_CONFIRM", "package_info": "affffddafdfafddffda=="},
    "wxpay_transfer_cancel": {"out_bill_no": "BILL1", "state": "CANCELING"},
    "wxpay_query_order_by_out_trade_no": {"out_trade_no": "ORDER_0001", "trade_state": "NOTPAY"},
    "wxpay_query_order_by_transaction_id": {
        "transaction_id": "4200000000202611210000000001",
        "trade_state": "SUCCESS",
    },
    "wxpay_refund_query": {"out_refund_no": "R1", "status": "SUCCESS"},
    "wxpay_transfer_bill_query": {"out_bill_no": "BILL1", "state": "SUCCESS"},
    "wxpay_transfer_bill_query_by_no": {
        "transfer_bill_no": "1330000071100999991182020050700019480001",
        "state": "SUCCESS",
    },
}


class Noting(OrderService):
    """Notes which handlers were called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def handler_unified(self, params: Any) -> None:
        self.called.append("handler_unified")

    def handler_refund(self, params: Any) -> None:
        self.called.append("handler_refund")

    def handler_transfer(self, params: Any, result: Any) -> None:
        self.called.append("handler_transfer")

    def handler_query(self, action: Any, params: Any, result: Any) -> None:
        self.called.append("handler_query")

    def handler_close(self, params: Any) -> None:
        self.called.append("handler_close")


@dataclass
class Scene:
    """The function between two scripted hosts; `script(main, backup)` says what they answer."""

    function: Function
    orders: Noting
    credentials: Credentials
    seen: list[tuple[str, Seen]] = field(default_factory=list)
    answers: dict[str, list[Say | Answering]] = field(default_factory=dict)

    def script(self, main: Say | Answering, backup: Say | Answering) -> None:
        self.seen.clear()
        self.orders.called.clear()
        self.answers = {"main": [main], "backup": [backup]}

    def answer(self, host: str, seen: Seen) -> Say:
        self.seen.append((host, seen))
        found = self.answers[host]
        answer = found.pop(0) if len(found) > 1 else found[0]
        return answer(seen) if callable(answer) else answer

    def signed(self, status: int, content: Any, **options: Any) -> Answering:
        """Signed when it is asked for, with the key that the function knows."""
        body = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
        known = self.credentials

        def say(_: Seen) -> Say:
            made = signed(status, body, key=known.public_key, serial=known.public_key_id, **options)
            made.headers |= {"Content-Type": "application/json", "Request-ID": "08F4-1"}
            return made

        return say

    def do(self, action: str, **changes: Any) -> Reply:
        return self.function.call(action, BODIES[action] | changes, OPERATOR)

    def hosts(self) -> list[str]:
        return [host for host, _ in self.seen]


@pytest.fixture(scope="module")
def running(credentials: Credentials) -> Iterator[Scene]:
    orders = Noting()
    with scripted(credentials, orders) as scene:
        yield scene


@pytest.fixture
def scene(running: Scene) -> Scene:
    running.script(Say(500), Say(500))
    return running


@contextmanager
def scripted(credentials: Credentials, orders: Noting) -> Iterator[Scene]:
    scene = Scene(Function(""), orders, credentials)
    with (
        Sandbox(credentials=credentials) as box,
        Host(lambda seen: scene.answer("main", seen)) as main,
        Host(lambda seen: scene.answer("backup", seen)) as backup,
    ):
        env = box.env(
            operatorKey=OPERATOR_KEY, wxPayTimeout="2.4", wxPayApiBase=main.url, wxPayApiBackup=backup.url
        )
        with in_process(env, orders) as function:
            scene.function = function
            yield scene


def reset(stream: BinaryIO) -> None:
    """The connection ends with RST, after the request was read and, for all one knows, carried out."""
    raw: socket.socket = stream._sock  # type: ignore[attr-defined]
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def cut(stream: BinaryIO) -> None:
    stream.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"prepay_id":')


def refused(reply: Reply, status: int) -> str:
    assert reply.status == status, reply.text
    assert set(reply.body) - {"outcome"} == {"code", "msg", "data"}
    assert reply.body["code"] == -1
    message: str = reply.body["msg"]
    # Programs and people are told the same.
    assert reply.body.get("outcome") == ("unknown" if UNKNOWN in message else None)
    return message


# The first answer is lost, the repetition is refused


LOST: dict[str, Callable[[Scene], Say | Answering]] = {
    "a reset": lambda scene: Say(raw=reset),
    "a closed connection": lambda scene: Say(raw=lambda stream: None),
    "a cut answer": lambda scene: Say(raw=cut),
    "no answer in time": lambda scene: Say(after=1.4),
    "a signed 500": lambda scene: scene.signed(500, {"code": "SYSTEM_ERROR"}),
    "a gateway's 502": lambda scene: Say(502, b"<html></html>"),
    "an accepted 202": lambda scene: scene.signed(202, b""),
    "a success that nobody signed": lambda scene: Say(200, b'{"prepay_id":"wx1"}'),
    "a signed success that is no JSON": lambda scene: scene.signed(200, b"OK"),
    "a redirect": lambda scene: Say(302, b"", {"Location": "https://pay.example/"}),
}
SECOND = {
    "wxpay_order": (400, "ORDERPAID", "该订单已支付"),
    "wxpay_close_order": (400, "ORDER_CLOSED", "订单已关闭"),
    "wxpay_refund": (403, "NOT_ENOUGH", "基本账户余额不足"),
    "wxpay_transfer": (400, "ALREADY_EXISTS", "订单已存在"),
    "wxpay_transfer_cancel": (400, "INVALID_REQUEST", "当前状态不可撤销"),
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("action", WRITES)
def test_a_refusal_of_the_repetition_leaves_the_first_try_s_outcome_unknown(
    scene: Scene, action: str, lost: str
) -> None:
    status, code, text = SECOND[action]
    scene.script(LOST[lost](scene), scene.signed(status, {"code": code, "message": text}))
    reply = scene.do(action)
    message = refused(reply, status)
    assert UNKNOWN in message
    assert "query before you retry" in message
    assert "same number" in message
    assert code in message
    assert text in message
    assert "not signed" not in message
    assert reply.body["data"] == {"status": status, "data": {"code": code, "message": text}}
    assert scene.hosts() == ["main", "backup"]
    first, second = (seen for _, seen in scene.seen)
    assert (first.target, first.body) == (second.target, second.body)
    assert scene.orders.called == []


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_a_401_to_the_repetition_names_our_credentials_and_the_unknown_outcome(
    scene: Scene, action: str, *, is_signed: bool
) -> None:
    content = {"code": "SIGN_ERROR", "message": "签名错误"}
    second = scene.signed(401, content) if is_signed else Say(401, json.dumps(content).encode())
    scene.script(Say(raw=reset), second)
    reply = scene.do(action)
    message = refused(reply, 502)
    for named in ("merchantSerialNumber", "privateKey", "clock", UNKNOWN, "same number"):
        assert named in message, named
    assert reply.body["data"] == {"status": 401, "data": content}


@pytest.mark.parametrize("action", WRITES)
def test_an_unsigned_refusal_of_the_repetition_says_unknown_once(scene: Scene, action: str) -> None:
    scene.script(Say(raw=reset), Say(403, b'{"code":"NO_AUTH","message":"forbidden"}'))
    message = refused(scene.do(action), 403)
    assert "not signed by WeChat Pay" in message
    assert message.count(UNKNOWN) == 1


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("action", WRITES)
def test_a_refusal_of_the_first_try_is_known(scene: Scene, action: str, status: int) -> None:
    scene.script(scene.signed(status, {"code": "PARAM_ERROR", "message": "no"}), Say(500))
    assert UNKNOWN not in refused(scene.do(action), status)
    assert scene.hosts() == ["main"]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("lost", ["a reset", "a signed 500", "a success that nobody signed"])
@pytest.mark.parametrize("action", QUERIES)
def test_a_query_that_is_refused_at_the_second_try_changed_nothing(
    scene: Scene, action: str, lost: str, status: int
) -> None:
    scene.script(LOST[lost](scene), scene.signed(status, {"code": "SOME_CODE", "message": "no"}))
    message = refused(scene.do(action), 502 if status == 401 else status)
    assert UNKNOWN not in message
    assert scene.hosts() == ["main", "backup"]


@pytest.mark.parametrize(
    ("action", "unknown"), [("wxpay_order", False), ("wxpay_refund", True), ("wxpay_transfer", True)]
)
def test_a_refusal_after_a_rate_limit_is_unknown_where_the_limit_was(
    scene: Scene, action: str, *, unknown: bool
) -> None:
    """429 leaves refunds and transfers unknown ([4013071036], [4012716434]), an order was not placed."""
    limited = scene.signed(429, {"code": "FREQUENCY_LIMITED", "message": "slow down"})
    scene.script(limited, Say(500))
    scene.answers["main"].append(scene.signed(400, {"code": "INVALID_REQUEST", "message": "no"}))
    assert (UNKNOWN in refused(scene.do(action), 400)) == unknown
    assert scene.hosts() == ["main", "main"]


@pytest.mark.parametrize("action", ["wxpay_order", "wxpay_refund", "wxpay_transfer"])
def test_what_is_said_to_be_unknown_did_happen(credentials: Credentials, action: str) -> None:
    """Carried out, its answer reset, the repetition refused: by a WeChat Pay that keeps a ledger."""
    with (
        Sandbox(credentials=credentials) as box,
        in_process(box.env(operatorKey=OPERATOR_KEY)) as function,
    ):
        if action == "wxpay_refund":
            placed = function.call("wxpay_order", BODIES["wxpay_order"])
            assert placed.status == 200
            box.pay("ORDER_0001", deliver=False)
        box.fault("reset", host="main", processed=True)
        box.fault("unsigned_403", host="backup")
        assert UNKNOWN in refused(function.call(action, BODIES[action], OPERATOR), 403)
        ledger = box.ledger
        happened = {
            "wxpay_order": ledger.orders.get("ORDER_0001"),
            "wxpay_refund": ledger.refunds.get("R1"),
            "wxpay_transfer": ledger.transfers.get("BILL1"),
        }
        assert happened[action] is not None
        box.clear_faults()
        assert function.call(action, BODIES[action], OPERATOR).status == 200, "the same number again"


# Redirects


def redirect(status: int, location: bytes, *, encoding: bytes = b"") -> Say:
    """Written by hand, since a server would refuse to send some of it."""
    lines = [b"HTTP/1.1 %d Moved" % status, b"Location: " + location, b"Content-Length: 4"]
    if encoding:
        lines.append(b"Content-Encoding: " + encoding)
    content = b"\r\n".join([*lines, b"", b"gone"])

    def write(stream: BinaryIO) -> None:
        stream.write(content)

    return Say(raw=write)


REDIRECTS = {
    "a gzip that is none": redirect(302, b"https://pay.example/", encoding=b"gzip"),
    "a deflate that is none": redirect(302, b"https://pay.example/", encoding=b"deflate, gzip"),
    "an encoding that nobody knows": redirect(302, b"https://pay.example/", encoding=b"x-planted"),
    "half an IPv6 address": redirect(302, b"http://[::1/"),
    "a port out of range": redirect(302, b"http://pay.example:99999999/"),
    "a port of letters": redirect(302, b"http://pay.example:port/"),
    "no host": redirect(302, b"http:///"),
    "nothing": redirect(302, b""),
    "bytes that are no UTF-8": redirect(302, b"http://\xff\xfe\xed\xa0\x80/"),
    "an international name that is none": redirect(302, b"http://xn--\xc3\xa9-.example/"),
    "a scheme of nobody": redirect(302, b"planted:x"),
    "301": redirect(301, b"https://pay.example/"),
    "303": redirect(303, b"https://pay.example/"),
    "307": redirect(307, b"https://pay.example/"),
    "308": redirect(308, b"https://pay.example/", encoding=b"gzip"),
    "a long way": redirect(302, b"https://pay.example/" + b"a" * 60_000),
}


@pytest.mark.parametrize("name", REDIRECTS)
@pytest.mark.parametrize("action", ["wxpay_order", "wxpay_refund", "wxpay_query_order_by_out_trade_no"])
def test_a_redirect_by_both_hosts_is_an_answer_that_proves_nothing(scene: Scene, action: str, name: str) -> None:
    scene.script(REDIRECTS[name], REDIRECTS[name])
    message = refused(scene.do(action), 502)
    assert UNKNOWN in message
    assert "planted" not in message
    assert scene.hosts() == ["main", "backup"]
    assert scene.orders.called == []


@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirect_by_one_host_is_made_good_by_the_other(scene: Scene, name: str) -> None:
    scene.script(REDIRECTS[name], scene.signed(200, ACCEPTED["wxpay_refund"]))
    reply = scene.do("wxpay_refund")
    assert (reply.status, reply.body["data"]) == (200, {"status": 200, "data": ACCEPTED["wxpay_refund"]})
    assert scene.orders.called == ["handler_refund"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_nobody_goes_where_a_redirect_leads(scene: Scene, status: int, *, is_signed: bool) -> None:
    with Host(scene.signed(200, ACCEPTED["wxpay_transfer"])) as elsewhere:
        target = f"{elsewhere.url}/v3/fund-app/mch-transfer/transfer-bills"

        def moved(seen: Seen) -> Say:
            say = scene.signed(status, ACCEPTED["wxpay_transfer"])(seen)
            say.headers = (say.headers if is_signed else {}) | {"Location": target}
            return say

        scene.script(moved, moved)
        assert UNKNOWN in refused(scene.do("wxpay_transfer"), 502)
        assert elsewhere.seen == []
    assert scene.hosts() == ["main", "backup"]


# JSON that is none, under a true signature


def with_addition(action: str, addition: bytes) -> bytes:
    return json.dumps(ACCEPTED[action]).encode()[:-1] + b"," + addition + b"}"


STRANGE: dict[str, Callable[[str], bytes]] = {
    "half a pair": lambda action: with_addition(action, b'"x":"\\ud800"'),
    "the other half": lambda action: with_addition(action, b'"x":["a\\uDFFFb"]'),
    "half a pair in a name": lambda action: with_addition(action, b'"\\udbff":1'),
    "half a pair in UTF-8": lambda action: with_addition(action, b'"x":"\xed\xa0\x80"'),
    "half a pair in UTF-16": lambda action: (
        json.dumps(ACCEPTED[action] | {"x": "\ud800"}, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    ),
    "an escaped half in UTF-16": lambda action: json.dumps(ACCEPTED[action] | {"x": "\ud800"}).encode("utf-16-le"),
    "NaN": lambda action: with_addition(action, b'"x":NaN'),
    "Infinity": lambda action: with_addition(action, b'"x":{"y":Infinity}'),
    "-Infinity": lambda action: with_addition(action, b'"x":[-Infinity]'),
    "a number without end": lambda action: with_addition(action, b'"x":1e999'),
    "text that is no UTF-8": lambda action: with_addition(action, b'"x":"\xff"'),
    "100,000 brackets": lambda action: with_addition(action, b'"x":' + b"[" * 100_000 + b"]" * 100_000),
    "nothing": lambda action: b"",
    "half of it": lambda action: json.dumps(ACCEPTED[action]).encode()[:-3],
}


def unknown_or_readable(scene: Scene, reply: Reply, name: str) -> None:
    """Never an internal error: what was accepted is told as it is, or as unknown after both tries."""
    json.loads(reply.text, parse_constant=pytest.fail)
    if reply.status == 200:
        assert reply.body["code"] == 0
        return
    assert UNKNOWN in refused(reply, 502), name
    assert "internal error" not in reply.text
    assert scene.hosts() == ["main", "backup"]
    assert scene.orders.called == []


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("action", ["wxpay_order", "wxpay_refund", "wxpay_transfer", *QUERIES])
def test_a_signed_answer_that_is_no_json_is_an_unknown_outcome_and_no_error_of_ours(
    scene: Scene, action: str, name: str
) -> None:
    answer = scene.signed(200, STRANGE[name](action))
    scene.script(answer, answer)
    unknown_or_readable(scene, scene.do(action), name)


@pytest.mark.parametrize("name", ["half a pair", "NaN", "nothing"])
def test_an_accepted_refund_without_readable_json_is_unknown(scene: Scene, name: str) -> None:
    answer = scene.signed(200, STRANGE[name]("wxpay_refund"))
    scene.script(answer, answer)
    assert UNKNOWN in refused(scene.do("wxpay_refund"), 502)


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize(("status", "answered"), [(400, 400), (404, 404), (500, 502), (401, 502)])
def test_a_refusal_whose_body_is_no_json_is_told_by_its_status(
    scene: Scene, status: int, answered: int, name: str
) -> None:
    answer = scene.signed(status, STRANGE[name]("wxpay_refund"))
    scene.script(answer, answer)
    reply = scene.do("wxpay_refund")
    refused(reply, answered)
    json.loads(reply.text, parse_constant=pytest.fail)
    assert reply.body["data"]["status"] == status


def test_a_whole_pair_and_every_other_character_arrive_unaltered(scene: Scene) -> None:
    text = b'"\\ud83c\\udf75 \\u0000 \\\\ud800 \xf0\x9f\x8d\xb5"'
    content = with_addition("wxpay_refund", b'"x":' + text + b',"y":[1.5,-0,true,null]')
    scene.script(scene.signed(200, content), Say(500))
    reply = scene.do("wxpay_refund")
    assert reply.body["data"]["data"] == json.loads(content)
    assert reply.body["data"]["data"]["x"] == "\U0001f375 \0 \\ud800 \U0001f375"


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity"])
def test_a_compressed_answer_is_judged_by_the_bytes_that_were_sent(scene: Scene, encoding: str) -> None:
    """Nobody asked for one: what the signature does not cover is not read."""
    plain = json.dumps(ACCEPTED["wxpay_refund"]).encode()

    def packed(seen: Seen) -> Say:
        say = scene.signed(200, plain)(seen)
        say.body = gzip.compress(plain) if encoding == "gzip" else plain
        say.headers["Content-Encoding"] = encoding
        return say

    scene.script(packed, packed)
    reply = scene.do("wxpay_refund")
    assert reply.status == (502 if encoding == "gzip" else 200), reply.text
    assert scene.seen[0][1].headers.get("accept-encoding", "identity") == "identity"


# What WeChat Pay quotes of a caller


CREDENTIAL = "Basic planted-credential-0123456789-9Zz"
PAYEE = "oPAYEE0000000000000000000009"


def quoting(values: Mapping[str, str]) -> dict[str, Any]:
    """An error body that quotes, wherever text can stand."""
    return {
        "code": "PARAM_ERROR",
        "message": "invalid: " + " ".join(values.values()),
        "detail": {
            "value": list(values.values()),
            "issue": {value: value for value in values.values()},
            "field": "/payer/openid",
            "times": 3,
            "rate": 0.5,
            "final": True,
            "nothing": None,
        },
    }


@pytest.mark.parametrize("status", [400, 403, 404, 401, 500, 429])
@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("action", ["wxpay_order", "wxpay_transfer"])
def test_what_wechat_pay_quotes_of_a_caller_is_masked(
    scene: Scene, action: str, status: int, *, is_signed: bool
) -> None:
    secrets = {
        "header": OPENID,
        "body": PAYEE,
        "name": "欧阳峰",
        "operator": OPERATOR_KEY,
        "credential": CREDENTIAL,
        "authorization": "",
    }

    def quote(seen: Seen) -> Say:
        secrets["authorization"] = seen.headers["authorization"]
        content = quoting(secrets)
        return (
            scene.signed(status, content)(seen)
            if is_signed
            else Say(status, json.dumps(content, ensure_ascii=False).encode())
        )

    scene.script(quote, quote)
    own = {"payer": {"openid": PAYEE}} if action == "wxpay_order" else {"openid": PAYEE}
    body = BODIES[action] | own | {"user_name": "欧阳峰"}
    reply = scene.function.call(action, body, OPERATOR | {"Authorization": CREDENTIAL})
    refused(reply, {401: 502, 500: 502}.get(status, status))
    signature = secrets["authorization"].partition('signature="')[2].rstrip('"')
    assert len(signature) == 344
    for name, secret in secrets.items():
        assert secret not in reply.text, name
        assert json.dumps(secret)[1:-1] not in reply.text, name
    assert signature not in reply.text
    data = reply.body["data"]
    assert data["status"] == status
    detail = data["data"]["detail"]
    assert data["data"]["code"] == "PARAM_ERROR"
    assert {key: detail[key] for key in ("field", "times", "rate", "final", "nothing")} == {
        "field": "/payer/openid",
        "times": 3,
        "rate": 0.5,
        "final": True,
        "nothing": None,
    }
    assert type(detail["times"]) is int
    assert detail["value"][0] == "oTES***"
    assert "oPAY***" in detail["issue"]


def test_a_success_is_wechat_pay_s_own_body_with_nothing_masked(scene: Scene) -> None:
    content = ACCEPTED["wxpay_query_order_by_out_trade_no"] | {"payer": {"openid": OPENID}, "attach": f"of {OPENID}"}
    scene.script(scene.signed(200, content), Say(500))
    assert scene.do("wxpay_query_order_by_out_trade_no").body["data"]["data"] == content


def test_what_nobody_sent_is_quoted_as_it_is(scene: Scene) -> None:
    message = "输入源“/body/amount/total”映射到数值字段"
    content = {"code": "PARAM_ERROR", "message": message, "detail": {"value": "oOTHER"}}
    scene.script(scene.signed(400, content), Say(500))
    reply = scene.do("wxpay_order")
    assert reply.body["data"] == {"status": 400, "data": content}
