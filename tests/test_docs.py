"""Every page: links lead somewhere, what it names exists, and each code block is checked or claimed by a test.

A block of a kind that cannot be judged by itself has a comment right above it, `<!-- checked: tests/…/test_x.py -->`:
that test reads the block from the page, and runs or compares it. Both READMEs, which hold no such comments, have theirs
in README_BLOCKS. `<!-- request: wxpay_refund -->` above a block of JSON says whose schema it has to fit.
"""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import jwt
import pytest

from docs import trust_picture
from routes.actions import ACTIONS
from sandbox import Sandbox
from services.orders import compare
from services.orders.database import Database
from services.orders.store import Store
from services.orders.tables import init_db
from tests import shell_lines
from tests.not_run import PREFIX
from tests.pages import Fence, Page, page_names
from tests.support import OPERATOR_KEY, ROOT, Reply, in_process
from utils.cloudbase_auth import Caller, CallerPolicy

PAGES = page_names()

# Whose pages may be linked to: those of WeChat Pay, of CloudBase, and of the standards that are spoken.
HOSTS = {
    "cloud.tencent.com",
    "developers.weixin.qq.com",
    "docs.cloudbase.net",
    "docs.github.com",
    "github.com",
    "kf.qq.com",
    "mp.weixin.qq.com",
    "open.weixin.qq.com",
    "pay.weixin.qq.com",
    "tcb.cloud.tencent.com",
    "www.standardwebhooks.com",
}
# Addresses that are named, not linked to: WeChat Pay's and CloudBase's interfaces, and this machine.
NAMED_HOSTS = HOSTS | {
    "127.0.0.1",
    "api.mch.weixin.qq.com",
    "api.weixin.qq.com",
    "api2.mch.weixin.qq.com",
    "api.wechatpay.cn",
    "api2.wechatpay.cn",
    "localhost",
    "payapp.weixin.qq.com",
    "wx.tenpay.com",
}
RESERVED = re.compile(r"(?:.+\.)?(?:example|example\.com|example\.org|invalid|test)|<.*|.*[<…].*")

# Files that users have or make, named without being here.
MADE = re.compile(
    r"(?:services|controllers|routes|utils|config)/\w+\.js|"  # of the original, which is Node.js
    r"\.env\S*|\.sandbox/\S*|vendor/?|build/?\S*|apiclient_(?:key|cert)\.(?:pem|p12)|pub_key\.pem|wxp_pub\.pem|ca\.pem"
    r"|services/shop_\w+\.py|credentials\.json|cloudbase\.js|shop\.(?:py|js)|conftest\.py|pay\.js|index\.js|\S*\.sqlite3|differences\.csv"
)
ROOMS = ("config", "controllers", "routes", "services", "utils", "tests", "sandbox", "examples", "bench", "docs")
FILE = re.compile(r"\.?[\w.@-]+(?:/[\w.@*-]+)*/?")
SUFFIXES = {".py", ".md", ".json", ".toml", ".txt", ".svg", ".png", ".js", ".cjs", ".pem", ".html", ".css", ".sqlite3"}

# Blocks of pages without such comments, by words that stand in them, and the test that claims them.
_README = {
    "curl -s http://127.0.0.1:3000/wx-pay/wxpay_order": "tests/test_readme.py",
    "wx.cloud.callHTTPFunction({": "tests/test_readme.py",
    "class ShopOrders(OrderService):": "tests/test_readme.py",
    "flask --app app orders init-db": "tests/test_readme.py",
    "class ShopOrders(SqlOrderService):": "tests/test_readme.py",
}
_HOUSE = ("Caller.from_request", "Opener.open", "SqlOrderService:", "server.py, wire.py")
CLAIMED: dict[str, dict[str, str]] = {
    "README.md": _README,
    "README.zh-CN.md": _README,
    "docs/architecture.md": dict.fromkeys(_HOUSE, "tests/test_docs.py"),
}

Check = Callable[[Page], Iterator[str]]


# Links


@functools.cache
def anchors_of(path: Path) -> list[str]:
    return Page(str(path), path.read_text(encoding="utf-8")).anchors


