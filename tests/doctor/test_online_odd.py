"""What the doctor says of answers that are rare: unsigned, unreadable, broken off, of another clock."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from services.doctor import callbacks
from tests.doctor.clinic import CENTER, HOST, OPERATOR_KEY, OWN, Diagnosis, Roads, diagnose

CENTER_HOST = CENTER.split("/")[2]
NO_ORDER = "/v3/pay/transactions/out-trade-no/"


class Ward:
    """WeChat Pay and a merchant's machine; nothing at the callback addresses but what a test puts there."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.roads = Roads({})

    def diagnose(self, **changes: str | None) -> Diagnosis:
        none = {"notifyURLPayURL": None, "notifyURLRefundsURL": None, "transferNotifyUrl": None}
        given: dict[str, str | None] = {**none, "service_app_id": None, "operatorKey": OPERATOR_KEY}
        return diagnose(self.box.env(**(given | changes)), "--online", transport=self.roads)


@pytest.fixture(scope="module")
def wards(credentials: Credentials) -> Iterator[dict[str, Ward]]:
    with ExitStack() as stack:
        yield {
            mode: Ward(stack.enter_context(Sandbox(sign_mode="sdk", key_mode=mode, credentials=credentials)))
            for mode in ("public_key", "certificate")
        }


@pytest.fixture
def patient(wards: dict[str, Ward]) -> Ward:
    wards["public_key"].box.reset()
    return wards["public_key"]


@pytest.fixture
def certified(wards: dict[str, Ward]) -> Ward:
    wards["certificate"].box.reset()
    return wards["certificate"]


Answering = Callable[[BaseHTTPRequestHandler, bytes], tuple[int, bytes]]


