"""How a bill is fetched and read: real ones of the sandbox over HTTP, and files as WeChat Pay's might be for once."""

from __future__ import annotations

import gzip
import hashlib
import socket
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from app import create_app
from config.settings import Settings
from sandbox import Sandbox
from sandbox.errors import Refusal
from sandbox.files import COLUMNS, FUND_COLUMNS, File
from services.wechatpay import bills
from services.wechatpay.client import Client
from services.wechatpay.errors import ApiError, BillNotReady, BillUnusable, NotSent, OutcomeUnknown, ServerFault
from tests.support import OPENID

BEIJING = timezone(timedelta(hours=8))
TRADE_TITLES = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
DAY = "2026-01-31"
Serve = Callable[..., None]


@pytest.fixture
def client(box: Sandbox, tmp_path: Path) -> Client:
    """The function's own client, as create_app makes it."""
    application = create_app(Settings.from_env(box.env(orderDatabaseUrl=f"sqlite:///{tmp_path / 'none'}")))
    found: Client = application.extensions["pay"].desk.client
    return found


@pytest.fixture
def serve(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Makes the sandbox offer this file, signed and downloadable as any, whatever day is asked for."""
    files = box._files

    def serve(content: bytes, *, packed: bool = True, **offer: str) -> None:
        def offered(query: dict[str, str], origin: str) -> dict[str, str]:
            return {**files._offered((content, packed), origin), **offer}

        monkeypatch.setattr(files, "trade_bill", offered)
        monkeypatch.setattr(files, "fund_bill", offered)

    return serve


def delivered(box: Sandbox, monkeypatch: pytest.MonkeyPatch, download: Callable[..., File]) -> None:
    """What comes of the download itself, instead of the offered file."""
    monkeypatch.setattr(box._files, "download", download)


def text(columns: Sequence[str], rows: Sequence[Sequence[str]], titles: str, totals: Sequence[str]) -> bytes:
    """A file in WeChat Pay's form."""
    lines = [",".join(columns), *(",".join(f"`{value}" for value in row) for row in rows)]
    lines += [titles, ",".join(f"`{value}" for value in totals)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def trade(*rows: dict[str, str], columns: Sequence[str] = COLUMNS["ALL"], count: str = "", **totals: str) -> bytes:
    """A trade bill of rows of which only some columns matter; totals are zero where they are not given."""
    values = [[row.get(name, "0.00" if "金额" in name else "") for name in columns] for row in rows]
    titles = TRADE_TITLES.split(",")
    summary = [count or str(len(rows)), *(totals.get(title, "0.00") for title in titles[1:])]
    return text(columns, values, TRADE_TITLES, summary)


def payment(number: str, yuan: str, **more: str) -> dict[str, str]:
    return {"商户订单号": number, "交易状态": "SUCCESS", "订单金额": yuan, "应结订单金额": yuan, **more}


def read(client: Client, form: bills.Form = bills.TRADE, day: str = DAY) -> list[bills.Row]:
    with bills.fetch(client, form, day) as bill:
        rows = list(bill.rows())
        assert bill.count == len(rows)
        return rows


ONE = trade(payment("A1", "1.00"), 应结订单总金额="1.00", 订单总金额="1.00")


def sell(box: Sandbox, number: str, total: int, **more: str) -> None:
    body = {"appid": box.credentials.app_id, "mchid": box.credentials.merchant_id, "out_trade_no": number}
    body |= {"description": "tea", "notify_url": "https://shop.example/x", **more}
    box.ledger.place("native", {**body, "amount": {"total": total, "currency": "CNY"}})
    box.ledger.pay(number, OPENID)


# Real bills


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_a_bill_of_the_sandbox_holds_what_is_on_its_books(
    box: Sandbox, client: Client, packed: bool, monkeypatch: pytest.MonkeyPatch
):
    free_text = "a,b`c'd\"e\nf\r\tg\\h，茶 🍵"
    day = datetime.fromtimestamp(box.clock.now(), BEIJING).date().isoformat()
    totals = {"BILL0001": 1, "BILL0002": 123_456_789, "BILL-3_|*": 100}
    for number, total in totals.items():
        sell(box, number, total, description=free_text, attach=free_text)
    box.advance("2d")
    if not packed:
        made = box._files.trade_bill
        plain = lambda query, origin: made({k: v for k, v in query.items() if k != "tar_type"}, origin)  # noqa: E731
        monkeypatch.setattr(box._files, "trade_bill", plain)
    rows = read(client, day=day)
    assert {row["商户订单号"]: bills.cents(row["订单金额"]) for row in rows} == totals
    movements = read(client, bills.FUNDFLOW, day)
    assert len(movements) > len(totals)  # fees have rows of their own
    received = {row["业务凭证号"]: bills.cents(row["收支金额(元)"]) for row in movements if row["收支类型"] == "收入"}
    assert received == totals


def test_a_day_on_which_nothing_happened_has_no_rows(box: Sandbox, client: Client):
    day = datetime.fromtimestamp(box.clock.now(), BEIJING).date().isoformat()
    box.advance("2d")
    assert read(client, day=day) == []


def test_that_nothing_happened_is_believed_with_a_signature_only(box: Sandbox, client: Client):
    box.fault("no_signature", path="/v3/bill/")
    day = datetime.fromtimestamp(box.clock.now(), BEIJING).date().isoformat()
    box.advance("2d")
    with pytest.raises(ApiError) as caught:
        read(client, day=day)
    assert (caught.value.code, caught.value.signed) == ("NO_STATEMENT_EXIST", False)


def test_a_bill_in_the_making_is_to_be_asked_for_later(
    box: Sandbox, client: Client, monkeypatch: pytest.MonkeyPatch
):
    def creating(query: dict[str, str], origin: str) -> dict[str, str]:
        raise Refusal(400, "STATEMENT_CREATING", "being made")

    monkeypatch.setattr(box._files, "trade_bill", creating)
    with pytest.raises(BillNotReady, match=f"{DAY}.*half an hour"):
        read(client)


def test_a_day_that_is_not_over_is_wechat_pays_to_refuse(box: Sandbox, client: Client):
    today = datetime.fromtimestamp(box.clock.now(), BEIJING).date()
    for day in (today, today + timedelta(days=1), today - timedelta(days=120)):
        with pytest.raises(ApiError) as caught:
            read(client, day=day.isoformat())
        assert (caught.value.status, caught.value.signed) == (400, True)


# On the way


def test_an_address_that_has_expired_is_asked_for_again_once(
    box: Sandbox, client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    serve(ONE)
    download, asked = box._files.download, []

    def expired(times: int) -> None:
        def refuse(token: str, *, packed: bool = False) -> File:
            asked.append(token)
            if len(asked) <= times:
                raise Refusal(400, "INVALID_REQUEST", "expired")
            return download(token, packed=packed)

        delivered(box, monkeypatch, refuse)

    expired(1)
    assert [row["商户订单号"] for row in read(client)] == ["A1"]
    assert len(set(asked)) == 2
    asked.clear()
    expired(9)
    with pytest.raises(ApiError):
        read(client)
    assert len(set(asked)) == 2


def test_another_merchants_bill_is_not_asked_for_again(
    box: Sandbox, client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    serve(ONE)
    asked: list[str] = []

    def refuse(token: str, *, packed: bool = False) -> File:
        asked.append(token)
        raise Refusal(403, "NO_AUTH", "of another merchant")

    delivered(box, monkeypatch, refuse)
    with pytest.raises(ApiError) as caught:
        read(client)
    assert (caught.value.status, caught.value.code, len(asked)) == (403, "NO_AUTH", 1)


def test_a_failing_download_host_leaves_no_bill(box: Sandbox, client: Client, serve: Serve):
    serve(ONE)
    box.fault("html_502", path="/v3/billdownload/")
    with pytest.raises(ServerFault):
        read(client)


@pytest.mark.parametrize(
    "prefix", ["http://{foreign}/", "http://{ours}@{foreign}/", "http://{ours}.{foreign}/", "//{foreign}/"]
)
def test_a_signed_request_goes_to_no_other_host(box: Sandbox, client: Client, serve: Serve, prefix: str):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        foreign = f"127.0.0.1:{stranger.getsockname()[1]}"
        address = prefix.format(ours=box.url.removeprefix("http://"), foreign=foreign)
        serve(ONE, download_url=f"{address}v3/billdownload/file?token=x")
        with pytest.raises(NotSent, match="another host than wxPayApiBase"):
            read(client)
        with pytest.raises(TimeoutError):
            stranger.accept()


def test_a_file_that_was_altered_on_its_way_is_refused(
    box: Sandbox, client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    serve(ONE)
    for content in (ONE.replace(b"1.00", b"9.00"), gzip.compress(ONE[:-1]), b""):
        delivered(box, monkeypatch, lambda *_, content=content, **__: File(content))
        with pytest.raises(BillUnusable, match="hash"):
            read(client)


def test_a_file_that_was_cut_on_its_way_is_refused(
    box: Sandbox, client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    serve(ONE)
    packed = gzip.compress(ONE)
    for content in (packed[:-9], packed[:30], packed[:-8] + bytes(8), packed[:10] + b"\xff" * 20):
        delivered(box, monkeypatch, lambda *_, content=content, **__: File(content))
        with pytest.raises(BillUnusable, match="unpacked"):
            read(client)


def test_an_answer_that_ends_early_is_no_bill(box: Sandbox, client: Client, serve: Serve):
    serve(ONE)
    box.fault("cut_body", path="/v3/billdownload/")
    with pytest.raises(OutcomeUnknown):
        read(client)


@pytest.mark.parametrize("lacking", ["download_url", "hash_type", "hash_value"])
def test_an_offer_that_lacks_something_leaves_no_file_open(
    client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch, lacking: str
):
    opened: list[bills._File] = []

    class File(bills._File):
        def __init__(self, **options: int) -> None:
            super().__init__(**options)
            opened.append(self)

    monkeypatch.setattr(bills, "_File", File)
    serve(ONE, **{lacking: ""})
    with pytest.raises(BillUnusable, match="hash_type" if lacking == "hash_type" else lacking):
        bills.fetch(client, bills.TRADE, DAY)
    assert all(file.closed for file in opened)


def test_a_hash_of_another_kind_proves_nothing(client: Client, serve: Serve):
    serve(ONE, hash_type="MD5", hash_value=hashlib.md5(ONE, usedforsecurity=False).hexdigest())
    with pytest.raises(BillUnusable, match="SHA1"):
        read(client)


def test_a_hash_may_be_in_capitals(client: Client, serve: Serve):
    serve(ONE, hash_value=hashlib.sha1(ONE, usedforsecurity=False).hexdigest().upper())
    assert len(read(client)) == 1


def test_a_file_that_unpacks_without_end_is_given_up(
    client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bills, "MAX_PLAIN", 2**20)
    serve(bytes(2**24))
    with pytest.raises(BillUnusable, match="unpacks to more than"):
        read(client)


def test_a_download_without_end_is_given_up(client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bills, "MAX_FILE", 100)
    serve(ONE, packed=False)
    with pytest.raises(OutcomeUnknown, match="exceeds 100 bytes"):
        read(client)


# Reading


def test_columns_are_found_by_their_names(client: Client, serve: Serve):
    columns = [*reversed(COLUMNS["ALL"]), "某新列"]
    rows = (payment("A1", "1.00"), payment("A2", "2.50"))
    serve(trade(*rows, columns=columns, 应结订单总金额="3.50", 订单总金额="3.50"))
    assert [(row["商户订单号"], row["订单金额"]) for row in read(client)] == [("A1", "1.00"), ("A2", "2.50")]


def test_bills_of_older_merchants_have_other_columns_and_sums(client: Client, serve: Serve):
    columns = ["交易时间", "商户订单号", "交易状态", "总金额", "商户退款单号", "退款金额", "手续费"]
    rows = [
        ["2026-01-31 10:00:00", "A1", "SUCCESS", "1.00", "0", "0.0", "0.00600"],
        ["2026-01-31 10:00:00", "A1", "REFUND", "0.0", "R1", "0.5", "-0.00300"],
    ]
    titles = "总交易单数,总交易额,总退款金额,总企业红包退款金额,手续费总金额"
    serve(b"\xef\xbb\xbf" + text(columns, rows, titles, ["2.0", "1.0", "0.50", "0.0", "0.00300"]))
    assert [(row["商户订单号"], row["总金额"], row["退款金额"]) for row in read(client)] == [
        ("A1", "1.00", "0.0"),
        ("A1", "0.0", "0.5"),
    ]
    serve(text(columns, rows, titles, ["2", "1.0", "0.60", "0.0", "0.00300"]))
    with pytest.raises(BillUnusable, match="总退款金额"):
        read(client)


def test_a_comma_in_a_remark_is_part_of_it(client: Client, serve: Serve):
    row = {"业务凭证号": "R1", "业务类型": "退款", "收支类型": "支出", "收支金额(元)": "0.02", "备注": "缺货, sorry"}
    rows = [[row.get(name, "x") for name in FUND_COLUMNS]]
    titles = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额"
    serve(text(FUND_COLUMNS, rows, titles, ["1", "0", "0.00", "1", "0.02"]))
    (found,) = read(client, bills.FUNDFLOW)
    assert (found["备注"], found["业务凭证号"]) == ("缺货, sorry", "R1")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (trade(payment("A1", "1.00"), count="2", 应结订单总金额="1.00", 订单总金额="1.00"), "1 rows.*2"),
        (trade(payment("A1", "1.00"), 应结订单总金额="1.00", 订单总金额="1.01"), "订单总金额.*100 cents.*1.01"),
        (trade(payment("A1", "1.00"), 应结订单总金额="1.01", 订单总金额="1.00"), "应结订单总金额"),
        (trade({"交易状态": "REFUND", "申请退款金额": "1.00"}), "申请退款总金额"),
        (trade({"交易状态": "REFUND", "退款金额": "1.00"}), "退款总金额"),
        (b"\r\n".join(ONE.split(b"\r\n")[:2]), "without its summary"),
        (b"", "no column"),
        (b"<html>error</html>", "no column 商户订单号, 交易状态"),
        (ONE.replace(b"`A1,", b"`A1,`A2,"), "28 values under 27"),
        (ONE.replace("订单总金额,申请".encode(), "订单总金额".encode()), "7 values under 6"),
        (ONE.replace(b"`1.00", b"`1.001", 1), "1.001"),
        (ONE.replace(b"A1", b"\xff\xfe"), "UTF-8"),
        (ONE.replace(b"A1", b"A" * 200_000), "values under 27"),
    ],
    ids=str,
)
def test_a_bill_that_does_not_hold_together_is_refused(client: Client, serve: Serve, content: bytes, what: str):
    serve(content)
    with pytest.raises(BillUnusable, match=what):
        read(client)


@pytest.mark.parametrize(
    ("yuan", "cents"),
    [
        ("0.01", 1),
        ("1234567.89", 123456789),
        ("-0.06", -6),
        ("0.1", 10),
        ("0.0", 0),
        ("8", 800),
        ("4.35", 435),  # 4.35 * 100 is 434.99999999999994
        ("9999999999999.99", 999999999999999),
    ],
)
def test_yuan_become_cents_exactly(yuan: str, cents: int):
    assert bills.cents(yuan) == cents


def test_cents_become_yuan_exactly():
    # A float has no number as the last one.
    amounts = {0: "0.00", 7: "0.07", -6: "-0.06", 123456789: "1234567.89", 9007199254740993: "90071992547409.93"}
    assert {cents: bills.yuan(cents) for cents in amounts} == amounts


@pytest.mark.parametrize("yuan", ["", "-", "0.001", "1,000.00", "1e2", ".5", "5.", "+1", " 1", "１.00", "NaN", "1.0\n"])
def test_what_is_no_amount_is_refused(yuan: str):
    with pytest.raises(BillUnusable, match="amount in yuan"):
        bills.cents(yuan)


def test_reading_a_long_bill_takes_little_memory(client: Client, serve: Serve):
    count = 20_000
    rows = [payment(f"A{index}", "1.00", 商品名称="x" * 100) for index in range(count)]
    content = trade(*rows, 应结订单总金额=f"{count}.00", 订单总金额=f"{count}.00")
    serve(content)
    with bills.fetch(client, bills.TRADE, DAY) as bill:
        tracemalloc.start()
        seen = sum(1 for _ in bill.rows())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert seen == count
    assert peak < len(content) / 5
