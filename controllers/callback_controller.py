"""A callback: raw bytes and headers -> service -> acknowledgement. Identity is not asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from flask import Request, Response, g

from controllers.components import components, ready_service
from controllers.responses import acknowledged
from services.strategies.base import Incoming, Kind


@dataclass(frozen=True)
class Callback:
    """A row of the table: a notification of one kind, believed on evidence, whoever sends it.

    `path` is where the platform posts it, beside `/wx-pay/<name>`.
    """

    name: str
    kind: Kind | None
    path: str
    needs: tuple[str, ...]
    right: str = "evidence"


def handle(row: Callback, body: dict[str, Any], raw: bytes, request: Request) -> Response:
    """SUCCESS only after the order service kept it; everything else is an exception, answered FAIL.

    `row` is what the path, action or event says it is; the event type that the body states goes before it.
    """
    service = ready_service(row.needs)
    service.accept_notification(
        Incoming(
            headers=cast("Mapping[str, str]", request.headers),
            raw=raw,
            body=body,
            kind=row.kind,
            identified=_is_identified(request),
            deadline=g.started + components().callback_timeout,
        )
    )
    return acknowledged()


def _is_identified(request: Request) -> bool:
    """Whether an end user sends this, true or pretended: by any of the platform's marks or a Bearer token."""
    return (
        any(name.lower().startswith("x-wx-") for name, _ in request.headers)
        or "bearer" in request.headers.get("Authorization", "").lower()
    )
