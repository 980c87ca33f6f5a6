"""A worked order service: orders in a database, each paid once, whatever arrives how often.

Try it:  orderService=examples.own_order_service.orders:ShopOrders make run
Use it:  copy this folder, replace SQLite by your database (on the platform only /tmp can be written, and it
         is not kept), and name your class in orderService.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from services.order_service import Caller, OrderService, Params, Refused

PRICES = {"A cup of tea": 20, "A pot of tea": 150}  # cents; yours stand in your own database

log = logging.getLogger("pay.shop")


class ShopOrders(OrderService):
    """Prices come from the shop, orders are written before WeChat Pay is asked, payments are cross-checked."""

    def __init__(self, database: Path | None = None) -> None:
        self._database = database or Path(tempfile.gettempdir()) / "shop-orders.sqlite3"
        with self._transaction() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY, total INTEGER NOT NULL,"
                " state TEXT NOT NULL DEFAULT 'PENDING', transaction_id TEXT, refunded INTEGER NOT NULL DEFAULT 0)"
            )
            db.execute("CREATE TABLE IF NOT EXISTS refunds (number TEXT PRIMARY KEY, state TEXT NOT NULL)")

    def before_unified(self, params: Params, caller: Caller) -> Params:
        """The price is the shop's, not the client's; the same number again is the same order."""
        price = PRICES.get(params["description"])
        if price is None:
            raise Refused("there is no such article", 404)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO orders (number, total) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (params["out_trade_no"], price),
            )
            known = db.execute("SELECT total FROM orders WHERE number = ?", (params["out_trade_no"],)).fetchone()
        if known != (price,):
            raise Refused("this order number is taken", 409)
        return params | {"amount": {"total": price, "currency": "CNY"}}

    def handler_unified_trigger(self, params: Params) -> dict[str, str]:
        """PENDING -> PAID in one guarded update, so that a repeated callback changes nothing."""
        if params["trade_state"] not in ("SUCCESS", "REFUND"):  # REFUND: paid, and refunded since
            return {"code": "SUCCESS"}
        number, total = params["out_trade_no"], params["amount"]["total"]
        with self._transaction() as db:
            paid = db.execute(
                "UPDATE orders SET state = 'PAID', transaction_id = ?"
                " WHERE number = ? AND state = 'PENDING' AND total = ?",
                (params["transaction_id"], number, total),
            ).rowcount
            known = db.execute("SELECT state, total FROM orders WHERE number = ?", (number,)).fetchone()
        if paid:
            log.info("order %s is paid: time to ship", number)
        elif known is None or known[1] != total:
            # Money arrived that does not fit an order: a person must look. Sending it again would not help.
            log.error("payment of %s cents for order %s does not fit any order", total, number)
        return {"code": "SUCCESS"}

    def handler_refund_trigger(self, params: Params) -> dict[str, str]:
        """Each refund counts once; `refund_status` is SUCCESS, CLOSED or ABNORMAL."""
        number, status = params["out_refund_no"], params["refund_status"]
        with self._transaction() as db:
            seen = db.execute("SELECT state FROM refunds WHERE number = ?", (number,)).fetchone()
            if seen is None or seen[0] != "SUCCESS":
                db.execute("INSERT OR REPLACE INTO refunds VALUES (?, ?)", (number, status))
                if status == "SUCCESS":
                    db.execute(
                        "UPDATE orders SET refunded = refunded + ? WHERE number = ?",
                        (params["amount"]["refund"], params["out_trade_no"]),
                    )
        return {"code": "SUCCESS"}

    def order(self, number: str) -> dict[str, Any] | None:
        """What the shop knows of one order."""
        with self._transaction() as db:
            row = db.execute("SELECT state, total, refunded FROM orders WHERE number = ?", (number,)).fetchone()
        return None if row is None else {"state": row[0], "total": row[1], "refunded": row[2]}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, committed at the end; an error rolls back and makes WeChat Pay deliver again."""
        with closing(sqlite3.connect(self._database, timeout=2, isolation_level="IMMEDIATE")) as db, db:
            yield db
