"""Whatever happens in whatever order: after one reconcile run the store says what WeChat Pay's books say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sandbox import Sandbox
from sandbox.errors import Refusal
from sandbox.ledger import IllegalMove
from services.orders.database import Database
from services.orders.schema import metadata
from services.orders.store import Store
from tests.orders.fleet import Books
from tests.orders.house import OPERATOR, House, fresh
from tests.support import MINI_PROGRAM

EXAMPLES = {"sqlite": 60, "postgresql": 15, "mysql": 15}
STEPS = 30
TOTAL = 100
# An answer that does not come although the work was done, and one that does not come with nothing done.
UNKNOWN = st.sampled_from([("reset", {"processed": True}), ("reset", {}), ("system_error", {}), ("bad_signature", {})])
# A refusal that WeChat Pay signed: nothing happened.
REFUSED = st.just(("error", {"code": "NO_AUTH", "status": 403}))
FAULT = st.one_of(st.none(), st.none(), UNKNOWN, REFUSED)
DELIVERY = st.sampled_from(["lost", "once", "twice"])


# How far each state is: nothing ever goes back. A refund that is abnormal may be under way once more.
FAR = {
    "pay_orders": {"PENDING": 0, "REFUSED": 0, "CLOSED": 1, "PAID": 2, "PARTIALLY_REFUNDED": 3, "REFUND": 4},
    "pay_refunds": {"PENDING": 0, "REFUSED": 0, "PROCESSING": 1, "ABNORMAL": 1, "CLOSED": 2, "SUCCESS": 2},
    "pay_transfers": {"PENDING": 0, "REFUSED": 0, "WAIT_USER_CONFIRM": 1, "CANCELING": 2, "TRANSFERING": 3}
    | dict.fromkeys(("SUCCESS", "FAIL", "CANCELLED"), 4),
}
NUMBERS = {"pay_orders": "out_trade_no", "pay_refunds": "out_refund_no", "pay_transfers": "out_bill_no"}
ALL_STATES = " UNION ALL ".join(f"SELECT '{table}', {name}, state FROM {table}" for table, name in NUMBERS.items())  # noqa: S608


@pytest.fixture
def stage(box: Sandbox, database_url: str, store: Store) -> Iterator[House]:
    with House.in_process(box, database_url, store, logLevel="error", wxPayTimeout="2") as house:
        yield house


def emptied(house: House) -> None:
    house.box.reset()
    with house.store.database.engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())


class Shop(RuleBasedStateMachine):
    house: House

    @initialize()
    def begin(self) -> None:
        emptied(self.house)
        self.box, self.function = self.house.box, self.house.function
        self.orders: list[str] = []
        self.refunds: list[str] = []
        self.transfers: list[str] = []
        self.elsewhere: list[str] = []  # refunds that were made past this function
        self.asked: dict[str, dict] = {}  # refunds that were asked for here, by number
        self.were: dict[tuple[str, str], str] = {}
        self.heard: list[tuple[str, dict]] = []  # what notifications said, to be said again later
        for _ in range(3):  # so that there is something to refund from the first step on
            self.orders_something(None)
        for number, delivery in zip(self.orders[:2], ("once", "lost"), strict=True):
            self.box.pay(number, deliver=False)
            self._tell("order", number, delivery)

    # The shop

    @rule(fault=FAULT)
    def orders_something(self, fault) -> None:
        number = fresh("PROP")
        self.orders.append(number)
        self._call("wxpay_order", self._order(number), fault)

    @rule(data=st.data(), description=st.sampled_from(["tea", "coffee"]), fault=FAULT)
    def orders_with_the_same_number(self, data, description, fault) -> None:
        number = data.draw(st.sampled_from(self.orders))
        self._call("wxpay_order", self._order(number) | {"description": description}, fault)

    @rule(data=st.data(), cents=st.integers(1, TOTAL), by_transaction=st.booleans(), fault=FAULT)
    def refunds_some(self, data, cents, by_transaction, fault) -> None:
        number, order = fresh("BACK"), data.draw(st.sampled_from(self.orders))
        known = self.box.ledger.orders.get(order)
        which = {"out_trade_no": order}
        if by_transaction and known and known.transaction_id:
            which = {"transaction_id": known.transaction_id}
        self.refunds.append(number)
        self.asked[number] = {**which, "out_refund_no": number, "amount": {"refund": cents, "total": TOTAL}}
        self._call("wxpay_refund", self.asked[number], fault)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), more=st.sampled_from([0, 0, 1]), fault=FAULT)
    def refunds_with_the_same_number(self, data, more, fault) -> None:
        body = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        amount = body["amount"] | {"refund": min(body["amount"]["refund"] + more, TOTAL)}
        self._call("wxpay_refund", body | {"amount": amount}, fault)

    @rule(fault=FAULT)
    def pays_somebody(self, fault) -> None:
        number = fresh("OUT")
        self.transfers.append(number)
        self._with_fault(fault, lambda: self.house.transfer(50, number=number))

    @precondition(lambda self: self.transfers)
    @rule(data=st.data(), cents=st.sampled_from([50, 50, 51]), fault=FAULT)
    def pays_with_the_same_number(self, data, cents, fault) -> None:
        number = data.draw(st.sampled_from(self.transfers))
        self._with_fault(fault, lambda: self.house.transfer(cents, number=number))

    @precondition(lambda self: self.transfers)
    @rule(data=st.data(), fault=FAULT)
    def takes_a_transfer_back(self, data, fault) -> None:
        number = data.draw(st.sampled_from(self.transfers))
        self._call("wxpay_transfer_cancel", {"out_bill_no": number}, fault)

    @rule(data=st.data())
    def queries(self, data) -> None:
        number = data.draw(st.sampled_from(self.orders))
        self._call("wxpay_query_order_by_out_trade_no", {"out_trade_no": number}, None)

    @precondition(lambda self: self.refunds)
    @rule(data=st.data())
    def queries_a_refund(self, data) -> None:
        self._call("wxpay_refund_query", {"out_refund_no": data.draw(st.sampled_from(self.refunds))}, None)

    @rule(data=st.data(), fault=FAULT)
    def closes(self, data, fault) -> None:
        number = data.draw(st.sampled_from(self.orders))
        self._call("wxpay_close_order", {"out_trade_no": number}, fault)

    # The users and WeChat Pay

    @rule(data=st.data(), delivery=DELIVERY)
    def a_user_pays(self, data, delivery) -> None:
        number = data.draw(st.sampled_from(self.orders))
        with suppress(IllegalMove):
            self.box.pay(number, deliver=False)
            self._tell("order", number, delivery)

    @precondition(lambda self: self.refunds)
    @rule(data=st.data(), status=st.sampled_from(["SUCCESS", "ABNORMAL", "CLOSED"]), delivery=DELIVERY)
    def a_refund_ends(self, data, status, delivery) -> None:
        number = data.draw(st.sampled_from(self.refunds))
        with suppress(IllegalMove):
            self.box.settle_refund(number, status, deliver=False)
            self._tell("refund", number, delivery)

    @precondition(lambda self: self.box.ledger.refunds)
    @rule(data=st.data())
    def an_abnormal_refund_goes_to_a_bank_card(self, data) -> None:
        refund = self.box.ledger.refunds[data.draw(st.sampled_from(sorted(self.box.ledger.refunds)))]
        with suppress(Refusal):
            self.box.ledger.redirect_refund(refund.refund_id, refund.number, False)

    @rule(data=st.data(), cents=st.integers(1, TOTAL))
    def somebody_refunds_past_this_function(self, data, cents) -> None:
        number = fresh("HAND")
        body = {
            "out_trade_no": data.draw(st.sampled_from(self.orders)),
            "out_refund_no": number,
            "amount": {"refund": cents, "total": TOTAL, "currency": "CNY"},
            "notify_url": self.box.env()["notifyURLRefundsURL"],
        }
        with suppress(Refusal):
            self.box.ledger.refund(body)
            self.refunds.append(number)
            self.elsewhere.append(number)

    @precondition(lambda self: self.transfers)
    @rule(data=st.data(), state=st.sampled_from(["SUCCESS", "FAIL", "CANCELLED"]), delivery=DELIVERY)
    def a_transfer_ends(self, data, state, delivery) -> None:
        number = data.draw(st.sampled_from(self.transfers))
        with suppress(IllegalMove):
            self.box.finish_transfer(number, state, deliver=False)
            self._tell("transfer", number, delivery)

    @rule(data=st.data())
    def an_old_notification_comes_late(self, data) -> None:
        kind, plaintext = data.draw(st.sampled_from(self.heard))
        headers, body = self.box.forwarded(kind, plaintext)
        assert self.function.post("/", body, headers).body["code"] == "SUCCESS"

    @invariant()
    def nothing_goes_back(self) -> None:
        if not hasattr(self, "were"):
            return
        with self.house.store.database.reading() as connection:
            now = {(table, number): state for table, number, state in connection.exec_driver_sql(ALL_STATES)}
        for (table, number), state in now.items():
            was = self.were.get((table, number), "PENDING")
            assert state == was or FAR[table][state] >= FAR[table][was], (number, was, state)
            assert state == was or FAR[table][was] < max(FAR[table].values()), (number, was, state)
        self.were = now

    # The end

    def teardown(self) -> None:
        if not hasattr(self, "box"):
            return
        books = Books(self._url())
        for number in self.elsewhere:  # of these nobody would ever ask: WeChat Pay tells until it is heard
            if self.box.ledger.refunds[number].state != "PROCESSING":
                self._tell("refund", number, "once")
        for _ in range(2):  # the second one asks again about what was refused or came too early
            for table in ("orders", "refunds", "transfers"):
                due = "SET updated_at = '2026-01-01', next_check_at = created_at WHERE next_check_at IS NOT NULL"
                books.change(f"UPDATE pay_{table} {due}")
            reply = self.function.call("wxpay_reconcile", {}, OPERATOR)
            assert reply.status == 200, reply.text
        self._compare(books)

    def _compare(self, books: Books) -> None:
        ledger = self.box.ledger
        refunded: Counter[str] = Counter()
        for refund in ledger.refunds.values():
            if refund.state == "SUCCESS":
                refunded[refund.order.number] += refund.amount
        for number, state, cents in books.rows("SELECT out_trade_no, state, refunded FROM pay_orders"):
            assert cents == refunded[number] <= TOTAL
            assert state in expected_order(ledger.orders.get(number), refunded[number]), number
        assert set(ledger.orders) <= set(self._stored(books, "pay_orders", "out_trade_no"))
        for table, name, known in (
            ("pay_refunds", "out_refund_no", ledger.refunds),
            ("pay_transfers", "out_bill_no", ledger.transfers),
        ):
            stored = self._stored(books, table, name)
            unheard = set(self.elsewhere) & set(known) - set(stored)
            assert {number: known[number].state for number in unheard} == dict.fromkeys(unheard, "PROCESSING")
            assert {number: thing.state for number, thing in known.items() if number not in unheard} == {
                number: state for number, state in stored.items() if state not in ("PENDING", "REFUSED")
            }
        paid = {number for number, order in ledger.orders.items() if order.transaction_id}
        events = Counter(books.rows("SELECT type, number FROM pay_events"))
        assert set(events.values()) <= {1}
        assert {number for kind, number in events if kind == "order.paid"} == paid
        assert {number for kind, number in events if kind == "refund.succeeded"} == {
            number for number, refund in ledger.refunds.items() if refund.state == "SUCCESS"
        }
        assert {number for kind, number in events if kind == "transfer.finished"} == {
            number for number, one in ledger.transfers.items() if one.state in ("SUCCESS", "FAIL", "CANCELLED")
        }
        strange = books.rows("SELECT kind, message FROM pay_incidents WHERE kind NOT LIKE 'refund_closed'"
                             " AND kind NOT LIKE 'refund_abnormal'")
        assert strange == []

    # Parts

    def _order(self, number: str) -> dict:
        return {"description": "tea", "out_trade_no": number, "amount": {"total": TOTAL}}

    def _call(self, action: str, body: dict, fault) -> None:
        headers = MINI_PROGRAM if "order" in action else OPERATOR
        self._with_fault(fault, lambda: self.function.call(action, body, headers))

    def _with_fault(self, fault, call) -> None:
        if fault:
            kind, options = fault
            self.box.fault(kind, **options)
        reply = call()
        self.box.clear_faults()
        assert reply.status in (200, 400, 403, 404, 409, 429, 502, 503, 504), reply.text
        assert "internal error" not in reply.text

    def _tell(self, kind: str, number: str, delivery: str) -> None:
        self.heard.append((kind, json.loads(json.dumps(self.box.plaintext(kind, number)))))
        for _ in range({"lost": 0, "once": 1, "twice": 2}[delivery]):
            assert all(told.acknowledged for told in self.box.deliver(kind, number))

    def _url(self) -> str:
        database: Database = self.house.store.database
        return database.engine.url.set(drivername=database.kind).render_as_string(hide_password=False)

    @staticmethod
    def _stored(books: Books, table: str, name: str) -> dict[str, str]:
        return dict(books.rows(f"SELECT {name}, state FROM {table}"))  # noqa: S608 - names of our own


def expected_order(order, refunded: int) -> set[str]:
    """What may be stored of an order that WeChat Pay's books show so; None: it is in no book."""
    if order is None:
        return {"PENDING", "REFUSED", "CLOSED"}
    if order.transaction_id:
        return {"PAID" if not refunded else "REFUND" if refunded == TOTAL else "PARTIALLY_REFUNDED"}
    return {"CLOSED"} if order.state == "CLOSED" else {"PENDING"}


def test_the_store_agrees_with_wechat_pay_after_one_reconcile(stage: House, database_kind: str):
    class Here(Shop):
        house = stage

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES[database_kind],
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate],  # making a failing example small would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
