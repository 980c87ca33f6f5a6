"""One request over a real loopback connection, and everything that may go wrong with it."""

from __future__ import annotations

import contextlib
import gzip
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO
from urllib.parse import quote

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from services.wechatpay import transport as transport_module
from services.wechatpay.errors import OutcomeUnknown, TimedOut, Unreachable
from services.wechatpay.transport import CONNECT_TIMEOUT, IDLE_LIMIT, MAX_BODY, SHARED_LOOK_UP, Answer, Transport
from tests.services.wechatpay.host import PLATFORM_KEY, Host, Say, Seen, deaf, pem, refusing
from utils import processor

HEADERS = {"Accept": "application/json", "User-Agent": "pay-common-python/test"}


@pytest.fixture
def transport() -> Transport:
    return Transport()


def send(transport: Transport, url: str, method: str = "GET", body: bytes = b"", timeout: float = 5.0) -> Answer:
    return transport.send(method, url, body, lambda target: dict(HEADERS), timeout=timeout)


def lines(*parts: str | bytes) -> Say:
    """An answer written to the connection as it stands."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return Say(raw=lambda wire: wire.write(b"".join(encoded)))


def test_status_headers_and_body_come_as_received(transport):
    with Host(Say(404, b"\x00\xffbytes", {"Wechatpay-Nonce": "n", "Request-ID": "r-0"})) as host:
        answer = send(transport, host.url + "/v3/x")
    assert (answer.status, answer.body) == (404, b"\x00\xffbytes")
    assert answer.headers["wechatpay-nonce"] == "n"
    assert answer.headers["REQUEST-ID"] == "r-0"
    assert "Wechatpay-Serial" not in answer.headers


@pytest.mark.parametrize(
    ("say", "body"),
    [
        (Say(204, b""), b""),
        (Say(200, b""), b""),
        (lines("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"), b"until the end"),
        (lines("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde"),
    ],
    ids=["204", "empty", "until closed", "chunked"],
)
def test_a_body_may_be_framed_in_every_way_of_http(transport, say, body):
    with Host(say) as host:
        assert send(transport, host.url + "/").body == body


def test_the_request_carries_the_given_headers_and_none_of_the_librarys(transport):
    with Host() as host:
        send(transport, host.url + "/v3/x", "POST", b'{"a":"\xe5\xbd\xa2"}')
    (seen,) = host.seen
    assert seen.body == b'{"a":"\xe5\xbd\xa2"}'
    assert seen.headers == {
        "host": host.url.removeprefix("http://"),
        "accept": "application/json",
        "user-agent": "pay-common-python/test",
        "accept-encoding": "identity",
        "content-length": "11",
    }


def test_a_call_without_a_body_sends_none(transport):
    with Host() as host:
        send(transport, host.url + "/", "GET")
        send(transport, host.url + "/", "POST")
    get, post = host.seen
    assert "content-length" not in get.headers
    assert post.headers["content-length"] == "0"
    assert (get.body, post.body) == (b"", b"")


def test_a_file_is_fetched_with_the_given_headers_up_to_its_limit(transport):
    def headers(target: str) -> dict[str, str]:
        return {**HEADERS, "X-Target": target}

    with Host(Say(202, b"sixteen letters.")) as host:
        for limit in (16, 15):
            file = io.BytesIO()
            with pytest.raises(Unreachable, match="15 bytes") if limit == 15 else contextlib.nullcontext():
                assert transport.download(f"{host.url}/bill?token=1", headers, file, limit=limit, timeout=5.0) == 202
            assert file.getvalue() == (b"sixteen letters." if limit == 16 else b"")
        with pytest.raises(TimedOut):
            transport.download(host.url, headers, io.BytesIO(), limit=16, timeout=0.0)
    assert [(seen.method, seen.target, seen.body) for seen in host.seen] == [("GET", "/bill?token=1", b"")] * 2
    assert [seen.headers["x-target"] for seen in host.seen] == ["/bill?token=1"] * 2
    assert "content-length" not in host.seen[0].headers


def test_what_breaks_on_the_way_is_named_by_its_kind(transport):
    short = lines("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
    with Host(short) as host, pytest.raises(Unreachable) as caught:
        send(transport, host.url)
    assert str(caught.value) == "no answer from WeChat Pay (ProtocolError)"


def test_another_network_is_asked_in_place_of_the_true_one():
    asked: list[tuple[str, str]] = []

    class Network:
        def urlopen(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
            asked.append((method, url))
            return urllib3.HTTPResponse(io.BytesIO(b"known"), status=203, preload_content=False)

    assert send(Transport(Network()), "https://nowhere.invalid/v3").status == 203
    assert asked == [("GET", "https://nowhere.invalid/v3")]


NUMBERS = ["20260101|a*b@c-d_e", "*" * 32, "@|@|@|", "a b+c/d?e#f%g", "%7C", "中文", "..", "a%2Fb"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("safe", ["", "*", "|*@"])
def test_the_target_that_is_signed_is_the_target_that_is_sent(transport, number, safe):
    signed: list[str] = []

    def headers(target: str) -> dict[str, str]:
        signed.append(target)
        return HEADERS

    with Host() as host:
        path = f"/v3/pay/transactions/out-trade-no/x{quote(number, safe=safe)}?mchid=1900007291"
        transport.send("GET", host.url + path, b"", headers, timeout=5)
    assert signed == [host.seen[0].target]


@pytest.mark.parametrize("number", ["20260101|a*b@c-d_e", "@|@|@|"])
def test_a_number_encoded_once_is_not_encoded_again(transport, number):
    with Host() as host:
        send(transport, f"{host.url}/v3/refund/domestic/refunds/{quote(number, safe='*')}")
    assert host.seen[0].target == f"/v3/refund/domestic/refunds/{quote(number, safe='*')}"


def test_cookies_are_neither_kept_nor_sent(transport):
    cookie = {"Set-Cookie": "session=1; Path=/", "Set-Cookie2": "other=2"}
    with Host(Say(headers=cookie)) as host:
        for _ in range(3):
            send(transport, host.url + "/")
    assert len(host.seen) == 3
    assert not [seen for seen in host.seen if "cookie" in seen.headers]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(transport, status):
    with Host() as elsewhere, Host(Say(status, b"", {"Location": elsewhere.url + "/"})) as host:
        answer = send(transport, host.url + "/", "POST", b"{}")
    assert answer.status == status
    assert (len(host.seen), elsewhere.seen) == (1, [])


@pytest.mark.parametrize(
    "location",
    ["http://[", "http://[::1", "//", "http://h:port/", "\u00ff\u0080", "http://\u00e9/", "h" * 60_000, ""],
    ids=lambda text: ascii(text[:20]),
)
def test_a_redirect_is_not_even_read_for_where_it_leads(transport, location):
    with Host(Say(302, b"moved", {"Location": location, "Request-ID": "r-1"})) as host:
        answer = send(transport, host.url + "/", "POST", b"{}")
    assert (answer.status, answer.body, answer.headers["Request-ID"]) == (302, b"moved", "r-1")
    assert len(host.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirects_body_has_the_limits_of_every_answer(transport, status):
    head = f"HTTP/1.1 {status} Moved\r\nLocation: /elsewhere\r\n".encode()
    started = time.monotonic()
    with Host(drip(head + b"Content-Length: 1000\r\n\r\n", b"x", 0.1, 30)) as host, pytest.raises(TimedOut):
        send(transport, host.url + "/", timeout=0.4)
    assert time.monotonic() - started < 1.4
    with Host(lines(head, b"Content-Length: 10\r\n\r\nhalf")) as host, pytest.raises(Unreachable):
        send(transport, host.url + "/")
    with Host(Say(status, b"x" * (MAX_BODY + 1), {"Location": "/"})) as host, pytest.raises(Unreachable):
        send(transport, host.url + "/", timeout=20)


def test_cookies_are_not_kept_either_where_another_network_lets_them_through():
    with Host(Say(headers={"Set-Cookie": "session=1; Path=/"})) as host:
        transport = Transport(urllib3.PoolManager())
        for _ in range(2):
            send(transport, host.url + "/")
    assert not [seen for seen in host.seen if "cookie" in seen.headers]


def test_what_is_got_is_asked_for_plainly_and_counts_with_200_alone(transport):
    with Host(Say(body=b"keys"), Say(404, b"none"), Say(204, b"")) as host:
        assert transport.get(host.url + "/keys?x=1", timeout=5) == b"keys"
        for status in (404, 204):
            with pytest.raises(Unreachable) as caught:
                transport.get(host.url + "/keys?x=1", timeout=5)
            assert str(caught.value) == f"the answer's status is {status}"
    assert [(seen.method, seen.target, seen.body) for seen in host.seen] == [("GET", "/keys?x=1", b"")] * 3
    assert set(host.seen[0].headers) == {"host", "accept-encoding", "user-agent"}
    with Host(Say(after=3)) as host, pytest.raises(TimedOut) as late:
        transport.get(host.url + "/", timeout=0.3)
    assert str(late.value) == "no whole answer from WeChat Pay within 0.3 s"


def test_an_answer_shows_nothing_but_its_status():
    assert repr(Answer(200, {"X-Name": "oPERSON"}, b"oPERSON")) == "Answer(status=200)"


def test_while_an_answer_is_waited_for_others_compute(transport):
    def answer(seen: Seen) -> Say:
        give_up = time.monotonic() + 30
        while processor._turns._taken and time.monotonic() < give_up:
            time.sleep(0.001)
        others_turn.append(not processor._turns._taken)
        return Say()

    others_turn: list[bool] = []
    with Host(answer) as host, processor.computing():
        send(transport, host.url + "/", timeout=60)
        assert processor._turns._taken
    assert others_turn == [True]


def test_proxies_and_passwords_of_the_environment_are_ignored(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Host() as host, Host(Say(status=502)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        answer = send(Transport(), host.url + "/")
    assert answer.status == 200
    assert proxy.seen == []
    assert "authorization" not in host.seen[0].headers


# Connections


def test_a_connection_is_used_again(transport):
    with Host() as host:
        for _ in range(4):
            send(transport, host.url + "/")
    assert len({seen.peer for seen in host.seen}) == 1


@pytest.mark.parametrize(
    "say", [Say(204, b""), Say(500, b"oops"), Say(200, b"x" * 300_000)], ids=lambda say: str(say.status)
)
def test_a_connection_is_used_again_after_every_whole_answer(transport, say):
    with Host(say) as host:
        send(transport, host.url + "/")
        send(transport, host.url + "/")
    assert host.seen[0].peer == host.seen[1].peer


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(transport, monkeypatch):
    ahead = 0.0
    monkeypatch.setattr(transport_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead))
    with Host() as host:
        send(transport, host.url + "/")
        ahead += IDLE_LIMIT - 0.5
        send(transport, host.url + "/")
        ahead += IDLE_LIMIT + 0.5
        send(transport, host.url + "/")
        send(transport, host.url + "/")
    first, second, third, fourth = (seen.peer for seen in host.seen)
    assert first == second
    assert third != second
    assert fourth == third


def test_the_idle_limit_is_below_wechat_pays():
    assert IDLE_LIMIT < 8


def test_a_connection_that_the_host_closed_meanwhile_is_replaced(transport):
    with Host(Say(headers={"Connection": "close"})) as host:
        assert send(transport, host.url + "/").status == 200
        assert send(transport, host.url + "/").status == 200
    assert len({seen.peer for seen in host.seen}) == 2


@pytest.mark.parametrize(("method", "body"), [("POST", b"{}"), ("GET", b"")])
def test_a_request_is_never_sent_twice_by_the_transport(transport, method, body):
    def vanish(wire: BinaryIO) -> None:
        """Close without a word, as a host does that dies while it works."""

    with Host(Say(), Say(raw=vanish)) as host:
        send(transport, host.url + "/", method, body)
        with pytest.raises(Unreachable):
            send(transport, host.url + "/", method, body)
    assert len(host.seen) == 2


def test_as_many_connections_are_kept_as_there_are_threads():
    def together(transport: Transport) -> list[int]:
        """Ports of three requests at once."""
        before, meeting = len(host.seen), threading.Barrier(3)
        waiting.append(meeting)
        threads = [threading.Thread(target=send, args=(transport, host.url + "/")) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        return [seen.peer for seen in host.seen[before:]]

    waiting: list[threading.Barrier] = []

    def answer(seen: Seen) -> Say:
        waiting[-1].wait(5)
        return Say()

    host: Host
    for connections, kept in ((3, 3), (1, 1)):
        with Host(answer) as host:
            transport = Transport(connections=connections)
            first, second = together(transport), together(transport)
        assert len(set(first)) == len(set(second)) == 3
        assert len(set(first) & set(second)) == kept


def test_a_compressed_answer_is_kept_as_it_came(transport):
    packed = gzip.compress(b'{"a":1}')
    with Host(Say(body=packed, headers={"Content-Encoding": "gzip"})) as host:
        assert send(transport, host.url + "/").body == packed


def test_threads_share_the_transport_without_mixing_answers():
    def echo(seen: Seen) -> Say:
        return Say(body=seen.body, headers={"X-Target": seen.target}, after=0.01)

    transport, wrong = Transport(connections=8), []

    def run(name: int) -> None:
        for turn in range(10):
            body = f"{name}-{turn}".encode() * 1000
            answer = send(transport, f"{host.url}/{name}/{turn}", "POST", body)
            if (answer.body, answer.headers["X-Target"]) != (body, f"/{name}/{turn}"):
                wrong.append((name, turn))

    with Host(echo) as host:
        threads = [threading.Thread(target=run, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(host.seen) == 160
    assert wrong == []


# Failures


def test_a_refused_connection_is_unreachable_at_once(transport):
    started = time.monotonic()
    with refusing() as url, pytest.raises(Unreachable) as caught:
        send(transport, url + "/", timeout=10)
    assert time.monotonic() - started < 1
    assert str(caught.value) == "no answer from WeChat Pay (NewConnectionError)"


def test_a_name_that_does_not_resolve_is_unreachable(transport):
    with pytest.raises(Unreachable):
        send(transport, "http://name.invalid/", timeout=5)


def test_connecting_takes_two_seconds_at_most(transport):
    assert CONNECT_TIMEOUT == 2
    started = time.monotonic()
    with deaf() as url, pytest.raises(TimedOut):
        send(transport, url + "/", timeout=20)
    assert 1.5 < time.monotonic() - started < 4


def test_connecting_takes_no_longer_than_the_whole_call_may(transport):
    started = time.monotonic()
    with deaf() as url, pytest.raises(TimedOut):
        send(transport, url + "/", timeout=0.2)
    assert time.monotonic() - started < 1.5


# Names with several addresses

NAME = "api.pay.example"


class Names:
    """Answers look-ups of NAME with `addresses`, and those of literal addresses as usual."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked: list[str] = []
        self.questions: set[Any] = set()
        self.daemons: set[bool] = set()
        self.takes = 0.0
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        if host != NAME:
            return self._real(host, port, *args, **options)
        self.questions.add((port, *args, *options.items()))
        self.daemons.add(threading.current_thread().daemon)
        time.sleep(self.takes)
        return [found for address in self.addresses for found in self._real(address, port, *args, **options)]


