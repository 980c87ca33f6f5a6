"""Puts the order service and its database together; create_app's only way in, and so the first import of SQLAlchemy."""

from __future__ import annotations

from datetime import timedelta

from services.order_service import OrderService
from services.orders.database import Database
from services.orders.desk import OrderDesk
from services.orders.service import Parts, Price, SqlOrderService
from services.orders.store import Store
from services.orders.webhook import Webhook
from services.wechatpay.client import Client
from services.wechatpay.transport import Transport

__all__ = ["Price", "connect", "desk"]


def connect(
    service: OrderService | None,
    url: str,
    *,
    merchant_id: str,
    price: Price | None,
    expire_minutes: int,
    webhook: tuple[str, bytes] | None,
    patience: float,
) -> SqlOrderService:
    """`service`, by default a new SqlOrderService, on the database at `url`, which is not opened yet.

    `webhook` is the address and the secret of whoever is sent the events, `patience` the seconds that one statement may
    take. Raises TypeError for another kind of service.
    """
    service = service or SqlOrderService()
    if not isinstance(service, SqlOrderService):
        raise TypeError("not a subclass of services.orders.service.SqlOrderService")
    service.use(
        Parts(
            store=Store(Database(url, patience=patience)),
            merchant_id=merchant_id,
            price=price,
            expire_after=timedelta(minutes=expire_minutes),
            forward=Webhook(Transport(connections=8), *webhook).forward if webhook else None,
        )
    )
    return service


def desk(service: OrderService, client: Client, merchant_id: str) -> OrderDesk | None:
    """What operators do with the order database; None for a service without one."""
    return OrderDesk(service, client, merchant_id) if isinstance(service, SqlOrderService) else None
