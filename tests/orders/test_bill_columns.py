"""Rows of a trade bill as merchants of different age get them [4013071246]."""

from __future__ import annotations

import pytest

from services.orders import compare
from services.wechatpay.errors import BillUnusable

PAID = {"交易状态": "SUCCESS", "商户订单号": "ORDER1"}
BACK = {"交易状态": "REFUND", "商户订单号": "ORDER1", "商户退款单号": "REFUND1"}


@pytest.mark.parametrize(
    ("row", "number", "cents"),
    [
        (PAID | {"订单金额": "1.20", "总金额": "9.99", "应结订单金额": "9.99"}, "ORDER1", 120),
        (PAID | {"总金额": "1.20", "应结订单金额": "9.99"}, "ORDER1", 120),
        (PAID | {"应结订单金额": "1.20"}, "ORDER1", 120),
        (BACK | {"申请退款金额": "0.30", "退款金额": "9.99"}, "REFUND1", 30),
        (BACK | {"退款金额": "0.30"}, "REFUND1", 30),
    ],
)
def test_the_amount_is_that_of_the_first_column_that_there_is(row: dict[str, str], number: str, cents: int):
    billed = compare._traded(row)
    assert billed is not None
    assert (billed.number, billed.amount) == (number, cents)


def test_a_bill_without_any_column_of_amounts_is_unusable_and_says_so():
    with pytest.raises(BillUnusable, match="the bill has none of the columns 订单金额, 总金额, 应结订单金额"):
        compare._traded(PAID)


def test_what_is_neither_paid_nor_refunded_is_compared_with_nothing():
    assert compare._traded({"交易状态": "REVOKED", "商户订单号": "ORDER1"}) is None
