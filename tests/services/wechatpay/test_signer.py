from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import pytest

from services.wechatpay.signer import Signer, nonce
from tests.services.wechatpay.host import MERCHANT_KEY, VECTORS

AUTHORIZATION = re.compile(
    r'WECHATPAY2-SHA256-RSA2048 mchid="(\d+)",nonce_str="([0-9A-Za-z]{32})",timestamp="(\d+)",'
    r'serial_no="([0-9A-F]{40})",signature="([A-Za-z0-9+/]{342}==)"'
)
SERIAL = "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB"


@pytest.fixture(scope="module")
def public_key(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("keys") / "merchant_pub.pem"
    private = VECTORS / "docs_merchant_test_key.pem"
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(path)], check=True)
    return path


def openssl_verifies(public_key: Path, folder: Path, message: bytes, signature: str) -> bool:
    (folder / "signature").write_bytes(base64.b64decode(signature, validate=True))
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", str(public_key), "-signature", str(folder / "signature")],
        input=message,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.fixture
def signer() -> Signer:
    return Signer("1900007291", SERIAL, MERCHANT_KEY, clock=lambda: 1554208460.99)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v3/certificates", b""),
        ("POST", "/v3/pay/transactions/jsapi", b'{"a":1}'),
        ("POST", "/v3/pay/transactions/jsapi", b"ends in a newline\n"),
        ("POST", "/v3/pay/transactions/jsapi", b"\n"),
        ("POST", "/v3/pay/transactions/jsapi", '{"description":"形象店 é"}'.encode()),
        ("GET", "/v3/pay/transactions/out-trade-no/a%7Cb*c?mchid=1900007291", b""),
        ("POST", "/v3/any", bytes(range(256))),
    ],
)
def test_a_request_is_signed_over_five_lines_that_each_end_in_a_newline(
    signer, public_key, tmp_path, method, target, body
):
    match = AUTHORIZATION.fullmatch(signer.authorization(method, target, body))
    assert match
    merchant, drawn, timestamp, serial, signature = match.groups()
    assert (merchant, timestamp, serial) == ("1900007291", "1554208460", SERIAL)
    message = f"{method}\n{target}\n1554208460\n{drawn}\n".encode() + body + b"\n"
    assert openssl_verifies(public_key, tmp_path, message, signature)
    assert not openssl_verifies(public_key, tmp_path, message.removesuffix(b"\n"), signature)


def test_every_authorization_has_its_own_nonce_and_signature(signer):
    made = [AUTHORIZATION.fullmatch(signer.authorization("GET", "/v3/certificates", b"")) for _ in range(20)]
    assert len({match[2] for match in made if match}) == 20
    assert len({match[5] for match in made if match}) == 20


def test_a_jsapi_signature_covers_the_prefix_and_an_app_signature_does_not(signer, public_key, tmp_path):
    jsapi = signer.jsapi_parameters("wx2421b1c4370ec43b", "wx2014")
    assert jsapi["package"] == "prepay_id=wx2014"
    lines = ("wx2421b1c4370ec43b", jsapi["timeStamp"], jsapi["nonceStr"], jsapi["package"])
    message = "".join(line + "\n" for line in lines).encode()
    assert openssl_verifies(public_key, tmp_path, message, jsapi["paySign"])

    app = signer.app_parameters("wx2421b1c4370ec43b", "wx2014")
    lines = ("wx2421b1c4370ec43b", app["timeStamp"], app["nonceStr"], "wx2014")
    message = "".join(line + "\n" for line in lines).encode()
    assert openssl_verifies(public_key, tmp_path, message, app["sign"])


def test_time_stamps_are_decimal_strings_of_whole_seconds(signer):
    assert signer.timestamp() == "1554208460"
    assert signer.jsapi_parameters("wx", "p")["timeStamp"] == "1554208460"
    assert signer.app_parameters("wx", "p")["timeStamp"] == "1554208460"


def test_nonces_are_32_alphanumeric_characters_and_never_repeat():
    drawn = {nonce() for _ in range(500)}
    assert len(drawn) == 500
    assert all(re.fullmatch(r"[0-9A-Za-z]{32}", one) for one in drawn)
