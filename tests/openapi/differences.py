"""Where the OpenAPI description and WeChat Pay's own pages disagree, and the function and the sandbox follow the pages.

A row that no longer occurs in a whole run fails it, like a difference without a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_PAY = "/v3/pay/transactions"
_BY_ID = f"GET {_PAY}/id/{{transaction_id}}"
_BY_NUMBER = f"GET {_PAY}/out-trade-no/{{out_trade_no}}"


class Listed(NamedTuple):
    """`part`, `pointer` and `kind` as in check.Difference; `source` is the page that decides."""

    endpoints: tuple[str, ...]
    part: str
    pointer: str
    kind: str
    why: str
    source: str

    def places(self) -> Iterator[tuple[str, str]]:
        return ((endpoint, self.part) for endpoint in self.endpoints)


LISTED = (
    Listed(
        (_BY_ID, _BY_NUMBER),
        "answer",
        "/description",
        "missing",
        "a query does not repeat what the order was for",
        "[4012791858] [4012791859]",
    ),
    Listed(
        (_BY_ID, _BY_NUMBER),
        "answer",
        "/notify_url",
        "missing",
        "nor where its payment is reported",
        "[4012791858] [4012791859]",
    ),
    Listed(
        (_BY_NUMBER,),
        "answer",
        "/amount",
        "missing",
        "an order that nobody has paid may be told without it",
        "[4012791859]",
    ),
    Listed(
        (_BY_ID,),
        "answer",
        "/payer",
        "unknown",
        "both queries answer the same fields; the description has this one in the other only",
        "[4012791858]",
    ),
    Listed((_BY_ID,), "answer", "/amount/payer_total", "unknown", "likewise", "[4012791858]"),
    Listed((_BY_ID,), "answer", "/amount/payer_currency", "unknown", "likewise", "[4012791858]"),
    Listed(
        (f"POST {_PAY}/jsapi", f"POST {_PAY}/native", "POST /v3/fund-app/mch-transfer/transfer-bills"),
        "header",
        "Wechatpay-Serial",
        "missing",
        "names the key that encrypts a field, and is needed for nothing else: a merchant with platform certificates "
        "has no other use for it",
        "[4012154180]",
    ),
)
