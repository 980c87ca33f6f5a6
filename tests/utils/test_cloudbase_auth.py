"""Tokens here are built and signed by hand (cryptography, once openssl), never by the library under test."""

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from werkzeug.datastructures import EnvironHeaders, Headers

from services.wechatpay.transport import Transport
from utils.cloudbase_auth import FETCH_TIMEOUT, BadToken, Caller, CallerPolicy, KeysUnavailable, TokenVerifier

ENV = "shop-4gk1env"
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
OTHER_OPENID = "oUpF8uN95-Ptaags6E_roPHg7AG0"
UID = "1798302468135792468"
OPERATOR_KEY = "operator-key-of-at-least-32-characters"
KEYS = {name: rsa.generate_private_key(65537, 2048) for name in ("first", "second", "stranger")}


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(name, **changes):
    numbers = KEYS[name].public_key().public_numbers()
    n, e = (b64url(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (numbers.n, numbers.e))
    return {"kid": name, "kty": "RSA", "alg": "RS256", "n": n, "e": e} | changes


def public_pem(name):
    return KEYS[name].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def part(value):
    return b64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def signed(header, payload, sign):
    signing_input = f"{part(header)}.{part(payload)}"
    return f"{signing_input}.{b64url(sign(signing_input.encode()))}"


def rs256(name):
    return lambda data: KEYS[name].sign(data, padding.PKCS1v15(), hashes.SHA256())


class Jwks:
    """The environment's gateway; `answer` decides what the next request for the keys gets."""

    def __init__(self):
        self.keys = [jwk("first")]
        self.status = 200
        self.raw = None
        self.hang = self.drips = False
        self.released = threading.Event()
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                if outer.drips:
                    self.send_response(200)
                    self.send_header("Content-Length", "100000")
                    self.end_headers()
                    with contextlib.suppress(OSError):  # the asker gave it up
                        while not outer.released.wait(0.1):
                            self.wfile.write(b" ")
                    return
                if outer.hang:
                    outer.released.wait(20)
                    return
                body = json.dumps({"keys": outer.keys}).encode() if outer.raw is None else outer.raw
                self.send_response(outer.status)
                if outer.status == 302:
                    self.send_header("Location", outer.url + "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def jwks(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Jwks()
    yield server
    server.close()


@pytest.fixture
def clock():
    return Clock()


def get(url):
    """What `create_app` hands over."""
    return Transport().get(url, timeout=FETCH_TIMEOUT)


@pytest.fixture
def verifier(jwks, clock):
    return TokenVerifier(ENV, jwks.url, get, clock)


@pytest.fixture
def claims(jwks):
    """Claims of an end user who signed in by openid; None takes one out."""
    base = {
        "iss": jwks.url, "aud": ENV, "exp": time.time() + 3600, "iat": time.time() - 5,
        "sub": UID, "user_id": UID, "provider": "wechat", "provider_sub": OPENID, "scope": "user sso",
        "project_id": ENV, "meta": {"wxOpenId": "", "wxUnionId": ""}, "user_type": "external",
    }

    def make(**changes):
        return {name: value for name, value in (base | changes).items() if value is not None}

    return make


@pytest.fixture
def token(claims):
    def make(key="first", kid=None, header=None, **changes):
        header = {"alg": "RS256", "typ": "JWT", "kid": kid or key} if header is None else header
        return signed(header, claims(**changes), rs256(key))

    return make


def policy(mode="claimed", tokens=None, in_runtime=False, key=OPERATOR_KEY, ids=()):
    return CallerPolicy(mode, in_runtime, key, frozenset(ids), tokens)


def bearer(token, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Headers({"Authorization": f"Bearer {token}"} | named)


# ---- tokens


def test_a_token_of_the_environment_holds(verifier, token, jwks):
    assert verifier.verify(token())["provider_sub"] == OPENID
    assert jwks.requests == ["/auth/v1/certs"]


def test_a_token_signed_by_openssl_holds(verifier, claims, tmp_path):
    pem = tmp_path / "key.pem"
    pem.write_bytes(KEYS["first"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))

    def openssl(data):
        command = ["openssl", "dgst", "-sha256", "-sign", str(pem)]
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout

    assert verifier.verify(signed({"alg": "RS256", "kid": "first"}, claims(), openssl))["sub"] == UID


@pytest.mark.parametrize("suffix", ["", "/auth/v1"])
def test_both_spellings_of_the_issuer_hold(verifier, token, jwks, suffix):
    assert verifier.verify(token(iss=jwks.url + suffix))["sub"] == UID


def test_a_token_that_expired_within_the_leeway_holds_and_half_a_minute_later_does_not(verifier, token):
    assert verifier.verify(token(exp=time.time() - 5))["sub"] == UID
    with pytest.raises(BadToken, match="Expired"):
        verifier.verify(token(exp=time.time() - 30))


@pytest.mark.parametrize("changes", [
    {"exp": 1_000_000_000}, {"exp": None}, {"exp": "soon"}, {"exp": {}}, {"exp": []}, {"exp": True},
    {"nbf": 4_000_000_000}, {"iat": 4_000_000_000}, {"iat": [1]},
    {"aud": "another-env"}, {"aud": None}, {"aud": ""}, {"aud": []}, {"aud": {ENV: 1}}, {"aud": [ENV, 1]},
    {"aud": ENV.upper()}, {"aud": ENV + "x"}, {"aud": 5},
    {"iss": "https://evil.example"}, {"iss": None}, {"iss": []}, {"iss": 5}, {"iss": ""},
    {"sub": 7}, {"sub": {"x": 1}}, {"jti": 5},
])
def test_a_well_signed_token_with_wrong_claims_is_refused(verifier, token, changes):
    with pytest.raises(BadToken):
        verifier.verify(token(**changes))


@pytest.mark.parametrize("suffix", ["/", "/auth/v2", "/auth/v1/", ".evil.example", "@evil.example"])
def test_an_issuer_that_only_begins_like_ours_is_refused(verifier, token, jwks, suffix):
    with pytest.raises(BadToken):
        verifier.verify(token(iss=jwks.url + suffix))


def forgeries(payload):
    """Every way to present `payload` without the environment's private key."""
    good = signed({"alg": "RS256", "kid": "first"}, payload, rs256("first"))
    head, body, signature = good.split(".")
    richer = part(payload | {"role": "service_role"})

    def by_public_key(data):
        return hmac.new(public_pem("first"), data, hashlib.sha256).digest()

    def by_modulus(data):
        return hmac.new(jwk("first")["n"].encode(), data, hashlib.sha256).digest()

    evil = jwk("stranger")
    stranger = rs256("stranger")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return {
        "alg none": signed({"alg": "none", "kid": "first"}, payload, lambda _: b""),
        "alg None with a signature": signed({"alg": "None", "kid": "first"}, payload, rs256("first")),
        "alg missing": signed({"kid": "first"}, payload, rs256("first")),
        "alg a list": signed({"alg": ["RS256"], "kid": "first"}, payload, rs256("first")),
        "alg null": signed({"alg": None, "kid": "first"}, payload, rs256("first")),
        "HS256 by the public key": signed({"alg": "HS256", "kid": "first"}, payload, by_public_key),
        "HS256 by the modulus": signed({"alg": "HS256", "kid": "first"}, payload, by_modulus),
        "HS256 labelled RS256": signed({"alg": "RS256", "kid": "first"}, payload, by_public_key),
        "RS512": signed(
            {"alg": "RS512", "kid": "first"}, payload,
            lambda data: KEYS["first"].sign(data, padding.PKCS1v15(), hashes.SHA512()),
        ),
        "PS256": signed(
            {"alg": "PS256", "kid": "first"}, payload,
            lambda data: KEYS["first"].sign(data, pss, hashes.SHA256())
        ),
        "another key under our kid": signed({"alg": "RS256", "kid": "first"}, payload, stranger),
        "another key under its own kid": signed({"alg": "RS256", "kid": "stranger"}, payload, stranger),
        "the key brought along": signed({"alg": "RS256", "kid": "first", "jwk": evil}, payload, stranger),
        "the key's address brought along": signed(
            {"alg": "RS256", "kid": "x", "jku": "http://127.0.0.1:9/k", "x5u": "http://127.0.0.1:9/k"},
            payload, stranger,
        ),
        "no kid": signed({"alg": "RS256"}, payload, rs256("first")),
        "empty kid": signed({"alg": "RS256", "kid": ""}, payload, rs256("first")),
        "kid a number": signed({"alg": "RS256", "kid": 1}, payload, rs256("first")),
        "kid a list": signed({"alg": "RS256", "kid": ["first"]}, payload, rs256("first")),
        "kid of another case": signed({"alg": "RS256", "kid": "FIRST"}, payload, rs256("first")),
        "kid a path": signed({"alg": "RS256", "kid": "../../dev/null"}, payload, stranger),
        "unknown critical extension": signed(
            {"alg": "RS256", "kid": "first", "crit": ["exp2"]}, payload, rs256("first")
        ),
        "detached payload": signed(
            {"alg": "RS256", "kid": "first", "b64": False, "crit": ["b64"]}, payload, rs256("first")
        ),
        "claims exchanged": f"{head}.{richer}.{signature}",
        "header exchanged": f"{part({'alg': 'RS256', 'kid': 'first', 'x': 1})}.{body}.{signature}",
        "signature cut": good[:-8],
        "signature missing": f"{head}.{body}.",
        "signature of zeros": f"{head}.{body}.{b64url(bytes(256))}",
        "a space inside": f"{head}. {body}.{signature}",
        "a line break at the end": good + "\n",
        "a fourth part": f"{good}.x",
        "payload split": f"{head}.{body[:8]}.{body[8:]}.{signature}",
    }


FORGERIES = sorted(forgeries({}))


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_is_refused(verifier, claims, jwks, name):
    jwks.keys = [jwk("first"), jwk("second")]
    with pytest.raises(BadToken):
        verifier.verify(forgeries(claims())[name])


NEEDS_NO_KEY = ("alg", "HS256 by", "RS512", "PS256", "no kid", "empty kid", "kid a number", "kid a list")


@pytest.mark.parametrize("name", [name for name in FORGERIES if name.startswith(NEEDS_NO_KEY)])
def test_a_token_without_rs256_and_kid_is_refused_without_asking_for_keys(verifier, claims, jwks, name):
    with pytest.raises(BadToken, match=r"^Authorization: "):
        verifier.verify(forgeries(claims())[name])
    assert jwks.requests == []


MALFORMED = [
    "", " ", ".", "..", "...", "x", "a.b", "a.b.c", "e30.e30.", "e30.W10.e30", "null", "é.é.é",
    "\udcff.\udcff.\udcff",
    f"{part({'alg': 'none'})}.{part([1])}.", f"{part({'alg': 'none'})}.{part('text')}.",
    f"{part([])}.{part({})}.",
    f"{part({})}.{part(b'[' * 5000)}.", f"{part(b'{' * 20)}.{part({})}.", f"{part({})}.{part(b'{}{}')}.",
    f"{part({})}.{part(bytes([0xFF, 0xFE]))}.", f"{part({})}.{part(b'9' * 5000)}.", f"{part({})}.e3 0=.",
    "0123456789abcdef/@@/0123456789abcdef",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_no_jwt_with_an_object_in_it_is_refused_with_and_without_keys(verifier, jwks, text):
    for tokens in (verifier, None):
        if text == "e30.e30." and tokens is None:
            continue  # an empty object is one: decoded, and nobody
        with pytest.raises(BadToken):
            Caller.from_request(bearer(text), policy(tokens=tokens))
    assert jwks.requests == []


def test_a_refusal_does_not_repeat_the_token(verifier, token):
    secret = token(aud="another-env")
    with pytest.raises(BadToken) as caught:
        verifier.verify(secret)
    message = str(caught.value)
    assert message.startswith("Authorization: ")
    assert not any(piece in message for piece in [*secret.split("."), OPENID, "another-env"])


def test_an_audience_list_that_names_the_environment_holds(verifier, token):
    assert verifier.verify(token(aud=["other", ENV]))["sub"] == UID


# ---- the environment's keys


@pytest.mark.parametrize("changes", [
    {"aud": "other"}, {"iss": "https://evil.example"}, {"exp": 1}, {"exp": None},
    {"nbf": 4_000_000_000}, {"iat": 4_000_000_000},
])
def test_a_foreign_token_is_refused_without_asking_for_keys(verifier, token, jwks, changes):
    with pytest.raises(BadToken):
        verifier.verify(token(**changes))
    assert jwks.requests == []


def test_without_keys_and_with_another_environments_key_it_is_told_what_to_do(verifier, token, jwks, clock):
    jwks.status = 500
    with pytest.raises(KeysUnavailable) as unavailable:
        verifier.verify(token())
    no_keys = "the keys that verify sign-in tokens cannot be fetched now: try again later"
    assert str(unavailable.value) == no_keys
    with pytest.raises(KeysUnavailable) as unavailable:
        TokenVerifier(ENV, "", get).verify(token())
    assert str(unavailable.value) == no_keys
    jwks.status = 200
    clock.now += 30
    with pytest.raises(BadToken) as refused:
        verifier.verify(token("second"))
    assert str(refused.value) == (
        "Authorization: the token names a key that the environment of cloudbaseEnvId does not have; sign in there"
    )


def test_keys_are_fetched_once_and_again_after_ten_minutes(verifier, token, jwks, clock):
    for _ in range(5):
        verifier.verify(token())
        clock.now += 119
    clock.now += 4.9
    verifier.verify(token())
    assert len(jwks.requests) == 1
    clock.now += 0.1
    verifier.verify(token())
    assert len(jwks.requests) == 2


def test_a_withdrawn_key_stops_holding_when_the_keys_are_fetched_again(verifier, token, jwks, clock):
    verifier.verify(token())
    jwks.keys = [jwk("second")]
    assert verifier.verify(token())["sub"] == UID
    clock.now += 601
    with pytest.raises(BadToken):
        verifier.verify(token())


def test_an_unknown_kid_fetches_once_per_cool_down(verifier, token, jwks, clock):
    verifier.verify(token())
    jwks.keys = [jwk("first"), jwk("second")]
    for _ in range(3):  # the first fetch was just now
        with pytest.raises(BadToken):
            verifier.verify(token("second"))
    assert len(jwks.requests) == 1
    clock.now += 29.9
    with pytest.raises(BadToken):
        verifier.verify(token("second"))
    assert len(jwks.requests) == 1
    clock.now += 0.1
    assert verifier.verify(token("second"))["sub"] == UID
    for kid in ("x", "y", "z"):
        with pytest.raises(BadToken):
            verifier.verify(token("stranger", kid))
    assert len(jwks.requests) == 2


BROKEN = {
    "500": {"status": 500}, "404": {"status": 404}, "redirect": {"status": 302}, "html": {"raw": b"<html>"},
    "empty": {"raw": b""}, "no keys": {"keys": []}, "a list": {"raw": b"[]"},
    "keys null": {"raw": b'{"keys":null}'},
    "keys of nonsense": {"keys": [{"kty": "RSA"}, {"kid": 5}]}, "deep": {"raw": b"[" * 100_000},
    "not UTF-8": {"raw": b'{"keys":["\xff"]}'}, "keys of numbers": {"keys": [1, 2]},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_keys_that_cannot_be_had_are_tried_again_after_the_cool_down(verifier, token, jwks, clock, fault):
    good = {"status": 200, "raw": None, "keys": [jwk("first")]}
    vars(jwks).update(good | BROKEN[fault])
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            verifier.verify(token())
    assert len(jwks.requests) == 1
    vars(jwks).update(good)
    clock.now += 29
    with pytest.raises(KeysUnavailable):
        verifier.verify(token())
    clock.now += 2
    assert verifier.verify(token())["sub"] == UID
    with pytest.raises(BadToken):
        verifier.verify(token("second"))
    assert len(jwks.requests) == 2


def test_the_log_says_why_there_are_no_keys(verifier, token, jwks):
    class Keeping(logging.Handler):
        def emit(self, record):
            kept.append((record.getMessage(), record.fields))

    kept, handler = [], Keeping()
    jwks.status = 500
    logging.getLogger("pay.auth").addHandler(handler)
    try:
        with pytest.raises(KeysUnavailable):
            verifier.verify(token())
    finally:
        logging.getLogger("pay.auth").removeHandler(handler)
    ((text, fields),) = kept
    assert text == "the keys of cloudbaseAuthUrl could not be fetched"
    assert fields == {"reason": "Unreachable"}, "the name of what was raised, none of its words"


def test_a_gateway_that_refuses_connections_makes_keys_unavailable(verifier, token, jwks):
    jwks.close()
    with pytest.raises(KeysUnavailable):
        verifier.verify(token())


def test_a_gateway_that_hangs_is_given_up_after_two_seconds(verifier, token, jwks):
    jwks.hang = True
    started = time.monotonic()
    with pytest.raises(KeysUnavailable):
        verifier.verify(token())
    assert 1.5 < time.monotonic() - started < 8


def test_known_keys_serve_on_when_a_later_fetch_fails_and_unknown_ones_are_unavailable(
    verifier, token, jwks, clock
):
    verifier.verify(token())
    jwks.status = 500
    clock.now += 31
    with pytest.raises(KeysUnavailable):
        verifier.verify(token("second"))
    assert verifier.verify(token())["sub"] == UID
    with pytest.raises(KeysUnavailable):
        verifier.verify(token("second"))
    assert len(jwks.requests) == 2


def test_a_key_of_another_kind_in_the_set_does_not_hide_the_good_one(verifier, token, jwks):
    jwks.keys = [{"kty": "oct", "kid": "oct", "k": b64url(b"k" * 32)}, jwk("second", kid=["x"]),
                 jwk("second", kid="enc", use="enc"), jwk("first")]
    assert verifier.verify(token())["sub"] == UID
    with pytest.raises(BadToken):
        verifier.verify(token("second", "enc"))


def test_a_key_that_is_said_to_be_for_signatures_is_one(verifier, token, jwks):
    jwks.keys = [jwk("first", use="sig")]
    assert verifier.verify(token())["sub"] == UID


@pytest.mark.parametrize("alg", ["RS512", "PS256", "HS256"])
def test_a_key_meant_for_another_algorithm_is_not_used_for_rs256(verifier, token, jwks, alg):
    jwks.keys = [jwk("second"), jwk("first", alg=alg)]
    with pytest.raises(BadToken):
        verifier.verify(token())


def test_many_threads_cause_one_fetch(verifier, token, jwks):
    results, text = [], token()
    barrier = threading.Barrier(16)

    def verify():
        barrier.wait()
        results.append(verifier.verify(text)["sub"])

    threads = [threading.Thread(target=verify) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [UID] * 16
    assert len(jwks.requests) == 1


def test_a_fetch_for_an_unknown_key_does_not_hold_up_callers_with_a_known_one(verifier, token, jwks, clock):
    verifier.verify(token())
    clock.now += 31
    jwks.hang = True

    def ask():
        with pytest.raises(KeysUnavailable):
            verifier.verify(token("second"))

    stuck = threading.Thread(target=ask)
    stuck.start()
    while len(jwks.requests) < 2:
        time.sleep(0.005)
    assert verifier.verify(token())["sub"] == UID
    assert stuck.is_alive()
    jwks.released.set()
    stuck.join()


def test_who_waits_for_anothers_fetch_does_so_no_longer_than_a_fetch_may_take(token, jwks, clock):
    asked, released, ended = threading.Event(), threading.Event(), []

    def get(url):
        asked.set()
        assert released.wait(60)
        raise OSError

    verifier, text = TokenVerifier(ENV, jwks.url, get, clock), token()

    def ask(name):
        with pytest.raises(KeysUnavailable, match="cannot be fetched now"):
            verifier.verify(text)
        ended.append(name)

    one, other = (threading.Thread(target=ask, args=(name,)) for name in ("one", "other"))
    one.start()
    assert asked.wait(60)
    other.start()
    other.join(5 * FETCH_TIMEOUT)
    assert ended == ["other"]
    released.set()
    one.join(60)
    assert ended == ["other", "one"]


def test_a_key_set_that_drips_in_ends_with_the_time_for_it_and_nobody_waits_longer(jwks, clock):
    """A byte now and then would satisfy a time-out for each read for ever."""
    jwks.drips = True
    verifier = TokenVerifier(ENV, jwks.url, get, clock)
    claims = {"iss": jwks.url, "aud": ENV, "exp": time.time() + 60, "sub": UID}
    foreign = signed({"alg": "RS256", "kid": "nobodys"}, claims, rs256("first"))
    took = []

    def ask():
        begun = time.monotonic()
        with pytest.raises(KeysUnavailable):
            verifier.verify(foreign)
        took.append(time.monotonic() - begun)

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert len(took) == 8
    assert max(took) < 3 * FETCH_TIMEOUT
    assert jwks.requests == ["/auth/v1/certs"]


def test_the_token_library_is_loaded_by_the_first_token_only():
    script = (
        "import sys\n"
        "from utils.cloudbase_auth import *\n"
        "tokens = TokenVerifier('env', 'http://127.0.0.1:9', None)\n"
        "policy = CallerPolicy('claimed', False, '', frozenset(), tokens)\n"
        "Caller.from_request({'x-wx-source': 'wx_client'}, policy)\n"
        "print('jwt' in sys.modules)\n"
        "try: tokens.verify('x')\n"
        "except BadToken: print('jwt' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


# ---- whose token it is


def described(caller):
    return (caller.openid, caller.uid, caller.verified_openid, caller.verified_uid, caller.server)


@pytest.mark.parametrize("changes", [
    {}, {"provider": "email"}, {"meta": {}}, {"meta": None}, {"role": "authenticated"},
    {"is_anonymous": False},
    {"scope": "openid"}, {"scope": None}, {"app_metadata": {"provider": "wechat"}},
    {"client_type": "client_user"},
    {"is_system_admin": True}, {"app_metadata": "anonymous"}, {"scope": 5}, {"role": {"a": 1}},
])
def test_an_end_users_token_gives_openid_and_uid(verifier, token, changes):
    caller = Caller.from_request(bearer(token(**changes)), policy(tokens=verifier))
    assert described(caller) == (OPENID, UID, OPENID, UID, False)
    assert (caller.source, caller.admitted, caller.operator) == ("token", True, False)


NOT_END_USERS = [
    {"sub": None}, {"sub": ""}, {"sub": "anon"}, {"sub": "service_account"}, {"sub": "service_role"},
    {"sub": "x" * 129}, {"sub": "a\nb"}, {"sub": "a\x00"}, {"sub": "a b"}, {"sub": "a\u202eb"},
    {"sub": "a\udc80"},
    {"role": "anon"}, {"role": ["anon"]}, {"role": ["service_role"]}, {"provider": "anonymous"},
    {"app_metadata": {"provider": "anonymous"}}, {"is_anonymous": True}, {"is_anonymous": "true"},
    {"is_anonymous": 1}, {"is_anonymous": {}}, {"scope": "anonymous"}, {"scope": "openid anonymous"},
    {"scope": ["anonymous"]}, {"scope": "server"}, {"meta": {"platform": "PublishableKey"}},
    {"meta": {"platform": "Other"}}, {"meta": {"platform": ["ApiKey"]}}, {"client_type": ["client_server"]},
]


@pytest.mark.parametrize("changes", NOT_END_USERS)
def test_a_token_that_is_no_end_users_gives_no_identity_verified_or_claimed(verifier, token, changes):
    text = token(**changes)
    ids = {UID, OPENID, "anon", "service_account", ""}
    for tokens in (verifier, None):
        caller = Caller.from_request(bearer(text), policy(tokens=tokens, ids=ids))
        assert described(caller) == ("", "", "", "", False)
        assert (caller.admitted, caller.operator) == (True, False)
        assert not Caller.from_request(bearer(text), policy("ignored", tokens, ids=ids)).admitted


SERVER_MARKERS = [
    {"meta": {"platform": "ApiKey"}}, {"role": "service_role"}, {"client_type": "client_server"},
]


@pytest.mark.parametrize("markers", SERVER_MARKERS)
@pytest.mark.parametrize("sub", [None, "service_account", "service_role", UID])
def test_a_verified_server_token_is_an_operator_and_no_user(verifier, token, markers, sub):
    for mode in ("claimed", "trusted", "ignored"):
        caller = Caller.from_request(bearer(token(sub=sub, **markers)), policy(mode, verifier))
        assert described(caller) == ("", "", "", "", True)
        assert caller.admitted
        assert caller.operator


@pytest.mark.parametrize("markers", SERVER_MARKERS)
def test_an_unverified_server_token_is_no_server(token, jwks, markers):
    jwks.status = 500
    for tokens in (None, TokenVerifier(ENV, jwks.url, get)):
        caller = Caller.from_request(bearer(token(**markers)), policy(tokens=tokens))
        assert (caller.server, caller.operator, caller.admitted) == (False, False, True)


@pytest.mark.parametrize("markers", SERVER_MARKERS)
@pytest.mark.parametrize("anonymous", [
    {"sub": "anon"}, {"role": "anon"}, {"provider": "anonymous"}, {"meta": {"platform": "PublishableKey"}},
    {"is_anonymous": True}, {"scope": "anonymous"}, {"meta": {"platform": ["ApiKey", "PublishableKey"]}},
])
def test_no_token_with_an_anonymous_marker_is_a_server(verifier, token, markers, anonymous):
    caller = Caller.from_request(bearer(token(**(markers | anonymous))), policy(tokens=verifier))
    assert (caller.server, caller.operator, caller.uid) == (False, False, "")


@pytest.mark.parametrize("markers", [
    {"meta": "ApiKey"}, {"meta": ["ApiKey"]}, {"meta": {"platform": "apikey"}},
    {"meta": {"platform": ["ApiKey"]}},
    {"role": ["service_role"]}, {"role": "Service_Role"}, {"client_type": ["client_server"]},
    {"client_type": "client_server "}, {"sub": "service_role"}, {"scope": "server"},
])
def test_only_the_exact_marker_makes_a_server(verifier, token, markers):
    caller = Caller.from_request(bearer(token(**markers)), policy(tokens=verifier))
    assert (caller.server, caller.operator) == (False, False)


@pytest.mark.parametrize("value", [
    5, True, None, [], ["o1"], {"a": 1}, "", "o" * 129, "a\r\nb", "a\x7f", "\ud800",
    "buyer@shop.example", "13800138000", "+8613800138000", "++1", "@",
])
def test_a_provider_sub_that_is_no_openid_leaves_the_uid(verifier, token, value):
    caller = Caller.from_request(bearer(token(provider_sub=value)), policy(tokens=verifier))
    assert described(caller) == ("", UID, "", UID, False)


@pytest.mark.parametrize("value", ["o" * 128, "8613800138000x", "X8613800138000", "1+", "o+1", "o"])
def test_any_other_printable_word_may_be_an_openid(verifier, token, value):
    caller = Caller.from_request(bearer(token(provider_sub=value, sub="u" * 128)), policy(tokens=verifier))
    assert described(caller) == (value, "u" * 128, value, "u" * 128, False)
    sent = Headers({"x-wx-openid": value, "x-wx-source": "wx_client"})
    assert Caller.from_request(sent, policy("trusted")).verified_openid == value


def test_any_claim_may_be_any_json_value(verifier, token):
    names = ["provider_sub", "role", "provider", "scope", "client_type", "meta", "app_metadata"]
    names += ["is_anonymous", "user_id"]
    odd = [True, False, 0, 1.5, 10**30, "", "x", [], [[]], [None], {}, {"platform": {}}, {"provider": []}]
    for name, value in product(names, odd):
        text = token(**{name: value})
        for tokens in (verifier, None):
            caller = Caller.from_request(bearer(text), policy(tokens=tokens))
            assert isinstance(caller.openid, str)
            assert not caller.server


# ---- setting x headers: who is admitted, as whom

SIGN = {"x-wx-source": "wx_client"}
SERVER_AUTH = {"x-authmethod": "WX_SERVER_AUTH"}
SENT = {"x-wx-openid": OTHER_OPENID}
TABLE = [
    # mode, token, headers, in runtime -> source, admitted, openid, verified openid
    ("claimed", "", {}, False, "none", False, "", ""),
    ("claimed", "", SENT, False, "none", False, OTHER_OPENID, ""),
    ("claimed", "", SIGN, False, "headers", True, "", ""),
    ("claimed", "", {"x-wx-source": "wx_devtools"}, False, "headers", True, "", ""),
    ("claimed", "", {"x-wx-source": "wx_http"}, False, "none", False, "", ""),
    ("claimed", "", {"x-wx-source": "WX_CLIENT"}, False, "none", False, "", ""),
    ("claimed", "", {"x-wx-source": "wx_client,wx_http"}, False, "none", False, "", ""),
    ("claimed", "", SERVER_AUTH, False, "headers", True, "", ""),
    ("claimed", "", {"x-authmethod": "OTHER"}, False, "none", False, "", ""),
    ("claimed", "", {"x-tcb-integration-id": "i-1"}, False, "headers", True, "", ""),
    ("claimed", "", {"x-tcb-integration-id": ""}, False, "none", False, "", ""),
    ("claimed", "", {"x-tcb-integration-id": "  "}, False, "none", False, "", ""),
    ("claimed", "", SIGN | SENT, False, "headers", True, OTHER_OPENID, ""),
    ("claimed", "", {}, True, "runtime", True, "", ""),
    ("claimed", "", SENT, True, "runtime", True, OTHER_OPENID, ""),
    ("claimed", "", SIGN | SENT, True, "headers", True, OTHER_OPENID, ""),
    ("claimed", "user", {}, False, "token", True, OPENID, OPENID),
    ("claimed", "user", SENT | SIGN, False, "token", True, OPENID, OPENID),
    ("claimed", "uid only", SENT, False, "token", True, OTHER_OPENID, ""),
    ("claimed", "server", SENT, False, "token", True, OTHER_OPENID, ""),
    ("claimed", "anonymous", {}, False, "token", True, "", ""),
    ("claimed", "anonymous", SENT | SIGN, True, "token", True, OTHER_OPENID, ""),
    ("claimed", "forged", SENT, False, "none", False, OTHER_OPENID, ""),
    ("claimed", "forged", SENT | SIGN, False, "headers", True, OTHER_OPENID, ""),
    ("claimed", "forged", SENT, True, "runtime", True, OTHER_OPENID, ""),
    ("claimed", "basic", SIGN | SENT, False, "headers", True, OTHER_OPENID, ""),
    ("trusted", "", {}, False, "none", False, "", ""),
    ("trusted", "", SENT, False, "none", False, OTHER_OPENID, ""),
    ("trusted", "", SENT, True, "runtime", True, OTHER_OPENID, OTHER_OPENID),
    ("trusted", "", SIGN, False, "headers", True, "", ""),
    ("trusted", "", SIGN | SENT, False, "headers", True, OTHER_OPENID, OTHER_OPENID),
    ("trusted", "", SERVER_AUTH | SENT, False, "headers", True, OTHER_OPENID, OTHER_OPENID),
    ("trusted", "user", SIGN | SENT, False, "token", True, OPENID, OPENID),
    ("trusted", "uid only", SIGN | SENT, False, "token", True, OTHER_OPENID, ""),
    ("trusted", "server", SIGN | SENT, False, "token", True, OTHER_OPENID, ""),
    ("trusted", "anonymous", SIGN | SENT, True, "token", True, OTHER_OPENID, ""),
    ("trusted", "forged", SIGN | SENT, True, "headers", True, OTHER_OPENID, ""),
    ("trusted", "basic", SIGN | SENT, True, "headers", True, OTHER_OPENID, ""),
    ("trusted", "empty", SIGN | SENT, True, "headers", True, OTHER_OPENID, ""),
    ("ignored", "", {}, False, "none", False, "", ""),
    ("ignored", "", SIGN | SENT, True, "none", False, "", ""),
    ("ignored", "", SERVER_AUTH, True, "none", False, "", ""),
    ("ignored", "", {"x-tcb-integration-id": "i-1"}, True, "none", False, "", ""),
    ("ignored", "user", SIGN | SENT, True, "token", True, OPENID, OPENID),
    ("ignored", "uid only", SIGN | SENT, False, "token", True, "", ""),
    ("ignored", "server", {}, False, "token", True, "", ""),
    ("ignored", "anonymous", SIGN | SENT, True, "token", False, "", ""),
    ("ignored", "basic", SIGN | SENT, True, "none", False, "", ""),
]


def with_token(kind, token):
    without = {"": {}, "basic": {"Authorization": "Basic dXNlcjpwYXNz"}, "empty": {"Authorization": ""}}
    if kind in without:
        return without[kind]
    text = {
        "user": token,
        "uid only": lambda: token(provider_sub=None),
        "server": lambda: token(meta={"platform": "ApiKey"}),
        "anonymous": lambda: token(sub="anon", role="anon"),
        "forged": lambda: token("stranger", "first"),
    }[kind]()
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    ("mode", "kind", "headers", "in_runtime", "source", "admitted", "openid", "verified"), TABLE
)
def test_the_signs_admit_and_identify_as_the_setting_says(
    verifier, token, mode, kind, headers, in_runtime, source, admitted, openid, verified
):
    sent = Headers(headers | with_token(kind, token))
    caller = Caller.from_request(sent, policy(mode, verifier, in_runtime))
    assert (caller.source, caller.admitted) == (source, admitted)
    assert (caller.openid, caller.verified_openid) == (openid, verified)
    assert caller.verified_uid == (UID if kind in ("user", "uid only") else "")
    assert caller.operator == caller.server == (kind == "server")
    assert caller.keys_unavailable is False


@pytest.mark.parametrize(("mode", "headers", "in_runtime"), [
    ("claimed", {}, False), ("claimed", SIGN, True), ("trusted", SIGN, True), ("ignored", SIGN | SENT, True),
    ("claimed", {"x-wx-openid": ""}, True), ("claimed", {"x-wx-openid": "a,b"}, True),
    ("trusted", {"x-wx-openid": "a b"}, True), ("ignored", SENT, False),
])
@pytest.mark.parametrize("kind", ["forged", "expired", "junk"])
def test_a_bad_token_is_refused_unless_a_readable_openid_stands_beside_it(
    verifier, token, mode, headers, in_runtime, kind
):
    text = {"forged": token("stranger", "first"), "expired": token(exp=5), "junk": "junk"}[kind]
    sent = Headers(headers | {"Authorization": f"Bearer {text}"})
    with pytest.raises(BadToken):
        Caller.from_request(sent, policy(mode, verifier, in_runtime))


def test_without_an_environment_id_a_token_only_claims(token):
    forged = token("stranger", "first", exp=5, aud="other")
    for mode in ("claimed", "trusted"):
        caller = Caller.from_request(bearer(forged), policy(mode, ids={OPENID, UID}))
        assert described(caller) == (OPENID, UID, "", "", False)
        assert (caller.admitted, caller.operator, caller.keys_unavailable) == (True, False, False)
    caller = Caller.from_request(bearer(forged), policy("ignored", ids={OPENID, UID}))
    assert (caller.openid, caller.verified_openid) == (OPENID, "")
    assert (caller.admitted, caller.operator) == (False, False)


@pytest.mark.parametrize(("mode", "admitted"), [("claimed", True), ("trusted", True), ("ignored", False)])
def test_without_keys_a_token_only_claims_and_says_so(verifier, token, jwks, clock, mode, admitted):
    jwks.status = 500
    rules = policy(mode, verifier, ids={OPENID, UID})
    caller = Caller.from_request(bearer(token()), rules)
    assert described(caller) == (OPENID, UID, "", "", False)
    assert (caller.admitted, caller.operator, caller.keys_unavailable) == (admitted, False, True)
    jwks.status = 200
    clock.now += 31
    caller = Caller.from_request(bearer(token()), rules)
    assert (caller.verified_openid, caller.operator, caller.keys_unavailable) == (OPENID, True, False)


def test_without_keys_a_trusted_openid_beside_a_token_is_not_verified(verifier, token, jwks):
    jwks.status = 500
    sent = bearer(token(provider_sub=None), x_wx_openid=OTHER_OPENID, x_wx_source="wx_client")
    caller = Caller.from_request(sent, policy("trusted", verifier, in_runtime=True, ids={OTHER_OPENID}))
    assert (caller.openid, caller.verified_openid, caller.operator) == (OTHER_OPENID, "", False)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_is_read_in_any_case(verifier, token, scheme):
    caller = Caller.from_request(Headers({"authorization": scheme + token()}), policy(tokens=verifier))
    assert caller.verified_openid == OPENID


@pytest.mark.parametrize("value", [
    "a,b", f"{OPENID},{OPENID}", "", " ", "a b", "o" * 129, "a\x00b", "a\tb", "\u00a0", "a\x85b",
])
def test_a_header_that_is_no_openid_is_ignored(value):
    sent = EnvironHeaders({"HTTP_X_WX_OPENID": value, "HTTP_X_WX_SOURCE": "wx_client"})
    caller = Caller.from_request(sent, policy("trusted", in_runtime=True, ids={"a", OPENID, value}))
    assert (caller.openid, caller.verified_openid, caller.operator) == ("", "", False)


def test_two_openid_headers_are_none(verifier):
    sent = Headers([("X-Wx-Openid", OPENID), ("x-wx-openid", OTHER_OPENID), ("x-wx-source", "wx_client")])
    caller = Caller.from_request(sent, policy("trusted", verifier))
    assert (caller.admitted, caller.openid, caller.verified_openid) == (True, "", "")


def test_two_authorization_headers_are_a_bad_token(verifier, token):
    good, other = f"Bearer {token()}", f"Bearer {token(provider_sub=OTHER_OPENID)}"
    for tokens in (verifier, None):
        for sent in (
            Headers([("Authorization", good), ("Authorization", other)]),
            EnvironHeaders({"HTTP_AUTHORIZATION": f"{good},{good}"}),
        ):
            with pytest.raises(BadToken):
                Caller.from_request(sent, policy(tokens=tokens))


# ---- the operator


@pytest.mark.parametrize(("mode", "admitted"), [("claimed", True), ("trusted", True), ("ignored", False)])
def test_the_operator_key_in_header_or_body_makes_an_operator(mode, admitted):
    for sent, in_body in (({"X-Operator-Key": OPERATOR_KEY}, ""), ({}, OPERATOR_KEY)):
        caller = Caller.from_request(Headers(sent), policy(mode), in_body)
        assert (caller.source, caller.operator, caller.admitted) == ("operator", True, admitted)
        assert described(caller) == ("", "", "", "", False)


@pytest.mark.parametrize("given", [
    "", " ", "x", OPERATOR_KEY[:-1], OPERATOR_KEY + "x", OPERATOR_KEY.upper(),
    f"{OPERATOR_KEY},{OPERATOR_KEY}",
    "é" * 32, "\udcff" * 32, "\x00",
])
def test_any_other_key_makes_none(given):
    for caller in (
        Caller.from_request({"x-operator-key": given}, policy()),
        Caller.from_request({}, policy(), given),
    ):
        assert (caller.source, caller.operator, caller.admitted) == ("none", False, False)


@pytest.mark.parametrize("given", [None, 5, True, [], {}, [OPERATOR_KEY]])
def test_a_body_field_that_is_no_string_makes_no_operator(given):
    assert not Caller.from_request({}, policy(), given).operator


@pytest.mark.parametrize("given", ["", " ", "x", "None"])
def test_without_a_configured_key_no_key_matches(given):
    for mode in ("claimed", "trusted", "ignored"):
        caller = Caller.from_request({"x-operator-key": given}, policy(mode, key=""), given)
        assert (caller.operator, caller.admitted) == (False, False)


@pytest.mark.parametrize("wrong", ["wrong", "", OPERATOR_KEY[:-1], "\u00e9" * 32])
def test_one_right_key_of_two_is_enough(wrong):
    for mode in ("claimed", "trusted", "ignored"):
        for header, in_body in ((wrong, OPERATOR_KEY), (OPERATOR_KEY, wrong), (OPERATOR_KEY, OPERATOR_KEY)):
            caller = Caller.from_request({"x-operator-key": header}, policy(mode), in_body)
            assert (caller.source, caller.operator) == ("operator", True)
            assert (caller.verified_openid, caller.verified_uid, caller.server) == ("", "", False)


@pytest.mark.parametrize("parts", [("", "wrong"), ("wrong", ""), ("wrong", "wrong"),
                                   (OPERATOR_KEY[:19], OPERATOR_KEY[19:])])
def test_two_wrong_keys_make_no_right_one(parts):
    header, in_body = parts
    caller = Caller.from_request({"x-operator-key": header}, policy(), in_body)
    assert (caller.source, caller.operator, caller.admitted) == ("none", False, False)


def test_a_key_outside_ascii_matches_by_its_utf8_bytes():
    key = "钥匙" * 16 + "é"
    on_the_wire = key.encode().decode("latin-1")  # what a WSGI server makes of the header's bytes
    assert Caller.from_request(EnvironHeaders({"HTTP_X_OPERATOR_KEY": on_the_wire}), policy(key=key)).operator
    assert Caller.from_request({}, policy(key=key), key).operator
    assert not Caller.from_request({}, policy(key=key), key[:-1] + "e").operator


def test_a_key_of_bytes_that_are_no_text_matches_itself():
    key = "\udcff" * 32
    assert Caller.from_request({}, policy(key=key), key).operator
    assert not Caller.from_request({}, policy(key=key), key + "x").operator


def test_listed_verified_identities_are_operators(verifier, token):
    for ids in ({OPENID}, {UID}, {OPENID, "x"}):
        for mode in ("claimed", "trusted", "ignored"):
            assert Caller.from_request(bearer(token()), policy(mode, verifier, ids=ids)).operator
    assert not Caller.from_request(bearer(token()), policy(tokens=verifier, ids={OTHER_OPENID})).operator


def test_a_listed_openid_counts_by_header_in_trusted_mode_only():
    sent = Headers(SIGN | SENT)
    operators = {m: Caller.from_request(sent, policy(m, in_runtime=True, ids={OTHER_OPENID})).operator
                 for m in ("claimed", "trusted", "ignored")}
    assert operators == {"claimed": False, "trusted": True, "ignored": False}


def test_an_openid_without_a_sign_is_no_operator_even_in_trusted_mode():
    for ids in ({OTHER_OPENID}, {"*"}):
        caller = Caller.from_request(Headers(SENT), policy("trusted", ids=ids))
        assert (caller.admitted, caller.operator, caller.verified_openid) == (False, False, "")


def test_a_star_makes_operators_of_all_who_are_admitted_and_of_nobody_else(verifier, token):
    star = {"*"}
    assert Caller.from_request(Headers(SIGN), policy(ids=star)).operator
    assert Caller.from_request({}, policy(in_runtime=True, ids=star)).operator
    assert Caller.from_request(bearer(token()), policy("ignored", verifier, ids=star)).operator
    assert not Caller.from_request({}, policy(ids=star)).operator
    assert not Caller.from_request(Headers(SIGN), policy("ignored", in_runtime=True, ids=star)).operator
    assert not Caller.from_request(bearer(token()), policy("ignored", ids=star)).operator


def test_an_empty_listed_id_matches_nobody():
    assert not Caller.from_request(Headers(SIGN), policy("trusted", in_runtime=True, ids={""})).operator


def test_reprs_hold_no_identity_and_no_key(verifier, token):
    rules = policy("claimed", verifier, ids={OPENID, UID})
    caller = Caller.from_request(bearer(token(), x_operator_key=OPERATOR_KEY), rules)
    assert caller.operator
    for text in (repr(caller), str(caller), repr(rules)):
        assert not any(secret in text for secret in (OPENID, UID, OPERATOR_KEY))