@pytest.fixture
def names(monkeypatch) -> Names:
    resolver = Names()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@contextmanager
def dead(port: int, *addresses: str) -> Iterator[None]:
    """At these addresses of loopback nothing ever answers on `port`."""
    with ExitStack() as stack:
        for address in addresses:
            stack.enter_context(deaf((address, port)))
        yield


DEAD = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_dead_addresses_leave_time_for_the_last_good_one(transport, names, count):
    names.addresses = [*DEAD[:count], "127.0.0.1"]
    started = time.monotonic()
    with Host(Say(body=b"good")) as host, dead(host.port, *DEAD[:count]):
        assert send(transport, f"http://{NAME}:{host.port}/", timeout=8).body == b"good"
    took = time.monotonic() - started
    share = CONNECT_TIMEOUT / (count + 1)
    assert 0.8 * count * share < took < count * share + 0.6
    assert host.seen[0].headers["host"] == f"{NAME}:{host.port}"


def test_all_addresses_together_take_no_longer_than_one_may(transport, names):
    names.addresses = list(DEAD)
    started = time.monotonic()
    with Host() as host, dead(host.port, *DEAD):
        with pytest.raises(TimedOut):
            send(transport, f"http://{NAME}:{host.port}/", timeout=20)
        assert 1.5 < time.monotonic() - started < 3
        started = time.monotonic()
        with pytest.raises(TimedOut):
            send(transport, f"http://{NAME}:{host.port}/", timeout=0.4)
        assert time.monotonic() - started < 1.2
    assert host.seen == []


