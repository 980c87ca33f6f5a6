"""gunicorn.conf.py in a running gunicorn, before a small application that tells what reached it."""

import json
import runpy
import socket
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "gunicorn.conf.py"
APPLICATION = """
import json, os, threading

together = threading.Barrier(64)

def app(environ, start_response):
    answer = {name: value for name, value in environ.items() if isinstance(value, str)}
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
                cwd=folder, pass_fds=[listening.fileno()], stdout=log, stderr=subprocess.STDOUT,
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


def test_as_many_requests_as_threads_are_served_at_once(server):
    statuses = []
    callers = [
        threading.Thread(target=lambda: statuses.append(server.get("/together")[0])) for _ in range(64)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert statuses == [200] * 64


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
