"""Reading the documentation: pages of Markdown, their headings, tables, links, names and code blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import ROOT

PATTERNS = ("*.md", "bench/*.md", "docs/*.md", "examples/**/README.md")

Row = tuple[str, ...]


def page_names(root: Path = ROOT) -> list[str]:
    """Every page that users read, by its path in the repository."""
    found = (path.relative_to(root) for pattern in PATTERNS for path in root.glob(pattern))
    return sorted(str(path) for path in found if "node_modules" not in path.parts)


@dataclass(frozen=True)
class Fence:
    """A code block. `notes` are the comments right above it, such as `checked: tests/test_x.py`."""

    language: str
    body: str  # without its fences and the indentation of a list item
    line: int
    raw: str
    notes: tuple[str, ...] = ()

    def noted(self, name: str) -> str:
        """What the note of this name says, or an empty string."""
        return next((note.partition(":")[2].strip() for note in self.notes if note.startswith(f"{name}:")), "")


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it until the next one."""

    level: int
    title: str
    fences: list[Fence] = field(default_factory=list)
    tables: list[list[Row]] = field(default_factory=list)  # header and rows, without the rule between them
    prose: list[str] = field(default_factory=list)  # lines

    @property
    def code(self) -> list[str]:
        """The code blocks with their fences."""
        return [fence.raw for fence in self.fences]

    @property
    def words(self) -> str:
        """Everything but code blocks."""
        return "\n".join([*self.prose, *(cell for table in self.tables for row in table for cell in row)])


@dataclass(frozen=True)
class Page:
    """`name` is its path in the repository."""

    name: str
    text: str

    @classmethod
    def read(cls, name: str, root: Path = ROOT) -> Page:
        return cls(name, (root / name).read_bytes().decode("utf-8"))

    @property
    def sections(self) -> list[Section]:
        found: list[Section] = []
        lines = enumerate(self.text.splitlines(keepends=True), start=1)
        in_table, notes = False, []
        for number, line in lines:
            row, was_in_table = line.startswith("|"), in_table
            in_table, above, notes = row, notes, []
            if not found and not line.startswith("#"):
                found.append(Section(0, ""))
            if line.lstrip().startswith("```"):
                found[-1].fences.append(_fence(line, number, lines, tuple(above)))
            elif comment := re.fullmatch(r"\s*<!-- (.*\S) -->\s*", line):
                notes = [*above, comment[1]]
            elif heading := re.match(r"(#{1,6}) (.*\S)", line):
                found.append(Section(len(heading[1]), heading[2]))
            elif row and re.fullmatch(r"[|:\- ]+", line.strip()):
                continue
            elif row:
                if not was_in_table:
                    found[-1].tables.append([])
                found[-1].tables[-1].append(_cells(line))
            else:
                found[-1].prose.append(line)
        return found

    @property
    def fences(self) -> list[Fence]:
        return [fence for section in self.sections for fence in section.fences]

    @property
    def words(self) -> str:
        """Headings, prose and cells."""
        return "\n".join(f"{section.title}\n{section.words}" for section in self.sections)

    @property
    def rows(self) -> list[Row]:
        return [row for section in self.sections for table in section.tables for row in table]

    @property
    def spans(self) -> list[str]:
        """Its inline code, in one piece where a line ends inside."""
        return [re.sub(r"\s*\n\s*", " ", span) for span in re.findall(r"`([^`]+)`", self.words)]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Text and target of each link and picture."""
        words = re.sub(r"`[^`\n]+`", lambda code: code[0].replace("](", "] ("), self.words)
        return [(text, target) for text, target in re.findall(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", words)]

    @property
    def anchors(self) -> list[str]:
        """GitHub's: lower case, punctuation of any script dropped, a hyphen for each space, a number for repeats."""
        found: list[str] = []
        seen: Counter[str] = Counter()
        for section in self.sections:
            if not section.level:
                continue
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", section.title)
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found.append(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
        return found


def _fence(opening: str, number: int, lines: Iterator[tuple[int, str]], notes: tuple[str, ...]) -> Fence:
    indent = len(opening) - len(opening.lstrip())
    raw, body = opening, ""
    for _, line in lines:
        raw += line
        if line.lstrip().startswith("```"):
            break
        body += "\n" if not line.strip() else line if line[:indent].strip() else line[indent:]
    return Fence(opening.strip().strip("`"), body, number, raw, notes)


def _cells(line: str) -> Row:
    """The cells of a row; a bar inside code, written `\\|`, does not end one."""
    return tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|")))
