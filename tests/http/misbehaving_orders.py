"""An order service that misbehaves as the number asks: for the function in another process."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

from services.order_service import Caller, OrderService, Params

SLEEP = 4.5  # seconds, beyond every time limit


class Misbehaving(OrderService):
    """`RAISE00001` raises at the first callback and is kept at the second; see `_first_time`.

    A number that begins with the name of a method without its underscores, such as `HANDLERREFUND_EXIT`, has
    every call of that method end as the rest of it says; see `_end`.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def handler_unified_trigger(self, params: dict[str, Any]) -> Any:
        number: str = params["out_trade_no"]
        with self._lock:
            first = number not in self._seen
            self._seen.add(number)
        if not first:
            return super().handler_unified_trigger(params)
        return _first_time(number.rstrip("0123456789"))

    def authorize(self, action: str, params: Params, caller: Caller) -> None:
        _end("AUTHORIZE", params)
        super().authorize(action, params, caller)

    def before_unified(self, params: Params, caller: Caller) -> None:
        _end("BEFOREUNIFIED", params)

    def before_refund(self, params: Params, caller: Caller) -> None:
        _end("BEFOREREFUND", params)

    def before_transfer(self, params: Params, caller: Caller) -> None:
        _end("BEFORETRANSFER", params)

    def handler_unified(self, params: Params) -> None:
        _end("HANDLERUNIFIED", params)

    def handler_refund(self, params: Params) -> None:
        _end("HANDLERREFUND", params)

    def handler_transfer(self, params: Params, result: Params) -> None:
        _end("HANDLERTRANSFER", params)

    def handler_query(self, action: str, params: Params, result: Params) -> None:
        _end("HANDLERQUERY", params)

    def handler_close(self, params: Params) -> None:
        _end("HANDLERCLOSE", params)


def _end(method: str, params: Params) -> None:
    numbers = [str(params.get(name, "")) for name in ("out_refund_no", "out_bill_no", "out_trade_no")]
    for number in numbers:
        if number.startswith(method):
            _leave(number.removeprefix(method).strip("_0123456789"))


def _leave(word: str) -> None:
    if word == "EXIT":
        sys.exit(1)
    if word == "CANCELLED":
        raise asyncio.CancelledError
    if word == "INTERRUPT":
        raise KeyboardInterrupt
    if word == "GENERATOR":
        raise GeneratorExit


def _first_time(word: str) -> Any:
    if word == "SLEEP":
        time.sleep(SLEEP)
    if word == "BESIDE":
        time.sleep(1)
    _leave(word)
    if word == "RAISE":
        raise LookupError("no such order")
    return {"FALSE": False, "FAIL": {"code": "FAIL"}, "TEXT": "SUCCESS"}.get(word)
