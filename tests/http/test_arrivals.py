"""What arrives where: from each way in, with all that a request may carry, to the order service and to WeChat Pay.

The whole application in this process, with an order service that keeps what it is asked and goes no further, and WeChat
Pay's network replaced by one that keeps requests and is down.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from urllib3.util import parse_url

from app import create_app
from config.settings import Settings
from routes.admission import PLACES
from services.order_service import OrderService, Refused
from tests.services.wechatpay.host import API_V3_KEY, MERCHANT_SERIAL
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY
from utils.cloudbase_auth import Caller

VECTORS = Path(__file__).parents[1] / "vectors"
SIGNING = rsa.generate_private_key(public_exponent=65537, key_size=2048)
MERCHANT = "1900007291"
ENV = {
    "appId": "wx0123456789abcdef",
    "merchantId": MERCHANT,
    "merchantSerialNumber": MERCHANT_SERIAL,
    "apiV3Key": API_V3_KEY.decode(),
    "privateKey": (VECTORS / "docs_merchant_test_key.pem").read_text(),
    "wxPayPublicKey": SIGNING.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    "wxPayPublicKeyId": "PUB_KEY_ID_0119000072912026",
    "notifyURLPayURL": "https://shop.example/pay",
    "notifyURLRefundsURL": "https://shop.example/refund",
    "transferNotifyUrl": "https://shop.example/transfer",
    "operatorKey": OPERATOR_KEY,
    "corsAllowOrigin": "https://shop.example",
    "wxPayTimeout": "2",
}
ORDER = {"description": "tea", "out_trade_no": "ORDER1", "amount": {"total": 20}}
PLACED = {"description": "tea", "out_trade_no": "ORDER1", "amount": {"total": 20, "currency": "CNY"}}
SCENE = {"payer_client_ip": "8.8.8.8", "h5_info": {"type": "Wap"}}
REFUND = {"out_trade_no": "ORDER1", "out_refund_no": "REFUND1", "amount": {"refund": 5, "total": 20}}
TRANSFER = {
    "out_bill_no": "BILL1",
    "transfer_scene_id": "1000",
    "openid": "oPAYEE",
    "transfer_amount": 30,
    "transfer_remark": "bonus",
    "transfer_scene_report_infos": [{"info_type": "a", "info_content": "b"}],
}
OPERATOR = {"X-Operator-Key": OPERATOR_KEY, **MINI_PROGRAM}
# Each action: a body for it, and what its call would be.
HOOKED = {
    "wxpay_order": (ORDER | {"payer": {"openid": OPENID}}, "before_unified"),
    "wxpay_order_native": (ORDER, "before_unified"),
    "wxpay_order_h5": (ORDER | {"scene_info": SCENE}, "before_unified"),
    "wxpay_order_app": (ORDER, "before_unified"),
    "wxpay_refund": (REFUND, "before_refund"),
    "wxpay_transfer": (TRANSFER, "before_transfer"),
}
ASKED = {
    "wxpay_query_order_by_out_trade_no": ({"out_trade_no": "ORDER1"},
                                          f"GET /v3/pay/transactions/out-trade-no/ORDER1?mchid={MERCHANT}"),
    "wxpay_query_order_by_transaction_id": ({"transaction_id": "T1"},
                                            f"GET /v3/pay/transactions/id/T1?mchid={MERCHANT}"),
    "wxpay_close_order": ({"out_trade_no": "ORDER1"}, "POST /v3/pay/transactions/out-trade-no/ORDER1/close"),
    "wxpay_refund_query": ({"out_refund_no": "REFUND1"}, "GET /v3/refund/domestic/refunds/REFUND1"),
    "wxpay_transfer_cancel": ({"out_bill_no": "BILL1"},
                              "POST /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/BILL1/cancel"),
    "wxpay_transfer_bill_query": ({"out_bill_no": "BILL1"},
                                  "GET /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/BILL1"),
    "wxpay_transfer_bill_query_by_no": ({"transfer_bill_no": "B1"},
                                        "GET /v3/fund-app/mch-transfer/transfer-bills/transfer-bill-no/B1"),
    "wxpay_transfer_batch_query": ({"out_bill_no": "BILL1"},
                                   "GET /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/BILL1"),
}  # fmt: skip
DESK = {
    "wxpay_order_wait": {"out_trade_no": "ORDER1"},
    "wxpay_reconcile": {"limit": 5, "seconds": 1},
    "wxpay_orders_init": {},
    "wxpay_trade_bill": {"bill_date": "2026-01-31"},
    "wxpay_fundflow_bill": {"bill_date": "2026-01-31"},
}
BODIES = {action: body for action, (body, _) in (HOOKED | ASKED).items()} | DESK
OPERATORS_ONLY = {"wxpay_refund", "wxpay_transfer", "wxpay_transfer_cancel", "wxpay_reconcile", "wxpay_orders_init",
                  "wxpay_trade_bill", "wxpay_fundflow_bill"}  # fmt: skip
PAYEES = {"wxpay_transfer_bill_query", "wxpay_transfer_bill_query_by_no", "wxpay_transfer_batch_query"}


class Keeping(OrderService):
    """Keeps what it is asked and told; may do as the default does, then stops at the first `before_*`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], Caller]] = []
        self.hooked: list[tuple[str, dict[str, Any]]] = []
        self.callers: list[Caller] = []
        self.told: list[Any] = []
        self.left: list[float] = []
        self.authorizes = True

    def authorize(self, action: str, params: dict[str, Any], caller: Caller) -> None:
        self.asked.append((action, params, caller))
        if not self.authorizes:
            super().authorize(action, params, caller)

    def _stop(self, hook: str, params: dict[str, Any], caller: Caller) -> None:
        self.hooked.append((hook, params))
        self.callers.append(caller)
        raise Refused("stopped here", 409)

    def before_unified(self, params: dict[str, Any], caller: Caller) -> None:
        self._stop("before_unified", params, caller)

    def before_refund(self, params: dict[str, Any], caller: Caller) -> None:
        self._stop("before_refund", params, caller)

    def before_transfer(self, params: dict[str, Any], caller: Caller) -> None:
        self._stop("before_transfer", params, caller)

    def handler_notification(self, notification: Any, deadline: float) -> None:
        self.told.append(notification)
        self.left.append(deadline - time.monotonic())


