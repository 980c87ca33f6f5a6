"""What a merchant does with orders, refunds and transfers: override the methods that matter.

The default keeps nothing: it logs. Replace it by `orderService="package.module:Class"`, by
`create_app(order_service=...)`, or by editing this file. One instance serves all threads.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from services.strategies.base import PAYMENT, REFUND, TRANSFER, Notification
from utils.cloudbase_auth import NO_KEYS, Caller, KeysUnavailable
from utils.texts import Message

__all__ = ["Caller", "OrderService", "Params", "Refused"]

Params = dict[str, Any]

NEEDS_OPERATOR = (
    "{action} needs an operator: send x-operator-key (or _operatorKey) equal to operatorKey, use a server token"
    " verified by cloudbaseEnvId, or list your verified openid or uid in operatorIds{or_payee} (openids are verified by"
    " cloudbaseEnvId, or by callerHeaders=trusted without a public route)"
)

log = logging.getLogger("pay.orders")


class Refused(Exception):
    """Raised by `authorize`, `before_*` and `handler_query` to answer the caller with `message`.

    `status` is 403, 404 or 409. From the other methods it counts as a failure, because WeChat Pay has accepted
    already, or is itself the caller.
    """

    def __init__(self, message: str, status: int = 403) -> None:
        if status not in (403, 404, 409):
            raise ValueError("Refused.status must be 403, 404 or 409")
        self.status = status
        super().__init__(message)


class OrderService:
    """Base and default of all order services. Amounts are integers in cents.

    `handler_*` methods return None, True or a mapping whose `code` is `SUCCESS`; anything else, or an
    exception, means that it was not kept: a callback is then sent again by WeChat Pay, and an order, refund
    or transfer that WeChat Pay accepted is reported to its caller as not recorded.
    """

    # Action -> "caller", "operator", "payee" or "evidence"; set by create_app from the action table.
    rights: Mapping[str, str] = {}
    # Whether it works with `orderDatabaseUrl` only.
    needs_database = False

    def authorize(self, action: str, params: Params, caller: Caller) -> None:
        """Decide whether `caller` may do `action`; raise Refused if not.

        `params` is the request as sent, not validated yet. A transfer query by somebody who is no operator
        comes here twice: the second time `params["openid"]` is the one that WeChat Pay's bill names.
        """
        right = self.rights[action]
        if right == "caller" or caller.operator:
            return
        if right == "payee" and caller.verified_openid:
            if params.get("openid", caller.verified_openid) == caller.verified_openid:
                return
            raise Refused(Message("this transfer is not to you: only its payee or an operator may query it"))
        if caller.keys_unavailable:
            raise KeysUnavailable(NO_KEYS)
        or_payee = Message(", or be its payee with a verified openid") if right == "payee" else ""
        raise Refused(Message(NEEDS_OPERATOR, action=action, or_payee=or_payee))

    def before_unified(self, params: Params, caller: Caller) -> Params | None:
        """Before WeChat Pay is asked for an order: price, own or refuse it.

        `params` are the validated fields with `appid`; returns those to send, or None for unchanged.
        """

    def before_refund(self, params: Params, caller: Caller) -> Params | None:
        """Before a refund is asked for; as `before_unified`."""

    def before_transfer(self, params: Params, caller: Caller) -> Params | None:
        """Before a transfer is asked for; as `before_unified`. `user_name` is still in clear."""

    def handler_unified(self, params: Params) -> Any:
        """WeChat Pay accepted an order; `params` as sent (`out_trade_no`, `amount.total`, ...)."""
        log.info("handlerUnified - order created: %s", params.get("out_trade_no"))

    def handler_refused(self, kind: str, params: Params, error: Params) -> Any:
        """WeChat Pay refused an order, refund or transfer (`kind` payment, refund, transfer), and nothing happened.

        `error` has `status`, `code` and `message` of WeChat Pay; code NOT_SENT with status 0: it was not even asked.
        What is raised here is logged; the caller gets WeChat Pay's refusal all the same.
        """

    def handler_encrypted(self, params: Params, serial: str) -> tuple[Params, str]:
        """Before a transfer is sent whose `user_name` is encrypted now, with the key of that serial.

        Returns what to send: a repetition should send the first ciphertext and its serial again.
        """
        return params, serial

    def handler_notification(self, notification: Notification, deadline: float) -> Any:
        """Every believed callback, before the handler of its kind, which this calls; others are only acknowledged.

        `notification` has `id`, `event_type`, `kind`, `plaintext`; `deadline` is in `time.monotonic()` seconds.
        """
        handlers = {
            PAYMENT: self.handler_unified_trigger,
            REFUND: self.handler_refund_trigger,
            TRANSFER: self.handler_transfer_trigger,
        }
        return handlers[notification.kind](notification.plaintext) if notification.kind else None

    def handler_unified_trigger(self, params: Params) -> Any:
        """A payment callback. Paid means `trade_state` SUCCESS, or REFUND when it has moved on since.

        Be idempotent, and compare `amount.total` with the order ([4012791861]).
        """
        log.info(
            "handlerUnifiedTrigger - payment result: %s %s", params["out_trade_no"], params["trade_state"]
        )
        _not_kept("payment")

    def handler_refund(self, params: Params) -> Any:
        """WeChat Pay accepted a refund: accepted, not refunded yet."""
        log.info("handlerRefund - refund accepted: %s", params.get("out_refund_no"))

    def handler_refund_trigger(self, params: Params) -> Any:
        """A refund callback; `refund_status` is SUCCESS, CLOSED or ABNORMAL ([4013071196])."""
        log.info(
            "handlerRefundTrigger - refund result: %s %s", params["out_refund_no"], params["refund_status"]
        )
        _not_kept("refund")

    def handler_transfer(self, params: Params, result: Params) -> Any:
        """WeChat Pay accepted a transfer; keep `result["package_info"]`, a query does not return it."""
        log.info("handlerTransfer - transfer accepted: %s", params.get("out_bill_no"))

    def handler_transfer_trigger(self, params: Params) -> Any:
        """A transfer callback; decide on `state` alone: SUCCESS, FAIL or CANCELLED ([4012712115])."""
        log.info("handlerTransferTrigger - transfer result: %s %s", params["out_bill_no"], params["state"])
        _not_kept("transfer")

    def handler_query(self, action: str, params: Params, result: Params) -> Any:
        """What a query of an order, refund or transfer showed; `result` is WeChat Pay's answer."""

    def handler_close(self, params: Params) -> Any:
        """An order was closed: WeChat Pay answered 204."""


def _not_kept(what: str) -> None:
    log.warning("%s acknowledged, but nothing was kept: set orderDatabaseUrl or orderService before going live", what)