def links(page: Page) -> Iterator[str]:
    """Each leads to a file of the repository, to a heading of it, or to an official page."""
    for _, target in page.links:
        if re.match(r"[a-z]+:", target):
            parts = urlsplit(target)
            if parts.scheme != "https" or parts.hostname not in HOSTS:
                yield f"a link to somewhere else: {target}"
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page.name).parent / path if path else None
        if file is not None and not file.exists():
            yield f"no file: {target}"
        elif anchor and anchor not in (page.anchors if file is None else anchors_of(file.resolve())):
            yield f"no heading: {target}"


def linked_tests(page: Page) -> Iterator[str]:
    """A link to a test module says its path, or the name of a test in it with blanks for underscores."""
    for text, target in page.links:
        path = (ROOT / page.name).parent / target
        if not re.search(r"(?:^|/)test_\w+\.py$", target) or not path.is_file():
            continue
        name = text.strip("`")
        if "/" in name or name == path.name:
            continue
        if "test_" + name.replace(" ", "_") not in known_tests(path.resolve()):
            yield f"no test of {target} is named: {text}"


@functools.cache
def known_tests(path: Path) -> set[str]:
    """The names of a module's tests."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def addresses(page: Page) -> Iterator[str]:
    """Addresses in text and code are official, reserved for examples, or of this machine."""
    for url in re.findall(r"https?://[^\s)\]}`'\"，。；、（）]+", page.text):
        host = url.split("//", 1)[1]
        host = re.split(r"[/:?#]", host)[0]
        if host not in NAMED_HOSTS and not RESERVED.fullmatch(host):
            yield f"an address of nobody we know: {url}"


# Names


def files(page: Page) -> Iterator[str]:
    """What looks like one of our files or folders is there."""
    for span in page.spans:
        name, _, test = span.partition("::")
        if not FILE.fullmatch(name) or MADE.fullmatch(name) or not _looks_like_a_file(name):
            continue
        places = ((ROOT, ""), ((ROOT / page.name).parent, ""), *((ROOT / room, "**/") for room in ROOMS))
        found = [path for place, deep in places for path in place.glob(deep + name.rstrip("/"))]
        if not found:
            yield f"no file: {span}"
        elif test and test not in known_tests(found[0]):
            yield f"no test: {span}"


def _looks_like_a_file(name: str) -> bool:
    first = name.partition("/")[0]
    return (first in ROOMS and "/" in name) or Path(name).suffix in SUFFIXES or name.startswith(".ci/")


def commands(page: Page) -> Iterator[str]:
    """Commands inside the text; those in blocks are checked with their block."""
    for span in page.spans:
        if re.match(r"(?:make|flask|pip|tcb|gunicorn|curl|python3?) (?!\d)", span):
            yield from shell_lines.problems_of(span, in_part=True)


def settings(page: Page) -> Iterator[str]:
    """`name=value` in the text is a variable of the function, of a command, or a field that it takes."""
    for span in page.spans:
        assigned = re.fullmatch(r"([a-z]+[A-Z]\w*|[A-Z][A-Z_]+)=(\S+)", span)
        if assigned and not _is_of_make(assigned[1]):
            yield from shell_lines.assignment(assigned[1], assigned[2])


def _is_of_make(name: str) -> bool:
    return f"$({name})" in (ROOT / "Makefile").read_text(encoding="utf-8")


def actions(page: Page) -> Iterator[str]:
    """What is spelled like an action is one."""
    for name in {name for span in page.spans for name in re.findall(r"\bwxpay_\w+|\b\w+Trigger\b", span)}:
        if name not in {*ACTIONS, *OF_OTHERS} and name not in words_of_ours():
            yield f"unknown action {name}"


def names(page: Page) -> Iterator[str]:
    """Every identifier in code type occurs in what we wrote, so that a renamed one is seen."""
    for span in page.spans:
        if not re.fullmatch(r"[A-Za-z_]\w*(?:\(\))?", span) or (ROOT / span).exists():
            continue
        if span.strip("()") not in words_of_ours() | OF_OTHERS:
            yield f"a name that occurs nowhere: {span}"


# Identifiers that pages name and our files do not.
OF_OTHERS = {
    *("APPID", "MINIAPP", "grep", "DecodeError", "ExpiredSignatureError", "InvalidAudienceError", "max_connections"),
    *("ENV_ID", "FN_NAME", "errRaw", "toCanvas"),  # the original's and its guides'
    *("wxpay_nothing", "callbackTimeouts"),  # examples of what does not exist
    "real_ip_header",  # these are nginx's
    "set_real_ip_from",
    "NAME_NOT_CORRECT",  # of WeChat Pay, which the sandbox does not answer
    *(f"bill_{found}" for found in compare.CLASSES),  # put together there
}


@functools.cache
def words_of_ours() -> frozenset[str]:
    """Every word of what is no test and no page."""
    found: set[str] = set()
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if parts[0] in (".git", ".venv", "vendor", "build") or "node_modules" in parts or "__pycache__" in parts:
            continue
        if path.is_file() and path.suffix not in (".md", ".png", ".svg") and parts[0] != "tests":
            found |= set(re.findall(r"\w+", path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(found)


# Blocks


def blocks(page: Page) -> Iterator[str]:
    """Each is claimed by a test that reads this page, or of a kind that is checked here."""
    for fence in page.fences:
        claim = fence.noted("checked") or _claim(page, fence)
        where = f"line {fence.line}"
        if claim:
            test = ROOT / claim
            if not test.is_file() or not Path(claim).name.startswith("test_"):
                yield f"{where}: claimed by {claim}, which is no test"
            elif Path(page.name.replace(".zh-CN", "")).name not in test.read_text(encoding="utf-8"):
                yield f"{where}: claimed by {claim}, which does not name this page"
        elif fence.language not in KINDS:
            yield f"{where}: a block of kind {fence.language or 'none'} that no test claims"
        if fence.language in KINDS and fence.language != "js":
            yield from (f"{where}: {problem}" for problem in KINDS[fence.language](fence))


def _claim(page: Page, fence: Fence) -> str:
    return next((test for words, test in CLAIMED.get(page.name, {}).items() if words in fence.body), "")


def cron(fence: Fence) -> Iterator[str]:
    """Five fields and a shell line, whose percent signs are escaped."""
    for line in fence.body.splitlines():
        entry = re.fullmatch(r"(?:[\d*/,-]+ ){5}(.+)", line)
        if entry is None:
            yield f"no line of a crontab: {line}"
        elif re.search(r"(?<!\\)%", entry[1]):
            yield f"a percent sign ends the command: {line}"
        else:
            yield from shell_lines.problems_of(entry[1].replace("\\%", "%"), claimed=bool(fence.noted("checked")))


def console(fence: Fence) -> Iterator[str]:
    """A session: what stands behind a prompt is a shell line. What it prints is for the test that claims it."""
    if not fence.noted("checked"):
        yield "a session whose output no test claims"
    for line in fence.body.splitlines():
        if line.startswith("$ "):
            yield from shell_lines.problems_of(line[2:])


def shell(fence: Fence) -> Iterator[str]:
    return shell_lines.problems_of(fence.body, claimed=bool(fence.noted("checked")))


NUMBERS = {"out_trade_no", "out_refund_no", "out_bill_no"}
OF_ANSWERS = {"code", "trade_state", "refund_status", "state", "status"}


def json_text(fence: Fence) -> Iterator[str]:
    if problems := list(shell_lines.json_problems(fence.body)):
        yield from problems
        return
    body = json.loads(fence.body)
    keys = set(body) if isinstance(body, dict) else set()
    action = fence.noted("request") or (body["_action"] if "_action" in keys else "")
    if not action and not fence.noted("checked") and keys & NUMBERS and not keys & OF_ANSWERS:
        yield "looks like a request, and no note says of which action"
    if action:
        yield from shell_lines.request_problems(action, fence.body)


def python(fence: Fence) -> Iterator[str]:
    try:
        tree = ast.parse(fence.body)
    except SyntaxError as error:
        yield f"Python: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"Python: no module {name.name}" for name in node.names if not _module(name.name))
        elif isinstance(node, ast.ImportFrom):
            found = _module(node.module or "")
            for name in node.names:
                if found is None or not (hasattr(found, name.name) or _module(f"{node.module}.{name.name}")):
                    yield f"Python: cannot import {name.name} from {node.module}"


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def javascript(fence: Fence) -> Iterator[str]:
    """Needs node; checked apart from the other kinds, so that these are checked without it too."""
    kind = "module" if re.search(r"^\s*(?:import|export)\s|^await ", fence.body, re.MULTILINE) else "commonjs"
    run = subprocess.run(
        ["node", f"--input-type={kind}", "--check"], input=fence.body, capture_output=True, text=True, check=False
    )
    if run.returncode:
        yield f"JavaScript: {run.stderr.strip()}"


KINDS: dict[str, Callable[[Fence], Iterator[str]]] = {
    "console": console,
    "cron": cron,
    "sh": shell,
    "json": json_text,
    "python": python,
    "js": javascript,
}
CHECKS: tuple[Check, ...] = (
    links, linked_tests, addresses, files, commands, settings, actions, names, blocks,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_says_is_there(name, check):
    assert list(check(Page.read(name))) == []


@pytest.mark.parametrize("name", PAGES)
def test_the_scripts_of_a_page_are_javascript(name):
    scripts = [fence for fence in Page.read(name).fences if fence.language == "js"]
    if scripts and shutil.which("node") is None:
        pytest.skip(f"{PREFIX}node is not installed")
    assert [problem for fence in scripts for problem in javascript(fence)] == []


def test_every_page_is_among_those_that_are_read():
    assert {"README.md", "README.zh-CN.md", "CHANGELOG.md", "docs/orders.md"} <= set(PAGES)
    elsewhere = {"tests/fuzz/README.md", "tests/vectors/README.md"}
    everywhere = {str(path.relative_to(ROOT)) for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.md")
                  if "node_modules" not in path.parts}  # fmt: skip
    assert everywhere - elsewhere <= set(PAGES)


@pytest.mark.parametrize("name", CLAIMED)
def test_every_claim_made_here_is_of_one_block(name):
    bodies = [fence.body for fence in Page.read(name).fences]
    for words in CLAIMED[name]:
        assert sum(words in body for body in bodies) == 1, words


def test_the_house_on_one_page_draws_what_is_there():
    page = Page.read("docs/architecture.md")
    drawn = "\n".join(fence.body for fence in page.fences)
    modules = set(re.findall(r"\b\w+\.py\b", drawn))
    assert len(modules) > 20
    assert modules <= {path.name for room in ROOMS for path in (ROOT / room).rglob("*.py")} | {"app.py"}
    named = re.findall(r"\b[A-Z]\w+[a-z]\w*\.\w+|\b\w+_\w+\b|\b[A-Z][a-z]+[A-Z]\w+\b", drawn)
    words = {word for name in named for word in name.split(".")} - {"before_", "handler_", "on_", "decide_"}
    assert len(words) > 10
    assert words <= words_of_ours()


def test_the_picture_of_trust_is_the_one_that_the_program_draws():
    drawn = trust_picture.svg()
    assert (ROOT / "docs" / "images" / trust_picture.NAME).read_text(encoding="utf-8") == drawn
    known = words_of_ours() | set(re.findall(r"\w+", (ROOT / "docs" / "security.md").read_text(encoding="utf-8")))
    named = re.findall(r"\b[a-z]+[A-Z]\w+|\b\w+_\w+", re.sub(r"<[^>]+>", " ", drawn))
    assert {"operatorKey", "cloudbaseEnvId"} <= set(named)
    assert set(named) - {"before_"} <= known
    assert {"images/trust.svg"} <= {target for _, target in Page.read("docs/security.md").links}


def test_the_table_of_callers_in_docs_security_is_so():
    (head, *modes), *_ = [
        table for section in Page.read("docs/security.md").sections for table in section.tables
        if table[0][0] == "`callerHeaders`"
    ]  # fmt: skip
    claims = {"sub": "u1", "provider_sub": "o" * 28}
    bearer = {"Authorization": "Bearer " + jwt.encode(claims, "k" * 32, algorithm="HS256")}
    senders: dict[str, tuple[dict[str, str], object]] = {
        "nothing": ({}, None),
        "`x-wx-openid`": ({"x-wx-openid": "o" * 28, "x-wx-source": "wx_client"}, None),
        "token": (bearer, None),
        "verified": (bearer, SimpleNamespace(verify=lambda token: claims)),
        "`operatorKey`": ({"x-operator-key": OPERATOR_KEY}, None),
    }
    assert [name.split(" ")[0].strip(",") for name in head[1:]] == list(senders)

    def told(mode: str, sent: dict[str, str], tokens: object, *, on_platform: bool = False) -> str:
        policy = CallerPolicy(mode, on_platform, OPERATOR_KEY, frozenset(), tokens)
        caller = Caller.from_request(sent, policy)
        if not caller.admitted:
            return "401"
        if caller.operator:
            return "operator"
        return "verified" if caller.verified_openid else "claimed"

    cells: list[str] = []
    for mode, *written in modes:
        cells = [cells[at] if cell == "the same" else cell for at, cell in enumerate(written)]
        name = re.match(r"`(\w+)`", mode)[1]
        assert [re.search(r"401|claimed|verified|operator", cell)[0] for cell in cells] == [
            told(name, sent, tokens) for sent, tokens in senders.values()
        ]
        on_platform = "claimed" if "on the platform claimed" in cells[0] else "401"
        assert told(name, {}, None, on_platform=True) == on_platform


def test_the_test_in_docs_sandbox_finds_the_lost_callback(tmp_path):
    """The page's example, with the function and its order database for a shop."""
    (block,) = [fence.body for fence in Page.read("docs/sandbox.md").fences if fence.language == "python"]
    namespace: dict[str, Callable[..., None]] = {}
    exec(compile(block, "docs/sandbox.md", "exec"), namespace)  # noqa: S102 - our own page
    database_url = f"sqlite:///{tmp_path / 'orders.sqlite3'}"
    database = Database(database_url)
    init_db(database)

    class Shop:
        def __init__(self, url: str, place: Callable[..., Reply]) -> None:
            self.url, self._place, self._store = url, place, Store(database)

        def order(self, total: int) -> str:
            body = {"description": "Tea", "out_trade_no": "ORDER_1", "amount": {"total": total}}
            assert self._place("wxpay_order", body).status == 200
            return "ORDER_1"

        def state(self, number: str) -> str:
            return {"PENDING": "unpaid", "PAID": "paid"}[self._store.order(number)["state"]]

    with (
        Sandbox(sign_mode="sdk", running=False) as wechat_pay,
        in_process(wechat_pay.env(orderDatabaseUrl=database_url)) as function,
    ):
        namespace["test_a_lost_callback_comes_again"](wechat_pay, Shop(function.url, function.call))


