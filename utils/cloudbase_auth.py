"""Who is calling: the signs that CloudBase puts on a request, and how far each of them is believed.

An identity is *claimed* or *verified*. Nothing published says that the platform strips identity headers which
strangers send to a public route, so rights rest on a verified identity only: a token that holds against the
environment's keys, or `x-wx-openid` where the merchant declared that no public route leads here.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from utils import processor
from utils.texts import Message

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("pay.auth")

KEYS_LIFETIME = 600.0
COOL_DOWN = 30.0
FETCH_TIMEOUT = 2.0
LEEWAY = 30.0
MAX_IDENTITY = 128
KEY_SET = "/auth/v1/certs"
NO_KEYS = Message("the keys that verify sign-in tokens cannot be fetched now: try again later")
_FROM_ELSEWHERE = (
    "Authorization: the token names a key that the environment of cloudbaseEnvId does not have; sign in there"
)


class BadToken(Exception):
    """The bearer token is malformed, forged, expired or meant for somebody else."""


class KeysUnavailable(Exception):
    """The environment's signing keys could not be had: the token can be neither believed nor refused."""


class TokenVerifier:
    """Checks CloudBase access tokens against the JWKS of one environment; safe for threads.

    Keys live ten minutes. An unknown `kid` causes one fetch per cool-down, whatever became of the last one.
    """

    def __init__(
        self, env_id: str, auth_url: str, get: Callable[[str], bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`auth_url` is the API gateway's root without a trailing slash; `clock` counts seconds.

        `get(url)` fetches, within FETCH_TIMEOUT seconds in all, or raises.
        """
        self._auth_url = auth_url
        self._get = get
        self._jwks_url = auth_url + KEY_SET
        self._rules: dict[str, Any] = {
            "audience": env_id,
            "issuer": (auth_url, f"{auth_url}/auth/v1"),
            "leeway": LEEWAY,
        }
        self._clock = clock
        self._fetching = threading.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._keys_until = self._next_fetch = float("-inf")
        self._last_fetch_failed = False

    def verify(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that holds.

        Raises BadToken, or KeysUnavailable when only the signature is left to check and its key is not there.
        """
        if not self._auth_url:
            raise KeysUnavailable(NO_KEYS)
        # What needs no key comes first: a foreign token (the platform may put its own credential into
        # Authorization) must neither cause a fetch nor look like a token of ours whose keys are missing.
        claim_checks = {f"verify_{claim}": True for claim in ("exp", "nbf", "iat", "aud", "iss")}
        unverified = _decode(
            token, options={"verify_signature": False, "require": ["exp"], **claim_checks}, **self._rules
        )
        algorithm, kid = unverified["header"].get("alg"), unverified["header"].get("kid")
        if algorithm != "RS256" or not kid:
            raise BadToken(Message("Authorization: the token must be signed with RS256 and name its key (kid)"))
        decoded = _decode(
            token, key=self._key(kid), algorithms=["RS256"], options={"require": ["exp"]}, **self._rules
        )
        claims: Mapping[str, Any] = decoded["payload"]
        return claims

    def _key(self, kid: str) -> PyJWK:
        key = self._known(kid)
        if key is not None:  # without the lock: a fetch for a stranger's kid holds up nobody else
            return key
        with processor.waiting():
            is_ours = self._fetching.acquire(timeout=FETCH_TIMEOUT)
        if not is_ours:
            raise KeysUnavailable(NO_KEYS)
        try:
            key = self._known(kid)
            if key is None and self._clock() >= self._next_fetch:
                self._fetch()
                key = self._known(kid)
            if key is not None:
                return key
            if self._last_fetch_failed:
                raise KeysUnavailable(NO_KEYS)
            raise BadToken(Message(_FROM_ELSEWHERE))
        finally:
            self._fetching.release()

    def _known(self, kid: str) -> PyJWK | None:
        return self._keys.get(kid) if self._clock() < self._keys_until else None

    def _fetch(self) -> None:
        from jwt import PyJWKSet  # noqa: PLC0415 - start-up time: most functions never see a token

        try:
            # Not by PyJWT's own client: that one's time-out bounds each read, so a set that drips in never ends.
            found = PyJWKSet.from_json(self._get(self._jwks_url).decode()).keys
            signing = [key for key in found if key.public_key_use in (None, "sig")]
            keys = {key.key_id: key for key in signing if isinstance(key.key_id, str)}
        except Exception as error:  # noqa: BLE001 - whatever the other side did, there are no keys
            self._last_fetch_failed = True
            fields = {"reason": type(error).__name__}
            log.warning("the keys of cloudbaseAuthUrl could not be fetched", extra={"fields": fields})
        else:
            self._last_fetch_failed = False
            self._keys = keys  # before the date: whoever sees the new date sees the new keys
            self._keys_until = self._clock() + KEYS_LIFETIME
        self._next_fetch = self._clock() + COOL_DOWN


@dataclass(frozen=True)
class CallerPolicy:
    """The settings that decide whom the function believes."""

    caller_headers: str  # "claimed" | "trusted" | "ignored"
    in_runtime: bool
    operator_key: str = field(repr=False)
    operator_ids: frozenset[str] = field(repr=False)
    tokens: TokenVerifier | None  # None: tokens are decoded and only claimed


@dataclass(frozen=True)
class Caller:
    """One request's caller. `openid` and `uid` may be invented: rights rest on the other fields."""

    source: str  # "token" | "headers" | "runtime" | "operator" | "none"
    admitted: bool
    openid: str = field(repr=False)
    uid: str = field(repr=False)
    verified_openid: str = field(repr=False)
    verified_uid: str = field(repr=False)
    server: bool
    operator: bool
    keys_unavailable: bool

    @classmethod
    def from_request(cls, headers: Mapping[str, str], policy: CallerPolicy, operator_key: str = "") -> Caller:
        """The caller by the request's headers; `operator_key` is the one in its body.

        Raises BadToken, except beside `x-wx-openid` in the modes that read it: the platform may have put a
        credential of its own into Authorization there, which is then ignored.
        """
        sent = _joined(headers)
        reads_headers = policy.caller_headers in ("claimed", "trusted")
        sent_openid = _sent_openid(sent) if reads_headers else ""
        try:
            token = _read_token(sent.get("authorization", ""), policy.tokens)
        except BadToken:
            if not sent_openid:
                raise
            token = _NO_TOKEN

        user = _is_end_user(token.claims)
        openid = _openid(token.claims.get("provider_sub")) if user else ""
        uid = _identity(token.claims.get("sub")) if user else ""
        server = token.verified and _is_server(token.claims)
        has_key = has_operator_key(policy, sent.get("x-operator-key", ""), operator_key)

        if token is not _NO_TOKEN:
            source = "token"
        elif reads_headers and _has_platform_sign(sent):
            source = "headers"
        elif reads_headers and policy.in_runtime:
            source = "runtime"
        else:
            source = "operator" if has_key else "none"
        admitted = source != "none" if reads_headers else token.verified and (user or server)

        verified_openid = openid if token.verified else ""
        if policy.caller_headers == "trusted" and admitted and "authorization" not in sent:
            verified_openid = sent_openid
        verified_uid = uid if token.verified else ""
        verified_ids = {verified_openid, verified_uid} - {""}
        listed = policy.operator_ids == {"*"} or not verified_ids.isdisjoint(policy.operator_ids)

        return cls(
            source=source,
            admitted=admitted,
            openid=openid or sent_openid,
            uid=uid,
            verified_openid=verified_openid,
            verified_uid=verified_uid,
            server=server,
            operator=has_key or server or (admitted and listed),
            keys_unavailable=token.keys_unavailable,
        )


def has_operator_key(policy: CallerPolicy, in_header: str, in_body: object) -> bool:
    """Whether the header `x-operator-key` or the body's `_operatorKey` is `operatorKey`; both are compared."""
    by_header = _is_key(_as_utf8(in_header), policy.operator_key)
    by_body = _is_key(in_body, policy.operator_key)
    return by_header or by_body


class _Token(NamedTuple):
    claims: Mapping[str, Any]
    verified: bool
    keys_unavailable: bool


_NO_TOKEN = _Token({}, False, False)


def _read_token(authorization: str, tokens: TokenVerifier | None) -> _Token:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return _NO_TOKEN
    token = token.strip()
    if tokens is not None:
        try:
            return _Token(tokens.verify(token), True, False)
        except KeysUnavailable:
            pass
    claims = _decode(token, options={"verify_signature": False})["payload"]
    return _Token(claims, False, tokens is not None)


def _decode(token: str, **checks: Any) -> dict[str, Any]:
    """Header and claims of a JWT. Raises BadToken when it is none or fails one of PyJWT's checks."""
    import jwt  # noqa: PLC0415 - start-up time: most functions never see a token

    try:
        return jwt.decode_complete(token, **checks)
    except (jwt.PyJWTError, ValueError) as error:
        template = "Authorization: the token was refused ({reason}); sign in again"
        raise BadToken(Message(template, reason=type(error).__name__)) from error


def _joined(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers by lower-case name; several of one name joined by commas, as WSGI servers do."""
    joined: dict[str, str] = {}
    for given_name, value in headers.items():
        name = given_name.lower()
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _has_platform_sign(sent: Mapping[str, str]) -> bool:
    return (
        sent.get("x-wx-source") in ("wx_client", "wx_devtools")
        or sent.get("x-authmethod") == "WX_SERVER_AUTH"
        or bool(sent.get("x-tcb-integration-id", "").strip())
    )


def _sent_openid(sent: Mapping[str, str]) -> str:
    openid = _identity(sent.get("x-wx-openid"))
    return "" if "," in openid else openid  # a comma: two headers that the server joined


def _as_utf8(header: str) -> str:
    with contextlib.suppress(UnicodeError):  # WSGI hands header bytes over as Latin-1 (PEP 3333)
        return header.encode("latin-1").decode("utf-8")
    return header


def _is_key(given: object, expected: str) -> bool:
    if not expected or not isinstance(given, str):
        return False
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))


def _openid(value: object) -> str:
    """`value` if it can be an openid: after other sign-ins `provider_sub` is a mail address or phone number."""
    openid = _identity(value)
    return "" if "@" in openid or openid.lstrip("+").isdigit() else openid


def _identity(value: object) -> str:
    """`value` if it can be an openid or uid, else the empty string."""
    if isinstance(value, str) and len(value) <= MAX_IDENTITY and value.isprintable() and " " not in value:
        return value
    return ""


# API keys and publishable keys are tokens of the same family as an end user's, so a good signature alone says
# little. A marker that takes something away counts in any shape, one that grants only in the exact one.


def _is_end_user(claims: Mapping[str, Any]) -> bool:
    return (
        bool(_identity(claims.get("sub")))
        and claims["sub"] not in ("service_account", "service_role")
        and "service_role" not in _words(claims.get("role"))
        and "server" not in _words(claims.get("scope"))
        and "client_server" not in _words(claims.get("client_type"))
        and not _platform(claims)
        and not _is_anonymous(claims)
    )


def _is_server(claims: Mapping[str, Any]) -> bool:
    return not _is_anonymous(claims) and (
        _platform(claims) == "ApiKey"
        or claims.get("role") == "service_role"
        or claims.get("client_type") == "client_server"
    )


def _is_anonymous(claims: Mapping[str, Any]) -> bool:
    app_metadata = claims.get("app_metadata")
    inner_provider = app_metadata.get("provider") if isinstance(app_metadata, dict) else None
    return (
        "anon" in _words(claims.get("sub")) | _words(claims.get("role"))
        or "anonymous" in _words(claims.get("provider")) | _words(inner_provider)
        or "anonymous" in _words(claims.get("scope"))
        or claims.get("is_anonymous") not in (None, False)
        or "PublishableKey" in _words(_platform(claims))
    )


def _platform(claims: Mapping[str, Any]) -> object:
    meta = claims.get("meta")
    return meta.get("platform") if isinstance(meta, dict) else None


def _words(claim: object) -> set[str]:
    """The words of a claim that may be a string of several, or a list of them."""
    items = claim if isinstance(claim, list) else [claim]
    return {word for item in items if isinstance(item, str) for word in item.split()}
