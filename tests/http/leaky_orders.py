"""An order service that fails where a number tells it to, with everything it knows in the text of its errors."""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import has_request_context, request

from services.order_service import OrderService, Params, Refused
from utils.cloudbase_auth import Caller

log = logging.getLogger("pay.orders.leaky")


class LeakyError(Exception):
    """A merchant's own."""


class UnreadableError(Exception):
    """Another one, in no table of the function."""


class Unreadable(dict[str, Any]):
    """Params from `before_*` that cannot be looked into."""

    def get(self, key: str, default: Any = None) -> Any:
        raise UnreadableError


class LeakyOrders(OrderService):
    """In a number: `AUTHORIZE` `BEFORE` `AFTER` `QUERY` `TRIGGER` `SLOW` `REFUSE` `LOSE` `PRINT` `UNREADABLE`."""

    def authorize(self, action: str, params: Params, caller: Caller) -> None:
        self._fail("AUTHORIZE", params, caller)
        if "REFUSE" in str(params):
            raise Refused(f"{knowledge(params, caller)} may not", 409)
        super().authorize(action, params, caller)

    def before_unified(self, params: Params, caller: Caller) -> Params | None:
        return self._before(params, caller)

    before_refund = before_transfer = before_unified

    def handler_unified(self, params: Params) -> Any:
        return self._after(params)

    handler_refund = handler_close = handler_unified

    def handler_transfer(self, params: Params, result: Params) -> Any:
        return self._after(params, result)

    def handler_query(self, action: str, params: Params, result: Params) -> Any:
        self._fail("QUERY", params, result)

    def handler_unified_trigger(self, params: Params) -> Any:
        self._fail("TRIGGER", params, dict(params))
        if "SLOW" in str(params):
            time.sleep(1)
            raise LeakyError(f"late {params}")
        return "FORGET" not in str(params)

    handler_refund_trigger = handler_transfer_trigger = handler_unified_trigger

    def _before(self, params: Params, caller: Caller) -> Params | None:
        self._fail("BEFORE", params, caller)
        if "PRINT" in str(params):
            print(knowledge(params, caller), flush=True)
        if "UNREADABLE" in str(params):
            return Unreadable(params)
        return {} if "LOSE" in str(params) else None

    def _after(self, *known: Any) -> Any:
        self._fail("AFTER", *known)
        return "FORGET" not in str(known)

    def _fail(self, where: str, *known: Any) -> None:
        if where in str(known[0]):
            text = knowledge(*known)
            log.warning("about to fail: %s", text, extra={"fields": {"known": known[0]}})
            try:
                raise KeyError(text)
            except KeyError as error:
                raise LeakyError(f"{where} {text}") from error


def knowledge(*known: Any) -> str:
    """All that a handler can see of a request."""
    openids = [value.openid for value in known if isinstance(value, Caller)]
    names = ("Authorization", "X-Operator-Key", "X-Wx-Openid")
    headers = [request.headers.get(name) for name in names] if has_request_context() else []
    return f"{known} {openids} {headers}"
