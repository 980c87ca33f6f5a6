"""What every request passes: its id and clock, CORS, the one log line; and the health answer."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, request
from werkzeug import Response as BaseResponse

from controllers.components import components
from controllers.errors import NotFound
from controllers.responses import success
from routes import dispatch
from routes.admission import Admission
from utils.logs import action, new_request, protect, request_id
from utils.texts import Message

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
# Identities and credentials, the platform's own among them; a merchant's exception might quote them.
_SECRET_HEADERS = (
    "HTTP_AUTHORIZATION",
    "HTTP_COOKIE",
    "HTTP_X_CLOUDBASE_AUTHORIZATION",
    "HTTP_X_CLOUDBASE_CONTEXT",
    "HTTP_X_CLOUDBASE_SESSIONTOKEN",
    "HTTP_X_OPERATOR_KEY",
    "HTTP_X_SCF_SECRET_KEY",
    "HTTP_X_SCF_SESSION_TOKEN",
    "HTTP_X_WX_OPENID",
)
_OPENAPI = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"
_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = logging.getLogger("pay.http")


def init_app(app: Flask, version: str, sign_mode: str, unusable: list[str]) -> None:
    """Register the hooks, `/healthz`, `/openapi.json`, the CORS preflight, and 404 for all else that is not a POST."""
    admission = Admission(app.wsgi_app, dispatch.is_action, partial(_complete, app.extensions["pay"].allowed_origins))
    app.extensions["pay.admission"] = admission
    app.wsgi_app = _with_request_id(admission)  # type: ignore[method-assign]
    app.before_request(_start)
    app.after_request(_finish)

    @app.get("/healthz", provide_automatic_options=False)
    def healthz() -> Response:
        """Version, sign mode, and the settings that are missing or broken; asks nobody and needs no identity."""
        return success({"version": version, "signMode": sign_mode, "missing": unusable})

    @app.get("/openapi.json", provide_automatic_options=False)
    def openapi() -> Response:
        """The description that the code has been checked against, for those who build on it.

        On the platform everybody may ask, and what strangers find by trying tells them less than a list of all
        actions: it is 404 there like every other GET, and where docs/ was not shipped too.
        """
        if components().caller_policy.in_runtime or not _OPENAPI.is_file():
            raise _not_served()
        text = _OPENAPI.read_bytes()
        response = Response(text, mimetype="application/json")
        response.set_etag(hashlib.sha256(text).hexdigest())
        response.cache_control.no_cache = True  # kept, but asked about each time
        response.make_conditional(request)
        return response

    @app.route("/", defaults={"path": ""}, methods=_METHODS, provide_automatic_options=False)
    @app.route("/<path:path>", methods=_METHODS, provide_automatic_options=False)
    def other_methods(path: str) -> Response:
        if request.method == "OPTIONS" and _is_allowed_origin():
            return Response(status=204)
        raise _not_served()


def _not_served() -> NotFound:
    return NotFound(Message("{method} is not served here: every action is a POST", method=request.method))


def _with_request_id(application: Callable[..., Any]) -> Callable[..., Any]:
    """WSGI middleware: the log context of one request, from before its body is read to its answer."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.setdefault("pay.started", time.monotonic())  # the server knows when the first byte came
        environ["PATH_INFO"] = environ.get("PATH_INFO") or "/"  # `POST http://host`; Werkzeug would redirect it
        given = environ.get("HTTP_X_REQUEST_ID", "")
        identifier = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with new_request(identifier):
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

    return wrapped


def _start() -> None:
    g.started = request.environ["pay.started"]
    protect(*map(request.environ.get, _SECRET_HEADERS))


def _finish(response: Response) -> Response:
    _complete(components().allowed_origins, response, request.headers.get("Origin"))
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


def _complete(allowed_origins: Collection[str], response: BaseResponse, origin: str | None) -> None:
    """The headers of every answer."""
    response.headers["X-Request-Id"] = request_id.get()
    response.vary.add("Origin")
    if origin is not None and origin in allowed_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Methods"] = "POST"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, X-Operator-Key"


def _is_allowed_origin() -> bool:
    return request.headers.get("Origin") in components().allowed_origins
