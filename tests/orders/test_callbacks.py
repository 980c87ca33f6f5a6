"""Callbacks, refunds, transfers: cross-checked, one transaction each; late and repeated ones change nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from sandbox import Sandbox
from sandbox.crypto import decrypt_field
from services.orders.columns import now
from services.orders.facts import PaymentFact, decide_payment
from services.orders.schema import events, incidents, notifications, orders
from services.orders.store import Store
from tests.orders.house import OPERATOR, OTHER_OPENID, House, fresh
from tests.support import OPENID


def rows(house: House, table, **where) -> list[dict]:
    query = select(table).where(*(table.c[name] == value for name, value in where.items()))
    with house.store.database.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def told(house: House, kind: str, plaintext: dict, **parts):
    """A genuine notification that says just this."""
    headers, body = house.box.forwarded(kind, plaintext, **parts)
    return house.function.post("/", body, headers)


def changed(plaintext: dict, path: str, value) -> dict:
    copy = json.loads(json.dumps(plaintext))
    *parents, last = path.split(".")
    place = copy
    for parent in parents:
        place = place[parent]
    place[last] = value
    return copy


MISFITS = {
    "the amount": ("amount.total", 99),
    "the amount as text": ("amount.total", "100"),
    "the currency": ("amount.currency", "USD"),
    "the payer": ("payer.openid", OTHER_OPENID),
    "no amount": ("amount", {}),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_payment_that_does_not_fit_moves_nothing_and_is_an_incident(house: House, what: str):
    number = house.order()
    house.box.pay(number, deliver=False)
    wrong = changed(house.box.plaintext("order", number), *MISFITS[what])
    for _ in range(2):
        assert told(house, "order", wrong).body["code"] == "SUCCESS"
    assert house.state(number) == "PENDING"
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["number"], incident["times"]) == ("payment_mismatch", number, 2)
    assert rows(house, events) == []
    assert house.box.deliver("order", number)[0].acknowledged
    assert house.state(number) == "PAID"


@pytest.mark.parametrize(("path", "value"), [("mchid", "1900000001"), ("appid", "wx0000000000000000")])
def test_a_payment_of_somebody_elses_is_refused(house: House, path: str, value: str):
    number = house.order()
    house.box.pay(number, deliver=False)
    reply = told(house, "order", changed(house.box.plaintext("order", number), path, value))
    assert (reply.status, reply.body["code"]) == (400, "FAIL")
    assert house.state(number) == "PENDING"


def test_a_payment_from_before_the_order_is_an_incident(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    old = changed(house.box.plaintext("order", number), "success_time", "2026-01-01T08:00:00+08:00")
    assert told(house, "order", old).body["code"] == "SUCCESS"
    assert (house.state(number), [one["kind"] for one in rows(house, incidents)]) == ("PENDING", ["payment_mismatch"])


def test_a_bank_with_a_long_name_loses_no_payment(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    long = changed(house.box.plaintext("order", number), "bank_type", "B" * 400)
    assert told(house, "order", long).body["code"] == "SUCCESS"
    assert house.state(number) == "PAID"


def test_a_payment_by_the_merchants_other_appid_does_not_fit(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    wrong = changed(house.box.plaintext("order", number), "appid", house.box.credentials.service_app_id)
    assert told(house, "order", wrong).body["code"] == "SUCCESS"
    assert house.state(number) == "PENDING"
    (incident,) = rows(house, incidents)
    assert incident["kind"] == "payment_mismatch"
    assert "appid" in incident["message"]


def test_a_second_payment_of_a_paid_order_is_an_incident(house: House):
    number = house.paid()
    again = changed(house.box.plaintext("order", number), "transaction_id", "4200000000000000000000000001")
    assert told(house, "order", again).body["code"] == "SUCCESS"
    assert [incident["kind"] for incident in rows(house, incidents)] == ["payment_mismatch"]
    assert len(rows(house, events)) == 1


def test_money_for_an_unknown_order_is_kept(house: House):
    number = house.paid()
    unknown = changed(house.box.plaintext("order", number), "out_trade_no", "NOTOURS001")
    assert told(house, "order", unknown).body["code"] == "SUCCESS"
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["number"]) == ("payment_of_unknown_order", "NOTOURS001")
    (kept,) = rows(house, notifications, number="NOTOURS001")
    assert kept["outcome"] == "incident"
    assert json.loads(kept["plaintext"]) == unknown


def test_money_for_a_closed_order_counts_and_is_an_incident(house: House):
    number, twin = house.order(), house.paid()
    house.function.call("wxpay_close_order", {"out_trade_no": number})
    assert house.state(number) == "CLOSED"
    late = changed(house.box.plaintext("order", twin), "out_trade_no", number)
    late["transaction_id"] = "4200000000000000000000000002"
    assert told(house, "order", late).body["code"] == "SUCCESS"
    assert house.state(number) == "PAID"
    assert [incident["kind"] for incident in rows(house, incidents)] == ["paid_after_close"]
    assert sorted(event["type"] for event in rows(house, events, number=number)) == ["order.closed", "order.paid"]


def test_a_forward_that_is_repeated_under_other_event_types_is_one_row_and_runs_once_at_a_time(house: House):
    """Only the ciphertext is proved: id and event type beside it are its sender's words."""
    number = house.paid()
    (before,) = rows(house, notifications)
    _, body = house.box.forwarded("order", house.box.plaintext("order", number))
    forward = json.loads(body)
    for count in range(20):
        stated = dict(as_object(forward["rawData"]), event_type=f"STRANGER.{count}", id=f"EV-{count}")
        assert house.function.post("/", forward | {"rawData": stated}).body["code"] == "SUCCESS"
    (after,) = rows(house, notifications)
    assert (after["event_type"], after["deliveries"]) == (before["event_type"], before["deliveries"] + 20)
    assert house.state(number) == "PAID"


