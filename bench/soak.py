"""Load and soak: `nice -n -10 python -m bench.soak [--minutes 30] [--folder DIR] [--json FILE] [--write docs]`.

The function (gunicorn, by scf_bootstrap's command, with an order database) has one core for itself; the sandbox and
this generator, each a process, share another one. Where the host gives the function's core more or less from one moment
to the next, an open loop follows: a yardstick, which knows nothing of the function, tells the speed. In turn:

    capacity   a closed loop with more and more clients: how many arrivals a second the function serves at most
    filling    more orders than there are places for, for some seconds: every thread has been in use once
    gauge      an open loop for two minutes, until what follows from arrivals is under way too: reconcile asks about
               orders that nobody pays again and again. How much of the processor it takes makes the capacity
    soak       an open loop at 70 % of it: orders, queries, refunds, payments and their callbacks, forged callbacks, bad
               input, clients that vanish; one call of WeChat Pay in a hundred is spoilt, each kind of fault in turn
    storm      an open loop of orders and queries at five times the capacity, while callbacks go on
    recovery   70 % again: how long until answers are as quick as before
    books      all told, and reconciled: is everything kept that was acknowledged, does every state agree

It ends with 1 if a check fails. `--seconds 60` is the short form: all of it in about that time, without judging times,
for machines that do other things as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.callbacks import database
from bench.load import figures, report
from bench.load.books import Books
from bench.load.client import Client
from bench.load.figures import Run
from bench.load.traffic import MIX, STORM, Traffic, every
from bench.load.watch import Watch
from bench.load.world import World, world

GAUGE, OVER = 0.6, 5  # times the capacity
PLACES = 64  # for callers, in the function
PATIENCE = 420.0  # seconds for reconcile to find out what is not settled


@dataclass(frozen=True)
class Plan:
    """Seconds of each phase; `slow` is what WeChat Pay takes for an answer in the storm besides.

    `judged` says whether times and memory are.
    """

    levels: tuple[int, ...]
    level: float
    filling: float
    gauge: float
    soak: float
    share: float
    storm: float
    recovery: float
    timer: float
    warm_up: float
    slow: float
    judged: bool

    @classmethod
    def long(cls, minutes: float) -> Plan:
        warm_up = min(180.0, minutes * 20)
        return cls((4, 8, 16, 32), 20, 10, 120, minutes * 60, 0.7, 25, 15, 10, warm_up, 0, judged=True)

    @classmethod
    def short(cls, seconds: float) -> Plan:
        """Half the capacity, because what others do on the machine takes from it; and a storm that its speed does not
        decide: orders fill all places while they wait for WeChat Pay.
        """
        tenth = seconds / 10
        return cls((4, 16), tenth / 2, 0, 0, 6 * tenth, 0.5, tenth, tenth, 5, tenth, 1, judged=False)


async def measure(it: World, plan: Plan, url: str) -> Run:
    client, control = Client(it.function), Client(it.control)
    traffic = Traffic(it, client, control)
    watch = Watch(traffic.at_control)
    run = Run(traffic.outcomes, watch, traffic)
    looking = asyncio.create_task(every(1.0, watch.look))
    reading = asyncio.create_task(every(1.0, lambda: _read(it, run)))
    timer = asyncio.create_task(every(plan.timer, traffic.reconcile))
    try:
        await _capacity(traffic, plan, run)
        if plan.filling:
            await _fill(traffic, plan)
        if plan.gauge:
            await _gauge(traffic, plan, run)
        await _soak(traffic, watch, plan, run)
        await _storm(traffic, plan, run)
        timer.cancel()
        await _quiet(traffic, client, it, run)
        await _balance(traffic, watch, Books(url), run)
        for task in (looking, reading):  # what went wrong there is told here
            if task.done():
                task.result()
    finally:
        for task in (timer, looking, reading):
            task.cancel()
        client.close()
        control.close()
    return run


async def _read(it: World, run: Run) -> None:
    run.readings.append(it.reading())


async def _capacity(traffic: Traffic, plan: Plan, run: Run) -> None:
    traffic.paying, traffic.hints, traffic.phase = 1.0, False, "capacity"
    run.begin("capacity")
    for clients in plan.levels:
        run.levels[clients] = await traffic.closed_loop(clients, plan.level, MIX)
    run.end("capacity")
    begin, end = run.spans["capacity"]
    run.usual = statistics.median(one.yardstick for one in run.readings if begin <= one.at <= end)
    await traffic.settle()


async def _fill(traffic: Traffic, plan: Plan) -> None:
    """Orders take all places while WeChat Pay is slow, and twice as many come; forgers come all at once to the rest."""
    traffic.phase = "filling"
    await traffic.at_control("POST", "/sandbox/faults", {"kind": "latency", "seconds": 1})
    for _ in range(int(plan.filling)):
        for _ in range(2 * PLACES):
            traffic.arrive({"forged": 1})
        await traffic.at_rate(lambda: 2 * PLACES, 1, STORM)
    await traffic.at_control("DELETE", "/sandbox/faults")
    await traffic.settle()


async def _gauge(traffic: Traffic, plan: Plan, run: Run) -> None:
    """At a share of what the closed loop reached; its second half counts."""
    traffic.paying, traffic.hints, traffic.phase = 2.0, True, "gauge"
    await traffic.at_rate(_paced(run, GAUGE), plan.gauge / 2, MIX)
    run.begin("gauge")
    await traffic.at_rate(_paced(run, GAUGE), plan.gauge / 2, MIX)
    run.end("gauge")
    used, _, _, taken, _ = run.processor("gauge")
    run.gauged = GAUGE * run.capacity * (1 - taken) / used  # of what was there of the core


def _paced(run: Run, share: float) -> Callable[[], float]:
    """So many times the capacity, as it is at the speed that the core has at each moment."""
    return lambda: share * run.capacity * run.speed()


async def _soak(traffic: Traffic, watch: Watch, plan: Plan, run: Run) -> None:
    traffic.paying, traffic.hints, traffic.phase = 2.0, True, "soak"
    await watch.begin()
    run.begin("soak")
    run.lags["soak"] = await traffic.at_rate(_paced(run, plan.share), plan.soak, MIX)
    run.end("soak")
    await traffic.settle()
    await watch.end()


async def _storm(traffic: Traffic, plan: Plan, run: Run) -> None:
    """Between two calm phases, which are the same but for what came before them."""
    traffic.hints = False
    for phase, share, seconds, mix in (
        ("before", plan.share, plan.recovery, MIX),
        ("storm", OVER, plan.storm, STORM),
        ("recovery", plan.share, plan.recovery, MIX),
    ):
        traffic.phase = phase
        slow = plan.slow if phase == "storm" else 0
        if slow:
            await traffic.at_control("POST", "/sandbox/faults", {"kind": "latency", "seconds": slow})
        rate = (lambda: 2 * PLACES / plan.slow) if slow else _paced(run, share)  # twice of what can be answered
        run.begin(phase)
        run.lags[phase] = await traffic.at_rate(rate, seconds, mix)
        run.end(phase)
        if slow:
            await traffic.at_control("DELETE", "/sandbox/faults")
    await traffic.settle()


async def _quiet(traffic: Traffic, client: Client, it: World, run: Run) -> None:
    """What the worker holds once nobody asks any more."""
    traffic.phase = "quiet"
    client.close()
    await asyncio.sleep(2)
    run.quiet = it.reading()


async def _balance(traffic: Traffic, watch: Watch, books: Books, run: Run) -> None:
    """Reconcile as a timer does until both sides agree, or for `PATIENCE`."""
    began = time.monotonic()
    traffic.phase = "books"
    while True:
        run.reconciled.append(await traffic.reconcile())
        orders, refunds = [await traffic.at_control("GET", f"/sandbox/{what}") for what in ("orders", "refunds")]
        run.differences = books.differences(orders, refunds)
        if not run.differences or time.monotonic() - began > PATIENCE:
            break
        await asyncio.sleep(5)
    await watch.look()
    run.settled_in = time.monotonic() - began
    run.orders, run.refunds = orders, refunds
    run.missing, run.invented = books.missing(watch.deliveries), books.invented()
    run.incidents = books.incidents()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").partition("\n\n")[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=30, help="of the soak")
    length.add_argument("--seconds", type=float, help="of everything, in the short form")
    parser.add_argument("--folder", type=Path, help="where the SQLite file is for the run, instead of the system's own")
    parser.add_argument("--database", help="URL of any database of a PostgreSQL server, instead of SQLite")
    parser.add_argument("--json", type=Path, help="where all figures go, and beside it the function's log")
    parser.add_argument("--write", type=Path, metavar="docs", help="folder whose soak.md and images get the figures")
    options = parser.parse_args()
    plan = Plan.short(options.seconds) if options.seconds else Plan.long(options.minutes)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-", dir=options.folder)))
        url = f"sqlite:///{folder / 'orders.sqlite3'}"
        if options.database:
            url = stack.enter_context(database(options.database, "soak"))
        it = stack.enter_context(world(folder, url))
        run = asyncio.run(measure(it, plan, url))
        log = (folder / "function.log").read_text()
    found = figures.figures(run, plan.warm_up, "PostgreSQL" if options.database else "SQLite")
    print(report.table(found))
    failed = figures.failures(run, found, log, judged=plan.judged)
    for line in failed:
        print(f"FAILED: {line}")
    if options.json:
        told = {**found, "failed": failed, "readings": [asdict(one) for one in run.readings]}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
        options.json.with_suffix(".log").write_text(log)
    if options.write:
        report.write(options.write, run, found)
    return 1 if failed else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
