"""People's ways through the page, in a real browser, with the real function behind it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.sandbox.page.window import Shop, Window, soon

WORDS = {
    "en": {
        "lang": "en",
        "place": "Place order",
        "scan": "Scan the code",
        "lose": "Pay, lose the callback",
        "lost": "lost on the way",
        "waiting": "WAITING",
        "paid": "PAID",
        "refund": "REFUND",
        "processing": "REFUND PROCESSING",
        "refunded": "REFUNDED",
        "part": "PARTLY REFUNDED",
        "arrives": "Arrives",
        "again": "Deliver again",
        "query": "Query",
        "a part": "A part",
        "attempt": "attempt {}",
        "merchant": "Pay to merchant",
    },
    "zh": {
        "lang": "zh-CN",
        "place": "下单",
        "scan": "扫一扫",
        "lose": "支付，丢失一次回调",
        "lost": "途中丢失",
        "waiting": "WAITING 待支付",
        "paid": "PAID 已支付",
        "refund": "REFUND 转入退款",
        "processing": "REFUND PROCESSING 退款处理中",
        "refunded": "REFUNDED 已退款",
        "part": "PARTLY REFUNDED 部分退款",
        "arrives": "到账",
        "again": "重新发送",
        "query": "查询",
        "a part": "部分退款",
        "attempt": "第 {} 次",
        "merchant": "付款给商户",
    },
}


def handled(shop: Shop, ending: str) -> int:
    """How often the function's own handler logged a line that ends so."""
    return sum(line.get("message", "").endswith(ending) for line in shop.function.log_lines())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_order_scan_lost_callback_redelivery_refund(language: str, shop: Shop, window: Window):
    words = WORDS[language]
    window.visit(f"?lang={language}")
    expect(window.page.locator("html")).to_have_attribute("lang", words["lang"])
    number = orders_by_qr_code(words, shop, window)
    scans_and_pays_without_callback(words, shop, window, number)
    is_told_by_the_second_try(words, shop, window, number)
    refunds_a_part(words, shop, window, number)
    refunds_the_rest(words, shop, window, number)
    assert all(request.verified for request in shop.box.requests)


def orders_by_qr_code(words: dict[str, str], shop: Shop, window: Window) -> str:
    """The function answers through the API gateway, and an image shows the code."""
    window.id("description").fill("龙井 tea")
    window.id("amount").fill("12.34")
    window.button(words["place"]).click()
    image = window.id("qr-image")
    expect(image).to_be_visible()
    number = window.id("chosen-number").text_content() or ""
    expect(image).to_have_attribute("alt", re.compile(number))
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") > 100
    order = shop.box.ledger.orders[number]
    assert (order.scene, order.total, order.body["description"]) == ("native", 1234, "龙井 tea")
    expect(window.id("credential-value")).to_have_text(order.credential.value)
    expect(window.id("life-state")).to_have_text(words["waiting"])
    return number


def scans_and_pays_without_callback(words: dict[str, str], shop: Shop, window: Window, number: str) -> None:
    """Paid, but the function does not know."""
    window.button(words["scan"]).click()
    expect(window.id("phone-app")).to_contain_text(words["merchant"])
    expect(window.id("phone-app")).to_contain_text("¥12.34")
    expect(window.id("phone-description")).to_have_text("龙井 tea")
    window.button(words["lose"]).click()
    expect(window.id("life-state")).to_have_text(words["paid"])
    expect(window.id("phone-app")).to_contain_text(words["paid"])
    expect(window.deliveries()).to_have_count(1)
    expect(window.deliveries().first).to_contain_text(words["lost"])
    assert shop.box.ledger.orders[number].state == "SUCCESS"
    assert handled(shop, f"payment result: {number} SUCCESS") == 0


