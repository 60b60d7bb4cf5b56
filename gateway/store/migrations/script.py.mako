"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add to the schema; never change or take away what an older gateway uses."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take it back; refuses where evidence would be lost."""
    ${downgrades if downgrades else "pass"}
