"""The official account's page and its backend: who the user is, what he pays, and what a browser cannot change."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from playwright.sync_api import expect
from werkzeug.serving import make_server

from examples.jsapi.backend import Settings, create_app
from sandbox import Credentials, Sandbox
from tests.examples.web_site import EXAMPLES, a_browser, tab
from tests.examples.web_wechat import BRIDGE, wechat
from tests.sandbox.page.window import soon
from tests.support import ROOT, free_port, gunicorn

IN_WECHAT = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 MicroMessenger/8.0.49"
SECRET = "0123456789abcdef0123456789abcdef"
SESSION_KEY = "a-session-key-of-the-tests-0123456789"
OTHER_OPENID = "oSomebodyElse0000000000000001"


@pytest.fixture(scope="module")
def browser():
    yield from a_browser()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """WeChat Pay, the function with tokens alone, WeChat, and the backend."""
    port = free_port()
    with (
        Sandbox(credentials=Credentials.generate()) as box,
        gunicorn(box.env(tokens=True, callerHeaders="ignored"), tmp_path_factory.mktemp("jsapi") / "log") as function,
        wechat(box.credentials.app_id, SECRET, f"127.0.0.1:{port}") as side,
    ):
        box.function = function.url
        with backend(port, box, side) as shop:
            yield shop


class Shop:
    def __init__(self, box, side, url, env):
        self.box, self.wechat, self.url, self.env = box, side, url, env

    def numbers(self):
        return list(self.box.ledger.orders)


class backend:  # noqa: N801 - a context manager
    def __init__(self, port, box, side, **changes):
        self.url = f"http://127.0.0.1:{port}/pay/"
        self.env = {
            "BASE_URL": self.url,
            "OFFICIAL_APP_ID": box.credentials.app_id,
            "OFFICIAL_APP_SECRET": SECRET,
            "CLOUDBASE_APIKEY": box.token("server"),
            "SESSION_KEY": SESSION_KEY,
            "ENV_ID": box.credentials.env_id,
            "GATEWAY": box.url,
            "WECHAT_OPEN": side.url,
            "WECHAT_API": side.url,
            **changes,
        }
        self.shop = Shop(box, side, self.url, self.env)
        self.server = make_server("127.0.0.1", port, create_app(self.env), threaded=True)

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self.shop

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def shop(running):
    running.box.reset()
    running.wechat.asked.clear()
    running.wechat.more, running.wechat.raw = {}, None
    return running


class Phone:
    """WeChat around the page: verifies paySign as the real one does, and its user pays, or does not."""

    def __init__(self, shop, window, *, late=False):
        self.shop = shop
        self.does = "pay"
        self.given = []
        window.page.expose_function("phone", self._invoke)
        window.page.add_init_script(f"const LATE = {str(late).lower()};{BRIDGE}")

    def _invoke(self, name, parameters):
        self.given.append((name, parameters))
        try:
            number = self.shop.box.phone.open(self.shop.wechat.openid, jsapi=parameters)["number"]
        except ValueError as refusal:
            return f"get_brand_wcpay_request:fail {refusal}"
        if self.does == "pay":
            self.shop.box.pay(number)
            return "get_brand_wcpay_request:ok"
        return f"get_brand_wcpay_request:{self.does}"


@pytest.fixture
def window(browser):
    with tab(browser, user_agent=IN_WECHAT, viewport={"width": 390, "height": 844}) as opened:
        yield opened


@pytest.fixture
def phone(shop, window):
    return Phone(shop, window)


def visit(shop, window, phase="ready", article="tea"):
    window.page.goto(f"{shop.url}?article={article}")
    window.phase(phase)


def shown(window):
    return window.id("status").text_content()


def client():
    session = requests.Session()
    session.trust_env = False
    session.headers["User-Agent"] = IN_WECHAT
    return session


def signed_in(shop):
    """A session of the backend, through WeChat and back."""
    session = client()
    assert session.get(f"{shop.url}?article=tea").status_code == 200
    return session


# In the browser


def test_a_user_is_recognised_pays_and_sees_it(shop, window, phone):
    visit(shop, window)
    # Neither code nor state is left in the address; browsers carry a fragment on.
    assert window.page.url.removesuffix("#wechat_redirect") == f"{shop.url}?article=tea"
    assert window.id("what").text_content() == "A cup of tea"
    assert window.id("amount").text_content() == "¥ 0.20"
    assert shop.numbers() == []

    window.id("pay").click()
    window.phase("paid")

    [number] = shop.numbers()
    assert shown(window) == "Paid: ¥ 0.20"
    assert number in window.id("number").text_content()
    order = shop.box.ledger.orders[number]
    assert (order.total, order.body["payer"]["openid"]) == (20, shop.wechat.openid)
    [(name, parameters)] = phone.given
    assert name == "getBrandWCPayRequest"
    assert set(parameters) == {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"}
    assert parameters["appId"] == shop.env["OFFICIAL_APP_ID"]
    [exchange] = shop.wechat.asked
    assert exchange["secret"] == SECRET


def test_the_browser_sees_no_secret_and_no_openid(shop, window, phone):
    bodies = []
    window.page.on("response", lambda answer: bodies.append(answer.text()) if answer.ok else None)
    visit(shop, window)
    window.id("pay").click()
    window.phase("paid")
    seen = "".join(bodies) + str(window.page.evaluate("document.cookie"))
    assert "paySign" in seen
    for secret in (SECRET, SESSION_KEY, shop.env["CLOUDBASE_APIKEY"], shop.wechat.openid):
        assert secret not in seen
    [cookie] = window.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/pay/")


def test_a_cancelled_payment_is_the_same_order_the_next_time(shop, window, phone):
    phone.does = "cancel"
    visit(shop, window)
    window.id("pay").click()
    window.phase("open")
    assert shown(window).startswith("Not paid.")
    window.page.reload()
    window.phase("ready")
    phone.does = "pay"
    window.id("pay").click()
    window.phase("paid")
    assert len(shop.numbers()) == 1


def test_wechats_ok_alone_is_not_believed(shop, window, phone):
    phone.does = "ok"  # says so, and nothing was paid
    visit(shop, window)
    window.page.clock.install()
    window.id("pay").click()
    window.phase("busy")

    def waited():
        window.page.clock.run_for(3_000)  # the next question may be asked; its answer takes what the machine takes
        return "has not confirmed it yet" in shown(window)

    assert soon(waited), shown(window)
    [number] = shop.numbers()
    shop.box.pay(number)
    window.id("check").click()
    window.page.clock.run_for(100)
    expect(window.id("status")).to_have_text("Paid: ¥ 0.20")


def test_a_bridge_that_comes_late_is_waited_for(shop, window):
    Phone(shop, window, late=True)
    visit(shop, window)
    window.id("pay").click()
    window.phase("paid")


def test_outside_wechat_the_page_says_so_and_orders_nothing(shop, browser):
    with tab(browser) as window:
        visit(shop, window, "elsewhere")
        assert shown(window) == "Open this page in WeChat to pay."
        assert window.id("pay").is_hidden()
    assert shop.wechat.asked == []
    assert shop.box.requests == []


def test_a_browser_that_only_says_it_is_wechat_has_no_bridge_and_orders_nothing(shop, window):
    window.page.clock.install()
    window.page.goto(f"{shop.url}?article=tea")
    window.page.wait_for_timeout(300)
    window.page.clock.run_for(6_000)
    window.phase("elsewhere")
    assert shop.numbers() == []


def test_a_changed_paysign_is_refused_by_the_phone(shop, window, phone):
    def change(route):
        answer = route.fetch()
        body = answer.json()
        if "pay" in body:
            body["pay"]["package"] = body["pay"]["package"][:-1] + "x"
        route.fulfill(response=answer, json=body)

    window.page.route("**/pay/order**", change)
    visit(shop, window)
    window.id("pay").click()
    window.phase("open")
    assert shown(window).startswith("WeChat could not open the payment")


def test_placed_three_times_at_once_it_is_one_order(shop, window, phone):
    phone.does = "cancel"
    visit(shop, window)
    again = "async () => Promise.all([1, 2, 3].map(async () => (await fetch('order', { method: 'POST' })).json()))"
    orders = window.page.evaluate(again)
    assert {order["number"] for order in orders} == set(shop.numbers())
    assert len(shop.numbers()) == 1


def test_what_the_browser_says_of_price_and_payer_has_no_effect(shop, window, phone):
    phone.does = "cancel"
    visit(shop, window)
    script = """async (openid) => {
        const body = JSON.stringify({
            openid, payer: { openid }, total: 1, amount: { total: 1 }, description: 'x', out_trade_no: 'MINE_0001',
        });
        const headers = { 'Content-Type': 'application/json' };
        const query = `order?article=pot&total=1&openid=${openid}&payer=${openid}`;
        await fetch('?article=pot');
        return (await fetch(query, { method: 'POST', headers, body })).json();
    }"""
    answer = window.page.evaluate(script, OTHER_OPENID)
    [number] = shop.numbers()
    order = shop.box.ledger.orders[number]
    assert (answer["number"], answer["total"]) == (number, 60)
    assert (order.total, order.body["description"]) == (60, "A pot of tea")
    assert order.body["payer"]["openid"] == shop.wechat.openid
    assert OTHER_OPENID.encode() not in b"".join(request.body for request in shop.box.requests)


# At the backend


def test_wechat_is_asked_in_its_own_order_and_with_its_end(shop):
    answer = client().get(f"{shop.url}?article=tea", allow_redirects=False)
    assert answer.status_code == 302
    parts = urlsplit(answer.headers["Location"])
    assert parts.path == "/connect/oauth2/authorize"
    assert parts.fragment == "wechat_redirect"
    query = dict(parse_qsl(parts.query))
    assert list(query) == ["appid", "redirect_uri", "response_type", "scope", "state"]
    assert query["redirect_uri"] == f"{shop.url}return"
    assert re.fullmatch("[0-9a-f]{32}", query["state"])


def test_where_wechat_returns_to_does_not_depend_on_the_host_header(shop):
    answer = client().get(f"{shop.url}?article=tea", allow_redirects=False, headers={"Host": "evil.example"})
    redirect = parse_qs(urlsplit(answer.headers["Location"]).query)["redirect_uri"]
    assert redirect == [f"{shop.url}return"]


@pytest.mark.parametrize("state", ["", "0" * 32, "é", None])
def test_a_forged_state_is_refused_and_its_code_is_not_touched(shop, state):
    session = client()
    session.get(f"{shop.url}?article=tea", allow_redirects=False)
    given = {"code": shop.wechat.code(OTHER_OPENID)} | ({} if state is None else {"state": state})
    answer = session.get(f"{shop.url}return", params=given, allow_redirects=False)
    assert answer.status_code == 403
    assert shop.wechat.asked == []
    assert session.post(f"{shop.url}order").status_code == 401


def test_anothers_return_address_signs_nobody_in(shop):
    """Who is sent the address of another one's sign-in would pay, or be seen, as that one."""
    theirs = client()
    sent = theirs.get(f"{shop.url}?article=tea", allow_redirects=False).headers["Location"]
    back = client().get(sent, allow_redirects=False).headers["Location"]
    mine = client()
    mine.get(f"{shop.url}?article=tea", allow_redirects=False)
    assert mine.get(back, allow_redirects=False).status_code == 403
    assert client().get(back, allow_redirects=False).status_code == 403
    assert theirs.get(back, allow_redirects=False).status_code == 303


