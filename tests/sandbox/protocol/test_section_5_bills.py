"""Section 5.8, row by row: bills, read by a reader of its own and added up anew."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.sandbox.conftest import BILLS, REFUNDS, Heard, call
from tests.sandbox.protocol.conftest import Payee, advance_to, beijing, refusal

TRADE, FUND = "/v3/bill/tradebill", "/v3/bill/fundflowbill"

BOTH = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额"
)
OF_REFUND = "微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态"
COLUMNS = {
    "ALL": f"{BOTH},{OF_REFUND},商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注",
    "SUCCESS": f"{BOTH},商品名称,商户数据包,手续费,费率,订单金额,费率备注",
    "REFUND": f"{BOTH},退款申请时间,退款成功时间,{OF_REFUND},商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,"
    "费率备注",
}
TOTALS = {
    "ALL": "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额",
    "SUCCESS": "总交易单数,应结订单总金额,手续费总金额,订单总金额",
    "REFUND": "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额",
}
SUMS = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
FUND_COLUMNS = (
    "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),资金变更提交申请人,备注,业务凭证号"
)
FUND_TOTALS = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额"
YUAN = re.compile(r"-?\d+\.\d\d")


@dataclass
class Bill:
    columns: str
    rows: list[dict[str, str]]
    totals: str
    total: dict[str, str]


def read(content: bytes) -> Bill:
    """A header, rows, a second header and one row; a back-tick before every value of a row, none in headers."""
    lines = re.split(r"\r?\n", content.decode("utf-8").removesuffix("\n").removesuffix("\r"))
    columns, *rows, totals, total = lines
    assert not any("`" in header for header in (columns, totals))

    def values(header: str, line: str) -> dict[str, str]:
        cells = line.split(",")
        assert all(cell.startswith("`") for cell in cells), line
        return dict(zip(header.split(","), (cell[1:] for cell in cells), strict=True))

    return Bill(columns, [values(columns, row) for row in rows], totals, values(totals, total))


def apply_for(merchant: Payee, target: str, day: Any, **query: str) -> Heard:
    parameters = "".join(f"&{name}={value}" for name, value in query.items())
    return merchant.send("GET", f"{target}?bill_date={day}{parameters}")


def fetched(merchant: Payee, address: str) -> Heard:
    parts = urlsplit(address)
    return merchant.send("GET", f"{parts.path}?{parts.query}", base=f"{parts.scheme}://{parts.netloc}")


def bill(merchant: Payee, target: str, day: Any, **query: str) -> Bill:
    applied = apply_for(merchant, target, day, **query)
    assert applied.status == 200, applied.body
    content = fetched(merchant, applied.json["download_url"]).body
    assert hashlib.sha1(content).hexdigest() == applied.json["hash_value"]  # noqa: S324 - defined so
    return read(content)


def yuan(value: str) -> Decimal:
    assert YUAN.fullmatch(value), value
    return Decimal(value)


# A day's business: two payments (one with all special characters), two refunds of that day, three transfers, a top-up

SPECIAL = "\\'\"`,\n\r\t\ue000\x1a茶"
IN_ORDERS = "\\\\" + "\\'" + '\\"' + "\\`" + "\\ " + "\\n" + "\\r" + "\\t" + "\\ " + "\\\x1a" + "茶"
IN_REFUNDS = "\\\\" + "'" + '\\"' + "\\140" + "\\ " + "\\n" + "\\r" + "\\t" + "\\ " + "\\\x1a" + "茶"


@pytest.fixture
def day(merchant, box):
    """The day after, at 10:00, when the bill of the busy day before is ready."""
    advance_to(box, 12)
    today = beijing(box).date()
    info = {"payer_client_ip": "203.0.113.7", "device_id": "\\'\"`,\n\t"}
    merchant.place("jsapi", "ORDER_PLAIN", 10_000)
    box.pay("ORDER_PLAIN")
    box.advance("1h")
    merchant.place("native", "ORDER_ODD|*", 12_345, description=SPECIAL, attach=SPECIAL, scene_info=info)
    box.pay("ORDER_ODD|*", openid="oOther")
    merchant.place("jsapi", "ORDER_UNPAID", 77)
    box.advance("1h")
    for body in (
        merchant.refund("R_PLAIN", 3_000, 10_000, out_trade_no="ORDER_PLAIN"),
        merchant.refund("R_ODD", 1, 12_345, out_trade_no="ORDER_ODD|*"),
    ):
        assert merchant.send("POST", REFUNDS, body).status == 200
    box.advance("10m")
    for number, amount in (("BILLPAID", 500), ("BILLBACK", 700), ("BILLOPEN", 900)):
        assert merchant.send("POST", BILLS, merchant.transfer(number, amount)).status == 200
    box.finish_transfer("BILLPAID")
    merchant.cancel("BILLBACK")
    box.advance("1m")
    box.merchant.change(funds={"OPERATION": box.merchant.funds["OPERATION"] + 1_000})
    advance_to(box, 10)
    return today


# Trade bill


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_columns_of_a_trade_bill(merchant, day, kind):
    made = bill(merchant, TRADE, day, bill_type=kind)
    assert made.columns == COLUMNS[kind]
    assert made.totals == TOTALS[kind]
    kinds = {"ALL": ["SUCCESS", "SUCCESS", "REFUND", "REFUND"], "SUCCESS": ["SUCCESS"] * 2, "REFUND": ["REFUND"] * 2}
    assert [row["交易状态"] for row in made.rows] == kinds[kind]


def test_all_is_the_default(merchant, day):
    assert bill(merchant, TRADE, day) == bill(merchant, TRADE, day, bill_type="ALL")


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_totals_of_a_trade_bill_are_the_sums_of_its_rows(merchant, day, kind):
    made = bill(merchant, TRADE, day, bill_type=kind)
    assert made.total.pop("总交易单数") == str(len(made.rows))
    for name, shown in made.total.items():
        assert yuan(shown) == sum(yuan(row[SUMS[name]]) for row in made.rows), name
    expected = {"ALL": "223.45", "SUCCESS": "223.45", "REFUND": "0.00"}
    assert made.total["订单总金额"] == expected[kind]
    assert made.total.get("退款总金额", "30.01") == "30.01"


def test_a_payment_row(merchant, box, day):
    first = bill(merchant, TRADE, day).rows[0]
    shown = merchant.query("ORDER_PLAIN").json
    assert first == {
        "交易时间": shown["success_time"][:19].replace("T", " "),
        "公众账号ID": shown["appid"],
        "商户号": shown["mchid"],
        "特约商户号": "0",
        "设备号": "",
        "微信订单号": shown["transaction_id"],
        "商户订单号": "ORDER_PLAIN",
        "用户标识": "oUser",
        "交易类型": "JSAPI",
        "交易状态": "SUCCESS",
        "付款银行": shown["bank_type"],
        "货币种类": "CNY",
        "应结订单金额": "100.00",
        "代金券金额": "0.00",
        "微信退款单号": "0",
        "商户退款单号": "0",
        "退款金额": "0.00",
        "充值券退款金额": "0.00",
        "退款类型": "",
        "退款状态": "",
        "商品名称": "茶",
        "商户数据包": "",
        "手续费": "0.60",
        "费率": "0.60%",
        "订单金额": "100.00",
        "申请退款金额": "0.00",
        "费率备注": "",
    }


def test_a_refund_row(merchant, day):
    shown = merchant.refund_query("R_PLAIN").json
    [row] = [row for row in bill(merchant, TRADE, day, bill_type="REFUND").rows if row["商户退款单号"] == "R_PLAIN"]
    asked, arrived = (shown[name][:19].replace("T", " ") for name in ("create_time", "success_time"))
    expected = {
        "交易时间": asked,
        "退款申请时间": asked,
        "退款成功时间": arrived,
        "微信订单号": shown["transaction_id"],
        "商户订单号": "ORDER_PLAIN",
        "交易状态": "REFUND",
        "应结订单金额": "0.00",
        "代金券金额": "0.00",
        "微信退款单号": shown["refund_id"],
        "退款金额": "30.00",
        "充值券退款金额": "0.00",
        "退款类型": "ORIGINAL",
        "退款状态": "SUCCESS",
        "手续费": "-0.18",
        "订单金额": "0.00",
        "申请退款金额": "30.00",
    }
    assert {name: row[name] for name in expected} == expected


def test_free_text_is_escaped_differently_in_orders_and_refunds(merchant, day):
    rows = {row["交易状态"]: row for row in bill(merchant, TRADE, day).rows if row["商户订单号"] == "ORDER_ODD|*"}
    assert rows["SUCCESS"]["商品名称"] == rows["SUCCESS"]["商户数据包"] == IN_ORDERS
    assert rows["REFUND"]["商品名称"] == rows["REFUND"]["商户数据包"] == IN_REFUNDS
    assert rows["SUCCESS"]["设备号"] == "\\\\" + "\\'" + '\\"' + "\\`" + "\\ " + "\\n" + "\\t"
    assert rows["REFUND"]["设备号"] == "\\\\" + "'" + '\\"' + "\\140" + "\\ " + "\\n" + "\\t"


def test_a_day_is_beijings(merchant, box):
    advance_to(box, 23, 59)
    merchant.paid("ORDER_BEFORE")
    first = beijing(box).date()
    advance_to(box, 0, 1)
    merchant.paid("ORDER_AFTER")
    advance_to(box, 10, days=1)
    for date, number in ((first, "ORDER_BEFORE"), (first + timedelta(days=1), "ORDER_AFTER")):
        assert [row["商户订单号"] for row in bill(merchant, TRADE, date).rows] == [number]


@pytest.mark.parametrize(
    ("end", "word"),
    [("SUCCESS", "SUCCESS"), ("CLOSED", "FAIL"), ("ABNORMAL", "CHANGE"), ("redirected", "PROCESSING")],
    ids=lambda value: value,
)
def test_the_status_of_a_refund_is_frozen_when_the_bill_is_made(merchant, box, end, word):
    advance_to(box, 20)
    merchant.paid()
    merchant.refunded()
    date = beijing(box).date()
    if end in ("CLOSED", "ABNORMAL", "redirected"):
        box.settle_refund("REFUND_1", "CLOSED" if end == "CLOSED" else "ABNORMAL", deliver=False)
    if end == "redirected":
        target = f"{REFUNDS}/{merchant.refund_query().json['refund_id']}/apply-abnormal-refund"
        body = {"out_refund_no": "REFUND_1", "type": "MERCHANT_BANK_CARD"}
        assert merchant.send("POST", target, body).status == 200
    advance_to(box, 10)
    before = bill(merchant, TRADE, date)
    assert [row["退款状态"] for row in before.rows] == ["", word]
    box.advance("2d")
    if end == "ABNORMAL":
        box.settle_refund("REFUND_1", "SUCCESS", deliver=False)
    assert merchant.refund_query().json["status"] == ("CLOSED" if end == "CLOSED" else "SUCCESS")
    assert bill(merchant, TRADE, date) == before
    arrived = bill(merchant, TRADE, date, bill_type="REFUND").rows[0]["退款成功时间"]
    assert bool(arrived) is (end == "SUCCESS")


# Fund bill


@pytest.mark.parametrize("account", ["BASIC", "OPERATION"])
def test_the_columns_and_totals_of_a_fund_bill(merchant, day, account):
    made = bill(merchant, FUND, day, account_type=account)
    assert (made.columns, made.totals) == (FUND_COLUMNS, FUND_TOTALS)
    for word, count, total in (("收入", "收入笔数", "收入金额"), ("支出", "支出笔数", "支出金额")):
        amounts = [yuan(row["收支金额(元)"]) for row in made.rows if row["收支类型"] == word]
        assert all(amount > 0 for amount in amounts)
        assert (made.total[count], yuan(made.total[total])) == (str(len(amounts)), sum(amounts))
    assert made.total["资金流水总笔数"] == str(len(made.rows))


def test_basic_is_the_default(merchant, day):
    assert bill(merchant, FUND, day) == bill(merchant, FUND, day, account_type="BASIC")


@pytest.mark.parametrize("account", ["BASIC", "OPERATION"])
def test_each_balance_follows_from_the_one_before(merchant, box, account):
    balance = Decimal(box.merchant.describe()["funds"][account]) / 100
    days = []
    for amount in (10_000, 20_001):
        advance_to(box, 12)
        days.append(beijing(box).date())
        merchant.paid(f"ORDER_{amount}", amount)
        body = merchant.refund(f"R{amount}", amount // 2, amount, out_trade_no=f"ORDER_{amount}")
        assert merchant.send("POST", REFUNDS, body).status == 200
        merchant.transferred(f"B{amount}", amount)
        box.merchant.change(funds={account: box.merchant.funds[account] - 1})
        box.settle_refund(f"R{amount}", "CLOSED", deliver=False)
    advance_to(box, 11)  # the first transfer has come back by now, the second not yet
    for day in days:
        for row in bill(merchant, FUND, day, account_type=account).rows:
            amount = yuan(row["收支金额(元)"])
            balance += amount if row["收支类型"] == "收入" else -amount
            assert yuan(row["账户结余(元)"]) == balance, row
    assert balance * 100 == box.merchant.describe()["funds"][account]


def test_the_rows_of_the_basic_account(merchant, day):
    shown = {number: merchant.query(number).json["transaction_id"] for number in ("ORDER_PLAIN", "ORDER_ODD|*")}
    refunds = {number: merchant.refund_query(number).json["refund_id"] for number in ("R_PLAIN", "R_ODD")}
    rows = bill(merchant, FUND, day).rows
    told = [
        (row["业务名称"], row["业务类型"], row["收支类型"], row["收支金额(元)"], row["业务凭证号"]) for row in rows
    ]
    assert told == [
        ("交易", "交易", "收入", "100.00", "ORDER_PLAIN"),
        ("交易", "扣除交易手续费", "支出", "0.60", "ORDER_PLAIN"),
        ("交易", "交易", "收入", "123.45", "ORDER_ODD|*"),
        ("交易", "扣除交易手续费", "支出", "0.74", "ORDER_ODD|*"),
        ("退款", "退款", "支出", "30.00", "R_PLAIN"),
        ("退款", "退还交易手续费", "收入", "0.18", "R_PLAIN"),
        ("退款", "退款", "支出", "0.01", "R_ODD"),
    ]
    known = shown | refunds
    assert [row["微信支付业务单号"] for row in rows] == [known[row["业务凭证号"]] for row in rows]
    assert len({row["资金流水单号"] for row in rows}) == len(rows)
    mchid = merchant.credentials.merchant_id
    assert {row["资金变更提交申请人"] for row in rows} == {f"{mchid}API", "system"}
    assert all(re.fullmatch(rf"{day} \d\d:\d\d:\d\d", row["记账时间"]) for row in rows)


def test_the_rows_of_the_operation_account(merchant, day):
    """A bill number with an outgoing row only was paid out, or may still be; one with both came back."""
    rows = bill(merchant, FUND, day, account_type="OPERATION").rows
    numbers = {}
    for number in ("BILLPAID", "BILLBACK", "BILLOPEN"):
        numbers[merchant.transfer_query(number).json["transfer_bill_no"]] = number
    transfers = [row for row in rows if row["微信支付业务单号"] in numbers]
    assert all(row["微信支付业务单号"] == row["资金流水单号"] for row in transfers)
    assert [(row["业务凭证号"], row["收支类型"], row["收支金额(元)"]) for row in transfers] == [
        ("BILLPAID", "支出", "5.00"),
        ("BILLBACK", "支出", "7.00"),
        ("BILLOPEN", "支出", "9.00"),
        ("BILLBACK", "收入", "7.00"),
    ]
    assert all(numbers[row["微信支付业务单号"]] == row["业务凭证号"] for row in transfers)
    [top_up] = [row for row in rows if row not in transfers]
    assert (top_up["业务名称"], top_up["收支类型"], top_up["收支金额(元)"]) == ("充值/提现", "收入", "10.00")


# Asking and fetching


@pytest.mark.parametrize("target", [TRADE, FUND], ids=["trade", "fund"])
class TestAddress:
    def test_the_answer_and_the_hash(self, merchant, day, target):
        answer = apply_for(merchant, target, day)
        assert set(answer.json) == {"hash_type", "hash_value", "download_url"}
        assert answer.json["hash_type"] == "SHA1"
        assert "wechatpay-signature" in answer.headers
        assert urlsplit(answer.json["download_url"]).path == "/v3/billdownload/file"

    def test_the_file_is_unsigned_and_needs_a_signed_request(self, merchant, day, target):
        address = apply_for(merchant, target, day).json["download_url"]
        file = fetched(merchant, address)
        assert file.status == 200
        assert [name for name in file.headers if name.startswith("wechatpay")] == []
        parts = urlsplit(address)
        headers = {"Accept": "*/*", "User-Agent": "t"}
        bare = call(merchant.box.url, "GET", f"{parts.path}?{parts.query}", headers=headers)
        assert refusal(bare) == (401, "SIGN_ERROR")

    def test_gzip_packs_the_same_file(self, merchant, day, target):
        plain, packed = apply_for(merchant, target, day).json, apply_for(merchant, target, day, tar_type="GZIP").json
        content = fetched(merchant, packed["download_url"]).body
        assert content[:2] == b"\x1f\x8b"
        assert gzip.decompress(content) == fetched(merchant, plain["download_url"]).body
        assert packed["hash_value"] == plain["hash_value"]
        assert hashlib.sha1(gzip.decompress(content)).hexdigest() == packed["hash_value"]  # noqa: S324 - defined so

    def test_it_is_valid_for_five_minutes(self, merchant, box, day, target):
        address = apply_for(merchant, target, day).json["download_url"]
        box.advance(298)
        assert fetched(merchant, address).status == 200
        box.advance(4)
        assert refusal(fetched(merchant, address)) == (400, "INVALID_REQUEST")
        assert fetched(merchant, apply_for(merchant, target, day).json["download_url"]).status == 200

    def test_an_invented_address(self, merchant, target):
        answer = merchant.send("GET", "/v3/billdownload/file?token=invented")
        assert refusal(answer) == (400, "INVALID_REQUEST")

    def test_it_is_ready_at_ten_of_the_next_day(self, merchant, box, target):
        advance_to(box, 12)
        merchant.paid()
        date = beijing(box).date()
        for hour, minute in ((0, 1), (8, 59), (9, 1), (9, 59)):
            advance_to(box, hour, minute)
            assert refusal(apply_for(merchant, target, date)) == (400, "STATEMENT_CREATING"), (hour, minute)
        advance_to(box, 10)
        assert apply_for(merchant, target, date).status == 200

    def test_a_day_without_business_has_none(self, merchant, box, target):
        advance_to(box, 12)
        yesterday = beijing(box).date() - timedelta(days=1)
        assert refusal(apply_for(merchant, target, yesterday)) == (400, "NO_STATEMENT_EXIST")

    @pytest.mark.parametrize("days", [0, 1, 30, -94, -400], ids=lambda days: f"{days:+} days")
    def test_a_day_that_has_no_bill(self, merchant, box, target, days):
        advance_to(box, 12)
        date = beijing(box).date() + timedelta(days=days)
        answer = apply_for(merchant, target, date)
        assert answer.status == 400
        assert answer.json["code"] in ("PARAM_ERROR", "INVALID_REQUEST")
        assert answer.json["detail"]["field"] == "bill_date"
        assert answer.json["detail"]["location"] == "query"

    def test_bills_are_kept_for_three_months(self, merchant, box, day, target):
        box.advance("87d")
        assert apply_for(merchant, target, day).status == 200

    @pytest.mark.parametrize("given", ["", "2026-1-1", "20260101", "2026-02-30", "yesterday", "2026-01-01T00:00:00"])
    def test_a_date_that_is_none(self, merchant, target, given):
        answer = apply_for(merchant, target, given)
        assert refusal(answer) == (400, "PARAM_ERROR")
        assert (answer.json["detail"]["field"], answer.json["detail"]["location"]) == ("bill_date", "query")

    def test_the_date_is_required(self, merchant, target):
        answer = merchant.send("GET", target)
        assert refusal(answer) == (400, "PARAM_ERROR")
        assert answer.json["detail"]["field"] == "bill_date"

    @pytest.mark.parametrize("code", ["FREQUENCY_LIMITED", "SYSTEM_ERROR"])
    def test_an_error_without_a_cause_of_its_own(self, merchant, target, code):
        merchant.box.fault("error", code=code, times=1)
        answer = apply_for(merchant, target, "2026-01-01")
        assert refusal(answer) == ({"FREQUENCY_LIMITED": 429, "SYSTEM_ERROR": 500}[code], code)


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        (TRADE, "bill_type", "NONE"),
        (TRADE, "bill_type", "all"),
        (TRADE, "tar_type", "ZIP"),
        (FUND, "account_type", "OTHER"),
        (FUND, "tar_type", "gzip"),
        (TRADE, "account_type", "BASIC"),
        (FUND, "bill_type", "ALL"),
    ],
)
def test_a_parameter_against_the_table(merchant, day, target, name, value):
    answer = apply_for(merchant, target, day, **{name: value})
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert (answer.json["detail"]["field"], answer.json["detail"]["location"]) == (name, "query")


def test_an_account_without_movements_has_no_bill(merchant, day):
    assert refusal(apply_for(merchant, FUND, day, account_type="FEES")) == (400, "NO_STATEMENT_EXIST")


def test_a_day_of_refunds_only_has_no_payments(merchant, box):
    advance_to(box, 12)
    merchant.paid()
    advance_to(box, 12)
    merchant.refunded()
    date = beijing(box).date()
    advance_to(box, 10)
    assert refusal(apply_for(merchant, TRADE, date, bill_type="SUCCESS")) == (400, "NO_STATEMENT_EXIST")
    assert [row["交易状态"] for row in bill(merchant, TRADE, date).rows] == ["REFUND"]
