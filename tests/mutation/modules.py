"""The function's own modules in this process, and how a mutant's code takes their place."""

from __future__ import annotations

import ast
import contextlib
import gc
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = ("app", "config", "controllers", "routes", "services", "utils")


class Modules:
    """The function's own modules, and how to put changed code in."""

    def __init__(self) -> None:
        self._moved: dict[int, tuple[Any, Any]] = {}
        self._modules = {
            str(Path(module.__file__).relative_to(ROOT)): module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in OWN and getattr(module, "__file__", None) and ".migrations." not in name
        }
        sources = {path: (ROOT / path).read_text() for path in self._modules}
        self._codes = {path: compile(source, str(ROOT / path), "exec") for path, source in sources.items()}
        names = {module.__name__: path for path, module in self._modules.items()}
        self._imports = {
            path: {names[name] for name in _imported(source) if name in names} for path, source in sources.items()
        }
        self.order: list[str] = []
        for path in self._imports:
            self._visit(path)
        # Looked for once: in a fork, looking at all objects would copy the whole memory.
        self._functions: dict[str, list[FunctionType]] = defaultdict(list)
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType):
                self._functions[thing.__code__.co_filename].append(thing)

    def _visit(self, path: str, on_the_way: tuple[str, ...] = ()) -> None:
        if path in self.order or path in on_the_way:
            return
        for other in sorted(self._imports[path]):
            self._visit(other, (*on_the_way, path))
        self.order.append(path)

    def changed_functions(self, path: str, code: CodeType) -> Mapping[tuple[str, int], CodeType] | None:
        return _changed_functions(self._codes[path], code)

    def exchange(self, path: str, pairs: Mapping[tuple[str, int], CodeType]) -> None:
        done = set()
        for function in self._functions[str(ROOT / path)]:
            key = (function.__code__.co_qualname, function.__code__.co_firstlineno)
            if key in pairs:
                function.__code__ = pairs[key]
                done.add(key)
        assert done == set(pairs), f"not found: {set(pairs) - done}"

    def execute_with(self, path: str, code: CodeType) -> None:
        changed = {path}
        for other in self.order:
            if self._imports[other] & changed:
                changed.add(other)
        self._codes[path] = code
        self.execute([other for other in self.order if other in changed])

    def execute(self, paths: Iterable[str]) -> None:
        """Execute modules anew, and let the tests have what their names stand for now."""
        moved: dict[int, tuple[Any, Any]] = {}
        for path in paths:
            module = self._modules[path]
            before = dict(vars(module))
            exec(self._codes[path], vars(module))  # noqa: S102 - the module's own code
            for name, old in before.items():
                new = vars(module).get(name)
                if not name.startswith("__") and new is not old and not isinstance(old, int | str | float):
                    moved[id(old)] = (old, new)
        for module in list(sys.modules.values()):
            if "/tests/" in str(getattr(module, "__file__", None)):
                for name, value in list(vars(module).items()):
                    if not name.startswith("__"):
                        vars(module)[name] = _renewed(value, moved)
        self._moved |= moved

    def renew(self, item: pytest.Item) -> None:
        """Let a test's parameters be of now."""
        if self._moved and hasattr(item, "callspec"):
            item.callspec.params.update(_renewed(dict(item.callspec.params), self._moved))


def _renewed(value: Any, moved: Mapping[int, tuple[Any, Any]]) -> Any:
    """`value` with what stands for each old object now."""
    if id(value) in moved:
        return moved[id(value)][1]
    if id(type(value)) in moved:
        with contextlib.suppress(TypeError):
            object.__setattr__(value, "__class__", moved[id(type(value))][1])
    elif type(value) is dict:
        return {_renewed(key, moved): _renewed(item, moved) for key, item in value.items()}
    elif type(value) in (list, tuple, set, frozenset):
        return type(value)(_renewed(item, moved) for item in value)
    return value


def _changed_functions(before: CodeType, after: CodeType) -> dict[tuple[str, int], CodeType] | None:
    """The new code by the old one's name and line; None where more than functions changed."""
    olds, news = list(_functions(before)), list(_functions(after))
    if [old.co_qualname for old in olds] != [new.co_qualname for new in news] or not _same_frame(before, after):
        return None
    both = list(zip(olds, news, strict=True))
    if any(len(old.co_freevars) != len(new.co_freevars) for old, new in both):
        return None
    return {(old.co_qualname, old.co_firstlineno): new for old, new in both if not _same(old, new)}


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Those made when the module is executed; what is inside them comes with them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 2 or constant.co_name == "<lambda>":  # CO_NEWLOCALS: no class body
                yield constant
            else:
                yield from _functions(constant)


def _same_frame(one: CodeType, other: CodeType) -> bool:
    def plain(code: CodeType) -> list[Any]:
        return [repr(constant) for constant in code.co_consts if not isinstance(constant, CodeType)]

    def bodies(code: CodeType) -> list[CodeType]:
        return [item for item in code.co_consts if isinstance(item, CodeType) and not item.co_flags & 2]

    same = one.co_code == other.co_code and one.co_names == other.co_names and plain(one) == plain(other)
    return same and all(map(_same_frame, bodies(one), bodies(other)))


def _same(one: CodeType, other: CodeType) -> bool:
    plain = [[repr(item) for item in code.co_consts if not isinstance(item, CodeType)] for code in (one, other)]
    inner = [[item for item in code.co_consts if isinstance(item, CodeType)] for code in (one, other)]
    return (
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and plain[0] == plain[1]
        and len(inner[0]) == len(inner[1])
        and all(map(_same, *inner))
    )


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