class Down:
    """WeChat Pay's network: keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def urlopen(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        self.sent.append(f"{method} {parse_url(url).request_uri}")
        raise urllib3.exceptions.ProtocolError("down")

    def close(self) -> None:
        pass


class Shop:
    """The application with other settings than ENV's in `changes`; None takes one away."""

    def __init__(self, **changes: str | None) -> None:
        self.network = Down()
        env = {name: value for name, value in (ENV | changes).items() if value is not None}
        self.app: Flask = create_app(Settings.from_env(env), transport=self.network, order_service=Keeping())
        self.orders: Keeping = self.app.extensions["pay"].orders
        self.browser = self.app.test_client()

    def new(self) -> None:
        """Forget what was asked, told and sent; what a test put in place of a method too."""
        rights = self.orders.rights
        vars(self.orders).clear()
        self.orders.__init__()  # type: ignore[misc]
        self.orders.rights = rights
        self.network.sent.clear()

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] = OPERATOR) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.browser.post(path, data=data, headers={"Content-Type": "application/json", **headers})

    def call(self, action: str, body: Any, headers: Mapping[str, str] = OPERATOR) -> Any:
        return self.post(f"/wx-pay/{action}", body, headers)

    def placed(self, action: str, body: Any, headers: Mapping[str, str] = OPERATOR) -> dict[str, Any]:
        """What would be asked of WeChat Pay, or merchants see before."""
        reply = self.call(action, body, headers)
        assert (reply.status_code, reply.json["msg"]) == (409, "stopped here"), reply.text
        return self.orders.hooked[-1][1]

    def refused(self, reply: Any, status: int, message: str) -> None:
        assert (reply.status_code, reply.json["msg"]) == (status, message)
        assert (self.orders.hooked, self.network.sent, self.orders.told) == ([], [], [])


@pytest.fixture(scope="module")
def open_shop() -> Shop:
    return Shop()


@pytest.fixture
def shop(open_shop: Shop) -> Shop:
    """One whose settings are ENV's."""
    open_shop.new()
    return open_shop


# Ways in

WAYS = {
    "path": lambda name, body: (f"/wx-pay/{name}", body),
    "path behind a prefix, with a slash": lambda name, body: (f"/a/b/wx-pay/{name}/", body),
    "_action": lambda name, body: ("/", body | {"_action": name}),
    "_action as a path": lambda name, body: ("/", body | {"_action": f"/wx-pay/{name}"}),
    "_action as an address": lambda name, body: ("/any/where", body | {"_action": f"https://x.example/wx-pay/{name}"}),
    "path in the body": lambda name, body: ("/", body | {"path": f"/wx-pay/{name}"}),
    "path in the body, in full": lambda name, body: ("/", {"path": f"/a/wx-pay/{name}/", "method": "POST"} | body),
    "name alone": lambda name, body: (f"/{name}", body),
    "name alone, with a slash": lambda name, body: (f"/{name}/", body),
}


