"""Our own keys, by tenant and by operator environment: signs with them, describes them, lets new versions take over.

Where the entries come from (environment, TOML) is config.py's business, Phoenix's public key platform_keys.py's, and
which version of a key is in use versions.py's. Looking a key up is on the way of every call: what is in use lies ready
in two tables, which are written anew when something has changed. Source: issue 3, point 5; issue 8, point 3; API.md,
settings and KeyService.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from gateway.core import canonical, hmac_sha256
from gateway.core.ed25519 import SigningKey
from gateway.core.key_trial import TrialResult
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds
from gateway.errors import KeyUnknown, OperatorUnknown, TenantUnknown
from gateway.keys.descriptions import KeyDescription, KeyKind, PublishedKey
from gateway.keys.own import managed_key
from gateway.keys.own.entries import KeyFault, KeyringRefused, OperatorEntry, OperatorKeys, TenantEntry, TenantKeys
from gateway.keys.own.loaded_secret import SecretSource
from gateway.keys.own.managed_key import ManagedKey
from gateway.keys.own.trials import DOUBT_EVERY_S
from gateway.keys.own.versions import Life, Version
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job
from gateway.telemetry.logs import log

__all__ = ["KeyFault", "Keyring", "KeyringRefused", "OperatorEntry", "OperatorKeys", "TenantEntry", "TenantKeys"]

T = TypeVar("T")
WATCH_EVERY_S = 0.5
"""A new file is believed at the second look: a replica shows a new key about a second after it was laid down."""
_TOLD_AS_WARNING = frozenset({"secret_file_refused", "secret_file_rejected"})


class Trial(Protocol):
    """Tries a key at Phoenix with a request that changes nothing."""

    async def tenant(self, tenant_id: TenantId, kind: KeyKind, candidate: Keyring, current: Keyring) -> TrialResult:
        """Try a tenant's secret. Each keyring signs as if that version were in use. Never raises."""

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: Keyring, current: Keyring
    ) -> TrialResult:
        """Try an operator's signing key. Never raises."""


