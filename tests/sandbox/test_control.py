"""The control API, and the program around it."""

from __future__ import annotations

import ast
import http.client
import itertools
import json
import re
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import Credentials, Sandbox
from tests.sandbox.conftest import PREPAY, REFUNDS, Merchant, call

ROOT = Path(__file__).resolve().parents[2]


def ask(box, method, path, body=None, **headers):
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return call(box.url, method, "/sandbox/" + path, raw, {"Content-Type": "application/json", **headers})


def test_a_payment_and_a_refund_by_http_alone(merchant, box):
    merchant.send("POST", PREPAY, merchant.order())
    paid = ask(box, "POST", "orders/ORDER_000001/pay", {}).json["deliveries"]
    assert [(one["kind"], one["acknowledged"]) for one in paid] == [("order", True)]
    merchant.send("POST", REFUNDS, merchant.refund())
    settled = ask(box, "POST", "refunds/REFUND_1/settle", {"status": "SUCCESS"}).json["deliveries"]
    assert settled[0]["event_type"] == "REFUND.SUCCESS"
    assert ask(box, "GET", "orders").json[0]["trade_state"] == "REFUND"
    assert ask(box, "GET", "refunds").json[0]["status"] == "SUCCESS"
    assert [one["target"] for one in ask(box, "GET", "requests?since=1").json] == [REFUNDS]
    assert ask(box, "GET", "requests?since=0&spoilt").json == []
    assert len(ask(box, "GET", "deliveries").json) == 2
    assert ask(box, "POST", "deliver", {"kind": "order", "number": "ORDER_000001"}).json["deliveries"]
    assert ask(box, "POST", "reset").json["orders"] == 0


def test_switches_by_http(box):
    changed = ask(
        box,
        "POST",
        "state",
        {
            "function": "http://127.0.0.1:9999",
            "forward_path": None,
            "jwks": "error",
            "certificates_available": True,
            "rotate": "old",
        },
    )
    assert changed.status == 200
    assert (box.function, box.forward_path, box.jwks) == ("http://127.0.0.1:9999", None, "error")
    assert len(box.keys.certificates()) == 2


def test_faults_by_http(merchant, box):
    assert ask(box, "POST", "faults", {"kind": "system_error", "times": 1}).json["times"] == 1
    assert [fault["kind"] for fault in ask(box, "GET", "faults").json["faults"]] == ["system_error"]
    assert merchant.send("POST", PREPAY, merchant.order()).status == 500
    ask(box, "POST", "faults", {"kind": "reset"})
    assert ask(box, "DELETE", "faults").json["faults"] == []


