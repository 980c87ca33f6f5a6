"""An empty line before a request, as some send it after a body: skipped once, and no request (RFC 9112 section 2.2)."""

from __future__ import annotations

import socket

import pytest

from tests.hostile_callers.wire import Shop, Wire, encoded, raw
from tests.support import MINI_PROGRAM

EMPTY = b"\r\n"
ASKED = raw("POST", "/wx-pay/wxpay_close_order", encoded({"out_trade_no": "ORDER_0001"}), MINI_PROGRAM)
SENT = {
    "before": [EMPTY + ASKED],
    "before, alone": [EMPTY, ASKED],
    "before, cut": [b"\r", b"\n" + ASKED],
    "before, drop by drop": [b"\r", b"\n", ASKED[:1], ASKED[1:]],
    "between": [ASKED + EMPTY + ASKED],
    "behind": [ASKED + EMPTY, ASKED + EMPTY],
    "behind, cut": [ASKED + b"\r", b"\n" + ASKED],
    "behind, alone": [ASKED, EMPTY, ASKED, EMPTY],
}


@pytest.mark.parametrize("parts", SENT.values(), ids=SENT)
def test_an_empty_line_before_a_request_is_skipped(shop: Shop, parts: list[bytes]) -> None:
    number = b"".join(parts).count(ASKED)
    with shop.connect() as wire:
        for part in parts:
            wire.send(part)
            until_seen(shop)
        assert [wire.answer().status for _ in range(number)] == [200] * number
        assert wire.send(raw("GET", "/healthz")).answer().status == 200
    assert len(shop.house.box.requests) == number


def test_an_empty_line_alone_is_no_request(shop: Shop) -> None:
    """Longer than a request may take: the connection is as idle as before, and no clock runs for what comes then."""
    with shop.connect() as new, shop.connect() as cut, shop.connect() as kept, shop.connect() as pipelined:
        waiting = {"new": new, "cut": cut, "kept": kept, "pipelined": pipelined}
        new.send(EMPTY)
        cut.send(EMPTY[:1])
        kept.send(ASKED)
        pipelined.send(ASKED + EMPTY)
        assert kept.answer().status == pipelined.answer().status == 200
        kept.send(EMPTY)
        until_seen(shop)
        cut.send(EMPTY[1:])
        until_seen(shop)
        with shop.connect() as slow:
            assert slow.send(b"P").answer().status == 408  # begun after all of the above: their time would be over
        assert {name: acknowledged(shop, wire) for name, wire in waiting.items()} == dict.fromkeys(waiting, 200)


@pytest.mark.parametrize("sent", [EMPTY, EMPTY[:1]], ids=["CRLF", "CR"])
def test_who_sends_an_empty_line_and_hangs_up_is_not_answered(shop: Shop, sent: bytes) -> None:
    with shop.connect() as wire:
        wire.send(sent).socket.shutdown(socket.SHUT_WR)
        assert wire.is_over()


def test_an_empty_line_behind_the_last_request_does_not_reset_its_answer(shop: Shop) -> None:
    with shop.connect() as wire:
        wire.send(raw("GET", "/healthz", None, {"Connection": "close"}) + EMPTY)
        assert wire.answer().status == 200
        wire.send(EMPTY)
        assert wire.socket.recv(1) == b""


def until_seen(shop: Shop) -> None:
    """What was sent before on other connections has been read when this is answered: the loop reads in turn."""
    assert shop.ask(raw("GET", "/healthz")).status == 200


def acknowledged(shop: Shop, wire: Wire) -> int:
    """The status that a callback gets, for which WeChat Pay does not wait long."""
    try:
        return wire.send(shop.callback()).answer().status
    except (EOFError, OSError):
        return 0
