"""THE table of actions. The four ways in, the event routing and the rights are generated from it."""

from __future__ import annotations

from collections.abc import Mapping

from controllers import pay_controller as pay
from controllers.callback_controller import Callback
from controllers.pay_controller import Action
from services.pay_service import PayService
from services.strategies.base import PAYMENT, REFUND, TRANSFER
from utils import validator

CALLER, OPERATOR, PAYEE = "caller", "operator", "payee"

# What WeChat Pay must be asked with, and what every call and callback needs; the optional ones among them count only
# when they are broken.
MERCHANT = (
    "appId",
    "merchantId",
    "merchantSerialNumber",
    "privateKey",
    "apiV3Key",
    "wxPayPublicKey",
    "wxPayPublicKeyId",
    "wxPayApiBase",
    "wxPayApiBackup",
)
CREDENTIALS = (
    *MERCHANT,
    "orderService",
    "orderDatabaseUrl",
    "priceList",
    # Events that went nowhere would count as delivered.
    "eventWebhookUrl",
    "eventWebhookSecret",
)
_PAY_URL = "notifyURLPayURL"
_REFUND_URL = "notifyURLRefundsURL"


def _order(name: str, schema: validator.Call, fill: pay.Fill) -> Action:
    return Action(name, CALLER, (*CREDENTIALS, _PAY_URL), schema, PayService.order, fill, _PAY_URL)


def _plain(name: str, right: str, schema: validator.Call, run: pay.Run) -> Action:
    return Action(name, right, CREDENTIALS, schema, run, pay.as_sent)


_ROWS: tuple[Action | Callback, ...] = (
    _order("wxpay_order", validator.JSAPI_ORDER, pay.with_payer),
    _order("wxpay_order_native", validator.NATIVE_ORDER, pay.as_sent),
    Action(
        "wxpay_order_h5",
        CALLER,
        (*CREDENTIALS, _PAY_URL, "corsAllowOrigin"),
        validator.H5_ORDER,
        PayService.order,
        pay.with_client_ip,
        _PAY_URL,
        checks_origin=True,
    ),
    _order("wxpay_order_app", validator.APP_ORDER, pay.as_sent),
    _plain("wxpay_query_order_by_out_trade_no", CALLER, validator.QUERY_BY_OUT_TRADE_NO, PayService.query_order),
    _plain("wxpay_query_order_by_transaction_id", CALLER, validator.QUERY_BY_TRANSACTION_ID, PayService.query_order),
    _plain("wxpay_close_order", CALLER, validator.CLOSE_ORDER, PayService.close_order),
    Action(
        "wxpay_refund",
        OPERATOR,
        (*CREDENTIALS, _REFUND_URL),
        validator.REFUND,
        PayService.refund,
        pay.as_sent,
        _REFUND_URL,
    ),
    _plain("wxpay_refund_query", CALLER, validator.REFUND_QUERY, PayService.query_refund),
    Action(
        "wxpay_transfer",
        OPERATOR,
        (*CREDENTIALS, "transferNotifyUrl"),
        validator.TRANSFER,
        PayService.transfer,
        pay.with_payee,
        "transferNotifyUrl",
    ),
    _plain("wxpay_transfer_cancel", OPERATOR, validator.TRANSFER_CANCEL, PayService.cancel_transfer),
    _plain("wxpay_transfer_bill_query", PAYEE, validator.TRANSFER_QUERY, PayService.query_transfer),
    _plain("wxpay_transfer_bill_query_by_no", PAYEE, validator.TRANSFER_QUERY_BY_NO, PayService.query_transfer),
    _plain("wxpay_transfer_batch_query", PAYEE, validator.TRANSFER_QUERY, PayService.query_transfer),
    _plain("wxpay_order_wait", CALLER, validator.ORDER_WAIT, PayService.at_desk),
    _plain("wxpay_reconcile", OPERATOR, validator.RECONCILE, PayService.at_desk),
    _plain("wxpay_orders_init", OPERATOR, validator.ORDERS_INIT, PayService.at_desk),
    _plain("wxpay_trade_bill", OPERATOR, validator.TRADE_BILL, PayService.at_desk),
    _plain("wxpay_fundflow_bill", OPERATOR, validator.FUNDFLOW_BILL, PayService.at_desk),
    Callback("unifiedOrderTrigger", PAYMENT, "wechatpay/order", CREDENTIALS),
    Callback("refundTrigger", REFUND, "wechatpay/refund", CREDENTIALS),
    Callback("transferTrigger", TRANSFER, "wechatpay/transfer", CREDENTIALS),
)
ACTIONS: Mapping[str, Action | Callback] = {row.name: row for row in _ROWS}
# Every path, less a route prefix, that leads to a row.
PATHS: Mapping[str, Action | Callback] = {f"wx-pay/{row.name}": row for row in _ROWS} | {
    row.path: row for row in _ROWS if isinstance(row, Callback)
}
EVENTS: Mapping[str, Callback] = {
    event: row for row in _ROWS if isinstance(row, Callback) and row.kind for event in row.kind.events
}
# A notification of a type that has no row: judged, logged and acknowledged.
OTHER_NOTIFICATION = Callback("notification", None, "", CREDENTIALS)
# Every setting that some row needs, each once.
ALL_NEEDS: tuple[str, ...] = tuple(dict.fromkeys(name for row in _ROWS for name in row.needs))
RIGHTS: Mapping[str, str] = {row.name: row.right for row in _ROWS}
