"""The PC cashier in headless Chromium, against the function behind the sandbox's API gateway."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest
import requests
from playwright.sync_api import expect

from sandbox import Credentials
from sandbox.ledger import IllegalMove
from tests.examples.web_site import (
    CLOSE,
    EXAMPLES,
    QUERY,
    a_browser,
    open_shop,
    read_code,
    tab,
)
from tests.sandbox.page.window import soon
from tests.support import ROOT, free_port

NATIVE = "wxpay_order_native"
PAGE = EXAMPLES / "pc-cashier"
FIRST_POLL = 1.0  # seconds, in these tests
JITTER = 1.1
SAFETY = 1.5  # seconds: the bound of the issue, for a machine that is busy with other tests


@pytest.fixture(scope="module")
def browser():
    yield from a_browser()


@pytest.fixture(scope="module")
def credentials():
    return Credentials.generate()


@pytest.fixture(scope="module")
def with_database(browser, credentials, tmp_path_factory):
    with open_shop(tmp_path_factory.mktemp("kept"), credentials, database=True) as shop:
        yield shop


@pytest.fixture(scope="module")
def without_database(browser, credentials, tmp_path_factory):
    with open_shop(tmp_path_factory.mktemp("not-kept"), credentials, database=False) as shop:
        yield shop


@pytest.fixture(params=["with_database", "without_database"])
def shop(request):
    yield from fresh(request.getfixturevalue(request.param))


@pytest.fixture
def kept(with_database):
    yield from fresh(with_database)


@pytest.fixture
def not_kept(without_database):
    yield from fresh(without_database)


def fresh(shop):
    shop.box.reset()
    shop.site.token = lambda renew: shop.box.token()
    shop.site.asked_for_tokens.clear()
    settings(shop)
    yield shop


def settings(shop, **given):
    """The cashier's settings for this shop: as shipped, but faster."""
    quick = {"POLL": f"{{ first: {FIRST_POLL * 1000}, longest: {FIRST_POLL * 1500} }}"}
    shop.site.configure(shop.box.url, **{**quick, **given})


@pytest.fixture
def window(browser):
    with tab(browser) as opened:
        yield opened


def visit(shop, window):
    window.page.goto(f"{shop.site.url}/pc-cashier/")
    expect(window.id("pay")).to_be_visible()


def ordered(shop, window):
    """A fresh page with a code on it; the order's number."""
    visit(shop, window)
    window.id("pay").click()
    window.phase("waiting")
    (number,) = shop.numbers()
    return number


def shown(window):
    return window.id("status").text_content()


# What is to be seen


