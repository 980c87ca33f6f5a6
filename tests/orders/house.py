"""The function with an order database, WeChat Pay beside it, and what a shop does with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sandbox import Sandbox
from services.order_service import OrderService
from services.orders.store import Store
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY, Function, Reply, in_process

OPERATOR = {**MINI_PROGRAM, "X-Operator-Key": OPERATOR_KEY}
OTHER_OPENID = "oTESTother0000000000000000002"
OTHER = {**MINI_PROGRAM, "X-Wx-Openid": OTHER_OPENID}
_numbers = itertools.count(1)


def fresh(prefix: str) -> str:
    """A number that no test has used."""
    return f"{prefix}{next(_numbers):08d}"


class House:
    """`function` over HTTP, `box` WeChat Pay, `store` the same database by another connection."""

    def __init__(self, function: Function, box: Sandbox, store: Store) -> None:
        self.function, self.box, self.store = function, box, store

    @classmethod
    @contextmanager
    def in_process(
        cls, box: Sandbox, database_url: str, store: Store, order_service: OrderService | None = None, **env: str
    ) -> Iterator[House]:
        settings = box.env(orderDatabaseUrl=database_url, operatorKey=OPERATOR_KEY, **env)
        with in_process(settings, order_service) as function:
            box.function = function.url
            yield cls(function, box, store)

    def order(self, number: str = "", total: int = 100, headers: Mapping[str, str] = MINI_PROGRAM, **more: Any) -> str:
        """Place a JSAPI order; returns its number."""
        number = number or fresh("ORDER")
        body = {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": total}, **more}
        reply = self.function.call("wxpay_order", body, headers)
        assert reply.status == 200, reply.text
        return number

    def paid(self, total: int = 100) -> str:
        """An order that is paid, and whose callback was taken."""
        number = self.order(total=total)
        assert all(delivery.acknowledged for delivery in self.box.pay(number))
        return number

    def refund(self, out_trade_no: str, cents: int, total: int = 100, number: str = "", **more: Any) -> Reply:
        number = number or fresh("REFUND")
        amount = {"refund": cents, "total": total}
        body = {"out_trade_no": out_trade_no, "out_refund_no": number, "amount": amount, **more}
        return self.function.call("wxpay_refund", body, OPERATOR)

    def transfer(self, cents: int = 100, number: str = "", **more: Any) -> Reply:
        body = {
            "out_bill_no": number or fresh("BILL"),
            "transfer_scene_id": "1000",
            "openid": OPENID,
            "transfer_amount": cents,
            "transfer_remark": "thanks",
            "transfer_scene_report_infos": [
                {"info_type": "活动名称", "info_content": "spring"},
                {"info_type": "奖励说明", "info_content": "prize"},
            ],
            **more,
        }
        return self.function.call("wxpay_transfer", body, OPERATOR)

    def state(self, out_trade_no: str) -> str:
        row = self.store.order(out_trade_no)
        return "" if row is None else str(row["state"])
