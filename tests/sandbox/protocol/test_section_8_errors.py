"""Sections 8 errors, 1.5 causes of a 401 and 2.5 what is not signed, row by row."""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox import Sandbox
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, Heard, Merchant, call
from tests.sandbox.protocol.conftest import PAY, advance_to, beijing, refusal, signed_by

TRADE, FUND, CERTIFICATES = "/v3/bill/tradebill", "/v3/bill/fundflowbill", "/v3/certificates"
QUERY = f"{PAY}/out-trade-no/ORDER_000001?mchid="
OTHER_APP, OTHER_MERCHANT = "wx0000000000000000", "1900000000"


def signature(answer: Heard) -> list[str]:
    return [name for name in answer.headers if name.startswith("wechatpay-")]


def published(box: Sandbox) -> RSAPublicKey:
    key = serialization.load_pem_public_key(box.env()["wxPayPublicKey"].encode())
    assert isinstance(key, RSAPublicKey)
    return key


def assert_signed(box: Sandbox, answer: Heard) -> None:
    assert answer.headers["wechatpay-serial"] == box.credentials.public_key_id
    assert signed_by(published(box), answer.headers, answer.body)
    assert not signed_by(published(box), answer.headers, answer.body + b" ")


def numeric(answer: Heard) -> int:
    """How Request-ID ends."""
    found = re.fullmatch(r"[0-9A-Za-z-]+-([0-9]+)", answer.headers["request-id"])
    assert found
    return int(found[1])


# 8 The table: every status with its codes, each by what brings it about

BY_A_FAULT = {
    (400, "PARAM_ERROR"),
    (400, "INVALID_REQUEST"),
    (400, "APPID_MCHID_NOT_MATCH"),
    (400, "MCH_NOT_EXISTS"),
    (400, "ORDER_CLOSED"),
    (400, "ALREADY_EXISTS"),
    (400, "NO_STATEMENT_EXIST"),
    (400, "STATEMENT_CREATING"),
    (401, "SIGN_ERROR"),
    (403, "NO_AUTH"),
    (403, "NOT_ENOUGH"),
    (403, "OUT_TRADE_NO_USED"),
    (403, "RULE_LIMIT"),
    (403, "TRADE_ERROR"),
    (403, "USER_ACCOUNT_ABNORMAL"),
    (404, "ORDER_NOT_EXIST"),
    (404, "RESOURCE_NOT_EXISTS"),
    (404, "NOT_FOUND"),
    (404, "MCH_NOT_EXISTS"),
    (429, "FREQUENCY_LIMITED"),
    (429, "RATELIMIT_EXCEEDED"),
    (429, "FREQUENCY_LIMIT_EXCEED"),
    (429, "FREQUENCY_LIMIT"),
    (500, "SYSTEM_ERROR"),
    (501, "SYSTEM_ERROR"),
    (502, "SERVICE_UNAVAILABLE"),
    (503, "SERVICE_UNAVAILABLE"),
}
CODES = {code for _, code in BY_A_FAULT}


def named(row: Any) -> str:
    return " ".join(map(str, row))


@pytest.mark.parametrize("row", sorted(BY_A_FAULT), ids=named)
def test_a_code_by_a_fault(merchant, box, row):
    status, code = row
    box.fault("error", code=code, status=status, times=1)
    answer = merchant.send("POST", PREPAY, merchant.order())
    assert refusal(answer) == (status, code)
    assert set(answer.json) == {"code", "message"}
    assert numeric(answer) != 0
    if code == "SIGN_ERROR":
        assert signature(answer) == []
    else:
        assert_signed(box, answer)
    assert box.ledger.orders == {}
    assert merchant.send("POST", PREPAY, merchant.order()).status == 200


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_comes_with_no_other_status(box, code):
    for status in (200, 202, 400, 401, 403, 404, 405, 429, 500, 501, 502, 503):
        if (status, code) not in BY_A_FAULT:
            with pytest.raises(ValueError, match="status"):
                box.fault("error", code=code, status=status)
    assert box.faults == []


