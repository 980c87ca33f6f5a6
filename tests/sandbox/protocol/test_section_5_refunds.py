"""Sections 5.4 refund, 5.5 query and 5.6 abnormal refund, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.sandbox.conftest import REFUNDS
from tests.sandbox.protocol.conftest import moment, refusal
from tests.sandbox.protocol.fields import MISSING, Row, assert_points_at, changed

# 5.4 Fields

GOODS = {
    "merchant_goods_id": "g1",
    "wechatpay_goods_id": "1001",
    "goods_name": "茶",
    "unit_price": 100,
    "refund_amount": 1,
    "refund_quantity": 1,
}
FULL: dict[str, Any] = {
    "reason": "r",
    "funds_account": "AVAILABLE",
    "amount": {"refund": 1, "total": 100, "currency": "CNY", "from": [{"account": "AVAILABLE", "amount": 1}]},
    "goods_detail": [GOODS],
}


def money(pointer: str, least: int = 0, good: tuple[int, ...] = ()) -> Row:
    return Row(pointer, required=True, kind="integer", good=good, bad=(least - 1, 1.5, "1"))


ROWS = [
    Row(
        "/out_refund_no",
        64,
        required=True,
        stuff="0",
        good=("1", "Zz09_-|*@"),
        bad=("", "R 1", "R#1", "退", "R1\n", "R/1"),
    ),
    Row("/reason", 80, good=("退" * 26,), bad=("退" * 27,)),
    Row("/notify_url", 256, fits=False, bad=("http://shop.example/r", "https://shop.example/r?a=1")),
    Row("/funds_account", fits=False, good=("UNSETTLED",), bad=("BASIC", "available", "")),
    Row("/amount", required=True, kind="object"),
    money("/amount/refund", 1, good=(1,)),
    money("/amount/total", 1),
    Row("/amount/currency", 16, required=True, fits=False, bad=("USD", "cny", "")),
    Row("/amount/from", kind="array", bad=([],)),
    Row("/amount/from/#/account", required=True, good=("UNAVAILABLE",), bad=("BASIC", "")),
    money("/amount/from/#/amount", 1),
    Row("/goods_detail", kind="array", bad=([],)),
    Row("/goods_detail/#/merchant_goods_id", 32, required=True),
    Row("/goods_detail/#/wechatpay_goods_id", 32),
    Row("/goods_detail/#/goods_name", 256, stuff="茶"),
    money("/goods_detail/#/unit_price", good=(0, 10**9)),
    money("/goods_detail/#/refund_amount", good=(0,)),
    money("/goods_detail/#/refund_quantity", 1, good=(2,)),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_field_of_a_refund(merchant, box, row):
    merchant.paid()
    body = merchant.refund() | FULL
    for value in row.wrong():
        assert_points_at(merchant.send("POST", REFUNDS, changed(body, row.pointer, value)), row.pointer, value)
    assert box.ledger.refunds == {}
    for index, value in enumerate(row.right()):
        own = body if row.pointer == "/out_refund_no" else body | {"out_refund_no": f"GOOD{index}"}
        answer = merchant.send("POST", REFUNDS, changed(own, row.pointer, value))
        assert answer.status == 200, (row.pointer, value, answer.body)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "/transaction_id"),
        ({"out_trade_no": "ORDER_000001", "transaction_id": "true"}, "/transaction_id"),
        ({"transaction_id": "x" * 33}, "/transaction_id"),
        ({"transaction_id": 4200}, "/transaction_id"),
        ({"out_trade_no": "short"}, "/out_trade_no"),
        ({"out_trade_no": "0" * 33}, "/out_trade_no"),
        ({"out_trade_no": 7}, "/out_trade_no"),
    ],
    ids=["neither", "both", "long id", "id no string", "short number", "long number", "number no string"],
)
def test_a_refund_names_its_order_exactly_once(merchant, box, given, field):
    merchant.paid()
    body = changed(merchant.refund(), "/out_trade_no", MISSING) | given
    if given.get("transaction_id") == "true":
        body["transaction_id"] = box.ledger.orders["ORDER_000001"].transaction_id
    assert_points_at(merchant.send("POST", REFUNDS, body), field, MISSING)
    assert box.ledger.refunds == {}


@pytest.mark.parametrize("field", ["appid", "mchid"])
def test_there_is_no_such_field_in_the_body(merchant, field):
    merchant.paid()
    body = merchant.refund() | {field: merchant.credentials.merchant_id}
    assert_points_at(merchant.send("POST", REFUNDS, body), f"/{field}", MISSING)


@pytest.mark.parametrize(
    ("parts", "accepted"),
    [
        ([("AVAILABLE", 100)], True),
        ([("AVAILABLE", 40), ("UNAVAILABLE", 60)], True),
        ([("AVAILABLE", 99)], False),
        ([("AVAILABLE", 40), ("UNAVAILABLE", 61)], False),
        ([("AVAILABLE", 40), ("AVAILABLE", 60)], False),
    ],
    ids=["one account", "two accounts", "too little", "too much", "one account twice"],
)
def test_amount_from_adds_up_to_the_refund(merchant, parts, accepted):
    merchant.paid()
    named = [{"account": account, "amount": amount} for account, amount in parts]
    body = merchant.refund()
    body["amount"]["from"] = named
    answer = merchant.send("POST", REFUNDS, body)
    if accepted:
        assert answer.json["amount"]["from"] == named
    else:
        assert refusal(answer) == (400, "INVALID_REQUEST")


# 5.4 Answer

ANSWER = {
    "refund_id": 32,
    "out_refund_no": 64,
    "transaction_id": 32,
    "out_trade_no": 32,
    "channel": 16,
    "user_received_account": 64,
    "create_time": 64,
    "status": 16,
    "funds_account": 16,
}
AMOUNT = {
    "total": 100,
    "refund": 30,
    "payer_total": 100,
    "payer_refund": 30,
    "settlement_refund": 30,
    "settlement_total": 100,
    "discount_refund": 0,
    "currency": "CNY",
}


@pytest.mark.parametrize("by", ["out_trade_no", "transaction_id"])
def test_the_answer_means_accepted_not_refunded(merchant, box, by):
    merchant.paid()
    body = merchant.refund(refund=30)
    if by == "transaction_id":
        del body["out_trade_no"]
        body["transaction_id"] = merchant.query().json["transaction_id"]
    answer = merchant.send("POST", REFUNDS, body)
    assert answer.status == 200
    assert set(answer.json) == {*ANSWER, "amount"}
    assert all(0 < len(answer.json[name]) <= longest for name, longest in ANSWER.items())
    assert answer.json["amount"] == AMOUNT
    assert (answer.json["status"], answer.json["channel"]) == ("PROCESSING", "ORIGINAL")
    assert answer.json["out_trade_no"] == "ORDER_000001"
    assert answer.json["transaction_id"] == merchant.query().json["transaction_id"]
    box.advance("6m")
    later = merchant.refund_query().json
    assert later == answer.json | {"status": "SUCCESS", "success_time": later["success_time"]}
    assert moment(later["success_time"]) - moment(later["create_time"]) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("given", [None, "AVAILABLE", "UNSETTLED"])
def test_the_funds_account_of_the_answer(merchant, given):
    merchant.paid()
    more = {} if given is None else {"funds_account": given}
    assert merchant.refunded(**more)["funds_account"] in (
        {given} if given else {"UNSETTLED", "AVAILABLE", "UNAVAILABLE", "OPERATION", "BASIC", "ECNY_BASIC"}
    )


# 5.4 Limits


@pytest.mark.parametrize(("after", "accepted"), [("364d", True), ("366d", False)])
def test_a_refund_is_accepted_within_365_days(merchant, box, after, accepted):
    merchant.paid()
    box.advance(after)
    answer = merchant.send("POST", REFUNDS, merchant.refund())
    assert answer.status == (200 if accepted else 400)
    assert accepted or answer.json["code"] == "INVALID_REQUEST"


def test_365_days_count_from_the_payment(merchant, box):
    merchant.place("jsapi")
    box.advance("1h")
    box.pay("ORDER_000001")
    box.advance(365 * 86400 - 2)
    assert merchant.send("POST", REFUNDS, merchant.refund("R1", 10)).status == 200
    box.advance(4)
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R2", 10))) == (400, "INVALID_REQUEST")
    assert merchant.send("POST", REFUNDS, merchant.refund("R1", 10)).status == 200, "the same is no new refund"


def test_an_order_has_fifty_partial_refunds(merchant):
    merchant.paid(total=100)
    for index in range(50):
        assert merchant.send("POST", REFUNDS, merchant.refund(f"R{index}", 1)).status == 200
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R50", 1))) == (400, "INVALID_REQUEST")
    assert merchant.send("POST", REFUNDS, merchant.refund("R49", 1)).status == 200


def test_partial_refunds_are_a_minute_apart_with_limits_on(merchant, box):
    merchant.paid()
    merchant.paid("ORDER_000002")
    box.limits = True
    assert merchant.send("POST", REFUNDS, merchant.refund("R1", 10)).status == 200
    box.advance(58)
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R2", 10))) == (429, "FREQUENCY_LIMITED")
    assert merchant.send("POST", REFUNDS, merchant.refund("R1", 10)).status == 200, "a repetition is no second one"
    other = merchant.refund("R3", 10, out_trade_no="ORDER_000002")
    assert merchant.send("POST", REFUNDS, other).status == 200, "another order has its own minute"
    box.advance(2)
    assert merchant.send("POST", REFUNDS, merchant.refund("R2", 10)).status == 200


@pytest.mark.parametrize(
    ("refunds", "last"),
    [([100], 1), ([60], 41), ([40, 40], 21), ([99], 2)],
    ids=["100 + 1", "60 + 41", "40 + 40 + 21", "99 + 2"],
)
def test_refunds_add_up_to_the_order_at_most(merchant, refunds, last):
    merchant.paid()
    for index, amount in enumerate(refunds):
        assert merchant.send("POST", REFUNDS, merchant.refund(f"R{index}", amount)).status == 200
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("LAST", last))) == (400, "INVALID_REQUEST")
    rest = 100 - sum(refunds)
    assert rest == 0 or merchant.send("POST", REFUNDS, merchant.refund("LAST", rest)).status == 200


@pytest.mark.parametrize("total", [99, 101])
def test_total_is_that_of_the_order(merchant, total):
    merchant.paid()
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R1", 10, total))) == (400, "INVALID_REQUEST")


def test_a_closed_refund_gives_its_part_back_and_needs_a_new_number(merchant, box):
    merchant.refunded(refund=100)
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R2", 1))) == (400, "INVALID_REQUEST")
    box.settle_refund("REFUND_1", "CLOSED", deliver=False)
    assert merchant.send("POST", REFUNDS, merchant.refund("REFUND_1", 100)).json["status"] == "CLOSED"
    assert merchant.send("POST", REFUNDS, merchant.refund("R2", 100)).json["status"] == "PROCESSING"


# 5.4 Idempotency


def test_the_same_number_is_the_same_refund(merchant, box):
    first = merchant.refunded(refund=10)
    assert [merchant.send("POST", REFUNDS, merchant.refund(refund=10)).json for _ in range(3)] == [first] * 3
    assert len(box.ledger.refunds) == 1
    box.advance("6m")
    again = merchant.send("POST", REFUNDS, merchant.refund(refund=10)).json
    assert (again["refund_id"], again["status"]) == (first["refund_id"], "SUCCESS")


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"refund": 11, "total": 100, "currency": "CNY"}},
        {"out_trade_no": "ORDER_000002"},
        {"reason": "other"},
        {"notify_url": "https://shop.example/elsewhere"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_number_with_other_parameters_is_refused(merchant, box, change):
    """REFUND_FEE_MISMATCH by name where amounts differ; its status is unverified (section 12)."""
    merchant.paid("ORDER_000002")
    merchant.refunded(refund=10)
    answer = merchant.send("POST", REFUNDS, merchant.refund(refund=10) | change)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert len(box.ledger.refunds) == 1


# 5.4 Errors


def refund_error(merchant, code: str) -> dict[str, Any]:
    """What brings this refusal about, and the body that meets it."""
    box, body = merchant.box, merchant.refund()
    if code != "RESOURCE_NOT_EXISTS":
        merchant.paid()
    if code == "INVALID_REQUEST":
        body["amount"]["total"] = 99
    elif code == "NOT_ENOUGH":
        box.merchant.change(funds={"BASIC": 99})
    elif code == "USER_ACCOUNT_ABNORMAL":
        box.merchant.know("oUser", account="closed")
    elif code == "MCH_NOT_EXISTS":
        box.merchant.change(registered=False)
    elif code == "NO_AUTH":
        box.merchant.change(products=["jsapi"])
    elif code != "RESOURCE_NOT_EXISTS":
        box.fault("error", code=code, times=1)
    return body


REFUND_ERRORS = {
    "INVALID_REQUEST": 400,
    "NOT_ENOUGH": 403,
    "USER_ACCOUNT_ABNORMAL": 403,
    "NO_AUTH": 403,
    "MCH_NOT_EXISTS": 404,
    "RESOURCE_NOT_EXISTS": 404,
    "FREQUENCY_LIMITED": 429,
    "SYSTEM_ERROR": 500,
}


@pytest.mark.parametrize(("code", "status"), REFUND_ERRORS.items())
def test_an_error_of_a_refund_and_nothing_was_refunded(merchant, code, status):
    assert refusal(merchant.send("POST", REFUNDS, refund_error(merchant, code))) == (status, code)
    merchant.box.merchant.change(registered=True)
    assert refusal(merchant.refund_query()) == (404, "RESOURCE_NOT_EXISTS")


@pytest.mark.parametrize("state", ["unknown", "NOTPAY", "CLOSED"])
def test_an_order_that_is_not_paid_has_no_refund(merchant, state):
    if state != "unknown":
        merchant.place("jsapi")
    if state == "CLOSED":
        merchant.close()
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund())) == (404, "RESOURCE_NOT_EXISTS")


def test_after_a_top_up_the_same_goes_through(merchant, box):
    merchant.paid()
    box.merchant.change(funds={"BASIC": 99})
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund())) == (403, "NOT_ENOUGH")
    box.merchant.change(funds={"BASIC": 100})
    assert merchant.send("POST", REFUNDS, merchant.refund()).status == 200
    assert box.merchant.funds["BASIC"] == 1, "100 are refunded, the fee of 0.6 % comes back"


def test_an_answer_that_was_lost_was_a_refund_all_the_same(merchant, box):
    """429 and 500 say nothing about the outcome: query, or send the same again."""
    merchant.paid()
    for code in ("FREQUENCY_LIMITED", "SYSTEM_ERROR"):
        box.fault("error", code=code, times=1, processed=True)
        assert merchant.send("POST", REFUNDS, merchant.refund()).json["code"] == code
        assert merchant.refund_query().json["status"] == "PROCESSING"
    assert merchant.send("POST", REFUNDS, merchant.refund()).json == merchant.refund_query().json
    assert len(box.ledger.refunds) == 1


# 5.5 Query


def test_the_query_answers_as_the_creation_did(merchant):
    assert merchant.refunded() == merchant.refund_query().json


def test_refunds_have_no_age_limit(merchant, box):
    merchant.refunded()
    box.advance("399d")
    assert merchant.refund_query().json["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("code", "status"),
    {"MCH_NOT_EXISTS": 404, "RESOURCE_NOT_EXISTS": 404, "FREQUENCY_LIMITED": 429, "SYSTEM_ERROR": 500}.items(),
)
def test_an_error_of_a_refund_query(merchant, code, status):
    if code == "MCH_NOT_EXISTS":
        merchant.box.merchant.change(registered=False)
    elif code != "RESOURCE_NOT_EXISTS":
        merchant.box.fault("error", code=code, times=1)
    assert refusal(merchant.refund_query()) == (status, code)


@pytest.mark.parametrize("number", ["x" * 65, "R%201", "R%2F1", "%E9%80%80"])
def test_a_number_in_the_path_against_the_pattern(merchant, number):
    answer = merchant.refund_query(number)
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert (answer.json["detail"]["field"], answer.json["detail"]["location"]) == ("out_refund_no", "url")


@pytest.mark.parametrize("number", ["R%7C1", "R%401", "R@1", "R%2A1", "R_-1"])
def test_a_number_in_the_path_may_be_percent_encoded(merchant, number):
    """`%2A` and `%40` are unverified (section 12)."""
    plain = number.replace("%7C", "|").replace("%40", "@").replace("%2A", "*")
    merchant.refunded(plain)
    assert merchant.refund_query(number).json["out_refund_no"] == plain


# 5.6 Abnormal refund

BANKS = "CMB COMM ABC CCB ICBC BOC PAB SPDB CITIC CEB CMBC CIB GDB PSBC NBCB"


def abnormal(merchant) -> str:
    """Where to redirect a refund that has become ABNORMAL."""
    merchant.refunded()
    merchant.box.settle_refund("REFUND_1", "ABNORMAL", deliver=False)
    return redirect_path(merchant)


def redirect_path(merchant) -> str:
    return f"{REFUNDS}/{merchant.refund_query().json['refund_id']}/apply-abnormal-refund"


def to_user(merchant, **changes: Any) -> dict[str, Any]:
    return {
        "out_refund_no": "REFUND_1",
        "type": "USER_BANK_CARD",
        "bank_type": "CMB_DEBIT",
        "bank_account": merchant.encrypted("6225880137000000"),
        "real_name": merchant.encrypted("张三"),
        **changes,
    }


@pytest.mark.parametrize("kind", ["USER_BANK_CARD", "MERCHANT_BANK_CARD"])
def test_it_goes_to_a_bank_card_and_arrives(merchant, box, function, kind):
    target = abnormal(merchant)
    body = to_user(merchant) if kind == "USER_BANK_CARD" else {"out_refund_no": "REFUND_1", "type": kind}
    answer = merchant.send("POST", target, body, headers=merchant.named)
    assert answer.status == 200
    assert set(answer.json) == {*ANSWER, "amount"}
    assert (answer.json["status"], answer.json["channel"]) == ("PROCESSING", "OTHER_BANKCARD")
    box.advance("3d")
    shown = merchant.refund_query().json
    assert (shown["status"], shown["channel"]) == ("SUCCESS", "OTHER_BANKCARD")
    assert [one.event_type for one in box.deliveries] == ["REFUND.SUCCESS"]


@pytest.mark.parametrize("bank", BANKS.split())
def test_a_bank_type(merchant, bank):
    target = abnormal(merchant)
    for wrong in (bank, f"{bank}_CREDIT"):
        answer = merchant.send("POST", target, to_user(merchant, bank_type=wrong), headers=merchant.named)
        assert_points_at(answer, "/bank_type", wrong)
    body = to_user(merchant, bank_type=f"{bank}_DEBIT")
    assert merchant.send("POST", target, body, headers=merchant.named).status == 200


REDIRECT_ROWS = [
    Row("/out_refund_no", 64, required=True, fits=False, bad=("", "R 1")),
    Row("/type", required=True, bad=("USER_CARD", "")),
    Row("/bank_type", 16, required=True, fits=False, bad=("HSBC_DEBIT",)),
    Row("/bank_account", 1024, required=True, fits=False, bad=("6225880137000000", "AAAA", "")),
    Row("/real_name", 1024, required=True, fits=False, bad=("张三", "AAAA", "")),
]


@pytest.mark.parametrize("row", REDIRECT_ROWS, ids=str)
def test_a_field_of_an_abnormal_refund(merchant, row):
    target, body = abnormal(merchant), to_user(merchant)
    for value in row.wrong():
        answer = merchant.send("POST", target, changed(body, row.pointer, value), headers=merchant.named)
        assert_points_at(answer, row.pointer, value)
    assert merchant.refund_query().json["status"] == "ABNORMAL"


@pytest.mark.parametrize(
    ("serial", "word"),
    [(None, "Wechatpay-Serial"), ("PUB_KEY_ID_00", "Wechatpay-Serial"), ("5" * 40, "Wechatpay-Serial")],
    ids=["missing", "unknown key id", "unknown certificate"],
)
def test_the_key_of_encrypted_fields_has_to_be_named(merchant, serial, word):
    target = abnormal(merchant)
    answer = merchant.send("POST", target, to_user(merchant), headers={"Wechatpay-Serial": serial})
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert word in answer.json["message"]
    assert merchant.refund_query().json["status"] == "ABNORMAL"


@pytest.mark.parametrize("state", ["PROCESSING", "SUCCESS", "CLOSED"])
def test_only_an_abnormal_refund_is_redirected(merchant, box, state):
    merchant.refunded()
    if state != "PROCESSING":
        box.settle_refund("REFUND_1", state, deliver=False)
    answer = merchant.send("POST", redirect_path(merchant), to_user(merchant), headers=merchant.named)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert merchant.refund_query().json["status"] == state


@pytest.mark.parametrize("wrong", ["refund_id", "out_refund_no"])
def test_an_unknown_refund_is_not_redirected(merchant, wrong):
    target, body = abnormal(merchant), to_user(merchant)
    if wrong == "refund_id":
        target = f"{REFUNDS}/50300000000000000000000000000/apply-abnormal-refund"
    else:
        body["out_refund_no"] = "REFUND_2"
    answer = merchant.send("POST", target, body, headers=merchant.named)
    assert refusal(answer) == (404, "RESOURCE_NOT_EXISTS")


def test_a_field_encrypted_for_somebody_else_cannot_be_read(merchant):
    target = abnormal(merchant)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    for field in ("bank_account", "real_name"):
        body = to_user(merchant, **{field: merchant.encrypted("张三", stranger)})
        assert_points_at(merchant.send("POST", target, body, headers=merchant.named), f"/{field}", MISSING)


@pytest.mark.parametrize(("code", "status"), {"FREQUENCY_LIMITED": 429, "SYSTEM_ERROR": 500}.items())
def test_an_error_of_an_abnormal_refund(merchant, code, status):
    target = abnormal(merchant)
    merchant.box.fault("error", code=code, times=1)
    assert refusal(merchant.send("POST", target, to_user(merchant), headers=merchant.named)) == (status, code)
    assert merchant.refund_query().json["status"] == "ABNORMAL"
    assert merchant.send("POST", target, to_user(merchant), headers=merchant.named).status == 200
