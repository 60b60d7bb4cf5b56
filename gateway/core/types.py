"""Basic types of the domain: ids, encodings and environments."""

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
    """The two prediction environments. Phoenix does not know the value `production`."""

    SANDBOX = "sandbox"
    PROD = "prod"


# C0 with line breaks and NUL, DEL, C1, and surrogates, which UTF-8 cannot encode. Format characters, such as the
# joiners of emoji, are allowed in a name.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_plain_text(text: str, max_characters: int) -> bool:
    """Tell whether `text` has 1 to `max_characters` characters and no control character."""
    return 1 <= len(text) <= max_characters and _CONTROL.search(text) is None