def test_what_dead_addresses_took_is_no_more_there_for_the_answer(transport, names):
    names.addresses = [DEAD[0], "127.0.0.1"]
    started = time.monotonic()
    with Host(Say(after=5)) as host, dead(host.port, DEAD[0]):
        with pytest.raises(TimedOut):
            send(transport, f"http://{NAME}:{host.port}/", timeout=1.0)
        assert 0.9 < time.monotonic() - started < 1.8
    assert len(host.seen) == 1


@pytest.mark.parametrize("refusing_address", ["127.0.0.9", "::1"])
def test_an_address_that_refuses_costs_no_time(transport, names, refusing_address):
    names.addresses = [refusing_address] * 6 + ["127.0.0.1"]
    started = time.monotonic()
    with Host(Say(body=b"good")) as host:
        assert send(transport, f"http://{NAME}:{host.port}/", timeout=5).body == b"good"
    assert time.monotonic() - started < 1.5


def test_the_first_address_that_connects_gets_the_request_and_the_others_nothing(transport, names):
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    with Host() as first, Host(address=("127.0.0.2", first.port)) as second:
        for _ in range(3):
            send(transport, f"http://{NAME}:{first.port}/", "POST", b"{}")
    assert (len(first.seen), len(second.seen)) == (3, 0)


