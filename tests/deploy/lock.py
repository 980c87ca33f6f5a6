"""Locks the files of every pinned package by their hashes: `python -m tests.deploy.lock`, after any change of a pin.

pip then installs nothing that the index did not hold on that day, for whatever platform and however it is asked
(`--require-hashes` is implied by the first hash of a file). Names, versions, markers and comments stay as they are.
The hashes come from the index by way of uv, which is needed for this alone: `pip install uv`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.deploy.package import ROOT, canonical, logical_lines

FILES = ("requirements.txt", "requirements-orders.txt", "requirements-dev.txt")
_OLDEST = "3.10"
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


def renew(file: Path) -> int:
    """Write `file` with the hashes of today's index; returns how many files of packages are locked."""
    lines = [text for _, text in logical_lines(file)]
    pins = [text.partition("--hash")[0].strip() for text in lines if _PIN.match(text)]
    hashes = ask(pins)
    written = []
    for text in lines:
        pin = text.partition("--hash")[0].strip()
        written.append(" \\\n    ".join([pin, *hashes[_key(pin)]]) if _PIN.match(text) else text)
    file.write_text("".join(f"{text}\n" for text in written), encoding="utf-8")
    return sum(map(len, hashes.values()))


def ask(pins: list[str]) -> dict[tuple[str, str], list[str]]:
    """For each pin `--hash=sha256:...`, once for every file that the index holds for its version."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.in")
        wanted.write_text("\n".join(pins), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-deps", "--no-header"]
        command += ["--no-annotate", "--generate-hashes", f"--python-version={_OLDEST}", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"uv does not tell the hashes:\n{done.stderr.strip()}")
        compiled = Path(folder, "compiled.txt")
        compiled.write_text(done.stdout, encoding="utf-8")
        return {
            _key(text): re.findall(r"--hash=sha256:[0-9a-f]{64}", text) for _, text in logical_lines(compiled)
        }


def _key(text: str) -> tuple[str, str]:
    found = _PIN.match(text)
    assert found is not None, text
    return canonical(found[1]), found[2]


if __name__ == "__main__":
    for name in FILES:
        print(f"{name}: {renew(ROOT / name)} files of packages locked")
