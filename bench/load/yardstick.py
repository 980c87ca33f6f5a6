"""How quick a core is right now: `taskset -c 0 python -m bench.load.yardstick` measures it five times a second.

Each line is time.monotonic() and the processor time, in seconds, of the same piece of work. A virtual machine's core
may lose half its speed for seconds, when its host has other work for the same core, and no counter in the machine
says so. Asks for half a percent of the core.
"""

from __future__ import annotations

import contextlib
import json
import time

PAUSE, TIMES = 0.2, 5  # seconds; so often the work is done
HEAD = "\r\n".join(f"X-Header-{index}: value {index}; charset=utf-8" for index in range(40))
ORDER = {f"out_trade_no_{index}": {"total": index, "payer": {"openid": "o" * 28}} for index in range(20)}


def work() -> None:
    """What a function written in Python does most: split lines, fill dicts, read and write JSON."""
    headers = {}
    for line in HEAD.split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip().split(";")
    json.loads(json.dumps({**ORDER, **headers}))


def measured() -> float:
    """Seconds of processor time, once what the work needs is near."""
    work()
    began = time.thread_time()
    for _ in range(TIMES):
        work()
    return time.thread_time() - began


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(PAUSE)
            print(f"{time.monotonic():.3f} {measured():.6f}", flush=True)
