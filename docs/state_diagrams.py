"""Draws docs/images/orders-*.svg: `python docs/state_diagrams.py`.

An arrow is one step. What is told late, or by a query, may be several steps on, so that a row may go at once to every
state that the arrows lead to; tests/orders/test_docs.py holds that against services/orders/states.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
WIDTH, NODE_WIDTH, NODE_HEIGHT = 900, 164, 54
PLAIN, FINAL, WAITING, TROUBLE = "plain", "final", "waiting", "trouble"
FILLS = {  # fill, border, text
    PLAIN: ("#e8f1fb", "#3b73b4", "#17365c"),
    FINAL: ("#e3f4e8", "#2f8a50", "#14502b"),
    WAITING: ("#f3f4f6", "#6b7280", "#30363f"),
    TROUBLE: ("#fdf0dc", "#c07a12", "#6b4203"),
}
INK, FAINT, EVENT = "#374151", "#9ca3af", "#7a3aa8"
FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"

Point = tuple[float, float]


@dataclass(frozen=True)
class Node:
    """A state, its centre, and what it means in a few words."""

    name: str
    x: float
    y: float
    kind: str
    says: str

    def at(self, side: str) -> Point:
        """A point of the border: `r`, `l`, `t` or `b`, and how far from the middle of that side, as in `b-30`."""
        offset = float(side[1:] or 0)
        half, tall = NODE_WIDTH / 2, NODE_HEIGHT / 2
        return {
            "r": (self.x + half, self.y + offset),
            "l": (self.x - half, self.y + offset),
            "t": (self.x + offset, self.y - tall),
            "b": (self.x + offset, self.y + tall),
        }[side[0]]


@dataclass(frozen=True)
class Arrow:
    """From a side of one node to a side of another; `bend` are two control points of a curve.

    `words` are lines of text at `place`, in the middle of an arrow above it; `event` is the hook that is called.
    `tolerated` marks what WeChat Pay does not document.
    """

    origin: str
    target: str
    sides: tuple[str, str]
    words: tuple[str, ...] = ()
    place: Point = (0, 0)
    anchor: str = "start"
    event: str = ""
    bend: tuple[Point, Point] | None = None
    tolerated: bool = False


@dataclass(frozen=True)
class Diagram:
    """One picture; `entry` is the words beside the arrow that leads to PENDING, `notes` stand at the bottom."""

    title: str
    height: int
    entry: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[str, ...]


_C1, _C2, _C3 = 120, 450, 780
_SENT_AGAIN = ("sent again, or", "found there")

ORDER = Diagram(
    title="An order",
    height=430,
    entry="placed: written first, then WeChat Pay is asked",
    nodes=(
        Node("PENDING", _C1, 130, WAITING, "unpaid, or unknown"),
        Node("REFUSED", _C1, 310, TROUBLE, "WeChat Pay said no"),
        Node("PAID", _C2, 130, PLAIN, "the money is there"),
        Node("CLOSED", _C2, 310, WAITING, "was not paid"),
        Node("PARTIALLY_REFUNDED", _C3, 130, PLAIN, "a part went back"),
        Node("REFUND", _C3, 310, FINAL, "all of it went back"),
    ),
    arrows=(
        Arrow(
            "PENDING", "PAID", ("r", "l"), ("callback, query", "or reconcile"), (285, 103), "middle", event="on_paid"
        ),
        Arrow("PENDING", "REFUSED", ("b-52", "t-52"), ("refused",), (62, 225), "end"),
        Arrow("REFUSED", "PENDING", ("t-30", "b-30"), _SENT_AGAIN, (98, 217)),
        Arrow(
            "PENDING",
            "CLOSED",
            ("b72", "l"),
            ("closed by a caller, or by", "reconcile past its time"),
            (264, 208),
            event="on_order_closed",
            bend=((206, 250), (270, 310)),
        ),
        Arrow("CLOSED", "PAID", ("t", "b"), ("paid all", "the same"), (458, 217), event="on_paid"),
        Arrow(
            "PAID", "PARTIALLY_REFUNDED", ("r", "l"), ("a refund", "arrived"), (615, 103), "middle", event="on_refunded"
        ),
        Arrow("PARTIALLY_REFUNDED", "REFUND", ("b", "t"), ("the rest", "arrived"), (788, 208), event="on_refunded"),
        Arrow(
            "PAID",
            "REFUND",
            ("b72", "l"),
            ("one refund of", "the whole"),
            (594, 208),
            event="on_refunded",
            bend=((536, 250), (600, 310)),
        ),
    ),
    notes=(
        "A late message or a query may tell of a state several arrows on: a row goes there at once.",
        "Money for an order that is CLOSED here is taken in, and is an incident as well: deliver, or refund it.",
    ),
)

REFUND = Diagram(
    title="A refund",
    height=520,
    entry="asked for: written and its amount reserved first",
    nodes=(
        Node("PENDING", _C1, 240, WAITING, "not answered yet"),
        Node("REFUSED", _C1, 390, TROUBLE, "amount free again"),
        Node("PROCESSING", _C2, 240, PLAIN, "accepted, on its way"),
        Node("SUCCESS", _C3, 110, FINAL, "arrived"),
        Node("ABNORMAL", _C3, 240, TROUBLE, "could not be paid out"),
        Node("CLOSED", _C3, 390, FINAL, "amount free again"),
    ),
    arrows=(
        Arrow("PENDING", "PROCESSING", ("r", "l"), ("WeChat Pay", "accepts"), (285, 213), "middle"),
        Arrow("PENDING", "REFUSED", ("b-52", "t-52"), ("refused",), (62, 320), "end"),
        Arrow("REFUSED", "PENDING", ("t-30", "b-30"), _SENT_AGAIN, (98, 312)),
        Arrow(
            "PROCESSING",
            "SUCCESS",
            ("t40", "l"),
            ("callback, query", "or reconcile"),
            (610, 83),
            "middle",
            event="on_refunded",
            bend=((490, 130), (540, 110)),
        ),
        Arrow(
            "PROCESSING",
            "ABNORMAL",
            ("r-9", "l-9"),
            ("the account does", "not take it: incident"),
            (615, 204),
            "middle",
        ),
        Arrow("ABNORMAL", "PROCESSING", ("l9", "r9"), ("under way once more",), (615, 268), "middle"),
        Arrow(
            "PROCESSING",
            "CLOSED",
            ("b40", "l"),
            ("closed: incident",),
            (612, 412),
            "middle",
            bend=((490, 370), (540, 390)),
        ),
        Arrow("ABNORMAL", "SUCCESS", ("t", "b"), ("settled", "by hand"), (788, 165), event="on_refunded"),
        Arrow("ABNORMAL", "CLOSED", ("b", "t"), ("incident",), (788, 320)),
    ),
    notes=(
        "SUCCESS adds to what of the order was refunded; a closed refund needs a new number for another attempt.",
        "All refunds of an order but the REFUSED and CLOSED ones count against its total, which they cannot exceed.",
    ),
)

_T1, _T2, _T3, _T4 = 110, 338, 566, 794

TRANSFER = Diagram(
    title="A transfer",
    height=660,
    entry="asked for: written first, then WeChat Pay is asked",
    nodes=(
        Node("PENDING", _T1, 130, WAITING, "not answered yet"),
        Node("REFUSED", _T1, 280, TROUBLE, "number free again"),
        Node("ACCEPTED", _T2, 130, PLAIN, "taken by WeChat Pay"),
        Node("PROCESSING", _T3, 130, PLAIN, "money being set aside"),
        Node("WAIT_USER_CONFIRM", _T3, 280, PLAIN, "package_info is there"),
        Node("CANCELING", _T2, 280, PLAIN, "cancelled by you"),
        Node("TRANSFERING", _T3, 430, PLAIN, "confirmed by the user"),
        Node("CANCELLED", _T2, 430, FINAL, "nothing was paid"),
        Node("FAIL", _T4, 430, FINAL, "nothing was paid"),
        Node("SUCCESS", _T3, 556, FINAL, "the user has it"),
    ),
    arrows=(
        Arrow("PENDING", "ACCEPTED", ("r", "l")),
        Arrow("PENDING", "REFUSED", ("b-44", "t-44"), ("refused",), (60, 210), "end"),
        Arrow("REFUSED", "PENDING", ("t-22", "b-22"), _SENT_AGAIN, (96, 202)),
        Arrow("ACCEPTED", "PROCESSING", ("r", "l")),
        Arrow("PROCESSING", "WAIT_USER_CONFIRM", ("b", "t"), ("money is", "set aside"), (574, 202)),
        Arrow("ACCEPTED", "CANCELING", ("b", "t")),
        Arrow("PROCESSING", "CANCELING", ("b-60", "t50")),
        Arrow("WAIT_USER_CONFIRM", "CANCELING", ("l", "r")),
        Arrow("WAIT_USER_CONFIRM", "TRANSFERING", ("b", "t"), ("the user", "confirms"), (574, 352)),
        Arrow("CANCELING", "CANCELLED", ("b", "t"), ("in time",), (330, 359), "end"),
        Arrow("CANCELING", "TRANSFERING", ("b60", "t-60"), ("the user", "was faster"), (384, 362)),
        Arrow("TRANSFERING", "SUCCESS", ("b", "t")),
        Arrow(
            "PROCESSING",
            "FAIL",
            ("r", "t34"),
            ("balance too low", "for 24 hours"),
            (662, 103),
            bend=((790, 130), (828, 170)),
        ),
        Arrow(
            "WAIT_USER_CONFIRM",
            "FAIL",
            ("r", "t-30"),
            ("not confirmed", "in 24 hours"),
            (660, 253),
            bend=((730, 280), (764, 310)),
        ),
        Arrow("TRANSFERING", "CANCELLED", ("l", "r"), tolerated=True),
        Arrow("TRANSFERING", "FAIL", ("r", "l"), tolerated=True),
    ),
    notes=(
        "Each end calls on_transfer_finished once. A late message or a query may tell of a state several arrows on: a",
        "row goes there at once. Dashed: not documented by WeChat Pay, taken in all the same.",
    ),
)

DIAGRAMS = {"orders-order.svg": ORDER, "orders-refund.svg": REFUND, "orders-transfer.svg": TRANSFER}


def svg(diagram: Diagram) -> str:
    """The picture; its arrows carry `data-from` and `data-to`."""
    nodes = {node.name: node for node in diagram.nodes}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {diagram.height}" width="{WIDTH}"'
        f' height="{diagram.height}" font-family="{FONT}" font-size="13.5" role="img">',
        f"<title>{escape(diagram.title)}</title>",
        "<defs>",
        arrow_head("head", INK),
        arrow_head("faint", FAINT),
        "</defs>",
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{diagram.height - 2}" rx="10" fill="#ffffff"'
        ' stroke="#d1d5db"/>',
        text_at(diagram.title, 20, 32, size=17, weight="600", fill="#111827"),
        *_entry(nodes["PENDING"], diagram.entry),
        *(line for arrow in diagram.arrows for line in _arrow(arrow, nodes)),
        *(line for node in diagram.nodes for line in _node(node)),
        *(
            text_at(note, 20, diagram.height - 20 - 19 * (len(diagram.notes) - 1 - index), size=13, fill="#4b5563")
            for index, note in enumerate(diagram.notes)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def arrow_head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9.5" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 1 L10 5 L0 9 z" fill="{colour}"/></marker>'
    )


def _entry(node: Node, words: str) -> list[str]:
    x, y = node.at("t")
    return [
        f'<circle cx="{x:g}" cy="{y - 36:g}" r="5" fill="{INK}"/>',
        f'<path d="M{x:g} {y - 31:g} L{x:g} {y - 1:g}" stroke="{INK}" stroke-width="1.6" marker-end="url(#head)"/>',
        text_at(words, x + 14, y - 32, fill=INK),
    ]


def _arrow(arrow: Arrow, nodes: dict[str, Node]) -> list[str]:
    start, end = nodes[arrow.origin].at(arrow.sides[0]), nodes[arrow.target].at(arrow.sides[1])
    middle = f"C{_point(arrow.bend[0])} {_point(arrow.bend[1])} " if arrow.bend else "L"
    style = (
        f'stroke="{FAINT}" stroke-dasharray="5 4" marker-end="url(#faint)"'
        if arrow.tolerated
        else (f'stroke="{INK}" marker-end="url(#head)"')
    )
    x, y = arrow.place
    lines = [
        f'<path data-from="{arrow.origin}" data-to="{arrow.target}" d="M{_point(start)} {middle}{_point(end)}"'
        f' fill="none" stroke-width="1.6" {style}/>',
        *(text_at(line, x, y + 17 * index, anchor=arrow.anchor, fill=INK) for index, line in enumerate(arrow.words)),
    ]
    if arrow.event:
        below = y + 17 * len(arrow.words) + (12 if arrow.anchor == "middle" else 1)
        lines.append(text_at(arrow.event, x, below, anchor=arrow.anchor, size=12.5, fill=EVENT, family=MONO))
    return lines


def _node(node: Node) -> list[str]:
    fill, border, ink = FILLS[node.kind]
    left, top = node.x - NODE_WIDTH / 2, node.y - NODE_HEIGHT / 2
    lines = [
        f'<rect x="{left:g}" y="{top:g}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="8" fill="{fill}"'
        f' stroke="{border}" stroke-width="1.6"/>'
    ]
    if node.kind == FINAL:
        lines.append(
            f'<rect x="{left + 4:g}" y="{top + 4:g}" width="{NODE_WIDTH - 8}" height="{NODE_HEIGHT - 8}" rx="5"'
            f' fill="none" stroke="{border}"/>'
        )
    lines.append(text_at(node.name, node.x, node.y - 3, anchor="middle", size=13, weight="600", fill=ink, family=MONO))
    lines.append(text_at(node.says, node.x, node.y + 15, anchor="middle", size=12.5, fill=ink))
    return lines


def text_at(
    text: str,
    x: float,
    y: float,
    *,
    fill: str,
    anchor: str = "start",
    size: float = 13.5,
    weight: str = "400",
    family: str = "",
) -> str:
    face = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size:g}" font-weight="{weight}" fill="{fill}"'
        f"{face}>{escape(text)}</text>"
    )


def _point(point: Point) -> str:
    return f"{point[0]:g} {point[1]:g}"


if __name__ == "__main__":
    for name, diagram in DIAGRAMS.items():
        (IMAGES / name).write_text(svg(diagram), encoding="utf-8")
