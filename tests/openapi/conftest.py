"""The description that the run is given, if it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.not_run import PREFIX
from tests.openapi.check import Check
from tests.openapi.description import Description
from tests.openapi.plugin import MISSING, VARIABLE


@pytest.fixture
def real() -> Check:
    path = Path(os.environ.get(VARIABLE, ""))
    if not path.is_file():
        pytest.skip(f"{PREFIX}{MISSING}")
    return Check(Description.load(path))
