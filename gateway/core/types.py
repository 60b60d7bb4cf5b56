"""The domain's words: ids, encodings, enums and the dataclasses that travel between rooms.

Leaves JSON to wire.py and strings to be signed to canonical.py.
"""

from __future__ import annotations

import enum
import re
from typing import NewType

TenantId = NewType("TenantId", str)
OperatorCode = NewType("OperatorCode", str)
KeyId = NewType("KeyId", str)
"""Lower-case hex SHA-256 of a public key's SPKI (DER)."""
UnixSeconds = NewType("UnixSeconds", int)
HexStr = NewType("HexStr", str)
"""Lower-case hexadecimal."""
B64Url = NewType("B64Url", str)
"""Base64url without padding."""


class Environment(enum.Enum):
    """The two prediction environments. `production` is no value of Phoenix's."""

    SANDBOX = "sandbox"
    PROD = "prod"


# Line breaks, NUL and the rest of C0, DEL and C1, and surrogates, which no UTF-8 holds. Format
# characters such as the joiners of emoji are fine in a name.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_plain_text(text: str, max_characters: int) -> bool:
    """Tell whether `text` has 1 to `max_characters` characters, no control character among them."""
    return 1 <= len(text) <= max_characters and _CONTROL.search(text) is None
