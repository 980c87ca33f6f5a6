"""Orders: written before WeChat Pay is asked, the same when repeated, somebody's own; on each database."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from routes import admission
from sandbox import Sandbox
from services.orders.store import Store
from services.orders.waiting import PLACES
from tests.orders.house import OPERATOR, OTHER, House, fresh
from tests.support import MINI_PROGRAM

TEA = {"description": "tea", "amount": {"total": 100}}


def order(house: House, number: str, headers=MINI_PROGRAM, action: str = "wxpay_order", **more):
    return house.function.call(action, {**TEA, "out_trade_no": number, **more}, headers)


def sent(house: House, number: str) -> list[dict]:
    """What WeChat Pay was asked for this order."""
    return [request.json for request in house.box.requests if request.body and number in request.body.decode()]


def test_the_order_is_in_the_database_while_wechat_pay_is_asked(house: House):
    house.box.fault("latency", seconds=1.0)
    number = fresh("ORDER")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(order, house, number)
        seen = []
        give_up = time.monotonic() + 5
        while not seen and time.monotonic() < give_up:
            row = house.store.order(number)
            seen = [(row["state"], row["unknown"], asking.done())] if row else []
        assert asking.result().status == 200
    assert seen == [("PENDING", True, False)]
    row = house.store.order(number)
    assert row is not None
    assert (row["state"], row["unknown"]) == ("PENDING", False)


def test_a_repeated_order_is_the_same_order_and_another_is_refused(house: House):
    number = house.order()
    assert house.order(number) == number
    assert len(sent(house, number)) == 2
    for change in ({"description": "coffee"}, {"amount": {"total": 99}}, {"attach": "x"}):
        reply = order(house, number, description="茶 Tea", **change) if "description" not in change else order(
            house, number, **change
        )
        assert reply.status == 409, reply.text
        assert number in reply.body["msg"]
    assert len(sent(house, number)) == 2


def test_whoever_asks_again_gets_time_to_pay_again(house: House):
    number = house.order()
    first = house.store.order(number)
    house.order(number)
    second = house.store.order(number)
    assert first is not None
    assert second is not None
    assert second["expires_at"] > first["expires_at"]
    fixed = house.order(time_expire="2099-01-01T00:00:00+08:00")
    house.order(fixed, time_expire="2099-01-01T00:00:00+08:00")
    row = house.store.order(fixed)
    assert row is not None
    assert row["expires_at"].year == 2098  # in UTC


def test_the_address_of_a_phone_may_change_between_two_tries(house: House):
    number = fresh("ORDER")
    for address in ("14.23.150.211", "14.23.150.212"):
        scene = {"payer_client_ip": address, "h5_info": {"type": "Wap"}}
        assert order(house, number, action="wxpay_order_h5", scene_info=scene).status == 200
    first, second = sent(house, number)
    assert first == second


def test_a_number_of_somebody_else_is_taken(house: House):
    number = house.order()
    reply = order(house, number, OTHER, description="茶 Tea")
    assert (reply.status, reply.body["data"]) == (409, None)
    assert len(sent(house, number)) == 1


@pytest.mark.parametrize("end", ["PAID", "CLOSED"])
def test_an_order_that_is_over_is_not_sent_again(house: House, end: str):
    number = house.order()
    if end == "PAID":
        house.box.pay(number)
    else:
        assert house.function.call("wxpay_close_order", {"out_trade_no": number}).status == 200
    asked = len(house.box.requests)
    reply = order(house, number, description="茶 Tea")
    assert reply.status == 409
    assert end in reply.body["msg"]
    assert len(house.box.requests) == asked


def test_a_first_attempt_that_was_refused_leaves_the_number_free(house: House):
    number = fresh("ORDER")
    house.box.fault("error", code="RULE_LIMIT", status=403, times=1)
    assert order(house, number).status == 403
    assert house.state(number) == "REFUSED"
    assert order(house, number, description="corrected").status == 200
    assert house.state(number) == "PENDING"


def test_after_an_unknown_attempt_a_refusal_frees_nothing(house: House):
    number = fresh("ORDER")
    house.box.fault("reset", processed=True)
    assert order(house, number).status == 502
    house.box.clear_faults()
    house.box.fault("error", code="RULE_LIMIT", status=403, times=1)
    assert order(house, number).status == 403
    assert house.state(number) == "PENDING"
    assert order(house, number, description="another").status == 409


def test_nobody_takes_over_an_order_that_was_placed_elsewhere(house: House):
    """A number that WeChat Pay has, and we had not: whoever orders it here gets neither its data nor its goods."""
    number, credentials = fresh("ELSEWHERE"), house.box.credentials
    body = {"appid": credentials.app_id, "mchid": credentials.merchant_id, "description": "theirs"}
    body |= {"out_trade_no": number, "amount": {"total": 100, "currency": "CNY"}, "notify_url": "https://x.example/y"}
    house.box.ledger.place("native", body)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(order, house, number, OTHER, "wxpay_order_native") for _ in range(3)]
        assert {reply.result().status for reply in asked} == {403}
    assert house.state(number) == ""
    house.box.pay(number)
    for action in ("wxpay_query_order_by_out_trade_no", "wxpay_close_order"):
        assert house.function.call(action, {"out_trade_no": number}, OTHER).status == 404
    assert house.state(number) == ""
    assert house.box.ledger.orders[number].state == "SUCCESS"


def test_while_it_is_unknown_whether_an_order_was_taken_it_is_not_closed(house: House):
    number = fresh("ORDER")
    house.box.fault("reset", processed=True)
    assert order(house, number).status == 502
    house.box.clear_faults()
    assert house.function.call("wxpay_close_order", {"out_trade_no": number}).status == 409
    assert order(house, number).status == 200
    assert house.function.call("wxpay_close_order", {"out_trade_no": number}).status == 200


def test_two_refusals_at_once_leave_the_number_free(house: House):
    number = fresh("ORDER")
    house.box.fault("error", code="RULE_LIMIT", status=403)
    with ThreadPoolExecutor(2) as pool:
        assert {reply.status for reply in pool.map(lambda _: order(house, number), range(2))} == {403}
    house.box.clear_faults()
    assert house.state(number) == "REFUSED"
    assert order(house, number, description="corrected").status == 200


def test_two_at_once_are_one_order(house: House):
    number = fresh("ORDER")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: order(house, number), range(8)))
    assert [reply.status for reply in replies] == [200] * 8
    row = house.store.order(number)
    assert row is not None
    assert (row["attempts"], row["state"]) == (8, "PENDING")


def test_numbers_differ_by_case(house: House):
    upper, lower = fresh("ORDERABC"), ""
    lower = upper.lower()
    for number in (upper, lower):
        assert order(house, number).status == 200
    house.box.pay(lower)
    assert (house.state(upper), house.state(lower)) == ("PENDING", "PAID")


# Prices

PRICES = '''
from services.order_service import Refused
def price(params, caller):
    if params["description"] == "broken":
        raise RuntimeError("no price today")
    if params["description"] == "text":
        return "100"
    if params["description"] != "tea":
        raise Refused("there is no such article", 404)
    return 100
'''


@pytest.fixture
def priced(
    box: Sandbox, database_url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    name = f"prices_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(PRICES)
    monkeypatch.syspath_prepend(str(tmp_path))
    with House.in_process(box, database_url, store, priceList=f"{name}:price") as running:
        yield running
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("description", "total", "status"),
    [("tea", 100, 200), ("tea", 99, 409), ("coffee", 100, 404), ("broken", 100, 503), ("text", 100, 503)],
)
def test_the_price_is_the_merchants(priced: House, description: str, total: int, status: int):
    number = fresh("ORDER")
    reply = order(priced, number, description=description, amount={"total": total})
    assert reply.status == status, reply.text
    assert len(sent(priced, number)) == (status == 200)
    assert priced.state(number) == ("PENDING" if status == 200 else "")


# Ownership

NOBODY = {"X-Wx-Source": "wx_client"}


@pytest.mark.parametrize("headers", [OTHER, NOBODY], ids=["another user", "nobody"])
def test_somebody_elses_order_is_as_if_it_did_not_exist(house: House, headers: dict):
    number, refund = house.paid(), fresh("REFUND")
    unpaid = house.order()
    assert house.refund(number, 10, number=refund).status == 200
    row = house.store.order(number)
    assert row is not None
    asked = len(house.box.requests)
    for action, name, value, missing in (
        ("wxpay_query_order_by_out_trade_no", "out_trade_no", number, "MISSING001"),
        ("wxpay_query_order_by_transaction_id", "transaction_id", row["transaction_id"], "42" + "0" * 26),
        ("wxpay_close_order", "out_trade_no", unpaid, "MISSING001"),
        ("wxpay_order_wait", "out_trade_no", number, "MISSING001"),
        ("wxpay_refund_query", "out_refund_no", refund, "MISSING001"),
    ):
        theirs = house.function.call(action, {name: value}, headers)
        nothing = house.function.call(action, {name: missing}, MINI_PROGRAM)
        assert (theirs.status, theirs.text) == (nothing.status, nothing.text)
        assert theirs.status == 404
        mine = house.function.call(action, {name: value}, MINI_PROGRAM)
        assert mine.status == 200, mine.text
        by_operator = house.function.call(action, {name: value}, OPERATOR)
        assert by_operator.status == 200, by_operator.text
    assert len(house.box.requests) == asked + 8  # wait asks nobody
    assert house.state(unpaid) == "CLOSED"


def test_an_order_without_an_owner_is_open_to_whoever_knows_its_number(house: House):
    number = fresh("ORDER")
    assert order(house, number, NOBODY, action="wxpay_order_native").status == 200
    for headers in (MINI_PROGRAM, OTHER, NOBODY):
        reply = house.function.call("wxpay_query_order_by_out_trade_no", {"out_trade_no": number}, headers)
        assert reply.status == 200


def test_the_owner_is_who_calls_and_not_whom_the_body_names(house: House):
    number = fresh("ORDER")
    other = OTHER["X-Wx-Openid"]
    assert order(house, number, action="wxpay_order_native", payer={"openid": other}).status == 200
    row = house.store.order(number)
    assert row is not None
    assert row["owner"] == MINI_PROGRAM["X-Wx-Openid"]


# Waiting

def test_waiting_ends_when_the_order_is_paid(house: House):
    number = house.order()
    paying = threading.Timer(0.5, house.box.pay, (number,))
    paying.start()
    reply = house.function.call("wxpay_order_wait", {"out_trade_no": number, "seconds": 15})
    paying.join()
    assert reply.status == 200
    data = reply.body["data"]["data"]
    assert (data["out_trade_no"], data["state"], data["amount"]["total"]) == (number, "PAID", 100)
    assert set(data) == {"out_trade_no", "state", "amount", "refunded", "transaction_id", "paid_at"}
    assert reply.seconds < 14


def test_waiting_ends_after_its_seconds(house: House):
    number = house.order()
    reply = house.function.call("wxpay_order_wait", {"out_trade_no": number, "seconds": 1})
    assert reply.body["data"]["data"]["state"] == "PENDING"
    assert reply.seconds >= 1


@pytest.mark.parametrize("seconds", [0, 19, "5", 1.5])
def test_waiting_is_bounded(house: House, seconds):
    reply = house.function.call("wxpay_order_wait", {"out_trade_no": "ORDER001", "seconds": seconds})
    assert reply.status in (400, 404)
    reply = house.function.call("wxpay_order_wait", {"out_trade_no": house.order(), "seconds": seconds})
    assert reply.status == 400


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_quarter_of_the_threads_may_wait(house: House):
    number = house.order()
    waiting = {"out_trade_no": number, "seconds": 8}
    with ThreadPoolExecutor(16) as pool:
        places = [pool.submit(house.function.call, "wxpay_order_wait", waiting) for _ in range(16)]
        time.sleep(2)  # until all have their place: whoever asks before takes one away
        refused = house.function.call("wxpay_order_wait", {"out_trade_no": number, "seconds": 1})
        house.box.pay(number)
        assert [place.result().body["data"]["data"]["state"] for place in places] == ["PAID"] * 16
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert house.function.call("wxpay_order_wait", waiting).status == 200


def test_they_are_a_quarter_of_the_places_for_callers():
    assert admission.PLACES == 4 * PLACES


# Every way in

def test_a_desk_action_is_the_same_by_every_way_in(house: House):
    number = house.paid()
    body = {"out_trade_no": number, "seconds": 1}
    replies = [
        house.function.post("/wx-pay/wxpay_order_wait", body, MINI_PROGRAM),
        house.function.post("/", {"_action": "wxpay_order_wait", **body}, MINI_PROGRAM),
        house.function.post("/x", {"path": "/wx-pay/wxpay_order_wait", **body}, MINI_PROGRAM),
        house.function.post("/wxpay_order_wait", body, MINI_PROGRAM),
    ]
    assert len({json.dumps(reply.body) for reply in replies}) == 1
    assert replies[0].status == 200


@pytest.mark.parametrize("action", ["wxpay_reconcile", "wxpay_orders_init", "wxpay_trade_bill", "wxpay_fundflow_bill"])
def test_the_desk_is_the_operators(house: House, action: str):
    assert house.function.call(action, {"bill_date": "2026-11-01"}, MINI_PROGRAM).status == 403
    reply = house.function.call(action, {} if "bill" not in action else {"bill_date": "2026-11-01x"}, OPERATOR)
    assert reply.status == (400 if "bill" in action else 200)
