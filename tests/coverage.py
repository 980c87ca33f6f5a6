"""Branch coverage of the function by its tests, whichever process they run it in.

    python -m tests.coverage [--data FOLDER] [arguments of pytest]

    python -m tests.coverage                                      the tests of FOLDERS
    python -m tests.coverage --data build/coverage tests/utils    adds to what is in that folder
    python -m tests.coverage --data build/coverage --report       what the runs so far add up to

Runs pytest by an interpreter of its own: a virtual environment that has the packages of this one and measures from
its first line. Whatever a test starts as `sys.executable` is measured as well (gunicorn and its workers, the command
line, pytest's own processes), with nothing in its environment. Only what a process had not yet written when SIGKILL
ended it is lost. Runs that add up must be of the same source.

Prints statements and branches of each room, and of each file below LEAST percent what is missed. Ends with 1 when a
room is below LEAST in total, or with pytest's status when tests fail.
"""

from __future__ import annotations

import argparse
import json
import site
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app.py", "routes", "controllers", "services", "config", "utils")
LEAST = 95.0
FOLDERS = ("config", "contract", "doctor", "http", "messages", "orders", "routes", "services", "utils")
NAME = "coverage"  # of data files: each process adds a suffix of its own
# What ends by os._exit() writes as well: a child of a test's own fork.
SETTINGS = """\
[run]
branch = true
parallel = true
patch = _exit
data_file = {data}
include = {files}
"""


def sources(room: str) -> list[Path]:
    path = ROOT / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def measuring_python(folder: Path, data: Path) -> Path:
    """An interpreter, made in `folder`, with this one's packages, that measures whatever it runs into `data`."""
    settings, place = folder / "coveragerc", folder / "venv"
    files = ", ".join(str(path) for room in ROOMS for path in sources(room))
    settings.write_text(SETTINGS.format(data=data / NAME, files=files))
    venv.EnvBuilder(symlinks=True).create(place)
    (packages,) = site.getsitepackages([str(place)])
    variable = "os.environ['COVERAGE_PROCESS_START']"
    lines = (
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})",
        f"import os, coverage; {variable} = {str(settings)!r}; coverage.process_startup(); del {variable}",
    )
    (Path(packages) / "measured.pth").write_text("\n".join(lines) + "\n")
    return place / "bin" / "python"


def measured(data: Path) -> dict[str, Any]:
    """coverage.py's report on every file of the rooms, those included that nothing ran."""
    coverage = Coverage(data_file=str(data / NAME), branch=True, config_file=False)
    coverage.combine([str(data)], keep=True)
    coverage.get_data().touch_files([str(path) for room in ROOMS for path in sources(room)])
    coverage.save()
    with tempfile.TemporaryDirectory() as made:
        written = Path(made) / "report.json"
        coverage.json_report(outfile=str(written))
        report: dict[str, Any] = json.loads(written.read_text())["files"]
    return report


def percent(summary: Mapping[str, int]) -> float:
    """Of statements and branches together, as coverage.py counts it."""
    whole = summary["num_statements"] + summary["num_branches"]
    return 100.0 * (summary["covered_lines"] + summary["covered_branches"]) / whole if whole else 100.0


def rows(report: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, int]]]:
    """Each room and its totals."""
    for room in ROOMS:
        names = [path.relative_to(ROOT).as_posix() for path in sources(room)]
        summaries = [report[name]["summary"] for name in names]
        counted = ("num_statements", "covered_lines", "num_branches", "covered_branches")
        yield room, {key: sum(summary[key] for summary in summaries) for key in counted}


def pytest_sessionfinish() -> None:
    """In pytest and its workers, which read this file as a plugin: a worker that ends slowly may be killed."""
    if running := Coverage.current():
        running.save()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.coverage", allow_abbrev=False)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--report", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as made:
        data = (options.data or Path(made) / "data").resolve()
        data.mkdir(parents=True, exist_ok=True)
        default = ["-n", "2", "--dist", "loadfile", *(f"tests/{folder}" for folder in FOLDERS)]
        status = 0
        if not options.report:
            command = [measuring_python(Path(made), data), "-m", "pytest", "-p", "tests.coverage", *(rest or default)]
            status = subprocess.run(command, cwd=ROOT, check=False).returncode
        report = measured(data)
    totals = list(rows(report))
    print("| room | statements | run | branches | taken | percent |\n|---|---|---|---|---|---|")
    for room, row in totals:
        print(f"| `{room}` |", " | ".join(map(str, row.values())), f"| {percent(row):.1f} |")
    for name, file in report.items():
        if percent(file["summary"]) < LEAST:
            missed = ", ".join(map(str, file["missing_lines"])) or "none"
            branches = ", ".join(f"{begin}->{end}" for begin, end in file["missing_branches"]) or "none"
            print(f"{name}: {percent(file['summary']):.1f} %; lines {missed}; branches {branches}")
    return status or int(any(percent(row) < LEAST for _, row in totals))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
