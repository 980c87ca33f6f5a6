"""Business time, and what is planned to happen in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.clock import Clock, duration, moment_of, rfc3339
from tests.sandbox.conftest import PREPAY, call

DAY = 86400
SOON = 0.05
"""Seconds that these tests may take by the wall clock where time stands still for the tested."""


class Diary:
    """What happened on a clock, and at which second after the start."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.start = clock.now()
        self.entries: list[tuple[str, float]] = []

    def plan(self, delay: float, name: str):
        return self.clock.plan(delay, name, lambda: self.write(name))

    def write(self, name: str) -> None:
        self.entries.append((name, self.passed))

    @property
    def passed(self) -> float:
        return self.clock.now() - self.start

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.entries]


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.stop()


@pytest.fixture
def diary(clock: Clock) -> Diary:
    return Diary(clock)


# Order and time


def test_what_is_planned_happens_in_the_order_of_its_times(clock, diary):
    for delay, name in ((30, "third"), (10, "first"), (20, "second")):
        diary.plan(delay, name)
    assert [plan.what for plan in clock.advance(60)] == diary.names == ["first", "second", "third"]


def test_what_is_planned_for_the_same_time_happens_in_the_order_of_planning(clock, diary, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    for name in "cab":
        diary.plan(10, name)
    clock.advance(10)
    assert diary.names == ["c", "a", "b"]


def test_each_happens_at_its_own_time_within_one_advance(clock, diary):
    delays = [10, 20, 3600, 7 * DAY]
    for delay in delays:
        diary.plan(delay, str(delay))
    clock.advance(8 * DAY)
    assert [passed for _, passed in diary.entries] == pytest.approx(delays, abs=SOON)
    assert diary.passed == pytest.approx(8 * DAY, abs=SOON)


def test_nothing_happens_before_its_time(clock, diary):
    diary.plan(10, "due")
    assert clock.advance(9) == []
    assert diary.names == []
    assert [plan.what for plan in clock.advance(1)] == ["due"]
    assert clock.advance(60) == []
    assert diary.names == ["due"]


def test_what_is_overdue_happens_when_time_goes_on_and_time_never_goes_back(clock, diary):
    diary.plan(-5, "overdue")
    before = clock.now()
    clock.advance(0)
    assert diary.names == ["overdue"]
    assert clock.now() >= before


# Planned during an advance


def test_what_is_planned_during_an_advance_happens_in_it_when_it_falls_due_in_it(clock, diary):
    def first() -> None:
        diary.write("first")
        diary.plan(10, "within")
        diary.plan(100, "beyond")

    clock.plan(10, "first", first)
    diary.plan(15, "between")
    assert [plan.what for plan in clock.advance(60)] == ["first", "between", "within"]
    assert [passed for _, passed in diary.entries] == pytest.approx([10, 15, 20], abs=SOON)
    assert [plan.what for plan in clock.pending()] == ["beyond"]
    clock.advance(50)
    assert diary.entries[-1] == ("beyond", pytest.approx(110, abs=SOON))


def test_an_advance_within_an_advance(clock, diary):
    clock.plan(10, "jumps", lambda: clock.advance(100))
    diary.plan(50, "passed over")
    clock.advance(20)
    assert diary.entries == [("passed over", pytest.approx(50, abs=SOON))]
    assert diary.passed == pytest.approx(110, abs=SOON)


# Cancelled


def test_a_cancelled_plan_never_happens_and_is_not_shown(clock, diary):
    plans = [diary.plan(delay, str(delay)) for delay in (10, 20, 30)]
    plans[1].cancelled = True
    assert [plan.what for plan in clock.pending()] == ["10", "30"]
    assert [plan.what for plan in clock.advance(60)] == diary.names == ["10", "30"]


def test_a_plan_may_be_cancelled_by_an_earlier_one_of_the_same_advance(clock, diary):
    later = diary.plan(20, "later")
    clock.plan(10, "cancels", lambda: setattr(later, "cancelled", True))
    assert [plan.what for plan in clock.advance(60)] == ["cancels"]
    assert diary.names == []


def test_the_soonest_pending_plans_are_shown_in_order(clock, diary):
    for delay in (30, 10, 20):
        diary.plan(delay, str(delay))
    assert [plan.what for plan in clock.pending(2)] == ["10", "20"]
    assert clock.pending()[0].describe() == {"time": rfc3339(clock.pending()[0].time), "what": "10"}
    assert moment_of(clock.pending()[0].describe()["time"]) == pytest.approx(diary.start + 10, abs=1 + SOON)


# Durations and limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("10m", 600),
        ("2h", 7200),
        ("1d", DAY),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        ("0s", 0),
        ("0.5s", 0.5),
        ("1.5h", 5400),
        ("30m1h", 5400),
        ("400d", 400 * DAY),
    ],
)
def test_a_duration(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "10x", "10 m", " 10m", "10m\n", "-10m", "+10m", "1,5h", ".5s", "5.s", "1e3s", "10M", "1h30"],
)
def test_a_text_that_is_no_duration(text):
    with pytest.raises(ValueError, match="a duration looks like"):
        duration(text)


