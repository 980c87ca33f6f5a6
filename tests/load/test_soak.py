"""bench.soak in its short form: under load, faults and a storm nothing is lost and everything is explained."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import ROOT

PAGE = (ROOT / "docs" / "soak.md").read_text()


def shown(option: str) -> list[str]:
    """The command of the page that has this option, with this interpreter."""
    (line,) = re.findall(rf"^(?:nice -n -10 )?\.venv/bin/python (-m bench\.soak .*{option}.*?)(?: +#.*)?$", PAGE, re.M)
    return [sys.executable, *shlex.split(line)]


def test_a_minute_of_load_faults_and_overload_loses_nothing(tmp_path: Path):
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm: the disk of a machine that does other things may stand still for seconds")
    figures = tmp_path / "figures.json"
    command = [*shown("--seconds 60"), "--json", str(figures)]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr[-3000:]}"
    found = json.loads(figures.read_text())
    assert found["storm"]["refused"] > 0
    assert found["storm"]["callbacks"] > 0
    assert found["books"]["acknowledged"] > 0
    assert found["books"]["missing"] == found["books"]["differences"] == found["books"]["invented"] == 0


def test_the_yardstick_tells_again_and_again_what_the_same_work_takes():
    (line,) = re.findall(r"^taskset -c 0 \.venv/bin/python (-m bench\.load\.yardstick) +#", PAGE, re.M)
    command = ["timeout", "--signal=INT", "5", sys.executable, *shlex.split(line)]
    told = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert not told.stderr
    rows = [tuple(map(float, row.split())) for row in told.stdout.splitlines()]
    assert len(rows) > 1
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(rows))
    assert all(0 < seconds < 1 for _, seconds in rows)


def test_the_long_form_is_a_command_too():
    run = subprocess.run([*shown("--write docs"), "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--folder" in run.stdout
