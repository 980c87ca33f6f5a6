"""examples/weda/pay.js, run as WeDa runs a page method: one call, what it resolves to, and what WeChat Pay got."""

from __future__ import annotations

import re

import pytest

from sandbox import Sandbox
from sandbox.core import OPENID
from tests.examples.phone import ENV_ID, FUNCTION_NAME, MISSING_NODE, Phone
from tests.support import ROOT, in_process

FOLDER = ROOT / "examples" / "weda"
SOURCE = (FOLDER / "pay.js").read_text(encoding="utf-8")
ORDER = "/wx-pay/wxpay_order"
QUERY = "wxpay_query_order_by_out_trade_no"

needs_node = pytest.mark.skipif(bool(MISSING_NODE), reason=MISSING_NODE)


def method(**constants):
    """The method's source as a function named `method`, with the constants at its top set."""
    source = SOURCE
    for name, value in constants.items():
        source, times = re.subn(rf"^const {name} = .*$", f"const {name} = '{value}'", source, flags=re.MULTILINE)
        assert times == 1
    source, times = re.subn(r"^export default async function \(", "async function method(", source, flags=re.MULTILINE)
    assert times == 1
    return source


SET = method(ENV_ID=ENV_ID, FUNCTION_NAME=FUNCTION_NAME)


@pytest.fixture(scope="module")
def house():
    with Sandbox() as box, in_process(box.env()) as function:
        yield box, function.url


@pytest.fixture
def box(house):
    box, url = house
    box.reset()
    box.function = url
    return box


@pytest.fixture
def phone(box, house):
    with Phone.on(box, house[1]) as phone:
        yield phone
        assert phone.problems == []


def run(phone, source=SET, times=1, **target):
    """What each of so many calls at once resolves to, in order."""
    return phone.do("invoke", source=source, given={"event": {}, "data": {"target": target}}, times=times)


@needs_node
@pytest.mark.parametrize("bodies", ["parsed", "text"])
def test_order_pay_result(phone, box, bodies):
    phone.set(settings={"bodies": bodies})
    [outcome] = run(phone, description="A pot of tea", cents=58)

    [number] = box.ledger.orders
    assert outcome == {"told": "paid", "out_trade_no": number, "msg": number}
    order = box.ledger.orders[number]
    assert (order.state, order.total, order.body["description"]) == ("SUCCESS", 58, "A pot of tea")
    assert order.body["payer"] == {"openid": OPENID}
    assert re.fullmatch(r"WD\d{14}[0-9a-z]{12}", number)
    assert phone.said("modal")[0]["title"] == "Paid"
    assert phone.storage == {}


@needs_node
def test_without_parameters(phone, box):
    assert phone.do("invoke", source=SET, given={"event": {}})[0]["told"] == "paid"
    [order] = box.ledger.orders.values()
    assert order.total == 20


@needs_node
def test_paid_is_what_the_server_says(phone, box):
    phone.set(will=[{"does": "nothing", "says": "ok"}])
    [outcome] = run(phone)
    assert outcome["told"] == "open"
    box.pay(outcome["out_trade_no"])
    assert run(phone)[0] == {"told": "paid", "out_trade_no": outcome["out_trade_no"], "msg": outcome["out_trade_no"]}
    assert phone.actions().count("wxpay_order") == 1


@needs_node
def test_cancelled_is_told_from_failed_and_the_same_order_can_be_paid(phone, box):
    phone.set(will=[{"does": "cancel"}, {"does": "fail"}, {"does": "pay", "says": "no response"}])
    told = [run(phone)[0]["told"] for _ in range(3)]
    assert told == ["cancelled", "failed", "paid"]
    assert len(box.ledger.orders) == 1


@needs_node
def test_something_else_closes_what_was_left_open(phone, box):
    phone.set(will=[{"does": "cancel"}])
    run(phone, cents=20)
    assert run(phone, cents=30)[0]["told"] == "paid"
    assert [(order.total, order.state) for order in box.ledger.orders.values()] == [(20, "CLOSED"), (30, "SUCCESS")]


@needs_node
@pytest.mark.parametrize("changed", [{"cents": 30}, {"description": "A pot of tea"}], ids=["cents", "description"])
def test_a_paid_order_is_no_payment_of_something_else(phone, box, changed):
    phone.set(will=[{"does": "cancel"}, {"does": "cancel"}])
    [former] = run(phone)
    box.pay(former["out_trade_no"])
    [other] = run(phone, **changed)
    assert (other["told"], other["former"]) == ("cancelled", former["out_trade_no"])
    assert former["out_trade_no"] in phone.said("modal")[-1]["content"]
    assert box.ledger.orders[other["out_trade_no"]].state == "NOTPAY"
    [paid] = run(phone, **changed)
    assert (paid["told"], paid["out_trade_no"]) == ("paid", other["out_trade_no"])
    assert paid["former"] == former["out_trade_no"]
    assert [order.state for order in box.ledger.orders.values()] == ["SUCCESS", "SUCCESS"]
    assert "former" not in run(phone, **changed)[0]


@needs_node
def test_a_closed_order_does_not_stop_something_else(phone, box):
    phone.set(will=[{"does": "cancel"}])
    [former] = run(phone)
    box.ledger.close(former["out_trade_no"])
    [other] = run(phone, cents=30)
    assert other == {"told": "paid", "out_trade_no": other["out_trade_no"], "msg": other["out_trade_no"]}
    assert other["out_trade_no"] != former["out_trade_no"]


@needs_node
def test_what_cannot_be_closed_now_is_not_left_behind(phone, box):
    phone.set(will=[{"does": "cancel"}])
    run(phone, cents=20)
    box.fault("reset", processed=False, path="/close")
    assert run(phone, cents=30)[0]["told"] == "unknown"
    assert len(box.ledger.orders) == 1


