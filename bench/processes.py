"""Processes of a measurement: each pinned to a core, and what /proc tells of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The function has the first core for itself, whatever talks to it shares the last.
CORES = sorted(os.sched_getaffinity(0))
START = 60.0  # seconds


@contextmanager
def running(
    command: Sequence[str], cores: Sequence[int], log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """With these variables and no others, or with those of this process; ends with the block."""
    environment = None if env is None else {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env}
    pinned = ["taskset", "-c", ",".join(map(str, cores)), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(pinned, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def server_command(address: str, application: str = "app:app") -> list[str]:
    """The last line of scf_bootstrap with this interpreter and a loopback address."""
    words = shlex.split((ROOT / "scf_bootstrap").read_text().rstrip().splitlines()[-1])
    replaced = {"0.0.0.0:9000": address, "app:app": application}
    return [sys.executable, *(replaced.get(word, word) for word in words[2:])]


def server_environment() -> dict[str, str]:
    """What scf_bootstrap exports where it is not set, beside the search path."""
    exported = re.findall(r"^export (\w+)=\$\{\1:-(.*)\}$", (ROOT / "scf_bootstrap").read_text(), re.MULTILINE)
    return dict(exported)


def awaited(ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str, pause: float = 0.05) -> None:
    """Raises RuntimeError when it does not come about."""
    give_up = time.monotonic() + START
    while not ready():
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"{what} does not start")
        time.sleep(pause)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pss(pid: int) -> int:
    """Bytes of memory, what is shared divided by those who share it."""
    return memory(pid)["Pss"]


def memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(size.split(maxsplit=1)[0]) * 1024 for name, size in (line.split(":", 1) for line in lines)}


def stolen(core: int) -> float:
    """Seconds in which this core had work and the host of the virtual machine ran something else [proc_stat(5)]."""
    (line,) = re.findall(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    return int(line.split()[7]) / os.sysconf("SC_CLK_TCK")


def processor(pid: int) -> float:
    """Seconds of processor time of all its threads, those that have ended too: the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)
