"""The journal of all exchanges: off by default, one line each, shared by processes, without Authorization."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox import Credentials, Sandbox, journal
from sandbox.records import ApiRequest
from tests.sandbox.conftest import PREPAY, Merchant
from tests.support import ROOT


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(journal.VARIABLE, str(tmp_path / "journal"))
    return tmp_path / "journal"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_every_exchange_is_one_line(path: Path, credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        merchant = Merchant(box)
        placed = merchant.send("POST", PREPAY, merchant.order(attach="桌\u2028七"))
        unsigned = merchant.send("GET", "/v3/certificates?x=1", headers={"Authorization": "secret"})
        binary = merchant.send("POST", PREPAY, b"\xff\n\x00")
        box.fault("reset", times=1)
        with pytest.raises(OSError, match=r"reset|closed|without response"):
            merchant.send("POST", PREPAY, merchant.order())
        first, second, third, fourth = lines(path)
        assert [first["status"], second["status"], third["status"], fourth["status"]] == [
            placed.status,
            unsigned.status,
            binary.status,
            None,
        ]
        assert (first["method"], first["target"]) == ("POST", PREPAY)
        assert json.loads(first["body"])["attach"] == "桌\u2028七"
        assert first["answer"] == placed.body.decode()
        assert {k.lower() for k in first["answer_headers"]} >= {"wechatpay-signature", "request-id"}
        assert (first["verified"], first["refusal"], first["fault"]) == (True, None, None)
        assert (second["verified"], second["target"]) == (False, "/v3/certificates?x=1")
        assert second["refusal"].startswith("SIGN_ERROR")
        assert third["body"].startswith("base64:")
        assert fourth["fault"] == "reset"


def test_authorization_is_left_out_and_the_file_is_private(path: Path, credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        merchant = Merchant(box)
        merchant.send("POST", PREPAY, merchant.order())
        merchant.send("POST", PREPAY, merchant.order(), headers={"Authorization": "planted"})
        merchant.send("POST", PREPAY, merchant.order(), headers={"Authorization": None})
        assert [line["headers"].get("authorization") for line in lines(path)] == ["***", "***", None]
        assert "planted" not in path.read_text()
        assert "signature=" not in path.read_text()
        assert box.requests[0].headers["authorization"].startswith("WECHATPAY2"), "the record keeps it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_written_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: Credentials
) -> None:
    monkeypatch.delenv(journal.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with Sandbox(credentials=credentials) as box:
        merchant = Merchant(box)
        merchant.send("POST", PREPAY, merchant.order())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, credentials: Credentials
) -> None:
    monkeypatch.setenv(journal.VARIABLE, str(tmp_path / "missing" / "journal"))
    with pytest.raises(FileNotFoundError):
        Sandbox(credentials=credentials)


def test_the_lines_of_several_processes_never_mix(path: Path) -> None:
    write = (
        "from sandbox import journal; from sandbox.records import ApiRequest; note = journal.opened()\n"
        "for i in range(300): note(ApiRequest(0.0, 'main', 'POST', f'/{i}', {}, b'x' * 20_000))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", write], cwd=ROOT) for _ in range(3)]
    note = journal.opened()
    for index in range(300):
        note(ApiRequest(0.0, "main", "POST", f"/{index}", {}, b"y" * 20_000))
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert sorted(line["target"] for line in lines(path)) == sorted(f"/{i}" for i in range(300) for _ in range(4))


@pytest.mark.parametrize("way", ["option", "variable"])
def test_the_program_keeps_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.delenv(journal.VARIABLE, raising=False)
    file = tmp_path / "journal"
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--backup-port", "0", "--state", str(tmp_path / "state")]
    if way == "option":
        command += ["--journal", str(file)]
    else:
        monkeypatch.setenv(journal.VARIABLE, str(file))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            welcome = iter(process.stdout.readline, "")
            url = next(line.split()[-1] for line in welcome if "main host" in line)
            with Sandbox(state=tmp_path / "state") as same_merchant:
                merchant = Merchant(same_merchant)
                assert merchant.send("POST", PREPAY, merchant.order(), base=url).status == 200
        finally:
            process.terminate()
    (line,) = lines(file)
    assert (line["status"], line["target"]) == (200, PREPAY)


def test_a_journal_that_cannot_be_kept_ends_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--backup-port", "0", "--state", str(tmp_path / "state")]
    done = subprocess.run(
        [*command, "--journal", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "sandbox: " in done.stderr
    assert str(tmp_path) in done.stderr
