"""The rooms of the house and the ways between them, read from the syntax trees; each rule is shown to fail."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A room may use itself and those behind it; the longest name that fits a module is its room.
ORDER = ("app", "routes", "controllers", "services", "services.strategies", "services.wechatpay")
RUNTIME = (*ORDER, "config", "utils")
OUTSIDE = ("sandbox", "bench", "examples")
OURS = (*RUNTIME, *OUTSIDE, "tests")

Imported = tuple[int, str]  # line, dotted name
Rule = Callable[[str, ast.Module], Iterator[str]]

# try/except in controllers, by module and function.
CAUGHT_IN_CONTROLLERS = {
    ("controllers.pay_controller", "_is_public"): "ipaddress tells by an exception that a text is no address",
}
# What a merchant's own order service, which the function loads, has to derive from.
FOR_ORDER_SERVICES = "services.order_service"


def files() -> list[str]:
    """What the repository holds, and what is about to be added to it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the repository cannot be told")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    return sorted(name for name in set(listed.split("\0")) - {""} if (ROOT / name).is_file())


def modules(*rooms: str) -> list[tuple[str, ast.Module]]:
    """Dotted name and syntax tree of every module of these rooms."""
    found = []
    for room in rooms:
        path = ROOT / room.replace(".", "/")
        for file in [path.with_suffix(".py")] if path.with_suffix(".py").exists() else sorted(path.rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append((name, ast.parse(file.read_text(encoding="utf-8"), str(file))))
    return found


def room_of(name: str, rooms: tuple[str, ...] = OURS) -> str | None:
    """The room that a dotted name leads into, or None for a library."""
    fitting = [room for room in rooms if name == room or name.startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


def imports(module: str, tree: ast.Module) -> Iterator[Imported]:
    """Everything that is imported at any depth, relative and type-checking imports too, by its full name."""
    package = module.split(".") if (ROOT / module.replace(".", "/")).is_dir() else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{name.name}") for name in node.names)


def mentions(tree: ast.Module, *dotted: str) -> Iterator[Imported]:
    """Uses of `module.name`, however the module or the name was imported."""
    wanted = {tuple(name.split(".")) for name in dotted}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in wanted:
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for name in node.names:
                if (node.module, name.name) in wanted:
                    yield node.lineno, f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.asname and any(name.name == module for module, _ in wanted):
                    yield node.lineno, f"{name.name} as {name.asname}"


# The rules: each yields what breaks it.


def imports_run_one_way(module: str, tree: ast.Module) -> Iterator[str]:
    own = room_of(module, ORDER)
    if own is None:
        return
    for line, name in imports(module, tree):
        room = room_of(name, ORDER)
        if room and ORDER.index(room) < ORDER.index(own):
            yield f"{module}:{line} imports upward: {name}"


def config_is_for_app_alone(module: str, tree: ast.Module) -> Iterator[str]:
    if module == "app" or room_of(module) == "config":
        return
    for line, name in imports(module, tree):
        if room_of(name) == "config":
            yield f"{module}:{line} imports {name}"


def utils_and_config_stand_alone(module: str, tree: ast.Module) -> Iterator[str]:
    own = room_of(module)
    if own not in ("utils", "config"):
        return
    for line, name in imports(module, tree):
        if room_of(name) not in (None, own):
            yield f"{module}:{line} imports {name}"


def wechatpay_knows_the_protocol_alone(module: str, tree: ast.Module) -> Iterator[str]:
    if room_of(module) != "services.wechatpay":
        return
    for line, name in imports(module, tree):
        top = name.partition(".")[0]
        # What WeChat Pay sends is read as strictly as what callers send, and what is wrong with it is told likewise;
        # while it is waited for, others compute.
        if name in ("utils.json_body", "utils.processor", "utils.texts.Message", "utils.texts.said"):
            continue
        if top in ("flask", "werkzeug", "marshmallow", "jwt") or room_of(name) not in (None, "services.wechatpay"):
            yield f"{module}:{line} imports {name}"


def flask_stays_in_front(module: str, tree: ast.Module) -> Iterator[str]:
    if module == "app" or room_of(module) in ("routes", "controllers"):
        return
    for line, name in imports(module, tree):
        if name.partition(".")[0] in ("flask", "werkzeug"):
            yield f"{module}:{line} imports {name}"


def the_environment_is_read_by_config_alone(module: str, tree: ast.Module) -> Iterator[str]:
    if room_of(module) == "config" or module == "gunicorn.conf":
        return
    for line, name in mentions(tree, "os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"):
        yield f"{module}:{line} uses {name}"


def the_network_has_one_door(module: str, tree: ast.Module) -> Iterator[str]:
    if module == "services.wechatpay.transport":
        return
    if module == "services.wechatpay.wire":  # reads what came in by the door, with http.client's own reader
        return
    for line, name in imports(module, tree):
        if name.partition(".")[0] in ("requests", "urllib3", "httpx", "aiohttp") or name.startswith(
            ("http.client", "urllib.request")
        ):
            yield f"{module}:{line} imports {name}"


def sql_stays_with_the_orders(module: str, tree: ast.Module) -> Iterator[str]:
    """SQLAlchemy is an extra: what loads without it must not want it, nor what stands on it."""
    if room_of(module, ("services.orders",)):
        return
    for line, name in imports(module, tree):
        is_sql = name.partition(".")[0] in ("sqlalchemy", "alembic", "psycopg", "pymysql")
        if is_sql or (room_of(module, ("services",)) and room_of(name, ("services.orders",))):
            yield f"{module}:{line} imports {name}"


def outside_and_function_are_strangers(module: str, tree: ast.Module) -> Iterator[str]:
    """The sandbox and its like talk HTTP; a worked order service may derive from the function's one."""
    outside = room_of(module) in OUTSIDE
    for line, name in imports(module, tree):
        if outside and room_of(name, RUNTIME):
            if room_of(module) != "examples" or room_of(name, (FOR_ORDER_SERVICES,)) is None:
                yield f"{module}:{line} imports {name}"
        elif not outside and room_of(name) in (*OUTSIDE, "tests"):
            yield f"{module}:{line} imports {name}"


def controllers_catch_nothing(module: str, tree: ast.Module) -> Iterator[str]:
    if room_of(module) != "controllers":
        return
    for function, line in _catches(tree, ""):
        if (module, function) not in CAUGHT_IN_CONTROLLERS:
            yield f"{module}:{line} catches exceptions in {function or 'the module'}"


def _catches(tree: ast.AST, function: str) -> Iterator[tuple[str, int]]:
    """Innermost function and line of every try and every contextlib.suppress."""
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        is_try = isinstance(node, (ast.Try, getattr(ast, "TryStar", ast.Try)))
        if is_try or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")):
            yield inside, node.lineno
        yield from _catches(node, inside)


def nothing_is_imported_by_a_computed_name(module: str, tree: ast.Module) -> Iterator[str]:
    """Such an import would pass every other rule by; `app` loads the merchant's order service so."""
    if module == "app":
        return
    for line, name in mentions(tree, "importlib.import_module", "importlib.util"):
        yield f"{module}:{line} uses {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval"):
            yield f"{module}:{node.lineno} uses {node.id}"


RULES: dict[Rule, tuple[str, ...]] = {
    imports_run_one_way: RUNTIME,
    config_is_for_app_alone: (*RUNTIME, *OUTSIDE),
    utils_and_config_stand_alone: RUNTIME,
    wechatpay_knows_the_protocol_alone: RUNTIME,
    flask_stays_in_front: RUNTIME,
    # sandbox, bench, examples and tests are programs of their own, with their own settings and HTTP.
    the_environment_is_read_by_config_alone: RUNTIME,
    the_network_has_one_door: RUNTIME,
    sql_stays_with_the_orders: RUNTIME,
    outside_and_function_are_strangers: (*RUNTIME, *OUTSIDE),
    controllers_catch_nothing: RUNTIME,
    nothing_is_imported_by_a_computed_name: RUNTIME,
}


def house_rooms(rooms: tuple[str, ...]) -> list[tuple[str, ast.Module]]:
    """The modules of these rooms, each once; the server's settings go with `app`."""
    found = dict(modules(*(room for room in rooms if "." not in room)))
    if "app" in rooms:
        found["gunicorn.conf"] = ast.parse((ROOT / "gunicorn.conf.py").read_text(encoding="utf-8"))
    return list(found.items())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule):
    broken = [found for module, tree in house_rooms(RULES[rule]) for found in rule(module, tree)]
    assert broken == []


