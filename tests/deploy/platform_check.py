"""The package as the platform runs it: `python -m tests.deploy.platform_check [ZIP]`.

The zip (without one, a package made for the purpose) is unpacked into a file system that is then made read-only, and
scf_bootstrap runs as an unprivileged user with CPython 3.10, the platform's variables alone, and no network but
loopback. It has to answer on port 9000, to bring an order to the sandbox, to compile nothing and to write nothing;
with the packages of the order database, to load them. Status 0: it did; 1: it did not; 77: not run, with the reason.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sandbox import Sandbox
from tests.deploy import interpreters, package

NOT_RUN = 77
_ROOT = Path(__file__).resolve().parents[2]
_PLATFORM_PYTHON = Path("/var/lang/python310")
_PORT = 9000
_NOBODY = 65534
_NEW_MOUNTS, _NEW_NETWORK = 0x0002_0000, 0x4000_0000  # flags of unshare(2)


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
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this machine lets nobody make a network and file systems of his own (unshare)"
    return None


def check(archive: Path | None) -> str:
    """Returns what was measured. Afterwards this process has no network."""
    python = interpreters.find("3.10")
    assert python is not None
    with ExitStack() as stack:
        stack.enter_context(_one_at_a_time())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pay-common-platform-")))
        folder.chmod(0o755)
        archives = [archive] if archive else _made(folder, python)
        libraries = stack.enter_context(_platform_python(python, folder / "python310"))
        _leave_the_network()
        sandbox = stack.enter_context(Sandbox())
        told = []
        for each in archives:
            with _unpacked(each, folder / "user") as code:
                environment = _environment(code, libraries) | sandbox.env()
                told += _check_one(code, environment, folder / "log")
            told += package.summary(each).splitlines()
    return "\n".join(f"  {line}" for line in told)


def _made(folder: Path, python: Path) -> list[Path]:
    # The second is about what loads, not how fast: no byte code, which takes the most time to make.
    plain = package.make(_ROOT, folder / "plain", python=python)
    return [plain, package.make(_ROOT, folder / "orders", orders=True)]


def _environment(code: Path, libraries: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(libraries),
        "TENCENTCLOUD_RUNENV": "SCF",
        "SCF_RUNTIME": "Python3.10",
        "USER_CODE_ROOT": f"{code}/",
        "PYTHONPATH": f"{code}:/opt",
        "PYTHONDONTWRITEBYTECODE": "x",
        "_SCF_SERVER_PORT": "28902",
    }


def _check_one(code: Path, environment: dict[str, str], log: Path) -> Iterator[str]:
    before = _listing(code)
    _expect_no_write(code, environment)
    if next(code.rglob("*.pyc"), None):
        _expect_no_compiling(code, environment)
    if not (code / "vendor" / "sqlalchemy").is_dir():
        with _function(code, environment, log) as seconds:
            _expect_answers()
        yield f"an order succeeded; {seconds * 1000:.0f} ms from exec to the first /healthz"
    else:
        _expect_the_drivers(code, environment)
        # No server stands there: the function starts, and refuses what it could not keep.
        away = {"orderDatabaseUrl": "postgresql://shop@127.0.0.1:1/shop"}
        with _function(code, environment | away, log):
            _expect_the_database_away()
        yield "both database drivers load; without its database the function starts and refuses an order"
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


def _leave_the_network() -> None:
    """From here on there is loopback and nothing else, for this process and all that it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK | _NEW_MOUNTS):
        raise Failed(f"unshare: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as any_socket:
        up_and_running = struct.pack("16sH14x", b"lo", 0x41)
        fcntl.ioctl(any_socket, 0x8914, up_and_running)  # SIOCSIFFLAGS
    _run(["mount", "--make-rprivate", "/"])


@contextmanager
def _unpacked(archive: Path, code: Path) -> Iterator[Path]:
    """Its content with the modes that it states, on a file system that then nobody can write to."""
    code.mkdir()
    _run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", code])
    try:
        with zipfile.ZipFile(archive) as content:
            for member in content.infolist():
                Path(content.extract(member, code)).chmod(member.external_attr >> 16 & 0o777)
        _run(["mount", "-o", "remount,ro", code])
        yield code
    finally:
        _run(["umount", code])
        code.rmdir()


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
        "import errno, os, sys\n"
        "for open_flags, name in ((os.O_WRONLY, 'app.py'), (os.O_WRONLY | os.O_CREAT, 'new'), "
        "(os.O_WRONLY | os.O_CREAT, 'vendor/new')):\n"
        "    try:\n"
        "        os.open(os.path.join(sys.argv[1], name), open_flags)\n"
        "    except OSError as error:\n"
        "        if error.errno == errno.EROFS:\n"
        "            continue\n"
        "    sys.exit('could write ' + name)\n"
    )
    interpreter = str(_PLATFORM_PYTHON / "bin" / "python3.10")
    _run(_unprivileged(interpreter, "-c", attempt, str(code)), env=environment)


