"""What the function answers, as JSON Schema: the envelopes, and in them what WeChat Pay says and what is added.

WeChat Pay may add fields at any time, so that no object is closed.
"""

from __future__ import annotations

from typing import Any

from services.orders import states
from services.orders.compare import CLASSES
from services.orders.desk import SHOWN

Schema = dict[str, Any]


def _text(words: str, **more: Any) -> Schema:
    return {"type": "string", "description": words, **more}


def _cents(words: str) -> Schema:
    return {"type": "integer", "description": f"{words}, in cents."}


def _object(properties: Schema, required: str = "", words: str = "") -> Schema:
    """`required` names the properties that are always there, `*` all of them."""
    names = list(properties) if required == "*" else required.split()
    found: Schema = {"type": "object", "description": words} if words else {"type": "object"}
    return found | {"properties": properties} | ({"required": names} if names else {})


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


_TIME = "RFC 3339."
_ORDER_NUMBER = _text("The merchant's number of the order.")
_TRANSACTION = _text("WeChat Pay's number of the order; there once it is paid.")
_CURRENCY = _text("CNY.")
TRADE_STATES = ["SUCCESS", "REFUND", "NOTPAY", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR"]
REFUND_STATES = ["SUCCESS", "CLOSED", "PROCESSING", "ABNORMAL"]
TRANSFER_STATES = [
    "ACCEPTED",
    "PROCESSING",
    "WAIT_USER_CONFIRM",
    "TRANSFERING",
    "SUCCESS",
    "FAIL",
    "CANCELING",
    "CANCELLED",
]

_INVOCATION = {
    "appId": _text("The AppID of the order."),
    "prepay_id": _text("WeChat Pay's; valid for 2 hours."),
    "timeStamp": _text("Seconds since 1970.", pattern="^[0-9]{10}$"),
    "nonceStr": _text("Signed with the rest.", minLength=1, maxLength=32),
}

# Data of each success, by the name of the component.
DATA: dict[str, Schema] = {
    "JsapiParameters": _object(
        {
            **_INVOCATION,
            "package": _text("prepay_id= and the prepay_id.", pattern="^prepay_id=."),
            "signType": {"const": "RSA", "description": "Not signed."},
            "paySign": _text("Signature by the merchant's key, base64."),
        },
        "*",
        "For wx.requestPayment and WeixinJSBridge [4012365339].",
    ),
    "AppParameters": _object(
        {
            **_INVOCATION,
            "partnerId": _text("The merchant's number."),
            "prepayId": _text("As prepay_id."),
            "packageValue": {"const": "Sign=WXPay", "description": "As it is."},
            "sign": _text("Signature by the merchant's key, base64."),
        },
        "*",
        "For the mobile SDKs' PayReq [4012365340].",
    ),
    "NativeCode": _object({"code_url": _text("Show it as a QR code; valid for 2 hours.")}, "*"),
    "H5Link": _object({"h5_url": _text("Open it in the browser within 5 minutes.")}, "*"),
    "OrderState": _object(
        {
            "appid": _text("The AppID of the order."),
            "mchid": _text("The merchant."),
            "out_trade_no": _ORDER_NUMBER,
            "transaction_id": _TRANSACTION,
            "trade_type": _text("JSAPI, NATIVE, APP, MWEB (H5), MICROPAY or FACEPAY."),
            "trade_state": _text(
                "SUCCESS is paid; REFUND is paid with a refund begun, so look at the refunds.", enum=TRADE_STATES
            ),
            "trade_state_desc": _text("The same for people."),
            "bank_type": _text("How it was paid."),
            "attach": _text("As it was ordered."),
            "success_time": _text(f"When it was paid, {_TIME}"),
            "payer": _object({"openid": _text("Who paid.")}),
            "amount": _object(
                {
                    "total": _cents("The order's amount"),
                    "payer_total": _cents("What the user paid: less by coupons"),
                    "currency": _CURRENCY,
                    "payer_currency": _CURRENCY,
                }
            ),
            "promotion_detail": {"type": "array", "items": {"type": "object"}, "description": "Coupons used."},
        },
        "appid mchid out_trade_no trade_state trade_state_desc",
        "WeChat Pay's order [4012791859].",
    ),
    "Nothing": {"type": "object", "description": "WeChat Pay answers 204 without a body.", "maxProperties": 0},
    "RefundState": _object(
        {
            "refund_id": _text("WeChat Pay's number of the refund."),
            "out_refund_no": _text("The merchant's number of it."),
            "transaction_id": _text("WeChat Pay's number of the order."),
            "out_trade_no": _ORDER_NUMBER,
            "channel": _text("ORIGINAL, BALANCE, OTHER_BALANCE or OTHER_BANKCARD."),
            "user_received_account": _text("Where it goes."),
            "success_time": _text(f"When it arrived, {_TIME}"),
            "create_time": _text(f"When it was accepted, {_TIME}"),
            "status": _text(
                "PROCESSING: accepted. SUCCESS: arrived. ABNORMAL: the user's bank refused it. CLOSED: failed.",
                enum=REFUND_STATES,
            ),
            "funds_account": _text("The account that pays."),
            "amount": _object(
                {
                    "total": _cents("The order's amount"),
                    "refund": _cents("What goes back"),
                    "payer_total": _cents("What the user paid"),
                    "payer_refund": _cents("What the user gets"),
                    "settlement_total": _cents("The order's amount less coupons that are not settled"),
                    "settlement_refund": _cents("The refund less such coupons"),
                    "discount_refund": _cents("Coupons that are given back"),
                    "currency": _CURRENCY,
                    "from": {"type": "array", "items": {"type": "object"}, "description": "Accounts that pay."},
                }
            ),
            "promotion_detail": {"type": "array", "items": {"type": "object"}, "description": "Coupons given back."},
        },
        "refund_id out_refund_no transaction_id out_trade_no status create_time amount",
        "WeChat Pay's refund [4013071036].",
    ),
    "NewTransfer": _object(
        {
            "out_bill_no": _text("The merchant's number of the transfer."),
            "transfer_bill_no": _text("WeChat Pay's number of it."),
            "create_time": _text(f"When it was accepted, {_TIME}"),
            "state": _text("WAIT_USER_CONFIRM: the user is to confirm it.", enum=TRANSFER_STATES),
            "package_info": _text("For wx.requestMerchantTransfer; only while the user is to confirm. Keep it."),
            "fail_reason": _text("Why it failed."),
            "mchId": _text("For wx.requestMerchantTransfer; added by the function."),
            "appId": _text("For wx.requestMerchantTransfer; added by the function."),
        },
        "out_bill_no transfer_bill_no create_time state mchId appId",
        "WeChat Pay's answer [4012716434], with what the client needs beside it.",
    ),
    "TransferState": _object(
        {
            "mch_id": _text("The merchant."),
            "out_bill_no": _text("The merchant's number of the transfer."),
            "transfer_bill_no": _text("WeChat Pay's number of it."),
            "appid": _text("The AppID that the openid belongs to."),
            "state": _text("SUCCESS, FAIL and CANCELLED are final.", enum=TRANSFER_STATES),
            "transfer_amount": _cents("What is sent"),
            "transfer_remark": _text("What the user reads."),
            "fail_reason": _text("Why it failed."),
            "openid": _text("Who receives it."),
            "user_name": _text("The name, encrypted for the merchant's key."),
            "create_time": _text(f"When it was accepted, {_TIME}"),
            "update_time": _text(f"When it last changed, {_TIME}"),
        },
        "mch_id out_bill_no transfer_bill_no appid state transfer_amount transfer_remark create_time update_time",
        "WeChat Pay's transfer [4012716437].",
    ),
    "CancelledTransfer": _object(
        {
            "out_bill_no": _text("The merchant's number of the transfer."),
            "transfer_bill_no": _text("WeChat Pay's number of it."),
            "state": _text("CANCELING: query for how it ends.", enum=TRANSFER_STATES),
            "update_time": _text(f"When, {_TIME}"),
        },
        "out_bill_no transfer_bill_no state update_time",
        "WeChat Pay's answer [4012716458].",
    ),
    "StoredOrder": _object(
        {
            "out_trade_no": _ORDER_NUMBER,
            "state": _text("PENDING: not paid yet.", enum=list(states.ORDER)),
            "amount": _object(
                {
                    "total": _cents("The order's amount"),
                    "currency": _CURRENCY,
                    "payer_total": _or_null(_cents("What the user paid, null before")),
                },
                "*",
            ),
            "refunded": _cents("What has been refunded"),
            "transaction_id": _or_null(_text("WeChat Pay's number, null before it is known.")),
            "paid_at": _or_null(_text(f"When it was paid, {_TIME} null before.")),
        },
        "*",
        "The order as this function keeps it.",
    ),
    "Reconciled": _object(
        {
            "checked": {"type": "integer", "description": "WeChat Pay was asked about so many."},
            "changed": {"type": "integer", "description": "Of these have another state now."},
            "not_there": {"type": "integer", "description": "Of these WeChat Pay does not know."},
            "failed": {"type": "integer", "description": "Of these will be asked about again."},
            "left": {"type": "integer", "description": "Are still due."},
            "delivered": {"type": "integer", "description": "Events that went through."},
            "undelivered": {"type": "integer", "description": "Events that will be tried again."},
            "dead": {"type": "integer", "description": "Events that were given up."},
            "seconds": {"type": "number", "description": "How long it took."},
        },
        "*",
    ),
    "Tables": _object({"tables": {"const": "ready", "description": "They are there."}}, "*"),
    "Comparison": _object(
        {
            "bill": _text("trade, or fundflow with its account."),
            "bill_date": _text("The day."),
            "hash_value": _text("SHA-1 that WeChat Pay announced, and that held; empty without a bill."),
            "rows": {"type": "integer", "description": "Rows of the bill."},
            "totals": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "Sums of the bill, in cents.",
            },
            "counts": _object(
                {name: {"type": "integer"} for name in CLASSES}, "*", "How the rows and the store agree."
            ),
            "differences": {
                "type": "array",
                "maxItems": SHOWN,
                "items": _object(
                    {
                        "class": _text("As in counts."),
                        "kind": _text("order, refund or transfer."),
                        "number": _text("The merchant's number."),
                        "bill_cents": _or_null(_cents("In the bill")),
                        "stored_cents": _or_null(_cents("In the store")),
                        "stored_state": _or_null(_text("In the store.")),
                        "message": _text("The same for people."),
                    },
                    "*",
                ),
            },
            "truncated": {"type": "boolean", "description": "Whether there are more differences."},
        },
        "*",
    ),
    "Health": _object(
        {
            "version": _text("Of this function."),
            "signMode": _text("How callbacks arrive.", enum=["gateway", "sdk"]),
            "missing": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Settings that are missing or broken, by name.",
            },
        },
        "*",
    ),
}

