"""A forwarded plaintext without proof is a hint: WeChat Pay itself is asked, and its answer alone counts."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.strategies.base import PAYMENT, REFUND, TRANSFER, Kind
from services.wechatpay import paths
from services.wechatpay.client import Client
from services.wechatpay.errors import (
    ApiError,
    NotificationPostponed,
    NotificationRefused,
    NotSent,
    OutcomeUnknown,
)

TRY_TIMEOUT = 1.5  # seconds per host
HANDLER_RESERVE = 0.3  # seconds of the callback's time that are left for the handler
AT_A_TIME = 4
PAUSE = 2.0  # seconds between two confirmations of one number
_NUMBER = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
_REFUSED = "WeChat Pay does not confirm this notification"


@dataclass(frozen=True)
class _Question:
    """How one kind is asked for, what of a hint must agree with the answer, and the states that confirm."""

    path: Callable[[str, str], str]
    compared: tuple[str, ...]
    confirmed: frozenset[str]


_QUESTIONS = {
    # REFUND confirms a payment too: it was paid, and a refund was accepted since ([4012791870]).
    PAYMENT: _Question(
        lambda number, mchid: paths.order(mchid, number),
        ("appid", "mchid", "out_trade_no", "transaction_id", "trade_type", "payer", "amount"),
        frozenset({"SUCCESS", "REFUND"}),
    ),
    REFUND: _Question(
        lambda number, mchid: paths.refund(number),
        ("out_trade_no", "transaction_id", "out_refund_no", "refund_id", "amount"),
        frozenset({"SUCCESS", "CLOSED", "ABNORMAL"}),
    ),
    TRANSFER: _Question(
        lambda number, mchid: paths.transfer(number),
        ("mch_id", "appid", "out_bill_no", "transfer_bill_no", "openid", "transfer_amount"),
        frozenset({"SUCCESS", "FAIL", "CANCELLED"}),
    ),
}


class _Bounds:
    """At most 4 questions at a time and one per number in 2 seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._places = threading.BoundedSemaphore(AT_A_TIME)
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], float] = {}

    @contextlib.contextmanager
    def place(self, kind: Kind, number: str) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise NotificationPostponed("too many confirmations are under way")
        try:
            self._take_turn(kind, number)
            yield
        finally:
            self._places.release()

    def _take_turn(self, kind: Kind, number: str) -> None:
        now = self._monotonic()
        with self._lock:
            self._asked = {key: at for key, at in self._asked.items() if now - at < PAUSE}
            if (kind.name, number) in self._asked:
                raise NotificationPostponed("this number was asked for a moment ago")
            self._asked[kind.name, number] = now


class Confirmation:
    """Asks WeChat Pay about a hint, within bounds.

    Strangers can send hints, so the bounds keep them from spending the merchant's rate limit and time. Hints that come
    with the operator's key have bounds of their own: a relay's is not sent again, and must not wait behind strangers.
    """

    def __init__(
        self, client: Client, merchant_id: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._merchant_id = merchant_id
        self._strangers, self._operators = _Bounds(monotonic), _Bounds(monotonic)

    def confirm(
        self, kind: Kind, hint: Mapping[str, Any], deadline: float, *, from_operator: bool = False
    ) -> dict[str, Any]:
        """WeChat Pay's answer under the notification's field names.

        Raises NotificationRefused when it says otherwise, NotificationPostponed when it cannot be asked now.
        """
        number, question = str(hint[kind.number]), _QUESTIONS[kind]
        if not _NUMBER.fullmatch(number) or hint[kind.state] not in question.confirmed:
            raise NotificationRefused(_REFUSED)
        if any(hint.get(name, self._merchant_id) != self._merchant_id for name in ("mchid", "mch_id")):
            raise NotificationRefused(_REFUSED)
        with (self._operators if from_operator else self._strangers).place(kind, number):
            answer = self._ask(kind, number, deadline)
        state = answer.get(kind.state)
        # A payment that is said to have succeeded did so, also when it has moved on to REFUND since.
        moved_on = kind is PAYMENT and hint[kind.state] == "SUCCESS"
        if state not in question.confirmed or not (state == hint[kind.state] or moved_on):
            raise NotificationRefused(_REFUSED)
        compared = [name for name in question.compared if name in hint]
        if "openid" in compared and "openid" not in answer:  # optional in a transfer query ([4012716437])
            compared.remove("openid")
        if not all(_agree(hint[name], answer.get(name)) for name in compared):
            raise NotificationRefused(_REFUSED)
        return answer

    def _ask(self, kind: Kind, number: str, deadline: float) -> dict[str, Any]:
        path = _QUESTIONS[kind].path(number, self._merchant_id)
        try:
            reply = self._client.call(
                "GET",
                path,
                expect={kind.number: number},
                deadline=deadline - HANDLER_RESERVE,
                try_timeout=TRY_TIMEOUT,
            )
        except ApiError as error:
            if error.signed and error.status == 404:
                raise NotificationRefused(_REFUSED) from error
            raise NotificationPostponed(f"WeChat Pay could not be asked: {error}") from error
        except (OutcomeUnknown, NotSent) as error:
            raise NotificationPostponed(f"WeChat Pay could not be asked: {error}") from error
        answer = dict(reply.data)
        if kind is REFUND:
            answer["refund_status"] = answer.pop("status", None)
            answer["mchid"] = self._merchant_id
        return answer


def _agree(stated: Any, known: Any) -> bool:
    """Whether everything stated, leaf by leaf, is what WeChat Pay says."""
    if isinstance(stated, dict):
        return isinstance(known, dict) and all(_agree(item, known.get(key)) for key, item in stated.items())
    return type(stated) is type(known) and bool(stated == known)
