"""How requests leave and how a callback becomes a believed fact.

The way is chosen once, at start, by `signMode`; nobody asks for the mode again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.wechatpay.client import Client
from services.wechatpay.errors import DecryptionFailed, NotificationRefused
from utils import json_body


@dataclass(frozen=True)
class Kind:
    """One kind of notification: its events ([4012791861], [4013071196], [4012712115]) and key fields.

    `events` are WeChat Pay's names and those the Integration Center forwards; `number` is the merchant's
    own number of the thing, `state` the field that says how it ended.
    """

    name: str
    events: tuple[str, ...]
    number: str
    state: str


PAYMENT = Kind("payment", ("TRANSACTION.SUCCESS", "TRANSACTION.FAIL"), "out_trade_no", "trade_state")
REFUND = Kind("refund", ("REFUND.SUCCESS", "REFUND.ABNORMAL", "REFUND.CLOSED"), "out_refund_no", "refund_status")
TRANSFER = Kind(
    "transfer",
    ("MCHTRANSFER.BILL.FINISHED", "MCHTRANSFER.TRANSFER.SUCCESS", "MCHTRANSFER.TRANSFER.FAIL"),
    "out_bill_no",
    "state",
)
KIND_NAMES = {kind.name: kind for kind in (PAYMENT, REFUND, TRANSFER)}
KINDS = {event: kind for kind in KIND_NAMES.values() for event in kind.events}


@dataclass(frozen=True)
class Incoming:
    """A callback as it came in.

    `raw` are the body's bytes and `body` the same parsed; `kind` is what the path says it is, used where no
    event type is stated; `identified` tells that the request carries an end user's identity, `from_operator`
    that it carries `operatorKey`; `deadline` is in `time.monotonic()` seconds.
    """

    headers: Mapping[str, str] = field(repr=False)
    raw: bytes = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    kind: Kind | None
    identified: bool
    deadline: float
    from_operator: bool = False


@dataclass(frozen=True)
class Notification:
    """A believed callback. `kind` is None for an authentic notification of a type that is not handled.

    `plaintext` holds proved fields only; `evidence` is `signature`, `resource`, `query` or `platform`.
    """

    id: str
    event_type: str
    kind: Kind | None
    plaintext: dict[str, Any] = field(repr=False)
    evidence: str


class Opener(Protocol):
    """What differs by `signMode`."""

    def open(self, incoming: Incoming) -> Notification:
        """The believed notification.

        Raises SignatureInvalid, DecryptionFailed or NotificationRefused for one that is not believed,
        KeysUnavailable or NotificationPostponed where that cannot be told now.
        """


@dataclass(frozen=True)
class Strategy:
    """How requests leave, signed by ourselves in either mode, and the mode's own way to open callbacks."""

    client: Client
    opener: Opener


def kind_of(event_type: str, incoming: Incoming) -> Kind | None:
    """The event type chooses, else the path."""
    return KINDS.get(event_type) if event_type else incoming.kind


def read_plaintext(plaintext: bytes, kind: Kind | None) -> dict[str, Any]:
    """The decrypted text as an object of its kind, or DecryptionFailed / NotificationRefused."""
    try:
        fields = json_body.parse(plaintext)
    except json_body.BadJson as error:
        raise DecryptionFailed("the decrypted resource is not JSON") from error
    if not isinstance(fields, dict):
        raise DecryptionFailed("the decrypted resource is not a JSON object")
    if kind is not None:
        require_kind(fields, kind)
    return fields


def require_kind(fields: Mapping[str, Any], kind: Kind) -> None:
    """A payment has its trade_state, a refund its out_refund_no, a transfer its out_bill_no."""
    for name in (kind.number, kind.state):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise NotificationRefused(f"the content is not that of a {kind.name}: {name} is missing")


def text(value: Any) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""
