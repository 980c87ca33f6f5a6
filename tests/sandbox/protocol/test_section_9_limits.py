"""Section 9's table: how many calls a second each endpoint takes, with limits on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS
from tests.sandbox.protocol.conftest import PAY, refusal

FUND, TRADE = "/v3/bill/fundflowbill?bill_date=2026-01-01", "/v3/bill/tradebill?bill_date=2026-01-01"
ABNORMAL = f"{REFUNDS}/5030/apply-abnormal-refund"
BY_BILL = f"{BILLS}/transfer-bill-no/1330"

LIMITS = [
    ("refund", "POST", REFUNDS, 150, "FREQUENCY_LIMITED"),
    ("refund query", "GET", f"{REFUNDS}/R1", 300, "FREQUENCY_LIMITED"),
    ("abnormal refund", "POST", ABNORMAL, 150, "FREQUENCY_LIMITED"),
    ("transfer", "POST", BILLS, 100, "FREQUENCY_LIMIT_EXCEED"),
    ("transfer query", "GET", f"{BILLS}/out-bill-no/BILL1", 100, "FREQUENCY_LIMITED"),
    ("transfer query", "GET", BY_BILL, 100, "FREQUENCY_LIMITED"),
    ("transfer cancel", "POST", f"{BILLS}/out-bill-no/BILL1/cancel", 20, "FREQUENCY_LIMIT_EXCEED"),
    ("certificates", "GET", "/v3/certificates", 1000, "FREQUENCY_LIMITED"),
    ("fund bill", "GET", FUND, 3, "FREQUENCY_LIMITED"),
    ("jsapi", "POST", PREPAY, 500, "FREQUENCY_LIMITED"),
]
WITHOUT = [
    ("POST", f"{PAY}/native"),
    ("POST", f"{PAY}/app"),
    ("POST", f"{PAY}/h5"),
    ("GET", f"{PAY}/out-trade-no/ORDER_000001"),
    ("POST", f"{PAY}/out-trade-no/ORDER_000001/close"),
    ("GET", TRADE),
]


@pytest.fixture
def second(monkeypatch):
    """A wall clock for the limits alone, which stands still until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("sandbox.limits.time", SimpleNamespace(time=lambda: clock.now))
    return clock


@pytest.fixture
def limited(box):
    box.limits = True
    return box


def called(box, what: str, times: int) -> None:
    """As many calls as have been taken in this second; over HTTP they would take longer than that."""
    for _ in range(times):
        box._limits.take(what)


@pytest.mark.parametrize(
    ("what", "method", "target", "most", "code"), LIMITS, ids=[f"{row[0]}: {row[3]}/s {row[2][-12:]}" for row in LIMITS]
)
def test_a_limit(merchant, limited, second, what, method, target, most, code):
    called(limited, what, most - 1)
    body = {} if method == "POST" else None
    assert merchant.send(method, target, body).status != 429
    assert refusal(merchant.send(method, target, body)) == (429, code)
    second.now += 1
    assert merchant.send(method, target, body).status != 429
    limited.limits = False
    called(limited, what, 2 * most)
    assert merchant.send(method, target, body).status != 429


@pytest.mark.parametrize(("method", "target"), WITHOUT)
def test_no_limit_where_none_is_documented(merchant, limited, second, method, target):
    for _ in range(30):
        assert merchant.send(method, target, {} if method == "POST" else None).status != 429


def test_three_fund_bills_a_second_by_http_alone(merchant, limited, second):
    assert [merchant.send("GET", FUND).status for _ in range(5)] == [400, 400, 400, 429, 429]


def test_six_failing_refunds_a_second_then_no_refund_at_all(merchant, limited, second):
    merchant.paid()
    wrong = merchant.refund("R1", 200)
    assert [merchant.send("POST", REFUNDS, wrong).json["code"] for _ in range(6)] == ["INVALID_REQUEST"] * 6
    assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R2"))) == (429, "FREQUENCY_LIMITED")
    second.now += 1
    assert merchant.send("POST", REFUNDS, merchant.refund("R2")).status == 200


def test_accepted_refunds_are_not_counted_as_failing(merchant, limited, second):
    for index in range(10):
        merchant.paid(f"ORDER_{index:06d}")
        body = merchant.refund(f"R{index}", out_trade_no=f"ORDER_{index:06d}")
        assert merchant.send("POST", REFUNDS, body).status == 200


def test_what_is_too_fast_is_not_processed(merchant, limited, second):
    called(limited, "transfer", 100)
    assert merchant.send("POST", BILLS, merchant.transfer()).status == 429
    second.now += 1
    assert refusal(merchant.transfer_query()) == (404, "NOT_FOUND")
