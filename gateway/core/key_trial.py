"""What comes of trying a new secret at Phoenix. `phoenix/auth` finds it out; `keys` decides by it."""

from __future__ import annotations

import enum


class TrialResult(enum.Enum):
    """What came of trying a key; the value is the note that ListKeys shows."""

    ACCEPTED = "accepted by Phoenix"
    REFUSED = "Phoenix refuses it and accepts the previous key, which stays in use; register the new key at Phoenix"
    UNPROVEN = "cannot be tried: Phoenix's answer does not depend on the key"
    UNANSWERED = "not tried yet: Phoenix gave no answer"
