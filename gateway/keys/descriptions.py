"""Descriptions of keys without key material. Source: API.md, KeyService."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.core.ed25519 import VerifyingKey
from gateway.core.types import Environment, KeyId, OperatorCode


class KeyKind(enum.Enum):
    """The purpose of a key."""

    TENANT_HMAC = "tenant_hmac"
    ADMIN_API_KEY = "admin_api_key"
    OPERATOR = "operator"
    PLATFORM = "platform"
    CACHE_SEAL = "cache_seal"


class KeyState(enum.Enum):
    """The state of a key in its policy cycle."""

    ANNOUNCED = "announced"
    """Known, and published if it has a public key. It is used from its activation time."""
    ACTIVE = "active"
    RETIRING = "retiring"
    """Replaced. What it signed or sealed is still valid."""
    RETIRED = "retired"
    """No longer valid or published. Its material is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """The description of one version of a key.

    `key_id`: the fingerprint; for secrets, owner, kind and version. `public_key_sha256`: empty for secrets. Times are
    Unix seconds. `announced_at`: when this gateway learned of it; `activated_at`: when its use begins or began;
    `retired_at`: when it was replaced; `ends_at`: when it stops being valid. `owner` is empty for the platform key.
    `version`: the name of the file in its folder, or the store's name of it. `source`: the setting or reference that it
    comes from. `note`: information for operators, such as why a newer file is not
    used.
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
    announced_at: float | None = None
    ends_at: float | None = None
    version: str = ""
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKey:
    """The public key of an operator, for verifiers: announced, active or retiring."""

    operator_code: OperatorCode
    environment: Environment
    key: VerifyingKey
    state: KeyState
    activated_at: float
    ends_at: float | None
