"""Every kind of misbehaviour that the sandbox knows, and what the function makes of it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1

from sandbox import Credentials, Sandbox
from sandbox.credentials import new_key, private_pem
from sandbox.faults import KINDS
from sandbox.records import ApiRequest
from services.wechatpay import keys as keys_module
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY, Function, Reply, gunicorn, in_process

TIMEOUT = 2.5  # wxPayTimeout, with room for the pause after a 429
OPERATOR = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
LONG = 30.0  # of a latency, longer than anybody waits


@dataclass(frozen=True)
class Row:
    """What a kind leads to while it lasts on both hosts.

    `status` is the function's, `unknown` whether it says that the outcome is unknown, `healed` whether there
    is a second try (which succeeds when the kind happened only once), `options` those of the fault.
    """

    status: int
    unknown: bool = True
    healed: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    "latency": Row(504, options={"seconds": LONG}),
    "error": Row(502),
    "system_error": Row(502),
    "frequency_limited": Row(429),
    "html_502": Row(502),
    "reset": Row(502),
    "cut_body": Row(502),
    "slow_body": Row(504),
    "empty_200": Row(502),
    "bad_signature": Row(502),
    "no_signature": Row(502),
    "other_body_signature": Row(502),
    "unknown_certificate": Row(502),
    "unknown_public_key": Row(502),
    "stale_timestamp": Row(502),
    "future_timestamp": Row(502),
    "text_timestamp": Row(502),
    "probe": Row(502),
    "unsigned_403": Row(403, healed=False),
    "unsigned_404": Row(404, healed=False),
    "accepted_202": Row(502),
    "redirect_302": Row(502),
    "not_json": Row(502),
    "refuse": Row(502),
}
# A 429 means that nothing was done, but for refunds and transfers.
KNOWN_WHEN_LIMITED = {"order", "native", "query", "refund_query", "transfer_query"}


def test_every_kind_of_misbehaviour_has_its_row():
    assert set(ROWS) == set(KINDS)


@dataclass(frozen=True)
class Call:
    """One action, the text that its request to WeChat Pay holds, and how the sandbox keeps what it did."""

    action: str
    body: Mapping[str, Any]
    path: str
    method: str
    kept: Callable[[], object] = lambda: None

    def is_mine(self, request: ApiRequest) -> bool:
        return request.method == self.method and request.path.startswith(self.path)


class House:
    """The function beside its sandbox, with an order to refund and things to query."""

    def __init__(self, box: Sandbox, function: Function) -> None:
        self.box, self.function = box, function
        self._turn = 0
        self._secrets = secrets_of(box)
        self.mark = 0

    def new(self) -> dict[str, Call]:
        """Forget everything, prepare anew, and return the calls, each with numbers never used before."""
        self.box.reset()
        self._turn += 1
        turn = f"{self._turn:04d}"
        paid, refunded, sent = f"PAID{turn}", f"REF{turn}", f"SENT{turn}"
        for action, body in (
            ("wxpay_order", order(paid)),
            ("wxpay_refund", refund(paid, refunded)),
            ("wxpay_transfer", transfer(sent)),
        ):
            assert self.do(action, body).body["code"] == 0
            if action == "wxpay_order":
                self.box.pay(paid, deliver=False)
        self.mark = self.box.requests[-1].id
        ledger, pay, bills = self.box.ledger, "/v3/pay/transactions", "/v3/fund-app/mch-transfer/transfer-bills"
        refunds = "/v3/refund/domestic/refunds"
        return {
            "order": Call(
                "wxpay_order", order(f"NEW{turn}"), f"{pay}/jsapi", "POST", lambda: ledger.orders.get(f"NEW{turn}")
            ),
            "native": Call(
                "wxpay_order_native",
                order(f"QR{turn}A"),
                f"{pay}/native",
                "POST",
                lambda: ledger.orders.get(f"QR{turn}A"),
            ),
            "query": Call(
                "wxpay_query_order_by_out_trade_no", {"out_trade_no": paid}, f"{pay}/out-trade-no/{paid}", "GET"
            ),
            "refund": Call(
                "wxpay_refund", refund(paid, f"NEW{turn}"), refunds, "POST", lambda: ledger.refunds.get(f"NEW{turn}")
            ),
            "refund_query": Call("wxpay_refund_query", {"out_refund_no": refunded}, f"{refunds}/{refunded}", "GET"),
            "transfer": Call(
                "wxpay_transfer", transfer(f"NEW{turn}"), bills, "POST", lambda: ledger.transfers.get(f"NEW{turn}")
            ),
            "transfer_query": Call(
                "wxpay_transfer_bill_query", {"out_bill_no": sent}, f"{bills}/out-bill-no/{sent}", "GET"
            ),
        }

    def do(self, action: str, body: Mapping[str, Any]) -> Reply:
        return self.function.call(action, body, OPERATOR)

    def all(self, calls: Mapping[str, Call]) -> dict[str, Reply]:
        """Make the calls at once, so that waiting costs the time of one."""
        with ThreadPoolExecutor(len(calls)) as pool:
            made = pool.map(lambda call: self.do(call.action, call.body), calls.values())
        return dict(zip(calls, made, strict=True))

    def sent(self, call: Call) -> list[ApiRequest]:
        return [request for request in self.box.requests_since(self.mark) if call.is_mine(request)]

    def assert_tells_no_secret(self, reply: Reply) -> None:
        signatures = {signature_of(request) for request in self.box.requests}
        told = reply.text + json.dumps(dict(reply.headers))
        found = [secret for secret in self._secrets | signatures if secret and secret in told]
        assert found == []

    def assert_failed(self, name: str, reply: Reply, status: int, *, unknown: bool) -> None:
        """A refusal in the envelope, in time, that says what is known and tells nothing secret."""
        assert reply.status == status, f"{name}: {reply.text}"
        assert set(reply.body) == {"code", "msg", "data", *(["outcome"] if unknown else [])}, name
        assert reply.body.get("outcome") == ("unknown" if unknown else None), name
        assert reply.body["code"] == -1, name
        assert reply.seconds <= TIMEOUT + 1, name
        said = reply.body["msg"]
        assert ("outcome unknown" in said) == unknown, f"{name}: {said}"
        if unknown:
            assert "query" in said, name
            assert "same number" in said, name
        assert "127.0.0.1" not in said, name
        assert "Traceback" not in reply.text, name
        self.assert_tells_no_secret(reply)


def order(number: str) -> dict[str, Any]:
    return {"description": "形象店", "out_trade_no": number, "amount": {"total": 100}}


def refund(of: str, number: str) -> dict[str, Any]:
    return {"out_trade_no": of, "out_refund_no": number, "amount": {"refund": 10, "total": 100}}


def transfer(number: str) -> dict[str, Any]:
    return {
        "out_bill_no": number,
        "transfer_scene_id": "1000",
        "openid": OPENID,
        "transfer_amount": 100,
        "transfer_remark": "奖励",
        "user_name": "李雷雷",
        "transfer_scene_report_infos": [
            {"info_type": "活动名称", "info_content": "新会员"},
            {"info_type": "奖励说明", "info_content": "注册"},
        ],
    }


def secrets_of(box: Sandbox) -> set[str]:
    """What no answer and no log may hold."""
    key = private_pem(box.credentials.merchant.key)
    return {
        box.credentials.api_v3_key,
        OPERATOR_KEY,
        "WECHATPAY2-SHA256-RSA2048",
        "李雷雷",
        OPENID,
        *(line for line in key.splitlines() if len(line) == 64),
    }


def fields_of(request: ApiRequest) -> dict[str, str]:
    return dict(re.findall(r'([a-z_]+)="([^"]*)"', request.headers.get("authorization", "")))


def signature_of(request: ApiRequest) -> str:
    return fields_of(request).get("signature", "")


@pytest.fixture(scope="module")
def public_key_house(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("faults")
    with Sandbox(credentials=credentials) as box:
        env = box.env(operatorKey=OPERATOR_KEY, wxPayTimeout=str(TIMEOUT))
        with gunicorn(env, folder / "log") as function:
            yield House(box, function)


@pytest.fixture(scope="module")
def certificate_house(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("faults")
    with Sandbox(credentials=credentials, key_mode="certificate") as box:
        env = box.env(operatorKey=OPERATOR_KEY, wxPayTimeout=str(TIMEOUT))
        with gunicorn(env, folder / "log") as function:
            yield House(box, function)


@pytest.fixture
def house(request: pytest.FixtureRequest) -> House:
    found: House = request.getfixturevalue(getattr(request, "param", "public_key_house"))
    return found


def before_and_after(kind: str) -> list[bool | None]:
    """Whether the business action takes place although its answer is spoilt; None: it does."""
    return [None] if KINDS[kind].processed is None else [False, True]


CASES = [
    pytest.param(key_mode, kind, processed, id=f"{key_mode.removesuffix('_house')}-{kind}-{processed}")
    for key_mode in ("public_key_house", "certificate_house")
    for kind in ROWS
    for processed in before_and_after(kind)
    # Time is all that these two cost, and the mode of the keys has no part in them.
    if not (key_mode == "certificate_house" and kind in ("latency", "slow_body"))
]


@pytest.mark.parametrize(("house", "kind", "processed"), CASES, indirect=["house"])
def test_misbehaviour_of_both_hosts_is_told_in_time_and_never_a_success(house, kind, processed):
    calls, row = house.new(), ROWS[kind]
    options = dict(row.options) if processed is None else {**row.options, "processed": processed}
    house.box.fault(kind, **options)
    replies = house.all(calls)
    for name, reply in replies.items():
        unknown = row.unknown and not (kind == "frequency_limited" and name in KNOWN_WHEN_LIMITED)
        house.assert_failed(name, reply, row.status, unknown=unknown)
        if kind != "refuse":
            assert len(house.sent(calls[name])) == (2 if row.healed else 1), name

    # The same calls again, as their callers are told to: everything happens, and only once.
    happened = kind != "refuse" and processed is not False
    kept = {name: call.kept() for name, call in calls.items() if call.method == "POST"}
    assert [name for name, thing in kept.items() if (thing is not None) != happened] == []
    house.box.clear_faults()
    for name, reply in house.all(calls).items():
        assert (reply.status, reply.body["code"]) == (200, 0), f"{name}: {reply.text}"
    for name, thing in kept.items():
        assert calls[name].kept() is not None
        assert not happened or calls[name].kept() is thing


# Requests to WeChat Pay whose paths do not hold one another, so that each can have a fault of its own.
GROUPS = (("order", "query", "refund", "transfer"), ("native", "refund_query", "transfer_query"))


@pytest.mark.parametrize("group", GROUPS, ids=["first", "second"])
@pytest.mark.parametrize("kind", [kind for kind, row in ROWS.items() if row.healed and kind != "refuse"])
def test_misbehaviour_that_happens_once_is_healed_by_the_other_try(house, kind, group):
    calls = {name: call for name, call in house.new().items() if name in group}
    for call in calls.values():
        house.box.fault(kind, times=1, path=call.path, **ROWS[kind].options)
    replies = house.all(calls)
    for name, reply in replies.items():
        assert (reply.status, reply.body["code"]) == (200, 0), f"{name}: {reply.text}"
        assert reply.seconds <= TIMEOUT + 1, name
        first, second = house.sent(calls[name])
        if kind != "latency":  # which is only written down once it is over
            assert first.fault == kind, name
        assert second.fault is None, name
        assert (first.host, second.host) == ("main", "main" if kind == "frequency_limited" else "backup"), name
        assert first.verified, name
        assert second.verified, name
        assert (first.method, first.target, first.body) == (second.method, second.target, second.body), name
        assert fields_of(first)["nonce_str"] != fields_of(second)["nonce_str"], name
        assert signature_of(first) != signature_of(second), name
    assert len(house.box.ledger.orders) + len(house.box.ledger.refunds) + len(house.box.ledger.transfers) == 3 + sum(
        call.method == "POST" for call in calls.values()
    )


def test_the_backup_host_serves_while_the_main_host_refuses_connections(house):
    calls = house.new()
    house.box.fault("refuse", host="main")
    for name, reply in house.all(calls).items():
        assert (reply.status, reply.body["code"]) == (200, 0), f"{name}: {reply.text}"
        assert [request.host for request in house.sent(calls[name])] == ["backup"], name


def test_the_main_host_serves_while_the_backup_refuses_connections(house):
    calls = house.new()
    house.box.fault("refuse", host="backup")
    for name, reply in house.all(calls).items():
        assert (reply.status, reply.body["code"]) == (200, 0), f"{name}: {reply.text}"


@pytest.mark.parametrize("second", [kind for kind in ROWS if kind not in ("refuse", "frequency_limited", "latency")])
def test_a_refusing_main_host_and_a_misbehaving_backup_tell_of_the_backup(house, second):
    calls = {name: call for name, call in house.new().items() if name in GROUPS[0]}
    house.box.fault("refuse", host="main")
    house.box.fault(second, host="backup", **ROWS[second].options)
    for name, reply in house.all(calls).items():
        house.assert_failed(name, reply, ROWS[second].status, unknown=True)


def test_a_slow_answer_within_the_limit_is_waited_for(house):
    calls = house.new()
    house.box.fault("latency", seconds=0.5)
    for name, reply in house.all(calls).items():
        assert reply.body["code"] == 0, f"{name}: {reply.text}"
        assert len(house.sent(calls[name])) == 1, name


@pytest.mark.parametrize("kind", ["unsigned_403", "unsigned_404"])
def test_an_unsigned_refusal_is_said_to_be_no_proof(house, kind):
    calls = house.new()
    house.box.fault(kind)
    reply = house.do(calls["order"].action, calls["order"].body)
    assert reply.status == ROWS[kind].status
    assert "not signed by WeChat Pay" in reply.body["msg"]
    assert reply.body["data"] == {
        "status": ROWS[kind].status,
        "data": json.loads(house.sent(calls["order"])[0].answer),
    }


def test_a_signed_refusal_is_told_as_it_is_and_is_not_tried_again(house):
    house.new()
    reply = house.do("wxpay_query_order_by_out_trade_no", {"out_trade_no": "NOSUCHORDER"})
    house.assert_failed("query", reply, 404, unknown=False)
    assert "ORDER_NOT_EXIST" in reply.body["msg"]
    assert reply.body["data"]["status"] == 404
    assert reply.body["data"]["data"]["code"] == "ORDER_NOT_EXIST"
    assert len(house.box.requests_since(house.mark)) == 1


# Our own credentials


def assert_names_the_credentials(house: House, calls: Mapping[str, Call]) -> None:
    for name, reply in house.all(calls).items():
        house.assert_failed(name, reply, 502, unknown=False)
        for named in ("merchantSerialNumber", "privateKey", "clock"):
            assert named in reply.body["msg"], name
        assert reply.body["data"]["status"] == 401, name
        assert len(house.sent(calls[name])) == 1, name


@pytest.mark.parametrize("wrong", ["merchantSerialNumber", "privateKey"])
def test_a_refused_signature_names_serial_key_and_clock(house, wrong):
    calls = house.new()
    value = "7" * 40 if wrong == "merchantSerialNumber" else private_pem(new_key())
    env = house.box.env(operatorKey=OPERATOR_KEY, wxPayTimeout=str(TIMEOUT), **{wrong: value})
    with in_process(env) as function:
        other = House(house.box, function)
        other.mark = house.mark
        assert_names_the_credentials(other, calls)
    assert not [request for request in house.box.requests_since(house.mark) if request.verified]


@pytest.mark.parametrize("ahead", [400, -400])
def test_a_clock_that_is_off_is_named_too(house, ahead):
    calls = house.new()
    house.box.merchant.change(clock_off=ahead)
    assert_names_the_credentials(house, calls)


# WeChat Pay's keys


@pytest.fixture
def fresh(credentials: Credentials) -> Iterator[Callable[..., House]]:
    """Makes functions of this process that have never met WeChat Pay, in certificate mode."""
    with Sandbox(credentials=credentials, key_mode="certificate") as box:
        env = box.env(operatorKey=OPERATOR_KEY, wxPayTimeout=str(TIMEOUT))
        with in_process(env) as function:
            yield lambda: House(box, function)


UNAVAILABLE = [kind for kind in ROWS if kind not in ("slow_body", "latency", "cut_body")]


@pytest.mark.parametrize("kind", UNAVAILABLE)
def test_without_certificates_nothing_is_sent(fresh, kind):
    house = fresh()
    house.box.fault(kind, **({} if kind == "refuse" else {"path": "/v3/certificates"}))
    replies = house.all(
        {
            name: Call(action, body, "", "")
            for name, action, body in (
                ("order", "wxpay_order", order("FIRST1")),
                ("query", "wxpay_query_order_by_out_trade_no", {"out_trade_no": "FIRST1"}),
                ("transfer", "wxpay_transfer", transfer("FIRST1")),
            )
        }
    )
    for name, reply in replies.items():
        house.assert_failed(name, reply, 503, unknown=False)
        assert reply.body["msg"].startswith("nothing was sent to WeChat Pay: "), name
        assert reply.body["data"] is None, name
    asked = [request.path for request in house.box.requests]
    assert set(asked) <= {"/v3/certificates"}
    assert len(asked) <= 2, "three callers share one download and its one repetition"


@pytest.mark.parametrize("kind", ["latency", "slow_body"])
def test_slow_certificates_count_for_the_time_of_the_call(fresh, kind):
    house = fresh()
    house.box.fault(kind, path="/v3/certificates", seconds=LONG)
    reply = house.do("wxpay_order", order("FIRST1"))
    house.assert_failed("order", reply, 503, unknown=False)
    assert reply.body["msg"].startswith("nothing was sent to WeChat Pay: ")
    assert {request.path for request in house.box.requests} == {"/v3/certificates"}


TRANSFERS = "/v3/fund-app/"


def test_a_name_that_is_encrypted_late_leaves_the_transfer_what_is_left_of_its_time(fresh):
    """Encrypting and sending share wxPayTimeout: the certificates take 0.9 of it, WeChat Pay never answers."""
    house = fresh()
    house.box.fault("latency", host="main", path="/v3/certificates", seconds=LONG)
    house.box.fault("latency", host="backup", path="/v3/certificates", seconds=TIMEOUT * 0.4)
    house.box.fault("latency", path=TRANSFERS, seconds=LONG)
    reply = house.do("wxpay_transfer", transfer("LATE01"))
    house.assert_failed("transfer", reply, 504, unknown=True)
    assert reply.seconds < TIMEOUT + 0.7, "the certificates' time counts"
    assert reply.seconds > TIMEOUT * 0.85, "what is left is used"
    assert "nothing was sent" not in reply.body["msg"]


def test_without_a_name_a_late_transfer_has_no_more_time_either(fresh):
    house = fresh()
    house.box.fault("latency", host="main", path="/v3/certificates", seconds=LONG)
    house.box.fault("latency", host="backup", path="/v3/certificates", seconds=TIMEOUT * 0.4)
    house.box.fault("latency", path=TRANSFERS, seconds=LONG)
    body = {name: value for name, value in transfer("LATE02").items() if name != "user_name"}
    reply = house.do("wxpay_transfer", body)
    house.assert_failed("transfer", reply, 504, unknown=True)
    assert TIMEOUT * 0.85 < reply.seconds < TIMEOUT + 0.7


@pytest.mark.parametrize("kind", ["latency", "slow_body"])
def test_a_name_that_cannot_be_encrypted_in_time_is_not_sent(fresh, kind):
    house = fresh()
    house.box.fault(kind, path="/v3/certificates", seconds=LONG)
    reply = house.do("wxpay_transfer", transfer("NEVER1"))
    house.assert_failed("transfer", reply, 503, unknown=False)
    assert reply.body["msg"].startswith("nothing was sent to WeChat Pay: ")
    assert reply.seconds < TIMEOUT + 0.7
    assert {request.path for request in house.box.requests} == {"/v3/certificates"}
    assert house.box.ledger.transfers == {}


def test_certificates_within_the_time_let_a_transfer_with_a_name_pass(fresh):
    house = fresh()
    house.box.fault("latency", path="/v3/certificates", seconds=TIMEOUT * 0.3)
    reply = house.do("wxpay_transfer", transfer("INTIME"))
    assert (reply.status, reply.body["code"]) == (200, 0), reply.text
    assert TIMEOUT * 0.3 < reply.seconds < TIMEOUT
    fetched, sent = house.box.requests
    assert (fetched.path, sent.path) == ("/v3/certificates", "/v3/fund-app/mch-transfer/transfer-bills")
    certificate = house.box.credentials.platform[0]
    assert sent.headers["wechatpay-serial"] == certificate.serial
    ciphertext = base64.b64decode(json.loads(sent.body)["user_name"])
    padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - the protocol's
    assert certificate.key.decrypt(ciphertext, padding).decode() == "李雷雷"


def test_a_merchant_without_certificates_and_without_public_key_is_told(fresh):
    house = fresh()
    house.box.certificates_available = False
    reply = house.do("wxpay_order", order("FIRST1"))
    house.assert_failed("order", reply, 503, unknown=False)
    assert reply.body["msg"].startswith("nothing was sent to WeChat Pay: ")
    assert {request.path for request in house.box.requests} == {"/v3/certificates"}


def test_certificates_come_from_the_backup_when_the_main_host_refuses(fresh):
    house = fresh()
    house.box.fault("refuse", host="main")
    assert house.do("wxpay_order", order("FIRST1")).body["code"] == 0
    assert [(request.host, request.path) for request in house.box.requests] == [
        ("backup", "/v3/certificates"),
        ("backup", "/v3/pay/transactions/jsapi"),
    ]


def test_both_certificates_of_a_running_rotation_are_believed(fresh):
    house = fresh()
    for turn, signs in enumerate(("old", "new", "old", "new")):
        house.box.rotate(signs)
        assert house.do("wxpay_order", order(f"ROTATE{turn}")).body["code"] == 0
        assert house.do("wxpay_transfer", transfer(f"ROTATE{turn}")).body["code"] == 0
    assert [request.path for request in house.box.requests].count("/v3/certificates") == 1


def test_a_certificate_that_appears_later_is_fetched_and_the_call_succeeds(fresh, monkeypatch):
    house = fresh()
    assert house.do("wxpay_order", order("BEFORE1")).body["code"] == 0
    monkeypatch.setattr(keys_module, "COOL_DOWN", 0.0)
    house.box.rotate("new")
    assert house.do("wxpay_order", order("AFTER01")).body["code"] == 0
    assert house.do("wxpay_order", order("AFTER02")).body["code"] == 0
    assert [request.path for request in house.box.requests].count("/v3/certificates") == 2
    assert len(house.box.ledger.orders) == 3
    house.box.rotate("old")
    assert house.do("wxpay_order", order("BACK001")).body["code"] == 0
    assert [request.path for request in house.box.requests].count("/v3/certificates") == 2


def test_during_the_switch_over_certificates_sign_what_names_the_public_key(credentials, monkeypatch):
    with Sandbox(credentials=credentials) as box:
        env = box.env(operatorKey=OPERATOR_KEY, wxPayTimeout=str(TIMEOUT))
        with in_process(env) as function:
            house = House(box, function)
            assert house.do("wxpay_order", order("SWITCH0")).body["code"] == 0
            box.certificates_available = True
            monkeypatch.setattr(box.keys, "answering", lambda _: box.keys.signer("certificate"))
            for turn in range(1, 4):
                assert house.do("wxpay_order", order(f"SWITCH{turn}")).body["code"] == 0
                assert house.do("wxpay_transfer", transfer(f"SWITCH{turn}")).body["code"] == 0
            monkeypatch.undo()
            assert house.do("wxpay_order", order("SWITCH4")).body["code"] == 0
            assert [request.path for request in box.requests].count("/v3/certificates") == 1
            named = {
                request.headers.get("wechatpay-serial")
                for request in box.requests
                if request.path != "/v3/certificates"
            }
            assert named == {credentials.public_key_id}


# After all of the above


@pytest.mark.parametrize("house", ["public_key_house", "certificate_house"], indirect=True)
def test_no_failure_has_put_a_secret_into_the_log(house):
    house.new()
    house.box.fault("system_error")
    house.do("wxpay_transfer", transfer("LASTONE"))
    logged = house.function.log_text()
    assert '"status": 500' in logged or '"status":500' in logged
    signatures = {signature_of(request) for request in house.box.requests}
    assert [secret for secret in secrets_of(house.box) | signatures if secret and secret in logged] == []
