"""examples/miniprogram, on a phone that makes real calls: each page as its user sees it, each fact by the sandbox."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from sandbox import Credentials, Sandbox
from sandbox.core import OPENID
from services.orders.database import Database
from services.orders.tables import init_db
from tests.examples.phone import ENV_ID, FUNCTION_NAME, MISSING_NODE, Phone, configured
from tests.support import ROOT, gunicorn, in_process

SOURCE = ROOT / "examples" / "miniprogram"
OPERATOR = "oTESToperator0000000000000001"
ORDER = "/wx-pay/wxpay_order"
REFUND = "/wx-pay/wxpay_refund"
QUERY = "wxpay_query_order_by_out_trade_no"

needs_node = pytest.mark.skipif(bool(MISSING_NODE), reason=MISSING_NODE)


class Shop:
    """The function, WeChat Pay beside it, and phones with the mini program."""

    def __init__(self, box, url, folder):
        self.box, self.url, self.folder = box, url, folder

    @contextmanager
    def phone(self, **settings):
        with Phone.on(self.box, self.url, **settings) as phone:
            phone.launch(self.folder)
            yield phone
            assert phone.problems == []

    @property
    def number(self):
        """The one order that WeChat Pay has."""
        [number] = self.box.ledger.orders
        return number

    def state(self):
        return self.box.ledger.orders[self.number].state

    def sent(self, path):
        """The bodies that were POSTed to WeChat Pay there."""
        return [r.json for r in self.box.requests if r.method == "POST" and r.path.endswith(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("miniprogram") / "shop"
    return configured(SOURCE, target, ENV_ID=ENV_ID, FUNCTION_NAME=FUNCTION_NAME)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(credentials=Credentials.generate()) as sandbox:
        yield sandbox


def serving(box, folder, log, **more):
    return gunicorn(box.env(callerHeaders="trusted", operatorIds=OPERATOR, **more), log)


@pytest.fixture(scope="module")
def plain_function(box, folder, tmp_path_factory):
    with serving(box, folder, tmp_path_factory.mktemp("plain") / "log") as function:
        yield function.url


@pytest.fixture(scope="module")
def keeping_function(box, folder, tmp_path_factory):
    here = tmp_path_factory.mktemp("keeping")
    url = f"sqlite:///{here / 'orders.sqlite3'}"
    database = Database(url)
    init_db(database)
    database.close()
    with serving(box, folder, here / "log", orderDatabaseUrl=url) as function:
        yield function.url


def opened(box, url, folder):
    box.reset()
    box.function = url
    return Shop(box, url, folder)


@pytest.fixture
def plain(box, folder, plain_function):
    """A function that keeps nothing."""
    return opened(box, plain_function, folder)


@pytest.fixture
def keeping(box, folder, keeping_function):
    """A function with an order database."""
    return opened(box, keeping_function, folder)


@pytest.fixture(params=["plain", "keeping"])
def shop(request):
    return request.getfixturevalue(request.param)


def soon(look):
    give_up = time.monotonic() + 10
    while not look():
        assert time.monotonic() < give_up
        time.sleep(0.02)


# The loop


@needs_node
@pytest.mark.parametrize("bodies", ["parsed", "text"])
def test_order_pay_result(shop, bodies):
    with shop.phone(bodies=bodies) as phone:
        phone.tap("Pay")

        assert "Paid" in phone.text.splitlines()
        assert shop.number in phone.text
        assert "¥0.20" in phone.text
        assert shop.state() == "SUCCESS"
        [sheet] = phone.sheets
        assert (sheet["number"], sheet["total"], sheet["description"]) == (shop.number, 20, "A cup of tea")
        assert shop.sent("/jsapi")[0]["payer"] == {"openid": OPENID}  # which only the platform said
        for call in phone.calls:
            assert "payer" not in call["data"]
            assert not [name for name in call.get("header", {}) if name.lower().startswith("x-")]


@needs_node
def test_with_an_order_database_it_waits_for_the_callback_and_asks_no_more(keeping):
    with keeping.phone() as phone:
        phone.set(will=[{"does": "nothing"}])
        phone.tap("Pay", wait=False)
        soon(lambda: "wxpay_order_wait" in phone.actions())
        assert not any("Paid" in screen.splitlines() for screen in phone.screens)

        keeping.box.pay(keeping.number)
        phone.idle()

        assert "Paid" in phone.text.splitlines()
        assert phone.actions() == ["wxpay_order", "wxpay_order_wait"]


@needs_node
def test_without_one_it_queries_and_asks_for_the_database_once(plain):
    with plain.phone() as phone:
        phone.tap("Pay")
        assert phone.actions() == ["wxpay_order", "wxpay_order_wait", QUERY]
        phone.tap("Another order")
        phone.tap("Pay")
        assert phone.actions()[3:] == ["wxpay_order", QUERY]
        assert len(plain.box.ledger.orders) == 2


@needs_node
def test_a_lost_callback_is_made_up_for_by_the_query(plain):
    with plain.phone() as phone:
        phone.set(will=[{"does": "pay", "deliver": False}])
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()


@needs_node
def test_paid_is_what_the_server_says_and_not_the_sheet(plain):
    with plain.phone() as phone:
        phone.set(will=[{"does": "nothing", "says": "ok"}])
        phone.tap("Pay")

        assert "has not confirmed the payment yet" in phone.text
        assert phone.actions().count(QUERY) == 5
        assert not any("Paid" in screen.splitlines() for screen in phone.screens)

        plain.box.pay(plain.number)
        phone.tap("Query")
        assert "Paid" in phone.text.splitlines()


@needs_node
def test_a_sheet_that_fails_after_the_payment_is_still_a_payment(shop):
    with shop.phone() as phone:
        phone.set(will=[{"does": "pay", "says": "jsapi has no permission"}])
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()
        assert "failed" not in phone.text


@needs_node
def test_cancelled_is_told_from_failed_and_the_same_order_can_be_paid(shop):
    with shop.phone() as phone:
        phone.set(will=[{"does": "cancel"}, {"does": "fail"}, {"does": "pay"}])
        phone.tap("Pay")
        assert "Cancelled. The order is still open" in phone.text
        assert "failed" not in phone.text
        phone.tap("Pay")
        assert "The payment failed (requestPayment:fail 支付失败). The order is still open" in phone.text
        assert "Cancelled" not in phone.text
        assert shop.state() == "NOTPAY"

        phone.tap("Pay")

        assert "Paid" in phone.text.splitlines()
        assert {body["out_trade_no"] for body in shop.sent("/jsapi")} == {shop.number}


@needs_node
def test_two_taps_are_one_order(shop):
    with shop.phone() as phone:
        phone.tap("Pay", times=2)
        assert phone.actions().count("wxpay_order") == 1
        assert len(phone.sheets) == len(shop.sent("/jsapi")) == 1


@needs_node
def test_close_after_a_question(shop):
    with shop.phone() as phone:
        phone.set(will=[{"does": "cancel"}], modals=[False, True])
        phone.tap("Pay")
        phone.tap("Close")
        assert shop.number in phone.said("modal")[0]["content"]
        assert "wxpay_close_order" not in phone.actions()

        phone.tap("Close")

        assert "Closed" in phone.text.splitlines()
        assert shop.state() == "CLOSED"
        assert "(Pay" not in phone.text
        phone.tap("Another order")
        assert "[A cup of tea]" in phone.text


@needs_node
def test_an_order_that_was_paid_meanwhile_is_not_closed_but_shown(shop):
    with shop.phone() as phone:
        phone.set(will=[{"does": "cancel"}])
        phone.tap("Pay")
        shop.box.pay(shop.number)
        phone.tap("Close")
        assert "Paid" in phone.text.splitlines()
        assert shop.state() == "SUCCESS"


@needs_node
def test_nor_is_it_ordered_again(shop):
    with shop.phone() as phone:
        phone.set(will=[{"does": "cancel"}])
        phone.tap("Pay")
        shop.box.pay(shop.number)
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()
        assert phone.actions().count("wxpay_order") == 1


# What is not known


def whole_of(fault, **options):
    return lambda shop, phone: shop.box.fault(fault, path="/jsapi", **options)


UNKNOWN = {
    "a reset, the order was taken": whole_of("reset", processed=True),
    "a reset, the order was not taken": whole_of("reset", processed=False),
    "a gateway's 502": whole_of("html_502"),
    "an answer that does not verify": whole_of("bad_signature"),
    "a refusal that nobody signed, the order was taken": whole_of("unsigned_403", processed=True),
    "the answer to the phone got lost": lambda shop, phone: phone.set(lost=[ORDER]),
}


@needs_node
@pytest.mark.parametrize("what", UNKNOWN)
def test_an_unknown_outcome_is_asked_for_and_goes_on_under_the_same_number(shop, what):
    with shop.phone() as phone:
        UNKNOWN[what](shop, phone)
        phone.tap("Pay")
        assert "It is not known whether this was carried out" in phone.text
        assert phone.actions() == ["wxpay_order"]
        assert "[" not in phone.text  # what was sent cannot be changed now

        shop.box.clear_faults()
        phone.tap("Pay")

        assert "Paid" in phone.text.splitlines()
        assert phone.actions()[1:3] == [QUERY, "wxpay_order"]
        assert {body["out_trade_no"] for body in shop.sent("/jsapi")} == {shop.number}


def refused_after_a_lost_answer(box, path, code, *, processed):
    """The first try's answer is reset, and the backup host refuses the repetition, under a true signature."""
    box.fault("reset", host="main", processed=processed, path=path)
    box.fault("error", host="backup", code=code, path=path)


