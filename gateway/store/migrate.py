"""Bring a database's schema to the revision of this code, once, however many gateways start.

Alembic alone changes the schema. It is imported only when there is something to change; `upgrade.py` does it for a
SQLite file in a process of its own. Migrations are additive. A newer schema than this code knows is served as it is, so
that old and new gateways can run side by side.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from gateway.store.migrations import HEAD

DIRECTORY = Path(__file__).parent / "migrations"
_REVISION = sa.text("SELECT version_num FROM alembic_version")


def is_current(connection: sa.Connection) -> bool:
    """Tell whether the schema is that of this code, or a newer one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    revision = connection.execute(_REVISION).scalar_one_or_none()
    return revision is not None and revision.isdecimal() and int(revision) >= int(HEAD)


def migrate(connection: sa.Connection, *, down_to: str | None = None) -> None:
    """Change the schema inside the caller's transaction, which holds the lock against other gateways.

    Args: `down_to` a revision, or "base" for none at all; None: up to the newest.
    Raises: RuntimeError where going down would destroy evidence.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    config.attributes["connection"] = connection
    if down_to is None:
        command.upgrade(config, "head")
    else:
        command.downgrade(config, down_to)
