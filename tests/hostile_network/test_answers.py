"""Whatever a host makes of a request that it was sent: the first host alone, and both.

All attacks are under way at once, each known by its number: most of what they cost is waiting. Each of them meets an
order, a query, a refund, and the question by which a callback is confirmed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pytest

from sandbox import Credentials
from sandbox.records import Delivery
from tests.hostile_network.attacks import SLOW, SPOKEN, Attack
from tests.hostile_network.scene import (
    ASKED_AGAIN,
    PAUSE,
    Scene,
    answer_of,
    assert_failed,
    done,
    paid,
    prepay_id,
    scene,
)
from tests.hostile_network.wire import Exchange, until
from tests.support import Reply

MARKED = re.compile(r"A(\d{3})([MB])([OQRC])TRY")
PHASES = {"M": "the first host", "B": "both hosts"}
OTHER = "OTHER00001"  # an order of which there are true answers
CALLBACKS_AT_A_TIME = 4  # services.strategies.confirmation: the fifth is not asked about


def replays(of: Scene) -> dict[str, Attack]:
    """Truly signed answers that are not to this request.

    Another order's answer to an order is none of them: nothing in it names a number, so only TLS stands against it.
    """
    merchant = {"mchid": of.box.credentials.merchant_id, "appid": of.box.credentials.app_id}

    def another(x: Exchange) -> None:
        """The answer that WeChat Pay gave a moment ago to the same question about something else."""
        recorded = {"GET": OTHER, "POST": "OTHERREF01"}[x.heard.method]
        x.read_body()
        x.send(heard[recorded])

    def old(x: Exchange) -> None:
        """The true answer of six minutes ago."""
        head, _, body = x.truth().partition(b"\r\n\r\n")
        signer = of.box.keys.answering("")
        signed = signer.headers(body, timestamp=int(of.box.clock.now()) - 360)
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"wechatpay-")]
        x.send(b"\r\n".join([*kept, *(f"{n}: {v}".encode() for n, v in signed.items()), b"", body]))

    def of_another_merchant(x: Exchange) -> None:
        """Under this merchant's number, and signed with the key that belongs to another one."""
        head, _, body = x.truth().partition(b"\r\n\r\n")
        x.send(re.sub(rb"(?i)(wechatpay-serial: )\S+", rb"\g<1>PUB_KEY_ID_0119000000002026112100000000000009", head))
        x.send(b"\r\n\r\n" + body)

    heard = {
        OTHER: answer_of(of.box, {**merchant, "out_trade_no": OTHER, "trade_state": "SUCCESS"}),
        "OTHERREF01": answer_of(of.box, {"out_refund_no": "OTHERREF01", "status": "SUCCESS"}),
    }
    return {
        "a true answer about another number": Attack(another, frozenset({502})),
        "the true answer of six minutes ago": Attack(old, frozenset({502})),
        "the answer of another merchant": Attack(of_another_merchant, frozenset({502})),
    }


NAMES = [*SPOKEN, "a true answer about another number", "the true answer of six minutes ago"]
NAMES += ["the answer of another merchant"]


@dataclass
class Storm:
    """What became of each attack, by attack, phase and action; `deliveries` by number, in their order."""

    scene: Scene
    attacks: dict[str, Attack]
    replies: dict[tuple[str, str, str], Reply] = field(default_factory=dict)
    first: dict[tuple[str, str], Delivery] = field(default_factory=dict)

    def number(self, name: str, phase: str, action: str) -> str:
        return f"A{list(self.attacks).index(name):03d}{phase}{action}TRY"

    def settles(self, name: str, phase: str) -> bool:
        return phase == "M" or self.attacks[name].harmless

    def late(self) -> list[tuple[str, str, str]]:
        """What was answered 504 where there is nothing to wait for, or did not get through to the hosts."""
        return [
            (name, phase, action)
            for (name, phase, action), reply in self.replies.items()
            if (reply.status == 504 and (phase == "M" or 504 not in self.attacks[name].statuses))
            or self.asked(name, phase, action) not in self.askable(name)
        ]

    def asked(self, name: str, phase: str, action: str) -> list[str]:
        return [host for host, _ in self.sent(self.number(name, phase, action))]

    def askable(self, name: str) -> list[list[str]]:
        """Which hosts hear of it: the first alone where it is believed, else both, in this order and once each."""
        attack = self.attacks[name]
        first = [["main"]] if 200 in attack.statuses else []
        return first if attack.harmless else [*first, ["main", "backup"]]

    def forget(self, number: str) -> None:
        for wire in (self.scene.main, self.scene.backup):
            wire.heard[:] = [
                heard for heard in wire.heard if number not in heard.target and number.encode() not in heard.body
            ]

    def sent(self, number: str) -> list[tuple[str, str]]:
        """Which hosts heard of a number, and the bodies."""
        return [
            (host, heard.body.decode())
            for host, wire in (("main", self.scene.main), ("backup", self.scene.backup))
            for heard in wire.heard
            if number in heard.target or number.encode() in heard.body
        ]


