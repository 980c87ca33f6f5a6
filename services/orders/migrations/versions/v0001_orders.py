"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from services.orders.columns import UtcTime, code, document, exact

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def upgrade() -> None:
    op.create_table(
        "pay_orders",
        sa.Column("out_trade_no", code(32), primary_key=True),
        sa.Column("mchid", code(32), nullable=False),
        sa.Column("appid", code(32), nullable=False),
        sa.Column("owner", exact(128), nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("currency", code(16), nullable=False),
        sa.Column("state", code(24), nullable=False),
        sa.Column("params", document(), nullable=False),
        sa.Column("unknown", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("transaction_id", code(32)),
        sa.Column("trade_type", code(16)),
        sa.Column("bank_type", code(32)),
        sa.Column("payer", exact(128)),
        sa.Column("payer_total", sa.Integer),
        sa.Column("paid_at", UtcTime),
        sa.Column("refunded", sa.Integer, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.Column("next_check_at", UtcTime),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        **_MYSQL,
    )
    op.create_index("ix_pay_orders_due", "pay_orders", ["unknown", "next_check_at"])
    op.create_index("ix_pay_orders_transaction_id", "pay_orders", ["transaction_id"])
    op.create_index("ix_pay_orders_created_at", "pay_orders", ["created_at"])
    op.create_index("ix_pay_orders_paid_at", "pay_orders", ["paid_at"])
    op.create_table(
        "pay_refunds",
        sa.Column("out_refund_no", code(64), primary_key=True),
        sa.Column("out_trade_no", code(32)),
        sa.Column("transaction_id", code(32)),
        sa.Column("refund_id", code(32)),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("currency", code(16), nullable=False),
        sa.Column("state", code(24), nullable=False),
        sa.Column("params", document(), nullable=False),
        sa.Column("unknown", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("received_account", exact(128)),
        sa.Column("succeeded_at", UtcTime),
        sa.Column("next_check_at", UtcTime),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        **_MYSQL,
    )
    op.create_index("ix_pay_refunds_due", "pay_refunds", ["unknown", "next_check_at"])
    op.create_index("ix_pay_refunds_out_trade_no", "pay_refunds", ["out_trade_no"])
    op.create_index("ix_pay_refunds_transaction_id", "pay_refunds", ["transaction_id"])
    op.create_index("ix_pay_refunds_created_at", "pay_refunds", ["created_at"])
    op.create_index("ix_pay_refunds_succeeded_at", "pay_refunds", ["succeeded_at"])
    op.create_table(
        "pay_transfers",
        sa.Column("out_bill_no", code(32), primary_key=True),
        sa.Column("transfer_bill_no", code(64)),
        sa.Column("appid", code(32), nullable=False),
        sa.Column("openid", exact(64), nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("state", code(24), nullable=False),
        sa.Column("params", document(), nullable=False),
        sa.Column("name_digest", code(64)),
        sa.Column("name_ciphertext", document()),
        sa.Column("name_serial", code(64)),
        sa.Column("package_info", document()),
        sa.Column("fail_reason", exact(256)),
        sa.Column("unknown", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("finished_at", UtcTime),
        sa.Column("next_check_at", UtcTime),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        **_MYSQL,
    )
    op.create_index("ix_pay_transfers_due", "pay_transfers", ["unknown", "next_check_at"])
    op.create_index("ix_pay_transfers_created_at", "pay_transfers", ["created_at"])
    op.create_index("ix_pay_transfers_finished_at", "pay_transfers", ["finished_at"])
    op.create_table(
        "pay_notifications",
        sa.Column("key", code(80), primary_key=True),
        sa.Column("notification_id", exact(64), nullable=False),
        sa.Column("kind", code(16), nullable=False),
        sa.Column("event_type", exact(64), nullable=False),
        sa.Column("number", exact(64), nullable=False),
        sa.Column("evidence", code(16), nullable=False),
        sa.Column("plaintext", document(), nullable=False),
        sa.Column("outcome", code(32), nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("received_at", UtcTime, nullable=False),
        sa.Column("last_at", UtcTime, nullable=False),
        **_MYSQL,
    )
    op.create_index("ix_pay_notifications_number", "pay_notifications", ["number"])
    op.create_index("ix_pay_notifications_received_at", "pay_notifications", ["received_at"])
    op.create_table(
        "pay_events",
        sa.Column("id", code(64), primary_key=True),
        sa.Column("type", code(32), nullable=False),
        sa.Column("number", code(64), nullable=False),
        sa.Column("payload", document(), nullable=False),
        sa.Column("state", code(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", UtcTime, nullable=False),
        sa.Column("lease", code(32)),
        sa.Column("last_error", exact(256)),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("done_at", UtcTime),
        **_MYSQL,
    )
    op.create_index("ix_pay_events_due", "pay_events", ["state", "next_at"])
    op.create_index("ix_pay_events_number", "pay_events", ["number"])
    op.create_table(
        "pay_incidents",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("key", code(64), nullable=False, unique=True),
        sa.Column("kind", code(40), nullable=False),
        sa.Column("number", exact(64), nullable=False),
        sa.Column("message", exact(500), nullable=False),
        sa.Column("details", document(), nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("last_at", UtcTime, nullable=False),
        sa.Column("resolved_at", UtcTime),
        **_MYSQL,
    )
    op.create_index("ix_pay_incidents_created_at", "pay_incidents", ["created_at"])


def downgrade() -> None:
    for name in ("incidents", "events", "notifications", "transfers", "refunds", "orders"):
        op.drop_table(f"pay_{name}")
