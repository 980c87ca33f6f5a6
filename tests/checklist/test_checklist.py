"""docs/checklist.md: no answer without proof, and its command finds what is left out.

That the tests exist which it links to is checked for all pages by tests/test_docs.py. The rules themselves are WeChat
Pay's and not here; the command is tried on a page that is made up.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.checklist.rules import FOLDER, Rule, answers, differences, main, rules, unproved
from tests.pages import Page

PAGE = Page.read("docs/checklist.md")


def test_every_row_is_proved_or_yours_or_does_not_apply():
    found = answers(PAGE)
    assert len(found) > 100
    assert {answer.page for answer in found} == {
        "接入质量检查清单.md", "签名与验签规则.md", "回调通知处理.md", "订单状态流转.md",
    }  # fmt: skip
    assert all(answer.section and answer.key and answer.answer for answer in found)
    assert list(unproved(PAGE)) == []
    assert any(proof.startswith("../tests/") for answer in found for proof in answer.proofs)


def test_a_row_without_proof_is_found():
    changed = re.sub(r"^(\| 幂等处理: [^|]*\|[^|]*\|)[^|]*\|$", r"\1 |", PAGE.text, flags=re.MULTILINE)
    assert changed != PAGE.text
    assert list(unproved(Page(PAGE.name, changed))) == ["回调处理逻辑规范: 幂等处理"]


THEIRS = """# 通知

## 问题雷达

| 模块 | 检查项 | 说明 |
|---|---|---|
| **签名** | 同一私钥 | 致命 |
| **分账** | 请求分账 | 必须 |

## 铁律

检查直觉：会不会重复？有没有对账？

## 核心概念

- 不是规则

## 规范

1. **5秒内** 应答
2. 幂等
"""
OURS = """# x

## Theirs

Its page: [通知.md](https://github.com/x).

### One (签名)

| its rule | answer | shown by |
|---|---|---|
| 同一私钥: one key | one signer | [x](y) |

### Not ours (分账)

| its rule | answer | shown by |
|---|---|---|
| 全部: all | *Does not apply*: no | |

### Iron (铁律)

| its rule | answer | shown by |
|---|---|---|
| 重复: twice | once | [x](y) |
| 对账: bills | daily | [x](y) |

### Handling (规范)

| its rule | answer | shown by |
|---|---|---|
| 5秒内: soon | 4 s | [x](y) |
| 幂等: again | counted | [x](y) |
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "通知.md").write_text(THEIRS, encoding="utf-8")
    return tmp_path


def test_rules_are_rows_items_and_questions(folder: Path):
    assert list(rules(folder, {"通知.md"})) == [
        Rule("通知.md", "签名", "同一私钥"),
        Rule("通知.md", "分账", "请求分账"),
        Rule("通知.md", "铁律", "会不会重复？"),
        Rule("通知.md", "铁律", "有没有对账？"),
        Rule("通知.md", "规范", "**5秒内** 应答"),
        Rule("通知.md", "规范", "幂等"),
    ]
    assert list(differences(Page("x", OURS), folder)) == []


@pytest.mark.parametrize("left_out", ["| 同一私钥: ", "| 全部: ", "| 对账: ", "| 5秒内: "])
def test_a_rule_without_a_row_is_found(folder: Path, left_out: str):
    lines = [line for line in OURS.splitlines(keepends=True) if not line.startswith(left_out)]
    (found,) = differences(Page("x", "".join(lines)), folder)
    assert found.startswith("no answer to 通知.md")


def test_a_row_without_a_rule_is_found(folder: Path):
    page = Page("x", OURS.replace("| 幂等: again", "| 幂等处: again"))
    assert [line.partition(" 通知")[0] for line in differences(page, folder)] == ["no answer to", "no such rule in"]


def test_a_folder_that_is_no_copy_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("WECHATPAY_SKILLS", str(tmp_path / "nowhere"))
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WECHATPAY_SKILLS: {tmp_path}/nowhere is no copy")


def test_the_command_follows_the_line_that_fetches_its_copy():
    (fence,) = PAGE.fences
    fetched, checked = fence.body.splitlines()
    address = re.fullmatch(r"git clone --depth 1 https://github\.com/\S+/([\w-]+)", fetched)
    assert address is not None
    assert checked.startswith(f"WECHATPAY_SKILLS={address[1]} ")
