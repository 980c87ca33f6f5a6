"""One call: which host, how long, what is believed of the answer, and what is sent again."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from sandbox.crypto import decrypt_field
from services.wechatpay import client as client_module
from services.wechatpay import keys as keys_module
from services.wechatpay.client import MAX_ERROR, Client, Reply, is_sendable
from services.wechatpay.errors import (
    ApiError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    ServerFault,
    TimedOut,
    Unreachable,
    Unverifiable,
)
from tests.services.wechatpay.host import (
    FAR,
    OTHER_PLATFORM_KEY,
    PLATFORM,
    PLATFORM_KEY,
    PUBLIC_KEY_ID,
    Answering,
    Host,
    Say,
    Seen,
    assert_signed,
    authorization_of,
    certificate,
    certificate_list,
    client_of,
    deaf,
    pem,
    refusing,
    signed,
)

ORDER = "/v3/pay/transactions/jsapi"
REFUND = "/v3/refund/domestic/refunds"
TRANSFER = "/v3/fund-app/mch-transfer/transfer-bills"
BODY = {"description": "形象店", "amount": {"total": 1}}
NUMBER = 0x5157F09EFDC096DE15EBE81A47057A7232F1B8E1
SERIAL = format(NUMBER, "040X")


class Pair:
    """A main and a backup host, and a client of both."""

    def __init__(self, main: Host, backup: Host, client: Client) -> None:
        self.main, self.backup, self.client = main, backup, client

    def post(self, path: str = ORDER, **options: Any) -> Reply:
        return self.client.call("POST", path, BODY, **options)

    @property
    def seen(self) -> list[Seen]:
        return sorted(self.main.seen + self.backup.seen, key=lambda seen: seen.time)


@contextmanager
def pair(*main: Say | Answering, backup: Say | Answering | None = None, **options: Any) -> Iterator[Pair]:
    with Host(*main) as first, Host(backup or Say(500)) as second:
        yield Pair(first, second, client_of(first.url, second.url, **options))


@pytest.fixture
def no_back_off(monkeypatch) -> None:
    monkeypatch.setattr(client_module, "_BACK_OFF", (0.01, 0.02))


# A call that succeeds


def test_what_is_signed_is_what_is_sent():
    with pair(signed(body=b'{"prepay_id":"wx1"}')) as hosts:
        assert hosts.post() == Reply(200, {"prepay_id": "wx1"})
    (seen,) = hosts.seen
    assert_signed(seen)
    assert seen.body == '{"description":"形象店","amount":{"total":1}}'.encode()
    assert json.loads(seen.body) == BODY


def test_a_request_has_the_headers_that_wechat_pay_asks_for_and_no_others():
    with pair(signed()) as hosts:
        hosts.post()
        hosts.client.call("GET", "/v3/refund/domestic/refunds/1")
    post, get = hosts.seen
    expected = {
        "host": hosts.main.url.removeprefix("http://"),
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "pay-common-python/test",
        "wechatpay-serial": PUBLIC_KEY_ID,
        "authorization": post.headers["authorization"],
        "content-type": "application/json",
        "content-length": str(len(post.body)),
    }
    assert post.headers == expected
    for name in ("content-type", "content-length"):
        del expected[name]
    assert get.headers == expected | {"authorization": get.headers["authorization"]}
    assert get.body == b""
    assert_signed(get)


def test_a_call_without_a_body_is_signed_over_an_empty_one():
    with pair(signed()) as hosts:
        hosts.client.call("POST", TRANSFER + "/out-bill-no/1/cancel")
    (seen,) = hosts.seen
    assert seen.body == b""
    assert "content-type" not in seen.headers
    assert_signed(seen)


def test_numbers_with_every_character_are_signed_as_sent():
    with pair(signed()) as hosts:
        hosts.client.call("GET", "/v3/refund/domestic/refunds/a%7Cb*c%40d")
    (seen,) = hosts.seen
    assert seen.target == "/v3/refund/domestic/refunds/a%7Cb*c%40d"
    assert_signed(seen)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_hold_is_never_sent(value):
    with pair(signed()) as hosts, pytest.raises(ValueError, match="JSON compliant"):
        hosts.client.call("POST", ORDER, {"amount": value})
    assert hosts.seen == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"a": 0, "b": "", "c": False, "d": [], "e": {}},
        {"a": "茶\uffff", "b": [{"c": ("x", 1.5)}]},
    ],
)
def test_json_of_characters_up_to_ffff_can_be_sent(body):
    assert is_sendable(body)


@pytest.mark.parametrize(
    "body",
    [
        {"a": None},
        {"a": [1, {"b": None}]},
        {"a": ("x", None)},
        {"a": [[], None]},
        {"a": "\U00010000"},
        {"a": "🍵"},
        {"a": "\U0010ffff"},
        {"🍵": 1},
        {"a": "\ud800"},
        {"a": float("nan")},
        {"a": float("-inf")},
        {"a": object()},
        {"a": b"bytes"},
    ],
)
def test_null_characters_of_four_bytes_and_what_is_no_json_cannot(body):
    assert not is_sendable(body)


def test_what_contains_itself_cannot_be_sent():
    body: dict[str, Any] = {}
    body["a"] = [body]
    assert not is_sendable(body)
    for _ in range(100_000):
        body = {"a": body}
    assert not is_sendable(body)


def test_a_204_has_no_data():
    with pair(signed(204, b"")) as hosts:
        assert hosts.post(ORDER + "/1/close") == Reply(204, {})


def test_an_unsigned_204_is_not_believed():
    with pair(Say(204, b""), backup=Say(204, b"")) as hosts, pytest.raises(Unverifiable):
        hosts.post(ORDER + "/1/close")
    assert len(hosts.seen) == 2


NO_JSON = [
    b'{"prepay_id":NaN}',
    b'{"prepay_id":[-Infinity]}',
    b'{"prepay_id":1e400}',
    b'{"prepay_id":"\\ud800"}',
    b'{"prepay_id":"\\uDC00\\ud800"}',
    b'{"\\udfff":1}',
    b'{"prepay_id":"\xed\xa0\x80"}',
]


@pytest.mark.parametrize("body", NO_JSON, ids=ascii)
def test_a_signed_answer_that_ours_could_not_carry_is_not_believed(body):
    with pair(signed(body=body), backup=signed(body=body)) as hosts, pytest.raises(Unverifiable):
        hosts.post()
    assert len(hosts.seen) == 2


@pytest.mark.parametrize("answer", [signed, Say], ids=["signed", "unsigned"])
@pytest.mark.parametrize("body", NO_JSON, ids=ascii)
def test_nor_is_it_repeated_from_a_refusal_or_a_fault(body, answer):
    for status, error in ((400, ApiError), (503, ServerFault)):
        with pair(answer(status, body), backup=answer(status, body)) as hosts, pytest.raises(error) as caught:
            hosts.post()
        assert (caught.value.status, caught.value.body) == (status, None)


def test_a_whole_surrogate_pair_is_a_character():
    with pair(signed(body=b'{"prepay_id":"\\ud83d\\ude00 \\\\ud800"}')) as hosts:
        assert hosts.post().data == {"prepay_id": "\U0001f600 \\ud800"}


# An answer for this call and no other


def test_an_answer_that_repeats_the_number_is_for_this_call():
    with pair(signed(body=b'{"out_refund_no":"1","status":"PROCESSING"}')) as hosts:
        assert hosts.post(REFUND, expect={"out_refund_no": "1"}).data["status"] == "PROCESSING"


@pytest.mark.parametrize(
    "body",
    [b'{"out_refund_no":"2"}', b'{"out_refund_no":1}', b'{"out_refund_no":null}', b"{}", b'{"out_refund_no":["1"]}'],
)
def test_an_answer_for_another_number_is_not_believed(body):
    with pair(signed(body=body), backup=signed(body=body)) as hosts, pytest.raises(Unverifiable):
        hosts.post(REFUND, expect={"out_refund_no": "1"})
    assert len(hosts.seen) == 2


def test_an_empty_answer_is_not_believed_where_a_number_must_be_repeated():
    # The signed 204 of a closed order fits every call: its body is empty.
    with pair(signed(204, b""), backup=signed(204, b"")) as hosts, pytest.raises(Unverifiable):
        hosts.post(REFUND, expect={"out_refund_no": "1"})


@pytest.mark.parametrize("body", [b"", b"OK", b"[]", b'"text"', b"null", b"7", b"\xff", b"[" * 100_000])
def test_a_signed_answer_that_is_no_json_object_is_not_believed(body):
    with pair(signed(body=body), backup=signed(body=body)) as hosts, pytest.raises(Unverifiable):
        hosts.post()


@pytest.mark.parametrize("status", [201, 206, 301, 302, 304, 307])
def test_another_status_is_not_believed_though_it_is_signed(status):
    answer = signed(status, b"" if status == 304 else b'{"prepay_id":"wx1"}')
    with pair(answer, backup=answer) as hosts, pytest.raises(OutcomeUnknown):
        hosts.post()
    assert len(hosts.seen) == 2


def test_an_answer_that_was_only_accepted_is_unknown():
    accepted = signed(202, b'{"status":"ACCEPTED"}')
    with pair(accepted, backup=accepted) as hosts, pytest.raises(ServerFault) as caught:
        hosts.post()
    assert (caught.value.status, caught.value.body) == (202, {"status": "ACCEPTED"})


# Two hosts


def nothing(wire: Any) -> None:
    """Close without an answer."""


def unsettled() -> dict[str, Say]:
    """Answers that leave the outcome unknown."""
    spoilt = signed()
    spoilt.headers["Wechatpay-Signature"] = "WECHATPAY/SIGNTEST/" + spoilt.headers["Wechatpay-Signature"][19:]
    return {
        "500": signed(500, b'{"code":"SYSTEM_ERROR"}'),
        "502 of a gateway": Say(502, b"<html>Bad Gateway</html>"),
        "503 unsigned": Say(503, b"{}"),
        "closed": Say(raw=nothing),
        "cut body": Say(raw=lambda wire: wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")),
        "cut headers": Say(raw=lambda wire: wire.write(b"HTTP/1.1 200 OK\r\nWechatpay-Ti")),
        "unsigned 200": Say(200, b'{"prepay_id":"forged"}'),
        "another key": signed(key=OTHER_PLATFORM_KEY),
        "another body": Say(200, b'{"prepay_id":"forged"}', signed().headers),
        "unknown key": signed(serial="PUB_KEY_ID_01"),
        "probe": spoilt,
        "wrongly signed 404": Say(404, b'{"code":"ORDER_NOT_EXIST"}', signed().headers),
        "not JSON": signed(body=b"OK"),
        "redirect": Say(302, b"", {"Location": "http://127.0.0.1:9/"}),
        "202": signed(202),
        "slow": signed(after=2),
    }


@pytest.mark.parametrize("how", unsettled())
@pytest.mark.parametrize("path", [ORDER, REFUND, TRANSFER])
def test_what_settles_nothing_is_tried_once_more_on_the_backup(how, path):
    with pair(unsettled()[how], backup=signed(body=b'{"id":"true"}'), timeout=1.0) as hosts:
        assert hosts.post(path).data == {"id": "true"}
    first, second = hosts.seen
    assert (first.headers["host"], second.headers["host"]) == (
        hosts.main.url.removeprefix("http://"),
        hosts.backup.url.removeprefix("http://"),
    )
    assert first.body == second.body
    assert first.target == second.target
    assert first.headers["wechatpay-serial"] == second.headers["wechatpay-serial"]
    assert authorization_of(first)["nonce_str"] != authorization_of(second)["nonce_str"]
    assert_signed(first)
    assert_signed(second)


@pytest.mark.parametrize("how", unsettled())
def test_what_settles_nothing_twice_is_unknown_and_not_tried_a_third_time(how):
    with pair(unsettled()[how], backup=unsettled()[how], timeout=0.6) as hosts, pytest.raises(OutcomeUnknown):
        hosts.post()
    assert (len(hosts.main.seen), len(hosts.backup.seen)) == (1, 1)


def test_the_second_failure_is_the_one_that_is_told():
    busy = signed(500, b'{"code":"SYSTEM_ERROR","message":"busy"}')
    with pair(Say(502, b""), backup=busy) as hosts, pytest.raises(ServerFault) as caught:
        hosts.post()
    assert (caught.value.status, caught.value.body["code"]) == (500, "SYSTEM_ERROR")


def test_the_backup_serves_when_the_main_host_refuses():
    with refusing() as main, Host(signed(body=b'{"id":"true"}')) as backup:
        assert client_of(main, backup.url).call("POST", ORDER, BODY).data == {"id": "true"}


def test_both_hosts_refusing_is_unreachable_at_once():
    started = time.monotonic()
    with refusing() as main, refusing() as backup, pytest.raises(Unreachable):
        client_of(main, backup).call("POST", ORDER, BODY)
    assert time.monotonic() - started < 1.5


# A clear no


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409])
def test_a_signed_refusal_is_final(status):
    answer = signed(status, b'{"code":"NO","message":"no","detail":{}}')
    answer.headers["Request-ID"] = "08F5-1"
    with pair(answer) as hosts, pytest.raises(ApiError) as caught:
        hosts.post(REFUND)
    error = caught.value
    assert (error.status, error.code, error.message, error.signed) == (status, "NO", "no", True)
    assert error.request_id == "08F5-1"
    assert error.body == {"code": "NO", "message": "no", "detail": {}}
    assert len(hosts.seen) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
@pytest.mark.parametrize("how", ["500", "closed", "unsigned 200", "another key", "redirect", "202", "slow"])
def test_a_no_to_the_repetition_of_an_unknown_write_says_so(how, status):
    no = signed(status, b'{"code":"NO","message":"no"}')
    with pair(unsettled()[how], backup=no, timeout=1.0) as hosts, pytest.raises(ApiError) as caught:
        hosts.post(REFUND)
    assert (caught.value.status, caught.value.code, caught.value.after_unknown) == (status, "NO", True)
    assert len(hosts.seen) == 2


def test_a_no_to_the_repetition_of_a_query_or_to_a_first_try_is_plain():
    no = signed(404, b'{"code":"NO"}')
    with pair(Say(500), backup=no) as hosts, pytest.raises(ApiError) as caught:
        hosts.client.call("GET", REFUND + "/1")
    assert not caught.value.after_unknown
    with pair(no) as hosts, pytest.raises(ApiError) as caught:
        hosts.post(REFUND)
    assert not caught.value.after_unknown


@pytest.mark.parametrize(("path", "after_unknown"), [(ORDER, False), (REFUND, True)])
def test_a_429_leaves_unknown_only_what_it_does_not_settle(path, after_unknown, no_back_off):
    limited, no = signed(429, b'{"code":"FREQUENCY_LIMITED"}'), signed(403, b'{"code":"NO"}')
    with pair(limited, no) as hosts, pytest.raises(ApiError) as caught:
        hosts.post(path)
    assert (caught.value.status, caught.value.after_unknown) == (403, after_unknown)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"code":"NO_AUTH"}', b"[1]", b'{"code":null,"message":7}'])
def test_an_unsigned_refusal_is_told_as_unsigned(status, body):
    with pair(Say(status, body)) as hosts, pytest.raises(ApiError) as caught:
        hosts.post()
    assert (caught.value.status, caught.value.signed) == (status, False)
    assert isinstance(caught.value.code, str)
    assert caught.value.request_id == ""
    assert len(hosts.seen) == 1


@pytest.mark.parametrize("answer", [Say, signed], ids=["unsigned", "signed"])
def test_a_refusal_names_wechat_pays_request_id_where_there_is_one(answer):
    no = answer(403, b'{"code":"NO_AUTH"}')
    with pair(no) as hosts, pytest.raises(ApiError) as caught:
        hosts.post()
    assert caught.value.request_id == ""
    no.headers["Request-ID"] = "08F5-2"
    with pair(no) as hosts, pytest.raises(ApiError) as caught:
        hosts.post()
    assert caught.value.request_id == "08F5-2"


# Files


def fetch(client: Client, url: str, before: bytes = b"") -> bytes:
    """What a download appends to a file that begins with `before`."""
    file = io.BytesIO(before)
    file.seek(0, io.SEEK_END)
    client.download(url, file, limit=1_000_000, timeout=5)
    return file.getvalue().removeprefix(before)


def test_a_file_is_asked_for_with_a_signature_and_by_no_serial():
    with pair(Say(200, b"bytes")) as hosts:
        assert fetch(hosts.client, hosts.main.url + "/file?token=a%2Fb", b"before") == b"bytes"
        assert fetch(hosts.client, hosts.main.url + "/file") == b"bytes"
    for seen, target in zip(hosts.seen, ("/file?token=a%2Fb", "/file"), strict=True):
        assert (seen.method, seen.target, seen.body) == ("GET", target, b"")
        assert not {"content-type", "wechatpay-serial"} & set(seen.headers)
        assert_signed(seen)


@pytest.mark.parametrize("status", [400, 403, 404, 429, 499])
def test_a_refused_download_is_an_unsigned_no(status):
    with pair(Say(status, b'{"code":"NO_AUTH"}')) as hosts, pytest.raises(ApiError) as caught:
        fetch(hosts.client, hosts.main.url + "/file", b"before")
    error = caught.value
    assert (error.status, error.code, error.body, error.signed) == (status, "NO_AUTH", {"code": "NO_AUTH"}, False)
    assert len(hosts.seen) == 1


@pytest.mark.parametrize("status", [201, 302, 399, 500, 503])
def test_any_other_download_is_a_fault(status):
    with pair(Say(status, b'{"code":"X"}')) as hosts, pytest.raises(ServerFault) as caught:
        fetch(hosts.client, hosts.main.url + "/file", b"before")
    assert (caught.value.status, caught.value.body) == (status, {"code": "X"})
    assert len(hosts.seen) == 1


def test_of_a_long_refusal_only_the_beginning_is_read():
    for length, body in ((MAX_ERROR, {"a": "x" * (MAX_ERROR - 8)}), (MAX_ERROR + 1, None)):
        long = b'{"a":"' + b"x" * (length - 8) + b'"}'
        with pair(Say(400, long)) as hosts, pytest.raises(ApiError) as caught:
            fetch(hosts.client, hosts.main.url + "/file")
        assert caught.value.body == body


# Too many calls


@pytest.mark.parametrize("answer", [lambda: signed(429, b'{"code":"FREQUENCY_LIMITED"}'), lambda: Say(429, b"")])
@pytest.mark.parametrize(
    ("method", "path", "unknown"),
    [
        ("POST", ORDER, False),
        ("POST", ORDER + "/out-trade-no/1/close", False),
        ("GET", "/v3/pay/transactions/out-trade-no/1?mchid=1", False),
        ("GET", REFUND + "/1", False),
        ("GET", TRANSFER + "/out-bill-no/1", False),
        ("POST", REFUND, True),
        ("POST", TRANSFER, True),
        ("POST", TRANSFER + "/out-bill-no/1/cancel", True),
    ],
)
def test_a_429_is_unknown_for_refunds_and_transfers_and_a_no_elsewhere(answer, method, path, unknown, no_back_off):
    with pair(answer()) as hosts, pytest.raises(RateLimited if unknown else ApiError) as caught:
        hosts.client.call(method, path, BODY if method == "POST" else None)
    assert caught.value.status == 429
    assert (len(hosts.main.seen), len(hosts.backup.seen)) == (2, 0), "one more try, on the same host"


def test_what_a_429_said_is_kept(no_back_off):
    with pair(signed(429, b'{"code":"FREQUENCY_LIMITED"}')) as hosts, pytest.raises(RateLimited) as caught:
        hosts.post(REFUND)
    assert caught.value.body == {"code": "FREQUENCY_LIMITED"}


@pytest.mark.parametrize("path", [ORDER, REFUND])
def test_a_429_is_tried_again_after_a_pause(path):
    with pair(signed(429, b'{"code":"FREQUENCY_LIMITED"}'), signed(body=b'{"id":"true"}')) as hosts:
        assert hosts.post(path).data == {"id": "true"}
    first, second = hosts.seen
    assert second.time - first.time >= 0.4
    assert first.body == second.body
    assert authorization_of(first)["nonce_str"] != authorization_of(second)["nonce_str"]


@pytest.mark.parametrize("path", [ORDER, REFUND])
def test_a_429_is_told_at_once_when_there_is_no_time_for_a_pause(path):
    limited = signed(429, b'{"code":"FREQUENCY_LIMITED"}')
    with pair(limited, timeout=0.9) as hosts, pytest.raises((ApiError, RateLimited)):
        hosts.post(path)
    assert len(hosts.seen) == 1


# Time


def test_the_first_try_has_half_of_the_time_and_the_second_what_is_left():
    with pair(signed(after=5), backup=signed(after=5), timeout=1.0) as hosts:
        started = time.monotonic()
        with pytest.raises(TimedOut):
            hosts.post()
        ended = time.monotonic()
    first, second = hosts.seen
    assert 0.4 < second.time - first.time < 0.9
    assert 0.9 < ended - started < 1.6


def test_a_backup_has_all_the_time_that_a_quick_failure_left():
    with pair(Say(502, b""), backup=signed(body=b'{"id":"true"}', after=0.7), timeout=1.2) as hosts:
        assert hosts.post().data == {"id": "true"}


def test_a_deadline_of_one_call_goes_before_the_clients():
    started = time.monotonic()
    with pair(signed(after=5), backup=signed(after=5), timeout=30) as hosts, pytest.raises(TimedOut):
        hosts.post(deadline=started + 0.5)
    assert 0.4 < time.monotonic() - started < 1.5


def test_the_clients_own_deadline_is_its_timeout_from_now():
    with pair(timeout=7.0) as hosts:
        before = time.monotonic()
        assert before + 7 <= hosts.client.deadline() <= time.monotonic() + 7


@pytest.mark.parametrize("past", [0.0, 0.001, 60.0])
@pytest.mark.parametrize("public_key", [PLATFORM, None], ids=["public key", "certificates"])
def test_without_time_left_nothing_is_sent_and_the_caller_is_told(past, public_key):
    with pair(signed(), backup=signed(), public_key=public_key) as hosts:
        with pytest.raises(NotSent, match="nothing was sent"):
            hosts.post(deadline=time.monotonic() - past)
        with pytest.raises(NotSent, match="nothing was sent"):
            hosts.client.call("GET", REFUND + "/1", deadline=time.monotonic() - past)
    assert hosts.seen == []


def test_nothing_sent_is_no_unknown_outcome():
    assert not issubclass(NotSent, OutcomeUnknown)
    assert not issubclass(NotSent, ApiError)


def test_each_of_two_tries_keeps_to_its_own_limit():
    started = time.monotonic()
    with pair(signed(after=5), backup=signed(after=5), timeout=30) as hosts, pytest.raises(TimedOut):
        hosts.post(try_timeout=0.3)
    assert 0.5 < time.monotonic() - started < 1.5
    assert len(hosts.seen) == 2


def test_a_host_that_never_connects_leaves_time_for_the_backup():
    with deaf() as main, Host(signed(body=b'{"id":"true"}')) as backup:
        started = time.monotonic()
        assert client_of(main, backup.url, timeout=1.0).call("POST", ORDER, BODY).data == {"id": "true"}
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", ["body", "headers"])
def test_nothing_outlives_the_deadline_even_when_it_drips(kind):
    def drip(wire: Any) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 1000\r\n\r\n" if kind == "body" else b"X: "))
        for _ in range(40):
            time.sleep(0.1)
            wire.write(b"x")

    started = time.monotonic()
    with pair(Say(raw=drip), backup=Say(raw=drip), timeout=0.8) as hosts, pytest.raises(OutcomeUnknown):
        hosts.post()
    assert time.monotonic() - started < 1.8


# Certificates instead of a public key


def in_certificate_mode(
    listing: Answering | None = None, *, key: Any = PLATFORM_KEY, serial: str = SERIAL
) -> Answering:
    """A host that publishes one certificate (or answers `listing`) and signs everything with its key."""

    def answer(seen: Seen) -> Say:
        if seen.target != "/v3/certificates":
            return signed(body=b'{"id":"true"}', key=key, serial=serial)
        return listing(seen) if listing else certificates()

    return answer


def certificates(**options: Any) -> Say:
    """The true list, signed now."""
    body = certificate_list((SERIAL, pem(certificate(PLATFORM_KEY, NUMBER))))
    return signed(body=body, serial=SERIAL, **options)


def eventually(condition: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.01)
    return False


def targets(host: Host) -> list[str]:
    return [seen.target for seen in host.seen]


def test_without_a_public_key_the_certificates_are_fetched_once_and_no_serial_is_named():
    with pair(in_certificate_mode(), public_key=None) as hosts:
        assert hosts.post().data == {"id": "true"}
        assert hosts.post().data == {"id": "true"}
    assert targets(hosts.main) == ["/v3/certificates", ORDER, ORDER]
    assert not [seen for seen in hosts.seen if "wechatpay-serial" in seen.headers]
    for seen in hosts.seen:
        assert_signed(seen)
    assert (hosts.seen[0].method, hosts.seen[0].body) == ("GET", b"")


@pytest.mark.parametrize("status", [500, 502])
def test_certificates_come_from_the_backup_when_the_main_host_fails(status):
    with pair(Say(status, b""), backup=in_certificate_mode(), public_key=None) as hosts:
        assert hosts.post().data == {"id": "true"}
    assert targets(hosts.backup) == ["/v3/certificates", ORDER]


def bad_lists() -> dict[str, Answering]:
    true = pem(certificate(PLATFORM_KEY, NUMBER))
    foreign = pem(certificate(OTHER_PLATFORM_KEY, NUMBER))
    return {
        "unsigned": lambda _: Say(200, certificate_list((SERIAL, true))),
        "signed by no certificate in it": lambda _: signed(
            body=certificate_list((SERIAL, true)), serial=SERIAL, key=OTHER_PLATFORM_KEY
        ),
        "named by no certificate in it": lambda _: signed(body=certificate_list((SERIAL, true)), serial="7" * 40),
        "certificate of another key": lambda _: signed(body=certificate_list((SERIAL, foreign)), serial=SERIAL),
        "not sealed with our key": lambda _: signed(
            body=certificate_list((SERIAL, true)).replace(b'"nonce": "0', b'"nonce": "1'), serial=SERIAL
        ),
        "empty": lambda _: signed(body=b'{"data":[]}', serial=SERIAL),
        "not JSON": lambda _: signed(body=b"OK", serial=SERIAL),
        "nested without end": lambda _: Say(200, b"[" * 100_000),
        "404": lambda _: signed(404, b'{"code":"RESOURCE_NOT_EXISTS"}', serial=SERIAL),
        "401": lambda _: Say(401, b'{"code":"SIGN_ERROR"}'),
        "500": lambda _: Say(500, b""),
        "302": lambda _: Say(302, b"", {"Location": "/"}),
        "429": lambda _: Say(429, b""),
    }


@pytest.mark.parametrize("how", bad_lists())
def test_without_certificates_nothing_is_sent_and_the_caller_is_told(how, no_back_off):
    answering = in_certificate_mode(bad_lists()[how])
    with pair(answering, backup=answering, public_key=None) as hosts:
        with pytest.raises(NotSent, match="nothing was sent"):
            hosts.post()
        with pytest.raises(NotSent, match="nothing was sent"):
            hosts.client.encrypt("李雷", FAR)
    assert set(targets(hosts.main) + targets(hosts.backup)) == {"/v3/certificates"}
    assert len(hosts.seen) <= 2, "a failed download is not repeated within the cool-down"


def test_waiting_for_certificates_counts_for_the_calls_time():
    slow = in_certificate_mode(lambda _: Say(after=5))
    started = time.monotonic()
    with pair(slow, backup=slow, public_key=None, timeout=0.6) as hosts, pytest.raises(NotSent):
        hosts.post()
    assert time.monotonic() - started < 1.6
    assert set(targets(hosts.main) + targets(hosts.backup)) == {"/v3/certificates"}


def test_encrypting_and_sending_share_one_deadline():
    slow = in_certificate_mode(lambda _: certificates(after=0.4))
    started = time.monotonic()
    with pair(slow, signed(after=5), backup=signed(after=5), public_key=None, timeout=30) as hosts:
        deadline = started + 1.5
        serial, _ = hosts.client.encrypt("李雷", deadline)
        with pytest.raises(TimedOut):
            hosts.post(TRANSFER, serial=serial, deadline=deadline)
    assert 1.4 < time.monotonic() - started < 2.5


# Certificates that are due for a refresh


@pytest.fixture
def due(monkeypatch) -> Callable[[], None]:
    """Makes the certificates that are known now due for a refresh."""

    def make() -> None:
        time.sleep(0.02)
        monkeypatch.setattr(keys_module, "MAX_AGE", 0.01)
        monkeypatch.setattr(keys_module, "COOL_DOWN", 0.01)

    return make


def refreshing(wait: threading.Event) -> Answering:
    """Publishes its certificate at once the first time, and later only after `wait`."""
    listed: list[Seen] = []

    def listing(seen: Seen) -> Say:
        listed.append(seen)
        if len(listed) > 1:
            wait.wait(20)
        return certificates()

    return in_certificate_mode(listing)


def test_a_refresh_that_hangs_costs_its_caller_a_third_of_his_time(due):
    finish = threading.Event()
    answering = refreshing(finish)
    with pair(answering, backup=answering, public_key=None, timeout=3.0) as hosts:
        hosts.post()
        due()
        started = time.monotonic()
        assert hosts.post().data == {"id": "true"}
        took = time.monotonic() - started
        finish.set()
    assert 0.8 < took < 2.0
    assert targets(hosts.main) == ["/v3/certificates", ORDER, "/v3/certificates", ORDER]
    assert targets(hosts.backup) == ["/v3/certificates"]


def test_a_refresh_that_hangs_costs_other_callers_nothing(due):
    finish = threading.Event()
    answering = refreshing(finish)
    with pair(answering, backup=answering, public_key=None, timeout=30.0) as hosts:
        hosts.post()
        due()
        with ThreadPoolExecutor(9) as threads:
            first = threads.submit(hosts.post)
            assert eventually(lambda: len(hosts.main.seen) == 3)
            started = time.monotonic()
            others = [threads.submit(hosts.post) for _ in range(8)]
            assert [other.result(10).data for other in others] == [{"id": "true"}] * 8
            assert time.monotonic() - started < 3
            assert not first.done()
            finish.set()
            assert first.result(10).data == {"id": "true"}
    assert targets(hosts.main).count("/v3/certificates") == 2
    assert hosts.backup.seen == []


def test_a_refresh_that_fails_costs_no_call_its_success(due, no_back_off):
    for say in (Say(500), Say(401, b"{}"), Say(429), signed(body=b'{"data":[]}', serial=SERIAL)):
        answers = iter([certificates(), *[say] * 8])
        answering = in_certificate_mode(lambda _, answers=answers: next(answers))
        with pair(answering, backup=answering, public_key=None) as hosts:
            hosts.post()
            due()
            assert hosts.post().data == {"id": "true"}
            serial, ciphertext = hosts.client.encrypt("李雷", FAR)
        assert (serial, decrypt_field(PLATFORM_KEY, ciphertext)) == (SERIAL, "李雷")
        assert "/v3/certificates" in [seen.target for seen in hosts.seen][2:]


def test_a_certificate_signature_holds_while_the_request_names_the_public_key():
    with pair(in_certificate_mode(), public_key=OTHER_PLATFORM_KEY.public_key()) as hosts:
        assert hosts.post().data == {"id": "true"}
        assert hosts.post().data == {"id": "true"}
    assert targets(hosts.main) == [ORDER, "/v3/certificates", ORDER]
    assert [seen.headers["wechatpay-serial"] for seen in hosts.main.seen] == [PUBLIC_KEY_ID] * 3


def test_a_list_of_certificates_may_be_signed_with_the_public_key():
    def listing(_: Seen) -> Say:
        body = certificate_list((SERIAL, pem(certificate(OTHER_PLATFORM_KEY, NUMBER))))
        return signed(body=body, serial=PUBLIC_KEY_ID)

    with pair(in_certificate_mode(listing, key=OTHER_PLATFORM_KEY)) as hosts:
        assert hosts.post().data == {"id": "true"}


# Names


@pytest.mark.parametrize("public_key", [PLATFORM, None], ids=["public key", "certificate"])
def test_a_name_is_encrypted_with_the_key_that_the_request_names(public_key):
    with pair(in_certificate_mode(), public_key=public_key) as hosts:
        serial, ciphertext = hosts.client.encrypt("李雷", FAR)
        if public_key is None:
            hosts.post(TRANSFER, serial=serial)
            assert hosts.seen[-1].headers["wechatpay-serial"] == SERIAL
    assert serial == (PUBLIC_KEY_ID if public_key else SERIAL)
    assert decrypt_field(PLATFORM_KEY, ciphertext) == "李雷"
    assert "李雷" not in ciphertext
