"""JWTs of CloudBase and the identities that come of them: utils/cloudbase_auth.py.

A token counts as verified only where RS256, kid, iss, aud, exp, nbf and iat hold by another reading of RFC 7515 and
7519; a right follows from a verified token, from the operator's key, and from nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from sandbox.credentials import public_pem
from services.wechatpay.transport import Transport
from tests.fuzz.choices import Choices
from tests.fuzz.world import OPENID, OPERATOR_KEY, PLATFORM_KEY, STRANGER
from tests.services.wechatpay.host import MERCHANT_KEY, OTHER_PLATFORM_KEY
from utils.cloudbase_auth import FETCH_TIMEOUT, BadToken, Caller, CallerPolicy, KeysUnavailable, TokenVerifier

TOKENS: tuple[bytes, ...] = ()
ENV_ID = "shop-4gk1env"
_KEYS: dict[str, RSAPrivateKey] = {"first": PLATFORM_KEY, "second": OTHER_PLATFORM_KEY}
_SIGNERS = (PLATFORM_KEY, OTHER_PLATFORM_KEY, STRANGER, MERCHANT_KEY)
_ALGORITHMS = ("RS256", "none", "HS256", "RS512", "None", "rs256", "PS256", "ES256", "", 1)
_KIDS = ("first", "second", "third", "", None, 1, ["first"], {"first": 1}, "../first", "first\x00")
_TIMES = ("exp", "nbf", "iat")
_MOMENTS = (
    3600, 0, -1, -29, -31, 31, 10**9, -(10**9), 1e3, float("inf"), float("nan"), 10**40, "3600", None, [], {}, True,
    1e308,
)  # fmt: skip
_GRANTS: tuple[dict[str, Any], ...] = (
    {}, {"role": "service_role"}, {"client_type": "client_server"}, {"meta": {"platform": "ApiKey"}},
    {"meta": {"platform": "PublishableKey"}}, {"role": "anon"}, {"scope": "anonymous"}, {"is_anonymous": True},
    {"role": ["service_role"]}, {"role": "service_role anon"}, {"provider": "anonymous"}, {"sub": "anon"},
)  # fmt: skip


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class _Gateway(BaseHTTPRequestHandler):
    """Hands out the keys of the environment."""

    def do_GET(self) -> None:
        numbers = {kid: key.public_key().public_numbers() for kid, key in _KEYS.items()}
        keys = [
            {"kid": kid, "kty": "RSA", "alg": "RS256", "n": part(own.n.to_bytes(256, "big")), "e": "AQAB"}
            for kid, own in numbers.items()
        ]
        body = json.dumps({"keys": keys}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@functools.cache
def gateway() -> str:
    """The address of a gateway that runs as long as this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@functools.cache
def verifier() -> TokenVerifier:
    """Its clock stands still: the keys are fetched once."""
    get = functools.partial(Transport().get, timeout=FETCH_TIMEOUT)
    return TokenVerifier(ENV_ID, gateway(), get, clock=lambda: 0.0)


@functools.lru_cache(4096)
def _signature(key: RSAPrivateKey, message: bytes) -> bytes:
    return key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def signed(header: bytes, payload: bytes, key: RSAPrivateKey = PLATFORM_KEY) -> str:
    message = f"{part(header)}.{part(payload)}"
    return f"{message}.{part(_signature(key, message.encode()))}"


def claims(**more: Any) -> dict[str, Any]:
    """Of a user of this environment; the time is rounded, so that what was signed is remembered."""
    now = int(time.time()) // 60 * 60
    base = {"sub": "1798302468135792468", "provider_sub": OPENID, "iss": gateway(), "aud": ENV_ID}
    return base | {"exp": now + 3600, "iat": now - 60} | more


def run(data: bytes) -> None:
    choices = Choices(data)
    token = _token(choices)
    _verified(token, _true_claims(token))
    _called(choices, token, _true_claims(token.strip()))