@pytest.mark.parametrize("action", BODIES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_asks_the_same(shop: Shop, action: str, way: str) -> None:
    path, body = WAYS[way](action, BODIES[action])
    shop.post(path, body)
    assert [asked[:2] for asked in shop.orders.asked] == [(action, BODIES[action])]


@pytest.mark.parametrize("action", HOOKED)
def test_what_changes_something_is_shown_to_the_merchant_first(shop: Shop, action: str) -> None:
    body, hook = HOOKED[action]
    shop.placed(action, body)
    defaults = {"amount": body["amount"] | {"currency": "CNY"}} if "amount" in body else {}
    appid = {} if action == "wxpay_refund" else {"appid": ENV["appId"]}
    assert shop.orders.hooked == [(hook, body | defaults | appid)]
    assert shop.orders.callers == [shop.orders.asked[0][2]]
    assert shop.orders.callers[0].openid == OPENID
    assert shop.network.sent == []


@pytest.mark.parametrize("action", ASKED)
def test_every_other_action_asks_its_own_question(shop: Shop, action: str) -> None:
    body, question = ASKED[action]
    shop.call(action, body)
    assert set(shop.network.sent) == {question}


@pytest.mark.parametrize("action", DESK)
def test_what_needs_the_order_database_says_so(shop: Shop, action: str) -> None:
    reply = shop.call(action, DESK[action])
    message = "MISSING_CREDENTIALS: orderDatabaseUrl (this action works on the order database: set it to one)"
    shop.refused(reply, 500, message)


@pytest.mark.parametrize("action", BODIES)
def test_each_action_has_its_own_fields(shop: Shop, action: str) -> None:
    """Of a body with all fields that there are, each looks at its own."""
    reply = shop.call(action, {name: [] for body in BODIES.values() for name in body})
    if action == "wxpay_orders_init":
        assert reply.json["msg"].startswith("MISSING_CREDENTIALS: orderDatabaseUrl")
        return
    assert reply.status_code == 400
    for name in BODIES[action]:
        assert f"{name} must be" in reply.json["msg"] or f"{name}." in reply.json["msg"]


# Who may


@pytest.mark.parametrize("action", BODIES)
def test_rights_are_those_of_the_table(shop: Shop, action: str) -> None:
    shop.orders.authorizes = False
    reply = shop.call(action, BODIES[action], MINI_PROGRAM)
    if action in OPERATORS_ONLY | PAYEES:
        assert reply.status_code == 403
        assert reply.json["msg"].startswith(f"{action} needs an operator: send x-operator-key (or _operatorKey)")
        assert ("or be its payee" in reply.json["msg"]) == (action in PAYEES)
    else:
        assert reply.status_code != 403


@pytest.mark.parametrize("action", sorted(PAYEES))
@pytest.mark.parametrize(("asks_about", "may"), [(None, True), (OPENID, True), ("oSOMEBODY", False)])
def test_a_payee_asks_about_his_own(action: str, asks_about: str | None, may: bool) -> None:
    shop = Shop(callerHeaders="trusted")
    shop.orders.authorizes = False
    reply = shop.call(action, BODIES[action] | ({"openid": asks_about} if asks_about else {}), MINI_PROGRAM)
    if may:
        assert len(set(shop.network.sent)) == 1
    else:
        shop.refused(reply, 403, "this transfer is not to you: only its payee or an operator may query it")


def test_the_operators_key_may_stand_in_the_body_and_goes_no_further(shop: Shop) -> None:
    shop.orders.authorizes = False
    shop.placed("wxpay_refund", REFUND | {"_operatorKey": OPERATOR_KEY}, MINI_PROGRAM)
    ((action, params, caller),) = shop.orders.asked
    assert (action, params, caller.operator) == ("wxpay_refund", REFUND, True)


@pytest.mark.parametrize("key", [None, 7, [OPERATOR_KEY], OPERATOR_KEY + "x", ""])
def test_a_key_that_is_none_in_the_body_is_removed_and_grants_nothing(shop: Shop, key: Any) -> None:
    shop.orders.authorizes = False
    assert shop.call("wxpay_refund", REFUND | {"_operatorKey": key}, MINI_PROGRAM).status_code == 403
    assert shop.orders.asked[0][1] == REFUND


def test_a_caller_is_judged_by_the_headers(shop: Shop) -> None:
    shop.call("wxpay_refund", REFUND, MINI_PROGRAM)
    shop.call("wxpay_refund", REFUND, {"X-Operator-Key": OPERATOR_KEY})
    first, second = (caller for _, _, caller in shop.orders.asked)
    assert (first.source, first.openid, first.operator) == ("headers", OPENID, False)
    assert (second.source, second.openid, second.operator) == ("operator", "", True)


def test_what_authorize_does_to_the_request_does_not_count(shop: Shop) -> None:
    def spoil(action: str, params: dict[str, Any], caller: Caller) -> None:
        params["amount"]["refund"] = 1
        params["out_refund_no"] = "OTHER"

    shop.orders.authorize = spoil  # type: ignore[method-assign]
    assert shop.placed("wxpay_refund", REFUND)["amount"]["refund"] == 5
    assert shop.orders.hooked[0][1]["out_refund_no"] == "REFUND1"


def test_nobody_is_told_that_he_is_unknown(shop: Shop) -> None:
    message = "unknown caller: use wx.cloud.callHTTPFunction, or send Authorization: Bearer <access token>"
    shop.refused(shop.call("wxpay_order_native", ORDER, {}), 401, message)
    assert shop.orders.asked == []


def test_where_headers_are_ignored_a_token_is_asked_for() -> None:
    shop = Shop(callerHeaders="ignored", publicActions="wxpay_order_native")
    message = "Authorization: a Bearer token of this CloudBase environment is needed"
    shop.refused(shop.call("wxpay_order_app", ORDER, MINI_PROGRAM), 401, message)
    assert shop.orders.asked == []
    assert shop.placed("wxpay_order_native", ORDER, {})["out_trade_no"] == "ORDER1"


def test_public_actions_are_public_only_where_headers_are_ignored() -> None:
    shop = Shop(callerHeaders="claimed", publicActions="wxpay_order_native")
    assert shop.call("wxpay_order_native", ORDER, {}).status_code == 401


@pytest.mark.parametrize("mode", ["ignored", "claimed"])
def test_a_token_whose_keys_cannot_be_had_is_neither_refused_nor_believed(mode: str) -> None:
    shop = Shop(callerHeaders=mode, cloudbaseEnvId="env-1", cloudbaseAuthUrl="http://127.0.0.1:9")
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (
        {"alg": "RS256", "kid": "k"},
        {"iss": "http://127.0.0.1:9", "aud": "env-1", "exp": time.time() + 600, "sub": "u1", "provider_sub": OPENID},
    )]  # fmt: skip
    reply = shop.call("wxpay_order_native", ORDER, {"Authorization": f"Bearer {'.'.join(encoded)}.c2ln"})
    if mode == "ignored":
        message = "the keys that verify sign-in tokens cannot be fetched now: try again later"
        shop.refused(reply, 503, message)
    else:
        assert reply.status_code == 409


# Settings

PAY = ("appId", "merchantId", "merchantSerialNumber", "privateKey", "apiV3Key")
ADDRESS = {action: "notifyURLPayURL" for action in HOOKED if "order" in action}
ADDRESS["wxpay_refund"] = "notifyURLRefundsURL"


@pytest.mark.parametrize("action", BODIES)
def test_an_action_names_the_settings_that_it_lacks_and_no_others(action: str) -> None:
    every = (*PAY, "notifyURLPayURL", "notifyURLRefundsURL", "transferNotifyUrl", "corsAllowOrigin")
    shop = Shop(**dict.fromkeys(every))
    lacks = [name for name in every if name in PAY or ADDRESS.get(action) == name]
    shop.refused(shop.call(action, BODIES[action]), 500, "MISSING_CREDENTIALS: " + ", ".join(lacks))


