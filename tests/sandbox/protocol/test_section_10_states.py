"""Section 10, row by row: the states of orders, refunds and transfers, and every move between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import BILLS, REFUNDS, Function, Heard, call
from tests.sandbox.protocol.conftest import PAY, Payee, beijing, moment, opened, refusal, renewed

NUMBER, REFUND, BILL = "ORDER_000001", "REFUND_1", "BILL1"
MINUTE, HOUR, DAY = 60, 3600, 86400


def control(box: Sandbox, path: str, **body: Any) -> Heard:
    return call(box.url, "POST", f"/sandbox/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})


def steps(box: Sandbox, kind: str) -> list[str]:
    """The states that the only thing of this kind went through, as the control API shows its life."""
    [thing] = call(box.url, "GET", f"/sandbox/{kind}").json
    states = [step["state"] for step in thing["life"]]
    return states[:1] + [after for before, after in pairwise(states) if after != before]


def since(text: str, start: str) -> float:
    return moment(text) - moment(start)


# Order trade_state


def order_in(merchant: Payee, state: str, number: str = NUMBER) -> None:
    merchant.place("native", number)
    if state == "CLOSED":
        assert merchant.close(number).status == 204
    if state in ("SUCCESS", "REFUND"):
        assert control(merchant.box, f"orders/{number}/pay").status == 200
    if state == "REFUND":
        refund_of(merchant, number, 40)
    assert trade_state(merchant, number) == state


def refund_of(merchant: Payee, number: str = NUMBER, amount: int = 40) -> Heard:
    count = len(merchant.box.ledger.refunds)
    body = merchant.refund(f"{number}_{count}", amount, out_trade_no=number)
    return merchant.send("POST", REFUNDS, body)


def trade_state(merchant: Payee, number: str = NUMBER) -> str:
    return str(merchant.query(number).json["trade_state"])


def again(merchant: Payee, number: str) -> Heard:
    return merchant.send("POST", f"{PAY}/native", merchant.scene("native", number))


def eight_days(merchant: Payee, number: str) -> Heard:
    merchant.box.advance("8d")
    return merchant.query(number)


ORDER_ACTS: dict[str, Callable[[Payee, str], Heard]] = {
    "the user pays": lambda merchant, number: control(merchant.box, f"orders/{number}/pay"),
    "an attempt fails": lambda merchant, number: control(merchant.box, f"orders/{number}/fail"),
    "the merchant closes": lambda merchant, number: merchant.close(number),
    "the merchant refunds": refund_of,
    "the merchant orders again": again,
    "8 days go by": eight_days,
}
# Start, act, HTTP status of its answer, state afterwards.
ORDER_MOVES = [
    ("NOTPAY", "the user pays", 200, "SUCCESS"),
    ("NOTPAY", "an attempt fails", 200, "NOTPAY"),
    ("NOTPAY", "the merchant closes", 204, "CLOSED"),
    ("NOTPAY", "the merchant refunds", 404, "NOTPAY"),
    ("NOTPAY", "the merchant orders again", 200, "NOTPAY"),
    ("NOTPAY", "8 days go by", 200, "CLOSED"),
    ("SUCCESS", "the user pays", 400, "SUCCESS"),
    ("SUCCESS", "an attempt fails", 400, "SUCCESS"),
    ("SUCCESS", "the merchant closes", 400, "SUCCESS"),
    ("SUCCESS", "the merchant refunds", 200, "REFUND"),
    ("SUCCESS", "the merchant orders again", 400, "SUCCESS"),
    ("SUCCESS", "8 days go by", 200, "SUCCESS"),
    ("REFUND", "the user pays", 400, "REFUND"),
    ("REFUND", "an attempt fails", 400, "REFUND"),
    ("REFUND", "the merchant closes", 400, "REFUND"),
    ("REFUND", "the merchant refunds", 200, "REFUND"),
    ("REFUND", "the merchant orders again", 400, "REFUND"),
    ("REFUND", "8 days go by", 200, "REFUND"),
    ("CLOSED", "the user pays", 400, "CLOSED"),
    ("CLOSED", "an attempt fails", 400, "CLOSED"),
    ("CLOSED", "the merchant closes", 204, "CLOSED"),
    ("CLOSED", "the merchant refunds", 404, "CLOSED"),
    ("CLOSED", "the merchant orders again", 400, "CLOSED"),
    ("CLOSED", "8 days go by", 200, "CLOSED"),
]


@pytest.mark.parametrize(
    ("start", "act", "status", "end"), ORDER_MOVES, ids=[f"{row[0]}: {row[1]}" for row in ORDER_MOVES]
)
def test_a_move_of_an_order(merchant, box, start, act, status, end):
    order_in(merchant, start)
    before = merchant.query().json
    answer = ORDER_ACTS[act](merchant, NUMBER)
    assert answer.status == status
    after = merchant.query().json
    assert after["trade_state"] == end
    assert steps(box, "orders")[-1] == end
    if end == start:
        assert after == before


def test_the_moves_above_are_every_act_in_every_state():
    assert {row[:2] for row in ORDER_MOVES} == {
        (state, act) for state in ("NOTPAY", "SUCCESS", "REFUND", "CLOSED") for act in ORDER_ACTS
    }


@pytest.fixture(scope="module")
def tour(shared, function_server) -> set[str]:
    """Every trade_state that an order shows, in queries and notifications, whatever is done in whatever state."""
    shown: set[str] = set()
    function: Function = function_server[1]
    function.answers.clear()
    merchant = Payee(renewed(shared, function))
    for index, (start, act, _, _) in enumerate(ORDER_MOVES):
        number = f"ORDER_{index:06d}"
        order_in(merchant, start, number)
        ORDER_ACTS[act](merchant, number)
    for number in merchant.box.ledger.orders:
        shown.add(trade_state(merchant, number))
    for listed in call(merchant.box.url, "GET", "/sandbox/orders").json:
        shown.update({listed["trade_state"], *(step["state"] for step in listed["life"])})
    return shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("NOTPAY", True),
        ("SUCCESS", True),
        ("REFUND", True),
        ("CLOSED", True),
        ("REVOKED", False),
        ("USERPAYING", False),
        ("PAYERROR", False),
    ],
)
def test_a_value_of_trade_state(tour, value, shown):
    """Those of code pay never are."""
    assert (value in tour) is shown
    assert len(tour) == 4


def test_notpay_can_be_paid_after_failed_attempts(merchant, box, function):
    code_url = merchant.place("native")
    for reason in ("余额不足", ""):
        assert control(box, f"orders/{NUMBER}/fail", reason=reason).status == 200
        assert trade_state(merchant) == "NOTPAY"
    assert function.got == []
    assert control(box, "phone/open", code_url=code_url).status == 200
    assert control(box, f"orders/{NUMBER}/pay").status == 200
    assert trade_state(merchant) == "SUCCESS"


def test_notpay_stays_after_time_expire_until_closed(merchant, box):
    """It is not payable any more, and neither failed nor closed before the seventh day."""
    merchant.place("native", time_expire=(beijing(box) + timedelta(minutes=10)).isoformat(timespec="seconds"))
    box.advance("11m")
    assert trade_state(merchant) == "NOTPAY"
    assert control(box, f"orders/{NUMBER}/pay").status == 400
    box.advance(7 * DAY - 11 * MINUTE - 5)
    assert trade_state(merchant) == "NOTPAY"
    box.advance(10)
    assert trade_state(merchant) == "CLOSED"


def test_notpay_after_time_expire_can_be_closed_by_the_merchant(merchant, box):
    merchant.place("native", time_expire=(beijing(box) + timedelta(minutes=10)).isoformat(timespec="seconds"))
    box.advance("11m")
    assert merchant.close().status == 204
    assert steps(box, "orders") == ["NOTPAY", "CLOSED"]


def test_closed_after_seven_days_unpaid_without_a_word(merchant, box, function):
    merchant.place("native")
    box.advance(7 * DAY - 5)
    assert trade_state(merchant) == "NOTPAY"
    box.advance(10)
    assert steps(box, "orders") == ["NOTPAY", "CLOSED"]
    box.advance("8d")
    assert function.got == []


@pytest.mark.parametrize("amount", [1, 99, 100], ids=["1 of 100", "99 of 100", "all"])
def test_refund_from_the_first_accepted_one_on(merchant, box, amount):
    order_in(merchant, "SUCCESS")
    assert refund_of(merchant, amount=amount).json["status"] == "PROCESSING"
    assert trade_state(merchant) == "REFUND"
    assert steps(box, "orders") == ["NOTPAY", "SUCCESS", "REFUND"]


@pytest.mark.parametrize("end", ["SUCCESS", "CLOSED", "ABNORMAL"])
def test_refund_whatever_becomes_of_the_refund(merchant, box, end):
    order_in(merchant, "REFUND")
    assert control(box, f"refunds/{NUMBER}_0/settle", status=end).status == 200
    assert trade_state(merchant) == "REFUND"
    assert steps(box, "orders") == ["NOTPAY", "SUCCESS", "REFUND"]


def test_a_refused_refund_leaves_success(merchant):
    order_in(merchant, "SUCCESS")
    assert refund_of(merchant, amount=101).status == 400
    assert trade_state(merchant) == "SUCCESS"


# Refund status


def refund_in(merchant: Payee, state: str, number: str = REFUND) -> None:
    merchant.refunded(number, refund=1, total=100)
    if state != "PROCESSING":
        assert control(merchant.box, f"refunds/{number}/settle", status=state).status == 200
    assert status_of(merchant, number) == state


def status_of(merchant: Payee, number: str = REFUND) -> str:
    return str(merchant.refund_query(number).json["status"])


def redirect(merchant: Payee, number: str = REFUND) -> Heard:
    target = f"{REFUNDS}/{merchant.refund_query(number).json['refund_id']}/apply-abnormal-refund"
    return merchant.send("POST", target, {"out_refund_no": number, "type": "MERCHANT_BANK_CARD"})


def thirty_days(merchant: Payee, number: str) -> Heard:
    merchant.box.advance("30d")
    return merchant.refund_query(number)


def settles(state: str) -> Callable[[Payee, str], Heard]:
    return lambda merchant, number: control(merchant.box, f"refunds/{number}/settle", status=state)


REFUND_ACTS: dict[str, Callable[[Payee, str], Heard]] = {
    "it arrives": settles("SUCCESS"),
    "it fails": settles("CLOSED"),
    "it cannot arrive": settles("ABNORMAL"),
    "it starts anew": settles("PROCESSING"),
    "the merchant redirects it": redirect,
    "the merchant sends it again": lambda merchant, number: merchant.send(
        "POST", REFUNDS, merchant.refund(number, refund=1, total=100)
    ),
    "30 days go by": thirty_days,
}
REFUND_ROWS = [
    ("PROCESSING", "it arrives", 200, "SUCCESS"),
    ("PROCESSING", "it fails", 200, "CLOSED"),
    ("PROCESSING", "it cannot arrive", 200, "ABNORMAL"),
    ("PROCESSING", "it starts anew", 400, "PROCESSING"),
    ("PROCESSING", "the merchant redirects it", 400, "PROCESSING"),
    ("PROCESSING", "the merchant sends it again", 200, "PROCESSING"),
    ("PROCESSING", "30 days go by", 200, "SUCCESS"),
    ("SUCCESS", "it arrives", 400, "SUCCESS"),
    ("SUCCESS", "it fails", 400, "SUCCESS"),
    ("SUCCESS", "it cannot arrive", 400, "SUCCESS"),
    ("SUCCESS", "it starts anew", 400, "SUCCESS"),
    ("SUCCESS", "the merchant redirects it", 400, "SUCCESS"),
    ("SUCCESS", "the merchant sends it again", 200, "SUCCESS"),
    ("SUCCESS", "30 days go by", 200, "SUCCESS"),
    ("CLOSED", "it arrives", 400, "CLOSED"),
    ("CLOSED", "it fails", 400, "CLOSED"),
    ("CLOSED", "it cannot arrive", 400, "CLOSED"),
    ("CLOSED", "it starts anew", 400, "CLOSED"),
    ("CLOSED", "the merchant redirects it", 400, "CLOSED"),
    ("CLOSED", "the merchant sends it again", 200, "CLOSED"),
    ("CLOSED", "30 days go by", 200, "CLOSED"),
    ("ABNORMAL", "it arrives", 200, "SUCCESS"),
    ("ABNORMAL", "it fails", 400, "ABNORMAL"),
    ("ABNORMAL", "it cannot arrive", 400, "ABNORMAL"),
    ("ABNORMAL", "it starts anew", 400, "ABNORMAL"),
    ("ABNORMAL", "the merchant redirects it", 200, "PROCESSING"),
    ("ABNORMAL", "the merchant sends it again", 200, "ABNORMAL"),
    ("ABNORMAL", "30 days go by", 200, "ABNORMAL"),
]


@pytest.mark.parametrize(
    ("start", "act", "status", "end"), REFUND_ROWS, ids=[f"{row[0]}: {row[1]}" for row in REFUND_ROWS]
)
def test_a_move_of_a_refund(merchant, box, start, act, status, end):
    refund_in(merchant, start)
    before, funds = merchant.refund_query().json, dict(box.merchant.funds)
    answer = REFUND_ACTS[act](merchant, REFUND)
    assert answer.status == status
    after = merchant.refund_query().json
    assert after["status"] == end
    assert ("success_time" in after) is (end == "SUCCESS")
    assert steps(box, "refunds")[-1] == end
    if end == start:
        assert (after, box.merchant.funds) == (before, funds)


def test_the_refund_rows_are_every_act_in_every_state():
    assert {row[:2] for row in REFUND_ROWS} == {
        (state, act) for state in ("PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL") for act in REFUND_ACTS
    }


@pytest.fixture(scope="module")
def told_refunds(shared, function_server, credentials) -> tuple[set[str], set[str]]:
    """Every `status` that queries and every `refund_status` that callbacks show, whatever is done."""
    function: Function = function_server[1]
    function.answers.clear()
    function.got.clear()
    merchant = Payee(renewed(shared, function))
    shown: set[str] = set()
    for index, (start, act, _, _) in enumerate(REFUND_ROWS):
        number = f"REFUND_{index}"
        refund_in(merchant, start, number)
        REFUND_ACTS[act](merchant, number)
        shown |= {start, status_of(merchant, number)}
    told = {opened(credentials, json.loads(body)["resource"])["refund_status"] for _, _, body in function.got}
    return shown, told


@pytest.mark.parametrize(
    ("value", "shown", "told"),
    [
        ("PROCESSING", True, False),
        ("SUCCESS", True, True),
        ("CLOSED", True, True),
        ("ABNORMAL", True, True),
        ("CHANGE", False, False),
        ("REFUNDCLOSE", False, False),
    ],
)
def test_a_value_of_status_and_refund_status(told_refunds, value, shown, told):
    """The last two are v2's; callbacks tell outcomes only (section 4.3)."""
    queries, callbacks = told_refunds
    assert (value in queries, value in callbacks) == (shown, told)
    assert (len(queries), len(callbacks)) == (4, 3)


