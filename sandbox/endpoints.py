"""What each WeChat Pay endpoint does with a request that has been let in."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from sandbox import rules, views
from sandbox.credentials import Credentials
from sandbox.crypto import decrypt_field, encrypt_field, seal
from sandbox.errors import Refusal, bad_field, bad_serial
from sandbox.keys import Keys
from sandbox.ledger import Ledger, rfc3339
from sandbox.wire import Request

NAME_FORBIDDEN_BELOW = 30
NAME_REQUIRED_FROM = 200_000
RED_PACKET_LIMIT = 20_000

NUMBERS = {
    "out_trade_no": rules.OUT_TRADE_NO,
    "out_refund_no": rules.OUT_REFUND_NO,
    "out_bill_no": rules.OUT_BILL_NO,
    "transaction_id": r"[0-9A-Za-z]{1,32}",
    "transfer_bill_no": r"[0-9A-Za-z]{1,64}",
}

Endpoint = Callable[[Request, str], Any]


class Endpoints:
    """`routes` holds method, pattern of the path, and endpoint.

    An endpoint takes the request and the number in its path. It returns the content of a 200, None for a 204,
    or raises Refusal.
    """

    def __init__(self, credentials: Credentials, keys: Keys, ledger: Ledger) -> None:
        self._credentials = credentials
        self._keys = keys
        self._ledger = ledger
        self._merchant_key = credentials.merchant.key.public_key()
        pay, refunds, bills = (
            "/v3/pay/transactions",
            "/v3/refund/domestic/refunds",
            "/v3/fund-app/mch-transfer/transfer-bills",
        )
        self.routes: list[tuple[str, re.Pattern[str], Endpoint]] = [
            (method, re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), endpoint)
            for method, path, endpoint in (
                *(("POST", f"{pay}/{scene}", self._prepay) for scene in rules.ORDERS),
                ("GET", f"{pay}/out-trade-no/{{out_trade_no}}", self._query_by_number),
                ("GET", f"{pay}/id/{{transaction_id}}", self._query_by_transaction),
                ("POST", f"{pay}/out-trade-no/{{out_trade_no}}/close", self._close),
                ("POST", refunds, self._refund),
                ("GET", f"{refunds}/{{out_refund_no}}", self._query_refund),
                ("POST", bills, self._transfer),
                ("GET", f"{bills}/out-bill-no/{{out_bill_no}}", self._query_transfer),
                ("GET", f"{bills}/transfer-bill-no/{{transfer_bill_no}}", self._query_transfer_by_bill),
                ("POST", f"{bills}/out-bill-no/{{out_bill_no}}/cancel", self._cancel),
                ("GET", "/v3/certificates", self._certificates),
            )
        ]

    # Orders

    def _prepay(self, request: Request, _: str) -> dict[str, str]:
        scene = request.path.rpartition("/")[2]
        body = rules.read(request.body)
        rules.ORDERS[scene](body, "")
        self._own_merchant(body["mchid"], "/mchid", "body")
        self._own_app(body["appid"])
        order = self._ledger.place(scene, body)
        prepay_id = "wx" + rfc3339(order.created)[:19].translate(_ONLY_DIGITS) + secrets.token_hex(9) + "00"
        if scene == "native":
            return {"code_url": f"weixin://wxpay/bizpayurl?pr={secrets.token_urlsafe(6)}zz"}
        if scene == "h5":
            page = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb"
            return {"h5_url": f"{page}?prepay_id={prepay_id}&package={secrets.randbelow(10**10):010d}"}
        return {"prepay_id": prepay_id}

    def _query_by_number(self, request: Request, number: str) -> dict[str, Any]:
        return self._queried(request, number=number)

    def _query_by_transaction(self, request: Request, number: str) -> dict[str, Any]:
        return self._queried(request, transaction_id=number)

    def _queried(self, request: Request, **by: str) -> dict[str, Any]:
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        self._own_merchant(query.get("mchid", ""), "mchid", "query")
        order = self._ledger.find_order(**by)
        if order is None:
            raise Refusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return views.order(order, self._credentials.merchant_id)

    def _close(self, request: Request, number: str) -> None:
        body = rules.read(request.body)
        rules.CLOSE(body, "")
        self._own_merchant(body["mchid"], "/mchid", "body")
        self._ledger.close(number)

    # Refunds

    def _refund(self, request: Request, _: str) -> dict[str, Any]:
        body = rules.read(request.body)
        rules.REFUND(body, "")
        if ("out_trade_no" in body) == ("transaction_id" in body):
            raise bad_field("/transaction_id", "exactly one of transaction_id and out_trade_no is needed")
        return views.refund(self._ledger.refund(body))

    def _query_refund(self, _: Request, number: str) -> dict[str, Any]:
        refund = self._ledger.refunds.get(number)
        if refund is None:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "the refund does not exist")
        return views.refund(refund)

    # Transfers

    def _transfer(self, request: Request, _: str) -> dict[str, Any]:
        body = rules.read(request.body)
        rules.TRANSFER(body, "")
        self._own_app(body["appid"])
        amount = body["transfer_amount"]
        if "user_name" in body:
            if amount < NAME_FORBIDDEN_BELOW:
                raise bad_field("/user_name", "0.3元以下不允许输入姓名校验")
            body["user_name"] = self._name(request, body["user_name"])
        elif amount >= NAME_REQUIRED_FROM:
            raise bad_field("/user_name", f"is required from {NAME_REQUIRED_FROM} fen")
        _check_scene(body)
        return views.transfer_accepted(self._ledger.transfer(body))

    def _name(self, request: Request, encrypted: str) -> str:
        serial = request.headers.get("wechatpay-serial")
        key = self._keys.decrypting(serial or "")
        if key is None:
            raise bad_serial("HTTP header缺少微信支付平台证书序列号(Wechatpay-Serial)")
        try:
            return decrypt_field(key, encrypted)
        except ValueError:
            raise bad_field("/user_name", "平台私钥解密失败") from None

    def _query_transfer(self, _: Request, number: str) -> dict[str, Any]:
        return self._found(number=number)

    def _query_transfer_by_bill(self, _: Request, number: str) -> dict[str, Any]:
        return self._found(transfer_bill_no=number)

    def _found(self, **by: str) -> dict[str, Any]:
        transfer = self._ledger.find_transfer(**by)
        if transfer is None:
            raise Refusal(404, "NOT_FOUND", "记录不存在")
        shown = views.transfer(transfer, self._credentials.merchant_id)
        if name := transfer.body.get("user_name"):
            shown["user_name"] = encrypt_field(self._merchant_key, name)
        return shown

    def _cancel(self, request: Request, number: str) -> dict[str, Any]:
        if request.body:
            rules.NOTHING(rules.read(request.body), "")
        return views.cancellation(self._ledger.cancel(number))

    # Keys

    def _certificates(self, _request: Request, _: str) -> dict[str, Any]:
        """[4012551764]"""
        pairs = self._keys.certificates()
        if not pairs:
            raise Refusal(
                404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥"
            )
        return {
            "data": [
                {
                    "serial_no": pair.serial,
                    "effective_time": rfc3339(pair.certificate.not_valid_before_utc.timestamp()),
                    "expire_time": rfc3339(pair.certificate.not_valid_after_utc.timestamp()),
                    "encrypt_certificate": seal(
                        self._credentials.api_v3_key, pair.pem.encode(), "certificate"
                    ),
                }
                for pair in pairs
            ]
        }

    def _own_merchant(self, value: str, field: str, location: str) -> None:
        if value != self._credentials.merchant_id:
            raise bad_field(field, "must be the mchid of Authorization", value, location=location)

    def _own_app(self, value: str) -> None:
        if value not in (self._credentials.app_id, self._credentials.service_app_id):
            raise Refusal(400, "APPID_MCHID_NOT_MATCH", "the appid is not bound to the mchid")


_ONLY_DIGITS = str.maketrans("", "", "-:T")


def _check_scene(body: dict[str, Any]) -> None:
    """What a transfer must report about its scene [4012711988]."""
    if body["transfer_scene_id"] not in rules.SCENES:
        raise Refusal(400, "INVALID_REQUEST", "transfer_scene_id is not a scene of this merchant")
    reports, perceptions, red_packet = rules.SCENES[body["transfer_scene_id"]]
    if sorted(info["info_type"] for info in body["transfer_scene_report_infos"]) != sorted(reports):
        raise bad_field("/transfer_scene_report_infos", f"must hold each once: {', '.join(reports)}")
    if body.get("user_recv_perception", perceptions[0]) not in perceptions:
        raise bad_field("/user_recv_perception", f"must be one of {', '.join(perceptions)}")
    as_red_packet = body.get("user_recv_style", {}).get("type") == "RED_PACKET"
    if as_red_packet and (not red_packet or body["transfer_amount"] > RED_PACKET_LIMIT):
        raise Refusal(400, "INVALID_REQUEST", "this transfer cannot be a red packet")
