"""Keys for the functions of these tests."""

from __future__ import annotations

import pytest

from sandbox import Credentials


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    return Credentials.generate()
