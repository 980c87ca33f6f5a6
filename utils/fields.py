"""The kinds of values that a request may hold. Nothing is converted: "20" is not 20, and 20 is not "20"."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import reduce
from ipaddress import ip_address
from string import ascii_letters, digits
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing

from utils.texts import Message

MAX_INTEGER = 2**31 - 1  # as cents over 21 million yuan: above any real payment, and it fits a 32-bit column
MAX_ITEMS = 200  # bounds the answer, which names every offending field of every item

_NULL = "must not be null; leave it out"
_MESSAGES: dict[str, Any] = {"required": [Message("is required")], "null": [Message(_NULL)]}
# WeChat Pay takes UTF-8 sequences of one to three bytes [4012081709].
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\U00010000-\U0010ffff]")
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


class Text(fields.Field[str]):
    """Text of at most `longest` characters, or bytes in UTF-8; when `filled` or required, never blank."""

    default_error_messages = _MESSAGES

    def __init__(self, longest: int, *, in_bytes: bool = False, filled: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.longest = longest
        self.in_bytes = in_bytes
        self.filled = filled or self.required
        units = Message("bytes in UTF-8") if in_bytes else Message("characters")
        lengths = Message("1 to {most}", most=longest) if self.filled else Message("at most {most}", most=longest)
        self.expected = Message("must be a string of {lengths} {units}", lengths=lengths, units=units)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> str:
        if not isinstance(value, str) or len(value) > self.longest:
            raise ValidationError(self.expected)
        if _FORBIDDEN.search(value):
            raise ValidationError(Message("must not hold control characters or anything above U+FFFF, such as emoji"))
        if self.in_bytes and len(value.encode("utf-8")) > self.longest:
            raise ValidationError(self.expected)
        if self.filled and not value.strip():
            raise ValidationError(Message("{expected}, not blank", expected=self.expected))
        return value


class Code(fields.Field[str]):
    """A number in WeChat Pay's sense: `shortest` to `longest` ASCII letters, digits and `marks`."""

    default_error_messages = _MESSAGES

    def __init__(self, shortest: int, longest: int, marks: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.lengths = range(shortest, longest + 1)
        self.alphabet = ascii_letters + digits + marks
        kinds = Message("letters, digits and {marks}" if marks else "letters and digits", marks=" ".join(marks))
        template = "must be a string of {least} to {most} {kinds}"
        self.expected = Message(template, least=shortest, most=longest, kinds=kinds)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> str:
        if not isinstance(value, str) or len(value) not in self.lengths or value.strip(self.alphabet):
            raise ValidationError(self.expected)
        return value


class Choice(fields.Field[str]):
    """One of a few words."""

    default_error_messages = _MESSAGES

    def __init__(self, *words: str, **options: Any) -> None:
        super().__init__(**options)
        self.words = words
        either = reduce(lambda first, second: Message("{first} or {second}", first=first, second=second), words)
        self.expected = Message("must be {words}", words=either)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValidationError(self.expected)
        return value


class Moment(fields.Field[str]):
    """A point in time in RFC 3339 with its offset, kept as it was written."""

    default_error_messages = _MESSAGES

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> str:
        if not isinstance(value, str) or not _is_moment(value):
            raise ValidationError(Message("must be a time in RFC 3339 with offset, such as 2030-01-31T12:00:00+08:00"))
        return value


class Day(fields.Field[str]):
    """A calendar day as YYYY-MM-DD."""

    default_error_messages = _MESSAGES

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> str:
        if not isinstance(value, str) or not _is_day(value):
            raise ValidationError(Message("must be a day as YYYY-MM-DD"))
        return value


class IpAddress(fields.Field[str]):
    """An IPv4 or IPv6 address as text."""

    default_error_messages = _MESSAGES

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> str:
        if not isinstance(value, str) or not _is_ip_address(value):
            raise ValidationError(Message("must be an IPv4 or IPv6 address"))
        return value


class Whole(fields.Field[int]):
    """An integer from `least` to `most`; neither a boolean, nor 20.0, nor "20"."""

    default_error_messages = _MESSAGES
    unit = ""

    def __init__(self, least: int, most: int = MAX_INTEGER, **options: Any) -> None:
        super().__init__(**options)
        self.least = least
        self.most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> int:
        if type(value) is not int or value < self.least:
            bound = Message("above 0" if self.least == 1 else "of at least {least}", least=self.least)
            raise ValidationError(Message("must be an integer {bound}{unit}", bound=bound, unit=self.unit))
        if value > self.most:
            bound = Message("of at most {most}", most=self.most)
            raise ValidationError(Message("must be an integer {bound}{unit}", bound=bound, unit=self.unit))
        return value


class Cents(Whole):
    """An amount of money in cents (fen)."""

    unit = Message(" (cents)")


class Flag(fields.Field[bool]):
    """true or false."""

    default_error_messages = _MESSAGES

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError(Message("must be true or false"))
        return value


class Object(fields.Field[dict[str, Any]]):
    """A nested object. A required one that is missing counts as empty: its own required fields are named."""

    default_error_messages = _MESSAGES

    def __init__(self, schema: Schema, **options: Any) -> None:
        super().__init__(**options)
        self.schema = schema

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **options: Any) -> Any:
        return super().deserialize({} if value is missing and self.required else value, attr, data, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError(Message("must be an object"))
        loaded: dict[str, Any] = self.schema.load(value)
        return loaded


class Items(fields.List[Any]):
    """A list of one kind of item; a required one is never empty."""

    default_error_messages = _MESSAGES

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError(Message("must be a list"))
        if self.required and not value:
            raise ValidationError(Message("must be a list of at least one item"))
        if len(value) > MAX_ITEMS:
            raise ValidationError(Message("must be a list of at most {most} items", most=MAX_ITEMS))
        return super()._deserialize(value, attr, data, **options)


def _is_moment(text: str) -> bool:
    written = _RFC_3339.fullmatch(text)
    if written is None or not text.startswith("20"):  # of another century, even a time zone's hours may be too many
        return False
    try:
        datetime.fromisoformat(written[1])
    except ValueError:
        return False
    return True


def _is_day(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone means something on the machine that wrote it only
