"""Genuine callbacks of both key modes and every step of evidence reach their handler with proved fields alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from sandbox.crypto import Signer
from tests.http.callback_shop import (
    EVENTS,
    HANDLERS,
    KINDS,
    Message,
    Oracle,
    RecordingOrders,
    Shop,
    Shops,
    changed,
    sample,
    shop,
)
from tests.support import Function, gunicorn, in_process

ENDS = [
    ("order", ""),
    *(("refund", state) for state in ("SUCCESS", "CLOSED", "ABNORMAL")),
    *(("transfer", state) for state in ("SUCCESS", "FAIL", "CANCELLED")),
]
MODES = [("sdk", "public_key"), ("sdk", "certificate"), ("gateway", "public_key"), ("gateway", "certificate")]


@pytest.fixture(scope="module")
def shops(credentials: Credentials) -> Iterator[Shops]:
    with Shops(credentials) as shops:
        yield shops


def believed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log lines about believed notifications since the last call."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if "evidence" in line]


def last_answer(shop: Shop) -> dict[str, Any]:
    """What WeChat Pay answered to the last question."""
    answer: dict[str, Any] = json.loads(shop.box.requests[-1].answer)
    return answer


def handled_by_every_way_in(
    shop: Shop,
    make: Callable[[], tuple[Message, dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    evidence: str,
) -> None:
    capsys.readouterr()
    for way, path, fields in make()[0].ways():
        message, expected = make()
        shop.orders.calls.clear()
        shop.assert_acknowledged(message.send(shop.function, path, fields), way)
        assert shop.orders.calls == [(HANDLERS[message.kind], expected)], way
        assert [line["evidence"] for line in believed(capsys)] == [evidence], way


# Evidence: WeChat Pay's signature


@pytest.mark.parametrize(("kind", "state"), ENDS)
@pytest.mark.parametrize("modes", MODES, ids="-".join)
def test_a_signed_notification_reaches_its_handler(
    shops: Shops, modes: tuple[str, str], kind: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get(*modes)

    def make() -> tuple[Message, dict[str, Any]]:
        truth = shop.told(kind, state)
        return shop.signed(kind, truth), truth

    handled_by_every_way_in(shop, make, capsys, "signature")
    assert shop.queries() == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_documented_field_arrives_unaltered(shops: Shops, kind: str) -> None:
    shop = shops.get("sdk")
    shop.assert_acknowledged(shop.signed(kind).send(shop.function))
    assert shop.orders.calls == [(HANDLERS[kind], sample(kind, shop.credentials))]


def test_fields_that_no_document_names_arrive_too(shops: Shops) -> None:
    shop = shops.get("sdk")
    truth = sample("order", shop.credentials) | {"new_field": [1, {"of": None}], "emoji": "🍵" * 1000}
    shop.assert_acknowledged(shop.signed("order", truth).send(shop.function))
    assert shop.orders.calls == [("handler_unified_trigger", truth)]


@pytest.mark.parametrize("difference", [-295, -1, 0, 295])
def test_a_clock_that_is_off_by_less_than_five_minutes_is_near_enough(shops: Shops, difference: int) -> None:
    shop = shops.get("sdk")
    body = shop.signed("order").body
    message = Message(
        "order", body, lambda raw: shop.box.builder.signed(raw, timestamp=int(time.time()) + difference)
    )
    shop.assert_acknowledged(message.send(shop.function))


@pytest.mark.parametrize("spelt", [str.upper, str.lower])
def test_the_case_of_a_serial_does_not_matter(shops: Shops, spelt: Callable[[str], str]) -> None:
    for key_mode, of in (("public_key", "public"), ("certificate", "certificate")):
        shop = shops.get("sdk", key_mode)
        signer = shop.box.keys.signer(of)
        by = Signer(spelt(signer.serial), signer.key)
        message = Message(
            "order",
            shop.signed("order").body,
            lambda raw, by=by, shop=shop: shop.box.builder.signed(raw, signer=by),
        )
        shop.assert_acknowledged(message.send(shop.function))


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
def test_the_content_type_does_not_matter(shops: Shops, content_type: str) -> None:
    shop = shops.get("sdk")
    message = shop.signed("order")
    typed = Message("order", message.body, lambda raw: {**message.headers(raw), "Content-Type": content_type})
    shop.assert_acknowledged(typed.send(shop.function))


@pytest.mark.parametrize("associated_data", ["", None])
def test_associated_data_may_be_empty_or_left_out(shops: Shops, associated_data: str | None) -> None:
    shop = shops.get("sdk")
    message = shop.signed("order", associated_data="")
    if associated_data is None:
        del message.body["resource"]["associated_data"]
    shop.assert_acknowledged(message.send(shop.function))


def test_during_the_switch_over_both_kinds_of_serial_are_believed(credentials: Credentials) -> None:
    with shop(credentials, "sdk", "public_key") as fresh:
        fresh.box.certificates_available = True
        for key in ("public", "certificate", "public", "certificate"):
            body = fresh.signed("order").body
            message = Message("order", body, lambda raw, key=key: fresh.box.builder.signed(raw, key=key))
            fresh.assert_acknowledged(message.send(fresh.function), key)
        assert [request.path for request in fresh.box.requests] == ["/v3/certificates"], (
            "met once, fetched once"
        )
        assert len(fresh.orders.calls) == 4


def test_while_certificates_rotate_the_old_and_the_new_one_are_believed(credentials: Credentials) -> None:
    with shop(credentials, "sdk", "certificate") as fresh:
        fresh.box.rotate("old")
        fresh.assert_acknowledged(fresh.signed("order").send(fresh.function), "old")
        fresh.box.rotate("new")
        fresh.assert_acknowledged(fresh.signed("order").send(fresh.function), "new")
        fresh.box.rotate("old")
        fresh.assert_acknowledged(fresh.signed("order").send(fresh.function), "old again")
        assert len(fresh.box.requests) == 1


def test_after_a_probe_the_genuine_notification_is_believed(shops: Shops) -> None:
    shop = shops.get("sdk")
    truth = shop.told("order")
    message = shop.signed("order", truth)
    probe = Message(
        "order",
        message.body,
        lambda raw: {**message.headers(raw), "Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + "A" * 325},
    )
    shop.assert_refused(probe.send(shop.function), 400)
    shop.assert_acknowledged(message.send(shop.function))
    assert shop.orders.calls == [("handler_unified_trigger", truth)]


# Evidence: the envelope that WeChat Pay encrypted


@pytest.mark.parametrize(("kind", "state"), ENDS)
@pytest.mark.parametrize("envelope", ["rawData", "rawData-string", "ParsedNotify"])
def test_a_forwarded_envelope_reaches_its_handler(
    shops: Shops, envelope: str, kind: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("gateway")

    def make() -> tuple[Message, dict[str, Any]]:
        truth = shop.told(kind, state)
        return shop.forwarded(kind, truth, envelope=envelope), truth

    handled_by_every_way_in(shop, make, capsys, "resource")
    assert shop.box.requests == [], "nobody is asked"


def test_in_certificate_mode_an_envelope_needs_no_certificate(credentials: Credentials) -> None:
    with shop(credentials, "gateway", "certificate") as fresh:
        fresh.assert_acknowledged(fresh.forwarded("order").send(fresh.function))
        assert fresh.box.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_parsed_content_states_never_arrives(shops: Shops, kind: str) -> None:
    shop = shops.get("gateway")
    truth = shop.told(kind)
    added = {"vip": True, "attach2": "x", "extra": {"amount": 1}, "discount": 99}
    if kind != "transfer":
        added["amount"] = truth["amount"] | {"bonus": 1}
    shop.assert_acknowledged(shop.forwarded(kind, truth, parsed_content=truth | added).send(shop.function))
    assert shop.orders.calls == [(HANDLERS[kind], truth)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_parsed_content_leaves_out_arrives_all_the_same(shops: Shops, kind: str) -> None:
    shop = shops.get("gateway")
    truth = shop.told(kind)
    shop.assert_acknowledged(shop.forwarded(kind, truth, parsed_content={}).send(shop.function))
    assert shop.orders.calls == [(HANDLERS[kind], truth)]


def test_parsed_content_in_another_order_and_form_does_not_contradict(shops: Shops) -> None:
    shop = shops.get("gateway")
    truth = shop.told("order")
    turned = dict(reversed(truth.items())) | {"amount": dict(reversed(truth["amount"].items()))}
    turned["amount"]["total"] = float(truth["amount"]["total"])
    shop.assert_acknowledged(shop.forwarded("order", truth, parsed_content=turned).send(shop.function))
    ((_, params),) = shop.orders.calls
    assert params == truth
    assert type(params["amount"]["total"]) is int


def test_an_envelope_that_an_end_user_sends_on_is_no_less_authentic(shops: Shops) -> None:
    shop = shops.get("gateway")
    message = shop.forwarded("order")
    identified = Message(
        "order", message.body, lambda raw: {"X-Wx-Openid": "oU", "Authorization": "Bearer x.y.z"}
    )
    shop.assert_acknowledged(identified.send(shop.function))


# Evidence: WeChat Pay's answer to our question


def as_notified(kind: str, answer: Mapping[str, Any], merchant_id: str) -> dict[str, Any]:
    """An answer of WeChat Pay under the notification's field names."""
    fields = dict(answer)
    if kind == "refund":
        fields["refund_status"] = fields.pop("status")
        fields["mchid"] = merchant_id
    return fields