def _expect_no_compiling(code: Path, environment: dict[str, str]) -> None:
    """With -v the interpreter tells where each module's code comes from."""
    interpreter = str(_PLATFORM_PYTHON / "bin" / "python3.10")
    search = {"PYTHONPATH": f"{code}/vendor:{code}"}
    command = _unprivileged(interpreter, "-v", "-c", "import gunicorn.app.wsgiapp, utils.server, app")
    done = subprocess.run(command, env=environment | search, cwd=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"app cannot be imported:\n{done.stderr[-3000:]}")
    origins = re.findall(rf"^# code object from '?({re.escape(str(code))}/.*?)'?$", done.stderr, re.MULTILINE)
    compiled = [origin for origin in origins if not origin.endswith(".pyc")]
    if compiled or len(origins) < 100:
        raise Failed(f"of {len(origins)} modules these had to be compiled: {compiled}")


def _expect_the_drivers(code: Path, environment: dict[str, str]) -> None:
    """Those of PostgreSQL and MySQL, the first one with the library that its wheel brings."""
    load = "import alembic, psycopg, pymysql, sqlalchemy; assert psycopg.pq.__impl__ == 'binary', psycopg.pq.__impl__"
    interpreter = str(_PLATFORM_PYTHON / "bin" / "python3.10")
    _run(_unprivileged(interpreter, "-c", load), env=environment | {"PYTHONPATH": f"{code}/vendor"})


@contextmanager
def _function(code: Path, environment: dict[str, str], log: Path) -> Iterator[float]:
    """Runs it; yields the seconds from exec to the first answer."""
    with log.open("wb") as output:
        started = time.monotonic()
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
        yield time.monotonic() - started
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
            status, health = _http("GET", "/healthz")
        except OSError:
            time.sleep(0.002)
            continue
        if status != 200 or health["data"]["missing"]:
            raise Failed(f"GET /healthz answered {status}: {health}")
        return
    raise Failed(f"scf_bootstrap does not answer on {_PORT} (exit status {process.returncode})")


def _expect_answers() -> None:
    status, answer = _order()
    if status != 200 or answer.get("code") != 0 or not answer["data"]["data"].get("paySign"):
        raise Failed(f"the order was answered {status}: {answer}")


def _expect_the_database_away() -> None:
    status, answer = _order()
    if status != 503:
        raise Failed(f"without its database the order was answered {status}, not 503: {answer}")


def _order() -> tuple[int, Any]:
    order = {
        "description": "platform check",
        "out_trade_no": f"platform{time.time_ns()}"[:32],
        "amount": {"total": 1},
    }
    caller = {"x-wx-source": "wx_client", "x-wx-openid": "oPlatformCheck00000000000001"}
    return _http("POST", "/wx-pay/wxpay_order", order, caller)


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
    os.umask(0o022)  # another user reads what is copied here
    # Ended from outside it still takes away what it put into /var/lang and /tmp.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    archive = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    started = time.monotonic()
    try:
        told = check(archive)
    except (Failed, package.Failed) as failure:
        print(f"platform conditions: {failure}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    print(f"platform conditions: port {_PORT} answered ({seconds:.0f} s)\n{told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
