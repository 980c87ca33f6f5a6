"""The pinned sets are whole, and the container gets what it needs and no more."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sandbox import Sandbox
from tests.deploy import package
from tests.support import Function, free_port

ROOT = Path(__file__).resolve().parents[2]
FILES = ["requirements.txt", "requirements-orders.txt", "requirements-dev.txt"]


def pins(file, version):
    """Name to pinned version, for the lines that count on this Python."""
    found = {}
    lines = re.sub(r"\\\n|--hash=\S+", "", (ROOT / file).read_text()).splitlines()
    for line in (text.partition("#")[0].strip() for text in lines):
        if line.startswith("-r "):
            found |= pins(line[3:], version)
        elif line:
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            if applies(requirement, version):
                found[canonicalize_name(requirement.name)] = specifier.version
    return found


def applies(requirement, version):
    environment = {"python_version": version, "python_full_version": f"{version}.13", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("file", FILES)
def test_every_dependency_of_a_pinned_package_is_pinned_at_a_version_it_accepts(file, version):
    pinned = pins(file, version)
    checked = 0
    for name in pinned:
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # a package of another Python than the one that runs this test
        checked += 1
        for requirement in map(Requirement, needed):
            if applies(requirement, version):
                have = pinned.get(canonicalize_name(requirement.name), "none")
                assert have != "none", f"{name} needs {requirement}"
                assert requirement.specifier.contains(have), f"{name} needs {requirement}, pinned is {have}"
    assert checked >= len(pinned) - 3


@pytest.mark.parametrize("file", FILES)
def test_what_is_installed_here_is_what_is_pinned(file):
    here = pins(file, f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert {name: importlib.metadata.version(name) for name in here} == here


def test_the_markers_leave_only_backports_out_on_newer_pythons():
    assert pins("requirements.txt", "3.10").keys() - pins("requirements.txt", "3.13").keys() == {
        "backports-datetime-fromisoformat", "typing-extensions",
    }


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-orders.txt"])
def test_the_package_gets_every_line_for_the_platform(file):
    assert package.locked(ROOT / file) == pins(file, "3.10")


def test_the_container_and_the_package_hold_the_same_rooms():
    copied = re.findall(r"^COPY (\w+) \./\1$", (ROOT / "Dockerfile").read_text(), re.M)
    assert sorted(copied) == sorted(package.ROOMS)


def test_the_container_does_not_run_as_root_and_listens_on_80_or_where_the_build_says():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 65534:65534"]
    assert "ARG PORT=80" in lines
    assert any(re.match(r"ENV PORT=\$PORT\b", line) for line in lines)


def test_what_the_container_holds_runs_as_its_command_says(tmp_path):
    text = (ROOT / "Dockerfile").read_text()
    (tmp_path / "app").mkdir()
    for line in re.findall("^COPY (.*)$", text, re.M):
        for name in line.split()[:-1]:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tmp_path / "app" / name)
    program, *arguments = json.loads(re.findall("^CMD (.*)$", text, re.M)[-1])
    assert program == "python"
    address = f"127.0.0.1:{free_port()}"
    with Sandbox() as sandbox, (tmp_path / "log").open("wb") as log:
        # Only the address differs: a test listens to this machine alone.
        environment = {"PATH": os.environ["PATH"], "PORT": "80", "GUNICORN_CMD_ARGS": f"-b {address}", **sandbox.env()}
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=tmp_path / "app", env=environment, stdout=log, stderr=log
        )
        try:
            function = Function(f"http://{address}", tmp_path / "log")
            await_health(function, process)
            order = {"description": "tea", "out_trade_no": "CONTAINER_01", "amount": {"total": 1}}
            assert function.call("wxpay_order", order).body["code"] == 0
        finally:
            process.terminate()
            process.wait(30)


def await_health(function, process):
    deadline = time.monotonic() + 30
    while True:
        try:
            assert function.request("GET", "/healthz").body["data"]["missing"] == []
            return
        except requests.ConnectionError:
            assert process.poll() is None, function.log_text()
            assert time.monotonic() < deadline, function.log_text()
            time.sleep(0.05)
