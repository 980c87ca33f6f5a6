"""The two envelopes: ours to callers, and the acknowledgement that WeChat Pay reads."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify


def success(data: Any) -> Response:
    """`{"code": 0, "msg": "success", "data": data}`."""
    return jsonify(code=0, msg="success", data=data)


def failure(status: int, msg: str, data: Any = None) -> Response:
    """`{"code": -1, "msg": msg, "data": data}` with an HTTP status that is never 2xx."""
    response = jsonify(code=-1, msg=msg, data=data)
    response.status_code = status
    return response


def acknowledged() -> Response:
    """The notification was kept ([4012791861])."""
    return jsonify(code="SUCCESS", message="OK")


def refused(status: int, message: str) -> Response:
    """The notification was not kept; it is delivered again."""
    response = jsonify(code="FAIL", message=message)
    response.status_code = status
    return response
