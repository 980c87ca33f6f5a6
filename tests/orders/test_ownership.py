"""Whose an order is: every kind of caller sees his own and nobody else's, and learns nothing by asking oddly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from sandbox import Sandbox
from services.orders.store import Store
from tests.orders.house import OPERATOR, OTHER, House, fresh
from tests.support import MINI_PROGRAM

MISSING = "NOSUCHORDER001"
UID, OTHER_UID = "2046000000000000007", "2046000000000000008"
BY_ORDER = ("wxpay_query_order_by_out_trade_no", "wxpay_order_wait")


@pytest.fixture
def tokens(box: Sandbox, database_url: str, store: Store) -> Iterator[House]:
    """A function that verifies the tokens of its environment."""
    names = ("cloudbaseEnvId", "cloudbaseAuthUrl")
    verifying = {name: value for name, value in box.env(tokens=True).items() if name in names}
    with House.in_process(box, database_url, store, **verifying) as running:
        yield running


def bearer(house: House, kind: str = "user", **claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.box.token(kind, **claims)}"}


def by_mail(house: House, uid: str) -> dict[str, str]:
    """Somebody who signed in without WeChat: he has a uid, and no openid."""
    return bearer(house, uid=uid, provider="email", provider_sub="somebody@shop.example")


def native(house: House, headers: Mapping[str, str]) -> str:
    number = fresh("ORDER")
    body = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
    reply = house.function.call("wxpay_order_native", body, headers)
    assert reply.status == 200, reply.text
    return number


def seen(house: House, number: str, headers: Mapping[str, str]) -> bool:
    """Whether that caller can query the order and wait for it; if not, it is as if it did not exist."""
    found = []
    for action in BY_ORDER:
        reply = house.function.call(action, {"out_trade_no": number}, headers)
        missing = house.function.call(action, {"out_trade_no": MISSING}, headers)
        if reply.status != 200:
            assert (reply.status, reply.text) == (404, missing.text), action
        found.append(reply.status == 200)
    assert len(set(found)) == 1, found
    return found[0]


def paid(house: House, number: str) -> str:
    """Paid, so that waiting for it ends at once."""
    assert all(delivery.acknowledged for delivery in house.box.pay(number))
    return number


def test_each_caller_sees_his_own(tokens: House):
    mine = bearer(tokens, uid=UID, openid=MINI_PROGRAM["X-Wx-Openid"])
    mails, other_mails = by_mail(tokens, UID), by_mail(tokens, OTHER_UID)
    server = bearer(tokens, "server")
    orders = {
        "by token with openid": paid(tokens, native(tokens, mine)),
        "by uid alone": paid(tokens, native(tokens, mails)),
        "by claimed openid": paid(tokens, native(tokens, MINI_PROGRAM)),
        "by a server": paid(tokens, native(tokens, server)),
    }
    may = {
        # A token with an openid owns by the openid and sees what its uid owns as well.
        "token": (mine, {"by token with openid", "by uid alone", "by claimed openid", "by a server"}),
        "claimed": (MINI_PROGRAM, {"by token with openid", "by claimed openid", "by a server"}),
        "mail": (mails, {"by uid alone", "by a server"}),
        "other mail": (other_mails, {"by a server"}),
        "other": (OTHER, {"by a server"}),
        "server": (server, set(orders)),
        "operator": (OPERATOR, set(orders)),
    }
    for name, (headers, expected) in may.items():
        assert {label for label, number in orders.items() if seen(tokens, number, headers)} == expected, name


def test_a_forged_token_is_nobody(tokens: House):
    number = native(tokens, by_mail(tokens, UID))
    forged = {"Authorization": f"Bearer {tokens.box.token('user', uid=UID, key='other')}"}
    for action in (*BY_ORDER, "wxpay_close_order"):
        assert tokens.function.call(action, {"out_trade_no": number}, forged).status == 401
    assert tokens.state(number) == "PENDING"


def test_a_strangers_close_closes_nothing_and_asks_nobody(house: House):
    number = house.order()
    asked = len(house.box.requests)
    assert house.function.call("wxpay_close_order", {"out_trade_no": number}, OTHER).status == 404
    assert (house.state(number), len(house.box.requests)) == ("PENDING", asked)
    assert house.box.ledger.orders[number].state == "NOTPAY"


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
def test_a_number_is_its_owners_whatever_became_of_it(house: House, refused: bool):
    """Whoever scans the code would pay; so nobody else gets it, not even with the very same order."""
    number = fresh("ORDER")
    body = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
    if refused:
        house.box.fault("error", code="NO_AUTH", status=403, times=1)
    first = house.function.call("wxpay_order_native", body, MINI_PROGRAM)
    assert first.status == (403 if refused else 200)
    asked = len(house.box.requests)
    for headers in (OTHER, {"X-Wx-Source": "wx_client"}):
        assert house.function.call("wxpay_order_native", body, headers).status == 409
    assert len(house.box.requests) == asked
    assert house.function.call("wxpay_order_native", body, MINI_PROGRAM).status == 200


def test_an_order_from_elsewhere_is_the_operators_alone(house: House):
    """It is at WeChat Pay, but not stored here: nobody knows whose it is."""
    body = {
        "appid": house.box.credentials.app_id,
        "mchid": house.box.credentials.merchant_id,
        "description": "tea",
        "out_trade_no": "ELSEWHERE01",
        "notify_url": "https://elsewhere.example/paid",
        "amount": {"total": 100},
    }
    house.box.ledger.place("native", body)
    asking = {"out_trade_no": "ELSEWHERE01"}
    reply = house.function.call("wxpay_query_order_by_out_trade_no", asking, MINI_PROGRAM)
    assert (reply.status, reply.body["msg"]) == (404, "no such order")
    reply = house.function.call("wxpay_query_order_by_out_trade_no", asking, OPERATOR)
    assert (reply.status, house.state("ELSEWHERE01")) == (200, "")


ODD = [
    "ORDER\u0000001",
    "\ud800ORDER01",
    "订单00000001",
    "🍵ORDER0001",
    "x" * 5000,
    "",
    " ",
    "ORDER'; DROP TABLE pay_orders; --",
]


OWNED = {
    "wxpay_query_order_by_out_trade_no": "out_trade_no",
    "wxpay_query_order_by_transaction_id": "transaction_id",
    "wxpay_close_order": "out_trade_no",
    "wxpay_order_wait": "out_trade_no",
    "wxpay_refund_query": "out_refund_no",
}


@pytest.mark.parametrize("number", ODD, ids=range(len(ODD)))
def test_a_number_that_can_be_none_is_the_askers_mistake(house: House, number: str):
    for action, name in OWNED.items():
        reply = house.function.call(action, {name: number}, MINI_PROGRAM)
        assert reply.status in (400, 404), reply.text
    assert house.box.requests == []


@pytest.mark.parametrize("spelling", ["{} ", " {}", "{}\n", "{}\u00a0"])
def test_a_number_with_blanks_is_another_number(house: House, spelling: str):
    """MySQL takes trailing blanks for nothing."""
    number = house.order()
    for headers in (MINI_PROGRAM, OTHER):
        reply = house.function.call("wxpay_close_order", {"out_trade_no": spelling.format(number)}, headers)
        assert reply.status in (400, 404)
    assert house.state(number) == "PENDING"
