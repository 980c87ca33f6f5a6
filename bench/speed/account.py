"""Where the processor time of a request goes: `python -m bench.speed.account [--json FILE]`.

Each scene runs twice under 16 clients: as `make bench` runs it, and with a clock around each stage (`clocked.py`).
What the clocks themselves cost, the difference of both, is taken off each stage by the number of its calls, so that the
stages and what is outside them make up the processor time of a request without clocks. Microseconds a request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import CORES
from bench.speed import raw
from bench.speed.__main__ import compiled
from bench.speed.shop import Function, Request, Shop, number

CLIENTS, SECONDS, CALLBACKS = 16, 6.0, 3000
SCENES = {
    "JSAPI": "jsapi",
    "QR": "native",
    "forwarded": "forwarded",
    "signed": "signed",
    "kept in SQLite": "sqlite",
    "QR, in SQLite": "stored",
}
STORED = ("sqlite", "stored")
OUTSIDE, ALL = "outside the stages", "**all**"
Spent = dict[str, list[int]]


@dataclass(frozen=True)
class Load:
    """Under one load: microseconds of processor time a request, requests a second, and the stages' nanoseconds."""

    processor: float
    a_second: float
    requests: int
    spent: Spent


async def account(shop: Shop, scene: str) -> tuple[Load, Load]:
    """Without clocks, and with."""
    plain = await _load(shop, scene, "app:app")
    return plain, await _load(shop, scene, "bench.speed.clocked:app")


async def _load(shop: Shop, scene: str, application: str) -> Load:
    more = {}
    if scene in STORED:
        more["orderDatabaseUrl"] = f"sqlite:///{shop.folder / number()}.sqlite3"
    async with shop.function(application, **more) as function:  # type: ignore[arg-type]
        await function.healthy()
        warm_up, requests, seconds = await _requests(shop, scene, function)
        await function.loop(CLIENTS, warm_up, seconds and 1)
        before, clocks = function.processor(), await _clocks(function, application)
        load = await function.loop(CLIENTS, requests, seconds)
        spent = function.processor() - before
        after = await _clocks(function, application)
    difference = {stage: [new - old for new, old in zip(after[stage], clocks[stage], strict=True)] for stage in after}
    return Load(spent / load.requests * 1e6, load.a_second, load.requests, difference)


async def _requests(
    shop: Shop, scene: str, function: Function
) -> tuple[list[Request] | Callable[[], Request], list[Request] | Callable[[], Request], float]:
    """Those before, those that count, and for how long they are made; 0: there are so many."""
    if scene in ("jsapi", "native", "stored"):
        def make() -> Request:
            return shop.orders("jsapi" if scene == "jsapi" else "native", [number()])[0]

        return make, make, SECONDS
    numbers = [number() for _ in range(CALLBACKS)]
    if scene == "sqlite":
        await function.loop(CLIENTS, shop.orders("native", numbers))
    made = shop.callbacks(numbers, forwarded=scene != "signed")
    few = CALLBACKS // 10
    return made[:few], made[few:], 0


async def _clocks(function: Function, application: str) -> Spent:
    if application == "app:app":
        return {}
    found: Spent = (await function.client.send("GET", "/clocks")).json
    return found


def stages(plain: Load, clocked: Load) -> dict[str, float]:
    """Microseconds a request by stage, without what the clocks cost."""
    calls = sum(times for _, times in clocked.spent.values()) / clocked.requests
    clock = max(0.0, clocked.processor - plain.processor) / calls
    found = {
        stage: max(0.0, (spent / 1000 - times * clock) / clocked.requests)
        for stage, (spent, times) in clocked.spent.items()
    }
    return {**found, OUTSIDE: plain.processor - sum(found.values()), ALL: plain.processor}


def table(found: dict[str, dict[str, float]]) -> str:
    names = [name for name in next(iter(found.values())) if name not in (OUTSIDE, ALL)]
    names.sort(key=lambda name: -max(scene[name] for scene in found.values()))
    lines = [f"| stage | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for name in [*names, OUTSIDE, ALL]:
        values = [scene[name] for scene in found.values()]
        if any(round(value) for value in values):
            lines.append(f"| {name} | {' | '.join(f'{value:.0f}' if round(value) else '' for value in values)} |")
    return "\n".join(lines)


async def measured(shop: Shop) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """By scene: the stages' microseconds, and requests a second without clocks."""
    await shop.wechat.start()
    found, rates = {}, {}
    for name, scene in SCENES.items():
        print(f"... {name}", file=sys.stderr)
        plain, clocked = await account(shop, scene)
        found[name], rates[name] = stages(plain, clocked), plain.a_second
    return found, rates


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speed.account", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="where all values go")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CORES[-1]})
    compiled()
    with tempfile.TemporaryDirectory(prefix="account-") as folder:
        found, rates = asyncio.run(measured(Shop(Path(folder))))
    signature = 1e6 / raw.signatures_a_second(2)
    print(table(found))
    print("\nrequests a second: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    print(f"one RSA signature by itself: {signature:.0f} µs")
    if options.json:
        values = {"stages": found, "a second": rates, "signature": signature}
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
