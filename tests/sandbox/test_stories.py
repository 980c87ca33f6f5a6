"""The ten stories, played through the function under gunicorn; and that a story can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox import Credentials, Sandbox
from sandbox.function import NotAsExpected
from sandbox.stories import STORIES, SWITCHING, play
from tests.support import ROOT, gunicorn


@contextmanager
def staged(credentials: Credentials, key_mode: str, log) -> Iterator[Sandbox]:
    with (
        Sandbox(key_mode=key_mode, credentials=credentials) as box,
        gunicorn(box.whole_env(public_key=True), log) as function,
    ):
        box.function = function.url
        yield box


@pytest.fixture(scope="module")
def usual(credentials, tmp_path_factory) -> Iterator[Sandbox]:
    with staged(credentials, "public_key", tmp_path_factory.mktemp("usual") / "log") as box:
        yield box


@pytest.fixture(scope="module")
def switching(credentials, tmp_path_factory) -> Iterator[Sandbox]:
    with staged(credentials, "certificate", tmp_path_factory.mktemp("switching") / "log") as box:
        yield box


def test_there_are_ten_and_the_documentation_tells_them():
    lines = (ROOT / "docs/sandbox.md").read_text().splitlines()
    told = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert len(STORIES) == 10
    assert [name for name in told if name in STORIES] == list(STORIES)


@pytest.mark.parametrize("name", [name for name in STORIES if name not in SWITCHING])
def test_a_story_goes_as_it_must(usual, name):
    lines: list[str] = []
    play(name, usual, lines.append)
    assert lines[0].startswith(f"{name}: ")
    assert lines[-1].strip() == "as expected"
    assert sum("=>" in line for line in lines) >= 2
    assert [request.target for request in usual.requests if not request.verified] == []


@pytest.mark.parametrize("name", SWITCHING)
def test_a_story_of_a_merchant_who_changes_keys_goes_as_it_must(switching, name):
    lines: list[str] = []
    play(name, switching, lines.append)
    assert lines[-1].strip() == "as expected"


@pytest.mark.parametrize("name", ["callback-twice", "function-down", "refund-abnormal", "paid-twice"])
def test_a_function_that_keeps_nothing_fails_the_story(usual, function, name):
    """The mini server takes orders nowhere, so let it stand in for callbacks only."""
    real = usual.function
    function.answers += [(500, b'{"code":"FAIL"}')] * 100
    usual_order = usual.call_http_function

    def only_callbacks_go_wrong(path, body, **options):
        usual.function = real
        try:
            return usual_order(path, body, **options)
        finally:
            usual.function = function.url

    usual.call_http_function = only_callbacks_go_wrong
    usual.function = function.url
    try:
        with pytest.raises(NotAsExpected):
            play(name, usual, lambda _: None)
    finally:
        del usual.call_http_function
        usual.function = real


def command_line(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", "play", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_lists_the_stories_and_plays_one():
    listed = command_line()
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(STORIES)
    played = command_line("callback-twice")
    assert played.returncode == 0, played.stdout + played.stderr
    assert "TRANSACTION.SUCCESS of TWICE" in played.stdout
    assert played.stdout.rstrip().endswith("as expected")


def test_the_command_fails_where_the_story_fails_and_refuses_what_it_does_not_know():
    failed = command_line("callback-twice", orderService="tests.test_demo:RaisingOnPayment", PYTHONPATH=str(ROOT))
    assert failed.returncode == 1
    assert "FAILED: expected both copies, of one id, are acknowledged" in failed.stdout
    unknown = command_line("no-such-story")
    assert unknown.returncode == 2
    assert "paid-twice" in unknown.stderr
