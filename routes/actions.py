"""THE table of actions. The four ways in, the event routing and the rights are generated from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controllers import pay_controller as pay
from services.strategies.base import PAYMENT, REFUND, TRANSFER, Kind
from utils import validator

CALLER, OPERATOR, PAYEE, EVIDENCE = "caller", "operator", "payee", "evidence"

# What every call and callback needs; the optional ones among them count only when they are broken.
CREDENTIALS = (
    "appId",
    "merchantId",
    "merchantSerialNumber",
    "privateKey",
    "apiV3Key",
    "wxPayPublicKey",
    "wxPayPublicKeyId",
    "wxPayApiBase",
    "wxPayApiBackup",
    "orderService",
    "orderDatabaseUrl",
)
_PAY_URL = "notifyURLPayURL"
_REFUND_URL = "notifyURLRefundsURL"


@dataclass(frozen=True)
class Action:
    """A caller's action: who may, the settings it needs, the schema of its body, and what carries it out.

    `fill` completes the body from the request; `notify_setting` is the variable whose URL goes out as
    `notify_url`; `checks_origin` is for orders made by browsers.
    """

    name: str
    right: str
    needs: tuple[str, ...]
    schema: validator.Call
    run: pay.Run
    fill: pay.Fill = pay.as_sent
    notify_setting: str = ""
    checks_origin: bool = False


@dataclass(frozen=True)
class Callback:
    """A notification of one kind, believed on evidence, whoever sends it; `path` is the platform's for it."""

    name: str
    kind: Kind
    path: str
    right: str = EVIDENCE
    needs: tuple[str, ...] = CREDENTIALS


def _order(name: str, scene: str, schema: validator.Call, fill: pay.Fill) -> Action:
    return Action(name, CALLER, (*CREDENTIALS, _PAY_URL), schema, pay.order(scene), fill, _PAY_URL)


def _plain(name: str, right: str, schema: validator.Call, run: pay.Run) -> Action:
    return Action(name, right, CREDENTIALS, schema, run)


_ROWS: tuple[Action | Callback, ...] = (
    _order("wxpay_order", "jsapi", validator.JSAPI_ORDER, pay.with_payer),
    _order("wxpay_order_native", "native", validator.NATIVE_ORDER, pay.as_sent),
    Action(
        "wxpay_order_h5",
        CALLER,
        (*CREDENTIALS, _PAY_URL, "corsAllowOrigin"),
        validator.H5_ORDER,
        pay.order("h5"),
        pay.with_client_ip,
        _PAY_URL,
        checks_origin=True,
    ),
    _order("wxpay_order_app", "app", validator.APP_ORDER, pay.as_sent),
    _plain("wxpay_query_order_by_out_trade_no", CALLER, validator.QUERY_BY_OUT_TRADE_NO, pay.query_order),
    _plain("wxpay_query_order_by_transaction_id", CALLER, validator.QUERY_BY_TRANSACTION_ID, pay.query_order),
    _plain("wxpay_close_order", CALLER, validator.CLOSE_ORDER, pay.close_order),
    Action(
        "wxpay_refund",
        OPERATOR,
        (*CREDENTIALS, _REFUND_URL),
        validator.REFUND,
        pay.refund,
        notify_setting=_REFUND_URL,
    ),
    _plain("wxpay_refund_query", CALLER, validator.REFUND_QUERY, pay.query_refund),
    Action(
        "wxpay_transfer",
        OPERATOR,
        CREDENTIALS,
        validator.TRANSFER,
        pay.transfer,
        pay.with_payee,
        "transferNotifyUrl",
    ),
    _plain("wxpay_transfer_cancel", OPERATOR, validator.TRANSFER_CANCEL, pay.cancel_transfer),
    _plain("wxpay_transfer_bill_query", PAYEE, validator.TRANSFER_QUERY, pay.query_transfer),
    _plain("wxpay_transfer_bill_query_by_no", PAYEE, validator.TRANSFER_QUERY_BY_NO, pay.query_transfer),
    _plain("wxpay_transfer_batch_query", PAYEE, validator.TRANSFER_QUERY, pay.query_transfer),
    Callback("unifiedOrderTrigger", PAYMENT, "wechatpay/order"),
    Callback("refundTrigger", REFUND, "wechatpay/refund"),
    Callback("transferTrigger", TRANSFER, "wechatpay/transfer"),
)
ACTIONS: Mapping[str, Action | Callback] = {row.name: row for row in _ROWS}
# Every path, less a route prefix, that leads to a row.
PATHS: Mapping[str, Action | Callback] = {f"wx-pay/{row.name}": row for row in _ROWS} | {
    row.path: row for row in _ROWS if isinstance(row, Callback)
}
RIGHTS: Mapping[str, str] = {row.name: row.right for row in _ROWS}