def test_processing_takes_five_minutes(merchant, box, function):
    made = merchant.refunded()
    box.advance(5 * MINUTE - 5)
    assert status_of(merchant) == "PROCESSING"
    assert function.got == []
    box.advance(10)
    shown = merchant.refund_query().json
    assert shown["status"] == "SUCCESS"
    assert since(shown["success_time"], made["create_time"]) == pytest.approx(5 * MINUTE, abs=1)
    assert [one.event_type for one in box.deliveries] == ["REFUND.SUCCESS"]


def test_abnormal_when_nothing_of_the_users_could_take_it(merchant, box):
    """The money waits at WeChat Pay: it is not the merchant's again."""
    assert control(box, "users", openid="oUser", account="abnormal").status == 200
    merchant.refunded()
    accepted = dict(box.merchant.funds)
    box.advance(5 * MINUTE - 5)
    assert status_of(merchant) == "PROCESSING"
    box.advance(10)
    assert status_of(merchant) == "ABNORMAL"
    box.advance("60d")
    assert status_of(merchant) == "ABNORMAL"
    assert [one.event_type for one in box.deliveries] == ["REFUND.ABNORMAL"]
    assert box.merchant.funds == accepted


def test_abnormal_becomes_processing_and_success_by_section_5_6(merchant, box):
    control(box, "users", openid="oUser", account="abnormal")
    merchant.refunded()
    box.advance("6m")
    accepted = dict(box.merchant.funds)
    assert redirect(merchant).json["status"] == "PROCESSING"
    box.advance("3d")
    assert status_of(merchant) == "SUCCESS"
    assert steps(box, "refunds") == ["PROCESSING", "ABNORMAL", "PROCESSING", "SUCCESS"]
    assert [one.event_type for one in box.deliveries] == ["REFUND.ABNORMAL", "REFUND.SUCCESS"]
    assert box.merchant.funds == accepted
    assert trade_state(merchant) == "REFUND"


