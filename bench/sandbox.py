"""How fast the sandbox is: `python -m bench.sandbox [orders]`.

The sandbox runs as its own process on one core, the client on another. Orders are signed beforehand, so that the
client costs little. All figures of a run are compared with raw work done on the sandbox's core in the same run:

    signed orders a second    against one RSA signature and one verification, which each order needs at least
    start                     from exec to the first answer, against an interpreter that only imports cryptography;
                              the first one also makes six RSA keys
    reset                     after all these orders
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

ROOT = Path(__file__).resolve().parent.parent
PREPAY = "/v3/pay/transactions/native"
CONNECTIONS = 8
CORES = sorted(os.sched_getaffinity(0))


def main() -> int:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    os.sched_setaffinity(0, {CORES[-1]})
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        first = _start(state)  # makes the credentials, which later starts read
        first.terminate_after(lambda _: None)
        raw_start = _timed(lambda: _on_core([sys.executable, "-c", "import cryptography.x509, jwt"]).wait())
        server = _start(state)
        starts = (first.seconds, server.seconds, raw_start)
        server.terminate_after(lambda port: _report(port, state, orders, starts))
    return 0


def _report(port: int, state: Path, orders: int, starts: tuple[float, float, float]) -> None:
    key = load_pem_private_key((state / "apiclient_key.pem").read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the merchant's key is not RSA")
    raw = _rsa_pairs_a_second(key)
    certificate = load_pem_x509_certificate((state / "apiclient_cert.pem").read_bytes())
    names = json.loads((state / "credentials.json").read_text())
    names["serial"] = format(certificate.serial_number, "040X")
    requests = [_signed(names, key, index) for index in range(orders)]
    seconds = _send(port, requests)
    reset = _timed(lambda: _control(port, "reset"))
    rate = orders / seconds
    print(f"signed orders   {rate:8.0f} a second   {rate / raw:6.2f} of {raw:.0f} RSA sign+verify a second")
    first, later, bare = starts
    print(f"first start     {first:8.3f} s          {first / bare:6.2f} x the bare imports, {bare:.3f} s")
    print(f"later starts    {later:8.3f} s          {later / bare:6.2f} x the same")
    print(f"reset           {reset * 1000:8.1f} ms         after {orders} orders")


class _Server:
    def __init__(self, process: subprocess.Popen[bytes], port: int, seconds: float) -> None:
        self._process = process
        self._port = port
        self.seconds = seconds

    def terminate_after(self, use: Callable[[int], None]) -> None:
        try:
            use(self._port)
        finally:
            self._process.terminate()
            self._process.wait()


def _start(state: Path) -> _Server:
    started = time.monotonic()
    ports = ["--port", "0", "--backup-port", "0", "--https-port", "0"]
    command = [sys.executable, "-m", "sandbox", *ports, "--no-limits", "--state", str(state)]
    process = _on_core(command, stdout=subprocess.PIPE)
    port = 0
    for line in process.stdout or ():
        if b"main host" in line:
            port = int(line.decode().rsplit(":", 1)[1])
            break
    _control(port, "state", "GET")
    return _Server(process, port, time.monotonic() - started)


def _on_core(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["taskset", "-c", str(CORES[0]), *command], cwd=ROOT, **options)


def _rsa_pairs_a_second(key: RSAPrivateKey) -> float:
    os.sched_setaffinity(0, {CORES[0]})
    public, pkcs1, sha256 = key.public_key(), padding.PKCS1v15(), hashes.SHA256()
    signature = key.sign(b"x", pkcs1, sha256)
    count, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < 1:
        key.sign(b"x", pkcs1, sha256)
        public.verify(signature, b"x", pkcs1, sha256)
        count += 1
    os.sched_setaffinity(0, {CORES[-1]})
    return count / taken


def _signed(names: dict[str, str], key: RSAPrivateKey, index: int) -> tuple[bytes, dict[str, str]]:
    order = {
        "appid": names["app_id"],
        "mchid": names["merchant_id"],
        "description": "a cup of tea",
        "out_trade_no": f"BENCH{index:08d}",
        "notify_url": "https://shop.example/wx-pay/unifiedOrderTrigger",
        "amount": {"total": 100, "currency": "CNY"},
    }
    body, timestamp, nonce = json.dumps(order).encode(), str(int(time.time())), secrets.token_hex(16)
    message = f"POST\n{PREPAY}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signature = b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
    authorization = (
        f'WECHATPAY2-SHA256-RSA2048 mchid="{names["merchant_id"]}",nonce_str="{nonce}",timestamp="{timestamp}",'
        f'serial_no="{names["serial"]}",signature="{signature}"'
    )
    headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "bench/1"}
    return body, {**headers, "Authorization": authorization}


def _send(port: int, requests: list[tuple[bytes, dict[str, str]]]) -> float:
    """Seconds until all have been answered 200 over some connections at once."""
    failed: list[int] = []

    def work(share: list[tuple[bytes, dict[str, str]]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body, headers in share:
            connection.request("POST", PREPAY, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=work, args=(requests[start::CONNECTIONS],)) for start in range(CONNECTIONS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if failed:
        raise RuntimeError(f"{len(failed)} orders were refused, the first with {failed[0]}")
    return seconds


def _control(port: int, path: str, method: str = "POST") -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, f"/sandbox/{path}", b"" if method == "GET" else b"{}")
    if connection.getresponse().status != 200:
        raise RuntimeError(f"{method} /sandbox/{path} failed")
    connection.close()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
