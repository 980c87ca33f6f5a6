"""What a guide's text consists of: headings, numbered steps, questions, table rows and points of lists.

The guides have lost their markup: a table row may lack its first bar, and in one guide all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.guides.seeds import Guide

# Code and drawings: how their first line begins, and the first line after them. Each is one item.
BLOCKS = {
    "mini-program-pay": (
        ("┌──", "Responsibility breakdown:"),
        ("pay-common/", "3.2 "),
        ("App({", "💡"),
        ("// ============ app.js", "Implementation notes:"),
        ("/**", "Troubleshooting:"),
    ),
    "native-qr-pay": (
        ("┌──", "Key characteristics"),
        ("<!-- pc-cashier.html -->", "Implementation notes:"),
        ("// Pass useServiceAccount", "If service_app_id"),
    ),
    "jsapi-web-pay": (
        ("┌──", "Key differences"),
        ("1. Web redirect:", "scope=snsapi_base"),
        ("<!-- pay.html -->", "Implementation notes:"),
    ),
    "usage-flow": (
        ("wx.cloud.init({ env", "Mini Program base library"),
        ("// pay-common/services/orderService.js", "Principles to follow"),
        ("# Download function source", "Method 2"),
    ),
    "faq": (),
}
_STEP = re.compile(r"(?:Step \d|\d\.\d |\d\. |Q\d+:|Appendix)")
_POINT = re.compile(r"\s*(?:[-•✅]|\d\.) ")
_TITLE = re.compile(r"[A-Z][\w'’./()·&+-]*(?: (?!-)[\w'’./()·&+-]+){0,7}(?<!\.)")
# In one guide the bars are gone, and one cell runs into the next.
_RUN_TOGETHER = re.compile(
    r"(?:Nature|Credentials|Callbacks|Upgrades|Customization|Typical|Mini ProgramUse|Web/H5, "
    r"|BasicsAre|Usage and LimitsHave|Calling IntegrationsAre|Common ErrorsHit)"
)
_HEADS = ("CategoryFor readers whoQuestions", "AspectIntegrationTemplate", "CallerAuthenticationManual", "Skip to main")
_RULE = re.compile(r"[|\-: ]+")


class Item(NamedTuple):
    kind: str  # heading, row, point, block
    line: int  # from 1


def items(guide: Guide) -> Iterator[Item]:
    """In the order of the text."""
    inside = _blocks(guide)
    for number, line in enumerate(guide.lines, start=1):
        if number in inside:
            if inside[number]:
                yield Item("block", number)
        elif _RULE.fullmatch(line) or line.startswith(_HEADS) or _is_head(guide, number):
            continue
        elif _STEP.match(line):
            yield Item("heading", number)
        elif line.startswith("| ") or line.rstrip().endswith(" |") or _is_run_together(guide, line):
            yield Item("row", number)
        elif _POINT.match(line):
            yield Item("point", number)
        elif _TITLE.fullmatch(line.strip()):
            yield Item("heading", number)


def _is_head(guide: Guide, number: int) -> bool:
    """Whether the next line is the rule under a table's head."""
    return number < len(guide.lines) and guide.lines[number].startswith("|---")


def _is_run_together(guide: Guide, line: str) -> bool:
    return guide.name == "faq" and bool(_RUN_TOGETHER.match(line))


def _blocks(guide: Guide) -> dict[int, bool]:
    """The lines of code and drawings; True for the first of each."""
    found: dict[int, bool] = {}
    at = 0
    for first, following in BLOCKS[guide.name]:
        begin = next(index for index in range(at, len(guide.lines)) if guide.lines[index].startswith(first))
        end = next(index for index in range(begin, len(guide.lines)) if guide.lines[index].startswith(following))
        found |= {index + 1: index == begin for index in range(begin, end)}
        at = end
    return found
