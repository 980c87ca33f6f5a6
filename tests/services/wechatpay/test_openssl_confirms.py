"""What the running function signs, confirmed by the openssl command line alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.credentials import private_pem
from tests.support import MINI_PROGRAM, OPERATOR_KEY, Function, gunicorn

ORDER = {"description": "形象店", "out_trade_no": "OPENSSL001", "amount": {"total": 1}}


class Running:
    def __init__(self, box: Sandbox, function: Function, folder: Path) -> None:
        self.box, self.function, self._folder = box, function, folder
        private, self._public = folder / "apiclient_key.pem", folder / "apiclient_pub.pem"
        private.write_text(private_pem(box.credentials.merchant.key))
        subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(self._public)], check=True)

    def openssl_says(self, signature: str, *lines: str | bytes) -> str:
        """openssl's verdict on a base64 signature over `lines`, each followed by a newline."""
        message = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        decoded, verdict = self._folder / "signature", ["openssl", "dgst", "-sha256", "-verify", str(self._public)]
        with decoded.open("wb") as file:
            subprocess.run(["openssl", "base64", "-d", "-A"], input=signature.encode(), stdout=file, check=True)
        done = subprocess.run([*verdict, "-signature", str(decoded)], input=message, capture_output=True, check=False)
        return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    with Sandbox() as box, gunicorn(box.env(operatorKey=OPERATOR_KEY), folder / "log") as function:
        yield Running(box, function, folder)


def test_openssl_confirms_the_signature_of_an_order(running):
    assert running.function.call("wxpay_order", ORDER).status == 200
    request = running.box.requests[-1]
    fields = dict(re.findall(r'([a-z_]+)="([^"]*)"', request.headers["authorization"]))
    signed = (fields["timestamp"], fields["nonce_str"], request.body)
    assert running.openssl_says(fields["signature"], "POST", "/v3/pay/transactions/jsapi", *signed) == "Verified OK"
    assert running.openssl_says(fields["signature"], "GET", "/v3/pay/transactions/jsapi", *signed) != "Verified OK"


@pytest.mark.parametrize(
    ("action", "name", "number", "path"),
    [
        ("wxpay_query_order_by_out_trade_no", "out_trade_no", "a|b*c_d-1", "/v3/pay/transactions/out-trade-no/a%7Cb"),
        ("wxpay_refund_query", "out_refund_no", "a|b*c@d_e-1", "/v3/refund/domestic/refunds/a%7Cb"),
    ],
)
def test_openssl_confirms_the_signature_of_a_query_for_a_number_of_every_character(running, action, name, number, path):
    assert running.function.call(action, {name: number}).status == 404
    request = running.box.requests[-1]
    assert request.verified
    assert request.target.startswith(path)
    if name == "out_trade_no":
        assert request.target.endswith(f"?mchid={running.box.credentials.merchant_id}")
    fields = dict(re.findall(r'([a-z_]+)="([^"]*)"', request.headers["authorization"]))
    lines = ("GET", request.target, fields["timestamp"], fields["nonce_str"], "")
    assert running.openssl_says(fields["signature"], *lines) == "Verified OK"


def test_openssl_confirms_a_pay_sign(running):
    data = running.function.call("wxpay_order", ORDER).body["data"]["data"]
    lines = (running.box.credentials.app_id, data["timeStamp"], data["nonceStr"], data["package"])
    assert data["package"] == "prepay_id=" + data["prepay_id"]
    assert running.openssl_says(data["paySign"], *lines) == "Verified OK"
    assert running.openssl_says(data["paySign"], *lines[:3], data["prepay_id"]) != "Verified OK"


def test_openssl_confirms_the_sign_of_an_app_order(running):
    order = ORDER | {"out_trade_no": "OPENSSL002"}
    data = running.function.call("wxpay_order_app", order, MINI_PROGRAM).body["data"]["data"]
    lines = (data["appId"], data["timeStamp"], data["nonceStr"], data["prepayId"])
    assert data["partnerId"] == running.box.credentials.merchant_id
    assert running.openssl_says(data["sign"], *lines) == "Verified OK"
