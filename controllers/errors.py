"""The one table from exception class to answer, in the shape that the asker understands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, g, request
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
from utils.texts import Message, said
from utils.validator import Invalid

log = logging.getLogger("pay.http")

UNKNOWN = Message("outcome unknown: query before you retry, and use the same number")
_CREDENTIALS = Message(
    "WeChat Pay refused this function's own signature (401): check that merchantSerialNumber belongs to "
    "privateKey and merchantId, and that this machine's clock is right"
)
_BROKEN = "the request broke off or is not HTTP ({reason}): send it again"


class Unauthorized(Exception):
    """Nobody whom the function knows: answered 401."""


class NotFound(Exception):
    """No action and no callback at this path: answered 404."""


class BodyTooLarge(Exception):
    """Answered 413."""


class TooBusy(Exception):
    """As many callers' requests are under way as may be: answered 503, nothing was done."""


def _api_error(error: wechatpay.ApiError) -> Response:
    data = {"status": error.status, "data": redacted(error.body)}
    if error.status == 401:
        status, text = 502, _CREDENTIALS
        unknown = error.after_unknown
    else:
        words = redact(" ".join(filter(None, (error.code, error.message)))) or f"HTTP {error.status}"
        template = "WeChat Pay: {words}" if error.signed else "WeChat Pay: {words}, not signed by WeChat Pay"
        status, text = error.status, Message(template, words=words)
        unknown = error.after_unknown or not error.signed
    if unknown:
        text = Message("{text} ({unknown})", text=text, unknown=UNKNOWN)
    return failure(status, text, data, is_unknown=unknown)


def _unknown(status: int) -> Callable[[wechatpay.OutcomeUnknown], Response]:
    def answer(error: wechatpay.OutcomeUnknown) -> Response:
        data = {"status": error.status, "data": redacted(error.body)} if error.status else None
        text = Message("{reason}; {unknown}", reason=said(error), unknown=UNKNOWN)
        return failure(status, text, data, is_unknown=True)

    return answer


def _not_recorded(error: NotRecorded) -> Response:
    if error.result is not None:
        text = Message("accepted by WeChat Pay, not recorded here: query, never a new number")
        return failure(500, text, error.result)
    template = "the order service could not record this {what}: send the same {what} again"
    return failure(503, Message(template, what=error.what))


def _ask_again(seconds: int) -> Callable[[Exception], Response]:
    def answer(error: Exception) -> Response:
        response = failure(503, said(error))
        response.headers["Retry-After"] = str(seconds)
        return response

    return answer


def _plain(status: int, text: str = "") -> Callable[[Exception], Response]:
    """The exception's own text, or a fixed one where that is not for callers."""
    return lambda error: failure(status, text or said(error))


def _not_served(_: Exception) -> Response:
    return failure(404, Message("{method} is not served here: every action is a POST", method=request.method))


def _too_large(_: Exception) -> Response:
    most = current_app.config["MAX_CONTENT_LENGTH"] - 1
    return failure(413, Message("the body exceeds {most} bytes: send less", most=most))


_TO_CALLERS: tuple[tuple[type[Exception], Callable[[Any], Response]], ...] = (
    (BadJson, _plain(400)),
    (Invalid, _plain(400)),
    (BadRequest, _plain(400)),
    (BadToken, _plain(401)),
    (Unauthorized, _plain(401)),
    (Refused, lambda error: failure(error.status, said(error))),
    (NotFound, _plain(404)),
    (BodyTooLarge, _plain(413)),
    (MissingCredentials, _plain(500)),
    (NoOrderDatabase, _plain(500)),
    (DatabaseFailed, _plain(503)),
    (TooBusy, _ask_again(1)),
    (TooManyWaiting, _ask_again(2)),
    (wechatpay.ApiError, _api_error),
    (wechatpay.TimedOut, _unknown(504)),
    (wechatpay.RateLimited, _unknown(429)),
    (wechatpay.OutcomeUnknown, _unknown(502)),
    (wechatpay.NotSent, _plain(503)),
    (wechatpay.BillNotReady, _ask_again(1800)),
    (wechatpay.BillNotKept, _plain(503)),
    (wechatpay.BillUnusable, _plain(502)),
    (NotRecorded, _not_recorded),
    (KeysUnavailable, _plain(503)),
    (HookFailed, _plain(503, Message("the order service failed; nothing was sent to WeChat Pay: try again later"))),
    (MethodNotAllowed, _not_served),
    (RequestEntityTooLarge, _too_large),
    (HTTPException, lambda error: failure(error.code or 500, Message(_BROKEN, reason=error.name))),
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
    log.error("unexpected error in the function itself", exc_info=error)
    return failure(500, Message("internal error: the log holds its trace under this answer's X-Request-Id"))


def _answer_wechat_pay(error: Exception) -> Response:
    for known, status, message in _TO_WECHAT_PAY:
        if isinstance(error, known):
            if not getattr(error, "probe", False):
                _log(error, status)
            return refused(status, message)
    log.error("unexpected error in the function itself", exc_info=error)
    return refused(500, _LATER)


def _log(error: Exception, status: int) -> None:
    """Refusals in one line; faults with the trace of what caused them (a merchant's handler, mostly).

    A function that keeps no orders is none: the cashier asks it on every visit whether it does.
    """
    if isinstance(error, TooBusy):
        return  # routes/admission.py tells of them, once a second
    if status >= 500 and not isinstance(error, NoOrderDatabase):
        log.error(str(error), exc_info=error if error.__cause__ else None)
    else:
        log.warning(str(error))
