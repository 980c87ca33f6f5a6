"""`make run` opens its page, and whoever looks sees the loop happen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.sandbox.page.window import Window, soon
from tests.support import ROOT


def test_the_loop_is_watched_in_the_browser_that_it_opens(browser: Browser, tmp_path: Path):
    asked = tmp_path / "asked"
    note = tmp_path / "browser.py"
    note.write_text(f"import sys; open({str(asked)!r}, 'w').write(sys.argv[1])")
    ports = ["--port", "0", "--sandbox-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo", *ports, "--state", str(tmp_path / "state")],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DISPLAY": ":0", "BROWSER": f"{sys.executable} {note} %s &"},
        stdout=subprocess.DEVNULL,
    )
    context = browser.new_context(locale="en-GB", viewport={"width": 1440, "height": 1000})
    try:
        # Two servers have started and a payment has gone its way by then.
        assert soon(lambda: asked.exists() and asked.read_text().endswith("/"), seconds=40)
        window = Window(context.new_page(), asked.read_text().removesuffix("/")).visit()
        expect(window.id("orders")).to_contain_text("WAITING")  # so it was there before the payment
        expect(window.id("orders")).to_contain_text("PAID")
        expect(window.id("orders")).to_contain_text("PARTLY REFUNDED")
        expect(window.id("orders").locator("li")).to_have_count(2)
        expect(window.page.locator("#callbacks > li")).to_have_count(3)
        assert (window.console, window.errors, window.strangers()) == ([], [], [])
    finally:
        context.close()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
