"""From a POST to its row of the table: by path, by `_action`, by `path` in the body, or by event."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Request, Response, g, request

from controllers import callback_controller, pay_controller
from controllers.callback_controller import Callback
from controllers.errors import BodyTooLarge, NotFound
from controllers.pay_controller import Action
from routes.actions import ACTIONS, EVENTS, OTHER_NOTIFICATION, PATHS
from services.pay_service import BadRequest
from utils import json_body, logs
from utils.texts import Message

MAX_BODY = 1_500_000
MAX_FORM = 65_536  # decoding one takes eighty times its text's memory
MAX_FORWARD = 4_000_000
MAX_SHOWN = 1000  # characters of an action that does not exist
_PREFIX = "/wx-pay/"

blueprint = Blueprint("dispatch", __name__)


@blueprint.post("/", defaults={"path": ""}, provide_automatic_options=False)
@blueprint.post("/<path:path>", provide_automatic_options=False)
def dispatch(path: str) -> Response:
    """Every POST: find its row of the table and hand it over."""
    row = _by_path(path)
    g.is_callback = isinstance(row, Callback)
    logs.action.set(row.name if row else "")
    raw = request.get_data(cache=False)
    _require_size(raw, MAX_BODY if isinstance(row, Action) else MAX_FORWARD)
    body = _parse(raw, request, is_callback=g.is_callback)
    if row is None:
        row = _by_body(body, path)
        g.is_callback = isinstance(row, Callback)
        logs.action.set(row.name)
    if isinstance(row, Action) or "ParsedContent" not in body:
        _require_size(raw, MAX_BODY)
    if isinstance(row, Action):
        request.environ["pay.admit"]()
        return pay_controller.handle(row, body, request)
    return callback_controller.handle(row, body, raw, request)


def is_action(method: str, path: str) -> bool:
    """Whether the request line says already that a caller asks for an action."""
    return method == "POST" and isinstance(_by_path(path), Action)


def _by_path(path: str) -> Action | Callback | None:
    """`.../wx-pay/<action>` or `.../wechatpay/order|refund|transfer`, a slash after it or not."""
    segments = path.removesuffix("/").split("/")
    return PATHS.get("/".join(segments[-2:]))


def _by_body(body: dict[str, Any], path: str) -> Action | Callback:
    """The row that the body names, its routing fields removed.

    Raises BadRequest for an unknown action, NotFound when nothing names one.
    """
    if "_action" in body:
        name = body.pop("_action")
        return _named(name.rpartition(_PREFIX)[2] if isinstance(name, str) else name)
    inner = body.get("path")
    if isinstance(inner, str) and _PREFIX in inner:
        del body["path"]
        body.pop("method", None)
        return _named(inner.rpartition(_PREFIX)[2].removesuffix("/"))
    event_type = _event_type(body)
    if event_type:
        return EVENTS.get(event_type, OTHER_NOTIFICATION)
    if path.removesuffix("/") in ACTIONS:
        return ACTIONS[path.removesuffix("/")]
    raise NotFound(Message("nothing here: POST to /wx-pay/<action>, or name the action in the body's _action"))


def _named(name: Any) -> Action | Callback:
    row = ACTIONS.get(name) if isinstance(name, str) else None
    if row is None:
        # Who takes one field for another gets no secret back; what is cut off here is longer than any.
        shown = ascii(logs.redact(name[:MAX_SHOWN]))[:80] if isinstance(name, str) else type(name).__name__
        template = "_action: unknown action {shown}; expected one of {known}"
        raise BadRequest(Message(template, shown=shown, known=", ".join(ACTIONS)))
    return row


def _event_type(body: dict[str, Any]) -> str:
    """The event type of a forwarded callback, or an empty string."""
    for name in ("rawData", "ParsedNotify"):
        value = body.get(name)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _forwarded(value)
        if isinstance(value, dict) and isinstance(value.get("event_type"), str) and value["event_type"]:
            return str(value["event_type"])
    return ""


def _forwarded(text: str) -> Any:
    try:
        return json_body.parse(text.encode())
    except json_body.BadJson:
        return None


def _require_size(raw: bytes, limit: int) -> None:
    if len(raw) > limit:
        raise BodyTooLarge(Message("the body exceeds {most} bytes: send less", most=limit))


def _parse(raw: bytes, incoming: Request, *, is_callback: bool) -> dict[str, Any]:
    """The body as an object: JSON, or a form where the request says so; an empty one is `{}`.

    A callback is JSON whatever its Content-Type says.
    """
    if not raw.strip() and not is_callback:
        return {}
    is_form = incoming.mimetype == "application/x-www-form-urlencoded" and not raw.lstrip().startswith(b"{")
    if is_form and not is_callback:
        _require_size(raw, MAX_FORM)
        return _parse_form(raw)
    body = json_body.parse(raw)
    if not isinstance(body, dict):
        raise BadRequest(Message("the body must be a JSON object"))
    return body


def _parse_form(raw: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError as error:
        raise BadRequest(Message("the body must be a JSON object or a form in UTF-8")) from error
    body = dict(pairs)
    if len(body) != len(pairs):
        raise BadRequest(Message("the form repeats a field: send each once"))
    return body
