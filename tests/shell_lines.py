"""What is wrong with a shell line of the documentation: commands, options, files or bodies that are not there.

Nothing is run, but for `--help` of our own modules.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

import click
from flask import Flask

from app import create_app
from config.settings import Settings
from controllers.pay_controller import Action
from routes.actions import ACTIONS
from tests.deploy import cloudbase_cli
from tests.support import ROOT
from utils import validator

Checker = Callable[[list[str]], Iterator[str]]

# Variables that a command reads beside those of the function.
PROCESS_VARIABLES = {
    "HTTPS_PROXY", "NODE_EXTRA_CA_CERTS", "NO_PROXY", "NOTHING_LEFT_OUT", "ORDER_DATABASES", "REQUESTS_CA_BUNDLE",
    "SANDBOX_HTTPS", "SSL_CERT_FILE", "TZ", "WECHATPAY_OPENAPI", "WECHATPAY_SKILLS",
}  # fmt: skip
# Programs of others, with the options that may stand in a page.
TOOLS: Mapping[str, set[str]] = {
    ".": set(),
    "./shop": set(),
    "cd": set(),
    "echo": set(),
    "git": {"--depth", "-b", "-m"},
    "node": {"--require", "--test"},
    "npm": {"--prefix"},
    "openssl": {
        *("-A", "-base64", "-d", "-hex", "-in", "-inkey", "-noout", "-nocerts", "-nodes", "-out", "-pubkey", "-pubin"),
        *("-serial", "-sha256", "-sign", "-signature", "-subject", "-text", "-verify"),
    },
    "printf": set(),
    "set": {"-a"},
    "sqlite3": set(),
}
CURL_FLAGS = {"-s", "-i", "-f", "-S", "-sS"}
CURL_VALUES = {"-X", "-H", "-d", "--data", "--proxy", "--cacert", "-o"}
LACKING = "lacking"
OPERATORS = re.compile(r"[();<>|&]+")


def problems_of(text: str, *, in_part: bool = False, claimed: bool = False) -> Iterator[str]:
    """All that is wrong with shell lines.

    A command that is only named, `in_part`, may lack its arguments; in a block that is `claimed`, programs of others
    are for the test that claims it.
    """
    for line in logical_lines(text):
        for words in commands(line):
            for problem in _problems(words, claimed=claimed):
                if not (in_part and problem.startswith(LACKING)):
                    yield f"{problem}: {line.strip()}"


def logical_lines(text: str) -> Iterator[str]:
    """Lines as a shell reads them: continued by a backslash or an open quotation."""
    whole = ""
    for line in text.splitlines():
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        try:
            shlex.split(whole, comments=True)
        except ValueError:
            whole += "\n"
            continue
        if whole.strip():
            yield whole
        whole = ""
    if whole.strip():
        yield whole


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, each as its words. What a `$(...)` prints and a `<placeholder>` are a word."""
    line = re.sub(r"\$\([^()]*\)", "2026-01-02", line)
    line = re.sub(r"<([A-Za-z][\w -]*)>", lambda name: name[1].replace(" ", "-"), line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[str] = []
    words = iter(lexer)
    for word in words:
        if not OPERATORS.fullmatch(word):
            found.append(word)
        elif set(word) <= {"<", ">"}:
            next(words, "")  # a file
        elif found:
            yield found
            found = []
    if found:
        yield found


def _problems(words: list[str], *, claimed: bool) -> Iterator[str]:
    if words[0] == "sudo":
        words = words[3 if words[1] == "-u" else 1 :]
    if words[:2] == ["sh", "-c"]:
        yield from problems_of(words[2], claimed=claimed)
        return
    if words[0] == "export":
        words = words[1:]
    while words and (assigned := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", words[0], re.DOTALL)):
        yield from assignment(assigned[1], assigned[2])
        words = words[1:]
    if not words:
        return
    arguments = list(itertools.takewhile(lambda word: word not in ("…", "..."), words[1:]))
    name = words[0].rpartition(".venv/bin/")[2]
    if name in PROGRAMS:
        yield from PROGRAMS[name](arguments)
    elif not claimed:
        yield from of_others(name, arguments)


def variables() -> set[str]:
    """Every variable of the function."""
    return set(re.findall(r"(\w+)=(?:set|unset)", repr(Settings.from_env({})))) | {"PORT", "ENV_ID"}


def assignment(name: str, value: str) -> Iterator[str]:
    """What is wrong with a variable that is set: its name, or for some its value."""
    if name not in variables() | PROCESS_VARIABLES:
        yield f"unknown variable {name}"
    if name in ("orderService", "priceList") and not value.startswith("services.shop_"):
        module, _, attribute = value.partition(":")
        if not _has(module, attribute):
            yield f"{name}: there is no {value}"


def _has(module: str, attribute: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ImportError:
        return False


# One for each program


def make(arguments: list[str]) -> Iterator[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        name, is_variable, _ = argument.partition("=")
        if is_variable and f"$({name})" not in text and f"$(if $({name})" not in text:
            yield f"make reads no {name}"
        elif not is_variable and not re.search(rf"^{re.escape(name)}:", text, re.MULTILINE):
            yield f"no make target {name}"


@functools.cache
def application() -> Flask:
    """The function as the flask command sees it, all its commands present."""
    return create_app(Settings.from_env({"FLASK_RUN_FROM_CLI": "true", "orderDatabaseUrl": "sqlite:///unused.sqlite3"}))


def flask(arguments: list[str]) -> Iterator[str]:
    if arguments[:2] != ["--app", "app"]:
        yield "flask needs --app app"
        return
    yield from click_problems(application().cli, arguments[2:])


def click_problems(command: click.Command, arguments: list[str]) -> Iterator[str]:
    """What click itself says of the arguments; nothing is run."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            context = command.make_context(command.name, arguments)
            if not isinstance(command, click.Group):
                return
            rest = [*context._protected_args, *context.args]
            if rest:
                _, inner, rest = command.resolve_command(context, rest)
                yield from click_problems(inner, rest)
    except click.exceptions.Exit:  # --help
        return
    except click.exceptions.NoArgsIsHelpError:
        return
    except click.MissingParameter as error:
        yield f"{LACKING} {error.param and error.param.name}, which flask takes"
    except click.BadParameter as error:
        if not isinstance(error.param and error.param.type, click.Path):  # a file that only its user has
            yield f"flask: {error.format_message()}"
    except click.UsageError as error:
        yield f"flask: {error.format_message()}"


def python(arguments: list[str]) -> Iterator[str]:
    if arguments[:1] == ["-m"]:
        yield from module(arguments[1], arguments[2:])
    elif arguments[:1] == ["-c"]:
        try:
            compile(arguments[1], "-c", "exec")
        except (SyntaxError, IndexError) as error:
            yield f"python -c: {error}"
    elif arguments and arguments[0] not in ("shop.py",) and not (ROOT / arguments[0]).is_file():
        yield f"no file {arguments[0]}"


def module(name: str, arguments: list[str]) -> Iterator[str]:
    if name == "pip":
        yield from pip(arguments)
        return
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        yield f"no module {name}"
        return
    if not (ROOT / name.replace(".", "/")).with_suffix(".py").exists() and not (ROOT / name).is_dir():
        return
    if name == "sandbox" and arguments[:1] == ["play"]:
        from sandbox.stories import STORIES  # noqa: PLC0415 - not where nothing is played

        yield from (f"no story {story}" for story in set(arguments[1:]) - set(STORIES) - {"all", "story"})
        return
    told = help_of(name) if arguments else ""
    for option in (argument.partition("=")[0] for argument in arguments if argument.startswith("-")):
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told):
            yield f"python -m {name} has no option {option}"


@functools.cache
def help_of(name: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", name, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return run.stdout


def pip(arguments: list[str]) -> Iterator[str]:
    if arguments[:1] != ["install"]:
        yield "pip does nothing but install here"
    for before, argument in itertools.pairwise(arguments):
        if before == "-r" and not (ROOT / argument).is_file():
            yield f"no file {argument}"


def gunicorn(arguments: list[str]) -> Iterator[str]:
    from gunicorn.config import Config  # noqa: PLC0415

    parser = Config().parser()
    parser.exit_on_error = False
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            options = parser.parse_args(arguments)
    except (argparse.ArgumentError, SystemExit):
        yield "gunicorn does not take these options"
        return
    name, _, served = "".join(options.args).partition(":")
    file = ROOT / (options.chdir or ".") / f"{name}.py"
    if not file.is_file():
        yield f"gunicorn: no file {file.relative_to(ROOT)}"
    elif not re.search(rf"^(?:def )?{re.escape(served.removesuffix('()'))}\b", file.read_text("utf-8"), re.MULTILINE):
        yield f"gunicorn: no {served} in {file.relative_to(ROOT)}"
    if options.config and not (ROOT / options.config).is_file():
        yield f"no file {options.config}"


def tcb(arguments: list[str]) -> Iterator[str]:
    refused = cloudbase_cli.refusal(arguments)
    if refused is None:
        return
    words = " ".join(arguments)
    begun = any(name.startswith(words) for name in cloudbase_cli.COMMANDS["commands"])
    yield f"{LACKING} what tcb {words} takes" if begun else f"tcb: {refused}"


def curl(arguments: list[str]) -> Iterator[str]:
    """Our own addresses are checked whole: action, body, and that the body is JSON."""
    body, urls, words = "", [], iter(arguments)
    for word in words:
        if word in CURL_VALUES:
            value = next(words, "")
            body = value if word in ("-d", "--data") else body
        elif word.startswith("-") and word not in CURL_FLAGS:
            yield f"curl: {word} is not among the options of these pages"
        elif not word.startswith("-"):
            urls.append(word)
    if len(urls) != 1:
        yield f"curl with {len(urls)} addresses"
        return
    parts = urlsplit(urls[0])
    prefix, found, action = parts.path.partition("/wx-pay/")
    if found and not prefix:
        yield from request_problems(action, body or "{}")
    elif body:
        yield from json_problems(body)


def json_problems(text: str) -> Iterator[str]:
    try:
        json.loads(text)
    except ValueError as error:
        yield f"not JSON ({error})"


def request_problems(action: str, text: str) -> Iterator[str]:
    """What the function itself would say of a request body."""
    row = ACTIONS.get(action)
    if row is None:
        yield f"unknown action {action}"
        return
    try:
        body = json.loads(text)
    except ValueError as error:
        yield f"not JSON ({error})"
        return
    if isinstance(row, Action):
        body = {name: value for name, value in body.items() if name not in ("_action", "_operatorKey")}
        if action in ("wxpay_order", "wxpay_transfer"):  # filled in from the caller
            filled = {"openid": "o" * 28}
            body = {"payer": filled} | body if action == "wxpay_order" else filled | body
        try:
            _, dropped = validator.load(row.schema, body, {})
        except validator.Invalid as error:
            yield f"{action}: {error}"
        else:
            yield from (f"{action}: {name} is no documented field" for name in dropped)


def of_others(name: str, arguments: list[str]) -> Iterator[str]:
    if name not in TOOLS:
        yield f"unknown command {name}"
        return
    for argument in arguments:
        option = argument.partition("=")[0]
        if re.fullmatch(r"--?[A-Za-z][\w-]*", option) and option not in TOOLS[name]:
            yield f"{name}: {option} is not among the options of these pages"


def docker(arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        if re.fullmatch(r"[A-Z_]+=requirements\S*", argument):
            yield from _build_argument(argument)


def _build_argument(argument: str) -> Iterator[str]:
    name, _, file = argument.partition("=")
    if not re.search(rf"^ARG {name}\b", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE):
        yield f"the Dockerfile has no ARG {name}"
    if not (ROOT / file).is_file():
        yield f"no file {file}"


PROGRAMS: dict[str, Checker] = {
    "curl": curl,
    "docker": docker,
    "flask": flask,
    "gunicorn": gunicorn,
    "make": make,
    "pip": pip,
    "python": python,
    "python3": python,
    "tcb": tcb,
}
