"""Has the traffic of a whole test run written down, and checked at its end.

WECHATPAY_OPENAPI names the description (see description.py). Differences that are not listed fail the run; those that
are listed but no longer occur, and endpoints that nobody asked, show only when the whole suite ran.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from sandbox import journal
from tests.not_run import NotRun
from tests.openapi.check import Check
from tests.openapi.description import Description
from tests.openapi.differences import LISTED, Listed
from tests.openapi.report import Report

VARIABLE = "WECHATPAY_OPENAPI"
MISSING = f"{VARIABLE} names no OpenAPI description to check requests and answers against"
# A run that any of these narrows is not the whole suite.
_NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")


class Traffic:
    """A plugin of the process that reports; workers and all they start inherit the journal's name."""

    def __init__(self, config: pytest.Config, not_run: NotRun, listed: Iterable[Listed] = LISTED) -> None:
        self._not_run = not_run
        self._listed = tuple(listed)
        self._check: Check | None = None
        self._report: Report | None = None
        if config.option.collectonly:
            return
        path = os.environ.get(VARIABLE, "")
        if not Path(path).is_file():
            not_run.add(MISSING)
            return
        self._name = Path(path).name
        self._check = Check(Description.load(Path(path)))
        self._folder = Path(tempfile.mkdtemp(prefix="traffic-"))
        self._journal = self._folder / "journal"
        self._journal.touch()
        os.environ[journal.VARIABLE] = str(self._journal)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._check is None:
            return
        with self._journal.open("rb") as lines:
            self._check.read(lines)
        is_whole = _is_whole(session) and not self._not_run.lines()
        self._report = Report(self._name, self._check, self._listed, is_whole=is_whole)
        if self._report.faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self._report is None:
            return
        terminalreporter.section(self._report.title)
        for line in self._report.lines:
            terminalreporter.write_line(line)
        for line in self._report.faults:
            terminalreporter.write_line(f"FAILED {line}", red=True)

    def pytest_unconfigure(self) -> None:
        if self._check is not None:
            os.environ.pop(journal.VARIABLE, None)
            shutil.rmtree(self._folder)


def _is_whole(session: pytest.Session) -> bool:
    config = session.config
    return (
        session.exitstatus == pytest.ExitCode.OK
        and config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and not any(config.getoption(name, default=None) for name in _NARROWING)
    )
