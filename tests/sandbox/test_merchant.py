"""How the merchant and his users are set up by the control API, and what becomes of his money."""

from __future__ import annotations

import itertools
import json
import time
from decimal import ROUND_HALF_UP, Decimal
from email.utils import parsedate_to_datetime

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, Merchant, call

START = 100_000_000
DEFAULTS = {
    "certificate": "valid",
    "api_v3_key": True,
    "registered": True,
    "products": ["jsapi", "native", "h5", "app", "refund", "transfer"],
    "transfer_start": "WAIT_USER_CONFIRM",
    "clock_off": 0,
    "funds": {"BASIC": START, "OPERATION": START, "FEES": 0},
}
QUERY = "/v3/pay/transactions/out-trade-no/ORDER_000001?mchid="


@pytest.fixture(scope="module")
def shared(credentials, function_server):
    with Sandbox(function_server[1].url, "sdk", "public_key", credentials=credentials) as sandbox:
        yield sandbox


@pytest.fixture
def box(shared, function):
    shared.reset()
    return shared


@pytest.fixture
def merchant(box):
    return Merchant(box)


def ask(box, path, body):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call(box.url, "POST", f"/sandbox/{path}", raw)


def setting(box, **settings):
    answer = ask(box, "merchant", settings)
    assert answer.status == 200, answer.body
    return answer.json["merchant"]


def described(box):
    return call(box.url, "GET", "/sandbox/state").json["merchant"]


def user(box, **fields):
    answer = ask(box, "users", fields)
    assert answer.status == 200, answer.body
    return answer.json


def queried(merchant):
    """A query of an order that is not there: 404 for whoever may ask."""
    answer = merchant.send("GET", QUERY + merchant.credentials.merchant_id)
    return answer.status, answer.json["code"]


# Settings


def test_the_defaults(box):
    assert described(box) == DEFAULTS


CHANGES = [
    *({"certificate": state} for state in ("none", "expired", "revoked", "replaced")),
    {"api_v3_key": False},
    {"registered": False},
    {"products": ["native"]},
    {"products": []},
    {"transfer_start": "ACCEPTED"},
    {"transfer_start": "PROCESSING"},
    {"clock_off": -301},
    {"clock_off": 0.5},
    {"clock_off": 400 * 86400},
    {"funds": {"BASIC": 7}},
    {"funds": {"OPERATION": 0, "FEES": 12}},
    {"certificate": "expired", "products": ["app", "refund"], "clock_off": 60, "funds": {"BASIC": START + 1}},
]


@pytest.mark.parametrize("change", CHANGES, ids=json.dumps)
def test_a_setting_is_shown_touches_no_other_and_is_forgotten_by_a_reset(box, change):
    expected = DEFAULTS | change | {"funds": DEFAULTS["funds"] | change.get("funds", {})}
    assert setting(box, **change) == described(box) == expected
    assert setting(box) == expected
    assert call(box.url, "POST", "/sandbox/reset").json["merchant"] == described(box) == DEFAULTS


