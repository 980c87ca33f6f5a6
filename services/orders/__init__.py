"""Orders, refunds and transfers in a database of the merchant's own: an optional extra, see docs/orders.md.

Imported only where `orderDatabaseUrl` is set, because it loads SQLAlchemy.
"""
