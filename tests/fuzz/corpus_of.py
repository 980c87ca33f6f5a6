"""Make a target's corpus of what runs found: few, small inputs that reach everything the others reach.

    python -m tests.fuzz.corpus_of TARGET FOLDER [FOLDER ...]

Takes the seeds, the corpus that is there and the folders' files, the smallest first, and keeps what takes a step from
line to line of the function or of the oracle that none before it took.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz import engine
from tests.support import ROOT

MOST, LARGEST = 60, 200_000
_ROOMS = tuple(
    f"{ROOT / room}/" for room in ("config", "controllers", "routes", "services", "utils", "tests/fuzz/targets")
)
Step = tuple[str, int, int]


def steps_of(run: Any, data: bytes) -> set[Step]:
    """The steps from line to line, in all threads."""
    steps: set[Step] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_ROOMS):
            return None
        last = frame.f_lineno

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            steps.add((file, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    return steps


def main(name: str, *folders: str) -> None:
    target = engine.target(name)
    files = [path.read_bytes() for folder in folders for path in sorted(Path(folder).glob("*")) if path.is_file()]
    found = sorted({*target.seeds(), *engine.corpus(name), *files}, key=lambda data: (len(data), data))
    target.run(found[0])  # what is set up at the first use
    gains: list[tuple[int, bytes]] = []
    reached: set[Step] = set()
    for data in found:
        new = steps_of(target.run, data) - reached
        reached |= new
        if new:
            gains.append((len(new), data))
    kept: list[bytes] = []
    for _, data in sorted(gains, key=lambda gain: -gain[0])[:MOST]:
        if sum(map(len, kept)) + len(data) <= LARGEST:
            kept.append(data)
    for path in (engine.CORPUS / name).glob("*"):
        path.unlink()
    for data in kept:
        engine.keep(name, data)
    size = sum(map(len, kept))
    print(f"{name}: {len(found)} inputs, {len(gains)} tell, {len(kept)} kept, {size} bytes, {len(reached)} steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