def is_told_by_the_second_try(words: dict[str, str], shop: Shop, window: Window, number: str) -> None:
    """WeChat Pay tries again after 15 seconds of its own time, and once more when asked to."""
    window.page.locator("[data-step='15s']").click()
    expect(window.deliveries()).to_have_count(2)
    second = window.deliveries().first
    expect(second).to_contain_text("200")
    expect(second).to_contain_text(words["attempt"].format(2))
    assert soon(lambda: handled(shop, f"payment result: {number} SUCCESS") == 1)
    second.locator("summary").click()
    plaintext = second.locator("pre").first
    expect(plaintext).to_contain_text(f'"out_trade_no": "{number}"')
    expect(plaintext).to_contain_text('"total": 1234')
    second.get_by_role("button", name=words["again"], exact=True).click()
    expect(window.deliveries()).to_have_count(3)
    assert soon(lambda: handled(shop, f"payment result: {number} SUCCESS") == 2)


def refunds_a_part(words: dict[str, str], shop: Shop, window: Window, number: str) -> None:
    """The function is asked how it stands, then refunds a little, and the bank pays it out."""
    window.button(words["query"]).click()
    expect(window.id("chosen-result")).to_contain_text(words["paid"])
    window.page.get_by_label(words["a part"], exact=True).check()
    window.id("refund-amount").fill("0.05")
    window.id("refund").click()
    expect(window.id("life-state")).to_have_text(words["refund"])
    window.button(words["arrives"]).click()
    expect(window.id("life-state")).to_have_text(words["part"])
    expect(window.page.locator("#life li").last).to_contain_text(words["refunded"])
    assert window.states() == [words[w] for w in ("waiting", "paid", "refund", "processing", "refunded")]
    [refund] = shop.box.ledger.orders[number].refunds
    assert (refund.state, refund.amount) == ("SUCCESS", 5)
    assert soon(lambda: handled(shop, f"refund result: {refund.number} SUCCESS") == 1)
    expect(window.deliveries().first).to_contain_text("REFUND.SUCCESS")


def refunds_the_rest(words: dict[str, str], shop: Shop, window: Window, number: str) -> None:
    window.page.locator("input[name=refund][value=all]").check()
    window.id("refund").click()
    window.button(words["arrives"]).click()
    expect(window.id("life-state")).to_have_text(words["refunded"])
    assert sum(refund.amount for refund in shop.box.ledger.orders[number].refunds) == 1234
    expect(window.id("refund-form")).to_be_hidden()


@pytest.mark.parametrize(
    ("scene", "opened_with"), [("jsapi", "jsapi"), ("native", "code_url"), ("h5", "h5_url"), ("app", "app")]
)
def test_every_scene_is_opened_with_what_the_function_answered(
    scene: str, opened_with: str, shop: Shop, window: Window
):
    window.visit()
    shown: list[Any] = []
    window.page.on("request", lambda sent: shown.append(sent.post_data_json) if "phone/open" in sent.url else None)
    number = window.order(scene)
    window.open()
    assert [list(body) for body in shown] == [[opened_with]]
    window.pay()
    expect(window.id("life-state")).to_have_text("PAID")
    expect(window.id("phone-result")).to_contain_text("acknowledged with 200")
    assert (shop.box.ledger.orders[number].scene, shop.box.ledger.orders[number].state) == (scene, "SUCCESS")


def tab_to(window: Window, name: str) -> None:
    """Press Tab until the element has the focus; every stop on the way must show it."""
    for _ in range(80):
        window.page.keyboard.press("Tab")
        outline = window.page.evaluate(
            """() => {
              const stop = document.activeElement;
              const shown = stop.matches('.segmented input') ? stop.nextElementSibling : stop;
              return getComputedStyle(shown).outlineStyle;
            }"""
        )
        assert outline != "none", f"no outline on {window.focused()}"
        if window.focused() == name:
            return
    pytest.fail(f"Tab does not reach {name}")