@pytest.mark.parametrize(("kind", "state"), ENDS)
@pytest.mark.parametrize("key_mode", ["public_key", "certificate"])
def test_a_confirmed_hint_reaches_its_handler_as_wechat_pay_answers(
    shops: Shops, key_mode: str, kind: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("gateway", key_mode)
    way_count = 0
    for way, path, fields in shop.hint(kind, shop.told(kind, state)).ways():
        shop.new()
        capsys.readouterr()
        truth = shop.told(kind, state)
        shop.assert_acknowledged(shop.hint(kind, truth).send(shop.function, path, fields), way)
        expected = as_notified(kind, last_answer(shop), shop.credentials.merchant_id)
        assert shop.orders.calls == [(HANDLERS[kind], expected)], way
        assert [line["evidence"] for line in believed(capsys)] == ["query"], way
        assert len(shop.queries()) == 1, way
        way_count += 1
    assert way_count == 6


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_hint_adds_never_arrives(shops: Shops, kind: str) -> None:
    shop = shops.get("gateway")
    truth = shop.told(kind) | {
        "attach": "vip",
        "bonus": 100,
        "status": "X",
        "success_time": "1970-01-01T00:00:00Z",
    }
    shop.assert_acknowledged(shop.hint(kind, truth).send(shop.function))
    ((_, params),) = shop.orders.calls
    assert params == as_notified(kind, last_answer(shop), shop.credentials.merchant_id)
    assert "bonus" not in params
    assert params.get("attach") != "vip"
    assert params.get("success_time") != "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", KINDS)
