"""docs/troubleshooting.md against the sources: every text stands there, everything that is quoted there exists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from tests.messages.inventory import GAP, ROOT, found, shown
from tests.support import MINI_PROGRAM, in_process

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
TEXTS = {shown(one.text): f"{one.file}:{one.line}" for one in found()}
# By guide: how many questions its FAQ has.
GUIDES = {"Integrations": 10, "Mini program": 10, "Page inside WeChat": 8, "QR code": 8}


@dataclass(frozen=True)
class Table:
    section: str
    titles: list[str]
    rows: list[list[str]]


def tables() -> Iterator[Table]:
    section, lines = "", iter(PAGE.splitlines())
    for line in lines:
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("|"):
            rows = [line, *takewhile(lambda row: row.startswith("|"), lines)]
            titles, _, *cells = ([cell.strip() for cell in row.strip("|").split(" | ")] for row in rows)
            yield Table(section, titles, cells)


def spans(text: str) -> list[str]:
    """What stands between back-ticks, single or double ones."""
    return [quoted.strip() for _, quoted in re.findall(r"(`+)(.+?)\1(?!`)", text)]


TABLES = list(tables())
# In these, every text that has a blank is one of ours; other cells may quote commands.
QUOTED = [
    (table.section, text)
    for table in TABLES
    if table.titles[0] == "Text"
    for row in table.rows
    for text in spans(row[0])
]
SHOWN = [
    (row[0], text)
    for table in TABLES
    if "This function shows" in table.titles
    for row in table.rows
    for text in spans(row[1])
]


def test_the_walks_find_something():
    assert len(TEXTS) > 200
    assert len(QUOTED) > 200
    assert len(TABLES) > 15
    for known in ("must be an integer …", "incident: …", "there is no event …", "until then it is …", "a certificate"):
        assert known in TEXTS


@pytest.mark.parametrize("text", [text for text in TEXTS if re.search("[A-Za-z]{2}", text)])
def test_every_text_stands_in_the_page(text: str):
    assert text in spans(PAGE), TEXTS[text]


@pytest.mark.parametrize(("section", "text"), QUOTED)
def test_every_quoted_text_exists(section: str, text: str):
    assert text in TEXTS or " " not in text, section


def test_no_text_has_two_rows_in_one_section():
    """The same words in two sections are met in two places."""
    assert [one for one in set(QUOTED) if QUOTED.count(one) > 1] == []


@pytest.mark.parametrize(("question", "text"), SHOWN)
def test_what_the_questions_quote_is_a_text_of_ours(question: str, text: str):
    patterns = [re.escape(known).replace(GAP, ".*") for known in TEXTS if re.search("[A-Za-z]{3}", known)]
    fitting = [pattern for pattern in patterns if re.fullmatch(f"(?:[a-zA-Z_.]+ \\(?)?{pattern}\\)?", text)]
    assert fitting or " " not in text, question


def test_every_question_of_the_guides_has_its_row():
    answered = {table.section: len(table.rows) for table in TABLES if "This function shows" in table.titles}
    assert answered == GUIDES
    assert all(all(row) for table in TABLES if table.section in GUIDES for row in table.rows)


# What is quoted with values is what the running function says


@pytest.fixture(scope="module")
def box(credentials: Credentials) -> Iterator[Sandbox]:
    with Sandbox(credentials=credentials) as sandbox:
        yield sandbox


def says(
    box: Sandbox,
    action: str = "wxpay_order",
    *,
    headers: Mapping[str, str] = MINI_PROGRAM,
    also: Mapping[str, Any] | None = None,
    **settings: str | None,
) -> str:
    order = {"description": "tea", "out_trade_no": "TEA_000001", "amount": {"total": 1}}
    with in_process(box.env(**settings)) as function:
        reply = function.call(action, {**order, **(also or {})}, headers)
    assert reply.body["code"] == -1
    return str(reply.body["msg"])


def test_the_quoted_examples_are_real(box: Sandbox, tmp_path: Any):
    cut = box.env()["privateKey"][:900]
    cases = {
        "cut key": says(box, privateKey=cut),
        "no key": says(box, privateKey="./apiclient_key.pem"),
        "unset and short": says(box, merchantId=None, apiV3Key="short"),
        "nobody": says(box, headers={}),
        "no openid": says(box, headers={"X-Wx-Source": "wx_client"}),
        "two apps": says(box, also={"useServiceAccount": True}, service_app_id=None),
        "another app": says(box, "wxpay_order_native", also={"appid": "wx0000000000000000"}),
        "no operator": says(box, "wxpay_refund", operatorKey="k" * 40),
        "module": says(box, orderService="shop.orders:Shop"),
        "expired": says(
            box, headers={"Authorization": f"Bearer {box.token('user', exp=1_700_000_000)}"}, **tokens(box)
        ),
    }
    quoted = [text for _, text in SHOWN]
    for name, msg in cases.items():
        assert msg in quoted or any(msg == f"MISSING_CREDENTIALS: {text}" for text in quoted), f"{name}: {msg}"


def tokens(box: Sandbox) -> dict[str, str]:
    return {name: value for name, value in box.env(tokens=True).items() if name.startswith("cloudbase")}


def test_without_a_public_key_the_message_of_the_question_comes(credentials: Credentials):
    with Sandbox(sign_mode="sdk", key_mode="certificate", credentials=credentials) as certificates:
        certificates.fault("unsigned_403")
        msg = says(certificates)
    quoted = next(text for _, text in SHOWN if "certificates cannot be downloaded" in text)
    begin, _, end = quoted.partition("403 NOT_ENOUGH")
    assert msg.startswith(begin)
    assert msg.endswith(end)