def test_a_state_works_once(shop):
    session = client()
    sent = session.get(f"{shop.url}?article=tea", allow_redirects=False).headers["Location"]
    state = parse_qs(urlsplit(sent).query)["state"][0]
    first = session.get(f"{shop.url}return", params={"code": "made-up", "state": state}, allow_redirects=False)
    assert first.status_code == 403
    again = {"code": shop.wechat.code(), "state": state}
    assert session.get(f"{shop.url}return", params=again, allow_redirects=False).status_code == 403
    assert len(shop.wechat.asked) == 1


def test_a_code_works_once(shop):
    code = shop.wechat.code()
    statuses = []
    for session in (client(), client()):
        sent = session.get(f"{shop.url}?article=tea", allow_redirects=False).headers["Location"]
        state = parse_qs(urlsplit(sent).query)["state"][0]
        back = session.get(f"{shop.url}return", params={"code": code, "state": state}, allow_redirects=False)
        statuses.append(back.status_code)
    assert statuses == [303, 403]
    assert session.post(f"{shop.url}order").status_code == 401


def test_an_address_that_wechat_opens_twice_is_no_error_and_changes_nothing(shop):
    session = client()
    sent = session.get(f"{shop.url}?article=tea", allow_redirects=False).headers["Location"]
    back = client().get(sent, allow_redirects=False).headers["Location"]
    assert [session.get(back, allow_redirects=False).status_code for _ in range(2)] == [303, 303]
    assert len(shop.wechat.asked) == 1


