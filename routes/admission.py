"""Who may hold a thread while there are not enough: callers a part of them, callbacks the others.

An order holds its thread until WeChat Pay has answered. Without a bound a storm of orders would hold all of them, and
callbacks would wait behind it in the server's queue until WeChat Pay gave them up. What is beyond the bound is refused
at once: where the path says what it is, before its body is parsed and before Flask, because a storm that costs as much
to refuse as to serve would take the machine all the same.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from werkzeug import Response
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from controllers.errors import TooBusy
from controllers.languages import told
from utils.texts import Message

PLACES = 64  # gunicorn.conf.py says what the other threads are for
RETRY_AFTER = 1  # seconds; also the least between two log lines

Environ = dict[str, Any]
Application = Callable[..., Iterable[bytes]]
_HELD = "pay.place"

log = logging.getLogger("pay.http")


class Admission:
    """WSGI middleware: at most `PLACES` requests of callers at a time.

    `is_action(method, path)` tells which need a place from their start; the others ask `environ["pay.admit"]()` for one
    once their body tells. A server has each request `enter` before a thread takes it, else all that come while threads
    are busy would queue for them; it calls with `environ["pay.entered"]`, and gives the place back by `leave`.
    `complete(response, origin)` adds to a refusal what every answer has.
    """

    def __init__(
        self,
        application: Application,
        is_action: Callable[[str, str], bool],
        complete: Callable[[Response, str | None], None],
    ) -> None:
        self._application = application
        self._is_action = is_action
        self._complete = complete
        self._lock = threading.Lock()
        self._held = 0
        self._refused, self._told_at = 0, float("-inf")

    def enter(self, method: str, path: str) -> bool | None:
        """Whether such a request has a place now; None if it needs none by its path. Without one it needs no thread."""
        return self._take() if self._is_action(method, path) else None

    def leave(self) -> None:
        with self._lock:
            self._held -= 1

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["pay.admit"] = lambda: self._admit(environ)
        entered = environ.get("pay.entered")
        try:
            if entered is False:
                self._refuse()
            if entered is None and self._is_action(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
                self._admit(environ)
        except TooBusy as refusal:
            return self._refusal(refusal.args[0], environ)(environ, start_response)
        try:
            return self._application(environ, start_response)
        finally:
            if _HELD in environ:
                self.leave()

    def _admit(self, environ: Environ) -> None:
        """Give the request a place until it is answered, unless it has one. Raises TooBusy when all are taken."""
        if _HELD in environ or environ.get("pay.entered"):
            return
        if not self._take():
            self._refuse()
        environ[_HELD] = True

    def _take(self) -> bool:
        with self._lock:
            is_free = self._held < PLACES
            self._held += is_free
        return is_free

    def _refuse(self) -> NoReturn:
        self._count()
        template = "too many requests at a time, nothing was sent to WeChat Pay: try again in {seconds} s"
        raise TooBusy(Message(template, seconds=RETRY_AFTER))

    def _count(self) -> None:
        """One line a second, however many are refused: a line for each would cost more than the refusal."""
        with self._lock:
            self._refused += 1
            refused, now = self._refused, time.monotonic()
            if now - self._told_at < RETRY_AFTER:
                return
            self._told_at = now
        log.error("all %d places for callers are taken: %d requests refused with 503 since the start", PLACES, refused)

    def _refusal(self, text: str, environ: Environ) -> Response:
        accepted = parse_accept_header(environ.get("HTTP_ACCEPT_LANGUAGE"), LanguageAccept)
        body = json.dumps({"code": -1, "msg": told(text, accepted), "data": None}, ensure_ascii=False)
        response = Response(body, 503, {"Retry-After": str(RETRY_AFTER)}, mimetype="application/json")
        response.vary.add("Accept-Language")
        self._complete(response, environ.get("HTTP_ORIGIN"))
        return response
