"""A small backend for payments on an official account's pages: who the user is, and what he pays.

It holds what a browser must not have: the AppSecret, the server API key, the openid and the price. The page names an
article and nothing else.

    GET  <base>?article=tea        the page; WeChat is asked first who the user is (OAuth, scope snsapi_base)
    GET  <base>return              where WeChat sends him back, with `code` and `state`
    GET  <base>order?article=tea   {number, description, total, state}: OPEN, PAID or OVER; total in cents
    POST <base>order?article=tea   the same, and `pay` unless it is PAID: what getBrandWCPayRequest takes

What goes wrong with an order is answered `{"error": "…"}`, never 2xx. The variables stand in README.md.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from flask import Blueprint, Flask, Response, current_app, jsonify, redirect, request, session

# Yours: from your shop's database, most likely. Cents.
ARTICLES: dict[str, dict[str, Any]] = {
    "tea": {"description": "A cup of tea", "total": 20},
    "pot": {"description": "A pot of tea", "total": 60},
}
SESSION_LIVES = 2 * 60 * 60  # seconds
PATIENCE = 25  # seconds for the function, which itself ends after 20
WECHAT_PATIENCE = 5
POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_STATES = {"SUCCESS": "PAID", "REFUND": "PAID", "CLOSED": "OVER", "REVOKED": "OVER", "PAYERROR": "OVER"}
# The number is used up: another order has it, or it was paid or closed.
_TAKEN = {"OUTTRADENOUSED", "ORDERPAID", "ORDERCLOSED"}
_NUMBERS = 5  # that one request looks at, when a cookie names an order that ended long ago

pages = Blueprint("pages", __name__, static_folder="page", static_url_path="/page")


@dataclass(frozen=True)
class Settings:
    """What the environment says; the secrets stay out of its repr."""

    base_url: str  # of the page, with the slash at its end that WeChat Pay's authorization directory wants
    app_id: str  # of the official account
    function: str
    gateway: str
    app_secret: str = field(repr=False)
    api_key: str = field(repr=False)
    session_key: str = field(repr=False)
    use_service_account: bool = False
    authorize_at: str = "https://open.weixin.qq.com"
    exchange_at: str = "https://api.weixin.qq.com"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Raises RuntimeError, which names every variable that is missing or unusable."""
        needed = ("BASE_URL", "OFFICIAL_APP_ID", "OFFICIAL_APP_SECRET", "CLOUDBASE_APIKEY", "SESSION_KEY", "ENV_ID")
        problems = [f"{name} is not set" for name in needed if not env.get(name)]
        base = env.get("BASE_URL", "")
        if base and not _is_safe(base):
            problems.append("BASE_URL must be https://… and end with / (http:// for 127.0.0.1 only)")
        if 0 < len(env.get("SESSION_KEY", "")) < 32:
            problems.append("SESSION_KEY must have 32 characters or more")
        if problems:
            raise RuntimeError("; ".join(problems))
        return cls(
            base_url=base,
            app_id=env["OFFICIAL_APP_ID"],
            function=env.get("FN_NAME") or "pay-common",
            gateway=env.get("GATEWAY") or f"https://{env['ENV_ID']}.api.tcloudbasegateway.com",
            app_secret=env["OFFICIAL_APP_SECRET"],
            api_key=env["CLOUDBASE_APIKEY"],
            session_key=env["SESSION_KEY"],
            use_service_account=env.get("USE_SERVICE_ACCOUNT") == "1",
            authorize_at=env.get("WECHAT_OPEN") or cls.authorize_at,
            exchange_at=env.get("WECHAT_API") or cls.exchange_at,
        )