def test_an_order_is_placed_scanned_and_paid(shop, window):
    started = datetime.now(timezone.utc)
    number = ordered(shop, window)
    assert re.fullmatch("PC[0-9]{14}[2-9A-HJ-NP-Z]{8}", number)
    stamp = datetime.strptime(number[2:16], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    assert abs((stamp - started).total_seconds()) < 60
    order = shop.box.ledger.orders[number]
    assert (order.body["description"], order.total) == ("A cup of tea", 20)
    expect(window.id("number")).to_contain_text(number)
    expect(window.id("amount")).to_have_text("¥ 0.20")

    assert shop.scan(order.credential.value) == number
    shop.pay(number)

    window.phase("paid")
    assert shown(window) == "Paid: ¥ 0.20"
    assert window.page.locator("#code svg").count() == 0
    assert window.id("pay").is_hidden()
    assert window.id("renew").is_hidden()


def test_the_code_on_the_screen_is_the_code_url_and_nothing_else(not_kept, window):
    window.page.emulate_media(color_scheme="dark")
    number = ordered(not_kept, window)
    code_url = not_kept.box.ledger.orders[number].credential.value
    picture = window.page.locator("#code svg").screenshot()
    assert read_code(window, picture) == code_url


def test_numbers_do_not_repeat(not_kept, window):
    visit(not_kept, window)
    script = """async () => {
        const { newNumber } = await import('./order.js');
        return Array.from({ length: 2000 }, () => newNumber('PC').slice(-8));
    }"""
    numbers = window.page.evaluate(script)
    assert len(set(numbers)) == 2000
    assert len(set("".join(numbers))) == 32


@pytest.mark.parametrize(
    ("cents", "text"), [(1, "0.01"), (20, "0.20"), (100, "1.00"), (1005, "10.05"), (2**53 - 1, "90071992547409.91")]
)
def test_money_is_shown_to_the_cent(not_kept, window, cents, text):
    visit(not_kept, window)
    script = "async cents => (await import('./words.js')).yuan(cents)"
    assert window.page.evaluate(script, cents) == f"¥ {text}"


def test_it_speaks_the_readers_language_and_so_does_the_function(not_kept, browser):
    with tab(browser, locale="zh-CN") as window:
        not_kept.box.fault("error", code="NO_AUTH", times=1)
        visit(not_kept, window)
        window.id("pay").click()
        window.phase("failed")
        assert window.page.title() == "扫码支付"
        assert window.page.locator("html").get_attribute("lang") == "zh-CN"
        assert window.id("pay").text_content() == "重试"
        assert "NO_AUTH" in shown(window)
        assert "微信支付" in shown(window)


def test_both_languages_say_the_same():
    english, chinese = (PAGE / "words.js").read_text().split("  zh: {")
    lines = re.compile(r"^    (\w+): '(.*)',$", re.MULTILINE)
    values = re.compile(r"\{\w+\}")
    said = [{key: set(values.findall(text)) for key, text in lines.findall(part)} for part in (english, chinese)]
    assert said[0] == said[1]
    assert said[0]["paid"] == {"{amount}"}


def test_it_works_by_keyboard_and_for_screen_readers(kept, window):
    visit(kept, window)
    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.id") == "pay"
    window.page.keyboard.press("Enter")
    window.phase("waiting")
    assert window.page.get_by_role("img", name="QR code: scan it with the camera of WeChat").count() == 1
    assert window.page.get_by_role("status").text_content() == "Scan the code with WeChat."
    expect(window.page.get_by_role("timer")).to_contain_text(re.compile("good for (10:00|9:5[0-9]) more"))
    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.id") == "renew"


# How soon it is to be seen


def test_with_a_database_the_payment_is_shown_at_once(kept, window):
    with window.page.expect_request(lambda sent: "wxpay_order_wait" in sent.url + (sent.post_data or "")):
        number = ordered(kept, window)
    window.note_phases()

    acknowledged = kept.pay(number)
    window.phase("paid")

    [(phase, at)] = window.phases()
    print(f"from callback to page: {at - acknowledged:.3f} s")
    assert phase == "paid"
    assert at - acknowledged < SAFETY
    assert kept.queries() == []  # the callback told it, and nobody had to ask


def test_without_a_database_the_payment_is_shown_within_one_poll(not_kept, window):
    number = ordered(not_kept, window)
    window.note_phases()
    assert soon(lambda: len(not_kept.queries()) >= 2)

    acknowledged = not_kept.pay(number)
    window.phase("paid")

    [(phase, at)] = window.phases()
    print(f"from callback to page: {at - acknowledged:.3f} s")
    assert phase == "paid"
    assert at - acknowledged < FIRST_POLL * 1.5 * JITTER + 0.5
    states = [json.loads(query.answer)["trade_state"] for query in not_kept.queries()]
    assert states == ["NOTPAY"] * (len(states) - 1) + ["SUCCESS"]  # the first question after it


def test_a_visit_where_no_database_is_raises_no_alarm(not_kept, window):
    before = len(not_kept.function.log_text())
    ordered(not_kept, window)
    assert soon(not_kept.queries)
    lines = [json.loads(line) for line in not_kept.function.log_text()[before:].splitlines()]
    about = [line for line in lines if "orderDatabaseUrl" in line["message"]]
    assert [(line["level"], line["action"]) for line in about] == [("WARNING", "wxpay_order_wait")]
    assert [line for line in lines if line["level"] == "ERROR"] == []


def test_polls_grow_apart_and_never_hurry(not_kept, window):
    visit(not_kept, window)
    script = """async () => {
        const { delay } = await import('./order.js');
        const rows = (from, make) => Array.from({ length: 12 }, (_, i) => make(i + from));
        return { asked: rows(0, (n) => delay(n, 0)), failed: rows(1, (n) => delay(0, n)) };
    }"""
    settings(not_kept, POLL="{ first: 2_000, longest: 5_000 }")
    window.page.reload()
    found = window.page.evaluate(script)
    for index, milliseconds in enumerate(found["asked"]):
        assert 0.9 <= milliseconds / min(2000 * 1.1**index, 5000) <= 1.1
    for index, milliseconds in enumerate(found["failed"], start=1):
        assert 0.9 <= milliseconds / min(2000 * 2**index, 30_000) <= 1.1
    assert len(set(found["asked"])) == len(found["asked"])


def test_as_shipped_it_asks_every_two_to_five_seconds_for_ten_minutes():
    text = (PAGE / "config.js").read_text()
    assert "PAY_WITHIN = 10 * 60_000;" in text
    assert "POLL = { first: 2_000, longest: 5_000 };" in text


def test_a_lost_callback_is_found_although_there_is_a_database(kept, window):
    waits = []

    def shorter(route):
        waits.append(route.request.post_data_json["seconds"])
        route.continue_(post_data=json.dumps({**route.request.post_data_json, "seconds": 1}))

    window.on_action("wxpay_order_wait", shorter)
    number = ordered(kept, window)
    window.note_phases()
    kept.box.pay(number, deliver=False)

    window.phase("paid")

    assert [phase for phase, _ in window.phases()] == ["paid"]
    assert set(waits) == {18}


def test_somebody_who_pays_is_seen_paying(not_kept, window):
    def paying(route):
        answer = route.fetch()
        body = answer.json()
        body["data"]["data"]["trade_state"] = "USERPAYING"
        route.fulfill(response=answer, json=body)

    window.on_action(QUERY, paying)
    ordered(not_kept, window)
    expect(window.id("status")).to_have_text("The order is being paid…")
    assert window.page.evaluate("document.body.dataset.phase") == "waiting"


# The end of an order that nobody pays


def test_an_order_that_is_not_paid_in_time_is_closed(shop, window):
    settings(shop, PAY_WITHIN="1_200")
    number = ordered(shop, window)
    code_url = shop.box.ledger.orders[number].credential.value

    window.phase("over")

    assert shop.state(number) == "CLOSED"
    assert "the order is closed" in shown(window)
    with pytest.raises(IllegalMove):
        shop.scan(code_url)

    settings(shop)
    window.page.get_by_role("button", name="New QR code").click()
    window.phase("waiting")
    old, new = shop.numbers()
    assert old == number
    shop.pay(new)


def paid_meanwhile(shop, window, number):
    """The user pays after the page has last asked, and before it closes the order."""

    def handler(route):
        shop.pay(number)
        route.continue_()

    window.on_action(CLOSE, handler)


def test_a_payment_in_the_last_moment_is_shown_as_paid(shop, window):
    settings(shop, PAY_WITHIN="1_200")
    number = ordered(shop, window)
    paid_meanwhile(shop, window, number)
    window.note_phases()

    window.phase("paid")

    assert [phase for phase, _ in window.phases()] == ["closing", "paid"]
    assert shop.state(number) == "SUCCESS"
    assert shown(window) == "Paid: ¥ 0.20"


def test_a_close_whose_answer_is_lost_is_not_believed_before_wechat_pay_says_so(not_kept, window):
    settings(not_kept, PAY_WITHIN="1_200")
    lost = []

    def handler(route):
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch().status)
            route.abort()

    window.on_action(CLOSE, handler)
    number = ordered(not_kept, window)

    window.phase("over")

    assert lost == [200]
    assert not_kept.state(number) == "CLOSED"
    assert json.loads(not_kept.queries()[-1].answer)["trade_state"] == "CLOSED"