def test_closed_gives_the_money_back_and_needs_a_new_number(merchant, box):
    merchant.paid()
    paid = box.merchant.funds["BASIC"]
    merchant.refunded()
    assert box.merchant.funds["BASIC"] < paid
    control(box, f"refunds/{REFUND}/settle", status="CLOSED")
    assert box.merchant.funds["BASIC"] == paid
    assert merchant.refunded()["status"] == "CLOSED"
    assert merchant.refunded("REFUND_2")["status"] == "PROCESSING"
    box.advance("6m")
    assert [status_of(merchant, number) for number in (REFUND, "REFUND_2")] == ["CLOSED", "SUCCESS"]


@pytest.mark.parametrize("state", ["PROCESSING", "SUCCESS", "ABNORMAL"])
def test_what_is_not_closed_is_not_refunded_by_a_new_number(merchant, box, state):
    merchant.refunded(refund=100)
    if state != "PROCESSING":
        control(box, f"refunds/{REFUND}/settle", status=state)
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("REFUND_2"))) == (400, "INVALID_REQUEST")


# Transfer state

NEXT = {
    "ACCEPTED": {"PROCESSING", "CANCELING", "FAIL"},
    "PROCESSING": {"WAIT_USER_CONFIRM", "CANCELING", "FAIL"},
    "WAIT_USER_CONFIRM": {"TRANSFERING", "CANCELING", "FAIL"},
    "TRANSFERING": {"SUCCESS"},
    "CANCELING": {"CANCELLED", "TRANSFERING"},
    "SUCCESS": set(),
    "FAIL": set(),
    "CANCELLED": set(),
}
FINAL = ("SUCCESS", "FAIL", "CANCELLED")
STARTS = ("ACCEPTED", "PROCESSING", "WAIT_USER_CONFIRM")
# All that the operation of the control API may do: it goes through the states between. What is not here is refused.
WAYS = {
    (way.split()[0], way.split()[-1]): way.split()[1:]
    for way in (
        "ACCEPTED PROCESSING",
        "ACCEPTED PROCESSING WAIT_USER_CONFIRM",
        "ACCEPTED PROCESSING WAIT_USER_CONFIRM TRANSFERING",
        "ACCEPTED PROCESSING WAIT_USER_CONFIRM TRANSFERING SUCCESS",
        "ACCEPTED CANCELING",
        "ACCEPTED CANCELING CANCELLED",
        "ACCEPTED FAIL",
        "PROCESSING WAIT_USER_CONFIRM",
        "PROCESSING WAIT_USER_CONFIRM TRANSFERING",
        "PROCESSING WAIT_USER_CONFIRM TRANSFERING SUCCESS",
        "PROCESSING CANCELING",
        "PROCESSING CANCELING CANCELLED",
        "PROCESSING FAIL",
        "WAIT_USER_CONFIRM TRANSFERING",
        "WAIT_USER_CONFIRM TRANSFERING SUCCESS",
        "WAIT_USER_CONFIRM CANCELING",
        "WAIT_USER_CONFIRM CANCELING CANCELLED",
        "WAIT_USER_CONFIRM FAIL",
        "TRANSFERING SUCCESS",
        "CANCELING CANCELLED",
        "CANCELING TRANSFERING",
        "CANCELING TRANSFERING SUCCESS",
    )
}


