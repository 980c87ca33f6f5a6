"""Bills: what WeChat Pay booked on one Beijing calendar day, fetched, checked against its hash and read row by row.

Amounts in the file are yuan with two decimals; here they are cents. The files have a header line, rows with a back-tick
before every value, and a summary [4013071246, 4013071249]. Free text stays escaped as it is in the file.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, BinaryIO, cast
from urllib.parse import urlencode

from services.wechatpay.client import Client
from services.wechatpay.errors import ApiError, BillNotKept, BillNotReady, BillUnusable
from utils.texts import Message

MAX_FILE, MAX_PLAIN = 256 * 2**20, 2**31  # bytes, as sent and unpacked
DOWNLOAD_TIMEOUT = 120.0
MAX_LINE = 2**16
SPOOLED = 2**20  # smaller files stay in memory
_YUAN = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,2}))?")

Row = Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """One kind of bill: where it is asked for, the columns that are read, and what its summary says of its rows.

    `needs` are the columns that it must have, `reads` those that it may have besides.

    `count` is the title of the number of rows, `totals` are the titles of sums, each with its column and, where it is
    over some rows only, a column and the value that these have in it. What a bill lacks is not checked: old merchants
    get older columns. Fees are left out, because they have five decimals.
    """

    path: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    count: str
    totals: Mapping[str, tuple[str, tuple[str, str] | None]]


# What they hold is told in [4013071227], trades, and [4013071235], movements of funds.
TRADE = Form(
    "/v3/bill/tradebill",
    ("商户订单号", "交易状态"),
    ("订单金额", "总金额", "应结订单金额", "商户退款单号", "申请退款金额", "退款金额", "退款状态"),
    "总交易单数",
    {
        "应结订单总金额": ("应结订单金额", None),
        "订单总金额": ("订单金额", None),
        "退款总金额": ("退款金额", None),
        "申请退款总金额": ("申请退款金额", None),
        # The older columns.
        "总交易额": ("总金额", None),
        "总退款金额": ("退款金额", None),
    },
)
FUNDFLOW = Form(
    "/v3/bill/fundflowbill",
    ("业务名称", "业务类型", "收支类型", "收支金额(元)", "业务凭证号"),
    ("备注",),
    "资金流水总笔数",
    {
        "收入金额": ("收支金额(元)", ("收支类型", "收入")),
        "支出金额": ("收支金额(元)", ("收支类型", "支出")),
    },
)


class Bill:
    """A fetched file whose hash held, for a `with` statement; `count` is the number of its rows once they were read."""

    def __init__(self, form: Form, file: IO[bytes] | None, hash_value: str) -> None:
        self.hash_value = hash_value
        self.count = 0
        self._form = form
        self._file = file

    def __enter__(self) -> Bill:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def rows(self) -> Iterator[Row]:
        """The rows' values by column name, of the columns that the form reads, in constant memory.

        Raises BillUnusable, also at the end, when the summary does not fit them.
        """
        if self._file is None:  # nothing happened on that day
            return
        self._file.seek(0)
        lines = (line.decode("utf-8").strip("\r\n") for line in _unpacked(self._file))
        try:
            yield from self._rows(lines)
        except UnicodeDecodeError as error:
            raise BillUnusable(Message("the bill is not in UTF-8")) from error

    def _rows(self, lines: Iterator[str]) -> Iterator[Row]:
        columns = next(lines, "").removeprefix("\ufeff").split(",")
        if lacking := [name for name in self._form.needs if name not in columns]:
            raise BillUnusable(Message("the bill has no column {names}", names=", ".join(lacking)))
        read = [(place, name) for place, name in enumerate(columns) if name in self._form.needs + self._form.reads]
        totals = {title: total for title, total in self._form.totals.items() if total[0] in columns}
        sums = dict.fromkeys(totals, 0)
        for count, line in enumerate(lines):
            if not line.startswith("`"):
                self.count = count
                self._check(line, next(lines, ""), sums)
                return
            values = _values(columns, line)
            row = {name: values[place] for place, name in read}
            for title, (column, only) in totals.items():
                if only is None or row[only[0]] == only[1]:
                    sums[title] += cents(row[column] or "0")
            yield row
        raise BillUnusable(Message("the bill ends without its summary"))

    def _check(self, titles: str, values: str, sums: Mapping[str, int]) -> None:
        columns = titles.split(",")
        summary = dict(zip(columns, _values(columns, values), strict=True))
        said = summary.get(self._form.count, "")
        if cents(said) != 100 * self.count:  # it is "20.0" in some bills
            template = "the bill has {count} rows, its summary says {said}"
            raise BillUnusable(Message(template, count=self.count, said=said))
        for title, total in sums.items():
            if title in summary and cents(summary[title]) != total:
                template = "{title}: the bill's rows add up to {total} cents, not {said} yuan"
                raise BillUnusable(Message(template, title=title, total=total, said=summary[title]))


class _File(tempfile.SpooledTemporaryFile[bytes]):
    """On disk from SPOOLED bytes on. A disk that is full must not look like a network that fails."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _not_kept(error) from error

    def discard(self) -> None:
        with suppress(OSError):  # closing writes what is left, which does not fit either
            self.close()


