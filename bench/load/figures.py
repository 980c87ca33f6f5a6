"""The figures of a run, and what of them is a failure."""

from __future__ import annotations

import platform
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.load.books import unexplained
from bench.load.traffic import Outcome, Traffic
from bench.load.watch import Watch
from bench.load.world import Reading

GROWTH, WIDE = 0.05, 0.5  # of memory after the warm-up: at most; in the short form, which has hardly a warm-up
REFUSED_WITHIN, RECOVERED_WITHIN = 1.0, 5.0  # seconds
ACKNOWLEDGED = 0.99  # of the callbacks in a storm, at the first try
OTHERWISE = 0.01  # of the arrivals in a storm: neither served nor refused at the door
SLICE, IN_A_ROW = 0.5, 3  # seconds; so many calm slices in a row are calm again
CALM = 2.0  # times the median before the storm
# Of a reading. Sandbox and generator have one core together.
SECONDS = ("processor", "sandbox", "generator", "stolen", "stolen_beside")


@dataclass
class Run:
    """What was measured. Times are those of time.monotonic()."""

    outcomes: list[Outcome]
    watch: Watch
    traffic: Traffic
    levels: dict[int, float] = field(default_factory=dict)  # arrivals a second that were served, by clients
    usual: float = 0.0  # seconds of the yardstick meanwhile
    gauged: float | None = None  # arrivals a second that would take the whole processor, with what follows from them
    lags: dict[str, list[float]] = field(default_factory=dict)  # by phase: how late each arrival was sent
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)  # of WeChat Pay, by phase
    readings: list[Reading] = field(default_factory=list)
    quiet: Reading | None = None
    reconciled: list[dict[str, Any]] = field(default_factory=list)
    settled_in: float = 0.0
    orders: list[dict[str, Any]] = field(default_factory=list)
    refunds: list[dict[str, Any]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    incidents: Counter[str] = field(default_factory=Counter)

    @property
    def capacity(self) -> float:
        return max(self.levels.values()) if self.gauged is None else self.gauged

    def speed(self, then: Reading | None = None) -> float:
        """Of the function's core, now or then; 1 is what it was in the middle while the capacity was looked for."""
        then = then or self.readings[-1]
        return then.there * self.usual / then.yardstick

    def begin(self, phase: str) -> None:
        self.spans[phase] = (time.monotonic(), 0.0)
        self.calls[phase] = self.watch.calls

    def end(self, phase: str) -> None:
        self.spans[phase] = (self.spans[phase][0], time.monotonic())
        self.calls[phase] = self.watch.calls - self.calls[phase]

    def processor(self, phase: str) -> list[float]:
        """Shares of a core of each of `SECONDS`."""
        begin, end = self.spans[phase]
        there = [one for one in self.readings if begin <= one.at <= end]
        first, last = there[0], there[-1]
        seconds = max(last.at - first.at, 1e-9)
        return [(getattr(last, what) - getattr(first, what)) / seconds for what in SECONDS]

    def of(self, *phases: str) -> list[Outcome]:
        return [one for one in self.outcomes if one.phase in phases]


def figures(run: Run, warm_up: float, database: str) -> dict[str, Any]:
    """Everything, in seconds, bytes and shares."""
    return {
        "machine": {"python": platform.python_version(), "database": database},
        "capacity": {"a_second": run.capacity, "by_clients": run.levels},
        "soak": _soak(run),
        "worker": _worker(run, warm_up),
        "storm": _storm(run),
        "books": _books(run),
    }


def _soak(run: Run) -> dict[str, Any]:
    soak = run.of("soak")
    left, explained = unexplained(soak, run.watch)
    begin, end = run.spans["soak"]
    return {
        "seconds": end - begin,
        "arrivals": len(run.lags["soak"]),
        "a_second": len(run.lags["soak"]) / (end - begin),
        "answers": Counter(one.what for one in soak),
        "calls": run.calls["soak"],
        "faults": run.watch.seen,
        "faults_ordered": run.watch.ordered,
        "callbacks_lost": sum(count for lose, count in run.traffic.lost.items() if lose),
        "vanished": run.traffic.vanished,
        "not_as_meant": sum(not one.as_meant for one in soak),
        "explained": explained,
        "shed": sum(one.shed for one in soak),
        "unexplained": len([one for one in left if not one.shed]),
        "seconds_of_actions": spread(one.seconds for one in soak if is_action(one)),
        "seconds_of_callbacks": spread(one.seconds for one in soak if is_callback(one)),
        "lag": spread(run.lags["soak"]),
    }


def _worker(run: Run, warm_up: float) -> dict[str, Any]:
    begin, end = run.spans["soak"]
    warm = [one for one in run.readings if begin + warm_up <= one.at <= end]
    size = max(1, min(60, len(warm) // 4))
    first, last = warm[:size], warm[-size:]
    quiet = run.quiet or last[-1]
    return {
        "pss": [_middle(first, "pss"), _middle(last, "pss")],
        "rss": [_middle(first, "rss"), _middle(last, "rss")],
        "growth": _middle(last, "pss") / _middle(first, "pss") - 1,
        "descriptors": [_middle(first, "descriptors"), _middle(last, "descriptors"), quiet.descriptors],
        "threads": [_middle(first, "threads"), _middle(last, "threads"), quiet.threads],
        "most_descriptors": max(one.descriptors for one in run.readings),
        "most_threads": max(one.threads for one in run.readings),
        "processor": run.processor("soak"),
        "speed": spread(run.speed(one) for one in run.readings if begin <= one.at <= end),
        "workers": len({one.pid for one in [*run.readings, quiet]}),
    }


def _storm(run: Run) -> dict[str, Any]:
    storm = run.of("storm")
    begin, end = run.spans["storm"]
    actions = [one for one in storm if not is_callback(one)]
    refused = [one for one in actions if one.shed]
    callbacks = [one for one in storm if is_callback(one)]
    return {
        "seconds": end - begin,
        "a_second": len(run.lags["storm"]) / (end - begin),
        "arrivals": len(run.lags["storm"]),
        "refused": len(refused),
        "served": sum(one.as_meant for one in actions),
        "other": len([one for one in unexplained(storm, run.watch)[0] if not one.shed]),
        "seconds_of_refusals": spread(one.seconds for one in refused),
        "seconds_of_actions": spread(one.seconds for one in actions if one.as_meant),
        "callbacks": len(callbacks),
        "acknowledged": sum(one.as_meant for one in callbacks),
        "seconds_of_callbacks": spread(one.seconds for one in callbacks if one.as_meant),
        "lag": spread(run.lags["storm"]),
        "processor": run.processor("storm"),
        "recovered_in": _recovered_in(run),
    }


def _books(run: Run) -> dict[str, Any]:
    deliveries = run.watch.deliveries
    return {
        "orders": len(run.orders),
        "paid": sum("transaction_id" in one for one in run.orders),
        "refunds": len(run.refunds),
        "acknowledged": sum(one["acknowledged"] for one in deliveries),
        "tries": len(deliveries),
        "missing": len(run.missing),
        "differences": len(run.differences),
        "invented": len(run.invented),
        "reconcile_found": sum(one.get("changed", 0) for one in run.reconciled),
        "settled_in": run.settled_in,
        "incidents": run.incidents,
    }


def _is_excused(one: Outcome, *, judged: bool) -> bool:
    """Refused for want of a place; or, while all is asked for that can be had, what tells its sender to come again or
    to query. Without judging that is always: a busy machine does something else for seconds. The books tell the rest.
    """
    busy = not judged or one.phase in ("capacity", "filling", "gauge", "storm", "recovery")
    told = one.status in (503, 504) or "not recorded here" in one.said or is_callback(one)
    return one.shed or (busy and told)


def is_action(one: Outcome) -> bool:
    """An action that was carried out as meant, and does not wait on purpose."""
    return one.as_meant and one.what.startswith("wxpay_") and one.what not in ("wxpay_order_wait", "wxpay_reconcile")


def is_callback(one: Outcome) -> bool:
    return one.what in ("callback", "refund callback")


def spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    shares = {"p5": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in shares.items()}


def _middle(readings: Sequence[Reading], name: str) -> float:
    return float(statistics.median(getattr(one, name) for one in readings))


def _recovered_in(run: Run) -> float | None:
    """Seconds from the storm's end until answers are as quick as before and none is refused; None: not seen."""
    usual = statistics.median(one.seconds for one in run.of("before") if is_action(one))
    begin, end = run.spans["recovery"]
    calm = 0
    for index in range(int((end - begin) / SLICE)):
        since = begin + index * SLICE
        there = [one for one in run.of("recovery") if since <= one.at < since + SLICE]
        quick = [one.seconds for one in there if is_action(one)]
        is_calm = bool(quick) and statistics.median(quick) <= CALM * usual and not any(one.shed for one in there)
        calm = calm + 1 if is_calm else 0
        if calm == IN_A_ROW:
            return (index + 1 - IN_A_ROW) * SLICE
    return None


def failures(run: Run, found: dict[str, Any], log: str, *, judged: bool) -> list[str]:
    """What is not as it must be; `judged`: times, memory and refusals in the soak as well."""
    soak, worker, storm = (found[name] for name in ("soak", "worker", "storm"))
    left = [one for one in unexplained(run.outcomes, run.watch)[0] if not _is_excused(one, judged=judged)]
    wrong = [f"nothing explains {one.what} {one.number} in {one.phase}: {one.status} {one.said}" for one in left[:10]]
    wrong += [f"kept nowhere although acknowledged: {one}" for one in run.missing[:10]]
    wrong += [f"not the same: {one}" for one in run.differences[:10]]
    wrong += [f"believed although forged: {one}" for one in run.invented[:10]]
    must: dict[str, bool] = {
        "a part of the storm is refused": storm["refused"] > 0,
        "a part of the storm is served": storm["served"] > 0,
        "callbacks come during the storm": storm["callbacks"] > 0,
        "no worker died": worker["workers"] == 1,
        "threads stay within gunicorn's and the handlers'": worker["most_threads"] <= 160,
        "descriptors stay below the platform's 1024": worker["most_descriptors"] < 900,
        "the log holds no unexpected error": "unexpected error in the function itself" not in log,
        "memory grows by less than half": worker["growth"] < WIDE,
        "faults were injected": sum(soak["faults_ordered"].values()) > 0,
    }
    if judged:
        must |= {
            "nothing is refused at 70 %": soak["shed"] == 0,
            "no more answers fail than calls were spoilt": soak["not_as_meant"] <= sum(soak["faults"].values()),
            "memory grows by less than 5 %": worker["growth"] < GROWTH,
            "descriptors are flat": worker["descriptors"][1] <= worker["descriptors"][0] + 32,
            "threads are flat": worker["threads"][1] <= max(worker["threads"][0] + 8, 101),  # the pool fills as needed
            "refusals are quick": storm["seconds_of_refusals"].get("p99", 0) < REFUSED_WITHIN,
            "callbacks keep priority": storm["acknowledged"] >= ACKNOWLEDGED * storm["callbacks"],
            "hardly anything in the storm ends otherwise": storm["other"] <= OTHERWISE * storm["arrivals"],
            "recovery is quick": storm["recovered_in"] is not None and storm["recovered_in"] < RECOVERED_WITHIN,
        }
    return wrong + [name for name, holds in must.items() if not holds]
