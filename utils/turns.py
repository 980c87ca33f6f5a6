"""A lock with a queue: one at a time, in the order in which they came."""

from __future__ import annotations

import threading
import time
from collections import deque


class Turns:
    """One at a time, in the order in which they came, those that go first before all others.

    `threading.Lock` wakes any waiter: among many orders it may let a callback wait until it is too late.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._since = 0.0  # when the turn that is under way began
        self._first: deque[threading.Lock] = deque()
        self._others: deque[threading.Lock] = deque()

    def acquire(self, timeout: float, *, first: bool, of_one: bool = False) -> bool:
        """Whether it is one's turn, at most `timeout` seconds later; with `of_one` as long as no turn takes longer."""
        queue = self._first if first else self._others
        with self._lock:
            if not self._taken:
                self._begin()
                return True
            mine = threading.Lock()
            mine.acquire()
            queue.append(mine)
            left = self._left(timeout) if of_one else timeout
        while not mine.acquire(timeout=left):
            with self._lock:
                if mine not in queue:
                    return True  # handed over in the last moment
                left = self._left(timeout) if of_one else 0.0
                if not left:
                    queue.remove(mine)
                    return False
        return True

    def release(self) -> None:
        """The next one's turn begins."""
        with self._lock:
            queue = self._first or self._others
            if queue:
                self._begin()
                queue.popleft().release()
            else:
                self._taken = False

    def _begin(self) -> None:
        self._taken, self._since = True, time.monotonic()

    def _left(self, seconds: float) -> float:
        """Of so many seconds for the turn that is under way."""
        return max(0.0, self._since + seconds - time.monotonic())
