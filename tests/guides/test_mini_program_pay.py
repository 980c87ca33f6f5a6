"""The guide "Mini Program WeChat Pay", from the credentials to its last question, with our function."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from sandbox.core import OPENID
from services.order_service import OrderService
from tests.guides.conftest import (
    ENV_ID,
    FUNCTION_NAME,
    INJECTED,
    MiniProgram,
    Place,
    injected,
    order,
)
from tests.guides.seeds import Guide, replaced
from tests.http.plays import Stage
from tests.sandbox.page.window import soon
from tests.support import OPERATOR_KEY, ROOT, Function, in_process

GUIDE = "mini-program-pay"
OPERATOR = {"x-operator-key": OPERATOR_KEY}
SEVEN = ("appId", "merchantId", "apiV3Key", "merchantSerialNumber", "privateKey", "wxPayPublicKey", "wxPayPublicKeyId")
COUNTERPARTS = {
    "index.js": "app.py",
    "app.js": "app.py",
    "scf_bootstrap": "scf_bootstrap",
    "bin/www": "make serve",
    "Dockerfile": "Dockerfile",
    "cloudbaserc.json": "cloudbaserc.json",
    "package.json": "requirements.txt",
    "config/config.js": "config/settings.py",
    "controllers/payController.js": "controllers/pay_controller.py",
    "routes/pay.js": "routes/actions.py",
    "services/payService.js": "services/pay_service.py",
    "services/orderService.js": "services/order_service.py",
    "services/strategies/sdkStrategy.js": "services/strategies/sdk_strategy.py",
    "utils/validator.js": "utils/validator.py",
    "utils/cloudbaseAuth.js": "utils/cloudbase_auth.py",
    "tests/": "tests",
}


def missing(function: Function) -> list[str]:
    """What the start-up check names, as GET /healthz tells it."""
    answer = function.request("GET", "/healthz")
    assert answer.status == 200
    return [str(text) for text in answer.body["data"]["missing"]]


def app_code() -> str:
    return Guide.read(GUIDE).before("// ============ app.js", "Implementation notes:")


# Step 1


@pytest.mark.parametrize("name", SEVEN)
def test_step_1_4_a_credential_that_is_missing_is_named(credentials: Credentials, name: str) -> None:
    with Sandbox(credentials=credentials) as box, in_process(injected(box, **{name: None})) as function:
        reply = function.call("wxpay_order", order("ORDER_1"))
    assert (reply.status, reply.body["code"]) == (500, -1)
    assert reply.body["msg"].startswith("MISSING_CREDENTIALS: ")
    assert re.search(rf"\b{name}\b", reply.body["msg"])
    assert box.requests == []


def test_step_1_3_without_a_public_key_platform_certificates_are_fetched(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials, key_mode="certificate") as box:
        variables = injected(box_with_key(box), wxPayPublicKey=None, wxPayPublicKeyId=None)
        with in_process(variables) as function:
            assert missing(function) == []
            assert function.call("wxpay_order", order("ORDER_1")).status == 200
            assert "/v3/certificates" in [request.path for request in box.requests]


def box_with_key(box: Sandbox) -> Sandbox:
    """`injected` reads all ten names, which a sandbox in certificate mode does not have."""
    whole = box.env(public_key=True)
    box.env = lambda **_: whole  # type: ignore[method-assign]
    return box


def test_step_1_3_our_own_certificate_in_the_place_of_wechat_pays_key_is_told_apart(credentials: Credentials) -> None:
    box = Sandbox(credentials=credentials)
    with box, in_process(injected(box, wxPayPublicKey=credentials.merchant.pem)) as function:
        named = [text for text in missing(function) if text.startswith("wxPayPublicKey ")]
        reply = function.call("wxpay_order", order("ORDER_1"))
    assert named or reply.status >= 500, "what such a key verifies is not believed"
    assert reply.body["code"] == -1


# Step 2


def test_step_2_3_wechat_pay_is_told_the_integration_centers_addresses(desk: Place) -> None:
    desk.paid("ORDER_NOTIFY")
    refund = {
        "out_trade_no": "ORDER_NOTIFY",
        "out_refund_no": "REFUND_NOTIFY",
        "amount": {"refund": 5, "total": 20},
    }
    assert desk.mini_program("wxpay_refund", refund, **OPERATOR).status == 200
    bodies = [request.json for request in desk.box.requests if request.method == "POST"]
    sent, variables = [body["notify_url"] for body in bodies], desk.box.env()
    assert sent == [variables["notifyURLPayURL"], variables["notifyURLRefundsURL"]]
    assert [url.rpartition("/wechatpay/")[2] for url in sent] == ["order", "refund"]


@pytest.mark.parametrize("forward_path", [None, "/"], ids=["at its path", "at the root"])
@pytest.mark.parametrize("envelope", ["rawData", None], ids=["with its envelope", "plaintext alone"])
@pytest.mark.parametrize("kind", ["order", "refund", "transfer"])
def test_step_2_3_a_forwarded_callback_is_acknowledged(
    ours: Place, kind: str, envelope: str | None, forward_path: str | None
) -> None:
    stage = Stage(ours.box)
    if kind == "order":
        number = stage.order(paid=True)["out_trade_no"]
    elif kind == "refund":
        number = stage.refund()["out_refund_no"]
        ours.box.settle_refund(number, deliver=False)
    else:
        number = stage.transfer()["out_bill_no"]
        ours.box.finish_transfer(number, deliver=False)
    path = forward_path or f"/wechatpay/{kind}"
    (delivery,) = ours.box.deliver(kind, number, shape="forwarded", envelope=envelope, path=path)
    assert (delivery.status, json.loads(delivery.answer)["code"]) == (200, "SUCCESS")
    assert delivery.latency < 5


# Step 3


def test_step_3_the_ten_variables_alone_are_a_complete_configuration(ours: Place) -> None:
    assert len(INJECTED) == 10
    assert missing(ours.function) == []
    assert "problems: none; widened trust: none" in ours.function.log_text()


@pytest.mark.parametrize("original", COUNTERPARTS)
def test_step_3_1_a_file_of_the_original_has_its_counterpart(original: str) -> None:
    ours = COUNTERPARTS[original]
    assert ours == "make serve" or (ROOT / ours).exists()
    page = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8")
    assert f"\n| {original} | `{ours}" in page


def test_step_3_1_the_bootstrap_listens_on_9000_and_the_local_start_on_3000() -> None:
    assert "0.0.0.0:9000" in (ROOT / "scf_bootstrap").read_text()
    assert "PORT ?= 3000" in (ROOT / "Makefile").read_text()


REFUND = {"out_trade_no": "ORDER_ROUTE", "out_refund_no": "REFUND_ROUTE", "amount": {"refund": 5, "total": 20}}
TRANSFER = {
    "out_bill_no": "BILLROUTE",
    "transfer_scene_id": "1000",
    "openid": OPENID,
    "transfer_amount": 100,
    "transfer_remark": "thanks",
    "transfer_scene_report_infos": [
        {"info_type": "活动名称", "info_content": "spring"},
        {"info_type": "奖励说明", "info_content": "prize"},
    ],
}
ROUTES = (
    "wxpay_order",
    "wxpay_query_order_by_out_trade_no",
    "wxpay_query_order_by_transaction_id",
    "wxpay_close_order",
    "wxpay_refund",
    "wxpay_refund_query",
    "wxpay_transfer",
    "wxpay_transfer_bill_query",
    "wxpay_transfer_bill_query_by_no",
)


def prepared(place: Place, action: str) -> dict[str, Any]:
    """A body for the action, after whatever has to be there before it."""
    if action == "wxpay_order":
        return {**order("ORDER_ROUTE"), "payer": {"openid": OPENID}}
    if action == "wxpay_transfer":
        return dict(TRANSFER)
    if action.startswith("wxpay_transfer"):
        made = place.mini_program("wxpay_transfer", TRANSFER, **OPERATOR).body["data"]["data"]
        number = "transfer_bill_no" if action.endswith("_by_no") else "out_bill_no"
        return {number: made[number]}
    place.mini_program("wxpay_order", order("ORDER_ROUTE"))
    bodies: dict[str, dict[str, Any]] = {"wxpay_close_order": {"out_trade_no": "ORDER_ROUTE"}}
    if action not in bodies:
        place.box.pay("ORDER_ROUTE")
    if action == "wxpay_refund_query":
        place.mini_program("wxpay_refund", REFUND, **OPERATOR)
    return {
        **bodies,
        "wxpay_refund": REFUND,
        "wxpay_refund_query": {"out_refund_no": "REFUND_ROUTE"},
        "wxpay_query_order_by_out_trade_no": {"out_trade_no": "ORDER_ROUTE"},
        "wxpay_query_order_by_transaction_id": {
            "transaction_id": place.box.ledger.orders["ORDER_ROUTE"].transaction_id
        },
    }[action]


def as_printed(body: Any) -> dict[str, Any]:
    """`data.data` of an answer that has the guide's shape."""
    assert (body["code"], body["msg"]) == (0, "success")
    assert set(body) == {"code", "msg", "data"}
    assert set(body["data"]) == {"status", "data"}
    inner: dict[str, Any] = body["data"]["data"]
    return inner


