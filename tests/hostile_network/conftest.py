"""One set of keys for all of these tests: making them takes most of a sandbox's start."""

from __future__ import annotations

import pytest

from sandbox import Credentials


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    return Credentials.generate()
