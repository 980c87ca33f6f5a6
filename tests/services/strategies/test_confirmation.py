"""What is asked about a hint, how often, within which time, and which answer confirms it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.strategies.base import PAYMENT, REFUND, TRANSFER, Kind
from services.strategies.confirmation import Confirmation
from services.wechatpay.client import Reply
from services.wechatpay.errors import (
    ApiError,
    NotificationPostponed,
    NotificationRefused,
    NotSent,
    RateLimited,
    ServerFault,
    TimedOut,
    Unreachable,
    Unverifiable,
)
from tests.services.wechatpay.host import Host, Say, client_of

MERCHANT = "1900000001"
ANSWERS: dict[Kind, dict[str, Any]] = {
    PAYMENT: {
        "appid": "wx1",
        "mchid": MERCHANT,
        "out_trade_no": "N",
        "transaction_id": "T",
        "trade_type": "JSAPI",
        "trade_state": "SUCCESS",
        "payer": {"openid": "o1"},
        "amount": {"total": 20, "payer_total": 20, "currency": "CNY"},
    },
    REFUND: {
        "out_trade_no": "N",
        "transaction_id": "T",
        "out_refund_no": "N",
        "refund_id": "R",
        "status": "SUCCESS",
        "amount": {"total": 20, "refund": 5},
    },
    TRANSFER: {
        "mch_id": MERCHANT,
        "appid": "wx1",
        "out_bill_no": "N",
        "transfer_bill_no": "B",
        "openid": "o1",
        "transfer_amount": 30,
        "state": "SUCCESS",
    },
}
KINDS = [PAYMENT, REFUND, TRANSFER]
by_name = {"ids": lambda value: getattr(value, "name", None)}


class WechatPay:
    """Stands in for the client: keeps the questions, answers what the test says, asks nobody too late."""

    def __init__(self, answer: Callable[[], Mapping[str, Any]], clock: Callable[[], float]) -> None:
        self.answer = answer
        self.clock = clock
        self.questions: list[dict[str, Any]] = []

    def call(self, method: str, path: str, **options: Any) -> Reply:
        if options["deadline"] <= self.clock():
            raise NotSent("no time left")
        self.questions.append({"method": method, "path": path, **options})
        return Reply(200, dict(self.answer()))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(kind: Kind, answer: Any = None) -> tuple[Confirmation, WechatPay, Clock]:
    def say() -> Mapping[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        return ANSWERS[kind] if answer is None else answer

    clock = Clock()
    wechat_pay = WechatPay(say, clock)
    return Confirmation(wechat_pay, MERCHANT, monotonic=clock), wechat_pay, clock  # type: ignore[arg-type]


def hint(kind: Kind, **fields: Any) -> dict[str, Any]:
    return {kind.number: "N", kind.state: "SUCCESS", **fields}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (PAYMENT, f"/v3/pay/transactions/out-trade-no/N?mchid={MERCHANT}"),
        (REFUND, "/v3/refund/domestic/refunds/N"),
        (TRANSFER, "/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/N"),
    ],
    **by_name,
)
def test_each_kind_is_asked_for_by_the_merchants_own_number(kind: Kind, path: str) -> None:
    confirmation, wechat_pay, clock = asked(kind)
    confirmation.confirm(kind, hint(kind), clock.now + 4)
    (question,) = wechat_pay.questions
    assert (question["method"], question["path"]) == ("GET", path)
    assert question["expect"] == {kind.number: "N"}, "an answer to another question is none"
    assert question["try_timeout"] <= 1.5
    assert clock.now + 3 < question["deadline"] < clock.now + 4, "some of the callback's time is left for the handler"


@pytest.mark.parametrize("kind", KINDS, **by_name)
def test_the_answer_alone_is_returned_under_the_notifications_names(kind: Kind) -> None:
    confirmation, _, clock = asked(kind)
    confirmed = confirmation.confirm(kind, hint(kind, bonus=1, attach="x"), clock.now + 4)
    expected = dict(ANSWERS[kind])
    if kind is REFUND:
        expected["refund_status"] = expected.pop("status")
        expected["mchid"] = MERCHANT
    assert confirmed == expected


CONFIRMED = {
    PAYMENT: {("SUCCESS", "SUCCESS"), ("SUCCESS", "REFUND"), ("REFUND", "REFUND")},
    REFUND: {(state, state) for state in ("SUCCESS", "CLOSED", "ABNORMAL")},
    TRANSFER: {(state, state) for state in ("SUCCESS", "FAIL", "CANCELLED")},
}
STATES = {
    PAYMENT: (
        "SUCCESS",
        "REFUND",
        "NOTPAY",
        "CLOSED",
        "REVOKED",
        "USERPAYING",
        "PAYERROR",
        "ACCEPT",
        "success",
        "",
    ),
    REFUND: ("SUCCESS", "CLOSED", "ABNORMAL", "PROCESSING", "CHANGE", "REFUNDCLOSE"),
    TRANSFER: (
        "SUCCESS",
        "FAIL",
        "CANCELLED",
        "ACCEPTED",
        "PROCESSING",
        "WAIT_USER_CONFIRM",
        "TRANSFERING",
        "CANCELING",
    ),
}
MATRIX = [(kind, *pair) for kind in KINDS for pair in itertools.product(STATES[kind], (*STATES[kind], None))]


@pytest.mark.parametrize(("kind", "stated", "known"), MATRIX, **by_name)
def test_of_all_pairs_of_states_only_these_confirm(kind: Kind, stated: str, known: str | None) -> None:
    name = "status" if kind is REFUND else kind.state
    confirmation, wechat_pay, clock = asked(kind, {**ANSWERS[kind], name: known})
    told = hint(kind) | {kind.state: stated}
    if (stated, known) in CONFIRMED[kind]:
        assert confirmation.confirm(kind, told, clock.now + 4)[kind.state] == known
        return
    with pytest.raises(NotificationRefused):
        confirmation.confirm(kind, told, clock.now + 4)
    final = {state for state, _ in CONFIRMED[kind]}
    assert len(wechat_pay.questions) == (stated in final)


@pytest.mark.parametrize("kind", KINDS, **by_name)
@pytest.mark.parametrize("name", ["mchid", "mch_id"])
@pytest.mark.parametrize("value", ["1900000002", "", None, 1900000001])
def test_another_merchants_hint_is_refused_unasked(kind: Kind, name: str, value: Any) -> None:
    confirmation, wechat_pay, clock = asked(kind)
    with pytest.raises(NotificationRefused):
        confirmation.confirm(kind, hint(kind, **{name: value}), clock.now + 4)
    assert wechat_pay.questions == []
    assert confirmation.confirm(kind, hint(kind), clock.now + 4)


@pytest.mark.parametrize(
    ("stated", "answer"),
    [
        ({"out_trade_no": "订"}, None),
        ({"trade_state": "NOTPAY"}, None),
        ({"mchid": "1900000002"}, None),
        ({}, ApiError(404, {"code": "ORDER_NOT_EXIST"}, signed=True)),
        ({}, {**ANSWERS[PAYMENT], "trade_state": "NOTPAY"}),
        ({"amount": {"total": 21}}, None),
    ],
    ids=["number", "state", "merchant", "no such order", "not paid", "amount"],
)
def test_all_refusals_say_the_same(stated: dict[str, Any], answer: Any) -> None:
    confirmation, _, clock = asked(PAYMENT, answer)
    with pytest.raises(NotificationRefused) as refusal:
        confirmation.confirm(PAYMENT, hint(PAYMENT, **stated), clock.now + 4)
    assert str(refusal.value) == "WeChat Pay does not confirm this notification"


@pytest.mark.parametrize(
    "stated",
    [{"total": 20}, {"total": 20, "payer_total": 20, "currency": "CNY"}, {}],
    ids=str,
)
def test_amounts_stated_in_part_agree(stated: Any) -> None:
    confirmation, _, clock = asked(PAYMENT)
    assert confirmation.confirm(PAYMENT, hint(PAYMENT, amount=stated), clock.now + 4)["amount"]["total"] == 20


@pytest.mark.parametrize(
    "stated",
    [
        {"total": 21},
        {"total": "20"},
        {"total": 20.0},
        {"total": True},
        {"total": None},
        {"total": [20]},
        {"total": {"value": 20}},
        {"total": 20, "bonus": 1},
        {"": 20},
        20,
        "20",
        None,
        [20],
        [{"total": 20}],
    ],
    ids=str,
)
def test_amounts_that_differ_in_value_or_type_do_not(stated: Any) -> None:
    confirmation, _, clock = asked(PAYMENT)
    with pytest.raises(NotificationRefused):
        confirmation.confirm(PAYMENT, hint(PAYMENT, amount=stated), clock.now + 4)


def test_true_is_not_one() -> None:
    confirmation, _, clock = asked(PAYMENT, {**ANSWERS[PAYMENT], "amount": {"total": 1}})
    with pytest.raises(NotificationRefused):
        confirmation.confirm(PAYMENT, hint(PAYMENT, amount={"total": True}), clock.now + 4)


@pytest.mark.parametrize(
    "number",
    [
        "",
        " N",
        "N ",
        "N\n",
        "../N",
        "N/close",
        "N?x=1",
        "N#",
        "N%2F",
        "N;x",
        "N\\",
        "订单",
        "Ｎ",
        "N\0",
        "A" * 65,
        "é",
    ],
    ids=ascii,
)
def test_a_number_outside_the_alphabet_is_refused_unasked(number: str) -> None:
    confirmation, wechat_pay, clock = asked(PAYMENT)
    with pytest.raises(NotificationRefused):
        confirmation.confirm(PAYMENT, hint(PAYMENT, out_trade_no=number), clock.now + 4)
    assert wechat_pay.questions == []


@pytest.mark.parametrize(
    ("number", "segment"), [("A|B", "A%7CB"), ("A@B", "A%40B"), ("A*B", "A*B"), ("-_", "-_")]
)
def test_a_number_is_encoded_once(number: str, segment: str) -> None:
    confirmation, wechat_pay, clock = asked(REFUND, {**ANSWERS[REFUND], "out_refund_no": number})
    confirmation.confirm(REFUND, hint(REFUND, out_refund_no=number), clock.now + 4)
    assert wechat_pay.questions[0]["path"] == f"/v3/refund/domestic/refunds/{segment}"


@pytest.mark.parametrize("kind", KINDS, **by_name)
def test_only_a_signed_404_says_no_for_good(kind: Kind) -> None:
    confirmation, _, clock = asked(kind, ApiError(404, {"code": "ORDER_NOT_EXIST"}, signed=True))
    with pytest.raises(NotificationRefused):
        confirmation.confirm(kind, hint(kind), clock.now + 4)


NO_ANSWER = [
    ApiError(404, None, signed=False),
    *(
        ApiError(status, None, signed=signed)
        for status in (400, 401, 403, 405, 429)
        for signed in (True, False)
    ),
    Unreachable("x"),
    TimedOut("x"),
    ServerFault("x"),
    RateLimited("x"),
    Unverifiable("x"),
    NotSent("x"),
]


@pytest.mark.parametrize("error", NO_ANSWER, ids=repr)
def test_everything_else_that_is_no_answer_postpones(error: Exception) -> None:
    confirmation, _, clock = asked(PAYMENT, error)
    with pytest.raises(NotificationPostponed) as postponed:
        confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    assert str(postponed.value) == f"WeChat Pay could not be asked: {error}"


def test_a_number_may_be_asked_about_every_two_seconds() -> None:
    confirmation, wechat_pay, clock = asked(PAYMENT)
    confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    for later in (0.0, 1.0, 0.99):
        clock.now += later
        with pytest.raises(NotificationPostponed, match=r"^this number was asked for a moment ago$"):
            confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    clock.now += 0.01
    confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    assert len(wechat_pay.questions) == 2


def test_a_refused_repetition_does_not_prolong_the_pause() -> None:
    confirmation, wechat_pay, clock = asked(PAYMENT)
    confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    for _ in range(19):
        clock.now += 0.1
        with pytest.raises(NotificationPostponed):
            confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    clock.now += 0.2
    confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    assert len(wechat_pay.questions) == 2


def test_the_same_number_of_another_kind_is_another_number() -> None:
    clock = Clock()
    wechat_pay = WechatPay(lambda: {**ANSWERS[PAYMENT], **ANSWERS[REFUND], **ANSWERS[TRANSFER]}, clock)
    confirmation = Confirmation(wechat_pay, MERCHANT, monotonic=clock)  # type: ignore[arg-type]
    for kind in KINDS:
        confirmation.confirm(kind, hint(kind), clock.now + 4)
    assert len(wechat_pay.questions) == 3


@pytest.mark.parametrize("left", [-1.0, 0.0, 0.1])
def test_without_time_for_a_handler_nobody_is_asked(left: float) -> None:
    confirmation, wechat_pay, clock = asked(PAYMENT)
    with pytest.raises(NotificationPostponed):
        confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + left)
    assert wechat_pay.questions == []
    with Host() as host:
        confirmation = Confirmation(client_of(host.url, host.url), MERCHANT)
        with pytest.raises(NotificationPostponed, match="nothing was sent"):
            confirmation.confirm(PAYMENT, hint(PAYMENT), time.monotonic() + left)
    assert host.seen == []


def test_without_a_key_to_verify_the_answer_nobody_is_asked_about_the_hint() -> None:
    with Host(Say(500)) as host:
        confirmation = Confirmation(client_of(host.url, host.url, public_key=None), MERCHANT)
        with pytest.raises(NotificationPostponed, match="nothing was sent"):
            confirmation.confirm(PAYMENT, hint(PAYMENT), time.monotonic() + 4)
    assert {seen.target for seen in host.seen} == {"/v3/certificates"}


def test_a_transfers_answer_need_not_name_the_payee() -> None:
    answer = {name: value for name, value in ANSWERS[TRANSFER].items() if name != "openid"}
    confirmation, _, clock = asked(TRANSFER, answer)
    stated = hint(TRANSFER, openid="o1", transfer_amount=30, transfer_bill_no="B")
    assert confirmation.confirm(TRANSFER, stated, clock.now + 4) == answer, "no openid that only the hint states"


@pytest.mark.parametrize("known", ["o2", "", None, ["o1"]])
def test_a_payee_that_the_answer_names_must_be_the_hints(known: Any) -> None:
    confirmation, _, clock = asked(TRANSFER, {**ANSWERS[TRANSFER], "openid": known})
    with pytest.raises(NotificationRefused):
        confirmation.confirm(TRANSFER, hint(TRANSFER, openid="o1"), clock.now + 4)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((TRANSFER, name) for name in ("mch_id", "appid", "transfer_bill_no", "transfer_amount")),
        *((PAYMENT, name) for name in ("appid", "mchid", "transaction_id", "trade_type", "payer", "amount")),
        *((REFUND, name) for name in ("out_trade_no", "transaction_id", "refund_id", "amount")),
    ],
    **by_name,
)
def test_nothing_else_may_be_missing_in_the_answer_where_the_hint_states_it(kind: Kind, name: str) -> None:
    answer = {key: value for key, value in ANSWERS[kind].items() if key != name}
    confirmation, _, clock = asked(kind, answer)
    with pytest.raises(NotificationRefused):
        confirmation.confirm(kind, hint(kind, **{name: ANSWERS[kind][name]}), clock.now + 4)


@pytest.mark.parametrize("kind", KINDS, **by_name)
def test_an_answer_for_another_number_confirms_nothing(kind: Kind) -> None:
    confirmation, _, clock = asked(kind, {**ANSWERS[kind], kind.number: "M"})
    with pytest.raises(NotificationRefused):
        confirmation.confirm(kind, hint(kind), clock.now + 4)


def test_a_payments_answer_must_name_the_payer_that_the_hint_names() -> None:
    confirmation, _, clock = asked(PAYMENT, {**ANSWERS[PAYMENT], "payer": {}})
    with pytest.raises(NotificationRefused):
        confirmation.confirm(PAYMENT, hint(PAYMENT, payer={"openid": "o1"}), clock.now + 4)


@pytest.mark.parametrize("outcome", ["confirmed", "refused", "postponed", "no time"])
def test_every_outcome_gives_its_place_back(outcome: str) -> None:
    answers = {"refused": {**ANSWERS[PAYMENT], "trade_state": "NOTPAY"}, "postponed": TimedOut("x")}
    confirmation, wechat_pay, clock = asked(PAYMENT, answers.get(outcome))
    said = set()
    for _ in range(12):
        left = 0.0 if outcome == "no time" else 4.0
        clock.now += 3
        try:
            confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + left)
        except (NotificationRefused, NotificationPostponed) as error:
            said.add((type(error), str(error)))
    assert len(said) == (outcome != "confirmed"), "the twelfth fails as the first did"
    assert len(wechat_pay.questions) == (0 if outcome == "no time" else 12)


def test_four_questions_at_a_time() -> None:
    leave, entered = threading.Event(), threading.Semaphore(0)

    def answer() -> Mapping[str, Any]:
        entered.release()
        assert leave.wait(5)
        return ANSWERS[PAYMENT]

    clock = Clock()
    wechat_pay = WechatPay(answer, clock)
    confirmation = Confirmation(wechat_pay, MERCHANT, monotonic=clock)  # type: ignore[arg-type]

    def ask(index: int, **who: bool) -> dict[str, Any]:
        stated = {"out_trade_no": f"N{index}", "trade_state": "SUCCESS"}
        return confirmation.confirm(PAYMENT, stated, clock.now + 4, **who)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(ask, index) for index in range(4)]
        for _ in running:
            assert entered.acquire(timeout=5)
        for index in range(4, 8):
            with pytest.raises(NotificationPostponed, match=r"^too many confirmations are under way$"):
                ask(index)
        with ThreadPoolExecutor(1) as operator:
            by_him = operator.submit(ask, 8, from_operator=True)
            assert entered.acquire(timeout=5), "he does not wait behind them"
            leave.set()
        for question in [*running, by_him]:
            with pytest.raises(NotificationRefused):  # the answer is for order N
                question.result()
    assert len(wechat_pay.questions) == 5


def test_an_operator_may_ask_at_once_about_a_number_that_a_stranger_asked_about() -> None:
    confirmation, wechat_pay, clock = asked(PAYMENT)
    confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4)
    confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4, from_operator=True)
    with pytest.raises(NotificationPostponed):
        confirmation.confirm(PAYMENT, hint(PAYMENT), clock.now + 4, from_operator=True)
    assert len(wechat_pay.questions) == 2
    clock.now += 2
    with pytest.raises(NotificationRefused):
        confirmation.confirm(PAYMENT, hint(PAYMENT, amount={"total": 21}), clock.now + 4, from_operator=True)


def test_numbers_asked_about_long_ago_are_forgotten() -> None:
    confirmation, _, clock = asked(PAYMENT, TimedOut("x"))
    for index in range(2000):
        clock.now += 0.1
        with pytest.raises(NotificationPostponed):
            confirmation.confirm(PAYMENT, hint(PAYMENT, out_trade_no=f"N{index}"), clock.now + 4)
    assert len(confirmation._strangers._asked) <= 21