@pytest.mark.parametrize("action", ROUTES)
def test_step_3_2_a_route_answers_at_its_path(desk: Place, action: str) -> None:
    reply = desk.mini_program(action, prepared(desk, action), **OPERATOR)
    assert reply.status == 200, reply.text
    as_printed(reply.body)
    assert reply.body["data"]["status"] == (204 if action == "wxpay_close_order" else 200)


@pytest.mark.parametrize("action", ROUTES)
def test_step_3_2_the_legacy_dispatch_by_action_through_the_gateway_answers_alike(desk: Place, action: str) -> None:
    body = prepared(desk, action)
    answer = desk.web({"_action": action, "_operatorKey": OPERATOR_KEY, **body})
    assert answer.status_code == 200, answer.text
    as_printed(answer.json())


@pytest.mark.parametrize(
    "action", ["wxpay_refund", "wxpay_transfer", "wxpay_transfer_bill_query", "wxpay_transfer_bill_query_by_no"]
)
def test_step_3_2_money_leaves_and_transfers_are_shown_to_an_operator_only(
    ours: Place, desk: Place, action: str
) -> None:
    body = prepared(desk, action)
    asked = len(desk.box.requests)
    for place in (ours, desk):
        reply = place.mini_program(action, body)
        assert (reply.status, reply.body["code"]) == (403, -1)
        assert f"{action} needs an operator" in reply.body["msg"] or action not in reply.body["msg"]
        assert "operatorKey" in reply.body["msg"]
    assert not any(request.method == "POST" for request in desk.box.requests[asked:])
    assert desk.mini_program(action, body, **OPERATOR).status == 200


