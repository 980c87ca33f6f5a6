"""Whether docs/checklist.md answers every rule: `WECHATPAY_SKILLS=<folder> python -m tests.checklist.rules`.

The folder is a copy of github.com/wechatpay-apiv3/wechatpay-skills, which is no part of this project. Its rules are the
rows and list items of four pages, and the questions of the iron rules. A row of ours answers those of its section that
contain the words with which it begins; `全部` answers the whole section.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.pages import Page, Row

ALL = "全部"
MODULES = "问题雷达"  # the section whose rows are sections of ours, one for each module
QUESTIONS = "铁律"
FOLDER = "wechatpay-basic-payment/references/3-商户与服务商通用/接入指南"
# What is explanation and no rule: who judges and how, the terms, the pictures.
EXPLAINED = {"核心概念", "检查方法"}


class Rule(NamedTuple):
    """One rule of WeChat Pay's: its page, its section (in the first table: its module) and its words."""

    page: str
    section: str
    words: str


class Answer(NamedTuple):
    """One row of ours. `proofs` are the tests it names."""

    page: str
    section: str
    key: str
    answer: str
    proofs: list[str]

    def answers(self, rule: Rule) -> bool:
        same = (self.page, self.section) == (rule.page, rule.section)
        return same and (self.key == ALL or self.key in rule.words)


def answers(page: Page) -> list[Answer]:
    """The rows of the checklist."""
    found, theirs = [], ""
    for section in page.sections:
        if section.level == 2:
            links = re.findall(r"\[(\S+\.md)\]", "".join(section.prose))
            theirs = links[0] if links else ""
        inner = re.search(r"\((.*)\)$", section.title)
        for table in section.tables:
            found += [_answer(theirs, inner[1] if inner else "", row) for row in table[1:]]
    return found


def _answer(page: str, section: str, row: Row) -> Answer:
    rule, answer, shown = row
    return Answer(page, section, rule.partition(": ")[0], answer, re.findall(r"\]\(([^)]+)\)", shown))


def unproved(page: Page) -> Iterator[str]:
    """Rows without a test that are neither the merchant's nor out of place."""
    for answer in answers(page):
        if not answer.proofs and not answer.answer.startswith(("*Yours*", "*Does not apply*")):
            yield f"{answer.section}: {answer.key}"


def rules(folder: Path, names: set[str]) -> Iterator[Rule]:
    """Every rule of these pages."""
    for name in sorted(names):
        section = ""
        text = (folder / FOLDER / name).read_text(encoding="utf-8")
        for line in re.sub(r"^\|.*\n\|[\s:|-]+\n", "", text, flags=re.MULTILINE).splitlines():  # without tables' heads
            if heading := re.match(r"#+ (.*\S)", line):
                section = heading[1]
            elif section not in EXPLAINED:
                yield from (Rule(name, *found) for found in _rules_in(section, line))


def _rules_in(section: str, line: str) -> Iterator[tuple[str, str]]:
    if section == QUESTIONS:
        _, found, questions = line.partition("检查直觉：")
        yield from ((section, question) for question in re.findall(r"[^？]+？", questions if found else ""))
    elif line.startswith("|"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield (cells[0].strip("*"), cells[1]) if section == MODULES else (section, line)
    elif item := re.match(r"(?:-|\d+\.) (.*)", line):
        yield section, item[1]
    elif section in SENTENCES and SENTENCES[section] in line:
        yield section, line


# Sections whose rule is a sentence, and its words.
SENTENCES = {"接口请求签名（所有 API 调用通用）": "签名串共", "重试机制": "15s / 15s"}


def differences(page: Page, folder: Path) -> Iterator[str]:
    """Rules without an answer, and answers to no rule."""
    ours = answers(page)
    theirs = list(rules(folder, {answer.page for answer in ours}))
    for rule in theirs:
        if not any(answer.answers(rule) for answer in ours):
            yield f"no answer to {rule.page}, {rule.section}: {rule.words}"
    for answer in ours:
        if not any(answer.answers(rule) for rule in theirs):
            yield f"no such rule in {answer.page}, {answer.section}: {answer.key}"


def main() -> int:
    folder = os.environ.get("WECHATPAY_SKILLS")
    if not folder:
        print("WECHATPAY_SKILLS names no copy of wechatpay-apiv3/wechatpay-skills", file=sys.stderr)
        return 2
    if not Path(folder, FOLDER).is_dir():
        print(f"WECHATPAY_SKILLS: {folder} is no copy of it, {FOLDER} is missing: clone it there", file=sys.stderr)
        return 2
    page = Page.read("docs/checklist.md")
    found = [*differences(page, Path(folder)), *(f"no proof: {row}" for row in unproved(page))]
    print("\n".join(found) or f"{len(answers(page))} rows answer every rule")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
