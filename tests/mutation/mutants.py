"""The mutants of a module: mutmut's operators on all of its code, tables and decorated functions too.

mutmut itself leaves out what its trampolines cannot hold: constants, tables, class bodies, decorated functions. Much of
what this function believes stands there, so only its operators are used, and `swap.py` puts the mutants in. Further
mutants: the text of an f-string, a condition negated, a call or a `raise` left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

# Texts for people: tests/messages holds each against the catalogue and the pages.
_TEXTS = ("Message", "debug", "info", "warning", "error", "exception")
_UNTOUCHED = ("len", "isinstance", "TypeVar", "cast", "getLogger", "dataclass")


@dataclass(frozen=True)
class Mutant:
    """`first` to `last` are the lines of the statement that was changed; `name` stays when lines above it move."""

    name: str
    first: int
    last: int
    change: str
    source: str


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    wrapper = MetadataWrapper(cst.parse_module(source))
    finder = _Finder()
    wrapper.visit(finder)
    starts = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
    seen: Counter[str] = Counter()
    for (first, last), place, new in finder.found:
        begin = starts[place.start.line - 1] + place.start.column
        end = starts[place.end.line - 1] + place.end.column
        written = wrapper.module.code_for_node(new)
        if written == source[begin:end]:
            continue
        line_begin, line_end = starts[place.start.line - 1], starts[min(place.end.line, len(starts) - 1)]
        change = f"-{source[line_begin:line_end]}+{source[line_begin:begin]}{written}{source[end:line_end]}"
        seen[change] += 1
        name = hashlib.sha256(f"{path}\n{change}\n{seen[change]}".encode()).hexdigest()[:10]
        yield Mutant(name, first, last, change, source[:begin] + written + source[end:])


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider, WhitespaceInclusivePositionProvider)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[tuple[int, int], CodeRange, cst.CSTNode]] = []
        self._within: list[tuple[cst.CSTNode, tuple[int, int]]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.ImportFrom | cst.Import) or _is_untouched(node):
            return False
        if isinstance(node, cst.BaseSmallStatement | cst.BaseCompoundStatement | cst.Decorator):
            self._within.append((node, self._lines(node)))
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for new in _worth_it(node, list(operator(node))):
                    self._keep(node, new)
        if isinstance(node, cst.FormattedStringText):
            self._keep(node, node.with_changes(value=f"XX{node.value}"))
        elif isinstance(node, cst.If):
            test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
            self._keep(node.test, cst.UnaryOperation(cst.Not(), test))
        elif isinstance(node, cst.Raise) or (isinstance(node, cst.Expr) and isinstance(node.value, cst.Call)):
            self._keep(node, cst.Pass())
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._within and self._within[-1][0] is original_node:
            self._within.pop()

    def _keep(self, old: cst.CSTNode, new: cst.CSTNode) -> None:
        self.found.append((self._within[-1][1], self.get_metadata(WhitespaceInclusivePositionProvider, old), new))

    def _lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """Of a compound statement, its head."""
        place = self.get_metadata(PositionProvider, node)
        body = getattr(node, "body", None)
        if isinstance(node, cst.BaseCompoundStatement) and isinstance(body, cst.BaseSuite):
            return place.start.line, max(place.start.line, self.get_metadata(PositionProvider, body).start.line - 1)
        return place.start.line, place.end.line


def _worth_it(node: cst.CSTNode, changed: list[cst.CSTNode]) -> list[cst.CSTNode]:
    """One mutant of a string instead of three; no call that lacks a positional argument, which never works."""
    if isinstance(node, cst.SimpleString):
        return changed[:1]
    if isinstance(node, cst.Call):
        positional = sum(1 for arg in node.args if arg.keyword is None)
        kept = (new for new in changed if isinstance(new, cst.Call))
        return [new for new in kept if sum(1 for arg in new.args if arg.keyword is None) == positional]
    return changed


def _is_untouched(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Expr):
        return isinstance(node.value, cst.SimpleString)  # a docstring
    if isinstance(node, cst.Assign):
        return getattr(node.targets[0].target, "value", "") == "__all__"
    if not isinstance(node, cst.Call):
        return False
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    return isinstance(name, cst.Name) and name.value in (*_TEXTS, *_UNTOUCHED)
