"""The paths of what is asked about by number, each with its number percent-encoded once."""

from __future__ import annotations

from urllib.parse import quote

TRANSFER_BILLS = "/v3/fund-app/mch-transfer/transfer-bills"
REFUNDS = "/v3/refund/domestic/refunds"


def order(mchid: str, out_trade_no: str) -> str:
    """Query of an order by the merchant's number [4012791859]."""
    return f"/v3/pay/transactions/out-trade-no/{_quoted(out_trade_no)}?mchid={mchid}"


def transaction(mchid: str, transaction_id: str) -> str:
    """Query of an order by WeChat Pay's number [4012791858]."""
    return f"/v3/pay/transactions/id/{_quoted(transaction_id)}?mchid={mchid}"


def close(out_trade_no: str) -> str:
    """Closing of an order [4012791860]."""
    return f"/v3/pay/transactions/out-trade-no/{_quoted(out_trade_no)}/close"


def refund(out_refund_no: str) -> str:
    """Query of a refund [4013071041]."""
    return f"{REFUNDS}/{_quoted(out_refund_no)}"


def transfer(out_bill_no: str) -> str:
    """Query of a transfer by the merchant's number [4012716437]."""
    return f"{TRANSFER_BILLS}/out-bill-no/{_quoted(out_bill_no)}"


def transfer_bill(transfer_bill_no: str) -> str:
    """Query of a transfer by WeChat Pay's number [4012716457]."""
    return f"{TRANSFER_BILLS}/transfer-bill-no/{_quoted(transfer_bill_no)}"


def cancel(out_bill_no: str) -> str:
    """Cancelling of a transfer [4012716458]."""
    return f"{transfer(out_bill_no)}/cancel"


def _quoted(number: str) -> str:
    # As WeChat Pay's own SDK does: `|` and `@` encoded, `*` not.
    return quote(number, safe="*")