def bill_in(merchant: Payee, state: str) -> None:
    box = merchant.box
    box.merchant.change(transfer_start=state if state in STARTS else "WAIT_USER_CONFIRM")
    merchant.transferred()
    if state in ("CANCELING", "CANCELLED"):
        assert merchant.cancel().status == 200
    if state in ("TRANSFERING", *FINAL):
        assert finish(box, state).status == 200
    assert state_of(merchant) == state


def finish(box: Sandbox, state: str) -> Heard:
    return control(box, f"transfers/{BILL}/finish", state=state)


def state_of(merchant: Payee) -> str:
    return str(merchant.transfer_query().json["state"])


@pytest.mark.parametrize("end", NEXT)
@pytest.mark.parametrize("start", NEXT)
def test_a_move_of_a_transfer(merchant, box, start, end):
    bill_in(merchant, start)
    before, funds, walked = merchant.transfer_query().json, dict(box.merchant.funds), steps(box, "transfers")
    answer = finish(box, end)
    way = WAYS.get((start, end), [])
    assert answer.status == (200 if way else 400)
    assert steps(box, "transfers") == walked + way
    if not way:
        assert (merchant.transfer_query().json, box.merchant.funds) == (before, funds)
    assert state_of(merchant) == (end if way else start)


def test_the_ways_above_are_made_of_the_moves_of_the_table():
    moves = {(start, end) for start, ends in NEXT.items() for end in ends}
    assert {move for (start, _), way in WAYS.items() for move in pairwise([start, *way])} == moves
    assert {(start, way[0]) for (start, _), way in WAYS.items() if len(way) == 1} == moves