class Keyring:
    """All keys of our own, loaded and proved."""

    def __init__(
        self,
        *,
        tenants: Sequence[TenantEntry],
        operators: Sequence[OperatorEntry],
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
        trial: Trial | None = None,
        seal_keys: tuple[SealKeys, SecretSource] | None = None,
    ) -> None:
        """Load every key. `on_event` hears the names of things to be counted.

        Args: `trial`: how a new key is tried at Phoenix before it takes over; None: it is not. `seal_keys`: those in
        use by the caches, and where they come from: they are changed when that changes.
        Raises: KeyringRefused with all faults at once.
        """
        self._clock = clock
        self._on_event = on_event
        self._trial = trial
        self._changing = asyncio.Lock()  # looking at files happens in a thread
        self._doubting: asyncio.Task[None] | None = None
        self._doubted_at = self._changed_at = float("-inf")
        self._entries = {entry.tenant_id: entry for entry in tenants}
        self._operator_entries = {(entry.operator_code, entry.environment): entry for entry in operators}
        self._seal_keys = None if seal_keys is None else seal_keys[0]
        self._secrets: dict[tuple[TenantId, KeyKind], ManagedKey[Secret]] = {}
        self._signing: dict[tuple[OperatorCode, Environment], ManagedKey[SigningKey]] = {}
        self._seals: ManagedKey[SealKeys] | None = None
        self._load(tenants, operators, None if seal_keys is None else seal_keys[1])
        self._in_use: dict[tuple[KeyKind, str, Environment | None], str] = {}
        self._tenant_keys: dict[TenantId, TenantKeys] = {}
        self._operator_keys: dict[tuple[OperatorCode, Environment], OperatorKeys] = {}
        self._show_current()

    def tenant(self, tenant_id: TenantId) -> TenantKeys:
        """Return the tenant's keys.

        Raises: TenantUnknown.
        """
        try:
            return self._tenant_keys[tenant_id]
        except KeyError:
            raise TenantUnknown from None

    def operator(self, operator_code: OperatorCode, environment: Environment) -> OperatorKeys:
        """Return the operator environment's keys.

        Raises: OperatorUnknown.
        """
        try:
            return self._operator_keys[operator_code, environment]
        except KeyError:
            raise OperatorUnknown from None

    def tenants(self) -> tuple[TenantId, ...]:
        """The configured tenants, in their order."""
        return tuple(self._entries)

    def operators(self) -> tuple[tuple[OperatorCode, Environment], ...]:
        """The configured operator environments, in their order."""
        return tuple(self._operator_entries)

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

    def in_use(self, kind: KeyKind, owner: str, environment: Environment | None = None) -> str:
        """Return what the version in use is called by `describe`; empty where there is no such key."""
        return self._in_use.get((kind, owner, environment), "")

    def describe(self) -> list[KeyDescription]:
        """Every version of every key without its material, by kind, then owner, the newest first."""
        now = self._clock.now()
        rows = [row for one in self._held() for row in one.describe(now)]
        order = list(KeyKind)
        return sorted(rows, key=lambda row: (order.index(row.kind), row.owner, str(row.environment)))

    def published(self) -> list[PublishedKey]:
        """The public halves that verifiers have to know: announced, active, retiring; the active one first."""
        now = self._clock.now()
        return [
            PublishedKey(
                operator_code=code,
                environment=environment,
                key=one.value.public,
                state=held.loaded.versions.state(one, now),
                activated_at=one.activates_at if one.activated_at is None else one.activated_at,
                ends_at=held.loaded.versions.ends_at(one),
            )
            for (code, environment), held in self._signing.items()
            for one in held.loaded.versions.live(now)
            if one.value is not None
        ]

    async def settle(self) -> None:
        """Try what was replaced a short while ago before it is used; once, at the start."""
        await self._try_candidates()

    async def watch(self, every_s: float = WATCH_EVERY_S) -> None:
        """Look at the files for ever, off the event loop, and try new keys; a task to be cancelled."""
        while True:
            await asyncio.sleep(every_s)
            async with self._changing:
                await asyncio.to_thread(self.look)
            await self._try_candidates()

    async def on_unauthorized(self, sent_at: float) -> None:
        """Phoenix rejected a request's credentials: try what could be used in their place, and change to what it takes.

        Args: `sent_at`: when the request was signed (monotonic). Returns when keys were tried or have changed since
        then, so that the request can be sent once more; at once where there is nothing to try.
        """
        while True:
            if self._doubting is not None and not self._doubting.done():
                await asyncio.shield(self._doubting)
            if max(self._doubted_at, self._changed_at) >= sent_at:
                return
            now = self._clock.now()
            if not any(one.loaded.versions.to_try(now, in_doubt=True) for one in self._held()):
                return
            wait_s = self._doubted_at + DOUBT_EVERY_S - self._clock.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._doubting is None or self._doubting.done():
                self._doubted_at = self._clock.monotonic()
                self._doubting = run_job("key-trials", self._try_candidates(in_doubt=True))

    def look(self) -> None:
        """Look at every file once, and take over what has changed and stood still since the last look."""
        now, changed = self._clock.now(), False
        for one in self._held():
            events = one.loaded.look(now)
            self._tell(one, events)
            changed = changed or bool(events)
        if changed:
            self._show_current()

    async def _try_candidates(self, *, in_doubt: bool = False) -> None:
        """Ask Phoenix about every key that is to be tried, all at once."""
        if self._trial is None:
            return
        now, tries = self._clock.now(), list[tuple[ManagedKey[Any], Version[Any], Awaitable[TrialResult]]]()
        for (tenant_id, kind), secret in self._secrets.items():
            for candidate, other in secret.loaded.versions.to_try(now, in_doubt=in_doubt):
                new, old = (self._as_if_tenant(tenant_id, kind, one.value) for one in (candidate, other))
                tries.append((secret, candidate, self._trial.tenant(tenant_id, kind, new, old)))
        for (code, environment), signing in self._signing.items():
            for version, before in signing.loaded.versions.to_try(now, in_doubt=in_doubt):
                new, old = (self._as_if_operator(code, environment, one.value) for one in (version, before))
                tries.append((signing, version, self._trial.operator(code, environment, new, old)))
        if not tries:
            return
        results = await asyncio.gather(*(asking for _, _, asking in tries))
        async with self._changing:
            for (one, tried, _), result in zip(tries, results, strict=True):
                self._judge(one, tried, result, in_doubt=in_doubt)
            self._show_current()

    def _judge(self, one: ManagedKey[Any], version: Version[Any], result: TrialResult, *, in_doubt: bool) -> None:
        self._tell(one, one.loaded.judge(version, result, self._clock.now(), in_doubt=in_doubt), version)

    def _tell(self, one: ManagedKey[Any], events: list[str], about: Version[Any] | None = None) -> None:
        """Count and log what happened to this version, or to files beside the one in use."""
        for event in events:
            self._on_event(event)
            version = about or one.loaded.versions.active
            fields = {
                "kind": one.kind.value,
                "state": event.removeprefix("secret_file_"),
                "key_id": version.key_id or version.name,
                "advice": one.loaded.notes(version, self._clock.now()),
                "operator" if one.environment else "tenant": one.owner,
                "environment": one.environment.value if one.environment else "",
            }
            if event in _TOLD_AS_WARNING:
                log().warning("a new key is not used", **fields)
            else:
                log().info("key files changed", **fields)

    def _held(self) -> list[ManagedKey[Any]]:
        return [*self._secrets.values(), *self._signing.values(), *([self._seals] if self._seals else [])]

    def _load(
        self, tenants: Sequence[TenantEntry], operators: Sequence[OperatorEntry], seals: SecretSource | None
    ) -> None:
        """Load everything. Raises: KeyringRefused."""
        now, faults = self._clock.now(), list[KeyFault]()
        life = Life(tried=self._trial is not None)
        for tenant in tenants:
            for kind, source, load in (
                (KeyKind.TENANT_HMAC, tenant.hmac, managed_key.load_hmac),
                (KeyKind.ADMIN_API_KEY, tenant.api_key, managed_key.load_api_key),
            ):
                loaded = managed_key.or_fault(source, partial(load, now=now, life=life), faults)
                if loaded is not None:
                    self._secrets[tenant.tenant_id, kind] = ManagedKey(kind=kind, loaded=loaded, owner=tenant.tenant_id)
        for one in operators:
            rules = replace(life, lead_s=one.lead_s, retire_s=one.retire_s)
            signing = managed_key.or_fault(
                one.signing_key,
                partial(managed_key.load_operator_key, now=now, life=rules),
                faults,
            )
            if signing is not None:
                self._signing[one.operator_code, one.environment] = ManagedKey(
                    kind=KeyKind.OPERATOR, loaded=signing, owner=one.operator_code, environment=one.environment
                )
        found = managed_key.or_fault(seals, partial(managed_key.load_seal_keys, now=now), faults)
        self._seals = None if found is None else ManagedKey(kind=KeyKind.CACHE_SEAL, loaded=found)
        if faults:
            raise KeyringRefused(faults)

    def _show_current(self) -> None:
        """Lay ready what is in use now. Each table is put in place whole: calls look into it meanwhile."""
        before = self._tenant_keys, self._operator_keys
        self._tenant_keys = {
            tenant_id: TenantKeys(
                tenant_id=tenant_id,
                hmac=_current(self._secrets.get((tenant_id, KeyKind.TENANT_HMAC))),
                api_key=_current(self._secrets.get((tenant_id, KeyKind.ADMIN_API_KEY))),
                api_key_id=entry.api_key_id,
            )
            for tenant_id, entry in self._entries.items()
        }
        self._operator_keys = {
            named: OperatorKeys(
                operator_code=entry.operator_code,
                environment=entry.environment,
                signing_key=_current(self._signing.get(named)),
                operator_id=entry.operator_id,
            )
            for named, entry in self._operator_entries.items()
        }
        self._in_use = {(one.kind, one.owner, one.environment): one.active_id for one in self._held()}
        if before != (self._tenant_keys, self._operator_keys):
            self._changed_at = self._clock.monotonic()
        if self._seals is not None and self._seal_keys is not None:
            self._seal_keys.adopt(managed_key.seal_keys_of(self._seals.loaded, self._clock.now()))

    def _as_if_tenant(self, tenant_id: TenantId, kind: KeyKind, secret: Secret | None) -> Keyring:
        """Return a keyring that signs as if this version were the tenant's."""
        keys = self._tenant_keys[tenant_id]
        changed = replace(keys, hmac=secret) if kind is KeyKind.TENANT_HMAC else replace(keys, api_key=secret)
        return _View({tenant_id: changed}, {})

    def _as_if_operator(self, code: OperatorCode, environment: Environment, key: SigningKey | None) -> Keyring:
        keys = self._operator_keys[code, environment]
        return _View({}, {(code, environment): replace(keys, signing_key=key)})

    def _hmac_secret(self, tenant_id: TenantId) -> bytes:
        secret = self.tenant(tenant_id).hmac
        if secret is None:
            raise KeyUnknown
        return secret.reveal()


class _View(Keyring):
    """A keyring over tables that are given: for a trial. It knows how to sign, and of no files."""

    def __init__(
        self,
        tenants: dict[TenantId, TenantKeys],
        operators: dict[tuple[OperatorCode, Environment], OperatorKeys],
    ) -> None:
        self._tenant_keys = tenants
        self._operator_keys = operators


def _current(one: ManagedKey[T] | None) -> T | None:
    return None if one is None else one.loaded.current
