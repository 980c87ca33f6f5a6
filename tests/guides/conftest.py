"""The function as the Integration Center sets it up, the sandbox around it, and what runs the guides' own code."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Page, Route

from sandbox import Credentials, Sandbox
from sandbox.core import OPENID
from tests.not_run import PREFIX
from tests.sandbox.page.window import NOT_INSTALLED, chromium, find_chromium, soon
from tests.support import OPERATOR_KEY, Function, Reply, gunicorn

INJECTED = (
    "signMode",
    "appId",
    "merchantId",
    "apiV3Key",
    "merchantSerialNumber",
    "privateKey",
    "wxPayPublicKey",
    "wxPayPublicKeyId",
    "notifyURLPayURL",
    "notifyURLRefundsURL",
)
# Where WeChat Pay is, for the sandbox's sake, and what CloudBase's runtime sets for every function.
SURROUNDINGS = ("wxPayApiBase", "wxPayApiBackup")
RUNTIME = {"TENCENTCLOUD_RUNENV": "SCF"}
ENV_ID = "test-wxpay-5gy4ugzreef15cfe"
FUNCTION_NAME = "miniapp-wxpay-rwmx67sc"
GATEWAY = f"https://{ENV_ID}.api.tcloudbasegateway.com/v1/functions/{FUNCTION_NAME}?webfn=true"
SHOP = "https://shop.example.com"


def injected(box: Sandbox, **changes: str | None) -> dict[str, str]:
    """The ten variables of the Integration Center, on the platform; a change of None leaves one out."""
    whole = box.env()
    variables: dict[str, str | None] = {name: whole[name] for name in (*INJECTED, *SURROUNDINGS)}
    return {name: value for name, value in (variables | RUNTIME | changes).items() if value is not None}


@dataclass
class Place:
    """`box` plays WeChat Pay, the Integration Center, the API gateway; `function` is ours."""

    box: Sandbox
    function: Function

    def mini_program(self, action: str, body: Mapping[str, Any], **headers: str) -> Reply:
        """An action as wx.cloud.callHTTPFunction calls it."""
        platform = {"x-wx-source": "wx_client", "x-wx-openid": OPENID, "x-wx-appid": self.box.credentials.app_id}
        return self.function.call(action, body, platform | headers)

    def web(self, body: Mapping[str, Any], token: str | None = None) -> requests.Response:
        """A call through the API gateway; `token` by default that of a user who signed in by mail."""
        headers = {"Content-Type": "application/json"}
        token = signed_in(self.box) if token is None else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = f"{self.box.url}/v1/functions/{FUNCTION_NAME}?webfn=true"
        return requests.post(url, json=body, headers=headers, timeout=30)

    def paid(self, number: str, total: int = 20) -> str:
        """An order by a mini program, paid, its callback kept; returns WeChat Pay's number."""
        assert self.mini_program("wxpay_order", order(number, total)).status == 200
        assert all(delivery.acknowledged for delivery in self.box.pay(number))
        return self.box.ledger.orders[number].transaction_id


def order(number: str, total: int = 20) -> dict[str, Any]:
    return {"description": "Test product", "out_trade_no": number, "amount": {"total": total, "currency": "CNY"}}


def signed_in(box: Sandbox, **claims: Any) -> str:
    """A token of a web user who signed in by mail: it names no openid."""
    return box.token("user", provider="email", provider_sub=None, **claims)


@contextmanager
def place(log: Path, credentials: Credentials, **changes: str | None) -> Iterator[Place]:
    with Sandbox(credentials=credentials) as box, gunicorn(injected(box, **changes), log) as function:
        box.function = function.url
        yield Place(box, function)


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    return Credentials.generate()


@pytest.fixture(scope="module")
def as_injected(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Place]:
    """The ten variables and nothing else."""
    with place(tmp_path_factory.mktemp("injected") / "log", credentials) as opened:
        yield opened


