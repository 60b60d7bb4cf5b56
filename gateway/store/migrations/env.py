"""Alembic's entry point: runs the versions on the connection from gateway/store/migrate.py."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# Everything runs in the caller's transaction, on SQLite too. The caller commits.
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
