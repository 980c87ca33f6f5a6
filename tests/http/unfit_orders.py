"""What a merchant may name in `orderService` by mistake."""

from __future__ import annotations

import sys
from typing import Any

from services.order_service import OrderService


class Lookalike:
    """Every method that is called, and no OrderService."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Leaving(OrderService):
    """Ends the process when it is made."""

    def __init__(self) -> None:
        sys.exit(3)


class Failing(OrderService):
    """Cannot reach its database when it is made."""

    def __init__(self) -> None:
        raise ConnectionRefusedError("planted: orders:password@db.example")


class Wanting(OrderService):
    """Cannot be made without an argument."""

    def __init__(self, database: str) -> None:
        self.database = database


made = OrderService()


def nothing() -> None:
    """A factory that forgets to return what it made."""


def factory() -> OrderService:
    """A factory."""
    return Fit()


class Fit(OrderService):
    """As it should be."""

    def handler_unified_trigger(self, params: dict[str, Any]) -> Any:
        return {"code": "SUCCESS"}
