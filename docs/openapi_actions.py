"""What each action is for, what it answers, and an example of its body: the words beside the table of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ORDERS, REFUNDS, TRANSFERS, STORE, BILLS, CALLBACKS, SELF = (
    "orders",
    "refunds",
    "transfers",
    "order store",
    "bills",
    "callbacks",
    "function",
)
TAGS = {
    ORDERS: "Take, look up and close orders.",
    REFUNDS: "Give money back.",
    TRANSFERS: "Send money to users, who confirm it.",
    STORE: "What works on the order database (orderDatabaseUrl).",
    BILLS: "Compare a day's bill with the order database.",
    CALLBACKS: "Notifications, believed on evidence alone. A failure means that it is sent again.",
    SELF: "About the function.",
}


@dataclass(frozen=True)
class Words:
    """`answers` names a component of docs.openapi_answers.DATA; `follow` are actions that go on from this one.

    `asks_wechat_pay` tells whether WeChat Pay's refusals and failures can become the answer.
    """

    tag: str
    summary: str
    answers: str
    example: dict[str, Any]
    says: str = ""
    asks_wechat_pay: bool = True
    follow: tuple[str, ...] = ()


_ORDER = {"description": "A cup of tea", "out_trade_no": "TEA20300131A7K2", "amount": {"total": 20}}
_BY_ORDER = {"out_trade_no": "TEA20300131A7K2"}
_BY_BILL = {"out_bill_no": "THANKS20300131A7K2"}
_AFTER_ORDER = ("wxpay_query_order_by_out_trade_no", "wxpay_order_wait", "wxpay_close_order")

ACTIONS: dict[str, Words] = {
    "wxpay_order": Words(
        ORDERS,
        "Order inside WeChat",
        "JsapiParameters",
        _ORDER | {"attach": "table 4"},
        "For a mini program or a page inside WeChat [4012791856]. The answer is what wx.requestPayment takes. "
        "While unpaid, the same order may be sent again.",
        follow=_AFTER_ORDER,
    ),
    "wxpay_order_native": Words(
        ORDERS,
        "Order by QR code",
        "NativeCode",
        _ORDER | {"time_expire": "2030-01-31T12:00:00+08:00"},
        "For a cashier's page [4012791877].",
        follow=_AFTER_ORDER,
    ),
    "wxpay_order_h5": Words(
        ORDERS,
        "Order from a mobile browser",
        "H5Link",
        _ORDER | {"scene_info": {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}},
        "For pages outside WeChat [4012791834]. From an Origin that corsAllowOrigin does not list: 403.",
        follow=_AFTER_ORDER,
    ),
    "wxpay_order_app": Words(
        ORDERS,
        "Order from an app",
        "AppParameters",
        _ORDER,
        "The answer is what the mobile SDKs' PayReq takes [4013070347].",
        follow=_AFTER_ORDER,
    ),
    "wxpay_query_order_by_out_trade_no": Words(
        ORDERS, "Query an order by your number", "OrderState", _BY_ORDER, "[4012791859]"
    ),
    "wxpay_query_order_by_transaction_id": Words(
        ORDERS,
        "Query an order by WeChat Pay's number",
        "OrderState",
        {"transaction_id": "4200001234203001311234567890"},
        "[4012791858]",
    ),
    "wxpay_close_order": Words(
        ORDERS,
        "Close an unpaid order",
        "Nothing",
        _BY_ORDER,
        "It can no longer be paid then [4012791860]. WeChat Pay answers 204 for numbers it never saw, too.",
    ),
    "wxpay_refund": Words(
        REFUNDS,
        "Refund an order",
        "RefundState",
        {
            "out_trade_no": "TEA20300131A7K2",
            "out_refund_no": "BACK20300131A7K2",
            "reason": "cold",
            "amount": {"refund": 10, "total": 20},
        },
        "In whole or in part [4013071036]. 200 means accepted, not refunded: the callback or a query tells how it "
        "ends. Name the order by exactly one of out_trade_no and transaction_id.",
        follow=("wxpay_refund_query",),
    ),
    "wxpay_refund_query": Words(
        REFUNDS, "Query a refund", "RefundState", {"out_refund_no": "BACK20300131A7K2"}, "[4013071041]"
    ),
    "wxpay_transfer": Words(
        TRANSFERS,
        "Send money to a user",
        "NewTransfer",
        {
            "out_bill_no": "THANKS20300131A7K2",
            "transfer_scene_id": "1000",
            "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            "transfer_amount": 100,
            "transfer_remark": "thanks",
            "transfer_scene_report_infos": [
                {"info_type": "活动名称", "info_content": "spring"},
                {"info_type": "奖励说明", "info_content": "prize"},
            ],
        },
        "The user confirms it within 24 hours [4012716434]. Keep package_info: a query does not return it.",
        follow=("wxpay_transfer_bill_query", "wxpay_transfer_cancel"),
    ),
    "wxpay_transfer_cancel": Words(
        TRANSFERS,
        "Cancel an unconfirmed transfer",
        "CancelledTransfer",
        _BY_BILL,
        "Query for the end: the user may still be faster [4012716458].",
    ),
    "wxpay_transfer_bill_query": Words(
        TRANSFERS, "Query a transfer by your number", "TransferState", _BY_BILL, "[4012716437]"
    ),
    "wxpay_transfer_bill_query_by_no": Words(
        TRANSFERS,
        "Query a transfer by WeChat Pay's number",
        "TransferState",
        {"transfer_bill_no": "1330000071100999991182020050700019480001"},
        "[4012716457]",
    ),
    "wxpay_transfer_batch_query": Words(
        TRANSFERS, "Query a transfer, by an old name", "TransferState", _BY_BILL, "As wxpay_transfer_bill_query."
    ),
    "wxpay_order_wait": Words(
        STORE,
        "Wait until an order is paid",
        "StoredOrder",
        _BY_ORDER | {"seconds": 10},
        "Answers once the order is no longer PENDING, or after `seconds`. 503 when too many callers wait.",
        asks_wechat_pay=False,
    ),
    "wxpay_reconcile": Words(
        STORE,
        "Ask WeChat Pay about what is not settled",
        "Reconciled",
        {"limit": 100, "seconds": 10},
        "For a timer; safe with several at once.",
        asks_wechat_pay=False,
    ),
    "wxpay_orders_init": Words(
        STORE, "Make or upgrade the tables", "Tables", {}, "Harmless where they are.", asks_wechat_pay=False
    ),
    "wxpay_trade_bill": Words(
        BILLS,
        "Compare a day's trades",
        "Comparison",
        {"bill_date": "2030-01-30"},
        "There from 10:00 on the next day [4013071227]; 503 with Retry-After while WeChat Pay is making it.",
    ),
    "wxpay_fundflow_bill": Words(
        BILLS,
        "Compare a day's movements of an account",
        "Comparison",
        {"bill_date": "2030-01-30", "account_type": "BASIC"},
        "[4013071235]",
    ),
}

_ENVELOPE = {
    "id": "EV-2018022511223320873",
    "create_time": "2030-01-31T12:00:00+08:00",
    "resource_type": "encrypt-resource",
    "event_type": "TRANSACTION.SUCCESS",
    "summary": "paid",
    "resource": {
        "original_type": "transaction",
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": "c2VhbGVk",
        "associated_data": "transaction",
        "nonce": "61f9c719728a",
    },
}
# The callbacks by the row's name: what is told, and what the Integration Center forwards of it.
CALLBACK_WORDS = {
    "unifiedOrderTrigger": ("A payment", "TRANSACTION.SUCCESS", {"out_trade_no": "TEA1", "trade_state": "SUCCESS"}),
    "refundTrigger": ("A refund", "REFUND.SUCCESS", {"out_refund_no": "BACK1", "refund_status": "SUCCESS"}),
    "transferTrigger": ("A transfer", "MCHTRANSFER.BILL.FINISHED", {"out_bill_no": "THANKS1", "state": "SUCCESS"}),
}


def callback_example(event: str, content: dict[str, str], *, forwarded: bool) -> dict[str, Any]:
    """As WeChat Pay sends it, or as the Integration Center forwards that."""
    envelope = _ENVELOPE | {"event_type": event}
    return {"ParsedContent": content, "rawData": envelope} if forwarded else envelope