def test_a_true_payment_that_a_stranger_forwards_under_another_type_first_still_counts(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    plaintext = house.box.plaintext("order", number)
    _, body = house.box.forwarded("order", plaintext)
    forward = json.loads(body)
    stated = dict(as_object(forward["rawData"]), event_type="STRANGER.1")
    assert house.function.post("/", forward | {"rawData": stated}).body["code"] == "SUCCESS"
    assert house.state(number) == "PENDING"
    assert told(house, "order", plaintext).body["code"] == "SUCCESS"
    assert house.state(number) == "PAID"
    (kept,) = rows(house, notifications)
    assert kept["outcome"] == "applied"


def as_object(value):
    return json.loads(value) if isinstance(value, str) else value


def test_an_order_that_was_first_written_under_a_fast_clock_takes_its_payment(house: House):
    """The first try is refused for its time, the repetition is accepted: paid before it was written, as it seems."""
    house.box.fault("error", processed=False)
    number = fresh("ORDER")
    body = {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": 100}}
    assert house.function.call("wxpay_order", body).status == 502
    ahead = now() + timedelta(minutes=10)
    with house.store.database.engine.begin() as connection:
        connection.execute(update(orders).where(orders.c.out_trade_no == number).values(created_at=ahead))
    house.box.clear_faults()
    house.order(number)
    assert all(delivery.acknowledged for delivery in house.box.pay(number))
    assert house.state(number) == "PAID"
    assert rows(house, incidents) == []


def test_an_order_that_is_refunded_in_full_when_its_payment_becomes_known_is_not_to_be_delivered(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    payment = house.box.plaintext("order", number)
    refund = {
        "mchid": payment["mchid"], "out_trade_no": number, "transaction_id": payment["transaction_id"],
        "out_refund_no": fresh("PLATFORM"), "refund_id": "50300806962026112600000000001",
        "refund_status": "SUCCESS", "success_time": payment["success_time"], "user_received_account": "零钱",
        "amount": {"total": 100, "refund": 100, "payer_total": 100, "payer_refund": 100},
    }
    assert told(house, "refund", refund).body["code"] == "SUCCESS"
    assert told(house, "order", payment).body["code"] == "SUCCESS"
    assert house.state(number) == "REFUND"
    assert [event["type"] for event in rows(house, events, number=number)] == []
    assert [incident["kind"] for incident in rows(house, incidents)] == ["refunded_before_known"]


def test_the_inbox_counts_deliveries_and_keeps_other_types(house: House):
    number = house.order()
    house.box.pay(number, twice=True)
    house.box.deliver("order", number)
    (kept,) = rows(house, notifications, number=number)
    assert (kept["outcome"], kept["deliveries"], kept["kind"]) == ("applied", 3, "payment")
    other = {"mchid": house.box.credentials.merchant_id, "some": "thing"}
    assert told(house, "order", other, event_type="PROFITSHARING.SUCCESS").body["code"] == "SUCCESS"
    (kept,) = rows(house, notifications, kind="other")
    assert (kept["event_type"], kept["outcome"]) == ("PROFITSHARING.SUCCESS", "kept")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_with_direct_callbacks_the_inbox_knows_wechat_pays_id(database_url: str, store: Store):
    with Sandbox(sign_mode="sdk") as box, House.in_process(box, database_url, store) as house:
        number = house.paid()
        (kept,) = rows(house, notifications, number=number)
        assert kept["key"] == f"id:{kept['notification_id']}"
        assert kept["evidence"] == "signature"


def test_a_callback_may_come_before_the_answer_to_the_order(house: House):
    """The user pays, and WeChat Pay tells, while the function still waits for its answer."""
    number = fresh("ORDER")
    house.box.fault("slow_body", path="/pay/transactions/jsapi", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(house.order, number)
        while number not in house.box.ledger.orders:
            assert not asking.done()
        house.box.clear_faults()
        assert all(delivery.acknowledged for delivery in house.box.pay(number))
        assert house.state(number) == "PAID"
        asking.result()
    row = house.store.order(number)
    assert row is not None
    assert (row["state"], row["unknown"], row["next_check_at"]) == ("PAID", False, None)


def test_a_payment_of_an_order_that_was_refused_counts(house: House):
    number = fresh("ORDER")
    house.box.fault("error", code="RULE_LIMIT", status=403, times=1, processed=True)
    body = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
    assert house.function.call("wxpay_order", body).status == 403
    assert house.state(number) == "REFUSED"
    assert all(delivery.acknowledged for delivery in house.box.pay(number))
    assert (house.state(number), rows(house, incidents)) == ("PAID", [])
    assert house.function.call("wxpay_order", body).status == 409


def test_one_payment_from_many_sides_at_once_is_one(house: House):
    """Deliveries, the user's queries and an operator's, all in one moment."""
    number = house.order()
    house.box.pay(number, deliver=False)
    query = {"out_trade_no": number}
    sides = [
        lambda: house.box.deliver("order", number)[0].acknowledged or True,
        lambda: house.function.call("wxpay_query_order_by_out_trade_no", query).status == 200,
        lambda: house.function.call("wxpay_query_order_by_out_trade_no", query, OPERATOR).status == 200,
        lambda: house.function.call("wxpay_reconcile", {}, OPERATOR).status == 200,
    ]
    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(lambda side: side(), sides * 3))
    assert house.state(number) == "PAID"
    (event,) = rows(house, events)
    assert (event["type"], rows(house, incidents)) == ("order.paid", [])


def test_a_decision_about_a_row_as_it_was_does_not_undo_what_it_has_become(house: House):
    number = house.order()
    before = house.store.order(number)
    assert before is not None
    closed = PaymentFact.read({"out_trade_no": number, "trade_state": "CLOSED"})
    decision = decide_payment(before, closed, None)
    assert decision.values["state"] == "CLOSED"
    house.box.pay(number)
    outcome = house.store.database.run(lambda tx: house.store.settle(tx, "payment", before, decision))
    assert (outcome, house.state(number)) == ("repeated", "PAID")
    assert [event["type"] for event in rows(house, events)] == ["order.paid"]


def test_what_is_stored_is_what_wechat_pay_said(house: House):
    number = house.order(attach="批次 7")
    house.box.pay(number)
    said, row = house.box.plaintext("order", number), house.store.order(number)
    assert row is not None
    for name in ("transaction_id", "trade_type", "bank_type"):
        assert row[name] == said[name]
    assert (row["payer"], row["payer_total"]) == (said["payer"]["openid"], said["amount"]["payer_total"])
    assert row["paid_at"] == datetime.fromisoformat(said["success_time"])
    (event,) = rows(house, events)
    told_on = json.loads(event["payload"])
    assert (told_on["attach"], told_on["description"]) == ("批次 7", "茶 Tea")
    assert datetime.fromisoformat(told_on["paid_at"].replace("Z", "+00:00")) == row["paid_at"]
    (kept,) = rows(house, notifications)
    assert json.loads(kept["plaintext"]) == said


@pytest.mark.parametrize("envelope", ["rawData", "rawData-string", "ParsedNotify", None])
def test_in_every_envelope_it_is_the_same(house: House, envelope: str | None):
    """Without the encrypted resource WeChat Pay is asked, and its answer is what counts."""
    number = house.order()
    assert all(delivery.acknowledged for delivery in house.box.pay(number, envelope=envelope))
    assert house.state(number) == "PAID"
    (kept,) = rows(house, notifications)
    assert (kept["evidence"], kept["outcome"]) == ("query" if envelope is None else "resource", "applied")
    assert kept["key"].startswith("sha256:")  # a stranger could choose the id beside it


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", MISFITS)
def test_with_direct_callbacks_a_misfit_is_one_incident_too(database_url: str, store: Store, what: str):
    with Sandbox(sign_mode="sdk") as box, House.in_process(box, database_url, store) as house:
        number = house.order()
        box.pay(number, deliver=False)
        wrong = changed(box.plaintext("order", number), *MISFITS[what])
        for _ in range(2):
            headers, body = box.notification("order", wrong)
            reply = house.function.post("/wx-pay/unifiedOrderTrigger", body, headers)
            assert reply.body["code"] == "SUCCESS"
        (incident,) = rows(house, incidents)
        assert (incident["kind"], incident["times"], house.state(number)) == ("payment_mismatch", 2, "PENDING")
        assert len(rows(house, notifications)) == 2  # two notifications, by their ids


def test_while_somebody_holds_the_order_nothing_is_sent_or_acknowledged(house: House):
    number, other = house.order(), fresh("ORDER")
    house.box.pay(number, deliver=False)
    asked = len(house.box.requests)
    query = house.store.database.locked(select(orders).where(orders.c.out_trade_no == number))
    with house.store.database.engine.begin() as connection:
        connection.execute(query)
        (delivery,) = house.box.deliver("order", number)
        body = {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": 100}}
        again = house.function.call("wxpay_order", body)
    assert not delivery.acknowledged
    assert (again.status, len(house.box.requests)) == (503, asked)
    assert house.order(other) == other
    assert house.box.deliver("order", number)[0].acknowledged
    assert (house.state(number), len(rows(house, events))) == ("PAID", 1)


# Refunds

def refunded(house: House, order: str, cents: int, **more) -> str:
    reply = house.refund(order, cents, **more)
    assert reply.status == 200, reply.text
    return reply.body["data"]["data"]["out_refund_no"]


def test_partial_refunds_add_up_and_the_order_is_refunded_only_when_all_went_back(house: House):
    number = house.paid()
    first, second, third = (refunded(house, number, cents) for cents in (30, 30, 40))
    assert house.refund(number, 1).status == 409
    for refund, state in ((second, "PARTIALLY_REFUNDED"), (first, "PARTIALLY_REFUNDED"), (third, "REFUND")):
        house.box.settle_refund(refund)
        house.box.deliver("refund", refund)
        assert house.state(number) == state
    row = house.store.order(number)
    assert row is not None
    assert row["refunded"] == 100
    assert len(rows(house, events, type="refund.succeeded")) == 3


def test_what_is_under_way_is_reserved_and_what_failed_is_free_again(house: House):
    number = house.paid()
    under_way = refunded(house, number, 70)
    assert house.refund(number, 40).status == 409
    house.box.settle_refund(under_way, "CLOSED")
    assert [incident["kind"] for incident in rows(house, incidents)] == ["refund_closed"]
    refunded(house, number, 40)
    house.box.fault("error", code="NOT_ENOUGH", status=403, times=1)
    refused = fresh("REFUND")
    assert house.refund(number, 60, number=refused).status == 403
    row = house.store.refund(refused)
    assert row is not None
    assert row["state"] == "REFUSED"
    refunded(house, number, 60, number=refused)


def test_refunds_at_once_do_not_exceed_the_order(house: House):
    number = house.paid()
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: house.refund(number, 30), range(6)))
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 409, 409, 409]


def test_a_refund_of_an_unknown_outcome_stays_reserved(house: House):
    number, refund = house.paid(), fresh("REFUND")
    house.box.fault("reset", processed=True)
    assert house.refund(number, 70, number=refund).status == 502
    house.box.clear_faults()
    row = house.store.refund(refund)
    assert row is not None
    assert (row["state"], row["unknown"]) == ("PENDING", True)
    assert house.refund(number, 40).status == 409
    assert house.refund(number, 71, number=refund).status == 409
    assert refunded(house, number, 70, number=refund) == refund
    assert len(house.box.ledger.refunds) == 1


@pytest.mark.parametrize(("total", "refund", "status"), [(100, 100, 200), (99, 10, 409), (101, 10, 409)])
def test_the_total_of_a_refund_is_that_of_the_order(house: House, total: int, refund: int, status: int):
    assert house.refund(house.paid(), refund, total).status == status


def test_an_unpaid_order_is_not_refunded(house: House):
    reply = house.refund(house.order(), 10)
    assert reply.status == 409
    assert house.box.ledger.refunds == {}


def test_by_transaction_id_the_same_sum_counts(house: House):
    number = house.paid()
    transaction = house.box.ledger.orders[number].transaction_id
    body = {"transaction_id": transaction, "out_refund_no": fresh("REFUND"), "amount": {"refund": 60, "total": 100}}
    assert house.function.call("wxpay_refund", body, OPERATOR).status == 200
    assert house.refund(number, 41).status == 409


def test_a_refund_that_is_told_before_the_payment_counts_when_that_comes(house: House):
    number = house.order()
    house.box.pay(number, deliver=False)
    amount = {"refund": 40, "total": 100, "currency": "CNY"}
    house.box.ledger.refund({"out_trade_no": number, "out_refund_no": "ELSEWHERE1", "amount": amount})
    house.box.settle_refund("ELSEWHERE1", deliver=False)
    assert told(house, "refund", house.box.plaintext("refund", "ELSEWHERE1")).body["code"] == "SUCCESS"
    assert house.state(number) == "PENDING"
    assert house.box.deliver("order", number)[0].acknowledged
    assert house.state(number) == "PARTIALLY_REFUNDED"


def test_late_news_of_a_refund_changes_nothing(house: House):
    number = house.paid()
    refund = refunded(house, number, 100)
    house.box.settle_refund(refund, "ABNORMAL", deliver=False)
    abnormal = house.box.plaintext("refund", refund)
    house.box.settle_refund(refund, "SUCCESS")
    assert house.state(number) == "REFUND"
    for _ in range(2):
        assert told(house, "refund", abnormal).body["code"] == "SUCCESS"
    row = house.store.refund(refund)
    assert row is not None
    assert (row["state"], house.state(number)) == ("SUCCESS", "REFUND")
    assert told(house, "order", house.box.plaintext("order", number)).body["code"] == "SUCCESS"
    assert house.state(number) == "REFUND"


def test_a_refund_of_another_amount_is_an_incident(house: House):
    number = house.paid()
    refund = refunded(house, number, 50)
    house.box.settle_refund(refund, deliver=False)
    wrong = changed(house.box.plaintext("refund", refund), "amount.refund", 51)
    assert told(house, "refund", wrong).body["code"] == "SUCCESS"
    assert house.state(number) == "PAID"
    assert [incident["kind"] for incident in rows(house, incidents)] == ["refund_mismatch"]


# Transfers

def test_a_transfer_sends_its_first_ciphertext_again_and_keeps_package_info(house: House):
    number = fresh("BILL")
    replies = [house.transfer(100, number=number, user_name="张三") for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    bodies = [request.json for request in house.box.requests if request.target.endswith("/transfer-bills")]
    assert bodies[0]["user_name"] == bodies[1]["user_name"] != "张三"
    assert decrypt_field(house.box.credentials.public_key, bodies[0]["user_name"]) == "张三"
    row = house.store.transfer(number)
    assert row is not None
    assert row["package_info"] == replies[0].body["data"]["data"]["package_info"]
    assert "张三" not in json.dumps({name: str(value) for name, value in row.items()}, ensure_ascii=False)
    assert house.transfer(100, number=number, user_name="李四").status == 409
    assert house.transfer(100, number=number).status == 409
    assert house.transfer(101, number=number, user_name="张三").status == 409
    assert len(house.box.ledger.transfers) == 1


@pytest.mark.parametrize("end", ["SUCCESS", "FAIL", "CANCELLED"])
def test_a_transfer_ends_once(house: House, end: str):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    house.box.finish_transfer(number, end)
    house.box.deliver("transfer", number)
    row = house.store.transfer(number)
    assert row is not None
    assert (row["state"], bool(row["fail_reason"])) == (end, end == "FAIL")
    (event,) = rows(house, events)
    assert (event["type"], json.loads(event["payload"])["state"]) == ("transfer.finished", end)
    assert house.transfer(number=number).status == 409
    contrary = "FAIL" if end == "SUCCESS" else "SUCCESS"
    other = changed(house.box.plaintext("transfer", number), "state", contrary)
    assert told(house, "transfer", other).body["code"] == "SUCCESS"
    assert [incident["kind"] for incident in rows(house, incidents)] == ["transfer_contradiction"]
    again = house.store.transfer(number)
    assert again is not None
    assert again["state"] == end


def test_a_transfer_that_exists_elsewhere_is_not_taken_for_this_one(house: House):
    number = fresh("BILL")
    house.box.fault("error", code="ALREADY_EXISTS", status=400, times=1)
    assert house.transfer(number=number).status == 400
    assert house.store.transfer(number) is None
    assert [incident["kind"] for incident in rows(house, incidents)] == ["number_used_elsewhere"]


def test_a_transfer_to_somebody_else_is_an_incident(house: House):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    house.box.finish_transfer(number, deliver=False)
    wrong = changed(house.box.plaintext("transfer", number), "openid", OTHER_OPENID)
    assert wrong["openid"] != OPENID
    assert told(house, "transfer", wrong).body["code"] == "SUCCESS"
    assert [incident["kind"] for incident in rows(house, incidents)] == ["transfer_mismatch"]
    row = house.store.transfer(number)
    assert row is not None
    assert row["state"] == "WAIT_USER_CONFIRM"