def sign_in_fails(shop, code):
    session = client()
    sent = session.get(f"{shop.url}?article=tea", allow_redirects=False).headers["Location"]
    state = parse_qs(urlsplit(sent).query)["state"][0]
    answer = session.get(f"{shop.url}return", params={"code": code, "state": state}, allow_redirects=False)
    assert session.post(f"{shop.url}order").status_code == 401
    assert SECRET not in answer.text
    return answer.status_code


def test_what_wechat_refuses_signs_nobody_in(shop, capfd):
    assert sign_in_fails(shop, shop.wechat.code(age=301)) == 403
    assert sign_in_fails(shop, "") == 403
    shop.wechat.more = {"is_snapshotuser": 1}
    assert sign_in_fails(shop, shop.wechat.code()) == 403
    shop.wechat.more = {"openid": None}
    assert sign_in_fails(shop, shop.wechat.code()) == 502
    for raw in (b"<html>", b"[]", b"\xff"):
        shop.wechat.raw = raw
        assert sign_in_fails(shop, shop.wechat.code()) == 502
    assert SECRET not in "".join(capfd.readouterr())


def test_when_wechat_is_away_the_secret_is_nowhere(shop, capfd):
    class Away:
        url = f"http://127.0.0.1:{free_port()}"

    with backend(free_port(), shop.box, Away) as cut_off:
        cut_off.wechat = shop.wechat
        assert sign_in_fails(cut_off, shop.wechat.code()) == 502
    assert SECRET not in "".join(capfd.readouterr())


