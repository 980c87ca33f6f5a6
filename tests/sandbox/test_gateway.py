"""The API gateway's face: tokens, their key set, and what reaches the function."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest

from tests.sandbox.conftest import call

FUNCTION = "/v1/functions/pay-common?webfn=true"


def through(box, token, body=b'{"_action":"wxpay_order"}', target=FUNCTION, **headers):
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", **headers}
    return call(box.url, "POST", target, body, sent)


def claims_by_key_set(box, token):
    """Verify as the function would: with the published key set alone."""
    keys = jwt.PyJWKSet.from_dict(call(box.url, "GET", "/auth/v1/certs").json)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["RS256"], audience=box.credentials.env_id, issuer=box.url)


def test_a_users_call_reaches_the_function_at_the_root_with_its_token_and_comes_back_unchanged(box, function):
    function.answers.append((418, b'{"code":-1}'))
    token = box.token(openid="oMe", uid="42")
    answer = through(box, token, **{"X-Operator-Key": "k"})
    assert (answer.status, answer.body) == (418, b'{"code":-1}')
    [(path, headers, body)] = function.got
    assert (path, body) == ("/", b'{"_action":"wxpay_order"}')
    assert headers["authorization"] == f"Bearer {token}"
    assert headers["x-operator-key"] == "k"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("user", {"sub": "42", "provider_sub": "oMe", "scope": "openid"}),
        ("anonymous", {"sub": "42", "provider": "anonymous", "is_anonymous": True}),
        ("server", {"role": "service_role", "meta": {"platform": "ApiKey"}}),
        ("publishable", {"sub": "anon", "meta": {"platform": "PublishableKey"}}),
    ],
)
def test_each_kind_of_token_verifies_against_the_key_set(box, kind, expected):
    claims = claims_by_key_set(box, box.token(kind, uid="42", openid="oMe"))
    assert claims | expected == claims
    assert claims["exp"] - time.time() > 7000


@pytest.mark.parametrize(
    ("forgery", "error"),
    [
        ({"key": "other"}, jwt.InvalidSignatureError),
        ({"alg": "none"}, jwt.InvalidTokenError),
        ({"alg": "HS256"}, jwt.InvalidTokenError),
        ({"alg": "RS512"}, jwt.InvalidAlgorithmError),
        ({"exp": 1}, jwt.ExpiredSignatureError),
        ({"exp": None}, None),
        ({"aud": "another"}, jwt.InvalidAudienceError),
        ({"iss": "https://another.example"}, jwt.InvalidIssuerError),
        ({"kid": "unknown"}, KeyError),
    ],
)
def test_a_forged_token_fails_where_it_should_and_never_passes_the_gateway(box, function, forgery, error):
    token = box.token(**forgery)
    if error:
        with pytest.raises(error):
            claims_by_key_set(box, token)
    if "kid" not in forgery:
        answer = through(box, token)
        assert (answer.status, answer.json["code"]) == (401, "MISSING_CREDENTIALS")
        assert function.got == []


def test_claims_can_be_replaced_and_removed(box):
    claims = claims_by_key_set(box, box.token(provider_sub=None, scope="x", kind="user"))
    assert "provider_sub" not in claims
    assert claims["scope"] == "x"


def test_anonymous_callers_are_refused_and_servers_pass(box, function):
    for kind in ("anonymous", "publishable"):
        answer = through(box, box.token(kind))
        assert (answer.status, answer.json["code"]) == (403, "EXCEED_AUTHORITY")
        assert answer.json["requestId"] == answer.headers["x-request-id"]
    assert function.got == []
    assert through(box, box.token("server")).status == 200


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        (FUNCTION, b"[]", 400, "FUNCTION_PARAM_INVALID"),
        (FUNCTION, b"a=1", 400, "FUNCTION_PARAM_INVALID"),
        ("/v1/functions/pay-common", b"{}", 400, "FUNCTION_PARAM_INVALID"),
        ("/v1/functions/9lives?webfn=true", b"{}", 404, "FUNCTION_NOT_FOUND"),
        ("/v1/functions/pay-common/wx-pay/wxpay_order?webfn=true", b"{}", 404, "FUNCTION_NOT_FOUND"),
    ],
)
def test_only_objects_for_functions_are_forwarded(box, function, target, body, status, code):
    answer = through(box, box.token(), body, target)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert function.got == []


def test_the_webfn_header_stands_for_the_query(box, function):
    assert (
        through(box, box.token(), target=FUNCTION.partition("?")[0], **{"X-Tcb-Webfn": "true"}).status == 200
    )


def test_no_token_is_missing_credentials(box):
    assert call(box.url, "POST", FUNCTION, b"{}").json["code"] == "MISSING_CREDENTIALS"


def test_an_absent_function_is_an_invocation_failure(box):
    box.function = "http://127.0.0.1:9"
    assert through(box, box.token()).json["code"] == "FUNCTION_INVOCATION_FAILED"


def test_the_key_set_can_fail_or_hang_and_counts_its_calls(box):
    box.jwks = "error"
    assert call(box.url, "GET", "/auth/v1/certs").status == 500
    box.jwks = "hang"
    with pytest.raises(TimeoutError):
        call(box.url, "GET", "/auth/v1/certs", timeout=0.2)
    assert box.gateway.key_set_calls == 2
    box.reset()
    assert call(box.url, "GET", "/auth/v1/certs").json["keys"][0]["kty"] == "RSA"
    with pytest.raises(ValueError, match="jwks"):
        box.jwks = "sometimes"


def test_a_mini_programs_call_carries_the_injected_identity_whatever_it_claims(box, function):
    answer = box.call_http_function(
        "/wx-pay/wxpay_order", {"a": 1}, openid="oMe", headers={"x-wx-openid": "oForged", "X-Own": "1"}
    )
    assert (answer.status, answer.json) == (200, {"code": "SUCCESS"})
    [(path, headers, body)] = function.got
    assert (path, json.loads(body)) == ("/wx-pay/wxpay_order", {"a": 1})
    assert headers["x-wx-source"] == "wx_client"
    assert headers["x-wx-openid"] == "oMe"
    assert headers["x-wx-appid"] == box.credentials.app_id
    assert headers["x-own"] == "1"


def test_tokens_are_three_unpadded_base64url_parts(box):
    parts = box.token().split(".")
    assert len(parts) == 3
    assert all("=" not in part and base64.urlsafe_b64decode(part + "==") for part in parts)


def test_a_page_on_this_machine_may_ask_and_one_from_elsewhere_may_not(box, function):
    function.answers.append((200, b"{}"))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for origin, allowed in (
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("https://shop.example", False),
        ("http://127.0.0.1.shop.example", False),
        ("http://[", False),
        ("null", False),
    ):
        answer = call(box.url, "OPTIONS", FUNCTION, b"", {"Origin": origin, **asked})
        assert answer.status == 204
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert answer.headers["vary"] == "Origin"
    preflight = call(box.url, "OPTIONS", FUNCTION, b"", {"Origin": "http://127.0.0.1:8000", **asked})
    assert {"content-type", "authorization"} <= set(
        preflight.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    )
    for token, status in ((box.token(), 200), ("none", 401)):
        answer = through(box, token, Origin="http://127.0.0.1:8000")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "http://127.0.0.1:8000")
    assert len(function.got) == 1


def test_a_user_on_this_machine_has_an_address_that_an_h5_order_may_have(box, function):
    through(box, box.token(), **{"X-Forwarded-For": "203.0.113.7"})
    [(_, headers, _)] = function.got
    assert headers["x-forwarded-for"] == "203.0.113.7, 8.8.8.8"
