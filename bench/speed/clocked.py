"""The application with a clock around each of its stages: `bench.speed.account` has it served instead of `app`.

A stage's time is processor time of its thread, without that of the stages inside it. `GET /clocks` tells all so far.
"""

from __future__ import annotations

import functools
import gc
import importlib
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify

# Stage -> what belongs to it: `module:function` or `module:Class.method`.
STAGES: dict[str, tuple[str, ...]] = {
    "server: loop": ("utils.server:Worker.wait_for_and_dispatch_events",),
    "server: request in": ("utils.connection:Connection.receive",),
    "server: parser": ("utils.connection:Connection.is_whole",),
    "server: to a thread": ("utils.server:Worker.enqueue_req", "gunicorn.workers.gthread:PollableMethodQueue.defer"),
    "server: answer": ("utils.server:Worker.handle",),
    "server: WSGI environ": ("gunicorn.http.wsgi:create",),
    "server: bytes out": ("utils.connection:Connection.flush",),
    "turns": ("utils.turns:Turns.acquire", "utils.turns:Turns.release"),
    "Flask": ("flask:Flask.wsgi_app",),
    "request id, log context, places": ("routes.admission:Admission.__call__",),
    "find the action": ("routes.dispatch:dispatch",),
    "JSON of the body": ("utils.json_body:parse",),
    "who calls": ("utils.cloudbase_auth:Caller.from_request",),
    "rights": ("controllers.pay_controller:authorize",),
    "controller": ("controllers.pay_controller:handle", "controllers.callback_controller:handle"),
    "validation": ("utils.validator:load",),
    "answer's JSON": ("controllers.pay_controller:success", "controllers.callback_controller:acknowledged"),
    "headers of every answer": ("routes.web:_complete",),
    "log lines": ("utils.logs:_JsonLines.emit",),
    "logging": ("logging:Logger._log",),
    "what is secret": ("utils.logs:protect",),
    "order service's hooks": ("services.pay_service:prepare", "services.pay_service:record"),
    "service": (
        "services.pay_service:PayService.order",
        "services.pay_service:PayService.accept_notification",
        "services.wechatpay.client:Client.call",
    ),
    "RSA signature": ("services.wechatpay.signer:Signer.sign",),
    "check of a signature": ("services.wechatpay.keys:verify_signature",),
    "decryption": (
        "services.strategies.gateway_strategy:decrypt_resource",
        "services.strategies.sdk_strategy:decrypt_resource",
    ),
    "evidence": (
        "services.strategies.gateway_strategy:GatewayStrategy.open",
        "services.strategies.sdk_strategy:SdkStrategy.open",
    ),
    "handler's thread": ("services.handler_pool:HandlerPool.run",),
    "handler": ("services.handler_pool:HandlerPool._settle",),
    "order service": ("services.orders.service:SqlOrderService.handler_notification",),
    "what is changed": (
        "services.orders.store:Store.learn",
        "services.orders.store:Store.keep_notification",
        "services.orders.service:SqlOrderService.before_unified",
        "services.orders.service:SqlOrderService.handler_unified",
    ),
    "outbox": ("services.orders.outbox:Outbox._deliver_new",),
    "transactions": ("services.orders.database:Database.run",),
    "SQLAlchemy": ("sqlalchemy.engine.base:Connection.execute", "sqlalchemy.engine.base:Connection.exec_driver_sql"),
    "SQLAlchemy's pool": ("sqlalchemy.engine.base:Engine.connect", "sqlalchemy.engine.base:Connection.close"),
    "SQLite": (
        "sqlalchemy.engine.default:DefaultDialect.do_execute",
        "sqlalchemy.engine.default:DefaultDialect.do_commit",
    ),
    "transport": ("services.wechatpay.transport:Transport._receive",),
    "urllib3": ("urllib3:PoolManager.urlopen",),
    "http.client: request": ("urllib3.connection:HTTPConnection.request",),
    "http.client: answer": ("urllib3.connection:HTTPConnection.getresponse",),
    "TLS": ("ssl:SSLSocket.sendall", "ssl:SSLSocket.recv_into", "ssl:SSLSocket.do_handshake"),
}

GARBAGE = "garbage collection"


class _Thread(threading.local):
    """The stages that a thread is in, the innermost last, and up to when its time has been counted."""

    def __init__(self) -> None:
        self.stages: list[list[int]] = []
        self.until = 0


_thread = _Thread()
_spent: dict[str, list[int]] = {stage: [0, 0] for stage in [*STAGES, GARBAGE]}  # nanoseconds, times


def _enter(spent: list[int]) -> None:
    stages, now = _thread.stages, time.thread_time_ns()
    if stages:
        stages[-1][0] += now - _thread.until
    _thread.until = now
    stages.append(spent)


def _leave(spent: list[int]) -> None:
    now = time.thread_time_ns()
    spent[0] += now - _thread.until
    spent[1] += 1
    _thread.until = now
    _thread.stages.pop()


def _clocked(function: Callable[..., Any], spent: list[int]) -> Callable[..., Any]:
    @functools.wraps(function)
    def clocked(*args: Any, **options: Any) -> Any:
        _enter(spent)
        try:
            return function(*args, **options)
        finally:
            _leave(spent)

    return clocked


def _install() -> None:
    for stage, places in STAGES.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            found = owner.__dict__[name]
            if isinstance(found, classmethod):
                setattr(owner, name, classmethod(_clocked(found.__func__, _spent[stage])))
            else:
                setattr(owner, name, _clocked(found, _spent[stage]))


def _collected(phase: str, _info: dict[str, int]) -> None:
    """Garbage is collected in whatever stage it has become too much in."""
    if phase == "start":
        _enter(_spent[GARBAGE])
    else:
        _leave(_spent[GARBAGE])


_install()
gc.callbacks.append(_collected)

app: Flask = importlib.import_module("app").app  # now: what it takes from elsewhere is clocked


@app.get("/clocks", provide_automatic_options=False)
def clocks() -> Response:
    return jsonify(_spent)
