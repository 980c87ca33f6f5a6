"""PostgreSQL and MariaDB servers of the tests' own, each in a folder of its own, on loopback, gone afterwards.

Nothing that runs on the machine already is touched. A server program that is missing is told as `not run`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.support import free_port

STARTS_WITHIN = 60


class Missing(Exception):
    """A server program is not on this machine."""


class Server:
    """One server process; `url` leads to its databases by name. It can be stopped, killed and started again."""

    kind = ""
    driver = ""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        """`durable` keeps what is committed through a crash of the machine; tests that never look need not wait."""
        self.folder = folder
        self.durable = durable
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.prepare()
        self.start()

    def prepare(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def url(self, database: str) -> str:
        raise NotImplementedError

    def create(self, database: str) -> str:
        """A new, empty database; returns its URL."""
        with self.administered() as connection:
            connection.execute(text(f"CREATE DATABASE {database}"))
        return self.url(database)

    def administered(self):
        engine = create_engine(self.driver + self.url(self.admin).partition("://")[2], poolclass=NullPool)
        return engine.execution_options(isolation_level="AUTOCOMMIT").connect()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        give_up = time.monotonic() + STARTS_WITHIN
        while True:
            assert self._process.poll() is None, (self.folder / "log").read_text(errors="replace")[-3000:]
            try:
                self.administered().close()
                return
            except OperationalError:
                assert time.monotonic() < give_up, "the server does not answer"
                time.sleep(0.05)

    def stop(self, how: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class PostgreSql(Server):
    kind = "postgresql"
    driver = "postgresql+psycopg://"
    admin = "postgres"

    def prepare(self) -> None:
        self.folder.chmod(0o755)
        data = self.folder / "data"
        data.mkdir()
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(data, "postgres", "postgres")
        run = [*self._as_user(), str(_found("initdb")), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*run, "--no-sync", "--locale=C.UTF-8"], check=True, capture_output=True, cwd="/")

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "300",
            **({} if self.durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        server = [str(_found("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port), *given]
        return [*self._as_user(), *server]

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT ends all sessions at once, SIGTERM would wait for them."""
        super().stop(how)

    def _as_user(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        user = pwd.getpwnam("postgres")
        return [str(_found("setpriv")), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


class MariaDb(Server):
    kind = "mysql"
    driver = "mysql+pymysql://"
    admin = "mysql"

    def prepare(self) -> None:
        install = [str(_found("mariadb-install-db")), "--no-defaults", f"--datadir={self.folder / 'data'}"]
        owner = pwd.getpwuid(os.geteuid()).pw_name
        plain = ["--auth-root-authentication-method=normal", "--skip-test-db", f"--user={owner}"]
        subprocess.run([*install, *plain], check=True, capture_output=True)

    def command(self) -> list[str]:
        options = {
            "datadir": self.folder / "data",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "max-connections": 300,
            "innodb-buffer-pool-size": "64M",
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            **({} if self.durable else {"innodb-flush-log-at-trx-commit": 0}),
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [str(_found("mariadbd")), "--no-defaults", *given, "--skip-log-bin", "--skip-name-resolve"]

    def url(self, database: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}"


KINDS = {server.kind: server for server in (PostgreSql, MariaDb)}


def _found(program: str) -> Path:
    """Debian keeps the programs of PostgreSQL in a folder for each version, and servers where only root looks."""
    places = [*os.environ["PATH"].split(":"), "/usr/sbin", "/sbin"]
    places += map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    for place in places:
        path = Path(place) / program
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve() if program in ("initdb", "postgres") else path
    raise Missing(f"{program} is not installed")