def test_a_changed_session_is_none(shop):
    session = signed_in(shop)
    assert session.get(f"{shop.url}order").status_code == 200
    [cookie] = session.cookies
    for changed in (cookie.value[:-2] + "xx", "x" + cookie.value, "e30.aaaa.bbbb"):
        headers = {"Cookie": f"{cookie.name}={changed}"}
        assert requests.post(f"{shop.url}order", headers=headers, timeout=10).status_code == 401


def test_requests_of_other_sites_are_refused(shop):
    session = signed_in(shop)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert session.post(f"{shop.url}order", headers={"Origin": origin}).status_code == 403
    assert shop.numbers() == []


def test_nobody_can_ask_about_a_number_of_somebody_else(shop):
    mine, theirs = signed_in(shop), signed_in(shop)
    number = mine.post(f"{shop.url}order").json()["number"]
    assert theirs.get(f"{shop.url}order", params={"number": number, "out_trade_no": number}).json()["number"] != number


def test_an_unknown_article_is_not_sold(shop):
    session = signed_in(shop)
    assert session.post(f"{shop.url}order?article=gold").status_code == 404
    assert session.get(f"{shop.url}?article=gold").status_code == 404
    assert session.post(f"{shop.url}order?article=pot").status_code == 401  # its page was never opened


def test_a_closed_order_is_followed_by_another_and_a_paid_one_is_not(shop):
    session = signed_in(shop)
    first = session.post(f"{shop.url}order").json()
    shop.box.ledger.close(first["number"])
    assert session.get(f"{shop.url}order").json()["state"] == "OVER"
    second = session.post(f"{shop.url}order").json()
    assert second["number"] != first["number"]
    assert second["state"] == "OPEN"
    assert second["pay"]["package"].startswith("prepay_id=")

    shop.box.pay(second["number"])
    again = session.post(f"{shop.url}order").json()
    assert (again["number"], again["state"]) == (second["number"], "PAID")
    assert "pay" not in again
    session.get(f"{shop.url}?article=tea")
    assert session.get(f"{shop.url}order").json()["number"] not in (first["number"], second["number"])


