"""Notifying the function: what is to be told, where, how often."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sandbox import outbound, views
from sandbox.clock import Clock, Plan, rfc3339
from sandbox.credentials import Credentials
from sandbox.integration import HOST as INTEGRATION_HOST
from sandbox.integration import IntegrationCenter, Unproved
from sandbox.keys import Keys
from sandbox.ledger import TRANSFER_MOVES, IllegalMove, Ledger, Order, Refund, Transfer
from sandbox.notices import ENVELOPES, Builder, event_type_of, new_event_id
from sandbox.records import Delivery, Records

PROBE = "WECHATPAY/SIGNTEST/"
ANSWER_LIMIT = 5.0
"""Seconds within which a notification must be acknowledged [4012791861]."""

_MINUTE, _HOUR = 60, 3600
SCHEDULES: dict[str, tuple[int, ...]] = {
    "order": (
        15,
        15,
        30,
        3 * _MINUTE,
        10 * _MINUTE,
        20 * _MINUTE,
        *[30 * _MINUTE] * 3,
        _HOUR,
        *[3 * _HOUR] * 3,
        *[6 * _HOUR] * 2,
    ),
    "transfer": (*[15] * 10, *[300] * 10, *[1800] * 44),
}
"""Seconds to wait before each repetition [4012791861, 4012712115].

