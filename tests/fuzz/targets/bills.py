"""Bills: services/wechatpay/bills.py and services/orders/compare.py, from a signed offer to the findings.

What is counted must be what stands in the file: rows, sums and classes are computed a second time, with Decimal. A bill
that does not add up is BillUnusable, and nothing else ever comes of one.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import hashlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from sqlalchemy import event

from sandbox.files import COLUMNS, FUND_COLUMNS
from services.orders.compare import AMOUNT, MISSING_HERE, MISSING_THERE, OTHER, Bills, Comparison
from services.orders.database import Database
from services.orders.schema import incidents, metadata, orders, refunds, transfers
from services.orders.store import Store
from services.wechatpay import bills
from services.wechatpay.client import Client
from services.wechatpay.errors import BillUnusable
from services.wechatpay.signer import Signer
from services.wechatpay.transport import Transport
from tests.fuzz import world
from tests.fuzz.choices import Choices

TOKENS = (
    b"`", b",`", b",", b"\r\n", b"\n", b"\r", b"0.00", b"1.00", b"-1.00", b"1", b"1.0", b"1.5", b"1.005", b"1e2",
    b"+1.00",
    b"\xef\xbc\x91.00", b"9" * 13, b"9" * 14, b"NaN", b".", b"\xef\xbb\xbf", b"SUCCESS", b"REFUND", b"REVOKED",
    "订单金额".encode(), "交易状态".encode(), "总交易单数".encode(), "转账".encode(), "退款".encode(), "收入".encode(),
    "支出".encode(), "退款总金额1.00元;含手续费0.01元".encode(), b"FUZZ0001", b"FUZZ0002", b"BACK0001", b"SENT0001",
    b"\x00",
)  # fmt: skip
DAY = "2026-01-30"
_NOON = datetime(2026, 1, 30, 4, tzinfo=timezone.utc)
_STORED = {"order": {"FUZZ0001": 100, "FUZZ0002": 1}, "refund": {"BACK0001": 50}, "transfer": {"SENT0001": 200}}
_YUAN = ("1.00", "0.01", "0.50", "2.00", "0.00", "1", "1.0", "-1.00", "1.005", "１.00", "99999999999.99", "1.00 ", "x")
_NUMBERS = ("FUZZ0001", "FUZZ0002", "BACK0001", "SENT0001", "ELSE0001", "", "FUZZ0001 ", "fuzz0001", "'; --", "茶" * 40)
_TRADE_TITLES = {
    "总交易单数": "",
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}


class _Offer:
    """The file that WeChat Pay offers now, and what it says of it."""

    content = b""
    stated: Mapping[str, Any] = {}


def _answer(method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    if path.startswith("/download"):
        return 200, {}, _Offer.content
    raw = world.encoded(_Offer.stated)
    return 200, world.signed(raw), raw


@functools.cache
def _compared() -> Bills:
    folder = tempfile.mkdtemp(prefix="fuzz-bills-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = Store(Database(f"sqlite:///{folder}/orders"))
    event.listen(store.database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    metadata.create_all(store.database.engine)
    common = {"params": "{}", "unknown": False, "attempts": 1, "checks": 0, "created_at": _NOON, "updated_at": _NOON}
    with store.database.engine.begin() as connection:
        for number, total in _STORED["order"].items():
            own = {"mchid": "1", "appid": "1", "owner": "", "currency": "CNY", "refunded": 0, "expires_at": _NOON}
            row = {"out_trade_no": number, "total": total, "state": "PAID", "paid_at": _NOON}
            connection.execute(orders.insert().values({**common, **own, **row}))
        for number, amount in _STORED["refund"].items():
            own = {"out_trade_no": "FUZZ0001", "total": 100, "currency": "CNY", "succeeded_at": _NOON}
            row = {"out_refund_no": number, "amount": amount, "state": "SUCCESS"}
            connection.execute(refunds.insert().values({**common, **own, **row}))
        for number, amount in _STORED["transfer"].items():
            own = {"appid": "1", "openid": "o", "finished_at": _NOON}
            row = {"out_bill_no": number, "amount": amount, "state": "SUCCESS"}
            connection.execute(transfers.insert().values({**common, **own, **row}))
    client = Client(
        transport=Transport(world.Network(_answer)),
        signer=Signer(world.MERCHANT_ID, world.MERCHANT_SERIAL, world.MERCHANT_KEY),
        api_v3_key=world.API_V3_KEY,
        public_key_id=world.PUBLIC_KEY_ID,
        public_key=world.PLATFORM_KEY.public_key(),
        hosts=world.HOSTS,
        timeout=5,
        user_agent="fuzz",
    )
    return Bills(store, client)


def run(data: bytes) -> None:
    """The first byte says what follows: `t`, `b`, `o` a file of trades, payments, transfers; else choices for one."""
    kind = data[:1].decode("latin-1")
    if kind in "tbo" and kind:
        plain, account, pristine = data[1:], {"t": "", "b": "BASIC", "o": "OPERATION"}[kind], False
        content, stated = plain, _stated(plain)
    else:
        choices = Choices(data)
        account = choices.pick(("", "BASIC", "OPERATION", "FEES"))
        made, adds_up = _made(choices, account)
        spoiled = choices.spoiled(made)
        pristine = choices.byte() == 0 and spoiled == made and adds_up and _is_good(made.decode())
        plain = spoiled
        content = choices.pick((plain, gzip.compress(plain, 1, mtime=0)))
        content = content if pristine else choices.spoiled(content)
        stated = _stated(plain) if pristine else choices.edited(_stated(plain), 1)
    _judged(plain, account, content, stated, pristine)


def _stated(plain: bytes) -> dict[str, Any]:
    digest = hashlib.sha1(plain, usedforsecurity=False).hexdigest()
    return {"hash_type": "SHA1", "hash_value": digest, "download_url": f"{world.HOSTS[0]}/download?token=1"}


def _judged(plain: bytes, account: str, content: bytes, stated: Any, pristine: bool) -> None:
    if not isinstance(stated, dict):
        return
    _Offer.content, _Offer.stated = content, stated
    compared = _compared()
    try:
        found = compared.fundflow(DAY, account) if account else compared.trade(DAY)
    except BillUnusable as error:
        if pristine:
            raise AssertionError("a good bill is refused") from error
    except bills.ApiError:
        raise AssertionError("WeChat Pay said nothing of the kind") from None
    except Exception as error:
        # An offer that leads elsewhere is not followed; that is documented.
        if type(error).__name__ != "NotSent" or str(stated.get("download_url", "")).startswith(f"{world.HOSTS[0]}/"):
            raise
    else:
        _require_conserved(found, plain, account)
    finally:
        if world.time.monotonic() % 10 < 0.1:  # the findings are kept; not for ever here
            with compared._database.engine.begin() as connection:
                connection.execute(incidents.delete())


def _require_conserved(found: Comparison, plain: bytes, account: str) -> None:
    rows, summary = _parsed(plain)
    assert found.rows == len(rows), "the number of rows is not that of the file"
    _require_sums(rows, summary, account)
    billed = _billed(rows, account)
    kinds = {"": ("order", "refund"), "BASIC": ("order", "refund"), "OPERATION": ("transfer",)}.get(account, ())
    ours = [one for one in billed if one and one[0] in kinds]
    totals: Counter[str] = Counter()
    for kind, _, cents in ours:
        totals[kind] += cents
    assert {kind: total for kind, total in found.totals.items() if total} == {k: t for k, t in totals.items() if t}
    expected = Counter(_class(*one) for one in ours)
    assert found.counts[MISSING_HERE] == expected[MISSING_HERE], "what is not stored is not told"
    assert found.counts[AMOUNT] == expected[AMOUNT], "another amount than the stored one is not told"
    told = sum(found.counts.values()) - found.counts[MISSING_THERE]
    assert told == len(billed), "a row is in no class, or in two"
    assert found.counts[OTHER] == len(billed) - len(ours)
    for one in found.differences:
        assert one.found != AMOUNT or one.billed != one.stored


def _class(kind: str, number: str, cents: int) -> str:
    stored = _STORED[kind].get(number)
    return MISSING_HERE if stored is None else AMOUNT if stored != cents else "alike"


def _parsed(plain: bytes) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Rows and summary by column name, read a second time; what stands behind the summary counts for nothing."""
    lines = [line.strip(b"\r") for line in plain.split(b"\n")]
    columns = lines[0].decode().lstrip("\ufeff").split(",")
    rows = []
    for number, line in enumerate(lines[1:], 1):
        if line[:1] != b"`":
            titles, values = line.decode().split(","), lines[number + 1].decode()[1:].split(",`")
            return rows, dict(zip(titles, values, strict=True))
        rows.append(dict(zip(columns, line.decode()[1:].split(",`"), strict=True)))
    raise AssertionError("a bill without a summary is taken")


