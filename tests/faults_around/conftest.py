"""One merchant for all: making keys takes most of a sandbox's start."""

from __future__ import annotations

import pytest

from sandbox import Credentials


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    return Credentials.generate()
