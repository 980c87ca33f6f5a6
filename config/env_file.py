"""What the CloudBase CLI would make of a `.env`, where that is not what the doctor has read.

The doctor's variables come from python-dotenv. The CLI (2.12.10, found by running it) takes each line by itself, knows
neither `export` nor a comment behind a value, and puts each value as it stands into the JSON text of cloudbaserc.json.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping

from config import pem
from config.advice import ERROR, WARNING, Row
from config.settings import FIELDS

ENV_ID = "ENV_ID"  # which environment cloudbaserc.json deploys to
_PEMS = ("privateKey", "wxPayPublicKey")
_WHY = "`tcb fn deploy` reads `.env` by rules of its own: the function would not get what is examined here."
_ONE_LINE = "Write its base64 alone, in one line, without quotes."
_COMMENTS = "without quotes, `export` or a comment behind it"
_NOT_SEEN = ("has `export` or quotes before its `=`", "the CloudBase CLI does not see it, and nothing would arrive", "")


def can_be_read() -> bool:
    """Whether python-dotenv is here, by which the flask command reads a `.env`."""
    try:
        import dotenv  # noqa: F401, PLC0415 - it is no part of the function
    except ImportError:
        return False
    return True


def examine(text: str, given: Mapping[str, str]) -> Iterator[Row]:
    """Every variable of this `.env` that the CLI would deploy as something else; `given` are the variables in use."""
    from dotenv import dotenv_values  # noqa: PLC0415 - as above

    read, lines = dotenv_values(stream=io.StringIO(text)), _lines(text)
    for name in (*FIELDS, ENV_ID):
        here, its_lines = read.get(name) or "", lines.get(name, [])
        if given.get(name, "") not in ("", here):
            continue  # the shell's, which goes before the file's, for the CLI too
        row = _misread(name, here, its_lines)
        if row:
            yield row
        elif len({_unquoted(line) for line in its_lines} - {""}) > 1:
            yield Row(
                WARNING,
                name,
                "stands in `.env` more than once, with different values",
                "The last one counts, here and for the CloudBase CLI.",
                "Leave one line of it.",
            )
        elif name == ENV_ID and not here.strip():
            yield Row(
                WARNING,
                name,
                "is not in `.env`",
                "cloudbaserc.json names the environment by it, and the CloudBase CLI would fill in nothing.",
                "Copy the environment's id from the CloudBase console → Environment Overview. Without the CLI it is not"
                " needed.",
            )


def _lines(text: str) -> dict[str, list[str]]:
    """By name what stands behind `NAME=`, quotes and all; the CLI takes the last."""
    lines: dict[str, list[str]] = {}
    for line in text.removeprefix("\ufeff").replace("\r", "\n").split("\n"):
        name, _, value = line.partition("=")
        lines.setdefault(name.strip(), []).append(value.strip())
    return lines


def _misread(name: str, here: str, lines: list[str]) -> Row | None:
    line = lines[-1] if lines else ""
    shape, outcome, fix = _shape(line, here) if lines else _NOT_SEEN
    try:
        arrives = _arriving(line)
        if arrives is not None and _read(name, arrives) == _read(name, here):
            return None
    except ValueError:
        outcome = "the CloudBase CLI would end with a JSON error"
    fix = _ONE_LINE if name in _PEMS else fix or f"Write {name}=value alone in one line, {_COMMENTS}."
    return Row(ERROR, name, f"{shape} in `.env`: {outcome}", _WHY, fix)


def _arriving(line: str) -> str | None:
    """The value that the function gets, or None for null, a list or an object. Raises ValueError as the CLI ends."""
    value = str(json.loads(f'"{_unquoted(line)}"'))
    try:
        return None if isinstance(json.loads(value), dict | list | None) else value
    except ValueError:
        return value
    except RecursionError:  # a thousand brackets and more, which newer Pythons read; what nobody closes is text
        return None if value.rstrip().endswith(("]", "}")) else value


def _unquoted(line: str) -> str:
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        return line
    return line[1:-1].replace("\\n", "\n") if line[0] == '"' else line[1:-1]


def _read(name: str, value: str) -> str:
    """As the function reads it: it mends the line breaks of a key."""
    return pem.bare(value) if name in _PEMS else value.strip()


def _shape(line: str, here: str) -> tuple[str, str, str]:
    """What is wrong with a line, what the function would get if the CLI did not end, and what to do; "": the usual."""
    if "\n" in here:
        closed = len(line) > 1 and line[0] == line[-1]
        return "has \\n in double quotes" if closed else "goes over several lines", "only the first would arrive", ""
    if "#" in line and "#" not in here:
        return "has a comment behind its value", "the comment would arrive as a part of it", ""
    if "${" in line:
        return "refers to another variable by ${…}", "just that would arrive", "Write the value itself."
    if '"' in line or "\\" in line:
        fix = 'Choose a value without " and \\; in an address they are %22 and %5C.'
        return 'has a " or \\', "it would not arrive as it stands", fix
    return "has a value that is no plain text to the CloudBase CLI", "it would not arrive as it stands", ""
