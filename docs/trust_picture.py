"""Draws docs/images/trust.svg: `python -m docs.trust_picture`. Whom the function believes, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from docs.state_diagrams import FILLS, FINAL, FONT, IMAGES, PLAIN, TROUBLE, WAITING, arrow_head, text_at

NAME = "trust.svg"
WIDTH, HEIGHT = 988, 712
INK, PROVED, CLAIMED = "#374151", "#2f8a50", "#b4690e"
LEFT, MIDDLE, RIGHT = (20, 276), (352, 292), (716, 252)  # x and width of the three columns
LINE = 17


@dataclass(frozen=True)
class Box:
    """A box of a column: its heading, lines of text, and the colours of its kind."""

    column: tuple[int, int]
    y: int
    height: int
    kind: str
    title: str
    lines: tuple[str, ...]

    def side(self, right: bool, offset: float = 0) -> tuple[float, float]:
        """The middle of its left or right side, `offset` further down."""
        x, width = self.column
        return (x + width if right else x, self.y + self.height / 2 + offset)


@dataclass(frozen=True)
class Way:
    """What goes from one box to another; `colour` tells whether its sender can be told from a stranger."""

    start: Box
    end: Box
    colour: str
    offsets: tuple[float, float] = (0, 0)


ANYBODY = Box(
    LEFT, 84, 76, TROUBLE, "Anybody", ("who reaches a public address: any", "header, any body, old callbacks again")
)
PROGRAM = Box(
    LEFT,
    176,
    76,
    WAITING,
    "Mini program",
    ("x-wx-openid: claimed; verified only with", "callerHeaders=trusted, no public route"),
)
TOKEN = Box(LEFT, 268, 76, WAITING, "Web page, app", ("Bearer token: verified with", "cloudbaseEnvId, else claimed"))
OPERATOR = Box(
    LEFT, 360, 76, FINAL, "Operator", ("operatorKey, a verified server token,", "or a verified id of operatorIds")
)
CENTER = Box(
    LEFT,
    482,
    76,
    WAITING,
    "Integration Center",
    ("forwards callbacks: an envelope,", "or plaintext, which proves nothing"),
)
NOTIFIER = Box(LEFT, 574, 76, FINAL, "WeChat Pay calls", ("its signature over the raw body,", "within 5 minutes"))

WHO = Box(MIDDLE, 116, 58, PLAIN, "Who is it", ("an identity: claimed, or verified",))
MAY = Box(MIDDLE, 194, 76, PLAIN, "May he", ("money leaves by operators only; rights", "rest on what is verified"))
WHAT = Box(
    MIDDLE,
    290,
    76,
    PLAIN,
    "What is asked",
    ("a schema for each action; appid, mchid,", "notify_url from the settings alone"),
)
OWN = Box(MIDDLE, 386, 58, PLAIN, "Whose, at what price", ("the order's owner; priceList, before_*",))
EVIDENCE = Box(
    MIDDLE,
    482,
    94,
    PLAIN,
    "Evidence",
    (
        "1 signature, key by its exact serial",
        "2 ciphertext under the APIv3 key",
        "3 else WeChat Pay is asked and believed",
    ),
)
KEPT = Box(MIDDLE, 596, 58, PLAIN, "Ours, then kept, then SUCCESS", ("mchid and appid; one guarded move",))

API = Box(
    RIGHT,
    270,
    94,
    FINAL,
    "WeChat Pay's API",
    ("TLS; requests signed by privateKey,", "answers verified over their bytes;", "the configured hosts, no redirects"),
)
DATABASE = Box(
    RIGHT,
    386,
    94,
    PLAIN,
    "Order database",
    ("written before WeChat Pay is asked;", "who writes here is believed: give it", "a user and a network of its own"),
)
SHOP = Box(
    RIGHT,
    500,
    76,
    PLAIN,
    "Your code, your server",
    ("hooks after the commit; events are", "signed with eventWebhookSecret"),
)
LOG = Box(RIGHT, 596, 58, WAITING, "Log", ("no key, name or full openid",))

BOXES = (
    ANYBODY, PROGRAM, TOKEN, OPERATOR, CENTER, NOTIFIER, WHO, MAY, WHAT, OWN, EVIDENCE, KEPT, API, DATABASE, SHOP, LOG,
)  # fmt: skip
WAYS = (
    Way(ANYBODY, WHO, CLAIMED, (0, -16)),
    Way(PROGRAM, WHO, CLAIMED, (0, -6)),
    Way(TOKEN, WHO, CLAIMED, (0, 4)),
    Way(OPERATOR, WHO, PROVED, (0, 16)),
    Way(ANYBODY, EVIDENCE, CLAIMED, (18, -28)),
    Way(CENTER, EVIDENCE, CLAIMED, (0, -9)),
    Way(NOTIFIER, EVIDENCE, PROVED, (0, 28)),
    Way(OWN, API, INK, (-10, -12)),
    Way(EVIDENCE, API, INK, (-28, 22)),
    Way(OWN, DATABASE, INK, (10, -18)),
    Way(KEPT, DATABASE, INK, (-14, 18)),
    Way(KEPT, SHOP, INK, (2, 12)),
    Way(KEPT, LOG, INK, (18, 18)),
)
HEADS = {PROVED: "proved", CLAIMED: "claimed", INK: "inside"}
NOTES = (
    "Green: the sender can be told from a stranger. Orange: a stranger can send it too: it grants nothing unverified.",
    "Secrets come from the environment alone and leave by none of these ways.",
)


def svg() -> str:
    """The picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' font-family="{FONT}" font-size="13.5" role="img">',
        f"<title>{escape('Whom the function believes')}</title>",
        "<defs>",
        *(arrow_head(name, colour) for colour, name in HEADS.items()),
        "</defs>",
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10" fill="#ffffff" stroke="#d1d5db"/>',
        text_at("Whom the function believes", 20, 32, size=17, weight="600", fill="#111827"),
        f'<rect x="{MIDDLE[0] - 20}" y="54" width="{MIDDLE[1] + 40}" height="610" rx="12" fill="#f8fafc"'
        ' stroke="#94a3b8" stroke-width="1.4" stroke-dasharray="7 5"/>',
        *_headings(),
        *(line for way in WAYS for line in _way(way)),
        *(_inside(upper, lower) for upper, lower in ((WHO, MAY), (MAY, WHAT), (WHAT, OWN), (EVIDENCE, KEPT))),
        *(line for box in BOXES for line in _box(box)),
        *(text_at(note, 20, HEIGHT - 31 + 19 * at, size=13, fill="#4b5563") for at, note in enumerate(NOTES)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _headings() -> list[str]:
    return [
        text_at("who sends", LEFT[0], 72, size=13, weight="600", fill="#4b5563"),
        text_at("the function: an action", MIDDLE[0], 80, size=13, weight="600", fill="#4b5563"),
        text_at("the function: a callback", MIDDLE[0], 470, size=13, weight="600", fill="#4b5563"),
        text_at("where it goes", RIGHT[0], 72, size=13, weight="600", fill="#4b5563"),
    ]


def _way(way: Way) -> list[str]:
    (x, y), (to_x, to_y) = way.start.side(True, way.offsets[0]), way.end.side(False, way.offsets[1])
    dash = ' stroke-dasharray="6 4"' if way.colour == CLAIMED else ""
    middle = (x + to_x) / 2
    return [
        f'<path d="M{x:g} {y:g} C{middle:g} {y:g} {middle:g} {to_y:g} {to_x - 1:g} {to_y:g}" fill="none"'
        f' stroke="{way.colour}" stroke-width="1.7"{dash} marker-end="url(#{HEADS[way.colour]})"/>'
    ]


def _inside(upper: Box, lower: Box) -> str:
    x = upper.column[0] + upper.column[1] / 2
    return (
        f'<path d="M{x:g} {upper.y + upper.height:g} L{x:g} {lower.y - 1:g}" stroke="{INK}" stroke-width="1.7"'
        ' marker-end="url(#inside)"/>'
    )


def _box(box: Box) -> list[str]:
    fill, border, ink = FILLS[box.kind]
    x, width = box.column
    lines = [
        f'<rect x="{x}" y="{box.y}" width="{width}" height="{box.height}" rx="8" fill="{fill}" stroke="{border}"'
        ' stroke-width="1.5"/>',
        text_at(box.title, x + 12, box.y + 22, weight="600", fill=ink),
    ]
    lines += [text_at(line, x + 12, box.y + 43 + LINE * at, size=12.5, fill=ink) for at, line in enumerate(box.lines)]
    return lines


if __name__ == "__main__":
    (IMAGES / NAME).write_text(svg(), encoding="utf-8")
