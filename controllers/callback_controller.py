"""A callback: raw bytes and headers -> service -> acknowledgement. Identity is not asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flask import Request, Response, g

from controllers.components import components, ready_service
from controllers.responses import acknowledged
from services.strategies.base import Incoming, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def handle(kind: Kind | None, needs: Iterable[str], body: Any, raw: bytes, request: Request) -> Response:
    """SUCCESS only after the order service kept it; everything else is an exception, answered FAIL.

    `kind` is what the path or action says it is; the event type that the body states goes before it.
    """
    service = ready_service(needs)
    authorization = request.headers.get("Authorization", "")
    service.accept_notification(
        Incoming(
            headers=cast("Mapping[str, str]", request.headers),
            raw=raw,
            body=body,
            kind=kind,
            identified="X-Wx-Openid" in request.headers or authorization.lower().startswith("bearer"),
            deadline=g.started + components().callback_timeout,
        )
    )
    return acknowledged()
