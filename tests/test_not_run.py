"""Runs of their own, in an empty folder: what they left out stands in their last lines, and may fail them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

CONFTEST = """
from tests.not_run import NotRun

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(NotRun())
"""
TESTS = {
    "test_a.py": """
import pytest

@pytest.mark.parametrize("x", range(3))
def test_skips(x):
    pytest.skip("not run: node is not installed")

@pytest.mark.skipif(True, reason="not run: chromium is not installed")
def test_is_marked():
    pass

@pytest.fixture
def node():
    pytest.skip("not run: node is not installed")

def test_has_a_fixture(node):
    pass

def test_passes():
    pass
""",
    "test_b.py": """
import pytest

pytest.skip("not run: node is not installed", allow_module_level=True)
""",
    "test_c.py": """
import pytest

def test_skips_for_another_reason():
    pytest.skip("this is not run: on Sundays")

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail():
    raise ValueError("not run: no")
""",
}
LINES = ["not run: chromium is not installed (1 test)", "not run: node is not installed (4 tests, 1 file)"]
PROCESSES = [(), ("-n", "2", "--dist", "loadfile")]


def play(folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-p", "xdist", "-c", "pytest.ini", *options],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take longer to load than these runs take
            **env,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("processes", PROCESSES)
def test_what_was_left_out_stands_in_the_last_lines_and_fails_nothing(folder, processes):
    run = play(folder, *processes)
    assert run.returncode == 0, run.stdout + run.stderr
    *_, chromium, node, totals = run.stdout.splitlines()
    assert [chromium, node] == LINES
    assert "1 passed, 7 skipped, 1 xfailed" in totals
    assert run.stdout.count("\nnot run: ") == 2


@pytest.mark.parametrize("processes", PROCESSES)
def test_it_fails_a_run_that_must_leave_nothing_out(folder, processes):
    run = play(folder, *processes, NOTHING_LEFT_OUT="1")
    assert run.returncode == 1, run.stdout + run.stderr
    *_, chromium, node, verdict, totals = run.stdout.splitlines()
    assert [chromium, node] == LINES
    assert "NOTHING_LEFT_OUT=1" in verdict
    assert "failed" in verdict
    assert "1 passed" in totals


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_complete_run_says_nothing_of_it(folder, processes):
    for name in ("test_a.py", "test_b.py"):
        (folder / name).write_text("def test_passes(): pass\n")
    run = play(folder, *processes, NOTHING_LEFT_OUT="1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\nnot run: " not in run.stdout
    assert "NOTHING_LEFT_OUT" not in run.stdout


def test_a_failed_test_stays_the_failure(folder):
    (folder / "test_c.py").write_text("def test_fails(): assert False\n")
    run = play(folder, NOTHING_LEFT_OUT="1")
    assert run.returncode == 1
    assert "1 failed" in run.stdout
    assert all(line in run.stdout for line in LINES)