def _cents(yuan: str) -> int:
    assert re.fullmatch(r"-?[0-9]{1,13}(\.[0-9]{1,2})?", yuan), f"{yuan!r} counts as an amount"
    return int(Decimal(yuan) * 100)


def _require_sums(rows: Sequence[Mapping[str, str]], summary: Mapping[str, str], account: str) -> None:
    if account:
        totals = {
            title: sum(_cents(row["收支金额(元)"]) for row in rows if row["收支类型"] == way) for title, way in _WAYS
        }
    else:
        totals = {
            title: sum(_cents(row[column] or "0") for row in rows)
            for title, column in _TRADE_TITLES.items()
            if rows and column in rows[0] and "金额" in column and title not in ("充值券退款总金额", "手续费总金额")
        }
    for title, total in totals.items():
        if title in summary:
            assert total == _cents(summary[title]), f"{title} does not add up, and nothing says so"


_WAYS = (("收入金额", "收入"), ("支出金额", "支出"))


def _billed(rows: Sequence[Mapping[str, str]], account: str) -> list[tuple[str, str, int] | None]:
    if account == "OPERATION":
        return _left(rows)
    return [_moved(row) if account else _traded(row) for row in rows]


def _traded(row: Mapping[str, str]) -> tuple[str, str, int] | None:
    if row["交易状态"] == "SUCCESS":
        column = next(name for name in ("订单金额", "总金额", "应结订单金额") if name in row)
        return "order", row["商户订单号"], _cents(row[column])
    if row["交易状态"] == "REFUND":
        column = next(name for name in ("申请退款金额", "退款金额") if name in row)
        return "refund", row.get("商户退款单号", ""), _cents(row[column])
    return None