@pytest.mark.parametrize("code", ["", "SYSTEMERROR", "ORDERNOTEXIST", "FREQUENCYLIMIT", "param_error", "USER_ERROR"])
def test_no_fault_invents_a_code(merchant, box, code):
    """Without one it is SYSTEM_ERROR; the older spellings belong to older pages."""
    if code:
        with pytest.raises(ValueError, match="code"):
            box.fault("error", code=code)
    else:
        box.fault("error", times=1)
        assert refusal(merchant.send("POST", PREPAY, merchant.order())) == (500, "SYSTEM_ERROR")


def test_200(merchant, box):
    answer = merchant.send("POST", PREPAY, merchant.order())
    assert (answer.status, list(answer.json)) == (200, ["prepay_id"])
    assert_signed(box, answer)


def test_204_is_without_body(merchant, box):
    merchant.place("jsapi")
    answer = merchant.close()
    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers
    assert_signed(box, answer)


def test_202_is_accepted_and_not_processed_and_the_same_goes_through_later(merchant, box):
    box.fault("accepted_202", times=1)
    answer = merchant.send("POST", PREPAY, merchant.order())
    assert (answer.status, answer.body) == (202, b"")
    assert_signed(box, answer)
    assert box.ledger.orders == {}
    assert merchant.send("POST", PREPAY, merchant.order()).status == 200


def test_405_is_empty(merchant):
    answer = merchant.send("GET", PREPAY)
    assert (answer.status, answer.body, signature(answer)) == (405, b"", [])


def test_502_may_come_from_a_gateway_that_speaks_html(merchant, box):
    box.fault("html_502", times=1)
    answer = merchant.send("POST", PREPAY, merchant.order())
    assert (answer.status, answer.headers["content-type"], signature(answer)) == (502, "text/html", [])
    assert box.ledger.orders == {}


# 8 Natural causes


def prepay(merchant, **changes: Any) -> Heard:
    return merchant.send("POST", PREPAY, merchant.order(**changes))


def refund(merchant, **changes: Any) -> Heard:
    return merchant.send("POST", REFUNDS, merchant.refund(**changes))


def transfer(merchant, **changes: Any) -> Heard:
    return merchant.send("POST", BILLS, merchant.transfer(**changes))


def bill(merchant, target: str, date: Any) -> Heard:
    return merchant.send("GET", f"{target}?bill_date={date}")


def order_closed(merchant) -> Heard:
    merchant.place("jsapi")
    merchant.close()
    return prepay(merchant)


def already_exists(merchant) -> Heard:
    merchant.transferred()
    merchant.box.finish_transfer("BILL1", "FAIL", deliver=False)
    return transfer(merchant)


def no_such_day(merchant) -> Heard:
    advance_to(merchant.box, 12)
    return bill(merchant, TRADE, beijing(merchant.box).date() - timedelta(days=1))


def day_too_young(merchant) -> Heard:
    advance_to(merchant.box, 9, 30)
    return bill(merchant, FUND, beijing(merchant.box).date() - timedelta(days=1))


def download_too_late(merchant) -> Heard:
    return merchant.send("GET", "/v3/billdownload/file?token=old")


def no_product(product: str, method: str, target: str, body: str = "") -> Any:
    def cause(merchant) -> Heard:
        enabled = {"jsapi", "native", "h5", "app", "refund", "transfer"} - {product}
        merchant.box.merchant.change(products=sorted(enabled))
        return merchant.send(method, target, getattr(merchant, body)() if body else None)

    return cause


def unregistered(method: str, target: str, body: str = "") -> Any:
    def cause(merchant) -> Heard:
        merchant.box.merchant.change(registered=False)
        own = target.format(mchid=merchant.credentials.merchant_id)
        return merchant.send(method, own, getattr(merchant, body)() if body else None)

    return cause


def refund_not_enough(merchant) -> Heard:
    merchant.paid()
    merchant.box.merchant.change(funds={"BASIC": 99})
    return refund(merchant)


def transfer_not_enough(merchant) -> Heard:
    merchant.box.merchant.change(funds={"OPERATION": 99})
    return transfer(merchant)


def number_used(merchant) -> Heard:
    prepay(merchant)
    return prepay(merchant, total=101)


def account_closed(merchant) -> Heard:
    merchant.paid()
    merchant.box.merchant.know("oUser", account="closed")
    return refund(merchant)


