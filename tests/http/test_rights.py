"""Every cell of design section 4: setting x token x header x action class, by every way in.

`rights_oracle` holds the rules a second time; the most important cells stand here once more as literal rows.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from config.settings import Settings
from routes.actions import ACTIONS
from sandbox import Credentials, Sandbox
from sandbox.crypto import seal
from services.order_service import OrderService, Refused
from tests.http.rights_oracle import (
    BODY_OPENID,
    HEADER_OPENID,
    OPERATOR_KEY,
    RIGHTS,
    TOKEN_OPENID,
    UID,
    Sent,
    Setting,
    Token,
    Verdict,
    expected,
)
from tests.support import Function, in_process
from utils.cloudbase_auth import KeysUnavailable

MODES = ("claimed", "trusted", "ignored")
ENVIRONMENTS = ("unset", "set", "down")
IDS = ("", TOKEN_OPENID, UID, HEADER_OPENID, "*")
WRONG_KEY = OPERATOR_KEY[:-1] + "8"
SHORT_KEY = "operator-key-of-31-characters.."

USER = Token("user", openid=TOKEN_OPENID, uid=UID)
TOKENS: dict[str, Token | None] = {
    "none": None,
    "basic": Token(bearer=False),
    "undecodable": Token(fault="text"),
    "user": USER,
    "user, lower-case bearer": USER,
    "user without openid": replace(USER, openid=""),
    "anonymous": Token(),
    "publishable": Token(),
    "server": Token("server"),
    "API key": Token("server"),
    "API key, anonymous": Token(),
    "other key": replace(USER, fault="signature"),
    "server, other key": Token("server", fault="signature"),
    "unknown kid": replace(USER, fault="signature"),
    "alg none": replace(USER, fault="visible"),
    "HS256": replace(USER, fault="visible"),
    "RS512": replace(USER, fault="visible"),
    "no kid": replace(USER, fault="visible"),
    "expired": replace(USER, fault="visible"),
    "no exp": replace(USER, fault="visible"),
    "other aud": replace(USER, fault="visible"),
    "other iss": replace(USER, fault="visible"),
}
# The classes of tokens; the others are more of the same.
MAIN_TOKENS = ("none", "undecodable", "user", "anonymous", "server", "other key")

WX = {"X-Wx-Openid": HEADER_OPENID}
HEADERS: dict[str, dict[str, str]] = {
    "none": {},
    "openid alone": WX,
    "wx_client": {"X-Wx-Source": "wx_client", **WX},
    "wx_devtools": {"X-Wx-Source": "wx_devtools", **WX},
    "source without openid": {"X-Wx-Source": "wx_client"},
    "other source": {"X-Wx-Source": "browser", **WX},
    "server auth": {"X-Authmethod": "WX_SERVER_AUTH", **WX},
    "other auth": {"X-Authmethod": "NONE", **WX},
    "integration": {"X-Tcb-Integration-Id": "integration-1"},
    "blank integration": {"X-Tcb-Integration-Id": " "},
    "all": {
        "X-Wx-Source": "wx_client",
        "X-Authmethod": "WX_SERVER_AUTH",
        "X-Tcb-Integration-Id": "integration-1",
        **WX,
    },
}
SIGNS = {"wx_client", "wx_devtools", "source without openid", "server auth", "integration", "all"}
MAIN_HEADERS = ("none", "openid alone", "wx_client")

# Where the operator key stands -> header, body field, and what that amounts to.
KEYS: dict[str, tuple[str | None, Any, str]] = {
    "none": (None, None, ""),
    "header": (OPERATOR_KEY, None, OPERATOR_KEY),
    "body": (None, OPERATOR_KEY, OPERATOR_KEY),
    "both": (OPERATOR_KEY, OPERATOR_KEY, OPERATOR_KEY),
    "wrong header": (WRONG_KEY, None, WRONG_KEY),
    "wrong body": (None, WRONG_KEY, WRONG_KEY),
    "wrong header, right body": (WRONG_KEY, OPERATOR_KEY, OPERATOR_KEY),
    "right header, wrong body": (OPERATOR_KEY, WRONG_KEY, OPERATOR_KEY),
    "empty header, right body": ("", OPERATOR_KEY, OPERATOR_KEY),
    "right header, list in the body": (OPERATOR_KEY, [WRONG_KEY], OPERATOR_KEY),
    "both wrong": (WRONG_KEY, WRONG_KEY, WRONG_KEY),
    "half in each": (OPERATOR_KEY[:18], OPERATOR_KEY[18:], OPERATOR_KEY[:18]),
    "longer": (OPERATOR_KEY + "x", None, OPERATOR_KEY + "x"),
    "beginning": (OPERATOR_KEY[:32], None, OPERATOR_KEY[:32]),
    "other case": (OPERATOR_KEY.upper(), None, OPERATOR_KEY.upper()),
    "not ASCII": ("schl\u00fcssel-0123456789-0123456789-01", None, "?"),
    "short": (SHORT_KEY, None, SHORT_KEY),
    "short body": (None, SHORT_KEY, SHORT_KEY),
    "empty": ("", "", ""),
    "list": (None, [OPERATOR_KEY], ""),
    "object": (None, {"key": OPERATOR_KEY}, ""),
    "true": (None, True, ""),
    "number": (None, 0, ""),
    "null": (None, None, ""),
}

PAID, REFUNDED, TO_TOKEN, TO_HEADER, TO_CANCEL = "PAID0001", "REFUND0001", "BILL0001", "BILL0002", "BILL0003"
# An operator's and a payee's actions, with the bill's payee where there is one.
CLASSES = (
    ("wxpay_order", ""),
    ("wxpay_refund", ""),
    ("wxpay_transfer_bill_query", TOKEN_OPENID),
    ("wxpay_transfer_bill_query", HEADER_OPENID),
)
ALL = tuple(
    (action, payee)
    for action, right in RIGHTS.items()
    for payee in ((TOKEN_OPENID, HEADER_OPENID) if right == "payee" else ("",))
)
AT_DESK = {"wxpay_order_wait", "wxpay_reconcile", "wxpay_orders_init", "wxpay_trade_bill", "wxpay_fundflow_bill"}
_numbers = itertools.count(1)


@dataclass
class WeChatPay:
    """A sandbox with something to query, refund and cancel, and the tokens of its environment."""

    box: Sandbox
    tokens: dict[str, str]

    def prepare(self, environment: str = "set") -> None:
        box, ledger, credentials = self.box, self.box.ledger, self.box.credentials
        box.reset()
        box.jwks = "error" if environment == "down" else "ok"
        ours = {"appid": credentials.app_id}
        url = "https://shop.example/wechatpay/order"
        amount = {"total": 1000, "currency": "CNY"}
        order = {**ours, "mchid": credentials.merchant_id, "description": "tea", "notify_url": url}
        ledger.place("native", {**order, "out_trade_no": PAID, "amount": amount})
        box.pay(PAID, deliver=False)
        refund = {"refund": 1, "total": 1000, "currency": "CNY"}
        ledger.refund({"out_trade_no": PAID, "out_refund_no": REFUNDED, "amount": refund})
        payees = {TO_TOKEN: TOKEN_OPENID, TO_HEADER: HEADER_OPENID, TO_CANCEL: BODY_OPENID}
        for number, openid in payees.items():
            transfer = {"transfer_scene_id": "1000", "transfer_amount": 30, "transfer_remark": "bonus"}
            ledger.transfer({**ours, "out_bill_no": number, "openid": openid, **transfer})

    def settings(self, setting: Setting) -> Settings:
        return Settings.from_env(self.env(setting))

    def env(self, setting: Setting) -> dict[str, str]:
        return self.box.env(
            tokens=setting.environment != "unset",
            logLevel="error",
            callerHeaders=setting.caller_headers,
            operatorIds=setting.operator_ids or None,
            operatorKey=setting.operator_key or None,
            publicActions=",".join(sorted(setting.public)) or None,
            **({setting.runtime: "1"} if setting.runtime else {}),
        )

    def body(self, action: str, payee: str) -> dict[str, Any]:
        """A body with which the action succeeds for whoever may."""
        number = f"{next(_numbers):08d}"
        order = {"out_trade_no": f"ORDER{number}", "description": "tea", "amount": {"total": 10}}
        bill = TO_TOKEN if payee == TOKEN_OPENID else TO_HEADER
        if RIGHTS[action] == "callback":
            return self.callback(action)
        if action == "wxpay_order_h5":
            order["scene_info"] = {"payer_client_ip": "14.23.150.211", "h5_info": {"type": "Wap"}}
        bodies: dict[str, dict[str, Any]] = {
            "wxpay_order": {**order, "payer": {"openid": BODY_OPENID}},
            "wxpay_query_order_by_out_trade_no": {"out_trade_no": PAID},
            "wxpay_query_order_by_transaction_id": {"transaction_id": self.box.ledger.orders[PAID].transaction_id},
            "wxpay_close_order": {"out_trade_no": f"ORDER{number}"},
            "wxpay_refund": {
                "out_trade_no": PAID,
                "out_refund_no": "REFUND0002",
                "amount": {"refund": 1, "total": 1000},
            },
            "wxpay_refund_query": {"out_refund_no": REFUNDED},
            "wxpay_transfer": {
                "out_bill_no": f"NEW{number}",
                "transfer_scene_id": "1000",
                "openid": BODY_OPENID,
                "transfer_amount": 30,
                "transfer_remark": "bonus",
                "transfer_scene_report_infos": [
                    {"info_type": "活动名称", "info_content": "a"},
                    {"info_type": "奖励说明", "info_content": "b"},
                ],
            },
            "wxpay_transfer_cancel": {"out_bill_no": TO_CANCEL},
            "wxpay_transfer_bill_query": {"out_bill_no": bill},
            "wxpay_transfer_batch_query": {"out_bill_no": bill},
            "wxpay_transfer_bill_query_by_no": {"transfer_bill_no": self.box.ledger.transfers[bill].transfer_bill_no},
        }
        bodies["wxpay_order_wait"] = {"out_trade_no": PAID}
        bodies["wxpay_trade_bill"] = bodies["wxpay_fundflow_bill"] = {"bill_date": "2026-11-01"}
        bodies["wxpay_reconcile"] = bodies["wxpay_orders_init"] = {}
        return bodies.get(action, order)

    def callback(self, action: str) -> dict[str, Any]:
        """A genuine notification as the Integration Center forwards it."""
        credentials = self.box.credentials
        number, merchant = f"{next(_numbers):08d}", credentials.merchant_id
        event, plaintext = {
            "unifiedOrderTrigger": (
                "TRANSACTION.SUCCESS",
                {"appid": credentials.app_id, "mchid": merchant, "out_trade_no": number, "trade_state": "SUCCESS"},
            ),
            "refundTrigger": (
                "REFUND.SUCCESS",
                {"mchid": merchant, "out_refund_no": number, "refund_status": "SUCCESS"},
            ),
            "transferTrigger": (
                "MCHTRANSFER.BILL.FINISHED",
                {"mch_id": merchant, "out_bill_no": number, "state": "SUCCESS"},
            ),
        }[action]
        resource = seal(credentials.api_v3_key, json.dumps(plaintext).encode(), "notification")
        raw_data = {"id": f"EV-{number}", "event_type": event, "resource": resource}
        return {"ParsedContent": plaintext, "ParsedNotify": {"event_type": event}, "rawData": raw_data}


@pytest.fixture(scope="module")
def wechat_pay(credentials: Credentials) -> Iterator[WeChatPay]:
    with Sandbox(credentials=credentials) as box:
        yield WeChatPay(box, _tokens(box))


def _tokens(box: Sandbox) -> dict[str, str]:
    def user(**changes: Any) -> str:
        return f"Bearer {box.token('user', uid=UID, openid=TOKEN_OPENID, **changes)}"

    api_key = {"sub": "service_account", "meta": {"platform": "ApiKey"}}
    return {
        "basic": "Basic b3BlcmF0b3I6b3BlcmF0b3I=",
        "undecodable": "Bearer not-a-token",
        "user": user(),
        "user, lower-case bearer": user().replace("Bearer", "bearer"),
        "user without openid": user(provider_sub=None),
        "anonymous": f"Bearer {box.token('anonymous', uid=UID)}",
        "publishable": f"Bearer {box.token('publishable')}",
        "server": f"Bearer {box.token('server')}",
        "API key": f"Bearer {box.token('user', **api_key, provider_sub=None, scope=None)}",
        "API key, anonymous": f"Bearer {box.token('server', provider='anonymous')}",
        "other key": user(key="other"),
        "server, other key": f"Bearer {box.token('server', key='other')}",
        "unknown kid": user(key="other", kid="0123456789abcdef"),
        "alg none": user(alg="none"),
        "HS256": user(alg="HS256"),
        "RS512": user(alg="RS512"),
        "no kid": user(kid=""),
        "expired": user(exp=int(time.time()) - 3600),
        "no exp": user(exp=None),
        "other aud": user(aud="another-env-1a2b3c"),
        "other iss": user(iss="https://another-env-1a2b3c.api.tcloudbasegateway.com"),
    }


@dataclass
class Answer:
    status: int
    body: Any


Post = Callable[[str, dict[str, Any], Mapping[str, str]], Answer]
Way = Callable[[Post, str, dict[str, Any], Mapping[str, str]], Answer]
WAYS: dict[str, Way] = {
    "path": lambda post, action, body, headers: post(f"/wx-pay/{action}", body, headers),
    "_action": lambda post, action, body, headers: post("/", {"_action": action, **body}, headers),
    "_action, a path": lambda post, action, body, headers: post("/", {"_action": f"/wx-pay/{action}", **body}, headers),
    "path in the body": lambda post, action, body, headers: post(
        "/", {"path": f"/wx-pay/{action}", "method": "POST", **body}, headers
    ),
    "stripped path": lambda post, action, body, headers: post(f"/{action}", body, headers),
}


def through(client: FlaskClient) -> Post:
    def post(path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        answer = client.post(path, json=body, headers=dict(headers))
        return Answer(answer.status_code, answer.get_json())

    return post


def over_http(function: Function) -> Post:
    def post(path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        encoded = {name: value.encode() for name, value in headers.items()}
        reply = function.post(path, body, encoded)  # type: ignore[arg-type]
        return Answer(reply.status, reply.body)

    return post


@dataclass
class Table:
    """Plays cells of one setting and compares each with the oracle."""

    wechat_pay: WeChatPay
    setting: Setting
    post: Post

    def play(self, action: str, payee: str, token: str, header: str, key: str = "none", way: str = "path") -> Verdict:
        key_header, key_field, given = KEYS[key]
        headers = dict(HEADERS[header])
        body = self.wechat_pay.body(action, payee)
        if token != "none":
            headers["Authorization"] = self.wechat_pay.tokens[token]
        if key_header is not None:
            headers["X-Operator-Key"] = key_header
        if key_field is not None or key == "null":
            body["_operatorKey"] = key_field
        sent = Sent(TOKENS[token], HEADERS[header].get("X-Wx-Openid", ""), header in SIGNS, given)
        verdict = expected(self.setting, sent, action, payee)

        before = self._last()
        answer = WAYS[way](self.post, action, body, headers)
        outbound = self.wechat_pay.box.requests_since(before)
        cell = f"{self.setting} {action} {payee} token={token} header={header} key={key} way={way}: {answer}"
        if action in AT_DESK and verdict.status == 200:  # whoever may, hears that this function has no order database
            assert (answer.status, outbound) == (500, []), cell
            assert answer.body["msg"].startswith("MISSING_CREDENTIALS: orderDatabaseUrl"), cell
            return verdict
        assert answer.status == verdict.status, cell
        if RIGHTS[action] == "callback":
            assert outbound == [], cell
        elif verdict.status == 200:
            assert answer.body["code"] == 0, cell
            assert len(outbound) == 1, cell
            assert b"operatorKey" not in outbound[0].body, cell
            if action == "wxpay_order":
                assert outbound[0].json["payer"]["openid"] == verdict.payer, cell
        else:
            assert answer.body["code"] == -1, cell
            assert answer.body["data"] is None, cell
            # Whom a bill names is WeChat Pay's to say: a verified user makes it be asked, by a query alone.
            assert [request.method for request in outbound] == (["GET"] if verdict.asks else []), cell
            if verdict.status == 403 and not verdict.asks:
                for name in ("operatorKey", "operatorIds", "cloudbaseEnvId"):
                    assert name in answer.body["msg"], cell
        return verdict

    def _last(self) -> int:
        requests = self.wechat_pay.box.requests
        return requests[-1].id if requests else 0


@contextmanager
def table(wechat_pay: WeChatPay, setting: Setting) -> Iterator[Table]:
    wechat_pay.prepare(setting.environment)
    with create_app(wechat_pay.settings(setting)).test_client() as client:
        yield Table(wechat_pay, setting, through(client))


def test_the_rights_of_the_table_are_those_of_the_contract():
    assert {name: row.right.replace("evidence", "callback") for name, row in ACTIONS.items()} == RIGHTS


@pytest.mark.parametrize("operator_ids", IDS)
@pytest.mark.parametrize("runtime", ["", "TENCENTCLOUD_RUNENV"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_every_setting_with_every_class_of_token_header_and_action(
    wechat_pay: WeChatPay, mode: str, environment: str, runtime: str, operator_ids: str
):
    """By one way in each, in turn; test_the_other_ways_in_open_nothing_more goes all of them."""
    setting, ways, statuses = Setting(mode, environment, operator_ids, runtime), tuple(WAYS), set()
    with table(wechat_pay, setting) as cells:
        for row, (token, header) in enumerate(itertools.product(MAIN_TOKENS, MAIN_HEADERS)):
            for column, (action, payee) in enumerate(CLASSES):
                way = ways[(row + column) % len(ways)]
                statuses.add(cells.play(action, payee, token, header, way=way).status)
    assert 401 in statuses
    assert (503 in statuses) == (environment == "down" and (operator_ids != "*" or mode == "ignored"))
    assert (200 in statuses) == (mode != "ignored" or environment == "set")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_every_token_beside_every_header(wechat_pay: WeChatPay, mode: str, environment: str):
    with table(wechat_pay, Setting(mode, environment, UID)) as cells:
        for token, header, (action, payee) in itertools.product(TOKENS, HEADERS, CLASSES[:2]):
            cells.play(action, payee, token, header)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_every_action_with_every_class_of_token(wechat_pay: WeChatPay, mode: str, environment: str):
    with table(wechat_pay, Setting(mode, environment, TOKEN_OPENID)) as cells:
        for token, header, (action, payee) in itertools.product(MAIN_TOKENS, ("none", "wx_client"), ALL):
            cells.play(action, payee, token, header)


@pytest.mark.parametrize("operator_key", [OPERATOR_KEY, "", SHORT_KEY])
@pytest.mark.parametrize("mode", MODES)
def test_the_operator_key_wherever_it_stands(wechat_pay: WeChatPay, mode: str, operator_key: str):
    with table(wechat_pay, Setting(mode, operator_key=operator_key)) as cells:
        for key, token, header, (action, payee) in itertools.product(
            KEYS, ("none", "user"), ("none", "wx_client"), CLASSES[:3]
        ):
            verdict = cells.play(action, payee, token, header, key)
            if operator_key != OPERATOR_KEY and action == "wxpay_refund":
                assert verdict.status != 200, "a missing or short operatorKey grants nothing"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_public_actions_open_themselves_alone_and_only_where_headers_are_ignored(
    wechat_pay: WeChatPay, mode: str, environment: str
):
    public = frozenset({"wxpay_order_native", "wxpay_refund", "wxpay_transfer_bill_query"})
    actions = (*CLASSES, ("wxpay_order_native", ""), ("wxpay_transfer", ""), ("unifiedOrderTrigger", ""))
    with table(wechat_pay, Setting(mode, environment, UID, public=public)) as cells:
        for token, header, key, (action, payee) in itertools.product(
            MAIN_TOKENS, ("none", "wx_client"), ("none", "header"), actions
        ):
            cells.play(action, payee, token, header, key)


@pytest.mark.parametrize("mode", MODES)
def test_the_other_ways_in_open_nothing_more(wechat_pay: WeChatPay, mode: str):
    setting = Setting(mode, "set", UID)
    others = [way for way in WAYS if way != "path"]
    wechat_pay.prepare()
    actions = (*CLASSES, ("wxpay_transfer", ""), ("wxpay_transfer_cancel", ""), ("unifiedOrderTrigger", ""))
    with in_process(wechat_pay.env(setting)) as function:
        cells = Table(wechat_pay, setting, over_http(function))
        for way, token, (action, payee) in itertools.product(others, TOKENS, actions):
            cells.play(action, payee, token, "none", way=way)
        for way, key, header, (action, payee) in itertools.product(
            others, ("header", "body", "wrong header", "list"), ("none", "wx_client"), actions
        ):
            cells.play(action, payee, "none", header, key, way)


# Literal rows: what no rule, right or wrong, should be able to change.
CLAIMED, TRUSTED, IGNORED = (Setting(mode, operator_ids=HEADER_OPENID) for mode in MODES)
DOWN, UNSET = Setting(environment="down", operator_ids=UID), Setting(environment="unset", operator_ids=UID)
QUERY, REFUND, BILL = "wxpay_query_order_by_out_trade_no", "wxpay_refund", "wxpay_transfer_bill_query"
ROWS: tuple[tuple[Setting, str, str, str, str, int], ...] = (
    # setting, token, header, key, action, status
    (CLAIMED, "none", "none", "none", QUERY, 401),
    (CLAIMED, "none", "openid alone", "none", QUERY, 401),
    (CLAIMED, "none", "other source", "none", QUERY, 401),
    (CLAIMED, "none", "wx_client", "none", QUERY, 200),
    (CLAIMED, "none", "integration", "none", QUERY, 200),
    (CLAIMED, "none", "wx_client", "none", REFUND, 403),  # an invented openid of an operator
    (CLAIMED, "none", "all", "none", REFUND, 403),
    (CLAIMED, "none", "wx_client", "none", BILL, 403),  # an invented openid of the payee
    (CLAIMED, "none", "none", "header", REFUND, 200),
    (CLAIMED, "none", "none", "body", REFUND, 200),
    (CLAIMED, "none", "none", "wrong header", REFUND, 401),
    (CLAIMED, "none", "wx_client", "wrong header", REFUND, 403),
    (CLAIMED, "user", "none", "none", REFUND, 403),
    (CLAIMED, "server", "none", "none", REFUND, 200),
    (CLAIMED, "API key, anonymous", "none", "none", REFUND, 403),
    (CLAIMED, "server, other key", "none", "none", REFUND, 401),
    (CLAIMED, "undecodable", "wx_client", "none", QUERY, 200),
    (CLAIMED, "undecodable", "integration", "none", QUERY, 401),
    (CLAIMED, "undecodable", "none", "header", REFUND, 401),
    (replace(CLAIMED, runtime="SCF_RUNTIME"), "none", "none", "none", QUERY, 200),
    (replace(CLAIMED, runtime="SCF_RUNTIME"), "none", "openid alone", "none", REFUND, 403),
    (replace(CLAIMED, operator_ids=UID), "user", "none", "none", REFUND, 200),
    (replace(CLAIMED, operator_ids=TOKEN_OPENID), "user", "none", "none", REFUND, 200),
    (replace(CLAIMED, operator_ids=TOKEN_OPENID), "user without openid", "none", "none", REFUND, 403),
    (replace(CLAIMED, operator_ids=UID), "other key", "none", "none", REFUND, 401),
    (replace(CLAIMED, operator_ids=UID), "other key", "wx_client", "none", REFUND, 403),
    (replace(CLAIMED, operator_ids="*"), "none", "wx_client", "none", REFUND, 200),
    (replace(CLAIMED, operator_ids="*"), "none", "openid alone", "none", REFUND, 401),
    (TRUSTED, "none", "wx_client", "none", REFUND, 200),
    (TRUSTED, "none", "wx_client", "none", BILL, 200),
    (TRUSTED, "none", "openid alone", "none", REFUND, 401),
    (TRUSTED, "basic", "wx_client", "none", REFUND, 403),
    (TRUSTED, "user", "wx_client", "none", REFUND, 403),
    (TRUSTED, "undecodable", "wx_client", "none", REFUND, 403),
    (IGNORED, "none", "all", "none", QUERY, 401),
    (replace(IGNORED, runtime="SCF_RUNTIME"), "none", "all", "none", QUERY, 401),
    (IGNORED, "none", "all", "header", REFUND, 401),
    (IGNORED, "undecodable", "wx_client", "none", QUERY, 401),
    (IGNORED, "user", "none", "none", QUERY, 200),
    (IGNORED, "user", "none", "header", REFUND, 200),
    (IGNORED, "publishable", "none", "none", QUERY, 401),
    (replace(IGNORED, public=frozenset({QUERY})), "none", "none", "none", QUERY, 200),
    (replace(IGNORED, public=frozenset({REFUND})), "none", "wx_client", "none", REFUND, 403),
    (replace(IGNORED, public=frozenset({REFUND}), operator_ids="*"), "none", "none", "none", REFUND, 403),
    (replace(IGNORED, public=frozenset({REFUND})), "none", "none", "header", REFUND, 200),
    (replace(CLAIMED, public=frozenset({QUERY})), "none", "none", "none", QUERY, 401),
    (DOWN, "user", "none", "none", QUERY, 200),
    (DOWN, "user", "none", "none", REFUND, 503),
    (DOWN, "user", "wx_client", "none", BILL, 503),
    (DOWN, "user", "none", "header", REFUND, 200),
    (DOWN, "expired", "none", "none", QUERY, 401),
    (replace(DOWN, caller_headers="ignored"), "user", "none", "none", QUERY, 503),
    (UNSET, "user", "none", "none", QUERY, 200),
    (UNSET, "user", "none", "none", REFUND, 403),
    (UNSET, "server", "none", "none", REFUND, 403),
    (UNSET, "alg none", "none", "none", QUERY, 200),
)


def test_the_most_important_cells_are_as_written_here(wechat_pay: WeChatPay):
    for setting, rows in itertools.groupby(ROWS, key=lambda row: row[0]):
        with table(wechat_pay, setting) as cells:
            for _, token, header, key, action, status in rows:
                payee = HEADER_OPENID if action == BILL else ""
                verdict = cells.play(action, payee, token, header, key)
                assert verdict.status == status, (setting, token, header, key, action)


def test_the_openid_in_a_payees_query_cannot_be_chosen(wechat_pay: WeChatPay):
    with table(wechat_pay, Setting()) as cells:
        user = {"Authorization": wechat_pay.tokens["user"]}
        for openid in (HEADER_OPENID, "", None, [TOKEN_OPENID]):
            body = {"out_bill_no": TO_HEADER, "openid": openid}
            assert cells.post(f"/wx-pay/{BILL}", body, user).status == 403
        assert wechat_pay.box.requests == []
        stated = {"out_bill_no": TO_HEADER, "openid": TOKEN_OPENID}
        assert cells.post(f"/wx-pay/{BILL}", stated, user).status == 403


def test_a_refused_payee_learns_nothing_of_the_bill(wechat_pay: WeChatPay):
    with table(wechat_pay, Setting()) as cells:
        user = {"Authorization": wechat_pay.tokens["user"]}
        answer = cells.post(f"/wx-pay/{BILL}", {"out_bill_no": TO_HEADER}, user)
        bill = wechat_pay.box.ledger.transfers[TO_HEADER]
        assert answer.status == 403
        assert wechat_pay.box.requests[-1].status == 200
        for told in (HEADER_OPENID, bill.transfer_bill_no, "WAIT_USER_CONFIRM", "bonus"):
            assert told not in json.dumps(answer.body)


@pytest.mark.parametrize("header", [OPERATOR_KEY + "," + OPERATOR_KEY, f"{OPERATOR_KEY} x"])
def test_a_repeated_or_spoilt_operator_key_is_no_key(wechat_pay: WeChatPay, header: str):
    with table(wechat_pay, Setting()) as cells:
        headers = {**HEADERS["wx_client"], "X-Operator-Key": header}
        assert cells.post("/wx-pay/wxpay_refund", wechat_pay.body(REFUND, ""), headers).status == 403
        assert wechat_pay.box.requests == []


# A merchant's own authorize


class Shop(OrderService):
    """`rule` is what its `authorize` does; `seen` what that was asked."""

    def __init__(self, rule: Callable[[Shop, str, dict[str, Any], Any], None]) -> None:
        self._rule = rule
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def authorize(self, action: str, params: dict[str, Any], caller: Any) -> None:
        self.seen.append((action, dict(params)))
        self._rule(self, action, params, caller)

    def default(self, action: str, params: dict[str, Any], caller: Any) -> None:
        super().authorize(action, params, caller)


@contextmanager
def open_shop(
    wechat_pay: WeChatPay, rule: Callable[[Shop, str, dict[str, Any], Any], None], **setting: Any
) -> Iterator[tuple[Shop, Post]]:
    wechat_pay.prepare(setting.get("environment", "set"))
    shop = Shop(rule)
    with create_app(wechat_pay.settings(Setting(**setting)), order_service=shop).test_client() as client:
        yield shop, through(client)


def test_a_merchant_may_let_a_user_refund_his_own_order(wechat_pay: WeChatPay):
    owners = {PAID: TOKEN_OPENID}

    def rule(shop: Shop, action: str, params: dict[str, Any], caller: Any) -> None:
        own = caller.verified_openid and caller.verified_openid == owners.get(params.get("out_trade_no", ""))
        if not (action == REFUND and own):
            shop.default(action, params, caller)

    user, stranger = {"Authorization": wechat_pay.tokens["user"]}, {**HEADERS["wx_client"]}
    stranger["X-Wx-Openid"] = TOKEN_OPENID  # claimed only
    with open_shop(wechat_pay, rule) as (_, post):
        for way in WAYS.values():
            refused = way(post, REFUND, wechat_pay.body(REFUND, ""), stranger)
            other = way(post, REFUND, {**wechat_pay.body(REFUND, ""), "out_trade_no": "ORDER9999"}, user)
            transfer = way(post, "wxpay_transfer", wechat_pay.body("wxpay_transfer", ""), user)
            assert [refused.status, other.status, transfer.status] == [403, 403, 403]
        assert wechat_pay.box.requests == []
        assert post("/wx-pay/wxpay_refund", wechat_pay.body(REFUND, ""), user).status == 200
    with open_shop(wechat_pay, rule, environment="down") as (_, post):
        assert post("/wx-pay/wxpay_refund", wechat_pay.body(REFUND, ""), user).status == 503
        assert wechat_pay.box.requests == []


def test_a_merchant_may_narrow_what_callers_and_operators_may(wechat_pay: WeChatPay):
    def rule(shop: Shop, action: str, params: dict[str, Any], caller: Any) -> None:
        if not caller.verified_uid:
            raise Refused("sign in first")
        shop.default(action, params, caller)

    with open_shop(wechat_pay, rule, operator_ids=UID) as (_, post):
        key = {**HEADERS["wx_client"], "X-Operator-Key": OPERATOR_KEY}
        for action in ("wxpay_order", QUERY, REFUND, "wxpay_transfer", BILL):
            answer = post(f"/wx-pay/{action}", wechat_pay.body(action, TOKEN_OPENID), key)
            assert (answer.status, answer.body["msg"]) == (403, "sign in first")
        assert wechat_pay.box.requests == []
        user = {"Authorization": wechat_pay.tokens["user"]}
        for action in ("wxpay_order", QUERY, REFUND, "wxpay_transfer", BILL):
            assert post(f"/wx-pay/{action}", wechat_pay.body(action, TOKEN_OPENID), user).status == 200


@pytest.mark.parametrize("status", [403, 404, 409])
def test_refused_is_answered_with_its_own_status_and_message(wechat_pay: WeChatPay, status: int):
    def rule(shop: Shop, action: str, params: dict[str, Any], caller: Any) -> None:
        raise Refused(f"not this one ({status})", status)

    with open_shop(wechat_pay, rule) as (_, post):
        headers = {**HEADERS["wx_client"], "X-Operator-Key": OPERATOR_KEY}
        for (name, way), (action, payee) in itertools.product(WAYS.items(), ALL):
            if RIGHTS[action] != "callback":
                answer = way(post, action, wechat_pay.body(action, payee), headers)
                assert answer.status == status, (name, action)
                assert answer.body == {"code": -1, "msg": f"not this one ({status})", "data": None}
        assert wechat_pay.box.requests == []
        assert post("/wx-pay/refundTrigger", wechat_pay.callback("refundTrigger"), {}).status == 200


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("told by the database"),
        KeyError("told by the database"),
        ValueError("told by the database"),
        TimeoutError("told by the database"),
        KeysUnavailable("the keys cannot be had"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_anything_else_that_authorize_raises_is_503_and_sends_nothing(wechat_pay: WeChatPay, error: Exception):
    def rule(shop: Shop, action: str, params: dict[str, Any], caller: Any) -> None:
        raise error

    with open_shop(wechat_pay, rule) as (_, post):
        headers = {**HEADERS["wx_client"], "X-Operator-Key": OPERATOR_KEY}
        for action in ("wxpay_order", QUERY, REFUND, "wxpay_transfer", BILL):
            answer = post(f"/wx-pay/{action}", wechat_pay.body(action, TOKEN_OPENID), headers)
            assert answer.status == 503
            assert answer.body["code"] == -1
            assert "told by the database" not in json.dumps(answer.body)
        assert wechat_pay.box.requests == []


def test_authorize_is_asked_again_once_the_payee_is_known(wechat_pay: WeChatPay):
    def rule(shop: Shop, action: str, params: dict[str, Any], caller: Any) -> None:
        if params.get("openid") == HEADER_OPENID:
            raise Refused("no such bill", 404)

    with open_shop(wechat_pay, rule) as (shop, post):
        answer = post(f"/wx-pay/{BILL}", {"out_bill_no": TO_HEADER}, HEADERS["wx_client"])
        assert (answer.status, answer.body["data"]) == (404, None)
        assert [params.get("openid") for _, params in shop.seen] == [None, HEADER_OPENID]
        assert [request.method for request in wechat_pay.box.requests] == ["GET"]


def test_authorize_can_neither_read_the_operator_key_nor_change_what_is_sent(wechat_pay: WeChatPay):
    def rule(shop: Shop, action: str, params: dict[str, Any], caller: Any) -> None:
        params["amount"]["total"] = 999_999
        params["description"] = "changed"

    with open_shop(wechat_pay, rule) as (shop, post):
        body = {**wechat_pay.body("wxpay_order", ""), "_operatorKey": OPERATOR_KEY}
        assert post("/", {"_action": "wxpay_order", **body}, {}).status == 200
        [sent] = wechat_pay.box.requests
        assert (sent.json["amount"]["total"], sent.json["description"]) == (10, "tea")
        [(action, params)] = shop.seen
        assert (action, params["out_trade_no"]) == ("wxpay_order", body["out_trade_no"])
        assert not {"_operatorKey", "_action"} & set(params)
        assert OPERATOR_KEY not in json.dumps(params) + json.dumps(sent.headers)
