"""Server-sent events: whoever listens is told of every change."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

HEARTBEAT = 15.0
LOOK = 1.0
"""Seconds between looks whether the listener is still there."""
WAITING = 2000
"""Events that a slow listener may be behind; then it is told to fetch everything anew."""


class Events:
    """A publisher. `publish` never waits, and builds nothing while nobody listens."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def publish(self, name: str, content: Callable[[], Any]) -> None:
        if not self._listeners:
            return
        made = content()
        with self._lock:
            for listener in self._listeners:
                listener.put(name, made)

    def listen(self, first: Callable[[], Any]) -> Listener:
        """A stream that begins with the state of things. It listens from now on, not from its first piece."""
        listener = Listener(self._leave)
        with self._lock:
            listener.put("state", first())
            self._listeners.add(listener)
            if self._closed:
                listener.end()
        return listener

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for listener in self._listeners:
                listener.end()

    def _leave(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.discard(listener)


class Listener(Iterator[bytes]):
    """The pieces of one stream; an empty piece only asks whether anybody still reads."""

    def __init__(self, leave: Callable[[Listener], None]) -> None:
        self._leave = leave
        self._waiting: queue.Queue[tuple[str, Any] | None] = queue.Queue(WAITING)
        self._last = time.monotonic()

    def __next__(self) -> bytes:
        try:
            news = self._waiting.get(timeout=LOOK)
        except queue.Empty:
            if time.monotonic() - self._last < HEARTBEAT:
                return b""
            self._last = time.monotonic()
            return b": still here\n\n"
        if news is None:
            raise StopIteration
        self._last = time.monotonic()
        name, content = news
        return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n".encode()

    def close(self) -> None:
        self._leave(self)

    def put(self, name: str, content: Any) -> None:
        try:
            self._waiting.put_nowait((name, content))
        except queue.Full:
            self._empty()
            self._waiting.put_nowait(("lag", {}))

    def end(self) -> None:
        self._empty()
        self._waiting.put_nowait(None)

    def _empty(self) -> None:
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                return