def test_nothing_is_said_to_be_closed_while_nobody_answers(not_kept, window):
    settings(not_kept, PAY_WITHIN="1_200")
    number = ordered(not_kept, window)
    window.context.set_offline(True)

    window.phase("closing")
    expect(window.id("status")).to_have_text(re.compile("^No answer"))
    assert not_kept.state(number) == "NOTPAY"

    not_kept.pay(number)
    window.context.set_offline(False)
    window.phase("paid")


def test_a_404_that_wechat_pay_did_not_sign_ends_no_order(not_kept, window):
    number = ordered(not_kept, window)
    not_kept.box.fault("unsigned_404")
    window.note_phases()
    window.page.get_by_role("button", name="New QR code").click()
    expect(window.id("status")).to_have_text(re.compile("not signed by WeChat Pay"))

    not_kept.pay(number)  # its code was shown, and may be scanned all the time
    not_kept.box.clear_faults()
    window.phase("paid")

    assert [phase for phase, _ in window.phases()] == ["closing", "paid"]
    assert not_kept.numbers() == [number]


def test_an_order_that_wechat_pay_does_not_know_is_given_up(not_kept, window):
    number = ordered(not_kept, window)
    not_kept.box.reset()
    window.page.get_by_role("button", name="New QR code").click()
    assert soon(lambda: len(not_kept.numbers()) == 1)
    window.phase("waiting")
    assert not_kept.numbers() != [number]


