"""What happens by itself as time goes by: orders close, refunds arrive, transfers lapse."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from sandbox.clock import Clock
from sandbox.ledger import DAY, MINUTE, PAYABLE, TRANSFER_MOVES, IllegalMove, Ledger, Order, Refund, Thing, Transfer

REFUND_TAKES = 5 * MINUTE
"""To the balance; cards take one to three working days [4013071031]."""
REDIRECTED_REFUND_TAKES = DAY
UNCONFIRMED = DAY
"""After which an unconfirmed transfer fails [4012716434]."""
TRANSFER_STEP = 2
"""Seconds between the states that WeChat Pay moves through alone; not documented."""
CANCELLING_TAKES = 10
"""Not documented either: cancelling is asynchronous [4012716458]."""

Tell = Callable[[str, str], object]


class Course:
    """Follows every change and plans what comes of it; `tell(kind, number)` notifies the function."""

    def __init__(self, clock: Clock, ledger: Ledger, tell: Tell) -> None:
        self._clock = clock
        self._ledger = ledger
        self._tell = tell

    def follow(self, thing: Thing) -> None:
        """To be called with everything that was made or moved."""
        if isinstance(thing, Order):
            if len(thing.life) == 1:
                wait = max(PAYABLE, thing.pay_until - thing.created)
                self._clock.plan(wait, f"order {thing.number} closes unpaid", lambda: self._ledger.expire(thing))
        elif isinstance(thing, Refund):
            self._follow_refund(thing)
        else:
            self._follow_transfer(thing)

    def _follow_refund(self, refund: Refund) -> None:
        if refund.state != "PROCESSING":
            return
        redirected = refund.channel != "ORIGINAL"
        abnormal = self._ledger.merchant.user(refund.order.openid).account != "normal"
        end = "ABNORMAL" if abnormal and not redirected else "SUCCESS"
        self._then(refund, REDIRECTED_REFUND_TAKES if redirected else REFUND_TAKES, end)

    def _follow_transfer(self, transfer: Transfer) -> None:
        state = transfer.state
        if len(transfer.life) == 1:
            self._clock.plan(UNCONFIRMED, f"transfer {transfer.number} lapses", lambda: self._lapse(transfer))
        if state == "ACCEPTED":
            self._then(transfer, TRANSFER_STEP, "PROCESSING")
        elif state == "PROCESSING" and transfer.amount <= self._ledger.merchant.funds["OPERATION"]:
            self._then(transfer, TRANSFER_STEP, "WAIT_USER_CONFIRM")
        elif state == "TRANSFERING":
            self._then(transfer, TRANSFER_STEP, "SUCCESS")
        elif state == "CANCELING":
            self._then(transfer, CANCELLING_TAKES, "CANCELLED")

    def _then(self, thing: Refund | Transfer, delay: float, end: str) -> None:
        """Becomes `end` after `delay`, unless something else happened to it meanwhile."""
        steps = len(thing.life)
        kind = "refund" if isinstance(thing, Refund) else "transfer"

        def happen() -> None:
            if len(thing.life) == steps:
                self._move(thing, end)

        self._clock.plan(delay, f"{kind} {thing.number} becomes {end}", happen)

    def _lapse(self, transfer: Transfer) -> None:
        if "FAIL" in TRANSFER_MOVES[transfer.state]:
            self._move(transfer, "FAIL", "OVERDUE_CLOSE")

    def _move(self, thing: Refund | Transfer, state: str, reason: str = "") -> None:
        with contextlib.suppress(IllegalMove):  # somebody else moved it at this very moment, or it was forgotten
            if isinstance(thing, Refund):
                self._ledger.settle_refund(thing.number, state)
                self._tell("refund", thing.number)
            else:
                self._ledger.move_transfer(thing.number, state, reason)
                if not TRANSFER_MOVES[state]:
                    self._tell("transfer", thing.number)
