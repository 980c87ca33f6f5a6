"""Patients: settings that are all right, and the command that says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3

from app import create_app
from config.settings import Settings
from sandbox import Credentials
from sandbox.credentials import private_pem, public_pem
from services.order_service import OrderService
from services.wechatpay.transport import Network

HOST = "pay.tea-house.cn"
OWN = f"https://{HOST}/wx-pay/"
CENTER = "https://miniapp-wxpay-rwmx67sc.integration-callback.tcloudbase.com/wechatpay/"
API_V3_KEY = "q7Zc2Lw9Xf4Rt8Yb3Nm6Kd1Hs5Jg0PvE"
OPERATOR_KEY = "Vt5Qm8Wz2Lk7Rf4Xc9Nb3Jh6Pd1Gs0Ty-operator"


@dataclass(frozen=True)
class Diagnosis:
    """What the command said, read from its JSON."""

    findings: Sequence[Mapping[str, str]]
    checked: Sequence[str]
    not_checked: Sequence[str]
    exit_code: int
    output: str

    def the(self, variable: str) -> Mapping[str, str]:
        """The only finding, which is about this variable."""
        assert [finding["variable"] for finding in self.findings] == [variable], self.findings
        return self.findings[0]

    def about(self, variable: str) -> list[Mapping[str, str]]:
        return [finding for finding in self.findings if finding["variable"] == variable]


def production(credentials: Credentials, sign_mode: str = "sdk", **changes: str | None) -> dict[str, str]:
    """A complete configuration as a merchant has it; a change to None leaves the variable out."""
    pay, refund = (OWN + "unifiedOrderTrigger", OWN + "refundTrigger")
    if sign_mode == "gateway":
        pay, refund = CENTER + "order", CENTER + "refund"
    variables: dict[str, str | None] = {
        "signMode": sign_mode,
        "appId": credentials.app_id,
        "merchantId": credentials.merchant_id,
        "merchantSerialNumber": credentials.merchant.serial,
        "apiV3Key": API_V3_KEY,
        "privateKey": private_pem(credentials.merchant.key),
        "wxPayPublicKey": public_pem(credentials.public_key),
        "wxPayPublicKeyId": credentials.public_key_id,
        "notifyURLPayURL": pay,
        "notifyURLRefundsURL": refund,
        "operatorKey": OPERATOR_KEY,
        "orderDatabaseUrl": "mysql://shop:Tr0ub4d%40r-and-3@10.0.0.3:3306/shop",
    }
    return {name: value for name, value in (variables | changes).items() if value is not None}


def diagnose(
    env: Mapping[str, str],
    *arguments: str,
    transport: Network | None = None,
    order_service: OrderService | None = None,
) -> Diagnosis:
    """Run the command in this process, with these variables only."""
    settings = Settings.from_env({"FLASK_RUN_FROM_CLI": "true", **env})
    application = create_app(settings, transport=transport, order_service=order_service)
    pay = logging.getLogger("pay")
    level = pay.level
    try:
        result = application.test_cli_runner().invoke(args=["doctor", "--json", *arguments])
    finally:
        pay.setLevel(level)
        orders = application.extensions["pay"].orders
        if hasattr(orders, "parts"):
            orders.parts.store.database.close()
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return read(result.stdout, result.exit_code)


def read(output: str, exit_code: int) -> Diagnosis:
    said: dict[str, Any] = json.loads(output)
    assert set(said) == {"findings", "checked", "not_checked"}
    for finding in said["findings"]:
        assert list(finding) == ["level", "variable", "what", "why", "fix"]
        assert finding["level"] in ("error", "warning")
        assert all(finding.values()), finding
    assert exit_code == int(any(finding["level"] == "error" for finding in said["findings"]))
    return Diagnosis(said["findings"], said["checked"], said["not_checked"], exit_code, output)


class Roads:
    """The network of a test: these hosts are servers on this machine, and nothing else exists."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self.hosts = hosts
        self.seen: list[tuple[str, str, bytes | None]] = []
        self._true = urllib3.PoolManager()

    def urlopen(self, method: str, url: str, *, body: bytes | None, **options: Any) -> urllib3.BaseHTTPResponse:
        self.seen.append((method, url, body))
        parts = urlsplit(url)
        place = self.hosts.get(parts.hostname or "")
        if place:
            there = urlsplit(place)
            url = urlunsplit((there.scheme, there.netloc, parts.path, parts.query, ""))
        return self._true.urlopen(method, url, body=body, **options)
