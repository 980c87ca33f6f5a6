"""WeChat Pay's own names, its own port, and a resolver that does what a test says.

    python -m tests.hostile_network.names FOLDER

prints as JSON what came of each act, or ends with 77 where this machine lets nobody make a network and file systems
of his own (unshare). In there /etc/resolv.conf names a resolver on loopback, the sandbox listens at 127.0.0.1:443, and
the function runs with its default hosts: getaddrinfo, TLS and the certificate's names are the real ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sandbox import Credentials, Sandbox
from tests.hostile_network.authorities import trusting
from tests.hostile_network.scene import Pulse
from tests.http.recording import Recording
from tests.services.wechatpay.host import deaf
from tests.support import MINI_PROGRAM, OPERATOR_KEY, Function, gunicorn

RESOLVER = "127.0.0.53"
HERE = "127.0.1.9"  # getaddrinfo would sort 127.0.0.1 before all others
TIMEOUT = 5.0  # wxPayTimeout: more than twice the time for a connection
MAIN, BACKUP = "api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"
NO_NAMESPACE = 77
_INSIDE = "HOSTILE_NETWORK_INSIDE"

Answer = Callable[[str], "list[str] | int | None"]
Act = Callable[[Sandbox, Function, "Resolver"], "dict[str, Any]"]


class Resolver:
    """Answers questions for IPv4 addresses: `answer(name)` gives addresses, an error code of DNS, or None: silence."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((RESOLVER, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(512)
            threading.Thread(target=self._reply, args=(question, sender), daemon=True).start()

    def _reply(self, question: bytes, sender: Any) -> None:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name, end = ".".join(labels), at + 5
        (kind,) = struct.unpack("!H", question[at + 1 : at + 3])
        self.asked.append(name)
        found = self.answer(name)
        if found is None:
            return
        code, addresses = (found, []) if isinstance(found, int) else (0, found if kind == 1 else [])
        header = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4)
        records = b"".join(record + socket.inet_aton(address) for address in addresses)
        self._socket.sendto(header + question[12:end] + records, sender)


def here(_: str) -> list[str]:
    return [HERE]


@contextmanager
def running(folder: Path) -> Iterator[tuple[Sandbox, Function, Resolver]]:
    resolver, recording = Resolver(here), Recording(folder / "recording")
    with Sandbox(credentials=Credentials.generate(), address=HERE, https_port=443) as box:
        env = box.env(wxPayApiBase=None, wxPayApiBackup=None, wxPayTimeout=str(TIMEOUT), operatorKey=OPERATOR_KEY)
        trust = trusting(folder, box.ca.read_bytes())
        with gunicorn({**env, **trust, **recording.env()}, folder / "log") as function:
            box.function = function.url
            yield box, function, resolver


def asked(box: Sandbox, function: Function, at_once: int = 1) -> dict[str, Any]:
    """Orders, a query, a refund, a callback that has to be confirmed: all at the same time, `at_once` of each."""
    box.fault("refuse")  # ends all connections: the next one needs a look-up
    box.clear_faults()
    turn = f"{time.monotonic_ns() % 10**12:012d}"
    for number in (f"PAID{turn}", f"TOLD{turn}"):
        place(box, number)
    box.pay(f"PAID{turn}", deliver=False)
    operator = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
    order = {"description": "tea", "amount": {"total": 100}}
    refund = {"out_trade_no": f"PAID{turn}", "out_refund_no": f"REF{turn}", "amount": {"refund": 1, "total": 100}}
    calls = [("wxpay_order", order | {"out_trade_no": f"NEW{turn}{at}"}) for at in range(at_once)]
    calls += [("wxpay_query_order_by_out_trade_no", {"out_trade_no": f"PAID{turn}"})] * at_once
    calls += [("wxpay_refund", refund)] * at_once
    with ThreadPoolExecutor(3 * at_once + 1) as pool:
        callback = pool.submit(box.pay, f"TOLD{turn}", envelope=None)
        replies = list(pool.map(lambda call: function.call(*call, operator), calls))
    (delivery,) = callback.result()
    return {
        "statuses": [reply.status for reply in replies],
        "outcomes": [reply.body.get("outcome") for reply in replies],
        "messages": sorted({reply.body["msg"] for reply in replies}),
        "callback": delivery.status,
    }


