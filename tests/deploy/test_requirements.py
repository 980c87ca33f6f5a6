"""The pinned sets are whole, and the container gets what it needs and no more."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES = ["requirements.txt", "requirements-orders.txt", "requirements-dev.txt"]


def pins(file, version):
    """Name to pinned version, for the lines that count on this Python."""
    found = {}
    lines = (ROOT / file).read_text().splitlines()
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


@pytest.mark.parametrize(
    ("options", "file"), [((), "requirements.txt"), (("ORDERS=1",), "requirements-orders.txt")], ids=["plain", "orders"]
)
def test_the_package_gets_every_line_for_the_platform_once_and_without_markers(tmp_path, options, file):
    if shutil.which("make") is None:
        pytest.skip("not run: make")
    run = ["make", "--dry-run", "package", f"VENV={tmp_path}", *options]
    recipe = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = re.findall(r"^cat (?:.*\\\n)*.*", recipe, re.M)
    subprocess.run(["sh", "-c", line], cwd=ROOT, check=True)
    lines = (tmp_path / "requirements-platform.txt").read_text().splitlines()
    listed = [Requirement(text) for text in lines if text and not text.startswith("#")]
    assert [requirement.marker for requirement in listed if requirement.marker] == []
    found = [(canonicalize_name(requirement.name), str(requirement.specifier)) for requirement in listed]
    assert sorted(found) == sorted((name, f"=={version}") for name, version in pins(file, "3.10").items())


def test_the_container_copies_what_exists_and_what_the_ignore_file_lets_through():
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            copied |= set(line.split()[1:-1])
    assert copied == allowed
    assert [name for name in sorted(copied) if not (ROOT / name).exists()] == []


def test_the_container_and_the_package_hold_the_same_rooms():
    makefile = (ROOT / "Makefile").read_text()
    match = re.search(r"^rooms := (.+)$", makefile, re.M)
    assert match is not None
    copied = re.findall(r"^COPY (\w+) \./\1$", (ROOT / "Dockerfile").read_text(), re.M)
    assert set(match[1].split()) == {*copied, "app.py"}


def test_the_container_does_not_run_as_root_and_listens_on_80():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 65534:65534"]
    assert any(re.match(r"ENV PORT=80\b", line) for line in lines)