def at_once(count, call):
    """What `call` returned, `count` times at the same time."""
    ready = threading.Barrier(count)

    def wait_and_call(_):
        ready.wait(10)
        return call()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_call, range(count)))


def cookie_of(session):
    """As every request of a browser carries it that was sent before one of the answers came."""
    return {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)}


def test_after_a_closed_order_two_requests_at_once_are_one_order(shop):
    session = signed_in(shop)
    first = session.post(f"{shop.url}order").json()["number"]
    shop.box.ledger.close(first)
    headers = cookie_of(session)
    answers = at_once(2, lambda: requests.post(f"{shop.url}order", headers=headers, timeout=30))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(answer.json()["pay"] for answer in answers)
    (second,) = {answer.json()["number"] for answer in answers}
    assert shop.numbers() == [first, second]
    assert re.fullmatch("JS[0-9A-F]{30}", second)

    shop.box.pay(second)  # and whoever still has the old cookie gets no third one
    late = requests.post(f"{shop.url}order", headers=headers, timeout=30).json()
    assert (late["number"], late["state"]) == (second, "PAID")
    assert shop.numbers() == [first, second]


def test_an_old_cookie_passes_every_closed_order(shop):
    session = signed_in(shop)
    headers = cookie_of(session)
    for _ in range(3):
        shop.box.ledger.close(session.post(f"{shop.url}order").json()["number"])
    late = requests.post(f"{shop.url}order", headers=headers, timeout=30).json()
    assert late["number"] == session.post(f"{shop.url}order").json()["number"]
    assert len(shop.numbers()) == 4

    for _ in range(2):
        shop.box.ledger.close(session.post(f"{shop.url}order").json()["number"])
    assert requests.post(f"{shop.url}order", headers=headers, timeout=30).status_code == 409


def test_two_tabs_that_open_at_once_have_one_number(shop):
    session = client()
    sent = session.get(f"{shop.url}?article=tea", allow_redirects=False).headers["Location"]
    back = session.get(sent, allow_redirects=False).headers["Location"]
    session.get(back, allow_redirects=False)
    headers = cookie_of(session) | {"User-Agent": IN_WECHAT}

    def number():
        tab = client()
        tab.get(f"{shop.url}?article=tea", headers=headers)
        return tab.get(f"{shop.url}order").json()["number"]

    assert len(set(at_once(2, number))) == 1


def test_numbers_differ_by_sign_in_and_article(shop):
    numbers = []
    for _ in range(2):
        session = signed_in(shop)
        session.get(f"{shop.url}?article=pot")
        numbers += [session.get(f"{shop.url}order?article={article}").json()["number"] for article in ("tea", "pot")]
    assert len(set(numbers)) == 4


def test_what_was_paid_stays_paid_however_often_another_article_is_looked_at(shop):
    """An old payment must not be shown for a new purchase."""
    session = signed_in(shop)
    session.get(f"{shop.url}?article=pot")
    tea, pot = (paid_for(shop, session, article) for article in ("tea", "pot"))
    for _ in range(6):
        for method in ("GET", "POST"):
            again = session.request(method, f"{shop.url}order?article=pot").json()
            assert (again["number"], again["state"]) == (pot, "PAID")
    session.get(f"{shop.url}?article=tea")
    anew = session.post(f"{shop.url}order?article=tea").json()
    assert anew["state"] == "OPEN"
    assert anew["number"] not in (tea, pot)


def paid_for(shop, session, article):
    number = session.post(f"{shop.url}order?article={article}").json()["number"]
    shop.box.pay(number)
    assert session.get(f"{shop.url}order?article={article}").json()["state"] == "PAID"
    return number


def test_when_wechat_pay_is_away_the_number_stays(shop):
    session = signed_in(shop)
    number = session.get(f"{shop.url}order").json()["number"]
    shop.box.fault("error", code="SYSTEM_ERROR", times=2)
    answer = session.post(f"{shop.url}order")
    assert answer.status_code == 502
    assert "outcome unknown" in answer.json()["error"]
    assert session.post(f"{shop.url}order").json()["number"] == number


