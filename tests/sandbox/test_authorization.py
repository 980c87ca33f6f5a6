"""The sandbox refuses every request that WeChat Pay would refuse before looking at the business."""

from __future__ import annotations

import base64
import json
import subprocess
import time

import pytest

from tests.sandbox.conftest import PREPAY, call

QUERY = "/v3/pay/transactions/out-trade-no/ORDER_000001?mchid="


def refused(merchant, authorization, body=None):
    answer = merchant.send("POST", PREPAY, body or merchant.order(), headers={"Authorization": authorization})
    assert merchant.box.requests[-1].verified is False
    assert merchant.box.ledger.orders == {}
    assert "wechatpay-signature" not in answer.headers
    return answer


def signed_by_openssl(credentials, message, folder):
    credentials.save(folder)
    command = ["openssl", "dgst", "-sha256", "-sign", str(folder / "apiclient_key.pem")]
    return base64.b64encode(
        subprocess.run(command, input=message, capture_output=True, check=True).stdout
    ).decode()


def test_a_signature_that_openssl_made_is_accepted(merchant, tmp_path):
    target = QUERY + merchant.credentials.merchant_id
    timestamp = str(int(time.time()))
    message = f"GET\n{target}\n{timestamp}\nabc\n\n".encode()
    value = merchant.authorization(
        "GET",
        target,
        timestamp=timestamp,
        nonce_str="abc",
        signature=signed_by_openssl(merchant.credentials, message, tmp_path),
    )
    assert merchant.send("GET", target, headers={"Authorization": value}).status == 404
    assert merchant.box.requests[-1].verified is True


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: None,
        lambda value: value.replace("WECHATPAY2-SHA256-RSA2048", "WECHATPAY2-SM2-WITH-SM3"),
        lambda value: value.replace("WECHATPAY2-SHA256-RSA2048", "wechatpay2-sha256-rsa2048"),
        lambda value: value.replace("2048 ", "2048  "),
        lambda value: value.replace(",", ", "),
        lambda value: value.replace('"', "'"),
        lambda value: value.replace('nonce_str="', 'nonce="'),
        lambda value: value + ',extra="1"',
        lambda value: value + ',nonce_str="1"',
        lambda value: value.rpartition(",")[0],
        lambda value: value.partition(" ")[0],
        lambda value: value[:-2] + '\\n"',
    ],
)
def test_a_malformed_authorization_is_401_sign_error(merchant, spoil):
    body = json.dumps(merchant.order()).encode()
    answer = refused(merchant, spoil(merchant.authorization("POST", PREPAY, body)), body)
    assert (answer.status, answer.json["code"]) == (401, "SIGN_ERROR")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mchid", "1900000000"),
        ("serial_no", "5" * 40),
        ("nonce_str", "another"),
        ("timestamp", "soon"),
        ("timestamp", "-1"),
        ("signature", "AAAA"),
        ("signature", "not base64"),
    ],
)
def test_one_wrong_field_is_401_sign_error(merchant, field, value):
    body = json.dumps(merchant.order()).encode()
    answer = refused(merchant, merchant.authorization("POST", PREPAY, body, **{field: value}), body)
    assert (answer.status, answer.json["code"]) == (401, "SIGN_ERROR")


@pytest.mark.parametrize(("seconds", "status"), [(-290, 404), (290, 404), (-310, 401), (310, 401)])
def test_the_clock_may_be_five_minutes_off(merchant, seconds, status):
    target = QUERY + merchant.credentials.merchant_id
    value = merchant.authorization("GET", target, time=str(int(time.time()) + seconds))
    assert merchant.send("GET", target, headers={"Authorization": value}).status == status


def test_the_signature_covers_method_target_and_body_as_sent(merchant):
    body = json.dumps(merchant.order()).encode()
    for value in (
        merchant.authorization("GET", PREPAY, body),
        merchant.authorization("POST", PREPAY + "?", body),
        merchant.authorization("POST", PREPAY, body + b" "),
        merchant.authorization("POST", PREPAY, b""),
    ):
        assert refused(merchant, value, body).status == 401


def test_the_path_is_verified_percent_encoded_as_it_came(merchant):
    encoded = "/v3/pay/transactions/out-trade-no/ORDER%7C001?mchid=" + merchant.credentials.merchant_id
    plain = encoded.replace("%7C", "|")
    assert merchant.send("GET", encoded).status == 404
    value = merchant.authorization("GET", plain)
    assert merchant.send("GET", encoded, headers={"Authorization": value}).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": None},
        {"Accept": None},
        {"Accept": "text/html"},
        {"Content-Type": None},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_a_missing_or_wrong_header_is_400(merchant, headers):
    answer = merchant.send("POST", PREPAY, merchant.order(), headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_REQUEST")


def test_an_unknown_route_is_an_unsigned_404_and_a_wrong_method_405_both_empty(box):
    for method, target, status in (("GET", "/v3/nothing", 404), ("DELETE", PREPAY, 405)):
        answer = call(box.url, method, target)
        assert (answer.status, answer.body) == (status, b"")
        assert "wechatpay-signature" not in answer.headers