FAILURE: Schema = _object(
    {
        "code": {"const": -1},
        "msg": _text("What is wrong, by field or setting, and what to do.", minLength=1),
        "data": {
            "description": "WeChat Pay's own answer where it gave one, else null.",
            "anyOf": [
                {"type": "null"},
                _object(
                    {
                        "status": {"type": "integer", "description": "WeChat Pay's HTTP status."},
                        "data": {"description": "WeChat Pay's body, mostly code and message."},
                    },
                    "*",
                ),
            ],
        },
        "outcome": {
            "const": "unknown",
            "description": "There where it may have happened all the same: query first, then the same number.",
        },
    },
    "code msg data",
)
ACKNOWLEDGED: Schema = _object(
    {"code": {"const": "SUCCESS"}, "message": {"type": "string"}}, "*", "Kept: it is not sent again."
)
NOT_ACKNOWLEDGED: Schema = _object(
    {"code": {"const": "FAIL"}, "message": {"type": "string"}}, "*", "Not kept: it is sent again."
)


def success(data: Schema, status: Schema | None = None) -> Schema:
    """The envelope of a success around `data`; `status` is WeChat Pay's, None where it is not asked."""
    inner = data if status is None else _object({"status": status, "data": data}, "*")
    return _object({"code": {"const": 0}, "msg": {"const": "success"}, "data": inner}, "*")