@needs_node
@pytest.mark.parametrize("processed", [True, False], ids=["it was taken", "it was not taken"])
def test_neither_a_refused_repetition_nor_an_unsigned_404_ends_an_order_s_number(shop, processed):
    with shop.phone() as phone:
        refused_after_a_lost_answer(shop.box, "/jsapi", "INVALID_REQUEST", processed=processed)
        phone.tap("Pay")
        assert json.loads(phone.calls[-1]["answer"])["outcome"] == "unknown"
        assert phone.calls[-1]["status"] == 400
        assert "It is not known whether this was carried out" in phone.text

        shop.box.clear_faults()
        shop.box.fault("unsigned_404", path="/v3/pay/transactions/out-trade-no")
        phone.tap("Pay")
        assert phone.calls[-1]["status"] == 404
        assert "It is not known" in phone.text
        assert phone.actions() == ["wxpay_order", QUERY]

        shop.box.clear_faults()
        phone.tap("Pay")

        assert "Paid" in phone.text.splitlines()
        assert {body["out_trade_no"] for body in shop.sent("/jsapi")} == {shop.number}


@needs_node
def test_too_many_requests_placed_no_order(shop):
    with shop.phone() as phone:
        shop.box.fault("frequency_limited", path="/jsapi")
        phone.tap("Pay")
        assert "Refused (429)" in phone.text
        shop.box.clear_faults()
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()
        assert len(shop.box.ledger.orders) == 1


