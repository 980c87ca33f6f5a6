"""The actions on the order database by every way in: alike with one, and named as missing without one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from routes.actions import ACTIONS, Action
from sandbox import Credentials
from services.pay_service import PayService
from tests.http.house import House, house
from tests.http.ways import DIRECT, OPERATOR, WAYS
from tests.support import MINI_PROGRAM

NUMBER = "ORDER_WAY_0001"
PAST_DAY = (datetime.now(timezone.utc) - timedelta(days=3)).date().isoformat()  # WeChat Pay has bills of three months
# What each is asked, and what it answers when nothing is left to do.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wxpay_orders_init": ({}, {"tables": "ready"}),
    "wxpay_order_wait": ({"out_trade_no": NUMBER, "seconds": 5}, {"out_trade_no": NUMBER, "state": "PAID"}),
    "wxpay_reconcile": ({"limit": 10, "seconds": 5}, {"checked": 0}),
    "wxpay_trade_bill": ({"bill_date": PAST_DAY}, {"bill_date": PAST_DAY}),
    "wxpay_fundflow_bill": ({"bill_date": PAST_DAY, "account_type": "BASIC"}, {"bill_date": PAST_DAY}),
}
BY_OPERATORS = [name for name in CASES if name != "wxpay_order_wait"]


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[House]:
    """The function under gunicorn with an order database and one paid order, of which all has been told."""
    folder = tmp_path_factory.mktemp("keeping")
    url = f"sqlite:///{folder / 'orders.sqlite3'}"
    with house(folder, credentials, orderService="", orderDatabaseUrl=url) as it:
        assert it.function.call("wxpay_orders_init", {}, MINI_PROGRAM | OPERATOR).status == 200
        order = {"description": "Tea", "out_trade_no": NUMBER, "amount": {"total": 100}}
        assert it.function.call("wxpay_order", order).status == 200
        assert all(delivery.acknowledged for delivery in it.box.pay(NUMBER))
        yield it


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("bare"), credentials) as it:
        yield it


def test_every_action_on_the_order_database_has_a_case_here():
    rows = {name for name, row in ACTIONS.items() if isinstance(row, Action) and row.run is PayService.at_desk}
    assert set(CASES) == rows


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", CASES)
def test_it_does_the_same_by_every_way_in(keeping: House, action: str, way: str):
    body, answers = CASES[action]
    answer = WAYS[way](keeping, action, dict(body), MINI_PROGRAM | OPERATOR)
    assert (answer.status, answer.content_type) == (200, "application/json"), answer.body
    assert (answer.body["code"], answer.body["msg"], answer.body["data"]["status"]) == (0, "success", 200)
    assert answer.body["data"]["data"].items() >= answers.items()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", CASES)
def test_without_an_order_database_it_says_so_by_every_way_in(bare: House, action: str, way: str):
    bare.new()
    answer = WAYS[way](bare, action, dict(CASES[action][0]), MINI_PROGRAM | OPERATOR)
    assert (answer.status, answer.body["code"], answer.body["data"]) == (500, -1, None)
    assert answer.body["msg"].startswith("MISSING_CREDENTIALS: orderDatabaseUrl (")
    bare.assert_untouched()


WRONG = {
    "wxpay_orders_init": {"tables": "all"},
    "wxpay_order_wait": {"out_trade_no": NUMBER, "seconds": 19},
    "wxpay_reconcile": {"limit": "10"},
    "wxpay_trade_bill": {"bill_date": "20260105"},
    "wxpay_fundflow_bill": {"bill_date": PAST_DAY, "account_type": "MINE"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", [name for name in CASES if name != "wxpay_orders_init"])
def test_a_wrong_field_is_named_by_every_way_in(keeping: House, action: str, way: str):
    answer = WAYS[way](keeping, action, dict(WRONG[action]), MINI_PROGRAM | OPERATOR)
    assert (answer.status, answer.body["code"]) == (400, -1)
    assert list(WRONG[action])[-1] in answer.body["msg"]


@pytest.mark.parametrize("way", DIRECT)
@pytest.mark.parametrize("action", BY_OPERATORS)
def test_a_caller_may_none_of_what_operators_may(keeping: House, action: str, way: str):
    asked = len(keeping.box.requests)
    for headers, status in ((MINI_PROGRAM, 403), ({}, 401)):
        answer = DIRECT[way](keeping, action, dict(CASES[action][0]), headers)
        assert (answer.status, answer.body["code"], answer.body["data"]) == (status, -1, None)
    assert len(keeping.box.requests) == asked


@pytest.mark.parametrize("way", DIRECT)
def test_a_caller_waits_for_his_own_order_and_finds_no_other(keeping: House, way: str):
    body = CASES["wxpay_order_wait"][0]
    assert DIRECT[way](keeping, "wxpay_order_wait", dict(body), MINI_PROGRAM).status == 200
    stranger = MINI_PROGRAM | {"X-Wx-Openid": "oTESTstranger000000000000001"}
    answers = [
        DIRECT[way](keeping, "wxpay_order_wait", {"out_trade_no": number, "seconds": 5}, stranger)
        for number in (NUMBER, "ORDER_WAY_9999")
    ]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].body == answers[1].body, "nobody learns which numbers there are"
    assert DIRECT[way](keeping, "wxpay_order_wait", dict(body), {}).status == 401
