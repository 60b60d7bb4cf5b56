"""What comes of trying a new secret at Phoenix. `phoenix/auth` finds it out; `keys` decides by it."""

from __future__ import annotations

import enum


class TrialResult(enum.Enum):
    """What came of trying a key; the value is the note that ListKeys shows."""

    ACCEPTED = "accepted by Phoenix"
    REFUSED = "Phoenix refuses it and takes the one before it, which stays in use; is it registered there?"
    UNPROVEN = "cannot be tried: what Phoenix answers there says nothing of it"
    UNANSWERED = "not tried yet: Phoenix gave no answer"
