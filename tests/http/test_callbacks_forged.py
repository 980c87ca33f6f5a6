"""Forged and damaged callbacks by every way in: none is acknowledged, none reaches a handler."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sandbox import Credentials, Sandbox
from sandbox.credentials import new_key
from sandbox.crypto import Signer, seal
from tests.http.callback_shop import (
    EVENTS,
    KINDS,
    ORIGINAL_TYPES,
    Message,
    Oracle,
    RecordingOrders,
    Shop,
    Shops,
    changed,
    encoded,
    sample,
    shop,
)
from tests.support import Function, gunicorn, in_process

STRANGER = new_key()
OTHER_API_KEY = "X" * 32
PROBE = "WECHATPAY/SIGNTEST/"
UNSIGNED = "SignatureInvalid"  # all refusals read alike, so the log tells which check refused


@pytest.fixture(scope="module")
def shops(credentials: Credentials) -> Iterator[Shops]:
    with Shops(credentials) as shops:
        yield shops


@dataclass(frozen=True)
class Row:
    """One forgery: how it is made, how it is answered, and how often WeChat Pay is asked about it.

    `queries` is None where asking or not asking are both right; `error` is the class that the log names, ""
    where it is not looked at.
    """

    name: str
    make: Callable[[Shop], Message]
    status: int = 400
    queries: int | None = 0
    error: str = ""


def rows(*found: Row) -> Any:
    return pytest.mark.parametrize("row", found, ids=lambda row: row.name)


def refused_by_every_way_in(shop: Shop, row: Row) -> None:
    for way, path, fields in row.make(shop).ways():
        shop.new()
        with logged_errors() as errors:
            reply = row.make(shop).send(shop.function, path, fields)
        shop.assert_refused(reply, row.status, way)
        assert row.queries is None or len(shop.queries()) == row.queries, way
        assert not row.error or errors == [row.error], way


@contextmanager
def logged_errors() -> Iterator[list[str]]:
    """What the log lines of the requests meanwhile name as their errors."""
    errors: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "request":
                errors.append(record.__dict__["fields"].get("error_type", ""))

    keeper, logger = Keeper(), logging.getLogger("pay.http")
    logger.addHandler(keeper)
    try:
        yield errors
    finally:
        logger.removeHandler(keeper)


# What WeChat Pay sends itself: the signature


def with_headers(alter: Callable[[dict[str, str]], Mapping[str, str]]) -> Callable[[Shop], Message]:
    """A genuine notification whose signature headers are altered after signing."""

    def make(shop: Shop) -> Message:
        message = shop.signed("order")
        return Message("order", message.body, lambda raw: alter(dict(message.headers(raw))))

    return make


def without(name: str) -> Callable[[Shop], Message]:
    return with_headers(lambda headers: {key: value for key, value in headers.items() if key != name})


def replaced(**headers: str) -> Callable[[Shop], Message]:
    names = {f"Wechatpay-{name}": value for name, value in headers.items()}
    return with_headers(lambda genuine: genuine | names)


def signature(alter: Callable[[str], str]) -> Callable[[Shop], Message]:
    name = "Wechatpay-Signature"
    return with_headers(lambda headers: headers | {name: alter(headers[name])})


def headers_by(shop: Shop, signer: Signer) -> Callable[[bytes], Mapping[str, str]]:
    return lambda raw: shop.box.builder.signed(raw, signer=signer)


def signed_with(signer: Callable[[Credentials], Signer]) -> Callable[[Shop], Message]:
    def make(shop: Shop) -> Message:
        return Message("order", shop.signed("order").body, headers_by(shop, signer(shop.credentials)))

    return make


def signed_at(timestamp: Callable[[], int | str]) -> Callable[[Shop], Message]:
    """Truly signed by WeChat Pay's key, over another time."""
    return lambda shop: Message(
        "order", shop.signed("order").body, lambda raw: shop.box.builder.signed(raw, timestamp=timestamp())
    )


def tampered(alter: Callable[[bytes], bytes], **headers: str) -> Callable[[Shop], Message]:
    """A genuine notification whose body is altered on the way; it stays a JSON object."""

    def make(shop: Shop) -> Message:
        message = shop.signed("order")
        return Message("order", message.body, lambda raw: {**message.headers(raw), **headers}, alter)

    return make


def broken(alter: Callable[[bytes], bytes], **headers: str) -> Callable[[Shop], Message]:
    """The same, but what is left is no JSON object."""

    def make(shop: Shop) -> Message:
        message = tampered(alter, **headers)(shop)
        message.by_path_only = True
        return message

    return make


def signature_of_another(shop: Shop) -> Message:
    """The headers of one genuine notification on the body of another."""
    headers = shop.box.builder.signed(encoded(shop.signed("order").body))
    return Message("order", shop.signed("order").body, lambda raw: headers)


def replayed_answer(shop: Shop) -> Message:
    """WeChat Pay's true answer to a query, signed over the same three lines as a notification."""
    answer = encoded(shop.box.plaintext("order", shop.order()))
    return Message("order", answer, shop.box.builder.signed)


def with_raw_signature(sign: Callable[[Credentials, bytes], bytes]) -> Callable[[Shop], Message]:
    """A signature by the right key in another scheme."""

    def make(shop: Shop) -> Message:
        def headers(raw: bytes) -> Mapping[str, str]:
            genuine = dict(shop.box.builder.signed(raw, key="public"))
            head = f"{genuine['Wechatpay-Timestamp']}\n{genuine['Wechatpay-Nonce']}\n".encode()
            made = sign(shop.credentials, head + raw + b"\n")
            return genuine | {"Wechatpay-Signature": base64.b64encode(made).decode()}

        return Message("order", shop.signed("order").body, headers)

    return make


def unsigned_parsed_content(shop: Shop) -> Message:
    """In sdk mode nothing but a signature counts, not even an envelope that decrypts."""
    return shop.forwarded("order")


