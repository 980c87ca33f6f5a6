"""Every action behaves exactly the same by each way in, and so does every callback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from routes.actions import ACTIONS, Action, Callback
from sandbox import Credentials
from tests.http.house import House, house
from tests.http.plays import USER_NAME, Answer, Outcome, Stage, play, verify_invocation
from tests.http.ways import DIRECT, FORWARDS, KINDS, OPERATOR, WAYS, direct, parsed
from tests.support import MINI_PROGRAM, OPENID

# Those on the order database have their own cases, in test_order_database.py.
AT_DESK = {"wxpay_order_wait", "wxpay_reconcile", "wxpay_orders_init", "wxpay_trade_bill", "wxpay_fundflow_bill"}
ACTION_NAMES = [name for name, row in ACTIONS.items() if isinstance(row, Action) and name not in AT_DESK]
TRIGGERS = [name for name, row in ACTIONS.items() if isinstance(row, Callback)]
# Everything that WeChat Pay documents for all four scenes.
RICH_ORDER = {
    "description": "凤凰单丛 250 g",
    "amount": {"total": 8800},
    "time_expire": "2035-06-08T10:34:56+08:00",
    "attach": "hall 7 / row 3",
    "goods_tag": "TEA",
    "support_fapiao": True,
    "detail": {
        "cost_price": 9000,
        "invoice_id": "R 7",
        "goods_detail": [{"merchant_goods_id": "tea-1", "goods_name": "茶", "quantity": 2, "unit_price": 4400}],
    },
    "scene_info": {
        "payer_client_ip": "2001:db8::7",
        "device_id": "till-1",
        "store_info": {"id": "1", "name": "店", "area_code": "440305", "address": "路 1"},
    },
    "settle_info": {"profit_sharing": False},
}


def order(stage: Stage) -> dict[str, Any]:
    return {**RICH_ORDER, "out_trade_no": stage.number("out_trade_no")}


def order_h5(stage: Stage) -> dict[str, Any]:
    h5_info = {"type": "Wap", "app_name": "Teas", "app_url": "https://shop.example"}
    return {**order(stage), "scene_info": {"payer_client_ip": "198.51.100.7", "h5_info": h5_info}}


def order_of_the_service_account(stage: Stage) -> dict[str, Any]:
    return {**order(stage), "useServiceAccount": True}


def paid_order_by_number(stage: Stage) -> dict[str, Any]:
    return {"out_trade_no": stage.order(paid=True)["out_trade_no"]}


def paid_order_by_transaction(stage: Stage) -> dict[str, Any]:
    return {"transaction_id": stage.order(paid=True)["transaction_id"]}


def unpaid_order(stage: Stage) -> dict[str, Any]:
    return {"out_trade_no": stage.order()["out_trade_no"]}


def refund(stage: Stage) -> dict[str, Any]:
    return {
        "out_trade_no": stage.order(paid=True)["out_trade_no"],
        "out_refund_no": stage.number("out_refund_no"),
        "reason": "一半不要了",
        "funds_account": "AVAILABLE",
        "amount": {"refund": 50, "total": 100, "from": [{"account": "AVAILABLE", "amount": 50}]},
        "goods_detail": [{"merchant_goods_id": "tea-1", "unit_price": 100, "refund_amount": 50, "refund_quantity": 1}],
    }


def settled_refund(stage: Stage) -> dict[str, Any]:
    number = stage.refund()["out_refund_no"]
    stage.box.ledger.settle_refund(number, "SUCCESS")
    return {"out_refund_no": number}


def transfer(stage: Stage) -> dict[str, Any]:
    return {
        "out_bill_no": stage.number("out_bill_no"),
        "transfer_scene_id": "1000",
        "user_name": USER_NAME,
        "transfer_amount": 3000,
        "transfer_remark": "活动奖励",
        "user_recv_perception": "现金奖励",
        "transfer_scene_report_infos": [
            {"info_type": "活动名称", "info_content": "新会员"},
            {"info_type": "奖励说明", "info_content": "注册"},
        ],
    }


def open_transfer(stage: Stage) -> dict[str, Any]:
    return {"out_bill_no": stage.transfer()["out_bill_no"]}


def open_transfer_by_bill(stage: Stage) -> dict[str, Any]:
    return {"transfer_bill_no": stage.transfer()["transfer_bill_no"]}


# Action -> set-up at WeChat Pay that returns the body, and the request that has to leave.
CASES: dict[str, tuple[Callable[[Stage], dict[str, Any]], str]] = {
    "wxpay_order": (order, "POST /v3/pay/transactions/jsapi"),
    "wxpay_order_native": (order, "POST /v3/pay/transactions/native"),
    "wxpay_order_h5": (order_h5, "POST /v3/pay/transactions/h5"),
    "wxpay_order_app": (order_of_the_service_account, "POST /v3/pay/transactions/app"),
    "wxpay_query_order_by_out_trade_no": (
        paid_order_by_number,
        "GET /v3/pay/transactions/out-trade-no/<out_trade_no>?mchid={mchid}",
    ),
    "wxpay_query_order_by_transaction_id": (
        paid_order_by_transaction,
        "GET /v3/pay/transactions/id/<transaction_id>?mchid={mchid}",
    ),
    "wxpay_close_order": (unpaid_order, "POST /v3/pay/transactions/out-trade-no/<out_trade_no>/close"),
    "wxpay_refund": (refund, "POST /v3/refund/domestic/refunds"),
    "wxpay_refund_query": (settled_refund, "GET /v3/refund/domestic/refunds/<out_refund_no>"),
    "wxpay_transfer": (transfer, "POST /v3/fund-app/mch-transfer/transfer-bills"),
    "wxpay_transfer_cancel": (
        open_transfer,
        "POST /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/<out_bill_no>/cancel",
    ),
    "wxpay_transfer_bill_query": (
        open_transfer,
        "GET /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/<out_bill_no>",
    ),
    "wxpay_transfer_bill_query_by_no": (
        open_transfer_by_bill,
        "GET /v3/fund-app/mch-transfer/transfer-bills/transfer-bill-no/<transfer_bill_no>",
    ),
    "wxpay_transfer_batch_query": (
        open_transfer,
        "GET /v3/fund-app/mch-transfer/transfer-bills/out-bill-no/<out_bill_no>",
    ),
}
# Action -> what its order service hears.
HEARD = {
    "wxpay_order": ["before_unified", "handler_unified"],
    "wxpay_order_native": ["before_unified", "handler_unified"],
    "wxpay_order_h5": ["before_unified", "handler_unified"],
    "wxpay_order_app": ["before_unified", "handler_unified"],
    "wxpay_query_order_by_out_trade_no": ["handler_query"],
    "wxpay_query_order_by_transaction_id": ["handler_query"],
    "wxpay_close_order": ["handler_close"],
    "wxpay_refund": ["before_refund", "handler_refund"],
    "wxpay_refund_query": ["handler_query"],
    "wxpay_transfer": ["before_transfer", "handler_transfer"],
    "wxpay_transfer_cancel": [],
    "wxpay_transfer_bill_query": ["handler_query"],
    "wxpay_transfer_bill_query_by_no": ["handler_query"],
    "wxpay_transfer_batch_query": ["handler_query"],
}
# Where a forward keeps WeChat Pay's envelope; None: nowhere.
ENVELOPES = ("rawData", "rawData-string", "ParsedNotify", None)
ENDS = {
    "order": ("SUCCESS",),
    "refund": ("SUCCESS", "ABNORMAL", "CLOSED"),
    "transfer": ("SUCCESS", "FAIL", "CANCELLED"),
}
END_CASES = [(trigger, end) for trigger in TRIGGERS for end in ENDS[KINDS[trigger]]]


@pytest.fixture(scope="module")
def forwarded(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[House]:
    """signMode=gateway."""
    with house(tmp_path_factory.mktemp("gateway"), credentials) as running:
        yield running


@pytest.fixture(scope="module")
def directly(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[House]:
    """signMode=sdk."""
    with house(tmp_path_factory.mktemp("sdk"), credentials, "sdk") as running:
        yield running


def played(house: House, action: str, way: str) -> Outcome:
    stage = Stage(house.box)
    body = CASES[action][0](stage)
    return play(house, stage, lambda: WAYS[way](house, action, body, MINI_PROGRAM | OPERATOR))


@pytest.fixture(scope="module")
def by_path(forwarded: House) -> dict[str, Outcome]:
    """What every other way in is compared with."""
    return {action: played(forwarded, action, "path") for action in CASES}


def test_every_action_of_the_table_has_a_case_here():
    assert list(CASES) == ACTION_NAMES
    assert list(KINDS) == TRIGGERS
    assert set(HEARD) == set(CASES)


@pytest.mark.parametrize("action", ACTION_NAMES)
def test_an_action_by_its_path_does_what_the_contract_says(
    by_path: dict[str, Outcome], credentials: Credentials, action: str
):
    outcome = by_path[action]
    (request,) = outcome.outbound
    expected = CASES[action][1].format(mchid=credentials.merchant_id)
    assert f"{request['method']} {request['target']}" == expected
    assert request["headers"]["wechatpay-serial"] == credentials.public_key_id
    assert outcome.answer.status == 200
    assert outcome.answer.content_type == "application/json"
    assert (outcome.answer.body["code"], outcome.answer.body["msg"]) == (0, "success")
    inner_status = 204 if action == "wxpay_close_order" else 200
    assert outcome.answer.body["data"]["status"] == inner_status
    assert [call[0] for call in outcome.calls] == HEARD[action]


def test_a_jsapi_order_leaves_and_comes_back_whole(by_path: dict[str, Outcome], credentials: Credentials):
    outcome = by_path["wxpay_order"]
    assert outcome.outbound[0]["json"] == {
        **RICH_ORDER,
        "out_trade_no": "<out_trade_no>",
        "amount": {"total": 8800, "currency": "CNY"},
        "payer": {"openid": OPENID},
        "appid": credentials.app_id,
        "mchid": credentials.merchant_id,
        "notify_url": "https://sandbox.integration-callback.example/wechatpay/order",
    }
    assert outcome.answer.body["data"]["data"] == {
        "appId": credentials.app_id,
        "prepay_id": "<prepay_id>",
        "timeStamp": "<timestamp>",
        "nonceStr": "<nonce>",
        "package": "prepay_id=<prepay_id>",
        "signType": "RSA",
        "paySign": "<signature>",
    }


def test_an_app_order_comes_back_with_what_the_app_needs(by_path: dict[str, Outcome], credentials: Credentials):
    assert by_path["wxpay_order_app"].answer.body["data"]["data"] == {
        "appId": credentials.service_app_id,
        "partnerId": credentials.merchant_id,
        "prepayId": "<prepay_id>",
        "packageValue": "Sign=WXPay",
        "nonceStr": "<nonce>",
        "timeStamp": "<timestamp>",
        "sign": "<signature>",
        "prepay_id": "<prepay_id>",
    }


def test_a_transfer_leaves_and_comes_back_whole(by_path: dict[str, Outcome], credentials: Credentials):
    outcome = by_path["wxpay_transfer"]
    sent = outcome.outbound[0]["json"]
    assert sent["user_name"] == "<encrypted name>"
    assert (sent["openid"], sent["appid"], "mchid" in sent) == (OPENID, credentials.app_id, False)
    assert outcome.answer.body["data"]["data"] == {
        "out_bill_no": "<out_bill_no>",
        "transfer_bill_no": "<transfer_bill_no>",
        "create_time": "<time>",
        "state": "WAIT_USER_CONFIRM",
        "package_info": "<package_info>",
        "mchId": credentials.merchant_id,
        "appId": credentials.app_id,
    }


@pytest.mark.parametrize("way", [way for way in WAYS if way != "path"])
@pytest.mark.parametrize("action", ACTION_NAMES)
def test_an_action_is_the_same_by_every_way_in(forwarded: House, by_path: dict[str, Outcome], action: str, way: str):
    assert played(forwarded, action, way) == by_path[action]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ACTION_NAMES)
def test_a_refusal_is_the_same_by_every_way_in(forwarded: House, action: str, way: str):
    stage = Stage(forwarded.box)
    body = {"amount": {"total": "1"}, "attach": 7, "description": "\x07"}
    body |= {"payer": {"openid": OPENID}, "openid": OPENID}
    outcomes = [
        play(forwarded, stage, lambda name=name: WAYS[name](forwarded, action, dict(body), MINI_PROGRAM | OPERATOR))
        for name in ("path", way)
    ]
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0].answer.status, outcomes[0].answer.body["code"]) == (400, -1)
    assert (outcomes[0].outbound, outcomes[0].calls) == ([], [])


@pytest.mark.parametrize("way", DIRECT)
@pytest.mark.parametrize("action", ACTION_NAMES)
def test_nobody_is_refused_alike_by_every_way_in(forwarded: House, action: str, way: str):
    stage = Stage(forwarded.box)
    body = CASES[action][0](stage)
    outcome = play(forwarded, stage, lambda: DIRECT[way](forwarded, action, body, {}))
    assert (outcome.answer.status, outcome.answer.body["code"]) == (401, -1)
    assert (outcome.outbound, outcome.calls) == ([], [])


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_of_wechat_pay_is_the_same_by_every_way_in(forwarded: House, way: str):
    def unknown(name: str) -> Outcome:
        stage = Stage(forwarded.box)
        body = {"out_trade_no": stage.number("out_trade_no")}
        action = "wxpay_query_order_by_out_trade_no"
        return play(forwarded, stage, lambda: WAYS[name](forwarded, action, body, MINI_PROGRAM | OPERATOR))

    reference, outcome = unknown("path"), unknown(way)
    assert outcome == reference
    assert outcome.answer.status == 404
    assert outcome.answer.body["data"]["data"]["code"] == "ORDER_NOT_EXIST"
    assert outcome.calls == []


def ended(stage: Stage, trigger: str, end: str) -> tuple[str, dict[str, Any]]:
    """Something that came to its end at WeChat Pay: its kind, and the true plaintext about it."""
    kind, ledger = KINDS[trigger], stage.box.ledger
    if kind == "order":
        number = stage.order(paid=True)["out_trade_no"]
    elif kind == "refund":
        number = stage.refund()["out_refund_no"]
        ledger.settle_refund(number, end)
    else:
        number = stage.transfer()["out_bill_no"]
        ledger.move_transfer(number, end, "OVERDUE_CLOSE" if end == "FAIL" else "")
    plaintext = stage.box.plaintext(kind, number)
    stage.learn(plaintext)
    return kind, plaintext


def notified(house: House, trigger: str, end: str, envelope: str | None, way: str) -> tuple[Outcome, Any]:
    """A forwarded notification by that way in, and the plaintext that it was about, normalised."""
    stage = Stage(house.box)
    kind, plaintext = ended(stage, trigger, end)
    headers, body = house.box.forwarded(kind, plaintext, envelope=envelope)
    outcome = play(house, stage, lambda: FORWARDS[way](house, trigger, parsed(body), headers))
    return outcome, stage.normal(plaintext)


ACKNOWLEDGED = Answer(200, "application/json", {"code": "SUCCESS", "message": "OK"})
HANDLERS = {
    "unifiedOrderTrigger": "handler_unified_trigger",
    "refundTrigger": "handler_refund_trigger",
    "transferTrigger": "handler_transfer_trigger",
}


@pytest.mark.parametrize("way", FORWARDS)
@pytest.mark.parametrize("envelope", ENVELOPES[:3])
@pytest.mark.parametrize(("trigger", "end"), END_CASES)
def test_a_forward_with_its_envelope_hands_over_the_plaintext_by_every_way_in(
    forwarded: House, trigger: str, end: str, envelope: str, way: str
):
    outcome, plaintext = notified(forwarded, trigger, end, envelope, way)
    assert outcome == Outcome(ACKNOWLEDGED, [], [[HANDLERS[trigger], plaintext]])


@pytest.mark.parametrize(("trigger", "end"), END_CASES)
def test_a_plaintext_alone_is_asked_about_alike_by_every_way_in(forwarded: House, trigger: str, end: str):
    outcomes = {way: notified(forwarded, trigger, end, None, way) for way in FORWARDS}
    reference, plaintext = outcomes["path"]
    assert reference.answer == ACKNOWLEDGED
    assert [request["method"] for request in reference.outbound] == ["GET"]
    ((handler, params),) = reference.calls
    assert handler == HANDLERS[trigger]
    for name in plaintext.keys() & params.keys() - {"amount"}:
        assert params[name] == plaintext[name]
    assert {"out_trade_no", "out_refund_no", "out_bill_no"} & plaintext.keys() <= params.keys()
    assert {"mchid", "mch_id"} & plaintext.keys() <= params.keys()
    assert "status" not in params
    for way, (outcome, _) in outcomes.items():
        assert outcome == reference, way


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_way_in_says_what_a_forward_without_event_type_is(forwarded: House, trigger: str, envelope: str | None):
    for way in [name for name in FORWARDS if not name.startswith("event")]:
        stage = Stage(forwarded.box)
        kind, plaintext = ended(stage, trigger, "SUCCESS")
        headers, raw = forwarded.box.forwarded(kind, plaintext, envelope=envelope)
        body = parsed(raw)
        if isinstance(body["rawData"], str):
            body["rawData"] = json.dumps({**json.loads(body["rawData"]), "event_type": ""})
        else:
            del body["rawData"]["event_type"]
        del body["ParsedNotify"]["event_type"]

        outcome = play(
            forwarded,
            stage,
            lambda way=way, body=body, headers=headers: FORWARDS[way](forwarded, trigger, body, headers),
        )

        assert outcome.answer == ACKNOWLEDGED, way
        assert [call[0] for call in outcome.calls] == [HANDLERS[trigger]], way


@pytest.mark.parametrize("raw_data", [None, {}, {"event_type": ""}, {"event_type": 7}, "", "{}", "no JSON"])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_an_event_type_in_parsed_notify_alone_is_a_way_in_too(forwarded: House, trigger: str, raw_data: Any):
    stage = Stage(forwarded.box)
    kind, plaintext = ended(stage, trigger, "SUCCESS")
    headers, raw = forwarded.box.forwarded(kind, plaintext, envelope="ParsedNotify")
    body = parsed(raw) | {"rawData": raw_data}
    outcome = play(forwarded, stage, lambda: direct(forwarded, "/", body, headers))
    if isinstance(raw_data, str) and raw_data != "{}":
        # It led here, but what cannot be read is not believed.
        assert (outcome.answer.status, outcome.answer.body["code"], outcome.calls) == (400, "FAIL", [])
    else:
        assert outcome == Outcome(ACKNOWLEDGED, [], [[HANDLERS[trigger], stage.normal(plaintext)]])


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_event_type_goes_before_the_way_in(forwarded: House, trigger: str):
    for way in FORWARDS:
        stage = Stage(forwarded.box)
        kind, plaintext = ended(stage, trigger, "SUCCESS")
        headers, body = forwarded.box.forwarded(kind, plaintext)
        other = TRIGGERS[TRIGGERS.index(trigger) - 1]
        outcome = play(
            forwarded,
            stage,
            lambda way=way, other=other, body=body, headers=headers: FORWARDS[way](
                forwarded, other, parsed(body), headers
            ),
        )
        assert outcome == Outcome(ACKNOWLEDGED, [], [[HANDLERS[trigger], stage.normal(plaintext)]]), way


SIGNED_PATHS = ["/wx-pay/{0}", "/wx-pay/{0}/", "/a/b/wx-pay/{0}", "/wechatpay/{1}", "/a/wechatpay/{1}/", "/{0}"]


@pytest.mark.parametrize("key", ["public", "certificate"])
@pytest.mark.parametrize("path", SIGNED_PATHS)
@pytest.mark.parametrize(("trigger", "end"), END_CASES)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_what_wechat_pay_itself_signs_is_the_same_by_every_path(
    forwarded: House, directly: House, mode: str, trigger: str, end: str, path: str, key: str
):
    house = directly if mode == "sdk" else forwarded
    house.box.certificates_available = True
    stage = Stage(house.box)
    kind, plaintext = ended(stage, trigger, end)
    headers, body = house.box.notification(kind, plaintext, key=key)
    outcome = play(house, stage, lambda: direct(house, path.format(trigger, kind), body, headers))
    assert outcome.answer == ACKNOWLEDGED
    assert outcome.calls == [[HANDLERS[trigger], stage.normal(plaintext)]]
    # Fetched once, for the first signature by a certificate.
    assert [request["target"] for request in outcome.outbound] in ([], ["/v3/certificates"])


@pytest.mark.parametrize("action", ["wxpay_order", "wxpay_order_app"])
def test_a_wrong_signature_would_be_seen(forwarded: House, action: str):
    stage = Stage(forwarded.box)
    body = CASES[action][0](stage)
    answer = WAYS["path"](forwarded, action, body, MINI_PROGRAM)
    name = "package" if action == "wxpay_order" else "nonceStr"
    answer.body["data"]["data"][name] += "x"
    if name == "package":
        answer.body["data"]["data"]["prepay_id"] += "x"
    with pytest.raises(InvalidSignature):
        verify_invocation(stage, answer.body)


def test_a_value_that_is_not_wechat_pays_own_would_be_seen(forwarded: House):
    stage = Stage(forwarded.box)
    stage.learn({"prepay_id": "wx0123456789"})
    number = stage.number("out_trade_no")
    assert stage.normal({"a": ["wx0123456789", number], "n": 7}) == {"a": ["<prepay_id>", "<out_trade_no>"], "n": 7}
    assert stage.normal("wx012345678") == "wx012345678"
