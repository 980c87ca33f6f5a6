"""Bills and receipts: what is in them, and the addresses that they are fetched from."""

from __future__ import annotations

import gzip
import hashlib
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sandbox.clock import BEIJING, day_of, rfc3339
from sandbox.errors import Refusal, bad_field
from sandbox.ledger import DAY, HOUR, MINUTE, TRADE_TYPES, Ledger, Order, Refund, Transfer, state_at
from sandbox.merchant import ACCOUNTS, TOP_UPS, Entry, fee_of

TRADE_BILLS = ("ALL", "SUCCESS", "REFUND")
GENERATED_AT, READY_AT = 9 * HOUR, 10 * HOUR
KEPT_DAYS = 92
BILL_LIFETIME, RECEIPT_LIFETIME = 5 * MINUTE, 10 * MINUTE
RECEIPT_MONTHS = 183 * DAY
RECEIPT_TAKES = 10
REFUND_WORDS = {"SUCCESS": "SUCCESS", "PROCESSING": "PROCESSING", "ABNORMAL": "CHANGE", "CLOSED": "FAIL"}
"""Refund state -> 退款状态 [4013071246]; CHANGE is v2's word for an abnormal refund."""

_COMMON = (
    *("交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号", "用户标识"),
    *("交易类型", "交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额"),
)
_REFUND = ("微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态")
_TAIL = ("商品名称", "商户数据包", "手续费", "费率", "订单金额", "申请退款金额", "费率备注")
COLUMNS = {
    "ALL": [*_COMMON, *_REFUND, *_TAIL],
    "SUCCESS": [*_COMMON, *(name for name in _TAIL if name != "申请退款金额")],
    "REFUND": [*_COMMON, "退款申请时间", "退款成功时间", *_REFUND, *_TAIL],
}
_TOTALS = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
FUND_COLUMNS = [
    *("记账时间", "微信支付业务单号", "资金流水单号", "业务名称", "业务类型", "收支类型"),
    *("收支金额(元)", "账户结余(元)", "资金变更提交申请人", "备注", "业务凭证号"),
]
FUND_TOTALS = ("资金流水总笔数", "收入笔数", "收入金额", "支出笔数", "支出金额")
_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    ",": "\\ ",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\ue000": "\\ ",
    "\x1a": "\\\x1a",
}
_ORDER_ESCAPES = str.maketrans({**_ESCAPES, "'": "\\'", "`": "\\`"})
_REFUND_ESCAPES = str.maketrans({**_ESCAPES, "`": "\\140"})
_FUND_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\x01": " "})


@dataclass(frozen=True)
class File:
    """The content of a download; its answer carries no signature [4013071238]."""

    content: bytes


