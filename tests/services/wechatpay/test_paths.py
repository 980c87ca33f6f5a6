"""The addresses of WeChat Pay's documentation, written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.wechatpay import paths

MCHID = "1900007291"
# Every kind of character that a merchant's number may have, and some that it may not.
NUMBER, ENCODED = "Ab9_-|*@/ ?茶", "Ab9_-%7C*%40%2F%20%3F%E8%8C%B6"


@pytest.mark.parametrize(
    ("make", "documented"),
    [
        (lambda: paths.order(MCHID, NUMBER), f"/v3/pay/transactions/out-trade-no/{ENCODED}?mchid=1900007291"),
        (lambda: paths.transaction(MCHID, NUMBER), f"/v3/pay/transactions/id/{ENCODED}?mchid=1900007291"),
        (lambda: paths.close(NUMBER), f"/v3/pay/transactions/out-trade-no/{ENCODED}/close"),
        (lambda: paths.REFUNDS, "/v3/refund/domestic/refunds"),
        (lambda: paths.refund(NUMBER), f"/v3/refund/domestic/refunds/{ENCODED}"),
        (lambda: paths.TRANSFER_BILLS, "/v3/fund-app/mch-transfer/transfer-bills"),
        (lambda: paths.transfer(NUMBER), f"/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/{ENCODED}"),
        (lambda: paths.transfer_bill(NUMBER), f"/v3/fund-app/mch-transfer/transfer-bills/transfer-bill-no/{ENCODED}"),
        (lambda: paths.cancel(NUMBER), f"/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/{ENCODED}/cancel"),
    ],
    ids=["order", "transaction", "close", "refunds", "refund", "transfers", "transfer", "transfer bill", "cancel"],
)
def test_each_path_is_the_documented_one_with_its_number_encoded_once(make: Callable[[], str], documented: str):
    assert make() == documented
