"""What docs/orders.md says is so: its pictures are the tables of states, its lists the code's, its snippets run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from sqlalchemy import event, text

from config import rules
from docs import state_diagrams
from routes.orders_commands import orders as command_group
from sandbox import Sandbox
from services.order_service import OrderService
from services.orders import compare, outbox, reconcile, states, waiting, webhook
from services.orders import store as storing
from services.orders.service import SqlOrderService
from services.orders.store import Store
from tests.deploy import package
from tests.not_run import PREFIX
from tests.orders.house import OPERATOR, House, fresh
from tests.orders.test_bills import BEIJING, business_day
from tests.orders.test_commands import Shell
from tests.pages import Page
from tests.support import OPENID, OPERATOR_KEY, ROOT
from utils import validator

PAGE = Page.read("docs/orders.md")
TEXT = PAGE.text
PICTURES = {
    "orders-order.svg": states.ORDER,
    "orders-refund.svg": states.REFUNDS,
    "orders-transfer.svg": states.TRANSFER,
}


def arrows_of(picture: str) -> set[tuple[str, str]]:
    tree = ElementTree.fromstring((ROOT / "docs" / "images" / picture).read_text(encoding="utf-8"))  # noqa: S314 - our own
    return {(path.get("data-from"), path.get("data-to")) for path in tree.iter() if path.get("data-from")}


def led_to(arrows: set[tuple[str, str]], state: str) -> set[str]:
    """Where one gets from there along the arrows."""
    reached, ahead = set(), [state]
    while ahead:
        here = ahead.pop()
        nexts = {target for origin, target in arrows if origin == here} - reached
        reached |= nexts
        ahead += nexts
    return reached - {state}


@pytest.mark.parametrize(("picture", "table"), PICTURES.items(), ids=PICTURES)
def test_the_arrows_of_a_picture_lead_from_each_state_exactly_to_those_that_may_follow(picture, table):
    arrows = arrows_of(picture)
    assert {state for arrow in arrows for state in arrow} == set(table)
    for state, followers in table.items():
        assert led_to(arrows, state) == followers, state


@pytest.mark.parametrize(("picture", "table"), PICTURES.items(), ids=PICTURES)
def test_an_arrow_too_few_or_too_many_would_be_seen(picture, table):
    arrows = arrows_of(picture)
    ends = {state for state, followers in table.items() if not followers}
    assert ends
    back = {(next(iter(ends)), states.PENDING)}
    assert any(led_to(arrows | back, state) != followers for state, followers in table.items())
    without_entry = {(origin, target) for origin, target in arrows if origin != states.PENDING}
    assert led_to(without_entry, states.PENDING) != table[states.PENDING]


@pytest.mark.parametrize("picture", PICTURES)
def test_the_pictures_are_those_that_the_script_draws(picture):
    drawn = state_diagrams.svg(state_diagrams.DIAGRAMS[picture])
    assert (ROOT / "docs" / "images" / picture).read_text(encoding="utf-8") == drawn


def test_the_page_shows_all_pictures():
    links = {target for _, target in PAGE.links}
    assert {f"images/{picture}" for picture in PICTURES} <= links


# Lists and figures


def cells(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading."""
    part = re.split(rf"^##+ {heading}\n", TEXT, flags=re.MULTILINE)[1]
    table = re.search(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", part, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def test_every_kind_of_incident_is_explained_and_no_other():
    sources = [path.read_text() for path in (ROOT / "services" / "orders").glob("*.py")]
    kinds = {kind for source in sources for kind in re.findall(r'Incident\(\s*"(\w+)"', source)}
    assert len(kinds) > 10
    assert any('Incident(f"bill_{' in source for source in sources)
    kinds |= {f"bill_{found}" for found in set(compare.CLASSES) - {compare.MATCHED, compare.OTHER}}
    assert {row[0].strip("`") for row in cells("Incidents")} == kinds


def test_every_hook_is_explained_and_its_argument_has_what_the_table_says():
    hooks = dict(re.findall(r"`(on_\w+)\((\w+)\)`", " ".join(row[0] for row in cells("Side effects"))))
    own = {name: list(inspect.signature(hook).parameters)[1] for name, hook in vars(SqlOrderService).items()
           if name.startswith("on_")}  # fmt: skip
    assert hooks == own


def test_every_command_is_explained():
    told = {word for row in cells("The command line") for word in re.findall(r"`(\w[\w-]*)", row[0])}
    assert told == set(command_group.commands)
    options = {option for command in command_group.commands.values() for one in command.params for option in one.opts}
    for line in re.findall(r"`(?:init-db|list|bill|deliver|reconcile|incidents)[^`\n]*", TEXT):
        assert set(re.findall(r"--[a-z]+", line)) <= options, line


def test_every_method_that_a_store_of_ones_own_overrides_is_on_the_list():
    listed = TEXT.split("## Bring your own store")[1]
    own = {name for name in vars(OrderService) if name[0] != "_" and callable(getattr(OrderService, name))}
    assert own <= set(re.findall(r"`(\w+)[`(]", listed))


def test_the_figures_are_those_of_the_code():
    assert f"zipped of the {package.LARGEST // 1_000_000} that it allows" in TEXT
    minutes = [seconds // 60 for seconds in storing.SCHEDULE[2:]]
    assert storing.SCHEDULE[:2] == (5, 30)
    assert storing.HOURLY == 3600
    assert f"Due 5 and 30 seconds, {', '.join(map(str, minutes[:-1]))} and {minutes[-1]} minutes" in TEXT
    assert (outbox.FIRST_PAUSE, outbox.LONGEST_PAUSE, outbox.LEASE) == (5, 3600, 60)
    assert f"After {outbox.MAX_TRIES} tries" in TEXT
    assert f"failed {outbox.MAX_TRIES} times" in TEXT
    pauses = sum(min(outbox.FIRST_PAUSE * 2**tried, outbox.LONGEST_PAUSE) for tried in range(outbox.MAX_TRIES - 1))
    assert 13.5 < pauses / 3600 < 14.5, "about 14 hours"
    assert f"within {webhook.TIMEOUT:.0f} seconds" in TEXT
    assert reconcile.LEASE == 120
    assert f"A quarter of an instance's places for callers, {waiting.PLACES}," in TEXT
    assert f"(at most {validator.MAX_WAIT}, which is the default)" in TEXT
    defaults = validator.Reconcile().load({})
    assert "takes `limit` ({limit}) and `seconds` ({seconds}, at most".format(**defaults) in TEXT
    assert f", at most {validator.MAX_RUN})" in TEXT


# What is shown as code is run


def code(language: str, containing: str) -> str:
    """The one block of that language which has these words."""
    (block,) = [fence.body for fence in PAGE.fences if fence.language == language and containing in fence.body]
    return block


def defined(block: str, name: str):
    """What a block of Python defines under a name."""
    namespace: dict[str, object] = {}
    exec(compile(block, "docs/orders.md", "exec"), namespace)  # noqa: S102 - our own page
    return namespace[name]


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip(f"{PREFIX}node is not installed")
    return found


on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def test_a_parcel_is_packed_once_an_order(box: Sandbox, database_url: str, store: Store):
    service = defined(code("python", "shop_parcels"), "ShopOrders")()
    with table(store, "shop_parcels (event_id VARCHAR(64) PRIMARY KEY, out_trade_no VARCHAR(32))"):
        with House.in_process(box, database_url, store, service) as house:
            number = house.paid()
            event = read(store, "SELECT id FROM pay_events")[0][0]
            assert read(store, "SELECT event_id, out_trade_no FROM shop_parcels") == [(event, number)]
            assert service.outbox.replay(event)
            assert service.outbox.run() == {"delivered": 1, "failed": 0, "dead": 0}
        assert read(store, "SELECT event_id, out_trade_no FROM shop_parcels") == [(event, number)]


def test_a_cart_and_its_order_are_written_together(box: Sandbox, database_url: str, store: Store):
    service = defined(code("python", "shop_carts"), "CartOrders")()
    with table(store, "shop_carts (id VARCHAR(32) PRIMARY KEY, out_trade_no VARCHAR(32))"):
        write(store, "INSERT INTO shop_carts (id) VALUES ('CART1')")
        with House.in_process(box, database_url, store, service) as house:
            number = house.order(attach="CART1")
            assert house.order(number, attach="CART1") == number
            body = {"description": "茶 Tea", "out_trade_no": fresh("ORDER"), "amount": {"total": 1}}
            for attach in ("CART1", "CART2"):
                reply = house.function.call("wxpay_order", {**body, "attach": attach})
                assert (reply.status, reply.body["msg"]) == (409, "there is no such cart, or it is ordered already")
            assert read(store, "SELECT out_trade_no FROM pay_orders") == [(number,)]
        assert read(store, "SELECT id, out_trade_no FROM shop_carts") == [("CART1", number)]


@on_sqlite
def test_the_price_list_prices(box: Sandbox, database_url: str, store: Store, tmp_path: Path, monkeypatch):
    (tmp_path / "shop_prices_of_the_page.py").write_text(code("python", "def price("))
    monkeypatch.syspath_prepend(tmp_path)
    with House.in_process(box, database_url, store, priceList="shop_prices_of_the_page:price") as house:
        house.order(total=150, description="A pot of tea")
        body = {"description": "A pot of tea", "out_trade_no": fresh("ORDER"), "amount": {"total": 1}}
        assert house.function.call("wxpay_order", body).status == 409
        assert house.function.call("wxpay_order", {**body, "description": "Gold"}).status == 404


SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def sent() -> tuple[dict[str, str], bytes]:
    """Headers and body of an event as the forwarder sends it."""
    received = []

    class Transport:
        def send(self, method, url, body, headers, timeout):
            received.append((headers(url), body))
            return SimpleNamespace(status=204)

    data = {"event_id": "evt_1", "out_trade_no": "TEA1", "description": "茶"}
    forwarder = webhook.Webhook(Transport(), "https://shop.example/events", rules.webhook_secret(SECRET))
    forwarder.forward("order.paid", data)
    return received[0]


SPOILT = {
    "another body": lambda headers, body: (headers, body.replace(b"TEA1", b"TEA2")),
    "another id": lambda headers, body: ({**headers, "webhook-id": "evt_2"}, body),
    "another time": lambda headers, body: ({**headers, "webhook-timestamp": "1700000000"}, body),
    "no signature": lambda headers, body: ({**headers, "webhook-signature": "v1,"}, body),
}


def test_the_receiver_in_python_verifies(sent):
    verified = defined(code("python", "def verified"), "verified")
    headers, body = sent
    identifier, event = verified(SECRET, headers, body)
    assert (identifier, event["type"]) == ("evt_1", "order.paid")
    assert event["data"] == {"out_trade_no": "TEA1", "description": "茶"}
    several = {**headers, "webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}
    assert verified(SECRET, several, body)[0] == "evt_1"
    for spoil in SPOILT.values():
        with pytest.raises(ValueError, match="not signed"):
            verified(SECRET, *spoil(headers, body))
    with pytest.raises(ValueError, match="too long ago"):
        verified(SECRET, *old(body))


def test_the_receiver_in_node_verifies(sent, node: str):
    headers, body = sent
    cases = [(headers, body), *(spoil(headers, body) for spoil in SPOILT.values()), old(body)]
    program = code("js", "function verified") + """
    for (const [headers, body] of JSON.parse(require('node:fs').readFileSync(0))) {
      try { console.log(verified(process.argv[1], headers, Buffer.from(body, 'base64')).event.data.out_trade_no) }
      catch (error) { console.log(error.message) }
    }"""
    told = json.dumps([(some, base64.b64encode(raw).decode()) for some, raw in cases])
    run = subprocess.run([node, "-e", program, SECRET], input=told, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["TEA1", *["not signed with this secret"] * len(SPOILT), "sent too long ago"]


def old(body: bytes) -> tuple[dict[str, str], bytes]:
    """The same, truly signed an hour ago."""
    stamp = str(int(time.time()) - 3600)
    mac = hmac.new(bytes(range(32)), b"evt_1." + stamp.encode() + b"." + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": "evt_1", "webhook-timestamp": stamp, "webhook-signature": signature}, body


@on_sqlite
def test_the_cashiers_page_learns_of_a_payment(house: House, node: str):
    number = house.order()
    program = code("js", "async function settled") + """
    const headers = { 'content-type': 'application/json', 'x-wx-source': 'wx_client', 'x-wx-openid': process.argv[2] }
    const call = (action, fields) => fetch(`${process.argv[1]}/wx-pay/${action}`, { method: 'POST', headers,
      body: JSON.stringify(action === 'wxpay_order_wait' ? { ...fields, seconds: 1 } : fields) })
    settled(call, process.argv[3]).then(console.log, error => console.log(error.message))"""

    def page(of: str) -> subprocess.Popen[str]:
        command = [node, "-e", program, house.function.url, OPENID, of]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    waiting_page = page(number)
    house.box.pay(number, deliver=False)  # the callback is lost: the page's own query finds out
    assert waiting_page.communicate(timeout=30)[0] == "PAID\n"
    assert page("NOTHING001").communicate(timeout=30)[0] == "no such order\n"


@on_sqlite
def test_the_curl_line_makes_the_tables(house: House):
    (line,) = re.findall(r"^ *(curl .*)$", TEXT, re.MULTILINE)
    here = line.replace("https://pay.shop.example", house.function.url)
    assert here != line
    env = {"PATH": os.environ["PATH"], "operatorKey": OPERATOR_KEY, "NO_PROXY": "127.0.0.1"}
    run = subprocess.run(["sh", "-c", here], env=env, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(run.stdout)["data"]["data"] == {"tables": "ready"}


def test_what_is_deleted_is_old_and_settled(house: House):
    paid, unpaid, closed = house.paid(), house.order(), house.order()
    house.function.call("wxpay_close_order", {"out_trade_no": closed})
    house.transfer(60000, user_name="张三")
    write(house.store, "UPDATE pay_transfers SET state = 'SUCCESS'")
    cleaning = [line for line in "".join(re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)).splitlines() if line]
    assert len(cleaning) == 5
    write(house.store, *cleaning)
    assert len(read(house.store, "SELECT * FROM pay_orders")) == 3
    assert read(house.store, "SELECT name_digest, name_ciphertext FROM pay_transfers") == [(None, None)]
    write(
        house.store,
        "UPDATE pay_orders SET updated_at = '2020-01-01'",
        "UPDATE pay_events SET done_at = '2020-01-01'",
        "UPDATE pay_notifications SET received_at = '2020-01-01'",
        *cleaning,
    )
    assert {number for (number,) in read(house.store, "SELECT out_trade_no FROM pay_orders")} == {paid, unpaid}
    assert read(house.store, "SELECT id FROM pay_events") == []
    assert read(house.store, "SELECT number FROM pay_notifications") == []
    house.box.deliver("order", paid)
    assert read(house.store, "SELECT id FROM pay_events") == []  # what was deleted does not come to be again


def test_a_copy_that_is_gone_back_to_catches_up_and_its_events_have_the_same_ids(house: House):
    number = house.paid()
    before = read(house.store, "SELECT id, type, number FROM pay_events")
    assert [row[1:] for row in before] == [("order.paid", number)]
    write(
        house.store,
        "DELETE FROM pay_events",
        "DELETE FROM pay_notifications",
        "UPDATE pay_orders SET state = 'PENDING', transaction_id = NULL, paid_at = NULL, next_check_at = created_at",
    )
    reply = house.function.call("wxpay_reconcile", {}, OPERATOR)
    summary = reply.body["data"]["data"]
    assert (summary["changed"], summary["left"], summary["delivered"]) == (1, 0, 1)
    assert house.state(number) == "PAID"
    assert read(house.store, "SELECT id, type, number FROM pay_events") == before


def test_an_event_that_is_given_up_is_an_incident_and_can_be_replayed(box: Sandbox, database_url: str, store: Store):
    class Broken(SqlOrderService):
        broken = True

        def on_paid(self, order):
            if self.broken:
                raise ValueError("no parcel service today")

    service = Broken()
    with House.in_process(box, database_url, store, service) as house:
        number = house.paid()
        last = f"UPDATE pay_events SET attempts = {outbox.MAX_TRIES - 1}, next_at = created_at, lease = NULL"  # noqa: S608
        write(store, last)
        assert service.outbox.run()["dead"] == 1
        ((kind, about, message),) = read(store, "SELECT kind, number, message FROM pay_incidents")
        ((event,),) = read(store, "SELECT id FROM pay_events WHERE state = 'DEAD'")
        assert (kind, about) == ("event_dead", number)
        assert event in message
        assert "no parcel service today" in message
        service.broken = False
        assert service.outbox.replay(event)
        assert service.outbox.run()["delivered"] == 1


@on_sqlite
def test_a_callback_is_one_transaction_in_the_order_shown(house: House):
    shown = code("", "BEGIN")
    named = re.findall(r"^ *(lock|UPDATE|COMMIT)|(pay_\w+)$", shown, re.MULTILINE)
    number, seen = house.order(), []
    engine = house.function.application.extensions["pay"].orders.parts.store.database.engine
    event.listen(engine, "before_cursor_execute", lambda connection, cursor, statement, *rest: seen.append(statement))
    event.listen(engine, "commit", lambda connection: seen.append("COMMIT"))
    assert all(delivery.acknowledged for delivery in house.box.pay(number))
    course = [statement.split("(")[0].split() for statement in seen[: seen.index("COMMIT") + 1]]
    steps = {"SELECT": "lock", "UPDATE": "UPDATE", "COMMIT": "COMMIT", "INSERT": "pay_"}
    real = [words[2] if words[0] == "INSERT" else steps[words[0]] for words in course if words[0] in steps]
    assert list(dict.fromkeys(real)) == [word or table_ for word, table_ in named]


def test_an_event_arrives_as_it_is_shown(sent):
    head, _, body = code("", "POST /events").partition("\n\n")
    headers, real = sent
    assert re.findall(r"^(webhook-\w+): ", head, re.MULTILINE) == [
        name for name in headers if name.startswith("webhook-")
    ]
    assert re.search(r"^webhook-signature: v1,", head, re.MULTILINE)
    shown = json.loads(body.replace(", …", ""))
    event_ = json.loads(real)
    assert list(shown) == list(event_)
    assert (shown["type"], next(iter(shown["data"]))) == (event_["type"], "out_trade_no")


@on_sqlite
def test_the_sessions_print_what_is_shown(house: House, database_url: str, tmp_path: Path):
    shell = Shell(house.box.env(orderDatabaseUrl=database_url))
    day = business_day(house)
    teas = {f"TEA2026112400{number}": "A cup of tea" for number in (2, 3, 4)}
    house.order("TEA20261124001", 150, description="A pot of tea")
    house.box.pay("TEA20261124001", twice=True)
    assert house.refund("TEA20261124001", 50, 150, "BACK20261124001", reason="one cup was cold").status == 200
    house.box.settle_refund("BACK20261124001")
    for number in teas:
        house.order(number, 20, description="一杯茶" if number.endswith("3") else "A cup of tea")
    house.box.pay("TEA20261124002")
    listed, shown, found = re.split(r"\n(?=\$ )", code("console", "orders list"))
    assert like(shell("list").stdout) == like(listed.partition("\n")[2])
    # What happened in the same millisecond may stand in any order.
    assert sorted(like(shell("show", "TEA20261124001").stdout)) == sorted(like(shown.partition("\n")[2]))
    assert house.refund("TEA20261124001", 20, 150, "BACK20261124002").status == 200
    house.box.settle_refund("BACK20261124002", "ABNORMAL")
    assert like(shell("incidents").stdout) == like(found.partition("\n")[2])

    house.box.pay("TEA20261124003", deliver=False)
    write(
        house.store,
        "DELETE FROM pay_orders WHERE out_trade_no = 'TEA20261124003'",
        "UPDATE pay_orders SET total = 2 WHERE out_trade_no = 'TEA20261124002'",
    )
    house.box.advance("2d")
    printed = shell("bill", "trade", day, "--csv", str(tmp_path / "differences.csv"), status=1).stdout
    assert sorted(like(printed)) == sorted(like(code("console", "orders bill trade").partition("\n")[2]))


@on_sqlite
def test_cron_compares_yesterdays_bill_by_the_line_that_is_shown(house: House, database_url: str, tmp_path: Path):
    """As cron runs it: its PATH, no variables, a backslash before a percent sign. The user's name is cron's own."""
    (tmp_path / "opt").symlink_to(ROOT)
    env = house.box.env(orderDatabaseUrl=database_url)
    (tmp_path / "env").write_text("".join(f"{name}='{value}'\n" for name, value in env.items()))
    line = code("cron", "bill trade")
    minute, hour, *days, user, command = line.split(maxsplit=6)
    assert (int(minute), int(hour), days, user) == (30, 10, ["*", "*", "*"], "pay-common")
    command = command.replace("/etc/pay-common.env", f"{tmp_path}/env").replace("/opt/pay-common", f"{tmp_path}/opt")
    command = command.replace(".venv/bin/flask", f"{sys.executable} -m flask").replace("\\%", "%")
    house.box.advance("1d")  # so that it is past 10:00 there

    def yesterday() -> str:
        return str((datetime.now(BEIJING) - timedelta(days=1)).date())

    days_asked = {yesterday()}
    run = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    days_asked.add(yesterday())  # midnight may have passed
    assert run.returncode == 0, run.stderr
    (day,) = re.findall(r"^Bill: trade of (\S+), 0 rows$", run.stdout, re.MULTILINE)
    assert day in days_asked


@on_sqlite
def test_a_run_of_reconcile_answers_what_is_shown(house: House):
    summary = house.function.call("wxpay_reconcile", {}, OPERATOR).body["data"]["data"]
    assert list(json.loads(code("json", "checked"))) == list(summary)


def like(text: str) -> list[str]:
    """Lines without what differs from day to day: times and WeChat Pay's own numbers."""
    text = re.sub(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?", "TIME", text)
    return [re.sub(r"\b4200\d+", "TRANSACTION", line).rstrip() for line in text.strip().splitlines()]


def write(store: Store, *statements: str) -> None:
    with store.database.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def read(store: Store, query: str) -> list[tuple]:
    with store.database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@contextmanager
def table(store: Store, definition: str) -> Iterator[None]:
    write(store, f"CREATE TABLE {definition}")
    try:
        yield
    finally:
        write(store, f"DROP TABLE {definition.partition(' ')[0]}")
