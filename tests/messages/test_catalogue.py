"""The catalogue of Chinese texts against the sources: nothing lacks in it, nothing is left over, no gap is lost."""

from __future__ import annotations

import ast
import re
from string import Formatter

import pytest

from controllers import errors
from controllers.languages import CHINESE
from services.wechatpay.errors import OutcomeUnknown
from tests.messages.inventory import modules
from utils.texts import Message, said

TEMPLATES = {one.text: f"{one.file}:{one.line}" for module in modules() for one in module.templates()}
# In the table of exceptions, but told by a text that stands there, or by WeChat Pay's own words.
FROM_HTTP = {"MethodNotAllowed", "RequestEntityTooLarge", "HTTPException"}
WITH_FIXED_TEXT = {"HookFailed", "NotRecorded", "ApiError", *FROM_HTTP}
# Callbacks: their texts are for the log.
FOR_LOGS = "services/strategies/"


def gaps(template: str) -> list[tuple[str, str]]:
    return sorted((name, form or "") for _, name, form, _ in Formatter().parse(template) if name is not None)


def test_the_walk_finds_the_templates():
    assert len(TEMPLATES) > 120
    for known in ("is required", "must be an integer {bound}{unit}", "no such order", "WeChat Pay: {words}"):
        assert known in TEMPLATES


def test_every_template_has_its_chinese_text_and_no_text_is_left_over():
    assert {text: where for text, where in TEMPLATES.items() if text not in CHINESE} == {}
    assert set(CHINESE) - set(TEMPLATES) == set()


@pytest.mark.parametrize("english", CHINESE)
def test_both_have_the_same_gaps(english: str):
    chinese = CHINESE[english]
    if english == "the order service could not record this {what}: send the same {what} again":
        assert set(gaps(chinese)) == set(gaps(english)), "Chinese says it once"
    else:
        assert gaps(chinese) == gaps(english)


@pytest.mark.parametrize("english", [text for text in CHINESE if re.search("[a-z]{4}", re.sub(r"\{.*?\}", "", text))])
def test_the_chinese_text_is_chinese_and_keeps_the_names(english: str):
    chinese = CHINESE[english]
    assert re.search("[\u4e00-\u9fff]", chinese)
    kept = re.findall(r"[A-Za-z]+[_-][A-Za-z_-]+|\b[a-z]+[A-Z][A-Za-z]+|amount\.\w+", re.sub(r"\{.*?\}", " ", english))
    words = {"sign-in", "re-create"}
    assert [name for name in kept if name not in chinese and name not in words] == []


@pytest.mark.parametrize("chinese", CHINESE.values())
def test_one_style(chinese: str):
    bare = re.sub(r"\{.*?\}", "x", chinese)
    assert not re.search("[\u4e00-\u9fff][,;:!?()]|[,;!?()][\u4e00-\u9fff]", bare), "half-width beside Chinese"
    assert not bare.endswith("。")


def test_whatever_reaches_a_caller_is_raised_with_a_message():
    """A plain text would be taken for somebody else's, and stay English."""
    told = {known.__name__ for known, _ in errors._TO_CALLERS} - WITH_FIXED_TEXT
    told |= {known.__name__ for known in OutcomeUnknown.__subclasses__()} | {"SignatureInvalid", "ValidationError"}
    assert len(told) > 20
    plain = []
    for module in modules():
        if module.file.startswith(FOR_LOGS):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func).rpartition(".")[2]
                if name in told and any(isinstance(part, (ast.Constant, ast.JoinedStr)) for part in node.exc.args[:1]):
                    plain.append(f"{module.file}:{node.lineno} {ast.unparse(node.exc)}")
    assert plain == []


def test_a_message_is_its_english_words():
    part = Message("at most {most}", most=3)
    message = Message("{first} and {second}", first=part, second=(Message("a"), Message("b {c}", c="{d}")))
    assert message == "at most 3 and a; b {d}"
    assert Message(message) is message
    assert said(ValueError(message)) is message
    assert (said(ValueError()), said(KeyError(3)), said(OSError(2, "No file"))) == ("", "3", "[Errno 2] No file")
