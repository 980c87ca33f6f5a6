"""A worker that is told to stop: who has come is answered, who comes is refused, and what runs on touches nothing."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.faults_around.around import eventually, is_there
from tests.hostile_callers.misbehaving import KEPT, connect, serving
from tests.hostile_callers.wire import PATIENCE, raw
from tests.orders.fleet import workers_of
from tests.support import Function
from utils.server import ACCEPT_AT_ONCE

CROWD = 3 * ACCEPT_AT_ONCE  # more than the loop takes in at once, and again when it ends


def test_what_a_thread_says_to_a_loop_that_is_over_meets_no_file(tmp_path: Path) -> None:
    """A thread outlives the grace, opens files under the numbers that the loop has given back, and comes to its end."""
    with serving(tmp_path, ["--graceful-timeout", "1"]) as function, connect(function) as late:
        (worker,) = workers_of(function)
        late.send(raw("GET", "/late"))
        eventually((tmp_path / "entered").exists)
        assert has_heartbeat(worker)
        os.kill(function.pid, signal.SIGHUP)  # a stop would kill the worker when the grace is over
        eventually(lambda: not has_heartbeat(worker))
        (tmp_path / "go").touch()
        assert late.answer().body == KEPT
        eventually(lambda: not is_there(worker))
        assert (tmp_path / "orders").read_bytes() == KEPT


def has_heartbeat(worker: int) -> bool:
    """gunicorn closes this file when the loop has ended and let go of all it had."""
    names = []
    for file in Path(f"/proc/{worker}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            names.append(file.readlink().name)
    assert names, "the worker has ended, and the thread with it"
    return any(name.startswith("wgunicorn-") for name in names)


def test_who_waits_to_be_accepted_is_answered_and_who_comes_later_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path) as function, ExitStack() as stack:
        (worker,) = workers_of(function)
        running = stack.enter_context(connect(function)).send(raw("GET", "/whole")[:-1])
        with connect(function) as other:  # in turn: when this is answered, the above has been taken in
            assert other.send(raw("GET", "/whole")).answer().status == 200
        os.kill(worker, signal.SIGSTOP)
        try:
            crowd = [stack.enter_context(connect(function)).send(raw("GET", "/whole")) for _ in range(CROWD)]
            os.kill(function.pid, signal.SIGTERM)
            eventually(lambda: is_told_to_stop(worker))
        finally:
            os.kill(worker, signal.SIGCONT)
        for caller in crowd:
            answer = caller.answer()
            assert (answer.status, answer.body) == (200, b"whole")
            assert answer.field("Connection") == ["close"]
            assert caller.is_over()
        while listens(function):
            assert not select.select([running.socket], [], [], 0.02)[0], "it listened until the end"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(running.socket.getpeername(), PATIENCE)
        assert running.send(b"\n").answer().body == b"whole"  # so it was there, and refused


def is_told_to_stop(process: int) -> bool:
    """Whether SIGTERM waits for it to go on."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return bool(int(status["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1)


def listens(function: Function) -> bool:
    """Whether the kernel still takes connections for it: asked of the kernel, as a connection would wait there."""
    port = int(function.url.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(local == f"0100007F:{port:04X}" and state == "0A" for _, local, _, state, *_ in map(str.split, lines))
