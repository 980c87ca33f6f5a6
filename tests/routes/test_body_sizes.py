"""Which bodies may be how large: forwards four million bytes, everything else one and a half."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from config.settings import Settings

FORWARD, OTHER = 4_000_000, 1_500_000
CONTENT = {"out_trade_no": "N", "trade_state": "SUCCESS"}
EVENT = {"event_type": "TRANSACTION.SUCCESS"}
TRIGGERS = {
    "/wechatpay/order": {},
    "/wechatpay/refund": {},
    "/wechatpay/transfer": {},
    "/wx-pay/unifiedOrderTrigger": {},
    "/prefix/wx-pay/refundTrigger/": {},
    "/transferTrigger": {},
    "/": {"_action": "unifiedOrderTrigger"},
    "/anything": {"rawData": EVENT},
    "/#": {"ParsedNotify": EVENT},
    "/other": {"rawData": {"event_type": "COUPON.USE"}},
}
ACTIONS = {
    "/wx-pay/wxpay_close_order": {},
    "/": {"_action": "wxpay_close_order"},
    "/x": {"path": "/wx-pay/wxpay_close_order"},
    "/wxpay_close_order": {},
}


@pytest.fixture(scope="module")
def visitor() -> Iterator[FlaskClient]:
    """The function without any settings: what is not too large is answered by what it lacks."""
    pay = logging.getLogger("pay")
    before = pay.handlers[:], pay.level, pay.propagate
    yield create_app(Settings.from_env({})).test_client()
    pay.handlers[:], pay.propagate = before[0], before[2]
    pay.setLevel(before[1])


def sent(visitor: FlaskClient, path: str, body: dict[str, Any], size: int) -> tuple[int, str]:
    """Status and code of the answer to `body`, padded to `size` bytes."""
    raw = json.dumps({**body, "padding": ""}).encode()
    raw = raw[:-2] + b"x" * (size - len(raw)) + raw[-2:]
    assert len(raw) == size
    assert json.loads(raw)["padding"].strip("x") == ""
    answer = visitor.post(path, data=raw, content_type="application/json")
    return answer.status_code, answer.json["code"]


@pytest.mark.parametrize(("path", "extra"), TRIGGERS.items())
def test_a_forward_may_have_four_million_bytes(visitor, path, extra):
    body = {**extra, "ParsedContent": CONTENT}
    assert sent(visitor, path, body, FORWARD) == (503, "FAIL")
    assert sent(visitor, path, body, FORWARD + 1)[0] == 413


@pytest.mark.parametrize(("path", "extra"), TRIGGERS.items())
def test_a_callback_that_is_no_forward_may_have_one_and_a_half(visitor, path, extra):
    body = {**extra, "id": "EV-1", "resource": {}, "Plaintext": "{}"}
    assert sent(visitor, path, body, OTHER) == (503, "FAIL")
    for size in (OTHER + 1, FORWARD):
        assert sent(visitor, path, body, size) == (413, "FAIL")


@pytest.mark.parametrize("more", [{}, {"ParsedContent": CONTENT}], ids=["plain", "dressed as a forward"])
@pytest.mark.parametrize(("path", "extra"), ACTIONS.items())
def test_an_action_may_have_one_and_a_half_whatever_it_carries(visitor, path, extra, more):
    body = {**extra, **more, "out_trade_no": "ORDER_0001"}
    assert sent(visitor, path, body, OTHER) == (401, -1)
    for size in (OTHER + 1, FORWARD):
        assert sent(visitor, path, body, size) == (413, -1)
