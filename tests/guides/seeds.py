"""The guides that users follow, read where they are: they are no part of the repository.

GUIDES names their folder, by default ../shared/seeds beside the repository. A guide is plain text: `code` is what
stands between two of its lines, exactly as printed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.not_run import PREFIX
from tests.support import ROOT

VARIABLE = "GUIDES"
FOLDER = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "seeds")
NAMES = ("mini-program-pay", "native-qr-pay", "jsapi-web-pay", "usage-flow", "faq")
MISSING = f"{VARIABLE} names no folder with the guides"


@dataclass(frozen=True)
class Guide:
    """`lines` as they stand, without their ends; numbered from 1 in what follows."""

    name: str
    lines: tuple[str, ...]

    @classmethod
    @cache
    def read(cls, name: str) -> Guide:
        path = FOLDER / f"{name}.txt"
        if not path.is_file():
            pytest.skip(f"{PREFIX}{MISSING}")
        return cls(name, tuple(path.read_text(encoding="utf-8").splitlines()))

    def code(self, first: str, last: str) -> str:
        """From the line that begins with `first` to the next one that is `last`, both included."""
        begin = next(at for at, line in enumerate(self.lines) if line.startswith(first))
        end = next(at for at in range(begin, len(self.lines)) if self.lines[at] == last)
        return "\n".join(self.lines[begin : end + 1]) + "\n"

    def before(self, first: str, following: str) -> str:
        """From the line that begins with `first` up to the one before that which begins with `following`."""
        begin = next(at for at, line in enumerate(self.lines) if line.startswith(first))
        end = next(at for at in range(begin, len(self.lines)) if self.lines[at].startswith(following))
        return "\n".join(self.lines[begin:end]) + "\n"


def replaced(code: str, **placeholders: str) -> str:
    """`const NAME = '...'` set to another text: what the guides tell their reader to replace, and nothing else."""
    for name, value in placeholders.items():
        code, times = re.subn(rf"^const {name} = '[^']*'", f"const {name} = '{value}'", code, flags=re.MULTILINE)
        assert times == 1, name
    return code
