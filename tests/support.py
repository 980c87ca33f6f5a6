"""What tests of the whole application share: the function over HTTP, under gunicorn or in this process."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from flask import Flask
from werkzeug.serving import make_server

from app import create_app
from config.settings import Settings
from services.order_service import OrderService
from services.wechatpay.transport import Network

ROOT = Path(__file__).resolve().parent.parent
OPENID = "oTESTuser00000000000000000001"
# What wx.cloud.callHTTPFunction's platform puts on a request.
MINI_PROGRAM = {"X-Wx-Source": "wx_client", "X-Wx-Openid": OPENID}
OPERATOR_KEY = "operator-key-of-the-tests-0123456789"


@dataclass(frozen=True)
class Reply:
    """One answer of the function."""

    status: int
    body: Any
    headers: Mapping[str, str]
    text: str
    seconds: float


class Function:
    """The function at a base URL, and its log; under gunicorn `pid` is the process that minds the workers.

    `application` is the Flask application where it runs in this process.
    """

    application: Flask

    def __init__(self, url: str, log: Path | None = None, pid: int = 0) -> None:
        self.url = url
        self.pid = pid
        self._log = log
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """POST `body` (a dict is sent as JSON, bytes as they are) with exactly `headers` beside the usual."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.request("POST", path, data=content, headers=sent)

    def call(self, action: str, body: Mapping[str, Any], headers: Mapping[str, str] = MINI_PROGRAM) -> Reply:
        """One action by its path."""
        return self.post(f"/wx-pay/{action}", body, headers)

    def request(self, method: str, path: str, **options: Any) -> Reply:
        started = time.monotonic()
        answer = self._session.request(
            method, self.url + path, timeout=30, allow_redirects=False, **options
        )
        seconds = time.monotonic() - started
        try:
            body = answer.json()
        except ValueError:
            body = None
        return Reply(answer.status_code, body, answer.headers, answer.text, seconds)

    def log_text(self) -> str:
        """Everything that the function wrote so far (under gunicorn)."""
        assert self._log is not None
        return self._log.read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        """Its JSON log lines so far (under gunicorn)."""
        return [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_command(address: str) -> list[str]:
    """The command line of scf_bootstrap, with this interpreter and another address."""
    line = (ROOT / "scf_bootstrap").read_text().rstrip().splitlines()[-1]
    words = shlex.split(line.removeprefix("exec "))
    assert words[0] == "$python"
    assert "0.0.0.0:9000" in words
    return [sys.executable, *(address if word == "0.0.0.0:9000" else word for word in words[1:])]


@contextmanager
def gunicorn(
    env: Mapping[str, str],
    log: Path,
    *,
    cwd: Path = ROOT,
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
    application: str = "",
) -> Iterator[Function]:
    """The function as scf_bootstrap starts it, with nothing in its environment but `env`.

    `options` are further ones of gunicorn, such as more workers; `prefix` is a command that runs another in its place;
    `application` is what is served instead of the function, which says 200 to GET /healthz too.
    """
    address = f"127.0.0.1:{free_port()}"
    *command, function_itself = server_command(address)
    with log.open("w") as output:
        process = subprocess.Popen(
            [*prefix, *command, *options, application or function_itself],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    function = Function(f"http://{address}", log, process.pid)
    try:
        _await(function, process)
        yield function
    finally:
        process.send_signal(signal.SIGQUIT)  # at once; SIGTERM would wait for idle connections
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def in_process(
    env: Mapping[str, str], order_service: OrderService | None = None, transport: Network | None = None
) -> Iterator[Function]:
    """The same application on a threaded server in this process, for an order service or network that a test holds."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = create_app(Settings.from_env(env), order_service=order_service, transport=transport)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        function = Function(f"http://127.0.0.1:{server.server_port}")
        function.application = application
        yield function
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        if hasattr(application.extensions["pay"].orders, "parts"):
            application.extensions["pay"].orders.parts.store.database.close()


def _await(function: Function, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        assert process.poll() is None, f"gunicorn ended:\n{function.log_text()}"
        try:
            if function.request("GET", "/healthz").status == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"no answer from gunicorn:\n{function.log_text()}")


@contextmanager
def heard(name: str) -> Iterator[list[tuple[str, str]]]:
    """Level and text of each line that this logger gets, of every level."""
    lines: list[tuple[str, str]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.levelname, record.getMessage()))

    keep, logger = Keep(), logging.getLogger(name)
    before = logger.level
    logger.addHandler(keep)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.setLevel(before)
        logger.removeHandler(keep)
