"""WeChat's side of a web authorization, and the bridge inside its browser.

Facts: the official account documents, "web page authorization": a code works once, for five minutes, and only with the
AppID and AppSecret of the account that it was given out for; answers are JSON labelled text/plain, errors come with
HTTP 200.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tests.examples.web_site import serving

CODE_LIVES = 300
# The names in WeChat's order, which it insists on.
AUTHORIZE = ["appid", "redirect_uri", "response_type", "scope", "state"]
# In a browser of WeChat, whose answer comes from the phone of the sandbox.
BRIDGE = """
const bridge = {
  invoke: async (name, parameters, answer) => answer({ err_msg: await window.phone(name, parameters) }),
};
const appear = () => {
  window.WeixinJSBridge = bridge;
  document.dispatchEvent(new Event('WeixinJSBridgeReady'));
};
if (LATE) { addEventListener('load', () => setTimeout(appear, 300)); } else { window.WeixinJSBridge = bridge; }
"""


class WeChat:
    """`openid` is who is in front of WeChat now; `asked` holds the queries of every exchange of a code."""

    url: str

    def __init__(self, app_id: str, app_secret: str, domain: str) -> None:
        self.app_id, self.app_secret = app_id, app_secret
        self.domain = domain  # registered for web authorization
        self.openid = "oOfficialAccountUser000000001"
        self.asked: list[dict[str, str]] = []
        self.more: dict[str, Any] = {}  # in the next answers
        self.raw: bytes | None = None  # instead of them
        self._codes: dict[str, tuple[str, float]] = {}
        self._used: set[str] = set()

    def code(self, openid: str = "", age: float = 0) -> str:
        code = secrets.token_hex(16)
        self._codes[code] = (openid or self.openid, time.time() - age)
        return code

    def authorize(self, query: str) -> str:
        """Where the browser is sent. Raises AssertionError for what WeChat shows as an error page."""
        fields = parse_qsl(query, keep_blank_values=True)
        assert [name for name, _ in fields] == AUTHORIZE
        given = dict(fields)
        assert given["appid"] == self.app_id
        assert (given["response_type"], given["scope"]) == ("code", "snsapi_base")
        assert urlsplit(given["redirect_uri"]).netloc == self.domain
        assert given["state"].isalnum()
        assert len(given["state"]) <= 128
        return f"{given['redirect_uri']}?{urlencode({'code': self.code(), 'state': given['state']})}"

    def exchange(self, query: str) -> dict[str, Any]:
        given = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        self.asked.append(given)
        code = given.get("code", "")
        openid, made = self._codes.get(code, ("", 0.0))
        for is_wrong, number, text in (
            (given.get("appid") != self.app_id, 40013, "invalid appid"),
            (given.get("secret") != self.app_secret, 40125, "invalid appsecret"),
            (given.get("grant_type") != "authorization_code", 40002, "invalid grant_type"),
            (not code, 41008, "missing code"),
            (code in self._used, 40163, "code been used"),
            (not openid or time.time() - made > CODE_LIVES, 40029, "invalid code"),
        ):
            if is_wrong:
                return {"errcode": number, "errmsg": f"{text}, rid: {secrets.token_hex(4)}"}
        self._used.add(code)
        token = {"access_token": secrets.token_hex(30), "expires_in": 7200, "refresh_token": secrets.token_hex(30)}
        return {**token, "openid": openid, "scope": "snsapi_base", **self.more}


@contextmanager
def wechat(app_id: str, app_secret: str, domain: str) -> Iterator[WeChat]:
    side = WeChat(app_id, app_secret, domain)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/connect/oauth2/authorize":
                self.send_response(302)
                self.send_header("Location", side.authorize(query))
                self.end_headers()
            elif path == "/sns/oauth2/access_token":
                answer = json.dumps(side.exchange(query)).encode()
                self._send(answer if side.raw is None else side.raw)
            else:
                self.send_error(404)

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests look at `asked`."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as side.url:
        yield side