def test_a_token_by_http_passes_the_gateway(box, function):
    token = ask(box, "POST", "token", {"kind": "user", "openid": "oMe", "claims": {"scope": "x"}}).json[
        "token"
    ]
    headers = {"Authorization": f"Bearer {token}"}
    assert call(box.url, "POST", "/v1/functions/pay-common?webfn=true", b"{}", headers).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("orders/ORDER_000001/pay", b"{"),
        ("orders/ORDER_000001/pay", b"[" * 100_000),
        ("orders/ORDER_000001/pay", []),
        ("orders/ORDER_000001/pay", {"surprise": 1}),
        ("orders/ORDER_000001/pay", {"openid": 1}),
        ("orders/ORDER_000001/pay", {"deliver": "no"}),
        ("orders/ORDER_000001/pay", {"attempts": True}),
        ("orders/ORDER_000001/pay", {"shape": "round"}),
        ("orders/ORDER_000001/pay", {"envelope": "blue"}),
        ("orders/ORDER_000001/pay", {"path": "elsewhere"}),
        ("orders/UNKNOWN/pay", {}),
        ("refunds/UNKNOWN/settle", {"status": "SUCCESS"}),
        ("refunds/UNKNOWN/settle", {}),
        ("refunds/UNKNOWN/settle", {"status": "CHANGE"}),
        ("transfers/UNKNOWN/finish", {"state": "ACCEPTED"}),
        ("deliver", {"kind": "order", "number": "ORDER_000001"}),
        ("deliver", {"kind": "letter", "number": "ORDER_000001"}),
        ("faults", {"kind": "nonsense"}),
        ("faults", {"kind": "reset", "times": 1.5}),
        ("token", {"kind": "king"}),
        ("token", {"claims": {"kid": "x"}}),
        ("state", {"function": "file:///etc/passwd", "jwks": "hang"}),
        ("state", {"forward_path": "x", "jwks": "hang"}),
        ("state", {"rotate": "back", "certificates_available": True}),
        ("state", {"jwks": "sometimes", "function": "http://127.0.0.1:1"}),
        ("state", {"switch_over": "begin", "function": "http://127.0.0.1:1"}),
        ("state", {"switch_over": "maybe", "limits": True}),
        ("state", {"rotate": "new", "switch_over": "begin", "running": True}),
        ("merchant", {"certificate": "lost", "api_v3_key": False}),
        ("merchant", {"products": ["jsapi", "gold"], "registered": False}),
        ("merchant", {"funds": {"BASIC": 1, "GOLD": 2}}),
        ("merchant", {"funds": {"BASIC": -1}}),
        ("users", {"openid": "o1", "account": "rich"}),
        ("users", {"real_name": "甲"}),
        ("clock", {"advance": "soon"}),
        ("clock", {"advance": "-5m"}),
        ("clock", {"advance": "500d"}),
        ("phone/open", {}),
        ("phone/open", {"code_url": "weixin://x", "h5_url": "https://x"}),
        ("phone/open", {"prepay_id": "wx0"}),
        ("orders/ORDER_000001/pay", {"after": "later"}),
        ("orders/ORDER_000001/pay", {"lose": 101}),
        ("orders/UNKNOWN/fail", {}),
        ("faults", {"kind": "error", "code": "NO_SUCH_CODE"}),
        ("faults", {"kind": "error", "code": "NO_AUTH", "status": 404}),
        ("faults", {"kind": "reset", "code": "NO_AUTH"}),
        ("call", {"path": "wx-pay/x", "body": {}}),
        ("call", {"path": "/x", "body": {}, "headers": {"A": "b\r\nC: d"}}),
        ("reset", {"really": True}),
    ],
)
def test_bad_input_is_400_with_a_reason_and_changes_nothing(merchant, box, path, body):
    merchant.send("POST", PREPAY, merchant.order())
    before = ask(box, "GET", "state").json
    answer = ask(box, "POST", path, body)
    assert answer.status == 400
    assert answer.json["error"]
    assert ask(box, "GET", "state").json | {"now": ""} == before | {"now": ""}
    assert box.ledger.orders["ORDER_000001"].state == "NOTPAY"
    assert box.faults == []


@pytest.mark.parametrize("query", ["since=x", "since=-1", "before=1"])
def test_a_bad_query_is_400(box, query):
    assert ask(box, "GET", f"requests?{query}").status == 400


def test_unknown_paths_and_methods_are_404_and_405(box):
    assert ask(box, "GET", "nothing").status == 404
    assert ask(box, "PUT", "faults").status == 405


def test_web_pages_of_other_origins_are_refused(box):
    assert ask(box, "POST", "reset", Origin="https://evil.example").status == 403
    assert ask(box, "POST", "reset", Origin=box.url).status == 200
    assert ask(box, "GET", "state", Origin="http://evil.example:80", Host="evil.example:80").status == 403


def test_the_variables_fit_the_modes(credentials, function):
    with Sandbox(function.url, "gateway", "certificate", credentials=credentials) as box:
        env = box.env(tokens=True, appId=None, logLevel="debug")
        assert "wxPayPublicKey" not in env
        assert "appId" not in env
        assert env["logLevel"] == "debug"
        assert env["cloudbaseAuthUrl"] == env["wxPayApiBase"] == box.url
        assert env["wxPayApiBackup"] == box.backup_url
        assert env["apiV3Key"].startswith("SANDBOX")
        assert re.fullmatch("[0-9A-Za-z]{32}", env["apiV3Key"])
        assert re.fullmatch("[0-9A-F]{40}", env["merchantSerialNumber"])
        assert re.fullmatch("[0-9]{10}", env["merchantId"])
        assert env["notifyURLPayURL"] == "https://sandbox.integration-callback.example/wechatpay/order"
    with Sandbox(function.url, "sdk", credentials=credentials) as box:
        assert box.env()["wxPayPublicKeyId"] == credentials.public_key_id
        assert box.env()["transferNotifyUrl"] == "https://shop.example/wx-pay/transferTrigger"


