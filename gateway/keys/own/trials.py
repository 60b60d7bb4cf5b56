"""When a new secret is tried at Phoenix before it takes over. `phoenix/auth` asks Phoenix."""

from __future__ import annotations

TRY_AGAIN_S = 3.0
"""Between two tries of a key whose time has come: Phoenix may be about to learn of it."""
TRY_EARLY_S = 30.0
"""Between two tries of a key whose time has not come: only for the note in ListKeys."""
PATIENCE_S = 60.0
"""So long after its time a key that could not be tried, because Phoenix gave no answer, is used untried. It goes on
being tried, and gives way to the one before it when Phoenix refuses it."""
EARLY_S = 60.0
"""A key that needs no lead may take over so long before its time, when Phoenix rejects the one in use."""
DOUBT_EVERY_S = 1.0
"""At most one round of trials in so many seconds because of rejected requests."""