def no_order(merchant) -> Heard:
    return merchant.query()


def no_payment(merchant) -> Heard:
    return merchant.send("GET", f"{PAY}/id/4200?mchid={merchant.credentials.merchant_id}")


NATURAL = [
    ("400 PARAM_ERROR: prepay", lambda merchant: prepay(merchant, total=0)),
    ("400 INVALID_REQUEST: refund", lambda merchant: merchant.paid() or refund(merchant, total=99)),
    ("400 INVALID_REQUEST: transfer", lambda merchant: transfer(merchant, transfer_scene_id="9999")),
    ("400 INVALID_REQUEST: download", download_too_late),
    ("400 APPID_MCHID_NOT_MATCH: prepay", lambda merchant: prepay(merchant, appid=OTHER_APP)),
    ("400 MCH_NOT_EXISTS: prepay", unregistered("POST", PREPAY, "order")),
    ("400 MCH_NOT_EXISTS: order query", unregistered("GET", QUERY + "{mchid}")),
    ("400 MCH_NOT_EXISTS: close", unregistered("POST", f"{PAY}/out-trade-no/ORDER_000001/close")),
    ("404 MCH_NOT_EXISTS: refund", unregistered("POST", REFUNDS, "refund")),
    ("404 MCH_NOT_EXISTS: refund query", unregistered("GET", f"{REFUNDS}/REFUND_1")),
    ("400 ORDER_CLOSED: prepay", order_closed),
    ("400 ALREADY_EXISTS: transfer", already_exists),
    ("400 NO_STATEMENT_EXIST: bill", no_such_day),
    ("400 STATEMENT_CREATING: bill", day_too_young),
    ("403 NO_AUTH: prepay", no_product("jsapi", "POST", PREPAY, "order")),
    ("403 NO_AUTH: refund", no_product("refund", "POST", REFUNDS, "refund")),
    ("403 NO_AUTH: transfer", no_product("transfer", "POST", BILLS, "transfer")),
    ("403 NO_AUTH: transfer query", no_product("transfer", "GET", f"{BILLS}/out-bill-no/BILL1")),
    ("403 NOT_ENOUGH: refund", refund_not_enough),
    ("403 NOT_ENOUGH: transfer", transfer_not_enough),
    ("403 OUT_TRADE_NO_USED: prepay", number_used),
    ("403 USER_ACCOUNT_ABNORMAL: refund", account_closed),
    ("404 ORDER_NOT_EXIST: by out_trade_no", no_order),
    ("404 ORDER_NOT_EXIST: by transaction_id", no_payment),
    ("404 RESOURCE_NOT_EXISTS: refund", refund),
    ("404 RESOURCE_NOT_EXISTS: refund query", lambda merchant: merchant.refund_query()),
    ("404 RESOURCE_NOT_EXISTS: certificates", lambda merchant: merchant.send("GET", CERTIFICATES)),
    ("404 NOT_FOUND: transfer query", lambda merchant: merchant.transfer_query()),
    ("404 NOT_FOUND: cancel", lambda merchant: merchant.cancel()),
]


@pytest.mark.parametrize(("row", "cause"), NATURAL, ids=[row for row, _ in NATURAL])
def test_a_code_by_its_cause(merchant, box, row, cause):
    answer = cause(merchant)
    status, code = row.partition(":")[0].split()
    assert refusal(answer) == (int(status), code)
    assert answer.headers["content-type"].startswith("application/json")
    assert_signed(box, answer)
    assert_shape(answer)


def assert_shape(answer: Heard) -> None:
    """Code and message; `detail` where it is allowed, with field, issue and location."""
    content = answer.json
    assert {"code", "message"} <= set(content) <= {"code", "message", "detail"}
    assert content["message"]
    if "detail" in content:
        assert content["code"] in ("PARAM_ERROR", "INVALID_REQUEST")
        assert {"field", "issue", "location"} <= set(content["detail"]) <= {"field", "issue", "location", "value"}
        assert content["detail"]["location"] in ("body", "url", "query")


