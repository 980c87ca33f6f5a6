"""A lock with a queue: one at a time, in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """One at a time, in the order in which they came, those that go first before all others.

    `threading.Lock` wakes any waiter: among many orders it may let a callback wait until it is too late.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._first: deque[threading.Lock] = deque()
        self._others: deque[threading.Lock] = deque()

    def acquire(self, timeout: float, *, first: bool) -> bool:
        """Whether it is one's turn, at most `timeout` seconds later."""
        queue = self._first if first else self._others
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            queue.append(mine)
        if mine.acquire(timeout=timeout):
            return True
        with self._lock:
            if mine in queue:
                queue.remove(mine)
                return False
        return True  # handed over in the last moment

    def release(self) -> None:
        """The next one's turn begins."""
        with self._lock:
            queue = self._first or self._others
            if queue:
                queue.popleft().release()
            else:
                self._taken = False