@pytest.mark.parametrize("text", ["401d", "400d1s", "9" * 400 + "s"])
def test_a_duration_that_is_too_long(text):
    with pytest.raises(ValueError, match="at most 400 days"):
        duration(text)


def test_no_plan_lies_beyond_what_can_be_shown(merchant, box):
    """Otherwise the time could not be asked for any more."""
    merchant.send("POST", PREPAY, merchant.order())
    with pytest.raises(ValueError, match="at most 400 days"):
        box.pay("ORDER_000001", after="99999999d")
    assert call(box.url, "GET", "/sandbox/clock").status == 200


@pytest.mark.parametrize("seconds", [-0.001, -1, 400 * DAY + 1, float("inf"), float("nan")])
def test_an_advance_that_is_refused_changes_nothing(clock, diary, seconds):
    diary.plan(0, "due")
    with pytest.raises(ValueError, match="only moves forward"):
        clock.advance(seconds)
    assert diary.names == []
    assert diary.passed == pytest.approx(0, abs=SOON)


@pytest.mark.parametrize("seconds", [0, 0.25, 400 * DAY])
def test_an_advance_at_the_limits(clock, diary, seconds):
    clock.advance(seconds)
    assert diary.passed == pytest.approx(seconds, abs=SOON)


def test_whoever_shows_the_time_is_told_after_what_happened(clock, diary):
    clock.moved = lambda: diary.write("moved")
    diary.plan(10, "due")
    clock.advance(60)
    assert diary.entries == [("due", pytest.approx(10, abs=SOON)), ("moved", pytest.approx(60, abs=SOON))]


# Reset


def test_a_reset_forgets_all_plans_and_returns_to_the_wall_clock(clock, diary):
    diary.plan(2 * DAY, "forgotten")
    clock.advance(DAY)
    assert clock.now() - time.time() == pytest.approx(DAY, abs=SOON)
    clock.clear()
    assert clock.now() - time.time() == pytest.approx(0, abs=SOON)
    assert clock.pending() == []
    assert clock.advance(3 * DAY) == []
    assert diary.names == []


def test_a_reset_during_an_advance_ends_it(clock, diary):
    """By another thread: an action may wait for the function while somebody resets the sandbox."""

    def reset() -> None:
        other = threading.Thread(target=clock.clear)
        other.start()
        other.join(5)
        assert not other.is_alive()
        diary.plan(10, "of the time after")

    clock.plan(10, "slow", reset)
    diary.plan(20, "forgotten")
    assert [plan.what for plan in clock.advance(DAY)] == ["slow"]
    assert clock.now() - time.time() == pytest.approx(0, abs=SOON)
    assert [plan.what for plan in clock.pending()] == ["of the time after"]
    clock.advance(60)
    assert diary.names == ["of the time after"]


# Running


class Happened(threading.Event):
    """An action that says when it was done."""

    def __call__(self) -> None:
        self.at = time.monotonic()
        self.set()