def _moved(row: Mapping[str, str]) -> tuple[str, str, int] | None:
    way = row["业务类型"], row["收支类型"]
    if way == ("交易", "收入"):
        return "order", row["业务凭证号"], _cents(row["收支金额(元)"])
    if way != ("退款", "支出"):
        return None
    cents, remark = (
        _cents(row["收支金额(元)"]),
        re.search("退款总金额([0-9.]+)元;含手续费([0-9.]+)元", row.get("备注", "")),
    )
    if remark and _cents(remark[1]) - _cents(remark[2]) == cents:
        cents = _cents(remark[1])
    return "refund", row["业务凭证号"], cents


def _left(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str, int] | None]:
    """Of each transfer what came back, else what went."""
    found: list[tuple[str, str, int] | None] = [None for row in rows if "转账" not in row["业务名称"]]
    moved: dict[str, Counter[bool]] = {}
    for row in rows:
        if "转账" in row["业务名称"]:
            moved.setdefault(row["业务凭证号"], Counter())[row["收支类型"] == "收入"] += _cents(row["收支金额(元)"])
    return found + [("transfer", number, sides[True] or sides[False]) for number, sides in moved.items()]


# Bills made by choice


def _made(choices: Choices, account: str) -> tuple[bytes, bool]:
    """A file, and whether it adds up."""
    columns = FUND_COLUMNS if account else COLUMNS["ALL"]
    rows = [_fund_row(choices) if account else _trade_row(choices) for _ in range(choices.byte() % 6)]
    table = [[row.get(name, "0.00" if "金额" in name else "") for name in columns] for row in rows]
    titles = (
        {"资金流水总笔数": "", "收入笔数": "", "收入金额": "收入", "支出笔数": "", "支出金额": "支出"}
        if account
        else _TRADE_TITLES
    )
    summary = [str(len(rows))]
    for title, what in list(titles.items())[1:]:
        if account:
            amounts = [row["收支金额(元)"] for row in rows if row["收支类型"] == what]
        else:
            amounts = [values[columns.index(what)] for values in table]
        summary.append(_yuan(amounts) if "金额" in title else "0")
    adds_up = not choices.chance(4)
    if not adds_up:
        summary[choices.byte() % len(summary)] = choices.pick(_YUAN)
    text = ",".join(columns) + "\r\n"
    for values in [*table]:
        text += ",".join(f"`{value}" for value in values) + "\r\n"
    text += ",".join(titles) + "\r\n" + ",".join(f"`{value}" for value in summary) + "\r\n"
    return text.encode(), adds_up