@pytest.mark.parametrize("start", NEXT)
def test_where_the_merchant_may_cancel(merchant, box, start):
    bill_in(merchant, start)
    before = merchant.transfer_query().json
    answer = merchant.cancel()
    if "CANCELING" in NEXT[start]:
        assert answer.json["state"] == state_of(merchant) == "CANCELING"
        return
    if start in ("CANCELING", "CANCELLED"):
        assert answer.json["state"] == start
    else:
        assert refusal(answer) == (400, "INVALID_REQUEST")
    assert merchant.transfer_query().json == before


# State, what follows it by itself, within how many seconds.
FOLLOWS = [
    ("ACCEPTED", ["PROCESSING", "WAIT_USER_CONFIRM"], 10),
    ("PROCESSING", ["WAIT_USER_CONFIRM"], 10),
    ("WAIT_USER_CONFIRM", [], DAY - 5),
    ("WAIT_USER_CONFIRM", ["FAIL"], DAY),
    ("TRANSFERING", ["SUCCESS"], 10),
    ("CANCELING", ["CANCELLED"], 60),
    ("SUCCESS", [], 29 * DAY),
    ("FAIL", [], 29 * DAY),
    ("CANCELLED", [], 29 * DAY),
]


@pytest.mark.parametrize(
    ("start", "states", "within"), FOLLOWS, ids=[" ".join([row[0], *row[1], f"{row[2]}s"]) for row in FOLLOWS]
)
def test_what_follows_by_itself(merchant, box, start, states, within):
    bill_in(merchant, start)
    walked = steps(box, "transfers")
    box.advance(within)
    assert steps(box, "transfers") == walked + states
    assert state_of(merchant) == [start, *states][-1]