def _not_kept(error: OSError) -> BillNotKept:
    template = "the bill does not fit into the folder for temporary files ({reason}): make room in TMPDIR, else /tmp"
    return BillNotKept(Message(template, reason=os.strerror(error.errno or 0)))


def fetch(client: Client, form: Form, day: str, **options: str) -> Bill:
    """The bill of `day` (YYYY-MM-DD), checked; one without rows where nothing happened (NO_STATEMENT_EXIST).

    WeChat Pay decides which days have a bill: its business day need not be the one of this machine's clock. Raises
    BillUnusable, BillNotKept, BillNotReady until it is made, towards 10:00 of the next day, and what Client raises:
    ApiError for a day that has none, because it is not over or more than three months ago.
    """
    path = f"{form.path}?{urlencode({'bill_date': day, **options, 'tar_type': 'GZIP'})}"
    for last in (False, True):
        try:
            offer = client.call("GET", path).data
        except ApiError as error:
            if error.signed and _is(error, "NO_STATEMENT_EXIST"):
                return Bill(form, None, "")
            if _is(error, "STATEMENT_CREATING"):
                template = "the bill of {day} is still being made: ask again in half an hour"
                raise BillNotReady(Message(template, day=day)) from error
            raise
        url = _text(offer, "download_url")
        file = _File(max_size=SPOOLED)
        try:
            client.download(url, cast("BinaryIO", file), limit=MAX_FILE, timeout=DOWNLOAD_TIMEOUT)
            _require_hash(file, offer)
            return Bill(form, file, _text(offer, "hash_value"))
        except OSError as error:  # what was written last
            file.discard()
            raise _not_kept(error) from error
        except ApiError as error:
            file.close()
            if last or error.status != 400:  # 400: the address has expired, apply again [4013071238]
                raise
        except BaseException:
            file.discard()
            raise
    raise AssertionError("unreachable")


@lru_cache(4096)  # most are zero
def cents(yuan: str) -> int:
    """"1234.5" -> 123450, exactly."""
    match = _YUAN.fullmatch(yuan)
    if match is None:
        raise BillUnusable(Message("the bill holds {found} where an amount in yuan is expected", found=repr(yuan[:40])))
    sign, whole, part = match.groups()
    value = int(whole) * 100 + int((part or "").ljust(2, "0"))
    return -value if sign else value


def yuan(amount: int) -> str:
    """123450 -> "1234.50", exactly."""
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def _is(error: ApiError, code: str) -> bool:
    """Codes are spelt with `_` or without."""
    return error.code.replace("_", "") == code.replace("_", "")


def _require_hash(file: IO[bytes], offer: Mapping[str, Any]) -> None:
    """The announced hash is that of the unpacked file."""
    if _text(offer, "hash_type") != "SHA1":
        raise BillUnusable(Message("the bill's hash_type is not SHA1"))
    digest = hashlib.sha1(usedforsecurity=False)
    file.seek(0)
    for piece in _pieces(file):
        digest.update(piece)
    if digest.hexdigest() != _text(offer, "hash_value").lower():
        raise BillUnusable(Message("the bill's hash is not the announced one: it was cut or altered on its way"))


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    size = 0
    stream = _plain(file)
    try:
        while piece := stream.read(65536):
            size += len(piece)
            if size > MAX_PLAIN:
                raise BillUnusable(Message("the bill unpacks to more than {most} bytes", most=MAX_PLAIN))
            yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BillUnusable(Message("the bill cannot be unpacked")) from error


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Lines; only a line feed ends one. One that is too long is cut, and then fits no columns."""
    stream = _plain(file)
    return iter(lambda: stream.readline(MAX_LINE), b"")


def _plain(file: IO[bytes]) -> IO[bytes]:
    head = file.read(2)
    file.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb")) if head == b"\x1f\x8b" else file


def _values(columns: Sequence[str], line: str) -> list[str]:
    values = line.removeprefix("`").split(",`")
    if len(values) != len(columns):
        template = "the bill has a row of {values} values under {columns} columns"
        raise BillUnusable(Message(template, values=len(values), columns=len(columns)))
    return values


def _text(offer: Mapping[str, Any], name: str) -> str:
    value = offer.get(name)
    if not isinstance(value, str) or not value:
        raise BillUnusable(Message("WeChat Pay's answer holds no {name}", name=name))
    return value
