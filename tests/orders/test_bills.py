"""A day's bill against what is stored, on each database: a planted set of every difference, over HTTP."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Insert, Table, delete, insert, select, update

from services.orders import compare
from services.orders.schema import incidents, orders, refunds, transfers
from tests.orders.house import OPERATOR, House

BEIJING = timezone(timedelta(hours=8))


def business_day(house: House) -> str:
    return datetime.fromtimestamp(house.box.clock.now(), BEIJING).date().isoformat()


@pytest.fixture
def day(house: House) -> str:
    """Noon of a business day, so that no test crosses midnight; the store's clock is the machine's."""
    now = datetime.fromtimestamp(house.box.clock.now(), BEIJING)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    house.box.advance(((noon - now).total_seconds()) % 86400)
    return business_day(house)


def bill(house: House, action: str, day: str, **more):
    house.box.advance("1d")
    reply = house.function.call(action, {"bill_date": day, **more}, OPERATOR)
    assert reply.status == 200, reply.text
    return reply.body["data"]["data"]


def write(house: House, *statements) -> None:
    with house.store.database.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def row_of(table: Table, number: str, at: datetime, **values: Any) -> Insert:
    """A stored row that was made at that time; `values` are what matters of it."""
    common = {"params": "{}", "unknown": False, "attempts": 1, "checks": 0, "created_at": at, "updated_at": at}
    money = {"currency": "CNY", "total": 100}
    own = {
        orders: {**money, "mchid": "m", "appid": "a", "owner": "o", "refunded": 0, "expires_at": at, "state": "PAID"},
        refunds: {**money, "amount": 10, "state": "SUCCESS"},
        transfers: {"appid": "a", "openid": "o", "amount": 100, "state": "SUCCESS"},
    }[table]
    return insert(table).values({next(iter(table.primary_key)).name: number, **common, **own, **values})


def at(day: str, time: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=BEIJING)


def told(house: House) -> list[dict[str, Any]]:
    """All incidents of bills."""
    query = select(incidents).where(incidents.c.kind.like("bill_%")).order_by(incidents.c.id)
    with house.store.database.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def found(answer) -> set[tuple[str, str, str]]:
    return {(one["class"], one["kind"], one["number"]) for one in answer["differences"]}


def test_a_trade_bill_finds_every_planted_difference_and_no_other(house: House, day: str):
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=BEIJING)
    fine, lost, forgotten, other_amount, _fine_too = (house.paid() for _ in range(5))
    unpaid = house.order()
    for number, refund in ((fine, "RFINE"), (fine, "RFORGOTTEN"), (lost, "ROTHER")):
        assert house.refund(number, 10, number=refund).status == 200
        house.box.settle_refund(refund)
    assert house.refund(fine, 10, number="RBEHIND").status == 200
    house.box.settle_refund("RBEHIND", deliver=False)
    paid_here_only = house.order(total=77)
    write(
        house,
        update(orders).where(orders.c.out_trade_no == lost).values(state="PENDING"),
        delete(orders).where(orders.c.out_trade_no == forgotten),
        update(orders).where(orders.c.out_trade_no == other_amount).values(total=101),
        update(orders).where(orders.c.out_trade_no == paid_here_only).values(state="PAID", paid_at=noon),
        delete(refunds).where(refunds.c.out_refund_no == "RFORGOTTEN"),
        update(refunds).where(refunds.c.out_refund_no == "ROTHER").values(amount=11),
    )
    expected = {
        ("state_differs", "order", lost),
        ("missing_here", "order", forgotten),
        ("amount_differs", "order", other_amount),
        ("missing_there", "order", paid_here_only),
        ("missing_here", "refund", "RFORGOTTEN"),
        ("amount_differs", "refund", "ROTHER"),
        ("state_differs", "refund", "RBEHIND"),
    }
    for _ in range(2):
        answer = bill(house, "wxpay_trade_bill", day)
        assert found(answer) == expected
        assert answer["counts"]["matched"] == 3  # two orders and RFINE
        assert (answer["rows"], answer["totals"]) == (9, {"order": 500, "refund": 40})
        with house.store.database.reading() as connection:
            kept = connection.execute(incidents.select().order_by(incidents.c.id)).mappings().all()
        told = {(row["kind"], row["number"]) for row in kept}
        assert told == {(f"bill_{found}", number) for found, _, number in expected}
    assert {row["times"] for row in kept} == {2}
    assert house.state(unpaid) == "PENDING"
    reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
    assert reply.body["data"]["data"]["changed"] >= 1
    assert house.state(lost) == "PARTIALLY_REFUNDED"  # the bill made it due


def test_a_basic_fundflow_bill_is_compared_with_payments_and_refunds(house: House, day: str):
    number, forgotten = house.paid(), house.paid()
    assert house.refund(number, 10, number="R1").status == 200
    house.box.settle_refund("R1")
    write(house, delete(orders).where(orders.c.out_trade_no == forgotten))
    answer = bill(house, "wxpay_fundflow_bill", day)
    assert found(answer) == {("missing_here", "order", forgotten)}
    assert answer["counts"]["matched"] == 2


def test_an_operation_fundflow_bill_is_compared_with_transfers(house: House, day: str):
    house.box.merchant.change(funds={"OPERATION": 1_000_000})
    failing = ("CAMEBACK", "BACKBUTPAID", "BACKBUTOPEN")
    paid = ("PAIDOUT", "FORGOTTEN", "OTHERAMOUNT", "FAILEDHERE", "FAILSLATER", "REFUSEDHERE")
    for number in (*failing, *paid, "WAITING"):
        assert house.transfer(number=number).status == 200
        if number != "WAITING":
            house.box.finish_transfer(number, "FAIL" if number in failing else "SUCCESS")

    def stored(number: str, **values: Any):
        return update(transfers).where(transfers.c.out_bill_no == number).values(values)

    write(
        house,
        delete(transfers).where(transfers.c.out_bill_no == "FORGOTTEN"),
        stored("OTHERAMOUNT", amount=99),
        stored("BACKBUTPAID", state="SUCCESS"),
        stored("BACKBUTOPEN", state="WAIT_USER_CONFIRM", next_check_at=None),
        stored("FAILEDHERE", state="FAIL", finished_at=at(day, "13:00:00")),
        stored("FAILSLATER", state="CANCELLED", finished_at=at(day, "12:00:00") + timedelta(days=1)),
        stored("REFUSEDHERE", state="REFUSED", next_check_at=None),
        row_of(transfers, "NEVERTHERE", at(day, "15:00:00")),
    )
    answer = bill(house, "wxpay_fundflow_bill", day, account_type="OPERATION")
    assert found(answer) == {
        ("missing_here", "transfer", "FORGOTTEN"),
        ("amount_differs", "transfer", "OTHERAMOUNT"),
        ("state_differs", "transfer", "BACKBUTPAID"),
        ("state_differs", "transfer", "BACKBUTOPEN"),
        ("state_differs", "transfer", "FAILEDHERE"),
        ("state_differs", "transfer", "REFUSEDHERE"),
        ("missing_there", "transfer", "NEVERTHERE"),
    }
    assert answer["counts"]["matched"] == 4  # PAIDOUT, CAMEBACK, FAILSLATER and WAITING, whose money is locked
    with house.store.database.reading() as connection:
        is_due = transfers.c.next_check_at <= datetime.now(BEIJING)
        due = connection.execute(select(transfers.c.out_bill_no).where(is_due))
        # Asking changes nothing about what has ended.
        assert {"REFUSEDHERE", "BACKBUTOPEN"} == set(due.scalars()) - {"WAITING"}


def test_what_comes_back_on_a_later_day_is_in_that_days_bill(house: House, day: str):
    assert house.transfer(number="SLOW").status == 200
    house.box.advance("23h")
    house.box.finish_transfer("SLOW", "FAIL")
    next_day = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
    answer = bill(house, "wxpay_fundflow_bill", next_day, account_type="OPERATION")
    assert (found(answer), answer["counts"]["matched"]) == (set(), 1)
    write(house, update(transfers).values(state="SUCCESS"))
    answer = bill(house, "wxpay_fundflow_bill", next_day, account_type="OPERATION")
    assert found(answer) == {("state_differs", "transfer", "SLOW")}


def test_a_refund_that_was_refused_here_but_accepted_there_is_asked_about(
    house: House, day: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sandbox.files.state_at", lambda refund, moment: "PROCESSING")
    number = house.paid()
    for refund in ("RREFUSED", "RPENDING", "ROPEN", "RCLOSED"):
        assert house.refund(number, 10, number=refund).status == 200
    house.box.advance("1h")
    state = {"RREFUSED": "REFUSED", "RPENDING": "PENDING", "RCLOSED": "CLOSED"}
    write(
        house,
        update(refunds).values(next_check_at=None),
        *(update(refunds).where(refunds.c.out_refund_no == one).values(state=to) for one, to in state.items()),
    )
    answer = bill(house, "wxpay_trade_bill", day)
    assert found(answer) == {("state_differs", "refund", "RREFUSED"), ("state_differs", "refund", "RPENDING")}
    with house.store.database.reading() as connection:
        due = connection.execute(select(refunds.c.out_refund_no).where(refunds.c.next_check_at.is_not(None)))
        assert set(due.scalars()) == {"RREFUSED", "RPENDING"}


def test_what_has_ended_here_is_not_asked_about_for_ever(house: House, day: str):
    number = house.paid()
    assert house.refund(number, 10, number="RENDED").status == 200
    house.box.settle_refund("RENDED")
    write(house, update(refunds).values(state="CLOSED", next_check_at=None))
    assert found(bill(house, "wxpay_trade_bill", day)) == {("state_differs", "refund", "RENDED")}
    assert house.store.refund("RENDED")["next_check_at"] is None


def test_a_refund_made_elsewhere_is_not_missed_on_the_day_of_its_callback(house: House, day: str):
    number = house.paid()
    order = house.store.order(number)
    fact = {
        "out_refund_no": "RELSEWHERE",
        "out_trade_no": number,
        "transaction_id": order["transaction_id"],
        "refund_status": "SUCCESS",
        "success_time": "2026-01-31T10:00:00+08:00",
        "amount": {"refund": 10, "total": 100},
    }
    assert house.store.learn("refund", fact) == "applied"
    stored = house.store.refund("RELSEWHERE")
    assert (stored["state"], stored["attempts"]) == ("SUCCESS", 0)
    write(house, update(refunds).values(created_at=at(day, "12:00:00")))
    assert found(bill(house, "wxpay_trade_bill", day)) == set()


def test_a_day_is_beijings_to_the_second(house: House, day: str):
    midnight = at(day, "00:00:00")
    times = {
        "BEFORE": midnight - timedelta(milliseconds=1),
        "FIRST": midnight,
        "LAST": midnight + timedelta(days=1, milliseconds=-1),
        "AFTER": midnight + timedelta(days=1),
    }
    write(house, *(row_of(orders, number, time, paid_at=time) for number, time in times.items()))
    write(house, *(row_of(refunds, f"R{number}", time) for number, time in times.items()))
    write(house, *(row_of(transfers, f"T{number}", time) for number, time in times.items()))
    # What happens just before midnight may be booked just after; the time of a payment is WeChat Pay's own.
    first, last = ("missing_there", "order", "FIRST"), ("missing_there", "order", "LAST")
    refund, transfer = ("missing_there", "refund", "RFIRST"), ("missing_there", "transfer", "TFIRST")
    assert found(bill(house, "wxpay_trade_bill", day)) == {first, last, refund}
    assert found(bill(house, "wxpay_fundflow_bill", day)) == {first, refund}
    assert found(bill(house, "wxpay_fundflow_bill", day, account_type="OPERATION")) == {transfer}
    assert bill(house, "wxpay_fundflow_bill", day, account_type="FEES")["differences"] == []


def test_only_what_must_be_there_is_missed(house: House, day: str):
    noon = at(day, "12:00:00")
    write(
        house,
        *(row_of(orders, state, noon, state=state, paid_at=None) for state in ("PENDING", "CLOSED", "REFUSED")),
        *(row_of(orders, state, noon, state=state, paid_at=noon) for state in ("PAID", "PARTIALLY_REFUNDED", "REFUND")),
        *(
            row_of(refunds, state, noon, state=state)
            for state in ("PENDING", "REFUSED", "CLOSED", "PROCESSING", "ABNORMAL", "SUCCESS")
        ),
        row_of(refunds, "SENTTWICE", noon, attempts=2),
    )
    assert found(bill(house, "wxpay_trade_bill", day)) == {
        *(("missing_there", "order", state) for state in ("PAID", "PARTIALLY_REFUNDED", "REFUND")),
        *(("missing_there", "refund", state) for state in ("PROCESSING", "ABNORMAL", "SUCCESS")),
    }


def test_pages_and_batches_lose_and_repeat_nothing(house: House, day: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compare, "BATCH", 3)
    monkeypatch.setattr(compare, "WRITTEN", 2)
    noon = at(day, "12:00:00")
    unknown = {f"U{index}" for index in range(10)}
    # Several at the same moment, more than a page.
    moments = [noon + timedelta(seconds=max(0, index - 4)) for index in range(10)]
    write(house, *(row_of(orders, f"U{index}", noon, paid_at=moments[index]) for index in range(10)))
    matched = [house.paid() for _ in range(7)]
    answer = bill(house, "wxpay_trade_bill", day)
    assert sorted(one["number"] for one in answer["differences"]) == sorted(unknown)
    assert answer["counts"]["matched"] == len(matched)
    assert {incident["number"] for incident in told(house)} == unknown


def test_more_differences_than_are_kept_are_counted(house: House, day: str, monkeypatch: pytest.MonkeyPatch):
    noon = at(day, "12:00:00")
    write(house, *(row_of(orders, f"M{index:03d}", noon, paid_at=noon) for index in range(230)))
    answer = bill(house, "wxpay_trade_bill", day)
    assert (len(answer["differences"]), answer["truncated"]) == (200, True)
    assert answer["counts"]["missing_there"] == len(told(house)) == 230
    monkeypatch.setattr(compare, "KEPT", 210)
    report = compare.report_text(house.function.application.extensions["pay"].desk.bills().trade(day))
    assert report.count("M") >= 210
    assert "... and 20 more" in report


def test_the_same_number_of_an_order_and_a_refund_are_two_incidents(house: House, day: str):
    noon = at(day, "12:00:00")
    write(house, row_of(orders, "SAME", noon, paid_at=noon), row_of(refunds, "SAME", noon, amount=100))
    assert len(found(bill(house, "wxpay_trade_bill", day))) == 2
    assert [incident["times"] for incident in told(house)] == [1, 1]


def test_refunds_may_be_booked_less_their_fee(house: House, day: str, monkeypatch: pytest.MonkeyPatch):
    """Some fund-flow bills say so in a remark of their own; a merchant's remark proves nothing."""
    noon = at(day, "12:00:00")
    header = (
        "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),"
        "资金变更提交申请人,备注,业务凭证号"
    )
    rows = {
        "NET": ("9.94", "退款总金额10.00元;含手续费0.06元"),
        "WHOLE": ("10.00", "退款总金额10.00元;含手续费0.00元"),
        "FAKED": ("9.94", "退款总金额10.00元;含手续费0.01元"),
    }
    lines = [
        f"`{day} 12:00:00,`1,`2,`退款,`退款,`支出,`{yuan},`0.00,`system,`{remark},`{number}"
        for number, (yuan, remark) in rows.items()
    ]
    titles = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额"
    content = "\n".join([header, *lines, titles, "`3,`0,`0.00,`3,`29.88", ""])
    files = house.box._files
    monkeypatch.setattr(files, "fund_bill", lambda query, origin: files._offered((content.encode(), True), origin))
    write(house, *(row_of(refunds, number, noon, amount=1000, total=1000) for number in rows))
    answer = bill(house, "wxpay_fundflow_bill", day)
    assert found(answer) == {("amount_differs", "refund", "FAKED")}


