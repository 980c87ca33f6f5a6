"""Who computes: one at a time, nobody while he waits, and nobody is held up for long by one who hangs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from utils import processor

LONG = 30.0


class Someone:
    """A thread that computes until it is told to wait, and then until it is told to end."""

    def __init__(self, name: str, told: list[str], *, first: bool = False) -> None:
        self.wait, self.go_on, self.end = threading.Event(), threading.Event(), threading.Event()
        self._name, self._told = name, told
        self._how = {"first": True} if first else {}
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        with processor.computing(**self._how):
            self._told.append(f"{self._name} begins")
            assert self.wait.wait(LONG)
            with processor.waiting(**self._how):
                assert self.go_on.wait(LONG)
            self._told.append(f"{self._name} goes on")
            assert self.end.wait(LONG)

    def let_go(self) -> None:
        for event in (self.wait, self.go_on, self.end):
            event.set()

    def finish(self) -> None:
        self.let_go()
        self.thread.join(LONG)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(processor, "PATIENCE", LONG)


def until(condition) -> None:
    give_up = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def queue() -> int:
    return len(processor._turns._first) + len(processor._turns._others)


def lined_up(name: str, told: list[str], *, first: bool = False) -> Someone:
    before = queue()
    someone = Someone(name, told, first=first)
    until(lambda: queue() == before + 1)
    return someone


def test_one_at_a_time_in_order_and_the_first_before_all_others():
    told: list[str] = []
    one = Someone("one", told)
    until(lambda: told == ["one begins"])
    two, three = lined_up("two", told), lined_up("three", told)
    loop = lined_up("loop", told, first=True)
    for someone in (loop, two, three, one):
        someone.let_go()
    for someone in (one, loop, two, three):
        someone.thread.join(LONG)
    assert [one for one in told if "begins" in one] == ["one begins", "loop begins", "two begins", "three begins"]


def test_who_waits_lets_the_next_one_on_and_queues_again():
    told: list[str] = []
    one = Someone("one", told)
    until(lambda: told == ["one begins"])
    two = lined_up("two", told)
    one.wait.set()
    until(lambda: told == ["one begins", "two begins"])
    one.go_on.set()
    until(lambda: queue() == 1)
    assert told == ["one begins", "two begins"], "it is not its turn"
    two.wait.set()
    until(lambda: told == ["one begins", "two begins", "one goes on"])
    one.finish()
    two.finish()
    assert told == ["one begins", "two begins", "one goes on", "two goes on"]


def test_who_goes_first_does_so_after_waiting_too():
    told: list[str] = []
    loop = Someone("loop", told, first=True)
    until(lambda: told == ["loop begins"])
    one = lined_up("one", told)
    loop.wait.set()
    until(lambda: told == ["loop begins", "one begins"])
    two = lined_up("two", told)
    loop.go_on.set()
    until(lambda: queue() == 2)
    one.wait.set()
    until(lambda: "loop goes on" in told)
    assert told == ["loop begins", "one begins", "loop goes on"], "and not two, who came before"
    for someone in (loop, one, two):
        someone.let_go()
    for someone in (loop, one, two):
        someone.thread.join(LONG)
    free()


def test_who_has_waited_queues_behind_those_who_came_meanwhile():
    told: list[str] = []
    one = Someone("one", told)
    until(lambda: told == ["one begins"])
    two, three = lined_up("two", told), lined_up("three", told)
    one.wait.set()
    until(lambda: "two begins" in told)
    one.go_on.set()
    until(lambda: queue() == 2)
    two.let_go()
    until(lambda: "three begins" in told)
    three.let_go()
    one.let_go()
    for someone in (one, two, three):
        someone.thread.join(LONG)
    assert told[:3] == ["one begins", "two begins", "three begins"]
    free()


def test_who_hangs_holds_nobody_up_for_ever(monkeypatch):
    told: list[str] = []
    hangs = Someone("hangs", told)
    until(lambda: told == ["hangs begins"])
    monkeypatch.setattr(processor, "PATIENCE", 0.01)
    other = Someone("other", told)
    other.finish()
    assert told == ["hangs begins", "other begins", "other goes on"]
    assert not other.thread.is_alive()
    hangs.finish()
    free()


def test_who_hangs_is_waited_for_about_a_second(monkeypatch):
    monkeypatch.undo()
    told: list[str] = []
    hangs = Someone("hangs", told)
    until(lambda: told == ["hangs begins"])
    began = time.monotonic()
    Someone("other", told).finish()
    assert 0.9 < time.monotonic() - began < LONG
    assert told == ["hangs begins", "other begins", "other goes on"]
    hangs.finish()
    free()


def test_who_went_on_without_his_turn_has_one_again_when_he_has_waited(monkeypatch):
    """As the server's loop, which waits and computes for as long as the function lives."""
    told: list[str] = []
    hangs = Someone("hangs", told)
    until(lambda: told == ["hangs begins"])
    with monkeypatch.context() as patched:
        patched.setattr(processor, "PATIENCE", 0.01)
        loop = Someone("loop", told, first=True)
        until(lambda: "loop begins" in told)
    hangs.finish()
    free()
    loop.wait.set()
    loop.go_on.set()
    until(lambda: "loop goes on" in told)
    other = lined_up("other", told)
    assert "other begins" not in told, "the turn is the loop's"
    loop.finish()
    other.finish()
    free()


def test_in_a_queue_that_moves_nobody_goes_on_without_his_turn(monkeypatch):
    """Each turn takes a third of the patience, and who comes to the queue, or back to it, waits for five of them."""
    monkeypatch.setattr(processor, "PATIENCE", 0.6)
    together, most = [], 0

    def take_a_turn() -> None:
        nonlocal most
        together.append(None)
        most = max(most, len(together))
        time.sleep(0.2)
        together.pop()

    def compute() -> None:
        with processor.computing():
            take_a_turn()
            with processor.waiting():
                pass
            take_a_turn()

    threads = [threading.Thread(target=compute) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert most == 1
    free()


def test_a_turn_within_a_turn_is_the_same_one():
    with processor.computing():
        with processor.computing(), processor.waiting():
            free()
        assert processor._turns._taken
    free()


def test_who_had_no_turn_waits_for_none():
    with processor.computing(), processor.waiting(), processor.waiting():
        free()
    free()


def test_the_turn_ends_with_an_error_too():
    with pytest.raises(ValueError, match="here"), processor.computing():
        raise ValueError("here")
    free()
    with pytest.raises(ValueError, match="there"), processor.computing(), processor.waiting():
        raise ValueError("there")
    free()


def test_who_does_not_compute_gives_nobody_s_turn_away():
    def wait() -> None:
        with processor.waiting():
            pass

    def compute() -> None:
        with processor.computing():
            pass

    with ThreadPoolExecutor(1) as another:
        for _ in range(2):
            told: list[str] = []
            one = Someone("one", told)
            until(lambda begun=told: begun == ["one begins"])
            another.submit(wait).result(LONG)
            assert processor._turns._taken
            one.finish()
            another.submit(compute).result(LONG)
    free()


def test_who_could_not_even_queue_keeps_no_turn_later(monkeypatch):
    def fails(*_: object, **__: object) -> bool:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(processor._turns, "acquire", fails)
        with pytest.raises(MemoryError), processor.computing():
            pass
    with processor.computing(), processor.waiting():
        free()
    free()
    with processor.waiting():
        pass
    free()


def free() -> None:
    """Nobody computes or waits to."""
    assert not processor._turns._taken
    assert queue() == 0
