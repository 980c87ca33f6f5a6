"""Every text of the function that says what is wrong or what happened, found in its source.

Found are the literals in raised exceptions, log calls from INFO up, problems of settings, incidents, differences of
bills and Messages. What is filled in shows as `…`. `python tests/messages/inventory.py` prints them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("app.py", "config", "routes", "controllers", "services", "utils")
GAP = "…"
# Calls in whose arguments such a text stands, beside raise; debug lines are for developers.
LOGGING = re.compile(r"log\.(info|warning|error|exception|log)")
CALLS = re.compile(r"(.*\.)?(Message|Incident|Difference|PemProblem|refused|matching|seconds|with_problem|NotRecorded)")
SKIPPED = "controllers/languages.py"  # their Chinese


@dataclass(frozen=True)
class Found:
    """A text and where it stands; `by` is what it is handed to, such as `raise BadRequest` or `log.warning`."""

    text: str
    file: str
    line: int
    by: str


def found() -> list[Found]:
    """All of them, in the order of files and lines."""
    return [one for module in modules() for one in module.texts()]


def modules() -> Iterator[Module]:
    for room in ROOMS:
        place = ROOT / room
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            if file.relative_to(ROOT).as_posix() != SKIPPED:
                yield Module(file)


def shown(template: str) -> str:
    """A template as the documents write it: `{name}`, `%s` and whatever stands in an f-string's braces are gaps."""
    return re.sub(f"{GAP}(?: ?{GAP})+", GAP, re.sub(r"\{\w+(?::[^}]*)?\}|%[sd]", GAP, template)).strip(" ;,")


class Module:
    """One source file."""

    def __init__(self, file: Path) -> None:
        self.file = file.relative_to(ROOT).as_posix()
        self.tree = ast.parse(file.read_text())
        self._assigned = _assignments(self.tree)

    def texts(self) -> Iterator[Found]:
        for node in ast.walk(self.tree):
            by = _handed_to(node)
            if by:
                for text in dict.fromkeys(self._literals(node)):
                    if " " in shown(text):
                        yield Found(text, self.file, node.lineno, by)  # type: ignore[attr-defined]

    def templates(self) -> Iterator[Found]:
        """What Messages are made of."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Message":
                for text in self._values(node.args[0]):
                    yield Found(text, self.file, node.lineno, "Message")

    def _literals(self, node: ast.AST) -> Iterator[str]:
        for part in ast.iter_child_nodes(node):
            known = list(self._values(part)) if isinstance(part, ast.expr) else []
            if known:
                yield from known
            else:
                yield from self._literals(part)

    def _values(self, node: ast.expr) -> Iterator[str]:
        """What a literal says, either of two, or the last that a name before it was given; else nothing."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join("".join(self._values(part)) or GAP for part in node.values)  # type: ignore[arg-type]
        elif isinstance(node, ast.IfExp):
            yield from self._values(node.body)
            yield from self._values(node.orelse)
        elif isinstance(node, ast.Name):
            before = [line for name, line in self._assigned if name == node.id and line <= node.lineno]
            if before:
                yield from self._values(self._assigned[node.id, max(before)])


def _assignments(tree: ast.AST) -> dict[tuple[str, int], ast.expr]:
    given = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            given[node.targets[0].id, node.lineno] = node.value
    return given


def _handed_to(node: ast.AST) -> str:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return f"raise {ast.unparse(node.exc.func)}"
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return name if LOGGING.fullmatch(name) or CALLS.fullmatch(name) or name == "super().__init__" else ""
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_TO_WECHAT_PAY":
        return "refused"
    if isinstance(node, (ast.Assign, ast.AugAssign)):
        target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        return target if "problems[" in target or target in ("reason", "message", "reasons") else ""
    return ""


if __name__ == "__main__":
    for one in found():
        print(f"{one.file}:{one.line}\t{one.by}\t{shown(one.text)}")
