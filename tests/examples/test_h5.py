"""The H5 page in a mobile browser, with WeChat's middle page played by the test and the phone by the sandbox."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from sandbox import Credentials
from sandbox.core import OPENID
from sandbox.ledger import IllegalMove
from tests.examples.web_site import CLOSE, EXAMPLES, a_browser, open_shop, site, tab
from tests.sandbox.page.window import soon

ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1"
WECHAT = f"{IPHONE} MicroMessenger/8.0.49"
MIDDLE_PAGE = re.compile("^https://wx\\.tenpay\\.com/")


@pytest.fixture(scope="module")
def browser():
    yield from a_browser()


@pytest.fixture(scope="module")
def running_shop(browser, tmp_path_factory):
    with open_shop(tmp_path_factory.mktemp("h5"), Credentials.generate(), database=True) as shop:
        yield shop


@pytest.fixture
def shop(running_shop):
    running_shop.box.reset()
    running_shop.site.token = lambda renew: running_shop.box.token()
    running_shop.site.configure(running_shop.box.url, POLL="{ first: 100, longest: 100 }")
    return running_shop


class Middle:
    """WeChat's own page between the shop's and its app: checks what it checks, and goes back where it is told."""

    def __init__(self, shop, window, origin):
        self.shop, self.origin = shop, origin
        self.pays = False
        self.came = []
        window.page.route(MIDDLE_PAGE, self._open)

    def _open(self, route):
        """What fails in here must not be raised here: the browser would wait for ever."""
        url, referer = route.request.url, route.request.headers.get("referer")
        try:
            number = self.shop.box.phone.open(OPENID, h5_url=url)["number"]
        except IllegalMove as refusal:
            route.fulfill(body=f"WeChat: {refusal}")
            return
        if referer != f"{self.origin}/":
            route.fulfill(body=f"WeChat: not from {referer}")
            return
        self.came.append((number, url))
        if self.pays:
            self.shop.pay(number)
        back = parse_qs(urlsplit(url).query)["redirect_url"][0]
        route.fulfill(status=302, headers={"Location": back})


@pytest.fixture
def window(browser):
    with tab(browser, user_agent=ANDROID, viewport={"width": 390, "height": 844}, strangers=MIDDLE_PAGE) as opened:
        yield opened


@pytest.fixture
def middle(shop, window):
    return Middle(shop, window, shop.site.url)


def visit(shop, window, query=""):
    window.page.goto(f"{shop.site.url}/h5/{query}")


def press(window, name):
    window.page.get_by_role("button", name=name, exact=True).click()


def shown(window):
    return window.id("status").text_content()


def sent_to_wechat(shop, window):
    visit(shop, window)
    press(window, "Pay with WeChat")
    window.phase("returned")


def test_an_order_is_paid_in_wechat_and_shown_when_the_user_says_so(shop, window, middle):
    middle.pays = True
    sent_to_wechat(shop, window)

    [(number, url)] = middle.came
    back = f"{shop.site.url}/h5/?order={number}"
    assert url == shop.box.ledger.orders[number].credential.value + "&redirect_url=" + percent_encoded(back)
    assert shop.box.ledger.orders[number].body["scene_info"]["h5_info"]["type"] == "Android"
    assert window.page.url == back
    assert shown(window) == "Have you paid in WeChat?"  # nothing is believed for having come back

    press(window, "I have paid")
    window.phase("paid")
    assert shown(window) == "Paid: ¥ 0.20"
    assert "order=" not in window.page.url
    window.page.reload()
    window.phase("ready")


def percent_encoded(url):
    return re.sub(r"[^A-Za-z0-9_.~-]", lambda found: f"%{ord(found[0]):02X}", url)


def test_who_comes_back_without_paying_is_not_believed_and_pays_the_same_order_again(shop, window, middle):
    sent_to_wechat(shop, window)
    press(window, "I have paid")
    expect(window.id("status")).to_have_text(re.compile("knows of no payment yet"))
    window.phase("returned")

    middle.pays = True
    press(window, "Pay again")
    expect(window.id("status")).to_have_text("Have you paid in WeChat?")
    press(window, "I have paid")
    window.phase("paid")

    assert len(shop.numbers()) == 1
    links = [url for _, url in middle.came]
    assert len(set(links)) == 2  # a fresh link, because the first one may have expired


def test_who_has_paid_cannot_pay_again(shop, window, middle):
    middle.pays = True
    sent_to_wechat(shop, window)
    press(window, "Pay again")
    window.phase("paid")
    assert len(middle.came) == 1
    assert len(shop.numbers()) == 1


def test_a_cancelled_order_is_closed_and_the_next_one_is_another(shop, window, middle):
    sent_to_wechat(shop, window)
    press(window, "Cancel the order")
    window.phase("ready")
    assert shown(window) == "The order is closed. Nothing was charged."
    [first] = shop.numbers()
    assert shop.state(first) == "CLOSED"
    press(window, "Pay with WeChat")
    window.phase("returned")
    assert shop.numbers()[1:] == [middle.came[-1][0]] != [first]


def test_an_order_that_is_paid_while_it_is_cancelled_is_shown_as_paid(shop, window, middle):
    sent_to_wechat(shop, window)
    [number] = shop.numbers()

    def paid_first(route):
        shop.pay(number)
        route.continue_()

    window.on_action(CLOSE, paid_first)
    press(window, "Cancel the order")
    window.phase("paid")


def test_a_404_that_wechat_pay_did_not_sign_cancels_nothing(shop, window, middle):
    sent_to_wechat(shop, window)
    [number] = shop.numbers()
    asked = len(shop.queries())
    shop.box.fault("unsigned_404")
    press(window, "Cancel the order")
    assert soon(lambda: len(shop.queries()) >= asked + 2)  # it goes on asking
    shop.pay(number)
    shop.box.clear_faults()
    window.phase("paid")


def test_another_browser_knows_the_order_by_the_address(shop, window, middle, browser):
    middle.pays = True
    sent_to_wechat(shop, window)
    back = window.page.url
    with tab(browser, user_agent=IPHONE) as other:
        other.page.goto(back)
        other.phase("returned")
        press(other, "I have paid")
        other.phase("paid")


def buttons(window):
    return [button.text_content() for button in window.page.get_by_role("button").all()]


def test_a_number_of_the_address_is_only_asked_about(shop, window, middle, browser):
    """Who sends somebody an address must not have him pay, close or keep the sender's order."""
    sent_to_wechat(shop, window)
    assert buttons(window) == ["I have paid", "Pay again", "Cancel the order"]
    [number] = shop.numbers()
    with tab(browser, user_agent=IPHONE, strangers=MIDDLE_PAGE) as other:
        elsewhere = Middle(shop, other, shop.site.url)
        visit(shop, other, f"?order={number}")
        other.phase("returned")
        assert buttons(other) == ["I have paid"]
        press(other, "I have paid")
        expect(other.id("status")).to_have_text(re.compile("pay in the browser where you ordered"))
        # Buttons that are hidden can still be pressed by a script.
        other.page.evaluate("document.getElementById('pay').click()")
        expect(other.id("status")).to_have_text("Have you paid in WeChat?")
        assert elsewhere.came[0][0] != number
    placed = [request.json["out_trade_no"] for request in shop.box.requests if request.target.endswith("/h5")]
    assert len(placed) == len(set(placed)) == 2
    assert shop.state(number) == "NOTPAY"