def test_an_order_for_another_appid_is_found_before_wechat_would(shop):
    other = backend(free_port(), shop.box, shop.wechat, OFFICIAL_APP_ID="wx00000000000000ff")
    with other as mistaken:
        shop.wechat.app_id, kept = "wx00000000000000ff", shop.wechat.app_id
        shop.wechat.domain, domain = urlsplit(mistaken.url).netloc, shop.wechat.domain
        try:
            answer = signed_in(mistaken).post(f"{mistaken.url}order")
        finally:
            shop.wechat.app_id, shop.wechat.domain = kept, domain
    assert answer.status_code == 500
    assert "USE_SERVICE_ACCOUNT" in answer.json()["error"]


def test_the_service_account_of_the_function_can_be_the_official_account(shop):
    account = shop.box.credentials.service_app_id
    changes = {"OFFICIAL_APP_ID": account, "USE_SERVICE_ACCOUNT": "1"}
    with backend(free_port(), shop.box, shop.wechat, **changes) as second:
        shop.wechat.app_id, kept = account, shop.wechat.app_id
        shop.wechat.domain, domain = urlsplit(second.url).netloc, shop.wechat.domain
        try:
            answer = signed_in(second).post(f"{second.url}order")
        finally:
            shop.wechat.app_id, shop.wechat.domain = kept, domain
    assert answer.json()["pay"]["appId"] == account


# Its settings


def test_every_missing_variable_is_named_and_no_secret_is_shown():
    with pytest.raises(RuntimeError) as problem:
        create_app({"SESSION_KEY": "short"})
    for name in ("BASE_URL", "OFFICIAL_APP_ID", "OFFICIAL_APP_SECRET", "CLOUDBASE_APIKEY", "ENV_ID", "SESSION_KEY"):
        assert name in str(problem.value)
    assert "short" not in str(problem.value)


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://shop.example.com/pay/", True),
        ("https://shop.example.com/", True),
        ("http://127.0.0.1:8000/pay/", True),
        ("http://shop.example.com/pay/", False),
        ("https://shop.example.com/pay", False),
        ("https://shop.example.com/pay/?a=1", False),
        ("shop.example.com/pay/", False),
    ],
)
def test_the_base_url_is_https_and_a_directory(running, url, is_good):
    env = running.env | {"BASE_URL": url}
    if is_good:
        settings = Settings.from_env(env)
        assert settings.base_url == url
        assert create_app(env).config["SESSION_COOKIE_SECURE"] is url.startswith("https")
    else:
        with pytest.raises(RuntimeError, match="BASE_URL"):
            Settings.from_env(env)


def test_secrets_do_not_show_in_the_settings(running):
    shown_settings = repr(Settings.from_env(running.env))
    for name in ("OFFICIAL_APP_SECRET", "CLOUDBASE_APIKEY", "SESSION_KEY"):
        assert running.env[name] not in shown_settings


def test_the_readme_starts_it(running, tmp_path):
    readme = (EXAMPLES / "jsapi/README.md").read_text()
    (block,) = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    install, start = block.splitlines()
    source = (EXAMPLES / "jsapi/backend.py").read_text()
    imported = set(re.findall(r"^(?:import|from) (flask|requests)\b", source, re.MULTILINE))
    assert set(install.split()[2:]) == imported | {"gunicorn"}
    port = free_port()
    program, *words = shlex.split(start.replace(":8080", f":{port}"))
    assert program == "gunicorn"
    url = f"http://127.0.0.1:{port}/pay/"
    env = {**running.env, "BASE_URL": url, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "gunicorn", *words]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as server:
        try:
            assert soon(lambda: reaches(url))
        finally:
            server.terminate()


def reaches(url):
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_the_readme_names_every_variable():
    source = (EXAMPLES / "jsapi/backend.py").read_text()
    needed = re.search(r"needed = \((.*?)\)", source)[1]
    read = set(re.findall(r'"([A-Z_]+)"', needed)) | set(re.findall(r'env\.get\("([A-Z_]+)"', source))
    rows = re.findall(r"^\| (`.*?`) \|", (EXAMPLES / "jsapi/README.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)} == read


def test_both_languages_say_the_same():
    english, chinese = (EXAMPLES / "jsapi/page/pay.js").read_text().split("  zh: {")
    keys = re.compile(r"^    (\w+): '", re.MULTILINE)
    assert keys.findall(english) == keys.findall(chinese)