def test_a_bill_that_does_not_add_up_leaves_no_trace(house: House, day: str, monkeypatch: pytest.MonkeyPatch):
    files = house.box._files
    lost = house.paid()
    write(house, update(orders).values(state="PENDING", next_check_at=None))
    trade_bill = files._trade_rows
    monkeypatch.setattr(files, "_trade_rows", lambda *of: [row | {"订单金额": "1.01"} for row in trade_bill(*of)])
    monkeypatch.setattr("sandbox.files._trade_totals", lambda kind, rows: {"总交易单数": "1", "订单总金额": "1.00"})
    house.box.advance("1d")
    reply = house.function.call("wxpay_trade_bill", {"bill_date": day}, OPERATOR)
    assert (reply.status, "101 cents" in reply.text) == (502, True)
    assert told(house) == []
    assert house.store.order(lost)["next_check_at"] is None


def test_an_empty_bill_misses_all_that_is_stored(house: House, day: str):
    answer = bill(house, "wxpay_trade_bill", day)
    assert (answer["rows"], answer["differences"], answer["truncated"]) == (0, [], False)
    write(house, row_of(orders, "ALONE", at(day, "12:00:00"), paid_at=at(day, "12:00:00")))
    assert found(bill(house, "wxpay_trade_bill", day)) == {("missing_there", "order", "ALONE")}