class Failure(Exception):
    """Something to tell the user; `status` is the HTTP status. `taken`: the order's number is used up."""

    def __init__(self, message: str, status: int, *, taken: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.taken = taken


def create_app(env: Mapping[str, str] = os.environ) -> Flask:
    """The application; `flask` and gunicorn call it. Raises RuntimeError for unusable variables."""
    settings = Settings.from_env(env)
    app = Flask(__name__, static_folder=None)
    app.secret_key = settings.session_key
    app.config.update(
        SETTINGS=settings,
        PERMANENT_SESSION_LIFETIME=SESSION_LIVES,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=settings.base_url.startswith("https://"),
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH=urlsplit(settings.base_url).path,
        MAX_CONTENT_LENGTH=10_000,
    )
    app.register_blueprint(pages, url_prefix=urlsplit(settings.base_url).path.rstrip("/"))
    app.register_error_handler(Failure, _told)
    app.after_request(_guarded)
    return app


# Who the user is


@pages.get("/")
def page() -> Any:
    """The page, and an order's number for it: whoever presses twice, or comes back, pays the same order."""
    article = _article()
    if "MicroMessenger" in request.user_agent.string and "openid" not in session:
        return redirect(_to_wechat(article))
    if "openid" in session:
        number = session["orders"].get(article)
        if number is None or number == session["paid"].get(article):
            _next_number(article)
    return pages.send_static_file("index.html")


@pages.get("/return")
def returned() -> Any:
    """WeChat says who it is. Without the `state` that this browser was given, somebody else's answer is shown to it."""
    expected, given = session.pop("state", ""), request.args.get("state", "")
    home = f"{_settings().base_url}?{urlencode({'article': session.pop('article', 'tea')})}"
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        if "openid" in session:  # WeChat opens this address twice now and then
            return redirect(home, 303)
        raise Failure("this sign-in does not belong to this browser, or was used already: open the page again", 403)
    session["openid"] = _openid(request.args.get("code", ""))
    session["seed"] = secrets.token_hex(16)
    session["orders"], session["paid"] = {}, {}  # by article: its number now, and the last one that was paid
    session.permanent = True
    return redirect(home, 303)  # and the code is out of the address


def _to_wechat(article: str) -> str:
    session["state"], session["article"] = secrets.token_hex(16), article
    settings = _settings()
    # In this order, and with this end: WeChat insists on both.
    query = urlencode(
        {
            "appid": settings.app_id,
            "redirect_uri": f"{settings.base_url}return",
            "response_type": "code",
            "scope": "snsapi_base",
            "state": session["state"],
        }
    )
    return f"{settings.authorize_at}/connect/oauth2/authorize?{query}#wechat_redirect"


def _openid(code: str) -> str:
    """The openid that WeChat gave `code` out for; a code works once, for five minutes."""
    settings = _settings()
    asked = {
        "appid": settings.app_id,
        "secret": settings.app_secret,
        "code": code,
        "grant_type": "authorization_code",
    }
    url = f"{settings.exchange_at}/sns/oauth2/access_token"
    try:
        answer = requests.get(url, params=asked, timeout=WECHAT_PATIENCE, allow_redirects=False)
        said = _object(answer.content)
    except (requests.RequestException, ValueError):
        raise Failure("WeChat did not say who you are: open the page again", 502) from None  # its text has the secret
    if said.get("errcode") in (40029, 40163, 41008):  # not one of its codes, used already, none at all
        raise Failure("this sign-in was used already or is too old: open the page again", 403)
    if said.get("is_snapshotuser") == 1:  # a preview, whose openid is nobody's
        raise Failure("open the full page to pay: this is a preview", 403)
    if not isinstance(said.get("openid"), str):
        current_app.logger.error("sns/oauth2/access_token: errcode %s", said.get("errcode"))
        raise Failure("WeChat did not say who you are: open the page again", 502)
    return str(said["openid"])


# What he pays


@pages.get("/order")
def order() -> Any:
    """How it went."""
    number, article = _current()
    return _shown(number, article, _state(number, article))


@pages.post("/order")
def place() -> Any:
    """Place the order, or the same one again: a number serves until it is paid or closed."""
    if request.headers.get("Origin", _origin()) != _origin():
        raise Failure("requests of other sites are refused", 403)
    number, article = _current()
    for _ in range(_NUMBERS):
        try:
            return _shown(number, article, "OPEN", _order(number, article))
        except Failure as refusal:
            state = _state(number, article) if refusal.taken else "OPEN"
            if state == "PAID":
                return _shown(number, article, state)
            if state == "OPEN":
                raise
        number = _next_number(article)
    raise Failure("too many orders were closed: try again", 409)


def _order(number: str, article: str) -> dict[str, Any]:
    settings = _settings()
    parameters = _call(
        "wxpay_order",
        {
            "description": ARTICLES[article]["description"],
            "out_trade_no": number,
            "amount": {"total": ARTICLES[article]["total"], "currency": "CNY"},
            "payer": {"openid": session["openid"]},
            **({"useServiceAccount": True} if settings.use_service_account else {}),
        },
    )
    if parameters["appId"] != settings.app_id:
        raise Failure("the function orders for another AppID than OFFICIAL_APP_ID: see USE_SERVICE_ACCOUNT", 500)
    return parameters


def _state(number: str, article: str) -> str:
    """OPEN, PAID or OVER, by WeChat Pay's own answer."""
    try:
        found = _call("wxpay_query_order_by_out_trade_no", {"out_trade_no": number})
    except Failure as refusal:
        if refusal.status == 404:
            return "OPEN"  # not placed yet, or nobody knows: the number stays
        raise
    state = _STATES.get(found["trade_state"], "OPEN")
    if state == "PAID" and session["paid"].get(article) != number:
        session["paid"] = session["paid"] | {article: number}
    return state


def _call(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """One action of the function, with this server's API key; WeChat Pay's answer. Raises Failure."""
    settings = _settings()
    try:
        answer = requests.post(
            f"{settings.gateway}/v1/functions/{settings.function}?webfn=true",
            json={**params, "_action": action},
            headers={
                "Authorization": f"Bearer {settings.api_key}",
                "Accept-Language": request.headers.get("Accept-Language", "en"),
            },
            timeout=PATIENCE,
            allow_redirects=False,
        )
        body = _object(answer.content)
    except (requests.RequestException, ValueError) as error:
        raise Failure("no answer, so the outcome is unknown: try again, it stays the same order", 504) from error
    if answer.status_code == 200 and body.get("code") == 0:
        return dict(body["data"]["data"])
    said = str(body.get("msg") or body.get("message") or answer.status_code)
    status = answer.status_code if 400 <= answer.status_code < 600 else 502
    raise Failure(said, status, taken=status == 409 or _wechat_pays_code(body) in _TAKEN)


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _wechat_pays_code(body: Mapping[str, Any]) -> str:
    """Of a refusal; WeChat Pay spells its codes with underscores and without."""
    try:
        return str(body["data"]["data"]["code"]).replace("_", "")
    except (KeyError, TypeError):
        return ""


def _current() -> tuple[str, str]:
    """The number that this browser was given for the article, and the article."""
    article = _article()
    number = session.get("orders", {}).get(article)
    if number is None:
        raise Failure("open the page in WeChat first", 401)
    return str(number), article


def _article() -> str:
    article = request.args.get("article", "tea")
    if article not in ARTICLES:
        raise Failure("no such article", 404)
    return article


def _next_number(article: str) -> str:
    """The article's number after the one it has.

    Requests at the same time, which see the same cookie, must come to the same number: two numbers are two orders, and
    both can be paid. Without SESSION_KEY nobody can tell it beforehand.
    """
    last = session["orders"].get(article, session["seed"])
    told = "|".join(("order", session["openid"], article, last))
    number = "JS" + hmac.new(_settings().session_key.encode(), told.encode(), "sha256").hexdigest()[:30].upper()
    session["orders"] = session["orders"] | {article: number}
    return number


def _shown(number: str, article: str, state: str, pay: Mapping[str, Any] | None = None) -> Response:
    return jsonify({"number": number, **ARTICLES[article], "state": state, **({"pay": pay} if pay else {})})


# The rest


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings


def _origin() -> str:
    parts = urlsplit(_settings().base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    scheme = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "127.0.0.1")
    return scheme and bool(parts.hostname) and parts.path.endswith("/") and not parts.query and not parts.fragment


def _told(failure: Failure) -> tuple[Response, int]:
    """JSON for the page's script, text for whoever opened an address."""
    is_asked_by_script = request.endpoint in ("pages.order", "pages.place")
    told = jsonify(error=str(failure)) if is_asked_by_script else Response(str(failure), mimetype="text/plain")
    return told, failure.status


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-store"
    return response