@needs_node
def test_nothing_is_ordered_while_it_cannot_be_asked(shop):
    with shop.phone() as phone:
        phone.set(lost=[ORDER])
        phone.tap("Pay")
        shop.box.fault("reset", path="/v3/pay/transactions/out-trade-no")
        phone.tap("Pay")
        assert phone.actions() == ["wxpay_order", QUERY]
        assert "It is not known" in phone.text


@needs_node
def test_the_number_outlives_the_mini_program(shop):
    with shop.phone() as phone:
        phone.set(lost=[ORDER])
        phone.tap("Pay")
        phone.launch(shop.folder)
        assert "Not paid" in phone.text.splitlines()
        assert phone.actions() == ["wxpay_order", QUERY]

        phone.tap("Pay")
        phone.launch(shop.folder)

        assert "Paid" in phone.text.splitlines()
        assert len(shop.box.ledger.orders) == 1


# What is refused


@needs_node
def test_a_refused_order_can_be_changed_and_takes_another_number(shop):
    with shop.phone() as phone:
        phone.enter("onDescription", "")
        phone.tap("Pay")
        assert "Refused (400): description" in phone.text
        assert shop.box.ledger.orders == {}

        phone.enter("onDescription", "A pot of tea")
        phone.enter("onAmount", "0.58")
        phone.tap("Pay")

        assert "Paid" in phone.text.splitlines()
        order = shop.box.ledger.orders[shop.number]
        assert (order.body["description"], order.total) == ("A pot of tea", 58)
        first, second = (call["data"]["out_trade_no"] for call in phone.calls if call.get("path") == ORDER)
        assert first != second


