"""A key with its owner and kind, and how each kind is loaded. All kinds are checked, tried and described alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gateway.core.ed25519 import KeyRefused, SigningKey, load_signing_key
from gateway.core.key_trial import TrialResult
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret, SecretRefused
from gateway.core.secret_text import one_line
from gateway.core.types import Environment, KeyId
from gateway.keys.descriptions import KeyDescription, KeyKind
from gateway.keys.own.entries import KeyFault
from gateway.keys.own.loaded_secret import LoadedSecret
from gateway.keys.own.signer_versions import UNLISTED
from gateway.keys.own.versions import RotationPolicy, Version, Versions
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.secret_store import StoredSecret
from gateway.telemetry.logs import log

T = TypeVar("T")

_ALGORITHMS = {
    KeyKind.TENANT_HMAC: "HMAC-SHA256",
    KeyKind.ADMIN_API_KEY: "",
    KeyKind.OPERATOR: "Ed25519",
    KeyKind.CACHE_SEAL: "HMAC-SHA256",
}
_PARTS = {KeyKind.TENANT_HMAC: "hmac", KeyKind.ADMIN_API_KEY: "api-key", KeyKind.CACHE_SEAL: "cache-keys"}
_WARNING_EVENTS = frozenset({"secret_file_refused", "secret_file_rejected"})
SEAL_RETIRE_S = 25 * 3600.0
"""Longer than the lifetime of any cache entry: remembered event ids stay for a day."""


class Loaded(Protocol[T]):
    """The versions of one secret, wherever they come from: LoadedSecret or SignerVersions."""

    current: T
    versions: Versions[T]

    @property
    def source(self) -> str:
        """Where it comes from, for people."""

    @property
    def stored(self) -> StoredSecret | None:
        """The secret in a store that it is read from; None for another source."""

    def check_files(self, now: float) -> list[str]:
        """Let versions take over. Return the events to count."""

    def record_trial(self, version: Version[T], result: TrialResult, now: float, *, after_rejection: bool) -> list[str]:
        """Record the result of a trial. Return the events to count."""

    def notes(self, version: Version[T], now: float) -> str:
        """Return notes for operators on a version."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ManagedKey(Generic[T]):
    """One key of one owner. `owner` "": the process itself."""

    kind: KeyKind
    loaded: Loaded[T]
    owner: str = ""
    environment: Environment | None = None

    def describe(self, now: float) -> list[KeyDescription]:
        """Describe every version, newest first."""
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
                source=self.loaded.source,
                note=self.loaded.notes(one, now),
            )
            for one in reversed(versions.all())
        ]

    @property
    def active_id(self) -> str:
        """The `key_id` of the active version, as in descriptions."""
        active = self.loaded.versions.active
        return active.key_id or self._name(active.name)

    def _name(self, version: str) -> str:
        return "/".join(part for part in (self.owner, _PARTS[self.kind], version) if part)


def load_hmac(source: SecretSource, now: float, policy: RotationPolicy) -> LoadedSecret[Secret]:
    """Load a tenant's HMAC secret. Raises: SecretRefused."""
    return LoadedSecret(source, one_line_secret, now, policy=policy)


def load_api_key(source: SecretSource, now: float, policy: RotationPolicy) -> LoadedSecret[Secret]:
    """Load a tenant's API key. Raises: SecretRefused."""
    return LoadedSecret(source, _header_text, now, policy=policy)


def load_operator_key(source: SecretSource, now: float, policy: RotationPolicy) -> LoadedSecret[SigningKey]:
    """Load an operator's signing key and test its key pair. Raises: SecretRefused, KeyRefused."""
    return LoadedSecret(source, lambda secret: load_signing_key(secret.reveal()), now, policy=policy, identify=_key_id)


def load_seal_keys(source: SecretSource, now: float) -> LoadedSecret[SealKeys]:
    """Load the keys that seal cache entries. Raises: SecretRefused."""
    return LoadedSecret(
        source,
        lambda secret: SealKeys.from_text(secret.reveal_text()),
        now,
        policy=RotationPolicy(retire_s=SEAL_RETIRE_S),
    )


def seal_keys_of(loaded: Loaded[SealKeys], now: float) -> SealKeys:
    """Return the keys of all live versions: the first key of the active version seals, all keys open."""
    return SealKeys.joined([one.value for one in loaded.versions.live(now) if one.value is not None])


def or_fault(source: SecretSource | None, load: Callable[[SecretSource], T], faults: list[KeyFault]) -> T | None:
    """Load the source if it is configured. If it cannot be used, add a fault and return None."""
    if source is None:
        return None
    try:
        return load(source)
    except (SecretRefused, KeyRefused) as error:
        where = "" if source.stored is None else f"{source.stored.reference}: "
        faults.append(KeyFault(setting=source.setting, description=f"{where}{error}"))
        return None


def log_events(one: ManagedKey[Any], events: Sequence[str], now: float, about: Version[Any] | None = None) -> None:
    """Log events of this version, or of files that are not in use."""
    for event in events:
        if event == UNLISTED:
            continue
        version = about or one.loaded.versions.active
        fields = {
            "kind": one.kind.value,
            "state": event.removeprefix("secret_file_"),
            "key_id": version.key_id or version.name,
            "advice": one.loaded.notes(version, now),
            "operator" if one.environment else "tenant": one.owner,
            "environment": one.environment.value if one.environment else "",
        }
        if event in _WARNING_EVENTS:
            log().warning("a new key is not used", **fields)
        else:
            log().info("key files changed", **fields)


def one_line_secret(secret: Secret) -> Secret:
    """Return the secret if it is one line. Raises: SecretRefused."""
    one_line(secret.reveal_text())
    return secret


def _key_id(key: SigningKey) -> KeyId:
    return key.key_id


def _header_text(secret: Secret) -> Secret:
    """Return the secret if an HTTP header can carry it. Raises: SecretRefused."""
    if not all(0x21 <= byte <= 0x7E for byte in secret.reveal()):
        raise SecretRefused("contains a space, a line end or a character that an HTTP header cannot carry")
    return secret
