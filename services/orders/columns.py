"""The column types, the same on SQLite, PostgreSQL and MySQL: numbers compare by case, times are UTC."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import DateTime, Dialect, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql

_MYSQL = ("mysql", "mariadb")


def code(length: int) -> String:
    """A number, state or other ASCII word. MySQL's own collations take ABC and abc for the same."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), *_MYSQL)


def exact(length: int) -> String:
    """Text of any language, compared by its very characters."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


def document() -> Text:
    """Text of any length, mostly JSON; MySQL's plain TEXT would end at 64 KB."""
    return Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC to the millisecond, which is as fine as all three databases are."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=3))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else to_millisecond(value).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=timezone.utc)


def to_millisecond(value: datetime) -> datetime:
    """As it will come back from the database."""
    value = value.astimezone(timezone.utc)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def now() -> datetime:
    return to_millisecond(datetime.now(timezone.utc))
