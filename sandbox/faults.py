"""Misbehaviour of the WeChat Pay face, switched on one kind at a time or several together."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from sandbox.crypto import Signer
from sandbox.errors import DOCUMENTED
from sandbox.spoils import KINDS, Fault
from sandbox.wire import Answer, Request

HOSTS = ("any", "main", "backup")


class Faults:
    """The switches. `on_change(hosts)` has to close exactly the ports of these hosts, and to open the others."""

    def __init__(self, on_change: Callable[[set[str]], None]) -> None:
        self._on_change = on_change
        self._faults: list[Fault] = []
        # Held while ports open and close, so that they always end as the list says.
        self._lock = threading.RLock()
        self._ids = itertools.count(1)
        self._timers: list[threading.Timer] = []
        self._closing = threading.Event()
        self._waking = threading.Event()

    def add(
        self,
        kind: str,
        *,
        times: int | None = None,
        host: str = "any",
        path: str = "",
        processed: bool | None = None,
        seconds: float | None = None,
        code: str = "",
        status: int | None = None,
    ) -> Fault:
        """Switch a fault on. Raises ValueError, and changes nothing, when the combination makes no sense."""
        _check(kind, times, host, path, processed, seconds)
        nature = KINDS[kind]
        if processed is None:
            processed = nature.processed is not False
        seconds = seconds or nature.seconds
        code, status = _error(kind, code, status)
        fault = Fault(kind, times, host, path, processed, seconds, next(self._ids), code, status)
        with self._lock:
            self._faults.append(fault)
            self._changed()
            if kind == "refuse" and seconds:
                ending = threading.Timer(seconds, self._end, (fault,))
                ending.daemon = True
                ending.start()
                self._timers.append(ending)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._changed()

    def _end(self, fault: Fault) -> None:
        """What was closed for some seconds, unless it was cleared before."""
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)
                self._changed()

    def _changed(self) -> None:
        refused = {fault.host for fault in self._faults if fault.kind == "refuse"}
        self._on_change({"main", "backup"} if "any" in refused else refused)

    def active(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def take(self, host: str, target: str) -> tuple[list[Fault], Fault | None]:
        """The latencies of this request and the first other fault that spoils it; each counts down by one."""
        delays: list[Fault] = []
        spoiling: Fault | None = None
        if not self._faults:
            return delays, spoiling
        with self._lock:
            for fault in list(self._faults):
                matches = fault.host in ("any", host) and fault.path in target and fault.kind != "refuse"
                if not matches or (spoiling and fault.kind != "latency"):
                    continue
                if fault.kind == "latency":
                    delays.append(fault)
                else:
                    spoiling = fault
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
        return delays, spoiling

    def wait(self, seconds: float) -> bool:
        """Sleep; True when the sandbox is closing or was emptied instead."""
        return self._waking.wait(seconds) or self._closing.is_set()

    def interrupt(self) -> None:
        """End what is waiting: a request of before must not act in what comes after."""
        waiting, self._waking = self._waking, threading.Event()
        waiting.set()

    def close(self) -> None:
        with self._lock:
            for timer in self._timers:
                timer.cancel()
        self._closing.set()
        self._waking.set()

    def spoil(self, fault: Fault, answer: Answer, signer: Signer, request: Request) -> Answer:
        return KINDS[fault.kind].spoil(answer, signer, request, fault)


def _error(kind: str, code: str, status: int | None) -> tuple[str, int]:
    """Code and status of an `error`, as documented. Raises ValueError."""
    if kind != "error":
        if code or status is not None:
            raise ValueError(f"code and status do not apply to {kind}")
        return "", 0
    code = code or "SYSTEM_ERROR"
    if code not in DOCUMENTED:
        raise ValueError(f"code must be one of {', '.join(DOCUMENTED)}")
    if status not in (None, *DOCUMENTED[code]):
        raise ValueError(f"status of {code} must be {' or '.join(map(str, DOCUMENTED[code]))}")
    return code, status or DOCUMENTED[code][0]


def _check(
    kind: str, times: int | None, host: str, path: str, processed: bool | None, seconds: float | None
) -> None:
    """Raises ValueError on a combination that makes no sense."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    if host not in HOSTS:
        raise ValueError(f"host must be one of {', '.join(HOSTS)}")
    if times is not None and times < 1:
        raise ValueError("times must be 1 or more, or left out")
    nature = KINDS[kind]
    if kind == "refuse" and (times is not None or path):
        raise ValueError("refuse closes the whole port until cleared or for seconds: times and path do not apply")
    if processed is not None and nature.processed is None:
        raise ValueError(f"processed does not apply to {kind}: it spoils the true answer")
    if seconds is not None and not nature.seconds and kind != "refuse":
        raise ValueError(f"seconds does not apply to {kind}")
    if seconds is not None and not 0 < seconds <= 600:
        raise ValueError("seconds must be above 0 and at most 600")
