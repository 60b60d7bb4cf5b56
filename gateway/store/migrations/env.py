"""Alembic's entry: runs the versions over the connection that gateway/store/migrate.py hands in."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# The caller's transaction holds everything, on SQLite too, and the caller commits.
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
