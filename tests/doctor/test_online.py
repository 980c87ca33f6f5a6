"""What the doctor finds by asking WeChat Pay, the callback addresses and the order database."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import select, update

from sandbox import Credentials, Sandbox
from sandbox.credentials import private_pem, public_pem
from services.doctor import merchant
from services.orders.columns import now
from services.orders.database import Database
from services.orders.schema import metadata, orders
from services.orders.tables import init_db
from tests.doctor.clinic import API_V3_KEY, CENTER, HOST, OPERATOR_KEY, OWN, Diagnosis, Roads, diagnose
from tests.support import MINI_PROGRAM, Function, in_process

OTHER_KEY = f"SANDBOX{API_V3_KEY}"[:32]
CENTER_HOST = CENTER.split("/")[2]
OWN_URLS = {
    "notifyURLPayURL": OWN + "unifiedOrderTrigger",
    "notifyURLRefundsURL": OWN + "refundTrigger",
    "transferNotifyUrl": OWN + "transferTrigger",
}


class Ward:
    """A sandbox, the deployed function, and the merchant's machine with the same settings."""

    def __init__(self, box: Sandbox, database: str) -> None:
        self.box = box
        self.database = database
        self.roads = Roads({})
        self.deployed: Function | None = None

    def settings(self, **changes: str | None) -> dict[str, str]:
        given: dict[str, str | None] = {**OWN_URLS, "operatorKey": OPERATOR_KEY, "orderDatabaseUrl": self.database}
        return self.box.env(tokens=True, **(given | changes))

    def diagnose(self, **changes: str | None) -> Diagnosis:
        return diagnose(self.settings(**changes), "--online", transport=self.roads)


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def ward(credentials: Credentials, folder: Path, key_mode: str = "public_key") -> Iterator[Ward]:
    url = f"sqlite:///{folder / 'orders.sqlite3'}"
    database = Database(url)
    init_db(database)
    database.close()
    with ExitStack() as stack:
        box = stack.enter_context(Sandbox(sign_mode="sdk", key_mode=key_mode, credentials=credentials))
        patient = Ward(box, url)
        patient.deployed = stack.enter_context(in_process(patient.settings()))
        patient.roads.hosts = {HOST: patient.deployed.url}
        yield patient


