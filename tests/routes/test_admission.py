"""Who gets a place and who is refused, one request at a time; tests/load does it with threads and gunicorn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Response

from controllers.errors import TooBusy
from routes import admission as admission_module
from routes import dispatch
from routes.admission import PLACES, Admission
from tests.support import heard

ACTION, OTHER = "/wx-pay/wxpay_order", "/"
BUSY = "too many requests at a time, nothing was sent to WeChat Pay: try again in 1 s"
Do = Callable[[dict[str, Any]], None]


class Door:
    """An application behind an admission: each request does what its test says while it holds its place, if any."""

    def __init__(self) -> None:
        self.admission = Admission(self._serve, lambda method, path: (method, path) == ("POST", ACTION), self._complete)
        self.served = 0
        self.origins: list[str | None] = []

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.served += 1
        environ["test.do"](environ)
        return Response("served")(environ, start_response)

    def _complete(self, response: Response, origin: str | None) -> None:
        self.origins.append(origin)
        response.headers["X-Complete"] = "yes"

    def ask(self, path: str = ACTION, do: Do = lambda environ: None, **environ: Any) -> TestResponse:
        return Client(self.admission).post(path, environ_overrides={"test.do": do, **environ})

    def while_held(self, count: int, do: Callable[[], None], path: str = ACTION) -> None:
        """Do it while `count` requests hold a place each, one within the other."""
        if not count:
            do()
            return

        def next_one(environ: dict[str, Any]) -> None:
            environ["pay.admit"]()
            self.while_held(count - 1, do, path)

        assert self.ask(path, next_one).status_code == 200


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    with heard("pay.http") as lines:
        yield lines


def refused(answer: TestResponse) -> bool:
    if answer.status_code == 200:
        return False
    assert (answer.status_code, answer.json) == (503, {"code": -1, "msg": BUSY, "data": None})
    return True


def admitted(environ: dict[str, Any]) -> None:
    environ["pay.admit"]()


def turned_away(environ: dict[str, Any]) -> None:
    with pytest.raises(TooBusy, match=BUSY):
        environ["pay.admit"]()


@pytest.mark.parametrize("path", [ACTION, OTHER], ids=["by its path", "by its body"])
def test_as_many_are_let_in_as_there_are_places_and_the_next_when_one_has_left(door: Door, path: str) -> None:
    assert PLACES == 64

    def full() -> None:
        served = door.served
        assert refused(door.ask())
        assert door.served == served, "refused before the application"
        assert door.ask(OTHER, turned_away).status_code == 200
        assert door.ask(OTHER).status_code == 200, "who asks for no place needs none"

    door.while_held(PLACES - 1, lambda: door.while_held(1, full, path), path)

    def one_left() -> None:
        for _ in range(3):
            assert door.ask(path, admitted).status_code == 200

    door.while_held(PLACES - 1, one_left, path)
    assert not refused(door.ask())


def test_a_request_has_one_place_however_often_it_asks(door: Door) -> None:
    def asks_again(environ: dict[str, Any]) -> None:
        environ["pay.admit"]()
        environ["pay.admit"]()
        door.while_held(PLACES - 1, environ["pay.admit"])

    assert door.ask(ACTION, asks_again).status_code == 200
    assert door.ask(OTHER, asks_again).status_code == 200


def test_a_place_is_given_back_by_an_error_too_and_by_nobody_who_had_none(door: Door) -> None:
    def fails(environ: dict[str, Any]) -> None:
        raise LookupError

    for _ in range(PLACES):
        with pytest.raises(LookupError):
            door.ask(ACTION, fails)
        with pytest.raises(LookupError):
            door.ask(OTHER, fails)

    def full() -> None:
        for _ in range(3):
            assert refused(door.ask())
            with pytest.raises(LookupError):
                door.ask(OTHER, fails)
            with pytest.raises(TooBusy):
                door.ask(OTHER, admitted)

    door.while_held(PLACES, full)


def test_a_server_lets_in_as_many_as_there_are_places_before_any_thread_has_them(door: Door) -> None:
    for _ in range(PLACES):
        assert door.admission.enter("POST", ACTION) is True
    for _ in range(2):
        assert door.admission.enter("POST", ACTION) is False
    assert door.admission.enter("GET", ACTION) is None
    assert door.admission.enter("POST", OTHER) is None
    assert door.ask(OTHER, turned_away).status_code == 200
    door.admission.leave()
    assert door.ask(OTHER, admitted).status_code == 200
    assert door.admission.enter("POST", ACTION) is True
    assert door.admission.enter("POST", ACTION) is False


def test_who_has_entered_needs_no_other_place_and_gives_none_back(door: Door) -> None:
    for _ in range(PLACES):
        assert door.admission.enter("POST", ACTION) is True
    for _ in range(3):
        assert door.ask(ACTION, admitted, **{"pay.entered": True}).status_code == 200
        assert door.ask(OTHER, turned_away, **{"pay.entered": None}).status_code == 200


def test_who_was_refused_by_the_server_is_told_although_a_place_is_free_by_now(door: Door) -> None:
    assert refused(door.ask(**{"pay.entered": False}))
    assert not refused(door.ask(**{"pay.entered": None}))
    assert door.served == 1


def test_a_refusal_has_what_every_answer_has(door: Door) -> None:
    answer = door.ask(**{"pay.entered": False})
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Complete"] == "yes"
    assert answer.mimetype == "application/json"
    assert answer.vary.to_header() == "Accept-Language"
    door.ask(**{"pay.entered": False, "HTTP_ORIGIN": "https://shop.example"})
    assert door.origins == [None, "https://shop.example"]


def test_it_is_told_in_the_callers_language_and_legibly(door: Door) -> None:
    answer = door.ask(**{"pay.entered": False, "HTTP_ACCEPT_LANGUAGE": "zh-CN,en;q=0.5"})
    message = "当前请求过多，未向微信支付发送任何内容，请 1 秒后重试"
    assert json.loads(answer.data)["msg"] == message
    assert message.encode() in answer.data


def test_refusals_are_one_line_a_second(
    door: Door, said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(admission_module, "time", SimpleNamespace(monotonic=lambda: now))
    counts = []
    for now in (1000.0, 1000.0, 1000.9, 1001.0, 1001.5, 1002.5, 1003.4):  # noqa: B007 - the clock reads it
        assert refused(door.ask(**{"pay.entered": False}))
        counts.append(len(said))
    assert counts == [1, 1, 1, 2, 2, 3, 3]
    line = "all 64 places for callers are taken: {} requests refused with 503 since the start"
    assert said == [("ERROR", line.format(count)) for count in (1, 4, 6)]


@pytest.mark.parametrize(
    ("method", "path", "is_action"),
    [
        ("POST", "/wx-pay/wxpay_order", True),
        ("POST", "/a/b/wx-pay/wxpay_refund/", True),
        ("GET", "/wx-pay/wxpay_order", False),
        ("OPTIONS", "/wx-pay/wxpay_order", False),
        ("POST", "/wx-pay/unifiedOrderTrigger", False),
        ("POST", "/wechatpay/order", False),
        ("POST", "/wxpay_order", False),
        ("POST", "/wx-pay/x", False),
        ("POST", "/", False),
    ],
)
def test_what_the_request_line_says_is_an_action_needs_a_place_from_its_start(method, path, is_action) -> None:
    assert dispatch.is_action(method, path) is is_action
