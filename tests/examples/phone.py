"""A phone with WeChat for the front-ends of examples/: a stand-in `wx` in Node.js, driven from here.

What it takes from the real one: a client's `x-wx-*` headers are dropped and the platform's own put in their place; an
answer of any HTTP status lands in `success`; `data` is the parsed body or, at times, its text; without callbacks an
operation returns a promise. `wx.requestPayment` checks the RSA signature over the five lines [4012791898] and opens
the sandbox's payment sheet, where the user does what `will` says. A page lives in a context of its own with nothing
but the language, `wx`, `console` and `setTimeout`, so that it cannot lean on what only browsers or Node.js have.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sandbox import Sandbox
from sandbox.core import OPENID

SCRIPT = Path(__file__).parent / "wx" / "phone.cjs"
ENV_ID = "shop-1a2b3c"
FUNCTION_NAME = "miniapp-wxpay-rwmx67sc"
MISSING_NODE = "" if shutil.which("node") else "not run: node is not installed"


class Phone:
    """One running phone. Labels are what stands on a button, texts what a user would read."""

    def __init__(self, process: subprocess.Popen[str], settings: Mapping[str, Any]) -> None:
        self._process = process
        self.do("begin", settings=settings)

    @classmethod
    @contextmanager
    def on(cls, box: Sandbox, url: str, **settings: Any) -> Iterator[Phone]:
        """A phone whose cloud calls go to the function at `url`, and whose payments go to `box`.

        haste        page timers run so many times faster
        bodies       "parsed", or "text": the function's JSON arrives as a string
        lacks        names that wx.cloud does not have, as in old base libraries
        """
        key = box.credentials.merchant.key.public_key()
        given = {
            "url": url,
            "sandbox": box.url,
            "env": ENV_ID,
            "function": FUNCTION_NAME,
            "openid": OPENID,
            "appId": box.credentials.app_id,
            "merchantId": box.credentials.merchant_id,
            "merchantKey": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "source": "wx_client",
            "baseLibrary": "3.15.2",
            "language": "en",
            "bodies": "parsed",
            "lacks": [],
            "haste": 50,
        }
        process = subprocess.Popen(
            ["node", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        try:
            yield cls(process, given | settings)
        finally:
            process.stdin.close()  # it ends by itself then
            process.stdout.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def do(self, name: str, **options: Any) -> Any:
        """One deed of wx/phone.cjs; raises RuntimeError with what went wrong."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": name, **options}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the phone is gone: {self._process.poll()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    def launch(self, folder: Path) -> None:
        """Start the mini program, as after a scan of its code; storage stays from the last time."""
        self.do("launch", folder=str(folder))

    def tap(self, label: str, times: int = 1, *, wait: bool = True) -> None:
        self.do("tap", label=label, times=times, wait=wait)

    def enter(self, handler: str, value: str) -> None:
        """Type into the input whose bindinput is `handler`."""
        self.do("enter", handler=handler, value=value)

    def idle(self) -> None:
        """Until the page waits for nothing any more."""
        self.do("idle")

    def set(self, **changes: Any) -> None:
        """`will` (the next sheets), `modals` (the next dialogs), `lost` (paths), `storage`, `settings`."""
        self.do("set", changes=changes)

    @property
    def text(self) -> str:
        """The page, a line an element; `(Pay)` is a button, `(Pay -)` a disabled one, `[0.20]` an input."""
        return str(self.do("see"))

    def __getattr__(self, name: str) -> Any:
        """What was recorded: calls, shown, sheets, screens, problems, storage, log, data."""
        return self.do("tell")[name]

    def actions(self) -> list[str]:
        """The actions that were called, in order."""
        return [call["path"].rpartition("/")[2] for call in self.calls if "path" in call]

    def said(self, kind: str) -> list[dict[str, Any]]:
        """The modals, toasts, ... that were shown."""
        return [shown for shown in self.shown if shown["kind"] == kind]


def configured(source: Path, target: Path, **constants: str) -> Path:
    """A copy of a mini program with the constants at the top of its app.js set, as its README tells to."""
    shutil.copytree(source, target)
    app = target / "app.js"
    text = app.read_text(encoding="utf-8")
    for name, value in constants.items():
        lines = text.splitlines(keepends=True)
        places = [index for index, line in enumerate(lines) if line.startswith(f"const {name} = ")]
        assert len(places) == 1, f"{name} is not set once in app.js"
        lines[places[0]] = f"const {name} = '{value}'\n"
        text = "".join(lines)
    app.write_text(text, encoding="utf-8")
    return target
