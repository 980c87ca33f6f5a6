"""The command as it is run: exit codes, text, `.env`, secrets, and what it needs to be installed."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from app import create_app
from config.settings import Settings
from sandbox import Credentials, Sandbox
from sandbox.credentials import private_pem
from tests.doctor.clinic import API_V3_KEY, OPERATOR_KEY, Diagnosis, production, read
from tests.support import ROOT

# Keeps packages out of reach, as where they are not installed.
WITHOUT = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sqlalchemy", "alembic", "psycopg", "pymysql"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv[0] = "flask"
runpy.run_module("flask", run_name="__main__")
"""


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, launcher: tuple[str, ...] = ("-m", "flask")
) -> subprocess.CompletedProcess[str]:
    """`flask --app app doctor` in `folder`, where a `.env` may be; nothing else is in its environment."""
    return subprocess.run(
        [sys.executable, *launcher, "--app", "app", "doctor", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
        check=False,
    )


def told(process: subprocess.CompletedProcess[str]) -> Diagnosis:
    return read(process.stdout, process.returncode)


def dotenv(variables: Mapping[str, str]) -> str:
    """As the docs say: every value on one line, a key as its base64 alone."""
    lines = {name: "".join(re.sub("-----.*", "", value).split()) for name, value in variables.items()}
    return "".join(f"{name}={value}\n" for name, value in {"ENV_ID": "shop-1a2b3c", **lines}.items())


def test_a_good_env_file_is_read_and_passes(credentials: Credentials, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(dotenv(production(credentials)))
    (tmp_path / "apiclient_cert.pem").write_text(credentials.merchant.pem)
    process = run(tmp_path, "--json")
    found = told(process)
    assert (found.findings, process.returncode) == ([], 0)
    assert any("apiclient_cert.pem" in sentence for sentence in found.checked)


def test_a_good_one_online(credentials: Credentials, tmp_path: Path) -> None:
    """As a process it has no network of its own, so without the callback addresses."""
    with Sandbox(sign_mode="sdk", credentials=credentials) as box:
        addresses = dict.fromkeys(("notifyURLPayURL", "notifyURLRefundsURL", "transferNotifyUrl"))
        url = f"sqlite:///{tmp_path / 'orders.sqlite3'}"
        settings = box.env(operatorKey=OPERATOR_KEY, orderDatabaseUrl=url, **addresses)
        (tmp_path / ".env").write_text(dotenv(settings))
        found = told(run(tmp_path, "--online", "--json"))
    assert {finding["variable"]: finding["what"] for finding in found.findings if finding["level"] == "error"} == {
        "notifyURLPayURL": "is not set",
        "orderDatabaseUrl": "leads to a database whose order tables are missing",
    }
    assert any("wxPayPublicKey verifies" in sentence for sentence in found.checked)


def test_nothing_set(tmp_path: Path) -> None:
    process = run(tmp_path)
    assert process.returncode == 1
    assert "  appId is not set\n    why: " in process.stdout
    assert "Errors\n" in process.stdout
    assert process.stdout.rstrip().endswith("6 errors, 3 warnings")
    assert "\x1b" not in process.stdout
    assert max(map(len, process.stdout.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_console_that_knows_few_characters(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = run(tmp_path, *arguments, env={"PYTHONIOENCODING": "cp1252"})
    assert process.returncode == 1
    assert "mp.weixin.qq.com" in process.stdout


def test_a_key_on_several_lines_of_the_env_file(credentials: Credentials, tmp_path: Path) -> None:
    env = production(credentials)
    key = env.pop("privateKey")
    (tmp_path / ".env").write_text(dotenv(env) + f"privateKey={key}")
    process = run(tmp_path, "--json")
    assert "in one line" in told(process).the("privateKey")["fix"]
    body = key.splitlines()[3]
    assert body not in process.stdout + process.stderr


def test_the_environment_goes_before_the_env_file(credentials: Credentials, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(dotenv(production(credentials)))
    found = told(run(tmp_path, "--json", env={"merchantId": "19"}))
    assert found.the("merchantId")


def test_without_what_an_order_database_needs(credentials: Credentials, tmp_path: Path) -> None:
    found = told(run(tmp_path, "--json", env=production(credentials), launcher=("-c", WITHOUT)))
    [finding] = found.about("orderDatabaseUrl")
    assert "requirements-orders.txt" in finding["what"]
    assert "make package ORDERS=1" in finding["fix"]


def test_a_certificate_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    process = run(tmp_path, "--certificate", "nowhere.pem")
    assert process.returncode == 2
    assert "nowhere.pem" in process.stderr


# Secrets


def everywhere(credentials: Credentials, secret: str) -> list[dict[str, str]]:
    """Settings with the secret in its own place, and in every other one."""
    good = production(credentials, orderDatabaseUrl="mysql://shop:shop@127.0.0.1:1/shop")
    others = ("service_app_id", "cloudbaseEnvId", "operatorIds", "callbackTimeout", "corsAllowOrigin", "priceList")
    single = ("appId", "merchantId", "merchantSerialNumber", "wxPayPublicKey")
    return [good | dict.fromkeys([*good, *others], secret), *(good | {name: secret} for name in single)]


@pytest.mark.parametrize("name", ["apiV3Key", "operatorKey", "privateKey", "orderDatabaseUrl", "eventWebhookSecret"])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_no_part_of_a_secret_is_told(
    credentials: Credentials, name: str, as_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = {
        "apiV3Key": API_V3_KEY,
        "operatorKey": OPERATOR_KEY,
        "privateKey": private_pem(credentials.merchant.key),
        "orderDatabaseUrl": "mysql://shop:Tr0ub4dor-and-3-horses@127.0.0.1:1/shop",
        "eventWebhookSecret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }[name]
    giving_away = "Tr0ub4dor-and-3-horses" if name == "orderDatabaseUrl" else secret
    if name == "privateKey":
        giving_away = secret.split("-----")[2]
    output = ""
    with Sandbox(sign_mode="sdk", credentials=credentials) as box:
        hosts = {"wxPayApiBase": box.url, "wxPayApiBackup": box.backup_url}
        for env in everywhere(credentials, secret):
            settings = Settings.from_env({"FLASK_RUN_FROM_CLI": "true", **env, **hosts, name: secret})
            level = logging.getLogger("pay").level
            arguments = ["doctor", "--online", *(["--json"] if as_json else [])]
            result = create_app(settings).test_cli_runner().invoke(args=arguments)
            logging.getLogger("pay").setLevel(level)
            output += result.stdout + result.stderr
    captured = capfd.readouterr()
    output += captured.out + captured.err
    pieces = "".join(giving_away.split())
    seen = "".join(output.split())
    assert [pieces[at : at + 12] for at in range(len(pieces) - 11) if pieces[at : at + 12] in seen] == []


# Cold start


def loaded(statement: str, **env: str) -> set[str]:
    script = f"{statement}\nimport sys, json\nprint('LOADED ' + json.dumps(sorted(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(process.stdout.rpartition("LOADED ")[2]))


PARTS = {"routes.doctor_command", "config.examination", "services.doctor.merchant", "cryptography.x509"}


def test_a_cold_start_loads_nothing_of_it() -> None:
    modules = loaded("import app")
    assert not modules & PARTS
    assert not [name for name in modules if name.startswith("services.doctor")]


def test_what_would_be_loaded_is_seen() -> None:
    diagnosis = "app.app.test_cli_runner().invoke(args=['doctor', '--online'])"
    env = {"FLASK_RUN_FROM_CLI": "true", "wxPayApiBase": "http://127.0.0.1:1"}
    found = loaded(f"import app\n{diagnosis}", **env)
    assert PARTS - {"cryptography.x509"} <= found
