"""Each kind of misbehaviour, looked at on the wire."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sandbox.spoils import KINDS
from tests.sandbox.conftest import PREPAY, call

LEAVES_ORDER = {
    "latency",
    "cut_body",
    "slow_body",
    "bad_signature",
    "no_signature",
    "other_body_signature",
    "unknown_certificate",
    "unknown_public_key",
    "stale_timestamp",
    "future_timestamp",
    "text_timestamp",
    "probe",
}


def order(merchant, **options):
    return merchant.send("POST", PREPAY, merchant.order(), **options)


def verifies(box, heard, *, addition=b""):
    message = f"{heard.headers['wechatpay-timestamp']}\n{heard.headers['wechatpay-nonce']}\n".encode()
    try:
        box.credentials.public_key.public_key().verify(
            base64.b64decode(heard.headers["wechatpay-signature"]),
            message + heard.body + addition + b"\n",
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def raw(merchant, base=""):
    """A signed order on a socket of its own, sent but not read."""
    parts = urlsplit(base or merchant.box.url)
    body = json.dumps(merchant.order()).encode()
    peer = socket.create_connection((parts.hostname, parts.port), timeout=5)
    head = (
        f"POST {PREPAY} HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nAccept: */*\r\n"
        f"Authorization: {merchant.authorization('POST', PREPAY, body)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    peer.sendall(head.encode() + body)
    return peer


def ended(peer):
    """Whether the other side closed a connection that nothing was asked on."""
    peer.settimeout(2)
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def all_of(peer):
    received = b""
    while piece := peer.recv(65536):
        received += piece
    return received


def test_without_faults_an_answer_verifies(merchant, box):
    heard = order(merchant)
    assert heard.status == 200
    assert verifies(box, heard)
    assert heard.headers["keep-alive"] == "timeout=8"


def test_a_reset_is_a_reset(merchant, box):
    box.fault("reset", times=1)
    with raw(merchant) as peer, pytest.raises(ConnectionResetError):
        peer.recv(1)
    assert box.ledger.orders == {}
    assert box.requests[0].status is None
    assert order(merchant).status == 200


def test_a_cut_body_ends_before_its_announced_length(merchant, box):
    box.fault("cut_body", times=1)
    with raw(merchant) as peer:
        head, _, body = all_of(peer).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert 0 < len(body) < length
    assert len(box.ledger.orders) == 1


def test_a_cut_204_ends_within_its_status_line(merchant, box):
    target = "/v3/pay/transactions/out-trade-no/ORDER_000001/close"
    box.fault("cut_body", times=1)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        merchant.send("POST", target, {"mchid": merchant.credentials.merchant_id}, timeout=2)


def test_a_slow_body_drips(merchant, box):
    box.fault("slow_body", times=1, seconds=0.4)
    started = time.monotonic()
    with raw(merchant) as peer:
        first = peer.recv(65536)
        rest = b""
        length = int(first.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert len(first) - (first.index(b"\r\n\r\n") + 4) < length
        while len(first + rest) - (first.index(b"\r\n\r\n") + 4) < length:
            rest += peer.recv(65536)
    assert time.monotonic() - started >= 0.35


def test_a_latency_delays_and_the_order_is_there(merchant, box):
    box.fault("latency", seconds=0.3, times=1)
    started = time.monotonic()
    assert order(merchant).status == 200
    assert time.monotonic() - started >= 0.3


def test_an_unprocessed_latency_forgets_callers_who_hang_up(merchant, box):
    box.fault("latency", seconds=0.3, times=1, processed=False)
    raw(merchant).close()
    deadline = time.monotonic() + 5
    while not (box.requests and box.requests[0].fault) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert box.requests[0].fault == "latency"
    assert box.ledger.orders == {}


def test_a_processed_latency_keeps_the_order_of_callers_who_hang_up(merchant, box):
    box.fault("latency", seconds=0.3, times=1)
    raw(merchant).close()
    deadline = time.monotonic() + 5
    while not box.ledger.orders and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(box.ledger.orders) == ["ORDER_000001"]


@pytest.mark.parametrize(
    ("kind", "status", "signed", "start"),
    [
        ("system_error", 500, True, b'{"code": "SYSTEM_ERROR"'),
        ("frequency_limited", 429, True, b'{"code": "FREQUENCY_LIMITED"'),
        ("html_502", 502, False, b"<html>"),
        ("empty_200", 200, False, b""),
        ("unsigned_403", 403, False, b'{"code"'),
        ("unsigned_404", 404, False, b'{"code"'),
        ("accepted_202", 202, True, b""),
        ("redirect_302", 302, False, b""),
        ("not_json", 200, True, b"OK"),
    ],
)
def test_an_invented_answer_replaces_the_true_one(merchant, box, kind, status, signed, start):
    box.fault(kind, times=1)
    heard = order(merchant)
    assert (heard.status, heard.body[: len(start)]) == (status, start)
    assert bool(start) == bool(heard.body)
    assert ("wechatpay-signature" in heard.headers) is signed
    assert not signed or verifies(box, heard)
    assert box.ledger.orders == {}
    box.fault(kind, times=1, processed=True)
    assert order(merchant).status == status
    assert len(box.ledger.orders) == 1


def test_a_redirect_leads_back_here_so_that_following_it_is_seen(merchant, box):
    box.fault("redirect_302", times=1)
    location = urlsplit(order(merchant).headers["location"])
    call(box.url, "GET", location.path)
    assert (f"http://{location.netloc}", box.requests[-1].path) == (box.url, "/redirected")


@pytest.mark.parametrize(
    ("kind", "true_signature"),
    [
        ("bad_signature", False),
        ("other_body_signature", False),
        ("probe", False),
        ("unknown_certificate", True),
        ("unknown_public_key", True),
        ("stale_timestamp", True),
        ("future_timestamp", True),
        ("text_timestamp", True),
    ],
)
def test_a_signature_fault_spoils_a_true_answer(merchant, box, kind, true_signature):
    box.fault(kind, times=1)
    heard = order(merchant)
    assert (heard.status, list(heard.json)) == (200, ["prepay_id"])
    assert verifies(box, heard) is true_signature
    stamp = heard.headers["wechatpay-timestamp"]
    assert stamp.isdigit() is (kind != "text_timestamp")
    if stamp.isdigit():
        off = int(stamp) - time.time()
        assert (off < -300) is (kind == "stale_timestamp")
        assert (off > 300) is (kind == "future_timestamp")
    serial = heard.headers["wechatpay-serial"]
    assert (serial == box.credentials.public_key_id) is (not kind.startswith("unknown"))
    assert serial.startswith("PUB_KEY_ID_") is (kind != "unknown_certificate")
    assert heard.headers["wechatpay-signature"].startswith("WECHATPAY/SIGNTEST/") is (kind == "probe")
    assert verifies(box, order(merchant))


def test_a_signature_of_another_body_fits_that_body(merchant, box):
    box.fault("other_body_signature", times=1)
    assert verifies(box, order(merchant), addition=b" ")


def test_missing_signature_headers_are_missing_altogether(merchant, box):
    box.fault("no_signature", times=1)
    heard = order(merchant)
    assert heard.status == 200
    assert not [name for name in heard.headers if name.startswith("wechatpay")]


def test_refused_connections_close_the_port_and_open_it_again(merchant, box):
    parts = urlsplit(box.url)
    kept = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    kept.request("GET", "/sandbox/state")
    kept.getresponse().read()
    box.fault("refuse", host="main")
    with pytest.raises(ConnectionRefusedError):
        order(merchant)
    assert ended(kept.sock)
    kept.close()
    assert order(merchant, base=box.backup_url).status == 200
    box.clear_faults()
    assert order(merchant).status == 200


def test_faults_count_down_and_keep_to_their_host_and_path(merchant, box):
    box.fault("system_error", times=2, host="main", path="/jsapi")
    assert order(merchant, base=box.backup_url).status == 200
    assert merchant.send("GET", "/v3/certificates").status == 404
    assert [order(merchant).status for _ in range(3)] == [500, 500, 200]
    assert box.faults == []
    assert [record.fault for record in box.requests] == [None, None, "system_error", "system_error", None]


def test_a_latency_joins_another_fault(merchant, box):
    box.fault("latency", seconds=0.2)
    box.fault("html_502")
    started = time.monotonic()
    assert order(merchant).status == 502
    assert time.monotonic() - started >= 0.2


def test_a_fault_never_lets_a_wrong_signature_through(merchant, box):
    box.fault("system_error", processed=True)
    order(merchant, headers={"Authorization": "nonsense"})
    assert (box.requests[0].verified, box.ledger.orders) == (False, {})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "refuse"])
def test_every_kind_says_whether_the_order_was_taken(merchant, box, kind):
    seconds = {"seconds": 0.01} if KINDS[kind].seconds else {}
    fault = box.fault(kind, times=1, **seconds)
    assert fault.processed is (kind in LEAVES_ORDER)
    with raw(merchant) as peer:
        try:
            peer.recv(65536)
        except ConnectionResetError:
            assert kind == "reset"
    assert bool(box.ledger.orders) is (kind in LEAVES_ORDER)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "nonsense"},
        {"kind": "reset", "times": 0},
        {"kind": "reset", "host": "third"},
        {"kind": "reset", "seconds": 1},
        {"kind": "latency", "seconds": 0},
        {"kind": "latency", "seconds": 10_000},
        {"kind": "probe", "processed": False},
        {"kind": "refuse", "times": 1},
        {"kind": "refuse", "path": "/v3"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(box, options):
    with pytest.raises(ValueError, match=next(reversed(options))):
        box.fault(**options)
    assert box.faults == []


def test_a_port_that_is_closed_for_seconds_opens_again_alone(merchant, box):
    box.fault("refuse", host="main", seconds=0.3)
    box.fault("refuse", host="backup")
    for base in (box.url, box.backup_url):
        with pytest.raises(ConnectionRefusedError):
            merchant.send("POST", PREPAY, merchant.order(), base=base)
    deadline = time.monotonic() + 5
    while len(box.faults) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [fault.host for fault in box.faults] == ["backup"]
    assert merchant.send("POST", PREPAY, merchant.order()).status == 200
    with pytest.raises(ConnectionRefusedError):
        merchant.send("POST", PREPAY, merchant.order(), base=box.backup_url)


def test_a_cleared_port_stays_open_when_its_seconds_are_over(merchant, box):
    box.fault("refuse", host="main", seconds=0.2)
    box.clear_faults()
    box.fault("refuse", host="main")
    time.sleep(0.4)
    with pytest.raises(ConnectionRefusedError):
        merchant.send("POST", PREPAY, merchant.order())
    assert len(box.faults) == 1


def test_a_request_that_waits_does_not_act_after_a_reset(merchant, box):
    box.fault("latency", seconds=20, processed=False)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(merchant.send, "POST", PREPAY, merchant.order(), timeout=30)
        deadline = time.monotonic() + 5
        while not box.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        box.reset()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            waiting.result(10)
    assert box.ledger.orders == {}
    assert merchant.send("POST", PREPAY, merchant.order()).status == 200