def test_the_walk_sees_the_whole_house():
    seen = {name for name, _ in house_rooms(RUNTIME)}
    tracked = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in files()
        if name.endswith(".py") and ("/" not in name or room_of(name.removesuffix(".py").replace("/", "."), RUNTIME))
    }
    assert tracked
    assert seen == tracked


PLANTED = {
    "a controller imports routes": (imports_run_one_way, "controllers.x", "from routes.actions import ACTIONS"),
    "a service imports a controller": (imports_run_one_way, "services.x", "import controllers.errors"),
    "a strategy imports a service": (imports_run_one_way, "services.strategies.x", "from services import pay_service"),
    "wechatpay imports a strategy": (
        imports_run_one_way,
        "services.wechatpay.x",
        "from services.strategies import base",
    ),
    "by a relative import": (imports_run_one_way, "services.wechatpay.x", "from ..strategies.base import Kind"),
    "by a relative import of a module": (imports_run_one_way, "services.strategies.x", "from .. import pay_service"),
    "routes import app": (imports_run_one_way, "routes.x", "def f():\n    import app"),
    "for annotations": (
        imports_run_one_way,
        "services.x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from routes.actions import Action",
    ),
    "a service imports config": (config_is_for_app_alone, "services.x", "from config.settings import Settings"),
    "a controller imports config": (config_is_for_app_alone, "controllers.x", "import config"),
    "utils import a service": (utils_and_config_stand_alone, "utils.x", "from services.order_service import Refused"),
    "utils import config": (utils_and_config_stand_alone, "utils.x", "from config import pem"),
    "config imports utils": (utils_and_config_stand_alone, "config.x", "import utils.logs as logs"),
    "wechatpay imports flask": (wechatpay_knows_the_protocol_alone, "services.wechatpay.x", "from flask import g"),
    "wechatpay imports utils": (wechatpay_knows_the_protocol_alone, "services.wechatpay.x", "from utils import logs"),
    "wechatpay imports orders": (
        wechatpay_knows_the_protocol_alone,
        "services.wechatpay.x",
        "import services.order_service",
    ),
    "a service imports flask": (flask_stays_in_front, "services.x", "import flask.json"),
    "a service reads the environment": (
        the_environment_is_read_by_config_alone,
        "services.x",
        "import os\nos.environ['a']",
    ),
    "by getenv": (the_environment_is_read_by_config_alone, "app", "import os\nos.getenv('a')"),
    "by name": (the_environment_is_read_by_config_alone, "utils.x", "from os import environ"),
    "by another name": (the_environment_is_read_by_config_alone, "utils.x", "import os as system"),
    "a second importer of urllib3": (the_network_has_one_door, "services.wechatpay.client", "import urllib3"),
    "by requests": (the_network_has_one_door, "services.wechatpay.client", "import requests"),
    "by urllib": (the_network_has_one_door, "utils.x", "from urllib.request import urlopen"),
    "by urllib as a package": (the_network_has_one_door, "utils.x", "from urllib import request"),
    "by http.client": (the_network_has_one_door, "utils.x", "import http.client"),
    "a controller speaks SQL": (sql_stays_with_the_orders, "controllers.x", "from sqlalchemy import select"),
    "routes load a driver": (sql_stays_with_the_orders, "routes.x", "def f():\n    import psycopg"),
    "a service stands on the orders": (sql_stays_with_the_orders, "services.x", "from services.orders import states"),
    "the sandbox imports the function": (
        outside_and_function_are_strangers,
        "sandbox.x",
        "from services.wechatpay import signer",
    ),
    "an example imports the function": (outside_and_function_are_strangers, "examples.x", "from app import app"),
    "the function imports the sandbox": (outside_and_function_are_strangers, "config.x", "import sandbox"),
    "the function imports its tests": (outside_and_function_are_strangers, "app", "from tests import support"),
    "a controller catches": (
        controllers_catch_nothing,
        "controllers.x",
        "def f():\n    try:\n        pass\n    except ValueError:\n        pass",
    ),
    "in a method": (
        controllers_catch_nothing,
        "controllers.pay_controller",
        "class A:\n    def f(self):\n        for a in self:\n"
        "            try:\n                a()\n            finally:\n                a",
    ),
    "by suppress": (
        controllers_catch_nothing,
        "controllers.x",
        "def f():\n    with contextlib.suppress(KeyError):\n        pass",
    ),
    "an import by a computed name": (
        nothing_is_imported_by_a_computed_name,
        "services.x",
        "import importlib\nimportlib.import_module('app')",
    ),
    "by a builtin": (nothing_is_imported_by_a_computed_name, "utils.x", "__import__('app')"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_breach_is_found(name: str):
    rule, module, source = PLANTED[name]
    assert len(list(rule(module, ast.parse(source)))) == 1


def test_every_rule_has_a_planted_breach():
    assert {rule for rule, _, _ in PLANTED.values()} == set(RULES)


ALLOWED = {
    "app wires everything": (
        "app",
        "from config.settings import Settings\nfrom services.wechatpay.client import Client\nfrom routes import web",
    ),
    "a controller uses services and utils": (
        "controllers.x",
        "from services.pay_service import PayService\nfrom utils import logs\nimport flask",
    ),
    "transport uses urllib3": (
        "services.wechatpay.transport",
        "import urllib3\nfrom services.wechatpay.errors import TimedOut",
    ),
    "config reads the environment": ("config.settings", "import os\nfrom config import pem\nos.environ"),
    "an example derives an order service": ("examples.x", "from services.order_service import OrderService"),
    "a strategy reads JSON": (
        "services.strategies.x",
        "from utils import json_body\nfrom services.wechatpay import errors",
    ),
    "a room's own neighbour": ("services.wechatpay.x", "from . import errors\nfrom .keys import KeyRing"),
    "the orders speak SQL": ("services.orders.x", "import sqlalchemy\nfrom services.orders.store import Store"),
    "commands use the orders": ("routes.x", "from services.orders.store import Store"),
    "the path of os": ("utils.x", "import os\nos.path.join('a')"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_design_allows_breaks_no_rule(name: str):
    module, source = ALLOWED[name]
    assert [found for rule in RULES for found in rule(module, ast.parse(source))] == []


def test_the_exceptions_are_still_needed():
    """An exception that nothing uses any more would cover a later breach."""
    trees = dict(house_rooms(("controllers",)))
    for module, function in CAUGHT_IN_CONTROLLERS:
        assert function in [name for name, _ in _catches(trees[module], "")]


def loaded_by(statement: str) -> set[str]:
    """The top-level names of everything that a fresh interpreter holds after `statement`."""
    script = f"{statement}\nimport sys\nprint('LOADED', *sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name.partition(".")[0] for name in run.stdout.rpartition("LOADED ")[2].split()}


def test_what_few_functions_need_is_not_loaded_at_start():
    loaded = loaded_by("import app")
    assert {"flask", "urllib3", "cryptography", "marshmallow"} <= loaded
    assert loaded.isdisjoint({"jwt", "requests", "sqlalchemy", "sandbox", "tests", "pytest"})


def test_a_module_that_is_loaded_at_start_would_be_seen():
    assert "jwt" in loaded_by("import app, jwt")


# What stands at the top of the repository.

TOP = {
    *("app.py", "gunicorn.conf.py", "scf_bootstrap", "cloudbaserc.json"),
    *("requirements.txt", "requirements-orders.txt", "requirements-dev.txt"),
    *("config", "routes", "controllers", "services", "utils", "tests", "sandbox", "examples", "bench", "docs"),
    *("Makefile", "Dockerfile", "README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".ci"),
    *("SECURITY.md", "CONTRIBUTING.md"),
    # Which files git and the image builder take, and how git ends their lines.
    *(".gitignore", ".gitattributes", ".dockerignore"),
}


def strangers_at_the_top(names: list[str]) -> set[str]:
    return {name.partition("/")[0] for name in names} - TOP


def test_the_top_level_holds_what_the_design_names():
    assert strangers_at_the_top(files()) == set()


def test_a_stranger_at_the_top_level_is_found():
    assert strangers_at_the_top(["app.py", "notes.txt", "vendor/flask/app.py", "docs/a.md"]) == {"notes.txt", "vendor"}


# Words that would tell where and how the files came about; put together here, so that this file holds none.

FORBIDDEN = {
    "a folder of one machine": re.compile(r"(?<![\w.$}~-])/" + r"work/|/tmp" + r"/h(?:ouse)?(?![\w-])|/home" + r"/\w"),
    "a package registry": re.compile(
        "|".join((r"py" + r"pi\.org", "python" + "hosted", r"npm" + r"js\.(?:org|com)", r"crates" + r"\.io"))
        + r"|proxy\.golang"
        + r"\.org|--index"
        + "-url",
        re.IGNORECASE,
    ),
    "a number of a tracker": re.compile(r"\b(?:issue|pull request|PR)s? #?" + r"\d+\b", re.IGNORECASE),
}


def forbidden_in(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in FORBIDDEN.items():
            if match := pattern.search(line):
                yield f"{number}: {what}: {match[0]}"


def test_no_file_tells_where_it_was_made():
    found = [
        f"{name}:{hit}"
        for name in files()
        for hit in forbidden_in((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "see /" + "work/main/app.py",
        'PYTHON="/tmp' + '/h/v310/bin/python"',
        "read /tmp" + "/house/brief.md",
        "/home" + "/somebody/app",
        "https://py" + "pi.org/simple",
        "https://files.python" + "hosted.org/packages",
        "pip install --index" + "-url x",
        "as in issue " + "#12",
        "closes Issue " + "3",
    ],
)
def test_a_forbidden_word_is_found(line: str):
    assert len(list(forbidden_in(f"fine\n{line}\n"))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "/tmp/handler.sock",
        "worker_tmp_dir = '/tmp'",
        "docs/work/",
        "a network/",
        "issue a token",
        "/var/lang/python310/bin",
    ],
)
def test_a_harmless_word_is_left_alone(line: str):
    assert list(forbidden_in(line)) == []


def test_an_order_database_loads_what_requests_need_and_no_more():
    given = {"orderDatabaseUrl": "sqlite:////var/lib/shop/orders.sqlite3"}
    start = f"create_app(Settings.from_env({given}))"
    loaded = loaded_by(f"from app import create_app\nfrom config.settings import Settings\n{start}")
    assert "sqlalchemy" in loaded
    assert loaded.isdisjoint({"alembic", "mako", "psycopg", "pymysql"})
