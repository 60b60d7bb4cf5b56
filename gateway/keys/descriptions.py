"""What may be told of a key: everything but the key. Source: API.md, KeyService."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.core.types import Environment, KeyId


class KeyKind(enum.Enum):
    """What a key is for."""

    TENANT_HMAC = "tenant_hmac"
    ADMIN_API_KEY = "admin_api_key"
    OPERATOR = "operator"
    PLATFORM = "platform"


class KeyState(enum.Enum):
    """Where a key stands in its life."""

    ACTIVE = "active"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """One key, described.

    `key_id`: the fingerprint, or for secrets the owner and the kind. `public_key_sha256`: empty for secrets.
    `activated_at`, `retired_at`: Unix seconds; `owner` is empty for the platform key.
    """

    key_id: str
    kind: KeyKind
    algorithm: str
    state: KeyState
    activated_at: float
    owner: str = ""
    environment: Environment | None = None
    public_key_sha256: KeyId | None = None
    retired_at: float | None = None
