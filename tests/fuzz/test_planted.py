"""Planted faults that cost little are found; that they all are is for `python -m tests.fuzz.planted` to show."""

from __future__ import annotations

import pytest

from tests.fuzz.faults import FAULTS
from tests.fuzz.planted import hunt
from tests.support import ROOT

CHEAP = ("first_key", "no_tag", "last_key_wins")


@pytest.mark.parametrize("name", CHEAP)
def test_a_planted_fault_is_found(name: str):
    fault = next(fault for fault in FAULTS if fault.name == name)
    assert not hunt(None, fault.target, seconds=0, seed=0)[0]
    found, executions, _, said = hunt(fault, fault.target, seconds=60, seed=0)
    assert found, said
    assert executions > 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_planted_fault_still_fits_the_code(fault):
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.old) == 1
    assert fault.old != fault.new