def refused_although_placed(shop, phone):
    """An answer gets lost, a query does not find the order, and sending it again is refused: it exists all the same."""
    shop.box.fault("reset", processed=True, path="/jsapi")
    phone.tap("Pay")
    shop.box.clear_faults()
    shop.box.fault("error", code="ORDER_NOT_EXIST", path="/v3/pay/transactions/out-trade-no")
    shop.box.fault("error", code="PARAM_ERROR", path="/jsapi")
    phone.tap("Pay")
    assert "Refused (400)" in phone.text
    shop.box.clear_faults()
    return shop.number


@needs_node
def test_a_refused_order_that_exists_after_all_is_paid_under_its_number(shop):
    with shop.phone() as phone:
        refused_although_placed(shop, phone)
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()
        assert "paid too" not in phone.text
        assert {body["out_trade_no"] for body in shop.sent("/jsapi")} == {shop.number}


@needs_node
def test_it_is_closed_when_something_else_is_bought(shop):
    with shop.phone() as phone:
        former = refused_although_placed(shop, phone)
        phone.enter("onAmount", "5")
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()
        assert "¥5.00" in phone.text
        assert "paid too" not in phone.text
        orders = shop.box.ledger.orders
        assert {number: (order.total, order.state) for number, order in orders.items()} == {
            former: (20, "CLOSED"),
            phone.text.splitlines()[1]: (500, "SUCCESS"),
        }


@needs_node
def test_nothing_else_is_bought_while_it_cannot_be_closed(shop):
    with shop.phone() as phone:
        refused_although_placed(shop, phone)
        phone.enter("onAmount", "5")
        shop.box.fault("reset", processed=False, path="/close")
        phone.tap("Pay")
        assert "It is not known" in phone.text
        assert "¥0.20" in phone.text
        assert shop.state() == "NOTPAY"


@needs_node
@pytest.mark.parametrize("changed", [("onAmount", "5"), ("onDescription", "A pot of tea")], ids=lambda pair: pair[0])
def test_one_that_is_paid_is_not_told_as_the_payment_of_something_else(shop, changed):
    with shop.phone() as phone:
        former = refused_although_placed(shop, phone)
        shop.box.pay(former)
        phone.enter(*changed)
        phone.set(will=[{"does": "cancel"}])
        phone.tap("Pay")
        assert "Paid" not in phone.text.splitlines()
        assert "Cancelled. The order is still open" in phone.text
        assert f"Order {former}, for something else, is paid too." in phone.text
        number = phone.text.splitlines()[1]
        assert number != former
        assert shop.box.ledger.orders[number].state == "NOTPAY"
        phone.launch(shop.folder)
        assert f"Order {former}, for something else, is paid too." in phone.text
        phone.tap("Pay")
        assert "Paid" in phone.text.splitlines()
        assert f"Order {former}, for something else, is paid too." in phone.text


