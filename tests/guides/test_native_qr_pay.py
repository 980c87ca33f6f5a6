"""The guide "Native (PC QR Code) Pay", from the credentials to its last question, with our function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from sandbox import Credentials, Sandbox
from sandbox.ledger import IllegalMove
from tests.guides.conftest import ENV_ID, FUNCTION_NAME, SHOP, Place, Web, injected, order, place, signed_in
from tests.guides.seeds import Guide, replaced
from tests.guides.test_mini_program_pay import OPERATOR, REFUND, as_printed
from tests.http.plays import Stage
from tests.sandbox.page.window import soon
from tests.support import OPERATOR_KEY, in_process

GUIDE = "native-qr-pay"
SCRIPTS = {
    "https://cdn.bootcdn.net/ajax/libs/qrcodejs/1.0.0/qrcode.min.js": """
        window.drawn = []
        window.QRCode = { toCanvas: (place, text) => { drawn.push([place.id, text]) } }""",
    "https://static.cloudbase.net/cloudbase-js-sdk/latest/cloudbase.full.js": """
        window.cloudbase = { init: ({ env }) => ({ env, auth: () => ({}) }) }""",
}
UNWRITTEN = "throw new Error('Implement authenticated login per CloudBase Web SDK docs and return accessToken')"


def cashier(token: str | None) -> str:
    """pc-cashier.html with ENV_ID, FN_NAME and, unless None, the sign-in replaced as the guide tells to."""
    page = Guide.read(GUIDE).code("<!-- pc-cashier.html -->", "</html>")
    assert page.count(UNWRITTEN) == 1
    if token is not None:
        page = page.replace(UNWRITTEN, f"return {json.dumps(token)}")
    return replaced(page, ENV_ID=ENV_ID, FN_NAME=FUNCTION_NAME)


Open = Callable[..., Web]


@pytest.fixture
def opened(browser: Browser, ours: Place) -> Iterator[Open]:
    """Opens the cashier's page at the shop's address; its time stands still until the test moves it."""
    contexts = []

    def start(token: str | None = "", on: Place = ours) -> Web:
        context = browser.new_context()
        contexts.append(context)
        page = context.new_page()
        page.clock.install()
        web = Web(page, on.box, cashier(signed_in(on.box) if token == "" else token), SCRIPTS)
        page.goto(f"{SHOP}/pay/")
        return web

    yield start
    for context in contexts:
        context.close()


def drawn(web: Web) -> str:
    """What the page put into its QR code."""
    web.page.wait_for_function("drawn.length > 0")
    ((where, text),) = web.page.evaluate("drawn")
    assert where == "qrcode"
    return str(text)


def status(web: Web) -> Any:
    return expect(web.page.locator("#status"))


# Steps 1 to 3 are those of the mini program's guide


def test_step_1_an_app_id_of_any_kind_orders(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        official_account = box.credentials.service_app_id
        with in_process(injected(box, appId=official_account)) as function:
            assert function.call("wxpay_order_native", order("ORDER_QR")).status == 200
    assert box.requests[-1].json["appid"] == official_account


# Step 4


ROUTES = {
    "wxpay_order_native": order("ORDER_QR2"),
    "wxpay_query_order_by_out_trade_no": {"out_trade_no": "ORDER_QR"},
    "wxpay_query_order_by_transaction_id": {},
    "wxpay_close_order": {"out_trade_no": "ORDER_QR2"},
    "wxpay_refund": {**REFUND, "out_trade_no": "ORDER_QR"},
    "wxpay_refund_query": {"out_refund_no": REFUND["out_refund_no"]},
}


@pytest.mark.parametrize("action", ROUTES)
def test_step_4_1_a_route_answers_by_its_action(desk: Place, action: str) -> None:
    assert desk.web({"_action": "wxpay_order_native", **order("ORDER_QR")}).status_code == 200
    body = dict(ROUTES[action])
    if action == "wxpay_close_order":
        desk.web({"_action": "wxpay_order_native", **order("ORDER_QR2")})
    elif action != "wxpay_order_native":
        desk.box.pay("ORDER_QR")
    if action.endswith("transaction_id"):
        body["transaction_id"] = desk.box.ledger.orders["ORDER_QR"].transaction_id
    if action == "wxpay_refund_query":
        desk.mini_program("wxpay_refund", ROUTES["wxpay_refund"], **OPERATOR)
    key = {"_operatorKey": OPERATOR_KEY} if action == "wxpay_refund" else {}
    answer = desk.web({"_action": action, **body, **key})
    assert answer.status_code == 200, answer.text
    as_printed(answer.json())


def test_step_4_1_a_refund_by_a_signed_in_user_needs_an_operator(ours: Place) -> None:
    answer = ours.web({"_action": "wxpay_refund", **REFUND})
    assert (answer.status_code, answer.json()["code"]) == (403, -1)
    assert ours.box.requests == []


def test_step_4_1_without_a_token_the_gateway_refuses(ours: Place) -> None:
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")}, token="")
    assert (answer.status_code, answer.json()["code"]) == (401, "MISSING_CREDENTIALS")
    assert ours.box.requests == []


def test_step_4_2_the_callback_of_a_qr_order_has_the_fields_of_a_mini_programs(ours: Place) -> None:
    ours.paid("ORDER_MINI")
    ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")})
    ours.box.pay("ORDER_QR", openid="oScans0000000000000000000001")
    mini, native = ours.box.deliveries
    assert (mini.event_type, native.event_type) == ("TRANSACTION.SUCCESS", "TRANSACTION.SUCCESS")
    assert set(mini.plaintext) == set(native.plaintext)
    assert mini.acknowledged
    assert native.acknowledged


@pytest.mark.parametrize("name", ["description", "amount", "out_trade_no"])
def test_step_4_3_a_qr_order_needs_its_three_fields(ours: Place, name: str) -> None:
    body = {"_action": "wxpay_order_native", **order("ORDER_QR")}
    del body[name]
    answer = ours.web(body)
    assert (answer.status_code, answer.json()["code"]) == (400, -1)
    assert name in answer.json()["msg"]
    assert ours.box.requests == []


LIMITS = [
    ("description", "茶" * 127, 200),
    ("description", "茶" * 128, 400),
    ("out_trade_no", "A-b_12", 200),
    ("out_trade_no", "A" * 32, 200),
    ("out_trade_no", "A" * 5, 400),
    ("out_trade_no", "A" * 33, 400),
    ("out_trade_no", "ORDER 1", 400),
    ("amount", {"total": 0}, 400),
    ("amount", {"total": "20"}, 400),
    ("amount", {"total": 0.2}, 400),
]


@pytest.mark.parametrize(("name", "value", "expected"), LIMITS)
def test_step_4_3_the_fields_have_the_guides_limits(ours: Place, name: str, value: Any, expected: int) -> None:
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_QR"), name: value})
    assert answer.status_code == expected, answer.text
    assert expected == 200 or name in answer.json()["msg"]


def test_step_4_3_openid_appid_and_notify_url_are_not_needed(ours: Place) -> None:
    assert ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")}).status_code == 200
    sent = ours.box.requests[-1].json
    assert sent["appid"] == ours.box.credentials.app_id
    assert sent["notify_url"] == ours.box.env()["notifyURLPayURL"]
    assert "payer" not in sent
    assert ours.box.requests[-1].path == "/v3/pay/transactions/native"


def test_step_4_3_the_answer_is_nested_as_printed(ours: Place) -> None:
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")})
    inner = as_printed(answer.json())
    assert list(inner) == ["code_url"]
    assert inner["code_url"].startswith("weixin://wxpay/bizpayurl?pr=")


def test_step_4_3_an_anonymous_token_may_not_order(ours: Place) -> None:
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")}, ours.box.token("anonymous"))
    assert answer.status_code in (401, 403)
    assert ours.box.requests == []


def test_step_4_3_without_a_sign_in_of_ones_own_the_page_orders_nothing(opened: Open) -> None:
    web = opened(token=None)
    web.page.wait_for_load_state()
    assert web.soon(lambda: bool(web.errors))
    assert "Implement authenticated login" in web.errors[0]
    assert web.bodies == []


def test_step_4_3_order_code_payment_and_result(ours: Place, opened: Open) -> None:
    web = opened()
    code = drawn(web)
    (order_answer,) = web.answers
    assert code == order_answer[1]["data"]["data"]["code_url"], "as it is, not encoded"
    web.page.clock.run_for(2000)
    assert web.soon(lambda: len(web.answers) == 2)
    assert web.answers[1][1]["data"]["data"]["trade_state"] == "NOTPAY"
    status(web).to_have_text("Waiting for scan…")

    sheet = ours.box.phone.open("oScans0000000000000000000001", code_url=code)
    number = web.bodies[0]["out_trade_no"]
    assert sheet["number"] == number
    (delivery,) = ours.box.pay(number)
    assert delivery.acknowledged
    web.page.clock.run_for(2000)  # within one poll
    web.page.wait_for_url(f"{SHOP}/order/result?out_trade_no={number}")
    assert [body["_action"] for body in web.bodies] == [
        "wxpay_order_native",
        "wxpay_query_order_by_out_trade_no",
        "wxpay_query_order_by_out_trade_no",
    ]
    assert web.errors == []
    assert soon(lambda: f"handlerUnifiedTrigger - payment result: {number} SUCCESS" in ours.function.log_text())


def test_step_4_3_after_ten_minutes_the_page_closes_the_order(ours: Place, opened: Open) -> None:
    web = opened()
    drawn(web)
    web.page.clock.fast_forward("10:02")
    status(web).to_have_text("Order timed out and closed")
    assert web.bodies[-1]["_action"] == "wxpay_close_order"
    assert web.answers[-1] == (200, {"code": 0, "msg": "success", "data": {"status": 204, "data": {}}})
    assert ours.box.ledger.orders[web.bodies[0]["out_trade_no"]].state == "CLOSED"
    assert web.errors == []


def test_step_4_3_an_order_that_was_closed_elsewhere_ends_the_polling(ours: Place, opened: Open) -> None:
    web = opened()
    drawn(web)
    assert ours.web({"_action": "wxpay_close_order", "out_trade_no": web.bodies[0]["out_trade_no"]}).status_code == 200
    web.page.clock.run_for(2000)
    status(web).to_have_text("Order CLOSED")
    asked = len(web.bodies)
    web.page.clock.run_for(10_000)
    assert len(web.bodies) == asked


def test_step_4_3_a_refused_order_is_shown(ours: Place, opened: Open) -> None:
    ours.box.merchant.products.discard("native")
    web = opened()
    status(web).to_contain_text("Order failed: WeChat Pay: ")
    status(web).to_have_text("Order failed: " + web.answers[0][1]["msg"])
    assert web.page.evaluate("drawn") == []


# Several AppIDs


def snippet() -> str:
    return Guide.read(GUIDE).code("// Pass useServiceAccount: true", "})")


def test_several_app_ids_without_service_app_id_the_printed_error(opened: Open) -> None:
    web = opened()
    drawn(web)
    program = f"async ([token, out_trade_no]) => {{ {snippet()} }}"
    web.page.evaluate(program, [signed_in(web._box), "ORDER_OTHER_APP"])
    status_code, body = web.answers[-1]
    assert web.bodies[-1]["useServiceAccount"] is True
    assert (status_code, body["code"]) == (400, -1)
    assert body["msg"] == "useServiceAccount=true but service_app_id env var is not configured"


def test_several_app_ids_with_service_app_id_the_order_is_that_apps(
    credentials: Credentials, tmp_path: Any, opened: Open
) -> None:
    with place(tmp_path / "log", credentials, service_app_id=credentials.service_app_id) as other:
        web = opened(on=other)
        drawn(web)
        program = f"async ([token, out_trade_no]) => {{ {snippet()} }}"
        web.page.evaluate(program, [signed_in(other.box), "ORDER_OTHER_APP"])
        assert web.answers[-1][0] == 200
        apps = [request.json["appid"] for request in other.box.requests]
    assert apps == [credentials.app_id, credentials.service_app_id]
    assert "useServiceAccount" not in other.box.requests[-1].json


# Questions


def test_faq_2_a_code_that_was_changed_is_not_known_to_the_phone(ours: Place) -> None:
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")})
    code = answer.json()["data"]["data"]["code_url"]
    for changed in (code.replace(":", "%3A"), f" {code}", f"https://shop.example.com/?to={code}"):
        with pytest.raises(IllegalMove):
            ours.box.phone.open("oScans0000000000000000000001", code_url=changed)
    assert ours.box.phone.open("oScans0000000000000000000001", code_url=code)["number"] == "ORDER_QR"


def test_faq_3_a_code_ends_after_two_hours_and_ordering_again_makes_a_new_one(ours: Place) -> None:
    def code_of(number: str) -> str:
        answer = ours.web({"_action": "wxpay_order_native", **order(number)})
        return str(answer.json()["data"]["data"]["code_url"])

    old = code_of("ORDER_QR")
    ours.box.advance("2h1m")
    with pytest.raises(IllegalMove, match="expired"):
        ours.box.phone.open("oScans0000000000000000000001", code_url=old)
    assert ours.box.phone.open("oScans0000000000000000000001", code_url=code_of("ORDER_QR"))["number"] == "ORDER_QR"


def test_faq_4_a_merchant_without_the_product_is_told(ours: Place) -> None:
    ours.box.merchant.products.discard("native")
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")})
    assert answer.json()["code"] == -1
    assert "WeChat Pay: NO_AUTH" in answer.json()["msg"]


def test_faq_5_an_expired_token_is_refused_before_the_function_sees_it(ours: Place) -> None:
    token = signed_in(ours.box, exp=1)
    answer = ours.web({"_action": "wxpay_query_order_by_out_trade_no", "out_trade_no": "ORDER_QR"}, token)
    assert answer.status_code == 401


def test_faq_6_the_server_may_tell_the_page_by_an_answer_that_waits(credentials: Credentials, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/orders.sqlite3"
    # Off the platform, where a file would be lost.
    changes = {"orderDatabaseUrl": url, "operatorKey": OPERATOR_KEY, "TENCENTCLOUD_RUNENV": None}
    with place(tmp_path / "log", credentials, **changes) as other:
        assert other.mini_program("wxpay_orders_init", {}, **OPERATOR).status == 200
        assert other.web({"_action": "wxpay_order_native", **order("ORDER_QR")}).status_code == 200
        other.box.pay("ORDER_QR", openid="oScans0000000000000000000001")
        answer = other.web({"_action": "wxpay_order_wait", "out_trade_no": "ORDER_QR", "seconds": 5})
    assert as_printed(answer.json())["state"] == "PAID"


def test_faq_7_one_function_serves_codes_and_mini_programs(ours: Place) -> None:
    assert ours.web({"_action": "wxpay_order_native", **order("ORDER_QR")}).status_code == 200
    assert ours.mini_program("wxpay_order", order("ORDER_MINI")).status == 200
    assert [request.path.rpartition("/")[2] for request in ours.box.requests] == ["native", "jsapi"]


@pytest.mark.parametrize(
    ("action", "endpoint", "named"),
    [
        ("wxpay_order", "/v3/pay/transactions/jsapi", "prepay_id"),
        ("wxpay_order_native", "/v3/pay/transactions/native", "code_url"),
    ],
)
def test_appendix_each_way_to_pay_has_its_endpoint_and_answer(
    ours: Place, action: str, endpoint: str, named: str
) -> None:
    reply = ours.mini_program(action, order("ORDER_WAY"))
    assert ours.box.requests[-1].path == endpoint
    inner = as_printed(reply.body)
    assert named in inner
    assert len(inner) == (7 if named == "prepay_id" else 1)


def test_step_4_2_a_forward_needs_no_token(ours: Place) -> None:
    number = Stage(ours.box).order(paid=True)["out_trade_no"]
    (delivery,) = ours.box.deliver("order", number, shape="forwarded", path="/wechatpay/order")
    assert "authorization" not in {name.lower() for name in delivery.headers}
    assert delivery.acknowledged