def test_a_request_that_was_sent_is_not_sent_to_the_next_address(transport, names):
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    with (
        Host(Say(raw=lambda wire: None)) as first,
        Host(address=("127.0.0.2", first.port)) as second,
        pytest.raises(Unreachable),
    ):
        send(transport, f"http://{NAME}:{first.port}/", "POST", b"{}")
    assert (len(first.seen), len(second.seen)) == (1, 0)


def test_when_all_addresses_refuse_it_is_unreachable_at_once(transport, names):
    names.addresses = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    started = time.monotonic()
    with Host() as host, pytest.raises(Unreachable):
        send(transport, f"http://{NAME}:{host.port}/", timeout=10)
    assert time.monotonic() - started < 1


def test_a_name_without_addresses_is_unreachable_and_may_have_some_later(transport, names):
    with Host(Say(body=b"good")) as host:
        with pytest.raises(Unreachable) as caught:
            send(transport, f"http://{NAME}:{host.port}/")
        assert f"{NAME} has no address" in str(caught.value.__cause__)
        names.addresses = ["127.0.0.1"]
        assert send(transport, f"http://{NAME}:{host.port}/").body == b"good"
    assert names.questions == {(host.port, ("type", socket.SOCK_STREAM))}, "each address once, none for datagrams"


def test_a_name_is_looked_up_anew_for_every_connection(transport, names):
    names.addresses = ["127.0.0.1"]
    with Host(Say(headers={"Connection": "close"})) as first:
        send(transport, f"http://{NAME}:{first.port}/")
        with Host(address=("127.0.0.2", first.port)) as second:
            names.addresses = ["127.0.0.2"]
            send(transport, f"http://{NAME}:{first.port}/")
    assert (len(first.seen), len(second.seen)) == (1, 1)
    assert names.asked.count(NAME) == 2


