"""What a run is made of: the function and the sandbox as processes, each on its core, and what is seen of them."""

from __future__ import annotations

import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bench.processes import (
    CORES,
    answers,
    awaited,
    children,
    memory,
    processor,
    running,
    server_command,
    server_environment,
    stolen,
)
from sandbox.function import free_port, orders_command

LEAST = 0.05  # share of a core: an open loop goes on however little is there

# By the end the sandbox holds millions of objects. To look for garbage among all of them, whenever a fourth more has
# come, takes seconds in which it answers nobody: a fault that no one has ordered.
_SANDBOX = """
import gc, runpy
gc.set_threshold(700, 10, 10**9)
runpy.run_module("sandbox", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Reading:
    """The function's worker at a moment: bytes, descriptors, threads; and seconds so far: of processor time of all, and
    those that the host took from the function's core and from the others'. `yardstick` is what the same piece of work
    took on the function's core since the reading before, in processor time, and `there` the share of that time in which
    the core was there at all.
    """

    at: float
    pid: int
    pss: int
    rss: int
    descriptors: int
    threads: int
    processor: float
    sandbox: float
    generator: float
    stolen: float
    stolen_beside: float
    yardstick: float
    there: float


class World:
    """A running function at `function`, and the control API of its sandbox at `control`."""

    def __init__(
        self, function: str, control: str, env: dict[str, str], server: int, sandbox: int, yardstick: TextIO
    ) -> None:
        self.function = function
        self.control = control
        self.env = env
        self._server, self._sandbox = server, sandbox
        self._measured = yardstick
        self._last = 0.0
        self._before = time.monotonic(), stolen(CORES[0])

    @property
    def worker(self) -> int:
        """The process that serves; gunicorn's master starts another one if it dies."""
        return children(self._server)[0]

    def reading(self) -> Reading:
        pid = self.worker
        proc = Path(f"/proc/{pid}")
        sizes = memory(pid)
        at, taken = time.monotonic(), stolen(CORES[0])
        seconds, lost = at - self._before[0], taken - self._before[1]
        self._before = at, taken
        return Reading(
            at,
            pid,
            sizes["Pss"],
            sizes["Rss"],
            len(os.listdir(proc / "fd")),  # noqa: PTH208 - names alone
            len(os.listdir(proc / "task")),  # noqa: PTH208
            processor(pid),
            processor(self._sandbox),
            time.process_time(),
            taken,
            stolen(CORES[-1]),
            self._yardstick(),
            max(LEAST, 1 - lost / max(seconds, 1e-9)),
        )

    def _yardstick(self) -> float:
        """The middle of what was measured since the last time; that of then, if nothing was."""
        if new := [float(line.split()[1]) for line in self._measured.read().splitlines()]:
            self._last = statistics.median(new)
        return self._last


@contextmanager
def world(folder: Path, database_url: str) -> Iterator[World]:
    """The sandbox and the function beside it, on a new order database; both end with the block.

    Their output is in `folder`. Raises RuntimeError when one does not start.
    """
    os.sched_setaffinity(0, {CORES[-1]})
    address = f"127.0.0.1:{free_port(0)}"
    ports = ["--port", "0", "--backup-port", "0", "--https-port", "0"]
    command = [sys.executable, "-c", _SANDBOX, *ports, "--no-limits", "--state", str(folder)]
    with running([*command, "--function", f"http://{address}"], CORES[-1:], folder / "sandbox.log") as sandbox:
        awaited(lambda: "function's variables" in (folder / "sandbox.log").read_text(), sandbox, "the sandbox")
        # The backup host has the control API too, and stays up while faults close the main one.
        control = _named(folder / "sandbox.log", "WeChat Pay, backup host")
        # JSON lines of 60,000 requests are nobody's; warnings tell what went wrong.
        env = _variables(folder / "function.env") | {"orderDatabaseUrl": database_url, "logLevel": "warning"}
        env |= server_environment()
        orders_command(env, "init-db")
        with running(server_command(address), CORES[:1], folder / "function.log", env) as server:
            awaited(lambda: answers(f"http://{address}/healthz"), server, "the function")
            measured = folder / "yardstick.log"
            with running([sys.executable, "-m", "bench.load.yardstick"], CORES[:1], measured), measured.open() as told:
                yield World(f"http://{address}", control, env, server.pid, sandbox.pid, told)


def _named(log: Path, what: str) -> str:
    return next(line.split()[-1] for line in log.read_text().splitlines() if what in line)


def _variables(file: Path) -> dict[str, str]:
    """Variables as a shell reads them."""
    return dict(word.split("=", 1) for word in shlex.split(file.read_text()))
