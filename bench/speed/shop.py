"""What a speed run is made of: the function on one core; WeChat Pay and the callers on another, in one process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import certifi

from bench.load.client import Client, Gone
from bench.processes import CORES, children, processor, pss, running, server_command, server_environment
from bench.speed.wechat import WeChat
from sandbox import Sandbox
from sandbox.function import free_port, orders_command
from sandbox.notices import Builder

JSON = {"Content-Type": "application/json"}
BUYER = JSON | {"X-Wx-Source": "wx_client", "X-Wx-Openid": "oSpeedBuyer00000000000000001"}
PATHS = {"jsapi": "/wx-pay/wxpay_order", "native": "/wx-pay/wxpay_order_native"}
START = 60.0  # seconds
_numbers = count(1)

Request = tuple[str, bytes, dict[str, str]]


@dataclass(frozen=True)
class Load:
    """What a closed loop of clients saw, in seconds; `busy` is the share of its core that this process took."""

    requests: int
    a_second: float
    p50: float
    p99: float
    busy: float


class Shop:
    """A merchant's variables, WeChat Pay as it answers him, and functions that are started with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._box = Sandbox()
        self.wechat = WeChat(self._box.credentials, folder)
        self._builder = Builder(self._box.credentials, self._box.keys, time.time)
        bundle = folder / "authorities" / "certifi"
        bundle.mkdir(parents=True)
        (bundle / "all.pem").write_text(Path(certifi.where()).read_text() + self.wechat.tls.ca.read_text())
        (bundle / "__init__.py").write_text(f"def where():\n    return {str(bundle / 'all.pem')!r}\n")

    def variables(self, **more: str) -> dict[str, str]:
        """The function's, which trusts this WeChat Pay's certificate beside all others."""
        url = self.wechat.url
        known = self._box.env(public_key=True)
        ours = {"wxPayApiBase": url, "wxPayApiBackup": url, "PYTHONPATH": str(self.folder / "authorities")}
        return {**known, **ours, **server_environment(), **more}

    @asynccontextmanager
    async def function(
        self, application: str = "app:app", *, cores: Sequence[int] = CORES[:1], workers: int = 1, **more: str
    ) -> AsyncIterator[Function]:
        address = f"127.0.0.1:{free_port(0)}"
        env = self.variables(**more)
        if "orderDatabaseUrl" in more:
            orders_command(env, "init-db")
        log = self.folder / f"function-{address.rpartition(':')[2]}.log"
        command = [*server_command(address, application), "--workers", str(workers)]
        with running(command, cores, log, env) as process:
            function = Function(f"http://{address}", process)
            try:
                yield function
            finally:
                function.client.close()

    def orders(self, scene: str, numbers: Iterable[str]) -> list[Request]:
        return [(PATHS[scene], _order(number), BUYER) for number in numbers]

    def callbacks(self, numbers: Iterable[str], *, forwarded: bool) -> list[Request]:
        """A payment's each: as the Integration Center forwards it, or as WeChat Pay signs and sends it itself."""
        made = []
        for number in numbers:
            plaintext = self._payment(number)
            if forwarded:
                headers, body = self._builder.forwarded("order", plaintext)
                made.append(("/", body, headers))
            else:
                headers, body = self._builder.notification("order", plaintext, key="public")
                made.append(("/wx-pay/unifiedOrderTrigger", body, headers))
        return made

    def _payment(self, number: str) -> dict[str, object]:
        credentials = self._box.credentials
        return {
            "appid": credentials.app_id,
            "mchid": credentials.merchant_id,
            "out_trade_no": number,
            "transaction_id": f"42000{number[-15:]:0>23}",
            "trade_type": "NATIVE",
            "trade_state": "SUCCESS",
            "trade_state_desc": "支付成功",
            "bank_type": "OTHERS",
            "success_time": time.strftime("%Y-%m-%dT%H:%M:%S+08:00", time.gmtime(time.time() + 8 * 3600)),
            "payer": {"openid": BUYER["X-Wx-Openid"]},
            "amount": {"total": 100, "payer_total": 100, "currency": "CNY", "payer_currency": "CNY"},
        }


class Function:
    """A server of one worker, as scf_bootstrap's command starts it."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.client = Client(url)
        self._process = process

    async def healthy(self) -> None:
        """Until it answers. Raises RuntimeError."""
        await self.answered("GET", "/healthz", b"", {})

    async def answered(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Until this is answered with 200, asked again at once while nobody listens. Raises RuntimeError."""
        give_up = time.monotonic() + START
        while True:
            try:
                answer = await self.client.send(method, path, body, headers)
            except Gone:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError("the function does not start") from None
                await asyncio.sleep(0.002)
            else:
                break
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.body[:200]!r}")

    async def loop(self, clients: int, requests: Iterable[Request] | Callable[[], Request], seconds: float = 0) -> Load:
        """Closed loop: each client sends the next request when its last one is answered.

        Sends all `requests`, or makes some for so many `seconds`. Raises RuntimeError for an answer that is not 200.
        """
        until = time.monotonic() + seconds if seconds else float("inf")
        queue = iter(requests, None) if callable(requests) else iter(requests)
        times: list[float] = []

        async def one() -> None:
            for path, body, headers in queue:
                answer = await self.client.send("POST", path, body, headers)
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status} {answer.body[:200]!r}")
                times.append(answer.seconds)
                if time.monotonic() > until:
                    return

        began, spent = time.monotonic(), time.process_time()
        await asyncio.gather(*(one() for _ in range(clients)))
        took, spent = time.monotonic() - began, time.process_time() - spent
        times.sort()
        return Load(len(times), len(times) / took, times[len(times) // 2], times[int(len(times) * 0.99)], spent / took)

    def memory(self) -> int:
        """Bytes of all its processes."""
        return sum(map(pss, self._processes()))

    def processor(self) -> float:
        """Seconds of processor time of all its processes."""
        return sum(map(processor, self._processes()))

    def _processes(self) -> list[int]:
        return [self._process.pid, *children(self._process.pid)]


def number() -> str:
    return f"SPEED{next(_numbers):015d}"


def _order(out_trade_no: str) -> bytes:
    return json.dumps({
        "description": "A cup of tea",
        "out_trade_no": out_trade_no,
        "amount": {"total": 100, "currency": "CNY"},
    }).encode()
