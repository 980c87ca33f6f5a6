"""`flask --app app orders ...`: tables for a person, `--json` for machines. Logs go to standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import click

from controllers.components import MissingCredentials, components
from routes.actions import CREDENTIALS
from services.merchant_code import DatabaseFailed, contained, is_kept
from services.orders import reading
from services.orders.compare import Comparison, report_csv, report_text
from services.orders.database import Database, driver_says
from services.orders.desk import OrderDesk
from services.orders.service import SqlOrderService
from services.orders.tables import init_db, init_sql
from services.pay_service import protect_people
from services.strategies.base import Notification
from services.wechatpay.errors import WechatPayError
from utils.logs import redact

BEIJING = timezone(timedelta(hours=8))
REPLAY_TIME = 60.0  # seconds for the handler of a replayed notification

log = logging.getLogger("pay.orders")

as_json = click.option("--json", "json_", is_flag=True, help="JSON instead of a table; money in cents, times in UTC.")


class _Orders(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """What can go wrong outside of us is one line, without a trace."""
        try:
            return super().invoke(ctx)
        except DatabaseFailed as error:
            raise click.ClickException(redact(f"{error}{driver_says(error)}")) from error
        except (MissingCredentials, WechatPayError) as error:
            raise click.ClickException(redact(str(error))) from error


@click.group(cls=_Orders)
def orders() -> None:
    """Orders, refunds and transfers in the database of orderDatabaseUrl."""


@orders.command("init-db")
@click.option("--sql", is_flag=True, help="Print the SQL instead, for a database that only its owner reaches.")
def init_database(sql: bool) -> None:
    """Make or upgrade the tables; harmless where they are."""
    if sql:
        click.echo(init_sql(_database().kind), nl=False)
    else:
        init_db(_database())
        click.echo("the order tables are ready")


@orders.command("list")
@click.argument("what", type=click.Choice(["orders", "refunds", "transfers"]), default="orders")
@click.option("--state", help="Only those in this state, such as PENDING.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only those made since this day (Beijing).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
def list_(what: str, state: str | None, since: datetime | None, limit: int, json_: bool) -> None:
    """The newest orders, refunds or transfers."""
    begin = since.replace(tzinfo=BEIJING) if since else None
    found = reading.listed(_database(), what, state=state, since=begin, limit=limit)
    if json_:
        _print_json(found)
    else:
        _print_table(_COLUMNS[what][0], [_COLUMNS[what][1](row) for row in found])


@orders.command()
@click.argument("number")
@as_json
def show(number: str, json_: bool) -> None:
    """All about one order, refund or transfer: its numbers, refunds, callbacks, events, incidents."""
    found = reading.life(_database(), number)
    if found is None:
        raise click.ClickException(f"{number} is not stored: no order, refund or transfer has this number")
    if json_:
        _print_json(found)
        return
    if found["order"]:
        _print_order(found["order"])
    if found["refunds"]:
        _print_table(_COLUMNS["refunds"][0], [_COLUMNS["refunds"][1](row) for row in found["refunds"]])
    if found["transfer"]:
        _print_table(_COLUMNS["transfers"][0], [_COLUMNS["transfers"][1](found["transfer"])])
    click.echo()
    _print_table(("when (Beijing)", "what"), [(_time(row["at"]), row["what"]) for row in found["life"]])


@orders.command()
@click.argument("notification")
def replay(notification: str) -> None:
    """Handle a stored notification again, by its id or how that begins; what it says already changes nothing."""
    found = reading.found_notifications(_database(), notification)
    if len(found) != 1:
        several = f"{notification} names several notifications: give more of its id"
        raise click.ClickException(several if found else f"{notification} names no stored notification")
    before = reading.outcome(_database(), found[0])
    if not is_kept(_handled(found[0])):
        raise click.ClickException("the order service did not keep it: the log holds its reason")
    click.echo(f"{_plain(found[0].event_type)}: was {before}, is {reading.outcome(_database(), found[0])}")


def _handled(notification: Notification) -> Any:
    """What the order service makes of it; whatever it raises is for the log."""
    protect_people(notification.plaintext)
    until = time.monotonic() + REPLAY_TIME
    try:
        return contained(_service().handler_notification, notification, until)
    except DatabaseFailed:
        raise
    except Exception as error:
        log.exception("the notification could not be replayed")
        reason = f"the order service raised {type(error).__name__}: the log has its trace"
        raise click.ClickException(reason) from error


@orders.command()
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=60, show_default=True)
@click.option("--replay", "event", help="Deliver this event again, also one that is dead or was delivered.")
@as_json
def deliver(limit: int, seconds: float, event: str | None, json_: bool) -> None:
    """Deliver the events that are due to the hooks."""
    if event and not _service().outbox.replay(event):
        raise click.ClickException(f"there is no event {event}")
    counts = _service().outbox.run(limit=limit, seconds=seconds)
    if json_:
        _print_json(counts)
    else:
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if counts["failed"] or counts["dead"]:
        sys.exit(1)


@orders.command()
@click.option("--all", "all_", is_flag=True, help="Also those that were resolved.")
@click.option("--resolve", "identifier", type=int, help="Mark this one as seen to.")
@as_json
def incidents(all_: bool, identifier: int | None, json_: bool) -> None:
    """What a person must look at."""
    if identifier is not None:
        if not reading.resolve(_database(), identifier):
            raise click.ClickException(f"there is no open incident {identifier}")
        if json_:
            _print_json({"resolved": identifier})
        else:
            click.echo(f"incident {identifier} is resolved")
        return
    found = reading.open_incidents(_database(), resolved=all_)
    if json_:
        _print_json(found)
        return
    rows = [(str(one["id"]), _time(one["created_at"]), str(one["times"]), one["kind"], one["message"]) for one in found]
    _print_table(("id", "since (Beijing)", "times", "kind", "what"), rows)


@orders.command()
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=600, show_default=True)
def reconcile(limit: int, seconds: float) -> None:
    """Ask WeChat Pay about all that is not settled and due; the summary is JSON."""

    def progress(counts: Mapping[str, int]) -> None:
        click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()), err=True)

    summary = _desk().reconciler().run(limit=limit, seconds=seconds, progress=progress)
    _print_json(summary)
    if any(summary[name] for name in ("left", "failed", "undelivered", "dead")):
        sys.exit(1)


@orders.command()
@click.argument("kind", type=click.Choice(["trade", "fundflow"]))
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--account", type=click.Choice(["BASIC", "OPERATION", "FEES"]), default="BASIC", show_default=True)
@click.option("--csv", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the differences here too.")
@as_json
def bill(kind: str, day: datetime, account: str, file: Path | None, json_: bool) -> None:
    """Compare WeChat Pay's bill of DAY (Beijing; made towards 10:00 of the next day) with what is stored."""
    bills, date = _desk().bills(), day.date().isoformat()
    comparison: Comparison = bills.trade(date) if kind == "trade" else bills.fundflow(date, account)
    if file:
        _write_csv(comparison, file)
    if json_:
        _print_json(comparison.as_dict())
    else:
        click.echo(report_text(comparison), nl=False)
    if comparison.different:
        sys.exit(1)


