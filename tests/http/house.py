"""The function under gunicorn beside its sandbox, as one thing that a test can ask about both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Credentials, Sandbox
from tests.http.recording import Recording
from tests.support import OPERATOR_KEY, Function, Reply, gunicorn


@dataclass
class House:
    """`box` is WeChat Pay and the platform, `function` the function, `recording` its order service's calls."""

    box: Sandbox
    function: Function
    recording: Recording

    def new(self) -> None:
        """Forget everything but keys and ports."""
        self.box.reset()
        self.recording.clear()

    def refused(self, reply: Reply, status: int, *named: str) -> str:
        """Assert a refusal in the callers' envelope, with no trace of it anywhere; return its message."""
        assert reply.status == status, reply.text
        assert reply.headers["Content-Type"] == "application/json"
        assert set(reply.body) == {"code", "msg", "data"}
        assert reply.body["code"] == -1
        assert reply.body["data"] is None
        self.assert_untouched()
        message: str = reply.body["msg"]
        for name in named:
            assert name in message
        return message

    def not_acknowledged(self, reply: Reply, status: int) -> None:
        """Assert a refused callback, with no trace of it anywhere."""
        assert (reply.status, reply.body["code"]) == (status, "FAIL"), reply.text
        assert set(reply.body) == {"code", "message"}
        self.assert_untouched()

    def assert_untouched(self) -> None:
        assert self.box.requests == []
        assert self.recording.calls() == []

    def sent(self) -> Any:
        """The body of the one request that reached WeChat Pay."""
        (request,) = self.box.requests
        assert request.verified
        return json.loads(request.body)


@contextmanager
def house(folder: Path, credentials: Credentials, sign_mode: str = "gateway", **variables: str) -> Iterator[House]:
    """A running house with an operator's key, verified tokens and a recording order service."""
    recording = Recording(folder / "recording")
    with Sandbox(sign_mode=sign_mode, credentials=credentials) as box:
        settings: Mapping[str, str] = {"operatorKey": OPERATOR_KEY, **recording.env(), **variables}
        with gunicorn({**box.env(tokens=True), **settings}, folder / "log") as function:
            box.function = function.url
            yield House(box, function, recording)