The page of transfers counts 65 with one "0s" first: read as the first delivery itself.
"""
SCHEDULES["refund"] = SCHEDULES["order"]

KINDS = ("order", "refund", "transfer")
SHAPES = ("direct", "forwarded")
ALL = 100
"""As many lost deliveries as there can be tries."""


@dataclass(frozen=True)
class Manner:
    """How a notification is delivered. Raises ValueError on values that make no sense.

    shape     "direct" or "forwarded"; by default the host of the notify_url decides, as it does in reality
    envelope  of a forwarded one: see notices.wrapped
    key       of the signature: "public" or "certificate"; by default what the key mode uses
    path      where on the function, instead of what notify_url and `forward_path` say
    lose      so many tries get lost on the way; ALL of them if it is that
    probe     the first try carries a signature probe [4013053249]
    """

    shape: str | None = None
    envelope: str | None = "rawData"
    key: str | None = None
    path: str | None = None
    lose: int = 0
    probe: bool = False

    def __post_init__(self) -> None:
        if self.shape not in (None, *SHAPES):
            raise ValueError(f"shape must be one of {', '.join(SHAPES)}")
        if self.envelope not in ENVELOPES:
            raise ValueError(f"envelope must be one of {', '.join(map(str, ENVELOPES))}")
        if self.key not in (None, "public", "certificate"):
            raise ValueError("key must be public or certificate")
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError("path must begin with /")
        if not 0 <= self.lose <= ALL:
            raise ValueError(f"lose must be 0 to {ALL}")


@dataclass(eq=False)
class Notice:
    """One notification on its way: what it says stays as it was when it was first sent."""

    kind: str
    number: str
    event_type: str
    occurrence: str
    event_id: str
    plaintext: dict[str, Any]
    created: float
    notify_path: str
    forwarded: bool
    manner: Manner = field(default_factory=Manner)
    attempts: int = 0
    before_manner: int = 0  # attempts that were made in another manner
    acknowledged: bool = False
    planned: Plan | None = None


class Callbacks:
    """Tells the function what happened, again and again by WeChat Pay's schedule until it is acknowledged."""

    def __init__(
        self,
        credentials: Credentials,
        keys: Keys,
        ledger: Ledger,
        clock: Clock,
        records: Records[Delivery],
        function: str,
        forward_path: str | None,
    ) -> None:
        self.function = function
        self.integration = IntegrationCenter(credentials, keys, lambda: self.function, forward_path)
        self.builder = Builder(credentials, keys, ledger.now)
        self._merchant_id = credentials.merchant_id
        self._ledger = ledger
        self._clock = clock
        self._records = records
        self._notices: dict[tuple[str, str, str], Notice] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        with self._lock:
            self._notices.clear()

    def plaintext(self, kind: str, number: str) -> dict[str, Any]:
        """The true plaintext of sections 4.4 to 4.6. Raises IllegalMove when there is nothing to tell."""
        thing = self._thing(kind, number)
        if isinstance(thing, Order):
            if not thing.transaction_id:
                raise IllegalMove(f"order {number} is {thing.state}: only a payment is ever notified")
            return views.payment_notice(thing, self._merchant_id)
        if isinstance(thing, Refund):
            if thing.state == "PROCESSING":
                raise IllegalMove(f"refund {number} is PROCESSING: only its outcome is ever notified")
            return views.refund_notice(thing, self._merchant_id)
        if TRANSFER_MOVES[thing.state]:
            raise IllegalMove(f"transfer {number} is {thing.state}: only its end is ever notified")
        return views.transfer_notice(thing, self._merchant_id)

    def deliver(self, kind: str, number: str, manner: Manner) -> list[Delivery]:
        """Deliver what is to be told, now; what is not acknowledged is repeated by the schedule.

        [] without a notify_url (and without a path in `manner`), and while the merchant has no APIv3 key: nothing is
        ever sent then [4012075420]. Every try carries the same notification id, a new time and a new signature.
        """
        plaintext = self.plaintext(kind, number)
        notify_url = urlsplit(self._thing(kind, number).notify_url)
        if (not notify_url.path and not manner.path) or not self._ledger.merchant.api_v3_key:
            return []
        event_type = event_type_of(kind, plaintext)
        # A refund may turn ABNORMAL more than once; each time is a notification of its own.
        occurrence = f"{event_type} {_times_become(self._thing(kind, number))}"
        with self._lock:
            notice = self._notices.get((kind, number, occurrence))
            if notice is None:
                notice = Notice(
                    kind,
                    number,
                    event_type,
                    occurrence,
                    new_event_id(),
                    plaintext,
                    self._ledger.now(),
                    notify_url.path,
                    notify_url.hostname == INTEGRATION_HOST,
                )
                self._notices[kind, number, occurrence] = notice
            notice.manner, notice.before_manner = manner, notice.attempts
        return [self._try(notice)]

    def _try(self, notice: Notice) -> Delivery:
        """One delivery; plans the next when this one is not acknowledged."""
        manner = notice.manner
        notice.attempts += 1
        if notice.planned:
            notice.planned.cancelled = True
            notice.planned = None
        forwarded = notice.forwarded if manner.shape is None else manner.shape == "forwarded"
        path = manner.path or (forwarded and self.integration.forward_path) or notice.notify_path
        headers, body = self.builder.notification(
            notice.kind, notice.plaintext, key=manner.key, event_id=notice.event_id, created=notice.created
        )
        tries = notice.attempts - notice.before_manner
        if manner.probe and tries == 1:
            headers["Wechatpay-Signature"] = PROBE + headers["Wechatpay-Signature"][len(PROBE) :]
        delivery = Delivery(
            self._ledger.now(),
            notice.kind,
            notice.number,
            notice.event_type,
            notice.event_id,
            "forwarded" if forwarded else "direct",
            self.function.rstrip("/") + path,
            headers,
            body,
            notice.attempts,
            plaintext=notice.plaintext,
        )
        if not self._ledger.merchant.api_v3_key:
            delivery.lost, delivery.error = True, "not sent: the merchant has no APIv3 key any more"
        elif manner.lose == ALL or tries <= manner.lose:
            delivery.lost, delivery.error = True, "lost on the way"
        else:
            self._send(delivery, path, forwarded, manner)
        notice.acknowledged = notice.acknowledged or delivery.acknowledged
        with self._lock:
            forgotten = self._notices.get((notice.kind, notice.number, notice.occurrence)) is not notice
        if not forgotten:  # by a reset, while it was on its way
            self._plan(notice, delivery)
            self._records.add(delivery)
            self._records.finished(delivery)
        return delivery

    def _send(self, delivery: Delivery, path: str, forwarded: bool, manner: Manner) -> None:
        if forwarded:
            try:
                delivery.headers, delivery.body = self.integration.opened(
                    delivery.headers, delivery.body, manner.envelope
                )
            except Unproved as error:
                delivery.status, delivery.error = 401, f"the Integration Center refused it: {error}"
                return
        reply = outbound.post(self.function, path, delivery.headers, delivery.body, ANSWER_LIMIT)
        delivery.status, delivery.answer = reply.status, reply.body
        delivery.latency, delivery.error = reply.latency, reply.error

    def _plan(self, notice: Notice, delivery: Delivery) -> None:
        schedule = SCHEDULES[notice.kind]
        if notice.acknowledged or notice.attempts > len(schedule):
            return
        what = f"{notice.event_type} of {notice.number}, try {notice.attempts + 1}"
        with self._lock:
            if notice.planned:
                notice.planned.cancelled = True  # two tries at once must not become two schedules
            notice.planned = self._clock.plan(schedule[notice.attempts - 1], what, lambda: self._try(notice))
            delivery.next = rfc3339(notice.planned.time)

    def _thing(self, kind: str, number: str) -> Order | Refund | Transfer:
        kept: dict[str, Mapping[str, Order | Refund | Transfer]] = {
            "order": self._ledger.orders,
            "refund": self._ledger.refunds,
            "transfer": self._ledger.transfers,
        }
        if kind not in kept:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if number not in kept[kind]:
            raise IllegalMove(f"there is no {kind} {number}")
        return kept[kind][number]


def _times_become(thing: Order | Refund | Transfer) -> int:
    """How often a thing has become what it is now, or was paid."""
    told = "SUCCESS" if isinstance(thing, Order) else thing.state
    states = [step.state for step in thing.life]
    return sum(state == told != before for before, state in zip(["", *states], states, strict=False))
