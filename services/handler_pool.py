"""Runs callback handlers in a bounded number of threads, so that a slow one costs its own callback only."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Hashable
from concurrent import futures
from typing import Any

from services.wechatpay.errors import NotificationPostponed
from utils import processor

log = logging.getLogger("pay.callback")


class HandlerTimeout(Exception):
    """The handler did not return in time; its late result is logged and dropped."""


class HandlerPool:
    """`size` handlers at a time, one per key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._running: set[Hashable] = set()

    def run(self, key: Hashable, handler: Callable[[], Any], timeout: float) -> Any:
        """The handler's result, or what it raised.

        Raises HandlerTimeout after `timeout` seconds, NotificationPostponed when the handler for this key
        is still running or all threads are busy.
        """
        with self._lock:
            if key in self._running:
                raise NotificationPostponed("the same notification is still being handled")
            if len(self._running) >= self._size:
                raise NotificationPostponed("all handler threads are busy")
            self._running.add(key)
        context, future = contextvars.copy_context(), futures.Future[Any]()
        # No executor: its queue would keep, and run later, what no thread could be started for.
        thread = threading.Thread(target=self._settle, args=(future, key, lambda: context.run(handler)), name="handler")
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had
            self._forget(key)
            raise NotificationPostponed("no handler thread can be started") from error
        try:
            with processor.waiting():
                return future.result(timeout)
        except futures.TimeoutError:
            if future.done():  # the handler itself raised TimeoutError
                raise
            future.add_done_callback(lambda late: context.run(_log_late, late))
            raise HandlerTimeout(f"the handler did not return within {timeout:.1f} s") from None

    def _settle(self, future: futures.Future[Any], key: Hashable, handler: Callable[[], Any]) -> None:
        try:
            result = handler()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's result
            self._forget(key)
            future.set_exception(error)
        else:
            self._forget(key)
            future.set_result(result)

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            self._running.discard(key)


def _log_late(future: futures.Future[Any]) -> None:
    error = future.exception()
    log.error(
        "a callback handler came back after FAIL was answered; its result is dropped",
        exc_info=error,
        extra={"fields": {"outcome": type(error).__name__ if error else "returned"}},
    )