BROKEN = {
    "wxPayPublicKey": "x",
    "wxPayPublicKeyId": "x",
    "wxPayApiBase": "x",
    "wxPayApiBackup": "x",
    "orderDatabaseUrl": "x",
    "priceList": "x",
    "eventWebhookUrl": "x",
    "eventWebhookSecret": "x",
    "transferNotifyUrl": "x",
    "corsAllowOrigin": "x",
    "notifyURLPayURL": "x",
    "notifyURLRefundsURL": "x",
}
OWN = {"transferNotifyUrl": {"wxpay_transfer"}, "corsAllowOrigin": {"wxpay_order_h5"},
       "notifyURLPayURL": {action for action in HOOKED if "order" in action},
       "notifyURLRefundsURL": {"wxpay_refund"}}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_setting_stops_what_needs_it_and_nothing_else(name: str) -> None:
    shop = Shop(**{name: BROKEN[name]})
    for action, body in BODIES.items():
        reply = shop.call(action, body)
        stopped = reply.status_code == 500 and f"{name} (" in reply.json["msg"] + " ("
        told = reply.json["msg"].startswith("MISSING_CREDENTIALS: ") and name in reply.json["msg"].split("(this")[0]
        expected = action in OWN.get(name, BODIES)
        assert (stopped and told) == expected, (action, reply.text)


# What is filled in and fixed


@pytest.mark.parametrize(
    ("payer", "more", "headers", "filled"),
    [
        (None, {}, MINI_PROGRAM, OPENID),
        ({}, {}, MINI_PROGRAM, OPENID),
        ({"openid": "oOTHER"}, {}, MINI_PROGRAM, OPENID),
        ({"openid": "oOTHER"}, {}, {"X-Operator-Key": OPERATOR_KEY}, "oOTHER"),
        ({"openid": "oOTHER"}, {"useServiceAccount": True}, MINI_PROGRAM, "oOTHER"),
        ({"openid": "oOTHER"}, {"useServiceAccount": False}, MINI_PROGRAM, OPENID),
        ({}, {"useServiceAccount": True}, MINI_PROGRAM, OPENID),
    ],
)
def test_the_caller_pays(payer: Any, more: dict[str, Any], headers: dict[str, str], filled: str) -> None:
    shop = Shop(service_app_id="wxfedcba9876543210")
    body = ORDER | more | ({} if payer is None else {"payer": payer})
    assert shop.placed("wxpay_order", body, headers)["payer"] == {"openid": filled}


@pytest.mark.parametrize("payer", [[], "oOTHER", 7, None])
def test_a_payer_of_another_kind_is_refused_not_replaced(shop: Shop, payer: Any) -> None:
    reply = shop.call("wxpay_order", ORDER | {"payer": payer})
    assert reply.status_code == 400
    assert "payer must" in reply.json["msg"]


@pytest.mark.parametrize("action", ["wxpay_order_native", "wxpay_order_app", "wxpay_order_h5"])
def test_other_scenes_have_no_payer(shop: Shop, action: str) -> None:
    assert "payer" not in shop.placed(action, BODIES[action], OPERATOR)


def test_a_transfer_goes_to_the_caller_where_nobody_is_named(shop: Shop) -> None:
    bare = {name: value for name, value in TRANSFER.items() if name != "openid"}
    assert shop.placed("wxpay_transfer", bare)["openid"] == OPENID
    assert shop.placed("wxpay_transfer", TRANSFER)["openid"] == "oPAYEE"
    reply = shop.call("wxpay_transfer", bare, {"X-Operator-Key": OPERATOR_KEY})
    assert (reply.status_code, "openid is required" in reply.json["msg"]) == (400, True)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"X-Original-Forwarded-For": "1.1.1.1", "X-Forwarded-For": "8.8.4.4", "X-Real-IP": "9.9.9.9"}, "1.1.1.1"),
        ({"X-Forwarded-For": "8.8.4.4", "X-Real-IP": "9.9.9.9"}, "8.8.4.4"),
        ({"X-Real-IP": "9.9.9.9"}, "9.9.9.9"),
        ({"X-Forwarded-For": "10.0.0.1, 1.1.1.1, 8.8.4.4"}, "1.1.1.1"),
        ({"X-Forwarded-For": "unknown, 127.0.0.1,192.168.1.1", "X-Real-IP": "2606:4700::1111"}, "2606:4700::1111"),
        ({"X-Original-Forwarded-For": "x", "X-Forwarded-For": "1.1.1.1"}, "1.1.1.1"),
    ],
)
def test_a_browsers_address_comes_from_the_proxies(shop: Shop, headers: dict[str, str], address: str) -> None:
    bare = ORDER | {"scene_info": {"h5_info": {"type": "Wap"}}}
    placed = shop.placed("wxpay_order_h5", bare, OPERATOR | headers)
    assert placed["scene_info"] == {"payer_client_ip": address, "h5_info": {"type": "Wap"}}
    sent = shop.placed("wxpay_order_h5", ORDER | {"scene_info": SCENE}, OPERATOR | headers)
    assert sent["scene_info"] == SCENE, "what is sent goes before"


@pytest.mark.parametrize("headers", [{}, {"X-Real-IP": "10.0.0.1"}, {"X-Client-IP": "1.1.1.1"}])
def test_without_a_public_address_it_has_to_be_sent(shop: Shop, headers: dict[str, str]) -> None:
    reply = shop.call("wxpay_order_h5", ORDER | {"scene_info": {"h5_info": {"type": "Wap"}}}, OPERATOR | headers)
    assert (reply.status_code, reply.json["msg"]) == (400, "scene_info.payer_client_ip is required")


