"""scf_bootstrap with stand-ins for the interpreters that only tell how they were called."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scf_bootstrap"
COMMAND = ["-u", "-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", "0.0.0.0:9000", "app:app"]


def teller(path, name):
    path.parent.mkdir(parents=True)
    path.write_text(
        f"#!{sys.executable} -S\n"
        "import json, os, sys\n"
        f"print(json.dumps([{name!r}, sys.argv[1:], os.getcwd(), os.environ.get('PYTHONPATH'),"
        " os.environ.get('GLIBC_TUNABLES')]))\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def code(tmp_path):
    """A code folder whose script looks for the platform's interpreter inside tmp_path."""
    folder = tmp_path / "code"
    folder.mkdir()
    script = SCRIPT.read_text()
    assert "/var/lang/python310/bin/python3.10" in script
    (folder / "scf_bootstrap").write_text(script.replace("/var/lang/", f"{tmp_path}/lang/"))
    (folder / "scf_bootstrap").chmod(0o755)
    teller(tmp_path / "path" / "python3", "on PATH")
    return folder


def start(code, **environment):
    path = f"{code.parent}/path:/usr/bin:/bin"
    answer = subprocess.run(
        [code / "scf_bootstrap"], cwd="/", env={"PATH": path, **environment}, capture_output=True, check=True
    )
    return json.loads(answer.stdout)


def test_the_platforms_python_starts_gunicorn_on_9000_whatever_port_says(code, tmp_path):
    teller(tmp_path / "lang" / "python310" / "bin" / "python3.10", "platform")
    name, arguments, *_ = start(code, PORT="3000")
    assert (name, arguments) == ("platform", COMMAND)


def test_it_works_in_its_own_folder_from_wherever_it_is_started(code):
    assert start(code)[2] == str(code)


def test_vendored_packages_come_before_the_platforms_own_path(code, tmp_path):
    teller(tmp_path / "lang" / "python310" / "bin" / "python3.10", "platform")
    assert start(code, PYTHONPATH="/var/user:/opt")[3] == f"{code}/vendor:/var/user:/opt"
    assert start(code)[3] == f"{code}/vendor"


def test_the_platforms_python_is_preferred_to_a_virtual_environment(code, tmp_path):
    teller(tmp_path / "lang" / "python310" / "bin" / "python3.10", "platform")
    teller(code / ".venv" / "bin" / "python", "virtual environment")
    assert start(code)[0] == "platform"


def test_elsewhere_a_virtual_environment_runs_it_with_its_own_packages(code):
    teller(code / ".venv" / "bin" / "python", "virtual environment")
    name, arguments, _, python_path, _ = start(code)
    assert (name, arguments, python_path) == ("virtual environment", COMMAND, None)


def test_elsewhere_without_one_python3_runs_it_with_vendor(code):
    name, arguments, _, python_path, _ = start(code)
    assert (name, arguments, python_path) == ("on PATH", COMMAND, f"{code}/vendor")


def test_no_thread_keeps_memory_that_it_freed(code):
    assert start(code)[4] == "glibc.malloc.tcache_count=0"
    assert start(code, GLIBC_TUNABLES="glibc.malloc.arena_max=1")[4] == "glibc.malloc.arena_max=1"


def test_it_is_an_executable_bash_script_with_unix_line_ends():
    content = SCRIPT.read_bytes()
    assert content.startswith(b"#!/bin/bash\n")
    assert b"\r" not in content
    assert stat.S_IMODE(SCRIPT.stat().st_mode) & 0o755 == 0o755


def test_git_keeps_its_mode():
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--stage", "scf_bootstrap", ".ci/run"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    if listed.returncode != 0 or not listed.stdout:
        pytest.skip(f"not a clone with scf_bootstrap in it: {listed.stderr.strip()}")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["100755", "100755"]
