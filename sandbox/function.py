"""The function as a child process: gunicorn with the command of `scf_bootstrap`, on a loopback port."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Variables of the caller's shell, which go before the sandbox's own: one's order service and one's pages can be tried.
PASSED_ON = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "orderService", "orderDatabaseUrl", "corsAllowOrigin", "logLevel")
KEPT_LINES = 5000


class NotAsExpected(Exception):
    """A step went another way than it must."""


class Function:
    """Started at once with `env` and nothing else; `lines` is its log."""

    def __init__(self, address: str, env: dict[str, str]) -> None:
        self.url = f"http://{address}"
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._env = {**env, **_passed_on()}
        self.default_orders = not self._env.get("orderService")
        self.has_database = bool(self._env.get("orderDatabaseUrl"))
        self._process = subprocess.Popen(
            _server_command(address),
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Function:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def await_start(self) -> None:
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):  # noqa: S310 - loopback
                    return
            except OSError:
                time.sleep(0.05)
        raise NotAsExpected("the function answers /healthz within 20 s")

    def handler_line(self, ending: str) -> str:
        """The handler's own log line that ends so."""
        found = _soon(lambda: next((m for m in map(_message, list(self.lines)) if m.endswith(ending)), None))
        if found is None:
            raise NotAsExpected(f"a log line of the order handler: ... {ending}")
        return found

    def orders(self, *arguments: str) -> str:
        """What `flask --app app orders ...` prints, run beside the function with the same settings."""
        return orders_command(self._env, *arguments)

    def wait(self) -> None:
        self._process.wait()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line.rstrip("\n"))


def orders_command(env: dict[str, str], *arguments: str) -> str:
    """The output of the function's own command line; raises NotAsExpected with what it says when it fails."""
    run = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "orders", *arguments],
        cwd=ROOT,
        env={**env, **_passed_on()},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode:
        raise NotAsExpected(f"`flask --app app orders {' '.join(arguments)}` to succeed, not: {run.stderr[-500:]}")
    return run.stdout


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _server_command(address: str) -> list[str]:
    """The last line of scf_bootstrap with this interpreter and a loopback address."""
    words = shlex.split((ROOT / "scf_bootstrap").read_text().rstrip().splitlines()[-1])
    return [sys.executable, *(address if word == "0.0.0.0:9000" else word for word in words[2:])]


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _soon(look: Callable[[], str | None]) -> str | None:
    give_up = time.monotonic() + 3
    while (found := look()) is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return found


def free_port(wanted: int) -> int:
    """`wanted`, or any free port where somebody else has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise NotAsExpected("a free port on 127.0.0.1")