@pytest.mark.parametrize("scene", ["x", None, [], 7])
def test_a_scene_of_another_kind_is_refused_not_replaced(shop: Shop, scene: Any) -> None:
    reply = shop.call("wxpay_order_h5", ORDER | {"scene_info": scene}, OPERATOR | {"X-Real-IP": "1.1.1.1"})
    assert reply.status_code == 400
    assert "scene_info must" in reply.json["msg"]


@pytest.mark.parametrize(
    ("origin", "listed", "may"),
    [
        ("https://shop.example", "https://shop.example", True),
        ("https://evil.example", "https://shop.example", False),
        ("null", "https://shop.example", False),
        (None, "https://shop.example", True),
        ("", "https://shop.example", True),
        ("https://evil.example", None, True),
    ],
)
def test_an_h5_order_comes_from_a_listed_page(origin: str | None, listed: str | None, may: bool) -> None:
    shop = Shop(corsAllowOrigin=listed)
    headers = OPERATOR | ({} if origin is None else {"Origin": origin})
    reply = shop.call("wxpay_order_h5", BODIES["wxpay_order_h5"], headers)
    if may:
        assert reply.status_code == 409
    else:
        shop.refused(reply, 403, "Origin is not listed in corsAllowOrigin: list it there to order from this page")
        assert shop.orders.asked == [], "before the merchant is asked"
    assert shop.call("wxpay_order_native", ORDER, headers).status_code == 409, "other scenes are no pages"


@pytest.mark.parametrize("action", HOOKED)
def test_what_settings_decide_may_be_repeated_and_no_more(shop: Shop, action: str) -> None:
    address = {"wxpay_refund": "https://shop.example/refund", "wxpay_transfer": "https://shop.example/transfer"}
    right = {"appid": ENV["appId"], "mchid": MERCHANT, "notify_url": address.get(action, "https://shop.example/pay")}
    placed = shop.placed(action, BODIES[action] | right)
    assert {name: placed[name] for name in right if name in placed} == ({} if action == "wxpay_refund" else
                                                                        {"appid": ENV["appId"]})  # fmt: skip
    for name in right:
        reply = shop.call(action, BODIES[action] | {name: "https://evil.example"})
        assert (reply.status_code, reply.json["msg"]) == (400, f"{name} must be the configured one, or be left out")
    without = Shop(transferNotifyUrl=None)
    reply = without.call("wxpay_transfer", TRANSFER | {"notify_url": "https://shop.example/transfer"})
    assert (reply.status_code, reply.json["msg"]) == (400, "notify_url must be left out")


def test_what_wechat_pay_does_not_document_is_dropped_with_a_word(shop: Shop, capsys: Any) -> None:
    assert shop.placed("wxpay_order_native", ORDER | {"bonus": 1, "amount": {"total": 20, "x": 1}})["amount"] == {
        "total": 20,
        "currency": "CNY",
    }
    shop.placed("wxpay_order_native", ORDER)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [line["message"] for line in lines if "dropped" in line["message"]]
    (only,) = said
    assert only.startswith("fields that WeChat Pay does not document were dropped: ")
    assert sorted(only.rpartition(": ")[2].split(", ")) == ["amount.x", "bonus"]


def test_a_key_and_an_openid_are_not_logged(shop: Shop, capsys: Any) -> None:
    def leak(action: str, params: dict[str, Any], caller: Caller) -> None:
        raise LookupError(f"{caller.openid} {params['payer']['openid']} {OPERATOR_KEY} wrong-key-0123456789abcdef")

    shop.orders.authorize = leak  # type: ignore[method-assign]
    body = ORDER | {"payer": {"openid": "oANOTHERPERSON00000000000000"}, "_operatorKey": "wrong-key-0123456789abcdef"}
    assert shop.call("wxpay_order", body).status_code == 503
    told = capsys.readouterr().out
    assert "LookupError" in told
    for secret in (OPENID, "oANOTHERPERSON00000000000000", OPERATOR_KEY, "wrong-key-0123456789abcdef"):
        assert secret not in told