class Files:
    """Makes them, and keeps each under its address for as long as that is valid.

    `query` is that of the request; `origin` is scheme and host by which it came, since addresses lead back there.
    """

    def __init__(self, ledger: Ledger, merchant_id: str) -> None:
        self._ledger = ledger
        self._merchant_id = merchant_id
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[bytes, float]] = {}
        self._receipts: dict[str, float] = {}

    def clear(self) -> None:
        with self._lock:
            self._tokens.clear()
            self._receipts.clear()

    def trade_bill(self, query: dict[str, str], origin: str) -> dict[str, str]:
        """[4013071227]"""
        _known(query, "bill_date", "bill_type", "tar_type")
        kind = _choice(query, "bill_type", TRADE_BILLS)
        day = self._day(query)
        with self._ledger.lock:
            rows = self._trade_rows(day, kind)
        return self._offered(self._file(query, day, rows, COLUMNS[kind], _trade_totals(kind, rows)), origin)

    def fund_bill(self, query: dict[str, str], origin: str) -> dict[str, str]:
        """[4013071235]"""
        _known(query, "bill_date", "account_type", "tar_type")
        account = _choice(query, "account_type", ACCOUNTS)
        day = self._day(query)
        with self._ledger.lock:
            entries = [
                entry
                for entry in self._ledger.merchant.entries
                if entry.account == account and day_of(entry.time) == day.isoformat()
            ]
        rows = [_fund_row(entry, self._merchant_id) for entry in entries]
        return self._offered(self._file(query, day, rows, FUND_COLUMNS, _fund_totals(entries)), origin)

    def apply_for_receipt(self, number: str) -> dict[str, str]:
        """[4012716452]"""
        with self._ledger.lock:
            self._receivable(number)
            created = self._receipts.setdefault(number, self._ledger.now())
        return {"state": self._receipt_state(created), "create_time": rfc3339(created)}

    def receipt(self, transfer: Transfer | None, origin: str) -> dict[str, str]:
        """[4012716436]"""
        created = self._receipts.get(transfer.number) if transfer else None
        if transfer is None or created is None:
            raise Refusal(404, "NOT_FOUND", "no receipt has been applied for")
        state = self._receipt_state(created)
        shown = {"state": state, "create_time": rfc3339(created), "update_time": rfc3339(created)}
        if state == "FINISHED":
            text = f"商家转账电子回单\n{transfer.number}\n{transfer.transfer_bill_no}\n{_yuan(transfer.amount)}\n"
            content = text.encode()
            shown |= {
                "update_time": rfc3339(created + RECEIPT_TAKES),
                "hash_type": "SHA256",
                "hash_value": hashlib.sha256(content).hexdigest().upper(),
                "download_url": f"{origin}/v3/transferbilldownload/file?token={self._token(content, RECEIPT_LIFETIME)}",
            }
        return shown

    def download(self, token: str, *, packed: bool = False) -> File:
        """Raises Refusal INVALID_REQUEST when the address is unknown or too old [4013071238]."""
        with self._lock:
            content, until = self._tokens.get(token, (b"", 0.0))
        if self._ledger.now() > until:
            raise Refusal(400, "INVALID_REQUEST", "the download address is not valid (any more): apply again")
        return File(gzip.compress(content, mtime=0) if packed else content)

    def _day(self, query: dict[str, str]) -> date:
        """A day whose bill exists: before today, within three months, after its generation."""
        text = query.get("bill_date", "")
        try:
            day = date.fromisoformat(text) if len(text) == len("2026-01-31") else None
        except ValueError:
            day = None
        if day is None:
            raise bad_field("bill_date", "must be a day as YYYY-MM-DD", text, location="query")
        now = datetime.fromtimestamp(self._ledger.now(), BEIJING)
        if not timedelta(0) < now.date() - day <= timedelta(days=KEPT_DAYS):
            raise bad_field("bill_date", "must be before today and within three months", text, location="query")
        if self._ledger.now() < _midnight(day) + DAY + READY_AT:
            raise Refusal(400, "STATEMENT_CREATING", "the bill is being made: it is there after 10:00 of the next day")
        return day

    def _trade_rows(self, day: date, kind: str) -> list[dict[str, str]]:
        """Payments of the day, and refunds asked for on that day, as they stood at generation [4013071246]."""
        rows: list[tuple[float, dict[str, str]]] = []
        for order in self._ledger.orders.values():
            if kind != "REFUND" and order.transaction_id and day_of(order.paid) == day.isoformat():
                rows.append((order.paid, self._order_row(order)))
        for refund in self._ledger.refunds.values():
            if kind != "SUCCESS" and day_of(refund.created) == day.isoformat():
                rows.append((refund.created, self._refund_row(refund, _midnight(day) + DAY + GENERATED_AT)))
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _order_row(self, order: Order) -> dict[str, str]:
        return self._row(order, order.paid, _ORDER_ESCAPES) | {
            "交易状态": "SUCCESS",
            "应结订单金额": _yuan(order.total),
            "手续费": _yuan(fee_of(order.total)),
            "订单金额": _yuan(order.total),
        }

    def _refund_row(self, refund: Refund, generated: float) -> dict[str, str]:
        return self._row(refund.order, refund.created, _REFUND_ESCAPES) | {
            "交易状态": "REFUND",
            "退款申请时间": _local(refund.created),
            "退款成功时间": _local(refund.succeeded) if 0 < refund.succeeded <= generated else "",
            "微信退款单号": refund.refund_id,
            "商户退款单号": refund.number,
            "退款金额": _yuan(refund.amount),
            "退款类型": "ORIGINAL",
            "退款状态": REFUND_WORDS[state_at(refund, generated)],
            "手续费": _yuan(-refund.fee),
            "申请退款金额": _yuan(refund.amount),
        }

    def _row(self, order: Order, moment: float, escapes: dict[int, str]) -> dict[str, str]:
        """What both kinds of row say of the order, with the words for 'nothing' elsewhere."""
        return {
            "交易时间": _local(moment),
            "公众账号ID": order.body["appid"],
            "商户号": self._merchant_id,
            "特约商户号": "0",
            "设备号": order.body.get("scene_info", {}).get("device_id", "").translate(escapes),
            "微信订单号": order.transaction_id,
            "商户订单号": order.number,
            "用户标识": order.openid,
            "交易类型": TRADE_TYPES[order.scene],
            "付款银行": order.bank_type,
            "货币种类": "CNY",
            "应结订单金额": "0.00",
            "代金券金额": "0.00",
            "微信退款单号": "0",
            "商户退款单号": "0",
            "退款金额": "0.00",
            "充值券退款金额": "0.00",
            "退款类型": "",
            "退款状态": "",
            "商品名称": order.body["description"].translate(escapes),
            "商户数据包": order.body.get("attach", "").translate(escapes),
            "费率": "0.60%",
            "订单金额": "0.00",
            "申请退款金额": "0.00",
            "费率备注": "",
        }

    def _file(
        self,
        query: dict[str, str],
        day: date,
        rows: list[dict[str, str]],
        columns: list[str],
        totals: dict[str, str],
    ) -> tuple[bytes, bool]:
        packed = _choice(query, "tar_type", ("", "GZIP")) == "GZIP"
        if not rows:
            raise Refusal(400, "NO_STATEMENT_EXIST", f"nothing happened on {day.isoformat()}")
        lines = [
            columns,
            *([f"`{row[name]}" for name in columns] for row in rows),
            list(totals),
            [f"`{value}" for value in totals.values()],
        ]
        # Free text is escaped before, so no cell needs quotes; the line end is not documented.
        text = "".join(",".join(line) + "\r\n" for line in lines)
        return text.encode(), packed

    def _offered(self, file: tuple[bytes, bool], origin: str) -> dict[str, str]:
        """The hash is that of the unpacked file [4013071238]."""
        content, packed = file
        url = f"{origin}/v3/billdownload/file?token={self._token(content, BILL_LIFETIME)}"
        return {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(content).hexdigest(),  # noqa: S324 - defined so
            "download_url": url + ("&tartype=gzip" if packed else ""),
        }

    def _token(self, content: bytes, lifetime: float) -> str:
        token = secrets.token_urlsafe(32)
        now = self._ledger.now()
        with self._lock:
            self._tokens = {kept: entry for kept, entry in self._tokens.items() if entry[1] >= now}
            self._tokens[token] = (content, now + lifetime)
        return token

    def _receivable(self, number: str) -> None:
        """Receipts exist for named, successful transfers of the last six months [4012716452]."""
        transfer = self._ledger.transfers.get(number)
        if transfer is None:
            raise Refusal(404, "NOT_FOUND", "no such bill")
        old = self._ledger.now() - transfer.created > RECEIPT_MONTHS
        if transfer.state != "SUCCESS" or "user_name" not in transfer.body or old:
            raise Refusal(400, "INVALID_REQUEST", "only successful, named transfers of six months have one")

    def _receipt_state(self, created: float) -> str:
        return "FINISHED" if self._ledger.now() >= created + RECEIPT_TAKES else "GENERATING"