def test_a_slow_look_up_still_leaves_a_moment_for_each_address(transport, names):
    names.addresses, names.takes = ["127.0.0.9", "127.0.0.1"], CONNECT_TIMEOUT / 2
    with Host(Say(body=b"good")) as host:
        assert send(transport, f"http://{NAME}:{host.port}/", timeout=10).body == b"good"


@pytest.mark.parametrize("timeout", [0.3, 20])
def test_a_look_up_takes_no_longer_than_connecting_may(transport, names, timeout):
    """The tests with a resolver on a real wire are in tests/hostile_network."""
    names.addresses, names.takes = ["127.0.0.1"], 2 * CONNECT_TIMEOUT
    started = time.monotonic()
    with Host() as host, pytest.raises(TimedOut) as caught:
        send(transport, f"http://{NAME}:{host.port}/", timeout=timeout)
    assert time.monotonic() - started < min(timeout, CONNECT_TIMEOUT) + 1
    assert f"'{NAME} was not looked up in time'" in str(caught.value.__cause__)
    assert names.daemons == {True}, "a process may end although its resolver hangs"


def test_all_who_ask_within_a_second_share_a_look_up(transport, names):
    names.addresses, names.takes = ["127.0.0.1"], SHARED_LOOK_UP / 2
    with Host() as host, ThreadPoolExecutor(8) as pool:
        url = f"http://{NAME}:{host.port}/"
        assert {answer.status for answer in pool.map(lambda _: send(transport, url), range(8))} == {200}
    assert names.asked.count(NAME) == 1


