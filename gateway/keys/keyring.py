"""Our own keys, by tenant and by operator environment: signs with them, describes them, rereads their files.

Where the entries come from (environment, TOML) is config.py's business, Phoenix's public key platform_keys.py's.
A file that changes is taken over once it has stood still for one look and holds a usable value; until then the old one
stays. Source: issue 3, point 5; API.md, settings and KeyService.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.core import canonical, hmac_sha256
from gateway.core.ed25519 import KeyRefused, SigningKey, load_signing_key
from gateway.core.types import Environment, KeyId, OperatorCode, TenantId, UnixSeconds
from gateway.errors import KeyUnknown, OperatorUnknown, TenantUnknown
from gateway.keys.descriptions import KeyDescription, KeyKind, KeyState
from gateway.keys.loaded_secret import LoadedSecret, SecretSource
from gateway.keys.secrets import Secret, SecretRefused
from gateway.resilience.clock import Clock

T = TypeVar("T")
WATCH_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantEntry:
    """A gamification tenant as configured."""

    tenant_id: TenantId
    hmac: SecretSource | None = None
    api_key: SecretSource | None = None
    api_key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEntry:
    """A prediction operator environment as configured."""

    operator_code: OperatorCode
    environment: Environment
    signing_key: SecretSource | None = None
    operator_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeys:
    """What a tenant signs and authenticates with, as of now."""

    tenant_id: TenantId
    hmac: Secret | None
    api_key: Secret | None
    api_key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKeys:
    """What an operator environment signs with, as of now."""

    operator_code: OperatorCode
    environment: Environment
    signing_key: SigningKey | None
    operator_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFault:
    """A secret that cannot be used: the setting's name, and why (never the value)."""

    setting: str
    description: str


class KeyringRefused(ValueError):
    """The configured keys cannot be used; `faults` holds all of them."""

    def __init__(self, faults: Sequence[KeyFault]) -> None:
        """Name every fault in the text."""
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.setting}: {fault.description}" for fault in self.faults))