# The reader


def test_the_reader_sees_all_of_a_page():
    page = Page(
        "x",
        "# A\n\n<!-- checked: y -->\n```sh\n# no heading\n| no row |\n```\n\n| a | b |\n|---|---|\n"
        "| `c\\|d` | [e](#b-c-1) |\nend\n"
        "## B，C!\n- in a list\n\n  ```\n  in it\n\n  ```\n## b c\n## B c\n",
    )
    assert [(section.level, section.title) for section in page.sections] == [
        (1, "A"), (2, "B，C!"), (2, "b c"), (2, "B c"),
    ]  # fmt: skip
    assert page.sections[0].code == ["```sh\n# no heading\n| no row |\n```\n"]
    assert [(fence.language, fence.body, fence.line) for fence in page.fences] == [
        ("sh", "# no heading\n| no row |\n", 4), ("", "in it\n\n", 16),
    ]  # fmt: skip
    assert [fence.noted("checked") for fence in page.fences] == ["y", ""]
    assert page.sections[0].tables == [[("a", "b"), ("`c\\|d`", "[e](#b-c-1)")]]
    assert page.anchors == ["a", "bc", "b-c", "b-c-1"]
    assert page.links == [("e", "#b-c-1")]
    assert list(links(page)) == []


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("与原版的差异", "与原版的差异"),
        ("使用 CloudBase CLI 部署", "使用-cloudbase-cli-部署"),
        ("变量（环境变量）：默认值", "变量环境变量默认值"),
        ("Who may do what?", "who-may-do-what"),
        ("`doctor`, and [where](x.md) it runs", "doctor-and-where-it-runs"),
    ],
)
def test_anchors_are_made_as_github_makes_them(title, anchor):
    assert Page("x", f"# {title}\n").anchors == [anchor]


