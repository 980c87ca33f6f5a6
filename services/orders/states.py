"""What states there are and which may follow which. WeChat Pay's own words where it has one.

PENDING is written before WeChat Pay is asked, REFUSED means that it said no and nothing happened there.
"""

from __future__ import annotations

from collections.abc import Mapping

PENDING, REFUSED, CLOSED, SUCCESS = "PENDING", "REFUSED", "CLOSED", "SUCCESS"
PAID, PARTIALLY_REFUNDED, REFUND = "PAID", "PARTIALLY_REFUNDED", "REFUND"
PROCESSING, ABNORMAL = "PROCESSING", "ABNORMAL"
FAIL, CANCELLED = "FAIL", "CANCELLED"

Moves = Mapping[str, frozenset[str]]


def _moves(table: Mapping[str, str]) -> Moves:
    return {state: frozenset(followers.split()) for state, followers in table.items()}


# An order [4012791870]. Money that arrives for a closed or refused one counts all the same.
ORDER: Moves = _moves({
    PENDING: "PAID PARTIALLY_REFUNDED REFUND CLOSED REFUSED",
    REFUSED: "PENDING PAID PARTIALLY_REFUNDED REFUND CLOSED",
    CLOSED: "PAID PARTIALLY_REFUNDED REFUND",
    PAID: "PARTIALLY_REFUNDED REFUND",
    PARTIALLY_REFUNDED: "REFUND",
    REFUND: "",
})
# A refund [4013071031]. What is closed takes a new number; what is abnormal can still arrive, on its way to a bank
# card once more under way [4013071193].
REFUNDS: Moves = _moves({
    PENDING: "PROCESSING SUCCESS ABNORMAL CLOSED REFUSED",
    REFUSED: "PENDING PROCESSING SUCCESS ABNORMAL CLOSED",
    PROCESSING: "SUCCESS ABNORMAL CLOSED",
    ABNORMAL: "PROCESSING SUCCESS CLOSED",
    SUCCESS: "",
    CLOSED: "",
})
# A transfer [4012715211]; a query may skip states, so that each leads to all that can come later.
TRANSFER: Moves = _moves({
    PENDING: "ACCEPTED PROCESSING WAIT_USER_CONFIRM TRANSFERING CANCELING SUCCESS FAIL CANCELLED REFUSED",
    REFUSED: "PENDING ACCEPTED PROCESSING WAIT_USER_CONFIRM TRANSFERING CANCELING SUCCESS FAIL CANCELLED",
    "ACCEPTED": "PROCESSING WAIT_USER_CONFIRM TRANSFERING CANCELING SUCCESS FAIL CANCELLED",
    PROCESSING: "WAIT_USER_CONFIRM TRANSFERING CANCELING SUCCESS FAIL CANCELLED",
    "WAIT_USER_CONFIRM": "TRANSFERING CANCELING SUCCESS FAIL CANCELLED",
    "TRANSFERING": "SUCCESS FAIL CANCELLED",
    "CANCELING": "TRANSFERING SUCCESS FAIL CANCELLED",
    SUCCESS: "",
    FAIL: "",
    CANCELLED: "",
})
PAID_STATES = frozenset({PAID, PARTIALLY_REFUNDED, REFUND})
# Refunds whose amount is not available to another one.
RESERVING = frozenset(REFUNDS) - {REFUSED, CLOSED}
TRANSFER_ENDS = frozenset({SUCCESS, FAIL, CANCELLED})


def paid_state(refunded: int, total: int) -> str:
    """The state of a paid order of which `refunded` of `total` cents went back."""
    if refunded <= 0:
        return PAID
    return REFUND if refunded >= total else PARTIALLY_REFUNDED


def before(moves: Moves, state: str) -> frozenset[str]:
    """The states from which `state` may come."""
    return frozenset(origin for origin, followers in moves.items() if state in followers)
