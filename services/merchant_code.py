"""Runs the merchant's order service: what goes wrong in it ends its own request, says what is known, and no more."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

from services.order_service import OrderService, Params, Refused
from services.strategies.base import TRANSFER, Kind
from services.wechatpay.client import is_sendable
from services.wechatpay.errors import ApiError, NotSent
from utils import processor
from utils.cloudbase_auth import Caller, KeysUnavailable
from utils.texts import Message

log = logging.getLogger("pay.orders")


class HookFailed(Exception):
    """`before_*` or `authorize` failed; nothing that changes anything was sent."""


class DatabaseFailed(Exception):
    """The order database cannot be used now, or not without its tables; what was committed before stays."""


class NotRecorded(Exception):
    """WeChat Pay accepted, the merchant's handler did not keep it.

    `result` is WeChat Pay's answer where money moves (refund, transfer: never again under a new number), else None.
    """

    def __init__(self, what: str, result: dict[str, Any] | None = None) -> None:
        self.what = what
        self.result = result
        super().__init__(f"WeChat Pay answered, but the order service did not keep the {what}")


def contained(code: Callable[..., Any], *arguments: Any) -> Any:
    """Run `code`; sys.exit() or a cancelled task in it must not end the server's worker.

    It may wait for what it likes: others compute in the meantime. Methods of our own see to that where they wait.
    """
    is_ours = isinstance(code, MethodType) and str(code.__module__).startswith("services.")
    try:
        with nullcontext() if is_ours else processor.waiting():
            return code(*arguments)
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
        contained(orders.authorize, action, params, caller)
    except (Refused, KeysUnavailable):
        raise
    except Exception as error:
        raise HookFailed(f"authorize of the order service raised {type(error).__name__}") from error


def prepare(hook: Callable[[Params, Caller], Params | None], params: Params, caller: Caller, kind: Kind) -> Params:
    """What `before_*` returns; it works on a copy, so that None means unchanged whatever it did.

    Raises Refused, or HookFailed also for what cannot be sent.
    """
    try:
        changed = contained(hook, copy.deepcopy(params), caller)
    except Refused:
        raise
    except Exception as error:
        raise HookFailed(f"before_* of the order service raised {type(error).__name__}") from error
    if changed is None:
        return params
    if not isinstance(changed, dict) or not isinstance(changed.get(kind.number), str) or not is_sendable(changed):
        raise HookFailed(f"before_* must return None or the params to send as JSON, {kind.number} among them")
    return {name: value for name, value in changed.items() if name != "useServiceAccount"}


def record(
    what: str, handler: Callable[..., Any], *arguments: Any, result: dict[str, Any] | None = None
) -> None:
    """Have a handler keep what WeChat Pay accepted; raises NotRecorded if it does not."""
    try:
        kept = is_kept(contained(handler, *arguments))
    except Exception as error:
        raise NotRecorded(what, result) from error
    if not kept:
        raise NotRecorded(what, result)


@contextmanager
def refusals_told(orders: OrderService, kind: Kind, params: Params) -> Iterator[None]:
    """Tell the order service of a call of WeChat Pay in which, for certain, nothing happened."""
    try:
        yield
    except (ApiError, NotSent, HookFailed) as error:
        if isinstance(error, ApiError):
            if error.after_unknown or not error.signed:
                raise
            told = {"status": error.status, "code": error.code, "message": error.message}
        else:
            told = {"status": 0, "code": "NOT_SENT", "message": str(error)}
        try:
            contained(orders.handler_refused, kind.name, params, told)
        except Exception:
            fields = {"number": params.get(kind.number)}
            log.exception("handler_refused failed; the caller is told of the refusal", extra={"fields": fields})
        raise


def encrypted(orders: OrderService, params: Params, serial: str) -> tuple[Params, str]:
    """What is to be sent of a transfer with an encrypted name, and the serial of its key; raises HookFailed."""
    try:
        sent, used = contained(orders.handler_encrypted, copy.deepcopy(params), serial)
        same = isinstance(sent, dict) and sent.get(TRANSFER.number) == params[TRANSFER.number]
        if not same or not is_sendable(sent) or not isinstance(used, str):
            raise TypeError("handler_encrypted must return the params to send, their number unchanged, and a serial")
    except Exception as error:
        raise HookFailed(f"handler_encrypted of the order service raised {type(error).__name__}") from error
    return sent, used


def show(handler: Callable[..., Any], *arguments: Any) -> None:
    """Have `handler_query` see an answer; it may refuse the caller. Raises Refused or NotRecorded."""
    try:
        kept = is_kept(contained(handler, *arguments))
    except Refused:
        raise
    except Exception as error:
        raise NotRecorded(Message("query")) from error
    if not kept:
        raise NotRecorded(Message("query"))
