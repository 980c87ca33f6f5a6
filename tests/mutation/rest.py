"""Mutants of what mutmut leaves alone: constants, tables, class bodies and decorated functions of the mutated modules.

Run as a script in the copy, by `python -m tests.mutation`, after mutmut. A changed statement is executed in its module
in a fork of a process that has collected the tests, and what it binds replaces the former everywhere. Results stand in
rest.json, by module and change: {"name", "state"}.
"""

from __future__ import annotations

import difflib
import gc
import json
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import libcst as cst
import pytest
import tool
from mutmut.mutation.mutators import mutation_operators
from mutmut.stats import load_stats
from mutmut.utils.file_utils import setup_source_paths

RESULTS = Path("rest.json")
MUTMUTS = ("staticmethod", "classmethod")
FOR_TYPE_CHECKERS = ("TypeVar", "cast")
ENDS = {0: "survived", 1: "killed", 98: "killed", -signal.SIGALRM: "timed out"}
SECONDS = 300  # for one mutant


@dataclass(frozen=True)
class Mutant:
    """A statement of a module, or of one of its classes, as it is changed."""

    name: str
    path: str
    owner: str
    code: str
    change: str


class Changes(cst.CSTVisitor):
    """All changes outside the functions that mutmut mutates."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Import | cst.ImportFrom | cst.Decorator):
            return False
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in FOR_TYPE_CHECKERS:
            return False
        if isinstance(node, cst.Assign) and getattr(node.targets[0].target, "value", "") == "__all__":
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.found += [(node, new) for new in operator(node)]
        return True


def statements(module: cst.Module) -> Iterator[tuple[str, cst.CSTNode]]:
    """(class or nothing, statement) of all that mutmut does not mutate."""
    for statement in module.body:
        if isinstance(statement, cst.ClassDef) and isinstance(statement.body, cst.IndentedBlock):
            yield from ((statement.name.value, one) for one in statement.body.body if not _is_mutmuts(one))
        elif not _is_mutmuts(statement):
            yield "", statement


def _is_mutmuts(node: cst.CSTNode) -> bool:
    if not isinstance(node, cst.FunctionDef):
        return False
    names = [getattr(decorator.decorator, "value", "") for decorator in node.decorators]
    return not names or (len(names) == 1 and names[0] in MUTMUTS)


def mutants(path: str) -> Iterator[Mutant]:
    module = cst.parse_module(Path(path).read_text())
    for owner, statement in statements(module):
        changes = Changes()
        statement.visit(changes)
        before = textwrap.dedent(module.code_for_node(statement))
        for number, (old, new) in enumerate(changes.found):
            code = textwrap.dedent(module.code_for_node(statement.deep_replace(old, new)))  # type: ignore[arg-type]
            difference = difflib.unified_diff(before.splitlines(), code.splitlines(), lineterm="", n=0)
            change = "\n".join(line for line in difference if not line.startswith(("---", "+++", "@@")))
            if change:
                yield Mutant(f"{path} {number} {change}", path, owner, code, change)


def apply(mutant: Mutant, items: list[pytest.Item]) -> None:
    module = vars(sys.modules[mutant.path.removesuffix(".py").replace("/", ".")])
    before, bound = dict(module), {}
    code = compile(mutant.code, mutant.path, "exec", dont_inherit=True)
    if mutant.owner:
        exec(code, module, bound)  # noqa: S102 - the module's own code
        for name, value in bound.items():
            setattr(module[mutant.owner], name, value)
        return
    exec(code, module)  # noqa: S102
    own = [other for other in list(sys.modules.values()) if "/mutants/" in (getattr(other, "__file__", "") or "")]
    holders = [vars(other) for other in own] + [item.callspec.params for item in items if hasattr(item, "callspec")]
    functions = [one for one in gc.get_objects() if isinstance(one, FunctionType) and one.__defaults__]
    changed = [(name, before[name], new) for name, new in module.items() if new is not before.get(name, new)]
    for name, old, new in changed:
        for names in holders:
            _replace(names, name, old, new)
        for function in functions:
            if any(value is old for value in function.__defaults__):
                function.__defaults__ = tuple(new if value is old else value for value in function.__defaults__)


def _replace(names: dict[str, Any], name: str, old: Any, new: Any) -> None:
    """What was imported by its name, or under another, is the new one now."""
    for known, value in list(names.items()):
        is_value = isinstance(old, str | int | float | tuple)
        if (known == name and value == old) if is_value else value is old:
            names[known] = new


def test(runner: tool.Collected, mutant: Mutant, tests: list[str]) -> None:
    """In a fork: ends it, with what came of it."""
    code = 98
    try:
        os.environ["MUTANT_UNDER_TEST"] = f"{mutant.path}__mutmut_ {mutant.name}"
        signal.alarm(SECONDS)
        apply(mutant, runner.session.items)
        code = 99
        code = runner.run_tests(mutant_name=f"{mutant.path}__mutmut_ {mutant.name}", tests=tests)
    finally:
        os._exit(code)


def tests_of(path: str, stats: dict[str, Any]) -> list[str]:
    """All tests of the files that reach the module, the quickest first: nobody counts who reads a constant."""
    prefix = path.removesuffix(".py").replace("/", ".") + "."
    functions = stats["tests_by_mangled_function_name"].items()
    files = {test.partition("::")[0] for function, tests in functions if function.startswith(prefix) for test in tests}
    durations = stats["duration_by_test"]
    return sorted((test for test in durations if test.partition("::")[0] in files), key=durations.__getitem__)


def main(workers: int) -> None:
    setup_source_paths()
    os.environ["MUTANT_UNDER_TEST"] = ""
    load_stats()
    stats = json.loads(Path("mutants/mutmut-stats.json").read_text())
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results: dict[str, dict[str, dict[str, str]]] = {}
    runner = tool.Collected()
    runner.collect()
    running: dict[int, Mutant] = {}

    def wait() -> None:
        pid, status = os.wait()
        mutant, code = running.pop(pid), os.waitstatus_to_exitcode(status)
        results[mutant.path][mutant.name] = {"name": mutant.name, "state": ENDS.get(code, f"ended with {code}")}
        RESULTS.write_text(json.dumps({**known, **results}, ensure_ascii=False, indent=1))

    for meta in sorted(Path("mutants").rglob("*.py.meta")):
        path = str(meta.relative_to("mutants").with_suffix(""))
        results[path], before = {}, known.get(path, {})
        for mutant in mutants(path):
            if mutant.name in before:
                results[path][mutant.name] = before[mutant.name]
                continue
            while len(running) >= workers:
                wait()
            if (pid := os.fork()) == 0:
                test(runner, mutant, tests_of(path, stats))
            running[pid] = mutant
    while running:
        wait()
    RESULTS.write_text(json.dumps(results, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]))
