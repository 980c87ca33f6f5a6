"""gunicorn.conf.py in a running gunicorn, before a small application that tells what reached it."""

import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest
from gunicorn.app.wsgiapp import WSGIApplication

from config.settings import Settings
from routes import dispatch
from tests.support import server_command
from utils import connection
from utils.server import ARRIVAL, Worker

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "gunicorn.conf.py"
APPLICATION = """
import gc, json, os, threading

together = threading.Barrier(100)

def app(environ, start_response):
    answer = {name: value for name, value in environ.items() if isinstance(value, str)}
    answer |= {"collects": gc.isenabled(), "kept apart": gc.get_freeze_count()}
    if environ["PATH_INFO"] == "/together":
        together.wait(60)
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Server:
    def __init__(self, folder):
        (folder / "app.py").write_text(APPLICATION)
        self.log = folder.parent / "log"
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening, self.log.open("wb") as log:
            self.port = listening.getsockname()[1]
            bind = f"fd://{listening.fileno()}"
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", CONFIG, "-b", bind, "app:app"],
                cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
                pass_fds=[listening.fileno()], stdout=log, stderr=subprocess.STDOUT,
            )

    def get(self, path="/", headers=()):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=90)
        connection.putrequest("GET", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, json.loads(body) if answer.status == 200 else body

    def exchange(self, raw):
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(raw)
            return connection.recv(65536)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server") / "code"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.process.terminate()
    server.process.wait(30)


@pytest.fixture
def settings(monkeypatch):
    def read(port=None):
        monkeypatch.delenv("PORT", raising=False)
        if port is not None:
            monkeypatch.setenv("PORT", port)
        return runpy.run_path(str(CONFIG))

    return read


def test_garbage_is_looked_for_in_what_came_after_the_start(server):
    _, answer = server.get()
    assert answer["collects"]
    assert answer["kept apart"] > 10_000


def test_as_many_requests_as_threads_are_served_at_once(server):
    statuses = []
    callers = [
        threading.Thread(target=lambda: statuses.append(server.get("/together")[0])) for _ in range(100)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert statuses == [200] * 100


@pytest.mark.parametrize(
    "header", [("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on"), ("X-Forwarded-Protocol", "ssl")]
)
def test_no_callers_forwarded_header_makes_the_request_look_encrypted(server, header):
    status, environ = server.get(headers=[header])
    assert (status, environ["wsgi.url_scheme"]) == (200, "http")


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "PATH_INFO", "Path-Info"])
def test_no_callers_header_moves_the_path(server, name):
    status, environ = server.get("/healthz", [(name, "/healthz")])
    assert (status, environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (200, "", "/healthz")


def test_an_identity_header_spelled_with_underscores_does_not_arrive(server):
    _, environ = server.get(headers=[("x_wx_openid", "oForged")])
    assert "HTTP_X_WX_OPENID" not in environ
    _, environ = server.get(headers=[("x-wx-openid", "oPlatform"), ("x_wx_openid", "oForged")])
    assert environ["HTTP_X_WX_OPENID"] == "oPlatform"


def test_a_token_of_six_kilobytes_arrives_and_one_of_ten_is_refused(server):
    status, environ = server.get(headers=[("Authorization", "Bearer " + "a" * 6000)])
    assert (status, len(environ["HTTP_AUTHORIZATION"])) == (200, 6007)
    assert server.get(headers=[("Authorization", "Bearer " + "a" * 10000)])[0] == 431


def test_more_than_a_hundred_fields_and_a_path_of_five_kilobytes_are_refused(server):
    assert server.get(headers=[(f"x-{n}", "1") for n in range(120)])[0] == 431
    assert server.get("/" + "a" * 5000)[0] == 414


def test_a_malformed_request_is_refused_and_its_content_is_not_logged(server):
    answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization Bearer PLANTED-SECRET\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert server.get("/PLANTED-PATH?PLANTED-QUERY")[0] == 200
    assert b"PLANTED" not in server.log.read_bytes()


def test_port_opens_it_to_the_container_and_nothing_else_does(settings):
    assert settings("80")["bind"] == "0.0.0.0:80"
    assert settings()["bind"] == settings("")["bind"] == "127.0.0.1:3000"


def test_nothing_is_written_but_in_tmp(settings):
    values = settings()
    assert values["worker_tmp_dir"] == "/tmp"
    assert values["control_socket_disable"] is True
    assert not {"pidfile", "statsd_host", "tmp_upload_dir"} & values.keys()


def test_connections_leave_descriptors_for_the_threads_own(settings):
    values = settings()
    assert values["worker_connections"] + 2 * values["threads"] < 1024


# What decides how much a caller may send, how long he may take, how many there may be, and how strictly he is read.
EXPLAINED = {
    "workers": 1, "worker_connections": 512, "backlog": 2048,
    "timeout": 30, "graceful_timeout": 15, "keepalive": 75, "max_requests": 0, "preload_app": False,
    "limit_request_line": 4094, "limit_request_fields": 100, "limit_request_field_size": 8190,
    "http_protocols": ["h1"], "http2_cleartext": "off", "http_parser": "python",
    "permit_obsolete_folding": False, "permit_unconventional_http_method": False,
    "permit_unconventional_http_version": False, "strip_header_spaces": False, "casefold_http_method": False,
    "forwarded_allow_ips": [], "forwarder_headers": [], "header_map": "drop",
    "proxy_protocol": "off", "proxy_allow_ips": [],
    "sendfile": False, "worker_tmp_dir": "/tmp", "control_socket_disable": True,
    "accesslog": None, "errorlog": "-", "loglevel": "error",
}  # fmt: skip
OPEN = {"bind", "threads", "worker_class"}  # told apart by their own tests


def test_what_is_explained_is_what_gunicorn_runs_with(monkeypatch):
    """As gunicorn itself reads it with the command of scf_bootstrap."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", server_command("0.0.0.0:9000")[3:])
    application = WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]")
    running = {name: setting.get() for name, setting in application.cfg.settings.items()}
    assert {name: running[name] for name in EXPLAINED} == EXPLAINED
    assert application.cfg.worker_class is Worker
    assert application.cfg.address == [("0.0.0.0", 9000)]
    named = {name for name in runpy.run_path(str(CONFIG)) if not name.startswith("__")} - {"os"}
    assert named == EXPLAINED.keys() | OPEN


def test_every_setting_has_its_reason():
    """A comment before each group of settings in the file."""
    groups = [group for group in CONFIG.read_text().split("\n\n")[2:] if group.strip() != "import os"]
    assert len(groups) > 10
    assert [group for group in groups if not group.lstrip().startswith("#")] == []


def test_the_server_takes_in_what_the_application_may_refuse_in_its_own_words():
    assert connection.MAX_BODY == dispatch.MAX_FORWARD + 1


def test_the_loop_outlives_what_it_waits_for(settings):
    """A slow caller's last byte still comes before a stopping worker's end, and everything before its replacement."""
    assert ARRIVAL < settings()["graceful_timeout"] < settings()["timeout"]
    assert Settings.from_env({}).callback_timeout < ARRIVAL
