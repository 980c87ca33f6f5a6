"""The self-test proves to whoever holds the keys that this function answers, and tells everybody else nothing."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sandbox import Credentials, Sandbox
from services.self_test import SelfTest
from tests.doctor.clinic import API_V3_KEY, CENTER, OWN
from tests.http.house import House, house
from tests.support import Reply, in_process

KEY = b"0123456789abcdefghijABCDEFGHIJ!?"
URLS = {"payment": OWN + "unifiedOrderTrigger", "refund": OWN + "refundTrigger", "transfer": ""}
NONCE = "00112233445566778899aabbccddeeff"
PATHS = {
    "payment": ("/wx-pay/unifiedOrderTrigger", "/wechatpay/order"),
    "refund": ("/wx-pay/refundTrigger", "/wechatpay/refund"),
}
NOW = 1_764_000_000


def holding(now: float = NOW, key: bytes = KEY, **urls: str) -> SelfTest:
    return SelfTest(key, URLS | urls, clock=lambda: now)


def mac_of(purpose: str, *parts: object) -> str:
    """By the library's own HKDF."""
    info = f"pay-common self-test {purpose}".encode()
    key = HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(KEY)
    return hmac.digest(key, "\n".join(map(str, parts)).encode(), "sha256").hex()


def test_question_and_answer_are_what_the_docstring_says() -> None:
    asked = holding().ask("payment", NONCE)
    question = {"kind": "payment", "url": URLS["payment"], "time": NOW, "nonce": NONCE}
    assert asked == {"selfTest": question | {"mac": mac_of("ask", *question.values())}}
    answer = holding(now=NOW + 7.9).answer("payment", asked)
    assert answer == {"selfTest": {"time": NOW + 7, "proof": mac_of("answer", *question.values(), NOW + 7)}}
    assert holding().proved(asked, answer) == NOW + 7


