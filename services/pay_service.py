"""What a merchant does: order, query, close, refund, transfer, and accept a notification."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.handler_pool import HandlerPool, HandlerTimeout
from services.merchant_code import (
    HookFailed,
    authorize,
    contained,
    encrypted,
    is_kept,
    prepare,
    record,
    refusals_told,
    show,
)
from services.order_service import OrderService, Params
from services.strategies.base import PAYMENT, REFUND, TRANSFER, Incoming, Notification, Strategy
from services.wechatpay import paths
from services.wechatpay.client import Reply
from services.wechatpay.errors import NotificationPostponed, NotificationRefused
from services.wechatpay.signer import Signer
from utils import processor
from utils.cloudbase_auth import Caller
from utils.logs import protect
from utils.texts import Message

Result = dict[str, Any]
Desk = Mapping[str, Callable[[Params], Result]]

log = logging.getLogger("pay.callback")


class BadRequest(Exception):
    """The request is well-formed but cannot be carried out as it is; answered 400."""


class NoOrderDatabase(Exception):
    """The action needs `orderDatabaseUrl`, which is not set."""


class TooManyWaiting(Exception):
    """As many callers as may wait for an order do so already."""


class HandlerFailed(Exception):
    """A callback handler raised or did not keep the message; WeChat Pay is to deliver again."""


@dataclass(frozen=True)
class Merchant:
    """The merchant's own values, from the settings; times in seconds."""

    merchant_id: str
    app_id: str
    service_app_id: str
    notify_url_pay: str
    notify_url_refunds: str
    transfer_notify_url: str
    handler_timeout: float

    @property
    def app_ids(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.app_id, self.service_app_id)))


@dataclass(frozen=True)
class Scene:
    """One way to pay: WeChat Pay's path, the answer's field, and how that becomes what the client needs.

    JSAPI [4012791856], Native [4012791877], H5 [4012791834], APP [4013070347].
    """

    path: str
    credential: str
    finish: Callable[[Signer, str, Result], Result]


SCENES = {
    "wxpay_order": Scene(
        "/v3/pay/transactions/jsapi", "prepay_id", lambda s, appid, data: s.jsapi_parameters(appid, data["prepay_id"])
    ),
    "wxpay_order_native": Scene("/v3/pay/transactions/native", "code_url", lambda s, appid, data: data),
    "wxpay_order_h5": Scene("/v3/pay/transactions/h5", "h5_url", lambda s, appid, data: data),
    "wxpay_order_app": Scene(
        "/v3/pay/transactions/app", "prepay_id", lambda s, appid, data: s.app_parameters(appid, data["prepay_id"])
    ),
}


