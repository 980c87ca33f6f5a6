"""What happens by itself as time goes by: orders close, refunds arrive, transfers lapse."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from sandbox.clock import Clock, Plan
from sandbox.ledger import DAY, MINUTE, PAYABLE, TRANSFER_MOVES, IllegalMove, Ledger, Order, Refund, Thing, Transfer

REFUND_TAKES = 5 * MINUTE
"""To the balance; cards take one to three working days [4013071031]."""
REDIRECTED_REFUND_TAKES = DAY
UNCONFIRMED = DAY
"""After which an unconfirmed transfer fails [4012716434]."""
TRANSFER_STEP = 2
"""Seconds between the states that WeChat Pay moves through alone; not documented."""
NEXT = {
    "ACCEPTED": (TRANSFER_STEP, "PROCESSING"),
    "TRANSFERING": (TRANSFER_STEP, "SUCCESS"),
    "CANCELING": (10, "CANCELLED"),
}
"""State -> seconds and state that follow by themselves; cancelling is asynchronous [4012716458]."""

Tell = Callable[[str, str], object]


class Course:
    """Follows every change and plans what comes of it; `tell(kind, number)` notifies the function."""

    def __init__(self, clock: Clock, ledger: Ledger, tell: Tell) -> None:
        self._clock = clock
        self._ledger = ledger
        self._tell = tell
        self._plans: dict[Thing, list[Plan]] = {}

    def clear(self) -> None:
        with self._ledger.lock:
            self._plans.clear()

    def follow(self, thing: Thing) -> None:
        """To be called with everything that was made or moved: what was planned for it is planned anew.

        Notes that change no state change no plans, except that a transfer which waits for money and is sent again
        tries again at once [4012716434].
        """
        sent_again = isinstance(thing, Transfer) and thing.state == "PROCESSING"
        if len(thing.life) > 1 and thing.life[-2].state == thing.state and not sent_again:
            return
        for plan in self._plans.pop(thing, ()):
            plan.cancelled = True
        if isinstance(thing, Order):
            plans = self._of_order(thing)
        elif isinstance(thing, Refund):
            plans = self._of_refund(thing)
        else:
            plans = self._of_transfer(thing)
        if plans:
            self._plans[thing] = plans

    def _of_order(self, order: Order) -> list[Plan]:
        if order.state != "NOTPAY":
            return []
        wait = max(PAYABLE, order.pay_until - order.created)
        return [self._clock.plan(wait, f"order {order.number} closes unpaid", lambda: self._ledger.expire(order))]

    def _of_refund(self, refund: Refund) -> list[Plan]:
        if refund.state != "PROCESSING":
            return []
        redirected = refund.channel != "ORIGINAL"
        abnormal = self._ledger.merchant.user(refund.order.openid).account != "normal"
        end = "ABNORMAL" if abnormal and not redirected else "SUCCESS"
        return [self._then(refund, REDIRECTED_REFUND_TAKES if redirected else REFUND_TAKES, end)]

    def _of_transfer(self, transfer: Transfer) -> list[Plan]:
        plans = []
        if "FAIL" in TRANSFER_MOVES[transfer.state]:
            left = transfer.created + UNCONFIRMED - self._ledger.now()
            plans.append(self._then(transfer, left, "FAIL", "OVERDUE_CLOSE"))
        if transfer.state == "PROCESSING":
            plans.append(self._lock_funds(transfer, TRANSFER_STEP))
        elif transfer.state in NEXT:
            delay, state = NEXT[transfer.state]
            plans.append(self._then(transfer, delay, state))
        return plans

    def _lock_funds(self, transfer: Transfer, delay: float) -> Plan:
        """It stays PROCESSING for as long as the operation account is too low [4012715211]."""

        def happen() -> None:
            with self._ledger.lock:
                if transfer.amount <= self._ledger.merchant.funds["OPERATION"]:
                    self._move(transfer, "WAIT_USER_CONFIRM")
                elif transfer in self._plans:
                    self._plans[transfer].append(self._lock_funds(transfer, MINUTE))

        return self._clock.plan(delay, f"transfer {transfer.number} becomes WAIT_USER_CONFIRM", happen)

    def _then(self, thing: Refund | Transfer, delay: float, end: str, reason: str = "") -> Plan:
        kind = "refund" if isinstance(thing, Refund) else "transfer"
        what = f"{kind} {thing.number} becomes {end}"
        return self._clock.plan(delay, what, lambda: self._move(thing, end, reason))

    def _move(self, thing: Refund | Transfer, state: str, reason: str = "") -> None:
        with self._ledger.lock, contextlib.suppress(IllegalMove):  # somebody else moved it at this very moment
            if thing not in self._plans:
                return  # forgotten by a reset
            if isinstance(thing, Refund):
                self._ledger.settle_refund(thing.number, state)
            else:
                self._ledger.move_transfer(thing.number, state, reason)
            told = not isinstance(thing, Transfer) or not TRANSFER_MOVES[state]
        if told:
            self._tell("refund" if isinstance(thing, Refund) else "transfer", thing.number)
