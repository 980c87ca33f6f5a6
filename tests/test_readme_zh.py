"""The Chinese README keeps in step with the English one: its skeleton, its code and every name and number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from config.settings import Settings
from routes.actions import ACTIONS
from tests.pages import Page

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"

Change = Callable[[str], str]


class Pair(NamedTuple):
    english: Page
    chinese: Page


def _pages() -> Pair:
    return Pair(*(Page.read(name) for name in (ENGLISH, CHINESE)))


def _names(text: str) -> Counter[str]:
    """Its inline code."""
    return Counter(re.findall(r"`([^`]+)`", text))


def _numbers(text: str) -> Counter[str]:
    """Its bare numbers: status codes, lengths, seconds."""
    return Counter(re.findall(r"\b\d+\b", re.sub(r"`[^`]+`", " ", text), re.ASCII))


def _paragraphs(text: str) -> int:
    return len([part for part in re.split(r"\n\s*\n|^(?=- |\d+\. )", text, flags=re.MULTILINE) if part.strip()])

PICTURES = {ENGLISH: "docs/images/sandbox-en.png", CHINESE: "docs/images/sandbox-zh.png"}


def _links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def _lead(link: str, page: Page) -> str:
    """Where a link leads, said alike for both pages: a heading by its place, the other page and a picture as such."""
    if link == PICTURES[page.name]:
        return "the picture in this page's language"
    if link in (ENGLISH, CHINESE) and link != page.name:
        return "the other language"
    if link.startswith("#"):
        return f"heading {page.anchors.index(link[1:])}" if link[1:] in page.anchors else f"nowhere: {link}"
    return link


# What has to hold. Each yields what is out of step, in words that tell where.


def headings(pages: Pair) -> Iterator[str]:
    english, chinese = ([section.level for section in page.sections] for page in pages)
    if english != chinese:
        yield f"heading levels {english} against {chinese}"


def code_blocks(pages: Pair) -> Iterator[str]:
    for english, chinese in zip(*(page.sections for page in pages), strict=False):
        if english.code != chinese.code:
            yield f"code under {english.title} differs from that under {chinese.title}"


def tables(pages: Pair) -> Iterator[str]:
    for english, chinese in zip(*(page.sections for page in pages), strict=False):
        sizes = [[[len(row) for row in table] for table in section.tables] for section in (english, chinese)]
        if sizes[0] != sizes[1]:
            yield f"cells of the tables' rows under {english.title}: {sizes[0]} against {sizes[1]}"


def rows(pages: Pair) -> Iterator[str]:
    """Row by row the same names and numbers, and first cells of code are the same code in the same order."""
    for english, chinese in zip(*(page.rows for page in pages), strict=False):
        first = [re.findall(r"`([^`]+)`", row[0]) for row in (english, chinese)]
        if first[0] != first[1]:
            yield f"first cell {english[0]} against {chinese[0]}"
        for told in (_names, _numbers):
            ours, theirs = told(" ".join(english)), told(" ".join(chinese))
            if ours != theirs:
                yield f"row {english[0]}: only English {ours - theirs}, only Chinese {theirs - ours}"


def prose(pages: Pair) -> Iterator[str]:
    """Section by section as many paragraphs and list items, and the same names and numbers in them."""
    for english, chinese in zip(*(page.sections for page in pages), strict=False):
        counts = [_paragraphs("".join(section.prose)) for section in (english, chinese)]
        if counts[0] != counts[1]:
            yield f"{english.title}: {counts[0]} paragraphs and list items against {counts[1]}"
        for told in (_names, _numbers):
            ours, theirs = told("".join(english.prose)), told("".join(chinese.prose))
            if ours != theirs:
                yield f"{english.title}: only English {ours - theirs}, only Chinese {theirs - ours}"


def links(pages: Pair) -> Iterator[str]:
    """Section by section they lead to the same places, one of them to the other language."""
    for sections in zip(*(page.sections for page in pages), strict=False):
        leads = [
            sorted(_lead(link, page) for link in _links(section.words))
            for page, section in zip(pages, sections, strict=True)
        ]
        if leads[0] != leads[1]:
            yield f"links under {sections[0].title}: {leads[0]} against {leads[1]}"
    for page in pages:
        if "the other language" not in [_lead(link, page) for link in _links(page.sections[-1].words)]:
            yield f"{page.name} does not end with a link to the other language"


CHECKS = (headings, code_blocks, tables, rows, prose, links)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_two_pages_are_in_step(check):
    assert list(check(_pages())) == []


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.name)
def test_every_variable_and_every_action_stands_in_a_table_of_either_page(page):
    told = {word for row in page.rows for name in _names(row[0]) for word in re.findall(r"\w+", name)}
    variables = set(re.findall(r"(\w+)=(?:set|unset)", repr(Settings.from_env({}))))
    assert len(variables) > 20
    assert variables | set(ACTIONS) <= told


# Each change is planted in one page alone, the English and then the Chinese one; the named check has to see it.


def _swap(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new, 1)


def _sub(pattern: str, new: str) -> Change:
    return lambda text: re.sub(pattern, new, text, count=1, flags=re.MULTILINE | re.DOTALL)


def _rows_exchanged(text: str) -> str:
    return re.sub(r"^(\| `orderService`.*?\n)(.*?\n)", r"\2\1", text, count=1, flags=re.MULTILINE)


def _first_link_as_second(text: str) -> str:
    first, second, *_ = dict.fromkeys(re.findall(r"\]\(#[^)]+\)", text))
    return text.replace(first, second, 1)


def _sections_exchanged(text: str) -> str:
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    parts[3], parts[4] = parts[4], parts[3]
    return "".join(parts)


PLANTED: dict[str, tuple[Callable[[Pair], Iterator[str]], Change]] = {
    "a heading more": (headings, lambda text: text + "\n## FAQ\n"),
    "a heading less": (headings, _sub(r"^## [^\n]+\n", "")),
    "another level": (headings, _swap("\n## ", "\n### ")),
    "sections in another order": (rows, _sections_exchanged),
    "a byte of code": (code_blocks, _swap('"total": 20}}', '"total": 21}}')),
    "a space in code": (code_blocks, _swap("make run   ", "make run  ")),
    "a comment in code": (code_blocks, _swap("everything that is claimed", "all that is claimed")),
    "a language of code": (code_blocks, _swap("```js", "```javascript")),
    "a code block less": (code_blocks, _sub(r"^```js.*?^```\n", "")),
    "a code block more": (code_blocks, lambda text: text + "\n```sh\nmake run\n```\n"),
    "a row less": (tables, _sub(r"^\| `logLevel`[^\n]*\n", "")),
    "a row more": (tables, _sub(r"^(\| `logLevel`[^\n]*\n)", r"\1\1")),
    "a prose row less": (tables, _sub(r"^\| [^\n|]*\| [^\n|]*`operatorIds=\*`[^\n]*\n", "")),
    "a cell more": (tables, _sub(r"^(\| `logLevel`[^\n]*)\n", r"\1 x |\n")),
    "a table more": (tables, lambda text: text + "\n| a | b |\n|---|---|\n| c | d |\n"),
    "a table in two": (tables, _swap("| `logLevel`", "\n| `logLevel`")),
    "rows in another order": (rows, _rows_exchanged),
    "a variable renamed": (rows, _swap("| `operatorKey` |", "| `operatorSecret` |")),
    "an action renamed": (rows, _swap("| `wxpay_refund` |", "| `wxpay_refunds` |")),
    "an action without its ticks": (rows, _swap("| `wxpay_refund` |", "| wxpay_refund |")),
    "an order of names": (rows, _sub(r"`(wxPayPublicKey)`(, |、)`(wxPayPublicKeyId)`", r"`\3`\2`\1`")),
    "a default": (rows, _sub(r"(\| `wxPayTimeout` \| )`10`", r"\1`20`")),
    "a name in another column": (rows, _swap("`callerHeaders=trusted`", "`callerHeaders=claimed`")),
    "a number in a table": (rows, _sub(r"(`apiV3Key`[^\n]*)32", r"\g<1>64")),
    "a status in a table": (rows, _sub(r"(`authorize`[^\n]*)409", r"\g<1>410")),
    "a name in the text": (prose, _swap("`make package`", "`make pack`")),
    "a number in the text": (prose, _swap("256 MB", "512 MB")),
    "a paragraph less": (prose, _sub(r"^(# [^\n]*\n\n).*?\n\n", r"\1")),
    "a list item more": (prose, _sub(r"^(- [^\n]*\n)", r"- x\n\1")),
    "a link to another heading": (links, _first_link_as_second),
    "a link less": (links, _sub(r"\[(docs/architecture\.md)\]\([^)]*\)", r"\1")),
    "a link more": (links, _swap("MIT", "[MIT](LICENSE)")),
    "no link to the other language": (links, _sub(r"\[(README\S*\.md)\]\([^)]*\)", r"\1")),
}


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
@pytest.mark.parametrize(("check", "change"), PLANTED.values(), ids=PLANTED)
def test_a_change_of_one_page_alone_is_seen(name, check, change):
    pages = _pages()
    changed = Pair(*(replace(page, text=change(page.text)) if page.name == name else page for page in pages))
    assert changed != pages, "the change found nothing to change"
    assert list(check(pages)) == []
    assert list(check(changed)) != []
