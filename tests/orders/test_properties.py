"""Whatever happens in whatever order: after one reconcile run the store says what WeChat Pay's books say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from sandbox import Sandbox
from sandbox.ledger import IllegalMove
from services.orders.database import Database
from services.orders.schema import metadata
from services.orders.store import Store
from tests.orders.fleet import Books
from tests.orders.house import OPERATOR, House, fresh
from tests.support import MINI_PROGRAM

EXAMPLES = {"sqlite": 80, "postgresql": 20, "mysql": 20}
STEPS = 30
TOTAL = 100
# An answer that does not come although the work was done, and one that does not come with nothing done.
UNKNOWN = st.sampled_from([("reset", {"processed": True}), ("reset", {}), ("system_error", {}), ("bad_signature", {})])
DELIVERY = st.sampled_from(["lost", "once", "twice"])


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
        self.heard: list[tuple[str, dict]] = []  # what notifications said, to be said again later
        for _ in range(3):  # so that there is something to refund from the first step on
            self.orders_something(None)
        for number, delivery in zip(self.orders[:2], ("once", "lost"), strict=True):
            self.box.pay(number, deliver=False)
            self._tell("order", number, delivery)

    # The shop

    @rule(unknown=st.one_of(st.none(), st.none(), UNKNOWN))
    def orders_something(self, unknown) -> None:
        number = fresh("PROP")
        self.orders.append(number)
        self._call("wxpay_order", self._order(number), unknown)

    @rule(data=st.data())
    def orders_the_same_again(self, data) -> None:
        self._call("wxpay_order", self._order(data.draw(st.sampled_from(self.orders))), None)

    @rule(data=st.data(), cents=st.integers(1, TOTAL), unknown=st.one_of(st.none(), st.none(), UNKNOWN))
    def refunds_some(self, data, cents, unknown) -> None:
        number = fresh("BACK")
        self.refunds.append(number)
        amount = {"refund": cents, "total": TOTAL}
        order = data.draw(st.sampled_from(self.orders))
        self._call("wxpay_refund", {"out_trade_no": order, "out_refund_no": number, "amount": amount}, unknown)

    @rule(unknown=st.one_of(st.none(), st.none(), UNKNOWN))
    def pays_somebody(self, unknown) -> None:
        number = fresh("OUT")
        self.transfers.append(number)
        self._with_fault(unknown, lambda: self.house.transfer(50, number=number))

    @rule(data=st.data())
    def queries(self, data) -> None:
        number = data.draw(st.sampled_from(self.orders))
        self._call("wxpay_query_order_by_out_trade_no", {"out_trade_no": number}, None)

    @precondition(lambda self: self.refunds)
    @rule(data=st.data())
    def queries_a_refund(self, data) -> None:
        self._call("wxpay_refund_query", {"out_refund_no": data.draw(st.sampled_from(self.refunds))}, None)

    @rule(data=st.data(), unknown=st.one_of(st.none(), UNKNOWN))
    def closes(self, data, unknown) -> None:
        number = data.draw(st.sampled_from(self.orders))
        self._call("wxpay_close_order", {"out_trade_no": number}, unknown)

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

    # The end

    def teardown(self) -> None:
        if not hasattr(self, "box"):
            return
        books = Books(self._url())
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
            assert {number: thing.state for number, thing in known.items()} == {
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

    def _call(self, action: str, body: dict, unknown) -> None:
        headers = OPERATOR if action == "wxpay_refund" else MINI_PROGRAM
        self._with_fault(unknown, lambda: self.function.call(action, body, headers))

    def _with_fault(self, unknown, call) -> None:
        if unknown:
            kind, options = unknown
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
            suppress_health_check=list(HealthCheck),
        ),
    )
