"""Runs of their own, in an empty folder: their traffic is collected from every process and judged at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.openapi.samples import BODY, DESCRIPTION, ORDERS, placed
from tests.support import ROOT

CONFTEST = """
from tests.not_run import NotRun
from tests.openapi.differences import Listed
from tests.openapi.plugin import Traffic

LISTED = [Listed(("POST /v3/orders",), "body", "/mchid", "type", "a reason", "[4012081709]")]

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        not_run = NotRun()
        config.pluginmanager.register(Traffic(config, not_run, LISTED))
        config.pluginmanager.register(not_run)
"""
# As a sandbox does it, in a process of its own.
TEST = """
import subprocess, sys

WRITE = "import os, sys; open(os.environ['SANDBOX_JOURNAL'], 'a').write(sys.argv[1] + chr(10))"

def test_sends():
    for line in {lines!r}:
        subprocess.run([sys.executable, "-c", WRITE, line], check=True)

def test_nothing_else():
    pass
"""
LISTED_ONE = BODY | {"mchid": 1}
PROCESSES = [(), ("-n", "2", "--dist", "loadfile")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "openapi.json").write_text(json.dumps(DESCRIPTION))
    return tmp_path


def play(folder: Path, *options: str, sends: list[dict], **env: str) -> subprocess.CompletedProcess[str]:
    for index, exchange in enumerate(sends):
        (folder / f"test_{index}.py").write_text(TEST.format(lines=[json.dumps(exchange)]))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", "-c", "pytest.ini", *options],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take longer to load than these runs take
            "WECHATPAY_OPENAPI": str(folder / "openapi.json"),
            "TMPDIR": str(folder),
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("processes", PROCESSES)
def test_good_traffic_passes_and_is_counted(folder, processes):
    run = play(folder, *processes, sends=[placed(), placed(LISTED_ONE)])
    assert run.returncode == 0, run.stdout + run.stderr
    assert "checked: 2 requests of the function, 2 answers of the sandbox" in run.stdout
    assert f"differs as listed: {ORDERS}, body /mchid: type: 1 times [4012081709]" in run.stdout
    assert "nobody asked: GET /v3/file" in run.stdout
    assert list(folder.glob("traffic-*")) == []


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_difference_fails_the_run(folder, processes):
    run = play(folder, *processes, sends=[placed(), placed(LISTED_ONE | {"tip": 1})])
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"FAILED difference that is not listed: {ORDERS}, body /tip: unknown" in run.stdout
    assert "4 passed" in run.stdout


@pytest.mark.parametrize("options", [("test_0.py",), ("-k", "sends"), ("--deselect", "test_0.py::test_nothing_else")])
def test_a_part_of_the_suite_fails_by_its_differences_only(folder, options):
    assert play(folder, *options, sends=[placed()]).returncode == 0
    assert play(folder, *options, sends=[placed(BODY | {"tip": 1})]).returncode == 1


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_listed_difference_that_no_longer_occurs_fails_a_whole_run(folder, processes):
    run = play(folder, *processes, sends=[placed()])
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"FAILED listed difference that no longer occurs: {ORDERS}, body /mchid: type" in run.stdout


def test_a_run_that_left_something_out_is_no_whole_one(folder):
    (folder / "test_skips.py").write_text("import pytest\ndef test_skips(): pytest.skip('not run: no node')\n")
    run = play(folder, sends=[placed()])
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no longer occurs" not in run.stdout


@pytest.mark.parametrize("path", ["", "nowhere.json"])
@pytest.mark.parametrize(("left_out", "status"), [("", 0), ("1", 1)])
def test_without_the_description_it_is_reported_as_not_run(folder, path, left_out, status):
    (folder / "test_passes.py").write_text("def test_passes(): pass\n")
    run = play(folder, sends=[], WECHATPAY_OPENAPI=path, NOTHING_LEFT_OUT=left_out)
    assert run.returncode == status, run.stdout + run.stderr
    assert "\nnot run: WECHATPAY_OPENAPI names no OpenAPI description" in run.stdout
    assert "traffic against" not in run.stdout
