"""`.env` files, as the doctor examines them: config/env_file.py.

Whatever stands in one, rows come of it: no exception, no value in a row, and where a plain line has no row the
CloudBase CLI and python-dotenv read the same.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterable

from dotenv import dotenv_values

from config import env_file
from config.settings import FIELDS
from tests.fuzz import world

TOKENS = (
    b"=", b"\n", b"\r\n", b'"', b"'", b"#", b" #", b"export ", b"${", b"}", b"$", b"\\", b"\\n", b"\\u0041", b"[", b"{",
    b"null", b"true", b"1e5", b"-0", b"\xef\xbb\xbf", b"privateKey=", b"apiV3Key=", b"appId=", b"merchantId=",
    b"ENV_ID=", b"wxPayPublicKey=", b"operatorKey=", b"-----BEGIN PRIVATE KEY-----", b"-----END", b"`", b"[" * 1500,
)  # fmt: skip
_NAMES = (*FIELDS, env_file.ENV_ID)
_PEMS = ("privateKey", "wxPayPublicKey")
logging.getLogger("dotenv").setLevel(logging.ERROR)  # it warns of every line that it cannot read


def run(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    named = set()
    for row in env_file.examine(text, {}):
        _, name, *words = row
        assert name in _NAMES
        named.add(name)
        assert not world.secrets_in(" ".join(words)), "a row gives a secret away"
    ours = dotenv_values(stream=io.StringIO(text))
    for name in set(_NAMES) - named - set(_PEMS):
        lines = [
            line.partition("=")[2] for line in re.split("\r\n?|\n", text) if line.partition("=")[0].strip() == name
        ]
        if ours.get(name) and len(lines) == 1 and _is_plain(lines[0]):
            theirs = json.loads(f'"{lines[0].strip()}"')
            assert theirs == (ours[name] or "").strip(), f"{name} is read in two ways, and no row says so"


def _is_plain(value: str) -> bool:
    """Without what either reader treats in a way of its own."""
    return (
        value.strip().isascii() and not set(value) & set("\\\"'`#${}[]\x0b\x0c\x1c\x1d\x1e\x85") and value.isprintable()
    )


def seeds() -> Iterable[bytes]:
    one_line = world.ENV | {"privateKey": world.PRIVATE_BODY, "ENV_ID": "shop-4gk1env", "wxPayPublicKey": ""}
    yield "".join(f"{name}={value}\n" for name, value in one_line.items()).encode()
    yield "".join(f'{name}="{value}"\n' for name, value in one_line.items()).encode()
    yield f'privateKey="{world.ENV["privateKey"]}"\napiV3Key={world.ENV["apiV3Key"]}\n'.encode()
    yield f"privateKey={world.ENV['privateKey']}\n".encode()
    yield f"export apiV3Key={world.ENV['apiV3Key']} # the key\nappId = {world.APP_ID}\nENV_ID=${{appId}}\n".encode()
    yield b'operatorKey=a"b\nmerchantId=1\nmerchantId=2\nappId=[1]\nappId=null\nENV_ID="x\\ny"\r\nlogLevel=\'info\'\n'
