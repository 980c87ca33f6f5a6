"""How fast, how soon, how large: `make bench`, or `python -m bench.speed [--quick] [--json FILE]`.

The function (gunicorn, by scf_bootstrap's command, one worker) has one core for itself. WeChat Pay, which answers over
TLS at once or after a while, and the callers share another one. Every figure is a ratio to raw work on the function's
core, done in the same round, so that it means the same on every machine; memory is in MB. Of all rounds the median
is judged, with the least and the most beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import py_compile
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.processes import CORES, ROOT
from bench.speed import raw
from bench.speed.shop import Function, Load, Shop, number

ROOMS = ("config", "controllers", "routes", "services", "utils")
DELAY = 0.1  # seconds that WeChat Pay takes for an answer, in one measure
MB = 1_000_000


@dataclass(frozen=True)
class Measure:
    """A row of the table. `reach` and `dream` are bounds: from below for rates, from above for costs."""

    name: str
    unit: str
    reach: float
    dream: float
    is_cost: bool = False

    def holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.is_cost else value >= bound


MEASURES = {
    "jsapi-16": Measure("JSAPI orders, 16 clients", "of half the RSA signatures", 0.30, 0.42),
    "jsapi-64": Measure("JSAPI orders, 64 clients", "of half the RSA signatures", 0.36, 0.42),
    "native-16": Measure("QR orders, 16 clients", "of the RSA signatures", 0.20, 0.30),
    "native-64": Measure("QR orders, 64 clients", "of the RSA signatures", 0.24, 0.30),
    "jsapi-waiting": Measure("JSAPI orders, 64 clients, WeChat Pay takes 100 ms", "of 640 a second", 0.85, 0.92),
    "forwarded": Measure("callbacks forwarded with the envelope, 16 clients", "of a bare Flask view", 0.70, 0.90),
    "signed": Measure("callbacks signed by WeChat Pay, 16 clients", "of a bare Flask view", 0.60, 0.70),
    "sqlite": Measure("callbacks kept in SQLite, commit included", "of those that are not kept", 0.35, 0.50),
    "first-order": Measure("processor time from exec to the first order", "of the imports'", 1.10, 0.80, is_cost=True),
    "first-answer": Measure("time from exec to the first /healthz", "of the imports'", 1.05, 0.75, is_cost=True),
    "idle": Measure("memory, idle", "MB", 56, 48, is_cost=True),
    "used": Measure("memory, after the orders", "MB", 72, 60, is_cost=True),
    "spread": Measure("p99 / p50 of a JSAPI order, 16 clients", "", 2.4, 2.0, is_cost=True),
    "connections": Measure("TLS connections per 1,000 orders", "(one a thread)", 64, 64, is_cost=True),
}


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float  # of each load
    callbacks: int  # of each load of them
    orders: int  # before memory is looked at


THOROUGH, QUICK = Plan(5, 4, 1500, 20_000), Plan(1, 1.5, 400, 1000)


@dataclass
class Run:
    """Values by measure, a value a round; and the rates and times that they were made of."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    made_of: dict[str, list[float]] = field(default_factory=dict)
    # To signatures that are made while the other core is as busy as under the load.
    beside: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> float:
        self.made_of.setdefault(name, []).append(value)
        return value

    def ratio(self, name: str, value: float, basis: float) -> None:
        self.values[name].append(self.note(name, value) / basis)


async def measure(shop: Shop, plan: Plan, run: Run, tell: Callable[[str], None]) -> None:
    await shop.wechat.start()
    for index in range(plan.rounds):
        tell(f"round {index + 1} of {plan.rounds}: start")
        await _start(shop, run)
        tell("orders")
        await _orders(shop, plan, run)
        tell("callbacks")
        await _callbacks(shop, plan, run)
    tell("memory")
    await _memory(shop, plan, run)
    if shop.wechat.is_fooled:
        raise RuntimeError("a request was not signed as WeChat Pay wants it")


async def _start(shop: Shop, run: Run) -> None:
    wall, spent = raw.import_seconds()
    run.note("import, wall", wall)
    run.note("import, processor", spent)
    began = time.monotonic()
    async with shop.function() as function:
        await function.healthy()
        run.ratio("first-answer", time.monotonic() - began, wall)
    async with shop.function() as function:
        ((path, body, headers),) = shop.orders("jsapi", [number()])
        await function.answered("POST", path, body, headers)
        run.ratio("first-order", function.processor(), spent)


