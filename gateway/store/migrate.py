"""Brings a database's schema to the revision of this code, once, however many gateways start.

An empty database gets the tables of schema.py and their revision's number at once. Alembic, slow to load and 10 MiB
that stay, is loaded only where tables are to be changed. Migrations are additive: a newer schema than this code knows
is served as it is, so that old and new gateways can run side by side.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from gateway.controls import stored_switches as _switches_table  # noqa: F401 - its table is made with the others
from gateway.evidence.chain import tables as _chain_tables  # noqa: F401 - its tables are made with the others
from gateway.outbox import tables as _queue_tables  # noqa: F401 - its tables are made with the others
from gateway.store.schema import HEAD, metadata

DIRECTORY = Path(__file__).parent / "migrations"
_versions = sa.Table(
    "alembic_version",
    sa.MetaData(),  # of its own: this table is Alembic's
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def is_current(connection: sa.Connection) -> bool:
    """Tell whether the schema is that of this code, or a newer one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    revision = connection.execute(sa.select(_versions.c.version_num)).scalar_one_or_none()
    return revision is not None and revision.isdecimal() and int(revision) >= int(HEAD)


def migrate(connection: sa.Connection, *, down_to: str | None = None) -> None:
    """Change the schema inside the caller's transaction, which holds the lock against other gateways.

    Args: `down_to` a revision, or "base" for none at all; None: up to the newest.
    Raises: RuntimeError where going down would destroy evidence.
    """
    if down_to is None and _is_empty(connection):
        metadata.create_all(connection)
        _versions.create(connection)
        connection.execute(_versions.insert().values(version_num=HEAD))
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    config.attributes["connection"] = connection
    if down_to is None:
        command.upgrade(config, "head")
    else:
        command.downgrade(config, down_to)


def _is_empty(connection: sa.Connection) -> bool:
    """Tell whether there is no table of ours, whatever else lies in the database."""
    return set(sa.inspect(connection).get_table_names()).isdisjoint({_versions.name, *metadata.tables})
