"""One JSON object per line on standard output, with everything secret taken out.

    log = logging.getLogger("pay.orders")
    log.info("order placed", extra={"fields": {"out_trade_no": number, "status": 200}})

A line is searched for secrets when it is complete, so it does not matter how one got into it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
action: ContextVar[str] = ContextVar("action", default="")  # what the request turned out to ask for
# What must not be shown of the current request: each spelling of a value -> its mask. The dict is shared on
# purpose: a worker thread in a copy of the context sees what is protected later, and the other way round.
_protected: ContextVar[dict[str, str] | None] = ContextVar("protected", default=None)

MASK = "***"
MAX_LENGTH = 8192  # what a header can hold; a longer text is nobody's identity
MIN_LENGTH, MIN_LENGTH_NON_ASCII = 4, 2  # shorter values would blot out half the log; Chinese names are short
SHOWN, FULLY_MASKED = 4, 12  # of longer values than these twelve characters the first four stay readable
READER_PATIENCE = 1.0  # seconds that a full pipe is waited for, until its reader counts as asleep
CHUNK = 20  # characters of a key that give it away; every run of 40 holds one at a multiple of 20

_PATTERN = re.compile(
    r"(?P<pem>-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z))"
    r"|(?P<bearer>(?i:bearer)[\s\\]+)\S+"
    r"|(?P<scheme>WECHATPAY2-SHA256-RSA2048[\s\\]+)[^\r\n]+"
    r"""|(?P<signature>signature=\\*["']?)[^"'\\\s,&]+"""
    r"|(?P<jwt>(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*)",
    re.DOTALL,
)
# Without any of these the pattern finds nothing, and takes longer to say so than all else that is done to a line.
_MARKS = ("-----BEGIN ", "WECHATPAY2-SHA256-RSA2048", "signature=", "eyJ")
# By itself, afterwards: a run may begin before a token (its characters include "/") and would swallow its head.
_RUN = re.compile(r"(?P<run>[A-Za-z0-9+/]{40,}={0,2})")
# JSON leaves these alone, though terminals and splitlines() break lines at some; surrogates have no UTF-8.
_UNWRITABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_PLAIN = re.compile(r"[A-Za-z0-9 _.:/+=@~;,-]*")  # spelled alike everywhere


def setup(level: str, secrets: Iterable[str], *, to_stderr: bool = False) -> None:
    """Send the `pay` loggers, from `level` ("info") up, to standard output without `secrets`. Repeatable.

    `to_stderr` is for commands, whose own output goes there.
    """
    _secrets.replace(secrets)
    pay = logging.getLogger("pay")
    pay.setLevel(level.upper())
    pay.propagate = False
    pay.handlers[:] = [_JsonLines(to_stderr)]


@contextmanager
def new_request(identifier: str) -> Iterator[None]:
    """A fresh request: its id on every line, nothing protected yet. Both are as before at the end."""
    id_token, action_token, protected_token = request_id.set(identifier), action.set(""), _protected.set({})
    try:
        yield
    finally:
        request_id.reset(id_token)
        action.reset(action_token)
        _protected.reset(protected_token)


def protect(*values: object) -> None:
    """Mask these strings in every line of the current request; short, huge and other values are skipped."""
    known = _protected.get()
    if known is None:
        known = {}
        _protected.set(known)
    for value in values:
        if not isinstance(value, str) or len(value) > MAX_LENGTH:
            continue
        if len(value) >= (MIN_LENGTH if value.isascii() else MIN_LENGTH_NON_ASCII):
            mask = value[:SHOWN] + MASK if len(value) > FULLY_MASKED else MASK
            known.update(dict.fromkeys(_spellings(value), mask))


def redact(text: str) -> str:
    """`text` without secrets, protected values, PEM blocks, bearer tokens and signatures."""
    for secret in _secrets.spellings:
        text = text.replace(secret, MASK)
    if any(mark in text for mark in _MARKS) or "bearer" in text.lower():
        text = _PATTERN.sub(_mask, text)
    text = _RUN.sub(_mask, text)
    protected = _protected.get()
    if protected:
        # Longest first: one value may begin with another. Copied: a worker thread may be adding to it.
        for value, mask in sorted(protected.copy().items(), key=lambda item: -len(item[0])):
            text = text.replace(value, mask)
    return text


class _Secrets:
    """The configured secrets, readied for the search."""

    def __init__(self) -> None:
        self.spellings: tuple[str, ...] = ()
        self.chunks: frozenset[str] = frozenset()

    def replace(self, secrets: Iterable[str]) -> None:
        spellings: set[str] = set()
        chunks: set[str] = set()
        for secret in secrets:
            if len(secret) < MIN_LENGTH:
                continue
            spellings |= _spellings(secret)
            body = "".join(secret.split())
            if len(body) >= 2 * CHUNK:
                chunks.update(body[at : at + CHUNK] for at in range(len(body) - CHUNK + 1))
        self.spellings, self.chunks = tuple(sorted(spellings, key=len, reverse=True)), frozenset(chunks)

    def show_in(self, run: str) -> bool:
        return any(run[at : at + CHUNK] in self.chunks for at in range(0, len(run) - CHUNK + 1, CHUNK))


_secrets = _Secrets()


def _spellings(value: str) -> set[str]:
    """How a value may stand in a text: plain, in JSON, as a repr, as bytes; each once more inside JSON."""
    if _PLAIN.fullmatch(value):
        return {value}
    as_bytes = repr(value.encode(errors="surrogatepass"))
    plain = {value, _json_inner(value), json.dumps(value)[1:-1], repr(value)[1:-1], as_bytes[2:-1]}
    return plain | {_json_inner(text) for text in plain}


def _json_inner(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _mask(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    if kind in ("pem", "jwt"):
        return MASK
    if kind == "run":
        return MASK if _secrets.show_in(match[0]) else match[0]
    return match[kind] + MASK


class _JsonLines(logging.Handler):
    def __init__(self, to_stderr: bool) -> None:
        super().__init__()
        self._to_stderr = to_stderr
        self._dropped = 0  # lines, since nobody reads
        self._waits_again = 0.0  # a reader who is merely slow costs a tenth of the time, not a second a line

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a log that cannot be written stops no request
            stream = sys.stderr if self._to_stderr else sys.stdout  # looked up now: whoever replaces it gets the lines
            encoding = getattr(stream, "encoding", None) or "utf-8"
            text = _encodable(_line(record), encoding) + "\n"
            pipe = _pipe(stream)
            if pipe is None:
                stream.write(text)
                stream.flush()
            else:
                self._write(pipe, text.encode(encoding))

    def _write(self, pipe: int, line: bytes) -> None:
        """Without ever waiting for long: whoever waits for a reader who sleeps serves nobody."""
        if self._dropped:
            message = f"{self._dropped} log lines were dropped: nobody read them"
            told = json.dumps({"time": _time(time.time()), "level": "WARNING", "message": message})
            line = f"\n{told}\n".encode() + line  # the last line may have been cut off
        for begin in range(0, len(line), select.PIPE_BUF):
            if not self._has_room(pipe):
                self._dropped += 1
                return
            os.write(pipe, line[begin : begin + select.PIPE_BUF])
        self._dropped = 0

    def _has_room(self, pipe: int) -> bool:
        if _takes(pipe, 0.0):
            return True
        if self._dropped or time.monotonic() < self._waits_again:
            return False
        taken = _takes(pipe, READER_PATIENCE)
        self._waits_again = time.monotonic() + 10 * READER_PATIENCE
        return taken


def _pipe(stream: Any) -> int | None:
    """The descriptor of a pipe, of which the reader may sleep; None for whatever else logs are written to."""
    if not hasattr(select, "poll"):  # Windows: a command's log, which may wait
        return None
    with suppress(Exception):  # such as a stream that is only a buffer
        descriptor: int = stream.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return descriptor
    return None


def _takes(pipe: int, patience: float) -> bool:
    """Whether select.PIPE_BUF bytes can be written at once, within `patience` seconds."""
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(record: logging.LogRecord) -> str:
    head = {
        "time": _time(record.created),
        "level": record.levelname,
        "message": _message(record),
    }
    for context in (request_id, action):
        if context.get():
            head[context.name] = context.get()
    tail = {}
    if record.exc_info and record.exc_info[0] is not None:
        tail["error"] = logging.Formatter().formatException(record.exc_info)
    try:
        fields = getattr(record, "fields", {})
        # The head twice: it comes first, and no field displaces it.
        return _clean({**head, **fields, **head, **tail})
    except Exception as error:  # noqa: BLE001 - a field may be anything, and the line must not be lost
        return _clean({**head, **tail, "fields": f"could not be written: {type(error).__name__}"})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit the text
        return f"{_repr(record.msg)} {_repr(record.args)}"


# The function's own words, which alerts look at: what a stranger sends as a secret must not mask them.
_OURS = ("time", "level", "action", "status", "error_type")


def _clean(entry: Mapping[str, Any]) -> str:
    line = _dumps(entry)
    if redact(line) != line:
        # Masking inside JSON text could cut an escape in two or break a number, so it is done on the values.
        line = _dumps({
            name: value if name in _OURS else redacted(value)
            for name, value in json.loads(line).items()
        })
    return _UNWRITABLE.sub(_escape, line)


def _dumps(entry: Mapping[str, Any]) -> str:
    try:
        return json.dumps(entry, ensure_ascii=False, allow_nan=False, default=_repr)
    except (TypeError, ValueError, RecursionError):  # odd keys, NaN, a circle: every value by itself, as text
        return json.dumps(
            {str(name): value if isinstance(value, str) else _repr(value) for name, value in entry.items()},
            ensure_ascii=False,
        )


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        return f"<{type(value).__name__}>"


def redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {redact(name): redacted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [redacted(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    text = str(value)
    masked = redact(text)
    return value if masked == text else masked


def _encodable(line: str, encoding: str) -> str:
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return _NON_ASCII.sub(_escape, line)
    return line


def _escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
