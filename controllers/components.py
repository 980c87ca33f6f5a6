"""What create_app built and the controllers use; values and services only, no settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

from services.order_service import OrderService
from services.pay_service import PayService
from services.self_test import SelfTest
from utils.cloudbase_auth import CallerPolicy
from utils.texts import Message

if TYPE_CHECKING:
    from services.orders.desk import OrderDesk


@dataclass(frozen=True)
class Components:
    """The parts of one application.

    `pay` and `desk` are None while credentials are missing or broken, `desk` also without an order database;
    `lacking(names)` says which of these settings are. `self_test` answers the doctor's questions. `fixed` holds the
    only values that callers may repeat for `appid`, `mchid` and, by the setting that holds it, `notify_url`.
    `callback_timeout` is in seconds.
    """

    pay: PayService | None
    desk: OrderDesk | None
    orders: OrderService
    self_test: SelfTest | None
    lacking: Callable[[Iterable[str]], list[str]]
    caller_policy: CallerPolicy
    public_actions: frozenset[str]
    allowed_origins: tuple[str, ...]
    fixed: Mapping[str, Collection[str]]
    callback_timeout: float


class MissingCredentials(Exception):
    """Settings that the action needs are missing or broken; `str()` lists them by name, never by value."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(Message("MISSING_CREDENTIALS: {names}", names=", ".join(names)))


def components() -> Components:
    """The running application's parts."""
    found: Components = current_app.extensions["pay"]
    return found


def ready_service(needs: Iterable[str]) -> PayService:
    """The pay service once all settings in `needs` are usable; raises MissingCredentials."""
    parts = components()
    lacking = parts.lacking(needs)
    if lacking or parts.pay is None:
        raise MissingCredentials(lacking)
    return parts.pay