@pytest.fixture(scope="module")
def with_operator(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[Place]:
    """The ten variables and an operator's key."""
    with place(tmp_path_factory.mktemp("operator") / "log", credentials, operatorKey=OPERATOR_KEY) as opened:
        yield opened


@pytest.fixture
def ours(as_injected: Place) -> Place:
    as_injected.box.reset()
    return as_injected


@pytest.fixture
def desk(with_operator: Place) -> Place:
    with_operator.box.reset()
    return with_operator


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip(f"{PREFIX}node is not installed")
    return found


MiniProgram = Callable[..., dict[str, Any]]


@pytest.fixture
def mini_program(ours: Place, node: str) -> MiniProgram:
    """Runs a guide's code under the stand-in `wx`, where the user does what `will` says, and returns what happened.

    `calls` are those of the function, with the answer's `body`; `payments` what was said of each payment sheet.
    """
    key = ours.box.credentials.merchant.key.public_key()

    def run(will: str = "pay", lacks: tuple[str, ...] = (), **given: str) -> dict[str, Any]:
        settings = {
            "url": ours.function.url,
            "sandbox": ours.box.url,
            "env": ENV_ID,
            "function": FUNCTION_NAME,
            "openid": OPENID,
            "appId": ours.box.credentials.app_id,
            "merchantId": ours.box.credentials.merchant_id,
            "merchantKey": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "source": "wx_client",
            "bodies": "parsed",
            "lacks": lacks,
        }
        done = subprocess.run(
            [node, str(Path(__file__).parent / "wx.cjs")],
            input=json.dumps({"settings": settings, "will": [{"does": will}], **given}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=True,
        )
        seen: dict[str, Any] = json.loads(done.stdout)
        seen["calls"] = [call for call in seen["calls"] if call["api"] == "callHTTPFunction"]
        for call in seen["calls"]:
            call["body"] = json.loads(call.get("answer", "null"))
        return seen

    return run


# Pages in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        pytest.skip(NOT_INSTALLED)
    with chromium(executable) as started:
        yield started


class Web:
    """The internet as a page of a guide sees it: its CDN, the API gateway, and the shop that serves it.

    `bodies` are those that it sent to the gateway, `answers` what came back.
    """

    def __init__(self, page: Page, box: Sandbox, html: str, scripts: Mapping[str, str]) -> None:
        self.page, self._box, self._html, self._scripts = page, box, html, scripts
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dialog)
        page.route("**/*", self._answer)

    def soon(self, holds: Callable[[], bool]) -> bool:
        """Whether it comes true while the page goes on: it does so only while something is asked of it."""
        return soon(lambda: self.page.evaluate("true") and holds())

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()

    def _answer(self, route: Route) -> None:
        url = route.request.url
        if url == GATEWAY:
            self._by_gateway(route)
        elif url in self._scripts:
            route.fulfill(body=self._scripts[url], content_type="text/javascript")
        elif url == f"{SHOP}/pay/":
            route.fulfill(body=self._html, content_type="text/html; charset=utf-8")
        elif url.startswith(f"{SHOP}/order/result"):
            route.fulfill(body="<title>result</title>", content_type="text/html")
        elif url == f"{SHOP}/favicon.ico":
            route.fulfill(status=204)
        else:
            raise AssertionError(f"the page asks {url}")

    def _by_gateway(self, route: Route) -> None:
        allowed = {
            "Access-Control-Allow-Origin": SHOP,
            "Access-Control-Allow-Headers": "authorization, content-type",
            "Access-Control-Allow-Methods": "POST",
        }
        if route.request.method == "OPTIONS":
            route.fulfill(status=204, headers=allowed)
            return
        sent = route.request.headers
        headers = {name: sent[name] for name in ("authorization", "content-type") if name in sent}
        self.bodies.append(route.request.post_data_json)
        answer = requests.post(
            f"{self._box.url}/v1/functions/{FUNCTION_NAME}?webfn=true",
            data=route.request.post_data_buffer,
            headers=headers,
            timeout=30,
        )
        self.answers.append((answer.status_code, answer.json()))
        kept = {"Content-Type": answer.headers["Content-Type"], **allowed}
        route.fulfill(status=answer.status_code, headers=kept, body=answer.content)
