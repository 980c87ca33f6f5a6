"""What the README says is run: its blocks of code, and its tables against the code."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from routes.actions import ACTIONS
from sandbox import Sandbox
from services import order_service
from services.orders.database import Database
from services.orders.tables import init_db
from tests.not_run import PREFIX
from tests.pages import Page
from tests.support import OPENID, ROOT, gunicorn, in_process

PAGE = Page.read("README.md")


def code(containing: str) -> str:
    """The one block that has these words."""
    (block,) = [fence.body for fence in PAGE.fences if containing in fence.body]
    return block


def defined(containing: str, name: str, **known: Any) -> Any:
    """What a block of Python defines under a name; `known` is what it leaves to its reader."""
    namespace: dict[str, Any] = dict(known)
    exec(compile(code(containing), "README.md", "exec"), namespace)  # noqa: S102 - our own page
    return namespace[name]


def test_the_curl_lines_order_pay_and_query(tmp_path: Path):
    lines = code("curl ").splitlines()
    assert len(lines) == 3
    with Sandbox() as sandbox, gunicorn(sandbox.env(), tmp_path / "log") as function:
        sandbox.function = function.url
        answers = []
        for line in lines:
            here = line.replace("http://127.0.0.1:3000", function.url).replace("http://127.0.0.1:8900", sandbox.url)
            assert here != line
            run = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=20, check=True)
            answers.append(json.loads(run.stdout))
        ordered, paid, queried = answers
        assert ordered["code"] == 0
        assert ordered["data"]["data"]["package"].startswith("prepay_id=")
        assert [delivery["status"] for delivery in paid["deliveries"]] == [200]
        assert queried["data"]["data"]["trade_state"] == "SUCCESS"
        assert "handlerUnifiedTrigger - payment result: TEA_000001 SUCCESS" in function.log_text()


# wx as a mini program has it: the request goes to the function named, its platform adds who asks.
WX = """
const [url, openid] = process.argv.slice(1)
const wx = {
  cloud: {
    async callHTTPFunction({ name, config, method, path, header, data, success }) {
      if (name !== 'pay-common' || !config.env) throw Error('no such function')
      const headers = { ...header, 'x-wx-source': 'wx_client', 'x-wx-openid': openid }
      const answer = await fetch(url + path, { method, headers, body: JSON.stringify(data) })
      success({ data: await answer.json(), statusCode: answer.status })
    },
  },
  requestPayment: parameters => console.log(JSON.stringify(parameters)),
}
"""


def test_the_mini_program_orders_and_gets_what_its_payment_takes():
    if shutil.which("node") is None:
        pytest.skip(f"{PREFIX}node is not installed")
    with Sandbox() as sandbox, in_process(sandbox.env()) as function:
        sandbox.function = function.url
        program = WX + code("wx.cloud.callHTTPFunction")
        command = ["node", "-e", program, function.url, OPENID]
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        parameters = json.loads(run.stdout)
        assert {"timeStamp", "nonceStr", "package", "signType", "paySign"} <= set(parameters)
        assert sandbox.pay("TEA_000001", openid=OPENID)[0].acknowledged


def test_the_order_handlers_price_and_mark_paid():
    paid = []
    shop = defined(
        "class ShopOrders(OrderService)",
        "ShopOrders",
        price_of={"A cup of tea": 20}.__getitem__,
        mark_paid=lambda *told: paid.append(told),
    )()
    with Sandbox() as sandbox, in_process(sandbox.env(), shop) as function:
        sandbox.function = function.url
        body = {"description": "A cup of tea", "out_trade_no": "TEA_0001", "amount": {"total": 1}}
        assert function.call("wxpay_order", body).status == 200
        assert sandbox.pay("TEA_0001")[0].acknowledged
        assert paid == [("TEA_0001", sandbox.ledger.orders["TEA_0001"].transaction_id, 20)]


def test_the_hook_ships_once_a_payment(tmp_path: Path):
    database_url, shipped = f"sqlite:///{tmp_path / 'orders.sqlite3'}", []
    init_db(Database(database_url))
    orders = defined(
        "class ShopOrders(SqlOrderService)", "ShopOrders", ship_once=lambda *told: shipped.append(told)
    )()
    with Sandbox() as sandbox, in_process(sandbox.env(orderDatabaseUrl=database_url), orders) as function:
        sandbox.function = function.url
        body = {"description": "A cup of tea", "out_trade_no": "TEA_0001", "amount": {"total": 20}}
        assert function.call("wxpay_order", body).status == 200
        assert all(delivery.acknowledged for delivery in sandbox.pay("TEA_0001", twice=True))
    ((event, number),) = shipped
    assert (event[:4], number) == ("evt_", "TEA_0001")


def test_the_commands_of_the_order_database_run(tmp_path: Path):
    lines = code("flask --app app orders").splitlines()
    with Sandbox() as sandbox:
        yesterday = datetime.fromtimestamp(sandbox.clock.now(), timezone(timedelta(hours=8))).date().isoformat()
        sandbox.advance("2d")
        env = sandbox.env(orderDatabaseUrl=f"sqlite:///{tmp_path / 'orders.sqlite3'}")
        printed = [_run(re.sub(r"\d{4}-\d\d-\d\d", yesterday, line), env) for line in lines if line[:5] == "flask"]
    made, listed, reconciled, compared = printed
    assert made == "the order tables are ready\n"
    assert listed.startswith("out_trade_no")
    assert json.loads(reconciled)["checked"] == 0
    assert compared.startswith(f"Bill: trade of {yesterday}")


def _run(line: str, env: dict[str, str]) -> str:
    run = subprocess.run(
        ["sh", "-c", line.replace("flask ", f"{sys.executable} -m flask ", 1)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return run.stdout


@functools.cache
def variables() -> set[str]:
    return set(re.findall(r"(\w+)=(?:set|unset)", repr(Settings.from_env({}))))


def test_every_action_and_every_variable_stands_in_a_table_and_no_other():
    told = {name for row in PAGE.rows for name in re.findall(r"`(\w+)`", row[0])}
    assert len(variables()) > 20
    assert variables() | set(ACTIONS) <= told
    (table,) = [table for section in PAGE.sections if section.title == "Variables" for table in section.tables]
    named = {name for row in table[1:] for name in re.findall(r"`(\w+)`", row[0])}
    assert named - variables() == {"PORT"}


def test_the_order_service_methods_of_the_table_exist():
    (section,) = [section for section in PAGE.sections if section.title == "Your order handlers"]
    methods = {name for table in section.tables for row in table[1:] for name in re.findall(r"`(\w+)`", row[0])}
    own = {name for name in vars(order_service.OrderService) if not name.startswith("_")}
    own -= {"rights", "needs_database"}  # set by create_app, and told by the class
    assert methods == own