@pytest.fixture(scope="module")
def shared(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(credentials, tmp_path_factory.mktemp("ward")) as patient:
        yield patient


@pytest.fixture
def patient(shared: Ward) -> Ward:
    shared.box.reset()
    shared.roads.seen.clear()
    assert shared.deployed
    shared.roads.hosts = {HOST: shared.deployed.url}
    return shared


@pytest.fixture(scope="module")
def of_certificates(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(credentials, tmp_path_factory.mktemp("ward"), "certificate") as patient:
        yield patient


@pytest.fixture
def certified(of_certificates: Ward) -> Ward:
    of_certificates.box.reset()
    return of_certificates


def mentions(sentences: Any, words: str) -> bool:
    return any(words in sentence for sentence in sentences)


# All is well


def test_a_good_one_has_no_findings(patient: Ward) -> None:
    told = patient.diagnose()
    assert told.findings == []
    for words in (
        "answers in",
        "this clock and WeChat Pay's differ by",
        "accepts the signature",
        "wxPayPublicKey verifies",
        "appId is bound",
        "service_app_id is bound",
        "cloudbaseEnvId: the keys",
        "notifyURLPayURL: this function answers there",
        "notifyURLRefundsURL: this function answers there",
        "transferNotifyUrl: this function answers there",
        "the tables are there",
        "nothing waits for wxpay_reconcile",
    ):
        assert mentions(told.checked, words), words
    assert mentions(told.not_checked, "apiV3Key: this is a public-key merchant")


def test_nothing_is_left_behind_anywhere(patient: Ward) -> None:
    assert patient.deployed
    stored = patient.deployed.application.extensions["pay"].orders.parts.store
    patient.diagnose()
    assert patient.box.ledger.orders == {}
    assert [(seen.method, seen.target.partition("?")[0].partition("DOCTOR")[0]) for seen in patient.box.requests] == [
        ("GET", "/v3/certificates"),
        ("GET", "/v3/certificates"),
        ("GET", "/v3/pay/transactions/out-trade-no/"),
        ("GET", "/v3/certificates"),
        ("POST", "/v3/pay/transactions/jsapi"),
        ("POST", "/v3/pay/transactions/jsapi"),
    ]
    with stored.database.reading() as connection:
        tables = [table for table in metadata.sorted_tables if connection.execute(select(table)).all()]
    assert tables == []


def test_with_certificates_the_api_v3_key_is_proved(certified: Ward) -> None:
    told = certified.diagnose()
    assert told.findings == []
    assert mentions(told.checked, "apiV3Key decrypts")
    assert not mentions(told.not_checked, "apiV3Key")


def test_behind_the_integration_center_it_says_what_cannot_be_tried(patient: Ward) -> None:
    patient.roads.hosts = {CENTER_HOST: patient.box.url}
    told = patient.diagnose(
        signMode="gateway",
        notifyURLPayURL=CENTER + "order",
        notifyURLRefundsURL=CENTER + "refund",
        transferNotifyUrl=None,
    )
    assert told.findings == []
    assert mentions(told.checked, "notifyURLPayURL: the Integration Center answers")
    assert mentions(told.not_checked, "whether the Integration Center forwards to this function")
    asked = [(method, body) for method, url, body in patient.roads.seen if CENTER_HOST in url]
    assert asked == [("GET", None)] * 2, "no proof of a key goes there"


def test_an_order_that_is_accepted_all_the_same_is_closed(patient: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merchant, "NO_OPENID", "oSomebody00000000000000000001")
    told = patient.diagnose(service_app_id=None)
    assert told.findings == []
    [order] = patient.box.ledger.orders.values()
    assert (order.state, order.body["amount"]["total"]) == ("CLOSED", 1)


ORDERING, CLOSING = "/v3/pay/transactions/jsapi", "/close"
A_PAYER = "oSomebody00000000000000000001"


@pytest.fixture
def payable(patient: Ward, monkeypatch: pytest.MonkeyPatch) -> Ward:
    """WeChat Pay takes the doctor's openid."""
    monkeypatch.setattr(merchant, "NO_OPENID", A_PAYER)
    return patient


def targets(patient: Ward, words: str) -> list[str]:
    return [seen.target for seen in patient.box.requests if words in seen.target]


LOST: dict[str, list[dict[str, Any]]] = {
    "both answers": [{"kind": "system_error", "processed": True}],
    "both answers, because no signature holds": [{"kind": "bad_signature"}],
    "both answers on the way": [{"kind": "reset", "processed": True}],
    "the first, and the second is a refusal": [
        {"kind": "reset", "processed": True, "times": 1}, {"kind": "error", "code": "PARAM_ERROR", "times": 1},
    ],
    "the first, and the second is no one's": [
        {"kind": "reset", "processed": True, "times": 1}, {"kind": "unsigned_403", "times": 1},
    ],
    "the only one, replaced by one that nobody signed": [{"kind": "unsigned_403", "processed": True, "times": 1}],
}


@pytest.mark.parametrize("name", LOST)
def test_an_order_that_may_exist_is_closed(payable: Ward, name: str) -> None:
    for fault in LOST[name]:
        payable.box.fault(path=ORDERING, **fault)
    told = payable.diagnose(service_app_id=None)
    [order] = payable.box.ledger.orders.values()
    assert order.state == "CLOSED"
    assert mentions(told.not_checked, "appId: ")
    assert not mentions(told.checked, "appId is bound")
    assert not mentions(told.not_checked, "is closed")


def test_what_was_refused_for_certain_is_not_closed(patient: Ward) -> None:
    patient.diagnose()
    assert (len(targets(patient, ORDERING)), targets(patient, CLOSING)) == (2, [])


@pytest.mark.parametrize("kind", ["system_error", "reset", "unsigned_403", "frequency_limited"])
def test_a_close_that_fails_is_told_and_says_nothing_about_the_app_id(payable: Ward, kind: str) -> None:
    payable.box.fault(kind, path=CLOSING)
    told = payable.diagnose()
    [number, other] = payable.box.ledger.orders
    assert told.findings == []
    assert mentions(told.checked, "appId is bound")
    assert mentions(told.checked, "service_app_id is bound")
    for each in (number, other):
        assert mentions(told.not_checked, f"whether {each}, the order by which AppIDs are asked about, is closed (")
    assert not mentions(told.not_checked, "appId: ")


@pytest.mark.parametrize("seconds", [0, 200, -200])
def test_it_expires_in_a_minute_of_wechat_pays_clock_and_not_of_this_one(payable: Ward, seconds: int) -> None:
    payable.box.merchant.change(clock_off=seconds)
    payable.box.fault("system_error", path=CLOSING)
    earliest = time.time() + seconds + 57
    payable.diagnose(service_app_id=None)
    latest = time.time() + seconds + 62
    [order] = payable.box.ledger.orders.values()
    assert earliest < datetime.fromisoformat(order.body["time_expire"]).timestamp() < latest


def test_without_wechat_pays_time_nothing_is_ordered(payable: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    urlopen = payable.roads.urlopen

    def without_date(*arguments: Any, **options: Any) -> Any:
        response = urlopen(*arguments, **options)
        response.headers.pop("Date", None)
        return response

    monkeypatch.setattr(payable.roads, "urlopen", without_date)
    told = payable.diagnose()
    assert mentions(told.not_checked, "clock: WeChat Pay's answer has no Date")
    assert mentions(told.not_checked, "appId: WeChat Pay's answer has no Date")
    assert targets(payable, ORDERING) == []


# Clock and hosts


@pytest.mark.parametrize(("seconds", "level"), [(90, "warning"), (-90, "warning"), (400, "error"), (-400, "error")])
def test_a_clock_that_is_wrong(patient: Ward, seconds: int, level: str) -> None:
    patient.box.merchant.change(clock_off=seconds)
    told = patient.diagnose()
    finding = told.the("clock")
    assert (finding["level"], "NTP" in finding["fix"]) == (level, True)
    assert ("slow" if seconds > 0 else "fast") in finding["what"]
    assert mentions(told.not_checked, "this clock signs") == (level == "error")


@pytest.mark.parametrize(("host", "variable"), [("main", "wxPayApiBase"), ("backup", "wxPayApiBackup")])
def test_a_host_that_is_away(patient: Ward, host: str, variable: str) -> None:
    patient.box.fault("refuse", host=host)
    told = patient.diagnose(cloudbaseEnvId=None, cloudbaseAuthUrl=None)
    assert "nothing listens there" in told.the(variable)["what"]
    assert mentions(told.checked, "accepts the signature"), "the other one is asked"


def test_both_away(patient: Ward) -> None:
    patient.box.fault("refuse")
    told = patient.diagnose(cloudbaseEnvId=None, cloudbaseAuthUrl=None)
    assert [finding["variable"] for finding in told.findings] == ["wxPayApiBase", "wxPayApiBackup"]
    assert mentions(told.not_checked, "signature, keys and AppIDs: WeChat Pay cannot be reached")


def test_a_host_that_is_slow(patient: Ward) -> None:
    patient.box.fault("latency", times=1, seconds=2.2, host="backup")
    assert patient.diagnose().the("wxPayApiBackup")["level"] == "warning"


def test_a_name_that_does_not_resolve(patient: Ward) -> None:
    told = patient.diagnose(wxPayApiBackup="https://api2.mch.weixin.cn").about("wxPayApiBackup")
    assert any("cannot be resolved" in finding["what"] for finding in told)


# Signature and keys


WRONG = {
    "another serial number": ("merchantSerialNumber", "--certificate apiclient_cert.pem"),
    "another key": ("privateKey", "apiclient_key.pem that belongs to merchantSerialNumber"),
    "another merchant": ("merchantId", "one and the same merchant API certificate"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_signature_that_wechat_pay_refuses(patient: Ward, other_key: rsa.RSAPrivateKey, name: str) -> None:
    variable, fix = WRONG[name]
    values = {
        "merchantSerialNumber": "7" + "AB" * 19 + "C",
        "privateKey": private_pem(other_key),
        "merchantId": "1612345678",
    }
    told = patient.diagnose(**{variable: values[variable]})
    finding = told.the(variable)
    assert (finding["level"], "401 SIGN_ERROR" in finding["what"]) == ("error", True)
    assert fix in finding["fix"]


@pytest.mark.parametrize("state", ["none", "expired", "revoked", "replaced"])
def test_a_certificate_that_counts_no_more(patient: Ward, state: str) -> None:
    patient.box.merchant.change(certificate=state)
    assert "valid certificate" in patient.diagnose().the("merchantSerialNumber")["fix"]


def test_an_api_v3_key_that_was_never_set_on_the_platform(patient: Ward) -> None:
    patient.box.merchant.change(api_v3_key=False)
    assert "Set an APIv3 key under" in patient.diagnose().the("apiV3Key")["fix"]


def test_a_merchant_that_does_not_exist(patient: Ward) -> None:
    patient.box.merchant.change(registered=False)
    assert "home page" in patient.diagnose().the("merchantId")["fix"]


def test_another_public_key(patient: Ward, other_key: rsa.RSAPrivateKey) -> None:
    told = patient.diagnose(wxPayPublicKey=public_pem(other_key))
    assert "Download wxp_pub.pem anew" in told.the("wxPayPublicKey")["fix"]


def test_another_public_key_id(patient: Ward) -> None:
    told = patient.diagnose(wxPayPublicKeyId="PUB_KEY_ID_0116123456782025022700211648001000")
    assert "together with that key" in told.the("wxPayPublicKeyId")["fix"]


def test_a_public_key_for_a_merchant_who_has_certificates_only(certified: Ward) -> None:
    keys = certified.box.env(public_key=True)
    told = certified.diagnose(wxPayPublicKey=keys["wxPayPublicKey"], wxPayPublicKeyId=keys["wxPayPublicKeyId"])
    assert "platform certificates only" in told.the("wxPayPublicKeyId")["fix"]


def test_another_api_v3_key(certified: Ward) -> None:
    told = certified.diagnose(apiV3Key=OTHER_KEY)
    assert "not the APIv2 key, not the AppSecret" in told.the("apiV3Key")["fix"]
    assert mentions(told.not_checked, "notifyURLPayURL: set the right apiV3Key first")


def test_another_api_v3_key_beside_a_public_key(patient: Ward) -> None:
    patient.box.keys.certificates_available = True
    told = patient.diagnose(apiV3Key=OTHER_KEY)
    assert "not the APIv2 key" in told.the("apiV3Key")["fix"]


@pytest.mark.parametrize("code", ["RESOURCE_NOT_EXISTS", "NOT_ENOUGH"])
def test_a_public_key_merchant_without_the_public_key(patient: Ward, code: str) -> None:
    patient.box.fault("error", path="/v3/certificates", code=code)
    told = patient.diagnose(wxPayPublicKey=None, wxPayPublicKeyId=None)
    finding = told.the("wxPayPublicKey")
    assert (finding["level"], code in finding["what"]) == ("error", True)
    assert "wxPayPublicKeyId" in finding["fix"]


@pytest.mark.parametrize("code", ["RESOURCE_NOT_EXISTS", "NOT_ENOUGH"])
def test_a_public_key_merchant_with_it_is_all_right(patient: Ward, code: str) -> None:
    patient.box.fault("error", path="/v3/certificates", code=code)
    told = patient.diagnose()
    assert told.findings == []
    assert mentions(told.not_checked, "public-key merchant")


@pytest.mark.parametrize("kind", ["system_error", "frequency_limited", "not_json", "bad_signature"])
def test_what_cannot_be_told_now_is_no_finding_about_a_key(patient: Ward, kind: str) -> None:
    patient.box.fault(kind, path="/v3/pay/")
    told = patient.diagnose(service_app_id=None)
    expected = ["wxPayPublicKey"] if kind == "bad_signature" else []
    assert [finding["variable"] for finding in told.findings] == expected
    assert expected or mentions(told.not_checked, "signature, keys and AppIDs")


def test_broken_credentials_keep_nothing_else_from_being_checked(patient: Ward) -> None:
    told = patient.diagnose(privateKey="nonsense")
    assert told.the("privateKey")
    assert mentions(told.not_checked, "set first privateKey")
    assert mentions(told.checked, "this clock and WeChat Pay's")
    assert mentions(told.checked, "notifyURLPayURL: this function answers there")


# AppIDs


@pytest.mark.parametrize("variable", ["appId", "service_app_id"])
def test_an_app_id_that_is_not_bound(patient: Ward, variable: str) -> None:
    finding = patient.diagnose(**{variable: "wx0123456789abcdef"}).the(variable)
    assert "APPID_MCHID_NOT_MATCH" in finding["what"]
    assert "Product Center" in finding["fix"]


def test_a_merchant_without_jsapi_payment(patient: Ward) -> None:
    patient.box.merchant.change(products=["native"])
    told = patient.diagnose()
    assert told.findings == []
    assert mentions(told.not_checked, "appId: JSAPI payment, by which this is asked, is not enabled")


# Callback addresses


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def address(patient: Ward, host: str) -> Any:
    """Diagnose with the payment address alone, on this host; the only finding."""
    patient.roads.hosts = {HOST: host}
    return patient.diagnose(notifyURLRefundsURL=None, transferNotifyUrl=None).about("notifyURLPayURL")


@pytest.mark.parametrize(
    ("status", "body", "headers", "what", "fix"),
    [
        (404, b"not found", {}, "something else", "typing errors"),
        (200, b"OK", {}, "accepts anything", "Route the address to this function"),
        (200, b'{"code":"SUCCESS"}', {}, "accepts anything", "Route the address"),
        (200, b'{"selfTest":{"time":1,"proof":"00"}}', {}, "accepts anything", "Route the address"),
        (204, b"", {}, "accepts anything", "Route the address"),
        (401, b'{"code":"MISSING_CREDENTIALS"}', {}, "wants authentication", "authentication off"),
        (302, b"", {"Location": "https://elsewhere.tea-house.cn/"}, "redirect", "nobody follows"),
        (502, b"<h1>Bad Gateway</h1>", {}, "something else", "Route the address"),
    ],
)
def test_something_else_answers(
    patient: Ward, status: int, body: bytes, headers: dict[str, str], what: str, fix: str
) -> None:
    with answering(status, body, **headers) as url:
        [finding] = address(patient, url)
    assert finding["level"] == "error"
    assert what in finding["what"]
    assert fix in finding["fix"]


def test_a_host_that_does_not_exist(patient: Ward) -> None:
    patient.roads.hosts = {}
    told = patient.diagnose()
    assert [finding["variable"] for finding in told.findings] == list(OWN_URLS)
    assert all("cannot be resolved" in finding["what"] for finding in told.findings)
    assert all("spelling" in finding["fix"] for finding in told.findings)


def test_nothing_listens(patient: Ward) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        [finding] = address(patient, f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert "nothing listens" in finding["what"]


def test_a_certificate_that_nobody_vouches_for(patient: Ward) -> None:
    [finding] = address(patient, patient.box.https_url)
    assert "TLS certificate is not accepted" in finding["what"]
    assert "chain" in finding["fix"]


def test_the_function_at_a_path_that_is_no_callback(patient: Ward) -> None:
    told = patient.diagnose(notifyURLPayURL=f"https://{HOST}/notify").about("notifyURLPayURL")
    assert {finding["level"] for finding in told} == {"error", "warning"}
    [finding] = [finding for finding in told if finding["level"] == "error"]
    assert "/wx-pay/unifiedOrderTrigger for payments" in finding["fix"]


@pytest.mark.parametrize(
    "change",
    [{"apiV3Key": API_V3_KEY}, {"notifyURLPayURL": "https://other.tea-house.cn/wx-pay/unifiedOrderTrigger"}],
    ids=["another key", "another address"],
)
def test_another_function(patient: Ward, change: dict[str, str]) -> None:
    with in_process(patient.settings(**change, orderDatabaseUrl=None)) as other:
        [finding] = address(patient, other.url)
    assert "another apiV3Key, another address" in finding["what"]
    assert "exactly these variables" in finding["fix"]


def test_a_function_that_lacks_settings(patient: Ward) -> None:
    with in_process(patient.settings(privateKey=None, orderDatabaseUrl=None)) as other:
        [finding] = address(patient, other.url)
    assert "/healthz" in finding["fix"]


def test_a_function_that_takes_callbacks_only_need_not_know_its_address(patient: Ward) -> None:
    with in_process(patient.settings(notifyURLPayURL=None, orderDatabaseUrl=None)) as twin:
        assert address(patient, twin.url) == []


# Tokens


def test_an_environment_whose_keys_cannot_be_had(patient: Ward) -> None:
    patient.box.gateway.key_set = "error"
    assert "Environment Overview" in patient.diagnose().the("cloudbaseEnvId")["fix"]


# The order database


def test_tables_that_are_missing(patient: Ward, tmp_path: Path) -> None:
    told = patient.diagnose(orderDatabaseUrl=f"sqlite:///{tmp_path / 'new.sqlite3'}")
    assert "init-db" in told.the("orderDatabaseUrl")["fix"]


def test_tables_of_another_revision(patient: Ward, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    database = Database(url)
    init_db(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pay_revision SET version_num = 'v0000'")
    database.close()
    told = patient.diagnose(orderDatabaseUrl=url)
    assert "revision v0000" in told.the("orderDatabaseUrl")["what"]
    assert "init-db" in told.the("orderDatabaseUrl")["fix"]


def test_a_database_that_is_away(patient: Ward) -> None:
    told = patient.diagnose(orderDatabaseUrl="postgresql://shop:Tr0ub4d%40r-and-3@127.0.0.1:1/shop")
    assert "user, password" in told.the("orderDatabaseUrl")["fix"]
    assert "Tr0ub4d" not in told.output


def test_nobody_reconciles(patient: Ward, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'late.sqlite3'}"
    database = Database(url)
    init_db(database)
    with in_process(patient.settings(orderDatabaseUrl=url)) as function:
        order = {"description": "Tea", "out_trade_no": "TEA_000001", "amount": {"total": 20}}
        assert function.call("wxpay_order", order, MINI_PROGRAM).status == 200
    assert patient.diagnose(orderDatabaseUrl=url).findings == []
    with database.engine.begin() as connection:
        connection.execute(update(orders).values(next_check_at=now() - timedelta(minutes=11)))
    database.close()
    finding = patient.diagnose(orderDatabaseUrl=url).the("orderDatabaseUrl")
    assert (finding["level"], "examples/timer-function" in finding["fix"]) == ("warning", True)
