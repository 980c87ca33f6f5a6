"""What a run left out, as its last lines: `not run: node is not installed (12 tests)`.

`make test` needs nothing but Python. A test that needs more skips with a reason that begins with `not run: `; without
this, it would be one skipped test among others. NOTHING_LEFT_OUT=1 makes a run with such a line fail: a complete
machine must not lose a check unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

PREFIX = "not run: "
VARIABLE = "NOTHING_LEFT_OUT"


class NotRun:
    """A plugin of the process that reports: the only one, or the one that has the workers."""

    def __init__(self) -> None:
        self._missing: dict[str, dict[str, set[str]]] = {}

    def add(self, missing: str) -> None:
        """Something that is no test."""
        self._of(missing)

    def lines(self) -> list[str]:
        return [f"{PREFIX}{missing}{_counted(parts)}" for missing, parts in sorted(self._missing.items())]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report, "test")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report, "file")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._missing and _must_be_complete() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        yield  # even pytest's own list of skipped tests comes before
        for line in self.lines():
            terminalreporter.write_line(line, yellow=True)
        if self._missing and _must_be_complete():
            terminalreporter.write_line(f"{VARIABLE}=1, but something was: this run counts as failed", red=True)

    def _note(self, report: pytest.TestReport | pytest.CollectReport, kind: str) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if reason.startswith(PREFIX):
                self._of(reason.removeprefix(PREFIX))[kind].add(report.nodeid)

    def _of(self, missing: str) -> dict[str, set[str]]:
        return self._missing.setdefault(missing, {"test": set(), "file": set()})


def _counted(parts: dict[str, set[str]]) -> str:
    counts = [f"{len(ids)} {kind}{'s' * (len(ids) > 1)}" for kind, ids in parts.items() if ids]
    return f" ({', '.join(counts)})" if counts else ""


def _must_be_complete() -> bool:
    return os.environ.get(VARIABLE) == "1"
