"""What callers and operators may do with the order database beyond paying: one method per action."""

from __future__ import annotations

from typing import Any

from services.order_service import Params
from services.orders.service import SqlOrderService
from services.orders.tables import init_db
from services.pay_service import Desk
from services.wechatpay.client import Client


class OrderDesk:
    """`client` asks WeChat Pay; `merchant_id` is the mchid that it asks for."""

    def __init__(self, service: SqlOrderService, client: Client, merchant_id: str) -> None:
        self.service = service
        self.client = client
        self.merchant_id = merchant_id

    def actions(self) -> Desk:
        """The methods by the names of their actions."""
        return {
            "wxpay_orders_init": self.init,
        }

    def init(self, params: Params) -> dict[str, Any]:
        """Make or upgrade the tables."""
        init_db(self.service.parts.store.database)
        return {"tables": "ready"}
