"""What the measuring interpreter runs is measured, whoever starts it and however it ends; what nothing ran counts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.coverage import ROOT, measured, measuring_python, percent

# As gunicorn and its worker: a forked child, which leaves as abruptly as a process can by itself.
FORKING = """
import os
from utils import texts
if os.fork() == 0:
    from utils import json_body
    os._exit(0)
os.wait()
"""


def test_processes_with_nothing_in_their_environment_are_measured(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    python = measuring_python(tmp_path, data)
    subprocess.run([python, "-c", FORKING], cwd=ROOT, env={}, timeout=60, check=True)
    report = measured(data)
    run, run_by_the_child, never_run = (report[f"utils/{name}.py"] for name in ("texts", "json_body", "fields"))
    assert run["summary"]["covered_lines"] > 0
    assert run_by_the_child["summary"]["covered_lines"] > 0
    assert 0 < percent(run["summary"]) < 100
    assert run["missing_branches"]
    assert percent(never_run["summary"]) == 0
    assert never_run["summary"]["num_statements"] > 50
