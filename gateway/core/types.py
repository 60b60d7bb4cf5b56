"""The domain's words: ids, encodings, enums and the dataclasses that travel between rooms.

Leaves JSON to wire.py and strings to be signed to canonical.py.
"""

from __future__ import annotations

import enum
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
