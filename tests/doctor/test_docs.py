"""docs/doctor.md: its commands run, its example is what is printed, and its table names what is found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.settings import Settings
from sandbox import Credentials
from tests.doctor.clinic import production
from tests.doctor.test_command import dotenv
from tests.doctor.test_offline import MISTAKES
from tests.support import ROOT

PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- checked: tests/doctor/test_docs\.py -->\n```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


def run(line: str, folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    (folder / ".env").write_text(dotenv(variables))
    flask = f"'{sys.executable}' -m flask"
    return subprocess.run(
        ["sh", "-c", re.sub(r"^flask", flask, line)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_every_block_is_checked() -> None:
    assert len(re.findall(r"^```\w+$", PAGE, re.MULTILINE)) == len(BLOCKS)
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs(credentials: Credentials, tmp_path: Path, line: str) -> None:
    (tmp_path / "apiclient_cert.pem").write_text(credentials.merchant.pem)
    # Nothing outside is asked: without addresses and with hosts that are away, --online has its findings.
    away = {"wxPayApiBase": "http://127.0.0.1:1", "orderDatabaseUrl": None, "notifyURLPayURL": None}
    online = "--online" in line
    variables = production(credentials, **(away | {"notifyURLRefundsURL": None} if online else {}))
    process = run(line, tmp_path, variables)
    assert process.returncode == int(online), process.stdout + process.stderr
    assert "Traceback" not in process.stderr


def test_the_example_is_what_is_printed(credentials: Credentials, tmp_path: Path) -> None:
    [example] = [text for language, text in BLOCKS if language == "text"]
    process = run("flask --app app doctor", tmp_path, production(credentials, appId=None, operatorKey="letmein"))
    assert process.stdout == example


def rows() -> list[tuple[str, str]]:
    table = PAGE.partition("## What it checks by itself")[2].partition("With the certificate")[0]
    return [(cells[1], cells[2].strip()) for line in table.splitlines() if len(cells := line.split("|")) > 3]


def test_the_table_names_every_finding() -> None:
    listed = rows()
    for name, mistake in MISTAKES.items():
        assert any(
            (f"`{mistake.variable}`" in variables or "every variable" in variables) and level == mistake.level
            for variables, level in listed
        ), name


def test_the_table_names_no_variable_that_does_not_exist() -> None:
    known = set(re.findall(r"(\w+)=", repr(Settings.from_env({})))) - {"problems"}
    named = {name for variables, _ in rows() for name in re.findall(r"`(\w+)`", variables)}
    assert named <= known


def test_the_good_configuration_is_the_one_described(credentials: Credentials) -> None:
    described = PAGE.partition("## No findings")[2].partition("## What it checks")[0]
    for name in production(credentials):
        assert f"`{name}" in described, name
