"""The same targets under atheris (libFuzzer), guided by the coverage of the function, of PyJWT and of the oracles."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz import engine

INSTRUMENTED = ["app", "config", "controllers", "routes", "services", "utils", "jwt", "tests.fuzz.targets"]


def main(name: str, seconds: float, found: Path | None) -> None:
    """Never returns: libFuzzer ends the process, with its figures on standard error and 0 where nothing was found."""
    try:
        import atheris  # noqa: PLC0415 - it is no part of the tests' requirements
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris, or add --plain")
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = engine.target(name)
    found = found or Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*engine.corpus(name), *target.seeds()]):
        (found / f"seed{number:03}").write_bytes(data)
    words = found.parent / f"{found.name}.words"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in target.TOKENS))
    with engine.watched() as call:

        def one(data: bytes) -> None:
            try:
                call(target.run, data)
            except BaseException:
                print(f"again: python -m tests.fuzz {name} --hex {data.hex()}", flush=True)
                raise

        options = [
            f"-max_total_time={seconds:.0f}",
            f"-max_len={engine.MAX_LENGTH}",
            "-timeout=30",
            "-print_final_stats=1",
        ]
        options += [f"-dict={words}"] if target.TOKENS else []
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found}-", str(found)], one)
        print(f"interesting inputs go to {found}", flush=True)
        atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token[:60])