def test_by_keyboard_alone(shop: Shop, window: Window):
    window.visit()
    press = window.page.keyboard.press
    tab_to(window, "description")
    press("ControlOrMeta+a")
    window.page.keyboard.type("Keyboard tea")
    tab_to(window, "place")
    press("Enter")
    expect(window.id("cashier-result")).to_contain_text("is placed")
    tab_to(window, "phone-open")
    press("Enter")
    expect(window.id("phone-pay")).to_be_focused()
    press("Enter")
    expect(window.id("life-state")).to_have_text("PAID")
    # The sheet is gone: the focus went to its outcome, not back to the top.
    expect(window.id("phone-result")).to_be_focused()
    tab_to(window, "tab-callbacks")
    press("ArrowRight")
    expect(window.id("panel-requests")).to_be_visible()
    press("Tab")
    press("Enter")
    expect(window.page.locator("#requests details[open]")).to_have_count(1)
    [order] = shop.box.ledger.orders.values()
    assert (order.state, order.body["description"]) == ("SUCCESS", "Keyboard tea")


def test_the_scene_is_chosen_with_arrows(shop: Shop, window: Window):
    window.visit()
    window.page.locator("input[name=scene][value=native]").focus()
    window.page.keyboard.press("ArrowLeft")
    expect(window.id("scene-hint")).to_contain_text("callHTTPFunction")
    window.page.keyboard.press("Enter")
    expect(window.id("cashier-result")).to_contain_text("is placed")
    [order] = shop.box.ledger.orders.values()
    assert order.scene == "jsapi"


def test_what_another_client_does_shows_without_reloading(shop: Shop, window: Window):
    window.visit()
    window.page.evaluate("window.stillTheSame = true")
    box = shop.box
    order = {"description": "From elsewhere", "out_trade_no": "ELSEWHERE_1", "amount": {"total": 77}}
    assert box.call_http_function("/wx-pay/wxpay_order", order).status == 200
    row = window.page.locator("#orders li", has_text="ELSEWHERE_1")
    expect(row).to_contain_text("WAITING")
    expect(row).to_contain_text("¥0.77")
    box.pay("ELSEWHERE_1")
    expect(row).to_contain_text("PAID")
    expect(window.deliveries()).to_have_count(1)
    refund = {"out_trade_no": "ELSEWHERE_1", "out_refund_no": "R_ELSEWHERE", "amount": {"refund": 77, "total": 77}}
    key = {"x-operator-key": box.operator_key}
    assert box.call_http_function("/wx-pay/wxpay_refund", refund, headers=key).status == 200
    expect(window.page.locator("#refunds li")).to_contain_text("R_ELSEWHERE")
    box.settle_refund("R_ELSEWHERE")
    expect(row).to_contain_text("REFUNDED")
    box.fault("probe")
    expect(window.id("count-faults")).to_have_text("1")
    assert window.page.evaluate("window.stillTheSame") is True


def test_an_order_from_elsewhere_is_opened_by_its_prepay_id(shop: Shop, window: Window):
    window.visit()
    for number in ("ELSEWHERE_1", "ELSEWHERE_2"):
        order = {"description": "From elsewhere", "out_trade_no": number, "amount": {"total": 77}}
        assert shop.box.call_http_function("/wx-pay/wxpay_order", order).status == 200
    window.page.locator("#orders button", has_text="ELSEWHERE_2").click()
    expect(window.id("chosen-number")).to_have_text("ELSEWHERE_2")
    window.open()
    window.pay()
    expect(window.page.locator("#orders li", has_text="ELSEWHERE_2")).to_contain_text("PAID")
    expect(window.page.locator("#orders li", has_text="ELSEWHERE_1")).to_contain_text("WAITING")