class PayService:
    """One method per thing a merchant does; each answers `{"status": int, "data": object}`.

    `action` is the name by which it was asked for, `params` are validated. All calls raise ApiError, OutcomeUnknown
    and NotSent of services.wechatpay.errors, and what the merchant's code makes of it: Refused, HookFailed,
    NotRecorded.
    """

    def __init__(
        self, strategy: Strategy, merchant: Merchant, orders: OrderService, pool: HandlerPool, desk: Desk
    ) -> None:
        self._client = strategy.client
        self._opener = strategy.opener
        self._merchant = merchant
        self._orders = orders
        self._pool = pool
        self._desk = desk

    def order(self, action: str, params: Params, caller: Caller) -> Result:
        """Place an order; `amount.total` in cents. `data` is what the front end pays with."""
        scene = SCENES[action]
        params = prepare(self._orders.before_unified, self._with_appid(params), caller, PAYMENT)
        payload = params | {
            "mchid": self._merchant.merchant_id,
            "notify_url": self._merchant.notify_url_pay,
        }
        with refusals_told(self._orders, PAYMENT, payload):
            reply = self._client.call("POST", scene.path, payload, holds=scene.credential)
        result = _result(reply, scene.finish(self._client.signer, payload["appid"], reply.data))
        record(Message("order"), self._orders.handler_unified, payload)
        return result

    def query_order(self, action: str, params: Params, caller: Caller) -> Result:
        """An order by `out_trade_no` or `transaction_id` ([4012791859], [4012791858])."""
        name, path = (
            ("out_trade_no", paths.order) if "out_trade_no" in params else ("transaction_id", paths.transaction)
        )
        expect = {name: params[name]}
        return self._query(action, path(self._merchant.merchant_id, params[name]), params, expect)

    def close_order(self, action: str, params: Params, caller: Caller) -> Result:
        """Close an unpaid order ([4012791860]); WeChat Pay answers 204 without a body."""
        path = paths.close(params["out_trade_no"])
        result = _result(self._client.call("POST", path, {"mchid": self._merchant.merchant_id}))
        record(Message("close"), self._orders.handler_close, params)
        return result

    def refund(self, action: str, params: Params, caller: Caller) -> Result:
        """Ask for a refund, amounts in cents ([4013071036]); 200 means accepted, not refunded."""
        params = prepare(self._orders.before_refund, params, caller, REFUND)
        payload = params | {"notify_url": self._merchant.notify_url_refunds}
        expect = {"out_refund_no": payload["out_refund_no"]}
        with refusals_told(self._orders, REFUND, payload):
            result = _result(self._client.call("POST", paths.REFUNDS, payload, expect=expect))
        record("refund", self._orders.handler_refund, payload, result=result)
        return result

    def query_refund(self, action: str, params: Params, caller: Caller) -> Result:
        """A refund by `out_refund_no` ([4013071041])."""
        number = params["out_refund_no"]
        return self._query(action, paths.refund(number), params, {"out_refund_no": number})

    def transfer(self, action: str, params: Params, caller: Caller) -> Result:
        """Ask for a transfer of `transfer_amount` cents to a user ([4012716434]); he confirms it himself.

        A `user_name` in clear is encrypted here. `data` gains `mchId` and `appId` for
        wx.requestMerchantTransfer.
        """
        payload = prepare(self._orders.before_transfer, self._with_appid(params), caller, TRANSFER)
        deadline, serial = self._client.deadline(), ""
        expect = {"out_bill_no": payload["out_bill_no"]}
        with refusals_told(self._orders, TRANSFER, payload):
            if "user_name" in payload:
                payload, serial = self._with_encrypted_name(payload, deadline)
            if self._merchant.transfer_notify_url:
                payload = payload | {"notify_url": self._merchant.transfer_notify_url}
            reply = self._client.call(
                "POST", paths.TRANSFER_BILLS, payload, serial=serial, expect=expect, deadline=deadline
            )
        result = _result(
            reply, reply.data | {"mchId": self._merchant.merchant_id, "appId": payload["appid"]}
        )
        record("transfer", self._orders.handler_transfer, payload, reply.data, result=result)
        return result

    def _with_encrypted_name(self, payload: Params, deadline: float) -> tuple[Params, str]:
        try:
            serial, ciphertext = self._client.encrypt(payload["user_name"], deadline)
        except (ValueError, AttributeError) as error:
            raise HookFailed("user_name must be a string of at most 214 bytes in UTF-8") from error
        return encrypted(self._orders, payload | {"user_name": ciphertext}, serial)

    def cancel_transfer(self, action: str, params: Params, caller: Caller) -> Result:
        """Ask to cancel an unconfirmed transfer ([4012716458]); asynchronous, query for the end."""
        number = params["out_bill_no"]
        return _result(self._client.call("POST", paths.cancel(number), expect={"out_bill_no": number}))

    def query_transfer(self, action: str, params: Params, caller: Caller) -> Result:
        """A transfer by `out_bill_no` or `transfer_bill_no` ([4012716437], [4012716457])."""
        name, path = (
            ("out_bill_no", paths.transfer) if "out_bill_no" in params else ("transfer_bill_no", paths.transfer_bill)
        )
        reply = self._client.call("GET", path(params[name]), expect={name: params[name]})
        authorize(self._orders, action, params | {"openid": reply.data.get("openid", "")}, caller)
        return self._shown(action, params, reply)

    def at_desk(self, action: str, params: Params, caller: Caller) -> Result:
        """An action on the order database, see services.orders.desk; raises NoOrderDatabase where there is none."""
        if action not in self._desk:
            template = "MISSING_CREDENTIALS: orderDatabaseUrl (this action works on the order database: set it to one)"
            raise NoOrderDatabase(Message(template))
        with processor.waiting():  # for the database, and for others to change an order
            return {"status": 200, "data": self._desk[action](params)}

    def accept_notification(self, incoming: Incoming) -> None:
        """Open a callback, check that it is ours, and have it handled; returns only if it was kept.

        Raises HandlerFailed or HandlerTimeout, NotificationRefused for another merchant's, NotificationPostponed
        when it cannot be handled now, and what `Opener.open` raises.
        """
        notification = self._opener.open(incoming)
        self._require_ours(notification)
        fields = {
            "notification_id": notification.id,
            "event_type": notification.event_type,
            "evidence": notification.evidence,
        }
        kind = notification.kind
        protect_people(notification.plaintext)
        if kind is None:
            log.warning("callback of a type that no handler is for: acknowledged only", extra={"fields": fields})
            key, name = ("other", _content(notification)), "other"
        else:
            fields["number"] = notification.plaintext[kind.number]
            log.info("notification believed", extra={"fields": fields})
            key, name = (kind.name, fields["number"]), kind.name
        left = min(self._merchant.handler_timeout, incoming.deadline - time.monotonic())
        if left <= 0:
            raise NotificationPostponed("no time of callbackTimeout is left for the handler")
        until = time.monotonic() + left
        try:
            kept = self._pool.run(
                key, lambda: contained(self._orders.handler_notification, notification, until), left
            )
        except (NotificationPostponed, HandlerTimeout):
            raise
        except Exception as error:
            raise HandlerFailed(f"the {name} handler raised {type(error).__name__}") from error
        if not is_kept(kept):
            raise HandlerFailed(f"the {name} handler did not return None, True or code SUCCESS")

    def _require_ours(self, notification: Notification) -> None:
        """The merchant, and for payments the appid, must be ours; transfers say mch_id ([4012712115])."""
        plaintext, kind = notification.plaintext, notification.kind
        merchant = plaintext.get("mchid", plaintext.get("mch_id"))
        if merchant != self._merchant.merchant_id and not (kind is None and merchant is None):
            raise NotificationRefused("the notification is for another merchant")
        if kind is PAYMENT and plaintext.get("appid") not in self._merchant.app_ids:
            raise NotificationRefused("the notification is for another appid")

    def _with_appid(self, params: Params) -> Params:
        params = dict(params)
        use_service_account = params.pop("useServiceAccount", False)
        if use_service_account and not self._merchant.service_app_id:
            raise BadRequest(Message("useServiceAccount=true but service_app_id env var is not configured"))
        if use_service_account:
            return params | {"appid": self._merchant.service_app_id}
        return {"appid": self._merchant.app_ids[0]} | params

    def _query(self, action: str, path: str, params: Params, expect: Mapping[str, str]) -> Result:
        return self._shown(action, params, self._client.call("GET", path, expect=expect))

    def _shown(self, action: str, params: Params, reply: Reply) -> Result:
        protect_people(reply.data)
        show(self._orders.handler_query, action, params, copy.deepcopy(reply.data))
        return _result(reply)


def protect_people(data: Mapping[str, Any]) -> None:
    """Keep the openid and name in WeChat Pay's data out of whatever is logged from here on."""
    payer = data.get("payer")
    openid = payer.get("openid") if isinstance(payer, Mapping) else None
    protect(openid, data.get("openid"), data.get("user_name"))


def _content(notification: Notification) -> str:
    """What tells notifications without a number apart: their content alone is proved, whoever forwards them."""
    return json.dumps(notification.plaintext, sort_keys=True)


def _result(reply: Reply, data: Result | None = None) -> Result:
    return {"status": reply.status, "data": reply.data if data is None else data}
