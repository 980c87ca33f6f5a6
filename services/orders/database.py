"""One engine, transactions that join, and what differs between the three databases."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, create_engine, event
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from services.merchant_code import DatabaseFailed
from utils import processor
from utils.texts import Message
from utils.turns import Turns

Result = TypeVar("Result")

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
CONNECT_TIMEOUT = 2
KEPT_CONNECTIONS, MORE_CONNECTIONS = 8, 24  # a callback handler or an order each; idle ones beyond 8 are closed
ATTEMPTS = 8  # of a transaction that lost a race; of many at once for one number each may lose some
PAUSE = 0.02  # seconds, times the attempt, at most
_DEADLOCK_STATES = {"40001", "40P01"}  # PostgreSQL: serialization failure, deadlock
_DEADLOCK_NUMBERS = {1213}  # MySQL; who waited in vain for a lock (1205) has waited long enough
_MISSING_STATE, _MISSING_NUMBER, _MISSING_TEXT = "42P01", 1146, "no such table"


MISSING = Message("the order tables are missing: run `flask --app app orders init-db`, or the action wxpay_orders_init")
DOWN = Message("the order database cannot be used now: try again later")


@dataclass
class Transaction:
    """An open transaction.

    `events` are the ids of outbox rows that exist once it is committed, `lease` gives the columns of one that whoever
    began the transaction delivers himself; `outcome` is what the last fact brought about.
    `before_commit` are rows, with table and key, that are inserted at the end and together, unless they are there.
    """

    connection: Connection
    outcome: str = ""
    broken: SQLAlchemyError | None = None
    before_commit: list[tuple[Table, str, dict[str, Any]]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    lease: Callable[[], Mapping[str, Any]] = dict


class Database:
    """`url` is sqlite:///path, postgresql://… or mysql://…; `patience` the seconds that one statement may take."""

    def __init__(self, url: str | URL, *, patience: float = 2.5) -> None:
        parsed = make_url(url)
        self.kind = parsed.get_backend_name()
        self.engine = _engine(parsed.set(drivername=DRIVERS[self.kind]), self.kind, patience)
        self._patience = patience
        self._turns = Turns() if self.kind == "sqlite" else None
        self._goes_first: ContextVar[bool] = ContextVar("goes_first", default=False)
        # SQLite has no transaction but those of _begin_sqlite.
        self._reading: dict[str, Any] = {"begins": False} if self._turns else {"isolation_level": "AUTOCOMMIT"}
        self._inserts: dict[Hashable, Any] = {}
        self._open: ContextVar[Transaction | None] = ContextVar("transaction", default=None)

    def run(self, work: Callable[[Transaction], Result]) -> Result:
        """`work` in a transaction, committed at its end: the one that is open in this context, else a new one.

        A new one that lost a deadlock, or the race to insert a number, is begun again, so `work` may run more than
        once. Raises DatabaseFailed, and what `work` raises.
        """
        current = self._open.get()
        if current is not None:
            try:
                return work(current)
            except SQLAlchemyError as error:
                # MySQL would commit the rest of it, if whoever called this went on as if nothing had been.
                current.broken = error
                raise
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._begin() as transaction:
                    return work(transaction)
            except SQLAlchemyError as error:
                if attempt == ATTEMPTS or not _is_lost_race(error):
                    raise failed(error) from error
                with processor.waiting():
                    time.sleep(random.uniform(0, PAUSE * attempt))  # noqa: S311 - no secret
        raise AssertionError("unreachable")

    @property
    def in_transaction(self) -> bool:
        """Whether one is open in this context."""
        return self._open.get() is not None

    @contextmanager
    def going_first(self) -> Iterator[None]:
        """What is run in this context goes before everything else that waits: a callback has seconds, not patience."""
        token = self._goes_first.set(True)
        try:
            yield
        finally:
            self._goes_first.reset(token)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for single statements: that of the transaction that is open in this context, else one without.

        Raises DatabaseFailed.
        """
        current = self._open.get()
        if current is not None:
            yield current.connection
            return
        try:
            with processor.computing(first=self._goes_first.get()), self._connected() as connection:
                yield connection.execution_options(**self._reading)
        except SQLAlchemyError as error:
            raise failed(error) from error

    def locked(self, query: Select[Any], *, skip: bool = False) -> Select[Any]:
        """`query` with its rows locked until the end of the transaction; `skip` leaves out those locked by others.

        SQLite locks the whole file when a transaction begins.
        """
        return query.with_for_update(skip_locked=skip and self._can_skip())

    def insert(
        self, tx: Transaction, table: Table, rows: list[dict[str, Any]], key: str, *, count: str = "", replace: str = ""
    ) -> None:
        """Insert `rows`, all of the same columns.

        Where a `key` is there already, that row stays; or with `count`, this column of it grows by one, and those named
        in `replace` become the new row's.
        """
        which = (table, tuple(rows[0]), key, count, replace)
        compiled = self._inserts.get(which)
        if compiled is None:  # SQLAlchemy keeps no statement compiled that only one kind of database has
            statement = _insert(self.kind, table, key, count, replace.split())
            compiled = self._inserts[which] = statement.compile(self.engine, column_keys=list(rows[0]))
        tx.connection.execute(compiled, rows if len(rows) > 1 else rows[0])

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        with processor.waiting(first=True):
            is_ours = self._turns.acquire(self._patience, first=self._goes_first.get())
        if not is_ours:
            raise DatabaseFailed(DOWN)
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _begin(self) -> Iterator[Transaction]:
        # Whoever has the turn to write to SQLite holds up all others that want to: it computes before them.
        is_first = self._turns is not None or self._goes_first.get()
        with self._own_turn(), processor.computing(first=is_first), self._connected() as connection:
            begun = connection.begin()
            transaction = Transaction(connection)
            token = self._open.set(transaction)
            try:
                yield transaction
                if transaction.broken is not None:
                    raise transaction.broken
                for (table, key), rows in _grouped(transaction.before_commit).items():
                    self.insert(transaction, table, rows, key)
                with processor.waiting(first=is_first):
                    begun.commit()
            finally:
                self._open.reset(token)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """What is not committed at the end is rolled back."""
        # A file is there at once, and a connection to it is held in turn: who let others on would wait for them.
        with nullcontext() if self.kind == "sqlite" else processor.waiting(first=True):
            connection = self.engine.connect()
        with connection:
            yield connection

    def _can_skip(self) -> bool:
        dialect = self.engine.dialect
        version = dialect.server_version_info or (0,)
        if self.kind == "mysql":
            return version >= ((10, 6) if getattr(dialect, "is_mariadb", False) else (8, 0, 1))
        return self.kind == "postgresql"


def _insert(kind: str, table: Table, key: str, count: str, replaced: Sequence[str]) -> Any:
    if kind == "mysql":
        into = mysql.insert(table)
        counted = {count: table.c[count] + 1} if count else {key: table.c[key]}
        return into.on_duplicate_key_update({**counted, **{name: into.inserted[name] for name in replaced}})
    insert = (postgresql.insert if kind == "postgresql" else sqlite.insert)(table)
    if not count:
        return insert.on_conflict_do_nothing(index_elements=[key])
    changed = {count: table.c[count] + 1, **{name: insert.excluded[name] for name in replaced}}
    return insert.on_conflict_do_update(index_elements=[key], set_=changed)


def _grouped(rows: Sequence[tuple[Table, str, dict[str, Any]]]) -> dict[tuple[Table, str], list[dict[str, Any]]]:
    grouped: dict[tuple[Table, str], list[dict[str, Any]]] = {}
    for table, key, row in rows:
        grouped.setdefault((table, key), []).append(row)
    return grouped


def _engine(url: URL, kind: str, patience: float) -> Engine:
    if kind == "sqlite":
        # Callbacks and orders use some thirty statements; reconcile others for each number of rows, each kept readied.
        options: dict[str, Any] = {"connect_args": {"timeout": patience, "cached_statements": 40}}
    else:
        options = {
            "pool_pre_ping": True,
            "pool_recycle": 280,  # many servers and proxies end what is idle for 300 s
            # A statement sees what is committed when it begins: an UPDATE that waited for a row finds it changed.
            "isolation_level": "READ COMMITTED",
            "connect_args": _server_limits(url, kind, patience),
        }
    engine = create_engine(
        url,
        hide_parameters=True,  # an error would name openids in the log
        pool_size=KEPT_CONNECTIONS,
        pool_use_lifo=True,  # what is seldom needed keeps no statements and pages, and can end
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=CONNECT_TIMEOUT,
        **options,
    )
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "do_execute", _execute)
        event.listen(engine, "do_executemany", _execute_many)
    return engine


def _server_limits(url: URL, kind: str, patience: float) -> dict[str, Any]:
    if kind == "mysql":
        whole = max(1, round(patience + 0.5))
        return {
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": whole + 1,
            "write_timeout": whole + 1,
            "charset": "utf8mb4",
            # Strict: what does not fit is an error, as everywhere else, and not cut.
            "init_command": f"SET SESSION innodb_lock_wait_timeout = {whole},"
            " sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        }
    milliseconds = int(patience * 1000)
    limits = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        # A server that vanished without a word, as in a failover, would otherwise be waited for a quarter of an hour.
        "tcp_user_timeout": milliseconds,
        # Beside the merchant's own, such as a search_path.
        "options": " ".join([*url.normalized_query.get("options", ()), limits]),
    }


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says
    connection.execute("PRAGMA synchronous = FULL")  # a committed payment survives a power failure
    connection.execute("PRAGMA cache_size = -512")  # KB; the system caches the file once, each of 32 connections again


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("begins", True):
        with processor.waiting(first=True):
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # a lock taken later may fail, and not wait


def _execute(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    """Instead of SQLAlchemy: while the server works, others compute."""
    with processor.waiting(first=True):
        cursor.execute(statement, parameters)
    return True


def _execute_many(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    with processor.waiting(first=True):
        cursor.executemany(statement, parameters)
    return True


def failed(error: SQLAlchemyError) -> DatabaseFailed:
    """What callers are told of it; its cause has the driver's own words."""
    orig = getattr(error, "orig", None)
    missing = (
        getattr(orig, "sqlstate", "") == _MISSING_STATE
        or _number(error) == _MISSING_NUMBER
        or _MISSING_TEXT in str(orig)
    )
    return DatabaseFailed(MISSING if missing else DOWN)


def _is_lost_race(error: SQLAlchemyError) -> bool:
    state = getattr(getattr(error, "orig", None), "sqlstate", "")
    return isinstance(error, IntegrityError) or state in _DEADLOCK_STATES or _number(error) in _DEADLOCK_NUMBERS


def _number(error: SQLAlchemyError) -> Any:
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments else None


def driver_says(error: DatabaseFailed) -> str:
    """For a person, in brackets and on one line: a wrong password is not mended by trying again. Not redacted."""
    words = str(getattr(error.__cause__, "orig", None) or "").split()
    return f" ({' '.join(words)})" if words else ""