async def _orders(shop: Shop, plan: Plan, run: Run) -> None:
    async with shop.function() as function:
        await function.healthy()
        await _load(shop, function, "jsapi", 64, 1)  # connections are opened, code is warm
        for scene, clients in (("jsapi", 16), ("jsapi", 64), ("native", 16), ("native", 64)):
            name, needed = f"{scene}-{clients}", 2 if scene == "jsapi" else 1
            signatures = run.note("signatures", raw.signatures_a_second(plan.seconds / 4))
            load = await _load(shop, function, scene, clients, plan.seconds)
            run.ratio(name, load.a_second, signatures / needed)
            beside = run.note("signatures beside", raw.signatures_a_second(plan.seconds / 4, load.busy))
            run.beside.setdefault(name, []).append(load.a_second / (beside / needed))
            if (scene, clients) == ("jsapi", 16):
                run.values["spread"].append(load.p99 / load.p50)
        shop.wechat.delay = DELAY
        load = await _load(shop, function, "jsapi", 64, plan.seconds)
        shop.wechat.delay = 0
        run.ratio("jsapi-waiting", load.a_second, 64 / DELAY)


async def _callbacks(shop: Shop, plan: Plan, run: Run) -> None:
    numbers = [number() for _ in range(plan.callbacks)]
    forwarded, signed = (shop.callbacks(numbers, forwarded=way) for way in (True, False))
    async with shop.function("bench.speed.bare:app") as bare:
        await bare.healthy()
        views = run.note("bare", (await bare.loop(16, forwarded)).a_second)
    async with shop.function() as function:
        await function.healthy()
        await function.loop(16, forwarded[: plan.callbacks // 4])
        without = (await function.loop(16, forwarded)).a_second
        run.ratio("forwarded", without, views)
        run.ratio("signed", (await function.loop(16, signed)).a_second, views)
    database = shop.folder / f"orders-{number()}.sqlite3"
    async with shop.function(orderDatabaseUrl=f"sqlite:///{database}") as function:
        await function.healthy()
        await function.loop(16, shop.orders("native", numbers))
        run.ratio("sqlite", (await function.loop(16, forwarded)).a_second, without)


async def _memory(shop: Shop, plan: Plan, run: Run) -> None:
    async with shop.function() as function:
        await function.healthy()
        run.ratio("idle", function.memory(), MB)
        before = shop.wechat.connections
        numbers = (number() for _ in range(plan.orders))
        await function.loop(16, (shop.orders("jsapi", [one])[0] for one in numbers))
        run.ratio("used", function.memory(), MB)
        run.ratio("connections", shop.wechat.connections - before, plan.orders / 1000)


async def _load(shop: Shop, function: Function, scene: str, clients: int, seconds: float) -> Load:
    return await function.loop(clients, lambda: shop.orders(scene, [number()])[0], seconds)


def table(run: Run) -> str:
    lines = ["| measure | | median | least | most | reach | dream | |", "|---|---|---|---|---|---|---|---|"]
    for name, row in MEASURES.items():
        values = run.values[name]
        middle = median(values)
        verdict = "dream" if row.holds(middle, row.dream) else "reached" if row.holds(middle, row.reach) else "missed"
        shown = [f"{value:.1f}" if row.reach > 10 else f"{value:.2f}" for value in (middle, min(values), max(values))]
        reach = f"{'≤' if row.is_cost else '≥'} {row.reach:g}"
        lines.append(f"| {' | '.join([row.name, row.unit, *shown, reach, f'{row.dream:g}', verdict])} |")
    return "\n".join(lines)


def table_beside(run: Run) -> str:
    """The ratios to signatures under the same conditions."""
    lines = ["| to signatures made while the other core is as busy as under the load | median | least | most |"]
    lines.append("|---|---|---|---|")
    for name, values in run.beside.items():
        shown = (f"{value:.2f}" for value in (median(values), min(values), max(values)))
        lines.append(f"| {MEASURES[name].name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def compiled() -> None:
    """Byte code is there, as in the package: the function never writes any."""
    for file in [ROOT / "app.py", *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]:
        py_compile.compile(str(file), doraise=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, help="where all values go")
    options = parser.parse_args()
    plan = QUICK if options.quick else THOROUGH
    if len(CORES) < 2:
        print("bench.speed needs two processor cores: one is the function's alone", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {CORES[-1]})
    compiled()
    run, began = Run(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        asyncio.run(measure(Shop(Path(folder)), plan, run, lambda what: print(f"... {what}", file=sys.stderr)))
    print(table(run))
    print(f"\n{table_beside(run)}")
    print(f"\nCPython {platform.python_version()}, {plan.rounds} rounds, {time.monotonic() - began:.0f} s")
    if options.json:
        rows = {name: {**vars(row), "values": run.values[name]} for name, row in MEASURES.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        found = {"measures": rows, "beside": run.beside, "made of": run.made_of}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
