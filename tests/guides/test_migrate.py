"""docs/migrate.md: each answer of ours in its table is produced, each setting that restores the old behaviour does."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import Credentials, Sandbox
from sandbox.core import OPENID
from services.order_service import OrderService
from tests.deploy import cloudbase_cli, package
from tests.guides.conftest import INJECTED, Place, injected, order, place
from tests.guides.test_mini_program_pay import REFUND, TRANSFER
from tests.support import OPERATOR_KEY, ROOT, Function, Reply, in_process

PAGE = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8")
QUERY = "wxpay_query_order_by_out_trade_no"
UNKNOWN = {"out_trade_no": "NOTHING_1"}
NAMED = {"out_bill_no": "BILLNAMED", "user_name": "张三", **TRANSFER}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", part, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


ANSWERS = {row[0]: row[2] for row in rows("Answers that differ")}


def refused_order(place: Place) -> Reply:
    place.box.merchant.products.discard("jsapi")
    return place.mini_program("wxpay_order", order("ORDER_1"))


def refused_signature(place: Place) -> Reply:
    place.box.merchant.certificate = "expired"
    return place.mini_program(QUERY, UNKNOWN)


def spoilt(kind: str) -> Callable[[Place], Reply]:
    def produce(place: Place) -> Reply:
        place.box.fault(kind)
        return place.mini_program(QUERY, UNKNOWN)

    return produce


def as_operator(action: str, body: dict[str, Any]) -> Callable[[Place], Reply]:
    return lambda place: place.mini_program(action, body, **{"x-operator-key": OPERATOR_KEY})


def as_user(action: str, body: dict[str, Any], **headers: str) -> Callable[[Place], Reply]:
    return lambda place: place.mini_program(action, body, **headers)


def without_number(place: Place) -> Reply:
    body = order("ORDER_1")
    del body["out_trade_no"]
    return place.mini_program("wxpay_order_native", body)


def without_openid(place: Place) -> Reply:
    return place.function.call("wxpay_order", order("ORDER_1"), {"x-wx-source": "wx_client"})


def forged(place: Place) -> Reply:
    place.mini_program("wxpay_order", order("ORDER_1"))
    body = {
        "ParsedContent": {"out_trade_no": "ORDER_1", "trade_state": "SUCCESS"},
        "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"},
    }
    return place.function.post("/", body)


PRODUCED: dict[str, Callable[[Place], Reply]] = {
    "WeChat Pay refuses a query": as_user(QUERY, UNKNOWN),
    "WeChat Pay refuses an order": refused_order,
    "WeChat Pay refuses a transfer query": as_operator("wxpay_transfer_bill_query", {"out_bill_no": "B2"}),
    "WeChat Pay refuses the function's signature": refused_signature,
    "WeChat Pay is out of order": spoilt("html_502"),
    "no answer from WeChat Pay": spoilt("reset"),
    "a refund or transfer by anybody": as_user("wxpay_refund", REFUND),
    "a transfer query by anybody": as_user("wxpay_transfer_bill_query", {"out_bill_no": "B2"}),
    "bad input": as_user("wxpay_order", {"amount": {"total": "1"}}),
    "a QR or H5 order without a number": without_number,
    "a JSAPI order without an openid": without_openid,
    "another `notify_url` than the configured": as_user(
        "wxpay_order", {**order("ORDER_1"), "notify_url": "https://elsewhere.example/x"}
    ),
    "`useServiceAccount` without `service_app_id`": as_user(
        "wxpay_order", {**order("ORDER_1"), "useServiceAccount": True}
    ),
    "a transfer with `user_name`": as_operator("wxpay_transfer", NAMED),
    "an app order": as_user("wxpay_order_app", order("ORDER_1")),
    "an unknown action": lambda place: place.function.post("/", {"_action": "pay_nothing"}),
    "an unknown path": lambda place: place.function.post("/nowhere", {}),
    "a forged forward of a payment": forged,
}
# Those that need another function than the one with the ten variables and an operator's key.
APART = {"an unknown caller, off the platform", "a handler that throws", "no credentials"}


def fits(told: str, status: int, body: Any) -> None:
    """Whether a cell such as 404 `{"code":-1,"msg":"WeChat Pay: …"}` is this answer; `…` is any text."""
    shown = re.fullmatch(r"(\d{3}) `(\{.*\})`", told)
    assert shown is not None, told
    assert int(shown[1]) == status
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    pattern = ".*?".join(map(re.escape, shown[2].split("…")))
    assert re.fullmatch(pattern, text, re.DOTALL), f"{text} is not {shown[2]}"


def test_every_answer_of_the_table_is_produced() -> None:
    assert set(ANSWERS) == set(PRODUCED) | APART


@pytest.mark.parametrize("when", PRODUCED)
def test_an_answer_is_as_the_table_shows_it(desk: Place, when: str) -> None:
    reply = PRODUCED[when](desk)
    fits(ANSWERS[when], reply.status, reply.body)


def test_another_answer_than_the_tables_would_be_seen(desk: Place) -> None:
    reply = PRODUCED["an unknown path"](desk)
    for wrong in ({**reply.body, "code": 0}, {**reply.body, "more": 1}):
        with pytest.raises(AssertionError):
            fits(ANSWERS["an unknown path"], reply.status, wrong)
    with pytest.raises(AssertionError):
        fits(ANSWERS["an unknown path"], 200, reply.body)


def test_the_answer_to_a_caller_off_the_platform(credentials: Credentials) -> None:
    box = Sandbox(credentials=credentials)
    with box, in_process(injected(box, TENCENTCLOUD_RUNENV=None)) as function:
        reply = function.call("wxpay_order", order("ORDER_1"), {})
    fits(ANSWERS["an unknown caller, off the platform"], reply.status, reply.body)


def test_the_answer_of_a_handler_that_throws(credentials: Credentials) -> None:
    class Throwing(OrderService):
        def handler_unified_trigger(self, params: Any) -> None:
            raise RuntimeError("the shop's own fault")

    with Sandbox(credentials=credentials) as box, in_process(injected(box), Throwing()) as function:
        box.function = function.url
        function.call("wxpay_order", order("ORDER_1"))
        (delivery,) = box.pay("ORDER_1")
    assert delivery.status is not None
    fits(ANSWERS["a handler that throws"], delivery.status, json.loads(delivery.answer))


def test_the_answer_without_credentials() -> None:
    with in_process({"TENCENTCLOUD_RUNENV": "SCF"}) as function:
        reply = function.call("wxpay_order", order("ORDER_1"))
    fits(ANSWERS["no credentials"], reply.status, reply.body)


def test_a_transfers_answer_holds_the_app_id_and_a_jsapi_orders_its_prepay_id(desk: Place) -> None:
    assert "`appId` beside `mchId`" in PAGE
    reply = desk.mini_program("wxpay_transfer", TRANSFER, **{"x-operator-key": OPERATOR_KEY})
    assert {"appId", "mchId"} <= set(reply.body["data"]["data"])
    assert "prepay_id" in desk.mini_program("wxpay_order", order("ORDER_1")).body["data"]["data"]


# What callers change


def test_the_snippet_tells_success_refusal_and_unknown_apart(desk: Place, node: str) -> None:
    (snippet,) = [code for code in re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL) if "function result" in code]
    success = desk.mini_program("wxpay_order", order("ORDER_1"))
    refusal = PRODUCED["WeChat Pay refuses a query"](desk)
    bad = PRODUCED["bad input"](desk)
    unknown = spoilt("reset")(desk)
    gateway = desk.web({"_action": QUERY, **UNKNOWN}, token="")
    program = f"""{snippet}
    for (const answer of JSON.parse(require('node:fs').readFileSync(0))) {{
      try {{ console.log(JSON.stringify({{ package: result(answer).package.slice(0, 10) }})) }}
      catch ({{ message, unknown, code }}) {{ console.log(JSON.stringify({{ message, unknown, code }})) }}
    }}"""
    answers = [{"statusCode": reply.status, "data": reply.body} for reply in (success, refusal, bad, unknown)]
    answers.append({"status": gateway.status_code, "json": gateway.json()})
    run = subprocess.run([node, "-e", program], input=json.dumps(answers), capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert told[0] == {"package": "prepay_id="}
    assert told[1] == {"message": refusal.body["msg"], "unknown": False, "code": "ORDER_NOT_EXIST"}
    assert told[2] == {"message": bad.body["msg"], "unknown": False}
    assert told[3] == {"message": unknown.body["msg"], "unknown": True}
    assert told[4] == {"message": gateway.json()["message"], "unknown": False}


# Handlers, files, settings


def test_each_handler_of_the_original_has_its_method() -> None:
    named = {row[0]: row[1] for row in rows("Order handlers")}
    assert len(named) == 6
    for original, ours in named.items():
        name, arguments = re.fullmatch(r"`(\w+)\((.*)\)`", ours).groups()  # type: ignore[union-attr]
        assert hasattr(OrderService, name)
        assert (
            re.sub(r"(?<!^)[A-Z]", lambda upper: f"_{upper[0].lower()}", original.strip("`")) == f"{name}({arguments})"
        )


@pytest.mark.parametrize("row", rows("Files"), ids=lambda row: row[0])
def test_each_file_of_the_original_has_its_place(row: list[str]) -> None:
    for name in re.findall(r"`([^`]+)`", row[1]):
        assert name.startswith("make ") or (ROOT / name).exists()


@pytest.fixture
def another(credentials: Credentials, tmp_path: Path) -> Callable[..., Any]:
    return lambda **changes: place(tmp_path / "log", credentials, **changes)


def test_operator_ids_star_restores_refunds_by_everybody(another: Callable[..., Any]) -> None:
    assert any(row[0] == "`operatorIds=*`" for row in rows("Variables"))
    with another(operatorIds="*") as old:
        old.paid("ORDER_ROUTE")
        assert old.mini_program("wxpay_refund", REFUND).status == 200
        assert old.mini_program("wxpay_transfer", TRANSFER).status == 200
        assert "widened trust: operatorIds=*" in old.function.log_text()


def test_callback_trust_platform_restores_belief_in_plaintext(another: Callable[..., Any]) -> None:
    assert any(row[0] == "`callbackTrust=platform`" for row in rows("Variables"))
    with another(callbackTrust="platform") as old:
        reply = forged_whole(old)
        assert (reply.status, reply.body["code"]) == (200, "SUCCESS")


def forged_whole(place: Place) -> Reply:
    """A payment that never was, with all that a true one has."""
    credentials = place.box.credentials
    content = {
        "mchid": credentials.merchant_id,
        "appid": credentials.app_id,
        "out_trade_no": "ORDER_NEVER",
        "transaction_id": "4200000000202511250000000001",
        "trade_state": "SUCCESS",
        "amount": {"total": 20},
    }
    body = {"ParsedContent": content, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}
    return place.function.post("/", body)


def test_by_default_that_payment_is_not_believed(ours: Place) -> None:
    reply = forged_whole(ours)
    assert (reply.status, reply.body["code"]) == (400, "FAIL")


def test_by_default_callers_are_believed_as_far_as_in_the_original(ours: Place) -> None:
    """Headers of anybody name the payer, and a token that nobody verified does."""
    other = "oSomebodyElse000000000000001"
    ours.mini_program("wxpay_order", order("ORDER_1"), **{"x-wx-openid": other})
    token = ours.box.token("user", openid=other, key="other")
    reply = ours.function.call("wxpay_order", order("ORDER_2"), {"Authorization": f"Bearer {token}"})
    assert reply.status == 200
    assert [request.json["payer"]["openid"] for request in ours.box.requests] == [other] * 2
    refund = ours.function.call("wxpay_refund", REFUND, {"Authorization": f"Bearer {token}"})
    assert refund.status == 403


def test_nothing_restores_the_bodys_openid_before_the_callers(another: Callable[..., Any]) -> None:
    with another(operatorIds="*", callbackTrust="platform") as old:
        body = {**order("ORDER_1"), "payer": {"openid": "oSomebodyElse000000000000001"}}
        assert old.mini_program("wxpay_order", body).status == 200
        assert old.box.requests[-1].json["payer"] == {"openid": OPENID}


# Switch


def test_the_ten_variables_are_named() -> None:
    told = PAGE.partition("the ten variables of the old one: ")[2].partition(";")[0]
    assert sorted(re.findall(r"`(\w+)`", told)) == sorted(INJECTED)
    assert len(INJECTED) == 10


def test_under_another_name_the_package_is_sent_all_the_same() -> None:
    text = (ROOT / "cloudbaserc.json").read_text(encoding="utf-8")
    (old,) = re.findall(r'"name": "([^"]+)"', text)
    assert f"`{old}` too" in PAGE
    (ours,) = re.findall(r"`name` in `cloudbaserc.json` to `([\w-]+)`", PAGE)
    config = json.loads(text.replace(f'"name": "{old}"', f'"name": "{ours}"'))
    folder = f"build/{package.NAME}"
    assert f"The folder stays `./{folder}`" in PAGE
    assert cloudbase_cli.code_folder(config, ours, "fn deploy") == folder
    # Which is why the page asks for --dir.
    assert cloudbase_cli.code_folder(config, ours, "fn code update") != folder
    assert cloudbase_cli.refusal(["fn", "code", "update", ours, "--dir", folder]) is None


def test_two_functions_side_by_side_each_gets_the_notifications_of_its_own_orders(credentials: Credentials) -> None:
    """The old one is played by a second one of ours behind another address."""
    urls = {name: f"https://{name}.example/wx-pay/unifiedOrderTrigger" for name in ("old", "new")}
    box = Sandbox(sign_mode="sdk", credentials=credentials)
    old_one, new_one = (box.env(notifyURLPayURL=urls[name]) for name in ("old", "new"))
    with box, in_process(old_one) as old, in_process(new_one) as new:
        functions: dict[str, Function] = {"old": old, "new": new}
        for name, function in functions.items():
            assert function.call("wxpay_order", order(f"ORDER_{name}")).status == 200
        for name, function in functions.items():
            assert box.ledger.orders[f"ORDER_{name}"].notify_url == urls[name]
            box.function = function.url
            assert all(delivery.acknowledged for delivery in box.pay(f"ORDER_{name}"))
        shown = new.call(QUERY, {"out_trade_no": "ORDER_old"})
    assert shown.body["data"]["data"]["trade_state"] == "SUCCESS", "both sign for the same merchant"


def test_an_order_that_the_old_function_placed_is_refunded_by_the_new_one_with_its_database(
    credentials: Credentials, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/orders.sqlite3"
    box = Sandbox(sign_mode="sdk", credentials=credentials)
    new_one = box.env(operatorKey=OPERATOR_KEY, orderDatabaseUrl=url)
    with box, in_process(box.env()) as old, in_process(new_one) as new:
        box.function = old.url
        assert old.call("wxpay_order", order("ORDER_ROUTE")).status == 200
        box.pay("ORDER_ROUTE")
        box.function = new.url
        key = {"x-wx-source": "wx_client", "x-operator-key": OPERATOR_KEY}
        assert new.call("wxpay_orders_init", {}, key).status == 200
        assert new.call("wxpay_refund", REFUND, key).status == 200
        assert all(delivery.acknowledged for delivery in box.settle_refund(REFUND["out_refund_no"]))
