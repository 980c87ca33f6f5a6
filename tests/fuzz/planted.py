"""Faults planted in a copy of the tree, to see that the fuzzers find them.

    python -m tests.fuzz.planted                  every fault, at most 120 seconds each
    python -m tests.fuzz.planted --only first_key --seconds 300 --seed 7

What is run is `python -m tests.fuzz TARGET --plain` in the copy: random mutations without coverage.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.faults import FAULTS, Fault
from tests.support import ROOT

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "__pycache__", ".*_cache", "build", ".hypothesis", "examples"
)
CONTROL = 5.0  # seconds of each target on the tree as it is
_AFTER = re.compile(r"after (\d+) executions, ([0-9.]+) s")


@contextmanager
def copy_with(fault: Fault | None) -> Iterator[Path]:
    """The tree with the fault in it, or without any."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        if fault is None:
            yield tree
            return
        file = tree / fault.file
        text = file.read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            raise ValueError(f"{fault.name}: {fault.file} holds the text to be replaced {text.count(fault.old)} times")
        file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        yield tree


def hunt(fault: Fault | None, target: str, seconds: float, seed: int) -> tuple[bool, int, float, str]:
    """Whether something was found, after how many executions and seconds, and what the fuzzer said."""
    with copy_with(fault) as tree:
        command = [sys.executable, "-m", "tests.fuzz", target, "--plain"]
        command += [f"--seconds={seconds}", f"--seed={seed}"]
        run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    after = _AFTER.search(run.stdout)
    if run.returncode != 1 or after is None:
        return False, 0, 0.0, (run.stdout + run.stderr)[-300:]
    line = next(line for line in run.stdout.splitlines() if line.startswith(f"{target}: "))
    return True, int(after[1]), float(after[2]), line


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.planted", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=[fault.name for fault in FAULTS], action="append")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faults = [fault for fault in FAULTS if not given.only or fault.name in given.only]
    for target in dict.fromkeys(fault.target for fault in faults):
        if hunt(None, target, CONTROL, given.seed)[0]:
            print(f"{target} finds something without any fault: mend that first")
            return 2
    missed = 0
    for fault in faults:
        found, executions, seconds, said = hunt(fault, fault.target, given.seconds, given.seed)
        missed += not found
        outcome = f"found after {executions} executions, {seconds:.1f} s" if found else "NOT FOUND"
        print(f"{fault.name:<22} {fault.target:<14} {outcome}: {said[:160]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
