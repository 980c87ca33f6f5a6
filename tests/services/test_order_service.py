"""The default order service: rights as designed, log lines as the guides promise, nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from routes.actions import RIGHTS
from services.merchant_code import contained
from services.order_service import OrderService, Refused
from services.strategies import base
from services.strategies.base import Notification
from tests.support import heard
from utils.cloudbase_auth import Caller, KeysUnavailable

PAYMENT = {"out_trade_no": "ORDER_1", "trade_state": "SUCCESS"}
REFUND = {"out_refund_no": "REFUND_1", "refund_status": "ABNORMAL"}
TRANSFER = {"out_bill_no": "BILL1", "state": "CANCELLED"}
BY_RIGHT = {
    right: sorted(name for name, of in RIGHTS.items() if of == right) for right in set(RIGHTS.values())
}


def caller(**facts: Any) -> Caller:
    nobody = {
        **dict.fromkeys(("openid", "uid", "verified_openid", "verified_uid"), ""),
        **dict.fromkeys(("server", "operator", "keys_unavailable"), False),
    }
    return Caller(**{"source": "none", "admitted": True, **nobody, **facts})


@pytest.fixture
def orders() -> OrderService:
    service = OrderService()
    service.rights = RIGHTS
    return service


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    with heard("pay.orders") as lines:
        yield lines


def test_money_leaves_by_operators_alone() -> None:
    assert BY_RIGHT["operator"] == [
        "wxpay_fundflow_bill",
        "wxpay_orders_init",
        "wxpay_reconcile",
        "wxpay_refund",
        "wxpay_trade_bill",
        "wxpay_transfer",
        "wxpay_transfer_cancel",
    ]
    assert BY_RIGHT["payee"] == [
        "wxpay_transfer_batch_query",
        "wxpay_transfer_bill_query",
        "wxpay_transfer_bill_query_by_no",
    ]


@pytest.mark.parametrize("action", BY_RIGHT["caller"])
def test_a_caller_may_what_callers_may(orders: OrderService, action: str) -> None:
    orders.authorize(action, {}, caller())


@pytest.mark.parametrize("action", BY_RIGHT["operator"])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"openid": "oU"},
        {"uid": "1"},
        {"openid": "oU", "verified_openid": "oU"},
        {"verified_uid": "1"},
        {"source": "runtime"},
        {"source": "operator"},
    ],
    ids=str,
)
def test_nobody_else_may_what_operators_may(orders: OrderService, action: str, facts: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=f"{action} needs an operator") as refused:
        orders.authorize(action, {"openid": "oU", "_operatorKey": "x", "operator": True}, caller(**facts))
    assert refused.value.status == 403
    for setting in ("operatorKey", "cloudbaseEnvId", "operatorIds"):
        assert setting in str(refused.value)


@pytest.mark.parametrize("action", [*BY_RIGHT["operator"], *BY_RIGHT["payee"]])
def test_an_operator_may(orders: OrderService, action: str) -> None:
    orders.authorize(action, {"openid": "oANOTHER"}, caller(operator=True))


@pytest.mark.parametrize("action", [*BY_RIGHT["operator"], *BY_RIGHT["payee"]])
def test_while_keys_are_not_to_be_had_a_right_is_neither_given_nor_denied(
    orders: OrderService, action: str
) -> None:
    with pytest.raises(KeysUnavailable, match=r"^the keys that verify sign-in tokens cannot be fetched now: try again"):
        orders.authorize(action, {}, caller(keys_unavailable=True, openid="oU"))


@pytest.mark.parametrize("action", BY_RIGHT["payee"])
def test_a_payee_may_ask_first_and_is_shown_his_own_bill_only(orders: OrderService, action: str) -> None:
    payee = caller(openid="oU", verified_openid="oU")
    orders.authorize(action, {"out_bill_no": "BILL1"}, payee)
    orders.authorize(action, {"out_bill_no": "BILL1", "openid": "oU"}, payee)
    for openid in ("oANOTHER", "", "ou", None):
        with pytest.raises(Refused) as refused:
            orders.authorize(action, {"out_bill_no": "BILL1", "openid": openid}, payee)
        assert refused.value.status == 403


@pytest.mark.parametrize("action", BY_RIGHT["payee"])
def test_a_claimed_openid_makes_no_payee(orders: OrderService, action: str) -> None:
    with pytest.raises(Refused):
        orders.authorize(action, {"openid": "oU"}, caller(openid="oU", uid="1", verified_uid="1"))


ENDS = [SystemExit(0), SystemExit("bye"), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
ORDINARY = [Refused("no", 404), KeysUnavailable("x"), KeyError("x"), RuntimeError("x")]


@pytest.mark.parametrize("error", ENDS, ids=repr)
def test_what_would_end_the_worker_becomes_an_ordinary_exception(error: BaseException) -> None:
    def code() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
        contained(code)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", ORDINARY, ids=repr)
def test_an_ordinary_exception_stays_the_one_it_is(error: Exception) -> None:
    def code() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        contained(code)
    assert caught.value is error


@pytest.mark.parametrize("result", [None, True, {"code": "SUCCESS"}, SystemExit])
def test_a_result_is_handed_through(result: Any) -> None:
    assert contained(lambda: result) is result


def test_an_action_outside_the_table_is_nobodys_right(orders: OrderService) -> None:
    with pytest.raises(KeyError):
        orders.authorize("wxpay_unknown", {}, caller(operator=True))


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 500, 503])
def test_a_refusal_has_one_of_three_statuses(status: int) -> None:
    with pytest.raises(ValueError, match=r"^Refused\.status must be 403, 404 or 409$"):
        Refused("no", status)


def test_a_refusal_is_403_unless_it_says_otherwise() -> None:
    assert Refused("no").status == 403
    assert [Refused("no", status).status for status in (403, 404, 409)] == [403, 404, 409]
    assert str(Refused("no such order", 404)) == "no such order"


def test_the_log_line_of_a_payment_is_the_one_that_the_guides_name(
    orders: OrderService, said: list[tuple[str, str]]
) -> None:
    assert orders.handler_unified_trigger(dict(PAYMENT)) is None
    assert said[0] == ("INFO", "handlerUnifiedTrigger - payment result: ORDER_1 SUCCESS")


@pytest.mark.parametrize(
    ("handler", "params", "line"),
    [
        ("handler_refund_trigger", REFUND, "handlerRefundTrigger - refund result: REFUND_1 ABNORMAL"),
        ("handler_transfer_trigger", TRANSFER, "handlerTransferTrigger - transfer result: BILL1 CANCELLED"),
    ],
)
def test_the_others_likewise(
    orders: OrderService, said: list[tuple[str, str]], handler: str, params: dict[str, Any], line: str
) -> None:
    assert getattr(orders, handler)(dict(params)) is None
    assert said[0] == ("INFO", line)


@pytest.mark.parametrize(
    ("kind", "params", "line"),
    [
        (base.PAYMENT, PAYMENT, "handlerUnifiedTrigger - payment result: ORDER_1 SUCCESS"),
        (base.REFUND, REFUND, "handlerRefundTrigger - refund result: REFUND_1 ABNORMAL"),
        (base.TRANSFER, TRANSFER, "handlerTransferTrigger - transfer result: BILL1 CANCELLED"),
    ],
)
def test_a_notification_goes_to_the_handler_of_its_kind(
    orders: OrderService, said: list[tuple[str, str]], kind: base.Kind, params: dict[str, Any], line: str
) -> None:
    class Keeping(OrderService):
        def handler_unified_trigger(self, params: dict[str, Any]) -> Any:
            return "not kept"

    notification = Notification("EV-1", "X", kind, dict(params), "signature")
    assert orders.handler_notification(notification, 1.0) is None
    assert said[0] == ("INFO", line)
    result = Keeping().handler_notification(notification, 1.0)
    assert result == ("not kept" if kind is base.PAYMENT else None), "what the handler says is what counts"


@pytest.mark.parametrize(
    ("handler", "params", "what"),
    [
        ("handler_unified_trigger", PAYMENT, "payment"),
        ("handler_refund_trigger", REFUND, "refund"),
        ("handler_transfer_trigger", TRANSFER, "transfer"),
    ],
)
def test_each_acknowledgement_warns_that_nothing_was_kept(
    orders: OrderService, said: list[tuple[str, str]], handler: str, params: dict[str, Any], what: str
) -> None:
    getattr(orders, handler)(dict(params))
    (warning,) = [text for level, text in said if level == "WARNING"]
    expected = "acknowledged, but nothing was kept: set orderDatabaseUrl or orderService before going live"
    assert warning == f"{what} {expected}"


def test_what_wechat_pay_accepted_has_its_log_line(orders: OrderService, said: list[tuple[str, str]]) -> None:
    orders.handler_unified({"out_trade_no": "ORDER_1"})
    orders.handler_refund({"out_refund_no": "REFUND_1"})
    orders.handler_transfer({"out_bill_no": "BILL1"}, {})
    assert said == [
        ("INFO", "handlerUnified - order created: ORDER_1"),
        ("INFO", "handlerRefund - refund accepted: REFUND_1"),
        ("INFO", "handlerTransfer - transfer accepted: BILL1"),
    ]


@pytest.mark.parametrize("right", ["operator", "payee"])
def test_who_is_no_operator_is_told_how_to_be_one(orders: OrderService, right: str) -> None:
    for action in BY_RIGHT[right]:
        with pytest.raises(Refused) as refused:
            orders.authorize(action, {}, caller(openid="o1"))
        assert str(refused.value) == (
            f"{action} needs an operator: send x-operator-key (or _operatorKey) equal to operatorKey, use a server"
            " token verified by cloudbaseEnvId, or list your verified openid or uid in operatorIds"
            + (", or be its payee with a verified openid" if right == "payee" else "")
            + " (openids are verified by cloudbaseEnvId, or by callerHeaders=trusted without a public route)"
        )
        assert refused.value.status == 403


def test_by_default_nothing_is_changed_and_everything_accepted(orders: OrderService) -> None:
    params = {"out_trade_no": "ORDER_1", "amount": {"total": 20}}
    assert orders.before_unified(params, caller()) is None
    assert orders.before_refund(params, caller()) is None
    assert orders.before_transfer(params, caller()) is None
    assert orders.handler_unified(params) is None
    assert orders.handler_refund({"out_refund_no": "REFUND_1"}) is None
    assert orders.handler_transfer({"out_bill_no": "BILL1"}, {"package_info": "x"}) is None
    assert orders.handler_query("wxpay_refund_query", params, {}) is None
    assert orders.handler_close(params) is None
    assert orders.handler_refused("payment", params, {"status": 403, "code": "NO_AUTH", "message": ""}) is None
    assert orders.handler_encrypted(params, "SERIAL") == (params, "SERIAL")
    assert orders.handler_notification(Notification("EV-1", "COUPON.USE", None, {}, "signature"), 1.0) is None
    assert orders.needs_database is False
    assert params == {"out_trade_no": "ORDER_1", "amount": {"total": 20}}


def test_log_lines_hold_no_person(orders: OrderService, said: list[tuple[str, str]]) -> None:
    openid = "oPERSON0000000000000000000001"
    orders.handler_unified({"out_trade_no": "ORDER_1", "payer": {"openid": openid}})
    orders.handler_unified_trigger({**PAYMENT, "payer": {"openid": openid}})
    orders.handler_transfer(
        {"out_bill_no": "BILL1", "openid": openid, "user_name": "张三丰"}, {"package_info": "p"}
    )
    orders.handler_transfer_trigger({**TRANSFER, "openid": openid})
    assert len(said) == 6
    assert not [text for _, text in said if openid in text or "张三丰" in text]
