"""What the figures are compared with: raw work on the function's core, in the same run."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from bench.processes import CORES, ROOT

_SIGNATURES = """
import sys, time
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
key = rsa.generate_private_key(65537, 2048)
done, began = 0, time.monotonic()
while time.monotonic() - began < float(sys.argv[1]):
    key.sign(b"POST", padding.PKCS1v15(), hashes.SHA256())
    done += 1
print(done / (time.monotonic() - began))
"""
_PERIOD = 0.002  # seconds
_IMPORT = "import flask, requests, marshmallow, cryptography.hazmat.primitives.serialization"


def signatures_a_second(seconds: float, beside: float = 0.0) -> float:
    """RSA-2048 signatures by `cryptography`, while this process keeps its own core busy for such a share of the time.

    Two processors of a virtual machine are often one core's two threads, and each is slower while the other works.
    """
    command = ["taskset", "-c", str(CORES[0]), sys.executable, "-c", _SIGNATURES, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            until = time.perf_counter() + beside * _PERIOD
            while time.perf_counter() < until:
                pass
            time.sleep((1 - beside) * _PERIOD)
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the signatures could not be measured")
    return float(output)


def import_seconds() -> tuple[float, float]:
    """Wall and processor time of an interpreter that imports what the function is built on."""
    command = ["taskset", "-c", str(CORES[0]), sys.executable, "-c", _IMPORT]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
