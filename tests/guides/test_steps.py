"""tests/guides/steps.py against the guides' text, the tests that it names, and the rows that it names."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.guides.items import items
from tests.guides.seeds import NAMES, Guide
from tests.guides.steps import STEPS, Step
from tests.guides.test_migrate import rows
from tests.support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def of(guide: str) -> list[Step]:
    return [step for step in STEPS if step.guide == guide]


def faults(guide: Guide, steps: list[Step]) -> list[str]:
    """What is wrong with the steps of a guide, by its text."""
    starts = [step.line for step in steps]
    wrong = [f"line {step.line} does not say {step.mark}" for step in steps if not _has(guide, step)]
    wrong += [f"line {later} comes too late" for first, later in pairwise(starts) if later < first]
    wrong += [f"line {item.line} ({item.kind}) has no step" for item in items(guide) if item.line not in starts]
    if starts[0] != 1:
        wrong.append("it begins before its first step")
    return wrong


def _has(guide: Guide, step: Step) -> bool:
    return 0 < step.line <= len(guide.lines) and step.mark in guide.lines[step.line - 1]


@pytest.mark.parametrize("name", NAMES)
def test_each_heading_step_row_point_and_question_has_its_step(name: str) -> None:
    assert faults(Guide.read(name), of(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_guide_or_a_list_that_changed_would_be_seen(name: str) -> None:
    guide, steps = Guide.read(name), of(name)
    shifted = Guide(name, ("A new first line", *guide.lines))
    assert faults(shifted, steps)
    assert any("has no step" in fault for fault in faults(guide, steps[:-1]))
    assert any(
        "does not say" in fault for fault in faults(guide, [replace(steps[0], mark="Nothing of it"), *steps[1:]])
    )
    assert any("too late" in fault for fault in faults(guide, [*steps[:2], steps[0], *steps[2:]]))


def test_enough_of_a_guide_is_found_by_looking_at_it() -> None:
    found = {name: len(list(items(Guide.read(name)))) for name in NAMES}
    assert found == {"mini-program-pay": 122, "native-qr-pay": 73, "jsapi-web-pay": 82, "usage-flow": 56, "faq": 43}


@cache
def names_of(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def exists(step: Step, named: str) -> bool:
    """`named` is a test of the guide's module, `path::name`, or a module as a whole."""
    path, _, name = named.rpartition("::") if "::" in named else ("", "", named)
    if named.endswith(".py"):
        path, name = named, ""
    file = ROOT / (path or f"tests/guides/test_{step.guide.replace('-', '_')}.py")
    return file.is_file() and (not name or name in names_of(file))


def test_each_step_is_shown_differs_or_says_why_not() -> None:
    for step in STEPS:
        assert step.says, step
        assert bool(step.apart) != bool(step.tests or step.differs), step


def test_the_tests_that_are_named_exist() -> None:
    assert [(step.line, named) for step in STEPS for named in step.tests if not exists(step, named)] == []
    assert not exists(STEPS[0], "test_that_is_not_there")


def known_differences() -> set[str]:
    table = re.findall(
        r"^\| ([^|]+) \|", README.split("## Differences from the original")[1].split("\n## ")[0], re.MULTILINE
    )
    return {row[0] for row in rows("Guide steps that differ")} | {cell.strip() for cell in table}


def test_the_differences_that_are_named_stand_in_the_docs() -> None:
    assert {step.differs for step in STEPS if step.differs} <= known_differences()


def test_each_difference_of_the_guides_is_met_by_a_step() -> None:
    assert {row[0] for row in rows("Guide steps that differ")} <= {step.differs for step in STEPS}


@pytest.mark.parametrize("name", NAMES)
def test_each_test_of_a_guide_shows_one_of_its_steps(name: str) -> None:
    path = ROOT / f"tests/guides/test_{name.replace('-', '_')}.py"
    shown = {named.rpartition("::")[2] for step in STEPS for named in step.tests}
    assert sorted(names_of(path) - shown) == []
