"""pytest fixtures: `pytest_plugins = ["sandbox.plugin"]` in a conftest.py, with this folder's parent on the path.

    def test_a_paid_order_is_delivered(wechat_pay, shop):
        number = shop.order(total=100)          # whatever you test: it talks to wechat_pay.url
        wechat_pay.pay(number)                  # the user pays; the notification goes to wechat_pay.function
        assert shop.state(number) == "paid"

`wechat_pay_sandbox` is started once a session, `wechat_pay` is the same one, emptied before each test. What is
due happens only when a test calls `advance`, so nothing happens behind its back.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.core import Sandbox


@pytest.fixture(scope="session")
def wechat_pay_sandbox() -> Iterator[Sandbox]:
    """Override it to choose key mode, sign mode or ports."""
    with Sandbox(sign_mode="sdk") as sandbox:
        yield sandbox


@pytest.fixture
def wechat_pay(wechat_pay_sandbox: Sandbox) -> Sandbox:
    wechat_pay_sandbox.reset()
    return wechat_pay_sandbox