def place(box: Sandbox, number: str) -> None:
    known = box.credentials
    box.ledger.place(
        "jsapi",
        {
            "out_trade_no": number,
            "description": "tea",
            "appid": known.app_id,
            "mchid": known.merchant_id,
            "notify_url": box.env()["notifyURLPayURL"],
            "amount": {"total": 100, "currency": "CNY"},
            "payer": {"openid": "oTESTuser00000000000000000001"},
        },
    )


def threads(function: Function) -> int:
    (worker,) = Path(f"/proc/{function.pid}/task/{function.pid}/children").read_text().split()
    return len(list(Path(f"/proc/{worker}/task").iterdir()))


# The acts


def resolves(box: Sandbox, function: Function, resolver: Resolver) -> dict[str, Any]:
    return {"now": asked(box, function)}


def answering(answer: Answer, at_once: int = 1) -> Act:
    """The resolver does this, then again as it should."""

    def act(box: Sandbox, function: Function, resolver: Resolver) -> dict[str, Any]:
        resolver.answer = answer
        told = {"now": asked(box, function, at_once), "threads": threads(function)}
        resolver.answer = here
        return told | {"later": asked(box, function)}

    return act


def one_of(name: str, answer: Answer) -> Answer:
    return lambda asked: answer(asked) if asked == name else here(asked)


def late(_: str) -> list[str]:
    time.sleep(0.7)
    return [HERE]


def many_addresses(box: Sandbox, function: Function, resolver: Resolver) -> dict[str, Any]:
    """Of eight addresses, seven never answer."""
    dead = [f"127.0.1.{last}" for last in range(1, 8)]
    with ExitStack() as stack:
        for address in dead:
            stack.enter_context(deaf((address, 443)))
        resolver.answer = lambda _: [*dead, HERE]
        return {"now": asked(box, function)}


ACTS: dict[str, Act] = {
    "resolves": resolves,
    "silence": answering(lambda name: None),
    "silence to twenty": answering(lambda name: None, at_once=7),
    "silence about the first": answering(one_of(MAIN, lambda name: None)),
    "no such name": answering(lambda name: 3),
    "server failure": answering(lambda name: 2),
    "refused": answering(lambda name: 5),
    "no addresses": answering(lambda name: []),
    "no such name for the first": answering(one_of(MAIN, lambda name: 3)),
    "a late answer": answering(late),
    "many addresses": many_addresses,
}


def inside(folder: Path) -> None:
    """In a network and a mount table of its own."""
    with socket.socket() as any_socket:  # loopback up
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh8x", b"lo", 0x1 | 0x40))
    for name, text in {
        "resolv.conf": f"nameserver {RESOLVER}\n",
        "hosts": "",
        "nsswitch.conf": "hosts: files dns\n",
    }.items():
        (folder / name).write_text(text)
        subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)
    told, seen, pulse = {}, 0, Pulse()
    with running(folder) as (box, function, resolver):
        for name, act in ACTS.items():
            resolver.answer, resolver.asked = here, []
            told[name] = act(box, function, resolver)
            lines = [line for line in function.log_lines() if line["message"] == "request"]
            took, seen = lines[seen:], len(lines)
            told[name] |= {
                "slowest": max(line["duration_ms"] for line in took) / 1000,
                "slowest callback": max(line["duration_ms"] for line in took if line["path"] == "/") / 1000,
                "asked": sorted(set(resolver.asked)),
                "machine late": pulse.latest,
            }
    pulse.stop()
    print(json.dumps(told))


def main() -> int:
    folder = Path(sys.argv[1])
    if os.environ.get(_INSIDE):
        inside(folder)
        return 0
    unshare = ["unshare", "--map-root-user", "--mount", "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        return NO_NAMESPACE
    command = [*unshare, sys.executable, "-m", "tests.hostile_network.names", str(folder)]
    return subprocess.run(command, env={**os.environ, _INSIDE: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