@needs_node
@pytest.mark.parametrize("amount", ["", "0", "0.00", "-1", "1.234", "1,5", "1e3", "free", "99999999"])
def test_what_is_no_amount_is_not_sent(plain, amount):
    with plain.phone() as phone:
        phone.enter("onAmount", amount)
        phone.tap("Pay")
        assert "at most two decimals" in phone.text
        assert phone.calls == []


@needs_node
def test_what_the_function_lacks_is_shown_by_name(box, folder):
    with in_process(box.env(privateKey=None)) as function:
        shop = opened(box, function.url, folder)
        with shop.phone() as phone:
            phone.tap("Pay")
            assert "MISSING_CREDENTIALS" in phone.text
            assert "privateKey" in phone.text


# Refunds


@needs_node
def test_an_operator_refunds(shop):
    with shop.phone(openid=OPERATOR) as phone:
        phone.tap("Pay")
        phone.enter("onRefundAmount", "0.05")
        phone.tap("Refund")

        assert "¥0.05 Under way" in phone.text
        assert "Refund ¥0.05?" in phone.said("modal")[0]["content"]
        [(number, refund)] = shop.box.ledger.refunds.items()
        assert refund.body["amount"] == {"refund": 5, "total": 20, "currency": "CNY"}
        shop.box.settle_refund(number)
        phone.tap("Query refund")
        assert "¥0.05 Refunded" in phone.text
        phone.tap("Query")
        assert "Paid, refunded in whole or in part" in phone.text


@needs_node
def test_a_stranger_is_shown_the_403_as_it_is(shop):
    with shop.phone() as phone:
        phone.tap("Pay")
        phone.tap("Refund")
        assert "Refused (403): wxpay_refund needs an operator" in phone.text
        assert "¥0.20 Not made" in phone.text
        assert shop.sent("/refunds") == []


@needs_node
def test_a_refund_that_the_operator_thinks_better_of_is_not_sent(shop):
    with shop.phone(openid=OPERATOR) as phone:
        phone.tap("Pay")
        phone.set(modals=[False])
        phone.tap("Refund")
        assert "wxpay_refund" not in phone.actions()


@needs_node
@pytest.mark.parametrize("processed", [True, False], ids=["it was taken", "it was not taken"])
def test_a_refund_of_unknown_outcome_keeps_its_number(shop, processed):
    with shop.phone(openid=OPERATOR) as phone:
        phone.tap("Pay")
        shop.box.fault("reset", processed=processed, path="/v3/refund")
        phone.tap("Refund")
        assert "It is not known" in phone.text
        assert "[0.20 -]" in phone.text

        shop.box.clear_faults()
        phone.tap("Refund")

        assert "¥0.20 Under way" in phone.text
        [number] = shop.box.ledger.refunds
        assert {body["out_refund_no"] for body in shop.sent("/refunds")} == {number}
        expected = ["wxpay_refund_query"] if processed else ["wxpay_refund_query", "wxpay_refund"]
        assert phone.actions()[-len(expected) - 1 :] == ["wxpay_refund", *expected]


@needs_node
@pytest.mark.parametrize("processed", [True, False], ids=["it was made", "it was not made"])
def test_neither_a_refused_repetition_nor_an_unsigned_404_makes_a_second_refund(shop, processed):
    with shop.phone(openid=OPERATOR) as phone:
        phone.tap("Pay")
        phone.enter("onRefundAmount", "0.05")  # of 0.20: WeChat Pay would make a second one
        refused_after_a_lost_answer(shop.box, "/v3/refund", "NOT_ENOUGH", processed=processed)
        phone.tap("Refund")
        assert json.loads(phone.calls[-1]["answer"])["outcome"] == "unknown"
        assert phone.calls[-1]["status"] == 403
        assert "It is not known" in phone.text
        assert "[0.05 -]" in phone.text

        shop.box.clear_faults()
        shop.box.fault("unsigned_404", path="/v3/refund")
        phone.tap("Refund")
        assert phone.calls[-1]["status"] == 404
        assert "It is not known" in phone.text
        assert phone.actions()[-2:] == ["wxpay_refund", "wxpay_refund_query"]

        shop.box.clear_faults()
        phone.tap("Refund")

        assert "¥0.05 Under way" in phone.text
        [number] = shop.box.ledger.refunds
        assert {body["out_refund_no"] for body in shop.sent("/refunds")} == {number}