def _trade_totals(kind: str, rows: list[dict[str, str]]) -> dict[str, str]:
    totals = {"总交易单数": str(len(rows))}
    for title, column in _TOTALS.items():
        if kind == "SUCCESS" and "退款" in title:
            continue
        totals[title] = _yuan(sum(_cents(row[column]) for row in rows))
    return totals


def _fund_row(entry: Entry, merchant_id: str) -> dict[str, str]:
    return {
        "记账时间": _local(entry.time),
        "微信支付业务单号": entry.number,
        "资金流水单号": entry.flow,
        "业务名称": entry.business,
        "业务类型": entry.kind,
        "收支类型": "收入" if entry.amount > 0 else "支出",
        "收支金额(元)": _yuan(abs(entry.amount)),
        "账户结余(元)": _yuan(entry.balance),
        "资金变更提交申请人": _applicant(entry, merchant_id),
        "备注": "",
        "业务凭证号": entry.voucher.translate(_FUND_ESCAPES),
    }


def _applicant(entry: Entry, merchant_id: str) -> str:
    if entry.business == TOP_UPS:
        return f"admin@{merchant_id}"
    return "system" if "手续费" in entry.kind else f"{merchant_id}API"


def _fund_totals(entries: Sequence[Entry]) -> dict[str, str]:
    incoming = [entry.amount for entry in entries if entry.amount > 0]
    outgoing = [-entry.amount for entry in entries if entry.amount < 0]
    values = (
        str(len(incoming) + len(outgoing)),
        str(len(incoming)),
        _yuan(sum(incoming)),
        str(len(outgoing)),
        _yuan(sum(outgoing)),
    )
    return dict(zip(FUND_TOTALS, values, strict=True))


def _known(query: dict[str, str], *names: str) -> None:
    for name in query:
        if name not in names:
            raise bad_field(name, "is not a parameter of this request", location="query")


def _choice(query: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name, choices[0])
    if value not in choices:
        raise bad_field(name, f"must be one of {', '.join(filter(None, choices))}", value, location="query")
    return value


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=BEIJING).timestamp()


def _local(moment: float) -> str:
    return datetime.fromtimestamp(moment, BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def _yuan(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _cents(yuan: str) -> int:
    return int(yuan.replace(".", ""))
