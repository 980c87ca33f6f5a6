"""examples/nginx in a real nginx: what reaches the function and what does not, and a payment all the way through."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox import Sandbox
from tests.support import OPERATOR_KEY, ROOT, free_port, gunicorn, server_command

SITE = (ROOT / "examples" / "nginx" / "pay-common.conf").read_text()
UNIT = ROOT / "examples" / "nginx" / "pay-common.service"
ADDRESS = "127.0.0.1:3000"
HOST = "pay.shop.example"
# A handler of the function reads these; nginx has to let them through.
READ = {
    "Accept-Language": "zh-CN", "Authorization": "Bearer a.b.c", "Content-Type": "application/json",
    "Origin": "https://shop.example", "X-Operator-Key": "key", "Wechatpay-Nonce": "n", "Wechatpay-Serial": "s",
    "Wechatpay-Signature": "g", "Wechatpay-Timestamp": "1", "User-Agent": "Mozilla", "Accept": "*/*",
}
FORGED = {
    "X-Wx-Openid": "oForged", "X-WX-SOURCE": "wx_client", "x-wx-unionid": "u", "X-Wx-Anything-New": "1",
    "X-Tcb-Integration-Id": "1", "X-Tcb-Webfn": "true", "X-Cloudbase-Context": "e30=", "X-Authmethod": "WX_SERVER_AUTH",
    "X-Forwarded-For": "8.8.8.8", "X-Original-Forwarded-For": "8.8.4.4", "X-Real-IP": "1.1.1.1",
    "Forwarded": "for=1.1.1.1", "X-Forwarded-Proto": "http", "x_wx_openid": "oForged", "X-Request-Id": "mine",
    "Cookie": "a=b",
}


def nginx() -> str:
    path = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip("not run: nginx is not installed")
    return path


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the site has no longer {old!r}"
    return text.replace(old, new)


class Site:
    """nginx with the site of the example; only addresses and the certificate are this machine's."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.folder = folder
        self.tls, self.plain, self.redirect = free_port(), free_port(), free_port()
        self.certificate = folder / "cert.pem"
        certify(self.certificate, folder / "key.pem")
        site = replaced(SITE, "server 127.0.0.1:3000;", f"server 127.0.0.1:{upstream};")
        site = replaced(site, "listen 80 default_server;", f"listen 127.0.0.1:{self.redirect} default_server;")
        site = replaced(site, "listen 80;", f"listen 127.0.0.1:{self.redirect};")
        site = replaced(site, "listen 443 ssl default_server;", f"listen 127.0.0.1:{self.tls} ssl default_server;")
        # The second one is for the sandbox, which does not know this certificate.
        site = replaced(site, "listen 443 ssl;", f"listen 127.0.0.1:{self.tls} ssl; listen 127.0.0.1:{self.plain};")
        for name, file in (("fullchain", "cert"), ("privkey", "key")):
            site = replaced(site, f"/etc/letsencrypt/live/{HOST}/{name}.pem", f"{folder}/{file}.pem")
        (folder / "site.conf").write_text(site)
        places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy"))
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"{f'user {user()};' if os.geteuid() == 0 else ''} events {{}}\n"
            f"http {{ access_log {folder}/access.log; {places} include {folder}/site.conf; }}\n"
        )
        self.command = [nginx(), "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]

    @contextmanager
    def running(self) -> Iterator[Site]:
        tried = subprocess.run([*self.command, "-t"], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, tried.stderr
        assert "[warn]" not in tried.stderr
        process = subprocess.Popen(self.command)
        try:
            for _ in range(400):
                try:
                    self.request("GET", "/", port=self.plain)
                    break
                except OSError:
                    assert process.poll() is None, (self.folder / "error.log").read_text()
                    threading.Event().wait(0.05)
            yield self
        finally:
            process.terminate()
            process.wait(20)

    def request(self, method, path, body=None, headers=(), port=0):
        """Over TLS as `HOST` unless a port without it is given; returns status, headers and body."""
        if port:
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
        else:
            trust = ssl.create_default_context(cafile=str(self.certificate))
            connection = HTTPSConnection("127.0.0.1", self.tls, timeout=30, context=trust)
        try:
            connection.request(method, path, body, {"Host": HOST, **dict(headers)})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def user() -> str:
    return "root"  # a temporary folder of this user is closed to nobody


def certify(certificate: Path, key_file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


class Echo(BaseHTTPRequestHandler):
    """Answers what reached it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = json.dumps({"path": self.path, "headers": self.headers.items(), "length": len(body)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST  # noqa: N815 - as http.server names it

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def echoing(tmp_path_factory) -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        with Site(tmp_path_factory.mktemp("echo"), server.server_port).running() as site:
            yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_the_function_reads_arrives_and_what_a_caller_claims_does_not(echoing):
    status, _, body = echoing.request("POST", "/wx-pay/wxpay_order?a=b", b"{}", {**READ, **FORGED})
    told = json.loads(body)
    assert (status, told["path"], told["length"]) == (200, "/wx-pay/wxpay_order?a=b", 2)
    arrived = dict(told["headers"])
    assert len(arrived) == len(told["headers"])  # none of them twice
    request_id = arrived.pop("X-Request-Id")
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    own = {"Host": HOST, "X-Forwarded-For": "127.0.0.1", "Content-Length": "2"}
    assert arrived == own | READ


def test_every_header_that_the_function_reads_is_in_the_list():
    """Each is named somewhere in its code as a text."""
    passed = {name.lower() for name in re.findall(r"proxy_set_header (\S+)", SITE)}
    rooms = ("utils", "controllers", "routes", "services")
    code = "".join(path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py"))
    named = {name.lower() for name in re.findall(r'"([A-Za-z]+(?:-[A-Za-z]+)+)"', code)}
    read = {name for name in named if name.startswith(("x-", "wechatpay-", "accept-"))} | {"authorization", "origin"}
    platforms = {name for name in read if name.startswith(("x-wx-", "x-tcb-", "x-cloudbase-", "x-scf-"))}
    platforms |= {"x-authmethod", "x-original-forwarded-for", "x-real-ip"}
    # A header of requests to WeChat Pay, which go the other way.
    assert read - platforms - {"wechatpay-signature-type"} <= passed
    assert "wechatpay-signature" in read
    assert "x-operator-key" in read
    assert not passed & platforms


def test_a_body_of_four_megabytes_is_taken_and_a_larger_one_never_reaches_the_function(echoing):
    assert echoing.request("POST", "/wx-pay/x", b" " * (4 << 20))[0] == 200
    assert echoing.request("POST", "/wx-pay/x", b" " * ((4 << 20) + 1))[0] == 413


@pytest.mark.parametrize("path", ["/", "/healthz", "/openapi.json", "/wx-pay/../healthz", "/x/wx-pay/y"])
def test_nothing_else_is_open_to_the_internet(echoing, path):
    assert echoing.request("GET", path)[0] == 404


def test_without_tls_one_is_sent_to_tls(echoing):
    status, headers, _ = echoing.request("GET", "/wx-pay/x", port=echoing.redirect)
    assert (status, headers["Location"]) == (301, f"https://{HOST}/wx-pay/x")


@pytest.mark.parametrize("host", ["evil.example", f"{HOST}.evil.example", "127.0.0.1", "x", HOST[1:]])
@pytest.mark.parametrize("tls", [True, False])
def test_another_host_gets_no_answer_and_no_redirect(echoing, host, tls):
    for path in ("/wx-pay/x", "/"):
        # Closed without a word; where a part of the request was still on its way, that is a reset.
        with pytest.raises(ConnectionResetError):
            echoing.request("POST", path, b"{}", {"Host": host}, port=0 if tls else echoing.redirect)


def test_no_host_gets_no_answer_either(echoing):
    with socket.create_connection(("127.0.0.1", echoing.redirect), timeout=30) as connection:
        connection.sendall(b"GET /wx-pay/x HTTP/1.0\r\n\r\n")
        assert connection.recv(1000) == b""


def test_the_redirect_leads_to_the_sites_own_name_however_the_caller_writes_it(echoing):
    for host in (HOST.upper(), f"{HOST}:8080", f"{HOST}."):
        status, headers, _ = echoing.request("GET", "/wx-pay/x?a=b", headers={"Host": host}, port=echoing.redirect)
        assert (status, headers["Location"]) == (301, f"https://{HOST}/wx-pay/x?a=b")


def test_it_waits_longer_than_the_function_takes_and_never_sends_twice():
    assert int(re.findall(r"proxy_read_timeout (\d+)s;", SITE)[0]) > 20
    assert "proxy_next_upstream off;" in SITE


def test_a_payment_goes_through_it_and_nobody_is_believed_for_what_he_claims(tmp_path):
    with Sandbox(sign_mode="sdk") as sandbox:
        settings = sandbox.env(
            callerHeaders="ignored", publicActions="wxpay_order_native,wxpay_order_h5,wxpay_refund",
            operatorKey=OPERATOR_KEY, corsAllowOrigin="https://shop.example",
        )
        with gunicorn(settings, tmp_path / "log") as function:
            folder = tmp_path / "nginx"
            folder.mkdir()
            with Site(folder, int(function.url.rpartition(":")[2])).running() as site:
                sandbox.function = f"http://127.0.0.1:{site.plain}"
                pay_through(site, sandbox, function)


def pay_through(site, sandbox, function):
    def call(action, body, headers=()):
        sent = {"Content-Type": "application/json", **dict(headers)}
        status, _, text = site.request("POST", f"/wx-pay/{action}", json.dumps(body), sent)
        return status, json.loads(text)

    order = {"description": "tea", "out_trade_no": "NGINX_0001", "amount": {"total": 1}}
    status, answer = call("wxpay_order_native", order)
    assert status == 200, answer
    assert answer["data"]["data"]["code_url"].startswith("weixin://")
    assert [delivery.status for delivery in sandbox.pay("NGINX_0001")] == [200]
    assert "handlerUnifiedTrigger - payment result: NGINX_0001 SUCCESS" in function.log_text()
    # A stranger who says that he is somebody; an operator who is one.
    assert call("wxpay_query_order_by_out_trade_no", {"out_trade_no": "NGINX_0001"}, FORGED)[0] == 401
    refund = {"out_trade_no": "NGINX_0001", "out_refund_no": "BACK_0001", "amount": {"refund": 1, "total": 1}}
    assert call("wxpay_refund", refund, FORGED)[0] == 403
    assert call("wxpay_refund", refund, {"X-Operator-Key": OPERATOR_KEY})[0] == 200
    # An address of the caller's own making is not the buyer's.
    h5 = {**order, "out_trade_no": "NGINX_0002", "scene_info": {"h5_info": {"type": "Wap"}}}
    status, answer = call("wxpay_order_h5", h5, {**FORGED, "Origin": "https://shop.example"})
    assert (status, "payer_client_ip" in answer["msg"]) == (400, True)


# --- the unit


def unit() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M))


def test_the_unit_starts_what_scf_bootstrap_starts_at_the_address_that_nginx_asks():
    program, *arguments = unit()["ExecStart"].split()
    assert program == f"{unit()['WorkingDirectory']}/.venv/bin/python"
    assert arguments == server_command(ADDRESS)[1:]
    assert f"server {ADDRESS};" in SITE


def test_no_variable_opens_it_to_the_network(tmp_path):
    """The environment file may hold a PORT, as one for a container does, or gunicorn's own variable."""
    port, decoy = free_port(), free_port()
    arguments = [word.replace(ADDRESS, f"127.0.0.1:{port}") for word in unit()["ExecStart"].split()[1:]]
    variables = {"PATH": os.environ["PATH"], "PORT": str(decoy), "GUNICORN_CMD_ARGS": f"-b 0.0.0.0:{decoy}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=variables, stdout=log, stderr=log)
        try:
            await_answer(port, process)
            # Another address of this machine: open if all of them are.
            assert [refuses(host, each) for host in ("127.0.0.1", "127.0.0.2") for each in (port, decoy)] == [
                False, True, True, True,
            ]
        finally:
            process.terminate()
            process.wait(30)


def await_answer(port, process):
    for _ in range(600):
        assert process.poll() is None
        if not refuses("127.0.0.1", port):
            return
        threading.Event().wait(0.05)
    raise AssertionError("nothing listens")


def refuses(host, port):
    with socket.socket() as asking:
        return asking.connect_ex((host, port)) != 0


def test_systemd_finds_nothing_to_say_about_it(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not run: systemd-analyze is not installed")
    folder = tmp_path / "pay-common"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to("/bin/true")
    there = tmp_path / UNIT.name
    there.write_text(replaced(UNIT.read_text(), "/opt/pay-common", str(folder)))
    done = subprocess.run(["systemd-analyze", "verify", there], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])