# Another code


def test_a_new_code_takes_the_place_of_the_old_one(shop, window):
    first = ordered(shop, window)
    code_url = shop.box.ledger.orders[first].credential.value
    window.page.get_by_role("button", name="New QR code").click()
    assert soon(lambda: len(shop.numbers()) == 2)
    window.phase("waiting")

    _, second = shop.numbers()
    assert (shop.state(first), shop.state(second)) == ("CLOSED", "NOTPAY")
    expect(window.id("number")).to_contain_text(second)
    with pytest.raises(IllegalMove):
        shop.scan(code_url)
    shop.pay(second)
    window.phase("paid")


def test_whoever_has_paid_gets_no_second_code(shop, window):
    settings(shop, POLL="{ first: 20_000, longest: 20_000 }")
    number = ordered(shop, window)
    assert soon(lambda: shop.has_database or shop.queries())
    shop.box.pay(number, deliver=False)
    window.page.get_by_role("button", name="New QR code").click()

    window.phase("paid")

    assert shop.numbers() == [number]


def test_a_reload_shows_the_same_order(kept, window):
    number = ordered(kept, window)
    path = window.page.locator("#code path").get_attribute("d")

    window.page.reload()
    window.phase("waiting")

    assert kept.numbers() == [number]
    assert window.page.locator("#code path").get_attribute("d") == path
    kept.pay(number)
    window.phase("paid")
    window.page.reload()
    window.phase("ready")


# One order, whatever happens


def test_pressed_twice_it_is_one_order(kept, window):
    visit(kept, window)
    window.page.evaluate("() => { const pay = document.getElementById('pay'); pay.click(); pay.click(); }")
    window.phase("waiting")
    window.page.evaluate("() => document.getElementById('pay').click()")
    assert len(kept.numbers()) == 1
    placed = [request for request in kept.box.requests if request.target.endswith("/native")]
    assert len(placed) == 1


def test_an_order_whose_answer_was_lost_is_sent_again_under_its_number(kept, window):
    sent, answered = [], []

    def handler(route):
        sent.append(json.loads(route.request.post_data)["out_trade_no"])
        if len(sent) == 1:
            answered.append(route.fetch().status)
            route.abort()
        elif len(sent) == 2:
            route.abort()
        else:
            route.continue_()

    window.on_action(NATIVE, handler)
    number = ordered(kept, window)

    assert answered == [200]
    assert sent == [number] * 3
    kept.pay(number)
    window.phase("paid")


def test_wechat_pay_in_trouble_makes_no_second_order(not_kept, window):
    not_kept.box.fault("error", code="SYSTEM_ERROR", times=2, processed=True)  # both hosts, one call
    number = ordered(not_kept, window)
    placed = [request for request in not_kept.box.requests if request.target.endswith("/native")]
    assert {request.json["out_trade_no"] for request in placed} == {number}
    assert len(placed) == 3


def test_a_refusal_that_proves_nothing_gives_up_no_number(not_kept, window):
    not_kept.box.fault("unsigned_404", times=1, processed=True)
    number = ordered(not_kept, window)
    placed = [request for request in not_kept.box.requests if request.target.endswith("/native")]
    assert [request.json["out_trade_no"] for request in placed] == [number] * 2


def test_an_outcome_that_stays_unknown_is_told_and_tried_again_by_hand(not_kept, window):
    settings(not_kept, POLL="{ first: 20, longest: 20 }")
    sent = []

    def handler(route):
        sent.append(json.loads(route.request.post_data)["out_trade_no"])
        route.abort()

    window.on_action(NATIVE, handler)
    visit(not_kept, window)
    window.id("pay").click()
    window.phase("failed")
    assert "it stays the same order" in shown(window)
    assert len(sent) == 4
    window.page.unroute_all()
    window.page.get_by_role("button", name="Try again").click()
    window.phase("waiting")
    assert set(sent) == set(not_kept.numbers())


def test_a_refusal_is_shown_and_a_used_number_is_not_used_again(not_kept, window):
    not_kept.box.fault("error", code="OUT_TRADE_NO_USED", times=1)
    visit(not_kept, window)
    window.id("pay").click()
    window.phase("failed")
    assert "OUT_TRADE_NO_USED" in shown(window)
    (refused,) = {request.json["out_trade_no"] for request in not_kept.box.requests}
    window.id("pay").click()
    window.phase("waiting")
    assert refused not in not_kept.numbers()


