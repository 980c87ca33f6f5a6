"""What a merchant's hooks return and what of it goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.merchant_code import HookFailed, encrypted, prepare
from services.order_service import Caller, OrderService
from services.strategies.base import PAYMENT

ORDER = {"out_trade_no": "ORDER1", "amount": {"total": 100}}
TRANSFER = {"out_bill_no": "BILL1", "user_name": "c2VjcmV0", "transfer_scene_report_infos": [{"info_type": "a"}]}
NOBODY = cast(Caller, None)


def service(handler: Any) -> OrderService:
    return cast(OrderService, SimpleNamespace(handler_encrypted=handler))


def test_the_choice_of_the_service_account_is_not_sent_on():
    changed = prepare(lambda params, caller: params | {"useServiceAccount": True}, ORDER, NOBODY, PAYMENT)
    assert changed == ORDER


def test_a_hook_that_fails_is_named_with_what_it_raised():
    def failing(params: Any, caller: Any) -> None:
        raise KeyError("goods")

    with pytest.raises(HookFailed, match=r"^before_\* of the order service raised KeyError$"):
        prepare(failing, ORDER, NOBODY, PAYMENT)
    with pytest.raises(HookFailed, match=r"^before_\* must return None or the params to send as JSON, out_trade_no "):
        prepare(lambda params, caller: {}, ORDER, NOBODY, PAYMENT)


def test_what_is_encrypted_is_handed_over_as_a_copy():
    def scribbling(params: Any, serial: str) -> tuple[Any, str]:
        params["transfer_scene_report_infos"][0]["info_type"] = "b"
        return dict(TRANSFER), serial

    given = {**TRANSFER, "transfer_scene_report_infos": [{"info_type": "a"}]}
    assert encrypted(service(scribbling), given, "SERIAL") == (TRANSFER, "SERIAL")
    assert given == TRANSFER


@pytest.mark.parametrize(
    "returned",
    [(TRANSFER | {"out_bill_no": "BILL2"}, "S"), (TRANSFER | {"x": None}, "S"), (TRANSFER, 5), (None, "S"), TRANSFER],
)
def test_what_cannot_be_sent_encrypted_is_refused(returned: object):
    with pytest.raises(HookFailed, match=r"^handler_encrypted of the order service raised (TypeError|ValueError)$"):
        encrypted(service(lambda params, serial: returned), TRANSFER, "SERIAL")
