"""The guide "Usage Flow" of the Integration Center, as far as it touches the function."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from services.order_service import OrderService
from tests.guides.conftest import ENV_ID, MiniProgram, Place, injected, order
from tests.guides.seeds import Guide
from tests.guides.test_mini_program_pay import as_printed, missing
from tests.sandbox.page.window import soon
from tests.support import ROOT, in_process

GUIDE = "usage-flow"
EMPTY = "{ /* business params */ }"


def call_code() -> str:
    code = Guide.read(GUIDE).before("wx.cloud.init({ env", "Mini Program base library")
    return code.replace("'your-env-id'", f"'{ENV_ID}'")


def test_invoke_the_printed_call_orders_once_it_has_its_parameters(mini_program: MiniProgram) -> None:
    assert call_code().count(EMPTY) == 1
    seen = mini_program(source=call_code().replace(EMPTY, json.dumps(order("ORDER_CALL"))))
    (call,) = seen["calls"]
    assert call["status"] == 200
    inner = as_printed(call["body"])
    assert inner["package"] in seen["printed"][0]


def test_invoke_without_parameters_every_missing_field_is_named(ours: Place, mini_program: MiniProgram) -> None:
    seen = mini_program(source=call_code())
    (call,) = seen["calls"]
    assert (call["status"], call["body"]["code"]) == (400, -1)
    for name in ("description", "out_trade_no", "amount"):
        assert name in call["body"]["msg"]
    assert json.loads(seen["printed"][0]) == call["body"], "its success callback shows it"
    assert ours.box.requests == []


def test_handle_callbacks_the_printed_handler_acknowledges(node: str) -> None:
    excerpt = Guide.read(GUIDE).before("async function handlerUnifiedTrigger", "Principles to follow")
    program = f"{excerpt}\nhandlerUnifiedTrigger({{}}).then((said) => console.log(JSON.stringify(said)))"
    run = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == {"code": "SUCCESS"}


def counterpart() -> type[OrderService]:
    """The handler in Python, as docs/migrate.md shows it."""
    page = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = [code for code in blocks if "handler_unified_trigger" in code]
    namespace: dict[str, Any] = {}
    exec(compile(block, "docs/migrate.md", "exec"), namespace)  # noqa: S102 - our own page
    found = namespace["ShopOrders"]
    assert issubclass(found, OrderService)
    return found


@pytest.fixture
def shop(credentials: Credentials) -> Any:
    orders = counterpart()()
    with Sandbox(credentials=credentials) as box, in_process(injected(box), orders) as function:
        box.function = function.url
        yield Place(box, function), orders


def test_handle_callbacks_its_counterpart_is_idempotent(shop: Any) -> None:
    place, orders = shop
    place.paid("ORDER_HANDLED")
    (again,) = place.box.deliver("order", "ORDER_HANDLED")
    assert again.acknowledged
    assert orders.paid == {"ORDER_HANDLED": place.box.ledger.orders["ORDER_HANDLED"].transaction_id}
    assert orders.shipped == ["ORDER_HANDLED"]


def test_handle_callbacks_its_counterpart_cross_checks_the_amount(shop: Any) -> None:
    place, orders = shop
    assert place.mini_program("wxpay_order", order("ORDER_HANDLED")).status == 200
    orders.totals["ORDER_HANDLED"] = 2000  # as if the order had been for another amount
    (delivery,) = place.box.pay("ORDER_HANDLED")
    assert not delivery.acknowledged
    assert orders.shipped == []


def test_handle_callbacks_the_plaintext_has_the_named_fields(ours: Place) -> None:
    ours.paid("ORDER_FIELDS")
    plaintext = ours.box.deliveries[-1].plaintext
    assert {"out_trade_no", "transaction_id", "amount", "payer"} <= set(plaintext)
    assert plaintext["amount"]["total"] == 20
    assert plaintext["payer"]["openid"]


def test_modify_configuration_another_apiv3_key_takes_effect_with_the_restart(credentials: Credentials) -> None:
    with Sandbox(credentials=credentials) as box:
        with in_process(injected(box, apiV3Key="another-apiv3-key-0123456789abcd")) as function:
            box.function = function.url
            assert function.call("wxpay_order", order("ORDER_OLD")).status == 200
            (delivery,) = box.pay("ORDER_OLD")
            assert not delivery.acknowledged, "encrypted under a key that this one does not have"
        with in_process(injected(box)) as function:
            box.function = function.url
            box.advance("15s")
            assert box.deliveries[-1].acknowledged


@pytest.mark.parametrize("key_mode", ["public_key", "certificate"])
def test_modify_configuration_either_key_mode_orders(credentials: Credentials, key_mode: str) -> None:
    with Sandbox(credentials=credentials, key_mode=key_mode) as box, in_process(box.env()) as function:
        assert missing(function) == []
        assert function.call("wxpay_order", order("ORDER_MODE")).status == 200


def test_view_runtime_logs_each_request_is_a_line_on_standard_output(ours: Place) -> None:
    ours.paid("ORDER_LOG")
    assert soon(lambda: any(line.get("action") == "wxpay_order" for line in ours.function.log_lines()))
    assert all({"time", "level", "message"} <= set(line) for line in ours.function.log_lines())


def test_modify_the_code_a_class_of_ones_own_takes_the_handlers_place(credentials: Credentials) -> None:
    settings = {"orderService": "examples.own_order_service.orders:ShopOrders"}
    with Sandbox(credentials=credentials) as box, in_process(injected(box, **settings)) as function:
        assert not [text for text in missing(function) if text.startswith("orderService")]
