"""How Alembic reaches the database: over the connection that services.orders.tables gives it."""

from alembic import context

from services.orders.schema import metadata

if context.is_offline_mode():
    context.configure(
        url=context.config.attributes["url"],
        target_metadata=metadata,
        version_table="pay_revision",
        output_buffer=context.config.output_buffer,
        dialect_opts={"paramstyle": "named"},
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table="pay_revision",
        transactional_ddl=False,  # services.orders.tables commits
    )
with context.begin_transaction():
    context.run_migrations()
