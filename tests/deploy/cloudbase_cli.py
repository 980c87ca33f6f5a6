"""@cloudbase/cli 2.12.10 as it was found when it was run against a stand-in for the cloud's API: a model for tests.

How it reads `.env`, fills cloudbaserc.json and chooses the folder, and which commands and options it has. Nothing of
this was tried against the real platform.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMANDS = json.loads(Path(__file__).with_name("tcb_commands.json").read_text())


def dotenv(text: str) -> dict[str, str]:
    """Line by line: a value never goes on, `#` and `export` mean nothing, double quotes turn \\n into a line break."""
    values = {}
    for line in re.split(r"\n|\r", text.removeprefix("\ufeff")):
        if match := re.fullmatch(r"\s*([\w.-]+)\s*=\s*(.*?)\s*", line):
            name, value = match.groups()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            if quoted:
                value = value[1:-1].replace("\\n", "\n") if value[0] == '"' else value[1:-1]
            values[name] = value
    return values


def rendered(config: str, env: Mapping[str, str]) -> Any:
    """The file with its templates filled: plain substitution in the JSON text, which is then read again.

    Raises ValueError as the CLI ends: a line break, a quotation mark or a lone backslash in a value breaks the text.
    """
    compact = json.dumps(json.loads(config), ensure_ascii=False)
    filled = re.sub(r"\{\{env\.(\w+)\}\}", lambda match: env.get(match[1], ""), compact)
    return _with_objects(json.loads(filled))


def _with_objects(value: Any) -> Any:
    """A text that reads as an object, a list or null becomes one."""
    if isinstance(value, dict):
        return {name: _with_objects(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_objects(each) for each in value]
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return read if isinstance(read, dict | list | None) else value


def code_folder(config: Mapping[str, Any], name: str, command: str) -> str:
    """Where `fn deploy` and `fn code update` without --dir take the code from: the second does not look at `dir`."""
    if command == "fn deploy":
        (function,) = [each for each in config["functions"] if each["name"] == name]
        return str(Path(function["dir"]))
    return str(Path(config.get("functionRoot", "functions"), name))


def refusal(words: list[str]) -> str | None:
    """Why the CLI would not take this command line, or None."""
    called = (name for name in COMMANDS["commands"] if words[: len(name.split())] == name.split())
    name = max(called, key=len, default="")
    if not name:
        return f"no such command: {' '.join(words)}"
    known = COMMANDS["commands"][name]
    options = _options(COMMANDS["global"]) | _options(known["options"])
    given, rest = 0, iter(words[len(name.split()) :])
    for word in rest:
        if not word.startswith("-"):
            given += 1
        elif word not in options:
            return f"{name} has no option {word}"
        elif options[word] and next(rest, None) is None:
            return f"{name} {word} needs a value"
    needed = [argument for argument in known["arguments"] if argument.startswith("<")]
    if not len(needed) <= given <= len(known["arguments"]):
        return f"{name} takes {known['arguments']}"
    return None


def _options(lines: list[str]) -> dict[str, bool]:
    """Each spelling of each option, and whether a value follows."""
    return {word: "<" in line for line in lines for word in line.split() if word.startswith("-")}
