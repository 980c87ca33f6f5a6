"""The "FAQ" of the Integration Center, as far as it touches the function."""

from __future__ import annotations

import json

import pytest

from sandbox import Credentials, Sandbox
from tests.guides.conftest import Place, injected, order, signed_in
from tests.guides.test_mini_program_pay import as_printed, missing
from tests.http.plays import Stage
from tests.sandbox.page.window import soon
from tests.support import OPERATOR_KEY, in_process


def test_q1_credentials_come_from_variables_and_are_never_shown(ours: Place) -> None:
    ours.paid("ORDER_SECRET")
    log, variables = ours.function.log_text(), injected(ours.box)
    assert variables["apiV3Key"] not in log
    assert variables["privateKey"].splitlines()[3] not in log


def test_q4_two_functions_serve_two_merchants_side_by_side() -> None:
    with Sandbox() as one, Sandbox() as other:
        assert one.credentials.merchant_id != other.credentials.merchant_id or one.url != other.url
        with in_process(injected(one)) as first, in_process(injected(other)) as second:
            assert first.call("wxpay_order", order("ORDER_ONE")).status == 200
            assert second.call("wxpay_order", order("ORDER_TWO")).status == 200
        assert list(one.ledger.orders) == ["ORDER_ONE"]
        assert list(other.ledger.orders) == ["ORDER_TWO"]


def test_q5_an_order_service_of_ones_own_extends_it_without_touching_the_rest(credentials: Credentials) -> None:
    settings = {"orderService": "examples.own_order_service.orders:ShopOrders"}
    with Sandbox(credentials=credentials) as box, in_process(injected(box, **settings)) as function:
        reply = function.call("wxpay_order", {**order("ORDER_RISK"), "description": "Gold"})
    assert reply.status == 404, "a check of one's own before the order"
    assert box.requests == []


@pytest.mark.parametrize("kind", ["order", "refund", "transfer"])
def test_q5_the_built_in_callback_paths_are_there(ours: Place, kind: str) -> None:
    reply = ours.function.post(f"/wechatpay/{kind}", {})
    assert (reply.status, reply.body["code"]) == (400, "FAIL"), "not 404"
    assert ours.function.post("/wechatpay/another", {}).status == 404


def test_q6_another_cloud_function_calls_it_by_its_action(desk: Place) -> None:
    """tcb.callFunction delivers the body at the root, without an end user."""
    desk.paid("ORDER_CALLED")
    body = {"_action": "wxpay_query_order_by_out_trade_no", "out_trade_no": "ORDER_CALLED"}
    reply = desk.function.post("/", body)
    assert as_printed(reply.body)["trade_state"] == "SUCCESS"
    refund = {
        "_action": "wxpay_refund",
        "_operatorKey": OPERATOR_KEY,
        "out_trade_no": "ORDER_CALLED",
        "out_refund_no": "REFUND_CALLED",
        "amount": {"refund": 5, "total": 20},
    }
    assert as_printed(desk.function.post("/", refund).body)["out_refund_no"] == "REFUND_CALLED"


def test_q7_a_mini_program_needs_no_token(ours: Place) -> None:
    assert ours.mini_program("wxpay_order", order("ORDER_MINI")).status == 200


def test_q7_everybody_else_needs_a_token(ours: Place) -> None:
    body = {"_action": "wxpay_order_native", **order("ORDER_TOKEN")}
    assert ours.web(body, token="").status_code == 401
    assert ours.web(body, token="no.token.atall").status_code == 401
    assert ours.web(body).status_code == 200


def test_q8_a_public_key_without_its_id_is_named(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box, in_process(injected(box, wxPayPublicKeyId=None)) as function:
        assert any(text.startswith("wxPayPublicKeyId") for text in missing(function))


def test_q8_keys_of_the_two_sides_are_not_mixed_up(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        variables = injected(box, privateKey=injected(box)["wxPayPublicKey"])
        with in_process(variables) as function:
            assert any(text.startswith("privateKey (") for text in missing(function))


@pytest.mark.parametrize("token", ["", "expired", "forged"])
def test_q9_without_a_valid_token_the_gateway_answers_401(ours: Place, token: str) -> None:
    tokens = {"expired": signed_in(ours.box, exp=1), "forged": signed_in(ours.box, key="other"), "": ""}
    answer = ours.web({"_action": "wxpay_order_native", **order("ORDER_401")}, tokens[token])
    assert answer.status_code == 401
    assert ours.box.requests == []


def test_q9_off_the_platform_a_caller_without_any_sign_is_answered_401(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box, in_process(injected(box, TENCENTCLOUD_RUNENV=None)) as function:
        reply = function.call("wxpay_order", order("ORDER_401"), {})
    assert (reply.status, reply.body["code"]) == (401, -1)
    assert "wx.cloud.callHTTPFunction" in reply.body["msg"]


def test_q10_a_forwarded_callback_shows_in_the_log_and_so_does_a_refused_one(ours: Place) -> None:
    number = Stage(ours.box).order(paid=True)["out_trade_no"]
    ours.box.deliver("order", number, shape="forwarded", path="/")
    assert soon(lambda: f"handlerUnifiedTrigger - payment result: {number} SUCCESS" in ours.function.log_text())
    unpaid = Stage(ours.box).order()["out_trade_no"]
    forged = {
        "ParsedContent": {"out_trade_no": unpaid, "trade_state": "SUCCESS", "amount": {"total": 100}},
        "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"},
    }
    reply = ours.function.post("/", forged)
    assert (reply.status, reply.body["code"]) == (400, "FAIL")
    assert soon(lambda: "WeChat Pay does not confirm this notification" in ours.function.log_text())
    assert f"payment result: {unpaid}" not in ours.function.log_text()


def test_q10_a_handler_that_throws_is_in_the_log_and_the_callback_comes_again(credentials: Credentials) -> None:
    from services.order_service import OrderService  # noqa: PLC0415 - only here

    class Broken(OrderService):
        def handler_unified_trigger(self, params: object) -> None:
            raise RuntimeError("the shop's own fault")

    with Sandbox(credentials=credentials) as box, in_process(injected(box), Broken()) as function:
        box.function = function.url
        assert function.call("wxpay_order", order("ORDER_BROKEN")).status == 200
        (delivery,) = box.pay("ORDER_BROKEN")
    assert json.loads(delivery.answer)["code"] == "FAIL"
    assert delivery.next is not None, "WeChat Pay delivers again"