def test_a_day_that_is_not_over_is_refused_by_wechat_pay(house: House, day: str):
    reply = house.function.call("wxpay_trade_bill", {"bill_date": day}, OPERATOR)
    assert (reply.status, "bill_date" in reply.text) == (400, True)


def test_a_bill_in_the_making_is_answered_with_when_to_ask_again(house: House, day: str):
    house.paid()
    house.box.advance("20h")  # 08:00 of the next day
    reply = house.function.call("wxpay_trade_bill", {"bill_date": day}, OPERATOR)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1800")
    assert f"the bill of {day} is still being made" in reply.text


@pytest.mark.parametrize("day", ["2026-02-30", "20260131", "", 20260131, None])
def test_a_malformed_day_is_not_even_asked_for(house: House, day: Any):
    reply = house.function.call("wxpay_trade_bill", {"bill_date": day}, OPERATOR)
    assert (reply.status, "bill_date" in reply.text) == (400, True)


# Reports, of any database


def comparison() -> compare.Comparison:
    made = compare.Comparison("trade", "2026-01-31", "abc", rows=3)
    made.counts[compare.MATCHED] = 1
    made.totals["order"] = 123456789
    made.add(compare.Difference("missing_here", "order", "=1+1", 435, None, None, "order =1+1 is missing"))
    made.add(compare.Difference("state_differs", "refund", "@R,1", 10, 10, "PENDING", 'refund "@R,1" was\nrefunded'))
    return made


def test_a_report_for_a_person_has_counts_totals_and_each_difference():
    lines = compare.report_text(comparison()).splitlines()
    assert lines[0] == "Bill: trade of 2026-01-31, 3 rows"
    assert "matched 1" in [" ".join(line.split()) for line in lines]
    assert "  orders in the bill: 1234567.89 yuan" in lines
    assert any("order =1+1 is missing" in line for line in lines)


def test_a_csv_report_is_read_back_and_holds_no_formulas():
    file = io.StringIO()
    compare.report_csv(comparison(), file)
    file.seek(0)
    first, second = csv.DictReader(file)
    assert (first["class"], first["number"], first["bill_cents"], first["stored_cents"]) == (
        *("missing_here", "'=1+1", "435", ""),
    )
    assert (second["number"], second["message"]) == ("'@R,1", 'refund "@R,1" was\nrefunded')
