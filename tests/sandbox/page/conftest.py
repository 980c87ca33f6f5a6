"""A browser, the sandbox with the real function beside it, and a window that must stay quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from sandbox import Credentials
from tests.sandbox.page.window import NOT_INSTALLED, Shop, Window, chromium, find_chromium, open_shop

Opener = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        pytest.skip(NOT_INSTALLED)
    with chromium(executable) as started:
        yield started


@pytest.fixture(scope="module")
def running_shop(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    log: Path = tmp_path_factory.mktemp("page") / "function.log"
    with open_shop(log, Credentials.generate()) as shop:
        yield shop


@pytest.fixture
def shop(running_shop: Shop) -> Iterator[Shop]:
    yield running_shop
    running_shop.box.function = running_shop.function.url
    running_shop.box.running = False
    running_shop.box.limits = False
    running_shop.box.reset()


@pytest.fixture
def opener(browser: Browser, shop: Shop) -> Iterator[Opener]:
    """Opens windows. Each must have said nothing, failed nowhere and asked nobody else when the test ends."""
    opened: list[tuple[Any, Window, tuple[str, ...]]] = []

    def open_window(*, forgiven: tuple[str, ...] = (), **options: Any) -> Window:
        options = {"locale": "en-GB", "viewport": {"width": 1440, "height": 1000}, **options}
        context = browser.new_context(**options)
        window = Window(context.new_page(), shop.box.url)
        opened.append((context, window, forgiven))
        return window

    yield open_window
    for context, window, _ in opened:
        window.settle()
        context.close()
    for _, window, forgiven in opened:
        said = [line for line in window.console if not any(part in line for part in forgiven)]
        assert (said, window.errors, window.strangers()) == ([], [], [])
        assert window.requests


@pytest.fixture
def window(opener: Opener) -> Window:
    return opener()
