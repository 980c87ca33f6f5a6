"""What docs/orders.md says is so: its pictures against the tables of states, its snippets and lists against code."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from docs import state_diagrams
from services.orders import states
from tests.support import ROOT

TEXT = (ROOT / "docs" / "orders.md").read_text(encoding="utf-8")
PICTURES = {
    "orders-order.svg": states.ORDER,
    "orders-refund.svg": states.REFUNDS,
    "orders-transfer.svg": states.TRANSFER,
}


def arrows_of(picture: str) -> set[tuple[str, str]]:
    tree = ElementTree.fromstring((ROOT / "docs" / "images" / picture).read_text(encoding="utf-8"))  # noqa: S314
    return {(path.get("data-from"), path.get("data-to")) for path in tree.iter() if path.get("data-from")}


def led_to(arrows: set[tuple[str, str]], state: str) -> set[str]:
    """Where one gets from there along the arrows."""
    reached, ahead = set(), [state]
    while ahead:
        here = ahead.pop()
        nexts = {target for origin, target in arrows if origin == here} - reached
        reached |= nexts
        ahead += nexts
    return reached - {state}


@pytest.mark.parametrize(("picture", "table"), PICTURES.items(), ids=PICTURES)
def test_the_arrows_of_a_picture_lead_from_each_state_exactly_to_those_that_may_follow(picture, table):
    arrows = arrows_of(picture)
    assert {state for arrow in arrows for state in arrow} == set(table)
    for state, followers in table.items():
        assert led_to(arrows, state) == followers, state


@pytest.mark.parametrize(("picture", "table"), PICTURES.items(), ids=PICTURES)
def test_an_arrow_too_few_or_too_many_would_be_seen(picture, table):
    arrows = arrows_of(picture)
    ends = {state for state, followers in table.items() if not followers}
    assert ends
    back = {(next(iter(ends)), states.PENDING)}
    assert any(led_to(arrows | back, state) != followers for state, followers in table.items())
    without_entry = {(origin, target) for origin, target in arrows if origin != states.PENDING}
    assert led_to(without_entry, states.PENDING) != table[states.PENDING]


@pytest.mark.parametrize("picture", PICTURES)
def test_the_pictures_are_those_that_the_script_draws(picture):
    drawn = state_diagrams.svg(state_diagrams.DIAGRAMS[picture])
    assert (ROOT / "docs" / "images" / picture).read_text(encoding="utf-8") == drawn


def test_the_page_shows_all_pictures_and_its_links_lead_somewhere():
    links = re.findall(r"\]\(((?!https)[^)]+)\)", TEXT)
    assert {f"images/{picture}" for picture in PICTURES} <= set(links)
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in links:
        path, _, anchor = link.partition("#")
        assert not path or (ROOT / "docs" / path).is_file(), link
        assert path or anchor in anchors, link