def test_a_merchants_mistake_is_shown_as_the_function_names_it(not_kept, window):
    settings(not_kept, ORDER="{ description: '', amount: { total: 0.5, currency: 'CNY' } }")
    visit(not_kept, window)
    window.id("pay").click()
    window.phase("failed")
    assert "description" in shown(window)
    assert "amount.total" in shown(window)


def test_a_broken_line_is_told_and_the_page_goes_on_when_it_is_back(not_kept, window):
    settings(not_kept, POLL="{ first: 300, longest: 300 }")
    number = ordered(not_kept, window)
    window.page.route("**/v1/functions/**", lambda route: route.abort())
    window.page.reload()  # the order is kept; its questions fail from now on
    expect(window.id("status")).to_have_text(re.compile("^No answer"))
    not_kept.pay(number)
    window.page.unroute_all()
    window.page.evaluate("dispatchEvent(new Event('online'))")
    window.phase("paid")


def test_a_page_that_nobody_sees_asks_seldom_and_looks_up_at_once(not_kept, window):
    number = ordered(not_kept, window)
    assert soon(lambda: len(not_kept.queries()) >= 1)
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    window.page.evaluate(hide, True)
    assert window.page.evaluate("async () => (await import('./order.js')).delay(0, 0)") >= 13_500
    not_kept.pay(number)
    window.page.evaluate(hide, False)
    window.phase("paid")


# Tokens


def test_a_refused_token_is_renewed_once_and_nothing_is_sent_twice(kept, window):
    kept.site.token = lambda renew: kept.box.token() if renew else kept.box.token(key="other")
    number = ordered(kept, window)
    assert kept.site.asked_for_tokens == [False, True]
    kept.pay(number)
    window.phase("paid")
    assert len([request for request in kept.box.requests if request.target.endswith("/native")]) == 1


def test_a_token_that_is_refused_again_is_told(not_kept, window):
    not_kept.site.token = lambda renew: not_kept.box.token(key="other")
    visit(not_kept, window)
    window.id("pay").click()
    window.phase("failed")
    assert shown(window).startswith("The gateway refused: ")
    assert not_kept.site.asked_for_tokens == [False, True]
    assert not_kept.numbers() == []


def test_an_anonymous_user_is_told_that_the_gateway_refuses(not_kept, window):
    not_kept.site.token = lambda renew: not_kept.box.token("anonymous")
    visit(not_kept, window)
    window.id("pay").click()
    window.phase("failed")
    assert "anonymous" in shown(window)


def test_a_token_is_kept_until_it_is_about_to_expire(not_kept, window):
    number = ordered(not_kept, window)
    assert soon(lambda: len(not_kept.queries()) >= 2)
    assert not_kept.site.asked_for_tokens == [False]

    not_kept.site.token = lambda renew: not_kept.box.token(exp=int(time.time()) + 30)
    window.page.reload()
    seen = len(not_kept.queries())
    assert soon(lambda: len(not_kept.queries()) >= seen + 2)
    assert len(not_kept.site.asked_for_tokens) >= 3
    not_kept.pay(number)
    window.phase("paid")


# Signing in. What stands in for the SDK answers as @cloudbase/js-sdk 3.7.0 does to these calls.

SDK = """
let session = JSON.parse(sessionStorage.getItem('session'));
const auth = {
  getSession: async () => (session ? { data: { session }, error: null } : { data: {}, error: { message: 'none' } }),
  refreshSession: async () => auth.getSession(),
  signInWithPassword: async ({ email, password }) => {
    if (email !== 'mei@example.com' || password !== 'right') {
      return { data: {}, error: { message: 'wrong password' } };
    }
    session = { access_token: await (await fetch('/token?renew=false')).text() };
    sessionStorage.setItem('session', JSON.stringify(session));
    return { data: { session }, error: null };
  },
};
export default { init: ({ env }) => (env ? { auth: () => auth } : null) };
"""


@pytest.fixture
def sign_in(not_kept):
    """The shop with its own auth.js."""
    stub = not_kept.site.replaced.pop("/pc-cashier/auth.js")
    yield not_kept
    not_kept.site.replaced["/pc-cashier/auth.js"] = stub
    not_kept.site.replaced.pop("/pc-cashier/lib/cloudbase.js", None)


