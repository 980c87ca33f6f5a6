"""Two pictures: latency against load up to five times the capacity, throughput against workers on one and two cores.

`python -m bench.speed.curves [--write docs] [--json FILE]`. JSAPI orders, WeChat Pay answering after 20 ms. The load
is an open loop: orders come whatever is answered. With two cores for the function the callers share them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.load import plot
from bench.load.client import Gone
from bench.processes import CORES
from bench.speed.__main__ import compiled
from bench.speed.shop import Function, Shop, number

DELAY = 0.02  # seconds that WeChat Pay takes
LOADS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0)  # times the capacity
SECONDS = 6.0  # of each load
WORKERS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Point:
    """At so many times the capacity: milliseconds, and shares of what came."""

    load: float
    a_second: float
    p50: float | None
    p99: float | None
    refused: float
    refused_p99: float | None
    lost: float


async def latencies(shop: Shop) -> tuple[float, list[Point]]:
    async with shop.function() as function:
        await function.healthy()
        capacity = 0.0
        for clients in (16, 32, 64):
            load = await function.loop(clients, lambda: shop.orders("jsapi", [number()])[0], SECONDS)
            capacity = max(capacity, load.a_second)
        points = [await _point(shop, function, load, capacity) for load in LOADS]
    return capacity, points


async def _point(shop: Shop, function: Function, load: float, capacity: float) -> Point:
    served: list[float] = []
    refused: list[float] = []
    lost = 0

    async def one() -> None:
        nonlocal lost
        ((path, body, headers),) = shop.orders("jsapi", [number()])
        try:
            answer = await function.client.send("POST", path, body, headers)
        except Gone:
            lost += 1
        else:
            (served if answer.status == 200 else refused).append(answer.seconds)

    tasks, began, sent = set(), time.monotonic(), 0
    while (due := sent / (load * capacity)) < SECONDS:
        if (ahead := began + due - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        tasks.add(asyncio.create_task(one()))
        sent += 1
    await asyncio.wait(tasks)
    await asyncio.sleep(1)
    return Point(
        load, sent / SECONDS, _at(served, 0.5), _at(served, 0.99), len(refused) / sent, _at(refused, 0.99), lost / sent
    )


def _at(values: list[float], share: float) -> float | None:
    """Milliseconds."""
    return sorted(values)[int(len(values) * share)] * 1000 if values else None


async def throughputs(shop: Shop) -> dict[int, list[tuple[int, float]]]:
    """Orders a second by number of workers, for each number of cores."""
    found: dict[int, list[tuple[int, float]]] = {}
    for cores in (1, 2):
        for workers in WORKERS:
            async with shop.function(cores=CORES[:cores], workers=workers) as function:
                await function.healthy()
                await function.loop(64, lambda: shop.orders("jsapi", [number()])[0], 2)
                load = await function.loop(64, lambda: shop.orders("jsapi", [number()])[0], SECONDS)
                found.setdefault(cores, []).append((workers, load.a_second))
    return found


def pictures(
    capacity: float, points: Sequence[Point], by_workers: dict[int, list[tuple[int, float]]]
) -> dict[str, str]:
    """File name -> SVG."""

    def curve(name: str, field: str, factor: float = 1.0) -> plot.Curve:
        values = [(point.load, getattr(point, field)) for point in points]
        return plot.Curve(name, [(x, None if y is None else y * factor) for x, y in values])

    return {
        "latency.svg": plot.picture(
            f"JSAPI orders on one core: latency against load; capacity {capacity:.0f} a second",
            "times the capacity",
            [
                plot.Panel("Served", "ms", [curve("p50", "p50"), curve("p99", "p99")], least=10.0),
                plot.Panel("Refused at once, 503", "% of what came", [curve("refused", "refused", 100)]),
                plot.Panel("Time to be refused", "ms", [curve("p99", "refused_p99")], least=1.0),
            ],
        ),
        "workers.svg": plot.picture(
            "JSAPI orders against workers",
            "workers",
            [
                plot.Panel(
                    "64 clients",
                    "orders a second",
                    [
                        plot.Curve(f"{cores} core{'s' if cores > 1 else ''}", [(float(x), y) for x, y in values])
                        for cores, values in by_workers.items()
                    ],
                )
            ],
        ),
    }


async def measured(shop: Shop) -> tuple[float, list[Point], dict[int, list[tuple[int, float]]]]:
    await shop.wechat.start()
    shop.wechat.delay = DELAY
    capacity, points = await latencies(shop)
    return capacity, points, await throughputs(shop)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speed.curves", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="docs", help="folder whose images get the pictures")
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CORES[-1]})
    compiled()
    with tempfile.TemporaryDirectory(prefix="curves-") as folder:
        capacity, points, by_workers = asyncio.run(measured(Shop(Path(folder))))
    print(f"capacity: {capacity:.0f} orders a second")
    for point in points:
        print({name: value if value is None else round(value, 3) for name, value in asdict(point).items()})
    for cores, values in by_workers.items():
        print(f"{cores} core(s):", ", ".join(f"{workers} workers {rate:.0f} a second" for workers, rate in values))
    found: dict[str, Any] = {"capacity": capacity, "latency": list(map(asdict, points)), "workers": by_workers}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.write:
        for name, svg in pictures(capacity, points, by_workers).items():
            (options.write / "images" / name).write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