# Each of these is planted alone; the named check has to see it.

PLANTED: dict[str, tuple[Check, str]] = {
    "a file that is not there": (links, "[x](docs/architectures.md)"),
    "a picture that is not there": (links, "![x](docs/images/none.svg)"),
    "a heading that is not there": (links, "[x](#no-such-heading)"),
    "a heading that another page has not": (links, "[x](docs/orders.md#no-such-heading)"),
    "a link to somewhere else": (links, "[x](https://shop.example/x)"),
    "a link that is not encrypted": (links, "[x](http://pay.weixin.qq.com/)"),
    "a test that is not there": (linked_tests, "[no such test](tests/test_demo.py)"),
    "an invented address": (addresses, "`https://pay-common-shop.com/x`"),
    "a file in the text": (files, "`services/nothing.py`"),
    "a test in the text": (files, "`tests/test_demo.py::test_nothing`"),
    "a target of make": (commands, "`make everything`"),
    "a variable of make": (commands, "`make run TWICE=1`"),
    "a command of flask": (commands, "`flask --app app orders lists`"),
    "an option of flask": (commands, "`flask --app app orders list --states PAID`"),
    "a choice of flask": (commands, "`flask --app app orders bill trades 2026-11-24`"),
    "a module": (commands, "`python -m sandboxes`"),
    "an option of a module": (commands, "`python -m sandbox --ports 1`"),
    "a story": (commands, "`python -m sandbox play no-such`"),
    "a requirements file": (commands, "`pip install -r requirements-order.txt`"),
    "a command of the CLI": (commands, "`tcb fn deployment pay-common`"),
    "an option of the CLI": (commands, "`tcb fn deploy pay-common --http`"),
    "a variable": (settings, "`callerHeader=trusted`"),
    "an action": (actions, "`wxpay_refunds`"),
    "a name": (names, "`no_such_name`"),
    "a block that nobody claims": (blocks, "```\nx\n```"),
    "a block of sql that nobody claims": (blocks, "```sql\nSELECT 1\n```"),
    "a claim by no test": (blocks, "<!-- checked: tests/support.py -->\n```\nx\n```"),
    "a claim by a test that reads another page": (blocks, "<!-- checked: tests/test_demo.py -->\n```\nx\n```"),
    "a claim further up": (blocks, "<!-- checked: tests/test_docs.py -->\n\n```\nx\n```"),
    "an unknown command": (blocks, "```sh\nrmdir x\n```"),
    "an unknown option": (blocks, "```sh\nmake run\nflask --app app orders list --states PAID\n```"),
    "what gunicorn serves": (blocks, "```sh\ngunicorn -c gunicorn.conf.py app:application\n```"),
    "a module that gunicorn serves": (blocks, "```sh\ngunicorn apps:app\n```"),
    "a program of Python": (blocks, "```sh\npython3 -c 'print('\n```"),
    "an unknown variable": (blocks, "```sh\nexport orderDatabase=x\n```"),
    "an unknown order service": (blocks, "```sh\norderService=examples.nothing:ShopOrders make run\n```"),
    "an unknown action of curl": (blocks, "```sh\ncurl -s http://127.0.0.1/wx-pay/wxpay_orders -d '{}'\n```"),
    "a body of curl": (
        blocks, """```sh\ncurl -s http://127.0.0.1/wx-pay/wxpay_close_order -d '{"out_trade": "TEA_000001"}'\n```"""
    ),
    "a body in two lines": (
        blocks, """```sh\ncurl -s http://127.0.0.1/wx-pay/wxpay_close_order -d '{"out_trade_no":\n 1}'\n```"""
    ),
    "a line of a crontab": (blocks, "```cron\n* * * * flask --app app orders reconcile\n```"),
    "a percent sign in a crontab": (blocks, "```cron\n* * * * * echo $(date +%F)\n```"),
    "a session that nobody claims": (blocks, "```console\n$ flask --app app orders list\n```"),
    "a text that is no JSON": (blocks, "```json\n{'a': 1}\n```"),
    "a request that does not fit": (blocks, '<!-- request: wxpay_refund -->\n```json\n{"out_refund_no": "R"}\n```'),
    "a request of no action": (blocks, '```json\n{"out_trade_no": "R"}\n```'),
    "a request by _action": (blocks, '```json\n{"_action": "wxpay_refunds"}\n```'),
    "a text that is no Python": (blocks, "```python\nclass:\n```"),
    "a module of Python": (blocks, "```python\nimport services.nothing\n```"),
    "a name of a module": (blocks, "```python\nfrom services.order_service import Order\n```"),
}  # fmt: skip


@pytest.mark.parametrize(("check", "text"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_seen(check, text):
    page = Page("page.md", f"# A page\n\n{text}\n")
    found = list(check(page))
    assert len(found) == 1, found


def test_a_script_that_is_no_javascript_is_seen():
    if shutil.which("node") is None:
        pytest.skip(f"{PREFIX}node is not installed")
    for body in ("const a = ;\n", "import a from 'b'\nconst a = ;\n"):
        assert list(javascript(Fence("js", body, 1, body)))
    for body in ("const a = 1\n", "import a from 'b'\nawait a()\n"):
        assert list(javascript(Fence("js", body, 1, body))) == []