@needs_node
def test_a_refund_whose_refusal_is_known_takes_another_number_once_wechat_pay_does_not_know_it(shop):
    with shop.phone(openid=OPERATOR) as phone:
        phone.tap("Pay")
        shop.box.fault("error", code="NOT_ENOUGH", path="/v3/refund")
        phone.tap("Refund")
        assert "Refused (403)" in phone.text
        shop.box.clear_faults()
        phone.enter("onRefundAmount", "0.05")
        phone.tap("Refund")
        assert "¥0.05 Under way" in phone.text
        first, second = (call["data"]["out_refund_no"] for call in phone.calls if call.get("path") == REFUND)
        assert first != second
        assert list(shop.box.ledger.refunds) == [second]


# The checks of the guide


def misconfigured(tmp_path, **constants):
    given = {"ENV_ID": ENV_ID, "FUNCTION_NAME": FUNCTION_NAME, **constants}
    return configured(SOURCE, tmp_path / "shop", **given)


NOT_READY = {
    "ENV_ID is a placeholder": ({"ENV_ID": "your-env-id"}, {}, "Set ENV_ID at the top of app.js"),
    "ENV_ID is empty": ({"ENV_ID": ""}, {}, "Set ENV_ID at the top of app.js"),
    "FUNCTION_NAME is a placeholder": ({"FUNCTION_NAME": "your-function-name"}, {}, "Set FUNCTION_NAME at the top"),
    "the base library is old": ({}, {"baseLibrary": "3.15.1"}, "needs base library 3.15.2, and this one is 3.15.1"),
    "it is older": ({}, {"baseLibrary": "3.9.12"}, "this one is 3.9.12"),
    "it cannot call": ({}, {"lacks": ["callHTTPFunction"]}, "wx.cloud.callHTTPFunction needs base library 3.15.2"),
    "in Chinese": ({"ENV_ID": "your-env-id"}, {"language": "zh_CN"}, "请在 app.js 顶部填写 ENV_ID"),
}


@needs_node
@pytest.mark.parametrize("what", NOT_READY)
def test_what_is_not_set_up_is_said_at_start_and_at_each_try(plain, tmp_path, what):
    constants, settings, said = NOT_READY[what]
    plain.folder = misconfigured(tmp_path, **constants)
    with plain.phone(**settings) as phone:
        [modal] = phone.said("modal")
        assert said in modal["content"]
        assert modal["showCancel"] is False
        phone.tap("支付" if settings.get("language") else "Pay")
        assert len(phone.said("modal")) == 2
        assert phone.calls == []


@needs_node
@pytest.mark.parametrize("version", ["3.15.2", "3.15.10", "3.16.0", "4.0.0"])
def test_a_newer_base_library_will_do(plain, version):
    with plain.phone(baseLibrary=version) as phone:
        assert phone.said("modal") == []
        assert any("Cloud Development initialized" in line for line in phone.log)


@needs_node
def test_the_published_placeholders_are_seen_as_they_stand(plain):
    plain.folder = SOURCE
    with plain.phone() as phone:
        assert "ENV_ID" in phone.said("modal")[0]["content"]


@needs_node
def test_a_wrong_function_name_is_no_answer_of_the_function(plain, tmp_path):
    plain.folder = misconfigured(tmp_path, FUNCTION_NAME="pay-common")
    with plain.phone() as phone:
        phone.tap("Pay")
        assert "It is not known whether this was carried out (HTTP 404)" in phone.text
        phone.tap("Pay")
        assert phone.actions() == ["wxpay_order", QUERY]  # such a 404 does not say that there is no order


