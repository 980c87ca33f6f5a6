"""Makes and upgrades the tables by the migrations beside this file, however many try at once."""

from __future__ import annotations

import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from services.merchant_code import DatabaseFailed
from services.orders.database import DRIVERS, Database, failed
from utils.texts import Message

_MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE = 60.0  # seconds for one statement: to wait for somebody else's, or to change a large table
_LOCKS = {
    "postgresql": ("SELECT pg_advisory_lock(7220260411)", "SELECT pg_advisory_unlock(7220260411)"),
    "mysql": ("SELECT GET_LOCK('pay_common_orders', 50)", "SELECT RELEASE_LOCK('pay_common_orders')"),
}
_WAL_TRIES, _WAL_PAUSE = 1000, 0.05


def init_db(database: Database) -> None:
    """Bring the tables to the newest revision; does nothing where they are. Raises DatabaseFailed."""
    patient = Database(database.engine.url, patience=PATIENCE)
    try:
        with patient.engine.connect() as connection, _alone(connection, database.kind):
            config = _config(io.StringIO())
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise failed(error) from error
    finally:
        patient.close()


def init_sql(kind: str) -> str:
    """The same as SQL text for sqlite, postgresql or mysql, for a database that only its owner can reach."""
    output = io.StringIO()
    config = _config(output)
    config.attributes["url"] = f"{DRIVERS[kind]}://"
    command.upgrade(config, "head", sql=True)
    return output.getvalue()


def _config(output: io.StringIO) -> Config:
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@contextmanager
def _alone(connection: Connection, kind: str) -> Iterator[None]:
    """Whoever comes second waits, and then finds nothing left to do."""
    if kind == "sqlite":  # its transactions are alone anyway, and DDL is part of them
        _read_beside_writing(connection)
        with connection.begin():
            yield
        return
    take, release = _LOCKS[kind]
    if connection.execute(text(take)).scalar() == 0:
        raise DatabaseFailed(Message("another init-db has been running for a minute: try again later"))
    connection.commit()
    try:
        yield
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text(release))
        connection.commit()


def _read_beside_writing(connection: Connection) -> None:
    """SQLite's write-ahead log, which the file remembers; changing to it does not wait for others by itself."""
    raw = connection.connection.dbapi_connection
    for attempt in range(_WAL_TRIES, 0, -1):
        try:
            raw.execute("PRAGMA journal_mode = WAL")  # type: ignore[union-attr]
            return
        except sqlite3.OperationalError:
            if attempt == 1:
                raise
            time.sleep(_WAL_PAUSE)
