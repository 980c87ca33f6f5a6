"""Mutation tests with mutmut: change the code in many small ways, and see whether the tests notice each.

    python3.11 -m venv build/mutmut
    build/mutmut/bin/pip install -r requirements-dev.txt  # with hashes, which the next has none of
    build/mutmut/bin/pip install -r tests/mutation/requirements.txt
    build/mutmut/bin/python -m tests.mutation services/wechatpay --tests tests/services/wechatpay

Works on a copy of what git lists, in build/mutation (or `--work`), and keeps its results there: a second run tests only
what is new or was changed, `--again` also what survived, `--report` nothing. The tests have to run the mutated code in
their own process: gunicorn's workers would run it unmutated. docs/mutation.md holds the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# mutmut keeps exit codes, and -SIGXCPU for what ran over its time.
STATES = {0: "survived", 1: "killed", 33: "no test", -24: "timed out", None: "not tested"}


def copy_to(work: Path) -> None:
    """What git lists, as it is on the disk now; unchanged files keep their times, by which mutmut knows them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, work / name
        if source.is_symlink() or not source.is_file():
            continue
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def configure(work: Path, sources: list[str], tests: list[str]) -> None:
    others = sorted(path.name for path in work.iterdir() if path.name not in ("mutants", "setup.cfg", "witness.jsonl"))
    values = {
        "source_paths": sources,
        "also_copy": others,
        "pytest_add_cli_args": ["-p", "tests.mutation.witness", "-p", "no:xdist", "-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": tests,
        # A mutant's time: three times that of its tests in the first run, and three minutes for a busy machine.
        "timeout_multiplier": ["3"],
        "timeout_constant": ["60"],
        "use_git_change_detection": ["false"],
    }
    lines = [f"{name} =\n" + "".join(f"    {value}\n" for value in listed) for name, listed in values.items()]
    (work / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))


def metas(work: Path) -> dict[str, dict[str, Any]]:
    """mutmut's notes by the module's path."""
    found = {}
    for path in sorted((work / "mutants").rglob("*.py.meta")):
        found[str(path.relative_to(work / "mutants").with_suffix(""))] = json.loads(path.read_text())
    return found


def witnessed(work: Path) -> dict[str, str]:
    """What killed each mutant. mutmut takes every end of a test run for a kill, if only an option was wrong."""
    lines = map(json.loads, (work / "witness.jsonl").read_text().splitlines())
    return {line["mutant"]: line["by"] for line in lines}


def forget(work: Path, *, survivors: bool) -> None:
    """What nobody saw killed is tested again, and all `survivors` if that is wanted."""
    seen = witnessed(work)
    for module, meta in metas(work).items():
        for name, code in meta["exit_code_by_key"].items():
            if (survivors if code != 1 else name not in seen):
                meta["exit_code_by_key"][name] = None
        (work / "mutants" / f"{module}.meta").write_text(json.dumps(meta))
    if survivors and (rest := work / "rest.json").exists():
        killed = {
            module: {name: result for name, result in results.items() if result["state"] == "killed"}
            for module, results in json.loads(rest.read_text()).items()
        }
        rest.write_text(json.dumps(killed))


def report(work: Path) -> None:
    """What was not killed, with its change; what killed the others; and a table by module."""
    os.chdir(work)
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415 - reads setup.cfg where it stands

    table = ["| module | mutants | killed | timed out | survived | no test | |", "|---|---|---|---|---|---|---|"]
    whole = Counter[str]()
    rest = json.loads((work / "rest.json").read_text()) if (work / "rest.json").exists() else {}
    for module, meta in metas(work).items():
        states = {name: STATES.get(code, f"ended with {code}") for name, code in meta["exit_code_by_key"].items()}
        for name, state in states.items():
            if state != "killed":
                print(f"{name}: {state}", get_diff_for_mutant(name, path=Path(module)), sep="\n", end="\n\n")
        for name, result in rest.get(module, {}).items():
            states[name] = result["state"]
            if states[name] != "killed":
                print(f"{states[name]}: {name}", end="\n\n")
        if states:
            counts = Counter(states.values())
            whole += counts
            table.append(row(module, counts))
    by = Counter(witnessed(work).values())
    print("killed by:", *(f"{name} {count}" for name, count in by.most_common()))
    print(*table, row("all", whole), sep="\n")


def row(name: str, counts: Counter[str]) -> str:
    known = ("killed", "timed out", "survived", "no test")
    share = 100 * (counts["killed"] + counts["timed out"]) / counts.total()
    odd = "".join(f", {count} {state}" for state, count in counts.items() if state not in known)
    return f"| {name} | {counts.total()} | {' | '.join(str(counts[state]) for state in known)} | {share:.1f} %{odd} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("sources", nargs="+", help="folders and files to mutate")
    parser.add_argument("--tests", nargs="+", required=True, help="folders and files; others discard the results")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutation")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="of tests for one mutant, instead of all")
    parser.add_argument("--again", action="store_true", help="test what was not killed again")
    parser.add_argument("--report", action="store_true", help="test nothing")
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    if not arguments.report:
        work.mkdir(parents=True, exist_ok=True)
        copy_to(work)
        configure(work, arguments.sources, arguments.tests)
        (work / "witness.jsonl").touch()
        forget(work, survivors=arguments.again)
        environment = {**os.environ, "MUTATION_WITNESS": str(work / "witness.jsonl")}
        environment["MUTATION_SECONDS"] = str(arguments.seconds)
        command = [sys.executable, "tests/mutation/tool.py", "run", "--max-children", str(arguments.workers)]
        subprocess.run(command, cwd=work, env=environment, check=True)
        command = [sys.executable, "tests/mutation/rest.py", str(arguments.workers)]
        subprocess.run(command, cwd=work, env=environment, check=True)
    report(work)


if __name__ == "__main__":
    main()
