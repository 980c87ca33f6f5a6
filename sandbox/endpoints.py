"""What each WeChat Pay endpoint does with a request that has been let in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from sandbox import rules, views
from sandbox.clock import rfc3339
from sandbox.credentials import Credentials
from sandbox.crypto import decrypt_field, encrypt_field, seal
from sandbox.errors import Refusal, bad_field, bad_openid, bad_serial
from sandbox.files import File, Files
from sandbox.keys import Keys
from sandbox.ledger import Ledger, Transfer
from sandbox.wire import Request

LEAST_TRANSFER = 10
NAME_FORBIDDEN_BELOW = 30
NAME_REQUIRED_FROM = 200_000
RED_PACKET_LIMIT = 20_000

NUMBERS = {
    "out_trade_no": rules.OUT_TRADE_NO,
    "out_refund_no": rules.OUT_REFUND_NO,
    "out_bill_no": rules.OUT_BILL_NO,
    "transaction_id": r"[0-9A-Za-z]{1,32}",
    "refund_id": r"[0-9A-Za-z]{1,32}",
    "transfer_bill_no": r"[0-9A-Za-z]{1,64}",
}
PAY, REFUNDS, TRANSFERS = (
    "/v3/pay/transactions",
    "/v3/refund/domestic/refunds",
    "/v3/fund-app/mch-transfer/transfer-bills",
)
ABNORMAL = "/{refund_id}/apply-abnormal-refund"
RECEIPTS = "/v3/fund-app/mch-transfer/elecsign"

Endpoint = Callable[[Request, dict[str, str]], Any]


@dataclass(frozen=True)
class Route:
    """`what` is counted by Limits; `product` has to be enabled for the merchant."""

    method: str
    pattern: re.Pattern[str]
    endpoint: Endpoint
    what: str
    product: str = ""


class Endpoints:
    """`routes` are all that there is.

    An endpoint takes the request and the numbers in its path. It returns the content of a 200, None for a 204,
    a File, or raises Refusal.
    """

    def __init__(self, credentials: Credentials, keys: Keys, ledger: Ledger, files: Files) -> None:
        self._credentials = credentials
        self._keys = keys
        self._ledger = ledger
        self._files = files
        self._merchant_key = credentials.merchant.key.public_key()
        by_bill, by_number = "transfer-bill-no/{transfer_bill_no}", "out-bill-no/{out_bill_no}"
        self.routes = [
            *(_route("POST", f"{PAY}/{scene}", self._prepay, scene, scene) for scene in rules.ORDERS),
            _route("GET", f"{PAY}/out-trade-no/{{out_trade_no}}", self._query_by_number, "order query"),
            _route("GET", f"{PAY}/id/{{transaction_id}}", self._query_by_transaction, "order query"),
            _route("POST", f"{PAY}/out-trade-no/{{out_trade_no}}/close", self._close, "close"),
            _route("POST", REFUNDS, self._refund, "refund", "refund"),
            _route("GET", f"{REFUNDS}/{{out_refund_no}}", self._query_refund, "refund query"),
            _route("POST", REFUNDS + ABNORMAL, self._redirect, "abnormal refund", "refund"),
            _route("POST", TRANSFERS, self._transfer, "transfer", "transfer"),
            _route("GET", f"{TRANSFERS}/{by_number}", self._query_transfer, "transfer query", "transfer"),
            _route("GET", f"{TRANSFERS}/{by_bill}", self._query_transfer, "transfer query", "transfer"),
            _route("POST", f"{TRANSFERS}/{by_number}/cancel", self._cancel, "transfer cancel", "transfer"),
            _route("POST", f"{RECEIPTS}/out-bill-no", self._apply_for_receipt, "transfer receipt", "transfer"),
            _route("GET", f"{RECEIPTS}/{by_number}", self._receipt, "transfer receipt", "transfer"),
            _route("GET", f"{RECEIPTS}/{by_bill}", self._receipt, "transfer receipt", "transfer"),
            _route("GET", "/v3/transferbilldownload/file", self._download, "download"),
            _route("GET", "/v3/bill/tradebill", self._trade_bill, "trade bill"),
            _route("GET", "/v3/bill/fundflowbill", self._fund_bill, "fund bill"),
            _route("GET", "/v3/billdownload/file", self._download, "download"),
            _route("GET", "/v3/certificates", self._certificates, "certificates"),
        ]

    # Orders

    def _prepay(self, request: Request, _: dict[str, str]) -> dict[str, str]:
        scene = request.path.rpartition("/")[2]
        body = rules.read(request.body)
        rules.ORDERS[scene](body, "")
        self._own_merchant(body["mchid"], "/mchid", "body")
        self._own_app(body["appid"])
        if scene == "jsapi" and not re.fullmatch(r"[\w-]+", body["payer"]["openid"], re.ASCII):
            raise bad_openid()
        order = self._ledger.place(scene, body)
        return {order.credential.kind: order.credential.value}

    def _query_by_number(self, request: Request, path: dict[str, str]) -> dict[str, Any]:
        return self._queried(request, number=path["out_trade_no"])

    def _query_by_transaction(self, request: Request, path: dict[str, str]) -> dict[str, Any]:
        return self._queried(request, transaction_id=path["transaction_id"])

    def _queried(self, request: Request, **by: str) -> dict[str, Any]:
        query = _query(request)
        self._own_merchant(query.get("mchid", ""), "mchid", "query")
        order = self._ledger.find_order(**by)
        if order is None:
            raise Refusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return views.order(order, self._credentials.merchant_id)

    def _close(self, request: Request, path: dict[str, str]) -> None:
        body = rules.read(request.body)
        rules.CLOSE(body, "")
        self._own_merchant(body["mchid"], "/mchid", "body")
        self._ledger.close(path["out_trade_no"])

    # Refunds

    def _refund(self, request: Request, _: dict[str, str]) -> dict[str, Any]:
        body = rules.read(request.body)
        rules.REFUND(body, "")
        if ("out_trade_no" in body) == ("transaction_id" in body):
            raise bad_field("/transaction_id", "exactly one of transaction_id and out_trade_no is needed")
        return views.refund(self._ledger.refund(body))

    def _query_refund(self, _: Request, path: dict[str, str]) -> dict[str, Any]:
        refund = self._ledger.refunds.get(path["out_refund_no"])
        if refund is None:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "the refund does not exist")
        return views.refund(refund)

    def _redirect(self, request: Request, path: dict[str, str]) -> dict[str, Any]:
        body = rules.read(request.body)
        rules.ABNORMAL_REFUND(body, "")
        to_merchant = body["type"] == "MERCHANT_BANK_CARD"
        for name in () if to_merchant else ("bank_type", "bank_account", "real_name"):
            if name not in body:
                raise bad_field(f"/{name}", "is required for USER_BANK_CARD")
        for name in ("bank_account", "real_name"):
            if name in body:
                self._decrypted(request, name, body[name])
        return views.refund(self._ledger.redirect_refund(path["refund_id"], body["out_refund_no"], to_merchant))

    # Transfers

    def _transfer(self, request: Request, _: dict[str, str]) -> dict[str, Any]:
        body = rules.read(request.body)
        rules.TRANSFER(body, "")
        self._own_app(body["appid"], "INVALID_REQUEST")
        amount = body["transfer_amount"]
        if amount < LEAST_TRANSFER:
            raise Refusal(400, "INVALID_REQUEST", "超过单笔转账上下限，核实产品设置是否准确")
        if "user_name" in body:
            if amount < NAME_FORBIDDEN_BELOW:
                raise bad_field("/user_name", "0.3元以下不允许输入姓名校验")
            body["user_name"] = self._decrypted(request, "user_name", body["user_name"])
        elif amount >= NAME_REQUIRED_FROM:
            raise bad_field("/user_name", f"is required from {NAME_REQUIRED_FROM} fen")
        _check_scene(body)
        return views.transfer_accepted(self._ledger.transfer(body))

    def _decrypted(self, request: Request, name: str, encrypted: str) -> str:
        serial = request.headers.get("wechatpay-serial")
        key = self._keys.decrypting(serial or "")
        if key is None:
            raise bad_serial("HTTP header缺少微信支付平台证书序列号(Wechatpay-Serial)")
        try:
            return decrypt_field(key, encrypted)
        except ValueError:
            raise bad_field(f"/{name}", "平台私钥解密失败") from None

    def _query_transfer(self, _: Request, path: dict[str, str]) -> dict[str, Any]:
        transfer = self._found(path)
        if transfer is None:
            raise Refusal(404, "NOT_FOUND", "记录不存在")
        shown = views.transfer(transfer, self._credentials.merchant_id)
        if name := transfer.body.get("user_name"):
            shown["user_name"] = encrypt_field(self._merchant_key, name)
        return shown

    def _cancel(self, request: Request, path: dict[str, str]) -> dict[str, Any]:
        if request.body:
            rules.NOTHING(rules.read(request.body), "")
        return views.cancellation(self._ledger.cancel(path["out_bill_no"]))

    def _found(self, path: dict[str, str]) -> Transfer | None:
        return self._ledger.find_transfer(
            number=path.get("out_bill_no", ""), transfer_bill_no=path.get("transfer_bill_no", "")
        )

    # Files

    def _apply_for_receipt(self, request: Request, _: dict[str, str]) -> dict[str, str]:
        body = rules.read(request.body)
        rules.RECEIPT(body, "")
        return self._files.apply_for_receipt(body["out_bill_no"])

    def _receipt(self, request: Request, path: dict[str, str]) -> dict[str, str]:
        return self._files.receipt(self._found(path), request.origin)

    def _trade_bill(self, request: Request, _: dict[str, str]) -> dict[str, str]:
        return self._files.trade_bill(_query(request), request.origin)

    def _fund_bill(self, request: Request, _: dict[str, str]) -> dict[str, str]:
        return self._files.fund_bill(_query(request), request.origin)

    def _download(self, request: Request, _: dict[str, str]) -> File:
        query = _query(request)
        return self._files.download(query.get("token", ""), packed=query.get("tartype") == "gzip")

    # Keys

    def _certificates(self, request: Request, _: dict[str, str]) -> dict[str, Any]:
        """[4012551764]"""
        if _query(request).get("algorithm_type", "RSA") not in ("RSA", "ALL"):
            raise bad_field("algorithm_type", "must be RSA or ALL", location="query")
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

    def _own_app(self, value: str, code: str = "APPID_MCHID_NOT_MATCH") -> None:
        """The page of transfers knows no code of its own for it [4012716434, 4013778940]."""
        if value not in (self._credentials.app_id, self._credentials.service_app_id):
            raise Refusal(400, code, "appid和mchid不匹配")


def _route(method: str, path: str, endpoint: Endpoint, what: str, product: str = "") -> Route:
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
    return Route(method, pattern, endpoint, what, product)


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query, keep_blank_values=True))


def _check_scene(body: dict[str, Any]) -> None:
    """What a transfer must report about its scene [4012711988]; the refusals: [4013778940]."""
    if body["transfer_scene_id"] not in rules.SCENES:
        raise Refusal(400, "INVALID_REQUEST", "transfer_scene_id is not a scene of this merchant")
    reports, perceptions, red_packet = rules.SCENES[body["transfer_scene_id"]]
    if sorted(info["info_type"] for info in body["transfer_scene_report_infos"]) != sorted(reports):
        raise bad_field("/transfer_scene_report_infos", f"must hold each once: {', '.join(reports)}")
    if (body.get("user_recv_perception") or perceptions[0]) not in perceptions:
        raise Refusal(400, "INVALID_REQUEST", "暂不支持展示当前传入的用户收款感知")
    as_red_packet = body.get("user_recv_style", {}).get("type") == "RED_PACKET"
    if as_red_packet and (not red_packet or body["transfer_amount"] > RED_PACKET_LIMIT):
        raise Refusal(400, "INVALID_REQUEST", "this transfer cannot be a red packet")
