"""The function as the platform runs it: `python -m tests.deploy.platform_check`.

What would be deployed is copied, vendor/ is filled with CPython 3.10 by the documented command, the code is
made read-only, and scf_bootstrap runs as an unprivileged user with the platform's variables alone. It has to
answer on port 9000 and to bring an order to the sandbox. Status 0: it did; 1: it did not; 77: not run, with
the reason.
"""

from __future__ import annotations

import fnmatch
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sandbox import Sandbox
from tests.deploy import interpreters

NOT_RUN = 77
_ROOT = Path(__file__).resolve().parents[2]
_PLATFORM_PYTHON = Path("/var/lang/python310")
_PORT = 9000
_NOBODY = 65534
_VENDOR = (
    "-m pip install --target vendor --only-binary=:all: --platform manylinux2014_x86_64 --python-version 3.10"
    " -r requirements.txt"
)


class Failed(Exception):
    """The function does not run under the platform's conditions."""


def obstacle() -> str | None:
    """Why this machine cannot play the platform, or None."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "the platform is Linux on x86_64"
    if interpreters.find("3.10") is None:
        return "no CPython 3.10 on PATH or among pyenv's versions"
    if os.geteuid() != 0:
        return "root is needed to give the code to another user than the one that runs it"
    if shutil.which("setpriv") is None:
        return "setpriv (util-linux) is needed to run as an unprivileged user"
    return None


def check() -> None:
    python = interpreters.find("3.10")
    assert python is not None
    with ExitStack() as stack:
        stack.enter_context(_one_at_a_time())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pay-common-platform-")))
        folder.chmod(0o755)
        code = folder / "user"
        _copy_deployed_files(code)
        _run([python, *_VENDOR.split()], cwd=code)
        _make_read_only(code)
        libraries = stack.enter_context(_platform_python(python, folder / "python310"))
        before = _listing(code)
        sandbox = stack.enter_context(Sandbox())
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(libraries),
            "TENCENTCLOUD_RUNENV": "SCF",
            "SCF_RUNTIME": "Python3.10",
            "USER_CODE_ROOT": f"{code}/",
            "PYTHONPATH": f"{code}:/opt",
            "PYTHONDONTWRITEBYTECODE": "x",
            "_SCF_SERVER_PORT": "28902",
            **sandbox.env(),
        }
        _expect_no_write(code, environment)
        with _function(code, environment, folder / "log"):
            _expect_answers()
        if _listing(code) != before:
            raise Failed("the function changed its code folder")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Port 9000 and /var/lang exist once. The abstract socket ends with this process, however that ends."""
    with socket.socket(socket.AF_UNIX) as lock:
        deadline = time.monotonic() + 240
        while True:
            try:
                lock.bind("\0pay-common-platform-check")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Failed("another platform check has been running for 4 minutes") from None
                time.sleep(1)
        yield


def _copy_deployed_files(code: Path) -> None:
    """What the CLI would pack from a clone: the project's files without cloudbaserc.json's `ignore`."""
    ignored = json.loads((_ROOT / "cloudbaserc.json").read_text())["functions"][0]["ignore"]
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = _run(git, cwd=_ROOT)
    for name in listed.rstrip("\0").split("\0"):
        if any(fnmatch.fnmatch(name, pattern.replace("**/*", "*")) for pattern in ignored):
            continue
        if (_ROOT / name).is_file():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_ROOT / name, code / name)


def _make_read_only(code: Path) -> None:
    for path in [code, *code.rglob("*")]:
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444)


@contextmanager
def _platform_python(python: Path, copy: Path) -> Iterator[Path]:
    """Puts an interpreter where the platform has it, while the check runs; yields its library folder.

    A pyenv version lies in a home that other users cannot enter, so it is copied. The copy's run path still
    names that home, which is why the library folder has to be in LD_LIBRARY_PATH.
    """
    if _PLATFORM_PYTHON.exists():
        yield _PLATFORM_PYTHON / "lib"
        return
    where = "import sysconfig as s; print(s.get_path('stdlib'), s.get_config_var('LIBDIR'))"
    stdlib, libdir = map(Path, _run([python, "-c", where]).split())
    (copy / "bin").mkdir(parents=True)
    shutil.copy2(python, copy / "bin" / "python3.10")
    shutil.copytree(
        stdlib,
        copy / "lib" / stdlib.name,
        symlinks=True,
        ignore=shutil.ignore_patterns("test", "tests", "site-packages", "dist-packages", "config-3.10*"),
    )
    for library in libdir.glob("libpython3.10*.so*"):
        shutil.copy2(library, copy / "lib")
    made_parent = not _PLATFORM_PYTHON.parent.exists()
    _PLATFORM_PYTHON.parent.mkdir(mode=0o755, exist_ok=True)
    _PLATFORM_PYTHON.symlink_to(copy)
    try:
        yield copy / "lib"
    finally:
        _PLATFORM_PYTHON.unlink()
        if made_parent:
            _PLATFORM_PYTHON.parent.rmdir()


def _unprivileged(*command: str) -> list[str]:
    ids = (f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs")
    return ["setpriv", *ids, *command]


def _expect_no_write(code: Path, environment: dict[str, str]) -> None:
    attempt = (
        "import os, sys\n"
        "for open_flags, name in ((os.O_WRONLY, 'app.py'), (os.O_WRONLY | os.O_CREAT, 'new'), "
        "(os.O_WRONLY | os.O_CREAT, 'vendor/new')):\n"
        "    try:\n"
        "        os.open(os.path.join(sys.argv[1], name), open_flags)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit('could write ' + name)\n"
    )
    interpreter = str(_PLATFORM_PYTHON / "bin" / "python3.10")
    _run(_unprivileged(interpreter, "-c", attempt, str(code)), env=environment)


@contextmanager
def _function(code: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", _PORT))
        except OSError:
            raise Failed(f"port {_PORT} is taken: end what listens there and try again") from None
    with log.open("wb") as output:
        process = subprocess.Popen(
            _unprivileged(str(code / "scf_bootstrap")),
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process)
        yield
    except Exception as error:
        told = log.read_text(errors="replace")[-6000:]
        raise Failed(f"{error}\n--- the function's log ---\n{told}") from error
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", _PORT), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise Failed(f"scf_bootstrap does not listen on {_PORT} (exit status {process.returncode})")


def _expect_answers() -> None:
    status, health = _http("GET", "/healthz")
    if status != 200:
        raise Failed(f"GET /healthz answered {status}: {health}")
    order = {
        "description": "platform check",
        "out_trade_no": f"platform{time.time_ns()}"[:32],
        "amount": {"total": 1},
    }
    caller = {"x-wx-source": "wx_client", "x-wx-openid": "oPlatformCheck00000000000001"}
    status, answer = _http("POST", "/wx-pay/wxpay_order", order, caller)
    if status != 200 or answer.get("code") != 0 or not answer["data"]["data"].get("paySign"):
        raise Failed(f"the order was answered {status}: {answer}")


def _http(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    request = Request(
        f"http://127.0.0.1:{_PORT}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
        method=method,
    )
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        return refusal.code, refusal.read().decode(errors="replace")


def _listing(code: Path) -> list[tuple[str, int, int]]:
    return sorted((str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in code.rglob("*"))


def _run(command: list[Any], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    if reason := obstacle():
        print(f"not run: platform conditions: {reason}")
        return NOT_RUN
    # Ended from outside it still takes away what it put into /var/lang and /tmp.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = time.monotonic()
    try:
        check()
    except Failed as failure:
        print(f"platform conditions: {failure}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    print(f"platform conditions: port {_PORT} answered and an order succeeded ({seconds:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
