"""Texts that can be told in another language as well: their English words, and what these were made of."""

from __future__ import annotations

from collections.abc import Mapping


class Message(str):
    """English words: `template` with `values` filled in. Exceptions, logs and JSON take it as the string that it is.

    The same template names the text in another language (controllers.languages). Values that are Messages are told
    in that language too, and a tuple of them as a list.
    """

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> Message:
        if isinstance(template, Message):
            return template
        shown = {name: "; ".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
        message = super().__new__(cls, template.format(**shown) if shown else template)
        message.template, message.values = template, values
        return message


def said(error: BaseException) -> str:
    """What an exception was raised with; `str(error)` keeps the English words of a Message only."""
    first = error.args[0] if error.args else ""
    return first if isinstance(first, str) else str(error)
