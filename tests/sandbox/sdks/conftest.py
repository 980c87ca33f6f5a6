"""What SDKs made by others need: a sandbox in either key mode, a shop that runs them, and forgeries for them."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox import Credentials, Sandbox
from sandbox.credentials import private_pem
from sandbox.crypto import Signer
from tests.sandbox.conftest import Heard, call

HERE = Path(__file__).parent
PRELOAD = Path(__file__).parents[3] / "sandbox" / "node-hosts.cjs"
NOTIFY = "https://shop.example/notify"

Notice = tuple[dict[str, str], bytes]


@pytest.fixture(autouse=True)
def no_names_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK that were to leave this machine would have to look up a name first."""
    look_up = socket.getaddrinfo

    def local(host: Any, *rest: Any, **more: Any) -> Any:
        assert host in ("127.0.0.1", "::1", "localhost"), f"{host} was looked up"
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=["public_key", "certificate"])
def key_mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def box(credentials: Credentials, key_mode: str) -> Iterator[Sandbox]:
    with Sandbox("http://127.0.0.1:9", "sdk", key_mode, credentials=credentials) as sandbox:
        yield sandbox


@dataclass
class Shop:
    """A shop in a process of its own, which does everything by its SDK."""

    url: str

    def call(self, action: str, *arguments: Any) -> dict[str, Any]:
        """{"returned": ...} or {"thrown": ...}."""
        heard = call(self.url, "POST", f"/call/{action}", json.dumps(arguments).encode(), timeout=20)
        assert isinstance(heard.json, dict)
        return heard.json

    def returned(self, action: str, *arguments: Any) -> Any:
        answer = self.call(action, *arguments)
        assert "returned" in answer, answer
        return answer["returned"]

    def thrown(self, action: str, *arguments: Any) -> dict[str, Any]:
        answer = self.call(action, *arguments)
        assert "thrown" in answer, answer
        thrown = answer["thrown"]
        assert isinstance(thrown, dict)
        return thrown

    def notify(self, notice: Notice) -> Heard:
        headers: dict[str, str | None] = {**notice[0]}
        return call(self.url, "POST", urlsplit(NOTIFY).path, notice[1], headers, timeout=20)


OpenShop = Callable[[str, dict[str, Any], dict[str, str]], Shop]


def node() -> str:
    found = shutil.which("node")
    if not found:
        pytest.skip("not run: node is not installed")
    return found


def modules() -> Path:
    """Where npm has put the SDKs; skips when it has not."""
    node()
    if not (HERE / "node_modules").is_dir():
        pytest.skip("not run: tests/sandbox/sdks/node_modules is missing (npm ci --prefix tests/sandbox/sdks)")
    return HERE / "node_modules"


def guarded(*preloads: Path) -> list[str]:
    """Node, kept on this machine."""
    files = (HERE / "loopback-only.cjs", *preloads)
    return [node(), *(word for file in files for word in ("--require", str(file)))]


def environment(**variables: str) -> dict[str, str]:
    """Nothing of this process's own settings, proxies least of all."""
    return {"PATH": os.environ["PATH"], **variables}


@pytest.fixture
def open_shop(box: Sandbox) -> Iterator[OpenShop]:
    """Start a script of this folder; the sandbox notifies it from then on."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, settings: dict[str, Any], variables: dict[str, str]) -> Shop:
        preloads = (PRELOAD,) if "SANDBOX_HTTPS" in variables else ()
        process = subprocess.Popen(
            [*guarded(*preloads), str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(SHOP=json.dumps(settings), **variables),
        )
        running.append(process)
        assert process.stdout
        box.function = process.stdout.readline().strip()
        assert box.function.startswith("http://127.0.0.1:")
        return Shop(box.function)

    yield start
    for process in running:
        with process:
            assert process.stdin
            process.stdin.close()
            assert process.wait(10) == 0


def merchant_of(box: Sandbox) -> dict[str, Any]:
    credentials = box.credentials
    return {
        "appid": credentials.app_id,
        "mchid": credentials.merchant_id,
        "serial": credentials.merchant.serial,
        "certificate": credentials.merchant.pem,
        "privateKey": private_pem(credentials.merchant.key),
        "apiV3Key": credentials.api_v3_key,
    }


def new_number(kind: str) -> str:
    return f"{kind}{secrets.token_hex(8)}"


# Forgeries


def genuine(box: Sandbox, number: str) -> Notice:
    return box.notification("order", box.plaintext("order", number))


def stale(box: Sandbox, number: str, seconds: int = 301) -> Notice:
    """Truly signed, but too long ago: to be refused [4013053420]."""
    return box.notification("order", box.plaintext("order", number), timestamp=int(time.time()) - seconds)


def with_another_byte(notice: Notice) -> Notice:
    """The body changed after it was signed."""
    headers, body = notice
    return headers, body.replace(b'"summary":"', b'"summary":"!', 1)


def with_another_ciphertext(notice: Notice, box: Sandbox) -> Notice:
    """Truly signed, but the ciphertext is not what was sealed: its last byte before the tag is another one."""
    content = json.loads(notice[1])
    sealed = bytearray(base64.b64decode(content["resource"]["ciphertext"]))
    sealed[-17] ^= 1
    content["resource"]["ciphertext"] = base64.b64encode(sealed).decode()
    body = json.dumps(content).encode()
    return box.builder.signed(body), body


def by_a_stranger(notice: Notice, credentials: Credentials, serial: str) -> Notice:
    """Signed with a key that is not WeChat Pay's, under a serial of one's choice."""
    return Signer(serial, credentials.merchant.key).headers(notice[1]), notice[1]


UNKNOWN = {"certificate": "7" * 40, "public_key": "PUB_KEY_ID_0119000000002025010100000000000001"}


@pytest.fixture
def forgeries(box: Sandbox, credentials: Credentials) -> Callable[[str], dict[str, Notice]]:
    """Notifications of a paid order that nobody may believe, whatever the key mode."""

    def make(number: str) -> dict[str, Notice]:
        notice = genuine(box, number)
        unsigned = {name: value for name, value in notice[0].items() if not name.startswith("Wechatpay-")}
        return {
            "another byte": with_another_byte(notice),
            "a stranger's signature": by_a_stranger(notice, credentials, notice[0]["Wechatpay-Serial"]),
            "an unknown certificate": by_a_stranger(notice, credentials, UNKNOWN["certificate"]),
            "an unknown public key": by_a_stranger(notice, credentials, UNKNOWN["public_key"]),
            "no signature": (unsigned, notice[1]),
            # A signature probe must just fail [4013053249].
            "a probe": ({**notice[0], "Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + "A" * 325}, notice[1]),
        }

    return make
