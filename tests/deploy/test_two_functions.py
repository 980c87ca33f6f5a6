"""examples/two-functions: two processes with its variables and one database; each is what the page says of it."""

from __future__ import annotations

import json
import re

import pytest

from sandbox import Sandbox
from tests.deploy import cloudbase_cli
from tests.support import MINI_PROGRAM, OPERATOR_KEY, ROOT, gunicorn

TEXT = (ROOT / "examples" / "two-functions" / "cloudbaserc.json").read_text()
ONE = json.loads((ROOT / "cloudbaserc.json").read_text())["functions"][0]
FUNCTIONS = {function["name"]: function for function in json.loads(TEXT)["functions"]}
PRIVATE, PUBLIC = "pay-common", "pay-common-public"
STRANGER = {"Content-Type": "application/json"}


def variables(name, values):
    """What the CLI gives to this function out of one `.env`; an empty variable counts as unset."""
    functions = cloudbase_cli.rendered(TEXT, values)["functions"]
    (found,) = [each["envVariables"] for each in functions if each["name"] == name]
    return {name: value for name, value in found.items() if value}


@pytest.fixture
def both(tmp_path):
    with Sandbox(sign_mode="sdk") as sandbox:
        values = sandbox.env(
            operatorKey=OPERATOR_KEY, orderDatabaseUrl=f"sqlite:///{tmp_path}/orders.sqlite3",
            publicActions="wxpay_order_native,wxpay_order_wait", corsAllowOrigin="https://shop.example",
            callerHeaders="claimed", signMode="gateway",
        )
        # As .env holds keys: in one line.
        one_line = {name: "".join(pem.splitlines()[1:-1]) for name, pem in values.items() if "-----BEGIN" in pem}
        values |= one_line
        with (
            gunicorn(variables(PRIVATE, values), tmp_path / "private") as private,
            gunicorn(variables(PUBLIC, values), tmp_path / "public") as public,
        ):
            operator = MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}
            assert private.call("wxpay_orders_init", {}, operator).body["code"] == 0
            sandbox.function = public.url
            yield private, public, sandbox


def test_ordered_at_the_private_one_reported_to_the_public_one_seen_at_the_private_one(both):
    private, public, sandbox = both
    order = {"description": "tea", "out_trade_no": "TWOFUNCTIONS_1", "amount": {"total": 100}}
    assert private.call("wxpay_order", order).status == 200
    assert [delivery.acknowledged for delivery in sandbox.pay("TWOFUNCTIONS_1")] == [True]
    assert "unifiedOrderTrigger" in public.log_text()
    assert "unifiedOrderTrigger" not in private.log_text()
    seen = private.call("wxpay_order_wait", {"out_trade_no": "TWOFUNCTIONS_1", "seconds": 1})
    assert (seen.status, seen.body["data"]["data"]["state"]) == (200, "PAID")

    refund = {"out_trade_no": "TWOFUNCTIONS_1", "out_refund_no": "TWOBACK_1", "amount": {"refund": 40, "total": 100}}
    assert private.call("wxpay_refund", refund, MINI_PROGRAM | {"X-Operator-Key": OPERATOR_KEY}).status == 200
    sandbox.settle_refund("TWOBACK_1")
    assert "refundTrigger" in public.log_text()


def test_no_stranger_is_believed_at_the_public_one(both):
    private, public, _ = both
    order = {"description": "tea", "out_trade_no": "TWOFUNCTIONS_2", "amount": {"total": 100}}
    assert private.call("wxpay_order", order).status == 200
    for action in ("wxpay_order", "wxpay_query_order_by_out_trade_no", "wxpay_close_order"):
        assert public.call(action, order, MINI_PROGRAM).status == 401
    # The operator's key is no part of it: whoever learns it can do nothing here.
    refund = {"out_trade_no": "TWOFUNCTIONS_2", "out_refund_no": "TWOBACK_2", "amount": {"refund": 1, "total": 100}}
    assert public.call("wxpay_refund", refund, {"X-Operator-Key": OPERATOR_KEY}).status in (401, 403)
    page = public.call("wxpay_order_native", {**order, "out_trade_no": "TWOFUNCTIONS_3"}, STRANGER)
    assert page.body["data"]["data"]["code_url"].startswith("weixin://")


def test_start_up_says_what_widens_trust_of_the_private_one_only(both):
    private, public, _ = both
    assert "widened trust: callerHeaders=trusted" in private.log_text()
    assert "widened trust: none" in public.log_text()
    for function in (private, public):
        assert function.request("GET", "/healthz").body["data"]["missing"] == []


def test_both_are_the_same_code_under_the_same_conditions():
    assert list(FUNCTIONS) == [PRIVATE, PUBLIC]
    for function in FUNCTIONS.values():
        assert {**function, "name": "", "envVariables": {}} == {**ONE, "name": "", "envVariables": {}}
    assert {**json.loads(TEXT), "functions": []} == {
        **json.loads((ROOT / "cloudbaserc.json").read_text()), "functions": [],
    }


def test_each_variable_is_at_the_function_that_reads_it_under_its_own_name():
    given = {name: function["envVariables"] for name, function in FUNCTIONS.items()}
    assert given[PRIVATE].keys() | given[PUBLIC].keys() | {"callbackTrust"} == ONE["envVariables"].keys()
    assert given[PRIVATE].keys() - given[PUBLIC].keys() == {"operatorKey", "operatorIds"}
    assert given[PUBLIC].keys() - given[PRIVATE].keys() == {
        "signMode", "corsAllowOrigin", "publicActions", "callbackTimeout",
    }
    fixed = {name: {key: each for key, each in own.items() if "{{" not in each} for name, own in given.items()}
    assert fixed[PRIVATE] == {"callerHeaders": "trusted"}
    assert fixed[PUBLIC] == {"signMode": "sdk", "callerHeaders": "ignored"}
    for own in given.values():
        assert all(re.fullmatch(r"\{\{env\.(\w+)\}\}", each)[1] == key for key, each in own.items() if "{{" in each)