def test_step_3_2_a_transfer_without_its_callback_address_is_asked_about(desk: Place) -> None:
    reply = desk.mini_program("wxpay_transfer", TRANSFER, **OPERATOR)
    assert reply.status == 200
    assert "notify_url" not in desk.box.requests[-1].json
    desk.box.finish_transfer("BILLROUTE")
    assert desk.box.deliveries == []
    shown = desk.mini_program("wxpay_transfer_bill_query", {"out_bill_no": "BILLROUTE"}, **OPERATOR)
    assert as_printed(shown.body)["state"] == "SUCCESS"


class Recorder(OrderService):
    """Keeps what its handlers are called with, under the original's names."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.pause = 0.0

    def handler_unified(self, params: Any) -> Any:
        self.heard.append(("handlerUnified", (params,)))

    def handler_unified_trigger(self, params: Any) -> Any:
        time.sleep(self.pause)
        self.heard.append(("handlerUnifiedTrigger", (params,)))
        return {"code": "SUCCESS"}

    def handler_refund(self, params: Any) -> Any:
        self.heard.append(("handlerRefund", (params,)))

    def handler_refund_trigger(self, params: Any) -> Any:
        self.heard.append(("handlerRefundTrigger", (params,)))

    def handler_transfer(self, params: Any, result: Any) -> Any:
        self.heard.append(("handlerTransfer", (params, result)))

    def handler_transfer_trigger(self, params: Any) -> Any:
        self.heard.append(("handlerTransferTrigger", (params,)))


TOLD = {
    "handlerUnified": ["out_trade_no", "amount", "payer"],
    "handlerUnifiedTrigger": ["out_trade_no", "transaction_id", "trade_state", "amount", "payer"],
    "handlerRefund": ["out_trade_no", "out_refund_no", "amount"],
    "handlerRefundTrigger": ["out_refund_no", "refund_id", "refund_status", "amount"],
    "handlerTransfer": ["out_bill_no", "transfer_amount", "openid"],
    "handlerTransferTrigger": ["out_bill_no", "transfer_bill_no", "state"],
}


@pytest.fixture(scope="module")
def recorded(credentials: Credentials) -> dict[str, tuple[Any, ...]]:
    """One whole life through a recording order service: what each handler was called with."""
    recorder = Recorder()
    with Sandbox(credentials=credentials) as box:
        variables = injected(box, operatorKey=OPERATOR_KEY, transferNotifyUrl=box.env()["transferNotifyUrl"])
        with in_process(variables, recorder) as function:
            box.function = function.url
            place = Place(box, function)
            place.paid("ORDER_ROUTE")
            place.mini_program("wxpay_refund", REFUND, **OPERATOR)
            box.settle_refund("REFUND_ROUTE")
            place.mini_program("wxpay_transfer", TRANSFER, **OPERATOR)
            box.finish_transfer("BILLROUTE")
            assert [delivery.acknowledged for delivery in box.deliveries] == [True] * 3
    assert [name for name, _ in recorder.heard] == list(TOLD), "each once, in the order of things"
    return dict(recorder.heard)


@pytest.mark.parametrize("handler", TOLD)
def test_step_3_3_a_handler_is_called_with_what_the_guide_needs(
    recorded: dict[str, tuple[Any, ...]], handler: str
) -> None:
    params, *result = recorded[handler]
    assert set(TOLD[handler]) <= set(params)
    assert len(result) == (handler == "handlerTransfer")
    if result:
        assert result[0]["transfer_bill_no"]


def test_step_3_3_a_refund_ends_in_the_states_of_apiv3(recorded: dict[str, tuple[Any, ...]], ours: Place) -> None:
    assert recorded["handlerRefundTrigger"][0]["refund_status"] == "SUCCESS"
    for end in ("CLOSED", "ABNORMAL"):
        number = Stage(ours.box).refund()["out_refund_no"]
        ours.box.settle_refund(number, end, deliver=False)
        (delivery,) = ours.box.deliver("refund", number, shape="forwarded", path="/wechatpay/refund")
        assert delivery.acknowledged
        assert soon(lambda end=end, number=number: f"{number} {end}" in ours.function.log_text())


def test_step_3_3_by_default_a_handler_only_logs_and_says_so(ours: Place) -> None:
    ours.paid("ORDER_LOGGED")
    lines = [line for line in ours.function.log_lines() if line["level"] == "WARNING"]
    assert any("nothing" in line["message"] or "not kept" in line["message"] for line in lines), lines[-3:]


def test_step_3_3_success_within_five_seconds_or_delivered_again(credentials: Credentials) -> None:
    recorder = Recorder()
    with Sandbox(credentials=credentials) as box, in_process(injected(box, handlerTimeout="0.5"), recorder) as function:
        box.function = function.url
        recorder.pause = 1.0
        assert Place(box, function).mini_program("wxpay_order", order("ORDER_SLOW")).status == 200
        (first,) = box.pay("ORDER_SLOW")
        assert (first.status, first.latency < 5) == (500, True)
        assert json.loads(first.answer)["code"] == "FAIL"
        recorder.pause = 0.0
        assert soon(lambda: len(recorder.heard) == 2), "the first one is done"
        box.advance("15s")
        assert box.deliveries[-1].acknowledged


# Step 4


def test_step_4_1_the_app_initialises_cloud_development(mini_program: MiniProgram) -> None:
    start = Guide.read(GUIDE).before("App({", "💡")
    seen = mini_program(source=start)
    assert seen["initialised"] == {"env": "your-env-id", "traceUser": True}
    assert seen["thrown"] is None


def test_step_4_2_without_an_env_id_the_app_says_so_and_does_not_start(mini_program: MiniProgram) -> None:
    seen = mini_program(source=app_code())
    assert [shown["kind"] for shown in seen["shown"]] == ["modal"]
    assert seen["initialised"] is None


@pytest.fixture
def page_code() -> str:
    """app.js and the page, with the two constants replaced as the guide tells to."""
    return replaced(app_code(), ENV_ID=ENV_ID, FUNCTION_NAME=FUNCTION_NAME)


def test_step_4_2_order_payment_and_result(ours: Place, mini_program: MiniProgram, page_code: str) -> None:
    seen = mini_program(source=page_code, run="pay()")

    assert seen["printed"] == [f"[App] Cloud Development initialized, env: {ENV_ID}"]
    assert seen["thrown"] is None
    assert seen["shown"] == []
    (call,) = seen["calls"]
    assert call["path"] == "/wx-pay/wxpay_order"
    assert seen["payments"] == ["requestPayment:ok"]
    number = call["data"]["out_trade_no"]
    assert [sheet["number"] for sheet in seen["sheets"]] == [number]
    (delivery,) = ours.box.deliveries
    assert (delivery.number, delivery.acknowledged) == (number, True)
    shown = ours.mini_program("wxpay_query_order_by_out_trade_no", {"out_trade_no": number})
    assert as_printed(shown.body)["trade_state"] == "SUCCESS"
    assert soon(lambda: f"handlerUnifiedTrigger - payment result: {number} SUCCESS" in ours.function.log_text())


def test_step_4_2_the_answer_has_the_printed_shape(ours: Place, mini_program: MiniProgram, page_code: str) -> None:
    (call,) = mini_program(source=page_code, run="pay()")["calls"]
    assert call["status"] == 200
    inner = as_printed(call["body"])
    assert {"timeStamp", "nonceStr", "package", "signType", "paySign"} <= set(inner)
    assert set(inner) == {"appId", "prepay_id", "timeStamp", "nonceStr", "package", "signType", "paySign"}
    assert inner["package"] == f"prepay_id={inner['prepay_id']}"
    assert inner["signType"] == "RSA"
    assert isinstance(inner["timeStamp"], str)


def test_step_4_2_the_openid_comes_from_the_platform_and_not_from_the_body(ours: Place) -> None:
    assert ours.mini_program("wxpay_order", order("ORDER_OWN")).status == 200
    body = {**order("ORDER_OTHER"), "payer": {"openid": "oSomebodyElse000000000000001"}}
    assert ours.mini_program("wxpay_order", body).status == 200
    assert [request.json["payer"] for request in ours.box.requests] == [{"openid": OPENID}] * 2


@pytest.mark.parametrize("name", ["description", "out_trade_no", "amount"])
def test_step_4_2_an_order_needs_its_three_fields(ours: Place, name: str) -> None:
    body = order("ORDER_THREE")
    del body[name]
    reply = ours.mini_program("wxpay_order", body)
    assert (reply.status, reply.body["code"]) == (400, -1)
    assert name in reply.body["msg"]
    assert ours.box.requests == []


def test_step_4_2_a_user_who_cancels_leaves_the_order_unpaid(
    ours: Place, mini_program: MiniProgram, page_code: str
) -> None:
    seen = mini_program(source=page_code, run="pay()", will="cancel")
    assert seen["payments"] == ["requestPayment:fail cancel"]
    number = seen["calls"][0]["data"]["out_trade_no"]
    reply = ours.mini_program("wxpay_query_order_by_out_trade_no", {"out_trade_no": number})
    assert as_printed(reply.body)["trade_state"] == "NOTPAY"
    assert ours.mini_program("wxpay_close_order", {"out_trade_no": number}).status == 200


def test_step_4_2_what_wechat_pay_refuses_never_reaches_the_payment_sheet(
    ours: Place, mini_program: MiniProgram, page_code: str
) -> None:
    ours.box.merchant.products.discard("jsapi")
    seen = mini_program(source=page_code, run="pay()")
    assert seen["payments"] == []
    assert re.fullmatch(r"HTTP 4\d\d", seen["thrown"]["msg"]), "the page rejects what is not 2xx"
    body = seen["thrown"]["data"]
    assert body["code"] == -1
    assert body["data"]["data"]["code"] in body["msg"]


def test_step_4_3_a_function_name_that_was_not_replaced_is_not_found(ours: Place, mini_program: MiniProgram) -> None:
    seen = mini_program(source=replaced(app_code(), ENV_ID=ENV_ID), run="pay()")
    assert seen["thrown"]["msg"] == "HTTP 404"
    assert ours.box.requests == []


def weda_code() -> str:
    code = Guide.read(GUIDE).before("* WeDa page method", "Troubleshooting:")
    return "/**\n" + code.replace("'pay-common'", f"'{FUNCTION_NAME}'").replace("'your-env-id'", f"'{ENV_ID}'")


def test_step_4_4_the_weda_method_orders_and_pays(ours: Place, mini_program: MiniProgram) -> None:
    seen = mini_program(module=weda_code())
    assert (seen["thrown"], seen["shown"]) == (None, [])
    assert [call["path"] for call in seen["calls"]] == ["/wx-pay/wxpay_order"]
    assert seen["payments"] == ["requestPayment:ok"]
    assert ours.box.ledger.orders[seen["sheets"][0]["number"]].state == "SUCCESS"
    assert ours.box.deliveries[-1].acknowledged


def test_step_4_4_the_weda_method_shows_what_was_refused(ours: Place, mini_program: MiniProgram) -> None:
    ours.box.merchant.products.discard("jsapi")
    seen = mini_program(module=weda_code())
    (toast,) = seen["shown"]
    assert (toast["kind"], toast["icon"]) == ("toast", "error")
    assert toast["title"].startswith("WeChat Pay: ")
    assert seen["payments"] == []


def test_step_4_4_a_wrong_route_is_not_found(ours: Place) -> None:
    reply = ours.function.post("/wxpay-order", {**order("ORDER_ROUTE")})
    assert (reply.status, reply.body["code"]) == (404, -1)
    reply = ours.function.call("wxpay_ordre", order("ORDER_ROUTE"))
    assert (reply.status, reply.body["code"]) == (404, -1)


# Questions


def test_faq_1_an_old_base_library_lacks_the_call(mini_program: MiniProgram, page_code: str) -> None:
    seen = mini_program(source=page_code, run="pay()", lacks=("callHTTPFunction",))
    assert "callHTTPFunction is not a function" in seen["thrown"]["message"]


@pytest.fixture(scope="module")
def whole_key(credentials: Credentials) -> str:
    with Sandbox(credentials=credentials) as box:
        return box.env()["privateKey"]


SHAPES = {
    "literal line breaks": lambda pem: pem.replace("\n", "\\n"),
    "spaces for line breaks": lambda pem: pem.strip().replace("\n", " "),
    "no line breaks": lambda pem: pem.replace("\n", ""),
    "no first and last line": lambda pem: "\n".join(pem.strip().splitlines()[1:-1]),
    "blanks around it": lambda pem: f"  {pem}  \n",
    "Windows line breaks": lambda pem: pem.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_faq_3_a_key_that_pasting_has_bent_is_mended(credentials: Credentials, whole_key: str, shape: str) -> None:
    box = Sandbox(credentials=credentials)
    with box, in_process(injected(box, privateKey=SHAPES[shape](whole_key))) as function:
        assert function.call("wxpay_order", order("ORDER_MENDED")).status == 200


def test_faq_3_a_key_that_cannot_be_mended_is_named_and_never_shown(credentials: Credentials, whole_key: str) -> None:
    torn = whole_key[: len(whole_key) // 2]
    with Sandbox(credentials=credentials) as box, in_process(injected(box, privateKey=torn)) as function:
        reply = function.call("wxpay_order", order("ORDER_TORN"))
    assert reply.status == 500
    assert re.match(r"MISSING_CREDENTIALS: privateKey \(.+\)", reply.body["msg"])
    assert torn.splitlines()[3] not in reply.text


def test_faq_4_an_openid_of_another_app_is_refused_with_wechat_pays_words(ours: Place) -> None:
    ours.box.fault("error", code="PARAM_ERROR", times=1)
    reply = ours.mini_program("wxpay_order", order("ORDER_FOREIGN"))
    assert (reply.status, reply.body["code"]) == (400, -1)
    assert reply.body["msg"].startswith("WeChat Pay: PARAM_ERROR")
    assert reply.body["data"]["data"]["code"] == "PARAM_ERROR"


def test_faq_5_a_callback_shows_in_the_log(ours: Place) -> None:
    ours.paid("ORDER_FAQ_5")
    assert soon(lambda: "handlerUnifiedTrigger - payment result: ORDER_FAQ_5 SUCCESS" in ours.function.log_text())


def test_faq_5_without_an_apiv3_key_at_wechat_pay_nothing_is_sent_and_a_query_tells(ours: Place) -> None:
    ours.mini_program("wxpay_order", order("ORDER_NO_KEY"))
    ours.box.merchant.api_v3_key = False
    assert ours.box.pay("ORDER_NO_KEY") == []
    ours.box.merchant.api_v3_key = True
    reply = ours.mini_program("wxpay_query_order_by_out_trade_no", {"out_trade_no": "ORDER_NO_KEY"})
    assert as_printed(reply.body)["trade_state"] == "SUCCESS"


def test_faq_6_an_app_id_that_is_not_bound_is_told(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box, in_process(injected(box, appId="wx0000000000000000")) as function:
        reply = function.call("wxpay_order", order("ORDER_UNBOUND"))
    assert (reply.status, reply.body["code"]) == (400, -1)
    assert "APPID_MCHID_NOT_MATCH" in reply.body["msg"]


def test_faq_9_without_an_openid_there_is_no_jsapi_order(ours: Place) -> None:
    reply = ours.function.call("wxpay_order", order("ORDER_NOBODY"), {"x-wx-source": "wx_devtools"})
    assert (reply.status, reply.body["code"]) == (400, -1)
    assert "payer.openid" in reply.body["msg"]
    assert ours.web({"_action": "wxpay_order", **order("ORDER_NOBODY")}, ours.box.token("anonymous")).status_code in (
        401,
        403,
    )
    assert ours.box.requests == []


def test_faq_10_with_a_public_key_certificates_are_never_fetched(ours: Place) -> None:
    ours.paid("ORDER_FAQ_10")
    assert ours.box.requests
    assert "/v3/certificates" not in [request.path for request in ours.box.requests]


def test_faq_10_a_value_that_is_no_public_key_is_named(credentials: Credentials) -> None:
    box = Sandbox(credentials=credentials)
    with box, in_process(injected(box, wxPayPublicKey=credentials.public_key_id)) as function:
        assert [text for text in missing(function) if text.startswith("wxPayPublicKey ")]


# Appendix


BROKEN = {
    "signMode": "both",
    "appId": None,
    "merchantId": "19",
    "apiV3Key": "too short",
    "merchantSerialNumber": "12",
    "privateKey": "none",
    "wxPayPublicKey": None,
    "wxPayPublicKeyId": None,
    "notifyURLPayURL": "http://shop.example.com/wechatpay/order",
    "notifyURLRefundsURL": "https://shop.example.com/wechatpay/refund?x=1",
    "transferNotifyUrl": "https://localhost/wechatpay/transfer",
}


@pytest.mark.parametrize("name", BROKEN)
def test_appendix_a_variable_is_read_and_its_faults_are_named(credentials: Credentials, name: str) -> None:
    with Sandbox(credentials=credentials) as box, in_process(injected(box, **{name: BROKEN[name]})) as function:
        assert any(re.match(rf"{name}\b", text) for text in missing(function)), missing(function)


def test_appendix_an_unset_sign_mode_is_gateway(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box, in_process(injected(box, signMode=None)) as function:
        assert function.request("GET", "/healthz").body["data"]["signMode"] == "gateway"
