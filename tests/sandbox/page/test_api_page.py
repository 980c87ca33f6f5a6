"""The page /api: the function's description read, requests made with it, and what came back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.not_run import PREFIX
from tests.sandbox.page.conftest import Opener
from tests.sandbox.page.test_page import CONTRAST
from tests.sandbox.page.window import Shop, Window
from tests.support import ROOT

DESCRIPTION: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
EVIL = "<img src=x onerror=alert(1)>"
NO_CURL = f"{PREFIX}curl is not installed"


def visit(window: Window, operation: str = "", query: str = "?lang=en") -> Window:
    window.page.goto(f"{window.url}/api{query}#{operation}")
    expect(window.id("title")).to_be_visible()
    return window


def sent(window: Window) -> dict[str, Any]:
    """Send; the answer's body."""
    window.id("send").click()
    expect(window.id("send")).not_to_have_attribute("aria-busy", "true")
    expect(window.id("answer")).to_be_visible()
    body: dict[str, Any] = json.loads(window.id("answer-body").text_content() or "")
    return body


def body_of(window: Window) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(window.id("body").input_value())
    return body


def go(window: Window, operation: str) -> None:
    link = window.page.locator(f"[data-operation={operation}]")
    link.click()
    expect(link).to_have_attribute("aria-current", "page")


def call_as(window: Window, caller: str) -> None:
    window.page.locator(f"input[name=caller][value='{caller}']").check()


def row(window: Window, field: str) -> Locator:
    return window.page.locator("#fields tr", has=window.page.locator(f"code:text-is('{field}')"))


class _Stub(BaseHTTPRequestHandler):
    """A function that serves this description and answers all else as it is told."""

    description = b""
    status = 200
    answer = b"{}"

    def do_GET(self) -> None:
        self._reply(200 if self.description else 404, self.description)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(self.status, self.answer)

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Request-Id", EVIL)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def stub(shop: Shop, **how: Any) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Stub", (_Stub,), how))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    shop.box.function = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# The description


def test_everything_described_is_listed_by_tag(window: Window):
    visit(window)
    wanted = {
        f"{tag['name']}: {about['summary']}"
        for tag in DESCRIPTION["tags"]
        for item in DESCRIPTION["paths"].values()
        for about in item.values()
        if tag["name"] in about["tags"]
    }
    listed = window.page.evaluate(
        "[...document.querySelectorAll('nav section')].flatMap((tag) => [...tag.querySelectorAll('a[data-operation]')]"
        ".map((link) => `${tag.querySelector('h3').textContent}: ${link.firstChild.textContent}`))"
    )
    assert set(listed) == wanted
    assert len(listed) == sum(len(item) for item in DESCRIPTION["paths"].values())


def test_every_operation_can_be_shown(window: Window):
    visit(window)
    shown = window.page.evaluate(
        """async () => {
          const found = [];
          for (const link of document.querySelectorAll('a[data-operation]')) {
            const changed = new Promise((done) => addEventListener('hashchange', done, {once: true}));
            link.click();
            await changed;
            const [title, text] = ['title', 'description'].map((id) => document.getElementById(id).textContent);
            const posts = document.getElementById('body').checkVisibility();
            found.push([link.dataset.operation, title, text, posts ? 'post' : 'get']);
          }
          return found;
        }"""
    )
    described = [
        [about["operationId"], about["summary"], about["description"], method]
        for item in DESCRIPTION["paths"].values()
        for method, about in item.items()
    ]
    assert sorted(shown) == sorted(described)


