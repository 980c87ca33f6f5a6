"""A file of every exchange of the WeChat Pay face, for whoever wants to look at the traffic afterwards.

`python -m sandbox --journal FILE`, or the environment variable SANDBOX_JOURNAL for sandboxes that other programs
start. Each exchange is one line, a JSON object: `time`, `host`, `method`, `target`, `headers`, `body`, `status`
(null: the connection was reset), `answer_headers`, `answer`, `fault` (what spoilt the answer), `verified` (the
signature), `refusal`, and whatever else the sandbox's records tell. Bytes that are no UTF-8 stand as `base64:...`.
Names of request headers are in lower case; the Authorization value is left out. Several processes may write to one
file: their lines never mix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache

from sandbox.records import ApiRequest

VARIABLE = "SANDBOX_JOURNAL"
_LEFT_OUT = "***"


def opened() -> Callable[[ApiRequest], None]:
    """What notes a finished exchange: in the file that the variable names, else nowhere. Raises OSError."""
    path = os.environ.get(VARIABLE)
    if not path:
        return lambda _: None
    file = _file(path)

    def note(record: ApiRequest) -> None:
        # One call for one line: that is what keeps the lines of several processes apart.
        os.write(file, _line(record))

    return note


@cache
def _file(path: str) -> int:
    # One for all sandboxes of a process, hence never closed.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _line(record: ApiRequest) -> bytes:
    shown = record.describe()
    if "authorization" in record.headers:
        shown["headers"] = record.headers | {"authorization": _LEFT_OUT}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
