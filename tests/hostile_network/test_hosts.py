"""A host that is wrong before it is asked anything: its certificate, its handshake, what it says to whoever connects.

The first host alone, and both; an order, a query, a refund, and the question by which a callback is confirmed.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509

from sandbox import Credentials
from tests.hostile_network.attacks import BROKEN, EARLY, LATE
from tests.hostile_network.authorities import DAY, Authority
from tests.hostile_network.scene import ASKED_AGAIN, PAUSE, Scene, assert_failed, done, paid, scene
from tests.hostile_network.wire import Greet, Wire, reset, until

HELLO = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(112))  # the beginning of a ServerHello
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # handshake_failure
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Host:
    """`make` says how a host greets; `statuses` what callers get when both do so."""

    make: Callable[[Scene, Wire], Greet]
    statuses: frozenset[int]
    refusal: str = ""  # in the log


def certified(refusal: str, *names: x509.GeneralName, **wrong: object) -> Host:
    """TLS with a certificate of an authority that the function trusts, right but for one thing."""

    def make(of: Scene, wire: Wire) -> Greet:
        context = of.authority.context(of.folder, *names, **wrong)  # type: ignore[arg-type]
        return lambda sock: context.wrap_socket(sock, server_side=True)

    return Host(make, BROKEN, refusal)


def of_a_stranger(of: Scene, wire: Wire) -> Greet:
    context = Authority("a stranger").context(of.folder)
    return lambda sock: context.wrap_socket(sock, server_side=True)


def saying(*data: bytes, drip: float = 0.0, end: Callable[[socket.socket], None] | None = None) -> Host:
    """After the client's first words these; then `end`, or silence."""

    def make(of: Scene, wire: Wire) -> Greet:
        def greet(sock: socket.socket) -> None:
            sock.recv(65536)
            for piece in data:
                sock.sendall(piece)
                wire.closing.wait(drip)
            if end:
                end(sock)
            while not end and sock.recv(65536):
                pass

        return greet

    return Host(make, BROKEN if end else LATE)


