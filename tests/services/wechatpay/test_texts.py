"""What callers and logs are told, word for word: merchants look these texts up in docs/troubleshooting.md."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.wechatpay import transport as transport_module
from services.wechatpay.certificates import read_certificates
from services.wechatpay.cipher import decrypt_resource
from services.wechatpay.client import Client, Reply
from services.wechatpay.errors import (
    ApiError,
    DecryptionFailed,
    KeysUnavailable,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    ServerFault,
    SignatureInvalid,
    TimedOut,
    Unreachable,
    Unverifiable,
    WechatPayError,
)
from services.wechatpay.keys import KeyRing, PlatformCertificate, verify_signature
from services.wechatpay.transport import Answer, Transport
from tests.services.wechatpay.host import (
    API_V3_KEY,
    FAR,
    OTHER_PLATFORM_KEY,
    PLATFORM,
    PLATFORM_KEY,
    Answering,
    Host,
    Say,
    certificate,
    certificate_list,
    client_of,
    pem,
    refusing,
    sealed,
    signed,
)

NUMBER = 0x5157F09EFDC096DE15EBE81A47057A7232F1B8E1
SERIAL = format(NUMBER, "040X")
ORDER, REFUNDS = "/v3/pay/transactions/jsapi", "/v3/refund/domestic/refunds"
NO_PUBLIC_KEY = (
    "a merchant to whom the merchant platform shows a WeChat Pay public key has none, and sets wxPayPublicKey and"
    " wxPayPublicKeyId"
)
ANOTHER_KEY = (
    "Wechatpay-Serial names another key than wxPayPublicKeyId: set id and key as the merchant platform shows them"
)
ANOTHER_SIGNATURE = "Wechatpay-Signature does not fit the body under the key that Wechatpay-Serial names"


def told(expected: type[WechatPayError], act: Callable[[], object]) -> str:
    with pytest.raises(expected) as caught:
        act()
    assert type(caught.value) is expected
    return str(caught.value)


@contextmanager
def asking(*answers: Say | Answering, **options: Any) -> Iterator[Client]:
    """A client of a host that gives these answers."""
    with Host(*answers) as host:
        yield client_of(host.url, host.url, **options)


# What a try ended with


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, {"code": "ORDER_NOT_EXIST", "message": "no"}, "404 ORDER_NOT_EXIST"),
        (400, {"message": "no"}, "400"),
        (403, None, "403"),
        (403, ["code"], "403"),
    ],
)
def test_a_refusal_tells_its_status_and_code(status: int, body: Any, text: str):
    error = ApiError(status, body, signed=False)
    assert (str(error), error.status, error.body, error.signed) == (text, status, body, False)
    assert (error.request_id, error.after_unknown) == ("", False)
    known = body if isinstance(body, dict) else {}
    assert (error.code, error.message) == (known.get("code", ""), known.get("message", ""))


def test_an_unknown_outcome_without_an_answer_has_neither_status_nor_body():
    error = OutcomeUnknown("reason")
    assert (str(error), error.status, error.body) == ("reason", 0, None)


def test_a_signature_is_no_probe_unless_it_is_said_to_be():
    error = SignatureInvalid("reason")
    assert (str(error), error.probe) == ("reason", False)


def test_neither_an_answer_nor_a_reply_shows_its_content():
    assert repr(Answer(200, {}, b"a name")) == "Answer(status=200)"
    assert repr(Reply(204, {"name": "a name"})) == "Reply(status=204)"


def test_the_texts_of_faults():
    with asking(Say(503, b"{}")) as client:
        assert told(ServerFault, lambda: client.call("POST", ORDER, {})) == "WeChat Pay answered 503"
    with asking(Say(429, b"{}"), timeout=0.8) as client:
        assert told(RateLimited, lambda: client.call("POST", REFUNDS, {})) == "WeChat Pay answered 429"
    with asking(Say(502, b"{}")) as client:
        url = client._hosts[0] + "/file"
        text = told(ServerFault, lambda: client.download(url, io.BytesIO(), limit=9, timeout=5))
        assert text == "WeChat Pay answered 502"


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (lambda: signed(202), ServerFault, "WeChat Pay accepted the call but has not processed it"),
        (lambda: signed(201), Unverifiable, "WeChat Pay's answer (201) is not a JSON object"),
        (lambda: signed(body=b"[]"), Unverifiable, "WeChat Pay's answer (200) is not a JSON object"),
        (lambda: signed(body=b'{"id":"2"}'), Unverifiable, "WeChat Pay's answer is for another id"),
        (
            lambda: signed(key=OTHER_PLATFORM_KEY),
            Unverifiable,
            f"WeChat Pay's answer cannot be verified: {ANOTHER_SIGNATURE}",
        ),
        (
            lambda: signed(serial="PUB_KEY_ID_2"),
            Unverifiable,
            f"WeChat Pay's answer cannot be verified: {ANOTHER_KEY}",
        ),
        (
            lambda: signed(serial=SERIAL),
            Unverifiable,
            "WeChat Pay's answer cannot be verified: the last download of platform certificates failed",
        ),
    ],
    ids=["202", "201", "no object", "another number", "another signature", "another key", "no certificate"],
)
def test_the_texts_of_answers_that_are_not_believed(answer: Callable[[], Say], error: type[WechatPayError], text: str):
    with asking(lambda seen: answer() if seen.target == ORDER else Say(404)) as client:
        assert told(error, lambda: client.call("GET", ORDER, expect={"id": "1"})) == text


# Before anything is sent


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        (lambda: Say(404, b'{"code":"RESOURCE_NOT_EXISTS"}'), "404 RESOURCE_NOT_EXISTS"),
        (lambda: Say(502), "WeChat Pay answered 502"),
        (
            lambda: signed(body=b'{"data":[]}', serial=SERIAL),
            "the platform certificates are not believed: Wechatpay-Serial is not among the certificates sent",
        ),
        (
            lambda: signed(body=b"{}", serial=SERIAL),
            "the platform certificates are not believed: the list of platform certificates cannot be read",
        ),
        (
            lambda: signed(body=listed(), serial=SERIAL, key=OTHER_PLATFORM_KEY),
            f"the platform certificates are not believed: {ANOTHER_SIGNATURE}",
        ),
    ],
    ids=["404", "502", "empty", "no list", "another signature"],
)
def test_the_texts_of_certificates_that_cannot_be_had(listing: Callable[[], Say], reason: str):
    text = f"nothing was sent to WeChat Pay: platform certificates cannot be downloaded ({reason}): {NO_PUBLIC_KEY}"
    with asking(lambda _: listing(), public_key=None) as client:
        assert told(NotSent, lambda: client.call("POST", ORDER, {})) == text
    with asking(lambda _: listing(), public_key=None) as client:
        assert told(NotSent, lambda: client.encrypt("name", FAR)) == text


def listed() -> bytes:
    return certificate_list((SERIAL, pem(certificate(PLATFORM_KEY, NUMBER))))


def test_the_texts_of_what_is_not_sent():
    with asking(Say()) as client:
        text = "nothing was sent to WeChat Pay: no time of wxPayTimeout is left"
        assert told(NotSent, lambda: client.call("GET", ORDER, deadline=time.monotonic() - 1)) == text
        text = "download_url leads to another host than wxPayApiBase: nothing was sent there"
        assert told(NotSent, lambda: client.download("http://127.0.0.1/x", io.BytesIO(), limit=9, timeout=5)) == text


# Keys


def ring(*fetched: PlatformCertificate | Exception, monotonic: Callable[[], float] = time.monotonic) -> KeyRing:
    """A ring that downloads these, or fails with the first that is an exception."""

    def fetch(_: float) -> list[PlatformCertificate]:
        for one in fetched:
            if isinstance(one, Exception):
                raise one
        return [one for one in fetched if isinstance(one, PlatformCertificate)]

    return KeyRing(public_key_id="", public_key=None, fetch=fetch, monotonic=monotonic)


def test_the_texts_of_keys_that_are_not_there():
    now = datetime.now(timezone.utc)
    over = PlatformCertificate(SERIAL, PLATFORM, now - timedelta(days=9), now - timedelta(days=1))
    keys = ring(over)
    keys.prepare(FAR)
    text = "no platform certificate is valid at the time of this machine's clock"
    assert told(KeysUnavailable, keys.encryption_key) == text
    text = "Wechatpay-Serial names no platform certificate of this merchant"
    assert told(SignatureInvalid, lambda: keys.key("7" * 40, FAR)) == text
    assert told(SignatureInvalid, lambda: keys.key("PUB_KEY_ID_1", FAR)) == ANOTHER_KEY
    keys = ring(Unreachable("no answer from WeChat Pay (ConnectionError)"))
    text = "platform certificates cannot be downloaded (no answer from WeChat Pay (ConnectionError)): " + NO_PUBLIC_KEY
    assert told(KeysUnavailable, lambda: keys.prepare(FAR)) == text
    assert told(KeysUnavailable, lambda: keys.prepare(FAR)) == "the last download of platform certificates failed"


def test_the_text_of_a_download_by_another_request():
    seen: list[str] = []

    def fetch(_: float) -> list[PlatformCertificate]:
        seen.append(told(KeysUnavailable, lambda: keys.prepare(time.monotonic())))
        return []

    keys = KeyRing(public_key_id="", public_key=None, fetch=fetch)
    keys.prepare(FAR)
    assert seen == ["platform certificates are being downloaded by another request"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"Wechatpay-Nonce": ""}, "Wechatpay-Timestamp, -Nonce, -Signature or -Serial is missing"),
        ({"Wechatpay-Timestamp": "1"}, "Wechatpay-Timestamp is not within 5 minutes of this machine's clock"),
        ({"Wechatpay-Nonce": "x"}, ANOTHER_SIGNATURE),
        ({"Wechatpay-Signature": "x"}, ANOTHER_SIGNATURE),
    ],
)
def test_the_texts_of_signatures_that_do_not_hold(changes: dict[str, str], text: str):
    headers = {**signed(body=b"{}").headers, **changes}
    assert told(SignatureInvalid, lambda: verify_signature(headers, b"{}", lambda _: PLATFORM, time.time())) == text


# What does not decrypt


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"algorithm": "none"}, "resource.algorithm must be AEAD_AES_256_GCM"),
        ({"nonce": 1}, "resource.nonce, ciphertext and associated_data must be strings"),
        (
            {"nonce": "another one!"},
            "the resource does not decrypt under apiV3Key: set the APIv3 key of the merchant platform",
        ),
    ],
)
def test_the_texts_of_resources_that_do_not_decrypt(changes: dict[str, Any], text: str):
    resource = {**sealed(b"{}"), **changes}
    assert told(DecryptionFailed, lambda: decrypt_resource(API_V3_KEY, resource)) == text


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ({"serial_no": SERIAL, "encrypt_certificate": "text"}, "encrypt_certificate"),
        (
            {"serial_no": "7" * 40, "encrypt_certificate": sealed(pem(certificate(PLATFORM_KEY, NUMBER)))},
            "serial_no is not the certificate's",
        ),
        (
            {
                "serial_no": SERIAL,
                "encrypt_certificate": sealed(pem(certificate(ec.generate_private_key(ec.SECP256R1()), NUMBER))),
            },
            "not an RSA certificate",
        ),
    ],
    ids=["no envelope", "another serial", "no RSA"],
)
def test_the_log_tells_why_a_list_of_certificates_cannot_be_read(entry: dict[str, Any], cause: str):
    with pytest.raises(DecryptionFailed) as caught:
        read_certificates(json.dumps({"data": [entry]}).encode(), API_V3_KEY)
    assert str(caught.value) == "the list of platform certificates cannot be read"
    assert str(caught.value.__cause__) == cause


# On the way


def send(url: str, timeout: float = 5.0) -> Callable[[], object]:
    return lambda: Transport().send("GET", url, b"", lambda _: {}, timeout=timeout)


def test_the_texts_of_answers_that_do_not_arrive(monkeypatch):
    with refusing() as url:
        assert told(Unreachable, send(url)) == "no answer from WeChat Pay (NewConnectionError)"
    with Host(Say(after=5)) as host:
        assert told(TimedOut, send(host.url, timeout=0.25)) == "no whole answer from WeChat Pay within 0.2 s"
    monkeypatch.setattr(transport_module, "MAX_BODY", 9)
    with Host(Say(body=b"x" * 9), Say(body=b"x" * 10)) as host:
        send(host.url)()
        assert told(Unreachable, send(host.url)) == "WeChat Pay's answer exceeds 9 bytes"
