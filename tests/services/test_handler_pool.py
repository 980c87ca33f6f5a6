"""Handlers in a bounded number of threads, one per key, each with its time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from services.handler_pool import HandlerPool, HandlerTimeout
from services.merchant_code import contained
from services.wechatpay.errors import NotificationPostponed


class Gate:
    """A handler that says when it runs and returns when it may."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        self.entered.set()
        assert self.leave.wait(5)
        return "done"


def failing(error: BaseException) -> Callable[[], Any]:
    def handler() -> Any:
        raise error

    return handler


@pytest.mark.parametrize("result", [None, True, False, {"code": "SUCCESS"}, 0])
def test_the_result_is_handed_through(result: Any) -> None:
    assert HandlerPool(1).run("key", lambda: result, 1) is result


@pytest.mark.parametrize("error", [LookupError("x"), TimeoutError("x"), concurrent.futures.TimeoutError("x")])
def test_what_a_handler_raises_is_raised_here_and_is_no_timeout(error: Exception) -> None:
    pool = HandlerPool(1)
    with pytest.raises(type(error)) as caught:
        pool.run("key", failing(error), 1)
    assert caught.value is error
    assert pool.run("key", lambda: 1, 1) == 1


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_what_would_end_the_process_arrives_as_an_exception(error: BaseException) -> None:
    pool = HandlerPool(1)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a KeyboardInterrupt would end the tests too
        pool.run("key", lambda: contained(failing(error)), 1)
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.__cause__ is error
    assert pool.run("key", lambda: 1, 1) == 1


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_even_uncontained_it_costs_neither_the_key_nor_the_thread(error: BaseException) -> None:
    pool = HandlerPool(1)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - it arrives as it was raised
        pool.run("key", failing(error), 1)
    assert caught.value is error
    assert pool.run("key", lambda: 1, 1) == 1


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """No thread can be started until the fixture's value is called."""
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    yield lambda: monkeypatch.setattr(threading.Thread, "start", real)
    monkeypatch.setattr(threading.Thread, "start", real)


def test_without_a_thread_the_callback_is_postponed_and_its_key_is_free_again(
    no_threads: Callable[[], None],
) -> None:
    pool = HandlerPool(2)
    for key in ("key", "key", "another", "third"):  # more than the pool holds: none may stay counted
        with pytest.raises(NotificationPostponed, match=r"^no handler thread can be started$"):
            pool.run(key, lambda: None, 1)
    no_threads()
    assert pool.run("key", lambda: "kept", 1) == "kept"


def test_what_was_postponed_for_want_of_a_thread_is_never_run_later(no_threads: Callable[[], None]) -> None:
    pool, ran = HandlerPool(2), []
    with pytest.raises(NotificationPostponed):
        pool.run("key", lambda: ran.append("postponed"), 1)
    no_threads()
    for turn in range(3):
        pool.run("key", lambda turn=turn: ran.append(turn), 1)
    assert ran == [0, 1, 2]


def test_one_key_runs_once_at_a_time_after_a_want_of_threads_too(no_threads: Callable[[], None]) -> None:
    pool, gate = HandlerPool(2), Gate()
    with pytest.raises(NotificationPostponed):
        pool.run("key", lambda: None, 1)
    no_threads()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pool.run, "key", gate, 5)
        assert gate.entered.wait(5)
        try:
            with pytest.raises(NotificationPostponed, match=r"^the same notification is still being handled$"):
                pool.run("key", lambda: None, 0.1)
        finally:
            gate.leave.set()
        assert first.result() == "done"


def test_past_its_time_the_caller_goes_on_and_the_handler_too(late: list[logging.LogRecord]) -> None:
    pool, gate = HandlerPool(2), Gate()
    started = time.monotonic()
    with pytest.raises(HandlerTimeout, match=r"^the handler did not return within 0\.2 s$"):
        pool.run("key", gate, 0.2)
    assert time.monotonic() - started < 2
    assert pool.run("another", lambda: 1, 1) == 1
    with pytest.raises(NotificationPostponed, match="still being handled"):
        pool.run("key", gate, 1)
    gate.leave.set()
    assert _eventually(lambda: _runs_again(pool, "key"))
    assert _eventually(lambda: [record.fields for record in late] == [{"outcome": "returned"}])
    assert late[0].levelno == logging.ERROR
    assert not late[0].exc_info
    assert gate.runs == 1