def cut_off(of: Scene, wire: Wire) -> Greet:
    """A handshake that ends in the middle: all that goes to the client, but the last flight."""

    def greet(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = wire.context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(sock.recv(65536))
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(outgoing.read()[:-10])

    return greet


def closed(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


HOSTS = {
    "another name": certified("IP address mismatch", x509.DNSName("api.mch.weixin.qq.com")),
    "another address": certified("IP address mismatch", x509.IPAddress(ip_address("127.0.0.2"))),
    "its address as a name": certified("IP address mismatch", x509.DNSName("127.0.0.1")),
    "expired": certified("certificate has expired", begins=-2 * DAY, ends=timedelta(seconds=-60)),
    "not yet valid": certified("certificate is not yet valid", begins=timedelta(hours=1)),
    "self-signed": certified("self-signed certificate", self_signed=True),
    "unknown authority": Host(of_a_stranger, BROKEN, "unable to get local issuer certificate"),
    "silence": saying(),
    "a slow hello": saying(*(bytes([value]) for value in HELLO), drip=0.1),
    "closed without a word": saying(end=closed),
    "closed in its hello": saying(HELLO[:40], end=closed),
    "closed in the handshake": Host(cut_off, BROKEN),
    "reset without a word": saying(end=reset),
    "reset in its hello": saying(HELLO[:40], end=reset),
    "an alert": saying(ALERT, end=closed),
    "plain HTTP": saying(HTTP, end=closed),
    "plain HTTP for long": saying(HTTP * 10_000, end=closed),
    "noise": saying(bytes(range(256)) * 100, end=closed),
}


@pytest.fixture(scope="module")
def running(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("hosts"), credentials) as made:
        yield made
        made.assert_no_secret_in_the_log()
        made.assert_all_in_time()


turns = iter(range(1000))


@pytest.fixture
def shop(running: Scene) -> Iterator[Shop]:
    shop = Shop(running, f"{next(turns):03d}")
    yield shop
    for wire in (running.main, running.backup):
        wire.greet, wire.act = None, lambda x: x.send(x.truth())


@dataclass
class Shop:
    """One attack: its numbers, what is asked, and what the hosts heard before."""

    scene: Scene
    turn: str

    def spoil(self, do: Callable[[Wire], None], wires: tuple[Wire, ...]) -> None:
        """Prepare what is asked for, and begin; connections from before are gone."""
        box = self.scene.box
        self.scene.place(self.number("Q"))
        self.scene.place(self.number("C"))
        self.scene.place_paid(paid(self.number("R")))
        self.before = len(box.requests)
        for wire in wires:
            do(wire)
        for wire in (self.scene.main, self.scene.backup):
            wire.heard.clear()
            wire.hang_up()

    def number(self, action: str) -> str:
        return f"H{self.turn}{action}TRY"

    def ask(self, expected: frozenset[int] = frozenset({200})) -> None:
        """All at once, so that waiting costs the time of one; once more what only this machine can have made late."""
        calls = {"O": self.scene.order, "Q": self.scene.query, "R": self.scene.refund}
        with ThreadPoolExecutor(4) as pool:
            callback = pool.submit(self.scene.box.pay, self.number("C"), envelope=None)
            made = {action: pool.submit(call, self.number(action)) for action, call in calls.items()}
        self.replies = {action: future.result() for action, future in made.items()}
        self.delivery = callback.result()[0]
        for _ in range(ASKED_AGAIN):
            for action, reply in self.replies.items():
                if reply.status == 504 and 504 not in expected:
                    self.replies[action] = calls[action](self.number(action))
            if expected == {200} and not self.delivery.acknowledged:
                time.sleep(PAUSE)
                (self.delivery,) = self.scene.box.deliver("order", self.number("C"), envelope=None)

    def assert_settled(self) -> None:
        for reply in self.replies.values():
            done(reply)
        assert self.delivery.acknowledged

    def assert_unknown(self, statuses: frozenset[int]) -> None:
        for reply in self.replies.values():
            assert_failed(reply, statuses)
        assert (self.delivery.status, self.delivery.answer[:14]) in [(503, b'{"code":"FAIL"'), (None, b"")]


def greeting(shop: Shop, name: str) -> Callable[[Wire], None]:
    def do(wire: Wire) -> None:
        wire.greet = HOSTS[name].make(shop.scene, wire)

    return do


@pytest.mark.parametrize("name", HOSTS)
def test_a_first_host_that_is_not_believed_is_told_nothing_and_the_second_settles_it(shop: Shop, name: str) -> None:
    shop.spoil(greeting(shop, name), (shop.scene.main,))
    shop.ask()
    shop.assert_settled()
    assert shop.scene.main.heard == []
    assert len(shop.scene.backup.heard) >= 4


@pytest.mark.parametrize("name", HOSTS)
def test_two_hosts_that_are_not_believed_are_told_nothing(shop: Shop, name: str) -> None:
    shop.spoil(greeting(shop, name), (shop.scene.main, shop.scene.backup))
    mark = len(shop.scene.function.log_text())
    shop.ask(HOSTS[name].statuses)
    shop.assert_unknown(HOSTS[name].statuses)
    assert len(shop.scene.box.requests) == shop.before
    assert shop.scene.main.heard == shop.scene.backup.heard == []
    refusal = HOSTS[name].refusal
    assert refusal in shop.scene.function.log_text()[mark:]


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("both", [False, True], ids=["the first host", "both hosts"])
def test_a_host_that_does_not_hear_a_request_to_its_end(shop: Shop, name: str, *, both: bool) -> None:
    def do(wire: Wire) -> None:
        wire.act = EARLY[name].act

    scene = shop.scene
    shop.spoil(do, (scene.main, scene.backup) if both else (scene.main,))
    shop.ask(EARLY[name].statuses if both else frozenset({200}))
    if not both:
        shop.assert_settled()
        return
    shop.assert_unknown(EARLY[name].statuses)
    assert len(scene.box.requests) == shop.before


def test_what_was_not_acknowledged_is_delivered_again_and_kept_once(running: Scene) -> None:
    """After all of the above."""
    running.main.hang_up()
    running.backup.hang_up()
    numbers = {one.number for one in running.box.deliveries}
    assert numbers
    until(lambda: running.box.advance("15s") is None or all(running.kept(number) for number in numbers), 60)
    for number in numbers:
        running.assert_kept_once(number)


def test_the_certificates_are_right_but_for_one_thing(running: Scene) -> None:
    """The authority of the wrong ones is trusted: with nothing wrong its host is believed."""
    context = running.authority.context(running.folder)
    running.main.greet = lambda sock: context.wrap_socket(sock, server_side=True)
    running.main.hang_up()
    running.main.heard.clear()
    done(running.order("RIGHT00001"))
    assert len(running.main.heard) == 1
    running.main.greet = None


def test_handshakes_that_stall_hold_up_nobody_else(shop: Shop) -> None:
    """Thirty calls wait for a first host that says nothing; all are settled by the second, none after the other."""
    shop.spoil(greeting(shop, "silence"), (shop.scene.main,))
    with ThreadPoolExecutor(30) as pool:
        for reply in pool.map(lambda turn: shop.scene.query(shop.number("Q")), range(30)):
            done(reply)
    assert threading.active_count() < 300


def test_what_is_logged_of_a_refusal_is_short(running: Scene) -> None:
    assert max(len(line) for line in running.function.log_text().splitlines()) < 20_000
