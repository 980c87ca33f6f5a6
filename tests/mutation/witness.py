"""A pytest plugin of the mutation runs: which test killed a mutant, and by what.

One JSON line a kill is appended to the file that MUTATION_WITNESS names: {"mutant", "test", "by", "text"}. A mutant
that dies of something odd is worth a look: it may have broken the tests' ground instead of having been noticed. The
process, a fork for this one mutant, ends there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    mutant = os.environ.get("MUTANT_UNDER_TEST", "")
    if "__mutmut_" not in mutant or call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        return
    found = {"mutant": mutant, "test": item.nodeid, "by": call.excinfo.typename, "text": call.excinfo.exconly()[:300]}
    with Path(os.environ["MUTATION_WITNESS"]).open("a") as file:
        file.write(json.dumps(found) + "\n")
    os._exit(1)  # a report takes longer than the test, because mutmut's modules are long