def requests_logged(capsys: Any) -> list[tuple[Any, ...]]:
    """Action, caller and status of each request since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [tuple(map(line.get, ("action", "caller", "status"))) for line in lines if line["message"] == "request"]


@pytest.mark.parametrize("way", WAYS)
def test_the_log_says_what_was_asked_and_by_whom(shop: Shop, way: str, capsys: Any) -> None:
    shop.post(*WAYS[way]("wxpay_order_native", ORDER))
    shop.post(*WAYS[way]("wxpay_order_native", ORDER), {"X-Operator-Key": OPERATOR_KEY})
    shop.post(*WAYS[way]("wxpay_order_native", ORDER), {})
    action = "wxpay_order_native"
    asked = [(action, "headers", 409), (action, "operator", 409), (action, "none", 401)]
    assert requests_logged(capsys) == asked
    shop.post(*WAYS[way]("refundTrigger", forward(BACK)), {})
    assert requests_logged(capsys) == [("refundTrigger", None, 200)]


def test_the_log_names_no_action_where_there_is_none(shop: Shop, capsys: Any) -> None:
    shop.post("/", {})
    shop.post("/", b"{")
    assert requests_logged(capsys) == [("", None, 404), ("", None, 400)]


def test_by_every_way_in_an_action_needs_a_place_and_a_callback_none(shop: Shop) -> None:
    held, go = threading.Semaphore(0), threading.Event()

    def holds(action: str, params: dict[str, Any], caller: Caller) -> None:
        held.release()
        assert go.wait(60)

    def close() -> int:
        headers = OPERATOR | {"Content-Type": "application/json"}
        return shop.app.test_client().post("/wx-pay/wxpay_close_order", data=b"{}", headers=headers).status_code

    shop.orders.authorize = holds  # type: ignore[method-assign]
    with ThreadPoolExecutor(PLACES) as pool:
        orders = [pool.submit(close) for _ in range(PLACES)]
        try:
            assert all(held.acquire(timeout=60) for _ in orders)
            refused = [shop.post(*way("wxpay_close_order", {})) for way in WAYS.values()]
            callback = shop.post("/wechatpay/order", forward(PAID), {})
        finally:
            go.set()
    message = "too many requests at a time, nothing was sent to WeChat Pay: try again in 1 s"
    assert [(reply.status_code, reply.json["msg"]) for reply in refused] == [(503, message)] * len(WAYS)
    assert callback.json["code"] == "SUCCESS"
    assert {order.result() for order in orders} == {400}


def test_where_actions_are_other_methods_are_not_served(shop: Shop) -> None:
    for path in ("/", "/wx-pay/wxpay_close_order"):
        for method in ("GET", "OPTIONS"):
            reply = shop.browser.open(path, method=method, headers={"Origin": "https://elsewhere.example"})
            message = f"{method} is not served here: every action is a POST"
            assert (reply.status_code, reply.json["msg"]) == (404, message)
        preflight = shop.browser.options(path, headers={"Origin": "https://shop.example"})
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Methods"]) == (204, "POST")


# What names nothing


def test_what_names_nothing_is_told_what_to_do(shop: Shop) -> None:
    message = "nothing here: POST to /wx-pay/<action>, or name the action in the body's _action"
    for path, body in (("/", {}), ("/x", {}), ("/", {"path": "/x"}), ("/", {"path": 7}), ("/", {"rawData": {}}),
                       ("/", {"rawData": "{"}), ("/", {"rawData": "[]"}), ("/", {"rawData": {"event_type": 7}}),
                       ("/", {"rawData": "TRANSACTION.SUCCESS"}), ("/", {"ParsedNotify": {"event_type": ""}}),
                       ("/wx-pay/x", {}), ("/wechatpay", {}), ("/wechatpay/x", {})):  # fmt: skip
        shop.refused(shop.post(path, body), 404, message)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("nothing", "'nothing'"), ("/wx-pay/é", "'\\xe9'"), ("x" * 100, f"'{'x' * 79}"), (7, "int"), (None, "NoneType"),
     ([], "list")],
)  # fmt: skip
def test_an_unknown_action_is_told_what_there_is(shop: Shop, name: Any, shown: str) -> None:
    known = ", ".join([*list(HOOKED)[:4], *list(ASKED)[:3], "wxpay_refund", "wxpay_refund_query", "wxpay_transfer",
                       "wxpay_transfer_cancel", *list(ASKED)[5:], *DESK, "unifiedOrderTrigger", "refundTrigger",
                       "transferTrigger"])  # fmt: skip
    reply = shop.post("/", ORDER | {"_action": name})
    shop.refused(reply, 400, f"_action: unknown action {shown}; expected one of {known}")


# Bodies


def test_a_form_is_read_as_fields(shop: Shop) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", **OPERATOR}
    shop.post("/wx-pay/wxpay_close_order", b"out_trade_no=%E8%AE%A2%201&empty=&a%3Db=c", form)
    assert shop.orders.asked[0][1] == {"out_trade_no": "订 1", "empty": "", "a=b": "c"}
    shop.post("/wx-pay/wxpay_close_order", b' {"out_trade_no": "ORDER1"}', form)
    assert shop.orders.asked[1][1] == {"out_trade_no": "ORDER1"}
    shop.post("/wx-pay/wxpay_close_order", b" ", form)
    assert shop.orders.asked[2][1] == {}
    most = "&".join(f"f{number}=1" for number in range(200)).encode()
    shop.post("/wx-pay/wxpay_close_order", most, form)
    assert len(shop.orders.asked[3][1]) == 200
    shop.post("/wx-pay/wxpay_close_order", b"a=%41".ljust(65_536, b"c"), form)
    assert shop.orders.asked[4][1]["a"] == "A" + "c" * 65_531


@pytest.mark.parametrize("path", ["/wx-pay/wxpay_close_order", "/"])
def test_a_form_has_an_end(shop: Shop, path: str) -> None:
    """To decode one takes eighty times its text's memory."""
    form = {"Content-Type": "application/x-www-form-urlencoded", **OPERATOR}
    reply = shop.post(path, b"_action=%41".ljust(65_537, b"c"), form)
    shop.refused(reply, 413, "the body exceeds 65536 bytes: send less")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a=1&a=2", "the form repeats a field: send each once"),
        (b"a=%FF", "the body must be a JSON object or a form in UTF-8"),
        (b"a=\xff", "the body must be a JSON object or a form in UTF-8"),
        (b"&".join(b"f%d=1" % number for number in range(201)), "the body must be a JSON object or a form in UTF-8"),
    ],
)
def test_a_spoilt_form_is_refused(shop: Shop, raw: bytes, message: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", **OPERATOR}
    shop.refused(shop.post("/wx-pay/wxpay_close_order", raw, form), 400, message)


def test_without_saying_so_nothing_is_a_form(shop: Shop) -> None:
    reply = shop.post("/wx-pay/wxpay_close_order", b"out_trade_no=ORDER1", OPERATOR)
    assert reply.json["msg"].startswith("the body is not valid JSON: ")


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"7", b"null"])
def test_a_body_is_an_object(shop: Shop, raw: bytes) -> None:
    shop.refused(shop.post("/wx-pay/wxpay_close_order", raw), 400, "the body must be a JSON object")