def test_a_hint_of_number_and_state_is_enough(shops: Shops, kind: str) -> None:
    shop = shops.get("gateway")
    truth = shop.told(kind)
    names = {
        "order": ("out_trade_no", "trade_state"),
        "refund": ("out_refund_no", "refund_status"),
        "transfer": ("out_bill_no", "state"),
    }[kind]
    shop.assert_acknowledged(shop.hint(kind, {name: truth[name] for name in names}).send(shop.function))
    ((_, params),) = shop.orders.calls
    assert params == as_notified(kind, last_answer(shop), shop.credentials.merchant_id)
    assert "status" not in params


def test_a_payment_that_is_being_refunded_meanwhile_is_confirmed(shops: Shops) -> None:
    shop = shops.get("gateway")
    number = shop.order()
    hint = shop.hint("order", shop.box.plaintext("order", number))
    shop.box.ledger.refund(
        {
            "out_trade_no": number,
            "out_refund_no": f"R{number}",
            "amount": {"refund": 5, "total": 20, "currency": "CNY"},
        }
    )
    shop.assert_acknowledged(hint.send(shop.function))
    ((_, params),) = shop.orders.calls
    assert params["trade_state"] == "REFUND"
    assert params["amount"]["total"] == 20


def test_the_order_is_asked_for_by_its_number_and_our_merchant_id(shops: Shops) -> None:
    shop = shops.get("gateway")
    truth = shop.told("order")
    shop.assert_acknowledged(shop.hint("order", truth).send(shop.function))
    assert shop.queries() == [
        f"/v3/pay/transactions/out-trade-no/{truth['out_trade_no']}?mchid={shop.credentials.merchant_id}"
    ]
    assert shop.box.requests[-1].verified


