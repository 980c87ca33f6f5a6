"""The function that strangers attack, once for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Credentials
from tests.hostile_callers.wire import Shop, open_shop


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    return Credentials.generate()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), credentials) as shop:
        yield shop


@pytest.fixture
def shop(opened: Shop) -> Shop:
    opened.house.new()
    return opened
