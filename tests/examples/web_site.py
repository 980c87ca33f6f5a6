"""A site that serves an example's pages, the function behind the sandbox's gateway, and a browser's window on it."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import zxingcpp
from playwright.sync_api import Browser, BrowserContext, Page, Route

from sandbox import Credentials, Sandbox
from sandbox.core import OPENID
from services.orders.database import Database
from services.orders.tables import init_db
from tests.sandbox.page.window import NOT_INSTALLED, chromium, find_chromium
from tests.support import OPERATOR_KEY, ROOT, Function, gunicorn

EXAMPLES = ROOT / "examples"
PATIENCE = 10_000  # milliseconds
QUERY, CLOSE = "wxpay_query_order_by_out_trade_no", "wxpay_close_order"
# Stands in for the SDK's sign-in: what it is asked for comes from the sandbox, whose gateway checks it.
AUTH = """
export async function getAccessToken({ renew = false } = {}) {
  return (await fetch(`/token?renew=${renew}`)).text();
}
"""


def a_browser() -> Iterator[Browser]:
    """For a fixture: Chromium, or a test that says that it was not run."""
    executable = find_chromium()
    if executable is None:
        pytest.skip(NOT_INSTALLED)
    with chromium(executable) as started:
        yield started


@dataclass
class Site:
    """Static files from `examples/`, some of them replaced, on an origin that is not the gateway's."""

    url: str
    replaced: dict[str, str]
    token: Callable[[bool], str]
    asked_for_tokens: list[bool] = field(default_factory=list)

    def configure(self, gateway: str, **settings: str) -> None:
        """The cashier's own config.js, with other values for its constants."""
        text = (EXAMPLES / "pc-cashier/config.js").read_text()
        for name, value in {"GATEWAY": json.dumps(gateway), **settings}.items():
            text, found = re.subn(rf"(?<=export const {name} = ).*?;", lambda _, value=value: f"{value};", text)
            assert found == 1, name
        self.replaced["/pc-cashier/config.js"] = text


