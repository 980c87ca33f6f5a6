"""What callers and operators may do with the order database beyond paying: one method per action."""

from __future__ import annotations

from typing import Any

from services.order_service import Params
from services.orders.compare import Bills
from services.orders.reconcile import Reconciler
from services.orders.service import SqlOrderService
from services.orders.waiting import Waiting
from services.pay_service import Desk
from services.wechatpay.client import Client

SHOWN = 200  # differences in an answer


class OrderDesk:
    """`client` asks WeChat Pay; `merchant_id` is the mchid that it asks for."""

    def __init__(self, service: SqlOrderService, client: Client, merchant_id: str) -> None:
        self.service = service
        self.client = client
        self.merchant_id = merchant_id
        self._waiting = Waiting(service.parts.store)

    def actions(self) -> Desk:
        """The methods by the names of their actions."""
        return {
            "wxpay_orders_init": self.init,
            "wxpay_order_wait": self.wait,
            "wxpay_reconcile": self.reconcile,
            "wxpay_trade_bill": self.trade_bill,
            "wxpay_fundflow_bill": self.fundflow_bill,
        }

    def init(self, params: Params) -> dict[str, Any]:
        """Make or upgrade the tables."""
        from services.orders.tables import init_db  # noqa: PLC0415 - Alembic, for once in a database's life

        init_db(self.service.parts.store.database)
        return {"tables": "ready"}

    def wait(self, params: Params) -> dict[str, Any]:
        """An order once it is not PENDING any more, or as it is after `seconds`; raises TooManyWaiting, Refused."""
        return self._waiting.wait(params["out_trade_no"], params["seconds"])

    def reconcile(self, params: Params) -> dict[str, Any]:
        """Ask WeChat Pay about what is not settled, see Reconciler.run."""
        return self.reconciler().run(**params)

    def reconciler(self) -> Reconciler:
        return Reconciler(self.service, self.client, self.merchant_id)

    def trade_bill(self, params: Params) -> dict[str, Any]:
        """A day's trades compared with the store, see compare.Bills.trade."""
        return self.bills().trade(params["bill_date"]).as_dict(SHOWN)

    def fundflow_bill(self, params: Params) -> dict[str, Any]:
        """A day's movements of an account compared with the store, see compare.Bills.fundflow."""
        return self.bills().fundflow(params["bill_date"], params["account_type"]).as_dict(SHOWN)

    def bills(self) -> Bills:
        return Bills(self.service.parts.store, self.client)
