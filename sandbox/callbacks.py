"""Notifying the function: what is to be told, where, how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox import outbound, views
from sandbox.credentials import Credentials
from sandbox.keys import Keys
from sandbox.ledger import TRANSFER_MOVES, IllegalMove, Ledger, Order, Refund, Transfer
from sandbox.notices import ENVELOPES, Builder, event_type_of, new_event_id
from sandbox.records import Delivery, Records

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
    "transfer": (0, *[15] * 10, *[300] * 10, *[1800] * 44),
}
"""Seconds to wait before each repetition [4012791861, 4012712115]."""
SCHEDULES["refund"] = SCHEDULES["order"]

KINDS = ("order", "refund", "transfer")
SHAPES = ("direct", "forwarded")
INTEGRATION_HOST = "sandbox.integration-callback.example"


@dataclass(frozen=True)
class Manner:
    """How a notification is delivered. Raises ValueError on values that make no sense.

    shape     "direct" or "forwarded"; by default the host of the notify_url decides, as it does in reality
    envelope  of a forwarded one: see notices.Builder.forwarded
    key       of a direct one: "public" or "certificate"; by default what the key mode uses
    path      where on the function, instead of what notify_url and `forward_path` say
    attempts  repeated until acknowledged, at most so often, `delay` seconds apart
    """

    shape: str | None = None
    envelope: str | None = "rawData"
    key: str | None = None
    path: str | None = None
    attempts: int = 1
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in (None, *SHAPES):
            raise ValueError(f"shape must be one of {', '.join(SHAPES)}")
        if self.envelope not in ENVELOPES:
            raise ValueError(f"envelope must be one of {', '.join(map(str, ENVELOPES))}")
        if self.key not in (None, "public", "certificate"):
            raise ValueError("key must be public or certificate")
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError("path must begin with /")
        if not 1 <= self.attempts <= 100 or not 0 <= self.delay <= 600:
            raise ValueError("attempts must be 1 to 100 and delay 0 to 600 seconds")


class Callbacks:
    """Tells the function what happened.

    `function` is its base URL; `forward_path` is where the Integration Center posts: "/" as a rule, or None
    for the path of the notify_url.
    """

    def __init__(
        self,
        credentials: Credentials,
        keys: Keys,
        ledger: Ledger,
        records: Records[Delivery],
        function: str,
        forward_path: str | None,
    ) -> None:
        self.function = function
        self.forward_path = forward_path
        self.builder = Builder(credentials, keys, ledger.now)
        self._merchant_id = credentials.merchant_id
        self._ledger = ledger
        self._records = records
        self._event_ids: dict[tuple[str, str, str], str] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        with self._lock:
            self._event_ids.clear()

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
        """Deliver what is to be told, again and again until acknowledged.

        Without a notify_url (and without a path in `manner`) nothing is sent. Every attempt carries the same
        notification id, a new time and a new signature.
        """
        plaintext = self.plaintext(kind, number)
        notify_url = urlsplit(self._thing(kind, number).notify_url)
        shape = manner.shape or ("forwarded" if notify_url.hostname == INTEGRATION_HOST else "direct")
        path = manner.path or (shape == "forwarded" and self.forward_path) or notify_url.path
        if not notify_url.path and not manner.path:
            return []
        event_type = event_type_of(kind, plaintext)
        with self._lock:
            event_id = self._event_ids.setdefault((kind, number, event_type), new_event_id())
        made: list[Delivery] = []
        for attempt in range(1, manner.attempts + 1):
            if attempt > 1:
                time.sleep(manner.delay)
            if shape == "direct":
                headers, body = self.builder.notification(kind, plaintext, key=manner.key, event_id=event_id)
            else:
                headers, body = self.builder.forwarded(
                    kind, plaintext, envelope=manner.envelope, event_id=event_id
                )
            delivery = Delivery(
                time.time(),
                kind,
                number,
                event_type,
                event_id,
                shape,
                self.function.rstrip("/") + path,
                headers,
                body,
                attempt,
            )
            made.append(self._post(delivery, path))
            if delivery.acknowledged:
                break
        return made

    def _post(self, delivery: Delivery, path: str) -> Delivery:
        reply = outbound.post(self.function, path, delivery.headers, delivery.body, ANSWER_LIMIT)
        delivery.status, delivery.answer = reply.status, reply.body
        delivery.latency, delivery.error = reply.latency, reply.error
        return self._records.add(delivery)

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
