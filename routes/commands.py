"""The command line, `flask --app app ...`; its parts are loaded only there: routes.doctor_command, .orders_commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from flask import Flask

from controllers.components import Components

if TYPE_CHECKING:
    from routes.doctor_command import Diagnose

# With one of them broken, events would be delivered to nobody and count as delivered.
_NEEDS = ("orderDatabaseUrl", "orderService", "priceList", "eventWebhookUrl", "eventWebhookSecret")


def init_app(app: Flask, *, with_database: bool, diagnose: Diagnose) -> None:
    """Add the commands; without an order database, or with broken settings, `orders` only says what is missing."""
    from routes import doctor_command  # noqa: PLC0415 - no request needs it

    app.cli.add_command(doctor_command.command(diagnose))
    parts: Components = app.extensions["pay"]
    lacking = parts.lacking(_NEEDS)
    if with_database and not lacking:
        from routes.orders_commands import orders  # noqa: PLC0415 - it loads SQLAlchemy, which is an extra

        app.cli.add_command(orders)
    else:
        app.cli.add_command(_refusing(", ".join(lacking)))


def _refusing(reason: str) -> click.Command:
    @click.command("orders", context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def orders(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever they are
        """Orders in a database of your own; needs orderDatabaseUrl."""
        raise click.ClickException(reason or "orderDatabaseUrl is not set: set it to the order database")

    return orders