BAD = [
    {"surprise": 1},
    {"certificate": "lost"},
    {"certificate": ""},
    {"certificate": True},
    {"certificate": None},
    {"api_v3_key": "no"},
    {"api_v3_key": 0},
    {"registered": 1},
    {"products": "jsapi"},
    {"products": ["gold"]},
    {"products": ["jsapi", 1]},
    {"products": [["jsapi"]]},
    {"products": {"jsapi": True}},
    {"transfer_start": "SUCCESS"},
    {"transfer_start": ["ACCEPTED"]},
    {"clock_off": "5m"},
    {"clock_off": True},
    {"clock_off": float("nan")},
    {"clock_off": float("inf")},
    {"clock_off": -float("inf")},
    {"clock_off": 400 * 86400 + 1},
    {"clock_off": 10**400},
    {"funds": []},
    {"funds": {"GOLD": 1}},
    {"funds": {"basic": 1}},
    {"funds": {"BASIC": -1}},
    {"funds": {"BASIC": 1.5}},
    {"funds": {"BASIC": "1"}},
    {"funds": {"BASIC": True}},
    {"funds": {"BASIC": None}},
    {"funds": {"BASIC": 5, "OPERATION": -1}},
]
GOOD = {
    "certificate": "expired",
    "api_v3_key": False,
    "registered": False,
    "products": [],
    "transfer_start": "ACCEPTED",
    "clock_off": 5,
    "funds": {"FEES": 1},
}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: json.dumps(bad)[:40])
def test_bad_input_changes_nothing_nor_does_what_stands_beside_it(box, bad):
    """In any order: what is good is given before and after what is bad."""
    for body in (GOOD | bad, bad | {name: value for name, value in GOOD.items() if name not in bad}):
        answer = ask(box, "merchant", body)
        assert answer.status == 400
        assert answer.json["error"]
        assert described(box) == DEFAULTS
    assert box.merchant.entries == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'"valid"', b"\xff"])
def test_what_is_no_object_changes_nothing(box, body):
    for path in ("merchant", "users"):
        assert ask(box, path, body).status == 400
    assert described(box) == DEFAULTS
    assert box.merchant.users == {}


@pytest.mark.parametrize("state", ["none", "expired", "revoked", "replaced"])
def test_a_certificate_that_is_not_valid_lets_nobody_in(merchant, box, state):
    setting(box, certificate=state)
    assert queried(merchant) == (401, "SIGN_ERROR")
    setting(box, certificate="valid")
    assert queried(merchant) == (404, "ORDER_NOT_EXIST")


def test_without_an_api_v3_key_nobody_is_let_in_and_nothing_is_ever_told(merchant, box, function):
    assert merchant.send("POST", PREPAY, merchant.order()).status == 200
    setting(box, api_v3_key=False)
    assert queried(merchant) == (401, "SIGN_ERROR")
    assert box.pay("ORDER_000001") == []
    box.advance("25h")
    assert function.got == []
    setting(box, api_v3_key=True)
    paid = merchant.send("GET", QUERY + merchant.credentials.merchant_id)
    assert paid.json["trade_state"] == "SUCCESS"


def test_no_repeat_is_sent_either_while_the_api_v3_key_is_gone(merchant, box, function):
    function.answers += [(500, b""), (200, b"")]
    merchant.send("POST", PREPAY, merchant.order())
    box.pay("ORDER_000001")
    setting(box, api_v3_key=False)
    box.advance("20s")
    assert len(function.got) == 1
    setting(box, api_v3_key=True)
    box.advance("20s")
    assert len(function.got) == 2


def test_a_merchant_who_is_not_registered_does_not_exist(merchant, box):
    setting(box, registered=False)
    assert queried(merchant) == (400, "MCH_NOT_EXISTS")
    setting(box, registered=True)
    assert queried(merchant) == (404, "ORDER_NOT_EXIST")


@pytest.mark.parametrize("product", ["jsapi", "native", "h5", "app", "refund", "transfer"])
def test_a_product_is_enabled_alone(merchant, box, product):
    """Field checks come after it: 403 is the product's answer, 400 the body's."""
    setting(box, products=[product])
    paths = {scene: f"/v3/pay/transactions/{scene}" for scene in ("jsapi", "native", "h5", "app")}
    paths |= {"refund": REFUNDS, "transfer": BILLS}
    got = {name: merchant.send("POST", path, {}).status for name, path in paths.items()}
    assert got == {name: 400 if name == product else 403 for name in paths}