@pytest.mark.parametrize("start", STARTS)
def test_from_accepted_to_success_on_the_clock(merchant, box, function, start):
    """Alone up to WAIT_USER_CONFIRM and after the user's consent; it is told once, at its end."""
    box.merchant.change(transfer_start=start)
    made = merchant.transferred()
    assert made["state"] == start
    walked = [*STARTS[STARTS.index(start) :], "TRANSFERING", "SUCCESS"]
    box.advance("10s")
    package_info = merchant.transferred()["package_info"]
    assert control(box, "phone/open", package_info=package_info).json["number"] == BILL
    box.advance("23h")
    assert state_of(merchant) == "WAIT_USER_CONFIRM"
    assert function.got == []
    assert finish(box, "TRANSFERING").status == 200
    assert function.got == []
    box.advance("10s")
    assert steps(box, "transfers") == walked
    assert [one.event_type for one in box.deliveries] == ["MCHTRANSFER.BILL.FINISHED"]
    assert 23 * HOUR <= since(merchant.transfer_query().json["update_time"], made["create_time"]) <= 23 * HOUR + 20
    box.advance("5d")
    assert state_of(merchant) == "SUCCESS"


@pytest.mark.parametrize("start", STARTS)
def test_it_may_be_repeated_until_it_is_final(merchant, start):
    bill_in(merchant, start)
    made = merchant.transferred()
    assert (made["state"], state_of(merchant)) == (start, start)


