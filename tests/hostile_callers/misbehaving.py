"""Under the function's server: an application that breaks off its answers, and one that outlives the server's loop.

Paths: /late, or `/<how far it gets>/<what it raises then>`; anything else is answered at once.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from tests.hostile_callers.wire import Wire
from tests.support import Function, gunicorn

SCENE = "SCENE_OF_THE_TESTS"
KEPT = b"an order\n"  # what /late writes to its file
FURTHER = 64  # descriptors that /late opens: more than a loop leaves behind

ERRORS: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, "disk"),
    "EPIPE": lambda: BrokenPipeError(errno.EPIPE, "not the caller's"),
    "ECONNRESET": lambda: ConnectionResetError(errno.ECONNRESET, "not the caller's"),
    "EAGAIN": lambda: BlockingIOError(errno.EAGAIN, "not the caller's"),
    "ValueError": lambda: ValueError("value"),
    "SystemExit": lambda: SystemExit(1),
}
_opened: list[FileIO] = []


class Broken:
    """An answer's pieces, then an error; or, `at_close`, the error when all has been said."""

    def __init__(self, pieces: Iterable[bytes], error: BaseException, *, at_close: bool = False) -> None:
        self._pieces = iter(pieces)
        self._error = error
        self._at_close = at_close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopIteration if self._at_close else self._error

    def close(self) -> None:
        if self._at_close:
            raise self._error


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    _, how_far, *name = environ["PATH_INFO"].split("/")
    if not name:
        content = late() if how_far == "late" else b"whole"
        start_response("200 OK", [("Content-Length", str(len(content)))])
        return [content]
    error = ERRORS[name[0]]()
    if how_far == "nowhere":
        raise error
    start_response("200 OK", [] if how_far == "chunks" else [("Content-Length", "8")])
    pieces = {"head": [b""], "half": [b"half"], "chunks": [b"half"], "end": [b"half", b"half"]}[how_far]
    return Broken(pieces, error, at_close=how_far == "end")


def late() -> bytes:
    """Go on only when a test says `go`, and then open and write files, as who places an order does."""
    folder = Path(os.environ[SCENE])
    (folder / "entered").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    _opened.extend(FileIO(folder / "orders", "a") for _ in range(FURTHER))
    _opened[0].write(KEPT)
    return KEPT


@contextmanager
def serving(folder: Path, options: Sequence[str] = ()) -> Iterator[Function]:
    """This application, started as the function is."""
    env = {SCENE: str(folder)}
    with gunicorn(env, folder / "log", options=options, application="tests.hostile_callers.misbehaving:app") as running:
        yield running


def connect(function: Function) -> Wire:
    host, _, port = function.url.removeprefix("http://").partition(":")
    return Wire((host, int(port)))