@pytest.mark.parametrize(
    ("start", "locked", "later"),
    [
        ("ACCEPTED", 0, "WAIT_USER_CONFIRM"),
        ("PROCESSING", 0, "WAIT_USER_CONFIRM"),
        ("WAIT_USER_CONFIRM", 100, "WAIT_USER_CONFIRM"),
    ],
)
def test_where_a_transfer_starts(merchant, box, start, locked, later):
    setting(box, transfer_start=start)
    answer = merchant.send("POST", BILLS, merchant.transfer()).json
    assert answer["state"] == start
    assert ("package_info" in answer) == (start == "WAIT_USER_CONFIRM")
    assert described(box)["funds"]["OPERATION"] == START - locked
    box.advance("10s")
    assert merchant.send("GET", f"{BILLS}/out-bill-no/BILL1").json["state"] == later
    assert described(box)["funds"]["OPERATION"] == START - 100


@pytest.mark.parametrize(
    ("off", "let_in"), [(-297, True), (297, True), (-303, False), (303, False), (400 * 86400, False)]
)
def test_a_clock_that_is_off(merchant, box, off, let_in):
    setting(box, clock_off=off)
    assert queried(merchant) == ((404, "ORDER_NOT_EXIST") if let_in else (401, "SIGN_ERROR"))


def test_funds_are_set_by_a_row_each_so_that_the_bill_adds_up(box):
    setting(box, funds={"BASIC": START + 50, "OPERATION": START - 7, "FEES": 0})
    rows = [(entry.account, entry.amount, entry.balance, entry.business, entry.kind) for entry in box.merchant.entries]
    assert rows == [
        ("BASIC", 50, START + 50, "充值/提现", "充值"),
        ("OPERATION", -7, START - 7, "充值/提现", "提现"),
    ]
    assert len({entry.flow for entry in box.merchant.entries}) == 2


# Users


def test_a_user_as_he_is_told_and_told_anew(box):
    assert user(box, openid="oUser") == {"openid": "oUser", "real_name": "", "account": "normal"}
    told = {"openid": "oUser", "real_name": "张三", "account": "abnormal"}
    assert user(box, **told) == told
    assert user(box, openid="oUser", account="closed") == {"openid": "oUser", "real_name": "", "account": "closed"}
    call(box.url, "POST", "/sandbox/reset")
    assert box.merchant.users == {}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"openid": ""},
        {"openid": 1},
        {"openid": None},
        {"real_name": "张三"},
        {"openid": "oUser", "account": "rich"},
        {"openid": "oUser", "account": ""},
        {"openid": "oUser", "account": True},
        {"openid": "oUser", "real_name": 1},
        {"openid": "oUser", "surprise": 1},
    ],
    ids=json.dumps,
)
def test_a_bad_user_changes_nothing(box, bad):
    before = user(box, openid="oUser", real_name="张三")
    answer = ask(box, "users", bad)
    assert answer.status == 400
    assert answer.json["error"]
    assert {name: vars(one) for name, one in box.merchant.users.items()} == {"oUser": before}


@pytest.mark.parametrize(("account", "end"), [("normal", "SUCCESS"), ("abnormal", "ABNORMAL"), ("closed", None)])
@pytest.mark.parametrize("openid", ["oUser", "oOther"], ids=["the payer", "another"])
def test_where_a_refund_ends(merchant, box, account, end, openid):
    user(box, openid=openid, account=account)
    merchant.paid()
    answer = merchant.send("POST", REFUNDS, merchant.refund())
    end = end if openid == "oUser" else "SUCCESS"
    if end is None:
        assert (answer.status, answer.json["code"]) == (403, "USER_ACCOUNT_ABNORMAL")
        assert described(box)["funds"]["BASIC"] == START + income(100)
    else:
        box.advance("5m")
        assert merchant.send("GET", f"{REFUNDS}/REFUND_1").json["status"] == end


# Money


def fee(amount: int) -> int:
    """0.6 % in cents, half a cent rounded up."""
    return int((Decimal(amount) * 6 / 1000).quantize(Decimal(1), ROUND_HALF_UP))


def income(amount: int) -> int:
    return amount - fee(amount)


