"""What the page promises beside its journeys: languages, safety, access, size, faults, clock, connection."""

from __future__ import annotations

import random
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import sandbox
from tests.sandbox.page.conftest import Opener
from tests.sandbox.page.window import Shop, Window, soon

FOLDER = Path(sandbox.__file__).parent / "page"
SOURCES = {file.name: file.read_text(encoding="utf-8") for file in sorted(FOLDER.iterdir())}
DOCUMENTS = {name: text for name, text in SOURCES.items() if name.endswith(".html")}
SCRIPTS = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
LONG = "龙井Longjing_" * 9  # nothing to break a line at


# The sources


def test_there_is_something_to_look_at():
    assert {"index.html", "style.css", "app.js", "i18n.js"} <= set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_data_never_becomes_markup_or_code(name: str):
    doors = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    assert re.findall(doors, SOURCES[name]) == []


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_loaded_from_elsewhere(name: str):
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", SOURCES[name]))
    assert {address for address in addresses if not address.startswith("http://www.w3.org/")} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_documents_have_no_inline_scripts_and_styles(name: str):
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", DOCUMENTS[name]) == []


# Languages


def texts(window: Window) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = window.page.evaluate("import('/page/i18n.js').then((module) => module.TEXTS)")
    return found


def test_both_languages_say_everything(window: Window):
    found = texts(window.visit())
    assert set(found) == {"en", "zh"}
    english, chinese = found["en"], found["zh"]
    assert set(english) == set(chinese)
    assert [key for text in (english, chinese) for key, value in text.items() if not value.strip()] == []
    blanks = {key: re.findall(r"\{\w+\}", english[key]) for key in english}
    assert {key: sorted(re.findall(r"\{\w+\}", chinese[key])) for key in chinese} == {
        key: sorted(names) for key, names in blanks.items()
    }
    same = {key for key in english if english[key] == chinese[key]}
    names = r"AppID|signMode|H5|callHTTPFunction|[45]\d\d [A-Z_]+"  # the same in every language
    assert {key for key in same if not re.search(names, english[key])} == set()
    assert [key for key in set(chinese) - same if not re.search(r"[\u4e00-\u9fff]", chinese[key])] == ["scene.app"]


def test_every_text_that_is_asked_for_exists_and_no_other(window: Window):
    known = set(texts(window.visit())["en"])
    asked = set(re.findall(r'data-t(?:-label|-placeholder)?="([\w.]+)"', "".join(DOCUMENTS.values())))
    for text in (text for name, text in SCRIPTS.items() if name != "i18n.js"):
        asked |= set(re.findall(r"'([a-z]\w*\.[\w.]+)'", text)) - set(SOURCES)
    asked = {key for key in asked if not key.endswith(".js")}
    asked |= set(re.findall(r"'(page\.title|said\.\w+)'\]?[,)]", SCRIPTS["i18n.js"]))
    # Families whose members come from what the sandbox says, or from a choice on the page.
    families = {"state", "refundState", "transferState", "fault", "host", "fact", "live", "ready", "hint"}
    assert asked - known == {"wx.requestPayment"}
    assert {key for key in known - asked if key.split(".")[-2] not in families} == set()


def test_the_language_is_chosen_and_remembered(window: Window):
    window.visit("?lang=zh")
    html = window.page.locator("html")
    expect(html).to_have_attribute("lang", "zh-CN")
    expect(window.page).to_have_title("微信支付沙箱")
    window.button("English").click()
    expect(html).to_have_attribute("lang", "en")
    expect(window.button("English")).to_have_attribute("aria-pressed", "true")
    expect(window.button("Place order")).to_be_visible()
    assert window.page.url.endswith("?lang=en")
    window.visit("")
    expect(html).to_have_attribute("lang", "en")
    window.button("中文").click()
    window.visit("")
    expect(html).to_have_attribute("lang", "zh-CN")


