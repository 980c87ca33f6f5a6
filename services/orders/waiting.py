"""Waits for a stored order to change, by reading the store: what a cashier's page uses instead of polling."""

from __future__ import annotations

import threading
import time
from typing import Any

from services.order_service import Refused
from services.orders import states
from services.orders.store import Store, order_view
from services.pay_service import TooManyWaiting
from utils.texts import Message

# A quarter of the places for callers (routes/admission.py): the others go on to take orders.
PLACES = 16
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5  # seconds between two looks
_SHOWN = ("out_trade_no", "state", "amount", "refunded", "transaction_id", "paid_at")


class Waiting:
    """At most `PLACES` requests of a process wait at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places = threading.BoundedSemaphore(PLACES)

    def wait(self, out_trade_no: str, seconds: float) -> dict[str, Any]:
        """The order once it has left PENDING, or as it is after `seconds`.

        Raises TooManyWaiting when all places are taken, Refused (404) for an order that is not stored.
        """
        if not self._places.acquire(blocking=False):
            raise TooManyWaiting(Message("too many callers wait already: ask again in 2 seconds"))
        try:
            until, pause = time.monotonic() + seconds, FIRST_PAUSE
            while True:
                order = self._store.order(out_trade_no)
                if order is None:
                    raise Refused(Message("no such order"), 404)
                left = until - time.monotonic()
                if order["state"] != states.PENDING or left <= 0:
                    return {name: value for name, value in order_view(order).items() if name in _SHOWN}
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, LONGEST_PAUSE)
        finally:
            self._places.release()