def basic(box) -> int:
    return described(box)["funds"]["BASIC"]


def operation(box) -> int:
    return described(box)["funds"]["OPERATION"]


@pytest.mark.parametrize(
    ("total", "kept"),
    [
        (1, 0),
        (83, 0),
        (84, 1),
        (100, 1),
        (249, 1),
        (250, 2),
        (416, 2),
        (417, 3),
        (750, 5),
        (1250, 8),
        (10_000, 60),
        (123_456_789, 740_741),
    ],
)
def test_a_payment_comes_in_less_the_fee(merchant, box, total, kept):
    merchant.paid(total=total)
    assert described(box)["funds"] == {"BASIC": START + total - kept, "OPERATION": START, "FEES": 0}


def test_orders_that_are_not_paid_move_no_money(merchant, box):
    for number in ("ORDER_000001", "ORDER_000002"):
        merchant.send("POST", PREPAY, merchant.order(number))
    box.fail_payment("ORDER_000001")
    merchant.send(
        "POST",
        "/v3/pay/transactions/out-trade-no/ORDER_000002/close",
        {"mchid": merchant.credentials.merchant_id},
    )
    assert described(box) == DEFAULTS
    assert box.merchant.entries == []


@pytest.mark.parametrize(("total", "refund"), [(1000, 1000), (1000, 250), (1000, 83), (1000, 84), (1, 1)])
def test_a_refund_takes_its_amount_and_gives_its_fee_back(merchant, box, total, refund):
    merchant.paid(total=total)
    merchant.send("POST", REFUNDS, merchant.refund(refund=refund, total=total))
    expected = START + income(total) - income(refund)
    assert basic(box) == expected
    box.settle_refund("REFUND_1", "SUCCESS", deliver=False)
    assert basic(box) == expected


def test_a_refund_that_is_sent_again_is_paid_once(merchant, box):
    merchant.paid(total=1000)
    for _ in range(3):
        merchant.send("POST", REFUNDS, merchant.refund(refund=250, total=1000))
    assert basic(box) == START + income(1000) - income(250)


def test_a_closed_refund_comes_back_without_its_fee(merchant, box):
    merchant.paid(total=1000)
    merchant.send("POST", REFUNDS, merchant.refund("R1", 250, 1000))
    box.settle_refund("R1", "CLOSED", deliver=False)
    assert basic(box) == START + income(1000)
    merchant.send("POST", REFUNDS, merchant.refund("R2", 1000, 1000))
    assert basic(box) == START


def test_an_abnormal_refund_stays_at_wechat_pay(merchant, box):
    merchant.paid(total=1000)
    merchant.send("POST", REFUNDS, merchant.refund(refund=1000, total=1000))
    box.settle_refund("REFUND_1", "ABNORMAL", deliver=False)
    assert basic(box) == START
    box.settle_refund("REFUND_1", "SUCCESS", deliver=False)
    assert basic(box) == START


@pytest.mark.parametrize(("short", "status"), [(1, 403), (0, 200)])
def test_a_refund_needs_its_whole_amount(merchant, box, short, status):
    merchant.paid(total=1000)
    setting(box, funds={"BASIC": 1000 - short})
    assert merchant.send("POST", REFUNDS, merchant.refund(refund=1000, total=1000)).status == status
    assert basic(box) == (1000 - short if status == 403 else fee(1000))


def test_a_transfer_is_locked_and_gone_once_it_arrived(merchant, box):
    for _ in range(2):
        merchant.send("POST", BILLS, merchant.transfer(amount=5000))
    assert operation(box) == START - 5000
    box.finish_transfer("BILL1", "SUCCESS", deliver=False)
    assert operation(box) == START - 5000
    assert basic(box) == START


