"""Results that others published; the sources stand in tests/vectors/README.md."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.wechatpay import signer as signer_module
from services.wechatpay.certificates import read_certificates
from services.wechatpay.cipher import decrypt_resource, encrypt_oaep
from services.wechatpay.errors import DecryptionFailed, SignatureInvalid
from services.wechatpay.keys import KeyRing, PlatformCertificate
from services.wechatpay.signer import Signer
from tests.services.wechatpay.host import FAR, VECTORS, published_key, vector


def frozen_signer(
    monkeypatch: pytest.MonkeyPatch, vectors: dict[str, Any], case: dict[str, Any], serial: str = ""
) -> Signer:
    """A signer at the published time that draws the published nonce."""
    monkeypatch.setattr(signer_module, "nonce", lambda: case["nonce_str"])
    key = published_key(vectors["key"])
    return Signer(vectors["mchid"], serial, key, clock=lambda: float(case["timestamp"]) + 0.9)


@pytest.mark.parametrize("case", vector("request_signatures.json")["cases"], ids=lambda case: case["page"])
def test_a_request_is_signed_as_the_documentation_shows(monkeypatch, case):
    vectors = vector("request_signatures.json")
    signer = frozen_signer(monkeypatch, vectors, case, vectors["serial_no"])
    value = signer.authorization(case["method"], case["target"], case["body"].encode())
    scheme, _, pairs = value.partition(" ")
    assert scheme == "WECHATPAY2-SHA256-RSA2048"
    assert dict(pair.split("=", 1) for pair in pairs.split(",")) == {
        "mchid": f'"{vectors["mchid"]}"',
        "serial_no": f'"{vectors["serial_no"]}"',
        "timestamp": f'"{case["timestamp"]}"',
        "nonce_str": f'"{case["nonce_str"]}"',
        "signature": f'"{case["signature"]}"',
    }


@pytest.mark.parametrize("case", vector("signatures.json")["cases"], ids=lambda case: case["source"])
def test_the_sdks_signature_of_a_line_is_found_in_ours(case, tmp_path):
    # The SDKs sign the bare text; our lines end in a newline, so ours is compared by way of openssl.
    key = VECTORS / case["key"]
    signed = {}
    for name, message in (("bare", case["message"]), ("line", case["message"] + "\n")):
        made = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(key)], input=message.encode(), capture_output=True, check=True
        )
        signed[name] = base64.b64encode(made.stdout).decode()
    assert signed["bare"] == case["signature"]
    assert Signer("", "", published_key(case["key"])).sign(case["message"]) == signed["line"]


def test_a_jsapi_payment_is_signed_as_the_documentation_shows(monkeypatch):
    vectors = vector("invocation_signatures.json")
    case = vectors["cases"][0]
    assert case["scene"] == "jsapi"
    made = frozen_signer(monkeypatch, vectors, case).jsapi_parameters(case["appid"], case["prepay_id"])
    assert made == {
        "appId": case["appid"],
        "prepay_id": case["prepay_id"],
        "timeStamp": case["timestamp"],
        "nonceStr": case["nonce_str"],
        "package": "prepay_id=" + case["prepay_id"],
        "signType": "RSA",
        "paySign": case["signature"],
    }


def test_an_app_payment_is_signed_as_the_documentation_shows(monkeypatch):
    vectors = vector("invocation_signatures.json")
    case = vectors["cases"][1]
    assert case["scene"] == "app"
    made = frozen_signer(monkeypatch, vectors, case).app_parameters(case["appid"], case["prepay_id"])
    assert made == {
        "appId": case["appid"],
        "partnerId": vectors["mchid"],
        "prepayId": case["prepay_id"],
        "packageValue": "Sign=WXPay",
        "nonceStr": case["nonce_str"],
        "timeStamp": case["timestamp"],
        "sign": case["signature"],
        "prepay_id": case["prepay_id"],
    }


def never_fetched(deadline: float) -> list[PlatformCertificate]:
    raise AssertionError("no certificate is to be fetched")


def ring_of(serial: str, key: Any, now: float) -> KeyRing:
    assert isinstance(key, RSAPublicKey)
    certificate = PlatformCertificate(serial, key, None, None)  # type: ignore[arg-type]
    return KeyRing(public_key_id="", public_key=None, fetch=lambda _: [certificate], clock=lambda: now)


def test_an_answer_of_the_live_api_verifies_at_its_time_and_not_five_minutes_later():
    answer = vector("answer.json")
    headers, body = answer["headers"], answer["body"].encode()
    key = load_pem_public_key((VECTORS / answer["key"]).read_bytes())
    sent_at = float(headers["Wechatpay-Timestamp"])
    ring_of(headers["Wechatpay-Serial"], key, sent_at).verify(headers, body, FAR)
    with pytest.raises(SignatureInvalid):
        ring_of(headers["Wechatpay-Serial"], key, sent_at).verify(headers, body + b" ", FAR)
    with pytest.raises(SignatureInvalid):
        ring_of(headers["Wechatpay-Serial"], key, sent_at + 300).verify(headers, body, FAR)


def test_a_recorded_callback_verifies_and_decrypts_at_its_time():
    recorded = vector("notification.json")
    certificate = x509.load_pem_x509_certificate((VECTORS / recorded["certificate"]).read_bytes())
    headers, body = recorded["headers"], recorded["body"].encode()
    assert format(certificate.serial_number, "X") == headers["Wechatpay-Serial"]
    ring = KeyRing(
        public_key_id=headers["Wechatpay-Serial"],
        public_key=certificate.public_key(),
        fetch=never_fetched,
        clock=lambda: recorded["now"],
    )
    ring.verify(headers, body, FAR)
    plaintext = decrypt_resource(recorded["api_v3_key"].encode(), json.loads(body)["resource"])
    assert plaintext.decode() == recorded["plaintext"]


def test_a_recorded_callback_with_one_character_changed_is_refused():
    recorded = vector("notification.json")
    certificate = x509.load_pem_x509_certificate((VECTORS / recorded["certificate"]).read_bytes())
    body = recorded["body"].replace("2021-06-24", "2021-06-25").encode()
    ring = KeyRing(
        public_key_id=recorded["headers"]["Wechatpay-Serial"],
        public_key=certificate.public_key(),
        fetch=never_fetched,
        clock=lambda: recorded["now"],
    )
    with pytest.raises(SignatureInvalid):
        ring.verify(recorded["headers"], body, FAR)


def resource_of(case: dict[str, str]) -> dict[str, str]:
    names = ("nonce", "associated_data", "ciphertext")
    return {"algorithm": "AEAD_AES_256_GCM"} | {name: case[name] for name in names}


@pytest.mark.parametrize("case", vector("aes_gcm.json")["cases"], ids=lambda case: case["source"])
def test_the_sdks_aes_gcm_texts_decrypt(case):
    assert decrypt_resource(case["api_v3_key"].encode(), resource_of(case)).decode() == case["plaintext"]


@pytest.mark.parametrize("case", vector("aes_gcm.json")["cases"], ids=lambda case: case["source"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ciphertext", "SGVsbG8gV29ybGQK"),
        ("ciphertext", "invalid cipher"),
        ("nonce", "bad-4a9R25RW"),
        ("associated_data", "bad-associatedData"),
    ],
)
def test_what_the_sdks_refuse_to_decrypt_is_refused(case, field, value):
    with pytest.raises(DecryptionFailed):
        decrypt_resource(case["api_v3_key"].encode(), resource_of(case) | {field: value})


def test_a_recorded_list_of_platform_certificates_is_read():
    recorded = vector("certificates.json")
    (certificate,) = read_certificates(recorded["response"].encode(), recorded["api_v3_key"].encode())
    assert certificate.serial == recorded["serial_no"]
    assert certificate.not_before.isoformat() == "2023-09-19T15:15:58+00:00"
    assert certificate.not_after.isoformat() == "2028-09-17T15:15:58+00:00"
    assert certificate.public_key.key_size == 2048


OAEP = ("-pkeyopt", "rsa_padding_mode:oaep")


def openssl_decrypts(ciphertext: str, key: Path) -> str:
    done = subprocess.run(
        ["openssl", "pkeyutl", "-decrypt", "-inkey", str(key), *OAEP],
        input=base64.b64decode(ciphertext),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


@pytest.mark.parametrize("text", ["plaintext", "李雷", "𠮷" * 53, "a" * 214])
def test_our_oaep_text_is_decrypted_by_what_decrypts_the_published_one(text):
    published = vector("oaep.json")
    key = VECTORS / published["key"]
    # The published ciphertext shows that these options are WeChat Pay's padding and digests.
    assert openssl_decrypts(published["ciphertext"], key) == published["plaintext"]
    private = published_key(published["key"])
    assert isinstance(private, RSAPrivateKey)
    assert openssl_decrypts(encrypt_oaep(private.public_key(), text), key) == text


def test_two_oaep_texts_of_the_same_name_differ():
    key = published_key("java_merchant_test_key.pem").public_key()
    assert encrypt_oaep(key, "李雷") != encrypt_oaep(key, "李雷")


def test_a_name_too_long_for_the_key_is_an_error():
    with pytest.raises(ValueError, match=r"(?i)encrypt|long|length|data"):
        encrypt_oaep(published_key("java_merchant_test_key.pem").public_key(), "a" * 215)