def test_fields_with_their_limits_and_documents(window: Window):
    visit(window, "wxpay_refund")
    total = row(window, "amount.total")
    least, most = (
        DESCRIPTION["components"]["schemas"]["RefundAmount"]["properties"]["total"][end]
        for end in ("minimum", "maximum")
    )
    expect(total).to_contain_text(f"{least}–{most}")
    expect(total).to_contain_text("integer")
    expect(total).to_contain_text("required")
    expect(row(window, "reason")).to_contain_text("≤ 80 characters")
    expect(row(window, "reason")).to_contain_text("optional")
    expect(row(window, "funds_account")).to_contain_text('"AVAILABLE", "UNSETTLED"')
    expect(row(window, "goods_detail")).to_contain_text("≤ 200 items")
    expect(row(window, "goods_detail[].merchant_goods_id")).to_be_visible()
    expect(window.id("fields-choice")).to_have_text("One of these must be there: out_trade_no, transaction_id.")
    link = window.id("fields-about").get_by_role("link", name="[4013071036]")
    expect(link).to_have_attribute("href", "https://pay.weixin.qq.com/doc/v3/merchant/4013071036")
    go(window, "by_body")
    expect(window.id("fields-choice")).to_contain_text("_action says which other fields there are")


def test_a_function_without_a_description_and_none_at_all(shop: Shop, window: Window):
    with stub(shop):
        window.page.goto(f"{window.url}/api?lang=en")
        expect(window.id("load-result")).to_contain_text("has no description: it answered /openapi.json with 404")
    window.id("again").click()
    expect(window.id("load-result")).to_contain_text(f"does not answer at {shop.box.function}")
    with stub(shop, description=b'{"openapi": "3.1.0", "paths": {}}'):
        window.id("again").click()
        expect(window.id("load-result")).to_contain_text("is no OpenAPI 3 description")
    window.button("中文").click()
    expect(window.id("load-result")).to_contain_text("不是 OpenAPI 3 描述")
    shop.box.function = shop.function.url
    window.id("again").click()
    expect(window.id("title")).to_be_visible()
    expect(window.id("loading")).to_be_hidden()


# Requests


@pytest.mark.parametrize(
    ("query", "title", "took"), [("?lang=en", "Try the function’s API", "ms"), ("?lang=zh", "试用云函数接口", "毫秒")]
)
def test_an_order_in_both_languages(query: str, title: str, took: str, shop: Shop, window: Window):
    visit(window, "wxpay_order", query)
    expect(window.page).to_have_title(title)
    first = body_of(window)["out_trade_no"]
    window.id("fresh").click()
    number = body_of(window)["out_trade_no"]
    assert re.fullmatch(r"TEA\d{8}[A-Z2-9]{8}", number)
    assert first != number
    answer = sent(window)
    assert (answer["code"], set(answer["data"]["data"]) >= {"paySign", "package"}) == (0, True)
    assert shop.box.ledger.orders[number].total == 20
    expect(window.id("status")).to_have_text("200")
    expect(window.id("time")).to_contain_text(took)
    expect(window.id("headers")).to_contain_text(re.compile(r"X-Request-Id\s*[0-9A-Za-z_-]{8,}"))
    assert window.focused() == "answer-title"
    window.id("next").get_by_role("link").first.click()
    expect(window.id("path")).to_have_text("/wx-pay/wxpay_query_order_by_out_trade_no")
    assert body_of(window) == {"out_trade_no": number}
    assert sent(window)["data"]["data"]["trade_state"] == "NOTPAY"


def test_a_refusal_is_shown_and_what_is_not_json_is_sent_all_the_same(window: Window):
    visit(window, "wxpay_order_native")
    order = body_of(window)
    window.id("body").fill(json.dumps(order | {"amount": {"total": -1}}))
    assert "amount.total" in sent(window)["msg"]
    expect(window.id("status")).to_have_text("400")
    documented = DESCRIPTION["components"]["responses"]["Failure400"]["description"]
    expect(window.id("meaning")).to_have_text(documented)
    window.id("body").fill("{")
    expect(window.id("body-hint")).to_contain_text("This is not JSON")
    assert sent(window)["code"] == -1
    expect(window.id("status")).to_have_text("400")


