"""A callback: raw bytes and headers -> service -> acknowledgement. Identity is not asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from flask import Request, Response, g, jsonify

from controllers.components import components, ready_service
from controllers.responses import acknowledged
from services.strategies.base import Incoming, Kind
from utils.cloudbase_auth import has_operator_key
from utils.logs import protect


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
    if proof := _self_tested(row, body):
        return jsonify(proof)
    headers = cast("Mapping[str, str]", request.headers)
    operator_key = body.pop("_operatorKey", "")
    protect(operator_key)
    service.accept_notification(
        Incoming(
            headers=headers,
            raw=raw,
            body=body,
            kind=row.kind,
            identified=_is_identified(request),
            deadline=g.started + components().callback_timeout,
            from_operator=has_operator_key(
                components().caller_policy, request.headers.get("X-Operator-Key", ""), operator_key
            ),
        )
    )
    return acknowledged()


def _self_tested(row: Callback, body: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to a self-test of this address by whoever holds its keys; nothing is acknowledged by it."""
    self_test = components().self_test
    return self_test.answer(row.kind.name, body) if self_test and row.kind else None


def _is_identified(request: Request) -> bool:
    """Whether an end user sends this, true or pretended: by any of the platform's marks or a Bearer token."""
    return (
        any(name.lower().startswith("x-wx-") for name, _ in request.headers)
        or "bearer" in request.headers.get("Authorization", "").lower()
    )