def _token(choices: Choices) -> str:
    header: Any = {"alg": choices.pick(_ALGORITHMS), "typ": "JWT", "kid": choices.pick(_KIDS)}
    payload: Any = claims(**choices.pick(_GRANTS) | choices.pick(_GRANTS))
    if choices.chance(3):
        moment = choices.pick(_MOMENTS)
        now = int(time.time()) // 60 * 60
        payload[choices.pick(_TIMES)] = now + moment if type(moment) in (int, float) else moment
    header, payload = choices.edited(header, 2), choices.edited(payload, 3)
    head, content = (_written(choices, value) for value in (header, payload))
    by = choices.byte() % 8
    if by == 7:  # the public key taken for a shared secret
        message = f"{part(head)}.{part(content)}"
        token = f"{message}.{part(hmac.digest(public_pem(PLATFORM_KEY).encode(), message.encode(), hashlib.sha256))}"
    elif by == 6:
        token = f"{part(head)}.{part(content)}."
    else:
        token = signed(head, content, choices.pick((*_SIGNERS[by % 2 :], *_SIGNERS)))
    how = choices.byte() % 6
    if how == 1:
        token = choices.spoiled_text(token)
    elif how == 2:  # other claims under a signature that was genuine
        first, _, last = token.split(".")
        token = f"{first}.{part(json.dumps(claims(role='service_role')).encode())}.{last}"
    elif how == 3:
        token = choices.pick(
            (token + ".", token + "=", f"{token}\n", token.replace(".", ". "), token[: token.rindex(".")])
        )
    return token


def _written(choices: Choices, value: Any) -> bytes:
    """JSON of `value`, or of what nests too deep, or something that is no JSON."""
    kind = choices.byte() % 8
    if kind == 5:
        opened, closed = choices.pick(((b"[", b"]"), (b'{"a":', b"}")))
        depth = choices.number() % 6000
        return opened * depth + b"1" + closed * depth
    if kind == 6:
        return choices.spoiled(json.dumps(value).encode())
    if kind == 7:
        return (
            b'{"exp":'
            + choices.pick((b"1" * 5000, b"1e999", b"-0", b"NaN", b'"9"'))
            + b","
            + json.dumps(value).encode()[1:]
        )
    return json.dumps(value).encode()


def _true_claims(token: str) -> dict[str, Any] | None:
    """The claims of a token that holds, by another reading of the rules; None for any other."""
    try:
        head, content, mark = token.encode().split(b".")
        header, found = json.loads(_decoded(head)), json.loads(_decoded(content))
        signature = _decoded(mark)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(found, dict):
        return None
    kid = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(kid, str) or kid not in _KEYS:
        return None
    numbers = _KEYS[kid].public_key().public_numbers()
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(head + b"." + content).digest()
    padded = b"\x00\x01" + b"\xff" * (253 - len(info)) + b"\x00" + info
    if len(signature) != 256 or pow(int.from_bytes(signature, "big"), numbers.e, numbers.n) != int.from_bytes(
        padded, "big"
    ):
        return None
    return found if _claims_hold(found) else None