def test_a_number_of_wechat_pays_wider_alphabet_is_asked_for_in_one_segment(shops: Shops) -> None:
    shop = shops.get("gateway")
    number = "R|1*2@3-4_5"
    shop.box.ledger.refund(
        {
            "out_trade_no": shop.order(),
            "out_refund_no": number,
            "amount": {"refund": 5, "total": 20, "currency": "CNY"},
        }
    )
    shop.box.settle_refund(number, deliver=False)
    shop.assert_acknowledged(shop.hint("refund", shop.box.plaintext("refund", number)).send(shop.function))
    assert shop.queries() == ["/v3/refund/domestic/refunds/R%7C1*2%403-4_5"]


@pytest.mark.parametrize("fault", ["probe", "system_error", "reset", "other_body_signature"])
def test_one_bad_answer_is_made_good_by_the_other_host(shops: Shops, fault: str) -> None:
    shop = shops.get("gateway")
    truth = shop.told("order")
    shop.box.fault(fault, times=1)
    shop.assert_acknowledged(shop.hint("order", truth).send(shop.function))
    assert [request.host for request in shop.box.requests] == ["main", "backup"]
    assert len(shop.orders.calls) == 1


@pytest.mark.parametrize("stated", [True, False], ids=["the hint names the payee", "it does not"])
def test_a_transfer_whose_query_names_no_payee_is_confirmed(credentials: Credentials, *, stated: bool) -> None:
    """`openid` is optional in the answer to a transfer query ([4012716437])."""
    orders = RecordingOrders()
    with Sandbox(credentials=credentials) as box:
        told = Shop(box, Function(""), orders)
        truth = told.told("transfer")
        answer = {name: value for name, value in truth.items() if name != "openid"} | {"appid": credentials.app_id}
        with (
            Oracle(credentials, lambda request: (200, answer)).running(box.builder.signed) as oracle,
            in_process(box.env(wxPayApiBase=oracle.url, wxPayApiBackup=oracle.url), orders) as function,
        ):
            hint = told.hint("transfer", truth if stated else changed(truth, "openid", ...))
            told.assert_acknowledged(hint.send(function))
    assert orders.calls == [("handler_transfer_trigger", answer)]


@pytest.mark.parametrize("known", ["oANOTHER0000000000000000001", "", None])
def test_a_transfer_whose_query_names_another_payee_is_refused(credentials: Credentials, known: str | None) -> None:
    orders = RecordingOrders()
    with Sandbox(credentials=credentials) as box:
        told = Shop(box, Function(""), orders)
        truth = told.told("transfer")
        answer = truth | {"appid": credentials.app_id, "openid": known}
        with (
            Oracle(credentials, lambda request: (200, answer)).running(box.builder.signed) as oracle,
            in_process(box.env(wxPayApiBase=oracle.url, wxPayApiBackup=oracle.url), orders) as function,
        ):
            told.assert_refused(told.hint("transfer", truth).send(function), 400)


def test_a_postponed_hint_is_confirmed_when_it_comes_again(shops: Shops) -> None:
    shop = shops.get("gateway")
    truth = shop.told("order")
    shop.box.fault("unsigned_404")
    shop.assert_refused(shop.hint("order", truth).send(shop.function), 503)
    shop.box.clear_faults()
    time.sleep(2.05)  # a number is asked about once in two seconds
    shop.assert_acknowledged(shop.hint("order", truth).send(shop.function))
    assert len(shop.orders.calls) == 1


# Evidence: none needed, where the merchant says that no stranger reaches the function