def test_an_operator_refunds_and_nobody_else(shop: Shop, window: Window):
    visit(window, "wxpay_order_native")
    number = body_of(window)["out_trade_no"]
    sent(window)
    shop.box.pay(number, deliver=False)
    go(window, "wxpay_refund")
    assert body_of(window)["out_trade_no"] == number
    expect(window.id("key")).to_have_value(shop.box.operator_key)
    for caller, status in (("", "401"), ("miniProgram", "403"), ("accessToken", "403")):
        call_as(window, caller)
        assert sent(window)["code"] == -1
        expect(window.id("status")).to_have_text(status)
    call_as(window, "operatorKey")
    window.id("key").fill("another")
    sent(window)
    expect(window.id("status")).to_have_text("401")
    assert shop.box.ledger.refunds == {}
    window.id("key").fill(shop.box.operator_key)
    answer = sent(window)
    assert answer["data"]["data"]["status"] == "PROCESSING"
    refunds = shop.box.ledger.orders[number].refunds
    assert [refund.number for refund in refunds] == [answer["data"]["data"]["out_refund_no"]]


def test_through_the_gateway(shop: Shop, window: Window):
    visit(window, "wxpay_order_native")
    call_as(window, "accessToken")
    number = body_of(window)["out_trade_no"]
    assert sent(window)["code"] == 0
    assert shop.box.ledger.orders[number].state == "NOTPAY"
    expect(window.id("by-gateway")).to_be_hidden()
    window.id("body").fill("[]")
    assert sent(window)["code"] == "FUNCTION_PARAM_INVALID"
    expect(window.id("by-gateway")).to_be_visible()


def test_a_status_that_is_not_described_is_flagged(shop: Shop, window: Window):
    with stub(shop, description=json.dumps(DESCRIPTION).encode(), status=299):
        visit(window, "wxpay_order_native")
        sent(window)
    expect(window.id("status")).to_have_text("299")
    expect(window.id("status")).to_have_attribute("data-documented", "false")
    expect(window.id("meaning")).to_have_text("The description knows no status 299 here.")


def test_a_function_that_stopped_is_said(shop: Shop, window: Window):
    visit(window, "healthz")
    assert sent(window)["code"] == 0
    shop.box.function = "http://127.0.0.1:9"
    window.id("send").click()
    expect(window.id("send-result")).to_contain_text("It was looked for at http://127.0.0.1:9")
    expect(window.id("answer")).to_be_hidden()


def test_nothing_that_comes_back_is_markup(shop: Shop, window: Window):
    evil = json.loads(json.dumps(DESCRIPTION).replace("A cup of tea", EVIL))
    about = evil["paths"]["/wx-pay/wxpay_order_native"]["post"]
    about["summary"] = about["description"] = about["responses"]["299"] = EVIL
    about["responses"]["299"] = {"description": EVIL}
    evil["tags"][0]["description"] = EVIL
    evil["info"]["description"] = "javascript:alert(1)/<number>"
    evil["components"]["schemas"]["Order"]["properties"] = {EVIL: {"description": f"{EVIL} [4012791877]"}}
    with stub(shop, description=json.dumps(evil).encode(), status=299, answer=json.dumps(EVIL).encode()):
        visit(window, "wxpay_order_native")
        assert body_of(window)["description"] == EVIL
        window.id("send").click()
        expect(window.id("answer-body")).to_have_text(f'"{EVIL}"')
    for name in ("title", "description", "meaning", "operations", "fields", "headers"):
        expect(window.id(name)).to_contain_text(EVIL)
    assert window.page.locator("img, script:not([src]), a[href^='javascript']").count() == 0
    expect(window.id("fields")).to_contain_text("[4012791877]")


# curl


@pytest.mark.skipif(shutil.which("curl") is None, reason=NO_CURL)
def test_the_curl_line_does_the_same_for_every_caller(shop: Shop, window: Window, tmp_path: Path):
    visit(window, "wxpay_order_native", "?lang=zh")
    for caller in ("miniProgram", "accessToken", "operatorKey", ""):
        call_as(window, caller)
        window.id("fresh").click()
        order = body_of(window) | {"description": "Tom's \"tea\" $HOME `id` \\ 龙井", "attach": "@/etc/hostname"}
        window.id("body").fill(json.dumps(order, indent=1, ensure_ascii=False))
        head, answer = run_by_sh(window.id("curl").text_content() or "", tmp_path)
        if caller:
            placed = shop.box.ledger.orders[order["out_trade_no"]].body
            assert (placed["description"], placed["attach"]) == (order["description"], order["attach"])
        again = sent(window)
        assert again["code"] == answer["code"] == (0 if caller else -1)
        assert again["msg"] == answer["msg"]
        assert head.split()[1] == window.id("status").text_content() == ("200" if caller else "401")


