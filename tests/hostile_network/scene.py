"""The function under gunicorn, two hostile hosts over TLS in front of the sandbox, and what is asked of all three."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Credentials, Sandbox
from sandbox.credentials import private_pem
from sandbox.tls import Tls
from tests.hostile_network.authorities import Authority, trusting
from tests.hostile_network.wire import Wire
from tests.http.recording import Recording
from tests.support import MINI_PROGRAM, OPENID, OPERATOR_KEY, Function, Reply, gunicorn

TIMEOUT = 4.0  # wxPayTimeout: half of it for the first host
CALLBACK_TIMEOUT = 4.0  # callbackTimeout, its default
MARGIN = 1.0
QUEUE = 10.0  # seconds that a caller in this crowded process may wait beyond what the function itself takes
ASKED_AGAIN = 3  # times, by itself, what was late on a busy machine
PAUSE = 2.1  # seconds after which a callback is confirmed anew
OPERATOR = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
RUN = 40  # characters of a signature that are looked for
UNKNOWN = "outcome unknown: query before you retry, and use the same number"


class Pulse:
    """How late this machine was, at most, in waking somebody up: seconds."""

    def __init__(self) -> None:
        self.latest = 0.0
        self._ending = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        due = time.monotonic() + 0.05
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            self.latest = max(self.latest, time.monotonic() - due)
            due = time.monotonic() + 0.05

    def stop(self) -> None:
        self._ending.set()


@dataclass
class Scene:
    box: Sandbox
    function: Function
    main: Wire
    backup: Wire
    recording: Recording
    authority: Authority
    folder: Path
    pulse: Pulse

    # What is asked of the function

    def order(self, number: str) -> Reply:
        body = {"description": "tea", "out_trade_no": number, "amount": {"total": 100}}
        return self.function.call("wxpay_order", body)

    def query(self, number: str) -> Reply:
        return self.function.call("wxpay_query_order_by_out_trade_no", {"out_trade_no": number})

    def refund(self, number: str) -> Reply:
        amount = {"refund": 10, "total": 100}
        body = {"out_trade_no": paid(number), "out_refund_no": number, "amount": amount}
        return self.function.call("wxpay_refund", body, OPERATOR)

    # What has to be there before

    def place(self, number: str) -> None:
        """An unpaid order at WeChat Pay, of which the function was not asked."""
        known = self.box.credentials
        self.box.ledger.place(
            "jsapi",
            {
                "out_trade_no": number,
                "description": "tea",
                "appid": known.app_id,
                "mchid": known.merchant_id,
                "notify_url": self.box.env()["notifyURLPayURL"],
                "amount": {"total": 100, "currency": "CNY"},
                "payer": {"openid": OPENID},
            },
        )

    def place_paid(self, number: str) -> None:
        self.place(number)
        self.box.pay(number, deliver=False)

    # What is looked at

    @property
    def worker(self) -> int:
        """The process id of gunicorn's worker."""
        (child,) = Path(f"/proc/{self.function.pid}/task/{self.function.pid}/children").read_text().split()
        return int(child)

    def kept(self, number: str) -> int:
        """How often the callback handler was handed this payment."""
        calls = (call for call in self.recording.calls() if call[0] == "handler_unified_trigger")
        return sum(call[1]["out_trade_no"] == number for call in calls)

    def assert_kept_once(self, number: str) -> None:
        """Once, or once more for each delivery that went unanswered for WeChat Pay's five seconds."""
        unanswered = sum(one.status is None for one in self.box.deliveries if one.number == number)
        assert 1 <= self.kept(number) <= 1 + unanswered

    def assert_all_in_time(self) -> None:
        """By the function's own clock, from a request's arrival to its answer, for everything that it was asked.

        A machine that is late to wake a sleeping thread up is so several times in one request.
        """
        margin = MARGIN + 5 * self.pulse.latest
        asked = [line for line in self.function.log_lines() if line["message"] == "request"]
        assert len(asked) > 1
        for line in asked:
            limit = CALLBACK_TIMEOUT if line["path"] == "/" else TIMEOUT
            assert line["duration_ms"] < (limit + margin) * 1000, line

    def assert_no_secret_in_the_log(self) -> None:
        """Neither keys nor openid, nor the signature of any request that a host has seen."""
        log = self.function.log_text()
        assert '"wechatpay call"' in log
        key = private_pem(self.box.credentials.merchant.key).splitlines()[1:-1]
        assert [
            secret for secret in (*key, self.box.credentials.api_v3_key, OPERATOR_KEY, OPENID) if secret in log
        ] == []
        told = (heard.headers["authorization"] for wire in (self.main, self.backup) for heard in list(wire.heard))
        signatures = {value.partition('signature="')[2][:RUN] for value in told}
        assert len(min(signatures)) == RUN
        assert {run[:RUN] for run in re.findall(rf"[A-Za-z0-9+/]{{{RUN},}}", log)} & signatures == set()


def paid(number: str) -> str:
    return f"PAID{number[1:]}"


def assert_failed(reply: Reply, statuses: frozenset[int]) -> None:
    """In the envelope, in time, with the documented words, and never as something that is known."""
    assert reply.status in statuses, reply.text
    assert set(reply.body) <= {"code", "msg", "data", "outcome"}
    assert (reply.body["code"], reply.body["outcome"]) == (-1, "unknown")
    reason, _, rest = reply.body["msg"].partition("; ")
    assert rest == UNKNOWN
    if reply.status == 504:
        assert reason.startswith("no whole answer from WeChat Pay within ")
    assert reply.seconds < TIMEOUT + MARGIN + QUEUE


def done(reply: Reply) -> Any:
    """WeChat Pay's own answer, where it was believed."""
    assert (reply.status, reply.body["code"]) == (200, 0), reply.text
    assert reply.seconds < TIMEOUT + MARGIN + QUEUE
    return reply.body["data"]["data"]


def prepay_id(reply: Reply) -> str:
    return str(done(reply)["package"]).removeprefix("prepay_id=")


def answer_of(box: Sandbox, content: dict[str, Any], **signed: Any) -> bytes:
    """A whole answer over `content`, truly signed by WeChat Pay."""
    body = json.dumps(content).encode()
    headers = box.keys.answering("").headers(body, **signed)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@contextmanager
def scene(folder: Path, credentials: Credentials, **settings: str) -> Iterator[Scene]:
    """Hosts that let everything through, until a test says otherwise."""
    authority, recording = Authority("an authority of the tests"), Recording(folder / "recording")
    with Sandbox(credentials=credentials) as box:
        tls = Tls(box.ca.parent).context(lambda name: True)
        trust = trusting(folder, box.ca.read_bytes(), authority.pem)
        with Wire(box.url, tls) as main, Wire(box.backup_url, tls) as backup:
            env = box.env(
                wxPayApiBase=main.url,
                wxPayApiBackup=backup.url,
                wxPayTimeout=str(TIMEOUT),
                operatorKey=OPERATOR_KEY,
                **settings,
            )
            with gunicorn({**recording.env(), **env, **trust}, folder / "log") as function:
                box.function = function.url
                pulse = Pulse()
                yield Scene(box, function, main, backup, recording, authority, folder, pulse)
                pulse.stop()
