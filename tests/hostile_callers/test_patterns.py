"""No regular expression of the function takes more than linear time, whatever stands in the text.

They are found in the syntax trees, so a new one is tried without being named here.
"""

from __future__ import annotations

import ast
import gc
import importlib
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import likeness
from tests.hostile_callers.growth import slow_text

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("app.py", "config", "controllers", "routes", "services", "utils")
METHODS = ("fullmatch", "match", "search", "sub", "subn", "split", "findall", "finditer")

Use = tuple[str, str, int, str]  # where, pattern, flags, method


def modules() -> Iterator[tuple[types.ModuleType, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")) if (ROOT / room).is_dir() else [ROOT / room]:
            if "migrations" in path.parts:
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield importlib.import_module(name), ast.parse(path.read_text(encoding="utf-8"))


def uses() -> Iterator[Use]:
    """Every regular expression and how it is applied."""
    for module, tree in modules():
        names = {
            name: pattern for name, pattern in vars(module).items() if isinstance(pattern, re.Pattern)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, method = node.func.value, node.func.attr
            if not isinstance(owner, ast.Name):
                continue
            where = f"{module.__name__}:{node.lineno}"
            if owner.id in names and method in METHODS:
                pattern = names[owner.id]
                yield where, pattern.pattern, pattern.flags, method
            elif owner.id == "re" and method in METHODS:
                yield from inline(module, node, where, method)
    # Rules of the settings compile what they are handed.
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType) and function.__qualname__ == "matching.<locals>.rule":
            compiled = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))["compiled"]
            yield "config.rules:matching", compiled.cell_contents.pattern, compiled.cell_contents.flags, "fullmatch"


def inline(module: types.ModuleType, node: ast.Call, where: str, method: str) -> Iterator[Use]:
    def value(argument: ast.expr) -> object:
        return eval(compile(ast.Expression(argument), where, "eval"), vars(module))  # noqa: S307 - our own source

    if module is likeness and isinstance(node.args[0], ast.Name):
        for pattern, *_ in likeness._SHAPES:
            yield where, pattern, re.DOTALL, method
        return
    flags = [argument for argument in node.args[2:] if isinstance(argument, ast.Attribute)]
    yield where, str(value(node.args[0])), int(value(flags[0])) if flags else 0, method


def compiled_in_the_sources() -> list[str]:
    return [
        f"{module.__name__}:{node.lineno}"
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"
    ]


USES = sorted(set(uses()))


@pytest.mark.parametrize(("where", "pattern", "flags", "method"), USES)
def test_no_text_makes_it_slow(where: str, pattern: str, flags: int, method: str) -> None:
    assert slow_text(re.compile(pattern, flags), method) == ""


def test_none_was_overlooked() -> None:
    """As many are tried as are compiled, and each inline one."""
    tried = {pattern for _, pattern, _, _ in USES}
    for module, _ in modules():
        for name, pattern in vars(module).items():
            if isinstance(pattern, re.Pattern):
                assert pattern.pattern in tried, f"{module.__name__}.{name} is applied in a way that is not looked for"
    assert len(compiled_in_the_sources()) <= len(tried)
    assert len(tried) > 30


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        ("(a+)+b", "search"),
        (r"\s+$", "search"),
        ("<[^>]*>", "sub"),
        ("a*a*b", "fullmatch"),
        (r"BEGIN.*END", "search"),
        (r"[\w.]+@", "search"),
        ("(.*),(.*),(.*);", "fullmatch"),
    ],
)
def test_a_slow_one_would_be_found(pattern: str, method: str) -> None:
    assert slow_text(re.compile(pattern, re.DOTALL), method)


@pytest.mark.parametrize(("pattern", "method"), [("[a-z]+", "search"), ("(a|b)*c", "fullmatch"), (r"\d+,\d+", "match")])
def test_a_quick_one_is_let_pass(pattern: str, method: str) -> None:
    assert slow_text(re.compile(pattern), method) == ""