@pytest.mark.parametrize(
    ("state", "locked"),
    [
        ("ACCEPTED", 0),
        ("PROCESSING", 0),
        ("WAIT_USER_CONFIRM", 100),
        ("TRANSFERING", 100),
        ("CANCELING", 100),
        ("SUCCESS", 100),
        ("FAIL", 0),
        ("CANCELLED", 0),
    ],
)
def test_where_the_money_is(merchant, box, state, locked):
    full = box.merchant.funds["OPERATION"]
    bill_in(merchant, state)
    assert full - box.merchant.funds["OPERATION"] == locked


@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING"])
def test_what_never_was_locked_does_not_come_back(merchant, box, start):
    full = box.merchant.funds["OPERATION"]
    bill_in(merchant, start)
    merchant.cancel()
    box.advance("1m")
    assert state_of(merchant) == "CANCELLED"
    assert box.merchant.funds["OPERATION"] == full


@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING"])
def test_processing_is_stuck_while_the_balance_is_too_low_and_goes_on_after_a_top_up(merchant, box, start):
    box.merchant.change(transfer_start=start, funds={"OPERATION": 99})
    merchant.transferred()
    box.advance("3h")
    assert state_of(merchant) == "PROCESSING"
    assert finish(box, "WAIT_USER_CONFIRM").status == 400
    assert box.merchant.funds["OPERATION"] == 99
    assert control(box, "merchant", funds={"OPERATION": 100}).status == 200
    assert merchant.transferred()["state"] == "PROCESSING"
    box.advance("2m")
    assert merchant.transferred()["state"] == "WAIT_USER_CONFIRM"
    assert box.merchant.funds["OPERATION"] == 0


def test_processing_that_stays_stuck_fails_after_24_hours(merchant, box):
    box.merchant.change(transfer_start="PROCESSING", funds={"OPERATION": 99})
    made = merchant.transferred()
    box.advance(DAY - 5)
    assert state_of(merchant) == "PROCESSING"
    box.advance(10)
    shown = merchant.transfer_query().json
    assert (shown["state"], box.merchant.funds["OPERATION"]) == ("FAIL", 99)
    assert since(shown["update_time"], made["create_time"]) == pytest.approx(DAY, abs=1)
    control(box, "merchant", funds={"OPERATION": 1000})
    box.advance("1h")
    assert state_of(merchant) == "FAIL"
    assert [one.event_type for one in box.deliveries] == ["MCHTRANSFER.BILL.FINISHED"]