@pytest.mark.parametrize("end", ["FAIL", "CANCELLED", "24h"])
def test_a_transfer_that_came_to_nothing_comes_back(merchant, box, end):
    merchant.send("POST", BILLS, merchant.transfer(amount=5000))
    if end == "24h":
        box.advance("24h")
    elif end == "FAIL":
        box.finish_transfer("BILL1", end, deliver=False)
    else:
        merchant.send("POST", f"{BILLS}/out-bill-no/BILL1/cancel")
        assert operation(box) == START - 5000
        box.advance("10s")
    assert box.ledger.transfers["BILL1"].state == ("CANCELLED" if end == "CANCELLED" else "FAIL")
    assert operation(box) == START


@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING"])
def test_what_was_never_locked_does_not_come_back(merchant, box, start):
    setting(box, transfer_start=start)
    merchant.send("POST", BILLS, merchant.transfer(amount=5000))
    box.finish_transfer("BILL1", "FAIL", deliver=False)
    assert operation(box) == START
    assert box.merchant.entries == []


@pytest.mark.parametrize(("short", "status"), [(1, 403), (0, 200)])
def test_a_transfer_needs_its_whole_amount(merchant, box, short, status):
    setting(box, funds={"OPERATION": 5000 - short})
    assert merchant.send("POST", BILLS, merchant.transfer(amount=5000)).status == status
    assert operation(box) == (4999 if status == 403 else 0)


def test_a_transfer_waits_for_a_top_up(merchant, box):
    setting(box, transfer_start="PROCESSING", funds={"OPERATION": 99})
    merchant.send("POST", BILLS, merchant.transfer())
    box.advance("10m")
    assert (box.ledger.transfers["BILL1"].state, operation(box)) == ("PROCESSING", 99)
    setting(box, funds={"OPERATION": 150})
    box.advance("2m")
    assert (box.ledger.transfers["BILL1"].state, operation(box)) == ("WAIT_USER_CONFIRM", 50)


def test_every_movement_is_a_row_whose_balance_follows_from_the_one_before(merchant, box):
    merchant.paid(total=1000)
    for number, end in (("R1", "CLOSED"), ("R2", "SUCCESS")):
        merchant.send("POST", REFUNDS, merchant.refund(number, 250, 1000))
        box.settle_refund(number, end, deliver=False)
    merchant.send("POST", BILLS, merchant.transfer())
    box.finish_transfer("BILL1", "FAIL", deliver=False)
    setting(box, funds={"BASIC": 5})
    rows = {
        account: [entry for entry in box.merchant.entries if entry.account == account]
        for account in ("BASIC", "OPERATION")
    }
    assert [entry.amount for entry in rows["BASIC"]] == [
        *(1000, -fee(1000)),
        *(-250, fee(250), 250, -fee(250)),
        *(-250, fee(250)),
        5 - (START + income(1000) - income(250)),
    ]
    assert [entry.amount for entry in rows["OPERATION"]] == [-100, 100]
    for entries in rows.values():
        amounts = [entry.amount for entry in entries]
        assert [entry.balance for entry in entries] == list(itertools.accumulate(amounts, initial=START))[1:]


@pytest.mark.parametrize("parts", [(84, 84, 84), (1, 1, 250), (100, 100, 52), (126, 126)])
def test_refunds_in_parts_give_back_together_the_fee_that_was_taken(merchant, box, parts):
    before = basic(box)
    merchant.paid(total=252)
    for index, part in enumerate(parts):
        answer = merchant.send("POST", REFUNDS, merchant.refund(f"REFUND_{index}", part, 252))
        assert answer.status == 200, answer.body
    assert basic(box) == before


@pytest.mark.parametrize("off", [0, 90, -400])
def test_the_clock_of_wechat_pay_stands_in_date(box, merchant, off):
    """`clock_off` is what the merchant's clock is wrong by, so WeChat Pay's differs by as much."""
    box.merchant.change(clock_off=off)
    answer = merchant.send("GET", "/v3/certificates")
    there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    assert abs(there - time.time() - off) < 5
