"""Every secret that a keyring holds, with its owner and kind: loaded, looked at, tried, described alike.

What each is for is the keyring's business, its versions versions.py's. Source: issue 8, point 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.core.ed25519 import KeyRefused, SigningKey, load_signing_key
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret, SecretRefused
from gateway.core.types import Environment, KeyId
from gateway.keys.descriptions import KeyDescription, KeyKind
from gateway.keys.own.entries import KeyFault
from gateway.keys.own.loaded_secret import LoadedSecret, SecretSource
from gateway.keys.own.versions import Life

T = TypeVar("T")

_ALGORITHMS = {
    KeyKind.TENANT_HMAC: "HMAC-SHA256",
    KeyKind.ADMIN_API_KEY: "",
    KeyKind.OPERATOR: "Ed25519",
    KeyKind.CACHE_SEAL: "HMAC-SHA256",
}
_PARTS = {KeyKind.TENANT_HMAC: "hmac", KeyKind.ADMIN_API_KEY: "api-key", KeyKind.CACHE_SEAL: "cache-keys"}
SEAL_RETIRE_S = 25 * 3600.0
"""Longer than anything stays in the cache: remembered event ids stay for a day."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ManagedKey(Generic[T]):
    """One secret of one owner; `owner` empty: of the process."""

    kind: KeyKind
    loaded: LoadedSecret[T]
    owner: str = ""
    environment: Environment | None = None

    def describe(self, now: float) -> list[KeyDescription]:
        """Every version, the newest first."""
        versions = self.loaded.versions
        return [
            KeyDescription(
                key_id=one.key_id or self._name(one.name),
                kind=self.kind,
                algorithm=_ALGORITHMS[self.kind],
                state=versions.state(one, now),
                activated_at=one.activates_at if one.activated_at is None else one.activated_at,
                owner=self.owner,
                environment=self.environment,
                public_key_sha256=one.key_id,
                announced_at=one.announced_at,
                retired_at=one.replaced_at,
                ends_at=versions.ends_at(one),
                version=one.name,
                note=self.loaded.notes(one, now),
            )
            for one in reversed(versions.all())
        ]

    @property
    def active_id(self) -> str:
        """The active version's `key_id` in descriptions."""
        active = self.loaded.versions.active
        return active.key_id or self._name(active.name)

    def _name(self, version: str) -> str:
        return "/".join(part for part in (self.owner, _PARTS[self.kind], version) if part)


def load_hmac(source: SecretSource, now: float, life: Life) -> LoadedSecret[Secret]:
    """Load a tenant's HMAC secret. Raises: SecretRefused."""
    return LoadedSecret(source, lambda secret: secret, now, life=life)


def load_api_key(source: SecretSource, now: float, life: Life) -> LoadedSecret[Secret]:
    """Load a tenant's API key. Raises: SecretRefused."""
    return LoadedSecret(source, _header_text, now, life=life)


def load_operator_key(source: SecretSource, now: float, life: Life) -> LoadedSecret[SigningKey]:
    """Load an operator's signing key, its pair proved. Raises: SecretRefused, KeyRefused."""
    return LoadedSecret(source, lambda secret: load_signing_key(secret.reveal()), now, life=life, identify=_key_id)


def load_seal_keys(source: SecretSource, now: float) -> LoadedSecret[SealKeys]:
    """Load the keys that seal what is cached. Raises: SecretRefused."""
    return LoadedSecret(
        source, lambda secret: SealKeys.from_text(secret.reveal_text()), now, life=Life(retire_s=SEAL_RETIRE_S)
    )


def seal_keys_of(loaded: LoadedSecret[SealKeys], now: float) -> SealKeys:
    """Return the keys of all versions: the first of the active one seals, those announced and retiring open too."""
    return SealKeys.joined([one.value for one in loaded.versions.live(now) if one.value is not None])


def or_fault(source: SecretSource | None, load: Callable[[SecretSource], T], faults: list[KeyFault]) -> T | None:
    """Load what is configured; note a fault where it cannot be used."""
    if source is None:
        return None
    try:
        return load(source)
    except (SecretRefused, KeyRefused) as error:
        faults.append(KeyFault(setting=source.setting, description=str(error)))
        return None


def _key_id(key: SigningKey) -> KeyId:
    return key.key_id


def _header_text(secret: Secret) -> Secret:
    """Let through what can stand in an HTTP header."""
    if not all(0x21 <= byte <= 0x7E for byte in secret.reveal()):
        raise SecretRefused("holds a space, a line end or a character that no HTTP header can carry")
    return secret
