"""What the sandbox saw and did, for tests and people to look at."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

KEPT = 20_000


@dataclass
class ApiRequest:
    """One request to the WeChat Pay face. `status` is None until answered, and stays so after a reset."""

    time: float
    host: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    verified: bool = False
    refusal: str | None = None  # why it was refused: "<code>: <message>"
    status: int | None = None
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""
    fault: str | None = None
    seconds: float = 0.0
    id: int = 0

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        """The parsed body; None when there is none or it is not JSON."""
        return parsed(self.body)

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "time": self.time,
            "host": self.host,
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "body": _text(self.body),
            "verified": self.verified,
            "refusal": self.refusal,
            "status": self.status,
            "answer_headers": self.answer_headers,
            "answer": _text(self.answer),
            "fault": self.fault,
            "seconds": self.seconds,
        }


@dataclass
class Delivery:
    """One attempt to deliver one notification. `status` is None when no answer came: `error` says why."""

    time: float
    kind: str
    number: str
    event_type: str
    event_id: str
    shape: str
    url: str
    headers: dict[str, str]
    body: bytes
    attempt: int = 1
    status: int | None = None
    latency: float = 0.0
    answer: bytes = b""
    error: str | None = None
    plaintext: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    next: str | None = None  # when it is tried again
    id: int = 0

    @property
    def acknowledged(self) -> bool:
        """200 or 204 in time; the body does not count [4012791861]."""
        return self.error is None and self.status in (200, 204)

    @property
    def json(self) -> Any:
        """The function's parsed answer; None when it is not JSON."""
        return parsed(self.answer)

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "time": self.time,
            "kind": self.kind,
            "number": self.number,
            "shape": self.shape,
            "event_type": self.event_type,
            "event_id": self.event_id,
            "url": self.url,
            "headers": self.headers,
            "body": _text(self.body),
            "attempt": self.attempt,
            "status": self.status,
            "latency": self.latency,
            "answer": _text(self.answer),
            "error": self.error,
            "acknowledged": self.acknowledged,
            "plaintext": self.plaintext,
            "lost": self.lost,
            "next": self.next,
        }


Kept = TypeVar("Kept", ApiRequest, Delivery)


@dataclass
class Records(Generic[Kept]):
    """A bounded list that any thread may add to. `finished` is told of each that is complete."""

    _items: deque[Kept] = field(default_factory=lambda: deque(maxlen=KEPT))
    finished: Callable[[Kept], None] = lambda _: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)

    def add(self, item: Kept) -> Kept:
        with self._lock:
            item.id = next(self._ids)
            self._items.append(item)
        return item

    def __len__(self) -> int:
        return len(self._items)

    @property
    def last(self) -> int:
        """The id of the newest; 0 without any."""
        with self._lock:
            return self._items[-1].id if self._items else 0

    def after(self, since: int = 0) -> list[Kept]:
        """Those after the id `since`, oldest first."""
        with self._lock:
            return [item for item in self._items if item.id > since]

    def clear(self) -> None:
        with self._lock:
            self._items.clear()


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(body).decode()
