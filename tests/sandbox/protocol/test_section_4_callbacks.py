"""Section 4: how WeChat Pay notifies, row by row.

Tables are those of the reference, none is the sandbox's own; keys and plaintexts are handled by primitives.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox import Sandbox
from sandbox.records import Delivery
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, call
from tests.sandbox.protocol.conftest import Payee, moment, opened, refusal, renewed, seconds, signed_by

FORWARDED = "https://sandbox.integration-callback.example/wechatpay/order"
NOT_NOW = (500, b'{"code":"FAIL"}')


def happens(merchant: Payee, kind: str, **manner: Any) -> list[Any]:
    """Something of which the function is told; what was delivered."""
    if kind == "order":
        merchant.place("jsapi")
        return merchant.box.pay("ORDER_000001", **manner)
    if kind == "refund":
        merchant.refunded()
        return merchant.box.settle_refund("REFUND_1", **manner)
    merchant.transferred()
    return merchant.box.finish_transfer("BILL1", **manner)


NUMBERS = {"order": "ORDER_000001", "refund": "REFUND_1", "transfer": "BILL1"}

# 4.8 Retries

PAYMENT_DELAYS = ["15s", "15s", "30s", "3m", "10m", "20m", "30m", "30m", "30m", "60m", "3h", "3h", "3h", "6h", "6h"]
# The page counts 65 with a first one after 0 s, which is the first delivery itself.
TRANSFER_DELAYS = [*["15s"] * 10, *["300s"] * 10, *["1800s"] * 44]


@pytest.mark.parametrize(
    ("kind", "delays"),
    [("order", PAYMENT_DELAYS), ("refund", PAYMENT_DELAYS), ("transfer", TRANSFER_DELAYS)],
    ids=["payment: 15", "refund: 15", "transfer: 1 + 64"],
)
def test_every_delay_of_the_schedule_and_then_no_more(merchant, box, function, kind, delays):
    function.answers += [NOT_NOW] * 100
    happens(merchant, kind)
    assert len(function.got) == 1
    for tries, delay in enumerate(map(seconds, delays), start=1):
        box.advance(delay - 1)
        assert len(function.got) == tries, f"delay {tries} of {delay} s: too early"
        box.advance(1)
        assert len(function.got) == tries + 1, f"delay {tries} of {delay} s: one try"
        made, before = box.deliveries[-1], box.deliveries[-2]
        assert made.attempt == tries + 1
        assert made.time - before.time == pytest.approx(delay, abs=1)
    assert box.deliveries[-1].next is None
    box.advance("100d")
    assert len(function.got) == 1 + len(delays)


@pytest.mark.parametrize(("delays", "number", "span"), [(PAYMENT_DELAYS, 15, 86640), (TRANSFER_DELAYS, 64, 82350)])
def test_the_schedules_above_have_the_documented_number_and_span(delays, number, span):
    assert (len(delays), sum(map(seconds, delays))) == (number, span)


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_repetition_has_the_same_id_and_create_time_and_a_new_signature(merchant, box, function, kind):
    function.answers += [NOT_NOW] * 3
    happens(merchant, kind)
    for _ in range(3):
        box.advance("1m")
    key = box.credentials.public_key.public_key()
    contents = [json.loads(body) for _, _, body in function.got]
    assert len(function.got) == 4
    assert all(signed_by(key, headers, body) for _, headers, body in function.got)
    assert len({(content["id"], content["create_time"], content["event_type"]) for content in contents}) == 1
    assert len({json.dumps(opened(box.credentials, content["resource"])) for content in contents}) == 1
    for changing in ("wechatpay-signature", "wechatpay-nonce"):
        assert len({headers[changing] for _, headers, _ in function.got}) == 4


def test_a_repetition_tells_what_was_true_at_first(merchant, box, function):
    function.answers.append(NOT_NOW)
    happens(merchant, "order")
    merchant.refunded()
    box.advance("15s")
    assert [opened(box.credentials, json.loads(body)["resource"])["trade_state"] for _, _, body in function.got] == [
        "SUCCESS",
        "SUCCESS",
    ]


def test_an_acknowledged_notification_may_come_once_more_and_is_the_same(merchant, box, function):
    happens(merchant, "order")
    box.deliver("order", "ORDER_000001")
    first, second = (json.loads(body) for _, _, body in function.got)
    assert first["id"] == second["id"]
    box.advance("2d")
    assert len(function.got) == 2


# 4.7 Acknowledgement


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b""), (204, b""), (200, b'{"code":"SUCCESS"}'), (200, b'{"code":"FAIL","message":"no"}'), (200, b"<html>")],
    ids=["200", "204", "200 with the older body", "200 with an error body", "200 with anything"],
)
def test_200_and_204_are_acknowledgements_whatever_the_body(merchant, box, function, status, body):
    function.answers.append((status, body))
    [delivery] = happens(merchant, "order")
    assert (delivery.acknowledged, delivery.next) == (True, None)
    box.advance("2d")
    assert len(function.got) == 1


@pytest.mark.parametrize("status", [201, 202, 301, 302, 400, 401, 403, 404, 429, 500, 502, 503])
def test_anything_else_is_repeated(merchant, box, function, status):
    function.answers.append((status, b'{"code":"FAIL","message":"later"}'))
    [delivery] = happens(merchant, "order")
    assert (delivery.acknowledged, delivery.status) == (False, status)
    box.advance("15s")
    assert [one.acknowledged for one in box.deliveries] == [False, True]


@contextmanager
def receiver(answer: Callable[[socket.socket, str], object]) -> Iterator[str]:
    """A server that reads one request per connection and then does as it likes with it and the path."""

    def talk(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            path = stream.readline().split(b" ")[1].decode()
            headers = http.client.parse_headers(stream)
            stream.read(int(headers["Content-Length"]))
            with contextlib.suppress(OSError):  # whoever asked may have left
                answer(connection, path)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield url_of(listening)
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def url_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    "how",
    [
        None,
        lambda connection, _: None,
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
        lambda connection, _: connection.sendall(b"good morning\r\n"),
    ],
    ids=["refused connection", "closed without an answer", "half an answer", "no HTTP"],
)
def test_no_answer_is_repeated(merchant, box, function, how):
    if how is None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            box.function = url_of(probe)
        [delivery] = happens(merchant, "order")
    else:
        with receiver(how) as url:
            box.function = url
            [delivery] = happens(merchant, "order")
    assert not delivery.acknowledged
    assert delivery.error
    box.function = function.url
    box.advance("15s")
    assert box.deliveries[-1].acknowledged


def test_an_answer_counts_for_five_seconds(merchant, box):
    """The only real wait: one answer comes shortly before, the other never does."""
    release = threading.Event()

    def answer(connection: socket.socket, path: str) -> None:
        release.wait(4.5 if path == "/quick" else 60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def deliver(path: str) -> Delivery:
        return box.pay(f"ORDER_{path.upper()}", path=f"/{path}")[0]

    for path in ("quick", "slow"):
        merchant.place("jsapi", f"ORDER_{path.upper()}")
    with receiver(answer) as box.function, ThreadPoolExecutor(2) as pool:
        quick, slow = pool.map(deliver, ("quick", "slow"))
        release.set()
    assert quick.latency == pytest.approx(4.5, abs=0.4)
    assert quick.acknowledged
    assert slow.latency == pytest.approx(5, abs=0.4)
    assert (slow.acknowledged, slow.status) == (False, None)
    assert slow.next


# 4.1 Delivery


@pytest.mark.parametrize("kind", NUMBERS)
def test_it_is_a_signed_post_of_json_to_the_path_of_notify_url(merchant, box, function, kind):
    happens(merchant, kind)
    [(path, headers, body)] = function.got
    assert path == "/wx-pay/" + {"order": "unifiedOrder", "refund": "refund", "transfer": "transfer"}[kind] + "Trigger"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "Mozilla/4.0"
    assert headers["wechatpay-serial"] == box.credentials.public_key_id
    assert headers["wechatpay-signature-type"] == "WECHATPAY2-SHA256-RSA2048"
    assert signed_by(box.credentials.public_key.public_key(), headers, body)
    assert not signed_by(box.credentials.public_key.public_key(), headers, body + b" ")


@pytest.mark.parametrize("kind", NUMBERS)
def test_nothing_is_sent_without_an_api_v3_key(merchant, box, function, kind):
    if kind == "order":
        merchant.place("jsapi")
    elif kind == "refund":
        merchant.refunded()
    else:
        merchant.transferred()
    box.merchant.change(api_v3_key=False)
    ended = {"order": box.pay, "refund": box.settle_refund, "transfer": box.finish_transfer}[kind]
    assert ended(NUMBERS[kind]) == []
    box.advance("2d")
    assert function.got == []


def test_repetitions_stop_being_sent_when_the_api_v3_key_is_gone(merchant, box, function):
    function.answers.append(NOT_NOW)
    happens(merchant, "order")
    box.merchant.change(api_v3_key=False)
    box.advance("90s")
    assert len(function.got) == 1
    assert [one.lost for one in box.deliveries] == [False, True, True, True]


@pytest.mark.parametrize("kind", ["refund", "transfer"])
def test_nothing_is_sent_without_a_notify_url(merchant, box, function, kind):
    merchant.paid()
    body = merchant.refund() if kind == "refund" else merchant.transfer()
    del body["notify_url"]
    assert merchant.send("POST", REFUNDS if kind == "refund" else BILLS, body).status == 200
    ended = box.settle_refund if kind == "refund" else box.finish_transfer
    assert ended(NUMBERS[kind]) == []
    box.advance("2d")
    assert (function.got, box.deliveries) == ([], [])


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://shop.example/" + "p" * 234, True),  # 255 characters
        ("https://shop.example/" + "p" * 235, False),
        ("http://shop.example/pay", False),
        ("//shop.example/pay", False),
        ("/pay", False),
        ("https://shop.example", False),
        ("https://shop.example/", False),
        ("https://shop.example/pay?from=wx", False),
        ("https://shop.example/pay#wx", False),
        ("https://localhost/pay", False),
        ("https://127.0.0.1/pay", False),
        ("https://10.1.2.3/pay", False),
        ("https://192.168.1.2/pay", False),
        ("https://172.16.0.1/pay", False),
        ("https://[::1]/pay", False),
        ("https://shop.local/pay", False),
        ("https://shop/pay", False),
        ("https://shop.example:8443/pay", True),
        ("https://8.8.8.8/pay", True),
    ],
)
def test_what_notify_url_may_be(merchant, url, allowed):
    answer = merchant.send("POST", PREPAY, merchant.order(notify_url=url))
    if allowed:
        assert answer.status == 200
    else:
        assert refusal(answer) == (400, "PARAM_ERROR")
        assert answer.json["detail"]["field"] == "/notify_url"


@pytest.mark.parametrize("target", [REFUNDS, BILLS], ids=["refund", "transfer"])
@pytest.mark.parametrize(("length", "allowed"), [(256, True), (257, False)])
def test_notify_url_of_refunds_and_transfers_may_have_256_characters(merchant, target, length, allowed):
    merchant.paid()
    url = ("https://shop.example/" + "p" * 300)[:length]
    body = merchant.refund(notify_url=url) if target == REFUNDS else merchant.transfer(notify_url=url)
    answer = merchant.send("POST", target, body)
    assert answer.status == (200 if allowed else 400)


# 4.2 Envelope, 4.3 Event types, 4.4 to 4.6 Plaintexts


@pytest.fixture(scope="module")
def told(shared, function_server) -> dict[str, tuple[dict[str, str], dict[str, Any], dict[str, Any]]]:
    """One notification of each event: its headers, its content, and its plaintext; what was ordered is below."""
    function = function_server[1]
    function.answers.clear()
    function.got.clear()
    box = renewed(shared, function)
    merchant = Payee(box)
    info = {"payer_client_ip": "203.0.113.7", "device_id": "till-7"}
    merchant.place("jsapi", "ORDER_TOLD1", 1000, attach="for you", scene_info=info)
    box.pay("ORDER_TOLD1")
    for number, end in (("R_SUCCESS", "SUCCESS"), ("R_ABNORMAL", "ABNORMAL"), ("R_CLOSED", "CLOSED")):
        body = merchant.refund(number, 200, 1000, out_trade_no="ORDER_TOLD1")
        assert merchant.send("POST", REFUNDS, body).status == 200
        box.settle_refund(number, end)
    for number, state in (("TSUCCESS", "SUCCESS"), ("TFAIL", "FAIL")):
        merchant.transferred(number, 300)
        box.finish_transfer(number, state)
    merchant.transferred("TCANCELLED", 300)
    merchant.cancel("TCANCELLED")
    box.advance("1m")
    merchant.place("jsapi", "ORDER_TOLD2", 77)
    box.pay("ORDER_TOLD2")
    events = {}
    for _, headers, body in function.got:
        content = json.loads(body)
        plain = opened(box.credentials, content["resource"])
        end = plain.get("state") or plain.get("refund_status") or plain["out_trade_no"]
        events[{"ORDER_TOLD1": "payment", "ORDER_TOLD2": "bare payment"}.get(end, f"{kind_of(content)} {end}")] = (
            headers,
            content,
            plain,
        )
    return events


def kind_of(content: dict[str, Any]) -> str:
    kinds = {"transaction": "payment", "refund": "refund", "mch_payment": "transfer"}
    return kinds[content["resource"]["original_type"]]


EVENTS = (
    "payment",
    "bare payment",
    "refund SUCCESS",
    "refund ABNORMAL",
    "refund CLOSED",
    "transfer SUCCESS",
    "transfer FAIL",
    "transfer CANCELLED",
)
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00"
# Field -> longest, form. `summary` is 16 on the page of refunds, 64 elsewhere; the shorter one fits all.
ENVELOPE = {
    "id": (36, r"EV-\d+"),
    "create_time": (32, RFC3339),
    "resource_type": (32, "encrypt-resource"),
    "event_type": (32, r"[A-Z.]+"),
    "summary": (16, r".+"),
}
RESOURCE = {
    "original_type": (16, "transaction|refund|mch_payment"),
    "algorithm": (32, "AEAD_AES_256_GCM"),
    "ciphertext": (1048576, r"[0-9A-Za-z+/]+={0,2}"),
    "associated_data": (16, "transaction|refund|mch_payment"),
    "nonce": (16, r".{12}"),
}


def test_each_event_was_told_once(told):
    assert sorted(told) == sorted(EVENTS)
    assert len({content["id"] for _, content, _ in told.values()}) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("field", [*ENVELOPE, *(f"resource.{name}" for name in RESOURCE)])
def test_a_field_of_the_envelope(told, event, field):
    _, content, _ = told[event]
    longest, form = RESOURCE[field.partition(".")[2]] if "." in field else ENVELOPE[field]
    holder = content["resource"] if "." in field else content
    value = holder[field.rpartition(".")[2]]
    assert len(value) <= longest
    assert re.fullmatch(form, value)


@pytest.mark.parametrize("event", EVENTS)
def test_the_envelope_has_no_other_fields(told, event):
    headers, content, _ = told[event]
    assert set(content) == {*ENVELOPE, "resource"}
    assert set(content["resource"]) == set(RESOURCE)
    assert content["resource"]["nonce"] != headers["wechatpay-nonce"]
    assert time.time() - 10 < moment(content["create_time"]) < time.time() + 120


@pytest.mark.parametrize(
    ("event", "event_type", "original_type"),
    [
        ("payment", "TRANSACTION.SUCCESS", "transaction"),
        ("refund SUCCESS", "REFUND.SUCCESS", "refund"),
        ("refund ABNORMAL", "REFUND.ABNORMAL", "refund"),
        ("refund CLOSED", "REFUND.CLOSED", "refund"),
        ("transfer SUCCESS", "MCHTRANSFER.BILL.FINISHED", "mch_payment"),
        ("transfer FAIL", "MCHTRANSFER.BILL.FINISHED", "mch_payment"),
        ("transfer CANCELLED", "MCHTRANSFER.BILL.FINISHED", "mch_payment"),
    ],
)
def test_an_event_type(told, event, event_type, original_type):
    _, content, _ = told[event]
    assert content["event_type"] == event_type
    assert content["resource"]["original_type"] == original_type


@pytest.mark.parametrize("attempt", ["failed", "abandoned"])
def test_only_a_success_is_ever_told(merchant, box, function, attempt):
    merchant.place("jsapi")
    if attempt == "failed":
        box.fail_payment("ORDER_000001", "balance too low")
    box.advance("8d")
    assert merchant.query().json["trade_state"] == "CLOSED"
    assert (function.got, box.deliveries) == ([], [])


def text(longest: int, form: str = ".+") -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest and bool(re.fullmatch(form, value))


def cents(amount: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value == amount


# Path of a field -> what it must look like, whether it must be there.
PAYMENT = {
    "appid": text(32, "wx[0-9a-f]+"),
    "mchid": text(32, "[0-9]{8,10}"),
    "out_trade_no": text(32, "ORDER_TOLD1"),
    "transaction_id": text(32, "[0-9]{28}"),
    "trade_type": text(16, "JSAPI"),
    "trade_state": text(32, "SUCCESS"),
    "trade_state_desc": text(256, "支付成功"),
    "bank_type": text(32, "OTHERS|[A-Z]+_(DEBIT|CREDIT|ECNY)"),
    "attach": text(128, "for you"),
    "success_time": text(64, RFC3339),
    "payer.openid": text(128, "oUser"),
    "amount.total": cents(1000),
    "amount.payer_total": cents(1000),
    "amount.currency": text(16, "CNY"),
    "amount.payer_currency": text(16, "CNY"),
    "scene_info.device_id": text(32, "till-7"),
}
OPTIONAL_OF_PAYMENT = ("attach", "scene_info.device_id")
REFUND = {
    "mchid": text(32, "[0-9]{8,10}"),
    "out_trade_no": text(32, "ORDER_TOLD1"),
    "transaction_id": text(32, "[0-9]{28}"),
    "out_refund_no": text(64, "R_SUCCESS|R_ABNORMAL|R_CLOSED"),
    "refund_id": text(32, "[0-9]+"),
    "refund_status": text(32, "SUCCESS|ABNORMAL|CLOSED"),
    "user_received_account": text(64),
    "amount.total": cents(1000),
    "amount.refund": cents(200),
    "amount.payer_total": cents(1000),
    "amount.payer_refund": cents(200),
}
TRANSFER = {
    "out_bill_no": text(32, "TSUCCESS|TFAIL|TCANCELLED"),
    "transfer_bill_no": text(64, "[0-9]+"),
    "state": text(32, "SUCCESS|FAIL|CANCELLED"),
    "mch_id": text(32, "[0-9]{8,10}"),
    "transfer_amount": cents(300),
    "openid": text(64, "oUser"),
    "create_time": text(64, RFC3339),
    "update_time": text(64, RFC3339),
}
# Event -> fields that it has beside those of its kind.
BESIDE = {
    "refund SUCCESS": {"success_time": text(64, RFC3339)},
    "refund ABNORMAL": {},
    "refund CLOSED": {},
    "transfer SUCCESS": {"payment_method_type": text(16, "CFT")},
    "transfer FAIL": {"fail_reason": text(256, "OVERDUE_CLOSE")},
    "transfer CANCELLED": {"fail_reason": text(256, "MCH_CANCEL")},
}
FIELDS = {"payment": PAYMENT} | {
    event: (REFUND if event.startswith("refund") else TRANSFER) | beside for event, beside in BESIDE.items()
}


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize(
    ("event", "field"),
    [pytest.param(event, field, id=f"{event}: {field}") for event, fields in FIELDS.items() for field in fields],
)
def test_a_field_of_the_plaintext(told, event, field):
    assert FIELDS[event][field](flat(told[event][2])[field])


@pytest.mark.parametrize("event", FIELDS)
def test_the_plaintext_has_no_other_fields(told, event):
    assert set(flat(told[event][2])) == set(FIELDS[event])


def test_a_payment_without_its_optional_fields(told):
    assert set(flat(told["bare payment"][2])) == set(PAYMENT) - set(OPTIONAL_OF_PAYMENT)


@pytest.mark.parametrize(
    ("event", "absent"),
    [
        ("refund SUCCESS", "status"),
        ("refund SUCCESS", "channel"),
        ("refund SUCCESS", "funds_account"),
        ("refund SUCCESS", "create_time"),
        ("refund SUCCESS", "amount.currency"),
        ("refund SUCCESS", "mch_id"),
        ("refund ABNORMAL", "success_time"),
        ("refund CLOSED", "success_time"),
        ("refund SUCCESS", "appid"),
        ("transfer SUCCESS", "mchid"),
        ("transfer SUCCESS", "appid"),
        ("transfer SUCCESS", "fail_reason"),
        ("transfer FAIL", "payment_method_type"),
        ("transfer CANCELLED", "payment_method_type"),
        ("payment", "mch_id"),
    ],
    ids=lambda value: value,
)
def test_a_field_that_is_not_there(told, event, absent):
    assert absent not in flat(told[event][2])


@pytest.mark.parametrize(("scene", "word"), [("jsapi", "JSAPI"), ("native", "NATIVE"), ("app", "APP"), ("h5", "MWEB")])
def test_a_trade_type(merchant, box, function, scene, word):
    merchant.place(scene)
    box.pay("ORDER_000001", openid="oUser")
    assert opened(box.credentials, json.loads(function.got[0][2])["resource"])["trade_type"] == word


def test_the_names_of_the_merchants_id_are_the_same_merchant(told, shared):
    for event, name in (("payment", "mchid"), ("refund SUCCESS", "mchid"), ("transfer SUCCESS", "mch_id")):
        assert told[event][2][name] == shared.credentials.merchant_id


# 2.4 Signature probes


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_probe_is_wrong_at_first_and_right_when_repeated(merchant, box, function, kind):
    function.answers.append((401, b'{"code":"FAIL"}'))
    happens(merchant, kind, probe=True)
    box.advance("15s")
    key = box.credentials.public_key.public_key()
    (_, probe, first), (_, true, second) = function.got
    assert probe["wechatpay-signature"].startswith("WECHATPAY/SIGNTEST/")
    assert not signed_by(key, probe, first)
    assert signed_by(key, true, second)
    assert json.loads(first)["id"] == json.loads(second)["id"]


# 2.6 Switching from certificate to public key


@pytest.fixture(scope="module")
def switching(credentials, function_server) -> Iterator[Sandbox]:
    with Sandbox(function_server[1].url, "sdk", "certificate", credentials=credentials) as sandbox:
        yield sandbox


def test_callbacks_move_to_the_public_key_over_seven_days(switching, function):
    box = renewed(switching, function)
    merchant = Payee(box)
    happens(merchant, "order")
    certificate, public = box.credentials.platform[0].serial, box.credentials.public_key_id
    assert function.got.pop()[1]["wechatpay-serial"] == certificate
    box.switch_over("begin")
    counted = []
    for _ in range(7):
        drawn = [box.keys.signer().serial for _ in range(980)]
        function.got.clear()
        for _ in range(20):
            box.deliver("order", "ORDER_000001")
        for _, headers, body in function.got:
            named = headers["wechatpay-serial"]
            keys = {certificate: box.credentials.platform[0].key, public: box.credentials.public_key}
            assert signed_by(keys[named].public_key(), headers, body)
            drawn.append(named)
        counted.append(drawn.count(public))
        if 0.05 < counted[-1] / 1000 < 1:
            assert len({headers["wechatpay-serial"] for _, headers, _ in function.got}) == 2, "both arrive mixed"
        box.advance("1d")
    assert counted == pytest.approx([1, 10, 50, 100, 200, 500, 1000], abs=1)
    box.advance("30d")
    assert box.deliver("order", "ORDER_000001")[0].headers["Wechatpay-Serial"] == public


def test_answers_during_a_switch_over_are_signed_as_the_request_asks(switching, function):
    box = renewed(switching, function)
    merchant = Payee(box)
    certificate, public = box.credentials.platform[0].serial, box.credentials.public_key_id
    refused = merchant.send("GET", "/v3/certificates", headers={"Wechatpay-Serial": public})
    assert refusal(refused) == (400, "PARAM_ERROR")
    box.switch_over("begin")
    for asked, used in ((None, certificate), (certificate, certificate), (public, public)):
        answer = merchant.send("GET", "/v3/certificates", headers={"Wechatpay-Serial": asked})
        assert (answer.status, answer.headers["wechatpay-serial"]) == (200, used)


def test_a_stopped_switch_over_goes_fully_back(switching, function):
    box = renewed(switching, function)
    merchant = Payee(box)
    box.switch_over("begin")
    box.advance("6d")
    happens(merchant, "order")
    box.switch_over("stop")
    for _ in range(20):
        made = box.deliver("order", "ORDER_000001")[0]
        assert made.headers["Wechatpay-Serial"] == box.credentials.platform[0].serial
    headers = {"Wechatpay-Serial": box.credentials.public_key_id}
    assert refusal(merchant.send("GET", "/v3/certificates", headers=headers)) == (400, "PARAM_ERROR")
    with pytest.raises(ValueError, match="no switch-over"):
        box.switch_over("stop")


def test_a_switch_over_and_a_rotation_exclude_each_other(switching, function):
    box = renewed(switching, function)
    box.switch_over("begin")
    with pytest.raises(ValueError, match="switch-over"):
        box.rotate("new")
    box.reset()
    box.rotate("old")
    with pytest.raises(ValueError, match="rotation"):
        box.switch_over("begin")


# The Integration Center, which receives notifications on the merchant's behalf


def notification(box: Sandbox, **changes: Any) -> tuple[dict[str, str], bytes]:
    """A notification made here from primitives; `changes` forge it."""
    credentials = box.credentials
    nonce, key = secrets.token_hex(6), changes.get("api_v3_key", credentials.api_v3_key).encode()
    sealed = AESGCM(key).encrypt(nonce.encode(), b'{"out_trade_no":"ORDER_000001"}', b"transaction")
    content = {
        "id": "EV-1",
        "create_time": "2026-01-01T00:00:00+08:00",
        "resource_type": "encrypt-resource",
        "event_type": "TRANSACTION.SUCCESS",
        "summary": "x",
        "resource": {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": "transaction",
            "nonce": nonce,
        },
    }
    body = json.dumps(content).encode()
    timestamp = str(int(time.time()) + changes.get("late", 0))
    message = f"{timestamp}\nabc\n".encode() + body + b"\n"
    signing = changes.get("signing", credentials.public_key)
    signature = signing.sign(message, padding.PKCS1v15(), hashes.SHA256())
    headers = {
        "Content-Type": "application/json",
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": "abc",
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
        "Wechatpay-Serial": changes.get("serial", credentials.public_key_id),
    }
    return headers, body + changes.get("addition", b"")


@pytest.mark.parametrize("path", ["order", "refund", "transfer"])
def test_the_integration_center_relays_the_functions_answer(box, function, path):
    function.answers.append((418, b'{"code":"TEAPOT"}'))
    headers, body = notification(box)
    answer = call(box.url, "POST", f"/wechatpay/{path}", body, headers)
    assert (answer.status, answer.body) == (418, b'{"code":"TEAPOT"}')
    [(to, forwarded, content)] = function.got
    assert to == "/"
    assert not [name for name in forwarded if name.startswith("wechatpay-")]
    assert json.loads(content)["ParsedContent"] == {"out_trade_no": "ORDER_000001"}
    assert json.loads(content)["rawData"] == json.loads(body)


@pytest.mark.parametrize(
    "forgery",
    [
        {"signing": rsa.generate_private_key(public_exponent=65537, key_size=2048)},
        {"serial": "PUB_KEY_ID_0000"},
        {"serial": ""},
        {"late": -301},
        {"late": 330},  # a slow machine takes some of it away until it is looked at
        {"addition": b" "},
        {"api_v3_key": "k" * 32},
    ],
    ids=["another key", "unknown key id", "no serial", "stale", "from the future", "body changed", "not our APIv3 key"],
)
def test_the_integration_center_refuses_what_is_not_wechat_pays(box, function, forgery):
    headers, body = notification(box, **forgery)
    answer = call(box.url, "POST", "/wechatpay/order", body, headers)
    assert refusal(answer) == (401, "FAIL")
    assert function.got == []


def test_the_integration_center_refuses_a_probe_and_forwards_the_repetition(merchant, box, function):
    merchant.place("jsapi", notify_url=FORWARDED)
    [refused] = box.pay("ORDER_000001", probe=True)
    assert (refused.shape, refused.status, refused.acknowledged, function.got) == ("forwarded", 401, False, [])
    box.advance("15s")
    [(path, _, body)] = function.got
    assert path == "/"
    assert json.loads(body)["ParsedContent"]["out_trade_no"] == "ORDER_000001"
    assert box.deliveries[-1].acknowledged


def test_the_integration_center_says_so_when_the_function_does_not_answer(box):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        box.function = url_of(probe)
    headers, body = notification(box)
    assert refusal(call(box.url, "POST", "/wechatpay/order", body, headers)) == (502, "FAIL")
