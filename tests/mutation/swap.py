"""Mutation tests of what is tested through HTTP: the mutant's code is swapped into a process that has all tests ready.

    build/mutmut/bin/python -m tests.mutation.swap utils/json_body.py --tests tests/utils/test_json_body.py

The same operators as in `python -m tests.mutation`, but a mutant costs a fork and its tests only: nothing is collected
again, and first come the tests that killed its neighbours, then the quick ones among those that run its lines. Code of
functions is exchanged; for constants, tables and classes the module and all that import it are executed anew.

A first run notes which lines each test runs and whether it passes, and passes with all modules executed anew; one that
does not is not used. gunicorn is replaced by a server in this process; what a test starts elsewhere runs no mutant.
Results stay in `--work`, a JSON line a mutant: a second run tests what is new, `--again` what survived.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from tests import support
from tests.mutation.modules import ROOT, Modules
from tests.mutation.stand_ins import Trace, in_this_process, make_keys

if TYPE_CHECKING:
    from tests.mutation.mutants import Mutant

OPTIONS = ["-q", "-s", "-n", "0", "-p", "no:cacheprovider"]
ENDS = {0: "survived", 1: "killed", 3: "killed by its import", -signal.SIGALRM: "timed out"}
SLOW = 0.2  # seconds of processor time for one test
LIMIT = 60.0  # seconds for what a mutant's module does when it is executed


class Runner:
    """A pytest plugin that runs mutants in place of the tests."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._work: Path = options.work
        self._killers: dict[str, list[str]] = defaultdict(list)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        assert threading.active_count() == 1, "a thread would be lost in the forks"
        make_keys()
        self._items = {item.nodeid: item for item in session.items}
        self._modules = Modules()
        self._measure()
        gc.collect()
        gc.freeze()
        gc.disable()
        for path in self._options.only or self._options.modules:
            self._run(path)
        return True

    def pytest_configure(self) -> None:
        support.gunicorn = in_this_process

    # The first run

    def _measure(self) -> None:
        self._work.mkdir(parents=True, exist_ok=True)
        path = self._work / "tests.json"
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        new = [name for name in self._items if name not in known]
        for file in dict.fromkeys(name.partition("::")[0] for name in new):
            known.update(self._measured([name for name in new if name.partition("::")[0] == file]))
            path.write_text(json.dumps(known))
        self._tests = {name: known[name] for name in self._items if known.get(name, {}).get("good")}
        print(f"{len(self._tests)} of {len(self._items)} tests count,", end=" ")
        print(f"{sum(test['cpu'] for test in self._tests.values()):.0f} s", flush=True)

    def _measured(self, names: list[str]) -> dict[str, Any]:
        notes = self._work / "measured.jsonl"
        notes.unlink(missing_ok=True)

        def measure() -> int:
            trace = Trace(self._options.modules)
            with notes.open("a") as file:
                for name, good, took in self._each(names):
                    note = {"good": good, "lines": trace.taken()} | took
                    print(json.dumps([name, note]), file=file, flush=True)
            return 0

        def again() -> int:
            self._modules.execute(self._modules.order)
            with notes.open("a") as file:
                for name, good, took in self._each(names):
                    print(json.dumps([name, {"anew": good} | took]), file=file, flush=True)
            return 0

        for step in (measure, again):
            _forked(step)
        found: dict[str, Any] = {name: {"good": False, "anew": False} for name in names}
        for name, run in map(json.loads, notes.read_text().splitlines()):
            found[name] |= run
        for name in names:
            if not found[name]["good"]:
                print("not used:", name, flush=True)
        anew = sum(test["anew"] for test in found.values())
        print(f"{names[0].partition('::')[0]}: {len(names)} tests, {anew} for tables too", flush=True)
        return found

    def _each(
        self, names: list[str], limit: Callable[[str], float] = lambda name: 300.0
    ) -> Iterator[tuple[str, bool, dict[str, float]]]:
        """Runs the tests: (name, passed, its time); past its limit a test ends the process."""
        for name, after in zip(names, [*names[1:], None], strict=True):
            item = self._items[name]
            self._modules.renew(item)
            signal.setitimer(signal.ITIMER_REAL, limit(name))  # its default action ends the process
            started, used = time.monotonic(), time.process_time()
            reports = _reports(item, self._items[after] if after else None)
            took = {"seconds": time.monotonic() - started, "cpu": time.process_time() - used}
            yield name, not any(report.failed for report in reports), took

    # The mutants

    def _run(self, path: str) -> None:
        source = (ROOT / path).read_text()
        notes = self._work / (path.replace("/", ".") + "l")
        known = {}
        if notes.exists():
            known = {result["name"]: result for result in map(json.loads, notes.read_text().splitlines())}
        from tests.mutation.mutants import mutants_of  # noqa: PLC0415 - needs mutmut, which --help does not

        mutants = list(mutants_of(path, source))
        results = {mutant.name: known[mutant.name] for mutant in mutants if mutant.name in known}
        for result in results.values():
            if result.get("by"):
                self._killers[path].append(result["by"])
        survived = {name for name, result in results.items() if not _is_killed(result)}
        again = self._options.again
        todo = [mutant for mutant in mutants if (mutant.name in survived if again else mutant.name not in results)]
        # By their names, which are hashes: what is not finished is a random sample.
        for mutant in sorted(todo, key=lambda mutant: mutant.name)[: self._options.most]:
            started = time.monotonic()
            result = {"name": mutant.name, "line": mutant.first, "change": mutant.change} | self._judged(path, mutant)
            result["seconds"] = round(time.monotonic() - started, 2)
            results[mutant.name] = result
            with notes.open("a") as file:
                file.write(json.dumps(result, ensure_ascii=False) + "\n")
        self._report(path, [results[mutant.name] for mutant in mutants if mutant.name in results], len(mutants))

    def _judged(self, path: str, mutant: Mutant) -> dict[str, Any]:
        code = compile(mutant.source, str(ROOT / path), "exec")  # no mutant if this fails: then the operators are wrong
        pairs = self._modules.changed_functions(path, code)
        lines = set(range(mutant.first, mutant.last + 1))
        reaching = {name for name, test in self._tests.items() if not lines.isdisjoint(test["lines"].get(path, ()))}
        if pairs and reaching:
            names, swap = self._ordered(path, reaching), lambda: self._modules.exchange(path, pairs)
        else:  # a table, or a function that only made one
            names, swap = self._ordered(path, self._near(path)), lambda: self._modules.execute_with(path, code)
        witness = self._work / f"by.{os.getpid()}"
        witness.write_text("")

        def judge() -> int:
            signal.setitimer(signal.ITIMER_REAL, LIMIT)
            try:
                swap()
            except Exception:  # noqa: BLE001 - whatever it is, nothing could start
                return 3
            for name, good, _ in self._each(names, lambda name: 15 + 10 * self._tests[name]["seconds"]):
                if not good:
                    witness.write_text(name)
                    return 1
            return 0

        code = _forked(judge)
        by = witness.read_text()
        if by:
            self._killers[path].append(by)
        return {"state": ENDS.get(code, f"ended with {code}"), "by": by, "tests": len(names)}

    def _near(self, path: str) -> set[str]:
        """All tests of those files of which some test runs the module; all that there are where none does."""
        anew = {name for name, test in self._tests.items() if test["anew"]}
        files = {name.partition("::")[0] for name in anew if path in self._tests[name]["lines"]}
        return {name for name in anew if name.partition("::")[0] in files} or anew

    def _ordered(self, path: str, reached: set[str]) -> list[str]:
        """The tests to run: what killed others nearby, then the quick ones; as many as `--seconds` allows."""
        recent = self._killers[path]
        rank = {name: -index for index, name in enumerate(recent)}
        often = Counter(recent)
        first = sorted((name for name in rank if name in reached), key=lambda name: (-often[name], rank[name]))[:12]
        seconds = {name: self._tests[name]["cpu"] for name in reached}
        file = {name: name.partition("::")[0] for name in reached}
        rest = sorted(reached - set(first), key=lambda name: (seconds[name] > SLOW, file[name], seconds[name]))
        chosen, left = [], self._options.seconds
        for name in [*first, *rest]:
            if (left := left - seconds[name]) > 0 or not chosen:
                chosen.append(name)
        return chosen

    def _report(self, path: str, results: list[dict[str, Any]], whole: int) -> None:
        states = Counter(result["state"] for result in results)
        for result in results:
            if not _is_killed(result):
                print(f"{path}:{result['line']} {result['name']} {result['state']} {result['tests']} tests")
                print(result["change"], flush=True)
        killed = sum(map(_is_killed, results))
        print(f"| {path} | {whole} | {len(results)} | {killed} | {len(results) - killed} | {dict(states)}", flush=True)


def _reports(item: pytest.Item, after: pytest.Item | None) -> list[pytest.TestReport]:
    if hasattr(item, "_request") and not item._request:
        item._initrequest()
    return runtestprotocol(item, log=False, nextitem=after)


def _is_killed(result: Mapping[str, Any]) -> bool:
    return str(result["state"]).startswith(("killed", "timed out"))


def _forked(do: Callable[[], int]) -> int:
    """The exit code of `do` in a process of its own, whose children end with it."""
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        code = 99
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
            code = do()
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.swap", description=__doc__)
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--only", nargs="+", help="those of the modules to test now")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "swap")
    parser.add_argument("--seconds", type=float, default=10.0, help="of processor time for one mutant's tests")
    parser.add_argument("--again", action="store_true", help="test what survived, and nothing new")
    parser.add_argument("--most", type=int, help="so many mutants of each module now; 0: only the report")
    options = parser.parse_args()
    sys.exit(pytest.main([*OPTIONS, *options.tests], plugins=[Runner(options)]))


if __name__ == "__main__":
    main()
