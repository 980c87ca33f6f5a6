"""A browser's window on the page, for tests and for the pictures of the documentation."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from sandbox import Credentials, Sandbox
from tests.support import Function, gunicorn

NOT_INSTALLED = "not run: chromium is not installed"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that is looked up at all would be one outside this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PATIENCE = 10_000  # milliseconds


@contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def find_chromium() -> str | None:
    return shutil.which("chromium")


def soon(holds: Callable[[], bool], seconds: float = PATIENCE / 1000) -> bool:
    """Whether it comes true within so many seconds: what another program does shows a little later."""
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


@dataclass
class Shop:
    """The sandbox and the function beside it."""

    box: Sandbox
    function: Function


@contextmanager
def open_shop(log: Path, credentials: Credentials | None = None, port: int = 0) -> Iterator[Shop]:
    with Sandbox(credentials=credentials, port=port) as box:
        variables = box.whole_env()
        with gunicorn(variables, log) as function:
            box.function = function.url
            yield Shop(box, function)


@dataclass
class Window:
    """One tab. It keeps what the page said on the console, what went wrong, and where it sent requests."""

    page: Page
    url: str
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _unanswered: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._requested)
        self.page.on("requestfinished", self._answered)
        self.page.on("requestfailed", self._answered)
        self.page.on("dialog", self._refuse_dialog)

    def _requested(self, request: Any) -> None:
        self.requests.append(request.url)
        if not request.url.endswith("/sandbox/events"):  # a stream without an end
            self._unanswered.add(request)

    def _answered(self, request: Any) -> None:
        self._unanswered.discard(request)

    def settle(self) -> None:
        """Wait for all answers: what a test set going must not go on in the next one."""
        give_up = time.monotonic() + PATIENCE / 1000
        while self._unanswered and time.monotonic() < give_up:
            self.page.wait_for_timeout(10)

    def _refuse_dialog(self, dialog: Any) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def visit(self, query: str = "?lang=en") -> Window:
        """Open the page and wait until it is live."""
        self.page.goto(f"{self.url}/{query}")
        expect(self.page.locator("#live")).to_have_attribute("data-live", "live")
        expect(self.id("function-url")).not_to_be_empty()
        return self

    def id(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def order(self, scene: str = "native", description: str = "Tea", amount: str = "0.20") -> str:
        """Place an order at the cashier; its number."""
        self.page.locator(f"input[name=scene][value={scene}]").check()
        self.id("description").fill(description)
        self.id("amount").fill(amount)
        before = self.id("chosen-number").text_content() or ""
        self.id("place").click()
        expect(self.id("cashier-result")).to_have_attribute("data-tone", "good")
        expect(self.id("chosen-number")).not_to_have_text(before)
        return self.id("chosen-number").text_content() or ""

    def open(self) -> None:
        """The phone opens what the chosen order offers."""
        self.id("phone-open").click()
        expect(self.id("phone-pay")).to_be_visible()

    def pay(self, way: str = "pay") -> None:
        self.id(f"phone-{way}").click()

    def states(self) -> list[str]:
        """The words of the order's life, without events that change no state."""
        return self.page.locator("#life li.step .strong").all_text_contents()

    def deliveries(self) -> Locator:
        return self.page.locator("#callbacks > li")

    def strangers(self) -> list[str]:
        """Requests that went anywhere but to this machine; data: stays inside the page."""
        parts = [urlsplit(url) for url in self.requests]
        return [part.geturl() for part in parts if part.scheme != "data" and part.hostname != "127.0.0.1"]

    def focused(self) -> str:
        """The id of what has the focus."""
        return str(self.page.evaluate("document.activeElement.id"))

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))
