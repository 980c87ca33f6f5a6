"""Verification of signatures, and the ring of keys behind it, with clocks that the tests turn."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from urllib3 import HTTPHeaderDict

from sandbox.crypto import Signer as PlatformSigner
from services.wechatpay.errors import KeysUnavailable, SignatureInvalid, Unreachable
from services.wechatpay.keys import COOL_DOWN, MAX_AGE, KeyRing, PlatformCertificate, verify_signature
from tests.services.wechatpay.host import (
    FAR,
    MERCHANT_KEY,
    OTHER_PLATFORM_KEY,
    PLATFORM_KEY,
    PUBLIC_KEY_ID,
)

NOW = 1_700_000_000
BODY = '{"summary":"支付成功"}\n'.encode()
FIRST = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
SECOND = "4DF076AC5A7D968D4A8B0B9C599A74CB4CF8EE8A"
UNKNOWN = "7" * 40


def headers_for(
    body: bytes = BODY,
    *,
    key: RSAPrivateKey = PLATFORM_KEY,
    serial: str = PUBLIC_KEY_ID,
    timestamp: int | str = NOW,
    nonce: str | None = None,
) -> dict[str, str]:
    """What WeChat Pay sends beside `body`, truly signed whatever the timestamp looks like."""
    return PlatformSigner(serial, key).headers(body, timestamp=timestamp, nonce=nonce)


def check(headers, body: bytes = BODY, now: float = NOW) -> None:
    verify_signature(headers, body, lambda serial: PLATFORM_KEY.public_key(), now)


def refused(headers, body: bytes = BODY, now: float = NOW) -> SignatureInvalid:
    with pytest.raises(SignatureInvalid) as caught:
        check(headers, body, now)
    return caught.value


# One signature


@pytest.mark.parametrize("body", [BODY, b"", b"\n", bytes(range(256)), b"x" * 1_000_000], ids=len)
def test_a_signature_over_time_nonce_and_raw_body_holds(body):
    check(headers_for(body), body)


@pytest.mark.parametrize("form", [dict, HTTPHeaderDict])
def test_headers_may_be_of_any_mapping(form):
    check(form(headers_for()))


@pytest.mark.parametrize("name", ["Timestamp", "Nonce", "Signature", "Serial"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_header_is_refused(name, value):
    headers = headers_for()
    del headers[f"Wechatpay-{name}"]
    if value is not None:
        headers[f"Wechatpay-{name}"] = value
    assert "missing" in str(refused(headers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Timestamp", str(NOW + 1)),
        ("Timestamp", f"0{NOW}"),
        ("Nonce", "another"),
        ("Nonce", "d824f2e086d3c1df967785d13fcd22ef "),
        ("Nonce", "\ud800"),
        ("Signature", base64.b64encode(b"\0" * 256).decode()),
        ("Signature", base64.b64encode(b"short").decode()),
        ("Signature", "===="),
    ],
)
def test_an_altered_header_is_refused(name, value):
    headers = headers_for(nonce="d824f2e086d3c1df967785d13fcd22ef")
    refused(headers | {f"Wechatpay-{name}": value})


@pytest.mark.parametrize(
    "body", [BODY + b" ", BODY[:-1], BODY.replace(b"summary", b"Summary"), b"", BODY.replace(b"\n", b"\r\n")]
)
def test_an_altered_body_is_refused(body):
    refused(headers_for(), body)


def test_the_signature_of_another_key_is_refused():
    refused(headers_for(key=OTHER_PLATFORM_KEY))


def test_text_cannot_move_from_the_body_into_the_nonce_or_back():
    headers = headers_for(b"b\nc", nonce="a")
    refused(headers, b"a\nb\nc")
    refused(headers | {"Wechatpay-Nonce": "ab"}, b"c")


@pytest.mark.parametrize("signature", ["not base64", "äöü", "\x80", "QQ", "=", "A" * 343, "密文"])
def test_what_is_not_base64_is_refused_like_a_wrong_signature(signature):
    assert not refused(headers_for() | {"Wechatpay-Signature": signature}).probe


def test_a_true_signature_with_blanks_in_its_base64_is_refused():
    headers = headers_for()
    true = headers["Wechatpay-Signature"]
    for spoilt in (true[:10] + " " + true[10:], true + "\n", " " + true, true.replace("+", "-", 1) + "*"):
        refused(headers | {"Wechatpay-Signature": spoilt})


@pytest.mark.parametrize("tail", ["", "x", "==", base64.b64encode(b"\1" * 240).decode(), "!" * 40])
def test_a_probe_is_refused_and_said_to_be_one(tail):
    assert refused(headers_for() | {"Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + tail}).probe


@pytest.mark.parametrize(("signature", "probe"), [("WECHATPAY/SIGNTEST/AAAAA", True), ("AAAA", False)])
def test_a_probe_is_said_to_be_one_whatever_else_is_wrong_with_it(signature, probe):
    def unknown(serial: str) -> RSAPublicKey:
        raise SignatureInvalid("unknown")

    assert refused(headers_for(timestamp=NOW - 300) | {"Wechatpay-Signature": signature}).probe is probe
    with pytest.raises(SignatureInvalid, match="unknown") as caught:
        verify_signature(headers_for() | {"Wechatpay-Signature": signature}, BODY, unknown, NOW)
    assert caught.value.probe is probe


def test_what_only_resembles_a_probe_is_none():
    assert not refused(headers_for() | {"Wechatpay-Signature": "wechatpay/signtest/AAAA"}).probe
    assert not refused(headers_for() | {"Wechatpay-Signature": "xWECHATPAY/SIGNTEST/"}).probe


@pytest.mark.parametrize(
    "timestamp",
    [
        f" {NOW}",
        f"{NOW} ",
        f"{NOW}\n",
        f"+{NOW}",
        f"-{NOW}",
        f"{NOW}.0",
        "1.7e9",
        "17e8",
        "1_700_000_000",
        hex(NOW),
        "１７００００００００",  # full-width digits
        "١٧٠٠٠٠٠٠٠٠",  # Arabic-Indic digits
        "9" * 5000,
        "now",
        "nan",
        "0",
        "-1",
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_a_time_that_is_not_plain_seconds_is_refused_though_it_is_signed(timestamp):
    refused(headers_for(timestamp=timestamp))


@pytest.mark.parametrize("ahead", [1, -1])
@pytest.mark.parametrize(("seconds", "holds"), [(0, True), (299, True), (300, False), (301, False), (86400, False)])
def test_the_time_may_be_off_by_less_than_five_minutes_on_either_side(ahead, seconds, holds):
    headers = headers_for(timestamp=NOW + ahead * seconds)
    if holds:
        check(headers)
    else:
        refused(headers)


def test_a_time_off_by_five_minutes_less_a_fraction_holds():
    check(headers_for(timestamp=NOW), now=NOW + 299.999)
    refused(headers_for(timestamp=NOW), now=NOW + 300.0)


def test_a_refusal_tells_neither_signature_nor_body():
    headers = headers_for(key=OTHER_PLATFORM_KEY)
    told = str(refused(headers))
    assert headers["Wechatpay-Signature"] not in told
    assert "支付成功" not in told


# The ring


class Clock:
    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Source:
    """Where the ring downloads: counts, answers what stands in `certificates`, fails while `fails`."""

    def __init__(self, *certificates: PlatformCertificate) -> None:
        self.certificates = list(certificates)
        self.fails = False
        self.calls = 0
        self.during: Callable[[], None] = lambda: None

    def __call__(self, deadline: float) -> list[PlatformCertificate]:
        self.calls += 1
        self.during()
        if self.fails:
            raise Unreachable("no answer")
        return list(self.certificates)


def platform(
    serial: str = FIRST, key: RSAPrivateKey = PLATFORM_KEY, *, starts: int = -10, ends: int = 10
) -> PlatformCertificate:
    """A certificate valid from `starts` to `ends` days from NOW."""
    now = datetime.fromtimestamp(NOW, timezone.utc)
    return PlatformCertificate(serial, key.public_key(), now + timedelta(days=starts), now + timedelta(days=ends))


def ring(source: Source, monotonic: Clock, *, public_key: bool = False) -> KeyRing:
    return KeyRing(
        public_key_id=PUBLIC_KEY_ID if public_key else "",
        public_key=OTHER_PLATFORM_KEY.public_key() if public_key else None,
        fetch=source,
        clock=lambda: NOW,
        monotonic=monotonic,
    )


def same(key, private: RSAPrivateKey) -> bool:
    return bool(key.public_numbers() == private.public_key().public_numbers())


def test_a_key_is_found_by_its_exact_serial_whatever_the_case():
    keys = ring(Source(platform(FIRST), platform(SECOND, MERCHANT_KEY)), Clock(), public_key=True)
    assert same(keys.key(FIRST.lower(), FAR), PLATFORM_KEY)
    assert same(keys.key(SECOND, FAR), MERCHANT_KEY)
    assert same(keys.key(PUBLIC_KEY_ID.lower(), FAR), OTHER_PLATFORM_KEY)


@pytest.mark.parametrize("serial", [FIRST[:-1], FIRST + "0", FIRST[1:], UNKNOWN])
def test_another_serial_never_gets_the_only_key_there_is(serial):
    source = Source(platform(FIRST))
    keys = ring(source, Clock())
    with pytest.raises(SignatureInvalid):
        keys.key(serial, FAR)
    assert source.calls == 1


@pytest.mark.parametrize(
    "serial",
    [
        "PUB_KEY_ID_0119000072912026112100000000000002",
        PUBLIC_KEY_ID + "0",
        "PUB_KEY_ID_",
        "pub_key_id_01",
        "",
        "7" * 15,
        "7" * 65,
        "G" * 40,
        FIRST + "\n",
        " " + FIRST,
        "../certificates",
        "７" * 40,
    ],
)
@pytest.mark.parametrize("public_key", [True, False])
def test_what_cannot_be_a_certificate_serial_is_refused_without_a_download(serial, public_key):
    source = Source(platform())
    with pytest.raises(SignatureInvalid):
        ring(source, Clock(), public_key=public_key).key(serial, FAR)
    assert source.calls == 0


def test_an_answer_signed_by_a_certificate_holds_in_public_key_mode_too():
    source = Source(platform(FIRST))
    keys = ring(source, Clock(), public_key=True)
    keys.verify(headers_for(key=OTHER_PLATFORM_KEY), BODY, FAR)
    assert source.calls == 0
    keys.verify(headers_for(serial=FIRST), BODY, FAR)
    keys.verify(headers_for(serial=FIRST), BODY, FAR)
    assert source.calls == 1


def test_the_key_of_one_serial_does_not_verify_what_another_signed():
    keys = ring(Source(platform(FIRST)), Clock(), public_key=True)
    with pytest.raises(SignatureInvalid):
        keys.verify(headers_for(serial=PUBLIC_KEY_ID), BODY, FAR)
    with pytest.raises(SignatureInvalid):
        keys.verify(headers_for(serial=FIRST, key=OTHER_PLATFORM_KEY), BODY, FAR)


def test_a_message_with_a_stale_time_or_missing_headers_causes_no_download():
    source = Source(platform(FIRST))
    keys = ring(source, Clock())
    for headers in (headers_for(serial=FIRST, timestamp=NOW - 300), {"Wechatpay-Serial": FIRST}):
        with pytest.raises(SignatureInvalid):
            keys.verify(headers, BODY, FAR)
    assert source.calls == 0


def test_unknown_serials_cause_one_download_per_cool_down():
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    for elapsed, calls in ((0, 1), (0, 1), (COOL_DOWN - 1, 1), (2, 2), (0, 2), (COOL_DOWN + 1, 3)):
        clock.now += elapsed
        with pytest.raises(SignatureInvalid):
            keys.key(UNKNOWN, FAR)
        assert source.calls == calls


def test_after_the_cool_down_and_past_their_age_certificates_are_downloaded_again():
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    keys.prepare(FAR)
    clock.now += COOL_DOWN
    with pytest.raises(SignatureInvalid):
        keys.key(UNKNOWN, FAR)
    assert source.calls == 2, "the cool-down is over"
    clock.now += MAX_AGE
    keys.prepare(FAR)
    assert source.calls == 2, "as old as they may be"
    clock.now += 0.5
    keys.prepare(FAR)
    assert source.calls == 3


def test_a_failed_download_is_not_repeated_within_the_cool_down_and_is_no_verdict():
    source, clock = Source(platform(FIRST)), Clock()
    source.fails = True
    keys = ring(source, clock)
    for elapsed in (0, 1, COOL_DOWN - 2):
        clock.now += elapsed
        with pytest.raises(KeysUnavailable):
            keys.key(FIRST, FAR)
        assert source.calls == 1
    source.fails = False
    clock.now += 2
    assert same(keys.key(FIRST, FAR), PLATFORM_KEY)
    assert source.calls == 2


def test_known_keys_serve_on_while_downloads_fail():
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    keys.key(FIRST, FAR)
    source.fails = True
    clock.now += COOL_DOWN + 1
    with pytest.raises(KeysUnavailable):
        keys.key(UNKNOWN, FAR)
    assert same(keys.key(FIRST, FAR), PLATFORM_KEY)


def test_a_rotation_is_picked_up_and_the_old_key_stays():
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    keys.key(FIRST, FAR)
    source.certificates = [platform(SECOND, MERCHANT_KEY)]
    clock.now += COOL_DOWN + 1
    assert same(keys.key(SECOND, FAR), MERCHANT_KEY)
    assert same(keys.key(FIRST, FAR), PLATFORM_KEY)
    assert source.calls == 2


def test_readers_never_see_a_half_built_ring():
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    keys.prepare(FAR)
    seen: list[bool] = []
    source.certificates.append(platform(SECOND, MERCHANT_KEY))
    source.during = lambda: seen.append(same(keys.key(FIRST, FAR), PLATFORM_KEY))
    clock.now += COOL_DOWN + 1
    keys.key(SECOND, FAR)
    assert seen == [True]


@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_wait_for_a_download_share_its_result(fails):
    source = Source(platform(FIRST))
    source.fails = fails
    source.during = lambda: time.sleep(0.1)
    keys = ring(source, Clock())
    outcomes: list[str] = []

    def look() -> None:
        try:
            keys.key(FIRST, FAR)
            outcomes.append("key")
        except KeysUnavailable:
            outcomes.append("unavailable")

    threads = [threading.Thread(target=look) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert outcomes == ["unavailable" if fails else "key"] * 16
    assert source.calls == 1


def test_who_has_no_time_left_does_not_wait_for_another_threads_download():
    started, finish = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        finish.wait(10)

    source = Source(platform(FIRST))
    source.during = slow
    keys = KeyRing(public_key_id="", public_key=None, fetch=source, clock=lambda: NOW)
    thread = threading.Thread(target=keys.key, args=(FIRST, FAR))
    thread.start()
    try:
        assert started.wait(5)
        before = time.monotonic()
        with pytest.raises(KeysUnavailable):
            keys.key(FIRST, time.monotonic() + 0.1)
        for _ in range(12):
            with pytest.raises(KeysUnavailable):
                keys.key(FIRST, time.monotonic() - 5)
        assert time.monotonic() - before < 6
    finally:
        finish.set()
        thread.join(5)
    assert same(keys.key(FIRST, FAR), PLATFORM_KEY)


def test_the_deadline_is_handed_to_the_download():
    handed: list[float] = []

    def fetch(deadline: float) -> list[PlatformCertificate]:
        handed.append(deadline)
        return [platform(FIRST)]

    KeyRing(public_key_id="", public_key=None, fetch=fetch).prepare(FAR - 7)
    assert handed == [FAR - 7]


# Before a call


def test_a_public_key_needs_no_certificates_before_a_call():
    source = Source(platform())
    keys = ring(source, Clock(), public_key=True)
    keys.prepare(FAR)
    assert source.calls == 0
    assert keys.public_key_id == PUBLIC_KEY_ID


def test_without_a_public_key_certificates_are_fetched_before_the_first_call_and_then_kept():
    source, clock = Source(platform()), Clock()
    keys = ring(source, clock)
    assert keys.public_key_id == ""
    for elapsed in (0, 60, MAX_AGE - 61):
        clock.now += elapsed
        keys.prepare(FAR)
    assert source.calls == 1


def test_the_limit_for_keeping_certificates_is_under_twelve_hours():
    assert 0 < MAX_AGE < 12 * 3600


def test_certificates_past_their_age_are_fetched_anew_and_kept_when_that_fails():
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    keys.prepare(FAR)
    clock.now += MAX_AGE + 1
    far = clock.now + 3600
    source.fails = True
    keys.prepare(far)
    assert source.calls == 2
    assert same(keys.key(FIRST, far), PLATFORM_KEY)
    keys.prepare(far)
    assert source.calls == 2, "a failed refresh counts for the cool-down"
    source.fails = False
    source.certificates.append(platform(SECOND, MERCHANT_KEY))
    clock.now += COOL_DOWN + 1
    keys.prepare(far)
    assert source.calls == 3
    assert same(keys.key(SECOND, far), MERCHANT_KEY)
    keys.prepare(far)
    assert source.calls == 3


@pytest.mark.parametrize("ask", [lambda keys, until: keys.key(FIRST, until), lambda keys, until: keys.prepare(until)])
def test_whoever_comes_too_late_does_not_use_up_the_try_of_the_cool_down(ask):
    source, clock = Source(platform(FIRST)), Clock()
    keys = ring(source, clock)
    for until in (clock.now, clock.now - 5):
        with pytest.raises(KeysUnavailable, match="no time is left to download platform certificates"):
            ask(keys, until)
    assert source.calls == 0
    assert same(keys.key(FIRST, clock.now + 60), PLATFORM_KEY)


def test_a_try_that_counts_for_everybody_has_a_second_at_least():
    given, clock = [], Clock()

    def fetch(deadline):
        given.append(deadline - clock.now)
        return [platform(FIRST)]

    keys = ring(fetch, clock)
    keys.prepare(clock.now + 0.01)
    assert given == [1.0]


def due_ring(source: Callable[[float], list[PlatformCertificate]]) -> tuple[KeyRing, Clock]:
    """A ring whose one known certificate is due for a refresh, and its clock."""
    clock = Clock()
    keys = KeyRing(public_key_id="", public_key=None, fetch=source, clock=lambda: NOW, monotonic=clock)
    keys.prepare(clock.now + 9)
    clock.now += MAX_AGE + 1
    return keys, clock


def test_a_refresh_that_is_due_has_a_third_of_the_callers_time():
    handed: list[float] = []

    def fetch(deadline: float) -> list[PlatformCertificate]:
        handed.append(deadline)
        return [platform(FIRST)]

    keys, clock = due_ring(fetch)
    keys.prepare(clock.now + 9)
    assert handed[1] == pytest.approx(clock.now + 3)
    clock.now += COOL_DOWN + 1
    with pytest.raises(SignatureInvalid):
        keys.key(UNKNOWN, clock.now + 9)
    assert handed[2] == clock.now + 9, "whoever needs a certificate that is not known has all of his"


def test_while_a_due_refresh_hangs_other_callers_wait_for_nothing():
    started, finish = threading.Event(), threading.Event()
    source = Source(platform(FIRST))
    keys, clock = due_ring(source)

    def hang() -> None:
        started.set()
        assert finish.wait(10)

    source.during = hang
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(keys.prepare, clock.now + 9)
        assert started.wait(5)
        try:
            before = time.monotonic()
            for later in (0, 1, COOL_DOWN, COOL_DOWN, MAX_AGE):
                clock.now += later
                keys.prepare(clock.now + 9)
                assert same(keys.key(FIRST, clock.now + 9), PLATFORM_KEY)
                assert same(keys.encryption_key()[1], PLATFORM_KEY)
            assert time.monotonic() - before < 1
            assert not first.done()
            assert source.calls == 2, "no second download beside one that hangs"
        finally:
            finish.set()
        first.result(5)


def test_of_many_callers_one_refreshes_what_is_due():
    source = Source(platform(FIRST))
    keys, clock = due_ring(source)
    together, returned = threading.Barrier(16), threading.Semaphore(0)
    others: list[bool] = []
    source.during = lambda: others.extend(returned.acquire(timeout=5) for _ in range(15))

    def prepare(_: int) -> None:
        together.wait(5)
        keys.prepare(clock.now + 9)
        returned.release()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(prepare, range(16)))
    assert source.calls == 2
    assert others == [True] * 15, "all others were back before the download was over"


@pytest.mark.parametrize("fails", [True, False])
def test_a_due_refresh_is_tried_once_per_cool_down_until_it_succeeds(fails):
    source = Source(platform(FIRST))
    keys, clock = due_ring(source)
    source.fails = fails
    for elapsed, failed_calls in ((0, 2), (1, 2), (COOL_DOWN - 1, 2), (0.001, 3), (COOL_DOWN, 3), (0.001, 4)):
        clock.now += elapsed
        keys.prepare(clock.now + 9)
        assert source.calls == (failed_calls if fails else 2)
        assert same(keys.key(FIRST, clock.now + 9), PLATFORM_KEY)


def test_a_caller_without_time_left_leaves_the_refresh_to_the_next():
    keys, clock = due_ring(source := Source(platform(FIRST)))
    keys.prepare(clock.now - 1)
    assert same(keys.key(FIRST, clock.now - 1), PLATFORM_KEY)
    clock.now += COOL_DOWN + 1
    source.certificates.append(platform(SECOND, MERCHANT_KEY))
    keys.prepare(clock.now + 9)
    assert same(keys.key(SECOND, clock.now), MERCHANT_KEY)


def test_without_any_key_a_call_cannot_be_prepared():
    source, clock = Source(platform()), Clock()
    source.fails = True
    keys = ring(source, clock)
    for elapsed, calls in ((0, 1), (1, 1), (COOL_DOWN + 1, 2)):
        clock.now += elapsed
        with pytest.raises(KeysUnavailable):
            keys.prepare(FAR)
        assert source.calls == calls


# Encryption


def test_names_are_encrypted_with_the_public_key_where_there_is_one():
    keys = ring(Source(platform()), Clock(), public_key=True)
    keys.key(FIRST, FAR)
    serial, key = keys.encryption_key()
    assert serial == PUBLIC_KEY_ID
    assert same(key, OTHER_PLATFORM_KEY)


@pytest.mark.parametrize("reverse", [False, True])
def test_names_are_encrypted_with_the_newest_certificate_that_is_valid_now(reverse):
    certificates = [
        platform("1" * 40, PLATFORM_KEY, starts=-1000, ends=-1),
        platform("2" * 40, PLATFORM_KEY, starts=-900, ends=100),
        platform("3" * 40, MERCHANT_KEY, starts=-5, ends=2000),
        platform("4" * 40, OTHER_PLATFORM_KEY, starts=1, ends=3000),
    ]
    keys = ring(Source(*(certificates[::-1] if reverse else certificates)), Clock())
    keys.prepare(FAR)
    serial, key = keys.encryption_key()
    assert serial == "3" * 40
    assert same(key, MERCHANT_KEY)


@pytest.mark.parametrize(("starts", "ends", "valid"), [(0, 1, True), (-1, 0, False), (1, 2, False)])
def test_a_certificate_is_valid_from_its_first_to_before_its_last_second(starts, ends, valid):
    keys = ring(Source(platform(starts=starts, ends=ends)), Clock())
    keys.prepare(FAR)
    if valid:
        assert keys.encryption_key()[0] == FIRST
    else:
        with pytest.raises(KeysUnavailable):
            keys.encryption_key()