@pytest.fixture
def second(box, monkeypatch):
    """With limits on, and a wall clock for them alone, which stands still until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("sandbox.limits.time", SimpleNamespace(time=lambda: clock.now))
    box.limits = True
    return clock


@pytest.mark.parametrize(
    ("what", "most", "code", "cause"),
    [
        ("jsapi", 500, "FREQUENCY_LIMITED", prepay),
        ("refund", 150, "FREQUENCY_LIMITED", refund),
        ("refund query", 300, "FREQUENCY_LIMITED", lambda merchant: merchant.refund_query()),
        ("fund bill", 3, "FREQUENCY_LIMITED", lambda merchant: bill(merchant, FUND, "2026-01-01")),
        ("transfer", 100, "FREQUENCY_LIMIT_EXCEED", transfer),
        ("transfer cancel", 20, "FREQUENCY_LIMIT_EXCEED", lambda merchant: merchant.cancel()),
    ],
    ids=["orders", "refunds", "refund queries", "bills", "transfers", "cancellations"],
)
def test_429_by_its_cause_and_later_the_same(merchant, box, second, what, most, code, cause):
    for _ in range(most):
        box._limits.take(what)
    answer = cause(merchant)
    assert refusal(answer) == (429, code)
    assert_shape(answer)
    assert_signed(box, answer)
    assert (box.ledger.orders, box.ledger.refunds, box.ledger.transfers) == ({}, {}, {})
    second.now += 1
    assert cause(merchant).status != 429


UNKNOWN = [
    (429, "FREQUENCY_LIMITED", "refund"),
    (429, "FREQUENCY_LIMIT_EXCEED", "transfer"),
    (429, "RATELIMIT_EXCEEDED", "transfer"),
    (429, "FREQUENCY_LIMIT", "transfer"),
    (500, "SYSTEM_ERROR", "order"),
    (500, "SYSTEM_ERROR", "refund"),
    (501, "SYSTEM_ERROR", "transfer"),
]


@pytest.mark.parametrize("processed", [True, False], ids=["processed", "not processed"])
@pytest.mark.parametrize(("status", "code", "thing"), UNKNOWN)
def test_the_outcome_is_unknown_and_the_same_again_is_safe(merchant, box, status, code, thing, processed):
    if thing == "refund":
        merchant.paid()
    cause, kept = {
        "order": (prepay, box.ledger.orders),
        "refund": (refund, box.ledger.refunds),
        "transfer": (transfer, box.ledger.transfers),
    }[thing]
    box.fault("error", code=code, status=status, times=1, processed=processed)
    assert refusal(cause(merchant)) == (status, code)
    assert len(kept) == processed
    assert cause(merchant).status == 200
    assert len(kept) == 1


# 8 The body of an error


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"amount": {"total": 1, "currency": "XYZ"}}, "/amount/currency", "XYZ"),
        ({"amount": {"total": 0}}, "/amount/total", 0),
        ({"amount": {"total": 1.5}}, "/amount/total", 1.5),
        ({"amount": {"total": True}}, "/amount/total", True),
        ({"description": ["a"]}, "/description", ["a"]),
        ({"attach": {"a": 1}}, "/attach", {"a": 1}),
    ],
    ids=["text", "integer", "fraction", "boolean", "list", "object"],
)
def test_detail_of_a_body_points_at_the_field_and_shows_its_value(merchant, changes, field, value):
    answer = prepay(merchant, **changes)
    assert refusal(answer) == (400, "PARAM_ERROR")
    detail = answer.json["detail"]
    assert (detail["field"], detail["value"], detail["location"]) == (field, value, "body")
    assert type(detail["value"]) is type(value)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (f"{PAY}/out-trade-no/short?mchid={{}}", "out_trade_no"),
        (f"{PAY}/id/4200-1?mchid={{}}", "transaction_id"),
        (f"{REFUNDS}/R%231", "out_refund_no"),
        (f"{BILLS}/out-bill-no/BILL_1", "out_bill_no"),
        (f"{BILLS}/transfer-bill-no/1330-1", "transfer_bill_no"),
    ],
    ids=lambda value: value if "/" not in value else "",
)
def test_detail_of_a_url_names_the_parameter(merchant, target, field):
    answer = merchant.send("GET", target.format(merchant.credentials.merchant_id))
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert (answer.json["detail"]["field"], answer.json["detail"]["location"]) == (field, "url")


@pytest.mark.parametrize(
    ("target", "field", "value"),
    [
        (QUERY + OTHER_MERCHANT, "mchid", OTHER_MERCHANT),
        (f"{TRADE}?bill_date=today", "bill_date", "today"),
        (f"{FUND}?bill_date=2026-01-01&account_type=GOLD", "account_type", "GOLD"),
    ],
    ids=lambda value: value if value.islower() and "/" not in value else "",
)
def test_detail_of_a_query_names_the_parameter(merchant, target, field, value):
    answer = merchant.send("GET", target)
    assert refusal(answer) == (400, "PARAM_ERROR")
    detail = answer.json["detail"]
    assert (detail["field"], detail["location"], detail["value"]) == (field, "query", value)


# 8 Numeric codes in Request-ID


def signed_wrongly(merchant) -> Heard:
    return merchant.send("GET", CERTIFICATES, headers={"Authorization": merchant.authorization("GET", "/v3/other")})


def paid_again(merchant) -> Heard:
    merchant.paid()
    return prepay(merchant)


def without_openid(merchant) -> Heard:
    body = merchant.order()
    del body["payer"]
    return merchant.send("POST", PREPAY, body)


def rate(code: str) -> Any:
    def cause(merchant) -> Heard:
        merchant.box.fault("error", code=code, times=1)
        return transfer(merchant)

    return cause


NUMBERS = [
    ("order does not exist", {268512771}, no_order),
    ("rate FREQUENCY_LIMITED", {268447840}, rate("FREQUENCY_LIMITED")),
    ("rate RATELIMIT_EXCEEDED", {268447840}, rate("RATELIMIT_EXCEEDED")),
    ("rate FREQUENCY_LIMIT_EXCEED", {268447840}, rate("FREQUENCY_LIMIT_EXCEED")),
    ("rate FREQUENCY_LIMIT", {268447840}, rate("FREQUENCY_LIMIT")),
    ("illegal parameter", {268435461}, lambda merchant: prepay(merchant, description=1)),
    ("out of range", {268435464}, lambda merchant: prepay(merchant, total=0)),
    ("already paid", {268449538, 268498689}, paid_again),
    ("illegal extra parameter", {270924358}, lambda merchant: prepay(merchant, surprise=1)),
    ("illegal extra parameter within", {270924358}, lambda merchant: prepay(merchant, payer={"openid": "o", "a": 1})),
    ("merchant unusable", {268443715}, unregistered("POST", PREPAY, "order")),
    ("order expired", {268447914}, order_closed),
    ("signature", {268443699}, signed_wrongly),
    ("openid missing", {268501013}, lambda merchant: prepay(merchant, payer={})),
    ("openid missing with its payer", {268501013}, without_openid),
    ("re-entry with other parameters", {268498688}, number_used),
    ("appid and mchid not bound", {268445527}, lambda merchant: prepay(merchant, appid=OTHER_APP)),
]


@pytest.mark.parametrize(("row", "numbers", "cause"), NUMBERS, ids=[row[0] for row in NUMBERS])
def test_a_numeric_code(merchant, row, numbers, cause):
    assert numeric(cause(merchant)) in numbers


def test_the_numeric_code_of_success_is_0(merchant, box):
    answers = [prepay(merchant), merchant.query(), merchant.close()]
    box.fault("accepted_202", times=1)
    answers.append(merchant.query())
    assert [answer.status for answer in answers] == [200, 200, 204, 202]
    assert [numeric(answer) for answer in answers] == [0] * 4
    assert len({answer.headers["request-id"] for answer in answers}) == 4


@pytest.mark.parametrize(("row", "cause"), NATURAL, ids=[row for row, _ in NATURAL])
def test_the_numeric_code_of_an_error_is_never_0(merchant, row, cause):
    assert numeric(cause(merchant)) > 2**28 - 1


# 1.5 Causes of a 401


def asked(merchant, **changes: str) -> Heard:
    """A query with such an Authorization."""
    target = QUERY + merchant.credentials.merchant_id
    return merchant.send("GET", target, headers={"Authorization": merchant.authorization("GET", target, **changes)})


def with_authorization(value: str | None) -> Any:
    def cause(merchant) -> Heard:
        return merchant.send("GET", QUERY + merchant.credentials.merchant_id, headers={"Authorization": value})

    return cause


def spoilt(old: str, new: str) -> Any:
    def cause(merchant) -> Heard:
        target = QUERY + merchant.credentials.merchant_id
        good = merchant.authorization("GET", target)
        assert re.search(old, good)
        return merchant.send("GET", target, headers={"Authorization": re.sub(old, new, good, count=1)})

    return cause


def set_up(**settings: Any) -> Any:
    def cause(merchant) -> Heard:
        merchant.box.merchant.change(**settings)
        return asked(merchant)

    return cause


def off(seconds: int) -> Any:
    return lambda merchant: asked(merchant, time=str(int(time.time()) + seconds))


def signed_by_another(merchant) -> Heard:
    """The serial is ours and the private key is not."""
    other = rsa.generate_private_key(65537, 2048)
    target, now = QUERY + merchant.credentials.merchant_id, str(int(time.time()))
    message = f"GET\n{target}\n{now}\nabc\n\n".encode()
    value = base64.b64encode(other.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
    return asked(merchant, timestamp=now, nonce_str="abc", signature=value)


def platform_serial(merchant) -> Heard:
    return asked(merchant, serial_no=merchant.credentials.platform[0].serial)


def public_key_id(merchant) -> Heard:
    return asked(merchant, serial_no=merchant.credentials.public_key_id)


CAUSES = [
    ("header missing", with_authorization(None)),
    ("header empty", with_authorization("")),
    ("header malformed: no pairs", with_authorization("WECHATPAY2-SHA256-RSA2048")),
    ("header malformed: two spaces", spoilt(" ", "  ")),
    ("header malformed: spaces between pairs", spoilt(",", ", ")),
    ("header malformed: no quotes", spoilt('mchid="([0-9]+)"', r"mchid=\1")),
    ("header malformed: a pair too few", spoilt(',nonce_str="[^"]*"', "")),
    ("header malformed: a pair too many", spoilt(",nonce_str", ',a="b",nonce_str')),
    ("header malformed: an empty value", spoilt('nonce_str="[^"]*"', 'nonce_str=""')),
    ("scheme not supported", spoilt("SHA256-RSA2048", "SM2-WITH-SM3")),
    ("scheme of another API", spoilt("^[^ ]+", "Bearer")),
    ("timestamp behind", off(-302)),
    ("timestamp ahead", off(302)),
    ("timestamp no number", lambda merchant: asked(merchant, time="soon")),
    ("timestamp in milliseconds", lambda merchant: asked(merchant, time=str(int(time.time() * 1000)))),
    ("clock behind", set_up(clock_off=302)),
    ("clock ahead", set_up(clock_off=-302)),
    ("no APIv3 key", set_up(api_v3_key=False)),
    ("no certificate", set_up(certificate="none")),
    ("serial wrong", lambda merchant: asked(merchant, serial_no="5" * 40)),
    ("serial of a platform certificate", platform_serial),
    ("serial is a public-key ID", public_key_id),
    ("serial does not match the private key", signed_by_another),
    ("certificate expired", set_up(certificate="expired")),
    ("certificate revoked", set_up(certificate="revoked")),
    ("certificate replaced", set_up(certificate="replaced")),
    ("signature wrong", lambda merchant: asked(merchant, nonce_str="another")),
    ("signature no base64", lambda merchant: asked(merchant, signature="not base64")),
    ("mchid of nobody", lambda merchant: asked(merchant, mchid=OTHER_MERCHANT)),
]


@pytest.mark.parametrize(("row", "cause"), CAUSES, ids=[row for row, _ in CAUSES])
def test_a_cause_of_a_401(merchant, box, row, cause):
    answer = cause(merchant)
    assert refusal(answer) == (401, "SIGN_ERROR")
    assert set(answer.json) == {"code", "message"}
    assert answer.headers["content-type"].startswith("application/json")
    assert signature(answer) == []
    assert box.requests[-1].verified is False


DIFFERENT = [
    "header missing",
    "header malformed: no pairs",
    "scheme not supported",
    "timestamp behind",
    "no APIv3 key",
    "no certificate",
    "serial wrong",
    "certificate expired",
    "certificate revoked",
    "certificate replaced",
    "signature wrong",
]


def test_the_causes_differ_in_message(merchant, box):
    messages = set()
    for row in DIFFERENT:
        messages.add(dict(CAUSES)[row](merchant).json["message"])
        box.merchant.clear()
    assert len(messages) == len(DIFFERENT)


@pytest.mark.parametrize("cause", [off(-297), off(297), set_up(clock_off=297), set_up(clock_off=-297)])
def test_five_minutes_are_allowed(merchant, cause):
    assert refusal(cause(merchant)) == (404, "ORDER_NOT_EXIST")


def test_a_serial_in_lower_case_is_the_same(merchant):
    answer = asked(merchant, serial_no=merchant.credentials.merchant.serial.lower())
    assert refusal(answer) == (404, "ORDER_NOT_EXIST")


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)], ids=str)
def test_the_order_of_the_pairs_is_free(merchant, order):
    target = QUERY + merchant.credentials.merchant_id
    scheme, _, pairs = merchant.authorization("GET", target).partition(" ")
    listed = pairs.split(",")
    value = f"{scheme} {','.join(listed[index] for index in order)}"
    assert refusal(merchant.send("GET", target, headers={"Authorization": value})) == (404, "ORDER_NOT_EXIST")


@pytest.mark.parametrize(
    "target",
    [PREPAY, f"{PAY}/out-trade-no/ORDER_000001/close", QUERY + OTHER_MERCHANT],
    ids=["prepay", "close", "query"],
)
def test_a_mchid_that_is_not_that_of_the_header_is_no_401(merchant, box, target):
    body = {PREPAY: merchant.order(mchid=OTHER_MERCHANT)}.get(target, {"mchid": OTHER_MERCHANT})
    answer = merchant.send("GET", target) if target.startswith(QUERY) else merchant.send("POST", target, body)
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert answer.json["detail"]["field"].strip("/") == "mchid"
    assert_signed(box, answer)


# 1.3, 1.4 The order of the checks


def only(merchant, cause: Any) -> tuple[int, bytes]:
    answer = cause(merchant)
    merchant.box.merchant.clear()
    return answer.status, answer.body


def test_the_clock_is_checked_before_the_signature(merchant):
    late = only(merchant, off(-302))
    stale = str(int(time.time()) - 302)
    assert only(merchant, lambda merchant: asked(merchant, time=stale, signature="AAAA")) == late
    assert only(merchant, lambda merchant: asked(merchant, time=stale, serial_no="5" * 40)) == late


def test_the_clock_is_checked_before_the_merchants_set_up(merchant):
    late = only(merchant, off(-302))

    def both(merchant) -> Heard:
        merchant.box.merchant.change(api_v3_key=False, certificate="none")
        return asked(merchant, time=str(int(time.time()) - 302))

    assert only(merchant, both) == late


def test_where_no_certificate_is_no_serial_can_be_right(merchant):
    none = only(merchant, set_up(certificate="none"))

    def both(merchant) -> Heard:
        merchant.box.merchant.change(certificate="none")
        return asked(merchant, serial_no="5" * 40)

    assert only(merchant, both) == none


def test_user_agent_is_asked_for_before_the_signature(merchant):
    for target in (CERTIFICATES, f"{REFUNDS}/REFUND_1"):
        answer = merchant.send("GET", target, headers={"User-Agent": None, "Authorization": "nonsense"})
        assert refusal(answer) == (400, "INVALID_REQUEST")


def test_the_signature_is_checked_before_the_body_and_the_business(merchant, box):
    box.merchant.change(registered=False, products=[])
    headers = {"Authorization": merchant.authorization("POST", PREPAY, b"")}
    assert merchant.send("POST", PREPAY, {"surprise": 1}, headers=headers).status == 401


def test_the_merchant_is_looked_up_before_his_products_and_those_before_the_body(merchant, box):
    box.merchant.change(registered=False, products=[])
    assert merchant.send("POST", PREPAY, {}).json["code"] == "MCH_NOT_EXISTS"
    box.merchant.change(registered=True)
    assert merchant.send("POST", PREPAY, {}).json["code"] == "NO_AUTH"
    box.merchant.change(products=["jsapi"])
    assert merchant.send("POST", PREPAY, {}).json["code"] == "PARAM_ERROR"


def test_what_is_not_authorised_counts_for_no_limit(merchant, box, second):
    for _ in range(10):
        headers = {"Authorization": "nonsense"}
        assert merchant.send("GET", f"{FUND}?bill_date=2026-01-01", headers=headers).status == 401
    assert [bill(merchant, FUND, "2026-01-01").status for _ in range(4)] == [400, 400, 400, 429]


# 2.5 What is not signed


BARE = {"User-Agent": "t", "Accept": "*/*"}
GATEWAY = [
    ("400 no User-Agent", 400, "INVALID_REQUEST", {"User-Agent": None}),
    ("400 no Accept", 400, "INVALID_REQUEST", {"Accept": None}),
    ("400 Accept of something else", 400, "INVALID_REQUEST", {"Accept": "text/html"}),
    ("400 no Content-Type", 400, "INVALID_REQUEST", {"Content-Type": None}),
    ("400 Content-Type of a form", 400, "INVALID_REQUEST", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("401", 401, "SIGN_ERROR", {"Authorization": None}),
]


@pytest.mark.parametrize(("row", "status", "code", "headers"), GATEWAY, ids=[row[0] for row in GATEWAY])
def test_an_error_of_the_gateway_is_unsigned(merchant, box, row, status, code, headers):
    answer = merchant.send("POST", PREPAY, merchant.order(), headers=headers)
    assert refusal(answer) == (status, code)
    assert signature(answer) == []
    assert set(answer.json) == {"code", "message"}
    assert box.ledger.orders == {}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v3/nothing", 404),
        ("POST", f"{PAY}/micropay", 404),
        ("GET", PREPAY + "/", 404),
        ("GET", "/v3/Certificates", 404),
        ("GET", PREPAY, 405),
        ("DELETE", f"{REFUNDS}/REFUND_1", 405),
        ("POST", CERTIFICATES, 405),
        ("PUT", BILLS, 405),
    ],
)
def test_an_unknown_route_is_unsigned_and_empty(merchant, method, target, status):
    """Also without an Authorization: the route is looked at first."""
    url = merchant.box.url
    for answer in (merchant.send(method, target), call(url, method, target, b"", BARE), call(url, method, target)):
        assert (answer.status, answer.body, signature(answer)) == (status, b"", [])
        assert numeric(answer) != 0


def test_a_bill_file_is_unsigned(merchant, box):
    advance_to(box, 12)
    merchant.paid()
    date = beijing(box).date()
    advance_to(box, 10)
    address = bill(merchant, TRADE, date).json["download_url"]
    answer = merchant.send("GET", address[len(box.url) :])
    assert (answer.status, signature(answer), numeric(answer)) == (200, [], 0)


def test_an_error_in_place_of_a_bill_file_is_signed(merchant, box):
    answer = download_too_late(merchant)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert_signed(box, answer)


def test_the_first_certificate_verifies_the_answer_that_it_came_with(credentials, function):
    with Sandbox(function.url, "sdk", "certificate", credentials=credentials) as box:
        answer = Merchant(box).send("GET", CERTIFICATES)
    [entry] = answer.json["data"]
    sealed = entry["encrypt_certificate"]
    pem = AESGCM(credentials.api_v3_key.encode()).decrypt(
        sealed["nonce"].encode(), base64.b64decode(sealed["ciphertext"]), sealed["associated_data"].encode()
    )
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, RSAPublicKey)
    assert answer.headers["wechatpay-serial"] == entry["serial_no"]
    assert signed_by(key, answer.headers, answer.body)


def test_a_2xx_without_the_headers_is_a_fault(merchant, box):
    box.fault("no_signature", times=1)
    answer = prepay(merchant)
    assert (answer.status, signature(answer)) == (200, [])
    assert_signed(box, prepay(merchant))


def test_an_error_is_json_even_where_its_words_are_chinese(merchant):
    answer = merchant.query()
    assert json.loads(answer.body.decode())["message"] == "订单不存在"
