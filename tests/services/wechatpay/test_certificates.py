from __future__ import annotations

import base64
import json
import subprocess
from datetime import datetime, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from services.wechatpay.certificates import read_certificates
from services.wechatpay.errors import DecryptionFailed
from tests.services.wechatpay.host import (
    API_V3_KEY,
    OTHER_PLATFORM_KEY,
    PLATFORM_KEY,
    certificate,
    certificate_list,
    pem,
    sealed,
)

NUMBER = 0x5DEA10EF55877E3CF6C33255C2E7DEFFF7E427EC
SERIAL = format(NUMBER, "040X")


def of(*entries: tuple[str, bytes]) -> bytes:
    return certificate_list(*entries)


def test_two_certificates_are_read_with_their_serials_keys_and_times():
    starts, ends = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), datetime(2031, 1, 1, tzinfo=timezone.utc)
    first = certificate(PLATFORM_KEY, NUMBER, starts=starts, ends=ends)
    second = certificate(OTHER_PLATFORM_KEY, NUMBER + 1)
    read = read_certificates(of((SERIAL, pem(first)), (format(NUMBER + 1, "X"), pem(second))), API_V3_KEY)
    assert [one.serial for one in read] == [SERIAL, format(NUMBER + 1, "X")]
    assert [one.public_key.public_numbers() for one in read] == [
        PLATFORM_KEY.public_key().public_numbers(),
        OTHER_PLATFORM_KEY.public_key().public_numbers(),
    ]
    assert (read[0].not_before, read[0].not_after) == (starts, ends)


def test_an_empty_list_holds_nothing():
    assert read_certificates(b'{"data":[]}', API_V3_KEY) == []


def test_a_serial_in_lower_case_is_the_same_serial():
    (read,) = read_certificates(of((SERIAL.lower(), pem(certificate(PLATFORM_KEY, NUMBER)))), API_V3_KEY)
    assert read.serial.upper() == SERIAL


def test_a_serial_that_begins_with_zeros_is_the_same_serial():
    stated = "00" + format(0x5DEA10, "038X")
    (read,) = read_certificates(of((stated, pem(certificate(PLATFORM_KEY, 0x5DEA10)))), API_V3_KEY)
    assert read.serial == stated


@pytest.mark.parametrize("stated", [format(NUMBER + 1, "X"), SERIAL + "0", "X" + SERIAL, " " + SERIAL, SERIAL[:-1]])
def test_a_certificate_under_another_serial_is_refused(stated):
    with pytest.raises(DecryptionFailed):
        read_certificates(of((stated, pem(certificate(PLATFORM_KEY, NUMBER)))), API_V3_KEY)


def test_one_bad_entry_refuses_the_whole_list():
    good = (SERIAL, pem(certificate(PLATFORM_KEY, NUMBER)))
    with pytest.raises(DecryptionFailed):
        read_certificates(of(good, ("0" * 40, good[1])), API_V3_KEY)


def test_a_certificate_of_another_kind_of_key_is_refused():
    made = certificate(ec.generate_private_key(ec.SECP256R1()), NUMBER)
    with pytest.raises(DecryptionFailed):
        read_certificates(of((SERIAL, pem(made))), API_V3_KEY)


def test_a_certificate_of_a_version_that_does_not_exist_is_refused():
    der = certificate(PLATFORM_KEY, NUMBER).public_bytes(Encoding.DER)
    der = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x12", 1)
    text = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der)
    with pytest.raises(DecryptionFailed):
        read_certificates(of((SERIAL, text + b"-----END CERTIFICATE-----\n")), API_V3_KEY)


def test_a_certificate_for_the_sm_algorithms_is_refused(tmp_path):
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "ecparam", "-name", "SM2", "-genkey", "-out", str(key)], check=True)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-new", "-key", str(key), "-sm3", "-subj", "/CN=Tenpay.com sign"),
            *("-set_serial", "0x" + SERIAL, "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    with pytest.raises(DecryptionFailed):
        read_certificates(of((SERIAL, made.read_bytes())), API_V3_KEY)


def test_a_list_sealed_with_another_key_is_refused():
    body = of((SERIAL, pem(certificate(PLATFORM_KEY, NUMBER))))
    with pytest.raises(DecryptionFailed):
        read_certificates(body, API_V3_KEY[::-1])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b"\xff",
        b"<html>502</html>",
        b'{"data":null}',
        b'{"data":7}',
        b'{"data":"text"}',
        b'{"data":[null]}',
        b'{"data":["text"]}',
        b'{"data":[{}]}',
        b'{"data":[{"serial_no":"1"}]}',
        b'{"data":[{"serial_no":"1","encrypt_certificate":"text"}]}',
        b'{"data":[{"serial_no":"1","encrypt_certificate":{}}]}',
        b"[" * 100_000,
        b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_an_answer_of_another_form_is_refused(body):
    with pytest.raises(DecryptionFailed):
        read_certificates(body, API_V3_KEY)


@pytest.mark.parametrize("text", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_not_a_certificate_is_refused(text):
    with pytest.raises(DecryptionFailed):
        read_certificates(of((SERIAL, text)), API_V3_KEY)


@pytest.mark.parametrize("stated", [None, 7, ["x"], ""])
def test_an_entry_without_a_serial_is_refused(stated):
    entry = {"serial_no": stated, "encrypt_certificate": sealed(pem(certificate(PLATFORM_KEY, NUMBER)))}
    with pytest.raises(DecryptionFailed):
        read_certificates(json.dumps({"data": [entry]}).encode(), API_V3_KEY)
