"""What comes from others is exactly what was locked, may be used, and asks nobody; what is ours passes bandit."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from sandbox import Sandbox
from tests.deploy import package
from tests.support import OPERATOR_KEY, ROOT

LOCKS = ["requirements.txt", "requirements-orders.txt", "requirements-dev.txt"]
# Every finding of bandit in what is deployed: file, its rule, how often, and why it stays.
ARGUED = {
    ("gunicorn.conf.py", "B108"): (1, "gunicorn makes the file there by mkstemp and unlinks it at once"),
    ("config/rules.py", "B108"): (3, "looked for in orderDatabaseUrl, to warn; nothing is written there"),
    ("services/orders/database.py", "B311"): (1, "spreads repetitions in time; no secret comes of it"),
    ("services/orders/outbox.py", "B311"): (1, "spreads repetitions in time; no secret comes of it"),
    ("services/wechatpay/client.py", "B311"): (1, "spreads repetitions in time; no secret comes of it"),
    ("services/wechatpay/cipher.py", "B303"): (2, "WeChat Pay's RSA-OAEP is defined with SHA-1 [4013053257]"),
}
DEPLOYED = ["app.py", "gunicorn.conf.py", *package.ROOMS]

# Refuses what leads to a network: looking a name up, connecting, sending. (urllib3 binds ::1 to see if there is IPv6.)
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") and event.partition(".")[2] in (
        "connect", "sendto", "getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo"
    ):
        raise SystemExit(f"network: {event} {arguments[1:]}")
sys.addaudithook(refuse)
"""


@pytest.mark.parametrize("file", LOCKS)
def test_every_pin_is_locked_to_files(file):
    pins = package.locked(ROOT / file)
    hashes = package.locked_files(ROOT / file)
    assert pins.keys() == hashes.keys()
    assert len(pins) > 15


def test_what_bandit_finds_is_argued():
    command = [sys.executable, "-m", "bandit", "--quiet", "--format=json", "--recursive", *DEPLOYED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["errors"] == []
    assert {file.removeprefix("./") for file in report["metrics"]} >= {file for file, _ in ARGUED} | {"app.py"}
    found = Counter((each["filename"].removeprefix("./"), each["test_id"]) for each in report["results"])
    assert found == {place: times for place, (times, _) in ARGUED.items()}


def test_licences_are_listed_as_the_packages_state_them():
    text = (ROOT / "docs/security.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|$", text.partition("### Licences")[2], re.M))
    pins = package.locked(ROOT / "requirements-orders.txt")
    assert listed.keys() == pins.keys()
    stated = {name: licence(name) for name in pins if is_here(name)}
    assert len(stated) >= len(pins) - 3, "backports for older Pythons alone may be absent"
    assert stated == {name: listed[name] for name in stated}


def is_here(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def licence(name: str) -> str:
    metadata = importlib.metadata.metadata(name)
    stated = metadata.get("License-Expression") or metadata.get("License") or ""
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    return stated or classifiers[0].rpartition(" :: ")[2]


def started(code: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", NO_NETWORK + code],
        cwd=ROOT, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, check=False, timeout=60,
    )


@pytest.mark.parametrize(
    "database", ["", "sqlite", "postgresql://u:a-password@db.invalid/pay", "mysql://u:a-password@db.invalid/pay"]
)
def test_the_function_needs_no_network_to_load(database, tmp_path):
    """Nor a name server, nor its database: a cold start waits for nobody, and what is wrong is told per request."""
    url = f"sqlite:///{tmp_path / 'orders.sqlite3'}" if database == "sqlite" else database
    with Sandbox() as box:
        env = box.env(tokens=True, operatorKey=OPERATOR_KEY, **({"orderDatabaseUrl": url} if url else {}))
    done = started("import app\nprint(app.app.test_client().get('/healthz').get_json()['data']['missing'])", env)
    assert (done.stdout.splitlines()[-1:], done.returncode) == (["[]"], 0), done.stdout + done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.getaddrinfo('db.invalid', 1)",
        "requests.get('http://db.invalid')",
    ],
)
def test_and_it_would_be_noticed(call):
    done = started(f"import socket, requests\n{call}", {})
    assert done.returncode == 1
    assert done.stderr.startswith("network: socket.")