def test_a_body_may_be_as_long_as_it_is_said_and_no_longer(shop: Shop) -> None:
    def padded(body: dict[str, Any], length: int) -> bytes:
        bare = len(json.dumps(body | {"pad": ""}))
        return json.dumps(body | {"pad": "x" * (length - bare)}).encode()

    close = {"out_trade_no": "ORDER1"}
    for path, more in (("/wx-pay/wxpay_close_order", {}), ("/", {"_action": "wxpay_close_order"})):
        shop.post(path, padded(close | more, 1_500_000))
        reply = shop.post(path, padded(close | more, 1_500_001))
        assert (reply.status_code, reply.json["msg"]) == (413, "the body exceeds 1500000 bytes: send less")
    assert len(shop.orders.asked) == 2
    forwarded, direct = forward(PAID), {"event_type": "TRANSACTION.SUCCESS"}
    for body, length, status in ((forwarded, 4_000_000, 200), (forwarded, 4_000_001, 413),
                                 (direct, 1_500_000, 400), (direct, 1_500_001, 413)):  # fmt: skip
        assert shop.post("/wechatpay/order", padded(body, length), {}).status_code == status


def test_an_empty_body_is_an_empty_object(shop: Shop) -> None:
    for raw in (b"", b" \r\n"):
        shop.post("/wx-pay/wxpay_close_order", raw)
    assert [params for _, params, _ in shop.orders.asked] == [{}, {}]


# Callbacks

PAID = {"mchid": MERCHANT, "appid": ENV["appId"], "out_trade_no": "ORDER1", "trade_state": "SUCCESS"}
BACK = {"mchid": MERCHANT, "out_refund_no": "REFUND1", "refund_status": "SUCCESS"}
MOVED = {"mch_id": MERCHANT, "out_bill_no": "BILL1", "state": "SUCCESS"}
TRIGGERS = {
    "unifiedOrderTrigger": ("payment", PAID, "wechatpay/order"),
    "refundTrigger": ("refund", BACK, "wechatpay/refund"),
    "transferTrigger": ("transfer", MOVED, "wechatpay/transfer"),
}
EVENTS = {
    "TRANSACTION.SUCCESS": "unifiedOrderTrigger",
    "TRANSACTION.FAIL": "unifiedOrderTrigger",
    "REFUND.SUCCESS": "refundTrigger",
    "REFUND.ABNORMAL": "refundTrigger",
    "REFUND.CLOSED": "refundTrigger",
    "MCHTRANSFER.BILL.FINISHED": "transferTrigger",
    "MCHTRANSFER.TRANSFER.SUCCESS": "transferTrigger",
    "MCHTRANSFER.TRANSFER.FAIL": "transferTrigger",
}


def envelope(plaintext: Any, **more: Any) -> dict[str, Any]:
    nonce = secrets.token_hex(6)
    sealed = AESGCM(API_V3_KEY).encrypt(nonce.encode(), json.dumps(plaintext).encode(), b"x")
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(sealed).decode(),
        "nonce": nonce,
        "associated_data": "x",
    }
    return {"id": "EV-1", "resource": resource, **more}


def forward(plaintext: Any, **more: Any) -> dict[str, Any]:
    return {"ParsedContent": {}, "rawData": envelope(plaintext, **more)}


def signed(raw: bytes) -> dict[str, str]:
    now, nonce = str(int(time.time())), secrets.token_hex(8)
    signature = SIGNING.sign(f"{now}\n{nonce}\n".encode() + raw + b"\n", padding.PKCS1v15(), hashes.SHA256())
    return {
        "Wechatpay-Timestamp": now,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": ENV["wxPayPublicKeyId"],
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
    }


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_what_wechat_pay_signed_is_believed_by_its_bytes(mode: str) -> None:
    shop = Shop(signMode=mode)
    raw = json.dumps(envelope(PAID, event_type="TRANSACTION.SUCCESS"), indent=1).encode()
    for spoilt, headers in ((raw + b" ", signed(raw)), (raw, {})):
        reply = shop.post("/wechatpay/order", spoilt, headers)
        assert (reply.status_code, reply.json["code"], shop.orders.told) == (400, "FAIL", [])
    assert shop.post("/wechatpay/order", raw, signed(raw)).status_code == 200
    assert (shop.orders.told[0].plaintext, shop.orders.told[0].evidence) == (PAID, "signature")


def self_test_mac(purpose: str, *parts: Any) -> str:
    """HMAC-SHA256 under a key of HKDF-Expand (RFC 5869) from apiV3Key."""
    key = hmac.digest(API_V3_KEY, f"pay-common self-test {purpose}".encode() + b"\x01", "sha256")
    return hmac.digest(key, "\n".join(map(str, parts)).encode(), "sha256").hex()


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_self_test_is_answered_and_nobody_is_told(shop: Shop, name: str) -> None:
    kind, _, address = TRIGGERS[name]
    url = {"payment": "https://shop.example/pay", "refund": "https://shop.example/refund"}
    parts = (kind, url.get(kind, "https://shop.example/transfer"), int(time.time()), "0123456789abcdef" * 2)
    question = dict(zip(("kind", "url", "time", "nonce"), parts, strict=True))
    asked = {"selfTest": question | {"mac": self_test_mac("ask", *parts)}}
    for path in (f"/wx-pay/{name}", f"/{address}"):
        reply = shop.post(path, asked, {})
        assert reply.status_code == 200
        moment = reply.json["selfTest"]["time"]
        assert abs(moment - time.time()) < 60
        assert reply.json == {"selfTest": {"time": moment, "proof": self_test_mac("answer", *parts, moment)}}
    forged = {"selfTest": question | {"mac": self_test_mac("answer", *parts)}}
    elsewhere = next(other for _, _, other in TRIGGERS.values() if other != address)
    for path, body in ((f"/{address}", forged), (f"/{elsewhere}", asked), (f"/{address}", asked | {"more": 1})):
        reply = shop.post(path, body, {})
        assert (reply.status_code, reply.json["code"]) == (400, "FAIL")
    assert shop.orders.told == []


