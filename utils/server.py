"""gunicorn's threaded worker, in which no thread ever waits for a caller.

gunicorn gives a connection to a thread before its request is there, and that thread waits for every byte, in and out:
as many slow callers as there are threads stop everybody. Here the main loop takes requests in and sends answers out,
for all connections at once. A thread gets a request that is there as a whole, and leaves what cannot be sent at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import selectors
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker  # type: ignore[import-untyped]

from utils import processor
from utils.connection import Connection

# Seconds from a request's first byte to its last. A callback that takes longer than callbackTimeout (4), whose clock
# runs from the same byte, is refused anyway; orders of people on slow lines may take more.
ARRIVAL = 10.0
# Seconds that an answer may take to be read, and that a large request waits for its turn.
DEPARTURE = 10.0
# Seconds in which what comes after the last answer is still read: a reset would overtake that answer.
ENDING = 2.0
MAX_ENDING = 16_000_000  # bytes of it

# An instance has 256 MB. True requests have a few kilobytes; parsing four megabytes takes several times as much.
LARGE = 65_536
LARGE_AT_ONCE = 2
MAX_HELD = 16_000_000  # bytes on their way in or out; beyond it whoever holds the most goes

NOTIFY = 1.0  # seconds

RECEIVE_AT_ONCE = 65_536
ACCEPT_AT_ONCE = 64

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # names of mallopt's, in <malloc.h>

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_SLOW = "408 Request Timeout"
_TOO_MUCH = "503 Service Unavailable"


class Stage(dict[Connection, float]):
    """Connections that wait for the same, each with its deadline, the longest waiting first."""

    def __init__(
        self,
        seconds: float,
        events: int,
        ready: Callable[[Connection], None],
        expired: Callable[[Connection], None],
    ) -> None:
        """For so many seconds; `ready` when one of the events comes, else `expired`."""
        super().__init__()
        self.seconds = seconds
        self.events = events
        self.ready = ready
        self.expired = expired

    def oldest(self) -> Connection:
        return next(iter(self))

    def since(self) -> float:
        """When the oldest one began to wait."""
        return self[self.oldest()] - self.seconds


class Worker(ThreadWorker):  # type: ignore[misc]
    """See above. gunicorn's own are the thread pool, the loop, the signals, and how the application is called."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.idle = Stage(self.cfg.keepalive, selectors.EVENT_READ, self._receive, self._close)
        self.arriving = Stage(ARRIVAL, selectors.EVENT_READ, self._receive, self._too_slow)
        self.queueing = Stage(DEPARTURE, 0, self._start, partial(self._refuse, status=_TOO_MUCH))
        self.leaving = Stage(DEPARTURE, selectors.EVENT_WRITE, self._send, self._close)
        self.ending = Stage(ENDING, selectors.EVENT_READ, self._drain, self._close)
        self.stages = (self.idle, self.arriving, self.queueing, self.leaving, self.ending)
        self.large = 0
        self.notified = float("-inf")
        self.method_queue.close = lambda: None  # threads may outlive the loop: what they write must meet no other file

    def load_wsgi(self) -> None:
        # What is loaded stays for ever. To look for garbage in it takes a tenth of the start, and later, again and
        # again, a tenth of a second in which nobody is served.
        gc.disable()
        super().load_wsgi()
        gc.freeze()
        gc.enable()
        application: Any = self.wsgi  # type: ignore[has-type]
        # Tells by method and path whether a request is let in: to refuse it takes no thread.
        self.admission: Any = getattr(application, "extensions", {}).get("pay.admission")

        def with_clock(environ: dict[str, Any], start_response: Any) -> Any:
            conn = environ["gunicorn.socket"]
            environ["pay.started"] = conn.since
            environ["pay.entered"] = conn.entered
            return application(environ, start_response)

        self.wsgi = with_clock

    def run(self) -> None:
        _keep_memory_together()
        with processor.computing(first=True):
            super().run()

    # What gunicorn's loop calls

    def notify(self) -> None:
        """Tell the arbiter that the loop lives: once a second is often enough for its 30."""
        if time.monotonic() - self.notified >= NOTIFY:
            self.notified = time.monotonic()
            super().notify()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        with processor.waiting(first=True):
            events = self.poller.select(timeout)
        for key, _ in events:
            key.data(key.fileobj)

    def accept(self, listener: socket.socket) -> None:
        """Take in who waits; where there is no room, the connection that has waited longest makes room."""
        for _ in range(ACCEPT_AT_ONCE):
            try:
                caller, client = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._make_room()
                elif error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                    raise
                return  # Linux tells by accept() what happened to the caller's connection, too
            caller.setblocking(False)
            self.nr_conns += 1
            has_room = self.nr_conns < self.worker_connections or self._make_room()
            self._receive(Connection(self.cfg, caller, client, listener.getsockname()))
            if not has_room:
                return

    def murder_keepalived(self, force: bool = False) -> None:
        """Between two rounds: end the waits that are over."""
        now = time.monotonic()
        for stage in self.stages:
            while stage and (force or stage[stage.oldest()] <= now):
                (self._close if force else stage.expired)(stage.oldest())
        if self.alive and self.nr_conns >= self.worker_connections:
            self._make_room()  # else gunicorn accepts nobody, and accept() cannot make room

    def _cap_keepalive(self, deadline: float) -> None:
        for listener in self.sockets:
            # Who is connected already is answered, who comes now is refused and goes elsewhere.
            for _ in range(0, self.cfg.backlog, ACCEPT_AT_ONCE):
                self.accept(listener)
            listener.close()
        for conn in self.idle:
            self.idle[conn] = min(self.idle[conn], deadline)

    def handle(self, conn: Connection) -> bool:
        """In a thread, or in the loop what is refused: have it answered; true if the connection can be kept."""
        try:
            conn.decode()
            return bool(self.handle_request(conn.request, conn))
        except StopIteration:  # an answer that broke off, and has been logged
            return False
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a thread has nobody above it
            if not conn.unsent:  # else the answer breaks off
                self.handle_error(conn.request, conn.sock, conn.client, error)
            return False
        finally:
            with contextlib.suppress(OSError):
                conn.flush()

    def enqueue_req(self, conn: Connection) -> None:
        try:
            self.tpool.submit(self._answer, conn)
        except RuntimeError:  # no further thread to be had: it is queued, and one of those there are takes it
            if not self.tpool._threads:
                raise

    def _answer(self, conn: Connection) -> None:
        is_kept = False
        try:
            with processor.computing():
                is_kept = self.handle(conn)
        finally:
            if conn.entered:
                self.admission.leave()
            self.method_queue.defer(self.finish_request, conn, is_kept)

    def finish_request(self, conn: Connection, is_kept: bool) -> None:
        """In the loop again."""
        conn.is_kept = is_kept
        if conn.size > LARGE:
            self.large -= 1
            if self.queueing:
                self._start(self.queueing.oldest())
        self._send(conn)

    # From the first byte of a request to the last one of its answer

    def _receive(self, conn: Connection) -> None:
        try:
            has_more = conn.receive(RECEIVE_AT_ONCE)
        except BlockingIOError:
            if conn.stage is None:
                self._enter(conn, self.idle)
        except OSError:
            self._close(conn)
        else:
            (self._look if has_more else self._ended)(conn)

    def _look(self, conn: Connection) -> None:
        """Start the request if it is there."""
        try:
            is_whole = conn.is_whole()
        except Exception as error:  # noqa: BLE001 - gunicorn has an answer to each
            self.handle_error(None, conn.sock, conn.client, error)
            self._send(conn)
            return
        if is_whole:
            self._start(conn)
            return
        stage = self.arriving if conn.has_begun() else self.idle
        if conn.stage is not stage:
            self._enter(conn, stage)
        if conn.expects_continue():
            with contextlib.suppress(OSError):
                conn.caller.send(_CONTINUE)
        if conn.held() > LARGE:
            self._bound()

    def _start(self, conn: Connection) -> None:
        conn.expects_continue()  # it did not wait for that
        if conn.size > LARGE:
            if self.large >= LARGE_AT_ONCE:
                self._enter(conn, self.queueing)
                return
            self.large += 1
        self._leave(conn)
        if self.admission:
            conn.entered = self.admission.enter(conn.request.method, conn.request.path)
        (self._answer if conn.entered is False else self.enqueue_req)(conn)

    def _send(self, conn: Connection) -> None:
        try:
            conn.flush()
        except BlockingIOError:
            if conn.stage is not self.leaving:
                self._enter(conn, self.leaving)
                self._bound()
        except OSError:
            self._close(conn)
        else:
            self._sent(conn)

    def _sent(self, conn: Connection) -> None:
        if not conn.is_kept:
            self._end(conn)
            return
        conn.next_request()
        if conn.incoming:
            self._look(conn)
        else:
            self._enter(conn, self.idle)

    def _end(self, conn: Connection) -> None:
        try:
            conn.let_go()
        except OSError:
            self._close(conn)
        else:
            self._enter(conn, self.ending)

    def _drain(self, conn: Connection) -> None:
        try:
            data = conn.caller.recv(RECEIVE_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.size += len(data)
        if not data or conn.size > MAX_ENDING:
            self._close(conn)

    # Callers who do not play along

    def _ended(self, conn: Connection) -> None:
        """No more will come of this request, or none is awaited."""
        if conn.request is None:
            self._close(conn)
        else:
            conn.break_off()
            self._start(conn)

    def _too_slow(self, conn: Connection) -> None:
        if conn.request is None:
            self._refuse(conn, status=_TOO_SLOW)
        else:
            self._ended(conn)

    def _refuse(self, conn: Connection, *, status: str) -> None:
        conn.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        self._send(conn)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest, whatever for; false if all are being answered."""
        waiting = [stage for stage in self.stages if stage]
        if waiting:
            self._close(min(waiting, key=Stage.since).oldest())
        return bool(waiting)

    def _bound(self) -> None:
        """Memory has an end: the largest on its way goes."""
        held = [*self.arriving, *self.queueing, *self.leaving]
        if sum(map(Connection.held, held)) > MAX_HELD:
            largest = max(held, key=Connection.held)
            if largest.stage is self.leaving:
                self._close(largest)
            else:
                self._refuse(largest, status=_TOO_MUCH)

    # What a connection waits for

    def _enter(self, conn: Connection, stage: Stage) -> None:
        self._leave(conn)
        seconds = stage.seconds
        if stage is self.idle and not self.alive:
            seconds = min(seconds, STOP_KEEPALIVE_LINGER)
        stage[conn] = time.monotonic() + seconds
        conn.stage = stage
        if stage.events:
            self.poller.register(conn.caller, stage.events, partial(self._ready, conn))

    def _leave(self, conn: Connection) -> None:
        if conn.stage is not None:
            if conn.stage.events:
                self.poller.unregister(conn.caller)
            del conn.stage[conn]
            conn.stage = None

    def _ready(self, conn: Connection, caller: socket.socket) -> None:
        if conn.stage is not None:  # another event of the same round may have closed or started it
            conn.stage.ready(conn)

    def _close(self, conn: Connection) -> None:
        self._leave(conn)
        self.nr_conns -= 1
        conn.caller.close()


def _keep_memory_together() -> None:
    """glibc would give so many threads eight heaps a core, of which what is free in one is no use to the others. And
    once large bodies were freed it would keep room for them inside, where smaller things settle.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_ARENA_MAX, 2)
        libc.mallopt(_MMAP_THRESHOLD, LARGE)
