"""The files for mobile apps take the fields that the function answers, and its signature holds for openssl."""

from __future__ import annotations

import re
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sandbox import Sandbox
from tests.support import ROOT, in_process

APP = ROOT / "examples/app"
# Of the OpenSDK [4013070351]; on iOS the AppID is registered before.
ANDROID = {"appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign"}
IOS = {"partnerId", "prepayId", "package", "nonceStr", "timeStamp", "sign"}


@pytest.fixture(scope="module")
def shop():
    with Sandbox() as box, in_process(box.env()) as function:
        yield box, function


@pytest.fixture(scope="module")
def answer(shop):
    _, function = shop
    order = {"description": "A cup of tea", "out_trade_no": "APP_000001", "amount": {"total": 20}}
    reply = function.call("wxpay_order_app", order)
    assert reply.status == 200, reply.text
    return reply.body["data"]["data"]


def in_kotlin():
    """PayReq's member -> the answer's field."""
    found = re.findall(r'^    (\w+) = order\.getString\("(\w+)"\)$', (APP / "PayCommon.kt").read_text(), re.MULTILINE)
    return dict(found)


def in_swift():
    text = (APP / "PayCommon.swift").read_text()
    found = dict(re.findall(r"request\.(\w+) = (?:order\.)?(\w+)$", text, re.MULTILINE))
    assert "let seconds = UInt32(order.timeStamp)" in text
    assert found.pop("timeStamp") == "seconds"
    return found | {"timeStamp": "timeStamp"}


def test_kotlin_takes_every_member_of_payreq_from_the_answer(shop, answer):
    box, _ = shop
    mapping = in_kotlin()
    assert set(mapping) == ANDROID
    request = {member: answer[field] for member, field in mapping.items()}
    assert all(isinstance(value, str) for value in request.values())
    assert box.phone.open(app=request)["number"] == "APP_000001"  # the phone verifies the signature


def test_swift_takes_every_member_of_payreq_from_the_answer(shop, answer):
    box, _ = shop
    mapping = in_swift()
    assert set(mapping) == IOS
    request = {member: answer[field] for member, field in mapping.items()}
    assert request["package"] == "Sign=WXPay"
    assert 0 < int(request["timeStamp"]) < 2**32
    opened = {**request, "packageValue": request.pop("package"), "appId": answer["appId"]}
    assert box.phone.open(app=opened)["number"] == "APP_000001"


def test_swift_decodes_nothing_that_the_answer_lacks(answer):
    decoded = re.findall(r"^    let (\w+): String$", (APP / "PayCommon.swift").read_text(), re.MULTILINE)
    assert set(decoded) == ANDROID
    assert set(decoded) | {"prepay_id"} == set(answer)


def test_the_table_says_the_same():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)`.*?\| (?:`(\w+)`|none)", (APP / "README.md").read_text(), re.MULTILINE)
    assert {android: field for field, android, _ in rows} == in_kotlin()
    assert {ios: field for field, _, ios in rows if ios} == in_swift()


def check_by_hand(box, answer, folder):
    """The README's commands."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", (APP / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    certificate = box.credentials.merchant.certificate
    (folder / "apiclient_cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    run = subprocess.run(
        ["sh", "-c", block],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **answer},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout.strip()


def test_the_signature_holds_for_openssl_by_the_readmes_commands(shop, answer, tmp_path):
    subprocess.run(["openssl", "version"], check=True, capture_output=True)
    assert check_by_hand(shop[0], answer, tmp_path) == (0, "Verified OK")
    code, said = check_by_hand(shop[0], answer | {"prepayId": f"prepay_id={answer['prepayId']}"}, tmp_path)
    assert (code == 0, said) == (False, "Verification failure")
