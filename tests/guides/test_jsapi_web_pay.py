"""The guide "Official Account JSAPI Web Pay", from the credentials to its last question, with our function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from sandbox import Credentials
from sandbox.core import OPENID
from tests.guides.conftest import ENV_ID, FUNCTION_NAME, SHOP, Place, Web, order, place, signed_in
from tests.guides.seeds import Guide, replaced
from tests.guides.test_mini_program_pay import OPERATOR, REFUND, as_printed
from tests.guides.test_native_qr_pay import UNWRITTEN
from tests.sandbox.page.window import soon
from tests.support import OPERATOR_KEY

GUIDE = "jsapi-web-pay"
FOLLOWER = "oFollower0000000000000000001"
SCRIPTS = {
    "https://cdn.jsdelivr.net/npm/@cloudbase/js-sdk/dist/cloudbase.full.js": """
        window.cloudbase = { init: ({ env }) => ({ env, auth: () => ({}) }) }""",
}
# What WeChat's own browser has: it hands what it is given to the test, which is the phone.
BRIDGE = """
window.WeixinJSBridge = {
  invoke: async (name, given, told) => told({ err_msg: await window.phone(name, given) }),
}
"""


def page_code(app_id: str, token: str | None) -> str:
    """pay.html with ENV_ID, FN_NAME, the AppID and, unless None, the sign-in replaced as the guide tells to."""
    page = Guide.read(GUIDE).code("<!-- pay.html -->", "</html>")
    assert page.count(UNWRITTEN) == 1
    assert page.count("'<Official Account AppID>'") == 1
    page = page.replace("'<Official Account AppID>'", f"'{app_id}'")
    if token is not None:
        page = page.replace(UNWRITTEN, f"return {json.dumps(token)}")
    return replaced(page, ENV_ID=ENV_ID, FN_NAME=FUNCTION_NAME)


Open = Callable[..., Web]


@pytest.fixture
def opened(browser: Browser, ours: Place) -> Iterator[Open]:
    """Opens pay.html in a browser that has WeChat's bridge, unless `bridge` is False; `will` is the user's."""
    contexts = []

    def start(token: str | None = "", app_id: str = "", will: str = "pay", *, bridge: bool = True) -> Web:
        context = browser.new_context()
        contexts.append(context)
        context.add_init_script(f"window.__USER_OPENID__ = {json.dumps(FOLLOWER)}")
        page = context.new_page()
        given: list[dict[str, Any]] = []

        def phone(name: str, parameters: dict[str, Any]) -> str:
            assert name == "getBrandWCPayRequest"
            given.append(parameters)
            if will != "pay":
                return f"get_brand_wcpay_request:{will}"
            sheet = ours.box.phone.open(FOLLOWER, jsapi=parameters)
            ours.box.pay(sheet["number"])
            return "get_brand_wcpay_request:ok"

        page.expose_function("phone", phone)
        if bridge:
            context.add_init_script(BRIDGE)
        html = page_code(app_id or ours.box.credentials.app_id, signed_in(ours.box) if token == "" else token)
        web = Web(page, ours.box, html, SCRIPTS)
        web.given = given  # type: ignore[attr-defined]
        page.goto(f"{SHOP}/pay/")
        return web

    yield start
    for context in contexts:
        context.close()


def press(web: Web) -> None:
    web.page.locator("#payBtn").click()


# Steps 1 to 3 are those of the mini program's guide; there is one AppID, whatever it is of


def test_step_3_the_openid_must_be_one_of_the_official_account(ours: Place) -> None:
    """It is handed on as it is: WeChat Pay judges it."""
    answer = ours.web({"_action": "wxpay_order", **order("ORDER_WEB"), "payer": {"openid": FOLLOWER}})
    assert answer.status_code == 200
    request = ours.box.requests[-1]
    assert (request.path, request.json["payer"]) == ("/v3/pay/transactions/jsapi", {"openid": FOLLOWER})


def test_step_4_2_a_user_who_signed_in_by_wechat_pays_himself(ours: Place) -> None:
    body = {"_action": "wxpay_order", **order("ORDER_WEB"), "payer": {"openid": FOLLOWER}}
    assert ours.web(body, ours.box.token("user")).status_code == 200
    assert ours.box.requests[-1].json["payer"] == {"openid": OPENID}, "that of the token, not that of the body"


# Step 4


ROUTES = {
    "wxpay_order": {**order("ORDER_WEB2"), "payer": {"openid": FOLLOWER}},
    "wxpay_query_order_by_out_trade_no": {"out_trade_no": "ORDER_WEB"},
    "wxpay_query_order_by_transaction_id": {},
    "wxpay_close_order": {"out_trade_no": "ORDER_WEB"},
    "wxpay_refund": {**REFUND, "out_trade_no": "ORDER_WEB"},
    "wxpay_refund_query": {"out_refund_no": REFUND["out_refund_no"]},
}


@pytest.mark.parametrize("action", ROUTES)
def test_step_4_3_a_route_answers_by_its_action(desk: Place, action: str) -> None:
    placed = {"_action": "wxpay_order", **order("ORDER_WEB"), "payer": {"openid": FOLLOWER}}
    assert desk.web(placed).status_code == 200
    body = dict(ROUTES[action])
    if action not in ("wxpay_order", "wxpay_close_order"):
        desk.box.pay("ORDER_WEB")
    if action.endswith("transaction_id"):
        body["transaction_id"] = desk.box.ledger.orders["ORDER_WEB"].transaction_id
    if action == "wxpay_refund_query":
        desk.mini_program("wxpay_refund", ROUTES["wxpay_refund"], **OPERATOR)
    key = {"_operatorKey": OPERATOR_KEY} if action == "wxpay_refund" else {}
    answer = desk.web({"_action": action, **body, **key})
    assert answer.status_code == 200, answer.text
    as_printed(answer.json())


def test_step_4_3_without_a_token_the_gateway_refuses(ours: Place) -> None:
    assert ours.web({"_action": "wxpay_order", **order("ORDER_WEB")}, token="").status_code == 401


def test_step_4_4_the_callback_is_that_of_a_mini_program(ours: Place) -> None:
    ours.web({"_action": "wxpay_order", **order("ORDER_WEB"), "payer": {"openid": FOLLOWER}})
    ours.paid("ORDER_MINI")
    ours.box.pay("ORDER_WEB")
    mini, web = ours.box.deliveries
    assert web.event_type == "TRANSACTION.SUCCESS"
    assert set(mini.plaintext) == set(web.plaintext)
    assert web.acknowledged


def test_step_4_5_order_payment_and_result(ours: Place, opened: Open) -> None:
    web = opened()
    press(web)
    web.page.wait_for_url(f"{SHOP}/order/result?out_trade_no=*")
    (body,) = web.bodies
    assert (body["_action"], body["payer"]) == ("wxpay_order", {"openid": FOLLOWER})
    inner = as_printed(web.answers[0][1])
    (given,) = web.given  # type: ignore[attr-defined]
    names = ("timeStamp", "nonceStr", "package", "signType", "paySign")
    assert given == {"appId": ours.box.credentials.app_id, **{name: inner[name] for name in names}}
    assert web.page.url.endswith(body["out_trade_no"])
    assert ours.box.deliveries[-1].acknowledged
    number = body["out_trade_no"]
    assert soon(lambda: f"handlerUnifiedTrigger - payment result: {number} SUCCESS" in ours.function.log_text())
    assert (web.errors, web.dialogs) == ([], [])


@pytest.mark.parametrize(("will", "told"), [("cancel", "User canceled payment"), ("fail", "Payment failed: ")])
def test_step_4_5_a_payment_that_is_not_made_is_told(ours: Place, opened: Open, will: str, told: str) -> None:
    web = opened(will=will)
    press(web)
    assert web.soon(lambda: bool(web.dialogs))
    assert web.dialogs[0].startswith(told)
    assert ours.box.ledger.orders[web.bodies[0]["out_trade_no"]].state == "NOTPAY"


def test_step_4_5_a_refused_order_is_told_and_the_sheet_stays_shut(ours: Place, opened: Open) -> None:
    ours.box.merchant.products.discard("jsapi")
    web = opened()
    press(web)
    assert web.soon(lambda: bool(web.dialogs))
    assert web.dialogs == [web.answers[0][1]["msg"]]
    assert web.given == []  # type: ignore[attr-defined]


def test_step_4_5_without_a_sign_in_of_ones_own_nothing_is_ordered(ours: Place, opened: Open) -> None:
    web = opened(token=None)
    press(web)
    assert web.soon(lambda: bool(web.errors))
    assert "Implement authenticated login" in web.errors[0]
    assert web.bodies == []


def test_step_4_5_an_anonymous_token_may_not_order(ours: Place, opened: Open) -> None:
    web = opened(token=ours.box.token("anonymous"))
    press(web)
    assert web.soon(lambda: bool(web.dialogs))
    assert web.answers[0][0] in (401, 403)
    assert ours.box.requests == []


# Questions


def test_faq_1_another_app_id_at_the_bridge_than_in_the_order_is_refused(ours: Place, opened: Open) -> None:
    web = opened(app_id="wx0000000000000000")
    press(web)
    assert web.soon(lambda: bool(web.errors))
    assert "appId is not that of the order" in web.errors[0]


def test_faq_2_an_app_id_that_is_not_bound_is_told(credentials: Credentials, tmp_path: Any) -> None:
    with place(tmp_path / "log", credentials, appId="wx0000000000000000") as other:
        answer = other.web({"_action": "wxpay_order", **order("ORDER_WEB"), "payer": {"openid": FOLLOWER}})
    assert answer.status_code == 400
    assert "APPID_MCHID_NOT_MATCH" in answer.json()["msg"]


def test_faq_5_outside_wechat_there_is_no_bridge_and_the_page_waits_for_it(ours: Place, opened: Open) -> None:
    web = opened(bridge=False)
    press(web)
    assert web.soon(lambda: bool(web.answers))
    assert as_printed(web.answers[0][1])
    assert web.given == []  # type: ignore[attr-defined]
    web.page.evaluate(BRIDGE + "; document.dispatchEvent(new Event('WeixinJSBridgeReady'))")
    web.page.wait_for_url(f"{SHOP}/order/result?out_trade_no=*")


def test_faq_5_h5_pay_is_the_way_outside_wechat(ours: Place) -> None:
    scene = {"payer_client_ip": "101.226.103.1", "h5_info": {"type": "Wap"}}
    answer = ours.web({"_action": "wxpay_order_h5", **order("ORDER_H5"), "scene_info": scene})
    assert answer.status_code == 200, answer.text
    assert as_printed(answer.json())["h5_url"].startswith("https://")
    assert ours.box.requests[-1].path == "/v3/pay/transactions/h5"


def test_faq_8_one_function_serves_both_apps_with_service_app_id(credentials: Credentials, tmp_path: Any) -> None:
    with place(tmp_path / "log", credentials, service_app_id=credentials.service_app_id) as other:
        body = {"_action": "wxpay_order", **order("ORDER_WEB"), "payer": {"openid": FOLLOWER}}
        answer = other.web({**body, "useServiceAccount": True}, other.box.token("user"))
        assert answer.status_code == 200
        assert other.mini_program("wxpay_order", order("ORDER_MINI")).status == 200
        sent = [(request.json["appid"], request.json["payer"]["openid"]) for request in other.box.requests]
    assert as_printed(answer.json())["appId"] == credentials.service_app_id
    assert sent == [(credentials.service_app_id, FOLLOWER), (credentials.app_id, OPENID)]