def _write_csv(comparison: Comparison, file: Path) -> None:
    try:
        with file.open("w", encoding="utf-8-sig", newline="") as output:
            report_csv(comparison, output)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from error


def _service() -> SqlOrderService:
    return cast("SqlOrderService", components().orders)


def _database() -> Database:
    return _service().parts.store.database


def _desk() -> OrderDesk:
    desk = components().desk
    if desk is None:
        raise MissingCredentials(components().lacking(CREDENTIALS))
    return desk


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _print_order(order: Mapping[str, Any]) -> None:
    amount = order["amount"]
    head = (order["out_trade_no"], order["state"], f"{_yuan(amount['total'])} yuan", _plain(order["description"] or ""))
    click.echo("  ".join(head))
    facts = {
        "transaction": order["transaction_id"],
        "paid": order["paid_at"] and _time(order["paid_at"]),
        "refunded": f"{_yuan(order['refunded'])} yuan" if order["refunded"] else None,
        "expires": _time(order["expires_at"]) if order["state"] == "PENDING" else None,
    }
    for name, value in facts.items():
        if value:
            click.echo(f"  {name:<12} {value}")


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest text. Text of any script stands last, where its width does not matter."""
    lines = [titles, *([_plain(text) for text in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _plain(text: str) -> str:
    """What buyers and hooks wrote, without what steers a terminal, breaks lines or turns their direction."""
    return "".join(character if character.isprintable() else " " for character in text)


def _yuan(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _time(text: str) -> str:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


_COLUMNS: Mapping[str, tuple[Sequence[str], Any]] = {
    "orders": (
        ("out_trade_no", "state", "yuan", "refunded", "ordered (Beijing)", "description"),
        lambda row: (
            row["out_trade_no"],
            row["state"],
            _yuan(row["amount"]["total"]),
            _yuan(row["refunded"]),
            _time(row["created_at"]),
            row["description"] or "",
        ),
    ),
    "refunds": (
        ("out_refund_no", "state", "yuan", "out_trade_no", "asked (Beijing)", "reason"),
        lambda row: (
            row["out_refund_no"],
            row["state"],
            _yuan(row["amount"]["refund"]),
            row["out_trade_no"] or "",
            _time(row["created_at"]),
            row["reason"] or "",
        ),
    ),
    "transfers": (
        ("out_bill_no", "state", "yuan", "transfer_bill_no", "asked (Beijing)", "remark"),
        lambda row: (
            row["out_bill_no"],
            row["state"],
            _yuan(row["amount"]),
            row["transfer_bill_no"] or "",
            _time(row["created_at"]),
            row["remark"] or "",
        ),
    ),
}