def test_who_asks_later_does_not_wait_for_a_look_up_that_hangs(transport, names):
    names.addresses, names.takes = ["127.0.0.1"], 3 * SHARED_LOOK_UP
    with Host(Say(body=b"good")) as host:
        url = f"http://{NAME}:{host.port}/"
        with pytest.raises(TimedOut):
            send(transport, url, timeout=SHARED_LOOK_UP + 0.1)
        names.takes = 0
        assert send(transport, url, timeout=SHARED_LOOK_UP).body == b"good"
    assert names.asked.count(NAME) == 2


@pytest.mark.parametrize(("takes", "left"), [((0.5,), 1.5), ((0.0, 1.0), 1.0), ((1.0, 1.25), 0.01), ((1.995,), 0.01)])
def test_what_connecting_has_left_is_there_for_what_follows(monkeypatch, names, takes, left):
    """The handshake's time, by a clock and a network that are made up: each address but the last is dead."""
    now = 1000.0
    monkeypatch.setattr(transport_module, "time", SimpleNamespace(monotonic=lambda: now))
    names.addresses = [f"127.0.0.{number}" for number in range(1, len(takes) + 1)]
    connection, each, tried, connected = SimpleNamespace(_dns_host=NAME, timeout=2.0, port=443), list(takes), [], []

    def connect() -> Any:
        nonlocal now
        tried.append((connection._dns_host, connection.timeout))
        now += each.pop(0)
        if each:
            raise urllib3.exceptions.ConnectTimeoutError
        return SimpleNamespace(settimeout=connected.append)

    transport_module._connected(connection, connect)
    assert connected == [pytest.approx(left)]
    assert [address for address, _ in tried] == names.addresses
    assert tried[0][1] == pytest.approx(2.0 / len(takes))
    assert tried[-1][1] == pytest.approx(max(0.01, 2.0 - sum(takes[:-1])))
    assert (connection._dns_host, connection.timeout) == (NAME, 2.0)


# The same with TLS


@dataclass
class Shop:
    """A TLS context for a host, what it was called by its clients, and the file that vouches for it."""

    context: ssl.SSLContext
    called: list[str | None]
    authority: str


def tls_for(folder: Path, *alternatives: x509.GeneralName) -> Shop:
    """A host's TLS, self-signed for these names."""
    now, name = datetime.now(timezone.utc), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    public_key = PLATFORM_KEY.public_key()
    usage = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*unused, "encipher_only", "decipher_only"), False)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage, **never), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .sign(PLATFORM_KEY, hashes.SHA256())
    )
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(pem(made))
    key.write_bytes(
        PLATFORM_KEY.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    shop = Shop(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), [], str(chain))
    shop.context.load_cert_chain(chain, key)
    shop.context.sni_callback = lambda connection, called, context: shop.called.append(called)
    return shop


def trust(monkeypatch, authority):
    context = ssl.create_default_context(cafile=authority)
    monkeypatch.setattr(transport_module, "_context", lambda: context)


@pytest.mark.parametrize("before", [(), (DEAD[0],), ("127.0.0.9",)], ids=["at once", "after a dead one", "after a no"])
def test_tls_is_spoken_with_the_name_whichever_address_answers(monkeypatch, names, tmp_path, before):
    shop, transport = tls_for(tmp_path, x509.DNSName(NAME)), Transport()
    trust(monkeypatch, shop.authority)
    names.addresses = [*before, "127.0.0.1"]
    with Host(Say(body=b"good"), tls=shop.context) as host, dead(host.port, *set(before) & set(DEAD)):
        assert send(transport, f"https://{NAME}:{host.port}/").body == b"good"
    assert shop.called == [NAME]
    assert host.seen[0].headers["host"] == f"{NAME}:{host.port}"


