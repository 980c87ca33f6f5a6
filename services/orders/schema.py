"""The tables. Amounts are integers in cents; `params` and the like are JSON texts.

`next_check_at` says when a row is to be queried at WeChat Pay, NULL never; whoever takes it up moves it on first,
so that it is also the lease. `unknown` marks what was sent and not answered. The names begin with `pay_`, because the
merchant's own tables may be in the same database. Migrations stand in `migrations/`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, Table

from services.orders.columns import UtcTime, code, document, exact

metadata = MetaData()
_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

orders = Table(
    "pay_orders",
    metadata,
    Column("out_trade_no", code(32), primary_key=True),
    Column("mchid", code(32), nullable=False),
    Column("appid", code(32), nullable=False),
    Column("owner", exact(128), nullable=False),  # openid or else uid of who ordered; empty: nobody's
    Column("total", Integer, nullable=False),
    Column("currency", code(16), nullable=False),
    Column("state", code(24), nullable=False),
    Column("params", document(), nullable=False),  # as sent, so that a repetition is the same
    Column("unknown", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("transaction_id", code(32)),
    Column("trade_type", code(16)),
    Column("bank_type", code(32)),
    Column("payer", exact(128)),  # openid
    Column("payer_total", Integer),
    Column("paid_at", UtcTime),
    Column("refunded", Integer, nullable=False),  # sum of the refunds that arrived
    Column("expires_at", UtcTime, nullable=False),
    Column("next_check_at", UtcTime),
    Column("checks", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index("ix_pay_orders_due", "unknown", "next_check_at"),
    Index("ix_pay_orders_transaction_id", "transaction_id"),
    Index("ix_pay_orders_created_at", "created_at"),
    Index("ix_pay_orders_paid_at", "paid_at"),
    **_MYSQL,
)

refunds = Table(
    "pay_refunds",
    metadata,
    Column("out_refund_no", code(64), primary_key=True),
    Column("out_trade_no", code(32)),  # NULL while only transaction_id is known
    Column("transaction_id", code(32)),
    Column("refund_id", code(32)),
    Column("amount", Integer, nullable=False),
    Column("total", Integer, nullable=False),  # of the order
    Column("currency", code(16), nullable=False),
    Column("state", code(24), nullable=False),
    Column("params", document(), nullable=False),
    Column("unknown", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),  # 0: made elsewhere, such as on the merchant platform
    Column("received_account", exact(128)),
    Column("succeeded_at", UtcTime),
    Column("next_check_at", UtcTime),
    Column("checks", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index("ix_pay_refunds_due", "unknown", "next_check_at"),
    Index("ix_pay_refunds_out_trade_no", "out_trade_no"),
    Index("ix_pay_refunds_transaction_id", "transaction_id"),
    Index("ix_pay_refunds_created_at", "created_at"),
    Index("ix_pay_refunds_succeeded_at", "succeeded_at"),
    **_MYSQL,
)

transfers = Table(
    "pay_transfers",
    metadata,
    Column("out_bill_no", code(32), primary_key=True),
    Column("transfer_bill_no", code(64)),
    Column("appid", code(32), nullable=False),
    Column("openid", exact(64), nullable=False),
    Column("amount", Integer, nullable=False),
    Column("state", code(24), nullable=False),
    Column("params", document(), nullable=False),  # without user_name
    Column("name_digest", code(64)),  # tells whether a repetition names the same user; slow and salted
    Column("name_ciphertext", document()),  # of the first attempt, sent again by every other
    Column("name_serial", code(64)),  # of the key that it is encrypted with
    Column("package_info", document()),
    Column("fail_reason", exact(256)),
    Column("unknown", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("finished_at", UtcTime),
    Column("next_check_at", UtcTime),
    Column("checks", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index("ix_pay_transfers_due", "unknown", "next_check_at"),
    Index("ix_pay_transfers_created_at", "created_at"),
    Index("ix_pay_transfers_finished_at", "finished_at"),
    **_MYSQL,
)

notifications = Table(
    "pay_notifications",
    metadata,
    # WeChat Pay's id where its signature proves it, else a digest of the plaintext: a stranger cannot choose it.
    Column("key", code(80), primary_key=True),
    Column("notification_id", exact(64), nullable=False),
    Column("kind", code(16), nullable=False),
    Column("event_type", exact(64), nullable=False),
    Column("number", exact(64), nullable=False),
    Column("evidence", code(16), nullable=False),
    Column("plaintext", document(), nullable=False),
    Column("outcome", code(32), nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Index("ix_pay_notifications_number", "number"),
    Index("ix_pay_notifications_received_at", "received_at"),
    **_MYSQL,
)

events = Table(
    "pay_events",
    metadata,
    Column("id", code(64), primary_key=True),
    Column("type", code(32), nullable=False),
    Column("number", code(64), nullable=False),
    Column("payload", document(), nullable=False),
    Column("state", code(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcTime, nullable=False),
    Column("lease", code(32)),
    Column("last_error", exact(256)),
    Column("created_at", UtcTime, nullable=False),
    Column("done_at", UtcTime),
    Index("ix_pay_events_due", "state", "next_at"),
    Index("ix_pay_events_number", "number"),
    **_MYSQL,
)

incidents = Table(
    "pay_incidents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", code(64), nullable=False, unique=True),  # the same finding again is the same incident
    Column("kind", code(40), nullable=False),
    Column("number", exact(64), nullable=False),
    Column("message", exact(500), nullable=False),
    Column("details", document(), nullable=False),
    Column("times", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    Column("resolved_at", UtcTime),
    Index("ix_pay_incidents_created_at", "created_at"),
    **_MYSQL,
)
