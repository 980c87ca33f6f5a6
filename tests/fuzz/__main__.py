"""Fuzz one target.

python -m tests.fuzz TARGET --seconds 600         by atheris, guided by coverage (pip install atheris)
python -m tests.fuzz TARGET --seconds 10 --plain  random mutations of the corpus; what the tests run
python -m tests.fuzz TARGET --hex 00ff            one input again
python -m tests.fuzz TARGET --file PATH           one input again
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz import coverage_guided, engine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=engine.TARGETS)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--seed", type=int, default=0, help="of the random mutations")
    parser.add_argument("--found", type=Path, help="a folder for the inputs that atheris finds interesting")
    parser.add_argument("--hex", help="one input")
    parser.add_argument("--file", type=Path, help="one input")
    given = parser.parse_args()
    if given.hex is not None or given.file:
        return _once(given.target, bytes.fromhex(given.hex) if given.hex is not None else given.file.read_bytes())
    if not given.plain:
        coverage_guided.main(given.target, given.seconds, given.found)
        return 0
    return _mutated(given.target, given.seconds, given.seed)


def _once(name: str, data: bytes) -> int:
    engine.target(name).run(data)
    print("nothing found")
    return 0


def _mutated(name: str, seconds: float, seed: int) -> int:
    started = time.monotonic()
    try:
        executions = engine.execute(name, [*engine.corpus(name), *engine.target(name).seeds()])
        replayed = executions
        executions = engine.execute(name, engine.mutations(name, seed), seconds=seconds, executions=executions)
    except engine.Finding as finding:
        print(finding)
        return 1
    print(
        f"{name}: {executions} executions ({replayed} of the corpus), {time.monotonic() - started:.1f} s, nothing found"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