def rage(storm: Storm) -> None:
    """All calls and all callbacks at once; once more, by itself, what only this machine can have made late."""
    ask: dict[str, Callable[[str], Reply]] = {
        "O": storm.scene.order,
        "Q": storm.scene.query,
        "R": storm.scene.refund,
    }
    with ThreadPoolExecutor(20) as callers, ThreadPoolExecutor(CALLBACKS_AT_A_TIME) as platform:
        made = {
            (name, phase, action): callers.submit(call, storm.number(name, phase, action))
            for name in storm.attacks
            for phase in PHASES
            for action, call in ask.items()
        }
        told = {
            (name, phase): platform.submit(storm.scene.box.pay, storm.number(name, phase, "C"), envelope=None)
            for name in storm.attacks
            for phase in PHASES
            if phase == "B" or name not in SLOW
        }
    storm.replies = {key: future.result() for key, future in made.items()}
    storm.first = {key: future.result()[0] for key, future in told.items()}
    for _ in range(ASKED_AGAIN):
        for name, phase, action in storm.late():
            number = storm.number(name, phase, action)
            storm.forget(number)
            storm.replies[name, phase, action] = ask[action](number)
        missed = [key for key, delivery in storm.first.items() if storm.settles(*key) and not delivery.acknowledged]
        time.sleep(PAUSE if missed else 0)
        for key in missed:
            (storm.first[key],) = storm.scene.box.deliver("order", storm.number(*key, "C"), envelope=None)


@pytest.fixture(scope="module")
def storm(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    with scene(tmp_path_factory.mktemp("answers"), credentials) as made:
        storm = Storm(made, {**SPOKEN, **replays(made)})
        assert list(storm.attacks) == NAMES
        for name in NAMES:
            for phase in PHASES:
                made.place(storm.number(name, phase, "Q"))
                made.place(storm.number(name, phase, "C"))
                made.place_paid(paid(storm.number(name, phase, "R")))

        def act(host: str, x: Exchange) -> None:
            marked = MARKED.search(x.heard.target + x.read_body().decode())
            if marked is None or (host == "backup" and marked[2] == "M"):
                x.send(x.truth())
            else:
                storm.attacks[NAMES[int(marked[1])]].act(x)

        made.main.act, made.backup.act = partial(act, "main"), partial(act, "backup")
        rage(storm)
        made.main.act = made.backup.act = lambda x: x.send(x.truth())
        yield storm


@pytest.mark.parametrize("action", ["O", "Q", "R"], ids=["order", "query", "refund"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_first_host_spoils_the_second_settles(storm: Storm, name: str, action: str) -> None:
    number = storm.number(name, "M", action)
    told = done(storm.replies[name, "M", action])
    ledger = storm.scene.box.ledger
    if action == "O":
        assert told["package"] == f"prepay_id={ledger.orders[number].credential.value}"
    else:
        assert told["out_trade_no" if action == "Q" else "out_refund_no"] == number
    sent = storm.sent(number)
    assert storm.asked(name, "M", action) in storm.askable(name)
    assert len({body for _, body in sent}) == 1, "the same bytes again"


@pytest.mark.parametrize("action", ["O", "Q", "R"], ids=["order", "query", "refund"])
@pytest.mark.parametrize("name", NAMES)
def test_what_both_hosts_spoil_is_told_in_time_as_unknown(storm: Storm, name: str, action: str) -> None:
    reply, attack = storm.replies[name, "B", action], storm.attacks[name]
    if reply.status == 200 and 200 in attack.statuses:
        done(reply)
    else:
        assert_failed(reply, attack.statuses)
    assert storm.asked(name, "B", action) in storm.askable(name), "once each, wherever a redirect leads"


@pytest.mark.parametrize("name", NAMES)
def test_a_callback_is_confirmed_by_the_second_host_or_not_acknowledged(storm: Storm, name: str) -> None:
    assert name in SLOW or storm.first[name, "M"].acknowledged
    spoilt = storm.first[name, "B"]
    if not storm.attacks[name].harmless and not (200 in storm.attacks[name].statuses and spoilt.acknowledged):
        assert not spoilt.acknowledged
        assert (spoilt.status, spoilt.answer[:14]) in [(503, b'{"code":"FAIL"'), (None, b"")]


def test_nothing_is_lost_and_nothing_happens_twice(storm: Storm) -> None:
    """Last: WeChat Pay tells again what was not acknowledged, and the same calls are made once more."""
    box = storm.scene.box
    numbers = [storm.number(name, phase, "C") for name, phase in storm.first]
    until(lambda: box.advance("15s") is None or all(storm.scene.kept(number) for number in numbers), 120)
    for number in numbers:
        storm.scene.assert_kept_once(number)
    before = dict(box.ledger.orders), dict(box.ledger.refunds)
    for name in NAMES:
        order, refund = storm.number(name, "B", "O"), storm.number(name, "B", "R")
        happened = before[1].get(refund)
        assert prepay_id(storm.scene.order(order)) == box.ledger.orders[order].credential.value
        assert done(storm.scene.refund(refund))["out_refund_no"] == refund
        assert happened in (None, box.ledger.refunds[refund])
        assert [one.amount for one in box.ledger.orders[paid(refund)].refunds] == [10]


def test_no_secret_is_in_the_log(storm: Storm) -> None:
    storm.scene.assert_no_secret_in_the_log()


def test_every_answer_came_in_time(storm: Storm) -> None:
    storm.scene.assert_all_in_time()