@needs_node
def test_two_taps_are_one_order(phone, box):
    assert sorted(outcome["told"] for outcome in run(phone, times=2)) == ["busy", "paid"]
    assert len(box.ledger.orders) == len(phone.sheets) == 1


@needs_node
@pytest.mark.parametrize("what", ["taken", "not taken", "lost"])
def test_an_unknown_outcome_goes_on_under_the_same_number(phone, box, what):
    if what == "lost":
        phone.set(lost=[ORDER])
    else:
        box.fault("reset", processed=what == "taken", path="/jsapi")
    [first] = run(phone)
    assert first["told"] == "unknown"
    box.clear_faults()
    [second] = run(phone)
    assert second["told"] == "paid"
    assert phone.actions()[:3] == ["wxpay_order", QUERY, "wxpay_order"]
    assert list(box.ledger.orders) == [first["out_trade_no"]] == [second["out_trade_no"]]


@needs_node
def test_a_query_that_nobody_signed_does_not_end_the_number(phone, box):
    phone.set(will=[{"does": "cancel"}])
    run(phone)
    box.fault("unsigned_403", path="/v3/pay/transactions/out-trade-no")
    assert run(phone)[0]["told"] == "unknown"
    box.clear_faults()
    assert run(phone)[0]["told"] == "paid"
    assert len(box.ledger.orders) == 1


@needs_node
@pytest.mark.parametrize("processed", [True, False], ids=["it was taken", "it was not taken"])
def test_neither_a_refused_repetition_nor_an_unsigned_404_ends_the_number(phone, box, processed):
    box.fault("reset", host="main", processed=processed, path="/jsapi")
    box.fault("error", host="backup", code="INVALID_REQUEST", path="/jsapi")
    [first] = run(phone)
    assert phone.calls[-1]["status"] == 400
    assert first["told"] == "unknown"

    box.clear_faults()
    box.fault("unsigned_404", path="/v3/pay/transactions/out-trade-no")
    for target in ({}, {"cents": 30}):
        [second] = run(phone, **target)
        assert phone.calls[-1]["status"] == 404
        assert (second["told"], second["out_trade_no"]) == ("unknown", first["out_trade_no"])
    assert phone.actions() == ["wxpay_order", QUERY, QUERY]

    box.clear_faults()
    assert run(phone)[0] == {"told": "paid", "out_trade_no": first["out_trade_no"], "msg": first["out_trade_no"]}
    assert list(box.ledger.orders) == [first["out_trade_no"]]


@needs_node
def test_an_order_that_was_paid_before_its_repetition_was_refused_is_not_bought_again(phone, box):
    """Paid between the question and the order, as by a sheet that is still open."""
    phone.set(will=[{"does": "cancel"}])
    [first] = run(phone)
    box.pay(first["out_trade_no"])
    box.fault("error", code="ORDER_NOT_EXIST", path="/v3/pay/transactions/out-trade-no")
    assert run(phone)[0]["told"] == "refused"
    box.clear_faults()
    assert run(phone)[0]["out_trade_no"] == first["out_trade_no"]
    assert len(box.ledger.orders) == len(phone.sheets) == 1


@needs_node
def test_a_refusal_is_told_and_the_number_serves_the_same_purchase_only(phone, box):
    [outcome] = run(phone, description="")
    assert outcome["told"] == "refused"
    assert "description" in outcome["msg"]
    box.fault("frequency_limited", path="/jsapi")
    [limited] = run(phone)
    assert limited["told"] == "refused"
    assert limited["out_trade_no"] != outcome["out_trade_no"]
    box.clear_faults()
    [paid] = run(phone)
    assert (paid["told"], paid["out_trade_no"]) == ("paid", limited["out_trade_no"])


NOT_SET_UP = {
    "ENV_ID": ({"ENV_ID": "your-env-id", "FUNCTION_NAME": FUNCTION_NAME}, []),
    "FUNCTION_NAME": ({"ENV_ID": ENV_ID, "FUNCTION_NAME": "your-function-name"}, []),
    "base library 3.15.2": ({"ENV_ID": ENV_ID, "FUNCTION_NAME": FUNCTION_NAME}, ["callHTTPFunction"]),
}


@needs_node
@pytest.mark.parametrize("what", NOT_SET_UP)
def test_what_is_not_set_up_is_said(box, house, what):
    constants, lacks = NOT_SET_UP[what]
    with Phone.on(box, house[1], lacks=lacks) as phone:
        [outcome] = run(phone, method(**constants))
        assert outcome["told"] == "not set up"
        assert what in outcome["msg"]
        assert what in phone.said("modal")[0]["content"]
        assert phone.calls == []


@needs_node
def test_a_wrong_function_name_is_told(phone):
    [outcome] = run(phone, method(ENV_ID=ENV_ID, FUNCTION_NAME="pay-common"))
    assert outcome["told"] == "unknown"
    assert "HTTP 404: check ENV_ID and FUNCTION_NAME" in outcome["msg"]


def test_the_readme_shows_the_lines_to_set_and_all_that_it_tells():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)
    lines = [line.strip() for line in block.strip().splitlines()]
    assert lines == re.findall(r"^const (?:ENV_ID|FUNCTION_NAME) = .*$", SOURCE, re.MULTILINE)
    table = readme.split("| `told`")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([\w ]+)`", row)}
    texts = set(re.findall(r"^  (\w+): '", SOURCE.split("const TEXTS")[1].split("}")[0], re.MULTILINE))
    assert told == texts | {"busy", "not set up"}