@pytest.mark.parametrize("first", ["planned", "running"])
def test_while_it_runs_plans_happen_by_themselves(clock, first):
    happened = Happened()
    asked = time.monotonic()
    if first == "running":
        clock.run()
    clock.plan(0.1, "soon", happened)
    clock.run()
    assert clock.running
    assert happened.wait(2)
    assert 0.09 <= happened.at - asked < 1.2


def test_a_sooner_plan_does_not_wait_for_a_later_one(clock):
    later, sooner = Happened(), Happened()
    clock.run()
    clock.plan(3600, "later", later)
    time.sleep(0.05)  # the runner waits for the later one now
    asked = time.monotonic()
    clock.plan(0.05, "sooner", sooner)
    assert sooner.wait(2)
    assert sooner.at - asked < 0.8
    assert not later.is_set()


def test_running_and_advancing_at_once_each_plan_happens_once(clock, diary):
    clock.run()
    for index in range(50):
        diary.plan(index / 1000, str(index))
    clock.advance(60)
    assert sorted(diary.names, key=int) == [str(index) for index in range(50)]


def test_nothing_happens_by_itself_when_it_does_not_run(clock):
    never = Happened()
    clock.plan(0, "due", never)
    assert not never.wait(0.2)
    assert not clock.running
    clock.advance(0)
    assert never.is_set()


def test_a_stopped_clock_lets_nothing_happen_until_it_runs_again(clock):
    never, known = Happened(), Happened()
    clock.run()
    clock.plan(0, "before", known)
    assert known.wait(2)
    clock.stop()
    assert not clock.running
    clock.plan(0, "after", never)
    assert not never.wait(0.2)
    clock.run()
    assert never.wait(2)


def test_it_runs_once_however_often_it_is_asked_to(clock):
    before = set(threading.enumerate())
    for _ in range(3):
        clock.run()
    assert len(set(threading.enumerate()) - before) == 1


def test_a_clock_that_runs_goes_on_after_a_reset(clock):
    forgotten, kept = Happened(), Happened()
    clock.run()
    clock.plan(0.2, "forgotten", forgotten)
    clock.clear()
    clock.plan(0.1, "kept", kept)
    assert kept.wait(2)
    assert not forgotten.wait(0.3)


def test_a_sandbox_that_runs_settles_what_is_due(merchant, box):
    """The switch of the control API is that of the clock."""
    merchant.paid()
    merchant.send("POST", "/v3/refund/domestic/refunds", merchant.refund())
    box.advance(299.8)
    assert box.ledger.refunds["REFUND_1"].state == "PROCESSING"
    box.running = True
    ends = time.monotonic() + 2
    while box.ledger.refunds["REFUND_1"].state != "SUCCESS":
        assert time.monotonic() < ends
        time.sleep(0.01)
    box.running = False
    assert not box.clock.running


# Threads


def test_two_threads_advance_at_once(clock, diary):
    """No second is lost, and each plan happens once, in order, alone and at its own time."""
    steps, plans = 100, 400
    busy, met = threading.Lock(), []

    def happen(name: str) -> None:
        if not busy.acquire(blocking=False):
            met.append(name)
            return
        diary.write(name)
        time.sleep(0.0002)  # the other thread's turn, if it had one
        busy.release()

    for index in range(plans):
        clock.plan(index * 30 + 1, str(index), lambda name=str(index): happen(name))
    ready = threading.Barrier(2)

    def advance() -> None:
        ready.wait(5)
        for _ in range(steps):
            clock.advance(60)

    threads = [threading.Thread(target=advance) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert diary.passed == pytest.approx(2 * steps * 60, abs=1)
    assert met == []
    assert diary.names == [str(index) for index in range(plans)]
    assert [passed for _, passed in diary.entries] == pytest.approx([i * 30 + 1 for i in range(plans)], abs=1)


def test_a_plan_that_fails_is_not_the_last_that_happens(clock, capsys):
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("a plan of a test")

    clock.plan(0.05, "fails", fail)
    clock.plan(0.1, "happens", done.set)
    clock.run()
    assert done.wait(5)
    clock.stop()
    assert "a plan of a test" in capsys.readouterr().err