def test_an_address_does_not_take_the_place_of_ones_own_order(shop, window, middle):
    sent_to_wechat(shop, window)
    [number] = shop.numbers()
    visit(shop, window, "?order=H520260101120000ABCDEFGH")
    window.phase("returned")
    assert number in window.id("number").text_content()
    press(window, "Cancel the order")
    window.phase("ready")
    assert shop.state(number) == "CLOSED"


def test_the_end_of_an_order_of_the_address_leaves_ones_own_alone(shop, window, middle, browser):
    sent_to_wechat(shop, window)
    [theirs] = shop.numbers()
    with tab(browser, user_agent=IPHONE, strangers=MIDDLE_PAGE) as other:
        visit(shop, other, f"?order={theirs}")
        other.phase("returned")
        kept = "H520260101120000ABCDEFGH"  # ordered in another tab since
        other.page.evaluate("number => localStorage.setItem('pay-common-h5-order', number)", kept)
        shop.pay(theirs)
        press(other, "I have paid")
        other.phase("paid")
        assert other.page.evaluate("localStorage.getItem('pay-common-h5-order')") == kept


def test_an_address_with_anything_else_is_not_taken_for_an_order(shop, window):
    visit(shop, window, "?order=%3Cscript%3E")
    window.phase("ready")
    assert window.id("number").text_content() == ""


def test_an_order_whose_answer_was_lost_keeps_its_number(shop, window, middle):
    lost = []

    def lose(route):
        lost.append(route.fetch().status)
        route.abort()

    window.on_action("wxpay_order_h5", lose)
    visit(shop, window)
    press(window, "Pay with WeChat")
    window.phase("returned")
    assert "it stays the same order" in shown(window)
    assert set(lost) == {200}
    window.page.unroute_all()
    Middle(shop, window, shop.site.url).pays = True
    press(window, "Pay again")
    expect(window.id("status")).to_have_text("Have you paid in WeChat?")
    press(window, "I have paid")
    window.phase("paid")
    assert len(shop.numbers()) == 1


def test_a_page_of_a_site_that_is_not_listed_gets_no_order(shop, window):
    with site(shop.site.token) as unlisted:
        unlisted.configure(shop.box.url)
        window.page.goto(f"{unlisted.url}/h5/")
        press(window, "Pay with WeChat")
        window.phase("returned")
    assert "corsAllowOrigin" in shown(window)
    assert shop.numbers() == []


def test_inside_wechat_the_page_says_where_to_pay(shop, browser):
    with tab(browser, user_agent=WECHAT) as window:
        visit(shop, window)
        window.phase("elsewhere")
        assert "official account" in shown(window)
        assert window.id("pay").is_hidden()


@pytest.mark.parametrize(("agent", "kind"), [(ANDROID, "Android"), (IPHONE, "iOS"), ("Mozilla/5.0 (X11)", "Wap")])
def test_the_order_names_the_kind_of_device(shop, browser, agent, kind):
    with tab(browser, user_agent=agent, strangers=MIDDLE_PAGE) as window:
        Middle(shop, window, shop.site.url)
        sent_to_wechat(shop, window)
        [number] = shop.numbers()
        assert shop.box.ledger.orders[number].body["scene_info"]["h5_info"]["type"] == kind


def test_both_languages_say_the_same():
    english, chinese = (EXAMPLES / "h5/words.js").read_text().split("  zh: {")
    keys = re.compile(r"^    (\w+): '", re.MULTILINE)
    assert keys.findall(english) == keys.findall(chinese)