@needs_node
def test_in_chinese(plain):
    with plain.phone(language="zh_CN") as phone:
        phone.tap("支付")
        assert "已支付" in phone.text.splitlines()
        assert {call["header"]["Accept-Language"] for call in phone.calls if "header" in call} == {"zh-CN"}


# The parts


def evaluated(script):
    run = subprocess.run(
        ["node", "-e", f"process.stdout.write(JSON.stringify((() => {{{script}}})()))"],
        cwd=SOURCE / "lib",
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=True,
    )
    return json.loads(run.stdout)


@needs_node
def test_yuan_and_cents_are_exact():
    amounts = [*range(1, 3_000), 1_999_99, 9_999_999_99]
    texts = evaluated(f"const m = require('./money'); return {amounts}.map(m.yuan)")
    assert texts == [f"{Decimal(amount) / 100:.2f}" for amount in amounts]
    assert evaluated(f"const m = require('./money'); return {texts}.map(m.cents)") == amounts
    assert evaluated("const m = require('./money'); return ['7', '0.1', ' 19.9 ', '1.'].map(m.cents)") == [
        700,
        10,
        1990,
        0,
    ]


@needs_node
def test_order_numbers_are_valid_and_cannot_be_guessed(plain):
    numbers = []
    with plain.phone() as phone:
        for _ in range(10):
            phone.set(will=[{"does": "cancel"}])
            phone.tap("Pay")
            numbers.append(phone.text.splitlines()[1])
            phone.tap("Close")
            phone.tap("Another order")
    assert all(re.fullmatch(r"MP\d{14}[0-9a-z]{12}", number) for number in numbers)
    tails = [number[-12:] for number in numbers]
    assert len(set(tails)) == 10
    assert len(set("".join(tails))) > 16  # of 32 letters


@needs_node
def test_both_languages_say_the_same_things():
    script = """
        const shape = (words) => typeof words !== 'object' ? typeof words
          : Object.entries(words).map(([name, word]) => [name, shape(word)])
        return ['en', 'zh_CN'].map((language) => {
          globalThis.wx = { getAppBaseInfo: () => ({ language }) }
          for (const file in require.cache) delete require.cache[file]
          return shape(require('./words').words)
        })"""
    english, chinese = evaluated(script)
    assert english == chinese


def test_the_project_opens_in_the_developer_tools():
    project = json.loads((SOURCE / "project.config.json").read_text())
    assert [int(part) for part in project["libVersion"].split(".")] >= [3, 15, 2]
    assert project["appid"] == ""
    app = json.loads((SOURCE / "app.json").read_text())
    for page in app["pages"]:
        for kind in ("js", "json", "wxml", "wxss"):
            assert (SOURCE / f"{page}.{kind}").is_file()
    assert (SOURCE / app["sitemapLocation"]).is_file()


def test_every_handler_that_the_page_binds_exists():
    page = SOURCE / "pages" / "pay" / "pay"
    bound = set(re.findall(r'bind\w+="(\w+)"', page.with_suffix(".wxml").read_text()))
    defined = set(re.findall(r"^  (?:async )?(on[A-Z]\w*)\(", page.with_suffix(".js").read_text(), re.MULTILINE))
    assert bound == defined - {"onLoad"}


def test_no_operator_key_can_be_put_into_it():
    code = "".join(file.read_text() for file in SOURCE.rglob("*.js"))
    assert "x-operator-key" not in code.lower()
    assert "_operatorKey" not in code


def test_the_lines_that_the_readme_has_one_set_are_those_of_app_js():
    [block] = re.findall(r"```js\n(.*?)```", (SOURCE / "README.md").read_text(), re.DOTALL)
    lines = [line.strip() for line in block.strip().splitlines()]
    assert lines == [line for line in (SOURCE / "app.js").read_text().splitlines() if line.startswith("const ")][:2]


def test_the_files_that_the_readme_tells_of_exist():
    for name in re.findall(r"^\| `([^`]+)` \|", (SOURCE / "README.md").read_text(), re.MULTILINE):
        assert (SOURCE / name).exists()