# Failures by status, and what to do then. WeChat Pay's own refusals share the statuses.
FAILURES = {
    "400": "A field breaks a rule, each named; or WeChat Pay refuses. Nothing happened.",
    "401": "Nobody whom the function knows: no sign of the platform, no valid token.",
    "403": "Not allowed to this caller; or WeChat Pay refuses.",
    "404": "No such order, refund or transfer, or none of this caller's.",
    "409": "The number is taken, or the state does not admit it. Nothing happened.",
    "413": "The body is longer than 1.5 MB; forwarded callbacks 4 MB.",
    "429": "Too fast. Of refunds and transfers the outcome is unknown: query, and use the same number.",
    "500": "Settings are missing (MISSING_CREDENTIALS), or it was accepted but not recorded: msg says which.",
    "502": "WeChat Pay failed, or its answer cannot be believed. Outcome unknown: query, and use the same number.",
    "503": "Not now, and nothing was sent: try again, after Retry-After where it stands.",
    "504": "WeChat Pay did not answer in time. Outcome unknown: query, and use the same number.",
    "4XX": "Any other refusal by WeChat Pay, under its own status.",
}
REFUSALS = {
    "400": "Not believed.",
    "413": "Longer than 1.5 MB, forwarded 4 MB.",
    "500": "The order service did not keep it.",
    "503": "It cannot be proved or handled now.",
}
