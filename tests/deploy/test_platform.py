"""The whole check is a script, because it needs a process of its own: platform_check.py says what it does."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_function_runs_under_the_platforms_conditions():
    command = [sys.executable, "-m", "tests.deploy.platform_check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