def _is_good(text: str) -> bool:
    cells = {cell.rstrip(",\r\n") for cell in text.split("`")}
    return not cells & {"1.005", "１.00", "1.00 ", "x"} and ".." not in text


def _yuan(amounts: Sequence[str]) -> str:
    good = [Decimal(amount) for amount in amounts if re.fullmatch(r"-?\d+(\.\d{1,2})?", amount)]  # of any script
    return f"{sum(good, Decimal(0)):.2f}"


def _amount(choices: Choices) -> str:
    """Mostly a plain one: a single bad one spoils the whole bill."""
    return choices.pick(_YUAN) if choices.chance(8) else choices.pick(_YUAN[:5])


def _number(choices: Choices) -> str:
    return choices.pick(_NUMBERS) if choices.chance(4) else choices.pick(_NUMBERS[:5])


def _trade_row(choices: Choices) -> dict[str, str]:
    kind = choices.pick(("SUCCESS", "REFUND", "REVOKED", "success", ""))
    amount, number = _amount(choices), _number(choices)
    if kind == "REFUND":
        state = choices.pick(("SUCCESS", "PROCESSING", "FAIL"))
        return {
            "交易状态": kind,
            "商户退款单号": number,
            "申请退款金额": amount,
            "退款金额": _amount(choices),
            "退款状态": state,
        }
    return {"交易状态": kind, "商户订单号": number, "订单金额": amount, "应结订单金额": _amount(choices)}


def _fund_row(choices: Choices) -> dict[str, str]:
    what, way = choices.pick(
        (("交易", "收入"), ("退款", "支出"), ("扣除交易手续费", "支出"), ("提现", "支出"), ("退款", "收入"))
    )
    way = choices.pick((way, way, "收入", "支出", ""))
    name = choices.pick(("交易", "商家转账", "企业付款到零钱"))
    remark = choices.pick(
        ("", "", "退款总金额1.00元;含手续费0.00元", "退款总金额1.00元;含手续费0.50元", "退款总金额1..0元;含手续费.元")
    )
    amount = _amount(choices)
    return {
        "业务名称": name,
        "业务类型": what,
        "收支类型": way,
        "收支金额(元)": amount,
        "业务凭证号": _number(choices),
        "备注": remark,
    }


def seeds() -> Iterable[bytes]:
    for account in range(4):
        yield bytes((account, 0))
        yield bytes((account, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0))
        yield bytes((account, 5)) + bytes(range(0, 60, 2))
        yield bytes((account, 2)) + bytes(20) + bytes((1, 1))
    for kind, account in (("t", ""), ("b", "BASIC"), ("o", "OPERATION")):
        for rows in (1, 3):
            yield kind.encode() + _made(Choices(bytes((rows, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 1))), account)[0]
