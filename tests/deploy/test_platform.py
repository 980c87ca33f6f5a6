"""The whole package, as `make package` makes it, under the platform's conditions.

The check itself is a script, because it needs a process of its own: platform_check.py says what it does.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import interpreters, package

ROOT = Path(__file__).resolve().parents[2]


def packed(folder: Path, *options: str, **environment: str) -> Path:
    """The project copied to `folder`, and the zip that the command makes there."""
    shutil.copytree(ROOT / "tests" / "deploy", folder / "tests" / "deploy")
    for name in (*package.FILES, "requirements-orders.txt"):
        shutil.copy(ROOT / name, folder / name)
    for room in package.ROOMS:
        shutil.copytree(ROOT / room, folder / room)
    command = [sys.executable, "-m", "tests.deploy.package", *options]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if "pip does not get" in done.stderr:
        pytest.skip(f"not run: packages cannot be downloaded ({done.stderr.splitlines()[-1]})")
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return folder / "build" / "pay-common.zip"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return packed(tmp_path_factory.mktemp("one") / "pay-common")


def test_made_twice_it_has_the_same_hash(archive, tmp_path):
    if interpreters.find("3.10") is None:
        pytest.skip("not run: CPython 3.10")
    other = {"TZ": "Asia/Shanghai", "LC_ALL": "C", "PYTHONHASHSEED": "77", "PYTHONOPTIMIZE": "1"}
    again = packed(tmp_path / "request flask build" / "x", **other)
    assert again.read_bytes() == archive.read_bytes()


def check(zipped: Path) -> str:
    command = [sys.executable, "-m", "tests.deploy.platform_check", str(zipped)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


def test_it_runs_under_the_platforms_conditions(archive):
    told = check(archive)
    assert "an order succeeded" in told
    assert "MB zipped" in told


def test_with_the_packages_of_the_order_database_it_does_too(tmp_path):
    made = package.make(ROOT, tmp_path, orders=True)
    assert "both database drivers load" in check(made)


def test_a_package_that_would_compile_at_each_start_does_not_pass(archive, tmp_path):
    broken = tmp_path / "pay-common.zip"
    unpacked = tmp_path / "unpacked"
    shutil.copytree(archive.parent / "pay-common", unpacked)
    (unpacked / "vendor" / "werkzeug" / "__pycache__" / "http.cpython-310.pyc").unlink()
    package.write_zip(unpacked, broken)
    command = [sys.executable, "-m", "tests.deploy.platform_check", str(broken)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 1
    assert "had to be compiled: ['" in done.stderr
    assert "werkzeug/http.py" in done.stderr
