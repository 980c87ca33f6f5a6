"""Runs the merchant's order service: what goes wrong in it ends its own request, says what is known, and no more."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from services.order_service import OrderService, Params, Refused
from services.strategies.base import Kind
from services.wechatpay.client import is_sendable
from utils.cloudbase_auth import Caller, KeysUnavailable


class HookFailed(Exception):
    """`before_*` or `authorize` failed; nothing that changes anything was sent."""


class NotRecorded(Exception):
    """WeChat Pay accepted, the merchant's handler did not keep it.

    `result` is WeChat Pay's answer where money moves (refund, transfer: never again under a new number), else None.
    """

    def __init__(self, what: str, result: dict[str, Any] | None = None) -> None:
        self.result = result
        super().__init__(what)


def contained(code: Callable[[], Any]) -> Any:
    """Run `code`; sys.exit() or a cancelled task in it must not end the server's worker."""
    try:
        return code()
    except Exception:
        raise
    except BaseException as error:
        raise RuntimeError(f"the order service raised {type(error).__name__}") from error


def is_kept(outcome: Any) -> bool:
    """Whether a handler's result says that it kept the message: None, True, or a mapping with `code` SUCCESS."""
    return outcome is None or outcome is True or (isinstance(outcome, Mapping) and outcome.get("code") == "SUCCESS")


def authorize(orders: OrderService, action: str, params: Params, caller: Caller) -> None:
    """Ask the order service whether `caller` may; raises Refused, KeysUnavailable or HookFailed."""
    try:
        contained(lambda: orders.authorize(action, params, caller))
    except (Refused, KeysUnavailable):
        raise
    except Exception as error:
        raise HookFailed("authorize failed") from error


def prepare(hook: Callable[[Params, Caller], Params | None], params: Params, caller: Caller, kind: Kind) -> Params:
    """What `before_*` returns; it works on a copy, so that None means unchanged whatever it did.

    Raises Refused, or HookFailed also for what cannot be sent.
    """
    try:
        changed = contained(lambda: hook(copy.deepcopy(params), caller))
    except Refused:
        raise
    except Exception as error:
        raise HookFailed("the order service could not prepare this") from error
    if changed is None:
        return params
    if not isinstance(changed, dict) or not isinstance(changed.get(kind.number), str) or not is_sendable(changed):
        raise HookFailed(f"before_* must return None or the params to send as JSON, {kind.number} among them")
    return {name: value for name, value in changed.items() if name != "useServiceAccount"}


def record(what: str, handler: Callable[[], Any], result: dict[str, Any] | None = None) -> None:
    """Have a handler keep what WeChat Pay accepted; raises NotRecorded if it does not."""
    try:
        kept = is_kept(contained(handler))
    except Exception as error:
        raise NotRecorded(what, result) from error
    if not kept:
        raise NotRecorded(what, result)


def show(handler: Callable[[], Any]) -> None:
    """Have `handler_query` see an answer; it may refuse the caller. Raises Refused or NotRecorded."""
    try:
        kept = is_kept(contained(handler))
    except Refused:
        raise
    except Exception as error:
        raise NotRecorded("query") from error
    if not kept:
        raise NotRecorded("query")