SIGNATURES = (
    Row("no signature at all", with_headers(lambda headers: {}), error=UNSIGNED),
    *(
        Row(f"{name} missing", without(f"Wechatpay-{name}"), error=UNSIGNED)
        for name in ("Timestamp", "Nonce", "Signature", "Serial")
    ),
    *(
        Row(f"{name} empty", replaced(**{name: ""}), error=UNSIGNED)
        for name in ("Timestamp", "Nonce", "Signature", "Serial")
    ),
    Row("signature of another notification", signature_of_another, error=UNSIGNED),
    Row("a space behind the body", tampered(lambda raw: raw + b" "), error=UNSIGNED),
    Row("a newline behind the body", tampered(lambda raw: raw + b"\n"), error=UNSIGNED),
    Row("the same JSON written otherwise", tampered(lambda raw: json.dumps(json.loads(raw)).encode()), error=UNSIGNED),
    Row("a field added to the body", tampered(lambda raw: b'{"a":1,' + raw[1:]), error=UNSIGNED),
    Row("a key twice in the body", broken(lambda raw: b'{"id":"EV-1",' + raw[1:]), 400),
    Row("an empty body", broken(lambda raw: b""), 400),
    Row("half a body", broken(lambda raw: raw[: len(raw) // 2]), 400),
    Row("a body that is a list", broken(lambda raw: b"[" + raw + b"]"), 400),
    Row("a compressed body", broken(gzip.compress, **{"Content-Encoding": "gzip"}), 400),
    Row("a body in UTF-16", broken(lambda raw: raw.decode().encode("utf-16")), 400),
    Row(
        "time altered after signing",
        with_headers(
            lambda headers: headers | {"Wechatpay-Timestamp": str(int(headers["Wechatpay-Timestamp"]) + 1)}
        ),
        error=UNSIGNED,
    ),
    Row("nonce altered after signing", replaced(Nonce="593BEC0C930BF1AFEB40B4A08C8FB242"), error=UNSIGNED),
    Row("signed 303 seconds ago", signed_at(lambda: int(time.time()) - 303), error=UNSIGNED),
    Row("signed 303 seconds from now", signed_at(lambda: int(time.time()) + 303), error=UNSIGNED),
    Row("signed an hour from now", signed_at(lambda: int(time.time()) + 3600), error=UNSIGNED),
    Row("signed at 0", signed_at(lambda: 0), error=UNSIGNED),
    Row("signed at a negative time", signed_at(lambda: -int(time.time())), error=UNSIGNED),
    Row("time with a sign", signed_at(lambda: f"+{int(time.time())}"), error=UNSIGNED),
    Row("time as a float", signed_at(lambda: f"{int(time.time())}.0"), error=UNSIGNED),
    Row("time in milliseconds", signed_at(lambda: int(time.time() * 1000)), error=UNSIGNED),
    Row("time with an exponent", signed_at(lambda: f"{time.time() / 1e9:.9f}e9"), error=UNSIGNED),
    Row("time in hexadecimal", signed_at(lambda: hex(int(time.time()))), error=UNSIGNED),
    Row("time with underscores", signed_at(lambda: f"{int(time.time()):_}"), error=UNSIGNED),
    Row("time with superscript digits", replaced(Timestamp="\xb9\xb2\xb3"), error=UNSIGNED),
    Row("time NaN", signed_at(lambda: "NaN"), error=UNSIGNED),
    Row("time of a thousand digits", signed_at(lambda: "1" * 1000), error=UNSIGNED),
    Row(
        "two times",
        with_headers(
            lambda headers: (
                headers
                | {
                    "Wechatpay-Timestamp": f"{headers['Wechatpay-Timestamp']}, {headers['Wechatpay-Timestamp']}"
                }
            )
        ),
        error=UNSIGNED,
    ),
    Row("two signatures", signature(lambda genuine: f"{genuine}, {genuine}"), error=UNSIGNED),
    Row(
        "a bit of the signature flipped",
        signature(
            lambda genuine: base64.b64encode(
                bytes([base64.b64decode(genuine)[0] ^ 1]) + base64.b64decode(genuine)[1:]
            ).decode()
        ),
        error=UNSIGNED,
    ),
    Row("signature cut", signature(lambda genuine: genuine[:-8]), error=UNSIGNED),
    Row("signature without its padding", signature(lambda genuine: genuine.rstrip("=")), error=UNSIGNED),
    Row("signature in hexadecimal", signature(lambda genuine: base64.b64decode(genuine).hex()), error=UNSIGNED),
    Row("signature with foreign characters", signature(lambda genuine: f"{genuine[:9]}!{genuine[9:]}"), error=UNSIGNED),
    Row("signature with something behind", signature(lambda genuine: f"{genuine}AAAA"), error=UNSIGNED),
    Row("signature of zeros", replaced(Signature=base64.b64encode(bytes(256)).decode()), error=UNSIGNED),
    Row(
        "signed by the merchant's key under the public key's id",
        signed_with(lambda known: Signer(known.public_key_id, known.merchant.key)),
        error=UNSIGNED,
    ),
    Row(
        "signed by a stranger under the public key's id",
        signed_with(lambda known: Signer(known.public_key_id, STRANGER)),
        error=UNSIGNED,
    ),
    Row(
        "signed by a platform certificate under the public key's id",
        signed_with(lambda known: Signer(known.public_key_id, known.platform[0].key)),
        error=UNSIGNED,
    ),
    Row(
        "signed by an unknown public key",
        signed_with(lambda known: Signer("PUB_KEY_ID_0" + "7" * 27, known.public_key)),
        error=UNSIGNED,
    ),
    Row("serial cut", signed_with(lambda known: Signer(known.public_key_id[:-1], known.public_key)), error=UNSIGNED),
    Row("serial of a path", signed_with(lambda known: Signer("../../certificates", STRANGER)), error=UNSIGNED),
    Row("serial of one character", signed_with(lambda known: Signer("*", STRANGER)), error=UNSIGNED),
    Row(
        "two serials",
        signed_with(lambda known: Signer(f"{known.public_key_id}, {known.public_key_id}", known.public_key)),
        error=UNSIGNED,
    ),
    Row(
        "signed with SHA-1",
        with_raw_signature(
            lambda known, text: known.public_key.sign(text, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - the point
        ),
        error=UNSIGNED,
    ),
    Row(
        "signed with PSS",
        with_raw_signature(
            lambda known, text: known.public_key.sign(
                text, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
            )
        ),
        error=UNSIGNED,
    ),
    Row("WeChat Pay's answer to a query, replayed", replayed_answer),
    Row(
        "an unknown event without a signature",
        lambda shop: Message("order", shop.signed("order", event_type="COUPON.USE").body),
        error=UNSIGNED,
    ),
)


@pytest.mark.parametrize(
    "modes", [("sdk", "public_key"), ("sdk", "certificate"), ("gateway", "public_key")], ids="-".join
)
@rows(*SIGNATURES)
def test_what_wechat_pay_did_not_sign_is_refused(shops: Shops, modes: tuple[str, str], row: Row) -> None:
    refused_by_every_way_in(shops.get(*modes), row)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("envelope", ["rawData", "rawData-string", "ParsedNotify", None])
def test_in_sdk_mode_a_forwarded_callback_is_refused_whatever_it_holds(
    shops: Shops, kind: str, envelope: str | None
) -> None:
    shop = shops.get("sdk")
    row = Row("", lambda shop: shop.forwarded(kind, shop.told(kind), envelope=envelope), error=UNSIGNED)
    refused_by_every_way_in(shop, row)


def test_in_gateway_mode_plaintext_under_another_name_is_no_hint(shops: Shops) -> None:
    shop = shops.get()

    def make(shop: Shop) -> Message:
        message = shop.hint("order", shop.told("order"))
        return Message(
            "order",
            {
                "parsedContent": message.body["ParsedContent"],
                **{name: value for name, value in message.body.items() if name != "ParsedContent"},
            },
        )

    refused_by_every_way_in(shop, Row("", make, error=UNSIGNED))


SERIALS = (
    Row("unknown certificate", signed_with(lambda known: Signer("7" + "AB" * 19 + "C", STRANGER)), error=UNSIGNED),
    Row(
        "signed by the public key under the certificate's serial",
        signed_with(lambda known: Signer(known.platform[0].serial, known.public_key)),
        error=UNSIGNED,
    ),
    Row(
        "signed by the next certificate under this one's serial",
        signed_with(lambda known: Signer(known.platform[0].serial, known.platform[1].key)),
        error=UNSIGNED,
    ),
    Row(
        "a certificate that is not published",
        signed_with(lambda known: Signer(known.platform[1].serial, known.platform[1].key)),
        error=UNSIGNED,
    ),
    Row(
        "the merchant's certificate",
        signed_with(lambda known: Signer(known.merchant.serial, known.merchant.key)),
        error=UNSIGNED,
    ),
)


@rows(*SERIALS)
def test_a_certificate_proves_only_what_its_own_key_signed(shops: Shops, row: Row) -> None:
    refused_by_every_way_in(shops.get("sdk", "certificate"), row)


@rows(*SERIALS)
def test_during_the_switch_over_no_key_stands_in_for_another(shops: Shops, row: Row) -> None:
    shop = shops.get("sdk", "public_key", wxPayTimeout="9")  # this shop meets certificates from the first on
    for way, path, fields in row.make(shop).ways():
        shop.new()
        shop.box.certificates_available = True
        with logged_errors() as errors:
            reply = row.make(shop).send(shop.function, path, fields)
        shop.assert_refused(reply, row.status, way)
        assert errors == [row.error], way


def test_a_public_key_named_in_certificate_mode_is_refused_without_a_download(shops: Shops) -> None:
    shop = shops.get("sdk", "certificate")
    message = Message(
        "order", shop.signed("order").body, lambda raw: shop.box.builder.signed(raw, key="public")
    )
    shop.assert_refused(message.send(shop.function), 400)
    assert shop.box.requests == []


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_where_there_are_no_certificates_one_that_is_named_proves_nothing(shops: Shops, mode: str) -> None:
    refused_by_every_way_in(
        shops.get(mode),
        Row("", signed_with(lambda known: Signer(known.merchant.serial, known.merchant.key)), 503),
    )


def test_a_certificate_that_cannot_be_looked_up_is_not_refused_for_good(credentials: Credentials) -> None:
    with shop(credentials, "sdk", "certificate") as fresh:
        fresh.box.fault("system_error", path="/v3/certificates")
        fresh.assert_refused(fresh.signed("order").send(fresh.function), 503)
        asked = len(fresh.box.requests)
        assert asked == 2, "once on each host"
        fresh.assert_refused(fresh.signed("order").send(fresh.function), 503)
        assert len(fresh.box.requests) == asked, "a failed download is not repeated at once"


def test_looking_up_a_certificate_takes_no_longer_than_a_callback_may(credentials: Credentials) -> None:
    with shop(credentials, "sdk", "certificate", callbackTimeout="1", handlerTimeout="0.5") as fresh:
        fresh.box.fault("latency", path="/v3/certificates", seconds=10)
        reply = fresh.signed("order").send(fresh.function)
        fresh.assert_refused(reply, 503)
        assert reply.seconds < 2


def test_unknown_serials_do_not_make_the_function_download_again_and_again(credentials: Credentials) -> None:
    with shop(credentials, "sdk", "certificate") as fresh:
        for number in range(10):
            by = Signer(f"7{number:039X}", STRANGER)
            forged = Message("order", fresh.signed("order").body, headers_by(fresh, by))
            fresh.assert_refused(forged.send(fresh.function), 400)
        assert len(fresh.box.requests) == 1


# Probes


PROBES = {
    "valid base64": lambda genuine: PROBE + "A" * (len(genuine) - len(PROBE) - 2) + "A=",
    "not base64": lambda genuine: PROBE + "!" + genuine[len(PROBE) + 1 :],
    "without padding": lambda genuine: PROBE + "A" * 6,
    "nothing but the mark": lambda genuine: PROBE,
}


@pytest.mark.parametrize(
    "modes", [("sdk", "public_key"), ("sdk", "certificate"), ("gateway", "public_key")], ids="-".join
)
@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_refused_quietly(
    shops: Shops, modes: tuple[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get(*modes)
    shop.signed("order").send(shop.function)  # where certificates are used, they are there from now on
    shop.new()
    capsys.readouterr()
    refused_by_every_way_in(shop, Row("", signature(PROBES[name]), error=UNSIGNED))
    assert loud_lines(capsys) == []


@pytest.mark.parametrize(
    ("key_mode", "serial"), [("public_key", "PUB_KEY_ID_0" + "7" * 27), ("certificate", "7" + "AB" * 19 + "C")]
)
@pytest.mark.parametrize("name", PROBES)
def test_a_probe_under_the_serial_of_nobody_is_quiet_too(
    shops: Shops, name: str, key_mode: str, serial: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("sdk", key_mode)
    shop.signed("order").send(shop.function)
    shop.new()
    capsys.readouterr()

    def headers(genuine: dict[str, str]) -> Mapping[str, str]:
        probe = PROBES[name](genuine["Wechatpay-Signature"])
        return genuine | {"Wechatpay-Signature": probe, "Wechatpay-Serial": serial}

    refused_by_every_way_in(shop, Row("", with_headers(headers), error=UNSIGNED))
    assert loud_lines(capsys) == []


def test_an_ordinary_forgery_is_logged_as_a_warning(shops: Shops, capsys: pytest.CaptureFixture[str]) -> None:
    shop = shops.get("sdk")
    capsys.readouterr()
    shop.assert_refused(signature_of_another(shop).send(shop.function), 400)
    assert [line["level"] for line in loud_lines(capsys)] == ["WARNING"]


def test_a_forgery_whose_signature_only_mentions_the_probe_mark_is_not_quiet(
    shops: Shops, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops.get("sdk")
    capsys.readouterr()
    forged = signature(lambda genuine: genuine[:9] + PROBE + genuine[9 + len(PROBE) :])(shop)
    shop.assert_refused(forged.send(shop.function), 400)
    assert [line["level"] for line in loud_lines(capsys)] == ["WARNING"]


def loud_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert lines, "the function logs to standard output"
    return [line for line in lines if line["level"] not in ("DEBUG", "INFO")]


# What stands in the envelope: signed by WeChat Pay, or forwarded beside a true ParsedContent


def flipped(text: str, at: int) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(bytes(raw)).decode()


Resource = dict[str, Any]
RESOURCES: dict[str, Callable[[Resource], Any]] = {
    "first bit of the ciphertext flipped": lambda r: r | {"ciphertext": flipped(r["ciphertext"], 0)},
    "middle bit of the ciphertext flipped": lambda r: r | {"ciphertext": flipped(r["ciphertext"], 60)},
    "bit of the tag flipped": lambda r: r | {"ciphertext": flipped(r["ciphertext"], -1)},
    "ciphertext without its tag": lambda r: (
        r | {"ciphertext": base64.b64encode(base64.b64decode(r["ciphertext"])[:-16]).decode()}
    ),
    "tag alone": lambda r: (
        r | {"ciphertext": base64.b64encode(base64.b64decode(r["ciphertext"])[-16:]).decode()}
    ),
    "ciphertext empty": lambda r: r | {"ciphertext": ""},
    "ciphertext missing": lambda r: {name: r[name] for name in r if name != "ciphertext"},
    "ciphertext null": lambda r: r | {"ciphertext": None},
    "ciphertext a list": lambda r: r | {"ciphertext": [r["ciphertext"]]},
    "ciphertext a number": lambda r: r | {"ciphertext": 20},
    "ciphertext with a line break": lambda r: (
        r | {"ciphertext": r["ciphertext"][:64] + "\n" + r["ciphertext"][64:]}
    ),
    "ciphertext not base64": lambda r: r | {"ciphertext": "支付成功" * 8},
    "plaintext in the ciphertext's place": lambda r: (
        r | {"ciphertext": base64.b64encode(b'{"trade_state":"SUCCESS"}').decode()}
    ),
    "another nonce": lambda r: r | {"nonce": "0123456789ab"},
    "nonce empty": lambda r: r | {"nonce": ""},
    "nonce too short": lambda r: r | {"nonce": r["nonce"][:7]},
    "nonce with a zero byte": lambda r: r | {"nonce": r["nonce"] + "\0"},
    "nonce of 300 characters": lambda r: r | {"nonce": "n" * 300},
    "nonce missing": lambda r: {name: r[name] for name in r if name != "nonce"},
    "nonce a number": lambda r: r | {"nonce": 123456789012},
    "other associated data": lambda r: r | {"associated_data": "certificate"},
    "associated data empty": lambda r: r | {"associated_data": ""},
    "associated data missing": lambda r: {name: r[name] for name in r if name != "associated_data"},
    "associated data a list": lambda r: r | {"associated_data": [r["associated_data"]]},
    "another algorithm": lambda r: r | {"algorithm": "AEAD_SM4_GCM"},
    "algorithm none": lambda r: r | {"algorithm": "none"},
    "algorithm missing": lambda r: {name: r[name] for name in r if name != "algorithm"},
    "algorithm a list": lambda r: r | {"algorithm": ["AEAD_AES_256_GCM"]},
    "resource null": lambda r: None,
    "resource empty": lambda r: {},
    "resource false": lambda r: False,
    "resource a list": lambda r: [r],
    "resource a string": json.dumps,
}


def damaged(kind: str, damage: Callable[[Resource], Any], envelope: str) -> Callable[[Shop], Message]:
    """A true report of something that did happen, so that only the damage can be why it is refused."""

    def make(shop: Shop) -> Message:
        truth = shop.told(kind)
        if envelope == "signed":
            message = shop.signed(kind, truth)
            message.body["resource"] = damage(message.body["resource"])
            return message
        message = shop.forwarded(kind, truth, envelope=envelope)
        if envelope == "rawData-string":
            whole = json.loads(message.body["rawData"])
            message.body["rawData"] = json.dumps(whole | {"resource": damage(whole["resource"])})
        else:
            holder = message.body[envelope]
            holder["resource"] = damage(holder["resource"])
        return message

    return make


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("envelope", ["signed", "rawData", "rawData-string", "ParsedNotify"])
def test_a_resource_that_does_not_decrypt_is_refused_and_never_only_asked_about(
    shops: Shops, name: str, envelope: str
) -> None:
    shop = shops.get("sdk" if envelope == "signed" else "gateway")
    refused_by_every_way_in(shop, Row(name, damaged("order", RESOURCES[name], envelope)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_a_resource_under_another_api_v3_key_is_refused(shops: Shops, mode: str, kind: str) -> None:
    def make(shop: Shop) -> Message:
        wrapped = shop.signed if mode == "sdk" else shop.forwarded
        return wrapped(kind, shop.told(kind), api_v3_key=OTHER_API_KEY)

    refused_by_every_way_in(shops.get(mode), Row("", make))


def test_a_broken_resource_in_raw_data_is_not_replaced_by_one_in_parsed_notify(shops: Shops) -> None:
    def make(shop: Shop) -> Message:
        truth = shop.told("order")
        message = shop.forwarded("order", truth, envelope="ParsedNotify")
        whole = shop.box.builder.envelope("order", truth, api_v3_key=OTHER_API_KEY)
        return Message("order", message.body | {"rawData": whole})

    refused_by_every_way_in(shops.get(), Row("", make))


CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"SUCCESS",
    "half an object": b'{"out_trade_no":"A_NUMBER","trade_state":"SUCC',
    "a list": b'[{"out_trade_no":"A_NUMBER","trade_state":"SUCCESS"}]',
    "a string": b'"SUCCESS"',
    "a platform certificate, sealed with the same key": b"-----BEGIN CERTIFICATE-----\nMIID",
    "a number": b"20",
    "null": b"null",
    "not UTF-8": b'{"out_trade_no":"\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"out_trade_no":"A_NUMBER","trade_state":"SUCCESS","amount":{"total":NaN}}',
    "65 levels": b'{"a":' * 64 + b"{}" + b"}" * 64,
}


def sealed(kind: str, content: Any, mode: str, **parts: Any) -> Callable[[Shop], Message]:
    """Truly encrypted (and in sdk mode signed), whatever is inside; ParsedContent tells the same or the truth."""

    def make(shop: Shop) -> Message:
        inside = content(shop) if callable(content) else content
        if mode == "sdk":
            return shop.signed(kind, inside, **parts)
        truth = inside if isinstance(inside, dict) else shop.told(kind)
        message = shop.forwarded(kind, truth, **parts)
        message.body["rawData"] = shop.box.builder.envelope(kind, inside, **parts)
        return message

    return make


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_an_authentic_resource_that_holds_no_object_is_refused(shops: Shops, mode: str, name: str) -> None:
    refused_by_every_way_in(shops.get(mode), Row(name, sealed("order", CONTENTS[name], mode)))


def test_a_key_twice_in_the_decrypted_text_is_refused(shops: Shops) -> None:
    def twice(shop: Shop) -> bytes:
        return b'{"trade_state":"NOTPAY",' + encoded(sample("order", shop.credentials))[1:]

    for mode in ("sdk", "gateway"):
        refused_by_every_way_in(shops.get(mode), Row("", sealed("order", twice, mode)))


def sampled(kind: str, path: str, value: Any) -> Callable[[Shop], dict[str, Any]]:
    return lambda shop: changed(sample(kind, shop.credentials), path, value)


STRANGE_CONTENTS = {
    "payment of another merchant": ("order", sampled("order", "mchid", "1900000001")),
    "payment without a merchant": ("order", sampled("order", "mchid", ...)),
    "payment whose merchant is null": ("order", sampled("order", "mchid", None)),
    "payment whose merchant is a list": (
        "order",
        lambda shop: changed(sample("order", shop.credentials), "mchid", [shop.credentials.merchant_id]),
    ),
    "payment whose merchant is a number": (
        "order",
        lambda shop: changed(sample("order", shop.credentials), "mchid", int(shop.credentials.merchant_id)),
    ),
    "payment of another merchant that names ours elsewhere": (
        "order",
        lambda shop: (
            changed(sample("order", shop.credentials), "mchid", "1900000001")
            | {"mch_id": shop.credentials.merchant_id}
        ),
    ),
    "payment of another appid": ("order", sampled("order", "appid", "wx0000000000000001")),
    "payment without an appid": ("order", sampled("order", "appid", ...)),
    "payment with an empty appid": ("order", sampled("order", "appid", "")),
    "payment whose appid is an object": ("order", sampled("order", "appid", {"appid": 1})),
    "payment without a state": ("order", sampled("order", "trade_state", ...)),
    "payment whose state is true": ("order", sampled("order", "trade_state", True)),
    "payment without a number": ("order", sampled("order", "out_trade_no", ...)),
    "payment whose number is a number": ("order", sampled("order", "out_trade_no", 12345678)),
    "payment with an empty number": ("order", sampled("order", "out_trade_no", "")),
    "refund of another merchant": ("refund", sampled("refund", "mchid", "1900000001")),
    "refund without a merchant": ("refund", sampled("refund", "mchid", ...)),
    "refund without a number": ("refund", sampled("refund", "out_refund_no", ...)),
    "refund with a status of the API": (
        "refund",
        lambda shop: (
            changed(sample("refund", shop.credentials), "refund_status", ...) | {"status": "SUCCESS"}
        ),
    ),
    "transfer of another merchant": ("transfer", sampled("transfer", "mch_id", "1900000001")),
    "transfer without a merchant": ("transfer", sampled("transfer", "mch_id", ...)),
    "transfer without a state": ("transfer", sampled("transfer", "state", ...)),
    "transfer without a number": ("transfer", sampled("transfer", "out_bill_no", ...)),
}


@pytest.mark.parametrize("name", STRANGE_CONTENTS)
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_an_authentic_plaintext_that_is_not_ours_or_not_complete_is_refused(
    shops: Shops, mode: str, name: str
) -> None:
    kind, content = STRANGE_CONTENTS[name]
    refused_by_every_way_in(shops.get(mode), Row(name, sealed(kind, content, mode, event_type=EVENTS[kind])))


@pytest.mark.parametrize(("stated", "kind"), [(s, k) for s in KINDS for k in KINDS if s != k])
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_an_authentic_plaintext_of_another_kind_than_its_event_is_refused(
    shops: Shops, mode: str, stated: str, kind: str
) -> None:
    make = sealed(kind, lambda shop: shop.told(kind), mode, event_type=EVENTS[stated])
    refused_by_every_way_in(shops.get(mode), Row("", make))


@pytest.mark.parametrize(("stated", "kind"), [(s, k) for s in KINDS for k in KINDS if s != k])
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_without_an_event_the_plaintext_must_be_of_the_kind_of_the_path(
    shops: Shops, mode: str, stated: str, kind: str
) -> None:
    shop = shops.get(mode)
    message = sealed(kind, lambda shop: shop.told(kind), mode)(shop)
    for holder in (message.body, message.body.get("rawData", {}), message.body.get("ParsedNotify", {})):
        holder.pop("event_type", None)
    message.kind = stated
    for way, path, fields in message.ways():
        shop.assert_refused(message.send(shop.function, path, fields), 400, way)


def test_two_contradicting_events_do_not_turn_a_payment_into_a_refund(shops: Shops) -> None:
    def make(shop: Shop) -> Message:
        message = shop.forwarded("order", shop.told("order"), envelope="ParsedNotify")
        return Message("order", message.body | {"rawData": {"event_type": "REFUND.SUCCESS"}})

    refused_by_every_way_in(shops.get(), Row("", make))


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_an_unknown_event_of_another_merchant_is_refused(shops: Shops, mode: str) -> None:
    content = {"coupon_id": "1", "mchid": "1900000001"}
    make = sealed("order", content, mode, event_type="COUPON.USE")
    refused_by_every_way_in(shops.get(mode), Row("", make))


UNKNOWN_EVENTS = (
    Row("without proof", lambda shop: shop.hint("order", shop.told("order"), event_type="COUPON.USE")),
    Row(
        "with a broken resource",
        lambda shop: shop.forwarded(
            "order", shop.told("order"), event_type="COUPON.USE", api_v3_key=OTHER_API_KEY
        ),
    ),
    Row(
        "in the wrong case",
        lambda shop: shop.hint("order", shop.told("order"), event_type="transaction.success"),
    ),
    Row(
        "with a space", lambda shop: shop.hint("order", shop.told("order"), event_type="TRANSACTION.SUCCESS ")
    ),
)


@rows(*UNKNOWN_EVENTS)
def test_an_unknown_event_without_proof_is_refused(shops: Shops, row: Row) -> None:
    refused_by_every_way_in(shops.get(), row)
    refused_by_every_way_in(shops.get(callbackTrust="platform"), row)


# ParsedContent against the ciphertext beside it


def paths_of(value: Any, path: str = "") -> Iterator[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items or value in ({}, []):
        yield path
    for name, item in items:
        yield from paths_of(item, f"{path}.{name}" if path else str(name))


class _Names:
    """Stands in for credentials while the tables are made."""

    merchant_id, app_id = "1900000000", "wx0000000000000000"


LEAVES = [(kind, path) for kind in KINDS for path in paths_of(sample(kind, _Names()))]  # type: ignore[arg-type]


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value + "X" if isinstance(value, str) else "X"


def value_at(fields: Any, path: str) -> Any:
    for name in path.split("."):
        fields = fields[int(name)] if isinstance(fields, list) else fields[name]
    return fields


def contradicting(kind: str, path: str, value: Callable[[Any], Any]) -> Callable[[Shop], Message]:
    def make(shop: Shop) -> Message:
        truth = sample(kind, shop.credentials)
        return shop.forwarded(kind, truth, parsed_content=changed(truth, path, value(value_at(truth, path))))

    return make


@pytest.mark.parametrize(("kind", "path"), LEAVES)
def test_every_leaf_of_parsed_content_must_agree_with_the_ciphertext(
    shops: Shops, kind: str, path: str
) -> None:
    refused_by_every_way_in(shops.get(), Row(path, contradicting(kind, path, another)))


GAMES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "amount as text": ("amount.total", str),
    "amount true": ("amount.total", lambda total: True),
    "amount null": ("amount.total", lambda total: None),
    "amount in a list": ("amount.total", lambda total: [total]),
    "amount an object": ("amount.total", lambda total: {"value": 1}),
    "amount with a fraction": ("amount.total", lambda total: total + 0.5),
    "amount negative": ("amount.total", lambda total: -total),
    "amounts replaced by one number": ("amount", lambda amount: 1),
    "amounts replaced by null": ("amount", lambda amount: None),
    "payer replaced by a text": ("payer", lambda payer: "o-somebody-else"),
    "state in a list": ("trade_state", lambda state: [state]),
    "state in lower case": ("trade_state", str.lower),
    "number with a space": ("out_trade_no", lambda number: number + " "),
    "promotions replaced by an object": ("promotion_detail", lambda items: {"coupon_id": "1"}),
}


@pytest.mark.parametrize("name", GAMES)
def test_parsed_content_does_not_contradict_the_ciphertext_by_type_either(shops: Shops, name: str) -> None:
    path, value = GAMES[name]
    refused_by_every_way_in(shops.get(), Row(name, contradicting("order", path, value)))


def test_true_does_not_pass_for_one(shops: Shops) -> None:
    def make(shop: Shop) -> Message:
        truth = changed(sample("order", shop.credentials), "amount.total", 1)
        return shop.forwarded("order", truth, parsed_content=changed(truth, "amount.total", True))

    refused_by_every_way_in(shops.get(), Row("", make))


def test_a_dotted_key_does_not_hide_an_altered_amount(shops: Shops) -> None:
    def make(shop: Shop) -> Message:
        truth = sample("order", shop.credentials)
        lie = changed(truth, "amount.total", 1) | {"amount.total": truth["amount"]["total"]}
        return shop.forwarded("order", truth, parsed_content=lie)

    refused_by_every_way_in(shops.get(), Row("", make))


@pytest.mark.parametrize("content", [[], "SUCCESS", 20, True, '{"trade_state":"SUCCESS"}'], ids=repr)
@pytest.mark.parametrize("envelope", ["rawData", None])
def test_parsed_content_must_be_an_object(shops: Shops, content: Any, envelope: str | None) -> None:
    def make(shop: Shop) -> Message:
        message = shop.forwarded("order", shop.told("order"), envelope=envelope)
        return Message("order", message.body | {"ParsedContent": content})

    refused_by_every_way_in(shops.get(), Row("", make))


@pytest.mark.parametrize(
    "raw_data",
    [
        '{"event_type":"TRANSACTION.SUCCESS","resource":',
        "SUCCESS",
        "[]",
        '"{}"',
        "{}{}",
        [],
        20,
        True,
        '{"event_type":"TRANSACTION.SUCCESS","event_type":"TRANSACTION.SUCCESS"}',
        "[" * 100,
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["rawData", "ParsedNotify"])
def test_a_broken_envelope_beside_a_true_parsed_content_is_refused(
    shops: Shops, name: str, raw_data: Any
) -> None:
    def make(shop: Shop) -> Message:
        message = shop.hint("order", shop.told("order"))
        return Message("order", message.body | {name: raw_data})

    refused_by_every_way_in(shops.get(), Row("", make))


# Hints: plaintext alone


def lie(kind: str, path: str, value: Any, state: str = "") -> Callable[[Shop], Message]:
    """A hint of something that did happen, but for one field; a function of the truth makes its value."""

    def make(shop: Shop) -> Message:
        truth = shop.told(kind, state)
        said = value(value_at(truth, path)) if callable(value) else value
        return shop.hint(kind, changed(truth, path, said), event_type=EVENTS[kind])

    return make


def of_another(path: str) -> Callable[[Shop], Message]:
    """The payment of one order with one field of another paid order."""

    def make(shop: Shop) -> Message:
        return shop.hint("order", changed(shop.told("order"), path, value_at(shop.told("order"), path)))

    return make


LIES = (
    Row("payment: appid", lie("order", "appid", "wx0000000000000001"), queries=1),
    Row(
        "payment: our other appid",
        lambda shop: shop.hint(
            "order", changed(shop.told("order"), "appid", shop.credentials.service_app_id)
        ),
        queries=1,
    ),
    Row("payment: mchid", lie("order", "mchid", "1900000001"), queries=None),
    Row("payment: mchid a number", lie("order", "mchid", int), queries=None),
    Row("payment: another's number", of_another("out_trade_no"), queries=1),
    Row("payment: another's transaction id", of_another("transaction_id"), queries=1),
    Row("payment: transaction id empty", lie("order", "transaction_id", ""), queries=1),
    Row("payment: transaction id null", lie("order", "transaction_id", None), queries=1),
    Row("payment: trade type", lie("order", "trade_type", "NATIVE"), queries=1),
    Row("payment: payer", lie("order", "payer.openid", "oSOMEBODYELSE"), queries=1),
    Row("payment: payer a text", lie("order", "payer", "oSOMEBODYELSE"), queries=1),
    Row("payment: payer null", lie("order", "payer", None), queries=1),
    Row("payment: more", lie("order", "amount.total", 2000), queries=1),
    Row("payment: less", lie("order", "amount.total", 1), queries=1),
    Row("payment: amount as text", lie("order", "amount.total", str), queries=1),
    Row("payment: amount as a float", lie("order", "amount.total", float), queries=1),
    Row("payment: amount true", lie("order", "amount.total", True), queries=1),
    Row("payment: amount null", lie("order", "amount.total", None), queries=1),
    Row("payment: amount in a list", lie("order", "amount.total", lambda total: [total]), queries=1),
    Row("payment: amounts a number", lie("order", "amount", 20), queries=1),
    Row("payment: amounts a list", lie("order", "amount", lambda amount: [amount]), queries=1),
    Row("payment: paid by the payer", lie("order", "amount.payer_total", 0), queries=1),
    Row("payment: currency", lie("order", "amount.currency", "USD"), queries=1),
    Row("payment: payer's currency", lie("order", "amount.payer_currency", "HKD"), queries=1),
    Row(
        "payment: an amount that WeChat Pay does not state",
        lie("order", "amount", lambda amount: {**amount, "discount_total": 10}),
        queries=1,
    ),
    Row(
        "payment: another merchant under the transfers' name",
        lambda shop: shop.hint("order", {**shop.told("order"), "mch_id": "1900000001"}),
        queries=None,
    ),
    Row("refund: mchid", lie("refund", "mchid", "1900000001"), queries=None),
    Row("refund: order", lie("refund", "out_trade_no", "ORDER_OF_ANOTHER"), queries=1),
    Row("refund: transaction id", lie("refund", "transaction_id", "4200000000"), queries=1),
    Row("refund: refund id", lie("refund", "refund_id", "5030000000"), queries=1),
    Row("refund: amount refunded", lie("refund", "amount.refund", 20), queries=1),
    Row("refund: amount of the order", lie("refund", "amount.total", 15), queries=1),
    Row("refund: amount to the payer", lie("refund", "amount.payer_refund", 1), queries=1),
    Row("refund: amount paid", lie("refund", "amount.payer_total", 1), queries=1),
    Row("refund: SUCCESS for CLOSED", lie("refund", "refund_status", "SUCCESS", "CLOSED"), queries=1),
    Row("refund: SUCCESS for ABNORMAL", lie("refund", "refund_status", "SUCCESS", "ABNORMAL"), queries=1),
    Row("refund: CLOSED for SUCCESS", lie("refund", "refund_status", "CLOSED"), queries=1),
    Row("refund: ABNORMAL for SUCCESS", lie("refund", "refund_status", "ABNORMAL"), queries=1),
    Row("transfer: mch_id", lie("transfer", "mch_id", "1900000001"), queries=None),
    Row(
        "transfer: mchid, as an older page spells it",
        lambda shop: shop.hint(
            "transfer",
            {
                **{name: value for name, value in shop.told("transfer").items() if name != "mch_id"},
                "mchid": "1900000001",
            },
        ),
        queries=None,
    ),
    Row("transfer: bill number", lie("transfer", "transfer_bill_no", "1330000000"), queries=1),
    Row("transfer: payee", lie("transfer", "openid", "oSOMEBODYELSE"), queries=1),
    Row("transfer: amount", lie("transfer", "transfer_amount", 3000), queries=1),
    Row("transfer: amount as text", lie("transfer", "transfer_amount", str), queries=1),
    Row("transfer: SUCCESS for FAIL", lie("transfer", "state", "SUCCESS", "FAIL"), queries=1),
    Row("transfer: SUCCESS for CANCELLED", lie("transfer", "state", "SUCCESS", "CANCELLED"), queries=1),
    Row("transfer: FAIL for SUCCESS", lie("transfer", "state", "FAIL"), queries=1),
    Row("transfer: CANCELLED for SUCCESS", lie("transfer", "state", "CANCELLED"), queries=1),
)


@rows(*LIES)
def test_a_hint_must_not_state_what_wechat_pay_does_not_confirm(shops: Shops, row: Row) -> None:
    refused_by_every_way_in(shops.get(), row)


def claimed(kind: str, number: Callable[[Shop], Any], **fields: Any) -> Callable[[Shop], Message]:
    """A hint that states a number, a success, and else only what is given."""
    names = {
        "order": ("out_trade_no", "trade_state"),
        "refund": ("out_refund_no", "refund_status"),
        "transfer": ("out_bill_no", "state"),
    }[kind]

    def make(shop: Shop) -> Message:
        content = {names[0]: number(shop), names[1]: "SUCCESS", **fields}
        return shop.hint(kind, content, event_type=EVENTS[kind])

    return make


def closed(shop: Shop) -> str:
    number = shop.order(paid=False)
    shop.box.ledger.close(number)
    return number


UNPAID = (
    Row("unpaid order", claimed("order", lambda shop: shop.order(paid=False)), queries=1),
    Row("closed order", claimed("order", closed), queries=1),
    Row("unknown order", claimed("order", lambda shop: "NO_SUCH_ORDER_1"), queries=1),
    Row("refund in progress", claimed("refund", lambda shop: shop.refund("PROCESSING")), queries=1),
    Row("unknown refund", claimed("refund", lambda shop: "NO_SUCH_REFUND"), queries=1),
    Row("order's number as a refund's", claimed("refund", lambda shop: shop.order()), queries=1),
    Row(
        "transfer that waits for the user",
        claimed("transfer", lambda shop: shop.transfer("WAIT_USER_CONFIRM")),
        queries=1,
    ),
    Row("unknown transfer", claimed("transfer", lambda shop: "NOSUCHBILL"), queries=1),
)


@rows(*UNPAID)
def test_what_did_not_happen_is_not_confirmed(shops: Shops, row: Row) -> None:
    shop = shops.get()
    for index, (way, path, fields) in enumerate(row.make(shop).ways()):
        if index and "unknown" in row.name:
            break  # one number may be asked about once in two seconds
        shop.new()
        shop.assert_refused(row.make(shop).send(shop.function, path, fields), 400, way)
        assert len(shop.queries()) == row.queries, way


STATES = (
    *(
        Row(f"payment: {state!r}", lie("order", "trade_state", state))
        for state in ("NOTPAY", "CLOSED", "PAYERROR", "success", "SUCCESS ", "", None, True, ["SUCCESS"], 0)
    ),
    Row("payment: no state", lie("order", "trade_state", ...)),
    *(
        Row(f"refund: {state!r}", lie("refund", "refund_status", state))
        for state in ("PROCESSING", "CHANGE", "REFUNDCLOSE", "success", None)
    ),
    Row(
        "refund: status instead of refund_status",
        lambda shop: shop.hint(
            "refund",
            {**changed(shop.told("refund"), "refund_status", ...), "status": "SUCCESS"},
            event_type="REFUND.SUCCESS",
        ),
    ),
    *(
        Row(f"transfer: {state!r}", lie("transfer", "state", state))
        for state in ("ACCEPTED", "TRANSFERING", "CANCELING", "success", None)
    ),
)


@rows(*STATES)
def test_a_hint_of_no_final_state_is_refused_without_asking(shops: Shops, row: Row) -> None:
    refused_by_every_way_in(shops.get(), row)


NUMBERS = {
    "the parent folder": lambda known: f"../{known}",
    "an encoded slash": lambda known: f"..%2F{known}",
    "a slash": lambda known: f"{known}/close",
    "a query": lambda known: f"{known}?mchid=1900000001",
    "another parameter": lambda known: f"{known}&x=1",
    "a fragment": lambda known: f"{known}#",
    "a semicolon": lambda known: f"{known};x=1",
    "a backslash": lambda known: f"{known}\\..",
    "a space": lambda known: f" {known}",
    "a line break": lambda known: f"{known}\n",
    "a header": lambda known: f"{known} HTTP/1.1\r\nX-Evil: 1",
    "a zero byte": lambda known: f"{known}\0",
    "full-width digits": lambda known: "１２３４５６７８",
    "Chinese": lambda known: "订单一二三四",
    "a dot": lambda known: ".",
    "two dots": lambda known: "..",
    "65 characters": lambda known: "A" * 65,
    "a megabyte": lambda known: "A" * 1_000_000,
    "nothing": lambda known: "",
    "a number": lambda known: 12345678,
    "a list": lambda known: [known],
    "an object": lambda known: {"out_trade_no": known},
    "null": lambda known: None,
    "true": lambda known: True,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_hinted_number_cannot_steer_the_question(shops: Shops, kind: str, name: str) -> None:
    shop = shops.get()
    happened = {"order": shop.order, "refund": shop.refund, "transfer": shop.transfer}[kind]
    refused_by_every_way_in(shop, Row(name, claimed(kind, lambda shop: NUMBERS[name](happened()))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hint_without_a_number_is_refused_without_asking(shops: Shops, kind: str) -> None:
    names = {"order": "out_trade_no", "refund": "out_refund_no", "transfer": "out_bill_no"}
    refused_by_every_way_in(shops.get(), Row("", lie(kind, names[kind], ...)))


@pytest.mark.parametrize(("stated", "kind"), [(s, k) for s in KINDS for k in KINDS if s != k])
def test_a_hint_of_another_kind_than_its_event_is_refused_without_asking(
    shops: Shops, stated: str, kind: str
) -> None:
    row = Row("", lambda shop: shop.hint(kind, shop.told(kind), event_type=EVENTS[stated]))
    refused_by_every_way_in(shops.get(), row)


def test_all_refusals_of_hints_read_alike(shops: Shops) -> None:
    shop = shops.get()
    told = [
        claimed("order", lambda shop: shop.order(paid=False)),
        claimed("order", closed),
        claimed("order", lambda shop: "NO_SUCH_ORDER_2"),
        claimed("order", lambda shop: "../certificates"),
        lie("order", "amount.total", 2000),
        lie("order", "transaction_id", "4200000000"),
        lie("order", "payer.openid", "oSOMEBODYELSE"),
        lie("order", "mchid", "1900000001"),
        lie("order", "trade_state", "NOTPAY"),
        lie("refund", "refund_status", "CLOSED"),
        lie("refund", "amount.refund", 20),
        claimed("refund", lambda shop: "NO_SUCH_REFUND_2"),
        lie("transfer", "transfer_amount", 3000),
        claimed("transfer", lambda shop: "NOSUCHBILL2"),
    ]
    seen = set()
    for make in told:
        reply = make(shop).send(shop.function)
        headers = {name: text for name, text in reply.headers.items() if name not in ("Date", "X-Request-Id")}
        seen.add((reply.status, reply.text, *sorted(headers.items())))
    assert len(seen) == 1
    assert next(iter(seen))[0] == 400
    assert shop.orders.calls == []


# Hints while WeChat Pay cannot be asked


TROUBLE = (
    "system_error",
    "html_502",
    "reset",
    "cut_body",
    "slow_body",
    "latency",
    "empty_200",
    "not_json",
    "bad_signature",
    "no_signature",
    "other_body_signature",
    "unknown_certificate",
    "unknown_public_key",
    "stale_timestamp",
    "future_timestamp",
    "text_timestamp",
    "probe",
    "unsigned_403",
    "unsigned_404",
    "accepted_202",
    "redirect_302",
    "frequency_limited",
    "refuse",
)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("order", fault) for fault in TROUBLE]
    + [
        (kind, fault)
        for kind in ("refund", "transfer")
        for fault in ("unsigned_404", "other_body_signature", "reset")
    ],
)
def test_while_wechat_pay_cannot_be_asked_a_hint_is_to_come_again(
    shops: Shops, kind: str, fault: str
) -> None:
    shop = shops.get(callbackTimeout="1", handlerTimeout="0.5")
    truth = shop.told(kind)
    shop.box.fault(fault, **({"seconds": 3} if fault in ("latency", "slow_body") else {}))
    reply = shop.hint(kind, truth).send(shop.function)
    shop.assert_refused(reply, 503)
    assert reply.seconds < 2


def query_answer(shop: Shop, kind: str) -> dict[str, Any]:
    """What WeChat Pay would answer to the query of something that happened."""
    truth = shop.told(kind)
    if kind == "refund":
        del truth["mchid"]
        truth["status"] = truth.pop("refund_status")
    if kind == "transfer":
        truth["appid"] = shop.credentials.app_id
    return truth


Answer = Callable[[Shop, dict[str, Any]], tuple[int, Any]]
ANSWERS: dict[str, tuple[str, Answer, int]] = {
    "an order of another number": (
        "order",
        lambda shop, true: (200, true | {"out_trade_no": "ORDER_OF_ANOTHER"}),
        503,
    ),
    "an order without a number": ("order", lambda shop, true: (200, changed(true, "out_trade_no", ...)), 503),
    "another order": ("order", lambda shop, true: (200, shop.told("order")), 503),
    "a refund of another number": ("refund", lambda shop, true: (200, query_answer(shop, "refund")), 503),
    "a transfer of another number": (
        "transfer",
        lambda shop, true: (200, query_answer(shop, "transfer")),
        503,
    ),
    "a list": ("order", lambda shop, true: (200, [true]), 503),
    "no body": ("order", lambda shop, true: (200, b""), 503),
    "half a body": ("order", lambda shop, true: (200, encoded(true)[:-9]), 503),
    "204": ("order", lambda shop, true: (204, b""), 503),
    "202": ("order", lambda shop, true: (202, true), 503),
    "302": ("order", lambda shop, true: (302, true), 503),
    "a signed 400": ("order", lambda shop, true: (400, {"code": "PARAM_ERROR"}), 503),
    "a signed 401": ("order", lambda shop, true: (401, {"code": "SIGN_ERROR"}), 503),
    "a signed 403": ("order", lambda shop, true: (403, {"code": "RULE_LIMIT"}), 503),
    "a signed 404": ("order", lambda shop, true: (404, {"code": "ORDER_NOT_EXIST"}), 400),
    "a signed 404 with the order in it": ("order", lambda shop, true: (404, true), 400),
    "a signed 500 with the order in it": ("order", lambda shop, true: (500, true), 503),
    "an unpaid order": ("order", lambda shop, true: (200, true | {"trade_state": "NOTPAY"}), 400),
    "a revoked order": ("order", lambda shop, true: (200, true | {"trade_state": "REVOKED"}), 400),
    "an order without a state": ("order", lambda shop, true: (200, changed(true, "trade_state", ...)), 400),
    "an order whose state is null": ("order", lambda shop, true: (200, true | {"trade_state": None}), 400),
    "an order of another merchant": ("order", lambda shop, true: (200, true | {"mchid": "1900000001"}), 400),
    "an order of another appid": (
        "order",
        lambda shop, true: (200, true | {"appid": "wx0000000000000001"}),
        400,
    ),
    "a refund in progress": ("refund", lambda shop, true: (200, true | {"status": "PROCESSING"}), 400),
    "a refund without a status": ("refund", lambda shop, true: (200, changed(true, "status", ...)), 400),
    "a transfer of another merchant": (
        "transfer",
        lambda shop, true: (200, true | {"mch_id": "1900000001"}),
        400,
    ),
    "a transfer that waits": (
        "transfer",
        lambda shop, true: (200, true | {"state": "WAIT_USER_CONFIRM"}),
        400,
    ),
}


@pytest.fixture(scope="module")
def oracle_shop(shops: Shops, credentials: Credentials) -> Iterator[tuple[Shop, Oracle]]:
    """A shop whose function asks an oracle instead of the sandbox."""
    orders = RecordingOrders()
    with Sandbox(credentials=credentials) as box:
        oracle = Oracle(credentials)
        with oracle.running(box.builder.signed):
            env = box.env(wxPayApiBase=oracle.url, wxPayApiBackup=oracle.url)
            with in_process(env, orders) as function:
                yield Shop(box, function, orders), oracle


@pytest.mark.parametrize("name", ANSWERS)
def test_a_signed_answer_confirms_only_what_was_asked(oracle_shop: tuple[Shop, Oracle], name: str) -> None:
    shop, oracle = oracle_shop
    shop.new()
    kind, answer, status = ANSWERS[name]
    truth = query_answer(shop, kind)
    number = truth[{"order": "out_trade_no", "refund": "out_refund_no", "transfer": "out_bill_no"}[kind]]
    status_and_content = answer(shop, truth)
    oracle.answer = lambda request: status_and_content
    oracle.targets.clear()
    shop.assert_refused(claimed(kind, lambda shop: number)(shop).send(shop.function), status)
    assert oracle.targets
    assert all(number in target for target in oracle.targets)


# Floods


def test_at_most_four_hints_are_asked_about_at_a_time(shops: Shops) -> None:
    shop = shops.get()
    hints = [shop.hint("order", shop.told("order")) for _ in range(12)]
    shop.box.fault("latency", seconds=0.7)
    started = threading.Barrier(len(hints))

    def send(hint: Message) -> int:
        function = Function(shop.function.url)
        started.wait()
        return hint.send(function).status

    with ThreadPoolExecutor(len(hints)) as pool:
        statuses = sorted(pool.map(send, hints))
    assert statuses == [200] * 4 + [503] * 8
    assert len(shop.queries()) == 4
    assert len(shop.orders.calls) == 4


def test_after_a_flood_hints_are_asked_about_again(shops: Shops) -> None:
    shop = shops.get()
    for _ in range(6):  # refusals of every sort give their places back
        shop.assert_refused(
            claimed("order", lambda shop: shop.order(paid=False))(shop).send(shop.function), 400
        )
        shop.assert_refused(claimed("order", lambda shop: "../")(shop).send(shop.function), 400)
    shop.assert_acknowledged(shop.hint("order", shop.told("order")).send(shop.function))


def test_a_number_is_asked_about_once_in_two_seconds(shops: Shops) -> None:
    shop = shops.get()
    number = shop.order(paid=False)
    first = claimed("order", lambda shop: number)(shop).send(shop.function)
    shop.assert_refused(first, 400)
    for _ in range(3):
        shop.assert_refused(claimed("order", lambda shop: number)(shop).send(shop.function), 503)
    assert len(shop.queries()) == 1


# With callbackTrust=platform, for functions that no stranger can reach


IDENTITIES = {
    "an openid": {"X-Wx-Openid": "oSTRANGER000000000000000001"},
    "an empty openid": {"X-Wx-Openid": ""},
    "an openid in lower case": {"x-wx-openid": "oSTRANGER000000000000000001"},
    "a token": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    "a token in lower case": {"Authorization": "bearer eyJhbGciOiJub25lIn0.e30."},
    "a scheme without a token": {"Authorization": "Bearer"},
    "a source and another user's openid": {"X-Wx-Source": "wx_client", "X-Wx-From-Openid": "oSTRANGER"},
    "a source alone": {"X-Wx-Source": "wx_devtools"},
    "an openid of another mini program": {"X-Wx-From-Openid": "oSTRANGER000000000000000001"},
    "an empty mark of the platform": {"x-wx-unionid": ""},
    "a token behind another credential": {"Authorization": "Basic x, Bearer y"},
    "a token in front of another credential": {"Authorization": "Bearer y,Basic x"},
    "a token behind a tab": {"Authorization": "BEARER\ty"},
}


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_plaintext_that_an_end_user_sends_is_never_trusted(shops: Shops, kind: str, name: str) -> None:
    unfinished: Callable[[Shop], str] = {
        "order": lambda shop: shop.order(paid=False),
        "refund": lambda shop: shop.refund("PROCESSING"),
        "transfer": lambda shop: shop.transfer("WAIT_USER_CONFIRM"),
    }[kind]

    def make(shop: Shop) -> Message:
        message = claimed(
            kind,
            unfinished,
            mchid=shop.credentials.merchant_id,
            **({"appid": shop.credentials.app_id} if kind == "order" else {}),
        )(shop)
        return Message(kind, message.body, lambda raw: {**message.headers(raw), **IDENTITIES[name]})

    refused_by_every_way_in(shops.get(callbackTrust="platform"), Row(name, make, queries=1))


PLATFORM = (
    Row(
        "another merchant",
        lambda shop: shop.hint("order", changed(sample("order", shop.credentials), "mchid", "1900000001")),
    ),
    Row(
        "no merchant",
        lambda shop: shop.hint("order", changed(sample("order", shop.credentials), "mchid", ...)),
    ),
    Row(
        "another appid",
        lambda shop: shop.hint(
            "order", changed(sample("order", shop.credentials), "appid", "wx0000000000000001")
        ),
    ),
    Row(
        "another merchant's transfer",
        lambda shop: shop.hint(
            "transfer", changed(sample("transfer", shop.credentials), "mch_id", "1900000001")
        ),
    ),
    Row(
        "another kind than the event",
        lambda shop: shop.hint(
            "refund", sample("refund", shop.credentials), event_type="TRANSACTION.SUCCESS"
        ),
    ),
    Row(
        "no state",
        lambda shop: shop.hint("order", changed(sample("order", shop.credentials), "trade_state", ...)),
    ),
    Row("a resource under another key", lambda shop: shop.forwarded("order", api_v3_key=OTHER_API_KEY)),
    Row("a resource that is null", damaged("order", lambda resource: None, "rawData")),
    Row("a resource that contradicts", contradicting("order", "amount.total", lambda total: total + 1)),
    Row(
        "ParsedContent a list",
        lambda shop: Message("order", {**shop.hint("order", shop.told("order")).body, "ParsedContent": []}),
    ),
    Row(
        "no ParsedContent and no signature",
        lambda shop: Message("order", {"rawData": {"event_type": "TRANSACTION.SUCCESS"}, "Plaintext": "{}"}),
        error=UNSIGNED,
    ),
)


@rows(*PLATFORM)
def test_trusting_the_platform_excuses_no_damage(shops: Shops, row: Row) -> None:
    refused_by_every_way_in(shops.get(callbackTrust="platform"), row)


# The rest


@pytest.mark.parametrize("missing", ["apiV3Key", "privateKey", "merchantId", "merchantSerialNumber"])
@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_without_credentials_nothing_is_refused_for_good(shops: Shops, mode: str, missing: str) -> None:
    def make(shop: Shop) -> Message:
        return shop.signed("order") if mode == "sdk" else shop.forwarded("order")

    refused_by_every_way_in(shops.get(mode, **{missing: None}), Row("", make, 503))


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_with_a_half_given_public_key_nothing_is_believed(shops: Shops, mode: str) -> None:
    shop = shops.get(mode, wxPayPublicKeyId=None)
    message = shop.signed("order") if mode == "sdk" else shop.forwarded("order")
    shop.assert_refused(message.send(shop.function), 503)


def test_a_callback_above_four_megabytes_is_refused(shops: Shops) -> None:
    shop = shops.get("sdk")
    body = encoded(shop.signed("order").body | {"filler": "x" * 4_000_000})
    shop.assert_refused(Message("order", body, shop.box.builder.signed).send(shop.function), 413)


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_only_a_forward_may_exceed_one_and_a_half_megabytes(shops: Shops, mode: str) -> None:
    """1,500,000 bytes exactly, and one more, of what WeChat Pay itself signed."""
    shop = shops.get(mode)
    small = len(encoded(shop.signed("order").body | {"filler": ""}))

    def make(shop: Shop, over: int = 1) -> Message:
        message = shop.signed("order")
        body = encoded(message.body | {"filler": "x" * (1_500_000 - small + over)})
        assert len(body) == 1_500_000 + over
        return Message("order", body, message.headers)

    shop.assert_acknowledged(make(shop, 0).send(shop.function))
    for path in ("/wx-pay/unifiedOrderTrigger", "/wechatpay/refund", "/x/wechatpay/transfer/", "/refundTrigger"):
        shop.new()
        with logged_errors() as errors:
            shop.assert_refused(make(shop).send(shop.function, path), 413, path)
        assert errors == ["BodyTooLarge"], path


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_only_a_post_is_a_callback(shops: Shops, method: str) -> None:
    shop = shops.get("sdk")
    message = shop.signed("order")
    body = encoded(message.body)
    reply = shop.function.request(
        method, "/wx-pay/unifiedOrderTrigger", data=body, headers=dict(message.headers(body))
    )
    assert reply.status == 404
    assert shop.orders.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"ParsedContent":{},"rawData":{"event_type":"TRANSACTION.SUCCESS","event_type":"REFUND.SUCCESS"}}',
        b'{"ParsedContent":{"amount":{"total":1,"total":20}},"rawData":{"event_type":"TRANSACTION.SUCCESS"}}',
        b'{"ParsedContent":{},"rawData":{"event_type":["TRANSACTION.SUCCESS"]}}',
        b'{"ParsedContent":{},"ParsedNotify":[{"event_type":"TRANSACTION.SUCCESS"}]}',
        b"TRANSACTION.SUCCESS",
    ],
    ids=[
        "an event twice",
        "an amount twice",
        "an event in a list",
        "an event in a list of objects",
        "no JSON",
    ],
)
def test_what_no_event_routes_is_nobodys_success(shops: Shops, body: bytes) -> None:
    shop = shops.get()
    reply = shop.function.post("/", body)
    assert reply.status in (400, 404)
    assert reply.body["code"] in (-1, "FAIL")
    assert shop.orders.calls == []


def test_an_operator_s_key_proves_no_callback(shops: Shops) -> None:
    shop = shops.get(operatorKey="operator-key-of-the-tests-0123456789")
    make = claimed("order", lambda shop: shop.order(paid=False))
    message = make(shop)
    keyed = Message(
        "order",
        {**message.body, "_operatorKey": "operator-key-of-the-tests-0123456789"},
        lambda raw: {"X-Operator-Key": "operator-key-of-the-tests-0123456789"},
    )
    shop.assert_refused(keyed.send(shop.function), 400)


def test_the_platform_s_own_headers_prove_nothing(shops: Shops, credentials: Credentials) -> None:
    shop = shops.get()
    message = claimed("order", lambda shop: shop.order(paid=False))(shop)
    headers = {
        "X-Tcb-Integration-Id": "i-1",
        "X-Tcb-Source": "integration",
        "X-Authmethod": "WX_SERVER_AUTH",
        "X-Forwarded-For": "101.226.103.1",
        "User-Agent": "Mozilla/4.0",
    }
    shop.assert_refused(Message("order", message.body, lambda raw: headers).send(shop.function), 400)


# Under gunicorn, as scf_bootstrap starts it


REPRESENTATIVES = {
    "sdk": (
        Row("no signature", with_headers(lambda headers: {}), error=UNSIGNED),
        Row("signature of another", signature_of_another, error=UNSIGNED),
        Row("stale", signed_at(lambda: int(time.time()) - 303), error=UNSIGNED),
        Row("probe", signature(PROBES["not base64"]), error=UNSIGNED),
        Row("forwarded", unsigned_parsed_content, error=UNSIGNED),
        Row("bit flipped", damaged("refund", RESOURCES["bit of the tag flipped"], "signed"), 400),
        Row(
            "another kind",
            sealed("order", lambda shop: shop.told("order"), "sdk", event_type="REFUND.SUCCESS"),
            400,
        ),
    ),
    "gateway": (
        Row("no signature", with_headers(lambda headers: {}), error=UNSIGNED),
        Row("contradiction", contradicting("order", "amount.total", lambda total: 1), 400),
        Row("broken resource", damaged("transfer", RESOURCES["another nonce"], "rawData-string"), 400),
        Row("unpaid", claimed("order", lambda shop: shop.order(paid=False)), 400),
        Row("wrong amount", lie("order", "amount.total", 2000), 400),
        Row("path trick", claimed("order", lambda shop: "..%2F.."), 400),
        Row("unknown event", UNKNOWN_EVENTS[0].make, 400),
    ),
}


@pytest.mark.parametrize("mode", ["sdk", "gateway"])
def test_gunicorn_refuses_them_too(credentials: Credentials, mode: str, tmp_path: Any) -> None:
    with (
        Sandbox(sign_mode=mode, credentials=credentials) as box,
        gunicorn(box.env(), tmp_path / "log") as function,
    ):
        shop = Shop(box, function, RecordingOrders())
        for row in REPRESENTATIVES[mode]:
            for way, path, fields in row.make(shop).ways():
                reply = row.make(shop).send(function, path, fields)
                shop.assert_refused(reply, row.status, f"{row.name}, {way}")
                assert row.error in ("", function.log_lines()[-1]["error_type"]), f"{row.name}, {way}"
        lines = function.log_lines()
        assert not [line for line in lines if "Trigger -" in line["message"]]
        assert not [line for line in lines if line["level"] == "ERROR"]


def test_a_resource_sealed_anew_by_a_stranger_is_refused(shops: Shops) -> None:
    """The stranger has seen everything but the APIv3 key."""

    def make(shop: Shop) -> Message:
        truth = shop.told("order")
        message = shop.forwarded("order", truth)
        forged = seal("0" * 32, encoded(changed(truth, "amount.total", 1)), ORIGINAL_TYPES["order"])
        message.body["rawData"]["resource"] |= forged
        return message

    refused_by_every_way_in(shops.get(), Row("", make))
