"""sandbox/node-hosts.cjs: four names lead to the sandbox, their other ports nowhere, everything else where it did."""

from __future__ import annotations

import subprocess
from http.server import ThreadingHTTPServer

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import Function
from tests.sandbox.sdks.conftest import PRELOAD, environment, guarded, node

NAMES = {
    "api.mch.weixin.qq.com": "main",
    "api2.mch.weixin.qq.com": "backup",
    "api.wechatpay.cn": "main",
    "api2.wechatpay.cn": "backup",
}
# One way each by which Node's own modules open connections; every one prints a status or why there is none.
WAYS = {
    "https": """
        require('node:https').get(url, (response) => console.log(response.resume().statusCode))
          .on('error', (e) => console.log(e.message));
    """,
    "fetch": "fetch(url).then((r) => console.log(r.status), (e) => console.log(e.cause.message))",
    "tls": """
        const { hostname: host } = new URL(url);
        const end = require('node:tls').connect(443, host, { servername: host }, () => {
          end.write(`GET /v3/certificates HTTP/1.1\\r\\nHost: ${host}\\r\\nConnection: close\\r\\n\\r\\n`);
        }).on('data', (text) => console.log(String(text).split(' ')[1])).on('error', (e) => console.log(e.message));
    """,
}


@pytest.fixture
def key_mode() -> str:
    return "public_key"


def run(box: Sandbox, script: str, *, preload: bool = True, **variables: str) -> str:
    variables = {"SANDBOX_HTTPS": box.https_url, "NODE_EXTRA_CA_CERTS": str(box.ca)} | variables
    command = [*guarded(*((PRELOAD,) if preload else ())), "--eval", script]
    done = subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["https", "fetch", "tls"])
def test_the_names_lead_to_the_sandbox(box: Sandbox, name: str, way: str) -> None:
    script = f"const url = 'https://{name}/v3/certificates'; {WAYS[way]}"
    assert run(box, script) in ("400", "401")  # unsigned, or without a User-Agent
    [record] = box.requests
    assert (record.host, record.path, record.headers["host"]) == (NAMES[name], "/v3/certificates", name)


@pytest.mark.parametrize("url", ["https://api.mch.weixin.qq.com:8443/", "http://api.mch.weixin.qq.com/"])
def test_their_other_ports_lead_nowhere(box: Sandbox, url: str) -> None:
    script = WAYS["https"].replace("node:https", f"node:{url.partition(':')[0]}")
    assert run(box, f"const url = '{url}'; {script}").startswith("the sandbox does not play api.mch.weixin.qq.com")
    assert box.requests == []


def test_other_hosts_are_left_alone(
    box: Sandbox, function_server: tuple[ThreadingHTTPServer, Function], function: Function
) -> None:
    script = "require('node:http').request(url, {method: 'POST'}, (r) => console.log(r.statusCode)).end()"
    assert run(box, f"const url = '{function.url}'; {script}") == "200"
    assert [path for path, _, _ in function.got] == ["/"]
    assert run(box, f"const url = 'https://pay.weixin.qq.com/'; {WAYS['https']}") == (
        "a connection to pay.weixin.qq.com was tried"
    )


def test_without_it_the_guard_of_these_tests_holds(box: Sandbox) -> None:
    for way in ("https", "fetch", "tls"):
        script = f"const url = 'https://api.mch.weixin.qq.com/'; {WAYS[way]}"
        assert run(box, script, preload=False) == "a connection to api.mch.weixin.qq.com was tried"


def test_the_certificate_is_still_checked(box: Sandbox) -> None:
    script = f"const url = 'https://api.mch.weixin.qq.com/'; {WAYS['https']}"
    assert run(box, script, NODE_EXTRA_CA_CERTS="") == "unable to verify the first certificate"
    assert box.requests == []


def test_a_host_that_is_down_is_down(box: Sandbox) -> None:
    box.fault("refuse", host="main")
    script = f"const url = 'https://api.mch.weixin.qq.com/'; {WAYS['https']}"
    assert "disconnected before secure TLS connection" in run(box, script)
    assert run(box, script.replace("api.", "api2.")) == "404"


@pytest.mark.parametrize("value", ["", "http://127.0.0.1:8900", "https://api.mch.weixin.qq.com", "no host"])
def test_it_says_what_it_needs(value: str) -> None:
    done = subprocess.run(
        [node(), "--require", str(PRELOAD), "--eval", "0"],
        env=environment(SANDBOX_HTTPS=value),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0
    assert "set SANDBOX_HTTPS to where the sandbox speaks TLS" in done.stderr