@pytest.mark.parametrize(("locale", "lang"), [("zh-TW", "zh-CN"), ("fr-FR", "en")])
def test_the_browser_decides_at_first(locale: str, lang: str, opener: Opener):
    window = opener(locale=locale).visit("")
    expect(window.page.locator("html")).to_have_attribute("lang", lang)


def test_what_is_shown_already_changes_its_language(window: Window):
    window.visit()
    window.order()
    window.open()
    window.pay("loseOne")
    expect(window.id("life-state")).to_have_text("PAID")
    window.button("中文").click()
    expect(window.id("life-state")).to_have_text("PAID 已支付")
    expect(window.id("cashier-result")).to_contain_text("已创建")
    expect(window.id("phone-result")).to_contain_text("尚未确认")
    expect(window.deliveries().first).to_contain_text("途中丢失")


# Money and numbers


def expected_cents(text: str) -> int | None:
    """The same by another way: decimal arithmetic."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        return None
    cents = amount * 100
    plain = re.fullmatch(r"\d+(\.\d{1,2})?", text.strip())
    return int(cents) if plain and 0 < cents < 10**10 else None


def test_amounts_become_exact_cents(window: Window):
    window.visit()
    draw = random.Random(3)
    written = ["0", "0.00", "0.01", "1", "1.1", "0.29", "1.15", "4.35", "19.99", "99999999.99", "100000000", "007.50"]
    written += ["", " ", "-1", "+1", "1.", ".5", "1.234", "1,50", "1e3", "0x10", "NaN", "1 2", "٣", "１e1"]
    written += [f"{draw.randrange(10**draw.randrange(1, 9))}.{draw.randrange(100):02d}" for _ in range(3000)]
    script = "(texts) => import('/page/format.js').then(({centsOf}) => texts.map(centsOf))"
    expected = [expected_cents(text) if text.isascii() else None for text in written]
    assert window.page.evaluate(script, written) == expected


def test_amounts_as_chinese_keyboards_write_them(window: Window):
    window.visit()
    script = "(texts) => import('/page/format.js').then(({centsOf}) => texts.map(centsOf))"
    assert window.page.evaluate(script, ["０．２０", "1。5", "￥3.10", "¥3"]) == [20, 150, 310, 300]


def test_amounts_are_shown_exactly(window: Window):
    window.visit()
    cents = [0, 1, 10, 99, 100, 115, 123456789, -5, -1234]
    script = "(list) => import('/page/format.js').then(({yuan}) => list.map(yuan))"
    assert window.page.evaluate(script, cents) == [
        f"{'-' if amount < 0 else ''}¥{Decimal(abs(amount)) / 100:.2f}" for amount in cents
    ]


@pytest.mark.parametrize("amount", ["", "0", "1.234", "abc", "-1"])
def test_a_bad_amount_is_explained_and_nothing_sent(amount: str, shop: Shop, window: Window):
    window.visit()
    window.id("amount").fill(amount)
    window.id("place").click()
    expect(window.id("cashier-result")).to_contain_text("at most two decimals")
    expect(window.id("amount")).to_be_focused()
    expect(window.id("amount")).to_have_attribute("aria-invalid", "true")
    assert shop.box.ledger.orders == {}


def test_a_refund_above_what_is_left_is_explained(shop: Shop, window: Window):
    window.visit()
    number = window.order(amount="0.20")
    window.open()
    window.pay()
    window.id("refund-amount").fill("0.21")
    window.id("refund").click()
    expect(window.id("chosen-result")).to_contain_text("at most ¥0.20")
    assert shop.box.ledger.orders[number].refunds == []


def test_order_numbers_end_with_eight_random_characters(window: Window):
    window.visit()
    first, second = window.order(), window.order()
    assert re.fullmatch(r"PAGE\d{8}[A-Z2-9]{8}", first)
    assert first != second
    made = window.page.evaluate(
        "import('/page/format.js').then(({randomText}) => Array.from({length: 2000}, () => randomText(8)))"
    )
    assert len(set(made)) == 2000
    counts = [sum(text.count(letter) for text in made) for letter in set("".join(made))]
    assert len(counts) == 32
    assert min(counts) > 350  # 500 expected each; below is a bias of more than six deviations
    assert max(counts) < 650


# Safety


def test_descriptions_are_text_whatever_they_hold(shop: Shop, window: Window):
    evil = "<img src=x onerror=alert(1)>"
    window.visit()
    window.order(description=evil)
    expect(window.id("chosen-description")).to_have_text(evil)
    expect(window.page.locator("#orders li").first).to_contain_text(evil)
    window.open()
    expect(window.id("phone-description")).to_have_text(evil)
    window.pay()
    expect(window.deliveries()).to_have_count(1)
    window.deliveries().first.locator("summary").click()
    window.id("tab-requests").click()
    window.page.locator("#requests summary").first.click()
    expect(window.page.locator("#requests pre").nth(1)).to_contain_text(evil)
    window.id("tab-faults").click()
    shop.box.fault("latency", path=evil, seconds=0.01)
    expect(window.id("faults")).to_contain_text(evil)
    assert window.page.locator("img:not(#qr-image), script:not([src])").count() == 0


def test_the_policy_forbids_inline_code(window: Window):
    answer = window.page.goto(window.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


# Errors in plain words


def test_an_unreachable_function_is_named_with_its_address(shop: Shop, opener: Opener):
    window = opener(forgiven=("502",)).visit()
    nobody = "http://127.0.0.1:9"
    window.id("tab-expert").click()
    window.id("function-input").fill(nobody)
    window.button("Save").click()
    expect(window.id("function-url")).to_have_text(nobody)
    for scene in ("jsapi", "native"):
        window.page.locator(f"input[name=scene][value={scene}]").check()
        window.id("place").click()
        expect(window.id("cashier-result")).to_contain_text(f"It was looked for at {nobody}")
    assert shop.box.ledger.orders == {}


def test_a_refusal_of_the_function_is_shown(shop: Shop, opener: Opener):
    window = opener(forgiven=("status of 50", "status of 4")).visit()
    window.page.locator("input[name=scene][value=jsapi]").check()
    shop.box.merchant.change(products=["native"])
    window.id("place").click()
    expect(window.id("cashier-result")).to_contain_text("The function refused (403): ")
    window.page.locator("#answer summary").click()
    expect(window.page.locator("#answer pre")).to_contain_text("NO_AUTH")


def test_what_the_phone_refuses_is_shown_on_it(shop: Shop, opener: Opener):
    window = opener(forgiven=("status of 400",)).visit()
    window.order()
    window.page.locator("[data-step='1d']").click()
    expect(window.id("clock-result")).to_contain_text("It is now")
    window.id("phone-open").click()
    expect(window.id("phone-result")).to_contain_text("expired")


def test_something_else_is_opened(shop: Shop, window: Window):
    window.visit()
    order = {"description": "Pasted", "out_trade_no": "PASTED_1", "amount": {"total": 5}}
    assert shop.box.call_http_function("/wx-pay/wxpay_order_native", order).status == 200
    window.order(description="Another")
    window.page.get_by_text("Open something else").click()
    window.id("other").fill(shop.box.ledger.orders["PASTED_1"].credential.value)
    window.id("other").press("Enter")
    expect(window.id("phone-description")).to_have_text("Pasted")
    expect(window.id("chosen-number")).to_have_text("PASTED_1")


# Switches


def test_faults_are_switched_on_seen_and_cleared(shop: Shop, opener: Opener):
    window = opener(forgiven=("status of 50",)).visit()
    window.id("tab-faults").click()
    window.id("fault-kind").select_option("error")
    window.id("fault-code").fill("FREQUENCY_LIMITED")
    window.id("fault-times").fill("3")
    window.id("fault-path").fill("/v3/pay")
    window.button("Switch on").click()
    expect(window.id("faults")).to_contain_text("FREQUENCY_LIMITED")
    expect(window.id("faults")).to_contain_text("3 more")
    [fault] = shop.box.faults
    assert (fault.kind, fault.times, fault.path, fault.status) == ("error", 3, "/v3/pay", 429)
    window.id("fault-kind").select_option("bad_signature")
    window.id("fault-times").fill("")
    window.button("Switch on").click()
    expect(window.id("count-faults")).to_have_text("2")
    expect(window.id("faults")).to_contain_text("until cleared")
    window.button("Clear all").click()
    expect(window.id("count-faults")).to_be_hidden()
    assert shop.box.faults == []


def test_a_fault_shows_at_the_request_that_it_spoilt(shop: Shop, window: Window):
    window.visit()
    shop.box.fault("system_error", times=1)
    window.order()
    window.id("tab-requests").click()
    rows = window.page.locator("#requests > li")
    expect(rows).to_have_count(2)  # the function tried again at the other host
    expect(rows.nth(1)).to_contain_text("500 SYSTEM_ERROR")
    expect(rows.nth(0)).to_contain_text("backup")
    rows.nth(1).locator("summary").click()
    expect(rows.nth(1).locator("pre").first).to_contain_text("WECHATPAY2-SHA256-RSA2048")
    expect(rows.nth(1)).to_contain_text("Wechatpay-Signature")


def test_a_closed_port_opens_again_by_itself_and_the_page_comes_back(shop: Shop, opener: Opener):
    window = opener(forgiven=("ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY")).visit()
    window.id("tab-faults").click()
    window.id("fault-kind").select_option("refuse")
    expect(window.id("fault-refuse-hint")).to_be_visible()
    expect(window.id("fault-seconds")).to_have_value("30")
    window.id("fault-seconds").fill("1")
    window.button("Switch on").click()
    expect(window.page.locator("#live")).to_have_attribute("data-live", "lost")
    expect(window.page.locator("#live")).to_have_attribute("data-live", "live", timeout=20_000)
    expect(window.id("faults-none")).to_be_visible()
    assert shop.box.faults == []


def test_every_kind_of_fault_has_words(shop: Shop, window: Window):
    found = texts(window.visit())
    kinds = shop.box.describe_faults()["kinds"]
    assert [kind for kind in kinds if f"fault.{kind}" not in found["en"]] == []


def test_the_clock_advances_and_says_what_happened(shop: Shop, window: Window):
    window.visit()
    before = shop.box.clock.now()
    window.id("clock-by").fill("1h30m")
    window.button("Advance").click()
    expect(window.id("clock-result")).to_contain_text("Planned events that happened: 0")
    assert 5400 <= shop.box.clock.now() - before < 5460
    window.id("clock-by").fill("soon")
    window.button("Advance").click()
    expect(window.id("clock-result")).to_contain_text("Write a duration")
    shown = window.id("clock-now")
    first = shown.text_content() or ""
    expect(shown).not_to_have_text(first)


def test_plans_happen_by_themselves_when_switched_so(shop: Shop, window: Window):
    window.visit()
    window.page.get_by_role("switch", name="Plans happen by themselves").check()
    expect(window.id("clock-running")).to_be_checked()
    assert soon(lambda: shop.box.running)


def test_keys_merchant_and_limits(shop: Shop, window: Window):
    window.visit()
    window.id("tab-expert").click()
    window.id("limits").check()
    expect(window.id("expert-result")).to_have_text("Saved.")
    assert shop.box.limits
    window.id("certificate").select_option("expired")
    expect(window.id("certificate")).to_have_value("expired")
    assert soon(lambda: shop.box.merchant.certificate == "expired")
    window.id("api-key").uncheck()
    assert soon(lambda: not shop.box.merchant.api_v3_key)
    expect(window.id("api-key")).not_to_be_checked()
    before = shop.box.keys.signer("certificate").serial
    window.button("Rotate, sign with the new one").click()
    assert soon(lambda: shop.box.keys.signer("certificate").serial != before)
    expect(window.id("facts")).to_contain_text(shop.box.credentials.merchant_id)


def test_reset_asks_first(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.button("Reset…").click()
    expect(window.page.get_by_role("dialog")).to_be_visible()
    window.button("Keep everything").click()
    assert number in shop.box.ledger.orders
    window.button("Reset…").click()
    window.page.keyboard.press("Escape")
    expect(window.page.get_by_role("dialog")).to_be_hidden()
    assert number in shop.box.ledger.orders
    window.button("Reset…").click()
    window.button("Reset everything").click()
    expect(window.id("orders-none")).to_be_visible()
    expect(window.id("chosen-none")).to_be_visible()
    assert shop.box.ledger.orders == {}


# Connection and size


def placed(shop: Shop, number: str, description: str = "Tea") -> None:
    body: dict[str, Any] = {
        "appid": shop.box.credentials.app_id,
        "mchid": shop.box.credentials.merchant_id,
        "description": description,
        "out_trade_no": number,
        "notify_url": "https://shop.example/pay",
        "amount": {"total": 100, "currency": "CNY"},
    }
    shop.box.ledger.place("native", body)


def test_a_lost_connection_is_said_and_made_up_for(shop: Shop, opener: Opener):
    window = opener(forgiven=("ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY")).visit()
    placed(shop, "BEFORE_1")
    expect(window.id("orders")).to_contain_text("BEFORE_1")
    shop.box.fault("refuse", host="main")
    expect(window.page.locator("#live")).to_have_attribute("data-live", "lost")
    window.id("place").click()
    expect(window.id("cashier-result")).to_contain_text(f"The sandbox does not answer at {shop.box.url}")
    placed(shop, "MEANWHILE_1")
    shop.box.clear_faults()
    expect(window.page.locator("#live")).to_have_attribute("data-live", "live", timeout=20_000)
    expect(window.id("orders")).to_contain_text("MEANWHILE_1")


def test_after_a_lag_everything_is_fetched_anew(shop: Shop, window: Window):
    window.visit()
    tell, shop.box.ledger.changed = shop.box.ledger.changed, lambda thing: None
    placed(shop, "UNTOLD_1")
    shop.box.ledger.changed = tell
    shop.box.events.publish("lag", dict)
    expect(window.id("orders")).to_contain_text("UNTOLD_1")


def test_two_thousand_orders(shop: Shop, window: Window):
    for index in range(1000):
        placed(shop, f"EARLY_{index:04d}")
    window.visit()
    expect(window.id("orders-count")).to_contain_text("1000")
    # The other half arrives while the page is open.
    for index in range(1000):
        placed(shop, f"LATE_{index:04d}")
    expect(window.id("orders-count")).to_contain_text("2000")
    assert window.page.locator("#orders li").count() == 200
    expect(window.page.locator("#orders li").first).to_contain_text("LATE_0999")
    window.id("orders-filter").fill("early_0007")
    expect(window.page.locator("#orders li")).to_have_count(1)
    window.page.locator("#orders button").click()
    expect(window.id("chosen-number")).to_have_text("EARLY_0007")
    window.order()
    window.open()
    window.pay()
    expect(window.id("life-state")).to_have_text("PAID")


def test_many_records_are_cut_to_the_newest(shop: Shop, window: Window):
    window.visit()
    placed(shop, "MANY_1")
    shop.box.pay("MANY_1", deliver=False)
    for _ in range(210):
        shop.box.deliver("order", "MANY_1", lose=100)
    expect(window.id("count-callbacks")).to_have_text("210")
    assert window.deliveries().count() == 200


# Access


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_wider_than_a_small_phone(language: str, shop: Shop, opener: Opener):
    window = opener(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    window.visit(f"?lang={language}")
    assert window.overflow() == 0
    window.order(description=LONG, amount="21474836.47")
    assert window.overflow() == 0
    window.open()
    assert window.overflow() == 0
    window.pay("loseOne")
    expect(window.deliveries()).to_have_count(1)
    window.id("refund-amount").fill("0.05")
    window.id("refund").click()
    expect(window.page.locator("#refunds li")).to_have_count(1)
    window.page.locator(".pending summary").click()
    window.deliveries().first.locator("summary").click()
    assert window.overflow() == 0
    for tab in ("requests", "faults", "expert"):
        window.id(f"tab-{tab}").click()
        if tab == "requests":
            window.page.locator("#requests summary").first.click()
        assert window.overflow() == 0, tab
    window.id("reset").click()
    assert window.overflow() == 0


CONTRAST = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a),
    g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a),
    a: 1,
  });
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour.a === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below));
  };
  const light = ({r, g, b}) => {
    const [x, y, z] = [r, g, b].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  let looked = 0;
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const written = element.matches('input:not([type=radio], [type=checkbox]), select');
    if ((!own && !written) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [one, other] = [light(over(parse(style.color), below)), light(below)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    looked += 1;
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      found.push(`${element.tagName}.${element.className}#${element.id} ${ratio.toFixed(2)}`);
    }
  }
  return {found, looked};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(scheme: str, shop: Shop, opener: Opener):
    window = opener(color_scheme=scheme, reduced_motion="reduce").visit()
    placed(shop, "CLOSED_1")
    shop.box.ledger.close("CLOSED_1")
    window.order()
    window.open()
    looks = [window.page.evaluate(CONTRAST)]
    window.pay("loseOne")
    expect(window.deliveries()).to_have_count(1)
    window.id("refund").click()
    window.button("Abnormal").click()
    expect(window.id("refunds")).to_contain_text("ABNORMAL")
    window.deliveries().first.locator("summary").click()
    looks.append(window.page.evaluate(CONTRAST))
    shop.box.fault("probe")
    window.id("tab-faults").click()
    expect(window.id("faults").locator("li")).to_have_count(1)
    looks.append(window.page.evaluate(CONTRAST))
    window.id("tab-expert").click()
    looks.append(window.page.evaluate(CONTRAST))
    assert [found for look in looks for found in look["found"]] == []
    assert min(look["looked"] for look in looks) > 60


def test_everything_that_can_be_used_has_a_name(shop: Shop, window: Window):
    window.visit()
    placed(shop, "NAMED_1")
    shop.box.pay("NAMED_1", deliver=False)
    shop.box.deliver("order", "NAMED_1", lose=1)
    expect(window.deliveries()).to_have_count(1)
    session = window.page.context.new_cdp_session(window.page)
    roles = {"button", "textbox", "searchbox", "combobox", "radio", "checkbox", "switch", "tab", "link", "image"}
    seen: set[str] = set()
    for tab in ("callbacks", "requests", "faults", "expert"):
        window.id(f"tab-{tab}").click()
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if role in roles and not node.get("ignored"):
                seen.add(role)
                assert node["name"]["value"], node
    assert seen >= roles - {"image"}
    for landmark in ("banner", "main"):
        assert window.page.get_by_role(landmark).count() == 1
    assert window.page.get_by_role("heading", level=1).count() == 1


def test_results_are_announced(window: Window):
    window.visit()
    for name in ("cashier-result", "chosen-result", "phone-result", "refunds-result", "life-result", "clock-result"):
        assert window.id(name).get_attribute("role") == "status"  # a polite live region


def test_without_motion_nothing_moves(opener: Opener):
    window = opener(reduced_motion="reduce").visit()
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    assert window.page.evaluate(moving) == 0


def test_the_skip_link_leads_to_the_cashier(window: Window):
    window.visit()
    window.page.keyboard.press("Tab")
    expect(window.page.locator(".skip")).to_be_focused()
    window.page.keyboard.press("Enter")
    expect(window.id("cashier")).to_be_focused()