@contextmanager
def site(token: Callable[[bool], str]) -> Iterator[Site]:
    class Handler(SimpleHTTPRequestHandler):
        # Without it, Windows and some Linux machines name no type or another one, and modules are refused.
        extensions_map: Mapping[str, str] = SimpleHTTPRequestHandler.extensions_map | {  # type: ignore[assignment]
            ".js": "text/javascript",
            ".mjs": "text/javascript",
        }

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(EXAMPLES))

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/token":
                renew = parse_qs(parts.query)["renew"] == ["true"]
                served.asked_for_tokens.append(renew)
                self._send("text/plain", served.token(renew))
            elif parts.path in served.replaced:
                self._send("text/javascript", served.replaced[parts.path])
            else:
                super().do_GET()

        def end_headers(self) -> None:
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

        def _send(self, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests look at what the pages do."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        served = Site(url, {"/pc-cashier/auth.js": AUTH}, token)
        yield served


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """The URL of a server that runs meanwhile."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Shop:
    """`box` is WeChat Pay, gateway and phone; `function` the function behind it; `site` serves the pages."""

    box: Sandbox
    function: Function
    site: Site
    has_database: bool

    def numbers(self) -> list[str]:
        return list(self.box.ledger.orders)

    def state(self, number: str) -> str:
        return self.box.ledger.orders[number].state

    def scan(self, code_url: str, openid: str = OPENID) -> str:
        """A phone opens the code; returns the order's number."""
        number: str = self.box.phone.open(openid, code_url=code_url)["number"]
        return number

    def pay(self, number: str, **manner: Any) -> float:
        """The user pays and the callback is acknowledged; returns when, in seconds since 1970."""
        deliveries = self.box.pay(number, openid=OPENID, **manner)
        assert all(delivery.acknowledged for delivery in deliveries)
        return time.time()

    def queries(self) -> list[Any]:
        """What WeChat Pay was asked about orders, in order."""
        asked = [request for request in self.box.requests if "/out-trade-no/" in request.target]
        return [request for request in asked if request.method == "GET"]


@contextmanager
def open_shop(folder: Path, credentials: Credentials, *, database: bool, **variables: str) -> Iterator[Shop]:
    """With tokens alone: nobody is believed who does not come with one that the environment has signed."""
    given = {"operatorKey": OPERATOR_KEY, "callerHeaders": "ignored", **variables}
    if database:
        given["orderDatabaseUrl"] = f"sqlite:///{folder / 'orders.sqlite3'}"
        init_db(Database(given["orderDatabaseUrl"]))
    with Sandbox(credentials=credentials) as box, site(lambda renew: box.token()) as pages:
        settings = box.env(tokens=True, **{"corsAllowOrigin": pages.url, **given})
        with gunicorn(settings, folder / "function.log") as function:
            box.function = function.url
            yield Shop(box, function, pages, database)


class Tab:
    """One tab of a browser; it keeps what went wrong."""

    def __init__(self, context: BrowserContext, expected: re.Pattern[str] | None) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.strangers: list[str] = []
        self._expected = expected
        self.page.on("request", self._watch)

    def _watch(self, request: Any) -> None:
        parts = urlsplit(request.url)
        here = parts.scheme in ("data", "blob") or parts.hostname == "127.0.0.1"
        if not here and not (self._expected and self._expected.match(request.url)):
            self.strangers.append(request.url)

    def id(self, name: str) -> Any:
        return self.page.locator(f"#{name}")

    def phase(self, name: str) -> None:
        """Wait until the page has come so far."""
        self.page.wait_for_function("phase => document.body.dataset.phase === phase", arg=name)

    def note_phases(self) -> None:
        """From now on the page writes down when it came to which phase."""
        self.page.evaluate(
            """() => {
                window.phases = [];
                new MutationObserver(() => window.phases.push([document.body.dataset.phase, Date.now() / 1000]))
                    .observe(document.body, { attributes: true, attributeFilter: ['data-phase'] });
            }"""
        )

    def phases(self) -> list[tuple[str, float]]:
        return [(name, at) for name, at in self.page.evaluate("window.phases")]

    def on_action(self, action: str, handler: Callable[[Route], None]) -> None:
        """Stand between the page and the gateway for one action."""

        def judge(route: Route) -> None:
            body = route.request.post_data_json if route.request.method == "POST" else None
            if body and body.get("_action") == action:
                handler(route)
            else:
                route.fallback()

        self.page.route("**/v1/functions/**", judge)


@contextmanager
def tab(browser: Browser, strangers: re.Pattern[str] | None = None, **options: Any) -> Iterator[Tab]:
    """A fresh browser profile; whatever it did must have been without errors, and on this machine only.

    `strangers`: addresses that a test answers itself.
    """
    context = browser.new_context(**{"locale": "en-GB", **options})
    opened = Tab(context, strangers)
    try:
        yield opened
    finally:
        context.close()
    assert (opened.errors, opened.strangers) == ([], [])


def read_code(opened: Tab, picture: bytes) -> str:
    """What a PNG of the screen says to a reader of QR codes that has nothing to do with who drew it."""
    script = """async (data) => {
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
        context.drawImage(bitmap, 0, 0);
        const { width, height, data: pixels } = context.getImageData(0, 0, bitmap.width, bitmap.height);
        let grey = '';
        for (let at = 0; at < pixels.length; at += 4) {
            grey += String.fromCharCode((pixels[at] + pixels[at + 1] + pixels[at + 2]) / 3);
        }
        return [width, height, btoa(grey)];
    }"""
    width, height, grey = opened.page.evaluate(script, base64.b64encode(picture).decode())
    image = memoryview(base64.b64decode(grey)).cast("B", shape=[height, width])
    (code,) = zxingcpp.read_barcodes(image)
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    text: str = code.text
    return text
