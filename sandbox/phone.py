"""The user's WeChat: it opens what it is shown, and says what it would say to the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.clock import rfc3339
from sandbox.credentials import Credentials
from sandbox.crypto import verifies
from sandbox.ledger import IllegalMove, Ledger, Order, Transfer
from sandbox.server import is_loopback

JSAPI_FIELDS = ("appId", "timeStamp", "nonceStr", "package", "signType", "paySign")
APP_FIELDS = ("appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign")
WAYS = ("code_url", "h5_url", "prepay_id", "package_info", "jsapi", "app")


class Phone:
    """`open` raises IllegalMove where a real phone would show an error."""

    def __init__(self, credentials: Credentials, ledger: Ledger) -> None:
        self._credentials = credentials
        self._ledger = ledger
        self._key = credentials.merchant.key.public_key()

    def open(self, openid: str = "", **shown: Any) -> dict[str, Any]:
        """Open exactly one of WAYS; `jsapi` and `app` are the signed parameters of section 6."""
        if len(shown) != 1 or next(iter(shown)) not in WAYS:
            raise ValueError(f"give exactly one of {', '.join(WAYS)}")
        [(way, value)] = shown.items()
        if way == "jsapi":
            value = self._jsapi(value)
        elif way == "app":
            value = self._app(value)
        elif way == "h5_url":
            value = self._h5(value)
        with self._ledger.lock:
            thing = self._ledger.find_credential(value)
            if isinstance(thing, Order):
                return self._sheet(thing, value, openid)
            if isinstance(thing, Transfer):
                return self._confirmation(thing, openid)
        raise IllegalMove(f"WeChat does not know this {way}")

    def _sheet(self, order: Order, value: str, openid: str) -> dict[str, Any]:
        credential = order.credentials[value]
        if order.state != "NOTPAY":
            raise IllegalMove(f"order {order.number} is {order.state}: it cannot be paid")
        if value != order.credential.value and credential.kind == "code_url":
            raise IllegalMove("this code has been replaced by a newer one of the same order")
        if self._ledger.now() > credential.expires:
            raise IllegalMove(f"this {credential.kind} expired at {rfc3339(credential.expires)}")
        if self._ledger.now() > order.pay_until:
            raise IllegalMove("订单已超过商户设置的最晚支付成功时间，请重新发起支付")
        if credential.kind == "h5_url" and is_loopback(order.body["scene_info"]["payer_client_ip"]):
            raise IllegalMove("由于商家传入的H5交易参数有误，该笔交易暂时无法完成，请联系商家解决")  # [4012791845]
        payer = order.body.get("payer", {}).get("openid", "")
        if openid and payer and payer != openid:
            raise IllegalMove("only the payer named in the order can pay it")
        # A code or link belongs to the first who opens it [4012791890, 4012791845].
        if openid and order.opened_by not in ("", openid):
            raise IllegalMove("somebody else has opened this order already")
        order.opened_by = order.opened_by or openid
        self._ledger.note(order, "opened on the phone")
        return {
            "kind": "order",
            "number": order.number,
            "description": order.body["description"],
            "total": order.total,
            "openid": payer or order.opened_by,
        }

    def _confirmation(self, transfer: Transfer, openid: str) -> dict[str, Any]:
        """Once the user has confirmed, the page may be opened again until the money has arrived [4012715211]."""
        if transfer.state not in ("WAIT_USER_CONFIRM", "TRANSFERING"):
            raise IllegalMove(f"transfer {transfer.number} is {transfer.state}: there is nothing to confirm")
        if openid and openid != transfer.body["openid"]:
            raise IllegalMove("only the payee can confirm a transfer")
        return {
            "kind": "transfer",
            "number": transfer.number,
            "description": transfer.body["transfer_remark"],
            "total": transfer.amount,
            "openid": transfer.body["openid"],
        }

    def _jsapi(self, given: Any) -> str:
        """The prepay_id inside parameters whose paySign holds [4012365339]."""
        fields = _strings(given, JSAPI_FIELDS, optional=("appId",))
        package = fields["package"]
        if fields["signType"] != "RSA" or not package.startswith("prepay_id="):
            raise IllegalMove("signType must be RSA and package prepay_id=...")
        prepay_id = package.removeprefix("prepay_id=")
        # wx.requestPayment is not given the appId: the signature is over that of the order [4012791898].
        app_id = self._app_of(prepay_id)
        if fields.get("appId", app_id) != app_id:
            raise IllegalMove("appId is not that of the order")
        self._check(app_id, fields, package, fields["paySign"])
        return prepay_id

    def _app(self, given: Any) -> str:
        """[4012365340]: the prepay_id is signed without a prefix."""
        fields = _strings(given, APP_FIELDS)
        app_id = self._app_of(fields["prepayId"])
        if fields["appId"] != app_id or fields["partnerId"] != self._credentials.merchant_id:
            raise IllegalMove("appId or partnerId is not that of the order")
        if fields["packageValue"] != "Sign=WXPay":
            raise IllegalMove("packageValue must be Sign=WXPay")
        self._check(app_id, fields, fields["prepayId"], fields["sign"])
        return fields["prepayId"]

    def _check(self, app_id: str, fields: Mapping[str, str], last: str, signature: str) -> None:
        message = f"{app_id}\n{fields['timeStamp']}\n{fields['nonceStr']}\n{last}\n".encode()
        if not verifies(self._key, message, signature):
            raise IllegalMove("支付验证签名失败: the signature does not fit these parameters")

    def _app_of(self, prepay_id: str) -> str:
        order = self._ledger.find_credential(prepay_id)
        if not isinstance(order, Order):
            raise IllegalMove("WeChat does not know this prepay_id")
        return str(order.body["appid"])

    def _h5(self, url: Any) -> str:
        """The link as given out, with at most one redirect_url appended [4012791845]."""
        base, found, redirect = str(url).partition("&redirect_url=")
        if found and (not redirect or set(redirect) & set("&=/?")):
            raise IllegalMove("redirect_url must be one URL-encoded address")
        return base


def _strings(given: Any, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ValueError("the parameters must be an object")
    fields = {name: given[name] for name in names if name in given}
    for name in names:
        if name not in fields and name not in optional:
            raise IllegalMove(f"{name} is missing")
        if not isinstance(fields.get(name, ""), str):
            raise IllegalMove(f"{name} must be a string")
    return fields