def test_whoever_is_not_signed_in_is_asked_to_and_stays_so(sign_in, window):
    sign_in.site.replaced["/pc-cashier/lib/cloudbase.js"] = SDK
    visit(sign_in, window)
    window.id("pay").click()
    dialog = window.page.get_by_role("dialog", name="Sign in")
    expect(dialog.get_by_label("Email")).to_be_focused()
    window.page.keyboard.type("mei@example.com")
    window.page.keyboard.press("Tab")
    window.page.keyboard.type("wrong")
    window.page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("wrong password")
    dialog.get_by_label("Password").fill("right")
    window.page.keyboard.press("Enter")
    window.phase("waiting")
    assert dialog.count() == 0

    window.page.reload()
    window.phase("waiting")
    assert len(sign_in.numbers()) == 1


def test_whoever_does_not_want_to_sign_in_has_not_ordered(sign_in, window):
    sign_in.site.replaced["/pc-cashier/lib/cloudbase.js"] = SDK
    visit(sign_in, window)
    window.id("pay").click()
    expect(window.page.get_by_role("dialog")).to_be_visible()
    window.page.keyboard.press("Escape")
    window.phase("failed")
    assert shown(window) == "Sign in to pay."
    assert sign_in.numbers() == []


def test_without_the_sdk_the_page_says_what_to_run(sign_in, window):
    visit(sign_in, window)
    window.id("pay").click()
    window.phase("failed")
    assert "npm ci" in shown(window)
    scripts = json.loads((PAGE / "package.json").read_text())["scripts"]
    assert "sign-in" in scripts
    assert "--outfile=lib/cloudbase.js" in scripts["sign-in"]


# What is included


def test_the_included_library_is_whole_and_has_its_licence():
    included = (PAGE / "lib/qrcode-generator.mjs").read_bytes()
    assert hashlib.sha256(included).hexdigest() == "ea91d7118a5395289170da848b7c6758b996163bfbccf312591ab65a4911b7c0"
    assert "MIT License" in (PAGE / "lib/qrcode-generator.LICENSE").read_text()
    assert "2.0.4" in (PAGE / "lib/README.md").read_text()


def test_what_is_installed_is_pinned():
    package, lock = (json.loads((PAGE / name).read_text()) for name in ("package.json", "package-lock.json"))
    for kind in ("dependencies", "devDependencies"):
        assert lock["packages"][""][kind] == package[kind]
        for name, version in package[kind].items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version)
            assert lock["packages"][f"node_modules/{name}"]["version"] == version


# The README


def blocks():
    return re.findall(r"^```(\w+)\n(.*?)^```$", (PAGE / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_serves_the_pages(tmp_path):
    (command,) = (text for kind, text in blocks() if kind == "sh" and "http.server" in text)
    port = free_port()
    assert " 8000 " in command
    words = shlex.split(command.replace(" 8000 ", f" {port} "))
    assert words.pop(0) == "python3"
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        try:
            assert soon(lambda: answers(port, "/pc-cashier/") == 200)
            assert answers(port, "/h5/") == 200
        finally:
            server.terminate()


def answers(port, path):
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except requests.ConnectionError:
        return 0


def test_the_readmes_sign_in_for_trying_is_enough(not_kept, window):
    (code,) = (text for kind, text in blocks() if kind == "js")
    assert "'the token'" in code
    readme = (PAGE / "README.md").read_text()
    assert "`curl -s -X POST http://127.0.0.1:8900/sandbox/token`" in readme
    token = requests.post(f"{not_kept.box.url}/sandbox/token", timeout=5).json()["token"]
    kept = not_kept.site.replaced["/pc-cashier/auth.js"]
    not_kept.site.replaced["/pc-cashier/auth.js"] = code.replace("the token", token)
    try:
        ordered(not_kept, window)
    finally:
        not_kept.site.replaced["/pc-cashier/auth.js"] = kept


def test_the_readme_installs_what_the_package_names():
    (commands,) = (text.splitlines() for kind, text in blocks() if kind == "sh" and "npm" in text)
    assert commands == ["npm ci", "npm run sign-in"]


def test_the_readme_says_what_is_set():
    readme, config = (PAGE / "README.md").read_text(), (PAGE / "config.js").read_text()
    files = set(re.findall(r"`([\w-]+\.js)`", readme))
    assert files == {path.name for path in PAGE.glob("*.js")}
    assert "10 * 60_000" in config
    assert "ten minutes" in readme
    public = json.loads((EXAMPLES / "two-functions/cloudbaserc.json").read_text())["functions"][1]
    assert public["envVariables"]["callerHeaders"] == "ignored"
    assert f"'{public['name']}'" in config
    assert f"`{public['name']}`" in readme
