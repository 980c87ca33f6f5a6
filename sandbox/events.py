"""Server-sent events: whoever listens is told of every change."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

HEARTBEAT = 15.0
WAITING = 2000
"""Events that a slow listener may be behind; then it is told to fetch everything anew."""


class Events:
    """A publisher. `publish` never waits, and builds nothing while nobody listens."""

    def __init__(self) -> None:
        self._listeners: set[queue.Queue[tuple[str, Any] | None]] = set()
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
                try:
                    listener.put_nowait((name, made))
                except queue.Full:
                    _empty(listener)
                    listener.put_nowait(("lag", {}))

    def listen(self, first: Callable[[], Any]) -> Iterator[bytes]:
        """The stream of one listener, beginning with the state of things."""
        mine: queue.Queue[tuple[str, Any] | None] = queue.Queue(WAITING)
        with self._lock:
            if self._closed:
                return
            self._listeners.add(mine)
        try:
            yield _event("state", first())
            while True:
                try:
                    news = mine.get(timeout=HEARTBEAT)
                except queue.Empty:
                    yield b": still here\n\n"
                    continue
                if news is None:
                    return
                yield _event(*news)
        finally:
            with self._lock:
                self._listeners.discard(mine)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for listener in self._listeners:
                _empty(listener)
                listener.put_nowait(None)


def _empty(listener: queue.Queue[tuple[str, Any] | None]) -> None:
    while True:
        try:
            listener.get_nowait()
        except queue.Empty:
            return


def _event(name: str, content: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
