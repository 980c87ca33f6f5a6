"""What the tests meet instead of the real thing while they judge mutants, and what watches them."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests import support
from tests.mutation.modules import ROOT


class Trace:
    """Which lines of `paths` are executed, by any thread."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = {str(ROOT / path): path for path in paths}
        self._lines: dict[str, set[int]] = defaultdict(set)
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._paths else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._lines[self._paths[frame.f_code.co_filename]].add(frame.f_lineno)
        return self._line

    def taken(self) -> dict[str, list[int]]:
        lines, self._lines = self._lines, defaultdict(set)
        return {path: sorted(numbers) for path, numbers in lines.items()}


class _Logs:
    """Where the function writes its log: to the file of each server that runs."""

    def __init__(self) -> None:
        self.files: list[TextIO] = []

    def write(self, text: str) -> None:
        for file in self.files:
            file.write(text)
            file.flush()

    def flush(self) -> None:
        pass


_logs = _Logs()


@contextlib.contextmanager
def in_this_process(env: Mapping[str, str], log: Path, **options: Any) -> Iterator[support.Function]:
    """Stands in for gunicorn, whose workers run no mutant; a test that needs the real one fails, and is not used."""
    with log.open("w") as output, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", _logs)
        for name, value in env.items():
            patch.setenv(name, value)
        _logs.files.append(output)
        try:
            with support.in_process(env) as function:
                function._log = log
                yield function
        finally:
            _logs.files.remove(output)


def make_keys() -> None:
    """RSA keys for all forks: making one takes longer than most tests."""
    real = rsa.generate_private_key
    ready = [real(public_exponent=65537, key_size=2048) for _ in range(16)]

    def make(public_exponent: int, key_size: int, backend: Any = None) -> Any:
        return ready.pop() if key_size == 2048 and ready else real(public_exponent, key_size, backend)

    rsa.generate_private_key = make  # type: ignore[assignment]
