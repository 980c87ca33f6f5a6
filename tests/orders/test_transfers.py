"""Transfers: never paid twice, whatever is not known, and to whom they were meant."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox import Sandbox
from sandbox.crypto import decrypt_field
from services.orders.schema import events, incidents, transfers
from services.orders.store import Store
from tests.orders.house import OPERATOR, House, fresh
from tests.orders.test_callbacks import changed, rows, told
from tests.support import MINI_PROGRAM, OPENID

NAME, OTHER_NAME = "张三", "李四"


def asked(house: House) -> list:
    return [r for r in house.box.requests if r.method == "POST" and r.target.endswith("/transfer-bills")]


def stored(house: House, number: str) -> dict:
    (row,) = rows(house, transfers, out_bill_no=number)
    return row


def test_the_transfer_is_in_the_database_while_wechat_pay_is_asked(house: House):
    number = fresh("BILL")
    house.box.fault("latency", seconds=1.0, path="transfer-bills")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(house.transfer, number=number, user_name=NAME)
        while not (found := rows(house, transfers, out_bill_no=number)):
            assert not asking.done()
        seen = (found[0]["state"], found[0]["unknown"], asking.done())
        assert asking.result().status == 200
    assert seen == ("PENDING", True, False)
    row = stored(house, number)
    assert (row["state"], row["unknown"]) == ("WAIT_USER_CONFIRM", False)


def test_after_an_unknown_attempt_the_very_same_goes_out_again(house: House):
    number = fresh("BILL")
    house.box.fault("reset", processed=True, path="transfer-bills")
    assert house.transfer(number=number, user_name=NAME).status == 502
    house.box.clear_faults()
    assert (stored(house, number)["state"], stored(house, number)["unknown"]) == ("PENDING", True)
    for other in ({"user_name": OTHER_NAME}, {}, {"user_name": NAME, "transfer_remark": "other"}):
        assert house.transfer(number=number, **other).status == 409
    reply = house.transfer(number=number, user_name=NAME)
    assert reply.status == 200
    first, *others = [request.json for request in asked(house)]
    assert others
    assert all(other == first for other in others)
    assert len({request.headers["wechatpay-serial"] for request in asked(house)}) == 1
    assert stored(house, number)["package_info"] == reply.body["data"]["data"]["package_info"]
    assert len(house.box.ledger.transfers) == 1


def test_a_first_attempt_that_was_refused_leaves_the_number_for_another_name(house: House):
    house.box.merchant.know(OPENID, real_name=NAME)
    number = fresh("BILL")
    assert house.transfer(number=number, user_name=OTHER_NAME).status == 400
    assert stored(house, number)["state"] == "REFUSED"
    assert house.transfer(number=number, user_name=NAME).status == 200
    names = [decrypt_field(house.box.credentials.public_key, request.json["user_name"]) for request in asked(house)]
    assert names == [OTHER_NAME, NAME]
    assert stored(house, number)["state"] == "WAIT_USER_CONFIRM"


def test_a_refusal_after_an_unknown_attempt_frees_nothing(house: House):
    number = fresh("BILL")
    house.box.fault("reset", processed=True)
    assert house.transfer(number=number).status == 502
    house.box.clear_faults()
    house.box.fault("error", code="NO_AUTH", status=403, times=1)
    assert house.transfer(number=number).status == 403
    assert stored(house, number)["state"] == "PENDING"
    assert house.transfer(200, number=number).status == 409
    assert house.transfer(number=number).status == 200


def test_a_429_frees_nothing(house: House):
    """The transfer may be on its way all the same."""
    number = fresh("BILL")
    house.box.fault("error", code="FREQUENCY_LIMIT_EXCEED", status=429, processed=True)
    assert house.transfer(number=number).status == 429
    house.box.clear_faults()
    assert (stored(house, number)["state"], stored(house, number)["unknown"]) == ("PENDING", True)
    assert house.transfer(200, number=number).status == 409


def test_too_little_money_and_the_same_again_after_a_top_up(house: House):
    house.box.merchant.change(funds={"OPERATION": 0})
    number = fresh("BILL")
    assert house.transfer(number=number, user_name=NAME).status == 403
    house.box.merchant.change(funds={"OPERATION": 1000})
    assert house.transfer(number=number, user_name=NAME).status == 200
    assert stored(house, number)["state"] == "WAIT_USER_CONFIRM"


def test_two_at_once_are_one_transfer_with_one_ciphertext(house: House):
    number = fresh("BILL")
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: house.transfer(number=number, user_name=NAME), range(6)))
    assert [reply.status for reply in replies] == [200] * 6
    assert len({request.json["user_name"] for request in asked(house)}) == 1
    assert (len(house.box.ledger.transfers), stored(house, number)["attempts"]) == (1, 6)


def test_numbers_differ_by_case(house: House):
    upper = fresh("BILLABC")
    for number, cents in ((upper, 100), (upper.lower(), 200)):
        assert house.transfer(cents, number=number).status == 200
    house.box.finish_transfer(upper.lower())
    assert (stored(house, upper)["state"], stored(house, upper.lower())["state"]) == ("WAIT_USER_CONFIRM", "SUCCESS")
    assert [event["number"] for event in rows(house, events)] == [upper.lower()]


@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING"])
def test_a_transfer_that_begins_slowly_is_followed_by_queries(house: House, start: str):
    house.box.merchant.change(transfer_start=start)
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    assert (stored(house, number)["state"], stored(house, number)["package_info"]) == (start, None)
    house.box.finish_transfer(number, "WAIT_USER_CONFIRM")
    for _ in range(2):
        assert house.function.call("wxpay_transfer_bill_query", {"out_bill_no": number}, OPERATOR).status == 200
    assert stored(house, number)["state"] == "WAIT_USER_CONFIRM"
    # Only an answer to the request itself has it.
    package = house.transfer(number=number).body["data"]["data"]["package_info"]
    assert stored(house, number)["package_info"] == package


def test_a_cancelled_transfer_ends_by_what_wechat_pay_says(house: House):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    assert house.function.call("wxpay_transfer_cancel", {"out_bill_no": number}, OPERATOR).status == 200
    assert rows(house, events) == []
    house.box.finish_transfer(number, "TRANSFERING")  # the user was faster
    house.box.finish_transfer(number, "SUCCESS")
    assert stored(house, number)["state"] == "SUCCESS"
    (event,) = rows(house, events)
    assert json.loads(event["payload"])["fail_reason"] is None


MISFITS = {
    "another amount": ("transfer_amount", 101),
    "the amount as text": ("transfer_amount", "100"),
    "another bill": ("transfer_bill_no", "1330000000000000000000000000000000000001"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_transfer_that_does_not_fit_moves_nothing(house: House, what: str):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    house.box.finish_transfer(number, deliver=False)
    wrong = changed(house.box.plaintext("transfer", number), *MISFITS[what])
    for _ in range(2):
        assert told(house, "transfer", wrong).body["code"] == "SUCCESS"
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["times"]) == ("transfer_mismatch", 2)
    assert (stored(house, number)["state"], rows(house, events)) == ("WAIT_USER_CONFIRM", [])
    assert house.box.deliver("transfer", number)[0].acknowledged
    assert stored(house, number)["state"] == "SUCCESS"


def test_a_transfer_that_is_not_stored_is_an_incident_when_it_was_paid(house: House):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    house.box.finish_transfer(number, deliver=False)
    unknown = changed(house.box.plaintext("transfer", number), "out_bill_no", "NOSUCHBILL1")
    assert told(house, "transfer", changed(unknown, "state", "FAIL")).body["code"] == "SUCCESS"
    assert rows(house, incidents) == []
    for _ in range(2):
        assert told(house, "transfer", unknown).body["code"] == "SUCCESS"
    (incident,) = rows(house, incidents)
    assert (incident["kind"], incident["number"], incident["times"]) == ("unknown_transfer", "NOSUCHBILL1", 2)


def test_what_a_query_shows_is_kept_and_nobody_else_may_make_one(house: House):
    number = fresh("BILL")
    assert house.transfer(number=number).status == 200
    house.box.finish_transfer(number, "FAIL", fail_reason="NAME_NOT_CORRECT", deliver=False)
    assert house.function.call("wxpay_transfer_bill_query", {"out_bill_no": number}, MINI_PROGRAM).status == 403
    assert stored(house, number)["state"] == "WAIT_USER_CONFIRM"
    bill = house.box.ledger.transfers[number].transfer_bill_no
    assert house.function.call("wxpay_transfer_bill_query_by_no", {"transfer_bill_no": bill}, OPERATOR).status == 200
    assert (stored(house, number)["state"], stored(house, number)["fail_reason"]) == ("FAIL", "NAME_NOT_CORRECT")
    assert house.box.deliver("transfer", number)[0].acknowledged
    assert len(rows(house, events)) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_first_ciphertext_goes_with_the_serial_of_its_key(database_url: str, store: Store):
    """Between two attempts WeChat Pay's certificate changed."""
    with Sandbox(key_mode="certificate") as box:
        number = fresh("BILL")
        for rotated in (False, True):
            if rotated:
                box.rotate()
            with House.in_process(box, database_url, store) as house:  # a new instance each time, as after a release
                assert house.transfer(number=number, user_name=NAME).status == 200
        first, second = asked(house)
    assert first.json == second.json
    old = box.credentials.platform[0].serial
    assert [request.headers["wechatpay-serial"] for request in (first, second)] == [old, old]
    assert len(box.ledger.transfers) == 1
