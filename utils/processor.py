"""Who computes: one thread of the function at a time, in the order in which they came.

Python runs one thread at a time anyway, but whichever of those that want to, for up to 5 ms, and asks anew after every
system call: among 64 threads with work to do the server's loop would get its turn some times a second. So a thread that
has work to do queues for it here, and whoever waits for something else lets the others on in the meantime.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from utils.turns import Turns

# Seconds of one turn after which others go on without theirs, until they wait the next time: whoever has it may be
# waiting where nobody has thought of it. A queue that is long but moves is no reason: all who stand in it would
# compute at once, and the loop hardly ever.
PATIENCE = 1.0


class _Thread(threading.local):
    is_computing = False
    has_turn = False  # or goes on without


_turns = Turns()
_thread = _Thread()


def computing(*, first: bool = False) -> AbstractContextManager[None]:
    """In one's turn, and within it in the same one; `first` goes before all others."""
    return _Computing(first)


def waiting(*, first: bool = False) -> AbstractContextManager[None]:
    """The others' turn, until this thread goes on: at once if it was not computing, `first` before all others."""
    return _Waiting(first)


class _Computing(AbstractContextManager[None]):
    def __init__(self, first: bool) -> None:
        self._first = first

    def __enter__(self) -> None:
        self._is_within = _thread.is_computing
        if not self._is_within:
            _enter(first=self._first)

    def __exit__(self, *_: object) -> None:
        if not self._is_within:
            _leave()


class _Waiting(AbstractContextManager[None]):
    def __init__(self, first: bool) -> None:
        self._first = first

    def __enter__(self) -> None:
        self._was_computing = _thread.is_computing
        _leave()

    def __exit__(self, *_: object) -> None:
        if self._was_computing:
            _enter(first=self._first)


def _enter(*, first: bool) -> None:
    _thread.has_turn = _turns.acquire(PATIENCE, first=first, of_one=True)
    _thread.is_computing = True


def _leave() -> None:
    _thread.is_computing = False
    if _thread.has_turn:
        _thread.has_turn = False
        _turns.release()