def _decoded(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _claims_hold(found: Mapping[str, Any]) -> bool:
    now, audience = time.time(), found.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    try:
        starts = [float(found[name]) for name in ("nbf", "iat") if name in found]
        return (
            float(found["exp"]) > now - 31
            and all(start <= now + 31 for start in starts)
            and found.get("iss") in (gateway(), f"{gateway()}/auth/v1")
            and ENV_ID in audiences
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def _verified(token: str, true: dict[str, Any] | None) -> None:
    try:
        found = verifier().verify(token)
    except (BadToken, KeysUnavailable) as error:
        if len(token) > 40 and token in str(error):
            raise AssertionError("the refusal quotes the token") from error
    else:
        assert true is not None, "a token is verified that does not hold"
        assert dict(found) == true or "NaN" in str(true) or "nan" in str(true), "other claims than the signed ones"


def _called(choices: Choices, token: str, true: dict[str, Any] | None) -> None:
    headers = {"Authorization": choices.pick(("Bearer ", "bearer ", "Bearer  ", "Basic ", "")) + token}
    if choices.chance(3):
        headers["X-Wx-Openid"] = choices.pick((OPENID, f"{OPENID},{OPENID}", "", " ", "茶", "x" * 200, "o\n"))
    if choices.chance(4):
        headers["X-Wx-Source"] = choices.pick(("wx_client", "wx_devtools", "WX_CLIENT", ""))
    if choices.chance(3):
        headers["X-Operator-Key"] = choices.pick((OPERATOR_KEY, OPERATOR_KEY[:-1], "", f"{OPERATOR_KEY} ", "é" * 20))
    policy = CallerPolicy(
        caller_headers=choices.pick(("claimed", "trusted", "ignored")),
        in_runtime=choices.chance(2),
        operator_key=choices.pick((OPERATOR_KEY, "")),
        operator_ids=choices.pick((frozenset(), frozenset({OPENID}), frozenset({"1798302468135792468"}))),
        tokens=choices.pick((verifier(), None)),
    )
    try:
        caller = Caller.from_request(headers, policy)
    except BadToken:
        return
    _require_rights(caller, policy, headers, true if policy.tokens and headers["Authorization"][:1] in "Bb" else None)


def _require_rights(
    caller: Caller, policy: CallerPolicy, headers: Mapping[str, str], true: dict[str, Any] | None
) -> None:
    by_token = true if headers["Authorization"].partition(" ")[0].lower() == "bearer" else None
    found = by_token or {}
    assert not caller.server or _may_serve(found), "a server without a token that makes it one"
    assert caller.verified_openid in ("", found.get("provider_sub")), "an openid is verified that no token holds"
    assert caller.verified_uid in ("", found.get("sub")), "a uid is verified that no token holds"
    has_key = bool(policy.operator_key) and headers.get("X-Operator-Key") == policy.operator_key
    listed = any(found.get(name) in list(policy.operator_ids) for name in ("provider_sub", "sub"))
    assert not caller.operator or has_key or caller.server or listed, "an operator by nothing"
    if policy.caller_headers == "ignored":
        assert not caller.admitted or by_token, "admitted without a token where headers are ignored"


def _may_serve(found: Mapping[str, Any]) -> bool:
    meta = found.get("meta")
    grants = (
        found.get("role") == "service_role"
        or found.get("client_type") == "client_server"
        or (isinstance(meta, dict) and meta.get("platform") == "ApiKey")
    )
    return bool(grants) and not _is_nobody(found)


def _is_nobody(found: Mapping[str, Any]) -> bool:
    """Whether a token is one of those that anybody can get."""
    inner = found.get("app_metadata")
    marks = [found.get("provider"), inner.get("provider") if isinstance(inner, dict) else None, found.get("scope")]
    meta = found.get("meta")
    return (
        any("anon" in _words(found.get(name)) for name in ("sub", "role"))
        or any("anonymous" in _words(mark) for mark in marks)
        or found.get("is_anonymous") not in (None, False)
        or (isinstance(meta, dict) and "PublishableKey" in _words(meta.get("platform")))
    )


def _words(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return " ".join(item for item in items if isinstance(item, str)).split()


def seeds() -> Iterable[bytes]:
    yield bytes(24)
    for grant in range(len(_GRANTS)):
        yield bytes((0, 0, grant)) + bytes(20)
    for algorithm in range(len(_ALGORITHMS)):
        yield bytes((algorithm, algorithm % 10, 1, 0, 0, 0, 0, 0, 0, 7 if algorithm == 2 else 6))
    for moment in range(len(_MOMENTS)):
        yield bytes((0, 0, 1, 0, 2, moment, moment % 3))
    yield bytes((0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1))
    yield bytes((0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2))
    yield bytes((0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1))
    yield bytes((0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 100))
    yield bytes((0, 0, 1, 0, 0, 0, 0, 6, 1, 0, 5, 0, 1))