def test_a_failed_payment_leaves_the_order_payable(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.open()
    window.pay("fail")
    expect(window.id("life")).to_contain_text("payment failed")
    assert shop.box.ledger.orders[number].state == "NOTPAY"
    window.pay()
    expect(window.id("life-state")).to_have_text("PAID")


def test_paying_late_takes_ten_minutes_of_virtual_time(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.open()
    window.pay("late")
    expect(window.id("phone-result")).to_contain_text("10 minutes later")
    assert shop.box.ledger.orders[number].state == "NOTPAY"
    window.page.locator(".pending summary").click()
    expect(window.id("clock-pending")).to_contain_text(f"Order {number} is paid late")
    window.page.locator("[data-step='10m']").click()
    expect(window.id("life-state")).to_have_text("PAID")
    expect(window.id("phone-result")).to_contain_text("acknowledged with 200")


def test_paying_twice_calls_back_twice(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.open()
    window.pay("twice")
    expect(window.deliveries()).to_have_count(2)
    expect(window.id("life")).to_contain_text("second payment was refused")
    assert soon(lambda: handled(shop, f"payment result: {number} SUCCESS") == 2)


def test_every_callback_lost(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.open()
    window.pay("loseAll")
    expect(window.id("phone-result")).to_contain_text("not acknowledged")
    window.id("clock-by").fill("2d")
    window.button("Advance").click()
    expect(window.id("clock-result")).to_contain_text("events that happened")
    # The first and the 15 repetitions that WeChat Pay's schedule has.
    expect(window.deliveries()).to_have_count(16)
    assert window.deliveries().filter(has_text="lost on the way").count() == 16
    assert handled(shop, f"payment result: {number} SUCCESS") == 0


def test_an_order_is_closed_through_the_function(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.button("Close").click()
    expect(window.id("chosen-result")).to_contain_text("is closed")
    expect(window.id("life-state")).to_have_text("CLOSED")
    expect(window.id("phone-app")).to_contain_text("This order is closed")
    assert shop.box.ledger.orders[number].state == "CLOSED"


def test_a_refund_turns_abnormal_and_arrives_later(shop: Shop, window: Window):
    window.visit()
    number = window.order()
    window.open()
    window.pay()
    window.id("refund").click()
    window.button("Abnormal").click()
    expect(window.id("refunds")).to_contain_text("REFUND ABNORMAL")
    window.button("Arrives").click()
    expect(window.id("life-state")).to_have_text("REFUNDED")
    [refund] = shop.box.ledger.orders[number].refunds
    assert [moment.state for moment in refund.life] == ["PROCESSING", "ABNORMAL", "SUCCESS"]


def test_the_callback_of_a_refund_gets_lost(shop: Shop, window: Window):
    window.visit()
    window.order()
    window.open()
    window.pay()
    window.id("refund").click()
    window.id("refund-lose").select_option("1")
    window.button("Arrives").click()
    newest = window.deliveries().first
    expect(newest).to_contain_text("REFUND.SUCCESS")
    expect(newest).to_contain_text("lost on the way")


@pytest.mark.parametrize(
    ("press", "state", "words"),
    [("Confirm", "SUCCESS", "RECEIVED"), ("Fail", "FAIL", "FAILED"), ("Cancel", "CANCELLED", "CANCELLED")],
)
def test_transfers_are_answered_by_the_user(press: str, state: str, words: str, shop: Shop, window: Window):
    window.visit()
    body = {
        "out_bill_no": "BILL1",
        "transfer_scene_id": "1000",
        "openid": "oUser",
        "transfer_amount": 1500,
        "transfer_remark": "A prize",
        "transfer_scene_report_infos": [
            {"info_type": "活动名称", "info_content": "抽奖"},
            {"info_type": "奖励说明", "info_content": "一等奖"},
        ],
    }
    key = {"x-operator-key": shop.box.operator_key}
    assert shop.box.call_http_function("/wx-pay/wxpay_transfer", body, headers=key).status == 200
    row = window.page.locator("#transfers li", has_text="BILL1")
    row.get_by_role("button", name="Open the payment").click()
    expect(window.id("phone-app")).to_contain_text("A prize")
    expect(window.id("phone-app")).to_contain_text("¥15.00")
    row.get_by_role("button", name=press, exact=True).click()
    expect(row).to_contain_text(words)
    expect(window.id("phone-app")).to_contain_text(words)
    assert shop.box.ledger.transfers["BILL1"].state == state
