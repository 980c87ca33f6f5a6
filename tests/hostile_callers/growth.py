"""Whether a regular expression can be made slow: by texts that its own syntax tree yields.

Growth is compared, not time: texts become longer by a quarter, and as soon as one takes long enough to be measured,
one twice to four times as long must take about twice to four times as long.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as sre
    from re import _parser as parser
else:
    import sre_constants as sre
    import sre_parse as parser

# Quadratic time is then a hundred times what is measurable; longer ones measure the memory that backtracking takes.
LONGEST = 20_000
MEASURABLE = 0.004  # seconds; below it the clock decides
STEEP = 1.7  # of what is linear; doubled, a quadratic one takes twice of that
SUFFIXES = ("", "\0", "!\n")

Tree = Any  # re's own


def slow_text(pattern: re.Pattern[str], method: str) -> str:
    """The beginning of a text on which `pattern.method` takes more than linear time, or nothing."""
    for build in sorted(set(_texts(parser.parse(pattern.pattern, pattern.flags)))):
        if _grows(pattern, method, build):
            return repr(build)
    return ""


def _grows(pattern: re.Pattern[str], method: str, build: tuple[str, str, str]) -> bool:
    prefix, pump, suffix = build

    def seconds(size: int) -> float:
        text = prefix + pump * (size // len(pump)) + suffix
        started = time.thread_time()
        _run(pattern, method, text)
        return time.thread_time() - started

    def is_steep(short: int, long: int) -> bool:
        return seconds(long) > STEEP * long / short * min(seconds(short) for _ in range(3))

    size = 16
    while seconds(size) < MEASURABLE:
        size += size // 4 if size < 300 else size
        if size > LONGEST:
            return False
    longer = size
    while longer < 4 * size:
        longer += longer // 4
        if (longer >= 2 * size or seconds(longer) > 8 * MEASURABLE) and is_steep(size, longer):
            return is_steep(size, longer)  # once more: something else may have had the machine
    return False


def _run(pattern: re.Pattern[str], method: str, text: str) -> None:
    if method == "sub":
        pattern.sub("", text)
    elif method == "finditer":
        list(pattern.finditer(text))
    else:
        getattr(pattern, method)(text)


def _texts(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """Prefix, what is repeated, and suffix: for each repetition in the pattern, and for its beginnings."""
    for before, pump in _pumps(list(tree), ""):
        for suffix in SUFFIXES:
            yield before, pump, suffix
            yield "", before + pump, suffix
        yield "", before + pump * 9, "\0"
        if before:
            yield "", before, "\0"
            yield "", before[-1], "\0"


def _pumps(nodes: list[Any], before: str) -> Iterator[tuple[str, str]]:
    """Every repetition at any depth: a text that leads there, and one that it takes."""
    for operator, argument in nodes:
        if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT, *_POSSESSIVE):
            _, most, body = argument
            if most > 8:
                for sample in _samples(list(body)):
                    yield before, sample
            yield from _pumps(list(body), before)
        elif operator is sre.BRANCH:
            for branch in argument[1]:
                yield from _pumps(list(branch), before)
        elif operator is sre.SUBPATTERN:
            yield from _pumps(list(argument[3]), before)
        before += next(_samples([(operator, argument)]))


_POSSESSIVE = tuple(filter(None, [getattr(sre, "POSSESSIVE_REPEAT", None)]))
_CATEGORIES = {
    sre.CATEGORY_DIGIT: "1",
    sre.CATEGORY_NOT_DIGIT: "a",
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_NOT_SPACE: "a",
    sre.CATEGORY_WORD: "a",
    sre.CATEGORY_NOT_WORD: "-",
}


def _samples(nodes: list[Any]) -> Iterator[str]:
    """Texts that these nodes take, one for each choice that the first of them has."""
    if not nodes:
        yield ""
        return
    rest = next(_samples(nodes[1:]))
    for first in _sample(*nodes[0]):
        if first + rest:
            yield first + rest
        elif len(nodes) == 1:
            yield ""


def _sample(operator: Any, argument: Any) -> Iterator[str]:
    if operator is sre.LITERAL:
        yield chr(argument)
    elif operator is sre.NOT_LITERAL:
        yield chr(argument + 1)
    elif operator is sre.ANY:
        yield from ("a", " ", "-")
    elif operator is sre.IN:
        yield from islice(_set(argument), 2)
    elif operator is sre.BRANCH:
        for branch in argument[1]:
            yield next(_samples(list(branch)))
    elif operator is sre.SUBPATTERN:
        yield from _samples(list(argument[3]))
    elif operator in (sre.MAX_REPEAT, sre.MIN_REPEAT, *_POSSESSIVE):
        least, _, body = argument
        yield next(_samples(list(body))) * max(least, 1)
    else:  # an assertion
        yield ""


def _set(items: list[Any]) -> Iterator[str]:
    is_negated = items[0][0] is sre.NEGATE
    if is_negated:
        excluded = set(_set(items[1:]))
        yield from [character for character in "a -.1/<\\" if character not in excluded][:3]
        return
    for operator, argument in items:
        if operator is sre.LITERAL:
            yield chr(argument)
        elif operator is sre.RANGE:
            yield chr(argument[0])
        elif operator is sre.CATEGORY:
            yield _CATEGORIES[argument]
