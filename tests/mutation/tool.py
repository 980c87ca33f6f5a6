"""mutmut's command with four more kinds of change, all of them fatal to what this function is for.

mutmut leaves the fixed text of f-strings alone, where here the protocol's paths and signed lines are, conditions that
are no comparison, calls that stand alone, and what is raised. Run as a script, so that it brings no `tests` along.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import libcst as cst
import pytest
from _pytest.config import _prepareconfig as get_config_of
from mutmut.__main__ import cli
from mutmut.configuration import config
from mutmut.mutation.mutators import mutation_operators
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd
from mutmut.workers import isolation
from mutmut.workers.isolation import ForkRunner


def text_between(node: cst.FormattedStringText) -> Iterable[cst.CSTNode]:
    """`f"a{b}"` -> `f"XXa{b}"`."""
    yield node.with_changes(value=f"XX{node.value}")


def negated(node: cst.If) -> Iterable[cst.CSTNode]:
    """`if a:` -> `if not (a):`."""
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test), whitespace_before_test=cst.SimpleWhitespace(" "))


def not_called(node: cst.Expr) -> Iterable[cst.CSTNode]:
    """`a()` -> `pass`."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def not_raised(node: cst.Raise) -> Iterable[cst.CSTNode]:
    """`raise A` -> `pass`."""
    yield cst.Pass()


mutation_operators += [
    (cst.FormattedStringText, text_between),
    (cst.If, negated),
    (cst.Expr, not_called),
    (cst.Raise, not_raised),
]

class Collected(PytestRunner):
    """Runs a mutant's tests in the fork of a process that has collected them: that takes longer than most tests."""

    session: pytest.Session
    items: dict[str, pytest.Item]

    def collect(self) -> None:
        with change_cwd("mutants"):
            options = ["-s", "-q", *self._pytest_add_cli_args, *self._pytest_add_cli_args_test_selection]
            settings = get_config_of(options)
            self.session = pytest.Session.from_config(settings)
            settings._do_configure()
            settings.get_terminal_writer()._file = Path(os.devnull).open("w")  # noqa: SIM115 - for all forks
            settings.hook.pytest_sessionstart(session=self.session)
            settings.hook.pytest_collection(session=self.session)
            self.items = {one_backslash(item.nodeid): item for item in self.session.items}

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        if mutant_name is None:
            return super().run_tests(mutant_name=mutant_name, tests=tests)
        try:
            near = mutant_name.partition("__mutmut_")[0] + "__mutmut_"
            names = affordable(test for part in parts(near, tests) for test in part)
            chosen = [self.items[one_backslash(test)] for test in names]
            with change_cwd("mutants"):
                for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:  # noqa: BLE001 - mutmut would take it for a kill
            os._exit(35)
        return 35 if self.session.testsfailed else 0  # the witness ends the process of a mutant that is killed


def affordable(tests: Iterable[str]) -> list[str]:
    """The first of them, for as many seconds as they took when they were measured."""
    ordered, most = list(tests), float(os.environ["MUTATION_SECONDS"])
    spent = accumulate(state().duration_by_test[test] for test in ordered)
    return [test for test, so_far in zip(ordered, spent, strict=True) if so_far <= most]


def one_backslash(nodeid: str) -> str:
    """pytest doubles the backslashes of a test's name with every collection in one process."""
    return re.sub(r"\\+", r"\\", nodeid)


def parts(near: str, tests: Iterable[str]) -> Iterator[list[str]]:
    """In portions: killers of mutants whose names begin with `near`, then the others by the order of `--tests`."""
    lines = map(json.loads, Path(os.environ["MUTATION_WITNESS"]).read_text().splitlines())
    killers = Counter(line["test"] for line in lines if line["mutant"].startswith(near))
    selected = config().pytest_add_cli_args_test_selection
    ordered = sorted(tests, key=lambda test: [test.startswith(one) for one in [*selected, ""]].index(True))
    proven = sorted((test for test, _ in killers.most_common(8) if test in ordered), key=ordered.index)
    rest = [test for test in ordered if test not in proven]
    yield from filter(None, (proven, rest[:8], rest[8:60], rest[60:]))


def started(self: ForkRunner) -> None:
    self.test_runner.collect()
    startup(self)


isolation.PytestRunner = Collected
startup = ForkRunner.startup
ForkRunner.startup = started

if __name__ == "__main__":
    cli()