def test_wait_user_confirm_fails_24_hours_after_the_creation(merchant, box):
    """Not after the funds were locked; a bill that expires is told too (section 4.3)."""
    full = box.merchant.funds["OPERATION"]
    box.merchant.change(transfer_start="PROCESSING", funds={"OPERATION": 99})
    made = merchant.transferred()
    box.advance("12h")
    control(box, "merchant", funds={"OPERATION": full})
    box.advance(12 * HOUR - 5)
    assert state_of(merchant) == "WAIT_USER_CONFIRM"
    box.advance(10)
    shown = merchant.transfer_query().json
    assert (shown["state"], shown["fail_reason"]) == ("FAIL", "OVERDUE_CLOSE")
    assert since(shown["update_time"], made["create_time"]) == pytest.approx(DAY, abs=1)
    assert box.merchant.funds["OPERATION"] == full
    assert [one.event_type for one in box.deliveries] == ["MCHTRANSFER.BILL.FINISHED"]


def test_once_confirmed_it_does_not_expire(merchant, box):
    bill_in(merchant, "WAIT_USER_CONFIRM")
    box.advance(DAY - 5)
    finish(box, "TRANSFERING")
    box.advance("1h")
    assert steps(box, "transfers") == ["WAIT_USER_CONFIRM", "TRANSFERING", "SUCCESS"]


@pytest.mark.parametrize("start", STARTS)
def test_canceling_ends_as_cancelled_and_is_told(merchant, box, function, start):
    bill_in(merchant, start)
    assert merchant.cancel().json["state"] == "CANCELING"
    assert function.got == []
    box.advance("1m")
    shown = merchant.transfer_query().json
    assert (shown["state"], shown["fail_reason"]) == ("CANCELLED", "MCH_CANCEL")
    assert steps(box, "transfers") == [start, "CANCELING", "CANCELLED"]
    box.advance("2d")
    assert state_of(merchant) == "CANCELLED"
    assert [one.event_type for one in box.deliveries] == ["MCHTRANSFER.BILL.FINISHED"]


def test_the_user_may_win_the_race(merchant, box):
    full = box.merchant.funds["OPERATION"]
    bill_in(merchant, "CANCELING")
    assert finish(box, "TRANSFERING").status == 200
    assert refusal(merchant.cancel()) == (400, "INVALID_REQUEST")
    box.advance("2d")
    assert steps(box, "transfers") == ["WAIT_USER_CONFIRM", "CANCELING", "TRANSFERING", "SUCCESS"]
    assert "fail_reason" not in merchant.transfer_query().json
    assert full - box.merchant.funds["OPERATION"] == 100
    assert [one.event_type for one in box.deliveries] == ["MCHTRANSFER.BILL.FINISHED"]


@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING"])
def test_there_is_no_race_before_there_was_anything_to_confirm(merchant, box, start):
    bill_in(merchant, start)
    merchant.cancel()
    for state in ("TRANSFERING", "SUCCESS"):
        assert finish(box, state).status == 400
    assert state_of(merchant) == "CANCELING"


@pytest.mark.parametrize("state", NEXT)
def test_package_info_only_with_wait_user_confirm(merchant, box, state):
    """In the answer to the creation and its repetitions; a final bill has no answer, and a query never has it."""
    bill_in(merchant, state)
    answer = merchant.send("POST", BILLS, merchant.transfer())
    if state in FINAL:
        assert refusal(answer) == (400, "ALREADY_EXISTS")
    else:
        assert answer.json["state"] == state
    assert ("package_info" in answer.json) is (state == "WAIT_USER_CONFIRM")
    assert "package_info" not in merchant.transfer_query().json


@pytest.mark.parametrize("state", NEXT)
def test_where_the_confirmation_page_opens(merchant, box, state):
    """With TRANSFERING it may be opened again."""
    bill_in(merchant, state)
    [bill] = call(box.url, "GET", "/sandbox/transfers").json
    answer = control(box, "phone/open", package_info=bill["package_info"])
    assert answer.status == (200 if state in ("WAIT_USER_CONFIRM", "TRANSFERING") else 400)
    assert state_of(merchant) == state