@pytest.mark.parametrize("error", [LookupError("no such order"), SystemExit(3), asyncio.CancelledError()])
def test_a_late_exception_is_in_the_log_with_its_trace(late: list[logging.LogRecord], error: BaseException) -> None:
    pool = HandlerPool(1)
    leave = threading.Event()

    def a_handler_of_the_merchants() -> None:
        leave.wait(5)
        raise error

    with pytest.raises(HandlerTimeout):
        pool.run("key", a_handler_of_the_merchants, 0.05)
    leave.set()
    assert _eventually(lambda: [record.fields for record in late] == [{"outcome": type(error).__name__}])
    written = logging.Formatter().format(late[0])
    assert "a_handler_of_the_merchants" in written
    assert repr(error) in written or str(error) in written


def test_a_late_result_is_logged_in_the_context_of_its_request() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("late", default="none")
    pool, seen = HandlerPool(2), []
    leave = threading.Event()
    variable.set("request 1")
    with _heard(lambda record: seen.append(variable.get())):
        with pytest.raises(HandlerTimeout):
            pool.run("key", lambda: leave.wait(5), 0.05)
        variable.set("request 2")
        leave.set()
        assert _eventually(lambda: seen == ["request 1"])


def test_a_result_in_time_is_not_logged_as_late(late: list[logging.LogRecord]) -> None:
    HandlerPool(1).run("key", lambda: None, 1)
    assert late == []


def test_one_key_runs_once_at_a_time() -> None:
    pool, gate = HandlerPool(4), Gate()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pool.run, "key", gate, 5)
        assert gate.entered.wait(5)
        for _ in range(3):
            with pytest.raises(NotificationPostponed, match="still being handled"):
                pool.run("key", gate, 5)
        gate.leave.set()
        assert first.result() == "done"
    assert gate.runs == 1
    assert pool.run("key", lambda: "again", 1) == "again"


def test_a_full_pool_refuses_at_once_instead_of_queueing() -> None:
    pool, gates = HandlerPool(2), [Gate(), Gate()]
    late: list[int] = []
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(pool.run, index, gate, 5) for index, gate in enumerate(gates)]
        assert all(gate.entered.wait(5) for gate in gates)
        started = time.monotonic()
        with pytest.raises(NotificationPostponed, match=r"^all handler threads are busy$"):
            pool.run("one more", lambda: late.append(1), 5)
        assert time.monotonic() - started < 1
        for gate in gates:
            gate.leave.set()
        assert [run.result() for run in running] == ["done", "done"]
    assert late == []
    assert pool.run("one more", lambda: 1, 1) == 1


def test_handlers_that_never_return_fill_the_pool_and_no_more() -> None:
    pool, gate = HandlerPool(2), Gate()
    for key in ("a", "b"):
        with pytest.raises(HandlerTimeout):
            pool.run(key, gate, 0.05)
    with pytest.raises(NotificationPostponed, match="busy"):
        pool.run("c", lambda: None, 1)
    gate.leave.set()
    assert _eventually(lambda: _runs_again(pool, "c"))


def test_of_many_threads_with_one_key_exactly_one_gets_through() -> None:
    pool, gate = HandlerPool(32), Gate()
    together = threading.Barrier(16)

    def attempt(_: int) -> bool:
        together.wait(5)
        try:
            return bool(pool.run("key", gate, 5))
        except NotificationPostponed:
            return False
        finally:
            attempts.release()

    attempts = threading.Semaphore(0)
    with ThreadPoolExecutor(16) as threads:
        outcomes = threads.map(attempt, range(16))
        for _ in range(15):
            assert attempts.acquire(timeout=5)
        gate.leave.set()
        assert sorted(outcomes) == [False] * 15 + [True]
    assert gate.runs == 1


def test_a_handler_sees_the_context_of_its_request() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    variable.set("request 1")
    assert HandlerPool(1).run("key", variable.get, 1) == "request 1"


@pytest.fixture
def late() -> Iterator[list[logging.LogRecord]]:
    """What the pool logs."""
    records: list[logging.LogRecord] = []
    with _heard(records.append):
        yield records


@contextmanager
def _heard(hear: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hear(record)

    listener, logger = Listener(), logging.getLogger("pay.callback")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate


def _runs_again(pool: HandlerPool, key: str) -> bool:
    try:
        pool.run(key, lambda: None, 1)
    except NotificationPostponed:
        return False
    return True


def _eventually(condition: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.01)
    return False
