"""Takes the pictures of the documentation anew: `python -m tests.sandbox.page.screenshots docs/images`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.sandbox.page.window import NOT_INSTALLED, Window, chromium, find_chromium, open_shop, soon

LARGEST = 400_000  # bytes
TEA = {"en": "Longjing tea, 50 g", "zh": "西湖龙井 50 克"}


def a_day_at_the_shop(window: Window, language: str) -> None:
    """A payment whose first callback got lost, a refund of a part, and a new order on the phone."""
    window.visit(f"?lang={language}")
    window.order("jsapi", TEA[language], "128.00")
    window.open()
    window.pay("loseOne")
    expect(window.deliveries()).to_have_count(1)
    window.page.locator("[data-step='15s']").click()
    expect(window.deliveries()).to_have_count(2)
    window.id("refund-amount").fill("28.00")
    window.id("refund").click()
    window.page.locator("#refunds button").first.click()
    expect(window.deliveries()).to_have_count(3)


def whole(browser: Browser, url: str, language: str, path: Path) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 1430})
    window = Window(context.new_page(), url)
    a_day_at_the_shop(window, language)
    window.order("native", TEA[language], "64.00")
    window.open()
    window.deliveries().nth(1).locator("summary").click()
    taken(window, path)
    context.close()


def on_a_phone(browser: Browser, url: str, path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True)
    window = Window(context.new_page(), url)
    a_day_at_the_shop(window, "en")
    window.order("native", TEA["en"], "64.00")
    window.open()
    window.page.locator("#phone-title").evaluate("title => title.scrollIntoView()")
    taken(window, path)
    context.close()


def taken(window: Window, path: Path) -> None:
    window.page.evaluate("document.activeElement.blur()")
    window.page.mouse.move(0, 0)
    assert soon(lambda: bool(window.page.evaluate("[...document.images].every((image) => image.complete)")))
    window.page.screenshot(path=path, animations="disabled")
    size = path.stat().st_size
    print(f"{path}  {size} bytes")
    if size > LARGEST:
        raise SystemExit(f"{path} has {size} bytes; at most {LARGEST} are wanted")


def main(folder: Path) -> None:
    executable = find_chromium()
    if executable is None:
        raise SystemExit(NOT_INSTALLED)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as logs,
        chromium(executable) as browser,
        open_shop(Path(logs) / "function.log") as shop,
    ):
        for language in ("en", "zh"):
            whole(browser, shop.box.url, language, folder / f"sandbox-{language}.png")
            shop.box.reset()
        on_a_phone(browser, shop.box.url, folder / "sandbox-phone.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
