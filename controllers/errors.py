"""The one table from exception class to answer, in the shape that the asker understands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from controllers.components import MissingCredentials
from controllers.responses import failure, refused
from services.handler_pool import HandlerTimeout
from services.merchant_code import DatabaseFailed, HookFailed, NotRecorded
from services.order_service import Refused
from services.pay_service import BadRequest, HandlerFailed, NoOrderDatabase, TooManyWaiting
from services.wechatpay import errors as wechatpay
from utils.cloudbase_auth import BadToken, KeysUnavailable
from utils.json_body import BadJson
from utils.logs import redact, redacted
from utils.validator import Invalid

log = logging.getLogger("pay.http")

UNKNOWN = "outcome unknown: query before you retry, and use the same number"
_CREDENTIALS = (
    "WeChat Pay refused this function's own signature (401): check that merchantSerialNumber belongs to "
    "privateKey and merchantId, and that this machine's clock is right"
)


class Unauthorized(Exception):
    """Nobody whom the function knows: answered 401."""


class NotFound(Exception):
    """No action and no callback at this path: answered 404."""


class BodyTooLarge(Exception):
    """Answered 413."""


def _api_error(error: wechatpay.ApiError) -> Response:
    data = {"status": error.status, "data": redacted(error.body)}
    unknown = f" ({UNKNOWN})" if error.after_unknown or not error.signed else ""
    if error.status == 401:
        return failure(502, _CREDENTIALS + (unknown if error.after_unknown else ""), data)
    said = redact(" ".join(filter(None, (error.code, error.message)))) or f"HTTP {error.status}"
    unsigned = "" if error.signed else ", not signed by WeChat Pay"
    return failure(error.status, f"WeChat Pay: {said}{unsigned}{unknown}", data)


def _unknown(status: int) -> Callable[[wechatpay.OutcomeUnknown], Response]:
    def answer(error: wechatpay.OutcomeUnknown) -> Response:
        data = {"status": error.status, "data": redacted(error.body)} if error.status else None
        return failure(status, f"{error}; {UNKNOWN}", data)

    return answer


def _not_recorded(error: NotRecorded) -> Response:
    if error.result is not None:
        return failure(
            500, "accepted by WeChat Pay, not recorded here: query, never a new number", error.result
        )
    return failure(503, f"the order service could not record this {error}: send the same {error} again")


def _ask_again(seconds: int) -> Callable[[Exception], Response]:
    def answer(error: Exception) -> Response:
        response = failure(503, str(error))
        response.headers["Retry-After"] = str(seconds)
        return response

    return answer


def _plain(status: int, text: str = "") -> Callable[[Exception], Response]:
    """The exception's own text, or a fixed one where that is not for callers."""
    return lambda error: failure(status, text or str(error))


_TO_CALLERS: tuple[tuple[type[Exception], Callable[[Any], Response]], ...] = (
    (BadJson, _plain(400)),
    (Invalid, _plain(400)),
    (BadRequest, _plain(400)),
    (BadToken, _plain(401)),
    (Unauthorized, _plain(401)),
    (Refused, lambda error: failure(error.status, str(error))),
    (NotFound, _plain(404)),
    (BodyTooLarge, _plain(413)),
    (MissingCredentials, _plain(500)),
    (NoOrderDatabase, _plain(500)),
    (DatabaseFailed, _plain(503)),
    (TooManyWaiting, _ask_again(2)),
    (wechatpay.ApiError, _api_error),
    (wechatpay.TimedOut, _unknown(504)),
    (wechatpay.RateLimited, _unknown(429)),
    (wechatpay.OutcomeUnknown, _unknown(502)),
    (wechatpay.NotSent, _plain(503)),
    (wechatpay.BillNotReady, _ask_again(1800)),
    (wechatpay.BillUnusable, _plain(502)),
    (NotRecorded, _not_recorded),
    (KeysUnavailable, _plain(503)),
    (HookFailed, _plain(503, "the order service failed; nothing was sent to WeChat Pay: try again later")),
    (MethodNotAllowed, lambda error: failure(404, f"{request.method} is not served here: every action is a POST")),
    (HTTPException, lambda error: failure(error.code or 500, error.name)),
)
_FORGED = "the notification is not believed"
_LATER = "not handled now: deliver again"
_TO_WECHAT_PAY: tuple[tuple[type[Exception], int, str], ...] = (
    (BadJson, 400, _FORGED),
    (BadRequest, 400, _FORGED),
    (BodyTooLarge, 413, _FORGED),
    (RequestEntityTooLarge, 413, _FORGED),
    (HTTPException, 400, _FORGED),
    (wechatpay.SignatureInvalid, 400, _FORGED),
    (wechatpay.DecryptionFailed, 400, _FORGED),
    (wechatpay.NotificationRefused, 400, _FORGED),
    (wechatpay.WechatPayError, 503, _LATER),
    (MissingCredentials, 503, _LATER),
    (HandlerFailed, 500, _LATER),
    (HandlerTimeout, 500, _LATER),
)


def init_app(app: Flask) -> None:
    """Answer every exception from the tables; what stands in neither is a fault of ours: 500."""
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    g.error_type = type(error).__name__
    if g.get("is_callback"):
        return _answer_wechat_pay(error)
    for known, answer in _TO_CALLERS:
        if isinstance(error, known):
            response = answer(error)
            _log(error, response.status_code)
            return response
    log.error("unexpected error", exc_info=error)
    return failure(500, "internal error; the log holds its trace under this request's id")


def _answer_wechat_pay(error: Exception) -> Response:
    for known, status, message in _TO_WECHAT_PAY:
        if isinstance(error, known):
            if not getattr(error, "probe", False):
                _log(error, status)
            return refused(status, message)
    log.error("unexpected error", exc_info=error)
    return refused(500, _LATER)


def _log(error: Exception, status: int) -> None:
    """Refusals in one line; faults with the trace of what caused them (a merchant's handler, mostly)."""
    if status >= 500:
        log.error(str(error), exc_info=error if error.__cause__ else None)
    else:
        log.warning(str(error))