@contextmanager
def server(answering: Answering) -> Iterator[str]:
    """Answers each request by what `answering` makes of it and its body; status 0 breaks the connection off."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answering(self, self.rfile.read(int(self.headers["Content-Length"] or 0)))
            if status == 0:
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def found(told: Diagnosis) -> list[str]:
    """The variables of all findings but that this merchant keeps no orders and has no address for refunds."""
    unset = ("notifyURLPayURL", "notifyURLRefundsURL", "orderDatabaseUrl")
    return [
        one["variable"] for one in told.findings if not (one["variable"] in unset and "is not set" in one["what"])
    ]


def the(told: Diagnosis, variable: str) -> Any:
    """The only finding of these."""
    assert found(told) == [variable], told.findings
    return told.about(variable)[0]


def mentions(sentences: Any, words: str) -> bool:
    return any(words in sentence for sentence in sentences)


# WeChat Pay


def test_a_proxy_that_takes_the_signature_off_is_found(patient: Ward) -> None:
    patient.box.fault("empty_200", path=NO_ORDER)
    finding = the(patient.diagnose(), "wxPayApiBase")
    assert "takes the signature off" in finding["what"]
    assert "Let proxies pass these headers on" in finding["fix"]


def test_a_refusal_without_a_signature_proves_nothing_about_wechat_pays_key(patient: Ward) -> None:
    patient.box.fault("no_signature", path=NO_ORDER)
    told = patient.diagnose()
    assert mentions(told.checked, "accepts the signature by privateKey")
    assert mentions(told.not_checked, "WeChat Pay's own key: its answer carried no signature")
    assert not mentions(told.checked, "wxPayPublicKey verifies")


def test_a_refusal_that_is_about_nothing_of_ours_is_repeated(patient: Ward) -> None:
    patient.box.fault("error", path=NO_ORDER, code="PARAM_ERROR")
    told = patient.diagnose()
    assert found(told) == []
    assert mentions(told.not_checked, "signature, keys and AppIDs: WeChat Pay answered 400 PARAM_ERROR")
    assert not mentions(told.checked, "accepts the signature")


def test_a_public_key_id_that_wechat_pay_refuses(patient: Ward) -> None:
    refusal = {"code": "PARAM_ERROR", "message": "HTTP头 Wechatpay-Serial 不正确"}
    with server(lambda request, _: (400, json.dumps(refusal).encode())) as url:
        finding = patient.diagnose(wxPayApiBase=url, wxPayApiBackup=url).about("wxPayPublicKeyId")[0]
    assert "is not known to WeChat Pay (400 PARAM_ERROR" in finding["what"]
    assert "together with that key" in finding["fix"]


def test_an_answer_that_no_certificate_verifies_is_no_finding(certified: Ward) -> None:
    certified.box.fault("bad_signature", path=NO_ORDER)
    told = certified.diagnose()
    assert found(told) == []
    assert mentions(told.not_checked, "its certificates do not verify its answer")


def test_beside_a_public_key_certificates_prove_the_api_v3_key(patient: Ward) -> None:
    patient.box.keys.certificates_available = True
    told = patient.diagnose()
    assert found(told) == []
    assert mentions(told.checked, "apiV3Key decrypts")


def test_certificates_that_cannot_be_had_now_tell_nothing_about_the_api_v3_key(patient: Ward) -> None:
    patient.box.fault("system_error", path="/v3/certificates")
    told = patient.diagnose()
    assert found(told) == []
    assert mentions(told.not_checked, "apiV3Key: WeChat Pay answered 500")
    assert mentions(told.checked, "accepts the signature")


# The network


def test_a_connection_that_breaks(patient: Ward) -> None:
    with server(lambda request, _: (0, b"")) as url:
        [finding] = patient.diagnose(wxPayApiBackup=url).about("wxPayApiBackup")[-1:]
    assert "the connection breaks" in finding["what"]
    assert "what stands between" in finding["fix"]


def test_an_address_that_does_not_answer_in_time(patient: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PATIENCE", 0.3)

    def late(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, bytes]:
        time.sleep(1)
        return 200, b""

    with server(late) as url:
        patient.roads.hosts = {HOST: url}
        finding = the(patient.diagnose(notifyURLPayURL=OWN + "unifiedOrderTrigger"), "notifyURLPayURL")
    assert "no answer came in time" in finding["what"]
    assert "NAT gateway" in finding["fix"]


# The Integration Center


def behind_the_center(patient: Ward, hosts: dict[str, str]) -> Diagnosis:
    patient.roads.hosts = hosts
    return patient.diagnose(signMode="gateway", notifyURLPayURL=CENTER + "order", notifyURLRefundsURL=None)


def test_an_integration_center_that_fails(patient: Ward) -> None:
    with server(lambda request, _: (503, b"")) as url:
        finding = the(behind_the_center(patient, {CENTER_HOST: url}), "notifyURLPayURL")
    assert finding["level"] == "warning"
    assert "the Integration Center, which answers HTTP 503" in finding["what"]


def test_an_integration_center_that_cannot_be_found(patient: Ward) -> None:
    told = behind_the_center(patient, {})
    assert "cannot be resolved" in the(told, "notifyURLPayURL")["what"]
    assert not mentions(told.checked, "the Integration Center answers")


# The function's clock


@pytest.mark.parametrize(("ahead", "is_told"), [(100, True), (-100, True), (20, False)])
def test_a_function_whose_clock_differs(patient: Ward, ahead: int, is_told: bool) -> None:
    """It answers with the right proof, made here by the words of services/self_test.py."""
    key = hmac.digest(patient.box.env()["apiV3Key"].encode(), b"pay-common self-test answer\x01", sha256)

    def proving(_: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        question = json.loads(body)["selfTest"]
        there = question["time"] + ahead
        parts = [*(str(question[name]) for name in ("kind", "url", "time", "nonce")), str(there)]
        proof = hmac.new(key, "\n".join(parts).encode(), sha256).hexdigest()
        return 200, json.dumps({"selfTest": {"time": there, "proof": proof}}).encode()

    with server(proving) as url:
        patient.roads.hosts = {HOST: url}
        told = patient.diagnose(notifyURLPayURL=OWN + "unifiedOrderTrigger")
    assert mentions(told.checked, "notifyURLPayURL: this function answers there")
    if not is_told:
        assert found(told) == []
        return
    finding = the(told, "clock")
    assert finding["level"] == "warning"
    assert "the function behind notifyURLPayURL and of this machine differ by" in finding["what"]