def test_a_key_that_comes_with_a_callback_is_not_logged(shop: Shop, capsys: Any) -> None:
    def leak(notification: Any, deadline: float) -> None:
        raise LookupError("wrong-key-0123456789abcdef")

    shop.orders.handler_notification = leak  # type: ignore[method-assign]
    reply = shop.post("/wechatpay/order", forward(PAID) | {"_operatorKey": "wrong-key-0123456789abcdef"}, {})
    assert (reply.status_code, reply.json["code"]) == (500, "FAIL")
    told = capsys.readouterr().out
    assert "LookupError" in told
    assert "wrong-key" not in told


@pytest.mark.parametrize("name", TRIGGERS)
@pytest.mark.parametrize("way", [*WAYS, "address"])
def test_a_callback_by_any_way_is_handed_over_and_acknowledged(shop: Shop, name: str, way: str) -> None:
    kind, plaintext, address = TRIGGERS[name]
    path, body = (f"/p/{address}/", forward(plaintext)) if way == "address" else WAYS[way](name, forward(plaintext))
    reply = shop.post(path, body, {})
    assert (reply.status_code, reply.json) == (200, {"code": "SUCCESS", "message": "OK"})
    (told,) = shop.orders.told
    assert (told.id, told.event_type, told.kind.name, told.plaintext) == ("EV-1", "", kind, plaintext)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("holder", ["rawData", "ParsedNotify", "rawData as text", "ParsedNotify behind an empty one"])
def test_an_event_names_its_callback(shop: Shop, event: str, holder: str) -> None:
    kind, plaintext, _ = TRIGGERS[EVENTS[event]]
    told = envelope(plaintext, event_type=event)
    body = {
        "rawData": {"rawData": told},
        "ParsedNotify": {"ParsedNotify": told},
        "rawData as text": {"rawData": "\n" + json.dumps(told)},
        "ParsedNotify behind an empty one": {"rawData": {"event_type": ""}, "ParsedNotify": told},
    }[holder]
    assert shop.post("/", body | {"ParsedContent": {}}, {}).status_code == 200
    assert (shop.orders.told[0].kind.name, shop.orders.told[0].event_type) == (kind, event)


def test_an_event_that_nothing_handles_is_told_and_acknowledged(shop: Shop) -> None:
    body = forward({"mchid": MERCHANT, "coupon": 1}, event_type="COUPON.USE")
    assert shop.post("/", body, {}).json["code"] == "SUCCESS"
    assert (shop.orders.told[0].kind, shop.orders.told[0].event_type) == (None, "COUPON.USE")


def test_without_settings_no_callback_is_lost() -> None:
    for name in (*PAY, "wxPayPublicKey"):
        shop = Shop(**{name: None})
        for path, body in (("/wechatpay/order", forward(PAID)), ("/", forward(PAID, event_type="COUPON.USE"))):
            reply = shop.post(path, body, {})
            assert (reply.status_code, reply.json["code"]) == (503, "FAIL")
        assert shop.orders.told == []


def test_a_callback_is_json_whatever_it_says_it_is(shop: Shop) -> None:
    raw = json.dumps(forward(PAID)).encode()
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        assert shop.post("/wechatpay/order", raw, {"Content-Type": kind}).status_code == 200
    for empty in (b"", b"a=1", b" "):
        reply = shop.post("/wechatpay/order", empty, {"Content-Type": "application/x-www-form-urlencoded"})
        assert (reply.status_code, reply.json["code"]) == (400, "FAIL")


@pytest.mark.parametrize(
    ("headers", "believed"),
    [
        ({}, True),
        ({"Authorization": "Basic eA=="}, True),
        ({"X-Operator-Key": OPERATOR_KEY}, True),
        ({"X-Wx-Openid": OPENID}, False),
        ({"x-wx-anything": ""}, False),
        ({"Authorization": "Bearer x"}, False),
        ({"Authorization": "bEARER x"}, False),
        ({"Authorization": "Basic eA==, Bearer x"}, False),
    ],
)
def test_a_trusted_platforms_word_counts_unless_a_user_sends_it(headers: dict[str, str], believed: bool) -> None:
    shop = Shop(callbackTrust="platform")
    reply = shop.post("/wechatpay/order", {"ParsedContent": PAID}, headers)
    assert (reply.status_code == 200) == believed == (len(shop.orders.told) == 1)
    assert (shop.network.sent == []) == believed, "else WeChat Pay is asked"


@pytest.mark.parametrize("where", ["header", "body"])
def test_an_operators_hint_does_not_wait_behind_a_strangers(where: str) -> None:
    shop = Shop()
    hint = {"ParsedContent": PAID}
    for headers, body in (({}, hint), ({}, hint | {"_operatorKey": "x"})):
        shop.post("/wechatpay/order", body, headers)
    asked = len(shop.network.sent)
    assert asked > 0
    if where == "header":
        shop.post("/wechatpay/order", hint, {"X-Operator-Key": OPERATOR_KEY})
    else:
        shop.post("/wechatpay/order", hint | {"_operatorKey": OPERATOR_KEY}, {})
    assert len(shop.network.sent) == 2 * asked


def test_a_handler_has_its_time_and_no_more_than_is_left() -> None:
    for settings, most in (({"handlerTimeout": "3"}, 3.0), ({"callbackTimeout": "2", "handlerTimeout": "3"}, 2.0)):
        shop = Shop(**settings)
        assert shop.post("/wechatpay/order", forward(PAID), {}).status_code == 200
        assert most - 1.5 < shop.orders.left[0] <= most
