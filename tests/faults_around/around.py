"""The function as scf_bootstrap starts it, its order database and WeChat Pay beside it, and what can be done to it."""

from __future__ import annotations

import itertools
import mmap
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from sandbox.records import Delivery
from tests.faults_around.services import SCENE
from tests.not_run import PREFIX
from tests.orders.fleet import Books, workers_of
from tests.support import MINI_PROGRAM, OPERATOR_KEY, Function, Reply, gunicorn

OPERATOR = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
PATIENCE = 60.0  # seconds until a condition that is waited for counts as never met
_numbers = itertools.count(1)


@dataclass
class Shop:
    """`box` is WeChat Pay, `books` the order database by a connection of one's own, `scene` see `Scene`."""

    box: Sandbox
    function: Function
    books: Books
    scene: Scene

    def order(self, number: str = "") -> tuple[str, Reply]:
        """Ask for an order of 100 cents; its number and the answer."""
        number = number or f"AROUND{next(_numbers):06d}"
        body = {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": 100}}
        return number, self.function.call("wxpay_order", body)

    def paid(self) -> str:
        """An order that was paid at WeChat Pay a moment ago: nobody has been told."""
        number, reply = self.order()
        assert reply.status == 200, reply.text
        self.box.ledger.pay(number, "")
        return number

    def deliver(self, number: str) -> Delivery:
        (delivery,) = self.box.deliver("order", number)
        return delivery

    def deliver_until_taken(self, number: str) -> Delivery:
        """Again and again, as WeChat Pay does."""
        return eventually(lambda: taken(self.deliver(number)))

    def reconcile(self) -> dict[str, Any]:
        reply = self.function.call("wxpay_reconcile", {}, OPERATOR)
        assert reply.status == 200, reply.text
        counts: dict[str, Any] = reply.body["data"]["data"]
        return counts

    def state(self, number: str) -> str:
        return self.books.states().get(number, "")

    def worker(self) -> int:
        """The process that serves, once there is one."""
        return eventually(lambda: workers_of(self.function))[0]

    def answers(self) -> bool:
        try:
            return self.function.request("GET", "/healthz").status == 200
        except OSError:
            return False

    def assert_kept_once(self, *numbers: str) -> None:
        """Each is paid, is told of once, and nothing is left of anything else."""
        states = self.books.states()
        assert {number: states.get(number) for number in numbers} == dict.fromkeys(numbers, "PAID")
        events = self.books.rows("SELECT number FROM pay_events WHERE type = 'order.paid'")
        assert sorted(number for (number,) in events if number in numbers) == sorted(numbers)
        assert self.books.rows("SELECT kind, number FROM pay_incidents") == []


def taken(delivery: Delivery) -> Delivery | None:
    return delivery if delivery.acknowledged else None


class Scene:
    """What the order services of `services.py` and a test say to each other, by files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def say(self, word: str) -> None:
        (self.folder / word).touch()

    def clear(self) -> None:
        for word in self.folder.iterdir():
            word.unlink()

    def await_word(self, word: str) -> None:
        eventually((self.folder / word).exists)


@contextmanager
def shop(
    folder: Path,
    credentials: Credentials,
    *,
    box: Sandbox | None = None,
    database: str = "",
    key_mode: str = "public_key",
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[Shop]:
    """`box` is by default a WeChat Pay of its own, with `key_mode`; `database` a SQLite

    `env` is for the process, `settings` for `Sandbox.env`; `prefix` is a command that runs another one in its place.
    """
    scene = Scene(folder / "scene")
    database = database or f"sqlite:///{made_database(folder / 'orders.sqlite3')}"
    with ExitStack() as stack:
        box = box or stack.enter_context(Sandbox(sign_mode="sdk", key_mode=key_mode, credentials=credentials))
        variables = box.env(orderDatabaseUrl=database, operatorKey=OPERATOR_KEY, **settings)
        variables |= {SCENE: str(scene.folder), **(env or {})}
        with gunicorn(variables, folder / "log", options=options, prefix=prefix) as function:
            box.function = function.url
            yield Shop(box, function, Books(database), scene)


_template: list[bytes] = []


def made_database(file: Path) -> Path:
    """A SQLite file with the order tables; they are made once a process."""
    if not _template:
        from services.orders.database import Database  # noqa: PLC0415 - SQLAlchemy, for once
        from services.orders.tables import init_db  # noqa: PLC0415

        database = Database(f"sqlite:///{file}")
        init_db(database)
        database.close()
        _template.append(file.read_bytes())
    file.write_bytes(_template[0])
    return file


def eventually(found: Callable[[], Any]) -> Any:
    """What `found` returns once it is something."""
    give_up = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.02)
    return result


class WallClock:
    """The wall clock of a process that has `env`, off by so many seconds; its monotonic clock goes on."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip(f"{PREFIX}a C compiler (cc) is not installed")
        library, self._file = folder / "wall_clock.so", folder / "wall_clock_off"
        source = Path(__file__).with_name("wall_clock.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{PREFIX}the C compiler (cc) makes no shared library: {done.stderr.splitlines()[-1:]}")
        self._file.write_bytes(struct.pack("q", 0))
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFF": str(self._file)}

    def jump_to(self, seconds: int) -> None:
        """From now on it is wrong by `seconds`."""
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as mapped:
            mapped[:] = struct.pack("q", seconds)


def own_mounts(*commands: str) -> list[str]:
    """A prefix that mounts what only the function sees; `commands` are lines of sh, run before it starts."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip(f"{PREFIX}root and unshare (util-linux) are needed to fill a file system of one's own")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"{PREFIX}this machine lets nobody make file systems of his own (unshare)")
    script = "\n".join(["set -e", "mount --make-rprivate /", *commands, 'exec "$@"'])
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


@contextmanager
def control_group(controller: str, limits: Mapping[str, int], limits_2: Mapping[str, int]) -> Iterator[Path]:
    """A control group with these limits, named as in version 1 and in version 2; it is removed once it is empty."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / controller).is_dir()
    group = (root / controller if version_1 else root) / f"faults-{os.getpid()}"
    try:
        group.mkdir()
        for name, value in (limits if version_1 else limits_2).items():
            (group / name).write_text(str(value))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"{PREFIX}a control group with a limit of {controller} cannot be made here ({error.strerror})")
    try:
        yield group
    finally:
        eventually(lambda: _removed(group))


def _removed(group: Path) -> bool:
    with suppress(OSError):  # a process in it has not quite ended
        group.rmdir()
    return not group.exists()


def answers_again(running: Shop, dead: int) -> None:
    """Wait until another worker than `dead` answers."""
    eventually(lambda: running.worker() != dead and running.answers())


def is_there(process: int) -> bool:
    """Whether it still runs; one that has ended and was not reaped does not."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False