def spoilt(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda asked: {"selfTest": asked["selfTest"] | changes}


def reflected(asked: dict[str, Any]) -> Any:
    question = asked["selfTest"]
    parts = [question[name] for name in ("kind", "url", "time", "nonce")]
    return {"selfTest": question | {"mac": mac_of("answer", *parts)}}


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another mac": spoilt(mac="0" * 64),
    "no mac": lambda asked: {"selfTest": {name: asked["selfTest"][name] for name in ("kind", "url", "time", "nonce")}},
    "a mac that is no text": spoilt(mac=7),
    "a mac beyond ASCII": spoilt(mac="ö" * 64),
    "another nonce": spoilt(nonce="f" * 32),
    "a nonce of another form": spoilt(nonce="F" * 32),
    "another time": spoilt(time=NOW + 1),
    "a time that is no number": spoilt(time=str(NOW)),
    "a time beyond all bounds": spoilt(time=10**60),
    "another address": spoilt(url="https://elsewhere.tea-house.cn/wx-pay/unifiedOrderTrigger"),
    "an address that is no text": spoilt(url=["x"]),
    "half a character": spoilt(url="\ud800"),
    "another kind": spoilt(kind="refund"),
    "the answer's key": reflected,
    "something beside it": lambda asked: asked | {"event_type": "TRANSACTION.SUCCESS"},
    "a list": lambda asked: {"selfTest": [asked["selfTest"]]},
    "nothing in it": lambda asked: {"selfTest": {}},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_question_has_no_answer(name: str) -> None:
    assert holding().answer("payment", FORGED[name](holding().ask("payment", NONCE))) is None


@pytest.mark.parametrize(("seconds", "answers"), [(299, True), (-299, True), (300, False), (-300, False)])
def test_a_question_is_good_for_five_minutes(seconds: int, answers: bool) -> None:
    asked = holding().ask("payment", NONCE)
    assert (holding(now=NOW + seconds).answer("payment", asked) is not None) is answers


def test_it_is_good_for_its_own_kind_key_and_address_alone() -> None:
    asked = holding().ask("payment", NONCE)
    assert holding().answer("refund", asked) is None
    assert holding(key=b"x" * 32).answer("payment", asked) is None
    # Whoever gets the question at a wrong address cannot have it answered here and pass that off as his own.
    assert holding(payment="https://other.tea-house.cn/wx-pay/unifiedOrderTrigger").answer("payment", asked) is None
    assert holding(payment="").answer("payment", asked) is not None


def test_an_answer_is_good_for_its_own_question_alone() -> None:
    test = holding()
    asked, other = test.ask("payment", NONCE), test.ask("payment", "f" * 32)
    answer = test.answer("payment", asked)
    assert answer
    assert test.proved(other, answer) is None
    assert test.proved(asked, {"selfTest": answer["selfTest"] | {"time": NOW + 1}}) is None
    assert test.proved(asked, asked) is None
    for wrong in (None, [], {}, {"selfTest": 1}, {"selfTest": {"time": "1", "proof": "x"}}, {"selfTest": {"time": 1}}):
        assert test.proved(asked, wrong) is None


def test_the_key_is_in_no_repr() -> None:
    assert KEY.decode() not in repr(holding())


# The function


@pytest.fixture(scope="module", params=["sdk", "gateway"])
def running(
    request: pytest.FixtureRequest, credentials: Credentials, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    urls = {"notifyURLPayURL": CENTER + "order", "notifyURLRefundsURL": CENTER + "refund"}
    if request.param == "sdk":
        urls = {"notifyURLPayURL": URLS["payment"], "notifyURLRefundsURL": URLS["refund"]}
    with house(tmp_path_factory.mktemp("self-test"), credentials, request.param, **urls) as found:
        yield found


def holder(running: House, key: str = "") -> SelfTest:
    credentials = running.box.credentials
    at_center = running.box.sign_mode == "gateway"
    urls = {"payment": CENTER + "order", "refund": CENTER + "refund"} if at_center else URLS
    return SelfTest((key or credentials.api_v3_key).encode(), urls)


@pytest.mark.parametrize("kind", PATHS)
def test_the_function_proves_itself_and_does_nothing_else(running: House, kind: str) -> None:
    test = holder(running)
    for path in PATHS[kind]:
        running.new()
        asked = test.ask(kind, NONCE)
        reply = running.function.post(path, asked)
        assert reply.status == 200
        assert test.proved(asked, reply.body)
        assert "SUCCESS" not in reply.text
        running.assert_untouched()


def plain(reply: Reply) -> tuple[int, str, dict[str, str]]:
    """All of an answer but what is of the moment."""
    of_the_moment = ("Date", "X-Request-Id")
    return reply.status, reply.text, {name: value for name, value in reply.headers.items() if name not in of_the_moment}


@pytest.mark.parametrize("path", [path for pair in PATHS.values() for path in pair])
def test_a_forged_one_is_refused_like_anything_else(running: House, path: str) -> None:
    ordinary = plain(running.function.post(path, {"id": "EV-1", "event_type": "TRANSACTION.SUCCESS", "resource": {}}))
    assert ordinary[0] == 400
    kind = next(kind for kind, pair in PATHS.items() if path in pair)
    other = next(other for other in PATHS if other != kind)
    bad = [
        holder(running, API_V3_KEY).ask(kind, NONCE),
        holder(running).ask(other, NONCE),
        holder(running).ask(kind, NONCE) | {"id": "EV-1"},
        SelfTest(holder(running).api_v3_key, holder(running).urls, clock=lambda: 1_600_000_000).ask(kind, NONCE),
        {"selfTest": {}},
    ]
    for body in bad:
        assert plain(running.function.post(path, json.dumps(body).encode())) == ordinary
    running.assert_untouched()


def test_it_is_answered_at_callbacks_only(running: House) -> None:
    asked = holder(running).ask("payment", NONCE)
    for path in ("/", "/wx-pay/wxpay_order", "/healthz", "/selfTest"):
        assert running.function.post(path, asked).status in (401, 404)


def test_neither_question_nor_proof_is_logged(running: House) -> None:
    asked = holder(running).ask("payment", NONCE)
    reply = running.function.post(PATHS["payment"][0], asked)
    log = running.function.log_text()
    assert asked["selfTest"]["mac"] not in log
    assert reply.body["selfTest"]["proof"] not in log


def test_a_function_without_keys_has_none_to_prove(credentials: Credentials) -> None:
    with Sandbox(sign_mode="sdk", credentials=credentials) as box:
        env = box.env(merchantId=None)
    with in_process(env) as function:
        asked = SelfTest(credentials.api_v3_key.encode(), {"payment": env["notifyURLPayURL"]}).ask("payment", NONCE)
        reply = function.post(PATHS["payment"][0], asked)
    assert (reply.status, reply.body["code"]) == (503, "FAIL")
