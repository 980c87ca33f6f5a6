"""What every request passes: its id and clock, CORS, the one log line; and the health answer."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, g, request

from controllers.components import components
from controllers.errors import NotFound
from controllers.responses import success
from utils.logs import action, new_request, protect, request_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
# Identities and credentials, the platform's own among them; a merchant's exception might quote them.
_SECRET_HEADERS = (
    "Authorization",
    "Cookie",
    "X-Cloudbase-Authorization",
    "X-Cloudbase-Context",
    "X-Cloudbase-Sessiontoken",
    "X-Operator-Key",
    "X-Scf-Secret-Key",
    "X-Scf-Session-Token",
    "X-Wx-Openid",
)
_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = logging.getLogger("pay.http")


def init_app(app: Flask, version: str, sign_mode: str, unusable: list[str]) -> None:
    """Register the hooks, `GET /healthz`, the CORS preflight, and 404 for all that is not a POST."""
    app.wsgi_app = _with_request_id(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_start)
    app.after_request(_finish)

    @app.get("/healthz", provide_automatic_options=False)
    def healthz() -> Response:
        """Version, sign mode, and the settings that are missing or broken; asks nobody and needs no identity."""
        return success({"version": version, "signMode": sign_mode, "missing": unusable})

    @app.route("/", defaults={"path": ""}, methods=_METHODS, provide_automatic_options=False)
    @app.route("/<path:path>", methods=_METHODS, provide_automatic_options=False)
    def other_methods(path: str) -> Response:
        if request.method == "OPTIONS" and _is_allowed_origin():
            return Response(status=204)
        raise NotFound(f"{request.method} is not served here: every action is a POST")


def _with_request_id(application: Callable[..., Any]) -> Callable[..., Any]:
    """WSGI middleware: the log context of one request, from before its body is read to its answer."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["pay.started"] = time.monotonic()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        identifier = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with new_request(identifier):
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

    return wrapped


def _start() -> None:
    g.started = request.environ["pay.started"]
    protect(*map(request.headers.get, _SECRET_HEADERS))


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id.get()
    response.vary.add("Origin")
    if _is_allowed_origin():
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Allow-Methods"] = "POST"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, X-Operator-Key"
    fields = {
        "method": request.method,
        "path": request.path,
        "action": action.get(),
        "status": response.status_code,
        "duration_ms": round((time.monotonic() - g.started) * 1000, 1),
    }
    fields |= {name: g.get(name) for name in ("caller", "error_type") if name in g}
    log.info("request", extra={"fields": fields})
    return response


def _is_allowed_origin() -> bool:
    return request.headers.get("Origin") in components().allowed_origins
