"""How the figures of a run are shown: as a table, as pictures, on the page in docs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.load import plot
from bench.load.figures import SLICE, Run, is_action, is_callback, spread
from bench.load.traffic import Outcome
from bench.load.world import Reading

MARK = re.compile(r"(<!-- figures -->\n).*(<!-- /figures -->)", re.DOTALL)


def table(found: dict[str, Any]) -> str:
    """As Markdown."""
    capacity, soak, worker, storm, books = (found[name] for name in ("capacity", "soak", "worker", "storm", "books"))
    faults = sum(soak["faults"].values())
    recovered = storm["recovered_in"]
    rows = [
        ("capacity", f"{capacity['a_second']:.0f} arrivals a second, {found['machine']['database']}"),
        ("what a closed loop reached for 20 s", f"{max(capacity['by_clients'].values()):.0f}"),
        ("**soak**", f"{soak['seconds'] / 60:.1f} minutes, {soak['a_second']:.0f} arrivals a second"),
        ("arrivals; calls of WeChat Pay", f"{soak['arrivals']:,}; {soak['calls']:,}"),
        ("spoilt calls", f"{faults:,} of {len(soak['faults'])} kinds"),
        ("lost callbacks; clients that vanished", f"{soak['callbacks_lost']:,}; {soak['vanished']:,}"),
        ("forged callbacks and hints", f"{soak['answers']['forged'] + soak['answers']['forged hint']:,}"),
        ("answers not as meant", f"{soak['not_as_meant']:,} of {sum(soak['answers'].values()):,}"),
        ("of these without a fault that explains it", f"{soak['unexplained']}"),
        ("actions, ms (p50, p95, p99)", _milliseconds(soak["seconds_of_actions"])),
        ("callbacks acknowledged, ms", _milliseconds(soak["seconds_of_callbacks"])),
        ("memory (PSS), after warm-up, at the end, MB", " / ".join(f"{size / 1e6:.1f}" for size in worker["pss"])),
        ("growth", f"{worker['growth'] * 100:+.1f} %"),
        ("descriptors, the same, and idle", " / ".join(f"{count:.0f}" for count in worker["descriptors"])),
        ("threads, likewise", " / ".join(f"{count:.0f}" for count in worker["threads"])),
        ("processor: function / sandbox / generator", _percent(worker["processor"][:3])),
        ("taken by the host: of the function's core / of the others'", _percent(worker["processor"][3:])),
        ("speed of the function's core (p5, p50, p95)", _percent(worker["speed"][at] for at in ("p5", "p50", "p95"))),
        ("generator late by, ms", _milliseconds(soak["lag"])),
        ("**storm**", f"{storm['seconds']:.0f} seconds, {storm['a_second']:.0f} arrivals a second"),
        ("refused with 503; served", f"{storm['refused']:,}; {storm['served']:,} of {storm['arrivals']:,}"),
        ("refusals, ms", _milliseconds(storm["seconds_of_refusals"])),
        ("served actions, ms", _milliseconds(storm["seconds_of_actions"])),
        ("callbacks acknowledged at the first try", f"{storm['acknowledged']:,} of {storm['callbacks']:,}"),
        ("callbacks acknowledged, ms", _milliseconds(storm["seconds_of_callbacks"])),
        ("any other answer", f"{storm['other']}"),
        ("processor: function / sandbox / generator", _percent(storm["processor"][:3])),
        ("taken by the host, likewise", _percent(storm["processor"][3:])),
        ("generator late by, ms", _milliseconds(storm["lag"])),
        ("as quick as before after", "not seen" if recovered is None else f"{recovered:.1f} s"),
        ("**books**", f"{books['orders']:,} orders, {books['paid']:,} paid, {books['refunds']:,} refunds"),
        ("acknowledged callbacks; not kept", f"{books['acknowledged']:,}; {books['missing']}"),
        ("states that differ from WeChat Pay's", f"{books['differences']}, {books['settled_in']:.0f} s after the end"),
    ]
    return "\n".join(["| what | figure |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in rows)])


def _milliseconds(known: dict[str, float]) -> str:
    return " / ".join(f"{known[name] * 1000:.0f}" for name in ("p50", "p95", "p99")) if known else "none"


def _percent(shares: Iterable[float]) -> str:
    return " / ".join(f"{share * 100:.0f}" for share in shares) + " %"


def pictures(run: Run) -> dict[str, str]:
    """File name -> SVG."""
    begin, end = run.spans["soak"]
    width = max(1.0, (end - begin) / 120)
    minutes = _slices(run.of("soak"), begin, end, width, 60.0)
    memory = [one for one in run.readings if begin <= one.at <= end]
    calm, stop = run.spans["before"][0], run.spans["recovery"][1]
    seconds = _slices(run.of("before", "storm", "recovery"), calm, stop, SLICE, 1.0)
    shaded = [(run.spans["storm"][0] - calm, run.spans["storm"][1] - calm)]
    return {
        "soak.svg": plot.picture(
            "The function under load for half an hour" if end - begin > 1500 else "The function under load",
            "minutes",
            [
                plot.Panel(
                    "Memory of the worker",
                    "MB",
                    [
                        plot.Curve(name, [((one.at - begin) / 60, getattr(one, name.lower()) / 1e6) for one in memory])
                        for name in ("PSS", "RSS")
                    ],
                ),
                _latencies("Actions", minutes, is_action),
                _latencies("Callbacks until acknowledged", minutes, _is_acknowledged),
                plot.Panel(
                    "Answers not as meant, each with the fault that explains it",
                    "a slice",
                    [plot.Curve("answers", [(x, sum(not o.as_meant for o in all_)) for x, all_ in minutes], bars=True)],
                ),
                plot.Panel(
                    "Processor",
                    "%",
                    [
                        plot.Curve("function", _shares(memory, width, "processor")),
                        plot.Curve("sandbox", _shares(memory, width, "sandbox")),
                        plot.Curve("speed of its core", _speeds(run, memory, width)),
                    ],
                ),
            ],
        ),
        "overload.svg": plot.picture(
            "Five times the capacity, and after",
            "seconds",
            [
                plot.Panel(
                    "Answers to callers",
                    "a second",
                    [
                        plot.Curve("served", [(x, sum(map(is_action, there)) / SLICE) for x, there in seconds]),
                        plot.Curve("refused (503)", [(x, sum(o.shed for o in there) / SLICE) for x, there in seconds]),
                    ],
                    shaded=shaded,
                ),
                _latencies("Served actions", seconds, is_action, shaded),
                _latencies("Refusals", seconds, lambda one: one.shed, shaded),
                _latencies("Callbacks until acknowledged", seconds, _is_acknowledged, shaded),
            ],
        ),
    }


def _is_acknowledged(one: Outcome) -> bool:
    return is_callback(one) and one.as_meant


Slices = list[tuple[float, list[Outcome]]]


def _slices(outcomes: Iterable[Outcome], begin: float, end: float, width: float, unit: float) -> Slices:
    """The outcomes of each slice by when they were sent; x is its middle since `begin`, in units."""
    found: Slices = [((index + 0.5) * width / unit, []) for index in range(int((end - begin) / width) + 1)]
    for one in outcomes:
        if begin <= one.at < end:
            found[int((one.at - begin) / width)][1].append(one)
    return found


def _shares(readings: Sequence[Reading], width: float, what: str) -> list[tuple[float, float | None]]:
    """Percent of a core, from reading to reading that are at least so many seconds apart; x in minutes."""
    found: list[tuple[float, float | None]] = []
    last = readings[0]
    for one in readings:
        if one.at - last.at >= width:
            share = (getattr(one, what) - getattr(last, what)) / (one.at - last.at)
            found.append(((one.at - readings[0].at) / 60, share * 100))
            last = one
    return found


def _speeds(run: Run, readings: Sequence[Reading], width: float) -> list[tuple[float, float | None]]:
    """The middle of each slice, in percent of what is usual."""
    begin = readings[0].at
    found: dict[int, list[float]] = {}
    for one in readings:
        found.setdefault(int((one.at - begin) / width), []).append(run.speed(one) * 100)
    return [((index + 0.5) * width / 60, statistics.median(speeds)) for index, speeds in sorted(found.items())]


def _latencies(
    title: str, slices: Slices, counts: Callable[[Outcome], bool], shaded: Sequence[tuple[float, float]] = ()
) -> plot.Panel:
    spreads = [(x, spread(one.seconds * 1000 for one in there if counts(one))) for x, there in slices]
    curves = [plot.Curve(name, [(x, known.get(name)) for x, known in spreads]) for name in ("p50", "p95", "p99")]
    return plot.Panel(title, "ms", curves, least=1.0, shaded=shaded)


def write(docs: Path, run: Run, found: dict[str, Any]) -> None:
    """The page's table between its marks, and its pictures."""
    for name, svg in pictures(run).items():
        (docs / "images" / name).write_text(svg, encoding="utf-8")
    page = docs / "soak.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(MARK.sub(lambda match: f"{match[1]}{table(found)}\n{match[2]}", text), encoding="utf-8")
