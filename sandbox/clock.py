"""Business time, which can be moved forward, and what is planned to happen in it.

Only business time moves: orders, schedules, lifetimes, bills. Signatures and tokens carry the wall clock, because
the other side checks them against its own.
"""

from __future__ import annotations

import heapq
import itertools
import re
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
FURTHEST = 400 * 86400


@dataclass(order=True)
class Plan:
    """Something that happens at a time, unless cancelled."""

    time: float
    serial: int
    what: str = field(compare=False)
    action: Callable[[], object] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def describe(self) -> dict[str, str]:
        return {"time": rfc3339(self.time), "what": self.what}


class Clock:
    """Runs ahead of the wall clock by what `advance` added.

    Plans happen in the order of their times: during `advance`, and by themselves only while `run` lets them.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._era = 0  # what a clear() ends: an advance under way must not carry into the next
        self._plans: list[Plan] = []
        self._serials = itertools.count()
        self._news = threading.Condition()  # guards all of this; a sooner plan wakes the runner
        self._turn = threading.RLock()  # one plan at a time
        self._runner: threading.Thread | None = None
        self.moved: Callable[[], None] = lambda: None

    def now(self) -> float:
        return time.time() + self._ahead

    def plan(self, delay: float, what: str, action: Callable[[], object]) -> Plan:
        with self._news:
            plan = Plan(self.now() + delay, next(self._serials), what, action)
            heapq.heappush(self._plans, plan)
            if self._plans[0] is plan:
                self._news.notify_all()
        return plan

    def pending(self, most: int = 20) -> list[Plan]:
        with self._news:
            return heapq.nsmallest(most, (plan for plan in self._plans if not plan.cancelled))

    def advance(self, seconds: float) -> list[Plan]:
        """Move on; what falls due on the way happens at its own time. Returns that. Raises ValueError."""
        if not 0 <= seconds <= FURTHEST:
            raise ValueError("the clock only moves forward, by at most 400 days at a time")
        happened: list[Plan] = []
        with self._turn:
            era, target = self._era, self.now() + seconds
            while plan := self._due(target, era):
                plan.action()
                happened.append(plan)
            with self._news:
                if self._era == era:
                    self._reach(target)
        self.moved()
        return happened

    @property
    def running(self) -> bool:
        return self._runner is not None

    def run(self) -> None:
        """From now on plans also happen by themselves, when their time has come."""
        with self._news:
            if self._runner is None:
                self._runner = threading.Thread(target=self._run, daemon=True)
                self._runner.start()

    def stop(self) -> None:
        with self._news:
            self._runner = None
            self._news.notify_all()

    def clear(self) -> None:
        """Forget all plans and return to the wall clock."""
        with self._news:
            self._plans.clear()
            self._ahead = 0.0
            self._era += 1

    def _due(self, moment: float, era: int) -> Plan | None:
        """The next plan up to `moment`; it is its time then."""
        with self._news:
            while self._era == era and self._plans and self._plans[0].time <= moment:
                plan = heapq.heappop(self._plans)
                if not plan.cancelled:
                    self._reach(plan.time)
                    return plan
            return None

    def _happen(self, plan: Plan) -> None:
        try:
            plan.action()
        except Exception:  # noqa: BLE001 - one plan that fails must not be the last that happens
            traceback.print_exc()

    def _reach(self, moment: float) -> None:
        self._ahead += max(0.0, moment - self.now())

    def _run(self) -> None:
        while True:
            with self._news:
                if self._runner is not threading.current_thread():
                    return
                if not self._plans or self._plans[0].time > self.now():
                    self._news.wait(min(1.0, self._plans[0].time - self.now()) if self._plans else None)
                    continue
            with self._turn:
                if plan := self._due(self.now(), self._era):
                    self._happen(plan)


def duration(text: str) -> float:
    """Seconds of "45s", "10m", "2h", "1d" or "1h30m", at most 400 days. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError('a duration looks like "45s", "10m", "2h", "1d" or "1h30m"')
    seconds = sum(float(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"[\d.]+[smhd]", text))
    if seconds > FURTHEST:
        raise ValueError("a duration is at most 400 days")
    return seconds


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, BEIJING).isoformat(timespec="seconds")


def day_of(moment: float) -> str:
    """The Beijing calendar day as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(moment, BEIJING).strftime("%Y-%m-%d")


def moment_of(text: str) -> float:
    """Seconds of an RFC 3339 time whose form has been checked."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text.replace("Z", "+00:00"))).timestamp()
