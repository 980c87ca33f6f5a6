"""Values that must never be seen again, and the search for them."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from urllib.parse import quote

from sandbox import Credentials, Sandbox
from sandbox.credentials import private_pem

RUN = 20  # characters of a key or token that give it away

HEADER_OPENID = "oPLANTEDheader0000000000001Q"
TOKEN_OPENID = "oPLANTEDtoken00000000000002Q"
BODY_OPENID = "oPLANTEDbody000000000000003Q"
PAYER_OPENID = "oPLANTEDpayer00000000000004Q"
OPENIDS = (HEADER_OPENID, TOKEN_OPENID, BODY_OPENID, PAYER_OPENID)
NAMES = ("\u6b27\u9633\u5cf0", "Quixote Plantagenet")
OPERATOR_KEY = "Planted_operator_key_0123456789_abcdefgh"
CONTEXT = base64.b64encode(b'{"userId":"planted","secret":"planted cloud credential 7Qx"}').decode()
# As a merchant thinks of it, and as it has to stand in orderDatabaseUrl.
DATABASE_PASSWORD = "Planted@database/password:0123456789"
DATABASE_URL = f"mysql://shop:{quote(DATABASE_PASSWORD, safe='')}@127.0.0.1:1/orders"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"planted secret of the event webhook").decode()
BASIC = "Basic " + base64.b64encode(b"planted-user:planted-password-8Wz").decode()


class Plants:
    """`find(text)` names the planted values that a text gives away.

    Keys, tokens and signatures: by any run of 20 characters. Openids and names: whole, in any spelling.
    """

    def __init__(self, credentials: Credentials, tokens: Iterable[str] = ()) -> None:
        self.private_key = private_pem(credentials.merchant.key)
        self.body = "".join(self.private_key.splitlines()[1:-1])
        self.api_v3_key = credentials.api_v3_key
        self._runs: dict[str, str] = {}
        self._whole = {spelling: name for name in (*OPENIDS, *NAMES) for spelling in _spellings(name)}
        self.add("private key", self.body)
        self.add("APIv3 key", self.api_v3_key)
        self.add("operator key", OPERATOR_KEY)
        self.add("cloud context", CONTEXT)
        for spelling in (DATABASE_PASSWORD, quote(DATABASE_PASSWORD, safe="")):
            self.add("database password", spelling)
        self.add("webhook secret", WEBHOOK_SECRET.partition("_")[2])
        self.add("Basic credential", BASIC.partition(" ")[2])
        for token in tokens:
            for part in token.split(".")[1:] or [token]:  # the header is the same in every token
                self.add("access token", part)

    def add(self, name: str, value: str) -> None:
        self._runs |= {value[at : at + RUN]: name for at in range(max(1, len(value) - RUN + 1)) if value}

    def add_authorizations(self, box: Sandbox) -> int:
        """The signatures of everything that was sent to WeChat Pay; how many there were."""
        sent = [request.headers.get("authorization", "") for request in box.requests]
        for value in sent:
            self.add("signature for WeChat Pay", value.partition('signature="')[2].rstrip('"'))
        return len(sent)

    def find(self, text: str) -> set[str]:
        found = {name for spelling, name in self._whole.items() if spelling in text}
        folded = "".join(text.replace("\\n", "").split())
        for shape in (text, folded):
            runs = (shape[at : at + RUN] for at in range(len(shape)))
            found |= {self._runs[run] for run in runs if run in self._runs}
            found |= {name for short, name in self._runs.items() if len(short) < RUN and short in shape}
        return found


def _spellings(value: str) -> set[str]:
    as_utf8 = value.encode()
    plain = {
        value,
        quote(value),
        repr(as_utf8)[2:-1],
        as_utf8.decode("latin-1"),
        ascii(value)[1:-1],
        html.escape(value),
        base64.b64encode(as_utf8).decode().rstrip("="),
    }
    return plain | {json.dumps(text)[1:-1] for text in plain}
