"""Orders, refunds and transfers as WeChat Pay shows them in answers and notifications."""

from __future__ import annotations

from typing import Any

from sandbox.clock import rfc3339
from sandbox.ledger import ORDER_WORDS, TRADE_TYPES, Order, Refund, Thing, Transfer


def order(thing: Order, merchant_id: str) -> dict[str, Any]:
    """The order as a query answers it [4012791859]."""
    body = thing.body
    shown: dict[str, Any] = {
        "appid": body["appid"],
        "mchid": merchant_id,
        "out_trade_no": thing.number,
        "trade_state": thing.state,
        "trade_state_desc": ORDER_WORDS[thing.state],
    }
    if "attach" in body:
        shown["attach"] = body["attach"]
    if not thing.transaction_id:
        return shown
    shown |= {
        "transaction_id": thing.transaction_id,
        "trade_type": TRADE_TYPES[thing.scene],
        "bank_type": thing.bank_type,
        "success_time": rfc3339(thing.paid),
        "payer": {"openid": thing.openid},
        "amount": {
            "total": thing.total,
            "payer_total": thing.total,
            "currency": "CNY",
            "payer_currency": "CNY",
        },
    }
    if device := body.get("scene_info", {}).get("device_id"):
        shown["scene_info"] = {"device_id": device}
    return shown


def payment_notice(thing: Order, merchant_id: str) -> dict[str, Any]:
    """The plaintext of TRANSACTION.SUCCESS. It tells the payment, also after a refund began [4012791861]."""
    return order(thing, merchant_id) | {"trade_state": "SUCCESS", "trade_state_desc": ORDER_WORDS["SUCCESS"]}


def refund(thing: Refund) -> dict[str, Any]:
    """The refund as creation and query answer it [4013071036, 4013071041]."""
    amount = thing.body["amount"]
    shown: dict[str, Any] = {
        "refund_id": thing.refund_id,
        "out_refund_no": thing.number,
        "transaction_id": thing.order.transaction_id,
        "out_trade_no": thing.order.number,
        "channel": thing.channel,
        "user_received_account": thing.received_by,
        "create_time": rfc3339(thing.created),
        "status": thing.state,
        "funds_account": thing.body.get("funds_account", "AVAILABLE"),
        "amount": {
            "total": amount["total"],
            "refund": amount["refund"],
            "payer_total": amount["total"],
            "payer_refund": amount["refund"],
            "settlement_total": amount["total"],
            "settlement_refund": amount["refund"],
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    if "from" in amount:
        shown["amount"]["from"] = amount["from"]
    if thing.state == "SUCCESS":
        shown["success_time"] = rfc3339(thing.succeeded)
    return shown


def refund_notice(thing: Refund, merchant_id: str) -> dict[str, Any]:
    """The plaintext of REFUND.*: `refund_status` instead of `status`, no currency [4013071196]."""
    amount = thing.body["amount"]
    shown: dict[str, Any] = {
        "mchid": merchant_id,
        "out_trade_no": thing.order.number,
        "transaction_id": thing.order.transaction_id,
        "out_refund_no": thing.number,
        "refund_id": thing.refund_id,
        "refund_status": thing.state,
        "user_received_account": thing.received_by,
        "amount": {
            "total": amount["total"],
            "refund": amount["refund"],
            "payer_total": amount["total"],
            "payer_refund": amount["refund"],
        },
    }
    if thing.state == "SUCCESS":
        shown["success_time"] = rfc3339(thing.succeeded)
    return shown


def transfer_accepted(thing: Transfer) -> dict[str, Any]:
    """The answer to a creation [4012716434]; `package_info` only while the user has to confirm."""
    shown = {
        "out_bill_no": thing.number,
        "transfer_bill_no": thing.transfer_bill_no,
        "create_time": rfc3339(thing.created),
        "state": thing.state,
    }
    if thing.state == "WAIT_USER_CONFIRM":
        shown["package_info"] = thing.package_info
    return shown


def transfer(thing: Transfer, merchant_id: str) -> dict[str, Any]:
    """The bill as a query answers it, `user_name` aside [4012716437]."""
    shown = transfer_notice(thing, merchant_id)
    shown |= {"appid": thing.body["appid"], "transfer_remark": thing.body["transfer_remark"]}
    shown.pop("payment_method_type", None)
    return shown


def transfer_notice(thing: Transfer, merchant_id: str) -> dict[str, Any]:
    """The plaintext of MCHTRANSFER.BILL.FINISHED; the merchant's id is spelt `mch_id` [4012712115]."""
    shown: dict[str, Any] = {
        "out_bill_no": thing.number,
        "transfer_bill_no": thing.transfer_bill_no,
        "state": thing.state,
        "mch_id": merchant_id,
        "transfer_amount": thing.body["transfer_amount"],
        "openid": thing.body["openid"],
        "create_time": rfc3339(thing.created),
        "update_time": rfc3339(thing.updated),
    }
    if thing.fail_reason:
        shown["fail_reason"] = thing.fail_reason
    if thing.state == "SUCCESS":
        shown["payment_method_type"] = "CFT"
    return shown


def cancellation(thing: Transfer) -> dict[str, Any]:
    """[4012716458]"""
    return {
        "out_bill_no": thing.number,
        "transfer_bill_no": thing.transfer_bill_no,
        "state": thing.state,
        "update_time": rfc3339(thing.updated),
    }


def shown(thing: Thing, merchant_id: str, now: float) -> dict[str, Any]:
    """The query's answer, and what only the sandbox knows: for the control API and the page."""
    life = {"life": [moment.describe() for moment in thing.life]}
    if isinstance(thing, Refund):
        return refund(thing) | life
    if isinstance(thing, Transfer):
        return transfer(thing, merchant_id) | {"package_info": thing.package_info} | life
    credential = thing.credential
    return (
        order(thing, merchant_id)
        | {
            "scene": thing.scene,
            "description": thing.body["description"],
            "total": thing.total,
            "created": rfc3339(thing.created),
            "pay_until": rfc3339(thing.pay_until),
            "notify_url": thing.notify_url,
            "credential": {
                "kind": credential.kind,
                "value": credential.value,
                "expires": rfc3339(credential.expires),
                "live": thing.state == "NOTPAY" and now <= min(credential.expires, thing.pay_until),
            },
        }
        | life
    )


def kind_of(thing: Thing) -> str:
    return {Order: "order", Refund: "refund", Transfer: "transfer"}[type(thing)]