@pytest.mark.parametrize(("kind", "state"), ENDS)
def test_a_trusted_platform_is_taken_at_its_word(
    shops: Shops, kind: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("gateway", callbackTrust="platform")

    def make() -> tuple[Message, dict[str, Any]]:
        truth = shop.told(kind, state)
        return shop.hint(kind, truth), truth

    handled_by_every_way_in(shop, make, capsys, "platform")
    assert shop.box.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Wx-Openid": "oSOMEBODY"},
        {"Authorization": "Bearer x.y.z"},
        {"X-Wx-Source": "wx_client", "X-Wx-From-Openid": "oSOMEBODY"},
        {"Authorization": "Basic x, Bearer y"},
    ],
    ids=str,
)
def test_even_then_what_an_end_user_sends_is_confirmed_first(
    shops: Shops, headers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("gateway", callbackTrust="platform")
    capsys.readouterr()
    message = Message("order", shop.hint("order", shop.told("order")).body, lambda raw: headers)
    shop.assert_acknowledged(message.send(shop.function))
    assert [line["evidence"] for line in believed(capsys)] == ["query"]
    assert len(shop.queries()) == 1


def test_an_envelope_goes_before_the_platforms_word(shops: Shops, capsys: pytest.CaptureFixture[str]) -> None:
    shop = shops.get("gateway", callbackTrust="platform")
    capsys.readouterr()
    shop.assert_acknowledged(shop.forwarded("order").send(shop.function))
    assert [line["evidence"] for line in believed(capsys)] == ["resource"]


# Whose it is, and which kind


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_a_payment_through_either_appid_is_ours(shops: Shops, mode: str) -> None:
    shop = shops.get(mode)
    for appid in (shop.credentials.app_id, shop.credentials.service_app_id):
        truth = changed(sample("order", shop.credentials), "appid", appid)
        message = shop.signed("order", truth) if mode == "sdk" else shop.forwarded("order", truth)
        shop.assert_acknowledged(message.send(shop.function), appid)


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_a_transfer_that_spells_the_merchant_mchid_is_ours_too(shops: Shops, mode: str) -> None:
    shop = shops.get(mode)
    truth = sample("transfer", shop.credentials)
    truth["mchid"] = truth.pop("mch_id")
    message = shop.signed("transfer", truth) if mode == "sdk" else shop.forwarded("transfer", truth)
    shop.assert_acknowledged(message.send(shop.function))
    assert shop.orders.calls == [("handler_transfer_trigger", truth)]


OTHER_EVENTS = [
    ("order", "TRANSACTION.FAIL"),
    ("refund", "REFUND.ABNORMAL"),
    ("refund", "REFUND.CLOSED"),
    ("transfer", "MCHTRANSFER.TRANSFER.SUCCESS"),
    ("transfer", "MCHTRANSFER.TRANSFER.FAIL"),
]


@pytest.mark.parametrize(("kind", "event"), [*((kind, EVENTS[kind]) for kind in KINDS), *OTHER_EVENTS])
@pytest.mark.parametrize(
    "path", ["/wx-pay/unifiedOrderTrigger", "/wechatpay/refund", "/x/wechatpay/transfer/"]
)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_the_event_chooses_the_handler_before_the_path_does(
    shops: Shops, mode: str, path: str, kind: str, event: str
) -> None:
    shop = shops.get(mode)
    wrapped = shop.signed if mode == "sdk" else shop.forwarded
    shop.assert_acknowledged(wrapped(kind, event_type=event).send(shop.function, path))
    assert [handler for handler, _ in shop.orders.calls] == [HANDLERS[kind]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_without_an_event_the_path_chooses(shops: Shops, mode: str, kind: str) -> None:
    shop = shops.get(mode)
    message = shop.signed(kind) if mode == "sdk" else shop.forwarded(kind)
    for holder in (message.body, message.body.get("rawData", {}), message.body.get("ParsedNotify", {})):
        holder.pop("event_type", None)
    shop.assert_acknowledged(message.send(shop.function))
    assert [handler for handler, _ in shop.orders.calls] == [HANDLERS[kind]]


@pytest.mark.parametrize("content", [{"coupon_id": "98674556"}, {"mchid": ...}, {"mch_id": ...}], ids=str)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_an_authentic_notification_of_another_type_is_acknowledged_and_logged(
    shops: Shops, mode: str, content: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get(mode)
    content = {
        name: shop.credentials.merchant_id if value is ... else value for name, value in content.items()
    }
    wrapped = shop.signed if mode == "sdk" else shop.forwarded
    message = wrapped("order", content, event_type="COUPON.USE", original_type="coupon")
    for way, path, fields in message.ways():
        capsys.readouterr()
        shop.assert_acknowledged(message.send(shop.function, path, fields), way)
        assert [(line["level"], line["event_type"]) for line in believed(capsys)] == [
            ("WARNING", "COUPON.USE")
        ]
    assert shop.orders.calls == []
    assert shop.queries() == []


# Again and at once


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_a_duplicate_is_handed_over_again_because_the_handler_knows_what_it_did(
    shops: Shops, mode: str
) -> None:
    shop = shops.get(mode)
    message = shop.signed("order") if mode == "sdk" else shop.forwarded("order")
    for _ in range(3):
        shop.assert_acknowledged(message.send(shop.function))
    assert len(shop.orders.calls) == 3
    assert shop.orders.calls[0] == shop.orders.calls[1] == shop.orders.calls[2]


def test_what_a_handler_does_to_its_fields_stays_with_it(shops: Shops) -> None:
    shop = shops.get("sdk")
    truth = shop.told("order")
    seen: list[str] = []

    def spoil(params: dict[str, Any]) -> None:
        seen.append(json.dumps(params, sort_keys=True))
        params["amount"]["total"] = 0
        params.clear()

    shop.orders.behave = spoil
    for _ in range(2):
        shop.assert_acknowledged(shop.signed("order", truth).send(shop.function))
    assert seen == [json.dumps(truth, sort_keys=True)] * 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_of_copies_in_flight_one_is_handled_and_the_others_come_again(
    shops: Shops, mode: str, kind: str
) -> None:
    shop = shops.get(mode)
    truth = shop.told(kind)
    message = shop.signed(kind, truth) if mode == "sdk" else shop.forwarded(kind, truth)
    entered, leave = threading.Event(), threading.Event()

    def work(params: dict[str, Any]) -> None:
        entered.set()
        assert leave.wait(5)

    shop.orders.behave = work
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(message.send, Function(shop.function.url))
        assert entered.wait(5)
        for _ in range(3):
            copy = message.send(shop.function)
            assert (copy.status, copy.body["code"]) == (503, "FAIL")
            assert copy.seconds < 1
        leave.set()
        shop.assert_acknowledged(first.result())
    assert len(shop.orders.calls) == 1
    shop.assert_acknowledged(message.send(shop.function), "delivered again")
    assert len(shop.orders.calls) == 2


def test_notifications_about_other_things_are_handled_at_the_same_time(shops: Shops) -> None:
    shop = shops.get("sdk")
    together = threading.Barrier(4)

    def meet(params: dict[str, Any]) -> None:
        together.wait(5)

    shop.orders.behave = meet
    messages = [shop.signed(kind, shop.told(kind)) for kind in (*KINDS, "order")]
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda message: message.send(Function(shop.function.url)), messages))
    assert [reply.status for reply in replies] == [200] * 4


# Under gunicorn, as scf_bootstrap starts it


@pytest.mark.parametrize(("sign_mode", "key_mode"), MODES)
def test_gunicorn_acknowledges_what_wechat_pay_and_the_platform_deliver(
    credentials: Credentials, sign_mode: str, key_mode: str, tmp_path: Path
) -> None:
    with (
        Sandbox(sign_mode=sign_mode, key_mode=key_mode, credentials=credentials) as box,
        gunicorn(box.env(), tmp_path / "log") as function,
    ):
        box.function = function.url
        shop = Shop(box, function, RecordingOrders())
        manners: list[dict[str, Any]] = [{"shape": "direct", "path": "/wx-pay/unifiedOrderTrigger"}]
        if sign_mode == "gateway":
            manners += [
                {"shape": "forwarded", "path": "/", "envelope": envelope}
                for envelope in ("rawData", "rawData-string", "ParsedNotify", None)
            ]
        for manner in manners:
            for kind, state in ENDS:
                happened = {"order": shop.order, "refund": shop.refund, "transfer": shop.transfer}[kind]
                number = happened(state) if state else happened()
                (delivery,) = box.deliver(kind, number, **manner)
                assert delivery.acknowledged, (manner, delivery.status, delivery.answer)
                assert delivery.json["code"] == "SUCCESS"
                word = {"order": "Unified", "refund": "Refund", "transfer": "Transfer"}[kind]
                result = "payment" if kind == "order" else kind
                line = f"handler{word}Trigger - {result} result: {number} {state or 'SUCCESS'}"
                assert line in [entry["message"] for entry in function.log_lines()]
        kept = [entry for entry in function.log_lines() if "nothing was kept" in entry["message"]]
        assert len(kept) == len(manners) * len(ENDS)
        assert {entry["level"] for entry in kept} == {"WARNING"}