def test_kept_credentials_are_private_and_found_again(tmp_path):
    folder = tmp_path / "state"
    first = Credentials.load_or_create(folder)
    again = Credentials.load_or_create(folder)
    assert again.api_v3_key == first.api_v3_key
    assert again.merchant.serial == first.merchant.serial
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert (folder / ".gitignore").read_text() == "*\n"
    (folder / "apiclient_key.pem").write_text("broken")
    with pytest.raises(ValueError, match="delete the folder"):
        Credentials.load_or_create(folder)


def test_the_program_serves_writes_the_variables_and_stops_cleanly(tmp_path):
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--backup-port", "0", "--https-port", "0"]
    command += ["--state", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = list(itertools.takewhile(lambda line: "variables" not in line, process.stdout))
            url = next(line.split()[-1] for line in lines if "main host" in line)
            assert call(url, "GET", "/sandbox/state").json["sign_mode"] == "gateway"
            file = tmp_path / "function.env"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            script = f'. "{file}"; printf %s "$privateKey"'
            key = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout
            assert key.replace("\\n", "\n").strip() == (tmp_path / "apiclient_key.pem").read_text().strip()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_another_address_has_to_be_asked_for_twice(tmp_path):
    command = [sys.executable, "-m", "sandbox", "--host", "0.0.0.0", "--state", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--i-know-this-is-not-loopback" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_kept_state_starts_in_under_a_second(tmp_path):
    Credentials.load_or_create(tmp_path)
    started = time.perf_counter()
    with Sandbox(state=tmp_path) as box:
        assert call(box.url, "GET", "/sandbox/state").status == 200
    assert time.perf_counter() - started < 1


def test_one_connection_serves_many_requests(box):
    parts = urlsplit(box.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/sandbox/state")
        assert connection.getresponse().read()
        used = connection.sock
    assert used is connection.sock is not None
    connection.close()


def test_concurrent_orders_are_each_kept_once(box):
    merchant = Merchant(box)
    numbers = [f"ORDER_{index % 20:06d}" for index in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda number: merchant.send("POST", PREPAY, merchant.order(number)), numbers)
        )
    assert {answer.status for answer in answers} == {200}
    assert sorted(box.ledger.orders) == sorted(set(numbers))
    assert len(box.requests) == 60


def test_the_sandbox_imports_nothing_of_the_function():
    allowed = {"sandbox", "cryptography", "jwt", "segno", "pytest", *sys.stdlib_module_names}
    for file in (ROOT / "sandbox").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module]
            assert {name.partition(".")[0] for name in names} <= allowed, file.name


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("orders/ORDER_000001/pay", b'{"openid": "\\ud800"}'),
        ("orders/ORDER_000001/fail", b'{"reason": "\\ud800"}'),
        ("merchant", b'{"clock_off": NaN}'),
        ("merchant", b'{"clock_off": 1e400}'),
        ("orders/ORDER_000001/pay", b'{"after": "1m", "twice": true}'),
        ("state", b'{"forward_path": ""}'),
    ],
)
def test_what_could_not_be_shown_again_is_refused_before_anything_changes(merchant, box, path, body):
    merchant.send("POST", PREPAY, merchant.order())
    before = ask(box, "GET", "orders").json
    assert ask(box, "POST", path, body).status == 400
    assert ask(box, "GET", "orders").json == before
    assert ask(box, "GET", "state").json["merchant"]["clock_off"] == 0


def test_who_closes_the_port_that_he_uses_is_answered(box):
    closed = ask(box, "POST", "faults", {"kind": "refuse", "host": "main", "seconds": 0.2})
    assert (closed.status, closed.json["host"]) == (200, "main")
    with pytest.raises(ConnectionRefusedError):
        ask(box, "GET", "state")
    assert call(box.backup_url, "GET", "/sandbox/state").json["url"] == box.url


def test_a_fault_of_the_sandbox_itself_is_a_500(box, capsys):
    deep = b"[" * 200_000
    headers = {"Authorization": f"Bearer {box.token()}", "Content-Type": "application/json"}
    assert call(box.url, "POST", "/v1/functions/pay?webfn=true", deep, headers).status == 400
    box.ledger.place = None
    merchant = Merchant(box)
    assert merchant.send("POST", PREPAY, merchant.order()).status == 500
    assert "Traceback" in capsys.readouterr().err
