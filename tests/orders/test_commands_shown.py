"""What `orders list`, `show`, `incidents` and `replay` print for a person, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from app import create_app
from config.settings import Settings
from services.orders.schema import incidents, notifications
from tests.orders.house import House, fresh
from tests.orders.test_callbacks import changed, rows, told

Lines = Callable[..., list[str]]


@pytest.fixture
def lines(house: House, database_url: str) -> Lines:
    """The lines that a command prints, which ends with `status`."""

    def run(*arguments: str, status: int = 0) -> list[str]:
        level = logging.getLogger("pay").level
        env = house.box.env(orderDatabaseUrl=database_url)
        application = create_app(Settings.from_env({"FLASK_RUN_FROM_CLI": "true", **env}))
        try:
            with application.app_context():  # as the flask command has it
                result = application.test_cli_runner().invoke(args=["orders", *arguments])
        finally:
            logging.getLogger("pay").setLevel(level)
            application.extensions["pay"].orders.parts.store.database.close()
        assert result.exit_code == status, result.output
        printed = result.stdout if status == 0 else result.stderr
        return [line for line in printed.splitlines() if not line.startswith("{")]

    return run


def test_a_transfer_is_listed_and_shown(house: House, lines: Lines):
    number = fresh("BILL")
    assert house.transfer(1234, number=number).status == 200
    listed = lines("list", "transfers")
    assert listed[0].split()[:3] == ["out_bill_no", "state", "yuan"]
    assert [line.split()[:3] for line in listed[1:]] == [[number, "WAIT_USER_CONFIRM", "12.34"]]
    shown = lines("show", number)
    assert shown[:2] == listed
    assert any(line.endswith(f"{number} written, before WeChat Pay was asked") for line in shown[3:])


def test_a_list_begins_with_the_day_that_is_asked_for(house: House, lines: Lines):
    number = house.order()
    assert len(lines("list", "--since", "2999-01-01")) == 1
    assert [line.split()[0] for line in lines("list", "--since", "2020-01-01")[1:]] == [number]


def test_an_incident_is_shown_until_somebody_has_seen_to_it(house: House, lines: Lines):
    number = house.paid()
    unknown = changed(house.box.plaintext("order", number), "out_trade_no", "NOTOURS002")
    assert told(house, "order", unknown).body["code"] == "SUCCESS"
    (kept,) = rows(house, incidents)
    head, line = lines("incidents")
    assert head.split() == ["id", "since", "(Beijing)", "times", "kind", "what"]
    assert [line.split()[0], *line.split()[3:5]] == [str(kept["id"]), "1", "payment_of_unknown_order"]
    assert line.endswith(kept["message"])
    assert lines("incidents", "--resolve", str(kept["id"])) == [f"incident {kept['id']} is resolved"]
    assert lines("incidents") == [" ".join(head.split()[:1]) + "  since (Beijing)  times  kind  what"]
    assert lines("incidents", "--all")[1] == line


def test_a_beginning_that_two_notifications_share_replays_neither(house: House, lines: Lines):
    for _ in range(2):
        house.paid()
    one, other = (row["notification_id"] for row in rows(house, notifications))
    shared = next(one[:length] for length in range(len(one), 0, -1) if other.startswith(one[:length]))
    said = f"Error: {shared} names several notifications: give more of its id"
    assert lines("replay", shared, status=1) == [said]
    assert [row["deliveries"] for row in rows(house, notifications)] == [1, 1]
