"""Curves over time as an SVG picture, panel below panel, in the manner of the documents' other pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, LEFT, RIGHT, PANEL, GAP, TOP = 900, 74, 20, 150, 52, 56
INK, FAINT, GRID = "#374151", "#4b5563", "#e5e7eb"
COLOURS = ("#3b73b4", "#2f8a50", "#c07a12", "#7a3aa8")
FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Curve:
    """Points in the order of their x; None for y is a gap. `bars` draws each from the bottom up instead."""

    name: str
    points: Sequence[tuple[float, float | None]]
    bars: bool = False


@dataclass(frozen=True)
class Panel:
    """`unit` is said of y, which begins at 0, or at `least` on a logarithmic scale."""

    title: str
    unit: str
    curves: Sequence[Curve]
    least: float = 0.0
    shaded: Sequence[tuple[float, float]] = field(default=())

    def highest(self) -> float:
        values = [y for curve in self.curves for _, y in curve.points if y is not None]
        return max([*values, self.least, 1e-9])


def picture(title: str, x_unit: str, panels: Sequence[Panel]) -> str:
    """The picture; x is the same for all panels."""
    places = [x for panel in panels for curve in panel.curves for x, _ in curve.points]
    low, high = min(places), max(places)
    height = TOP + len(panels) * (PANEL + GAP) + 18
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' font-family="{FONT}" font-size="12.5" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="10" fill="#ffffff" stroke="#d1d5db"/>',
        _text(title, 20, 32, size=17, weight="600", fill="#111827"),
    ]
    for index, panel in enumerate(panels):
        parts += _panel(panel, TOP + 22 + index * (PANEL + GAP), low, high)
    parts.append(_text(x_unit, WIDTH - RIGHT, height - 14, anchor="end"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, top: float, low: float, high: float) -> Iterator[str]:
    bottom, ticks = top + PANEL, _ticks(panel)

    def across(x: float) -> float:
        return LEFT + (x - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        if panel.least:
            share = math.log(max(y, panel.least) / panel.least) / math.log(ticks[-1] / panel.least)
        else:
            share = y / ticks[-1]
        return bottom - share * PANEL

    for begin, end in panel.shaded:
        width = across(end) - across(begin)
        yield f'<rect x="{across(begin):.1f}" y="{top:g}" width="{width:.1f}" height="{PANEL}" fill="#fdf0dc"/>'
    for tick in ticks:
        yield f'<path d="M{LEFT} {up(tick):.1f} H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        yield _text(f"{tick:g}", LEFT - 8, up(tick) + 4, anchor="end")
    for tick in _round_steps(high - low):
        yield _text(f"{tick:g}", across(low + tick), bottom + 17, anchor="middle")
    yield _text(f"{panel.title} ({panel.unit})", LEFT, top - 9, weight="600", fill=INK)
    for index, curve in enumerate(panel.curves):
        colour, x = COLOURS[index % len(COLOURS)], WIDTH - RIGHT - 130 * (len(panel.curves) - index)
        yield f'<rect x="{x}" y="{top - 19:g}" width="12" height="12" rx="2" fill="{colour}"/>'
        yield _text(curve.name, x + 18, top - 9)
        yield from _bars(curve, colour, across, up, bottom) if curve.bars else _line(curve, colour, across, up)


def _line(curve: Curve, colour: str, across: Scale, up: Scale) -> Iterator[str]:
    steps, pen = [], "M"
    for x, y in curve.points:
        if y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{across(x):.1f} {up(y):.1f}")
        pen = "L"
    yield f'<path d="{" ".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _bars(curve: Curve, colour: str, across: Scale, up: Scale, bottom: float) -> Iterator[str]:
    steps = [f"M{across(x):.1f} {bottom:g} V{up(y):.1f}" for x, y in curve.points if y]
    yield f'<path d="{" ".join(steps)}" fill="none" stroke="{colour}" stroke-width="3"/>'


def _ticks(panel: Panel) -> list[float]:
    highest = panel.highest()
    if panel.least:
        decades = max(1, math.ceil(math.log10(highest / panel.least)))
        return [panel.least * 10**power for power in range(decades + 1)]
    step = _step(highest / 4)
    return [step * index for index in range(math.ceil(highest / step) + 1)]


def _round_steps(length: float) -> list[float]:
    step = _step(length / 8)
    return [step * index for index in range(int(length / step) + 1)]


def _step(about: float) -> float:
    """A round number that is not below."""
    power = 10 ** math.floor(math.log10(about or 1))
    return float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= about * 0.999))


def _text(
    text: str, x: float, y: float, *, anchor: str = "start", size: float = 12.5, weight: str = "400", fill: str = FAINT
) -> str:
    return (
        f'<text x="{x:g}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" font-weight="{weight}"'
        f' fill="{fill}">{escape(text)}</text>'
    )
