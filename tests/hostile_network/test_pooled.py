"""What one answer leaves on its connection is never taken for the next request's answer.

The leftover is always the worst there is: a true, freshly signed answer to somebody else's order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from sandbox import Credentials
from tests.hostile_network.attacks import chunked, framed, split
from tests.hostile_network.scene import Scene, answer_of, prepay_id, scene
from tests.hostile_network.wire import Exchange

POISON = "wx26112233445566somebodyelse"
BUFFER = 8192  # bytes that Python's buffered reader takes from a connection at once


@pytest.fixture(scope="module")
def running(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("pooled"), credentials) as made:
        yield made
        made.assert_no_secret_in_the_log()
        made.assert_all_in_time()


@pytest.fixture
def shop(running: Scene) -> Iterator[Scene]:
    running.main.hang_up()
    running.main.heard.clear()
    running.backup.heard.clear()
    yield running
    running.main.act = lambda x: x.send(x.truth())


numbers = (f"ORDER{turn:05d}" for turn in range(100_000))


class Poison:
    """`after(write)` makes an act: the first request gets what `write(truth, poison)` says, the others the truth."""

    def __init__(self, shop: Scene) -> None:
        self.shop = shop
        self.is_there = threading.Event()

    def after(self, write: Callable[[bytes, bytes], tuple[bytes, ...]], pause: float = 0.0) -> None:
        def act(x: Exchange) -> None:
            first, *pieces = write(x.truth(), answer_of(self.shop.box, {"prepay_id": POISON}))
            self.shop.main.act = honest
            x.send(first)
            for piece in pieces:
                x.wait(pause)
                x.send(piece)
            self.is_there.set()

        self.shop.main.act = act


def honest(x: Exchange) -> None:
    x.send(x.truth())


def assert_own(shop: Scene, *, connections: int) -> None:
    """An order gets its own answer, and the hosts have by now seen so many connections since the poison."""
    number = next(numbers)
    assert prepay_id(shop.order(number)) == shop.box.ledger.orders[number].credential.value
    assert len({heard.connection for heard in shop.main.heard}) == connections


def padded(answer: bytes, size: int) -> bytes:
    """The same answer, of exactly `size` bytes."""
    head, body = split(answer)
    head += b"\r\nX-Pad: "
    return head + b"x" * (size - len(head) - 4 - len(body)) + b"\r\n\r\n" + body


def half(poison: bytes) -> tuple[bytes, bytes]:
    return poison[:100], poison[100:]


LEFT = {
    "in the same record": lambda truth, poison: (truth + poison,),
    "in a record of its own": lambda truth, poison: (truth, poison),
    "many in one record": lambda truth, poison: (truth + poison * 10,),
    "where the reader's buffer ends": lambda truth, poison: (padded(truth, BUFFER) + poison,),
    "half in the buffer": lambda truth, poison: (padded(truth, BUFFER - 100) + poison,),
    "half of it": lambda truth, poison: (truth + half(poison)[0], half(poison)[1]),
    "a byte": lambda truth, poison: (truth + b"\n",),
    "behind the last chunk": lambda truth, poison: (
        framed(truth, b"Transfer-Encoding: chunked", body=chunked(split(truth)[1])) + poison,
    ),
    "behind trailers": lambda truth, poison: (
        framed(truth, b"Transfer-Encoding: chunked", body=chunked(split(truth)[1], b"0\r\nX: y\r\n\r\n")) + poison,
    ),
}


@pytest.mark.parametrize("pause", [0.0, 0.3], ids=["at once", "later"])
@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_of_an_answer_is_nobody_s(shop: Scene, name: str, pause: float) -> None:
    poison = Poison(shop)
    poison.after(LEFT[name], pause)
    assert_own(shop, connections=1)
    assert poison.is_there.wait(10)
    assert_own(shop, connections=2)
    assert_own(shop, connections=2)


# Answers of which two readers can think differently: the connection is given up, whatever has or has not come by then.
UNCLEAR: dict[str, Callable[[bytes], bytes]] = {
    "two lengths": lambda truth: framed(truth, *[b"Content-Length: %d" % len(split(truth)[1])] * 2),
    "a length with a sign": lambda truth: framed(truth, b"Content-Length: +%d" % len(split(truth)[1])),
    "a length with an underscore": lambda truth: framed(truth, b"Content-Length: 0_%d" % len(split(truth)[1])),
    "a length and chunks": lambda truth: framed(
        truth, b"Content-Length: 3", b"Transfer-Encoding: chunked", body=chunked(split(truth)[1])
    ),
    "chunked twice": lambda truth: framed(
        truth, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=chunked(split(truth)[1])
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_an_answer_without_a_clear_end_ends_its_connection(shop: Scene, name: str) -> None:
    Poison(shop).after(lambda truth, poison: (UNCLEAR[name](truth),))
    assert_own(shop, connections=1)
    assert_own(shop, connections=2)


@pytest.mark.parametrize("framing", [b"Content-Length: %d", b"Transfer-Encoding: chunked"], ids=["length", "chunks"])
def test_a_204_with_a_body_ends_its_connection(shop: Scene, framing: bytes) -> None:
    """Closing an order is answered 204; what a server sends behind it may come when the next order waits."""
    number = next(numbers)
    shop.order(number)
    shop.main.heard.clear()

    def act(x: Exchange) -> None:
        answer = x.truth()
        shop.main.act = honest
        poison = answer_of(shop.box, {"prepay_id": POISON})
        assert answer.startswith(b"HTTP/1.1 204")
        x.send(framed(answer, framing % len(poison) if b"%" in framing else framing, body=b""))
        x.wait(0.2)
        x.send(poison)

    shop.main.act = act
    assert shop.function.call("wxpay_close_order", {"out_trade_no": number}).status == 200
    assert_own(shop, connections=2)


@pytest.mark.parametrize("status", [102, 103, 199])
def test_the_answer_that_follows_an_interim_one_is_that_request_s(shop: Scene, status: int) -> None:
    """Taken for the answer itself, it would leave the true one to the next order."""
    Poison(shop).after(lambda truth, _: (b"HTTP/1.1 %d Wait\r\nLink: </a>\r\n\r\n" % status, truth), 0.3)
    assert_own(shop, connections=1)
    assert_own(shop, connections=1)
    assert shop.backup.heard == []


def test_101_ends_its_connection(shop: Scene) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    Poison(shop).after(lambda truth, poison: (head, poison), 0.2)
    assert_own(shop, connections=1)
    assert len(shop.backup.heard) == 1
    assert_own(shop, connections=2)


def test_an_answer_that_comes_too_late_is_nobody_s(shop: Scene) -> None:
    """The first host answers after its half of wxPayTimeout: the second has settled it by then."""
    Poison(shop).after(lambda truth, poison: (b"", truth, poison), 2.2)
    assert_own(shop, connections=1)
    assert len(shop.backup.heard) == 1
    for _ in range(10):
        assert_own(shop, connections=2)


def test_answers_to_many_at_once_stay_with_their_orders(shop: Scene) -> None:
    """Every second answer has another one behind it, while eight callers share the connections."""
    lock, turn = threading.Lock(), 0

    def act(x: Exchange) -> None:
        nonlocal turn
        with lock:
            turn += 1
            spoilt = turn % 2
        x.send(x.truth(), answer_of(shop.box, {"prepay_id": POISON}) if spoilt else b"")

    shop.main.act = act
    wrong: list[str] = []

    def run(caller: int) -> None:
        for at in range(6):
            number = f"MANY{caller:03d}{at:03d}"
            if prepay_id(shop.order(number)) != shop.box.ledger.orders[number].credential.value:
                wrong.append(number)

    callers = [threading.Thread(target=run, args=(caller,)) for caller in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert wrong == []
    assert turn == 48


def test_ordinary_answers_share_a_connection(shop: Scene) -> None:
    """All of the above is worth nothing if no connection is used twice anyway."""
    for _ in range(5):
        assert_own(shop, connections=1)

    def in_chunks(x: Exchange) -> None:
        answer = x.truth()
        x.send(framed(answer, b"Transfer-Encoding: chunked", body=chunked(split(answer)[1])))

    shop.main.act = in_chunks
    for _ in range(3):
        assert_own(shop, connections=1)