def run_by_sh(line: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Head and body of the answer."""
    variables = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    run = subprocess.run(
        ["sh"], input=line, capture_output=True, encoding="utf-8", check=True, env=variables, cwd=folder
    )
    assert run.stderr == ""
    head, _, body = run.stdout.replace("\r\n", "\n").partition("\n\n")
    return head, json.loads(body)


def test_the_line_is_copied_or_else_selected(opener: Opener):
    window = visit(opener(permissions=["clipboard-read", "clipboard-write"]), "wxpay_order")
    line = window.id("curl").text_content()
    window.id("copy").click()
    expect(window.id("copy-result")).to_have_text("Copied.")
    assert window.page.evaluate("navigator.clipboard.readText()") == line
    window.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    window.id("copy").click()
    expect(window.id("copy-result")).to_contain_text("The line is selected")
    assert window.page.evaluate("getSelection().toString()") == line


# Access


def test_a_small_phone_and_the_keyboard(opener: Opener):
    window = opener(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    for query in ("?lang=en", "?lang=zh"):
        visit(window, "wxpay_order", query)
        call_as(window, "operatorKey")
        window.id("body").fill('{"out_trade_no": "' + "W" * 300 + '"}')
        sent(window)
        assert window.overflow() == 0
    for operation in ("by_body", "openapi"):
        go(window, operation)
        assert (operation, window.overflow()) == (operation, 0)
    window.page.reload()
    expect(window.id("title")).to_be_visible()
    window.page.keyboard.press("Tab")
    expect(window.id("skip")).to_be_focused()
    window.page.keyboard.press("Enter")
    expect(window.id("title")).to_be_focused()
    expect(window.id("path")).to_have_text("/openapi.json")
    window.id("send").focus()
    window.page.keyboard.press("Enter")
    expect(window.id("status")).to_have_text("200")


def test_contrast_and_names(opener: Opener):
    window = opener(reduced_motion="reduce")
    visit(window, "wxpay_refund")
    sent(window)
    grounds = set()
    for scheme in ("light", "dark"):
        window.page.emulate_media(color_scheme=scheme)
        grounds.add(window.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        look = window.page.evaluate(CONTRAST)
        assert look["found"] == []
        assert look["looked"] > 100
    assert len(grounds) == 2
    session = window.page.context.new_cdp_session(window.page)
    roles = {"button", "textbox", "radio", "link", "navigation", "main", "region"}
    nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    named = {node["role"]["value"] for node in nodes if node.get("name", {}).get("value")}
    assert named >= roles - {"main"}
    unnamed = [node for node in nodes if node["role"]["value"] in roles - {"main"} and not node["name"]["value"]]
    assert unnamed == []


def test_the_pages_lead_to_each_other_under_the_same_policy(window: Window):
    window.visit()
    window.page.get_by_role("link", name="Try the API").click()
    expect(window.id("title")).to_be_visible()
    policies = [window.page.request.get(window.url + path).headers["content-security-policy"] for path in ("/", "/api")]
    assert policies[0] == policies[1]
    window.page.get_by_role("link", name="Back to the sandbox").click()
    expect(window.id("place")).to_be_visible()


# The control API behind it


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"path": "wx-pay"},
        {"headers": {"x": "a\r\nb: c"}},
        {"headers": {"x": 1}},
        {"body": {}},
        {"gateway": "yes"},
    ],
)
def test_what_is_no_request_is_refused(change: dict[str, Any], shop: Shop, posted: Callable[..., Any]):
    assert posted({"method": "GET", "path": "/healthz"}) == 200
    assert posted({"method": "GET", "path": "/healthz", **change}) == 400


@pytest.fixture
def posted(shop: Shop) -> Callable[..., Any]:
    import requests  # noqa: PLC0415

    return lambda body: requests.post(f"{shop.box.url}/sandbox/send", json=body, timeout=10).status_code
