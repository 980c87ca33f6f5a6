"""A bill from a scripted host: what is asked for, and the texts for one that is not what was announced.

tests/orders/test_bills_files.py reads the sandbox's.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from services.wechatpay import bills
from services.wechatpay.errors import ApiError, BillNotReady, BillUnusable, TimedOut, WechatPayError
from tests.services.wechatpay.host import PUBLIC_KEY_ID, Answering, Host, Say, Seen, assert_signed, client_of, signed

DAY = "2026-01-31"
HEADER = "交易时间,商户订单号,交易状态,订单金额,申请退款金额"
TITLES = "总交易单数,订单总金额,申请退款总金额"
ROWS = ("`2026-01-31 10:00:00,`A1,`SUCCESS,`1.00,`0.00", "`2026-01-31 11:00:00,`A2,`REFUND,`0.00,`0.05")
SUMMARY = "`2,`1.00,`0.05"


def lines(*parts: str) -> bytes:
    return "".join(f"{part}\r\n" for part in parts).encode()


MOVEMENTS = (("收入", "1.00"), ("支出", "0.50"), ("收入", "2.00"))
BILL = lines(HEADER, *ROWS, TITLES, SUMMARY)


def serving(content: bytes, *, packed: bool = True, file: Answering | None = None, **offer: Any) -> Answering:
    """WeChat Pay with this file on offer; fields of the offer replaced, or left out where they are None."""

    def answer(seen: Seen) -> Say:
        if seen.target.startswith("/v3/billdownload/"):
            return file(seen) if file else Say(200, gzip.compress(content) if packed else content)
        fields = {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "download_url": f"http://{seen.headers['host']}/v3/billdownload/file?token=x%2Fy",
            **offer,
        }
        return signed(body=json.dumps({name: value for name, value in fields.items() if value is not None}).encode())

    return answer


def fetched_from(host: Host, form: bills.Form = bills.TRADE, **options: str) -> bills.Bill:
    return bills.fetch(client_of(host.url, host.url), form, DAY, **options)


def read(host: Host) -> list[bills.Row]:
    with fetched_from(host) as bill:
        rows = list(bill.rows())
        assert bill.count == len(rows)
        return rows


def told(answering: Answering, expected: type[WechatPayError] = BillUnusable) -> str:
    with Host(answering) as host, pytest.raises(expected) as caught:
        read(host)
    return str(caught.value)


@pytest.mark.parametrize(
    ("form", "path"), [(bills.TRADE, "/v3/bill/tradebill"), (bills.FUNDFLOW, "/v3/bill/fundflowbill")]
)
def test_a_bill_is_asked_for_packed_and_fetched_where_the_answer_says(form: bills.Form, path: str):
    content = BILL
    if form is bills.FUNDFLOW:
        columns = "业务凭证号,业务名称,业务类型,收支类型,收支金额(元)"
        content = lines(columns, "`A1,`退款,`退款,`支出,`0.05", "资金流水总笔数,支出金额", "`1,`0.05")
    with Host(serving(content)) as host, fetched_from(host, form, bill_type="ALL") as bill:
        assert bill.hash_value == hashlib.sha1(content, usedforsecurity=False).hexdigest()
        assert bill.count == 0
        first = list(bill.rows())
        assert bill.count == len(first) > 0
        assert list(bill.rows()) == first
    asked, fetched = host.seen
    assert urlsplit(asked.target).path == path
    assert parse_qs(urlsplit(asked.target).query) == {"bill_date": [DAY], "bill_type": ["ALL"], "tar_type": ["GZIP"]}
    assert (asked.method, asked.body, asked.headers["wechatpay-serial"]) == ("GET", b"", PUBLIC_KEY_ID)
    assert (fetched.method, fetched.target) == ("GET", "/v3/billdownload/file?token=x%2Fy")
    assert "wechatpay-serial" not in fetched.headers
    assert_signed(asked)
    assert_signed(fetched)


@pytest.mark.parametrize("packed", [True, False])
def test_the_columns_that_are_read_are_those_of_the_form(packed: bool):
    with Host(serving(BILL, packed=packed)) as host:
        assert read(host) == [
            {"商户订单号": "A1", "交易状态": "SUCCESS", "订单金额": "1.00", "申请退款金额": "0.00"},
            {"商户订单号": "A2", "交易状态": "REFUND", "订单金额": "0.00", "申请退款金额": "0.05"},
        ]


def test_a_byte_order_mark_is_no_part_of_the_first_column():
    content = lines("商户订单号,交易状态", "`A1,`SUCCESS", "总交易单数", "`1")
    with Host(serving(b"\xef\xbb\xbf" + content)) as host:
        assert read(host) == [{"商户订单号": "A1", "交易状态": "SUCCESS"}]
    mark = b"\xef\xbb\xbf".decode()
    assert told(serving(content.replace(b",", mark.encode() + b",", 1))) == "the bill has no column 商户订单号"


def test_sums_of_columns_that_a_bill_lacks_are_not_checked():
    content = lines("商户订单号,交易状态", "`A1,`SUCCESS", "总交易单数,订单总金额", "`1,`7.00")
    with Host(serving(content)) as host:
        assert len(read(host)) == 1


def test_sums_that_a_summary_lacks_are_not_checked():
    header, row = "商户订单号,交易状态,总金额,退款金额", "`A1,`SUCCESS,`1.00,`0.00"
    content = lines(header, row, "总交易单数,总交易额", "`1.0,`1.00")
    with Host(serving(content)) as host:
        assert len(read(host)) == 1
    assert told(serving(content.replace(b"`1.0,`1.00", b"`1.0,`1.01"))) == (
        "总交易额: the bill's rows add up to 100 cents, not 1.01 yuan"
    )


@pytest.mark.parametrize(
    ("income", "expenses", "text"),
    [
        ("3.00", "0.50", ""),
        ("3.50", "0.50", "收入金额: the bill's rows add up to 300 cents, not 3.50 yuan"),
        ("3.00", "3.50", "支出金额: the bill's rows add up to 50 cents, not 3.50 yuan"),
    ],
)
def test_income_and_expenses_are_summed_apart(income: str, expenses: str, text: str):
    rows = [f"`A{place},`n,`t,`{kind},`{amount}" for place, (kind, amount) in enumerate(MOVEMENTS)]
    titles, header = "资金流水总笔数,收入金额,支出金额", "业务凭证号,业务名称,业务类型,收支类型,收支金额(元)"
    with Host(serving(lines(header, *rows, titles, f"`3,`{income},`{expenses}"))) as host:
        if not text:
            with fetched_from(host, bills.FUNDFLOW) as bill:
                assert [row["业务凭证号"] for row in bill.rows()] == ["A0", "A1", "A2"]
            return
        with fetched_from(host, bills.FUNDFLOW) as bill, pytest.raises(BillUnusable) as caught:
            list(bill.rows())
        assert str(caught.value) == text


def test_free_text_keeps_its_blanks():
    header, texts = "业务凭证号,业务名称,业务类型,收支类型,收支金额(元),备注", [" late, tea\t ", "MAX", ""]
    rows = [f"`A1,`n,`t,`收入,`1.00,`{text}" for text in texts]
    content = lines(header, *rows, "资金流水总笔数", "`3")
    with Host(serving(content)) as host, fetched_from(host, bills.FUNDFLOW) as bill:
        assert [row["备注"] for row in bill.rows()] == texts


def test_a_value_may_be_empty_and_counts_nothing():
    with Host(serving(BILL.replace(b"`1.00,`0.00\r\n", b"`1.00,`\r\n"))) as host:
        assert [row["申请退款金额"] for row in read(host)] == ["", "0.05"]


@pytest.mark.parametrize("code", ["NO_STATEMENT_EXIST", "NOSTATEMENTEXIST"])
def test_a_day_on_which_nothing_happened_has_a_bill_without_rows(code: str):
    with Host(signed(400, json.dumps({"code": code}).encode())) as host, fetched_from(host) as bill:
        assert (list(bill.rows()), bill.count, bill.hash_value) == ([], 0, "")
    assert len(host.seen) == 1


@pytest.mark.parametrize("code", ["STATEMENT_CREATING", "STATEMENTCREATING"])
@pytest.mark.parametrize("answer", [signed, Say], ids=["signed", "unsigned"])
def test_a_bill_in_the_making_is_to_be_asked_for_again(code: str, answer: Callable[..., Say]):
    text = told(lambda _: answer(400, json.dumps({"code": code}).encode()), BillNotReady)
    assert text == "the bill of 2026-01-31 is still being made: ask again in half an hour"


def test_any_other_refusal_is_told_as_it_is():
    assert told(lambda _: signed(400, b'{"code":"INVALID_REQUEST"}'), ApiError) == "400 INVALID_REQUEST"


def test_the_texts_of_an_offer_that_lacks_something():
    for name in ("hash_type", "hash_value", "download_url"):
        for value in (None, "", 7, ["x"]):
            assert told(serving(BILL, **{name: value})) == f"WeChat Pay's answer holds no {name}"
    assert told(serving(BILL, hash_type="SHA256")) == "the bill's hash_type is not SHA1"
    text = "the bill's hash is not the announced one: it was cut or altered on its way"
    assert told(serving(BILL, hash_value="0" * 40)) == text
    assert told(serving(BILL, file=lambda _: Say(200, gzip.compress(BILL)[:-9]))) == "the bill cannot be unpacked"


def test_the_text_of_a_bill_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bills, "MAX_PLAIN", len(BILL))
    with Host(serving(BILL)) as host:
        assert len(read(host)) == 2
    monkeypatch.setattr(bills, "MAX_PLAIN", len(BILL) - 1)
    assert told(serving(BILL)) == f"the bill unpacks to more than {len(BILL) - 1} bytes"


def test_a_large_file_is_not_kept_in_memory():
    content = bytes(2**23)
    with Host(serving(content, packed=False)) as host:
        tracemalloc.start()
        try:
            with fetched_from(host):
                _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < len(content) / 2


def test_a_bill_that_unpacks_without_end_takes_little_memory(monkeypatch: pytest.MonkeyPatch):
    most, packed = 2**20, gzip.compress(bytes(2**24))
    monkeypatch.setattr(bills, "MAX_PLAIN", most)
    tracemalloc.start()
    try:
        text = told(serving(BILL, file=lambda _: Say(200, packed)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text == f"the bill unpacks to more than {most} bytes"
    assert peak < 2**23


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the bill has no column 商户订单号, 交易状态"),
        (lines(HEADER.replace("交易状态", "x")), "the bill has no column 交易状态"),
        (lines(HEADER, *ROWS), "the bill ends without its summary"),
        (lines(HEADER, *ROWS, TITLES, "`3,`1.00,`0.05"), "the bill has 2 rows, its summary says 3"),
        (
            lines(HEADER, *ROWS, TITLES, "`2,`1.00,`0.50"),
            "申请退款总金额: the bill's rows add up to 5 cents, not 0.50 yuan",
        ),
        (
            lines(HEADER, *ROWS, TITLES, "`2,`x,`0.05"),
            "the bill holds 'x' where an amount in yuan is expected",
        ),
        (
            lines(HEADER, ROWS[0], ROWS[1].replace("0.00", "9" * 50), TITLES, SUMMARY),
            f"the bill holds '{'9' * 40}' where an amount in yuan is expected",
        ),
        (
            lines(HEADER, *ROWS, TITLES.replace("总交易单数", "x"), SUMMARY),
            "the bill holds '' where an amount in yuan is expected",
        ),
        (lines(HEADER, ROWS[0] + ",`", TITLES, SUMMARY), "the bill has a row of 6 values under 5 columns"),
        (lines(HEADER, *ROWS, TITLES, SUMMARY + ",`"), "the bill has a row of 4 values under 3 columns"),
        (lines(HEADER, *ROWS, TITLES), "the bill has a row of 1 values under 3 columns"),
        (BILL.replace(b"A2", b"\xff"), "the bill is not in UTF-8"),
    ],
    ids=[
        "empty",
        "a column",
        "no summary",
        "the count",
        "a sum",
        "an amount of the summary",
        "an amount of a row",
        "no count",
        "a long row",
        "a long summary",
        "no sums",
        "not UTF-8",
    ],
)
def test_the_texts_of_a_bill_that_does_not_hold_together(content: bytes, text: str):
    assert told(serving(content)) == text


def test_a_file_has_two_minutes(monkeypatch: pytest.MonkeyPatch):
    assert bills.DOWNLOAD_TIMEOUT == 120
    monkeypatch.setattr(bills, "DOWNLOAD_TIMEOUT", 0.3)
    assert told(serving(BILL, file=lambda _: Say(after=2)), TimedOut) == (
        "no whole answer from WeChat Pay within 0.3 s"
    )


def test_an_expired_address_is_asked_for_again_once():
    answers = iter([Say(400), Say(200, gzip.compress(BILL))])
    with Host(serving(BILL, file=lambda _: next(answers))) as host:
        assert len(read(host)) == 2
    assert [urlsplit(seen.target).path for seen in host.seen] == ["/v3/bill/tradebill", "/v3/billdownload/file"] * 2
    with Host(serving(BILL, file=lambda _: Say(400))) as host, pytest.raises(ApiError):
        read(host)
    assert len(host.seen) == 4
