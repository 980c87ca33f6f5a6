"""Faults at WeChat Pay, one call in a hundred; and what the sandbox saw, gathered before it forgets."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Ask = Callable[..., Awaitable[Any]]

SHARE = 0.01
LONGEST = 30.0  # seconds that a call may take
CLOSED = 0.3  # seconds for which a host refuses connections
# What a kind needs beside itself; each choice comes in turn. A latency beyond wxPayTimeout is a time-out.
SHAPES: dict[str, tuple[dict[str, Any], ...]] = {
    "latency": ({"seconds": 2.0}, {"seconds": 12.0, "processed": False}, {"seconds": 12.0, "processed": True}),
    "slow_body": ({"seconds": 3.0}, {"seconds": 12.0}),
    "error": tuple({"code": code} for code in ("PARAM_ERROR", "RULE_LIMIT", "SYSTEM_ERROR", "SERVICE_UNAVAILABLE")),
    "refuse": ({"seconds": CLOSED, "host": "main"},),
}
IN_A_ROW = (1, 1, 1, 2, 4)  # calls that one fault spoils: more than one may hit the repetition on the other host


class Watch:
    """`ask` is that of the sandbox's control API."""

    def __init__(self, ask: Ask) -> None:
        self.calls = 0  # of WeChat Pay
        self.ordered: Counter[str] = Counter()  # faults by kind: calls that they were to spoil
        self.seen: Counter[str] = Counter()  # and did
        self.hit: defaultdict[str, set[str]] = defaultdict(set)  # number -> faults of calls about it
        self.closed: list[tuple[float, float]] = []  # when a host refused connections, time.monotonic()
        self.deliveries: list[dict[str, Any]] = []  # without bodies
        self.active = False
        self._ask = ask
        self._last_delivery, self._since = 0, 0
        self._ends: deque[tuple[float, int]] = deque()  # when the newest call was which
        self._spoilt: set[int] = set()
        self._kinds: Iterator[tuple[str, dict[str, Any]]] = iter(())
        self._owed = 1.0  # the first at once

    async def begin(self) -> None:
        """From now on faults are ordered."""
        kinds = (await self._ask("GET", "/sandbox/faults"))["kinds"]
        turns = [(kind, shape) for kind in kinds for shape in SHAPES.get(kind, ({},))]
        random.shuffle(turns)
        self._kinds = itertools.cycle(turns)
        self.active = True

    async def end(self) -> None:
        await self._gather_spoilt()
        self.active = False
        await self._ask("DELETE", "/sandbox/faults")

    async def look(self) -> None:
        """Gather what is new, and order as many faults as are due."""
        state = await self._ask("GET", "/sandbox/state")
        calls, self.calls = state["last_request"] - self.calls, state["last_request"]
        await self._gather_spoilt()
        for delivery in await self._ask("GET", f"/sandbox/deliveries?since={self._last_delivery}"):
            self._last_delivery = delivery["id"]
            kept = ("kind", "number", "event_id", "shape", "attempt", "acknowledged", "lost", "status")
            self.deliveries.append({name: delivery[name] for name in kept})
        if self.active:
            self._owed += SHARE * calls
            while self._owed >= 1:
                self._owed -= await self._order()

    async def _gather_spoilt(self) -> None:
        """A call is listed when it begins, its fault when it ends: those of the last moments are asked for again."""
        self._ends.append((time.monotonic(), self.calls))
        while self._ends[0][0] < time.monotonic() - LONGEST:
            self._since = self._ends.popleft()[1]
        for call in await self._ask("GET", f"/sandbox/requests?since={self._since}&spoilt"):
            if call["id"] not in self._spoilt:
                self._spoilt.add(call["id"])
                self.seen[call["fault"]] += self.active
                for number in _numbers(call):
                    self.hit[number].add(call["fault"])

    async def _order(self) -> int:
        """One more fault; returns how many calls it will spoil."""
        kind, shape = next(self._kinds)
        times = 1
        if kind == "refuse":
            self.closed.append((time.monotonic(), time.monotonic() + CLOSED + 1))
        else:
            times = random.choice(IN_A_ROW)
            shape = {**shape, "times": times}
        self.ordered[kind] += times
        await self._ask("POST", "/sandbox/faults", {"kind": kind, **shape})
        return times


def _numbers(call: dict[str, Any]) -> set[str]:
    """The order and refund numbers that a call is about."""
    numbers = set(call["target"].partition("?")[0].split("/")) - {""}
    try:
        body = json.loads(call["body"] or "{}")
    except ValueError:
        return numbers
    return numbers | {body[name] for name in ("out_trade_no", "out_refund_no") if name in body}
