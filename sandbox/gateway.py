"""The CloudBase API gateway in front of the function, and the key set of its tokens."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import jwt

from sandbox import outbound
from sandbox.server import is_loopback
from sandbox.tokens import Tokens, is_anonymous
from sandbox.wire import Answer, Request

FUNCTION_TIMEOUT = 25.0
KEY_SET_PATH = "/auth/v1/certs"
KEY_SET_STATES = ("ok", "error", "hang")
HANG_SECONDS = 30.0
_FUNCTION = re.compile(r"/v1/functions/[a-zA-Z][a-zA-Z0-9_-]{0,58}[a-zA-Z0-9]")
# The gateway's own; everything else reaches the function, as no page says that it is stripped.
_NOT_FORWARDED = {"host", "connection", "content-length", "transfer-encoding", "expect", "keep-alive"}
# A browser refuses an answer with two of these, so that one side alone must speak: unverified which one does.
_CORS = {
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "vary",
}
_USER_ADDRESS = "8.8.8.8"  # of users on this machine, whose own address no H5 order may have


class Gateway:
    """`key_set` is how `/auth/v1/certs` answers: "ok", "error" (500) or "hang"; `key_set_calls` counts."""

    def __init__(self, tokens: Tokens, function: Callable[[], str], wait: Callable[[float], bool]) -> None:
        self._tokens = tokens
        self._function = function
        self._wait = wait
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.key_set = "ok"
        self.key_set_calls = 0

    def handles(self, path: str) -> bool:
        return path.startswith(("/v1/functions/", "/auth/v1/"))

    def handle(self, request: Request) -> Answer:
        """An answer that pages on this machine may read: the environment's security domains, so to speak."""
        is_preflight = request.method == "OPTIONS" and _FUNCTION.fullmatch(request.path)
        answer = Answer(204) if is_preflight else self._answer(request)
        answer.headers["Vary"] = "Origin"
        origin = request.headers.get("origin", "")
        if _is_local(origin):
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Allow-Methods"] = "POST"
            answer.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, X-Operator-Key, X-Tcb-Webfn"
        return answer

    def _answer(self, request: Request) -> Answer:
        if request.path == KEY_SET_PATH and request.method == "GET":
            return self._certs()
        if request.method != "POST" or not _FUNCTION.fullmatch(request.path):
            return _refused(404, "FUNCTION_NOT_FOUND", "only POST /v1/functions/<name>?webfn=true is served")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _refused(401, "MISSING_CREDENTIALS", "send Authorization: Bearer <access token>")
        try:
            claims = self._tokens.verify(token)
        except jwt.InvalidTokenError as error:
            return _refused(401, "MISSING_CREDENTIALS", f"the access token is not valid: {error}")
        if is_anonymous(claims):
            return _refused(403, "EXCEED_AUTHORITY", "the function's security rule refuses anonymous users")
        return self._forward(request)

    def _forward(self, request: Request) -> Answer:
        web = parse_qs(request.query).get("webfn") == ["true"] or request.headers.get("x-tcb-webfn") == "true"
        if not web:
            return _refused(400, "FUNCTION_PARAM_INVALID", "an HTTP function needs ?webfn=true")
        try:
            is_object = isinstance(json.loads(request.body), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            return _refused(400, "FUNCTION_PARAM_INVALID", "the body must be a JSON object")
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED}
        address = request.connection.getpeername()[0]
        seen = _USER_ADDRESS if is_loopback(address) else address
        headers["x-forwarded-for"] = ", ".join(filter(None, (headers.get("x-forwarded-for"), seen)))
        reply = outbound.post(self._function(), "/", headers, request.body, FUNCTION_TIMEOUT)
        if reply.status is None or reply.error:
            return _refused(502, "FUNCTION_INVOCATION_FAILED", reply.error or "")
        kept = {name: value for name, value in reply.headers.items() if name not in _NOT_FORWARDED | _CORS}
        return Answer(reply.status, {**kept, "X-Request-Id": secrets.token_hex(16)}, reply.body)

    def _certs(self) -> Answer:
        with self._lock:
            self.key_set_calls += 1
        if self.key_set == "hang":
            self._wait(HANG_SECONDS)
        if self.key_set != "ok":
            return _refused(500, "SYS_ERR", "the key set cannot be had")
        body = json.dumps(self._tokens.key_set()).encode()
        return Answer(200, {"Content-Type": "application/json"}, body)


def _is_local(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False


def _refused(status: int, code: str, message: str) -> Answer:
    request_id = secrets.token_hex(16)
    body = json.dumps({"code": code, "message": message, "requestId": request_id}).encode()
    return Answer(status, {"Content-Type": "application/json", "X-Request-Id": request_id}, body)