@pytest.mark.parametrize(
    "alternative",
    [x509.DNSName("another.example"), x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("127.0.0.1")],
    ids=["another name", "its address", "its address as a name"],
)
def test_a_certificate_for_anything_but_the_name_is_refused(monkeypatch, names, tmp_path, alternative):
    shop, transport = tls_for(tmp_path, alternative), Transport()
    trust(monkeypatch, shop.authority)
    names.addresses = [DEAD[0], "127.0.0.1"]
    with Host(tls=shop.context) as host, dead(host.port, DEAD[0]), pytest.raises(Unreachable):
        send(transport, f"https://{NAME}:{host.port}/")
    assert host.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(transport, names, tmp_path):
    names.addresses = ["127.0.0.1"]
    with Host(tls=tls_for(tmp_path, x509.DNSName(NAME)).context) as host, pytest.raises(Unreachable):
        send(transport, f"https://{NAME}:{host.port}/")
    assert host.seen == []


@pytest.mark.parametrize("others", [(), DEAD], ids=["one address", "five addresses"])
def test_addresses_that_were_not_needed_take_no_time_from_the_handshake(monkeypatch, names, tmp_path, others):
    shop, transport = tls_for(tmp_path, x509.DNSName(NAME)), Transport()
    trust(monkeypatch, shop.authority)
    shop.context.sni_callback = lambda connection, called, context: time.sleep(CONNECT_TIMEOUT / 2)
    names.addresses = ["127.0.0.1", *others]
    with Host(Say(body=b"good"), tls=shop.context) as host:
        assert send(transport, f"https://{NAME}:{host.port}/").body == b"good"


@pytest.mark.parametrize("drips", ["body", "headers"])
def test_over_tls_a_whole_answer_has_one_deadline_too(monkeypatch, names, tmp_path, drips):
    shop, transport = tls_for(tmp_path, x509.DNSName(NAME)), Transport()
    trust(monkeypatch, shop.authority)
    names.addresses = ["127.0.0.1"]
    head = BODY_DRIPS if drips == "body" else b"HTTP/1.1 200 OK\r\nX-Header: "
    with Host(drip(head, b"x", 0.1, 100), tls=shop.context) as host, pytest.raises(TimedOut):
        send(transport, f"https://{NAME}:{host.port}/", timeout=1.0)
    assert len(host.seen) == 1


def test_over_tls_an_answer_of_doubtful_end_ends_its_connection(monkeypatch, names, tmp_path):
    shop, transport = tls_for(tmp_path, x509.DNSName(NAME)), Transport()
    trust(monkeypatch, shop.authority)
    names.addresses = ["127.0.0.1"]
    with Host(Say(204, b""), Say(headers={"Content-Length": "2"}), Say(), tls=shop.context) as host:
        for _ in range(4):
            send(transport, f"https://{NAME}:{host.port}/")
    peers = [seen.peer for seen in host.seen]
    assert peers[0] == peers[1], "204 has a clear end"
    assert peers[1] != peers[2], "the length stood there twice"
    assert peers[2] == peers[3]


