"""Finds another CPython on this machine: on PATH, by the launcher `py`, else among pyenv's versions.

`python tests/deploy/interpreters.py 3.10` prints its path, or ends with status 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from glob import glob
from pathlib import Path

_IDENTIFY = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"


def find(version: str) -> Path | None:
    """The installed (not a virtual environment's) CPython of this minor version, such as "3.10"."""
    return next((path for path in _candidates(version) if _is_cpython(path, version)), None)


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    yield Path(sys.base_prefix, "bin", name)
    if on_path := shutil.which(name):
        yield Path(on_path)
    if launcher := shutil.which("py"):  # on Windows no file is called python3.10
        command = [launcher, f"-{version}", "-c", "import sys; print(sys.executable)"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    for root in _pyenv_roots():
        # The glob of Path raises where this user may not enter a home.
        found = glob(f"{root}/versions/{version}.*/bin/{name}")  # noqa: PTH207
        yield from map(Path, sorted(found, reverse=True))


def _pyenv_roots() -> Iterator[Path]:
    if pyenv := shutil.which("pyenv"):
        answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        yield Path(answer.stdout.strip() or "/nonexistent")
    if root := os.environ.get("PYENV_ROOT"):
        yield Path(root)
    if os.name == "posix":
        import pwd  # noqa: PLC0415 - not on Windows

        # The account's home and not HOME, which an empty environment lacks.
        yield Path(pwd.getpwuid(os.getuid()).pw_dir, ".pyenv")


def _is_cpython(path: Path, version: str) -> bool:
    """Whether it runs at all: pyenv's shims stand on PATH for versions that are switched off."""
    if not os.access(path, os.X_OK):
        return False
    answer = subprocess.run([path, "-c", _IDENTIFY], capture_output=True, text=True, check=False)
    return answer.stdout.split() == ["cpython", version]


if __name__ == "__main__":
    found = find(sys.argv[1])
    if found is None:
        sys.exit(1)
    print(found)
