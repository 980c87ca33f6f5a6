from __future__ import annotations

import base64
import traceback

import pytest

from services.wechatpay.cipher import decrypt_resource
from services.wechatpay.errors import DecryptionFailed
from tests.services.wechatpay.host import API_V3_KEY, sealed

PLAINTEXT = '{"state":"支付成功"}'.encode()


def resource(**changes):
    """A resource that decrypts, with fields replaced, or left out where the value is `...`."""
    made = sealed(PLAINTEXT, associated_data="transaction") | changes
    return {name: value for name, value in made.items() if value is not ...}


def test_a_resource_decrypts():
    assert decrypt_resource(API_V3_KEY, resource()) == PLAINTEXT


def test_further_fields_do_no_harm():
    assert decrypt_resource(API_V3_KEY, resource(original_type="transaction", new=[1])) == PLAINTEXT


@pytest.mark.parametrize("given", [{"associated_data": ""}, {"associated_data": None}, {}])
def test_associated_data_may_be_empty_null_or_absent(given):
    made = sealed(PLAINTEXT, associated_data="")
    del made["associated_data"]
    assert decrypt_resource(API_V3_KEY, made | given) == PLAINTEXT


@pytest.mark.parametrize("given", ["", None, ..., "Transaction", "transaction ", "transaction\0"])
def test_associated_data_that_was_sealed_may_not_be_left_out_or_altered(given):
    with pytest.raises(DecryptionFailed):
        decrypt_resource(API_V3_KEY, resource(associated_data=given))


@pytest.mark.parametrize("wrong", [0, 1, 1.5, True, [], ["x"], {}, {"a": "b"}, b"bytes"])
@pytest.mark.parametrize("field", ["algorithm", "nonce", "associated_data", "ciphertext"])
def test_a_field_of_the_wrong_type_is_refused(field, wrong):
    with pytest.raises(DecryptionFailed):
        decrypt_resource(API_V3_KEY, resource(**{field: wrong}))


@pytest.mark.parametrize("field", ["algorithm", "nonce", "ciphertext"])
@pytest.mark.parametrize("value", [..., None, ""])
def test_a_field_that_is_missing_null_or_empty_is_refused(field, value):
    with pytest.raises(DecryptionFailed):
        decrypt_resource(API_V3_KEY, resource(**{field: value}))


@pytest.mark.parametrize(
    "algorithm", ["AEAD_SM4_GCM", "AEAD_AES_128_GCM", "aead_aes_256_gcm", "AEAD_AES_256_GCM ", "none"]
)
def test_another_algorithm_is_refused_by_name(algorithm):
    with pytest.raises(DecryptionFailed, match="AEAD_AES_256_GCM"):
        decrypt_resource(API_V3_KEY, resource(algorithm=algorithm))


@pytest.mark.parametrize("nonce", ["0123456789aB", "1", "0" * 11, "0" * 200, "零一二三", "\ud800" * 12])
def test_another_nonce_is_refused(nonce):
    with pytest.raises(DecryptionFailed):
        decrypt_resource(API_V3_KEY, resource(nonce=nonce))


def altered_ciphertexts():
    true = base64.b64decode(resource()["ciphertext"])
    for position in (0, len(true) // 2, len(true) - 1):
        changed = bytearray(true)
        changed[position] ^= 1
        yield f"bit at {position}", base64.b64encode(bytes(changed)).decode()
    yield "truncated", base64.b64encode(true[:-1]).decode()
    yield "without tag", base64.b64encode(true[:-16]).decode()
    yield "tag only", base64.b64encode(true[-16:]).decode()
    yield "three bytes", "AAAA"
    yield "blank inside", resource()["ciphertext"][:8] + " " + resource()["ciphertext"][8:]
    yield "newline at the end", resource()["ciphertext"] + "\n"
    yield "url alphabet", "-_" + resource()["ciphertext"][2:]
    yield "no padding", "QQ"
    yield "not ASCII", "密文"
    yield "lone surrogate", "\ud800"


@pytest.mark.parametrize(("how", "ciphertext"), list(altered_ciphertexts()), ids=lambda value: str(value)[:12])
def test_an_altered_ciphertext_is_refused(how, ciphertext):
    with pytest.raises(DecryptionFailed):
        decrypt_resource(API_V3_KEY, resource(ciphertext=ciphertext))


@pytest.mark.parametrize("key", [b"UNITTEST0123456789abcdefABCDEF02", b"short", b"", API_V3_KEY + b"1"])
def test_another_key_is_refused_and_no_key_is_told(key):
    with pytest.raises(DecryptionFailed) as caught:
        decrypt_resource(key, resource())
    told = "".join(traceback.format_exception_only(type(caught.value), caught.value))
    assert API_V3_KEY.decode() not in told
    assert not key or key.decode() not in told