class Keyring:
    """All keys of our own, loaded and proved."""

    def __init__(
        self,
        *,
        tenants: Sequence[TenantEntry],
        operators: Sequence[OperatorEntry],
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Load every key. `on_event` hears the names of things to be counted.

        Raises: KeyringRefused with all faults at once.
        """
        self._clock = clock
        self._on_event = on_event
        faults: list[KeyFault] = []
        self._tenants = {entry.tenant_id: _Tenant(entry, clock.now(), faults) for entry in tenants}
        self._operators = {
            (entry.operator_code, entry.environment): _Operator(entry, clock.now(), faults) for entry in operators
        }
        if faults:
            raise KeyringRefused(faults)

    def tenant(self, tenant_id: TenantId) -> TenantKeys:
        """Return the tenant's keys.

        Raises: TenantUnknown.
        """
        try:
            held = self._tenants[tenant_id]
        except KeyError:
            raise TenantUnknown from None
        return TenantKeys(
            tenant_id=tenant_id,
            hmac=_current(held.hmac),
            api_key=_current(held.api_key),
            api_key_id=held.entry.api_key_id,
        )

    def operator(self, operator_code: OperatorCode, environment: Environment) -> OperatorKeys:
        """Return the operator environment's keys.

        Raises: OperatorUnknown.
        """
        try:
            held = self._operators[operator_code, environment]
        except KeyError:
            raise OperatorUnknown from None
        return OperatorKeys(
            operator_code=operator_code,
            environment=environment,
            signing_key=_current(held.signing_key),
            operator_id=held.entry.operator_id,
        )

    def tenants(self) -> tuple[TenantId, ...]:
        """The configured tenants, in their order."""
        return tuple(self._tenants)

    def operators(self) -> tuple[tuple[OperatorCode, Environment], ...]:
        """The configured operator environments, in their order."""
        return tuple(self._operators)

    def sign_request(self, tenant_id: TenantId, method: str, path: str, at: UnixSeconds, body: bytes) -> str:
        """Return the signature header's value for one gamification request.

        Raises: TenantUnknown, KeyUnknown, InvalidCanonicalPart.
        """
        secret = self._hmac_secret(tenant_id)
        return hmac_sha256.header_value(secret, canonical.gamification_request(method, path, at, body))

    def sign_socket(self, tenant_id: TenantId, path: str, at: UnixSeconds) -> str:
        """Return the signature's value for opening the live socket.

        Raises: TenantUnknown, KeyUnknown, InvalidCanonicalPart.
        """
        return hmac_sha256.header_value(self._hmac_secret(tenant_id), canonical.gamification_socket(path, at))

    def api_key(self, tenant_id: TenantId) -> str:
        """Return the tenant's admin API key, to be put into a header and nowhere else.

        Raises: TenantUnknown, KeyUnknown.
        """
        secret = self.tenant(tenant_id).api_key
        if secret is None:
            raise KeyUnknown
        return secret.reveal_text()

    def describe(self) -> list[KeyDescription]:
        """Every key without its material, by kind, then owner."""
        rows = [row for tenant in self._tenants.values() for row in tenant.describe()]
        rows += [row for operator in self._operators.values() for row in operator.describe()]
        order = list(KeyKind)
        return sorted(rows, key=lambda row: (order.index(row.kind), row.owner, str(row.environment)))

    async def watch(self, every_s: float = WATCH_EVERY_S) -> None:
        """Look at the files for ever, off the event loop; a task to be cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Look at every file once, and take over what has changed and stood still since the last look."""
        watched: list[LoadedSecret[Secret] | LoadedSecret[SigningKey]] = []
        for tenant in self._tenants.values():
            watched += tenant.loaded()
        for operator in self._operators.values():
            watched += operator.loaded()
        for loaded in watched:
            event = loaded.look(self._clock.now())
            if event is not None:
                self._on_event(event)

    def _hmac_secret(self, tenant_id: TenantId) -> bytes:
        secret = self.tenant(tenant_id).hmac
        if secret is None:
            raise KeyUnknown
        return secret.reveal()


def _load(
    source: SecretSource | None, make: Callable[[Secret], T], now: float, faults: list[KeyFault]
) -> LoadedSecret[T] | None:
    if source is None:
        return None
    try:
        return LoadedSecret(source, make, now)
    except (SecretRefused, KeyRefused) as error:
        faults.append(KeyFault(setting=source.setting, description=str(error)))
        return None


def _current(loaded: LoadedSecret[T] | None) -> T | None:
    return None if loaded is None else loaded.current


class _Tenant:
    def __init__(self, entry: TenantEntry, now: float, faults: list[KeyFault]) -> None:
        self.entry = entry
        self.hmac = _load(entry.hmac, lambda secret: secret, now, faults)
        self.api_key = _load(entry.api_key, _header_text, now, faults)

    def loaded(self) -> list[LoadedSecret[Secret]]:
        return [one for one in (self.hmac, self.api_key) if one is not None]

    def describe(self) -> list[KeyDescription]:
        parts = (
            (self.hmac, KeyKind.TENANT_HMAC, "HMAC-SHA256", "hmac"),
            (self.api_key, KeyKind.ADMIN_API_KEY, "", "api-key"),
        )
        return [
            KeyDescription(
                key_id=f"{self.entry.tenant_id}/{name}",
                kind=kind,
                algorithm=algorithm,
                state=KeyState.ACTIVE,
                activated_at=one.activated_at,
                owner=self.entry.tenant_id,
            )
            for one, kind, algorithm, name in parts
            if one is not None
        ]


class _Operator:
    def __init__(self, entry: OperatorEntry, now: float, faults: list[KeyFault]) -> None:
        self.entry = entry
        self.signing_key = _load(entry.signing_key, lambda secret: load_signing_key(secret.reveal()), now, faults)

    def loaded(self) -> list[LoadedSecret[SigningKey]]:
        return [] if self.signing_key is None else [self.signing_key]

    def describe(self) -> list[KeyDescription]:
        if self.signing_key is None:
            return []
        key_id: KeyId = self.signing_key.current.key_id
        return [
            KeyDescription(
                key_id=key_id,
                kind=KeyKind.OPERATOR,
                algorithm="Ed25519",
                state=KeyState.ACTIVE,
                activated_at=self.signing_key.activated_at,
                owner=self.entry.operator_code,
                environment=self.entry.environment,
                public_key_sha256=key_id,
            )
        ]


def _header_text(secret: Secret) -> Secret:
    """Let through what can stand in an HTTP header."""
    if not all(0x21 <= byte <= 0x7E for byte in secret.reveal()):
        raise SecretRefused("holds a space, a line end or a character that no HTTP header can carry")
    return secret
