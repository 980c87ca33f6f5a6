"""The two envelopes: ours to callers, and the acknowledgement that WeChat Pay reads."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from controllers.languages import told
from utils.texts import Message


def success(data: Any) -> Response:
    """`{"code": 0, "msg": "success", "data": data}`."""
    return jsonify(code=0, msg="success", data=data)


def failure(status: int, msg: str, data: Any = None, *, is_unknown: bool = False) -> Response:
    """`{"code": -1, "msg": msg, "data": data}` with an HTTP status that is never 2xx.

    With `"outcome": "unknown"` where what was asked for may have happened: programs need it beside the words, which
    change with the language. A Message is told in the one that the request asks for; any other text is somebody else's
    and stays as it is.
    """
    outcome = {"outcome": "unknown"} if is_unknown else {}
    response = jsonify(code=-1, msg=told(msg, request.accept_languages), data=data, **outcome)
    response.status_code = status
    if isinstance(msg, Message):
        response.vary.add("Accept-Language")
    return response


def acknowledged() -> Response:
    """The notification was kept ([4012791861])."""
    return jsonify(code="SUCCESS", message="OK")


def refused(status: int, message: str) -> Response:
    """The notification was not kept; it is delivered again."""
    response = jsonify(code="FAIL", message=message)
    response.status_code = status
    return response
