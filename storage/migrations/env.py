"""Alembic's environment: the caller passes the open connection, and the tables where a comparison is wanted."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
)
with context.begin_transaction():
    context.run_migrations()
