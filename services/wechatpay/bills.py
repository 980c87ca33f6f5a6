"""Bills: what WeChat Pay booked on one Beijing calendar day, fetched, checked against its hash and read row by row.

Amounts in the file are yuan with two decimals; here they are cents. The files have a header line, rows with a back-tick
before every value, and a summary [4013071246, 4013071249].
"""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast
from urllib.parse import urlencode

from services.wechatpay.client import Client
from services.wechatpay.errors import ApiError, BillUnusable

MAX_FILE, MAX_PLAIN = 256 * 2**20, 2**31  # bytes, as sent and unpacked
DOWNLOAD_TIMEOUT = 120.0
SPOOLED = 2**20  # smaller files stay in memory
_YUAN = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,2}))?")

Row = Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """One kind of bill: where it is asked for, the columns that are read, and the totals that its rows must add up to.

    A total is the sum of the first of the named columns that the bill has (old merchants get older columns), over rows
    whose column `only[0]` says `only[1]`.
    """

    path: str
    columns: frozenset[str]
    count: str
    totals: Mapping[str, tuple[tuple[str, ...], tuple[str, str] | None]]


# What they hold is told in [4013071227], trades, and [4013071235], movements of funds.
TRADE = Form(
    "/v3/bill/tradebill",
    frozenset({
        *("交易状态", "商户订单号", "订单金额", "总金额", "应结订单金额"),
        *("商户退款单号", "申请退款金额", "退款金额", "退款状态"),
    }),
    "总交易单数",
    {"订单总金额": (("订单金额",), None), "申请退款总金额": (("申请退款金额",), None)},
)
FUNDFLOW = Form(
    "/v3/bill/fundflowbill",
    frozenset({"业务名称", "业务类型", "收支类型", "收支金额(元)", "业务凭证号"}),
    "资金流水总笔数",
    {
        "收入金额": (("收支金额(元)",), ("收支类型", "收入")),
        "支出金额": (("收支金额(元)",), ("收支类型", "支出")),
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
        """The rows' values by column name, as far as the form names them, in constant memory.

        Raises BillUnusable, also at the end, when the summary does not fit them.
        """
        if self._file is None:  # nothing happened on that day
            return
        self._file.seek(0)
        lines = (line.decode("utf-8").strip("\r\n") for line in _unpacked(self._file))
        try:
            yield from self._rows(lines)
        except UnicodeDecodeError as error:
            raise BillUnusable("the bill is not in UTF-8") from error

    def _rows(self, lines: Iterator[str]) -> Iterator[Row]:
        columns = next(lines, "").removeprefix("\ufeff").split(",")
        read = [(place, name) for place, name in enumerate(columns) if name in self._form.columns]
        sums = dict.fromkeys(self._form.totals, 0)
        for count, line in enumerate(lines):
            if not line.startswith("`"):
                self.count = count
                self._check(line, next(lines, ""), sums)
                return
            values = _values(columns, line)
            row = {name: values[place].removeprefix("`") for place, name in read}
            for title, (names, only) in self._form.totals.items():
                if only is None or row.get(only[0]) == only[1]:
                    sums[title] += cents(next((row[name] for name in names if name in row), "0"))
            yield row
        raise BillUnusable("the bill ends without its summary")

    def _check(self, titles: str, values: str, sums: Mapping[str, int]) -> None:
        columns = titles.split(",")
        summary = dict(zip(columns, (value.removeprefix("`") for value in _values(columns, values)), strict=True))
        said = summary.get(self._form.count)
        if said != str(self.count):
            raise BillUnusable(f"the bill has {self.count} rows, its summary says {said}")
        for title, total in sums.items():
            if title in summary and cents(summary[title]) != total:
                raise BillUnusable(f"the bill's rows add up to {total} cents, its summary says {summary[title]} yuan")


def fetch(client: Client, form: Form, day: str, **options: str) -> Bill:
    """The bill of `day` (YYYY-MM-DD), checked; one without rows where nothing happened (NO_STATEMENT_EXIST).

    Raises BillUnusable, and what Client raises: ApiError STATEMENT_CREATING until it is made, towards 10:00 of the next
    day; another ApiError for a day that WeChat Pay has no bill of.
    """
    path = f"{form.path}?{urlencode({'bill_date': day, **options, 'tar_type': 'GZIP'})}"
    for last in (False, True):
        try:
            offer = client.call("GET", path).data
        except ApiError as error:
            if error.signed and error.code.replace("_", "") == "NOSTATEMENTEXIST":
                return Bill(form, None, "")
            raise
        file = tempfile.SpooledTemporaryFile(max_size=SPOOLED)  # noqa: SIM115 - the bill closes it
        url = _text(offer, "download_url")
        try:
            client.download(url, cast("BinaryIO", file), limit=MAX_FILE, timeout=DOWNLOAD_TIMEOUT)
            _require_hash(file, offer)
            return Bill(form, file, _text(offer, "hash_value"))
        except ApiError as error:
            file.close()
            if last or error.status != 400:  # 400: the address has expired, apply again [4013071238]
                raise
        except BaseException:
            file.close()
            raise
    raise AssertionError("unreachable")


def cents(yuan: str) -> int:
    """"1234.5" -> 123450, exactly."""
    match = _YUAN.fullmatch(yuan)
    if match is None:
        raise BillUnusable(f"the bill holds {yuan[:40]!r} where an amount in yuan is expected")
    sign, whole, part = match.groups()
    value = int(whole) * 100 + int((part or "").ljust(2, "0"))
    return -value if sign else value


def _require_hash(file: IO[bytes], offer: Mapping[str, Any]) -> None:
    """The announced hash is that of the unpacked file."""
    if _text(offer, "hash_type") != "SHA1":
        raise BillUnusable("the bill's hash_type is not SHA1")
    digest = hashlib.sha1(usedforsecurity=False)
    file.seek(0)
    for piece in _pieces(file):
        digest.update(piece)
    if digest.hexdigest() != _text(offer, "hash_value").lower():
        raise BillUnusable("the bill's hash is not the announced one: it was cut or altered on its way")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    size = 0
    stream = _plain(file)
    try:
        while piece := stream.read(65536):
            size += len(piece)
            if size > MAX_PLAIN:
                raise BillUnusable(f"the bill unpacks to more than {MAX_PLAIN} bytes")
            yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BillUnusable("the bill cannot be unpacked") from error


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Lines; only a line feed ends one."""
    return iter(_plain(file))


def _plain(file: IO[bytes]) -> IO[bytes]:
    head = file.read(2)
    file.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb")) if head == b"\x1f\x8b" else file


def _values(columns: Sequence[str], line: str) -> list[str]:
    values = line.split(",")  # a comma in a text is escaped
    if len(values) != len(columns):
        raise BillUnusable(f"the bill has a row of {len(values)} values under {len(columns)} columns")
    return values


def _text(offer: Mapping[str, Any], name: str) -> str:
    value = offer.get(name)
    if not isinstance(value, str) or not value:
        raise BillUnusable(f"WeChat Pay's answer holds no {name}")
    return value
