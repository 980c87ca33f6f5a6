"""What an application raises when a part of its answer is out: that part stays the only one, and ends unfinished."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile_callers.misbehaving import ERRORS, connect, serving
from tests.hostile_callers.wire import raw
from tests.orders.fleet import workers_of
from tests.support import Function

# how far an answer gets -> the status of its head, and all that follows it
REACHED = {
    "nowhere": (b"500", None),  # gunicorn's page
    "head": (b"200", b""),
    "half": (b"200", b"half"),
    "chunks": (b"200", b"4\r\nhalf\r\n"),  # and no last chunk: this is not the whole
    "end": (b"200", b"halfhalf"),
}


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    with serving(tmp_path_factory.mktemp("broken")) as running:
        yield running


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("how_far", REACHED)
def test_an_answer_breaks_off_where_the_application_does(function: Function, how_far: str, error: str) -> None:
    status, body = REACHED[how_far]
    workers = workers_of(function)
    with connect(function) as wire:
        wire.send(raw("GET", f"/{how_far}/{error}") + raw("GET", "/whole"))
        received = b""
        while piece := wire.socket.recv(65536):  # a reset is none of the ends that are fine: it could overtake the rest
            received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert received.count(b"HTTP/1.") == 1
    assert body is None or rest == body
    with connect(function) as wire:
        assert wire.send(raw("GET", "/whole")).answer().body == b"whole"
    assert workers_of(function) == workers