@pytest.mark.parametrize(
    "say",
    [
        lines(),
        lines("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
        lines("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        lines("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        lines("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
        lines("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hexadecimal\r\n"),
        lines("SSH-2.0-OpenSSH_9.0\r\n"),
        lines("HTTP/1.1 200 OK\r\n" + "X-A: b\r\n" * 500 + "\r\n"),
        lines("HTTP/1.1 200 OK\r\nX-Long: " + "x" * 100_000 + "\r\n\r\n"),
    ],
    ids=[
        "nothing",
        "headers only",
        "half a body",
        "half a chunk",
        "no last chunk",
        "bad chunk",
        "another protocol",
        "too many headers",
        "too long a header",
    ],
)
def test_an_answer_that_breaks_off_or_is_no_http_is_unreachable(transport, say):
    with Host(say) as host, pytest.raises(Unreachable):
        send(transport, host.url + "/")


def test_a_reset_is_unreachable(transport):
    def reset(wire: BinaryIO) -> None:
        connection: socket.socket = wire._sock  # type: ignore[attr-defined]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    with Host(Say(raw=reset)) as host, pytest.raises(Unreachable):
        send(transport, host.url + "/")


def test_a_body_beyond_the_limit_is_given_up_before_it_is_whole(transport):
    written = 0

    def flood(wire: BinaryIO) -> None:
        nonlocal written
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while written < 100 * MAX_BODY:
                written += wire.write(b"x" * 65536)

    with Host(Say(raw=flood)) as host, pytest.raises(Unreachable) as caught:
        send(transport, host.url + "/", timeout=20)
    assert written < 20 * MAX_BODY
    assert str(caught.value) == "WeChat Pay's answer exceeds 1048576 bytes"


def test_a_body_of_the_limit_is_read_and_one_of_a_byte_more_is_not(transport):
    with Host(Say(body=b"x" * MAX_BODY), Say(body=b"x" * (MAX_BODY + 1))) as host:
        assert len(send(transport, host.url + "/", timeout=20).body) == MAX_BODY == 1024 * 1024
        with pytest.raises(Unreachable):
            send(transport, host.url + "/", timeout=20)


def drip(head: bytes, each: bytes, pause: float, times: int) -> Say:
    def write(wire: BinaryIO) -> None:
        wire.write(head)
        for _ in range(times):
            time.sleep(pause)
            wire.write(each)

    return Say(raw=write)


BODY_DRIPS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKS_DRIP = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "say",
    [
        Say(after=3),
        drip(BODY_DRIPS, b"x", 0.1, 30),
        drip(CHUNKS_DRIP, b"1\r\nx\r\n", 0.1, 30),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n", 0.1, 30),
        drip(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x", 0.1, 30),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1, 30),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x", 0.1, 30),
    ],
    ids=["silence", "body", "chunks", "headers", "one header", "interim answers", "one chunk's size"],
)
def test_a_whole_answer_has_one_deadline_whatever_its_pace(transport, say):
    started = time.monotonic()
    with Host(say) as host:
        with pytest.raises(TimedOut):
            send(transport, host.url + "/", timeout=0.4)
        assert time.monotonic() - started < 1.4


@pytest.mark.parametrize("timeout", [0.0, -0.07])
def test_without_any_time_nothing_is_sent(transport, timeout):
    """Between looking at the clock and sending, a busy machine can lose what was left of a second try."""
    with Host() as host:
        with pytest.raises(TimedOut) as caught:
            send(transport, host.url + "/", "POST", b"{}", timeout=timeout)
        assert str(caught.value) == "no whole answer from WeChat Pay within 0.0 s"
    assert host.seen == []


def test_a_host_that_does_not_read_is_given_up_at_the_deadline(transport):
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        asking = pool.submit(send, transport, url, "POST", b"x" * 50_000_000, timeout=0.4)
        try:
            assert isinstance(asking.exception(5), OutcomeUnknown)
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # who waits all the same is let go


def test_after_a_failure_the_next_request_gets_a_connection_of_its_own(transport):
    with Host(drip(BODY_DRIPS, b"late", 0.1, 10), Say(body=b"second")) as host:
        with pytest.raises(TimedOut):
            send(transport, host.url + "/", timeout=0.25)
        assert send(transport, host.url + "/").body == b"second"
    assert host.seen[0].peer != host.seen[1].peer


def test_a_failure_tells_no_header_of_the_request(transport):
    secret = 'WECHATPAY2-SHA256-RSA2048 signature="c2VjcmV0"'
    for say in (lines("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Say(after=1)):
        with Host(say) as host, pytest.raises(OutcomeUnknown) as caught:
            transport.send("POST", host.url + "/v3/x", b"{}", lambda _: {"Authorization": secret}, timeout=0.3)
        assert "c2VjcmV0" not in str(caught.value)
        assert "c2VjcmV0" not in repr(caught.value)


def test_where_no_thread_is_to_be_had_a_name_counts_as_not_found(transport, monkeypatch):
    """Not as a fault of the function's own: the try before may have been carried out, and that has to be said."""

    def refused(_):
        raise RuntimeError("can't start new thread")

    with Host() as host:
        monkeypatch.setattr(threading.Thread, "start", refused)
        with pytest.raises(Unreachable, match="no answer from WeChat Pay"):
            send(transport, host.url + "/", timeout=5)
        monkeypatch.undo()
    assert host.seen == []
