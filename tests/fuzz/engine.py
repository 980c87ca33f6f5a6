"""Runs one target: over its corpus, over random mutations of it, and by atheris where that is installed.

A target is a module of `tests.fuzz.targets` with `run(data)`, `seeds()` and `TOKENS`. `run` raises what is a finding:
an AssertionError for an oracle that does not hold, anything else for an exception that no document promises.
Whatever the input, it may take two seconds of CPU.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol, cast

CORPUS = Path(__file__).parent / "corpus"
TARGETS = (
    "pem",
    "env_file",
    "dispatch",
    "notifications",
    "verification",
    "decryption",
    "tokens",
    "bills",
    "strict_json",
    "self_test",
)
MAX_CPU = 2.0  # seconds that one input may take
MAX_LENGTH = 8192  # bytes of an input


class Target(Protocol):
    """What a module of `tests.fuzz.targets` offers."""

    TOKENS: tuple[bytes, ...]

    def run(self, data: bytes) -> None:
        """Feed one input and check what came of it."""

    def seeds(self) -> Iterable[bytes]:
        """Inputs to begin with."""


class Hang(BaseException):
    """One input took more than MAX_CPU; no `except Exception` of the product swallows it."""


@dataclass
class Finding(Exception):
    """An input that broke an oracle, after so many executions and seconds."""

    target: str
    data: bytes
    cause: BaseException
    executions: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.target}: {type(self.cause).__name__}: {str(self.cause)[:500]}\n"
            f"after {self.executions} executions, {self.seconds:.1f} s\n"
            f"input: {self.data!r}\n"
            f"again: python -m tests.fuzz {self.target} --hex {self.data.hex()}"
        )


def target(name: str) -> Target:
    return cast("Target", importlib.import_module(f"tests.fuzz.targets.{name}"))


def corpus(name: str) -> list[bytes]:
    """The kept inputs, by file name: the same order everywhere."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def keep(name: str, data: bytes) -> Path:
    """Write an input into the corpus under its digest."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@contextmanager
def watched() -> Iterator[Callable[[Callable[[bytes], None], bytes], None]]:
    """Yields `call(run, data)`, which raises Hang once that takes MAX_CPU; of the main thread alone."""

    def expired(_: int, __: FrameType | None) -> None:
        raise Hang(f"more than {MAX_CPU:.0f} s of CPU for one input")

    def call(run: Callable[[bytes], None], data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU)
        try:
            run(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    before = signal.signal(signal.SIGPROF, expired)
    try:
        yield call
    finally:
        signal.signal(signal.SIGPROF, before)


def execute(name: str, inputs: Iterable[bytes], *, seconds: float = float("inf"), executions: int = 0) -> int:
    """Feed the inputs until they or the time end; returns how many were fed, `executions` before them included.

    Raises Finding.
    """
    run, started = target(name).run, time.monotonic()
    with watched() as call:
        for data in inputs:
            executions += 1
            try:
                call(run, data)
            except (Exception, Hang) as error:
                raise Finding(name, data, error, executions, time.monotonic() - started) from error
            if time.monotonic() - started > seconds:
                break
    return executions


def mutations(name: str, seed: int) -> Iterator[bytes]:
    """Endless random children of corpus and seeds; the same for the same seed and corpus."""
    found = target(name)
    chance, parents = random.Random(seed), [*corpus(name), *found.seeds()]
    tokens = found.TOKENS
    while True:
        child = bytearray(chance.choice(parents))
        for _ in range(1 << chance.randrange(4)):
            chance.choice(_MUTATORS)(chance, child, tokens, parents)
        yield bytes(child[:MAX_LENGTH])


# The mutators: each changes `child` in place.

_TELLING = (0, 1, 9, 10, 13, 32, 34, 39, 44, 45, 46, 48, 57, 58, 61, 91, 92, 93, 96, 123, 125, 127, 128, 194, 237, 255)


def _place(chance: random.Random, child: bytearray, longest: int = 64) -> tuple[int, int]:
    start = chance.randrange(len(child) + 1)
    return start, min(len(child), start + chance.randrange(1, longest + 1))


def _set_byte(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    if child:
        place = chance.randrange(len(child))
        child[place] = chance.choice(_TELLING) if chance.random() < 0.5 else chance.randrange(256)


def _step_byte(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    if child:
        place = chance.randrange(len(child))
        child[place] = (child[place] + chance.choice((-1, 1, 128, 32, -32))) % 256


def _delete(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    start, end = _place(chance, child, chance.choice((1, 4, 64, 1024)))
    del child[start:end]


def _repeat(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    start, end = _place(chance, child, chance.choice((1, 4, 64)))
    times = chance.choice((1, 1, 2, 8, 64, 1000))
    child[start:start] = (child[start:end] * times)[:MAX_LENGTH]


def _insert(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    start = chance.randrange(len(child) + 1)
    child[start:start] = chance.choice(tokens) if tokens and chance.random() < 0.8 else chance.randbytes(4)


def _replace(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    """A token for a token that is there, else for a few bytes."""
    token = chance.choice(tokens) if tokens else chance.randbytes(2)
    there = [other for other in tokens if other in child]
    if there and chance.random() < 0.7:
        old = chance.choice(there)
        places = [at for at in range(len(child)) if child.startswith(old, at)]
        start = chance.choice(places)
        child[start : start + len(old)] = token
    else:
        start, end = _place(chance, child, 8)
        child[start:end] = token


def _splice(chance: random.Random, child: bytearray, tokens: tuple[bytes, ...], parents: list[bytes]) -> None:
    other = chance.choice(parents)
    start, end = _place(chance, bytearray(other), 512)
    place, rest = _place(chance, child, 512)
    child[place : rest if chance.random() < 0.5 else place] = other[start:end]


_MUTATORS = (_set_byte, _set_byte, _step_byte, _delete, _repeat, _insert, _replace, _replace, _splice)
